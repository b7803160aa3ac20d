/* SPDX-License-Identifier: Apache-2.0 */
/* The port: asks until the agent answers, then keeps the line awake. */
#include "port.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#define OUT_ROOM     (128u * 1024)
#define ASK_MS	     250
#define ASK_PAD	     6	  /* so many pings were taken and not answered: the agent is in mid-frame */
#define HEARTBEAT_MS 1000 /* kata-proxy's: shakes a virtio-serial port that stalls */

static void on_timer(struct timer *t)
{
	struct port *p = t->arg;
	bool ready = p->mux.ready;
	struct err err;

	if (!ready && p->give_up_ms && now_ms() >= p->give_up_ms) {
		err_set(&err, ETIMEDOUT, "the agent does not answer on its serial port%s",
			sock_is_drained(&p->sock) ? "" : " (does somebody else hold it, a proxy?)");
		sock_die(&p->sock, &err);
		return;
	}
	/* While nobody reads, as before the agent runs, one ping that waits is enough. */
	if (sock_is_drained(&p->sock)) {
		if (!ready && ++p->unanswered % ASK_PAD == 0)
			yamux_pad(&p->mux);
		yamux_ping(&p->mux);
		sock_flush(&p->sock);
	}
	loop_timer(p->sock.loop, t, now_ms() + (ready ? HEARTBEAT_MS : ASK_MS));
}

static void emit(void *arg, const void *data, size_t len)
{
	struct port *p = arg;

	sock_put(&p->sock, data, len);
}

static void on_ready(void *arg)
{
	struct port *p = arg;

	loop_timer(p->sock.loop, &p->timer, now_ms() + HEARTBEAT_MS);
	p->ops->ready(p->user);
}

static void begin(struct port *p)
{
	uint32_t random;

	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		random = (uint32_t)now_us();
	yamux_init(&p->mux, &p->mux_ops, p, random);
	p->unanswered = 0;
	yamux_ping(&p->mux);
	sock_flush(&p->sock);
	loop_timer(p->sock.loop, &p->timer, now_ms() + ASK_MS);
}

static int on_input(void *user, const uint8_t *data, size_t len, struct err *err)
{
	struct port *p = user;
	int r = yamux_input(&p->mux, data, len, err);

	if (r == 0 || !p->ops->lost)
		return r;
	p->ops->lost(p->user, err);
	begin(p);
	return 0;
}

static void on_end(void *user, const struct err *why)
{
	struct port *p = user;

	loop_timer_del(p->sock.loop, &p->timer);
	p->ops->end(p->user, why);
}

static void on_turn(void *user)
{
	struct port *p = user;

	p->ops->turn(p->user);
}

static const struct sock_ops sock_ops = { .input = on_input, .end = on_end, .turn = on_turn };

void port_open(struct port *p, struct loop *loop, int fd, int64_t patience_ms,
	       const struct port_ops *ops, void *user)
{
	*p = (struct port){ .ops = ops, .user = user };
	p->mux_ops = (struct yamux_ops){
		.emit = emit, .ready = on_ready, .data = ops->data, .end = ops->stream_end
	};
	p->timer = (struct timer){ .fn = on_timer, .arg = p };
	p->give_up_ms = patience_ms ? now_ms() + patience_ms : 0;
	sock_open(&p->sock, loop, fd, &sock_ops, p);
	begin(p);
}

size_t port_room(const struct port *p)
{
	size_t used = bytes_len(&p->sock.out);

	return p->sock.dead || !p->mux.ready || used >= OUT_ROOM ? 0 : OUT_ROOM - used;
}

void port_close(struct port *p)
{
	loop_timer_del(p->sock.loop, &p->timer);
	sock_close(&p->sock);
}
