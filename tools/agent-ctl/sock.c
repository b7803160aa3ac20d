/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets in the loop: reading, writing, the end. */
#include "sock.h"

#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* POLLERR is reported anyway; it stands for "nothing but the end". */
static void want(struct sock *s)
{
	s->io.events = (short)((s->paused ? POLLERR : POLLIN) | (bytes_len(&s->out) ? POLLOUT : 0));
}

void sock_die(struct sock *s, const struct err *why)
{
	if (s->dead)
		return;
	s->dead = true;
	s->why = *why;
	loop_del(s->loop, &s->io);
	s->ops->end(s->user, &s->why);
}

void sock_put(struct sock *s, const void *data, size_t len)
{
	if (s->dead)
		return;
	bytes_put(&s->out, data, len);
	want(s);
}

void sock_flush(struct sock *s)
{
	while (!s->dead && bytes_len(&s->out) > 0) {
		size_t len = bytes_len(&s->out);
		ssize_t n = send(s->io.fd, bytes_data(&s->out), len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		/*
		 * On failure the peer may have said why before it closed: drop our bytes and let
		 * the read side find what is left in the socket, and then the end.
		 */
		len = n < 0 ? len : (size_t)n;
		bytes_take(&s->out, len);
		if (s->ops->sent)
			s->ops->sent(s->user, len);
	}
	if (!s->dead)
		want(s);
}

void sock_pause(struct sock *s, bool on)
{
	s->paused = on;
	if (!s->dead)
		want(s);
}

static void on_readable(struct sock *s)
{
	static uint8_t in[SOCK_READ_MAX]; /* handed up before the next read, whoever's */
	struct err err = { 0 };
	ssize_t n = recv(s->io.fd, in, s->read_max, 0);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n == 0)
		err_set(&err, ECONNRESET, "the other side closed the connection");
	else if (n < 0)
		err_set(&err, errno, "connection lost: %s", strerror(errno));
	if (n <= 0 || s->ops->input(s->user, in, (size_t)n, &err) < 0)
		sock_die(s, &err);
}

static void on_io(struct io *io, short revents)
{
	struct sock *s = io->arg;
	struct err err;

	if (revents & (POLLIN | POLLHUP | POLLERR)) {
		if (!s->paused) {
			on_readable(s);
		} else if (revents & (POLLHUP | POLLERR)) {
			/* What it has sent last has nowhere to go, and it will take no more. */
			err_set(&err, ECONNRESET, "the other side closed the connection");
			sock_die(s, &err);
		}
	}
	sock_flush(s);
	if (!s->dead && s->ops->turn)
		s->ops->turn(s->user);
}

void sock_open(struct sock *s, struct loop *loop, int fd, const struct sock_ops *ops, void *user)
{
	*s = (struct sock){ .loop = loop, .ops = ops, .user = user, .read_max = SOCK_READ_MAX };
	s->io = (struct io){ .fd = fd, .events = POLLIN, .fn = on_io, .arg = s };
	loop_add(loop, &s->io);
}

void sock_step(struct sock *s, int timeout_ms)
{
	struct pollfd p = { .fd = s->io.fd, .events = s->io.events };

	if (!s->dead && poll(&p, 1, timeout_ms) > 0)
		on_io(&s->io, p.revents);
}

bool sock_is_drained(const struct sock *s)
{
	int unread = 0;

	if (s->dead || bytes_len(&s->out) > 0)
		return false;
	return ioctl(s->io.fd, SIOCOUTQ, &unread) < 0 || unread == 0;
}

void sock_close(struct sock *s)
{
	if (!s->dead) {
		sock_flush(s);
		loop_del(s->loop, &s->io);
	}
	s->dead = true;
	if (s->io.fd >= 0)
		(void)close(s->io.fd);
	s->io.fd = FD_NONE;
	bytes_free(&s->out);
}
