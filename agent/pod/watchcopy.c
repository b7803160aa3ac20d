/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The copying of small trees. No state: what is the same is seen by size, time, mode and owner, so
 * that a copy that was interrupted is made again. The copy may be written to by a container: no
 * link of it is followed.
 */
#include "pod/watchcopy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/str.h"

#define WATCHCOPY_TMP	".kata-watch.tmp" /* source has none: the next pass removes a rest */
#define WATCHCOPY_AGAIN 4

struct watchcopy {
	unsigned int files;
	uint64_t bytes; /* yet to be used */
};

static int watchcopy_list(int fd, DIR **ret)
{
	int list = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	*ret = list < 0 ? NULL : fdopendir(list);
	if (*ret)
		return 0;
	list = list < 0 ? list : close(list);
	return -errno;
}

static bool is_dot(const char *name)
{
	return str_eq(name, ".") || str_eq(name, "..");
}

static bool is_same_time(const struct stat *a, const struct stat *b)
{
	return a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Owner first: changing it takes setuid bits away. fd may be O_PATH. */
static int watchcopy_owner(int fd, const struct stat *want)
{
	struct fd_path path;
	struct stat have;

	if (fstat(fd, &have) < 0)
		return -errno;
	if ((have.st_uid != want->st_uid || have.st_gid != want->st_gid) &&
	    fchownat(fd, "", want->st_uid, want->st_gid, AT_EMPTY_PATH) < 0)
		return -errno;
	if (fstat(fd, &have) < 0 || ((have.st_mode ^ want->st_mode) & 07777 &&
				     chmod(fdio_path(&path, fd), want->st_mode & 07777) < 0))
		return -errno;
	return 0;
}

/* Over what out holds, never empty in between; the time comes last and says that it is complete. */
static int watchcopy_content(int in, int out, const struct stat *st)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, st->st_mtim };
	char buf[16384];
	off_t at = 0;

	while (at < st->st_size) {
		size_t left = (size_t)(st->st_size - at);
		ssize_t n = pread(in, buf, left < sizeof(buf) ? left : sizeof(buf), at);

		if (n == 0)
			break;
		if (n < 0 || pwrite(out, buf, (size_t)n, at) != n)
			return errno ? -errno : -ENOSPC;
		at += n;
	}
	if (ftruncate(out, at) < 0)
		return -errno;
	return futimens(out, times) < 0 ? -errno : 0;
}

static int watchcopy_count(struct watchcopy *w, const struct stat *st)
{
	if (w->files == 0 || (uint64_t)st->st_size > w->bytes)
		return WATCHCOPY_LARGE;
	w->files--;
	w->bytes -= (uint64_t)st->st_size;
	return 0;
}

/* A file behind O_PATH fds, or one that was just made. */
static int watchcopy_file(int source, int copy, const struct stat *want)
{
	AUTO_CLOSE int in = FD_NONE;
	AUTO_CLOSE int out = FD_NONE;
	struct fd_path from, to;
	struct stat have;
	int r = 0;

	if (fstat(copy, &have) < 0)
		return -errno;
	if (have.st_size != want->st_size || !is_same_time(&have, want)) {
		in = open(fdio_path(&from, source), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		out = in < 0 ? in : open(fdio_path(&to, copy), O_WRONLY | O_CLOEXEC);
		r = out < 0 ? -errno : watchcopy_content(in, out, want);
	}
	return r < 0 ? r : watchcopy_owner(copy, want);
}

/* The copy's fd of a file: the one that is there, or a new one, to be renamed from TMP. */
static int watchcopy_open(int dir, const char *name, bool *fresh)
{
	struct stat have;
	int fd;

	*fresh = fstatat(dir, name, &have, AT_SYMLINK_NOFOLLOW) < 0;
	if (!*fresh && !S_ISREG(have.st_mode)) {
		int r = fdio_remove_tree(dir, name);

		if (r < 0)
			return r;
		*fresh = true;
	}
	(void)unlinkat(dir, WATCHCOPY_TMP, 0);
	fd = *fresh ? openat(dir, WATCHCOPY_TMP, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)
		    : openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int watchcopy_one_file(struct watchcopy *w, int source, int copy, const char *name,
			      const struct stat *want)
{
	AUTO_CLOSE int in = openat(source, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	AUTO_CLOSE int out = FD_NONE;
	bool fresh = false;
	int r = in < 0 ? -errno : watchcopy_count(w, want);

	if (r == 0) {
		out = watchcopy_open(copy, name, &fresh);
		r = out < 0 ? out : watchcopy_file(in, out, want);
	}
	if (r == 0 && fresh && renameat(copy, WATCHCOPY_TMP, copy, name) < 0)
		r = -errno;
	return r;
}

static int watchcopy_link(int source, int copy, const char *name, const struct stat *want)
{
	char to[PATH_MAX], old[PATH_MAX];
	ssize_t n = readlinkat(source, name, to, sizeof(to) - 1), have;
	struct stat st;

	if (n < 0)
		return -errno;
	to[n] = '\0';
	have = readlinkat(copy, name, old, sizeof(old));
	if (have == n && memcmp(to, old, (size_t)n) == 0)
		return 0;
	if (fstatat(copy, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
		(void)fdio_remove_tree(copy, name);
	(void)unlinkat(copy, WATCHCOPY_TMP, 0);
	if (symlinkat(to, copy, WATCHCOPY_TMP) < 0 ||
	    fchownat(copy, WATCHCOPY_TMP, want->st_uid, want->st_gid, AT_SYMLINK_NOFOLLOW) < 0 ||
	    renameat(copy, WATCHCOPY_TMP, copy, name) < 0)
		return -errno;
	return 0;
}

static int watchcopy_dir(struct watchcopy *w, int source, int copy, int depth);

static int watchcopy_one_dir(struct watchcopy *w, int source, int copy, const char *name,
			     const struct stat *want, int depth)
{
	AUTO_CLOSE int from = openat(source, name, O_PATH | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC);
	AUTO_CLOSE int to = FD_NONE;
	struct stat have;
	int r;

	if (from < 0)
		return -errno;
	if (depth >= LIMIT_WATCH_DEPTH)
		return WATCHCOPY_LARGE;
	if (fstatat(copy, name, &have, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(have.st_mode))
		(void)unlinkat(copy, name, 0);
	if (mkdirat(copy, name, 0700) < 0 && errno != EEXIST)
		return -errno;
	to = openat(copy, name, O_PATH | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC);
	if (to < 0)
		return -errno;
	r = watchcopy_dir(w, from, to, depth + 1);
	return r ? r : watchcopy_owner(to, want);
}

/* Links, or all the rest, of a directory. What vanishes meanwhile is the next pass's. */
static int watchcopy_entries(struct watchcopy *w, int source, int copy, bool links, int depth)
{
	AUTO_DIR DIR *d = NULL;
	struct dirent *e;
	int r = watchcopy_list(source, &d);

	while (r == 0 && (e = readdir(d))) {
		struct stat st;

		if (is_dot(e->d_name) || fstatat(source, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    S_ISLNK(st.st_mode) != links)
			continue;
		if (links)
			r = watchcopy_link(source, copy, e->d_name, &st);
		else if (S_ISDIR(st.st_mode))
			r = watchcopy_one_dir(w, source, copy, e->d_name, &st, depth);
		else if (S_ISREG(st.st_mode))
			r = watchcopy_one_file(w, source, copy, e->d_name, &st);
		if (r == -ENOENT)
			r = 0;
	}
	return r;
}

static int watchcopy_remove_gone(int source, int copy)
{
	AUTO_DIR DIR *d = NULL;
	struct dirent *e;
	int r = watchcopy_list(copy, &d);

	while (r == 0 && (e = readdir(d))) {
		struct stat st;

		if (!is_dot(e->d_name) &&
		    fstatat(source, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
			r = fdio_remove_tree(copy, e->d_name);
	}
	return r;
}

/* Where kubelet's link to the current version leads: it is changed when the new one is complete. */
static void watchcopy_version(int source, char ret[PATH_MAX])
{
	ssize_t n = readlinkat(source, "..data", ret, PATH_MAX - 1);

	ret[n < 0 ? 0 : n] = '\0';
}

static int watchcopy_dir(struct watchcopy *w, int source, int copy, int depth)
{
	char before[PATH_MAX], after[PATH_MAX];
	int r = 0;

	for (int i = 0; i < WATCHCOPY_AGAIN && r == 0; i++) {
		struct watchcopy left = *w;

		watchcopy_version(source, before);
		r = watchcopy_entries(&left, source, copy, false, depth);
		watchcopy_version(source, after);
		if (r || str_eq(before, after)) {
			*w = left;
			break;
		}
	}
	if (r == 0)
		r = watchcopy_entries(w, source, copy, true, depth);
	return r ? r : watchcopy_remove_gone(source, copy);
}

int watchcopy_sync(int source, int copy, unsigned int times)
{
	struct watchcopy w = { times * LIMIT_WATCH_FILES, (uint64_t)times * LIMIT_WATCH_BYTES };
	struct stat st;
	int r;

	if (fstat(source, &st) < 0)
		return -errno;
	if (S_ISREG(st.st_mode)) {
		r = watchcopy_count(&w, &st);
		return r ? r : watchcopy_file(source, copy, &st);
	}
	r = watchcopy_dir(&w, source, copy, 0);
	return r ? r : watchcopy_owner(copy, &st);
}
