/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resolution below a root fd. No state.
 *
 * The kernel resolves (openat2 with RESOLVE_IN_ROOT). Only where something is missing do we walk
 * ourselves, since the kernel can't say where a dangling link would have led: images come with
 * /etc/resolv.conf pointing into an empty /run. That walk yields a path without links, which is
 * then made and opened with links refused, so a swap in between ends in an error.
 */
#include "oci/fs/rootpath.h"

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
#include "base/fdio.h"
#include "base/str.h"

#define LINKS_MAX 40 /* as in the kernel */
#define DIR_MODE  0755

int rootpath_clean(const char *path, char ret[static ROOTPATH_MAX])
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
			if (len + n + 2 > ROOTPATH_MAX)
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

bool rootpath_has_dotdot(const char *path)
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

bool rootpath_is_below(const char *path, const char *dir)
{
	size_t len = strlen(dir);

	if (str_eq(dir, "/"))
		return true;
	return strncmp(path, dir, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

int rootpath_open_plain(int dir, const char *path, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (uint64_t)(unsigned int)(flags | O_CLOEXEC),
		.mode = flags & O_CREAT ? mode : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	long fd;
	int tries = 0;

	do
		fd = syscall(SYS_openat2, dir, path, &how, sizeof(how));
	while (fd < 0 && (errno == EINTR || (errno == EAGAIN && ++tries < 64)));
	return fd < 0 ? -errno : (int)fd;
}

int rootpath_open_real(const char *path)
{
	struct open_how how = {
		.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
		.resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	long fd = syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

/* What is still to be walked: the text of the next components, replaced when a link is met. */
struct walk {
	char done[ROOTPATH_MAX]; /* without links, relative to the root */
	char rest[ROOTPATH_MAX];
	size_t done_len;
	int links;
	bool missing; /* done doesn't exist: nothing below it can be a link */
};

/* The link behind fd goes in front of the rest. */
static int walk_link(struct walk *w, int fd)
{
	char target[ROOTPATH_MAX];
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
static int walk_name(struct walk *w, int root, const char *name, size_t len)
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
	fd = rootpath_open_plain(root, w->done, O_PATH | O_NOFOLLOW, 0);
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
	return walk_link(w, fd);
}

int rootpath_resolve(int root, const char *path, char ret[static ROOTPATH_MAX])
{
	struct walk w = { .done = "" };
	int r;

	if (strlen(path) >= sizeof(w.rest))
		return -ENAMETOOLONG;
	memcpy(w.rest, path, strlen(path) + 1);
	for (;;) {
		char name[ROOTPATH_MAX];
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
		r = walk_name(&w, root, name, n);
		if (r < 0)
			return r;
	}
	memcpy(ret, w.done, w.done_len + 1);
	return 0;
}

/*
 * Makes the directories of a path without links, as rootpath_resolve gives it, and opens the last.
 */
static int make_plain(int root, const char *path)
{
	AUTO_CLOSE int dir = FD_NONE;
	char name[ROOTPATH_MAX];
	int fd;

	fd = rootpath_open_plain(root, *path ? path : ".", O_PATH | O_DIRECTORY, 0);
	if (fd != -ENOENT)
		return fd;
	while (*path) {
		size_t n = strcspn(path, "/");
		int at = dir >= 0 ? dir : root;

		memcpy(name, path, n);
		name[n] = '\0';
		if (mkdirat(at, name, DIR_MODE) < 0 && errno != EEXIST)
			return -errno;
		fd = rootpath_open_plain(at, name, O_PATH | O_DIRECTORY, 0);
		if (fd < 0)
			return fd;
		auto_closep(&dir);
		dir = fd;
		path += n;
		path += *path == '/';
	}
	return TAKE_FD(dir);
}

int rootpath_dir(int root, const char *path)
{
	char plain[ROOTPATH_MAX];
	int fd, r;

	fd = fdio_open_in(root, *path ? path : ".", O_PATH | O_DIRECTORY, 0);
	if (fd != -ENOENT)
		return fd;
	r = rootpath_resolve(root, path, plain);
	return r < 0 ? r : make_plain(root, plain);
}

int rootpath_parent(int root, const char *path, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	char dir[ROOTPATH_MAX];
	int fd;

	if (!*name || str_eq(name, ".") || str_eq(name, ".."))
		return -EINVAL;
	if ((size_t)(name - path) >= sizeof(dir))
		return -ENAMETOOLONG;
	memcpy(dir, path, (size_t)(name - path));
	dir[name - path] = '\0';
	fd = rootpath_dir(root, *dir ? dir : "/");
	if (fd >= 0)
		*ret_name = name;
	return fd;
}

int rootpath_real_dir(int root, const char *path)
{
	AUTO_CLOSE int dir = FD_NONE;
	const char *name;
	int fd;

	fd = fdio_open_in(root, path, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd != -ENOENT)
		return fd;
	dir = rootpath_parent(root, path, &name);
	if (dir < 0)
		return dir;
	if (mkdirat(dir, name, DIR_MODE) < 0 && errno != EEXIST)
		return -errno;
	return rootpath_open_plain(dir, name, O_PATH | O_DIRECTORY, 0);
}

int rootpath_file(int root, const char *path, mode_t mode)
{
	AUTO_CLOSE int dir = FD_NONE;
	char plain[ROOTPATH_MAX];
	const char *name;
	int fd, r;

	fd = fdio_open_in(root, path, O_PATH, 0);
	if (fd != -ENOENT)
		return fd;
	r = rootpath_resolve(root, path, plain);
	if (r < 0)
		return r;
	dir = rootpath_parent(root, plain, &name);
	if (dir < 0)
		return dir;
	fd = openat(dir, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0 && errno == EEXIST)
		return rootpath_open_plain(dir, name, O_PATH, 0);
	return fd < 0 ? -errno : fd;
}
