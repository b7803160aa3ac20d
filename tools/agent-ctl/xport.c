/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way to the agent: a socket as it is, or one stream of the yamux session on a serial port.
 */
#include "xport.h"

#include <errno.h>
#include <string.h>

#define OUT_ROOM    (512u * 1024)  /* what senders are told */
#define OUR_WINDOW  (1024u * 1024) /* the agent may send so much ahead */
#define PATIENCE_MS 30000	   /* for the first answer on a port; the guest may be booting */
#define GOODBYE_MS  200		   /* for the agent's FIN after ours */

static void die(struct xport *x, const struct err *why)
{
	if (x->dead)
		return;
	x->dead = true;
	x->why = *why;
	if (x->on_end)
		x->on_end(x->user, &x->why);
}

static void on_end(void *user, const struct err *why)
{
	die(user, why);
}

static void on_turn(void *user)
{
	struct xport *x = user;

	xport_flush(x);
	if (!x->dead && x->on_room && xport_room(x) > 0)
		x->on_room(x->user);
}

/* ---- plain ---- */

static int on_input(void *user, const uint8_t *data, size_t len, struct err *err)
{
	struct xport *x = user;

	(void)err;
	x->on_data(x->user, data, len);
	return 0;
}

static const struct sock_ops plain_ops = { .input = on_input, .end = on_end, .turn = on_turn };

/* ---- a port's stream ---- */

static struct xport *of_stream(struct yamux_stream *s)
{
	return (struct xport *)((char *)s - offsetof(struct xport, stream));
}

static void on_ready(void *user)
{
	struct xport *x = user;

	yamux_open(&x->port.mux, &x->stream, OUR_WINDOW);
}

static void on_stream_data(struct yamux_stream *s, const uint8_t *data, size_t len)
{
	struct xport *x = of_stream(s);

	if (!x->dead)
		x->on_data(x->user, data, len);
	yamux_took(s, len);
}

static void on_stream_end(struct yamux_stream *s, bool reset)
{
	struct err err;

	err_set(&err, ECONNRESET, "the agent %s the yamux stream", reset ? "has reset" : "closed");
	die(of_stream(s), &err);
}

static const struct port_ops port_ops = { .ready = on_ready,
					  .end = on_end,
					  .turn = on_turn,
					  .data = on_stream_data,
					  .stream_end = on_stream_end };

static void frame_staged(struct xport *x)
{
	size_t n = bytes_len(&x->staged);

	if (n > 0 && x->stream.y)
		bytes_take(&x->staged, yamux_send(&x->stream, bytes_data(&x->staged), n));
}

/* The agent's answer to our FIN should not be left in the port for the next client. */
static void say_goodbye(struct xport *x)
{
	int64_t end = now_ms() + GOODBYE_MS, left;

	yamux_fin(&x->stream);
	sock_flush(&x->port.sock);
	while (x->stream.y && !x->stream.ended && !x->port.sock.dead && (left = end - now_ms()) > 0)
		sock_step(&x->port.sock, (int)left);
}

/* ---- both ---- */

void xport_open(struct xport *x, struct loop *loop, int fd, bool yamux)
{
	*x = (struct xport){ .mux_on = yamux };
	if (yamux)
		port_open(&x->port, loop, fd, PATIENCE_MS, &port_ops, x);
	else
		sock_open(&x->sock, loop, fd, &plain_ops, x);
}

size_t xport_room(struct xport *x)
{
	size_t used = bytes_len(x->mux_on ? &x->port.sock.out : &x->sock.out);

	used += bytes_len(&x->staged);
	return x->dead || used >= OUT_ROOM ? 0 : OUT_ROOM - used;
}

void xport_send(struct xport *x, const void *data, size_t len)
{
	if (x->dead)
		return;
	if (x->mux_on)
		bytes_put(&x->staged, data, len);
	else
		sock_put(&x->sock, data, len);
}

void xport_flush(struct xport *x)
{
	if (x->mux_on && !x->dead)
		frame_staged(x);
	sock_flush(x->mux_on ? &x->port.sock : &x->sock);
}

void xport_close(struct xport *x)
{
	bool was_dead = x->dead;

	x->on_end = NULL;
	x->dead = true; /* nobody listens to the last data */
	if (x->mux_on) {
		if (!was_dead)
			say_goodbye(x);
		else
			yamux_fin(&x->stream);
		port_close(&x->port);
	} else {
		sock_close(&x->sock);
	}
	bytes_free(&x->staged);
}
