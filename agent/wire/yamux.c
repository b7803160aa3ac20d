/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yamux sessions. The session is the protocol of the connection below it, and the carrier of one
 * connection for each stream.
 *
 * State: one struct yamux_session a connection, one struct yamux_stream a stream. Nothing is queued
 * for a stream: what its window or the connection below doesn't take stays with the stream's
 * protocol, which is called back. Only the rest of one data frame and control frames wait in the
 * session's backlog, so that a stream that isn't read never holds up another.
 */
#include "wire/yamux.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/limits.h"
#include "base/log.h"
#include "wire/detect.h"
#include "wire/ids.h"

#define HEADER	       12u
#define WINDOW	       (256u << 10)
#define BUCKETS	       64u
#define FRAME_DATA_MAX ((32u << 10) - HEADER) /* a virtio-serial port takes 32 KiB in one write */
#define FRAMES_MAX     8		      /* written together */
#define IOV_STREAM     64		      /* pieces of a stream's output looked at together */

enum yamux_type { TYPE_DATA, TYPE_WINDOW, TYPE_PING, TYPE_GO_AWAY };
enum yamux_flags { FLAG_SYN = 1, FLAG_ACK = 2, FLAG_FIN = 4, FLAG_RST = 8 };
enum yamux_code { CODE_NORMAL, CODE_PROTOCOL, CODE_INTERNAL };

struct yamux_session {
	struct conn *conn;	      /* below */
	struct list buckets[BUCKETS]; /* streams by id */
	struct list waiting;	      /* streams with output, until the connection takes it */
	unsigned int streams;
	bool blocked; /* the connection took less than it was given */
	bool serving; /* a waiting stream has its turn */
	bool paused;
	struct buf backlog;
	size_t begun; /* so much of it ends a frame that is partly sent */
	struct job flush;

	uint8_t header[HEADER];
	size_t header_len;
	uint32_t body_left, body_id; /* of the data frame that is coming in */
	struct ids ids;
};

struct yamux_stream {
	struct conn conn;
	struct list link, waiting;
	struct yamux_session *session;
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

static void yamux_on_flush(struct job *j);
static void yamux_drop_streams(struct yamux_session *s);

/* --- output -------------------------------------------------------------------------------- */

static void yamux_put_header(uint8_t *p, enum yamux_type type, unsigned int flags, uint32_t id,
			     uint32_t len)
{
	p[0] = 0;
	p[1] = (uint8_t)type;
	p[2] = (uint8_t)(flags >> 8);
	p[3] = (uint8_t)flags;
	be32_put(p + 4, id);
	be32_put(p + 8, len);
}

static void yamux_pause_if_full(struct yamux_session *s)
{
	bool full = buf_len(&s->backlog) > LIMIT_YAMUX_UNSENT;

	if (s->paused == full)
		return;
	s->paused = full;
	s->conn->carrier->pause(s->conn, full);
}

/* The backlog's first n bytes go: how many of the rest belong to the frame that is cut there. */
static size_t yamux_rest_of_frame(const struct yamux_session *s, size_t n)
{
	const uint8_t *p = buf_data(&s->backlog);
	size_t at = s->begun;

	while (at < n)
		at += HEADER + (p[at + 1] == TYPE_DATA ? be32_get(p + at + 8) : 0);
	return at - n;
}

/*
 * Sends the backlog and then the frames in iov[1..count-1] (iov[0] is left free for the backlog),
 * each of step bytes but for the last. What the connection refuses of a frame that it has begun
 * becomes the backlog; frames after that are not taken. How many bytes of iov are, or -errno: the
 * session is lost.
 */
static ssize_t yamux_send(struct yamux_session *s, struct iovec *iov, int count, size_t step)
{
	size_t old = buf_len(&s->backlog), total = 0, sent, taken, at = 0;
	ssize_t n = 0;
	int r = 0;

	iov[0] = (struct iovec){ old ? buf_data(&s->backlog) : NULL, old };
	for (int i = 1; i < count; i++)
		total += iov[i].iov_len;
	if (!s->blocked)
		n = s->conn->carrier->writev(s->conn, old ? iov : iov + 1, old ? count : count - 1);
	if (n < 0)
		return n;
	sent = (size_t)n < old ? 0 : (size_t)n - old;
	s->begun = old ? yamux_rest_of_frame(s, (size_t)n < old ? (size_t)n : old) : 0;
	if (n > 0)
		buf_consume(&s->backlog, (size_t)n < old ? (size_t)n : old);
	/* To the end of the frame in which the connection stopped. */
	taken = step ? (sent + step - 1) / step * step : total;
	if (taken > total)
		taken = total;
	if (sent)
		s->begun += taken - sent;
	for (int i = 1; i < count && r == 0 && at < taken; i++) {
		size_t len = iov[i].iov_len < taken - at ? iov[i].iov_len : taken - at;
		size_t skip = sent <= at ? 0 : sent - at < len ? sent - at : len;

		r = buf_append(&s->backlog, (uint8_t *)iov[i].iov_base + skip, len - skip);
		at += len;
	}
	s->blocked = sent < total || buf_len(&s->backlog) > 0;
	yamux_pause_if_full(s);
	return r < 0 ? r : (ssize_t)taken;
}

/*
 * Control frames wait for the end of the batch, in which more may come, or for the next data frame.
 */
static int yamux_send_control(struct yamux_session *s, enum yamux_type type, unsigned int flags,
			      uint32_t id, uint32_t len)
{
	uint8_t header[HEADER];
	int r;

	yamux_put_header(header, type, flags, id, len);
	r = buf_append(&s->backlog, header, sizeof(header));
	if (r < 0) {
		s->conn->carrier->hang_up(s->conn);
		return r;
	}
	yamux_pause_if_full(s);
	job_queue(s->conn->rpc->loop, &s->flush, yamux_on_flush);
	return 0;
}

static void yamux_wait_for_room(struct yamux_stream *st)
{
	struct yamux_session *s = st->session;

	if (list_empty(&st->waiting))
		list_add_tail(&s->waiting, &st->waiting);
	if (!s->blocked)
		job_queue(s->conn->rpc->loop, &s->flush, yamux_on_flush);
}

/*
 * Sends the len bytes that follow the first skip bytes of iov, in frames that are written together.
 * How many are taken, or -errno.
 */
static ssize_t yamux_send_data(struct yamux_stream *st, const struct iovec *iov, int count,
			       size_t skip, size_t len)
{
	struct iovec part[1 + 2 * FRAMES_MAX + IOV_STREAM];
	uint8_t headers[FRAMES_MAX][HEADER];
	size_t room = 0; /* in the frame */
	int n = 1, frames = 0;
	ssize_t r;

	for (; count > 0 && skip >= iov->iov_len; iov++, count--)
		skip -= iov->iov_len;
	for (int i = 0; i < count && len > 0;) {
		size_t here = iov[i].iov_len - skip;

		if (room == 0) {
			if (frames == FRAMES_MAX)
				break;
			room = len < FRAME_DATA_MAX ? len : FRAME_DATA_MAX;
			yamux_put_header(headers[frames], TYPE_DATA, 0, st->id, (uint32_t)room);
			part[n++] = (struct iovec){ headers[frames++], HEADER };
		}
		if (here > room)
			here = room;
		part[n++] = (struct iovec){ (uint8_t *)iov[i].iov_base + skip, here };
		skip += here;
		room -= here;
		len -= here;
		if (skip == iov[i].iov_len) {
			skip = 0;
			i++;
		}
	}
	r = yamux_send(st->session, part, n, HEADER + FRAME_DATA_MAX);
	if (r < 0)
		return r;
	frames = (int)(((size_t)r + HEADER + FRAME_DATA_MAX - 1) / (HEADER + FRAME_DATA_MAX));
	return r - frames * (ssize_t)HEADER;
}

static ssize_t yamux_stream_writev(struct conn *c, const struct iovec *iov, int count)
{
	struct yamux_stream *st = container_of(c, struct yamux_stream, conn);
	struct yamux_session *s = st->session;
	size_t total = 0, done = 0;

	if (count > IOV_STREAM)
		count = IOV_STREAM;
	for (int i = 0; i < count; i++)
		total += iov[i].iov_len;
	/* Whoever waits already comes first. */
	while (done < total && st->send_window > 0 && !s->blocked &&
	       (s->serving || list_empty(&s->waiting))) {
		size_t len = total - done;
		ssize_t r;

		if (len > st->send_window)
			len = st->send_window;
		r = yamux_send_data(st, iov, count, done, len);
		if (r < 0) {
			s->conn->carrier->hang_up(s->conn);
			return r;
		}
		st->send_window -= (uint32_t)r;
		done += (size_t)r;
	}
	st->short_of_window = done < total && st->send_window == 0;
	if (done < total && !st->short_of_window)
		yamux_wait_for_room(st);
	return (ssize_t)done;
}

/* --- streams ------------------------------------------------------------------------------- */

static struct list *yamux_bucket(struct yamux_session *s, uint32_t id)
{
	return &s->buckets[id / 2 % BUCKETS];
}

static struct yamux_stream *yamux_find(struct yamux_session *s, uint32_t id)
{
	list_for_each(struct yamux_stream, st, yamux_bucket(s, id), link) {
		if (st->id == id)
			return st;
	}
	return NULL;
}

static void yamux_stream_free(struct yamux_stream *st)
{
	conn_closed(&st->conn);
	list_del(&st->link);
	list_del(&st->waiting);
	job_cancel(&st->hang_up);
	timer_cancel(&st->linger);
	st->session->streams--;
	free(st);
}

static void yamux_on_linger(struct timer *t)
{
	struct yamux_stream *st = container_of(t, struct yamux_stream, linger);

	(void)yamux_send_control(st->session, TYPE_WINDOW, FLAG_RST, st->id, 0);
	yamux_stream_free(st);
}

/* We are through: our half is closed, and the stream goes when the peer has closed his. */
static void yamux_leave(struct yamux_stream *st)
{
	if (st->leaving)
		return;
	st->leaving = true;
	conn_closed(&st->conn);
	list_del(&st->waiting);
	(void)yamux_send_control(st->session, TYPE_WINDOW, FLAG_FIN, st->id, 0);
	timer_set(st->session->conn->rpc->loop, &st->linger, LIMIT_YAMUX_FIN_MS, yamux_on_linger);
}

static void yamux_on_hang_up(struct job *j)
{
	yamux_leave(container_of(j, struct yamux_stream, hang_up));
}

static void yamux_stream_hang_up(struct conn *c)
{
	struct yamux_stream *st = container_of(c, struct yamux_stream, conn);

	if (!st->leaving)
		job_queue(c->rpc->loop, &st->hang_up, yamux_on_hang_up);
}

/* Gives back window once it's worth a frame, as the reference does: at half of it. */
static int yamux_give_window(struct yamux_stream *st)
{
	uint32_t n = st->consumed;

	if (n < WINDOW / 2 || st->paused || st->leaving)
		return 0;
	st->consumed = 0;
	st->recv_window += n;
	return yamux_send_control(st->session, TYPE_WINDOW, 0, st->id, n);
}

static void yamux_stream_pause(struct conn *c, bool on)
{
	struct yamux_stream *st = container_of(c, struct yamux_stream, conn);

	st->paused = on;
	(void)yamux_give_window(st);
}

static const struct conn_carrier yamux_carrier = { yamux_stream_writev, yamux_stream_hang_up,
						   yamux_stream_pause };

/* 0 also for a stream that was refused. */
static int yamux_open(struct yamux_session *s, uint32_t id)
{
	bool many = s->streams >= LIMIT_YAMUX_STREAMS;
	struct yamux_stream *st = many ? NULL : calloc(1, sizeof(*st));

	if (!st) {
		log_warn("yamux", "%s: %s: a stream is refused", s->conn->peer,
			 many ? "too many streams" : "out of memory");
		return yamux_send_control(s, TYPE_WINDOW, FLAG_RST, id, 0);
	}
	st->conn = (struct conn){ .rpc = s->conn->rpc,
				  .carrier = &yamux_carrier,
				  .peer = s->conn->peer };
	(void)detect_start(&st->conn); /* never fails */
	st->session = s;
	st->id = id;
	st->send_window = st->recv_window = WINDOW;
	list_init(&st->waiting);
	list_add(yamux_bucket(s, id), &st->link);
	s->streams++;
	return yamux_send_control(s, TYPE_WINDOW, FLAG_ACK, id, 0);
}

/* Sends what waits: control frames, then the streams one after the other. 0 or -errno. */
static int yamux_advance(struct yamux_session *s)
{
	struct iovec iov[1];
	struct yamux_stream *st;
	int r = 0;

	if (buf_len(&s->backlog) && !s->blocked)
		r = (int)yamux_send(s, iov, 1, 0);
	s->serving = true;
	while (r == 0 && !s->blocked &&
	       (st = list_first(&s->waiting, struct yamux_stream, waiting))) {
		list_del(&st->waiting);
		if (conn_writable(&st->conn) < 0)
			yamux_leave(st);
	}
	s->serving = false;
	return r;
}

static void yamux_on_flush(struct job *j)
{
	struct yamux_session *s = container_of(j, struct yamux_session, flush);

	if (yamux_advance(s) < 0)
		s->conn->carrier->hang_up(s->conn);
}

/* The peer closed its half: nobody on that side waits for answers any more. */
static void yamux_peer_closed(struct yamux_stream *st)
{
	yamux_leave(st);
	yamux_stream_free(st);
}

/* --- input --------------------------------------------------------------------------------- */

static int yamux_protocol_error(struct yamux_session *s, const char *what)
{
	struct iovec iov[2];
	uint8_t header[HEADER];

	log_warn("yamux", "%s: session ended: %s", s->conn->peer, what);
	yamux_put_header(header, TYPE_GO_AWAY, 0, 0, CODE_PROTOCOL);
	iov[1] = (struct iovec){ header, sizeof(header) };
	(void)yamux_send(s, iov, 2, 0);
	return -EPROTO;
}

static void yamux_window_came(struct yamux_stream *st, uint32_t delta)
{
	uint32_t sum = st->send_window + delta;

	st->send_window = sum < delta ? UINT32_MAX : sum;
	if (st->short_of_window && st->send_window > 0) {
		st->short_of_window = false;
		yamux_wait_for_room(st);
	}
}

/* Nobody opens a stream twice: the host side left, and another came, before we looked. */
static void yamux_take_over(struct yamux_session *s)
{
	log_info("yamux", "%s: another peer has taken over", s->conn->peer);
	yamux_drop_streams(s);
	/* A frame that is partly sent goes to its end: the new peer may be in step already. */
	if (s->begun)
		s->backlog.end = s->backlog.start + s->begun;
	else
		buf_free(&s->backlog);
	s->blocked = s->begun > 0;
	ids_init(&s->ids);
	yamux_pause_if_full(s);
}

static int yamux_stream_frame(struct yamux_session *s, enum yamux_type type, unsigned int flags,
			      uint32_t id, uint32_t len)
{
	struct yamux_stream *st = yamux_find(s, id);
	int r = 0;

	if (id == 0)
		return yamux_protocol_error(s, "a stream's frame without its id");
	if (flags & FLAG_SYN) {
		if (!ids_take(&s->ids, id)) {
			yamux_take_over(s);
			(void)ids_take(&s->ids, id);
		}
		r = yamux_open(s, id);
		st = yamux_find(s, id);
	} else if (id / 2 > s->ids.newest && !(flags & (FLAG_FIN | FLAG_RST))) {
		/*
		 * Its SYN went to a session that ended just then: its owner should not wait for us.
		 */
		r = yamux_send_control(s, TYPE_WINDOW, FLAG_RST, id, 0);
	}
	if (type == TYPE_DATA) {
		if (st && len > st->recv_window)
			return yamux_protocol_error(s, "more data than the window allows");
		if (st)
			st->recv_window -= len;
		s->body_left = len;
		s->body_id = id;
	} else if (st) {
		yamux_window_came(st, len);
	}
	if (st && flags & FLAG_RST)
		yamux_stream_free(st);
	else if (st && flags & FLAG_FIN && s->body_left > 0)
		st->fin = true;
	else if (st && flags & FLAG_FIN)
		yamux_peer_closed(st);
	return r;
}

static int yamux_frame(struct yamux_session *s)
{
	const uint8_t *h = s->header;
	unsigned int flags = (unsigned int)h[2] << 8 | h[3];
	uint32_t id = be32_get(h + 4), len = be32_get(h + 8);

	if (h[0] != 0) {
		log_warn("yamux", "%s: session ended: version %u", s->conn->peer, h[0]);
		return -EPROTO;
	}
	switch (h[1]) {
	case TYPE_DATA:
	case TYPE_WINDOW:
		return yamux_stream_frame(s, (enum yamux_type)h[1], flags, id, len);
	case TYPE_PING:
		return flags & FLAG_SYN ? yamux_send_control(s, TYPE_PING, FLAG_ACK, 0, len) : 0;
	case TYPE_GO_AWAY:
		log_info("yamux", "%s: go away, code %u", s->conn->peer, len);
		return len == CODE_NORMAL ? 0 : -EPROTO;
	default:
		log_warn("yamux", "%s: session ended: frame of type %u", s->conn->peer, h[1]);
		return -EPROTO;
	}
}

/* A piece of the data frame that is coming in; what a stream has lost interest in is dropped. */
static int yamux_body(struct yamux_session *s, const uint8_t *data, uint32_t len)
{
	struct yamux_stream *st = yamux_find(s, s->body_id);

	s->body_left -= len;
	if (!st)
		return 0;
	if (!st->leaving && conn_input(&st->conn, data, len) < 0)
		yamux_leave(st);
	st->consumed += len;
	if (s->body_left == 0 && st->fin) {
		yamux_peer_closed(st);
		return 0;
	}
	return yamux_give_window(st);
}

static int yamux_input(struct conn *c, const uint8_t *data, size_t len)
{
	struct yamux_session *s = c->upper;
	int r = 0;

	while (len > 0 && r == 0) {
		uint32_t n;

		if (s->body_left > 0) {
			n = len < s->body_left ? (uint32_t)len : s->body_left;
			r = yamux_body(s, data, n);
		} else {
			n = HEADER - (uint32_t)s->header_len;
			if (len < n)
				n = (uint32_t)len;
			(void)memcpy(s->header + s->header_len, data, n);
			s->header_len += n;
			if (s->header_len == HEADER) {
				s->header_len = 0;
				r = yamux_frame(s);
			}
		}
		data += n;
		len -= n;
	}
	return r;
}

static int yamux_writable(struct conn *c)
{
	struct yamux_session *s = c->upper;

	s->blocked = false;
	return yamux_advance(s);
}

static void yamux_drop_streams(struct yamux_session *s)
{
	for (size_t i = 0; i < BUCKETS; i++) {
		while (!list_empty(&s->buckets[i]))
			yamux_stream_free(list_first(&s->buckets[i], struct yamux_stream, link));
	}
}

static void yamux_closed(struct conn *c)
{
	struct yamux_session *s = c->upper;

	yamux_drop_streams(s);
	job_cancel(&s->flush);
	buf_free(&s->backlog);
	free(s);
}

static const struct conn_protocol yamux_protocol = { yamux_input, yamux_writable, yamux_closed };

int yamux_start(struct conn *c)
{
	struct yamux_session *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->conn = c;
	ids_init(&s->ids);
	list_init(&s->waiting);
	for (size_t i = 0; i < BUCKETS; i++)
		list_init(&s->buckets[i]);
	c->upper = s;
	c->protocol = &yamux_protocol;
	return 0;
}
