/*
 * The socket to the agent: one read buffer, one write buffer, yamux in between where it is a port.
 */
#include "xport.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define IN_SIZE	     (512u * 1024)
#define OUT_ROOM     (512u * 1024) /* what senders are told */
#define HEARTBEAT_MS 1000	   /* kata-proxy's: shakes a virtio-serial port that stalls */

static void die(struct xport *x, const struct err *why)
{
	if (x->dead)
		return;
	x->dead = true;
	x->why = *why;
	x->io.events = 0;
	loop_del(x->loop, &x->io);
	loop_timer_del(x->loop, &x->heartbeat);
	if (x->on_end)
		x->on_end(x->user, &x->why);
}

static size_t bytes_len(const struct bytes *b)
{
	return b->tail - b->head;
}

static void bytes_put(struct bytes *b, const void *data, size_t len)
{
	if (b->tail + len > b->cap && b->head > 0) {
		memmove(b->p, b->p + b->head, bytes_len(b));
		b->tail -= b->head;
		b->head = 0;
	}
	if (b->tail + len > b->cap) {
		b->cap = (b->tail + len) * 2;
		b->p = xrealloc(b->p, b->cap);
	}
	memcpy(b->p + b->tail, data, len);
	b->tail += len;
}

static void bytes_take(struct bytes *b, size_t len)
{
	b->head += len;
	if (b->head == b->tail)
		b->head = b->tail = 0;
}

static void put(void *arg, const void *data, size_t len)
{
	struct xport *x = arg;

	if (x->dead)
		return;
	bytes_put(&x->out, data, len);
	x->io.events = POLLIN | POLLOUT;
}

static void frame_staged(struct xport *x)
{
	size_t n = bytes_len(&x->staged);

	if (n > 0)
		bytes_take(&x->staged, yamux_send(&x->mux, x->staged.p + x->staged.head, n));
}

void xport_flush(struct xport *x)
{
	if (x->mux_on && !x->dead)
		frame_staged(x);
	while (!x->dead && bytes_len(&x->out) > 0) {
		ssize_t n =
			send(x->io.fd, x->out.p + x->out.head, bytes_len(&x->out), MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		/*
		 * On failure the peer may have said why before it closed: drop our bytes and let
		 * the read side find what is left in the socket, and then the end.
		 */
		bytes_take(&x->out, n < 0 ? bytes_len(&x->out) : (size_t)n);
	}
	if (!x->dead)
		x->io.events = POLLIN;
}

static void up(void *arg, const uint8_t *data, size_t len)
{
	struct xport *x = arg;

	if (!x->dead)
		x->on_data(x->user, data, len);
}

static void on_readable(struct xport *x)
{
	struct err err;
	ssize_t n = recv(x->io.fd, x->in, IN_SIZE, 0);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		if (n == 0)
			err_set(&err, ECONNRESET, "the agent's side closed the connection");
		else
			err_set(&err, errno, "connection lost: %s", strerror(errno));
		die(x, &err);
		return;
	}
	if (!x->mux_on)
		x->on_data(x->user, x->in, (size_t)n);
	else if (yamux_input(&x->mux, x->in, (size_t)n, &err) < 0)
		die(x, &err);
}

static void on_io(struct io *io, short revents)
{
	struct xport *x = io->arg;

	if (revents & (POLLIN | POLLHUP | POLLERR))
		on_readable(x);
	if (!x->dead)
		xport_flush(x);
	if (!x->dead && x->on_room && xport_room(x) > 0)
		x->on_room(x->user);
}

static void on_heartbeat(struct timer *t)
{
	struct xport *x = t->arg;

	if (!x->mux.ping_out && xport_room(x) > 0) {
		yamux_ping(&x->mux);
		xport_flush(x);
	}
	loop_timer(x->loop, t, now_ms() + HEARTBEAT_MS);
}

void xport_open(struct xport *x, struct loop *loop, int fd, bool yamux)
{
	*x = (struct xport){ .loop = loop, .mux_on = yamux };
	x->io = (struct io){ .fd = fd, .events = POLLIN, .fn = on_io, .arg = x };
	x->in = xmalloc(IN_SIZE);
	loop_add(loop, &x->io);
	if (!yamux)
		return;
	yamux_open(&x->mux, x, put, up);
	x->heartbeat = (struct timer){ .fn = on_heartbeat, .arg = x };
	loop_timer(loop, &x->heartbeat, now_ms() + HEARTBEAT_MS);
}

size_t xport_room(struct xport *x)
{
	size_t used = bytes_len(&x->out) + bytes_len(&x->staged);

	return x->dead || used >= OUT_ROOM ? 0 : OUT_ROOM - used;
}

void xport_send(struct xport *x, const void *data, size_t len)
{
	if (x->mux_on && !x->dead)
		bytes_put(&x->staged, data, len);
	else
		put(x, data, len);
}

void xport_close(struct xport *x)
{
	x->on_end = NULL;
	if (!x->dead) {
		if (x->mux_on)
			yamux_close(&x->mux);
		xport_flush(x);
		loop_del(x->loop, &x->io);
		loop_timer_del(x->loop, &x->heartbeat);
	}
	x->dead = true;
	if (x->io.fd >= 0)
		(void)close(x->io.fd);
	x->io.fd = FD_NONE;
	free(x->out.p);
	free(x->staged.p);
	free(x->in);
	x->in = NULL;
	x->out = x->staged = (struct bytes){ 0 };
}
