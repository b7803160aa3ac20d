/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ttrpc sessions: frames of a ten-byte header and a protobuf envelope, one request and one answer a
 * call, in any order. Envelopes are taken apart and put together in place: a request that arrives
 * in one piece and every answer's payload are not copied.
 *
 * State: one struct ttrpc_session a connection, one struct ttrpc_stream a call, which first is on
 * the session's list of open calls and then, with its answer, in its output queue.
 */
#include "wire/ttrpc.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/str.h"
#include "rpc/dispatch.h"
#include "wire/ids.h"
#include "rpc/pb.h"

#define HEADER 10u

enum frame_type { FRAME_REQUEST = 1, FRAME_RESPONSE = 2, FRAME_DATA = 3 };

struct ttrpc_session {
	struct conn *conn;
	struct list calls, out;
	struct ids ids;
	unsigned int streams; /* on both lists */
	size_t out_bytes;
	bool paused;
	struct job flush;

	/* The frame that is coming in. */
	uint8_t header[HEADER];
	size_t header_len;
	uint32_t id, size, got;
	uint8_t type;
	bool drop; /* its body doesn't matter, *refusal (if set) is the answer */
	struct err refusal;
	struct buf body; /* as much of it as came in earlier pieces */
	struct buf
		stalled; /* what had been read when too many answers waited; taken up afterwards */
};

struct ttrpc_stream {
	struct list link;
	struct ttrpc_session *session;
	uint32_t id;
	struct call *call; /* NULL once answered */
	struct buf out;
};

struct ttrpc_envelope {
	const uint8_t *service, *method, *payload;
	size_t service_len, method_len, payload_len;
	int64_t timeout_ns;
};

static struct ttrpc_stream *ttrpc_stream_new(struct ttrpc_session *s, uint32_t id)
{
	struct ttrpc_stream *st = calloc(1, sizeof(*st));

	if (!st)
		return NULL;
	st->session = s;
	st->id = id;
	list_add_tail(&s->calls, &st->link);
	s->streams++;
	return st;
}

static void ttrpc_stream_free(struct ttrpc_stream *st)
{
	st->session->streams--;
	list_del(&st->link);
	buf_free(&st->out);
	free(st);
}

/* --- output -------------------------------------------------------------------------------- */

static void ttrpc_pause(struct ttrpc_session *s, bool on)
{
	if (s->paused == on)
		return;
	s->paused = on;
	s->conn->carrier->pause(s->conn, on);
}

static int ttrpc_flush(struct ttrpc_session *s)
{
	struct iovec iov[64];

	while (!list_empty(&s->out)) {
		size_t total = 0, left;
		int count = 0;
		ssize_t n;

		list_for_each(struct ttrpc_stream, st, &s->out, link) {
			if (count == (int)ARRAY_LEN(iov))
				break;
			iov[count++] = (struct iovec){ buf_data(&st->out), buf_len(&st->out) };
			total += buf_len(&st->out);
		}
		n = s->conn->carrier->writev(s->conn, iov, count);
		if (n < 0)
			return (int)n;
		s->out_bytes -= (size_t)n;
		s->conn->rpc->unsent -= (size_t)n;
		for (left = (size_t)n; left > 0;) {
			struct ttrpc_stream *st = list_first(&s->out, struct ttrpc_stream, link);
			size_t len = buf_len(&st->out);

			if (len > left) {
				st->out.start += left;
				break;
			}
			left -= len;
			ttrpc_stream_free(st);
		}
		if ((size_t)n < total)
			break;
	}
	if (s->out_bytes < LIMIT_TTRPC_UNSENT / 2)
		ttrpc_pause(s, false);
	return 0;
}

static void ttrpc_on_flush(struct job *j);

/* Makes frame (which has room for the header in front) the stream's answer and queues it. */
static void ttrpc_send(struct ttrpc_stream *st, struct buf *frame)
{
	struct ttrpc_session *s = st->session;
	uint8_t *p;

	be32_put(buf_data(frame) - HEADER, (uint32_t)buf_len(frame));
	frame->start -= HEADER;
	p = buf_data(frame);
	be32_put(p + 4, st->id);
	p[8] = FRAME_RESPONSE;
	p[9] = 0;
	st->out = *frame;
	*frame = (struct buf){ 0 };
	s->out_bytes += buf_len(&st->out);
	s->conn->rpc->unsent += buf_len(&st->out);
	list_del(&st->link);
	list_add_tail(&s->out, &st->link);
	if (s->out_bytes > LIMIT_TTRPC_UNSENT || s->conn->rpc->unsent > LIMIT_UNSENT)
		ttrpc_pause(s, true);
	job_queue(s->conn->rpc->loop, &s->flush, ttrpc_on_flush);
}

/* No answer can be given, and a caller must not wait for ever: the connection ends. */
static void ttrpc_give_up(struct ttrpc_stream *st)
{
	struct conn *c = st->session->conn;

	ttrpc_stream_free(st);
	c->carrier->hang_up(c);
}

static void ttrpc_send_status(struct ttrpc_stream *st, int code, const char *msg)
{
	size_t msg_len = strlen(msg), status_len;
	bool plain = str_is_utf8(msg, msg_len);
	struct buf frame;
	uint8_t *p;

	status_len = 1 + pb_varint_len((uint64_t)code);
	if (msg_len)
		status_len += 1 + pb_varint_len(msg_len) + msg_len;
	frame = call_body(1 + PB_VARINT_MAX + status_len);
	if (!frame.mem) {
		ttrpc_give_up(st);
		return;
	}
	p = buf_data(&frame);
	*p++ = 1 << 3 | PB_BYTES; /* Response.status */
	p += pb_put_varint(p, status_len);
	*p++ = 1 << 3 | PB_VARINT; /* Status.code */
	p += pb_put_varint(p, (uint64_t)code);
	if (msg_len) {
		*p++ = 2 << 3 | PB_BYTES; /* Status.message */
		p += pb_put_varint(p, msg_len);
		/* Go's decoder refuses the whole answer if a string in it isn't UTF-8. */
		for (size_t i = 0; i < msg_len; i++)
			*p++ = plain || !(msg[i] & 0x80) ? (uint8_t)msg[i] : '?';
	}
	frame.end = (size_t)(p - frame.mem);
	ttrpc_send(st, &frame);
}

static void ttrpc_answer(struct call *c, struct buf *body)
{
	struct ttrpc_stream *st = c->stream;
	size_t len = buf_len(body), head = 2; /* "0a 00": a status that says OK */
	char msg[96];
	uint8_t *p;

	st->call = NULL;
	if (!body->mem) {
		ttrpc_give_up(st);
		return;
	}
	if (len)
		head += 1 + pb_varint_len(len);
	if (head + len > LIMIT_MESSAGE) {
		(void)snprintf(msg, sizeof(msg),
			       "message length %zu exceed maximum message size of %u", head + len,
			       LIMIT_MESSAGE);
		buf_free(body);
		ttrpc_send_status(st, RPC_INVALID_ARGUMENT, msg);
		return;
	}
	static_assert(HEADER + 3 + PB_VARINT_MAX <= CALL_HEADROOM,
		      "the envelope goes into the headroom");
	body->start -= head;
	p = buf_data(body);
	*p++ = 1 << 3 | PB_BYTES;
	*p++ = 0;
	if (len) {
		*p++ = 2 << 3 | PB_BYTES; /* Response.payload */
		(void)pb_put_varint(p, len);
	}
	ttrpc_send(st, body);
}

static void ttrpc_fail(struct call *c, int status, const char *msg)
{
	struct ttrpc_stream *st = c->stream;

	st->call = NULL;
	ttrpc_send_status(st, status, msg);
}

static const struct call_road ttrpc_road = { ttrpc_answer, ttrpc_fail };

/* --- requests ------------------------------------------------------------------------------ */

static bool ttrpc_read_envelope(const uint8_t *data, size_t len, struct ttrpc_envelope *e)
{
	struct pb_reader r = { data, data + len };
	struct pb_field f;
	bool bad = false;

	*e = (struct ttrpc_envelope){ 0 };
	while (pb_next(&r, &f, &bad)) {
		static const enum pb_type types[] = { 0,	PB_BYTES,  PB_BYTES,
						      PB_BYTES, PB_VARINT, PB_BYTES };

		if (f.number >= ARRAY_LEN(types))
			continue;
		if (f.type != types[f.number])
			return false;
		switch (f.number) {
		case 1:
			e->service = f.data;
			e->service_len = f.len;
			break;
		case 2:
			e->method = f.data;
			e->method_len = f.len;
			break;
		case 3:
			e->payload = f.data;
			e->payload_len = f.len;
			break;
		case 4:
			e->timeout_ns = (int64_t)f.value;
			break;
		default:
			break; /* 5: metadata, for tracing */
		}
	}
	return !bad;
}

/* Finds what is called; NULL with the reason in *err. */
static const struct rpc_method *ttrpc_find_method(const struct rpc_server *rpc,
						  const struct ttrpc_envelope *e, struct err *err)
{
	const struct rpc_method *m;
	bool known;

	m = rpc_find(rpc, (const char *)e->service, e->service_len, (const char *)e->method,
		     e->method_len, &known);
	if (!m && known)
		(void)err_rpc(err, RPC_UNIMPLEMENTED, "%.*s method", (int)e->method_len,
			      (const char *)e->method);
	else if (!m)
		(void)err_rpc(err, RPC_INVALID_ARGUMENT, "%.*s service does not exist",
			      (int)e->service_len, (const char *)e->service);
	return m;
}

static void ttrpc_run(struct ttrpc_stream *st, const uint8_t *data, size_t len)
{
	struct rpc_server *rpc = st->session->conn->rpc;
	const struct rpc_method *m;
	struct err err = { 0 };
	struct ttrpc_envelope e;
	int64_t ms = -1;

	if (!ttrpc_read_envelope(data, len, &e)) {
		ttrpc_send_status(st, RPC_INVALID_ARGUMENT, "malformed ttrpc request");
		return;
	}
	m = ttrpc_find_method(rpc, &e, &err);
	if (!m) {
		ttrpc_send_status(st, rpc_status(&err), err.msg);
		return;
	}
	if (e.timeout_ns > 0)
		ms = e.timeout_ns / 1000000 + (e.timeout_ns % 1000000 != 0);
	st->call = call_new(rpc, &ttrpc_road, st, m, SCHEMA_3X, ms);
	if (!st->call)
		ttrpc_send_status(st, RPC_RESOURCE_EXHAUSTED, "too many calls are open");
	else
		/* The bytes are in a buffer of ours, which nobody else looks at any more. */
		rpc_run(st->call, (uint8_t *)(uintptr_t)e.payload, e.payload_len);
}

static int ttrpc_frame_ended(struct ttrpc_session *s, const uint8_t *data)
{
	struct ttrpc_stream *st;

	s->header_len = 0;
	if (s->drop && s->refusal.rpc == 0)
		return 0;
	st = ttrpc_stream_new(s, s->id);
	if (!st)
		return -ENOMEM;
	if (s->drop)
		ttrpc_send_status(st, s->refusal.rpc, s->refusal.msg);
	else
		ttrpc_run(st, data, s->size);
	return 0;
}

/* The header is complete: what happens to the body? */
static void ttrpc_frame_begins(struct ttrpc_session *s)
{
	s->size = be32_get(s->header);
	s->id = be32_get(s->header + 4);
	s->type = s->header[8];
	s->got = 0;
	s->refusal.rpc = 0;
	s->drop = true;
	if (s->type != FRAME_REQUEST && s->type != FRAME_DATA)
		log_debug("ttrpc", "%s: frame of type %u ignored", s->conn->peer, s->type);
	else if (s->id % 2 == 0)
		(void)err_rpc(&s->refusal, RPC_INVALID_ARGUMENT, "stream id must be odd");
	else if (s->type == FRAME_REQUEST && !ids_take(&s->ids, s->id))
		(void)err_rpc(&s->refusal, RPC_INVALID_ARGUMENT,
			      "stream id %" PRIu32 " cannot be used again", s->id);
	else if (s->size > LIMIT_MESSAGE)
		(void)err_rpc(&s->refusal, RPC_INVALID_ARGUMENT,
			      "message length %" PRIu32 " exceed maximum message size of %u",
			      s->size, LIMIT_MESSAGE);
	else if (s->type == FRAME_DATA)
		(void)err_rpc(&s->refusal, RPC_INVALID_ARGUMENT, "Stream is no longer active");
	else if (s->streams >= LIMIT_TTRPC_CALLS)
		(void)err_rpc(&s->refusal, RPC_RESOURCE_EXHAUSTED, "too many calls are open");
	else
		s->drop = false;
}

static void ttrpc_release_body(struct ttrpc_session *s)
{
	s->conn->rpc->held -= buf_len(&s->body);
	buf_free(&s->body);
}

/* Keeps a piece of a body that isn't all there yet. */
static void ttrpc_keep(struct ttrpc_session *s, const uint8_t *data, uint32_t len)
{
	size_t room =
		s->size < 4 * (size_t)len || s->size <= (128u << 10) ? s->size : 4 * (size_t)len;
	struct rpc_server *rpc = s->conn->rpc;

	if (rpc->held + len <= LIMIT_BODIES && (s->body.mem || buf_reserve(&s->body, room)) &&
	    buf_append(&s->body, data, len) == 0) {
		rpc->held += len;
		return;
	}
	ttrpc_release_body(s);
	s->drop = true;
	(void)err_rpc(&s->refusal, RPC_RESOURCE_EXHAUSTED, "too many bytes of unfinished requests");
}

/* Works off input, up to the frame after which too many answers wait: how much, or -errno. */
static ssize_t ttrpc_take(struct ttrpc_session *s, const uint8_t *data, size_t len)
{
	const uint8_t *start = data, *end = data + len;
	int r = 0;

	while (r == 0 && !(s->paused && s->header_len == 0)) {
		uint32_t n, left;

		len = (size_t)(end - data);
		if (s->header_len < HEADER) {
			n = len < HEADER - s->header_len ? (uint32_t)len
							 : HEADER - (uint32_t)s->header_len;
			(void)memcpy(s->header + s->header_len, data, n);
			s->header_len += n;
			data += n;
			len -= n;
			if (s->header_len < HEADER)
				break;
			ttrpc_frame_begins(s);
		}
		left = s->size - s->got;
		n = len < left ? (uint32_t)len : left;
		if (n == 0 && left > 0)
			break;
		if ((n < left || s->got > 0) && !s->drop)
			ttrpc_keep(s, data, n);
		s->got += n;
		if (s->got == s->size) {
			struct buf body = s->body;

			s->body = (struct buf){ 0 };
			s->conn->rpc->held -= buf_len(&body);
			r = ttrpc_frame_ended(s, body.mem ? buf_data(&body) : data);
			buf_free(&body);
		}
		data += n;
	}
	return r < 0 ? r : data - start;
}

static int ttrpc_input(struct conn *c, const uint8_t *data, size_t len)
{
	struct ttrpc_session *s = c->upper;
	ssize_t n = 0;

	if (buf_len(&s->stalled) == 0)
		n = ttrpc_take(s, data, len);
	if (n < 0)
		return (int)n;
	return buf_append(&s->stalled, data + n, len - (size_t)n);
}

/* Writes what it can; with room again, goes on with the input that had to wait. */
static int ttrpc_advance(struct ttrpc_session *s)
{
	int r = ttrpc_flush(s);

	if (r == 0 && !s->paused && buf_len(&s->stalled)) {
		struct buf stalled = s->stalled;
		ssize_t n;

		s->stalled = (struct buf){ 0 };
		n = ttrpc_take(s, buf_data(&stalled), buf_len(&stalled));
		if (n >= 0)
			buf_consume(&stalled, (size_t)n);
		r = n < 0 ? (int)n : 0;
		s->stalled = stalled;
	}
	return r;
}

static void ttrpc_on_flush(struct job *j)
{
	struct ttrpc_session *s = container_of(j, struct ttrpc_session, flush);

	if (ttrpc_advance(s) < 0)
		s->conn->carrier->hang_up(s->conn);
}

static int ttrpc_writable(struct conn *c)
{
	return ttrpc_advance(c->upper);
}

static void ttrpc_closed(struct conn *c)
{
	struct ttrpc_session *s = c->upper;
	struct ttrpc_stream *st;

	job_cancel(&s->flush);
	while ((st = list_first(&s->calls, struct ttrpc_stream, link))) {
		struct call *call = st->call;

		ttrpc_stream_free(st);
		if (call)
			call_cancelled(call);
	}
	while ((st = list_first(&s->out, struct ttrpc_stream, link)))
		ttrpc_stream_free(st);
	s->conn->rpc->unsent -= s->out_bytes;
	ttrpc_release_body(s);
	buf_free(&s->stalled);
	free(s);
}

static const struct conn_protocol ttrpc_protocol = { ttrpc_input, ttrpc_writable, ttrpc_closed };

int ttrpc_start(struct conn *c)
{
	struct ttrpc_session *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->conn = c;
	ids_init(&s->ids);
	list_init(&s->calls);
	list_init(&s->out);
	c->upper = s;
	c->protocol = &ttrpc_protocol;
	return 0;
}
