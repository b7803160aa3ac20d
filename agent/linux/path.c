/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resolution below a root fd. No state.
 *
 * The kernel resolves (openat2 with RESOLVE_IN_ROOT). Only where something is missing do we walk
 * ourselves, since the kernel can't say where a dangling link would have led: images come with
 * /etc/resolv.conf pointing into an empty /run. That walk yields a path without links, which is
 * then made and opened with links refused, so a swap in between ends in an error.
 */
#include "linux/path.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/auto.h"
#include "base/str.h"

#define LINKS_MAX 40 /* as in the kernel */
#define AGAIN_MAX 64
#define DIR_MODE  0755

int path_clean(const char *path, char ret[static LIMIT_PATH])
{
	size_t len = 0;

	while (*path) {
		size_t n;

		path += strspn(path, "/");
		n = strcspn(path, "/");
		if (n == 2 && path[0] == '.' && path[1] == '.') {
			while (len > 0 && ret[--len] != '/')
				;
		} else if (n > 1 || (n == 1 && path[0] != '.')) {
			if (len + n + 2 > LIMIT_PATH)
				return -ENAMETOOLONG;
			ret[len++] = '/';
			memcpy(ret + len, path, n);
			len += n;
		}
		path += n;
	}
	if (len == 0)
		ret[len++] = '/';
	ret[len] = '\0';
	return 0;
}

bool path_has_dotdot(const char *path)
{
	while (*path) {
		size_t n;

		path += strspn(path, "/");
		n = strcspn(path, "/");
		if (n == 2 && path[0] == '.' && path[1] == '.')
			return true;
		path += n;
	}
	return false;
}

bool path_is_below(const char *path, const char *dir)
{
	size_t len = strlen(dir);

	if (str_eq(dir, "/"))
		return true;
	return strncmp(path, dir, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

/* EAGAIN: something was renamed while the kernel walked; it asks to be called again. */
static int path_open_how(int dir, const char *path, int flags, mode_t mode, uint64_t resolve)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned int)(flags | O_CLOEXEC),
		.mode = flags & O_CREAT ? mode : 0,
		.resolve = resolve | RESOLVE_NO_MAGICLINKS,
	};
	long fd;
	int tries = 0;

	do
		fd = syscall(SYS_openat2, dir, path, &how, sizeof(how));
	while (fd < 0 && (errno == EINTR || (errno == EAGAIN && ++tries < AGAIN_MAX)));
	return fd < 0 ? -errno : (int)fd;
}

int path_open_in(int root, const char *path, int flags, mode_t mode)
{
	return path_open_how(root, path, flags, mode, RESOLVE_IN_ROOT);
}

int path_open_plain(int dir, const char *path, int flags, mode_t mode)
{
	return path_open_how(dir, path, flags, mode, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
}

int path_open_dev(const char *path)
{
	AUTO_CLOSE int dev = FD_NONE;
	char clean[LIMIT_PATH];
	int r = path[0] == '/' ? path_clean(path, clean) : -EXDEV;

	if (r < 0)
		return r;
	if (!path_is_below(clean, "/dev") || str_eq(clean, "/dev"))
		return -EXDEV;
	dev = open("/dev", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return dev < 0 ? -errno
		       : path_open_how(dev, clean + strlen("/dev/"), O_PATH, 0,
				       RESOLVE_BENEATH | RESOLVE_NO_XDEV);
}

int path_open_real(const char *path)
{
	return path_open_how(AT_FDCWD, path, O_PATH | O_DIRECTORY, 0, RESOLVE_NO_SYMLINKS);
}

/* What is still to be walked: the text of the next components, replaced when a link is met. */
struct path_walk {
	char done[LIMIT_PATH]; /* without links, relative to the root */
	char rest[LIMIT_PATH];
	size_t done_len;
	int links;
	bool missing; /* done doesn't exist: nothing below it can be a link */
};

/* The link behind fd goes in front of the rest. */
static int path_walk_link(struct path_walk *w, int fd)
{
	char target[LIMIT_PATH];
	size_t rest = strlen(w->rest);
	ssize_t n = readlinkat(fd, "", target, sizeof(target));

	if (n < 0)
		return -errno;
	if (++w->links > LINKS_MAX)
		return -ELOOP;
	if ((size_t)n + 1 + rest >= sizeof(w->rest))
		return -ENAMETOOLONG;
	memmove(w->rest + n + 1, w->rest, rest + 1);
	memcpy(w->rest, target, (size_t)n);
	w->rest[n] = '/';
	if (target[0] == '/')
		w->done_len = 0;
	w->done[w->done_len] = '\0';
	return 0;
}

/* One component that is a name: appended to done, or, if it is a link, replaced by its target. */
static int path_walk_name(struct path_walk *w, int root, const char *name, size_t len)
{
	AUTO_CLOSE int fd = FD_NONE;
	size_t before = w->done_len;
	struct stat st;

	if (before + len + 2 > sizeof(w->done))
		return -ENAMETOOLONG;
	if (before > 0)
		w->done[w->done_len++] = '/';
	memcpy(w->done + w->done_len, name, len);
	w->done_len += len;
	w->done[w->done_len] = '\0';
	if (w->missing)
		return 0;
	fd = path_open_plain(root, w->done, O_PATH | O_NOFOLLOW, 0);
	if (fd == -ENOENT) {
		w->missing = true;
		return 0;
	}
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISLNK(st.st_mode))
		return 0;
	w->done_len = before;
	return path_walk_link(w, fd);
}

int path_resolve(int root, const char *path, char ret[static LIMIT_PATH])
{
	struct path_walk w = { .done = "" };
	int r;

	if (strlen(path) >= sizeof(w.rest))
		return -ENAMETOOLONG;
	memcpy(w.rest, path, strlen(path) + 1);
	for (;;) {
		char name[LIMIT_PATH];
		size_t skip = strspn(w.rest, "/");
		size_t n = strcspn(w.rest + skip, "/");

		if (n == 0)
			break;
		memcpy(name, w.rest + skip, n);
		name[n] = '\0';
		memmove(w.rest, w.rest + skip + n, strlen(w.rest + skip + n) + 1);
		if (str_eq(name, "."))
			continue;
		if (str_eq(name, "..")) {
			while (w.done_len > 0 && w.done[--w.done_len] != '/')
				;
			w.done[w.done_len] = '\0';
			w.missing = false;
			continue;
		}
		r = path_walk_name(&w, root, name, n);
		if (r < 0)
			return r;
	}
	memcpy(ret, w.done, w.done_len + 1);
	return 0;
}

/* resolve: what is added to refusing links. */
static int path_make_dir(int root, const char *path, mode_t mode, uint64_t resolve, bool *made)
{
	AUTO_CLOSE int dir = FD_NONE;
	char name[LIMIT_PATH];
	int fd;

	resolve |= RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
	*made = false;
	if (path_has_dotdot(path))
		return -EINVAL;
	fd = path_open_how(root, *path ? path : ".", O_PATH | O_DIRECTORY, 0, resolve);
	if (fd != -ENOENT || mode == 0)
		return fd;
	while (*path) {
		size_t n = strcspn(path, "/");
		int at = dir >= 0 ? dir : root;

		if (n >= sizeof(name))
			return -ENAMETOOLONG;
		memcpy(name, path, n);
		name[n] = '\0';
		*made = mkdirat(at, name, mode) == 0;
		if (!*made && errno != EEXIST)
			return -errno;
		fd = path_open_how(at, name, O_PATH | O_DIRECTORY, 0, resolve);
		if (fd < 0)
			return fd;
		auto_closep(&dir);
		dir = fd;
		path += n;
		path += *path == '/';
	}
	return TAKE_FD(dir);
}

int path_plain_dir(int root, const char *path, mode_t mode, bool *made)
{
	return path_make_dir(root, path, mode, 0, made);
}

int path_mount_dir(int root, const char *path, mode_t mode)
{
	bool ignored;

	return path_make_dir(root, path, mode, RESOLVE_NO_XDEV, &ignored);
}

int path_dir(int root, const char *path)
{
	char plain[LIMIT_PATH];
	bool ignored;
	int fd, r;

	fd = path_open_in(root, *path ? path : ".", O_PATH | O_DIRECTORY, 0);
	if (fd != -ENOENT)
		return fd;
	r = path_resolve(root, path, plain);
	return r < 0 ? r : path_plain_dir(root, plain, DIR_MODE, &ignored);
}

int path_parent(int root, const char *path, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	char dir[LIMIT_PATH];
	int fd;

	if (!*name || str_eq(name, ".") || str_eq(name, ".."))
		return -EINVAL;
	if ((size_t)(name - path) >= sizeof(dir))
		return -ENAMETOOLONG;
	memcpy(dir, path, (size_t)(name - path));
	dir[name - path] = '\0';
	fd = path_dir(root, *dir ? dir : "/");
	if (fd >= 0)
		*ret_name = name;
	return fd;
}

int path_real_dir(int root, const char *path)
{
	AUTO_CLOSE int dir = FD_NONE;
	const char *name;
	int fd;

	fd = path_open_in(root, path, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd != -ENOENT)
		return fd;
	dir = path_parent(root, path, &name);
	if (dir < 0)
		return dir;
	if (mkdirat(dir, name, DIR_MODE) < 0 && errno != EEXIST)
		return -errno;
	return path_open_plain(dir, name, O_PATH | O_DIRECTORY, 0);
}

int path_file(int root, const char *path, mode_t mode)
{
	AUTO_CLOSE int dir = FD_NONE;
	char plain[LIMIT_PATH];
	const char *name;
	int fd, r;

	fd = path_open_in(root, path, O_PATH, 0);
	if (fd != -ENOENT)
		return fd;
	r = path_resolve(root, path, plain);
	if (r < 0)
		return r;
	dir = path_parent(root, plain, &name);
	if (dir < 0)
		return dir;
	fd = openat(dir, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0 && errno == EEXIST)
		return path_open_plain(dir, name, O_PATH, 0);
	return fd < 0 ? -errno : fd;
}

int path_is_mount_top(int fd)
{
	struct statx stx;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &stx) < 0)
		return -errno;
	return (stx.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}
