/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptor helpers. No state.
 */
#include "base/fdio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/auto.h"
#include "base/limits.h"

int fdio_write_all(int fd, const void *buf, size_t len)
{
	const char *p = buf;

	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

ssize_t fdio_read_all(int fd, void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = read(fd, (char *)buf + done, len - done);

		if (n == 0)
			break;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			done += (size_t)n;
	}
	return (ssize_t)done;
}

ssize_t fdio_read_text(int fd, char *buf, size_t size)
{
	ssize_t n = fdio_read_all(fd, buf, size);

	if (n < 0)
		return n;
	if ((size_t)n == size)
		return -EFBIG;
	while (n > 0 && buf[n - 1] == '\n')
		n--;
	buf[n] = '\0';
	return n;
}

ssize_t fdio_read_file(int dirfd, const char *path, char *buf, size_t size)
{
	AUTO_CLOSE int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -errno : fdio_read_text(fd, buf, size);
}

ssize_t fdio_slurp(int dirfd, const char *path, size_t max, char **ret)
{
	AUTO_CLOSE int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
	size_t size = 4096, have = 0;
	AUTO_FREE char *buf = NULL;

	if (fd < 0)
		return -errno;
	for (;;) {
		char *bigger = realloc(buf, size);
		ssize_t n;

		if (!bigger)
			return -ENOMEM;
		buf = bigger;
		n = fdio_read_all(fd, buf + have, size - have);
		if (n < 0)
			return n;
		have += (size_t)n;
		if (have > max)
			return -EFBIG;
		if (have < size)
			break;
		size *= 2;
	}
	buf[have] = '\0';
	*ret = TAKE_PTR(buf);
	return (ssize_t)have;
}

int fdio_write_file(int dirfd, const char *path, const char *text)
{
	AUTO_CLOSE int fd = openat(dirfd, path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	do
		n = write(fd, text, strlen(text));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return (size_t)n == strlen(text) ? 0 : -EIO;
}

int fdio_mkdirs(const char *path, mode_t mode)
{
	char partial[4096];
	size_t len = strlen(path);

	if (len >= sizeof(partial))
		return -ENAMETOOLONG;
	for (size_t i = 1; i <= len; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		(void)memcpy(partial, path, i);
		partial[i] = '\0';
		if (mkdir(partial, mode) < 0 && errno != EEXIST)
			return -errno;
	}
	return 0;
}

/* Empties the directory fd (taken over). dev: the file system that we may remove from. */
static int remove_below(int fd, dev_t dev, int depth)
{
	AUTO_DIR DIR *d = fdopendir(fd);
	struct dirent *e;

	if (!d) {
		(void)close(fd);
		return -errno;
	}
	if (depth > LIMIT_DEPTH)
		return -ELOOP;
	while ((e = readdir(d))) {
		struct stat st;
		int sub;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (unlinkat(dirfd(d), e->d_name, 0) == 0)
			continue;
		if (errno != EISDIR && errno != EPERM)
			return -errno;
		sub = openat(dirfd(d), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (sub < 0)
			return -errno;
		if (fstat(sub, &st) < 0 || st.st_dev != dev) {
			(void)close(sub);
			return -EXDEV;
		}
		sub = remove_below(sub, dev, depth + 1);
		if (sub < 0)
			return sub;
		if (unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR) < 0)
			return -errno;
	}
	return 0;
}

int fdio_remove_tree(int dirfd, const char *path)
{
	struct stat st;
	int fd, r;

	fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) {
		if (errno != ENOTDIR && errno != ELOOP)
			return -errno;
		return unlinkat(dirfd, path, 0) < 0 ? -errno : 0;
	}
	if (fstat(fd, &st) < 0) {
		(void)close(fd);
		return -errno;
	}
	r = remove_below(fd, st.st_dev, 0);
	if (r < 0)
		return r;
	return unlinkat(dirfd, path, AT_REMOVEDIR) < 0 ? -errno : 0;
}

int fdio_nonblock(int fd, bool on)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -errno;
	flags = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
	return fcntl(fd, F_SETFL, flags) < 0 ? -errno : 0;
}

void fdio_close_except(int *keep, size_t count)
{
	unsigned int from = 3;

	for (size_t i = 1; i < count; i++) { /* insertion: a handful */
		for (size_t k = i; k > 0 && keep[k - 1] > keep[k]; k--) {
			int swap = keep[k];

			keep[k] = keep[k - 1];
			keep[k - 1] = swap;
		}
	}
	for (size_t i = 0; i < count; i++) {
		if (keep[i] < (int)from)
			continue;
		if (keep[i] > (int)from)
			(void)close_range(from, (unsigned int)keep[i] - 1, 0);
		from = (unsigned int)keep[i] + 1;
	}
	(void)close_range(from, ~0U, 0);
}

const char *fdio_path(struct fd_path *buf, int fd)
{
	(void)snprintf(buf->text, sizeof(buf->text), "/proc/self/fd/%d", fd);
	return buf->text;
}
