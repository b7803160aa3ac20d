/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vsock device's packets: takes them from the guest's transmit queue and fills the buffers of
 * its receive queue. State: the connections by port, who is next to send, resets owed to nobody.
 */
#include "vsock.h"

#include <errno.h>
#include <linux/virtio_vsock.h>
#include <string.h>
#include <sys/epoll.h>

enum { ROUNDS = 4 }; /* of the queues before the loop looks at its events again */

static const char *op_name(unsigned int op)
{
	static const char *const names[] = {
		[VIRTIO_VSOCK_OP_REQUEST] = "REQUEST",
		[VIRTIO_VSOCK_OP_RESPONSE] = "RESPONSE",
		[VIRTIO_VSOCK_OP_RST] = "RST",
		[VIRTIO_VSOCK_OP_SHUTDOWN] = "SHUTDOWN",
		[VIRTIO_VSOCK_OP_RW] = "RW",
		[VIRTIO_VSOCK_OP_CREDIT_UPDATE] = "CREDIT_UPDATE",
		[VIRTIO_VSOCK_OP_CREDIT_REQUEST] = "CREDIT_REQUEST",
	};

	return op < sizeof(names) / sizeof(names[0]) && names[op] ? names[op] : "?";
}

static void trace(const struct vsock *vs, const char *way, const struct virtio_vsock_hdr *h)
{
	if (!vs->verbose)
		return;
	fprintf(stderr,
		"vhost-user-vsock: %s %s %llu:%u -> %llu:%u len %u flags %x buf %u fwd %u\n", way,
		op_name(h->op), (unsigned long long)h->src_cid, h->src_port,
		(unsigned long long)h->dst_cid, h->dst_port, h->len, h->flags, h->buf_alloc,
		h->fwd_cnt);
}

/* ---- from the guest ---- */

static void owe_orphan_reset(struct vsock *vs, const struct virtio_vsock_hdr *h)
{
	unsigned int i = (vs->orphan_head + vs->n_orphans) % ORPHAN_MAX;

	if (h->op == VIRTIO_VSOCK_OP_RST || vs->n_orphans == ORPHAN_MAX)
		return;
	vs->orphan[i] = (struct orphan){ .cid = h->dst_cid,
					 .host_port = h->dst_port,
					 .guest_port = h->src_port,
					 .type = h->type };
	vs->n_orphans++;
}

static void on_request(struct vsock *vs, const struct virtio_vsock_hdr *h)
{
	struct conn *c = vs->faults.refuse ? NULL : conn_dial(vs, h->dst_port, h->src_port);

	if (!c) {
		vs->stats.refused++;
		owe_orphan_reset(vs, h);
		return;
	}
	c->peer_buf_alloc = h->buf_alloc;
	c->peer_fwd = h->fwd_cnt;
	c->owed |= OWE_RESPONSE;
	conn_update(c);
}

/* A packet for c, whose ports fit. */
static void on_packet(struct conn *c, const struct virtio_vsock_hdr *h, const struct chain *ch)
{
	struct vsock *vs = c->vs;

	if (h->op == VIRTIO_VSOCK_OP_RST) {
		if (c->state == CONN_ASKED)
			vs->stats.refused++;
		conn_end(c, false);
		return;
	}
	c->peer_buf_alloc = h->buf_alloc;
	c->peer_fwd = h->fwd_cnt;
	if (conn_credit(c) > 0)
		c->credit_asked = false;
	if (c->state == CONN_ASKED) {
		if (h->op == VIRTIO_VSOCK_OP_RESPONSE)
			conn_opened(c);
		else
			conn_end(c, true);
		return;
	}
	switch (h->op) {
	case VIRTIO_VSOCK_OP_RW:
		conn_take(c, ch, sizeof(*h), h->len);
		break;
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		conn_guest_shutdown(c, h->flags);
		break;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
		c->owed |= OWE_CREDIT;
		conn_update(c);
		break;
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
		conn_update(c);
		break;
	default:
		vs->stats.bad_packets++;
		conn_end(c, true);
	}
}

static void on_chain(struct vsock *vs, const struct chain *ch)
{
	struct virtio_vsock_hdr h;
	struct conn *c;

	if (chain_read(ch, 0, &h, sizeof(h)) < sizeof(h) || h.len > ch->len - sizeof(h) ||
	    h.src_cid != vs->vhost.guest_cid) {
		vs->stats.bad_packets++; /* nobody whom one could answer */
		return;
	}
	trace(vs, "from guest:", &h);
	c = conn_find(vs, h.dst_port, h.src_port);
	if (h.dst_cid != HOST_CID || h.type != VIRTIO_VSOCK_TYPE_STREAM)
		owe_orphan_reset(vs, &h);
	else if (c)
		on_packet(c, &h, ch);
	else if (h.op == VIRTIO_VSOCK_OP_REQUEST)
		on_request(vs, &h);
	else
		owe_orphan_reset(vs, &h);
}

/* Returns true if packets may be left. */
static bool run_tx(struct vsock *vs)
{
	struct vqueue *q = &vs->vhost.ring[VQ_TX];
	unsigned int left = q->num;
	bool more = true, given = false;
	struct chain ch;

	(void)vq_want_kicks(q, false);
	while (more && left > 0 && vs->n_orphans < ORPHAN_MAX) {
		int n = vq_peek(q, &vs->vhost.mem, false, &ch);

		if (n < 0)
			return false;
		if (n == 0) {
			more = vq_want_kicks(q, true);
			continue;
		}
		vq_take(q);
		on_chain(vs, &ch);
		vq_give(q, ch.head, 0);
		given = true;
		left--;
	}
	if (given)
		vq_notify(q);
	return more;
}

/* ---- to the guest ---- */

static uint32_t put_header(const struct conn *c, const struct chain *ch, uint16_t op, uint32_t len,
			   uint32_t flags)
{
	const struct virtio_vsock_hdr h = {
		.src_cid = HOST_CID,
		.dst_cid = c->vs->vhost.guest_cid,
		.src_port = c->host_port,
		.dst_port = c->guest_port,
		.len = len,
		.type = VIRTIO_VSOCK_TYPE_STREAM,
		.op = op,
		.flags = flags,
		.buf_alloc = c->buf_alloc,
		.fwd_cnt = c->told_fwd,
	};

	trace(c->vs, "to guest:", &h);
	chain_write(ch, 0, &h, sizeof(h));
	return (uint32_t)sizeof(h) + len;
}

static uint32_t put_shutdown(struct conn *c, const struct chain *ch)
{
	c->owed &= ~(unsigned int)OWE_SHUTDOWN;
	if (c->host_gone && c->host_eof && list_is_empty(&c->closing)) {
		c->close_by = loop_now_ms() + CLOSE_WAIT_MS;
		list_append(&c->vs->closing, &c->closing);
	}
	return put_header(c, ch, VIRTIO_VSOCK_OP_SHUTDOWN, 0,
			  (c->host_gone ? VIRTIO_VSOCK_SHUTDOWN_RCV : 0u) |
				  (c->host_eof ? VIRTIO_VSOCK_SHUTDOWN_SEND : 0u));
}

static uint32_t put_data(struct conn *c, const struct chain *ch)
{
	size_t room = ch->len - sizeof(struct virtio_vsock_hdr);
	uint32_t credit = conn_credit(c);
	uint32_t len;
	ssize_t n;

	if (room == 0)
		return 0;
	n = conn_fetch(c, ch, sizeof(struct virtio_vsock_hdr),
		       room < credit ? (uint32_t)room : credit);
	if (n < 0)
		return 0;
	if (n == 0)
		return c->owed & OWE_SHUTDOWN ? put_shutdown(c, ch) : 0;
	len = put_header(c, ch, VIRTIO_VSOCK_OP_RW, (uint32_t)n, 0);
	c->sent += (uint32_t)n;
	c->vs->stats.to_guest += (uint64_t)n;
	return len;
}

/* Fills ch with the next packet of c. Returns its length, 0 if there was none after all. */
static uint32_t put_next(struct conn *c, const struct chain *ch)
{
	static const struct {
		enum owe owe;
		uint16_t op;
	} plain[] = {
		{ OWE_REQUEST, VIRTIO_VSOCK_OP_REQUEST },
		{ OWE_RESPONSE, VIRTIO_VSOCK_OP_RESPONSE },
		{ OWE_CREDIT, VIRTIO_VSOCK_OP_CREDIT_UPDATE },
		{ OWE_CREDIT_REQUEST, VIRTIO_VSOCK_OP_CREDIT_REQUEST },
		{ OWE_RESET, VIRTIO_VSOCK_OP_RST },
	};

	if (!c->faults.no_credit)
		c->told_fwd = c->fwd; /* every packet tells it */
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
		if (!(c->owed & plain[i].owe))
			continue;
		c->owed &= ~(unsigned int)plain[i].owe;
		if (plain[i].owe == OWE_REQUEST)
			c->request_sent = true;
		return put_header(c, ch, plain[i].op, 0, 0);
	}
	if (c->owed & OWE_SHUTDOWN)
		return put_shutdown(c, ch);
	return conn_has_data_to_fetch(c) ? put_data(c, ch) : 0;
}

static uint32_t put_orphan_reset(struct vsock *vs, const struct chain *ch)
{
	const struct orphan *o = &vs->orphan[vs->orphan_head];
	const struct virtio_vsock_hdr h = {
		.src_cid = o->cid,
		.dst_cid = vs->vhost.guest_cid,
		.src_port = o->host_port,
		.dst_port = o->guest_port,
		.type = o->type,
		.op = VIRTIO_VSOCK_OP_RST,
	};

	trace(vs, "to guest:", &h);
	vs->orphan_head = (vs->orphan_head + 1) % ORPHAN_MAX;
	vs->n_orphans--;
	return (uint32_t)chain_write(ch, 0, &h, sizeof(h));
}

/* One packet of whoever is next. Returns its length, 0 if there was none after all. */
static uint32_t put_packet(struct vsock *vs, const struct chain *ch)
{
	struct conn *c;
	uint32_t len;
	bool was_reset;

	if (vs->n_orphans > 0)
		return put_orphan_reset(vs, ch);
	c = list_entry(vs->ready.next, struct conn, ready);
	list_remove(&c->ready);
	was_reset = c->owed & OWE_RESET;
	len = put_next(c, ch);
	if (was_reset)
		conn_reset_sent(c);
	else
		conn_update(c); /* to the end of the line, if there is more */
	return len;
}

/* Returns true if packets and buffers may be left. */
static bool run_rx(struct vsock *vs)
{
	struct vqueue *q = &vs->vhost.ring[VQ_RX];
	unsigned int left = q->num;
	bool given = false, more = true;
	struct chain ch;

	(void)vq_want_kicks(q, false);
	while (left > 0 && (vs->n_orphans > 0 || !list_is_empty(&vs->ready))) {
		int n = vq_peek(q, &vs->vhost.mem, true, &ch);
		uint32_t len;

		if (n < 0)
			return false;
		if (n == 0) {
			more = vq_want_kicks(q, true);
			if (!more)
				break;
			continue;
		}
		if (ch.len < sizeof(struct virtio_vsock_hdr)) {
			vq_break(q, "buffer smaller than a packet's header");
			return false;
		}
		len = put_packet(vs, &ch);
		left--;
		if (len == 0)
			continue; /* the buffer stays for the next packet */
		vq_take(q);
		vq_give(q, ch.head, len);
		given = true;
	}
	if (given)
		vq_notify(q);
	return more && left == 0;
}

static int sleep_for(const struct vsock *vs, int64_t now)
{
	int64_t due = INT64_MAX;
	struct list *l;

	if (!list_is_empty(&vs->closing))
		due = list_entry(vs->closing.next, struct conn, closing)->close_by;
	for (l = vs->delayed.next; l != &vs->delayed; l = l->next) {
		const struct conn *c = list_entry(l, struct conn, delayed);

		due = c->in_due && c->in_due < due ? c->in_due : due;
		due = c->out_due && c->out_due < due ? c->out_due : due;
	}
	if (due == INT64_MAX)
		return -1;
	return due > now ? (int)(due - now) : 0;
}

int vsock_run(struct vsock *vs)
{
	bool timers = !list_is_empty(&vs->closing) || !list_is_empty(&vs->delayed);

	if (timers)
		conn_run_timers(vs, loop_now_ms());
	if (vs->accept_retry)
		conn_accept(vs);
	for (int i = 0; i < ROUNDS && vhost_is_running(&vs->vhost); i++) {
		bool tx = run_tx(vs);
		bool rx = run_rx(vs);

		/* Transmit may have stopped for want of room that receive has made since. */
		tx = tx && vs->n_orphans < ORPHAN_MAX;
		if (!tx && !rx)
			break;
		if (i == ROUNDS - 1)
			return 0;
	}
	if (vs->accept_retry)
		return 0;
	timers = !list_is_empty(&vs->closing) || !list_is_empty(&vs->delayed);
	return timers ? sleep_for(vs, loop_now_ms()) : -1;
}

/* ---- the device ---- */

static void on_kicked(void *arg, unsigned int queue)
{
	(void)arg;
	(void)queue; /* vsock_run() looks at both after every batch of events */
}

static void on_reset(void *arg)
{
	struct vsock *vs = arg;

	if (vs->verbose)
		fprintf(stderr, "vhost-user-vsock: the guest started its device afresh\n");
	conn_end_all(vs);
	vs->n_orphans = 0;
}

static void on_disconnected(void *arg)
{
	struct vsock *vs = arg;

	on_reset(arg);
	if (!vs->keep)
		vs->loop->stop = true;
}

static void on_client(struct source *s, uint32_t events)
{
	(void)events;
	conn_accept((struct vsock *)(void *)((char *)s - offsetof(struct vsock, listener)));
}

int vsock_open(struct vsock *vs, struct loop *loop, int vhost_fd, int uds_fd, uint64_t guest_cid)
{
	static const struct vhost_ops ops = {
		.kicked = on_kicked,
		.was_reset = on_reset,
		.disconnected = on_disconnected,
	};
	int err;

	vs->loop = loop;
	vs->next_port = HOST_PORT_FIRST;
	list_init(&vs->conns);
	list_init(&vs->ready);
	list_init(&vs->delayed);
	list_init(&vs->closing);
	vs->listener = (struct source){ .fd = FD_NONE, .fn = on_client };
	err = vhost_open(&vs->vhost, loop, vhost_fd, guest_cid, &ops, vs);
	if (err)
		return err;
	vs->vhost.verbose = vs->verbose;
	return loop_add(loop, &vs->listener, uds_fd, EPOLLIN);
}

void vsock_close(struct vsock *vs)
{
	conn_end_all(vs);
	loop_del(vs->loop, &vs->listener);
	vhost_close(&vs->vhost);
}
