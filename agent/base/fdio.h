/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files as small texts, and descriptors. All results are 0, a count or an fd, or -errno; every fd
 * returned is close-on-exec and the caller's.
 */
#ifndef BASE_FDIO_H
#define BASE_FDIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Writes all of buf to a blocking fd. */
int fdio_write_all(int fd, const void *buf, size_t len);
/* Reads to the end or until the buffer is full; the count. For blocking fds. */
ssize_t fdio_read_all(int fd, void *buf, size_t len);
/*
 * The rest of a small file into buf, NUL-terminated, trailing newlines cut; its length. -EFBIG when
 * it does not fit.
 */
ssize_t fdio_read_text(int fd, char *buf, size_t size);
/* The same of a whole file; the path is relative to dirfd (AT_FDCWD: as usual). */
ssize_t fdio_read_file(int dirfd, const char *path, char *buf, size_t size);
/* As above, into memory from malloc that the caller frees; -EFBIG above max bytes. */
ssize_t fdio_slurp(int dirfd, const char *path, size_t max, char **ret);
/*
 * Opens an existing file O_WRONLY|O_TRUNC and writes the text with one write (what the kernel's
 * files want).
 */
int fdio_write_file(int dirfd, const char *path, const char *text);
/* mkdir -p of an absolute path of our own making; 0 or -errno. */
int fdio_mkdirs(const char *path, mode_t mode);
/*
 * rm -rf of what is below and at path relative to dirfd, however deep; links are not followed, and
 * no mount is entered (-EXDEV), a bind of the same file system neither. What can go goes; the first
 * failure is returned.
 */
int fdio_remove_tree(int dirfd, const char *path);
int fdio_nonblock(int fd, bool on);
/* Closes every fd from 3 up but those in keep (in any order, FD_NONE skipped; sorted in place). */
void fdio_close_except(int *keep, size_t count);
/* A message with a descriptor (FD_NONE: without) on a socket that keeps messages apart. */
int fdio_send_fd(int sock, const void *data, size_t len, int fd);
/* Its bytes; *ret_fd is the caller's, FD_NONE when none came. */
ssize_t fdio_recv_fd(int sock, void *data, size_t len, int flags, int *ret_fd);
/* "/proc/self/fd/N" for mount(2) and friends; the text lives in buf, which is returned. */
struct fd_path {
	char text[32];
};
const char *fdio_path(struct fd_path *buf, int fd);

#endif
