/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yamux sessions. The session is the protocol of the connection below it, and the carrier of one
 * connection for each stream.
 *
 * State: one struct session a connection, one struct stream a stream. Nothing is queued for a
 * stream: what its window or the connection below doesn't take stays with the stream's protocol,
 * which is called back. Only the rest of one data frame and control frames wait in the session's
 * backlog, so that a stream that isn't read never holds up another.
 */
#include "wire/yamux.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/log.h"

#define HEADER	       12u
#define WINDOW	       (256u << 10)
#define STREAMS	       1024u /* of one session; the next one is reset */
#define BUCKETS	       64u
#define FRAME_DATA_MAX ((32u << 10) - HEADER) /* a virtio-serial port takes 32 KiB in one write */
#define BACKLOG_PAUSE  (64u << 10) /* no more is read while that much waits to be written */
#define RECENT	       512	   /* stream numbers that are remembered */
#define LINGER_MS      10000	   /* for the peer's FIN after ours */

enum type { TYPE_DATA, TYPE_WINDOW, TYPE_PING, TYPE_GO_AWAY };
enum flags { FLAG_SYN = 1, FLAG_ACK = 2, FLAG_FIN = 4, FLAG_RST = 8 };
enum code { CODE_NORMAL, CODE_PROTOCOL, CODE_INTERNAL };

struct session {
	struct conn *conn;	      /* below */
	struct list buckets[BUCKETS]; /* streams by id */
	struct list waiting;	      /* streams with output, until the connection takes it */
	unsigned int streams;
	bool blocked;	 /* the connection took less than it was given */
	bool serving;	 /* a waiting stream has its turn */
	bool saying_bye; /* hangs up when all is written */
	bool paused;
	struct buf backlog;
	size_t begun; /* so much of it ends a frame that is partly sent */
	struct job flush;

	uint8_t header[HEADER];
	size_t header_len;
	uint32_t body_left, body_id;  /* of the data frame that is coming in */
	int64_t newest;		      /* id / 2 of the newest stream; -1: none has been */
	uint64_t opened[RECENT / 64]; /* which of the numbers up to newest have been, in a ring */
};

struct stream {
	struct conn conn;
	struct list link, waiting;
	struct session *session;
	struct job hang_up;
	struct timer linger;
	uint32_t id;
	uint32_t send_window;
	uint32_t recv_window; /* what the peer may still send */
	uint32_t consumed;    /* what it has sent and wasn't given back yet */
	bool short_of_window; /* the protocol has output that the window didn't take */
	bool paused;
	bool fin;     /* the peer's FIN came with the body that is coming in */
	bool leaving; /* our FIN is out: only the peer's is waited for */
};

static void on_flush(struct job *j);
static void drop_streams(struct session *s);

/* --- output -------------------------------------------------------------------------------- */

static void put_header(uint8_t *p, enum type type, unsigned int flags, uint32_t id, uint32_t len)
{
	p[0] = 0;
	p[1] = (uint8_t)type;
	p[2] = (uint8_t)(flags >> 8);
	p[3] = (uint8_t)flags;
	for (unsigned int i = 0; i < 4; i++) {
		p[4 + i] = (uint8_t)(id >> (24 - 8 * i));
		p[8 + i] = (uint8_t)(len >> (24 - 8 * i));
	}
}

static uint32_t get_u32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void pause_if_full(struct session *s)
{
	bool full = buf_len(&s->backlog) > BACKLOG_PAUSE;

	if (s->paused == full)
		return;
	s->paused = full;
	s->conn->carrier->pause(s->conn, full);
}

/* The backlog's first n bytes go: how many of the rest belong to the frame that is cut there. */
static size_t rest_of_frame(const struct session *s, size_t n)
{
	const uint8_t *p = buf_data(&s->backlog);
	size_t at = s->begun;

	while (at < n)
		at += HEADER + (p[at + 1] == TYPE_DATA ? get_u32(p + at + 8) : 0);
	return at - n;
}

/*
 * Sends the backlog and then the frame in iov[1..count-1] (iov[0] is left free for the backlog).
 * All of it is taken: what the connection refuses becomes the backlog. 0 or -errno: the session is
 * lost.
 */
static int send_all(struct session *s, struct iovec *iov, int count)
{
	size_t old = buf_len(&s->backlog), skip;
	ssize_t n = 0;
	int r = 0;

	iov[0] = (struct iovec){ old ? buf_data(&s->backlog) : NULL, old };
	if (!s->blocked)
		n = s->conn->carrier->writev(s->conn, old ? iov : iov + 1, old ? count : count - 1);
	if (n < 0)
		return (int)n;
	skip = (size_t)n < old ? 0 : (size_t)n - old;
	s->begun = old ? rest_of_frame(s, (size_t)n < old ? (size_t)n : old) : 0;
	for (int i = 1; i < count && skip > 0; i++)
		s->begun += iov[i].iov_len;
	s->begun -= skip;
	if (n > 0)
		buf_consume(&s->backlog, (size_t)n < old ? (size_t)n : old);
	for (int i = 1; i < count && r == 0; i++) {
		size_t len = iov[i].iov_len;

		if (skip < len)
			r = buf_append(&s->backlog, (uint8_t *)iov[i].iov_base + skip, len - skip);
		skip -= skip < len ? skip : len;
	}
	s->blocked = buf_len(&s->backlog) > 0;
	pause_if_full(s);
	return r;
}

/*
 * Control frames wait for the end of the batch, in which more may come, or for the next data frame.
 */
static int send_control(struct session *s, enum type type, unsigned int flags, uint32_t id,
			uint32_t len)
{
	uint8_t header[HEADER];
	int r;

	put_header(header, type, flags, id, len);
	r = buf_append(&s->backlog, header, sizeof(header));
	if (r < 0) {
		s->conn->carrier->hang_up(s->conn);
		return r;
	}
	pause_if_full(s);
	job_queue(s->conn->rpc->loop, &s->flush, on_flush);
	return 0;
}

static void wait_for_room(struct stream *st)
{
	struct session *s = st->session;

	if (list_empty(&st->waiting))
		list_add_tail(&s->waiting, &st->waiting);
	if (!s->blocked)
		job_queue(s->conn->rpc->loop, &s->flush, on_flush);
}

/* Sends one data frame with the len bytes that follow the first skip bytes of iov. */
static int send_data(struct stream *st, const struct iovec *iov, int count, size_t skip, size_t len)
{
	struct iovec part[2 + 64];
	uint8_t header[HEADER];
	int n = 2;

	put_header(header, TYPE_DATA, 0, st->id, (uint32_t)len);
	part[1] = (struct iovec){ header, sizeof(header) };
	for (int i = 0; i < count && len > 0; i++) {
		size_t here = iov[i].iov_len;

		if (skip >= here) {
			skip -= here;
			continue;
		}
		here -= skip;
		if (here > len)
			here = len;
		part[n++] = (struct iovec){ (uint8_t *)iov[i].iov_base + skip, here };
		skip = 0;
		len -= here;
	}
	return send_all(st->session, part, n);
}

static ssize_t stream_writev(struct conn *c, const struct iovec *iov, int count)
{
	struct stream *st = container_of(c, struct stream, conn);
	struct session *s = st->session;
	size_t total = 0, done = 0;

	if (count > 64)
		count = 64;
	for (int i = 0; i < count; i++)
		total += iov[i].iov_len;
	/* Whoever waits already comes first. */
	while (done < total && st->send_window > 0 && !s->blocked &&
	       (s->serving || list_empty(&s->waiting))) {
		size_t len = total - done;
		int r;

		if (len > st->send_window)
			len = st->send_window;
		if (len > FRAME_DATA_MAX)
			len = FRAME_DATA_MAX;
		r = send_data(st, iov, count, done, len);
		if (r < 0) {
			s->conn->carrier->hang_up(s->conn);
			return r;
		}
		st->send_window -= (uint32_t)len;
		done += len;
	}
	st->short_of_window = done < total && st->send_window == 0;
	if (done < total && !st->short_of_window)
		wait_for_room(st);
	return (ssize_t)done;
}

/* --- streams ------------------------------------------------------------------------------- */

static struct list *bucket(struct session *s, uint32_t id)
{
	return &s->buckets[id / 2 % BUCKETS];
}

static struct stream *find(struct session *s, uint32_t id)
{
	list_for_each(struct stream, st, bucket(s, id), link) {
		if (st->id == id)
			return st;
	}
	return NULL;
}

static void stream_free(struct stream *st)
{
	conn_closed(&st->conn);
	list_del(&st->link);
	list_del(&st->waiting);
	job_cancel(&st->hang_up);
	timer_cancel(&st->linger);
	st->session->streams--;
	free(st);
}

static void on_linger(struct timer *t)
{
	struct stream *st = container_of(t, struct stream, linger);

	(void)send_control(st->session, TYPE_WINDOW, FLAG_RST, st->id, 0);
	stream_free(st);
}

/* We are through: our half is closed, and the stream goes when the peer has closed his. */
static void leave(struct stream *st)
{
	if (st->leaving)
		return;
	st->leaving = true;
	conn_closed(&st->conn);
	list_del(&st->waiting);
	(void)send_control(st->session, TYPE_WINDOW, FLAG_FIN, st->id, 0);
	timer_set(st->session->conn->rpc->loop, &st->linger, LINGER_MS, on_linger);
}

static void on_hang_up(struct job *j)
{
	leave(container_of(j, struct stream, hang_up));
}

static void stream_hang_up(struct conn *c)
{
	struct stream *st = container_of(c, struct stream, conn);

	if (!st->leaving)
		job_queue(c->rpc->loop, &st->hang_up, on_hang_up);
}

/* Gives back window once it's worth a frame, as the reference does: at half of it. */
static int give_window(struct stream *st)
{
	uint32_t n = st->consumed;

	if (n < WINDOW / 2 || st->paused || st->leaving)
		return 0;
	st->consumed = 0;
	st->recv_window += n;
	return send_control(st->session, TYPE_WINDOW, 0, st->id, n);
}

static void stream_pause(struct conn *c, bool on)
{
	struct stream *st = container_of(c, struct stream, conn);

	st->paused = on;
	(void)give_window(st);
}

static const struct conn_carrier stream_carrier = { stream_writev, stream_hang_up, stream_pause };

/* 0 also for a stream that was refused. */
static int open_stream(struct session *s, uint32_t id)
{
	struct stream *st = s->streams < STREAMS ? calloc(1, sizeof(*st)) : NULL;

	if (!st) {
		log_warn("yamux", "%s: too many streams: one refused", s->conn->peer);
		return send_control(s, TYPE_WINDOW, FLAG_RST, id, 0);
	}
	st->conn = (struct conn){ .rpc = s->conn->rpc,
				  .carrier = &stream_carrier,
				  .peer = s->conn->peer };
	st->session = s;
	st->id = id;
	st->send_window = st->recv_window = WINDOW;
	list_init(&st->waiting);
	list_add(bucket(s, id), &st->link);
	s->streams++;
	return send_control(s, TYPE_WINDOW, FLAG_ACK, id, 0);
}

/* Sends what waits: control frames, then the streams one after the other. 0 or -errno. */
static int advance(struct session *s)
{
	struct iovec iov[1];
	struct stream *st;
	int r = 0;

	if (buf_len(&s->backlog) && !s->blocked)
		r = send_all(s, iov, 1);
	s->serving = true;
	while (r == 0 && !s->blocked && (st = list_first(&s->waiting, struct stream, waiting))) {
		list_del(&st->waiting);
		if (conn_writable(&st->conn) < 0)
			leave(st);
	}
	s->serving = false;
	if (s->saying_bye && buf_len(&s->backlog) == 0 && list_empty(&s->waiting))
		s->conn->carrier->hang_up(s->conn);
	return r;
}

static void on_flush(struct job *j)
{
	struct session *s = container_of(j, struct session, flush);

	if (advance(s) < 0)
		s->conn->carrier->hang_up(s->conn);
}

/* The peer closed its half: nobody on that side waits for answers any more. */
static void peer_closed(struct stream *st)
{
	leave(st);
	stream_free(st);
}

/* --- input --------------------------------------------------------------------------------- */

static int protocol_error(struct session *s, const char *what)
{
	struct iovec iov[2];
	uint8_t header[HEADER];

	log_warn("yamux", "%s: session ended: %s", s->conn->peer, what);
	put_header(header, TYPE_GO_AWAY, 0, 0, CODE_PROTOCOL);
	iov[1] = (struct iovec){ header, sizeof(header) };
	(void)send_all(s, iov, 2);
	return -EPROTO;
}

static void window_came(struct stream *st, uint32_t delta)
{
	uint32_t sum = st->send_window + delta;

	st->send_window = sum < delta ? UINT32_MAX : sum;
	if (st->short_of_window && st->send_window > 0) {
		st->short_of_window = false;
		wait_for_room(st);
	}
}

/*
 * Notes that a stream is opened: false if it has been before. A client counts upwards, but those
 * that it opens at once come in any order: hashicorp's has up to 256 on their way.
 */
static bool is_new(struct session *s, uint32_t id)
{
	int64_t n = id / 2;
	uint64_t *word = &s->opened[n % RECENT / 64], bit = (uint64_t)1 << n % 64;

	if (s->newest < 0 || n - s->newest >= RECENT) {
		(void)memset(s->opened, 0, sizeof(s->opened));
		s->newest = n;
	}
	for (; s->newest < n; s->newest++) {
		int64_t next = s->newest + 1;

		s->opened[next % RECENT / 64] &= ~((uint64_t)1 << next % 64);
	}
	if (s->newest - n >= RECENT || *word & bit)
		return false;
	*word |= bit;
	return true;
}

/* Nobody opens a stream twice: the host side left, and another came, before we looked. */
static void take_over(struct session *s)
{
	log_info("yamux", "%s: another peer has taken over", s->conn->peer);
	drop_streams(s);
	/* A frame that is partly sent goes to its end: the new peer may be in step already. */
	if (s->begun)
		s->backlog.end = s->backlog.start + s->begun;
	else
		buf_free(&s->backlog);
	s->blocked = s->begun > 0;
	s->newest = -1;
	pause_if_full(s);
}

static int stream_frame(struct session *s, enum type type, unsigned int flags, uint32_t id,
			uint32_t len)
{
	struct stream *st = find(s, id);
	int r = 0;

	if (id == 0)
		return protocol_error(s, "a stream's frame without its id");
	if (flags & FLAG_SYN) {
		if (!is_new(s, id)) {
			take_over(s);
			(void)is_new(s, id);
		}
		r = open_stream(s, id);
		st = find(s, id);
	} else if (id / 2 > s->newest && !(flags & (FLAG_FIN | FLAG_RST))) {
		/*
		 * Its SYN went to a session that ended just then: its owner should not wait for us.
		 */
		r = send_control(s, TYPE_WINDOW, FLAG_RST, id, 0);
	}
	if (type == TYPE_DATA) {
		if (st && len > st->recv_window)
			return protocol_error(s, "more data than the window allows");
		if (st)
			st->recv_window -= len;
		s->body_left = len;
		s->body_id = id;
	} else if (st) {
		window_came(st, len);
	}
	if (st && flags & FLAG_RST)
		stream_free(st);
	else if (st && flags & FLAG_FIN && s->body_left > 0)
		st->fin = true;
	else if (st && flags & FLAG_FIN)
		peer_closed(st);
	return r;
}

static int frame(struct session *s)
{
	const uint8_t *h = s->header;
	unsigned int flags = (unsigned int)h[2] << 8 | h[3];
	uint32_t id = get_u32(h + 4), len = get_u32(h + 8);

	if (h[0] != 0) {
		log_warn("yamux", "%s: session ended: version %u", s->conn->peer, h[0]);
		return -EPROTO;
	}
	switch (h[1]) {
	case TYPE_DATA:
	case TYPE_WINDOW:
		return stream_frame(s, (enum type)h[1], flags, id, len);
	case TYPE_PING:
		return flags & FLAG_SYN ? send_control(s, TYPE_PING, FLAG_ACK, 0, len) : 0;
	case TYPE_GO_AWAY:
		log_info("yamux", "%s: go away, code %u", s->conn->peer, len);
		return len == CODE_NORMAL ? 0 : -EPROTO;
	default:
		log_warn("yamux", "%s: session ended: frame of type %u", s->conn->peer, h[1]);
		return -EPROTO;
	}
}

/* A piece of the data frame that is coming in; what a stream has lost interest in is dropped. */
static int body(struct session *s, const uint8_t *data, uint32_t len)
{
	struct stream *st = find(s, s->body_id);

	s->body_left -= len;
	if (!st)
		return 0;
	if (!st->leaving && conn_input(&st->conn, data, len) < 0)
		leave(st);
	st->consumed += len;
	if (s->body_left == 0 && st->fin) {
		peer_closed(st);
		return 0;
	}
	return give_window(st);
}

static int yamux_input(struct conn *c, const uint8_t *data, size_t len)
{
	struct session *s = c->upper;
	int r = 0;

	while (len > 0 && r == 0) {
		uint32_t n;

		if (s->body_left > 0) {
			n = len < s->body_left ? (uint32_t)len : s->body_left;
			r = body(s, data, n);
		} else {
			n = HEADER - (uint32_t)s->header_len;
			if (len < n)
				n = (uint32_t)len;
			(void)memcpy(s->header + s->header_len, data, n);
			s->header_len += n;
			if (s->header_len == HEADER) {
				s->header_len = 0;
				r = frame(s);
			}
		}
		data += n;
		len -= n;
	}
	return r;
}

static int yamux_writable(struct conn *c)
{
	struct session *s = c->upper;

	s->blocked = false;
	return advance(s);
}

static void drop_streams(struct session *s)
{
	for (size_t i = 0; i < BUCKETS; i++) {
		while (!list_empty(&s->buckets[i]))
			stream_free(list_first(&s->buckets[i], struct stream, link));
	}
}

static void yamux_closed(struct conn *c)
{
	struct session *s = c->upper;

	drop_streams(s);
	job_cancel(&s->flush);
	buf_free(&s->backlog);
	free(s);
}

static void yamux_bye(struct conn *c)
{
	struct session *s = c->upper;

	for (size_t i = 0; i < BUCKETS; i++) {
		list_for_each(struct stream, st, &s->buckets[i], link) {
			if (st->conn.protocol)
				st->conn.protocol->bye(&st->conn);
		}
	}
	s->saying_bye = true;
	if (send_control(s, TYPE_GO_AWAY, 0, 0, CODE_NORMAL) < 0 || advance(s) < 0)
		c->carrier->hang_up(c);
}

static const struct conn_protocol yamux_protocol = { yamux_input, yamux_writable, yamux_closed,
						     yamux_bye };

int yamux_start(struct conn *c)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->conn = c;
	s->newest = -1;
	list_init(&s->waiting);
	for (size_t i = 0; i < BUCKETS; i++)
		list_init(&s->buckets[i]);
	c->upper = s;
	c->protocol = &yamux_protocol;
	return 0;
}
