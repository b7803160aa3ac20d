/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Output descriptors. O_NONBLOCK belongs to the open file, which a shell or another process of the
 * pipeline may share, so it is never set on what we were given.
 */
#include "sink.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

static void on_writable(struct io *io, short revents);

static int reopen(int fd)
{
	char path[40];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

void sink_open(struct sink *s, struct loop *loop, int fd, void (*on_drained)(void *arg), void *arg)
{
	struct stat st = { 0 };
	int again;

	*s = (struct sink){ .loop = loop, .on_drained = on_drained, .arg = arg };
	s->io = (struct io){ .fd = fd, .fn = on_writable, .arg = s };
	(void)fstat(fd, &st);
	if (S_ISSOCK(st.st_mode)) {
		s->kind = SINK_SOCKET;
	} else if (S_ISFIFO(st.st_mode) || isatty(fd)) {
		s->kind = SINK_PIPE_BUF;
		again = reopen(fd);
		if (again >= 0) {
			s->kind = SINK_NONBLOCK;
			s->io.fd = again;
			s->own_fd = true;
		}
	}
	loop_add(loop, &s->io);
}

static bool may_write_now(const struct sink *s)
{
	struct pollfd p = { .fd = s->io.fd, .events = POLLOUT };

	return s->kind != SINK_PIPE_BUF || poll(&p, 1, 0) > 0;
}

/* Returns how much was taken; errors stick. */
static size_t write_some(struct sink *s, const uint8_t *data, size_t len)
{
	size_t done = 0;

	while (done < len && !s->error && may_write_now(s)) {
		size_t want = len - done;
		ssize_t n;

		if (s->kind == SINK_PIPE_BUF && want > PIPE_BUF)
			want = PIPE_BUF;
		n = s->kind == SINK_SOCKET
			    ? send(s->io.fd, data + done, want, MSG_DONTWAIT | MSG_NOSIGNAL)
			    : write(s->io.fd, data + done, want);
		if (n >= 0)
			done += (size_t)n;
		else if (errno == EAGAIN)
			break;
		else if (errno != EINTR)
			s->error = errno;
	}
	return s->error ? len : done;
}

void sink_write(struct sink *s, const uint8_t *data, size_t len)
{
	size_t n = sink_idle(s) ? write_some(s, data, len) : 0;

	len -= n;
	if (len == 0 || s->error)
		return;
	if (s->head > 0 && s->tail + len > s->cap) {
		memmove(s->buf, s->buf + s->head, s->tail - s->head);
		s->tail -= s->head;
		s->head = 0;
	}
	if (s->tail + len > s->cap) {
		s->cap = s->tail + len;
		s->buf = xrealloc(s->buf, s->cap);
	}
	memcpy(s->buf + s->tail, data + n, len);
	s->tail += len;
	s->io.events = POLLOUT;
}

static void on_writable(struct io *io, short revents)
{
	struct sink *s = io->arg;

	(void)revents;
	s->head += write_some(s, s->buf + s->head, s->tail - s->head);
	if (!sink_idle(s))
		return;
	s->head = s->tail = 0;
	s->io.events = 0;
	s->on_drained(s->arg);
}

void sink_close(struct sink *s)
{
	if (!s->loop)
		return;
	loop_del(s->loop, &s->io);
	if (s->own_fd)
		(void)close(s->io.fd);
	free(s->buf);
	*s = (struct sink){ 0 };
}
