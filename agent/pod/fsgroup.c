/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fsGroup. No state.
 */
#include "pod/fsgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/str.h"

#define DEPTH_MAX 128

struct wish {
	gid_t gid;
	mode_t mode; /* bits that files get; directories S_ISGID and x as well */
	dev_t dev;
};

static mode_t fsgroup_bits(const struct stat *st, const struct wish *w)
{
	return w->mode | (S_ISDIR(st->st_mode) ? 0110u | S_ISGID : 0);
}

/* One file or directory, by an O_PATH fd that is no link. */
static int set_one(int fd, const struct stat *st, const struct wish *w)
{
	struct fd_path path;

	if (fchownat(fd, "", (uid_t)-1, w->gid, AT_EMPTY_PATH) < 0)
		return -errno;
	if (chmod(fdio_path(&path, fd), (st->st_mode | fsgroup_bits(st, w)) & 07777) < 0)
		return -errno;
	return 0;
}

static int set_below(int fd, const struct wish *w, int depth)
{
	AUTO_DIR DIR *d = NULL;
	struct dirent *e;
	int list = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;

	d = list < 0 ? NULL : fdopendir(list);
	if (!d) {
		r = -errno;
		auto_closep(&list);
		return r;
	}
	if (depth > DEPTH_MAX)
		return -ELOOP;
	while (r == 0 && (e = readdir(d))) {
		AUTO_CLOSE int sub = FD_NONE;
		struct stat st;

		if (str_eq(e->d_name, ".") || str_eq(e->d_name, ".."))
			continue;
		sub = openat(list, e->d_name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		if (sub < 0 && errno == ENOENT)
			continue;
		if (sub < 0 || fstat(sub, &st) < 0)
			return -errno;
		if (S_ISLNK(st.st_mode) || st.st_dev != w->dev)
			continue;
		r = set_one(sub, &st, w);
		if (r == 0 && S_ISDIR(st.st_mode))
			r = set_below(sub, w, depth + 1);
	}
	return r;
}

int fsgroup_set_tree(int fd, gid_t gid, bool read_only, bool on_mismatch)
{
	struct wish w = { .gid = gid, .mode = read_only ? 0440 : 0660 };
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return -errno;
	w.dev = st.st_dev;
	if (on_mismatch && st.st_gid == gid &&
	    (st.st_mode & fsgroup_bits(&st, &w)) == fsgroup_bits(&st, &w))
		return 0;
	r = S_ISDIR(st.st_mode) ? set_below(fd, &w, 0) : 0;
	/* The top last: an interrupted change shows as a mismatch. */
	if (r == 0)
		r = set_one(fd, &st, &w);
	return r == -EROFS ? 0 : r; /* a volume that nobody can change */
}

int fsgroup_set_top(int fd, gid_t gid)
{
	struct fd_path path;
	struct stat st;

	if (fstat(fd, &st) < 0 || fchownat(fd, "", (uid_t)-1, gid, AT_EMPTY_PATH) < 0)
		return -errno;
	return chmod(fdio_path(&path, fd), (st.st_mode & 07777) | S_ISGID) < 0 ? -errno : 0;
}
