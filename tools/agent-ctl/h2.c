/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gRPC over HTTP/2: one nghttp2 client session per connection. Bodies of requests go from the
 * packed message straight into the socket's buffer; bodies of answers straight into one exact
 * allocation.
 */
#include "rpc.h"

#include <arpa/inet.h>
#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <string.h>

#define STREAM_WINDOW	  (8 << 20)
#define CONNECTION_WINDOW (32 << 20)
#define MAX_FRAME	  (1 << 20)   /* what we accept */
#define MAX_FRAME_OUT	  (64u << 10) /* what we send when the agent accepts more than 16 KiB */

struct h2 {
	struct rpc *rpc;
	nghttp2_session *session;
	char goaway[160];
	char complaint[200]; /* what nghttp2 says about the agent's bytes */
};

static ssize_t h2_send(nghttp2_session *s, const uint8_t *data, size_t len, int flags, void *user)
{
	struct h2 *h = user;

	(void)s;
	(void)flags;
	if (xport_room(&h->rpc->xport) == 0) {
		xport_flush(&h->rpc->xport);
		if (xport_room(&h->rpc->xport) == 0)
			return NGHTTP2_ERR_WOULDBLOCK;
	}
	xport_send(&h->rpc->xport, data, len);
	return (ssize_t)len;
}

static int h2_send_data(nghttp2_session *s, nghttp2_frame *frame, const uint8_t *framehd,
			size_t length, nghttp2_data_source *source, void *user)
{
	struct h2 *h = user;
	struct rpc_call *c = source->ptr;
	struct xport *x = &h->rpc->xport;

	(void)s;
	(void)frame; /* no padding is ever asked for */
	if (xport_room(x) < length + 9) {
		xport_flush(x);
		if (xport_room(x) < length + 9)
			return NGHTTP2_ERR_WOULDBLOCK;
	}
	xport_send(x, framehd, 9);
	xport_send(x, c->req + c->req_sent, length);
	c->req_sent += length;
	return 0;
}

static ssize_t h2_read_body(nghttp2_session *s, int32_t stream, uint8_t *buf, size_t length,
			    uint32_t *flags, nghttp2_data_source *source, void *user)
{
	struct rpc_call *c = source->ptr;
	size_t left = c->req_len - c->req_sent;

	(void)s;
	(void)stream;
	(void)buf;
	(void)user;
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (left <= length) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		return (ssize_t)left;
	}
	return (ssize_t)length;
}

static ssize_t h2_frame_size(nghttp2_session *s, uint8_t type, int32_t stream,
			     int32_t session_window, int32_t stream_window, uint32_t max_frame,
			     void *user)
{
	uint32_t n = max_frame < MAX_FRAME_OUT ? max_frame : MAX_FRAME_OUT;

	(void)s;
	(void)type;
	(void)stream;
	(void)user;
	n = (int32_t)n < session_window ? n : (uint32_t)session_window;
	return (int32_t)n < stream_window ? (ssize_t)n : stream_window;
}

static struct rpc_call *call_of(nghttp2_session *s, int32_t stream)
{
	return nghttp2_session_get_stream_user_data(s, stream);
}

/* grpc-message is percent-encoded; what does not decode stays as it is. */
static void percent_decode(const uint8_t *in, size_t len, char *out, size_t size)
{
	static const char hex[] = "0123456789abcdef";
	size_t n = 0;

	for (size_t i = 0; i < len && n + 1 < size; i++) {
		const char *hi, *lo;

		if (in[i] == '%' && i + 2 < len && in[i + 1] && in[i + 2] &&
		    (hi = strchr(hex, in[i + 1] | 0x20)) && (lo = strchr(hex, in[i + 2] | 0x20))) {
			out[n++] = (char)((hi - hex) << 4 | (lo - hex));
			i += 2;
		} else {
			out[n++] = (char)in[i];
		}
	}
	out[n] = '\0';
}

static int small_number(const uint8_t *v, size_t len)
{
	int n = 0;

	if (len == 0 || len > 4)
		return -1;
	for (size_t i = 0; i < len; i++) {
		if (v[i] < '0' || v[i] > '9')
			return -1;
		n = n * 10 + v[i] - '0';
	}
	return n;
}

static bool is_header(const uint8_t *name, size_t len, const char *want)
{
	return len == strlen(want) && !memcmp(name, want, len);
}

static int h2_header(nghttp2_session *s, const nghttp2_frame *frame, const uint8_t *name,
		     size_t namelen, const uint8_t *value, size_t valuelen, uint8_t flags,
		     void *user)
{
	struct rpc_call *c = call_of(s, frame->hd.stream_id);

	(void)flags;
	(void)user;
	if (!c)
		return 0;
	if (is_header(name, namelen, "grpc-status")) {
		c->status = small_number(value, valuelen);
		if (c->status < 0)
			c->status = RPC_UNKNOWN;
	} else if (is_header(name, namelen, "grpc-message")) {
		percent_decode(value, valuelen, c->message, sizeof(c->message));
	} else if (is_header(name, namelen, ":status")) {
		c->http_status = small_number(value, valuelen);
	} else if (is_header(name, namelen, "grpc-encoding") &&
		   !is_header(value, valuelen, "identity")) {
		c->status = RPC_INTERNAL;
		(void)snprintf(c->message, sizeof(c->message), "the answer is compressed (%.*s)",
			       (int)valuelen, (const char *)value);
	}
	return 0;
}

static int reset_with(nghttp2_session *s, struct rpc_call *c, int status, const char *text)
{
	c->status = status;
	(void)snprintf(c->message, sizeof(c->message), "%s", text);
	return nghttp2_submit_rst_stream(s, NGHTTP2_FLAG_NONE, (int32_t)c->stream, NGHTTP2_CANCEL);
}

/* The five bytes in front of a message: compressed flag and length. */
static int take_head(nghttp2_session *s, struct rpc_call *c, const uint8_t **data, size_t *len)
{
	while (c->head_len < sizeof(c->head) && *len > 0) {
		c->head[c->head_len++] = *(*data)++;
		(*len)--;
	}
	if (c->head_len < sizeof(c->head) || c->res)
		return 0;
	c->res_want = (size_t)c->head[1] << 24 | (size_t)c->head[2] << 16 |
		      (size_t)c->head[3] << 8 | c->head[4];
	if (c->head[0] != 0)
		return reset_with(s, c, RPC_UNIMPLEMENTED, "the answer is compressed");
	if (c->res_want > RPC_MAX_RESPONSE)
		return reset_with(s, c, RPC_RESOURCE_EXHAUSTED, "the answer is larger than 64 MiB");
	c->res = xmalloc(c->res_want);
	return 0;
}

static int h2_data(nghttp2_session *s, uint8_t flags, int32_t stream, const uint8_t *data,
		   size_t len, void *user)
{
	struct rpc_call *c = call_of(s, stream);

	(void)flags;
	(void)user;
	if (!c || c->status > RPC_OK)
		return 0;
	if (take_head(s, c, &data, &len) != 0)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	if (!c->res || len == 0)
		return 0;
	if (len > c->res_want - c->res_len)
		return reset_with(s, c, RPC_INTERNAL, "the answer has more than one message")
			       ? NGHTTP2_ERR_CALLBACK_FAILURE
			       : 0;
	memcpy(c->res + c->res_len, data, len);
	c->res_len += len;
	return 0;
}

static int h2_frame(nghttp2_session *s, const nghttp2_frame *frame, void *user)
{
	struct h2 *h = user;

	(void)s;
	if (frame->hd.type == NGHTTP2_GOAWAY)
		(void)snprintf(
			h->goaway, sizeof(h->goaway), " (the agent said goodbye: %s%s%.*s)",
			nghttp2_http2_strerror(frame->goaway.error_code),
			frame->goaway.opaque_data_len ? ", " : "",
			(int)(frame->goaway.opaque_data_len > 80 ? 80
								 : frame->goaway.opaque_data_len),
			frame->goaway.opaque_data_len ? (char *)frame->goaway.opaque_data : "");
	return 0;
}

/* HTTP status or reset code instead of a gRPC status, mapped as gRPC's own table does. */
static int status_without_grpc(const struct h2 *h, const struct rpc_call *c, uint32_t code,
			       char *text, size_t size)
{
	if (code == NGHTTP2_REFUSED_STREAM) {
		(void)snprintf(text, size, "the agent refused the stream%s", h->goaway);
		return RPC_UNAVAILABLE;
	}
	if (code != NGHTTP2_NO_ERROR) {
		(void)snprintf(text, size, "stream reset: %s%s", nghttp2_http2_strerror(code),
			       h->goaway);
		return code == NGHTTP2_CANCEL ? RPC_CANCELLED : RPC_INTERNAL;
	}
	(void)snprintf(text, size,
		       "an answer without grpc-status (HTTP status %d): is this a gRPC server?",
		       c->http_status);
	return c->http_status == 404   ? RPC_UNIMPLEMENTED
	       : c->http_status == 503 ? RPC_UNAVAILABLE
				       : RPC_UNKNOWN;
}

static int h2_stream_close(nghttp2_session *s, int32_t stream, uint32_t code, void *user)
{
	struct h2 *h = user;
	struct rpc_call *c = call_of(s, stream);
	char text[300];

	if (!c)
		return 0;
	/* The callback may start calls: this one's stream must no longer be found. */
	(void)nghttp2_session_set_stream_user_data(s, stream, NULL);
	if (c->status < 0) {
		int status = status_without_grpc(h, c, code, text, sizeof(text));

		rpc_finish(c, status, text, NULL, 0);
	} else if (c->status == RPC_OK && (!c->res || c->res_len < c->res_want)) {
		rpc_finish(c, RPC_INTERNAL, "the answer ends in the middle of its message", NULL,
			   0);
	} else {
		rpc_finish(c, c->status, c->message, c->res, c->res_len);
	}
	return 0;
}

static int h2_complain(nghttp2_session *s, int code, const char *msg, size_t len, void *user)
{
	struct h2 *h = user;

	(void)s;
	(void)code;
	(void)snprintf(h->complaint, sizeof(h->complaint), "%.*s", (int)len, msg);
	return 0;
}

/* For what nghttp2 answers with a go-away of its own, without a text. */
static int h2_bad_frame(nghttp2_session *s, const nghttp2_frame *frame, int code, void *user)
{
	(void)frame;
	return h2_complain(s, code, nghttp2_strerror(code), strlen(nghttp2_strerror(code)), user);
}

static void *h2_open(struct rpc *r)
{
	const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW },
		{ NGHTTP2_SETTINGS_MAX_FRAME_SIZE, MAX_FRAME },
	};
	struct h2 *h = xcalloc(1, sizeof(*h));
	nghttp2_session_callbacks *cb;
	nghttp2_option *opt;

	h->rpc = r;
	if (nghttp2_session_callbacks_new(&cb) != 0 || nghttp2_option_new(&opt) != 0)
		abort();
	nghttp2_session_callbacks_set_send_callback(cb, h2_send);
	nghttp2_session_callbacks_set_send_data_callback(cb, h2_send_data);
	nghttp2_session_callbacks_set_data_source_read_length_callback(cb, h2_frame_size);
	nghttp2_session_callbacks_set_on_header_callback(cb, h2_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, h2_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, h2_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, h2_stream_close);
	nghttp2_session_callbacks_set_error_callback2(cb, h2_complain);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, h2_bad_frame);
	nghttp2_option_set_peer_max_concurrent_streams(opt, 1000);
	if (nghttp2_session_client_new2(&h->session, cb, h, opt) != 0)
		abort();
	nghttp2_session_callbacks_del(cb);
	nghttp2_option_del(opt);
	(void)nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings, ARRAY_LEN(settings));
	(void)nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0,
						    CONNECTION_WINDOW);
	return h;
}

static void h2_close(void *state)
{
	struct h2 *h = state;

	if (!h->rpc->xport.dead) {
		(void)nghttp2_session_terminate_session(h->session, NGHTTP2_NO_ERROR);
		(void)nghttp2_session_send(h->session);
	}
	nghttp2_session_del(h->session);
	free(h);
}

static nghttp2_nv nv(const char *name, const char *value)
{
	return (nghttp2_nv){ (uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
			     strlen(value), NGHTTP2_NV_FLAG_NONE };
}

static int h2_start(void *state, struct rpc_call *c)
{
	struct h2 *h = state;
	nghttp2_data_provider body = { .source.ptr = c, .read_callback = h2_read_body };
	uint32_t be = htonl((uint32_t)(c->req_len - 5));
	char path[128], timeout[24];
	nghttp2_nv head[9];
	size_t n = 0;
	int32_t id;

	c->req[0] = 0;
	memcpy(c->req + 1, &be, 4);
	(void)snprintf(path, sizeof(path), "/%s/%s", c->service, c->method);
	head[n++] = nv(":method", "POST");
	head[n++] = nv(":scheme", "http");
	head[n++] = nv(":path", path);
	head[n++] = nv(":authority", "localhost");
	head[n++] = nv("content-type", "application/grpc");
	head[n++] = nv("te", "trailers");
	head[n++] = nv("user-agent", "agent-ctl/1");
	if (c->timeout_ms != RPC_NO_TIMEOUT) {
		if (c->timeout_ms < 100000000) /* at most eight digits */
			(void)snprintf(timeout, sizeof(timeout), "%dm", (int)c->timeout_ms);
		else
			(void)snprintf(timeout, sizeof(timeout), "%dS",
				       (int)(c->timeout_ms / 1000));
		head[n++] = nv("grpc-timeout", timeout);
	}
	id = nghttp2_submit_request(h->session, NULL, head, n, &body, c);
	if (id < 0)
		return -EPROTO;
	c->stream = (uint32_t)id;
	return 0;
}

/* The stream's close callback then ends the call. */
static void h2_cancel(void *state, struct rpc_call *c)
{
	struct h2 *h = state;

	(void)nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, (int32_t)c->stream,
					NGHTTP2_CANCEL);
}

static int h2_is_over(struct h2 *h, struct err *err)
{
	if (nghttp2_session_want_read(h->session) || nghttp2_session_want_write(h->session))
		return 0;
	if (h->complaint[0])
		return err_set(err, EPROTO, "HTTP/2: %s (is this a gRPC server?)", h->complaint);
	return err_set(err, ECONNRESET, "the agent ended the HTTP/2 session%s", h->goaway);
}

static int h2_input(void *state, const uint8_t *data, size_t len, struct err *err)
{
	struct h2 *h = state;
	ssize_t n = nghttp2_session_mem_recv(h->session, data, len);

	if (n < 0)
		return err_set(err, EPROTO, "HTTP/2: %s%s (is this a gRPC server?)",
			       nghttp2_strerror((int)n), h->goaway);
	return h2_is_over(h, err);
}

static int h2_pump(void *state, struct err *err)
{
	struct h2 *h = state;

	(void)nghttp2_session_send(h->session);
	return h2_is_over(h, err);
}

const struct rpc_ops rpc_grpc = {
	.name = "grpc",
	.req_head = 5,
	.open = h2_open,
	.close = h2_close,
	.start = h2_start,
	.cancel = h2_cancel,
	.input = h2_input,
	.pump = h2_pump,
};
