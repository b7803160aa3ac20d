/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection's Unix socket: the CONNECT greeting, bytes both ways, half-closes and the end.
 * State: struct conn; each is in vs->conns, and in the port table while the guest knows it.
 */
#include "vsock.h"

#include <errno.h>
#include <linux/virtio_vsock.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { HELLO_MAX = 32 }; /* "CONNECT 4294967295\n" and some */

/* ---- life and ports ---- */

static struct conn **bucket(struct vsock *vs, uint32_t host_port, uint32_t guest_port)
{
	uint32_t h = (host_port * 2654435761u) ^ (guest_port * 2246822519u);

	return &vs->bucket[(h >> 16) % CONN_BUCKETS];
}

struct conn *conn_find(struct vsock *vs, uint32_t host_port, uint32_t guest_port)
{
	struct conn *c = *bucket(vs, host_port, guest_port);

	while (c && (c->host_port != host_port || c->guest_port != guest_port))
		c = c->next_in_bucket;
	return c;
}

static void add_to_table(struct conn *c)
{
	struct conn **b = bucket(c->vs, c->host_port, c->guest_port);

	c->next_in_bucket = *b;
	*b = c;
	c->hashed = true;
}

static void remove_from_table(struct conn *c)
{
	struct conn **p = bucket(c->vs, c->host_port, c->guest_port);

	if (!c->hashed)
		return;
	while (*p != c)
		p = &(*p)->next_in_bucket;
	*p = c->next_in_bucket;
	c->hashed = false;
}

static struct conn *from_source(struct source *s)
{
	return (struct conn *)(void *)((char *)s - offsetof(struct conn, src));
}

static void gone(struct source *s)
{
	free(from_source(s));
}

static void release(struct conn *c)
{
	struct vsock *vs = c->vs;

	remove_from_table(c);
	list_remove(&c->all);
	list_remove(&c->ready);
	list_remove(&c->delayed);
	list_remove(&c->closing);
	free(c->out.mem);
	c->out = (struct outbuf){ 0 };
	vs->n_conns--;
	vs->accept_retry = vs->accept_paused;
	loop_del(vs->loop, &c->src);
}

static void on_event(struct source *s, uint32_t events);

/* Takes fd over, also when it fails. Returns NULL for want of memory. */
static struct conn *create(struct vsock *vs, int fd)
{
	struct conn *c = vs->n_conns < CONN_MAX ? calloc(1, sizeof(*c)) : NULL;

	if (!c)
		goto fail;
	*c = (struct conn){ .vs = vs,
			    .faults = vs->faults,
			    .buf_alloc = vs->faults.buf_alloc,
			    .src = { .fd = FD_NONE, .fn = on_event, .gone = gone } };
	if (loop_add(vs->loop, &c->src, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP) < 0)
		goto fail;
	list_append(&vs->conns, &c->all);
	list_init(&c->ready);
	list_init(&c->delayed);
	list_init(&c->closing);
	vs->n_conns++;
	vs->stats.opened++;
	return c;
fail:
	free(c);
	close(fd);
	return NULL;
}

void conn_accept(struct vsock *vs)
{
	vs->accept_paused = false;
	vs->accept_retry = false;
	for (;;) {
		int fd;

		if (vs->n_conns >= CONN_MAX) {
			vs->accept_paused = true;
			return;
		}
		fd = accept4(vs->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0) {
			if (errno == EINTR || errno == ECONNABORTED)
				continue;
			vs->accept_paused = errno != EAGAIN;
			return;
		}
		if (vs->faults.refuse || !vhost_is_running(&vs->vhost)) {
			vs->stats.refused++;
			/* as a guest that does not listen: the client tries again */
			close(fd);
		} else {
			(void)create(vs, fd);
		}
	}
}

struct conn *conn_dial(struct vsock *vs, uint32_t host_port, uint32_t guest_port)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd, n = snprintf(a.sun_path, sizeof(a.sun_path), "%s_%u", vs->uds, host_port);
	struct conn *c;

	if (n < 0 || (size_t)n >= sizeof(a.sun_path))
		return NULL;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return NULL;
	/* On a Unix socket this succeeds or fails at once, also when the backlog is full. */
	if (connect(fd, (const struct sockaddr *)&a, sizeof(a)) < 0) {
		close(fd);
		return NULL;
	}
	c = create(vs, fd);
	if (!c)
		return NULL;
	c->state = CONN_OPEN;
	c->by_guest = true;
	c->host_port = host_port;
	c->guest_port = guest_port;
	add_to_table(c);
	return c;
}

/* Frees an ended connection once its client has all bytes and the guest its reset. */
static void finish(struct conn *c)
{
	if (c->src.dead || c->state != CONN_OVER || (c->out.len > 0 && c->src.fd >= 0))
		return;
	loop_close_fd(c->vs->loop, &c->src);
	if (!(c->owed & OWE_RESET))
		release(c);
}

void conn_end(struct conn *c, bool with_reset)
{
	enum conn_state was = c->state;

	if (c->src.dead || was == CONN_OVER)
		return;
	c->state = CONN_OVER;
	c->owed = with_reset ? OWE_RESET : 0;
	c->vs->stats.resets += with_reset;
	remove_from_table(c);
	list_remove(&c->ready);
	list_remove(&c->closing);
	conn_update(c);
	if (was == CONN_OPEN)
		conn_flush(c);
	finish(c);
}

void conn_reset_sent(struct conn *c)
{
	finish(c);
}

void conn_end_all(struct vsock *vs)
{
	struct list *l, *tmp;

	list_each_safe(l, tmp, &vs->conns)
	{
		struct conn *c = list_entry(l, struct conn, all);

		c->owed = 0;
		conn_end(c, false);
		finish(c); /* one that had ended before and still owed a reset */
	}
}

/* ---- credit and the ready list ---- */

uint32_t conn_credit(const struct conn *c)
{
	uint32_t under_way = c->sent - c->peer_fwd;

	return under_way < c->peer_buf_alloc ? c->peer_buf_alloc - under_way : 0;
}

static bool has_data(const struct conn *c)
{
	return c->state == CONN_OPEN && c->readable && !c->host_eof && c->src.fd >= 0 &&
	       (c->faults.delay_ms == 0 || c->in_rested);
}

bool conn_has_data_to_fetch(struct conn *c)
{
	return has_data(c) && conn_credit(c) > 0;
}

void conn_update(struct conn *c)
{
	bool wants;

	if (c->src.dead)
		return;
	if (has_data(c) && conn_credit(c) == 0 && !c->credit_asked) {
		c->owed |= OWE_CREDIT_REQUEST;
		c->credit_asked = true;
	}
	wants = c->owed != 0 || conn_has_data_to_fetch(c);
	if (!wants)
		list_remove(&c->ready);
	else if (list_is_empty(&c->ready))
		list_append(&c->vs->ready, &c->ready);
}

/* Bytes have left our keeping: tell the guest when that is news enough. */
static void gave(struct conn *c, uint32_t n)
{
	c->fwd += n;
	if (c->state == CONN_OPEN && !c->faults.no_credit && !c->guest_no_send &&
	    c->fwd - c->told_fwd >= (c->buf_alloc + 3) / 4) {
		c->owed |= OWE_CREDIT;
		conn_update(c);
	}
}

/* ---- towards the Unix socket ---- */

static void client_gone(struct conn *c)
{
	if (c->host_gone)
		return;
	c->host_gone = true;
	gave(c, c->out.len);
	c->out.len = 0;
	switch (c->state) {
	case CONN_HELLO:
		release(c);
		break;
	case CONN_ASKED:
		conn_end(c, c->request_sent);
		break;
	case CONN_OPEN:
		/* What it wrote before is still to be read; but nothing can be given to it. */
		c->owed |= OWE_SHUTDOWN;
		conn_update(c);
		break;
	case CONN_OVER:
		finish(c);
		break;
	}
}

/* Returns how much was written, 0 if the socket is full or the client gone. */
static uint32_t send_some(struct conn *c, struct iovec *iov, unsigned int n_iov)
{
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = n_iov };
	ssize_t n;

	do {
		n = sendmsg(c->src.fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n >= 0)
		return (uint32_t)n;
	if (errno != EAGAIN)
		client_gone(c);
	return 0;
}

void conn_flush(struct conn *c)
{
	struct outbuf *o = &c->out;

	if (c->src.dead || c->faults.stall || c->out_due)
		return;
	while (o->len > 0 && c->src.fd >= 0) {
		uint32_t first = o->size - o->head < o->len ? o->size - o->head : o->len;
		struct iovec iov[2] = { { o->mem + o->head, first }, { o->mem, o->len - first } };
		uint32_t n = send_some(c, iov, 2);

		if (n == 0)
			return; /* client_gone() may have emptied and ended it all */
		o->head = (o->head + n) % o->size;
		o->len -= n;
		gave(c, n);
	}
	free(o->mem);
	*o = (struct outbuf){ 0 };
	if (c->guest_no_send && !c->host_told_eof && c->src.fd >= 0) {
		(void)shutdown(c->src.fd, SHUT_WR);
		c->host_told_eof = true;
	}
	finish(c);
}

/* Keeps bytes for later. The caller has made sure that they fit into buf_alloc. */
static int keep(struct conn *c, const struct chain *ch, size_t off, uint32_t len)
{
	struct outbuf *o = &c->out;

	if (!o->mem) {
		*o = (struct outbuf){ .mem = malloc(c->buf_alloc), .size = c->buf_alloc };
		if (!o->mem)
			return -ENOMEM;
	}
	while (len > 0) {
		uint32_t tail = (uint32_t)(((uint64_t)o->head + o->len) % o->size);
		uint32_t n = o->size - tail < len ? o->size - tail : len;

		chain_read(ch, off, o->mem + tail, n);
		o->len += n;
		off += n;
		len -= n;
	}
	return 0;
}

static void delay(struct conn *c, int64_t *due)
{
	if (*due)
		return;
	*due = loop_now_ms() + c->faults.delay_ms;
	if (list_is_empty(&c->delayed))
		list_append(&c->vs->delayed, &c->delayed);
}

void conn_take(struct conn *c, const struct chain *ch, size_t off, uint32_t len)
{
	uint32_t kept = c->got - c->fwd;
	bool reset = false;

	if (c->guest_no_send || kept > c->buf_alloc || len > c->buf_alloc - kept) {
		c->vs->stats.bad_packets++;
		conn_end(c, true);
		return;
	}
	if (c->faults.reset_left >= 0) {
		reset = len >= c->faults.reset_left;
		len = reset ? (uint32_t)c->faults.reset_left : len;
		c->faults.reset_left -= len;
	}
	c->got += len;
	c->vs->stats.from_guest += len;
	if (!c->host_gone && c->out.len == 0 && !c->faults.stall && !c->faults.delay_ms) {
		struct iovec iov[CHAIN_IOV_MAX];
		uint32_t n = send_some(c, iov, chain_slice(ch, off, len, iov));

		gave(c, n);
		off += n;
		len -= n;
	}
	if (c->host_gone) {
		gave(c, len);
	} else if (len > 0) {
		if (c->faults.delay_ms)
			delay(c, &c->out_due);
		reset = keep(c, ch, off, len) < 0 || reset;
	}
	if (reset)
		conn_end(c, true);
}

void conn_guest_shutdown(struct conn *c, uint32_t flags)
{
	if (flags & VIRTIO_VSOCK_SHUTDOWN_RCV) {
		c->guest_no_recv = true;
		c->host_eof = true; /* for the guest it is the same: no more comes */
		if (c->src.fd >= 0)
			(void)shutdown(c->src.fd, SHUT_RD);
	}
	if (flags & VIRTIO_VSOCK_SHUTDOWN_SEND)
		c->guest_no_send = true;
	if (c->guest_no_recv && c->guest_no_send) {
		conn_end(c, true); /* what a closing guest waits for */
		return;
	}
	conn_flush(c);
	conn_update(c);
}

/* ---- from the Unix socket ---- */

static void drained(struct conn *c)
{
	c->readable = false;
	c->in_rested = false;
}

ssize_t conn_fetch(struct conn *c, const struct chain *ch, size_t off, uint32_t len)
{
	struct iovec iov[CHAIN_IOV_MAX];
	ssize_t n;

	if (c->faults.reset_left >= 0 && len > c->faults.reset_left)
		len = (uint32_t)c->faults.reset_left;
	if (len == 0) {
		conn_end(c, true);
		return -ECANCELED;
	}
	n = readv(c->src.fd, iov, (int)chain_slice(ch, off, len, iov));
	if (n > 0) {
		if (c->faults.reset_left >= 0)
			c->faults.reset_left -= n;
		/*
		 * A short read has emptied the socket, and epoll tells of whatever comes later; but
		 * it has told already of an end that stands behind these bytes.
		 */
		if ((size_t)n < len && !c->host_ending)
			drained(c);
		return n;
	}
	if (n < 0 && errno == EINTR)
		return -EINTR;
	if (n < 0 && errno == EAGAIN) {
		drained(c);
		return -EAGAIN;
	}
	c->host_eof = true;
	c->owed |= OWE_SHUTDOWN;
	if (n < 0)
		client_gone(c);
	if (c->host_gone)
		loop_close_fd(c->vs->loop, &c->src);
	return 0;
}

/* The guest side of a greeting: a port of our own that is free. */
static uint32_t new_port(struct vsock *vs, uint32_t guest_port)
{
	uint32_t port;

	do {
		port = vs->next_port++;
		if (vs->next_port >= 2u * HOST_PORT_FIRST)
			vs->next_port = HOST_PORT_FIRST;
	} while (conn_find(vs, port, guest_port));
	return port;
}

/*
 * Returns the length of the line "CONNECT <port>\n", 0 if it is not all there, or -EPROTO.
 * runtime-rs writes the word in small letters.
 */
static int parse_hello(const char *buf, size_t len, uint32_t *ret_port)
{
	static const char word[] = "CONNECT ";
	const char *nl = memchr(buf, '\n', len);
	unsigned long long port;
	char *end;

	if (!nl)
		return len >= HELLO_MAX ? -EPROTO : 0;
	if ((size_t)(nl - buf) < sizeof(word) || strncasecmp(buf, word, sizeof(word) - 1) != 0 ||
	    buf[sizeof(word) - 1] < '0' || buf[sizeof(word) - 1] > '9')
		return -EPROTO;
	port = strtoull(buf + sizeof(word) - 1, &end, 10);
	if (end != nl || port > UINT32_MAX)
		return -EPROTO;
	*ret_port = (uint32_t)port;
	return (int)(nl - buf) + 1;
}

static void read_hello(struct conn *c)
{
	char buf[HELLO_MAX + 1] = "";
	ssize_t n = recv(c->src.fd, buf, HELLO_MAX, MSG_PEEK);
	int len;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	len = n > 0 ? parse_hello(buf, (size_t)n, &c->guest_port) : -EPROTO;
	if (len == 0)
		return;
	/* Only the line: what follows it already belongs to the guest. */
	if (len < 0 || recv(c->src.fd, buf, (size_t)len, 0) != len) {
		release(c);
		return;
	}
	c->host_port = new_port(c->vs, c->guest_port);
	c->state = CONN_ASKED;
	c->owed |= OWE_REQUEST;
	add_to_table(c);
}

void conn_opened(struct conn *c)
{
	char line[32];
	int len = snprintf(line, sizeof(line), "OK %u\n", c->host_port);
	struct iovec iov = { line, (size_t)len };

	c->state = CONN_OPEN;
	if (send_some(c, &iov, 1) != (uint32_t)len && !c->host_gone)
		conn_end(c, true); /* a fresh socket without room for a line */
	conn_update(c);
}

static void on_event(struct source *s, uint32_t events)
{
	struct conn *c = from_source(s);

	if (s->fd < 0)
		return;
	if (events & EPOLLOUT)
		conn_flush(c);
	if (c->src.dead || c->src.fd < 0)
		return;
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
		c->readable = true;
		c->host_ending = c->host_ending || (events & ~(uint32_t)(EPOLLIN | EPOLLOUT));
		if (c->faults.delay_ms && !c->in_rested)
			delay(c, &c->in_due);
	}
	if (c->state == CONN_HELLO && c->readable)
		read_hello(c);
	if (!c->src.dead && (events & (EPOLLHUP | EPOLLERR)))
		client_gone(c);
	conn_update(c);
}

void conn_run_timers(struct vsock *vs, int64_t now)
{
	struct list *l, *tmp;

	list_each_safe(l, tmp, &vs->delayed)
	{
		struct conn *c = list_entry(l, struct conn, delayed);

		if (c->in_due && c->in_due <= now) {
			c->in_due = 0;
			c->in_rested = true;
		}
		if (!c->in_due && (!c->out_due || c->out_due <= now))
			list_remove(&c->delayed);
		if (c->out_due && c->out_due <= now) {
			c->out_due = 0;
			conn_flush(c);
		}
		conn_update(c);
	}
	list_each_safe(l, tmp, &vs->closing)
	{
		struct conn *c = list_entry(l, struct conn, closing);

		if (c->close_by > now)
			break;
		conn_end(c, true);
	}
}
