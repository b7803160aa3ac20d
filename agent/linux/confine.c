/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Confined paths. No state.
 */
#include "linux/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "linux/path.h"
#include "base/auto.h"

int confine_clean(const char *dir, const char *path, char rel[LIMIT_PATH])
{
	char text[LIMIT_PATH];
	const char *p = text;
	int r = *path == '/' ? path_clean(path, text) : -EPERM;

	if (r < 0)
		return r;
	if (path_is_below(p, "/var/run"))
		p += strlen("/var");
	if (!path_is_below(p, dir) || p[strlen(dir)] != '/')
		return -EPERM;
	p += strlen(dir) + 1;
	(void)memmove(rel, p, strlen(p) + 1);
	return 0;
}

int confine_dir(int root, const char *rel, mode_t mode, bool *made)
{
	bool ignored;

	return path_plain_dir(root, rel, mode, made ? made : &ignored);
}

int confine_parent(int root, const char *rel, mode_t mode, const char **name)
{
	const char *slash = strrchr(rel, '/');
	char dir[LIMIT_PATH] = "";
	bool ignored;

	if (slash && (size_t)(slash - rel) >= sizeof(dir))
		return -ENAMETOOLONG;
	if (slash)
		(void)memcpy(dir, rel, (size_t)(slash - rel));
	*name = slash ? slash + 1 : rel;
	return path_plain_dir(root, dir, mode, &ignored);
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
