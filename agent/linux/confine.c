/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Confined paths. No state.
 */
#include "linux/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/auto.h"
#include "base/str.h"

/* Removes empty, "." and ".." components: "/a/b", or "" for the root. */
static int clean(const char *path, char out[CONFINE_MAX])
{
	size_t len = 0;

	if (*path != '/')
		return -EPERM;
	while (*path) {
		size_t n;

		path += strspn(path, "/");
		n = strcspn(path, "/");
		if (n == 2 && path[0] == '.' && path[1] == '.') {
			while (len > 0 && out[--len] != '/')
				;
		} else if (n > 0 && !(n == 1 && path[0] == '.')) {
			if (n > NAME_MAX || len + n + 2 > CONFINE_MAX)
				return -ENAMETOOLONG;
			out[len++] = '/';
			(void)memcpy(out + len, path, n);
			len += n;
		}
		path += n;
	}
	out[len] = '\0';
	return 0;
}

int confine_clean(const char *dir, const char *path, char rel[CONFINE_MAX])
{
	char text[CONFINE_MAX];
	const char *p = text;
	int r = clean(path, text);

	if (r < 0)
		return r;
	if (str_starts(p, "/var/run/"))
		p += strlen("/var");
	if (!str_starts(p, dir) || p[strlen(dir)] != '/')
		return -EPERM;
	p += strlen(dir) + 1;
	(void)memmove(rel, p, strlen(p) + 1);
	return 0;
}

bool confine_is_below(const char *rel, const char *name)
{
	return str_starts(rel, name) && (rel[strlen(name)] == '\0' || rel[strlen(name)] == '/');
}

static int open_dir_at(int dir, const char *name)
{
	int fd = openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* One component further; a missing directory is made when mode is given. */
static int enter(int dir, const char *name, mode_t mode, bool *made)
{
	int fd = open_dir_at(dir, name);

	*made = false;
	if (fd != -ENOENT || mode == 0)
		return fd;
	if (mkdirat(dir, name, mode) == 0)
		*made = true;
	else if (errno != EEXIST)
		return -errno;
	return open_dir_at(dir, name);
}

/* Walks the first len bytes of rel. */
static int walk(int root, const char *rel, size_t len, mode_t mode, bool *made)
{
	AUTO_CLOSE int dir = open_dir_at(root, ".");
	size_t at = 0;

	*made = false;
	if (dir < 0)
		return dir;
	while (at < len) {
		char name[NAME_MAX + 1];
		size_t n = strcspn(rel + at, "/");
		int next;

		if (n > len - at)
			n = len - at;
		if (n == 0 || n > NAME_MAX || (n <= 2 && rel[at] == '.' && rel[at + n - 1] == '.'))
			return -EINVAL; /* not from confine_clean */
		(void)memcpy(name, rel + at, n);
		name[n] = '\0';
		next = enter(dir, name, mode, made);
		if (next < 0)
			return next;
		auto_closep(&dir);
		dir = next;
		at += n + (rel[at + n] == '/');
	}
	return TAKE_FD(dir);
}

int confine_dir(int root, const char *rel, mode_t mode, bool *made)
{
	bool ignored;

	return walk(root, rel, strlen(rel), mode, made ? made : &ignored);
}

int confine_parent(int root, const char *rel, mode_t mode, const char **name)
{
	const char *slash = strrchr(rel, '/');
	bool ignored;

	*name = slash ? slash + 1 : rel;
	return walk(root, rel, slash ? (size_t)(slash - rel) : 0, mode, &ignored);
}

int confine_any(int root, const char *rel)
{
	const char *name;
	AUTO_CLOSE int dir = confine_parent(root, rel, 0, &name);
	AUTO_CLOSE int fd = FD_NONE;
	struct stat st;

	if (dir < 0)
		return dir;
	fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	return S_ISLNK(st.st_mode) ? -ELOOP : TAKE_FD(fd);
}

int confine_file(int root, const char *rel, mode_t mode, bool *made)
{
	const char *name;
	AUTO_CLOSE int dir = confine_parent(root, rel, 0755, &name);
	AUTO_CLOSE int fd = FD_NONE;
	struct stat st;

	*made = false;
	if (dir < 0)
		return dir;
	fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd >= 0)
		*made = true;
	else if (errno != EEXIST)
		return -errno;
	auto_closep(&fd);
	fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	return S_ISLNK(st.st_mode) ? -ELOOP : S_ISDIR(st.st_mode) ? -EISDIR : TAKE_FD(fd);
}
