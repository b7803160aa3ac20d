/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections, and sockets as their carriers. State of each socket: the fd, its source, and whether
 * it is on its way out.
 */
#include "wire/conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/log.h"

/* 64 KiB of a stream with what a request has around them: one read takes a whole WriteStdin. */
#define READ_CHUNK (68u << 10)

struct fdconn {
	struct list link;
	struct conn conn;
	struct loop *loop;
	struct source source;
	struct job hang_up;
	struct timer linger; /* until the first byte; and after our end */
	int fd;
	bool heard;   /* it has said something */
	bool paused;  /* nothing is read until the peer has taken its answers */
	bool blocked; /* the socket is full: EPOLLOUT is being waited for */
	bool leaving; /* shut down; waiting for the peer to have read everything */
};

/* All of them. */
static struct {
	struct list list;
	unsigned int count;
} conns = { .list = LIST_INIT(conns.list) };

int conn_input(struct conn *c, const uint8_t *data, size_t len)
{
	return c->protocol->input(c, data, len);
}

int conn_writable(struct conn *c)
{
	return c->protocol ? c->protocol->writable(c) : 0;
}

void conn_closed(struct conn *c)
{
	if (c->protocol)
		c->protocol->closed(c);
	c->protocol = NULL;
	c->upper = NULL;
}

static void fdconn_free(struct fdconn *f)
{
	conn_closed(&f->conn);
	loop_del(&f->source);
	job_cancel(&f->hang_up);
	timer_cancel(&f->linger);
	/*
	 * Forked workers may hold the socket for a while: shutting it down reaches the peer at
	 * once.
	 */
	(void)shutdown(f->fd, SHUT_RDWR);
	(void)close(f->fd);
	list_del(&f->link);
	conns.count--;
	free(f);
}

static void fdconn_on_linger(struct timer *t)
{
	fdconn_free(container_of(t, struct fdconn, linger));
}

/*
 * virtio-vsock's close() drops what the peer has not read yet: say that no more comes, drain until
 * the peer closes, and close only then.
 */
static void fdconn_leave(struct fdconn *f)
{
	conn_closed(&f->conn);
	f->leaving = true;
	(void)shutdown(f->fd, SHUT_WR);
	(void)loop_mod(&f->source, EPOLLIN);
	timer_set(f->loop, &f->linger, LIMIT_LINGER_MS, fdconn_on_linger);
}

static void fdconn_on_hang_up(struct job *j)
{
	fdconn_leave(container_of(j, struct fdconn, hang_up));
}

static void fdconn_hang_up(struct conn *c)
{
	struct fdconn *f = container_of(c, struct fdconn, conn);

	if (!f->leaving)
		job_queue(f->loop, &f->hang_up, fdconn_on_hang_up);
}

static void fdconn_wait_for_more(struct fdconn *f)
{
	(void)loop_mod(&f->source,
		       (f->paused && !f->leaving ? 0 : EPOLLIN) | (f->blocked ? EPOLLOUT : 0));
}

static ssize_t fdconn_writev(struct conn *c, const struct iovec *iov, int count)
{
	struct fdconn *f = container_of(c, struct fdconn, conn);
	/*
	 * The count is the caller's, never negative; sendmsg rather than writev for MSG_NOSIGNAL.
	 */
	struct msghdr msg = { .msg_iov = (struct iovec *)(uintptr_t)iov,
			      .msg_iovlen = (size_t)count };
	size_t total = 0;
	ssize_t n;

	do
		n = sendmsg(f->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno != EAGAIN)
		return -errno;
	if (n < 0)
		n = 0;
	for (int i = 0; i < count; i++)
		total += iov[i].iov_len;
	if ((size_t)n < total) {
		f->blocked = true;
		fdconn_wait_for_more(f);
	}
	return n;
}

static void fdconn_pause(struct conn *c, bool on)
{
	struct fdconn *f = container_of(c, struct fdconn, conn);

	f->paused = on;
	fdconn_wait_for_more(f);
}

static const struct conn_carrier fdconn_carrier = { fdconn_writev, fdconn_hang_up, fdconn_pause };

static void fdconn_on_event(struct source *s, uint32_t events)
{
	static uint8_t chunk[READ_CHUNK]; /* one for all: nothing is in it when this returns */
	struct fdconn *f = container_of(s, struct fdconn, source);
	ssize_t n;
	int r = 0;

	if (events & EPOLLOUT && !f->leaving) {
		f->blocked = false;
		r = conn_writable(&f->conn);
		fdconn_wait_for_more(f);
	}
	if (r == 0 && events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		n = recv(f->fd, chunk, sizeof(chunk), MSG_DONTWAIT);
		if (n > 0 && !f->leaving) {
			timer_cancel(&f->linger);
			f->heard = true;
			r = conn_input(&f->conn, chunk, (size_t)n);
		}
		if (n > 0)
			explicit_bzero(chunk, (size_t)n); /* see base/buf.c */
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
			fdconn_free(f);
			return;
		}
	}
	if (r < 0) {
		log_debug("conn", "%s: ended: error %d", f->conn.peer, -r);
		fdconn_leave(f);
	}
}

/* All are taken: whoever has been silent the longest, since it came, makes room. */
static void fdconn_make_room(void)
{
	list_for_each(struct fdconn, f, &conns.list, link) {
		if (!f->heard && !f->leaving) {
			fdconn_free(f);
			return;
		}
	}
}

int fdconn_start(struct loop *l, struct rpc_server *rpc, int fd, const char *peer,
		 conn_start *start)
{
	AUTO_FREE struct fdconn *f = NULL;
	int r;

	if (conns.count >= LIMIT_CONNS)
		fdconn_make_room();
	if (conns.count < LIMIT_CONNS)
		f = calloc(1, sizeof(*f));
	if (!f) {
		(void)close(fd);
		return -ENOMEM;
	}
	f->conn = (struct conn){ .rpc = rpc, .carrier = &fdconn_carrier, .peer = peer };
	f->loop = l;
	f->fd = fd;
	r = loop_add(l, &f->source, fd, EPOLLIN, fdconn_on_event);
	if (r == 0)
		r = start(&f->conn);
	if (r < 0) {
		loop_del(&f->source);
		(void)close(fd);
		return r;
	}
	conns.count++;
	list_add_tail(&conns.list, &f->link);
	timer_set(l, &f->linger, LIMIT_FIRST_BYTE_MS, fdconn_on_linger);
	f = NULL; /* it belongs to its source now */
	return 0;
}

void fdconn_close_all(void)
{
	while (!list_empty(&conns.list))
		fdconn_free(list_first(&conns.list, struct fdconn, link));
}
