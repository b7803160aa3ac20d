/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/2 sessions. nghttp2 does the protocol; here are the rules of gRPC on top of it, the streams
 * with their calls, and an output path that hands message bodies to the socket without copying.
 *
 * State: one struct h2_session a connection, one struct h2_stream a request. nghttp2 is told
 * no_http_messaging, since it would refuse the :authority that Kata's clients send; so the checks
 * of RFC 9113, section 8 are made here (h2_on_header, h2_on_frame).
 */
#include "wire/h2.h"

#include <assert.h>
#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/limits.h"
#include "base/log.h"
#include "rpc/dispatch.h"
#include "wire/grpc.h"

#define FRAME_MAX (256u << 10) /* DATA frames that we send, where the peer allows such */
#define FLUSH_MAX (512u << 10) /* bytes composed before they are written */
#define HEAD	  9u	       /* of a frame */
#define PREFACE	  24u
#define ENDED	  64 /* streams whose end by the client is remembered */

enum seen {
	SEEN_METHOD = 1,
	SEEN_SCHEME = 2,
	SEEN_PATH = 4,
	SEEN_AUTHORITY = 8,
	SEEN_REGULAR = 16,
	SEEN_GRPC = 32,	       /* content-type: application/grpc */
	SEEN_COMPRESSION = 64, /* a grpc-encoding that isn't identity */
	SEEN_POST = 128,
	SEEN_LENGTH = 256,
};

struct h2_session {
	struct conn *conn;
	nghttp2_session *ng;
	int32_t last_id;      /* the newest stream's */
	int32_t ended[ENDED]; /* streams that the client itself has ended, lately; a ring */
	size_t n_ended;
	uint8_t head[HEAD]; /* of the frame that is coming in */
	size_t head_len, body_left;
	struct list streams;
	struct list ready; /* streams with a whole request, until nghttp2 has returned */
	struct job flush;
	struct buf backlog; /* composed, but the socket was full */
	size_t out_bytes;   /* of the streams' answers */
};

struct h2_stream {
	struct list link;
	struct list ready;
	struct h2_session *session;
	int32_t id;
	unsigned int seen;
	bool refused;  /* early, if there was memory, says why */
	bool answered; /* nothing that still comes in matters */
	bool trailers; /* the request's headers are complete: any more are trailers */
	const struct rpc_method *method;
	struct call *call;  /* NULL before it starts and after its answer */
	int64_t timeout_ms; /* since arrived_ms; -1: none */
	int64_t arrived_ms;
	uint64_t content_length, received;
	size_t header_bytes;
	struct grpc_reader in;
	struct buf out; /* the framed answer, consumed as it is sent */
	uint64_t batch; /* the last one of struct out that refers to it; 0: none has yet */
	struct err *early;
};

/*
 * What one flush composes: small frames are copied, bodies are referred to. One for all sessions,
 * used only within h2_flush().
 */
static struct {
	bool active;
	struct iovec iov[64];
	int iov_count;
	uint8_t small[4096];
	size_t small_len, bytes;
	uint64_t batch; /* counts what is composed */
	/* Bodies that iov refers to while their streams have ended: no more than it has places. */
	struct buf dead[64];
	size_t dead_count;
} out;

static_assert(ARRAY_LEN(out.dead) >= ARRAY_LEN(out.iov), "each body in iov may lose its stream");

static struct h2_stream *h2_stream_of(const struct h2_session *s, int32_t id)
{
	return nghttp2_session_get_stream_user_data(s->ng, id);
}

static void h2_release_input(struct h2_stream *st)
{
	st->session->conn->rpc->held -= buf_len(&st->in.body);
	buf_free(&st->in.body);
}

static void h2_count_out(struct h2_session *s, size_t more, size_t less)
{
	s->out_bytes += more - less;
	s->conn->rpc->unsent += more - less;
}

static void h2_stream_free(struct h2_stream *st)
{
	struct call *c = st->call;

	st->call = NULL;
	if (c)
		call_cancelled(c);
	h2_release_input(st);
	h2_count_out(st->session, 0, buf_len(&st->out));
	if (out.active && st->batch == out.batch) {
		out.dead[out.dead_count++] = st->out;
		st->out = (struct buf){ 0 };
	}
	buf_free(&st->out);
	free(st->early);
	list_del(&st->link);
	list_del(&st->ready);
	free(st);
}

/* --- answers ------------------------------------------------------------------------------- */

#define NV(n, v)                                                             \
	{                                                                    \
		.name = (uint8_t *)(uintptr_t)(n), .namelen = sizeof(n) - 1, \
		.value = (uint8_t *)(uintptr_t)(v), .valuelen = strlen(v),   \
	}

static void h2_on_flush(struct job *j);

static void h2_want_flush(struct h2_session *s)
{
	job_queue(s->conn->rpc->loop, &s->flush, h2_on_flush);
}

/* What nghttp2 has no memory for nobody would hear of: a caller must not wait for ever. */
static void h2_submitted(struct h2_session *s, int r)
{
	if (r != 0)
		s->conn->carrier->hang_up(s->conn);
	else
		h2_want_flush(s);
}

static ssize_t h2_read_body(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t len,
			    uint32_t *flags, nghttp2_data_source *source, void *user)
{
	static const nghttp2_nv trailers[] = { NV("grpc-status", "0") };
	struct h2_stream *st = source->ptr;
	size_t n = buf_len(&st->out);

	(void)buf;
	(void)user;
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (n > len)
		return (ssize_t)len;
	*flags |= NGHTTP2_DATA_FLAG_EOF;
	if (nghttp2_submit_trailer(ng, id, trailers, ARRAY_LEN(trailers)) == 0)
		*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
	return (ssize_t)n;
}

static void h2_answer(struct call *c, struct buf *body)
{
	const nghttp2_nv headers[] = { NV(":status", "200"),
				       NV("content-type", "application/grpc") };
	struct h2_stream *st = c->stream;
	nghttp2_data_provider provider = { .source.ptr = st, .read_callback = h2_read_body };
	uint32_t len = (uint32_t)buf_len(body);
	uint8_t *prefix;

	st->call = NULL;
	st->answered = true;
	if (!body->mem) {
		h2_submitted(st->session,
			     nghttp2_submit_rst_stream(st->session->ng, NGHTTP2_FLAG_NONE, st->id,
						       NGHTTP2_INTERNAL_ERROR));
		return;
	}
	static_assert(GRPC_PREFIX <= CALL_HEADROOM, "the prefix goes into the headroom");
	body->start -= GRPC_PREFIX;
	prefix = buf_data(body);
	prefix[0] = 0;
	be32_put(prefix + 1, len);
	st->out = *body;
	*body = (struct buf){ 0 };
	h2_count_out(st->session, buf_len(&st->out), 0);
	h2_submitted(st->session, nghttp2_submit_response(st->session->ng, st->id, headers,
							  ARRAY_LEN(headers), &provider));
}

static void h2_fail_stream(struct h2_stream *st, int status, const char *msg)
{
	char status_text[12], encoded[1600];
	size_t len = grpc_encode_message(msg, encoded, sizeof(encoded));

	(void)snprintf(status_text, sizeof(status_text), "%d", status);
	const nghttp2_nv headers[] = {
		NV(":status", "200"),
		NV("content-type", "application/grpc"),
		NV("grpc-status", status_text),
		NV("grpc-message", encoded),
	};

	st->answered = true;
	h2_submitted(st->session, nghttp2_submit_response(st->session->ng, st->id, headers,
							  ARRAY_LEN(headers) - (len == 0), NULL));
}

static void h2_fail(struct call *c, int status, const char *msg)
{
	struct h2_stream *st = c->stream;

	st->call = NULL;
	h2_fail_stream(st, status, msg);
}

static const struct call_road h2_road = { h2_answer, h2_fail };

/* --- requests ------------------------------------------------------------------------------ */

static int h2_on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
	struct h2_session *s = user;
	struct h2_stream *st;

	if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	st = calloc(1, sizeof(*st));
	if (!st)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	st->session = s;
	st->id = frame->hd.stream_id;
	st->timeout_ms = -1;
	list_init(&st->ready);
	list_add_tail(&s->streams, &st->link);
	(void)nghttp2_session_set_stream_user_data(ng, st->id, st);
	return 0;
}

/* nghttp2 ignores a stream below the newest that never was; by RFC 9113, 5.1.1 that is an error. */
static int h2_on_begin_frame(nghttp2_session *ng, const nghttp2_frame_hd *hd, void *user)
{
	struct h2_session *s = user;

	if (hd->type != NGHTTP2_HEADERS)
		return 0;
	if (hd->stream_id > s->last_id)
		s->last_id = hd->stream_id;
	else if (!nghttp2_session_find_stream(ng, hd->stream_id))
		(void)nghttp2_session_terminate_session(ng, NGHTTP2_PROTOCOL_ERROR);
	return 0;
}

/* What is wrong with a request, told when its headers are complete; the first fault counts. */
static void __attribute__((format(printf, 3, 4)))
h2_early(struct h2_stream *st, int status, const char *fmt, ...)
{
	va_list ap;

	st->refused = true;
	if (st->early)
		return;
	st->early = calloc(1, sizeof(*st->early));
	if (!st->early)
		return;
	st->early->rpc = status;
	va_start(ap, fmt);
	(void)vsnprintf(st->early->msg, sizeof(st->early->msg), fmt, ap);
	va_end(ap);
}

/* Counts as SETTINGS_MAX_HEADER_LIST_SIZE does. False: nobody looks at this header any more. */
static bool h2_within_limit(struct h2_stream *st, size_t name, size_t value)
{
	st->header_bytes += name + value + 32;
	if (st->header_bytes <= LIMIT_HEADERS)
		return true;
	h2_early(st, RPC_RESOURCE_EXHAUSTED, "header list larger than %u bytes", LIMIT_HEADERS);
	if (st->header_bytes > 16 * LIMIT_HEADERS)
		(void)nghttp2_session_terminate_session(st->session->ng, NGHTTP2_ENHANCE_YOUR_CALM);
	return false;
}

static int h2_malformed(nghttp2_session *ng, int32_t id)
{
	(void)nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE, id, NGHTTP2_PROTOCOL_ERROR);
	return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static bool h2_is_text(const nghttp2_rcbuf *b, const char *text)
{
	nghttp2_vec v = nghttp2_rcbuf_get_buf((nghttp2_rcbuf *)(uintptr_t)b);

	return v.len == strlen(text) && memcmp(v.base, text, v.len) == 0;
}

static void h2_find_method(struct h2_stream *st, const nghttp2_vec *path)
{
	struct err err = { 0 };

	st->method = grpc_method(st->session->conn->rpc, (const char *)path->base, path->len, &err);
	if (!st->method)
		h2_early(st, rpc_status(&err), "%s", err.msg);
}

/* One of :method, :scheme, :path, :authority, each at most once and before all others. */
static bool h2_take_pseudo(struct h2_stream *st, const nghttp2_rcbuf *name,
			   const nghttp2_vec *value, const nghttp2_rcbuf *value_buf)
{
	static const struct {
		const char *name;
		unsigned int flag;
	} pseudo[] = {
		{ ":method", SEEN_METHOD },
		{ ":scheme", SEEN_SCHEME },
		{ ":path", SEEN_PATH },
		{ ":authority", SEEN_AUTHORITY },
	};

	for (size_t i = 0; i < ARRAY_LEN(pseudo); i++) {
		if (!h2_is_text(name, pseudo[i].name))
			continue;
		if (st->seen & (pseudo[i].flag | SEEN_REGULAR))
			return false;
		st->seen |= pseudo[i].flag;
		if (pseudo[i].flag == SEEN_METHOD && h2_is_text(value_buf, "POST"))
			st->seen |= SEEN_POST;
		if (pseudo[i].flag == SEEN_PATH) {
			if (value->len == 0)
				return false;
			h2_find_method(st, value);
		}
		return true;
	}
	return false;
}

static bool h2_take_content_length(struct h2_stream *st, const nghttp2_vec *value)
{
	uint64_t v = 0;

	if (value->len == 0 || value->len > 18 || st->seen & SEEN_LENGTH)
		return false;
	for (size_t i = 0; i < value->len; i++) {
		if (value->base[i] < '0' || value->base[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(value->base[i] - '0');
	}
	st->seen |= SEEN_LENGTH;
	st->content_length = v;
	return true;
}

static bool h2_take_regular(struct h2_stream *st, const nghttp2_rcbuf *name,
			    const nghttp2_vec *value, const nghttp2_rcbuf *value_buf)
{
	static const char *const forbidden[] = { "connection", "keep-alive", "proxy-connection",
						 "transfer-encoding", "upgrade" };
	static const char grpc[] = "application/grpc";

	st->seen |= SEEN_REGULAR;
	for (size_t i = 0; i < ARRAY_LEN(forbidden); i++) {
		if (h2_is_text(name, forbidden[i]))
			return false;
	}
	if (h2_is_text(name, "te"))
		return h2_is_text(value_buf, "trailers");
	if (h2_is_text(name, "content-length"))
		return h2_take_content_length(st, value);
	if (h2_is_text(name, "content-type")) {
		size_t len = sizeof(grpc) - 1;

		if (value->len >= len && memcmp(value->base, grpc, len) == 0 &&
		    (value->len == len || value->base[len] == '+' || value->base[len] == ';'))
			st->seen |= SEEN_GRPC;
	} else if (h2_is_text(name, "grpc-encoding") && !h2_is_text(value_buf, "identity")) {
		st->seen |= SEEN_COMPRESSION;
	} else if (h2_is_text(name, "grpc-timeout")) {
		st->timeout_ms = grpc_timeout_ms((const char *)value->base, value->len);
		if (st->timeout_ms < 0)
			h2_early(st, RPC_INTERNAL, "malformed grpc-timeout: \"%.*s\"",
				 (int)value->len, (const char *)value->base);
	}
	return true;
}

static int h2_on_header(nghttp2_session *ng, const nghttp2_frame *frame, nghttp2_rcbuf *name,
			nghttp2_rcbuf *value_buf, uint8_t flags, void *user)
{
	struct h2_stream *st = h2_stream_of(user, frame->hd.stream_id);
	nghttp2_vec n = nghttp2_rcbuf_get_buf(name), value = nghttp2_rcbuf_get_buf(value_buf);
	bool pseudo = n.len > 0 && n.base[0] == ':', ok;

	(void)flags;
	if (!st || !h2_within_limit(st, n.len, value.len))
		return 0;
	/*
	 * Names are lower-case tokens; nghttp2's check knows the alphabet but takes a pseudo name,
	 * too.
	 */
	if (n.len == 0 || !nghttp2_check_header_name(n.base, n.len) ||
	    !nghttp2_check_header_value_rfc9113(value.base, value.len))
		return h2_malformed(ng, frame->hd.stream_id);
	if (st->trailers)
		ok = !pseudo;
	else if (pseudo)
		ok = h2_take_pseudo(st, name, &value, value_buf);
	else
		ok = h2_take_regular(st, name, &value, value_buf);
	return ok ? 0 : h2_malformed(ng, frame->hd.stream_id);
}

static void h2_reject(struct h2_stream *st, const char *status)
{
	nghttp2_nv headers[] = { NV(":status", "") };

	headers[0].value = (uint8_t *)(uintptr_t)status;
	headers[0].valuelen = strlen(status);
	st->answered = true;
	h2_submitted(st->session,
		     nghttp2_submit_response(st->session->ng, st->id, headers, 1, NULL));
}

/* The request's headers are all there: what can be said of it without its body is said now. */
static void h2_headers_complete(struct h2_stream *st)
{
	st->trailers = true;
	st->arrived_ms = loop_now_ms();
	if (!(st->seen & SEEN_POST))
		h2_reject(st, "405");
	else if (!(st->seen & SEEN_GRPC))
		h2_reject(st, "415");
	else if (st->refused)
		h2_fail_stream(st, st->early ? rpc_status(st->early) : RPC_INTERNAL,
			       st->early ? st->early->msg : "out of memory");
	else if (st->seen & SEEN_COMPRESSION)
		h2_fail_stream(st, RPC_UNIMPLEMENTED,
			       "grpc: Decompressor is not installed for this grpc-encoding");
}

static int h2_on_end_stream(nghttp2_session *ng, struct h2_stream *st)
{
	struct err err = { 0 };

	if (st->seen & SEEN_LENGTH && st->received != st->content_length) {
		(void)nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE, st->id,
						NGHTTP2_PROTOCOL_ERROR);
		return 0;
	}
	if (st->answered)
		return 0;
	if (grpc_read_end(&st->in, &err) < 0)
		h2_fail_stream(st, rpc_status(&err), err.msg);
	else
		list_add_tail(&st->session->ready, &st->ready);
	return 0;
}

static int h2_on_frame(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
	const unsigned int needed = SEEN_METHOD | SEEN_SCHEME | SEEN_PATH;
	struct h2_session *s = user;
	struct h2_stream *st;

	if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
		return 0;
	st = h2_stream_of(s, frame->hd.stream_id);
	if (!st)
		return 0;
	if (frame->hd.type == NGHTTP2_HEADERS) {
		bool ends = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

		if ((!st->trailers && (st->seen & needed) != needed) || (st->trailers && !ends)) {
			(void)h2_malformed(ng, st->id);
			return 0;
		}
		if (!st->trailers)
			h2_headers_complete(st);
	}
	if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
		return h2_on_end_stream(ng, st);
	return 0;
}

static int h2_on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *data,
		      size_t len, void *user)
{
	struct h2_session *s = user;
	struct h2_stream *st = h2_stream_of(s, id);
	struct rpc_server *rpc = s->conn->rpc;
	struct err err = { 0 };
	size_t before;
	int r;

	(void)ng;
	(void)flags;
	if (!st)
		return 0;
	st->received += len;
	if (st->answered)
		return 0;
	before = buf_len(&st->in.body);
	if (rpc->held + len > LIMIT_BODIES && before + len > LIMIT_BODY_ANYTIME)
		r = err_rpc(&err, RPC_RESOURCE_EXHAUSTED, "too many bytes of unfinished requests");
	else
		r = grpc_read(&st->in, data, len, &err);
	rpc->held += buf_len(&st->in.body) - before;
	if (r < 0) {
		h2_release_input(st);
		h2_fail_stream(st, rpc_status(&err), err.msg);
	}
	return 0;
}

static int h2_on_stream_close(nghttp2_session *ng, int32_t id, uint32_t code, void *user)
{
	struct h2_stream *st = h2_stream_of(user, id);
	struct h2_session *s = user;

	(void)code;
	if (nghttp2_session_get_stream_remote_close(ng, id) == 1)
		s->ended[s->n_ended++ % ENDED] = id;
	if (st)
		h2_stream_free(st);
	return 0;
}

/*
 * Runs the requests that are complete. A handler may answer at once, which only queues frames. A
 * peer that asks without taking answers has to wait here.
 */
static void h2_run_ready(struct h2_session *s)
{
	struct h2_stream *st;

	while (s->out_bytes < LIMIT_H2_UNSENT &&
	       (s->out_bytes == 0 || s->conn->rpc->unsent < LIMIT_UNSENT) &&
	       (st = list_first(&s->ready, struct h2_stream, ready))) {
		struct buf body = st->in.body;
		int64_t left = -1;
		struct call *c;

		list_del(&st->ready);
		if (st->timeout_ms >= 0) {
			left = st->arrived_ms + st->timeout_ms - loop_now_ms();
			if (left <= 0) {
				h2_release_input(st);
				h2_fail_stream(st, RPC_DEADLINE_EXCEEDED, "deadline exceeded");
				continue;
			}
		}
		c = call_new(s->conn->rpc, &h2_road, st, st->method, SCHEMA_1X, left);
		if (!c) {
			h2_release_input(st);
			h2_fail_stream(st, RPC_RESOURCE_EXHAUSTED, "too many calls are open");
			continue;
		}
		st->call = c;
		s->conn->rpc->held -= buf_len(&body);
		st->in.body = (struct buf){ 0 };
		rpc_run(c, buf_data(&body), buf_len(&body));
		buf_free(&body);
	}
}

/* --- output -------------------------------------------------------------------------------- */

static bool h2_has_room(size_t small)
{
	return out.iov_count + 2 <= (int)ARRAY_LEN(out.iov) &&
	       out.small_len + small <= sizeof(out.small) && out.bytes < FLUSH_MAX;
}

static void h2_out_add(const void *data, size_t len)
{
	struct iovec *last = out.iov_count ? &out.iov[out.iov_count - 1] : NULL;

	if (last && (uint8_t *)last->iov_base + last->iov_len == data)
		last->iov_len += len;
	else
		out.iov[out.iov_count++] = (struct iovec){ (void *)(uintptr_t)data, len };
	out.bytes += len;
}

static ssize_t h2_on_send(nghttp2_session *ng, const uint8_t *data, size_t len, int flags,
			  void *user)
{
	(void)ng;
	(void)flags;
	(void)user;
	if (!h2_has_room(len)) {
		/*
		 * A block of headers larger than the scratch cannot be: ours are fixed and short.
		 */
		return NGHTTP2_ERR_WOULDBLOCK;
	}
	(void)memcpy(out.small + out.small_len, data, len);
	h2_out_add(out.small + out.small_len, len);
	out.small_len += len;
	return (ssize_t)len;
}

static int h2_on_send_data(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *head,
			   size_t len, nghttp2_data_source *source, void *user)
{
	struct h2_stream *st = source->ptr;

	(void)frame;
	if (!h2_has_room(9))
		return NGHTTP2_ERR_WOULDBLOCK;
	(void)h2_on_send(ng, head, 9, 0, user);
	h2_out_add(buf_data(&st->out), len);
	h2_count_out(st->session, 0, len);
	st->out.start += len; /* not buf_consume: the bytes are still to be written */
	st->batch = out.batch;
	return 0;
}

/*
 * An answer that doesn't wait for the end of its request makes the rest of it useless: RFC 9113,
 * 8.1 has the client told so.
 */
static int h2_on_sent(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
	struct h2_session *s = user;

	if (frame->hd.type == NGHTTP2_HEADERS && frame->hd.flags & NGHTTP2_FLAG_END_STREAM &&
	    nghttp2_session_get_stream_remote_close(ng, frame->hd.stream_id) == 0)
		h2_submitted(s, nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE,
							  frame->hd.stream_id, NGHTTP2_NO_ERROR));
	return 0;
}

static ssize_t h2_frame_size(nghttp2_session *ng, uint8_t type, int32_t id, int32_t session_window,
			     int32_t stream_window, uint32_t max, void *user)
{
	(void)ng;
	(void)type;
	(void)id;
	(void)session_window;
	(void)stream_window;
	(void)user;
	return max < FRAME_MAX ? (ssize_t)max : (ssize_t)FRAME_MAX;
}

/* Writes what was composed; what the socket did not take is copied to the backlog. 0 or -errno. */
static int h2_write_out(struct h2_session *s)
{
	ssize_t n = s->conn->carrier->writev(s->conn, out.iov, out.iov_count);
	size_t skip = n > 0 ? (size_t)n : 0;
	int r = n < 0 ? (int)n : 0;

	for (int i = 0; i < out.iov_count && r == 0; i++) {
		size_t len = out.iov[i].iov_len;

		if (skip < len)
			r = buf_append(&s->backlog, (uint8_t *)out.iov[i].iov_base + skip,
				       len - skip);
		skip -= skip < len ? skip : len;
	}
	return r;
}

static int h2_write_backlog(struct h2_session *s)
{
	struct iovec iov;
	ssize_t n;

	if (buf_len(&s->backlog) == 0)
		return 0;
	iov = (struct iovec){ buf_data(&s->backlog), buf_len(&s->backlog) };
	n = s->conn->carrier->writev(s->conn, &iov, 1);
	if (n < 0)
		return (int)n;
	buf_consume(&s->backlog, (size_t)n);
	return 0;
}

static int h2_flush(struct h2_session *s)
{
	int r = h2_write_backlog(s);

	while (r == 0 && buf_len(&s->backlog) == 0) {
		out.iov_count = 0;
		out.small_len = out.bytes = 0;
		out.batch++;
		out.active = true;
		r = nghttp2_session_send(s->ng) < 0 ? -ENOMEM : 0;
		out.active = false;
		if (r == 0 && out.bytes > 0)
			r = h2_write_out(s);
		while (out.dead_count)
			buf_free(&out.dead[--out.dead_count]);
		if (out.bytes == 0)
			break;
	}
	if (r == 0 && buf_len(&s->backlog) == 0 && !nghttp2_session_want_read(s->ng) &&
	    !nghttp2_session_want_write(s->ng))
		s->conn->carrier->hang_up(s->conn);
	return r;
}

static int h2_advance(struct h2_session *s)
{
	int r = h2_flush(s);

	if (!list_empty(&s->ready))
		h2_run_ready(s);
	return r;
}

static void h2_on_flush(struct job *j)
{
	struct h2_session *s = container_of(j, struct h2_session, flush);

	if (h2_advance(s) < 0)
		s->conn->carrier->hang_up(s->conn);
}

static bool h2_has_ended(const struct h2_session *s, int32_t id)
{
	for (size_t i = 0; i < ENDED; i++) {
		if (id && s->ended[i] == id)
			return true;
	}
	return false;
}

/*
 * The head of a frame is complete. DATA for a stream that the client has ended is an error (RFC
 * 9113, 5.1); after a reset of ours it may have been on its way.
 */
static void h2_check_head(struct h2_session *s)
{
	const uint8_t *h = s->head;
	int32_t id = (int32_t)(be32_get(h + 5) & INT32_MAX);

	s->body_left = (size_t)h[0] << 16 | (size_t)h[1] << 8 | h[2];
	s->head_len = 0;
	if (h[3] == NGHTTP2_DATA && h2_has_ended(s, id) && !nghttp2_session_find_stream(s->ng, id))
		(void)nghttp2_session_terminate_session(s->ng, NGHTTP2_STREAM_CLOSED);
}

/*
 * nghttp2 would tell of such DATA if it kept the streams that are closed: as many as may be open,
 * 240 kB a connection. It is told not to, passes over the frame without a word, and we look
 * ourselves.
 */
static ssize_t h2_feed(struct h2_session *s, const uint8_t *data, size_t len)
{
	ssize_t r = 0;

	for (size_t n; len > 0 && r >= 0; data += n, len -= n) {
		size_t want = s->body_left ? s->body_left : HEAD - s->head_len;

		n = len < want ? len : want;
		if (s->body_left) {
			s->body_left -= n;
		} else {
			(void)memcpy(s->head + s->head_len, data, n);
			s->head_len += n;
			if (s->head_len == HEAD)
				h2_check_head(s);
		}
		r = nghttp2_session_mem_recv(s->ng, data, n);
	}
	return r;
}

static int h2_input(struct conn *c, const uint8_t *data, size_t len)
{
	struct h2_session *s = c->upper;
	ssize_t n = h2_feed(s, data, len);

	if (n < 0) {
		log_debug("h2", "%s: %s", c->peer, nghttp2_strerror((int)n));
		return -EPROTO;
	}
	h2_run_ready(s);
	h2_want_flush(s);
	return 0;
}

static int h2_writable(struct conn *c)
{
	return h2_advance(c->upper);
}

static void h2_closed(struct conn *c)
{
	struct h2_session *s = c->upper;

	job_cancel(&s->flush);
	while (!list_empty(&s->streams))
		h2_stream_free(list_first(&s->streams, struct h2_stream, link));
	nghttp2_session_del(s->ng);
	buf_free(&s->backlog);
	free(s);
}

static const struct conn_protocol h2_protocol = { h2_input, h2_writable, h2_closed };

static int h2_session_init(struct h2_session *s)
{
	static const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, LIMIT_CALLS },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, LIMIT_H2_WINDOW },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, LIMIT_HEADERS },
	};
	nghttp2_session_callbacks *cb;
	nghttp2_option *opt = NULL;
	int r = nghttp2_session_callbacks_new(&cb);

	if (r == 0)
		r = nghttp2_option_new(&opt);
	if (r == 0) {
		nghttp2_option_set_no_http_messaging(opt, 1);
		nghttp2_option_set_max_send_header_block_length(opt, 4096);
		nghttp2_option_set_no_closed_streams(opt, 1);
		/*
		 * The host may drop as many reads at once as it likes: dropping them is cheap here.
		 */
		nghttp2_option_set_stream_reset_rate_limit(opt, 100000, 10000);
		nghttp2_session_callbacks_set_on_begin_frame_callback(cb, h2_on_begin_frame);
		nghttp2_session_callbacks_set_on_begin_headers_callback(cb, h2_on_begin_headers);
		nghttp2_session_callbacks_set_on_header_callback2(cb, h2_on_header);
		nghttp2_session_callbacks_set_on_frame_recv_callback(cb, h2_on_frame);
		nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, h2_on_data);
		nghttp2_session_callbacks_set_on_stream_close_callback(cb, h2_on_stream_close);
		nghttp2_session_callbacks_set_send_callback(cb, h2_on_send);
		nghttp2_session_callbacks_set_send_data_callback(cb, h2_on_send_data);
		nghttp2_session_callbacks_set_on_frame_send_callback(cb, h2_on_sent);
		nghttp2_session_callbacks_set_data_source_read_length_callback(cb, h2_frame_size);
		r = nghttp2_session_server_new2(&s->ng, cb, s, opt);
	}
	nghttp2_option_del(opt);
	nghttp2_session_callbacks_del(cb);
	if (r == 0)
		r = nghttp2_submit_settings(s->ng, NGHTTP2_FLAG_NONE, settings,
					    ARRAY_LEN(settings));
	if (r == 0)
		r = nghttp2_session_set_local_window_size(s->ng, NGHTTP2_FLAG_NONE, 0,
							  LIMIT_H2_SESSION_WINDOW);
	return r == 0 ? 0 : -ENOMEM;
}

int h2_start(struct conn *c)
{
	struct h2_session *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->conn = c;
	s->body_left = PREFACE;
	list_init(&s->streams);
	list_init(&s->ready);
	if (h2_session_init(s) < 0) {
		nghttp2_session_del(s->ng);
		free(s);
		return -ENOMEM;
	}
	c->upper = s;
	c->protocol = &h2_protocol;
	return 0;
}
