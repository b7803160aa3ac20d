/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptor helpers. No state.
 */
#include "base/fdio.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
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

/* ---- rm -rf ---- */

#define TREE_DEPTH 32 /* directories open at a time */

struct tree_removal {
	int top;    /* the directory that goes */
	bool moved; /* something that lay too deep has been moved up to it */
	unsigned int number;
	int r; /* the first failure */
};

/* The directory name in dir, which must be on the same mount. */
static int tree_open(int dir, const char *name)
{
	struct open_how how = {
		.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS,
	};
	int fd = (int)syscall(SYS_openat2, dir, name, &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

static int tree_move_up(struct tree_removal *t, int dir, const char *name)
{
	char up[32];
	int r;

	do {
		(void)snprintf(up, sizeof(up), ".removed-%u", t->number++);
		r = renameat2(dir, name, t->top, up, RENAME_NOREPLACE) < 0 ? -errno : 0;
	} while (r == -EEXIST);
	t->moved |= r == 0;
	return r;
}

static void tree_empty(struct tree_removal *t, int fd, int depth);

static int tree_remove_one(struct tree_removal *t, int dir, const char *name, int depth)
{
	int sub;

	if (unlinkat(dir, name, 0) == 0)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	sub = tree_open(dir, name);
	if (sub < 0)
		return sub;
	if (depth >= TREE_DEPTH) {
		(void)close(sub);
		return tree_move_up(t, dir, name);
	}
	tree_empty(t, sub, depth + 1);
	return unlinkat(dir, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

/* All that is in the directory fd (taken over) and can go. */
static void tree_empty(struct tree_removal *t, int fd, int depth)
{
	AUTO_DIR DIR *d = fdopendir(fd);
	struct dirent *e;

	if (!d) {
		t->r = t->r ? t->r : -errno;
		(void)close(fd);
		return;
	}
	while ((e = readdir(d))) {
		int r;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		r = tree_remove_one(t, dirfd(d), e->d_name, depth);
		if (r < 0 && t->r == 0)
			t->r = r;
	}
}

/* The directory that holds the last component of path, and where that starts. */
static int tree_parent(int dirfd, const char *path, const char **name)
{
	const char *slash = strrchr(path, '/');
	char dir[LIMIT_PATH];
	int fd;

	*name = slash ? slash + 1 : path;
	if (*name - path >= (ptrdiff_t)sizeof(dir))
		return -ENAMETOOLONG;
	(void)snprintf(dir, sizeof(dir), "%.*s", (int)(*name - path), path);
	fd = openat(dirfd, *dir ? dir : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int fdio_remove_tree(int dirfd, const char *path)
{
	struct tree_removal t = { 0 };
	const char *name;
	AUTO_CLOSE int dir = tree_parent(dirfd, path, &name);
	AUTO_CLOSE int top = FD_NONE;

	if (dir < 0)
		return dir;
	top = tree_open(dir, name);
	if (top == -ENOTDIR || top == -ELOOP)
		return unlinkat(dir, name, 0) < 0 ? -errno : 0;
	if (top < 0)
		return top;
	t.top = top;
	do {
		int again = tree_open(top, ".");

		t.moved = false;
		if (again < 0)
			return again;
		tree_empty(&t, again, 0);
	} while (t.moved);
	if (t.r == 0 && unlinkat(dir, name, AT_REMOVEDIR) < 0)
		t.r = -errno;
	return t.r;
}

int fdio_nonblock(int fd, bool on)
{
	int value = on; /* one call, and the other flags stay as they are */

	return ioctl(fd, FIONBIO, &value) < 0 ? -errno : 0;
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

int fdio_send_fd(int sock, const void *data, size_t len, int fd)
{
	union {
		struct cmsghdr head;
		char buf[CMSG_SPACE(sizeof(int))];
	} control = { .buf = { 0 } };
	struct iovec iov = { (void *)(uintptr_t)data, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(sizeof(int));
		(void)memcpy(CMSG_DATA(&control.head), &fd, sizeof(int));
	}
	return sendmsg(sock, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

ssize_t fdio_recv_fd(int sock, void *data, size_t len, int flags, int *ret_fd)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} control = { .buf = { 0 } };
	struct iovec iov = { data, len };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      /* Not CMSG_SPACE: its padding holds a second one. */
			      .msg_controllen = CMSG_LEN(sizeof(int)) };
	ssize_t n = recvmsg(sock, &msg, flags | MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = n < 0 ? NULL : CMSG_FIRSTHDR(&msg);

	*ret_fd = FD_NONE;
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
		(void)memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
	return n < 0 ? -errno : n;
}

const char *fdio_path(struct fd_path *buf, int fd)
{
	(void)snprintf(buf->text, sizeof(buf->text), "/proc/self/fd/%d", fd);
	return buf->text;
}
