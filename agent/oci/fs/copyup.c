/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recursive copy between two directory fds. No state. Names are opened one component at a time and
 * links are never followed, so whoever changes the source meanwhile only changes what is copied.
 */

#include "oci/fs/impl.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "base/auto.h"
#include "base/err.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/str.h"

static int copy_dir(int from, int to, int depth, struct err *err);

static int copy_data(int from, int to)
{
	char buf[16384];
	ssize_t n;
	int r;

	while ((n = read(from, buf, sizeof(buf))) != 0) {
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			r = fdio_write_all(to, buf, (size_t)n);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

static int copy_file(int from, int to, const char *name, struct err *err)
{
	/* Non-blocking, for the FIFO that may have taken the file's place. */
	AUTO_CLOSE int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	AUTO_CLOSE int out = FD_NONE;
	struct stat st;
	int r;

	if (in < 0 || fstat(in, &st) < 0)
		return err_sys(err, errno, "tmpcopyup: open '%s'", name);
	if (!S_ISREG(st.st_mode))
		return err_set(err, EAGAIN, "tmpcopyup: '%s' changed while it was copied", name);
	out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (out < 0)
		return err_sys(err, errno, "tmpcopyup: create '%s'", name);
	r = copy_data(in, out);
	return r < 0 ? err_sys(err, -r, "tmpcopyup: copy '%s'", name) : 0;
}

static int copyup_link(int from, int to, const char *name, struct err *err)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(from, name, target, sizeof(target) - 1);

	if (n < 0)
		return err_sys(err, errno, "tmpcopyup: read link '%s'", name);
	target[n] = '\0';
	if (symlinkat(target, to, name) < 0)
		return err_sys(err, errno, "tmpcopyup: link '%s'", name);
	return 0;
}

static int copy_subdir(int from, int to, const char *name, int depth, struct err *err)
{
	AUTO_CLOSE int in = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	AUTO_CLOSE int out = FD_NONE;

	if (in < 0)
		return err_sys(err, errno, "tmpcopyup: open '%s'", name);
	if (mkdirat(to, name, 0700) < 0)
		return err_sys(err, errno, "tmpcopyup: mkdir '%s'", name);
	out = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (out < 0)
		return err_sys(err, errno, "tmpcopyup: open '%s'", name);
	return copy_dir(in, out, depth + 1, err);
}

static int copy_entry(int from, int to, const char *name, int depth, struct err *err)
{
	struct stat st;
	int r;

	if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(err, errno, "tmpcopyup: stat '%s'", name);
	if (S_ISSOCK(st.st_mode))
		return 0; /* its server isn't there */
	if (S_ISDIR(st.st_mode))
		r = copy_subdir(from, to, name, depth, err);
	else if (S_ISREG(st.st_mode))
		r = copy_file(from, to, name, err);
	else if (S_ISLNK(st.st_mode))
		r = copyup_link(from, to, name, err);
	else
		r = mknodat(to, name, st.st_mode & (S_IFMT | 0600), st.st_rdev) < 0
			    ? err_sys(err, errno, "tmpcopyup: mknod '%s'", name)
			    : 0;
	if (r < 0)
		return r;
	if (fchownat(to, name, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(err, errno, "tmpcopyup: chown '%s'", name);
	/* After chown, which clears set-id bits. In our own tree, so the name can't be a link. */
	if (!S_ISLNK(st.st_mode) && fchmodat(to, name, st.st_mode & 07777, 0) < 0)
		return err_sys(err, errno, "tmpcopyup: chmod '%s'", name);
	(void)utimensat(to, name, (struct timespec[]){ st.st_atim, st.st_mtim },
			AT_SYMLINK_NOFOLLOW);
	return 0;
}

static int copy_dir(int from, int to, int depth, struct err *err)
{
	AUTO_DIR DIR *d = NULL;
	struct dirent *e;
	int fd;

	if (depth > LIMIT_COPYUP_DEPTH)
		return err_set(err, ELOOP, "tmpcopyup: more than %d levels", LIMIT_COPYUP_DEPTH);
	fd = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, errno, "tmpcopyup: open directory");
	d = fdopendir(fd);
	if (!d) {
		(void)close(fd);
		return err_sys(err, ENOMEM, "tmpcopyup: read directory");
	}
	while ((e = readdir(d))) {
		int r;

		if (str_eq(e->d_name, ".") || str_eq(e->d_name, ".."))
			continue;
		r = copy_entry(from, to, e->d_name, depth, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int copyup(int from, int to, struct err *err)
{
	return copy_dir(from, to, 0, err);
}
