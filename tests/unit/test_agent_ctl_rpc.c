/* SPDX-License-Identifier: Apache-2.0 */
// libs: -lnghttp2 -ljson-c
/*
 * Calls against a server in the same loop: gRPC by nghttp2's server side, ttrpc by hand. Answers
 * in any order, large bodies both ways, statuses and their texts, deadlines, cancelling, and lost
 * connections.
 */
#include "../agent-ctl/rpc.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "../agent-ctl/stream.h"

#define MAX_REQUESTS 8

/* One request as the server saw it; it answers when the test says so. */
struct request {
	uint32_t stream;
	char path[100], timeout[20];
	uint8_t *body;
	size_t len;
	bool complete, reset;
	const uint8_t *answer; /* framed */
	size_t answer_len, sent;
	int status;
	const char *message;
};

struct server {
	struct loop *loop;
	struct io io;
	nghttp2_session *h2; /* NULL: ttrpc */
	struct request reqs[MAX_REQUESTS];
	size_t n;
	uint8_t *out;
	size_t out_len;
	bool deaf; /* never opens a window */
};

static struct request *of(struct server *s, uint32_t stream)
{
	for (size_t i = 0; i < s->n; i++) {
		if (s->reqs[i].stream == stream)
			return &s->reqs[i];
	}
	cr_assert_lt(s->n, (size_t)MAX_REQUESTS);
	s->reqs[s->n].stream = stream;
	return &s->reqs[s->n++];
}

static void append(struct request *q, const uint8_t *data, size_t len)
{
	q->body = xrealloc(q->body, q->len + len);
	memcpy(q->body + q->len, data, len);
	q->len += len;
}

/* ---- gRPC ---- */

static int srv_header(nghttp2_session *h2, const nghttp2_frame *f, const uint8_t *name,
		      size_t namelen, const uint8_t *value, size_t valuelen, uint8_t flags,
		      void *user)
{
	struct request *q = of(user, (uint32_t)f->hd.stream_id);

	(void)h2;
	(void)flags;
	if (namelen == 5 && !memcmp(name, ":path", 5))
		(void)snprintf(q->path, sizeof(q->path), "%.*s", (int)valuelen,
			       (const char *)value);
	if (namelen == 12 && !memcmp(name, "grpc-timeout", 12))
		(void)snprintf(q->timeout, sizeof(q->timeout), "%.*s", (int)valuelen,
			       (const char *)value);
	return 0;
}

static int srv_data(nghttp2_session *h2, uint8_t flags, int32_t stream, const uint8_t *data,
		    size_t len, void *user)
{
	(void)h2;
	(void)flags;
	append(of(user, (uint32_t)stream), data, len);
	return 0;
}

static int srv_frame(nghttp2_session *h2, const nghttp2_frame *f, void *user)
{
	(void)h2;
	if (f->hd.stream_id && f->hd.flags & NGHTTP2_FLAG_END_STREAM)
		of(user, (uint32_t)f->hd.stream_id)->complete = true;
	if (f->hd.type == NGHTTP2_RST_STREAM)
		of(user, (uint32_t)f->hd.stream_id)->reset = true;
	return 0;
}

static ssize_t srv_body(nghttp2_session *h2, int32_t stream, uint8_t *buf, size_t len,
			uint32_t *flags, nghttp2_data_source *src, void *user)
{
	struct request *q = src->ptr;
	char status[8];
	nghttp2_nv nv[2] = {
		{ (uint8_t[]){ "grpc-status" }, (uint8_t *)status, 11, 0, 0 },
		{ (uint8_t[]){ "grpc-message" }, NULL, 12, 0, 0 },
	};

	(void)user;
	len = len < q->answer_len - q->sent ? len : q->answer_len - q->sent;
	if (len > 0)
		memcpy(buf, q->answer + q->sent, len);
	q->sent += len;
	if (q->sent == q->answer_len) {
		*flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
		nv[0].valuelen = (size_t)snprintf(status, sizeof(status), "%d", q->status);
		nv[1].value = (uint8_t *)(uintptr_t)(q->message ? q->message : "");
		nv[1].valuelen = strlen((char *)nv[1].value);
		(void)nghttp2_submit_trailer(h2, stream, nv, q->message ? 2 : 1);
	}
	return (ssize_t)len;
}

/* Into a buffer, which the loop writes out: the client reads in the same loop. */
static void flush(struct server *s)
{
	const uint8_t *data;
	ssize_t n;

	while (s->h2 && s->out_len < 1u << 20 && (n = nghttp2_session_mem_send(s->h2, &data)) > 0) {
		s->out = xrealloc(s->out, s->out_len + (size_t)n);
		memcpy(s->out + s->out_len, data, (size_t)n);
		s->out_len += (size_t)n;
	}
	n = s->out_len ? write(s->io.fd, s->out, s->out_len) : 0;
	if (n > 0) {
		memmove(s->out, s->out + n, s->out_len - (size_t)n);
		s->out_len -= (size_t)n;
	}
	s->io.events = POLLIN | (s->out_len ? POLLOUT : 0);
}

static void h2_answer(struct server *s, struct request *q)
{
	nghttp2_nv head[] = {
		{ (uint8_t[]){ ":status" }, (uint8_t[]){ "200" }, 7, 3, 0 },
		{ (uint8_t[]){ "content-type" }, (uint8_t[]){ "application/grpc" }, 12, 16, 0 },
	};
	nghttp2_data_provider body = { .source.ptr = q, .read_callback = srv_body };

	cr_assert_eq(nghttp2_submit_response(s->h2, (int32_t)q->stream, head, 2, &body), 0);
	flush(s);
}

static void h2_server(struct server *s)
{
	nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, s->deaf ? 0 : 65535 },
	};
	nghttp2_session_callbacks *cb;

	(void)nghttp2_session_callbacks_new(&cb);
	nghttp2_session_callbacks_set_on_header_callback(cb, srv_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, srv_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, srv_frame);
	(void)nghttp2_session_server_new(&s->h2, cb, s);
	nghttp2_session_callbacks_del(cb);
	(void)nghttp2_submit_settings(s->h2, 0, settings, 1);
	flush(s);
}

/* ---- both ---- */

static void on_server(struct io *io, short revents)
{
	struct server *s = io->arg;
	uint8_t buf[65536];
	ssize_t n = read(io->fd, buf, sizeof(buf));

	if (n < 0 && errno == EAGAIN && revents & POLLOUT) {
		flush(s);
		return;
	}
	if (n <= 0) {
		io->events = 0;
		return;
	}
	if (!s->h2) {
		append(of(s, 1), buf, (size_t)n); /* all of the connection's bytes */
		return;
	}
	cr_assert_eq(nghttp2_session_mem_recv(s->h2, buf, (size_t)n), n);
	flush(s);
}

static struct rpc *connect_pair(struct loop *l, struct server *s, const struct rpc_ops *ops)
{
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	s->loop = l;
	s->io = (struct io){ .fd = fds[1], .events = POLLIN, .fn = on_server, .arg = s };
	loop_add(l, &s->io);
	if (ops == &rpc_grpc)
		h2_server(s);
	return rpc_open(l, fds[0], false, ops);
}

static void end_pair(struct loop *l, struct server *s, struct rpc *r)
{
	rpc_close(r);
	loop_del(l, &s->io);
	(void)close(s->io.fd);
	nghttp2_session_del(s->h2);
	free(s->out);
	for (size_t i = 0; i < s->n; i++)
		free(s->reqs[i].body);
}

struct outcome {
	bool done;
	int status, calls;
	char message[200];
	uint8_t *data;
	size_t len;
};

static void on_done(void *arg, const struct rpc_result *res)
{
	struct outcome *o = arg;

	o->done = true;
	o->calls++;
	o->status = res->status;
	(void)snprintf(o->message, sizeof(o->message), "%s", res->message);
	o->len = res->len;
	o->data = xmalloc(res->len);
	if (res->len > 0)
		memcpy(o->data, res->data, res->len);
}

static void start(struct rpc *r, const char *method, size_t bytes, int64_t timeout_ms,
		  struct outcome *o)
{
	PB_LOCAL(Grpc__WriteStreamRequest, grpc__write_stream_request, req);

	*o = (struct outcome){ .done = false };
	req.data.data = xcalloc(1, bytes);
	req.data.len = bytes;
	(void)rpc_start(r, "grpc.AgentService", method, &req.base, timeout_ms, on_done, o);
	free(req.data.data);
}

static void until_requests(struct loop *l, struct server *s, size_t n)
{
	for (int i = 0; i < 100000 && (s->n < n || !s->reqs[n - 1].complete); i++)
		loop_turn(l);
	cr_assert(s->reqs[n - 1].complete);
}

/* Criterion's own time limit leaks, which the sanitizer would report. */
static void limit(void)
{
	(void)alarm(60);
}

TestSuite(agent_ctl_rpc, .init = limit);

Test(agent_ctl_rpc, answers_in_any_order)
{
	static const uint8_t one[] = { 0, 0, 0, 0, 1, 'a' }, empty[] = { 0, 0, 0, 0, 0 };
	struct loop l = { 0 };
	struct server s = { 0 };
	struct rpc *r = connect_pair(&l, &s, &rpc_grpc);
	struct outcome a, b, c;

	start(r, "First", 3, RPC_NO_TIMEOUT, &a);
	start(r, "Second", 3, 5000, &b);
	start(r, "Third", 3, RPC_NO_TIMEOUT, &c);
	until_requests(&l, &s, 3);
	cr_expect_str_eq(s.reqs[0].path, "/grpc.AgentService/First");
	cr_expect_str_eq(s.reqs[0].timeout, "", "no deadline was asked for");
	cr_expect_str_eq(s.reqs[1].timeout, "5000m");
	cr_expect_eq(s.reqs[0].len, 5 + 2 + 3);
	s.reqs[2].answer = one;
	s.reqs[2].answer_len = sizeof(one);
	h2_answer(&s, &s.reqs[2]);
	loop_until(&l, &c.done);
	cr_expect_eq(c.status, RPC_OK);
	cr_expect(c.len == 1 && c.data[0] == 'a');
	cr_expect(!a.done && !b.done);
	s.reqs[0].status = RPC_NOT_FOUND;
	s.reqs[0].message = "Process %E2%82%AC 100%25 not%";
	h2_answer(&s, &s.reqs[0]);
	s.reqs[1].answer = empty;
	s.reqs[1].answer_len = sizeof(empty);
	h2_answer(&s, &s.reqs[1]);
	loop_until(&l, &b.done);
	cr_expect(a.done);
	cr_expect_eq(a.status, RPC_NOT_FOUND);
	cr_expect_str_eq(a.message, "Process \xe2\x82\xac 100% not%");
	cr_expect(b.status == RPC_OK && b.len == 0);
	cr_expect_null(r->calls);
	free(a.data);
	free(b.data);
	free(c.data);
	end_pair(&l, &s, r);
}

Test(agent_ctl_rpc, large_both_ways)
{
	size_t n = (4u << 20) - 100, m = 20u << 20;
	uint8_t *answer = xcalloc(1, m + 5);
	uint32_t be = htonl((uint32_t)m);
	struct loop l = { 0 };
	struct server s = { 0 };
	struct rpc *r = connect_pair(&l, &s, &rpc_grpc);
	struct outcome a;

	memcpy(answer + 1, &be, 4);
	answer[m + 4] = 0x5a;
	start(r, "Write", n, RPC_NO_TIMEOUT, &a);
	until_requests(&l, &s, 1);
	cr_expect_geq(s.reqs[0].len, n);
	s.reqs[0].answer = answer;
	s.reqs[0].answer_len = m + 5;
	h2_answer(&s, &s.reqs[0]);
	loop_until(&l, &a.done);
	cr_expect_eq(a.status, RPC_OK);
	cr_expect(a.len == m && a.data[m - 1] == 0x5a);
	free(a.data);
	free(answer);
	end_pair(&l, &s, r);
}

Test(agent_ctl_rpc, answer_cut_short_is_an_error)
{
	static const uint8_t cut[] = { 0, 0, 0, 0, 9, 'a' }, packed[] = { 1, 0, 0, 0, 1, 'a' };
	struct loop l = { 0 };
	struct server s = { 0 };
	struct rpc *r = connect_pair(&l, &s, &rpc_grpc);
	struct outcome a, b;

	start(r, "A", 0, RPC_NO_TIMEOUT, &a);
	start(r, "B", 0, RPC_NO_TIMEOUT, &b);
	until_requests(&l, &s, 2);
	s.reqs[0].answer = cut;
	s.reqs[1].answer = packed;
	s.reqs[0].answer_len = s.reqs[1].answer_len = 6;
	h2_answer(&s, &s.reqs[0]);
	h2_answer(&s, &s.reqs[1]);
	loop_until(&l, &a.done);
	loop_until(&l, &b.done);
	cr_expect_eq(a.status, RPC_INTERNAL);
	cr_expect_eq(b.status, RPC_UNIMPLEMENTED, "a compressed answer");
	free(a.data);
	free(b.data);
	end_pair(&l, &s, r);
}

/*
 * The request is stuck half-way: the deadline ends the call and its bytes are still freed once
 * only.
 */
Test(agent_ctl_rpc, deadline_resets_the_stream)
{
	struct loop l = { 0 };
	struct server s = { .deaf = true };
	struct rpc *r = connect_pair(&l, &s, &rpc_grpc);
	struct outcome a;

	start(r, "Slow", 1u << 20, 100, &a);
	loop_until(&l, &a.done);
	cr_expect_eq(a.status, RPC_DEADLINE_EXCEEDED);
	cr_expect(strstr(a.message, "0.1 s"));
	for (int i = 0; i < 100 && !s.reqs[0].reset; i++)
		loop_turn(&l);
	cr_expect(s.reqs[0].reset);
	cr_expect_null(r->calls);
	cr_expect_eq(a.calls, 1);
	free(a.data);
	end_pair(&l, &s, r);
}

static void expect_lost(const struct rpc_ops *ops)
{
	struct loop l = { 0 };
	struct server s = { 0 };
	struct rpc *r = connect_pair(&l, &s, ops);
	struct outcome a, b, c;

	start(r, "A", 10, RPC_NO_TIMEOUT, &a);
	start(r, "B", 10, 60000, &b);
	while (s.n == 0)
		loop_turn(&l);
	(void)shutdown(s.io.fd, SHUT_RDWR);
	loop_until(&l, &a.done);
	loop_until(&l, &b.done);
	cr_expect(a.status == RPC_UNAVAILABLE && b.status == RPC_UNAVAILABLE);
	cr_expect(strstr(a.message, "closed the connection"), "%s", a.message);
	start(r, "C", 10, RPC_NO_TIMEOUT, &c);
	cr_expect(!c.done, "never from inside rpc_start");
	loop_until(&l, &c.done);
	cr_expect_eq(c.status, RPC_UNAVAILABLE);
	free(a.data);
	free(b.data);
	free(c.data);
	end_pair(&l, &s, r);
}

Test(agent_ctl_rpc, lost_connection_fails_every_call)
{
	expect_lost(&rpc_grpc);
	expect_lost(&rpc_ttrpc);
}

Test(agent_ctl_rpc, not_a_grpc_server)
{
	static const char page[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
	struct loop l = { 0 };
	struct outcome a;
	struct rpc *r;
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	r = rpc_open(&l, fds[0], false, &rpc_grpc);
	start(r, "A", 10, RPC_NO_TIMEOUT, &a);
	cr_assert_eq(write(fds[1], page, sizeof(page) - 1), (ssize_t)sizeof(page) - 1);
	loop_until(&l, &a.done);
	cr_expect_eq(a.status, RPC_UNAVAILABLE);
	cr_expect(strstr(a.message, "is this a gRPC server?"), "%s", a.message);
	free(a.data);
	rpc_close(r);
	(void)close(fds[1]);
}

Test(agent_ctl_rpc, ttrpc_frames)
{
	static const uint8_t answers[] = {
		0,   0,	  0, 6, 0, 0, 0, 3, 2, 0, 0x0a, 0, 0x12, 2, 'h',  'i', /* second first */
		0,   0,	  0, 1, 0, 0, 0, 9, 2, 0, 0xff,			       /* to nobody */
		0,   0,	  0, 8, 0, 0, 0, 1, 2, 0, 0x0a, 6, 8,	 5, 0x12, 2,
		'n', 'o', 0, 0, 0, 2, 0, 0, 0, 5, 2,	0, 0x12, 9, /* nonsense */
		0,   0,	  0, 0, 0, 0, 0, 7, 2, 0,		    /* nothing: OK */
	};
	static const uint8_t want[] = {
		0,   0,	  0,   40,  0,	 0,   0,   1,	 1,   0,   0x0a,
		17,  'g', 'r', 'p', 'c', '.', 'A', 'g',	 'e', 'n', 't',
		'S', 'e', 'r', 'v', 'i', 'c', 'e', 0x12, 1,   'A', 0x20,
	};
	struct loop l = { 0 };
	struct server s = { 0 };
	struct rpc *r = connect_pair(&l, &s, &rpc_ttrpc);
	struct outcome a, b, c, d;

	start(r, "A", 7, 1000, &a);
	start(r, "B", 0, RPC_NO_TIMEOUT, &b);
	start(r, "C", 0, RPC_NO_TIMEOUT, &c);
	start(r, "D", 0, RPC_NO_TIMEOUT, &d);
	while (s.n == 0 || s.reqs[0].len < 100)
		loop_turn(&l);
	cr_expect_eq(s.reqs[0].body[3] + 10u, 10 + 19 + 3 + 6 + 2 + 9u);
	cr_expect(!memcmp(s.reqs[0].body + 4, want + 4, sizeof(want) - 4));
	for (size_t i = 0; i < sizeof(answers); i++) { /* byte by byte */
		cr_assert_eq(write(s.io.fd, answers + i, 1), 1);
		loop_turn(&l);
	}
	cr_assert(a.done && b.done && c.done && d.done);
	cr_expect(b.status == RPC_OK && b.len == 2 && !memcmp(b.data, "hi", 2));
	cr_expect(a.status == RPC_NOT_FOUND && !strcmp(a.message, "no"), "%d %s", a.status,
		  a.message);
	cr_expect_eq(c.status, RPC_INTERNAL);
	cr_expect(d.status == RPC_OK && d.len == 0);
	free(a.data);
	free(b.data);
	free(c.data);
	free(d.data);
	end_pair(&l, &s, r);
}

Test(agent_ctl_rpc, methods_by_any_name)
{
	const char *service = NULL;

	cr_expect_str_eq(schema_method(&schema_1x, "waitprocess", &service)->name, "WaitProcess");
	cr_expect_str_eq(service, "grpc.AgentService");
	cr_expect_str_eq(schema_method(&schema_1x, "grpc.Health/Check", &service)->name, "Check");
	cr_expect_str_eq(service, "grpc.Health");
	cr_expect_null(schema_method(&schema_1x, "Nonsense", &service));
}

Test(agent_ctl_rpc, end_of_output)
{
	cr_expect(stream_is_eof(RPC_UNKNOWN, "EOF", false));
	cr_expect(stream_is_eof(RPC_OUT_OF_RANGE, "EOF", false));
	cr_expect(stream_is_eof(RPC_NOT_FOUND, "Process x not found (container y)", false));
	cr_expect(stream_is_eof(RPC_UNKNOWN, "read |0: file already closed", false));
	cr_expect(stream_is_eof(RPC_UNKNOWN, "read /dev/ptmx: input/output error", true));
	cr_expect(!stream_is_eof(RPC_UNKNOWN, "read |0: input/output error", false));
	cr_expect(!stream_is_eof(RPC_UNAVAILABLE, "EOF", false));
}

Test(agent_ctl_rpc, data_in_place)
{
	static const uint8_t two[] = { 0x0a, 2, 'h', 'i' }, more[] = { 0x0a, 2, 'h', 'i', 0 };
	static const uint8_t other[] = { 0x12, 2, 'h', 'i' }, cut[] = { 0x0a, 0x82 };
	const uint8_t *data = NULL;
	size_t len = 9;

	cr_expect(stream_peek_data(two, sizeof(two), &data, &len));
	cr_expect(len == 2 && data == two + 2);
	cr_expect(stream_peek_data(NULL, 0, &data, &len));
	cr_expect_eq(len, 0);
	cr_expect(!stream_peek_data(more, sizeof(more), &data, &len));
	cr_expect(!stream_peek_data(other, sizeof(other), &data, &len));
	cr_expect(!stream_peek_data(cut, sizeof(cut), &data, &len));
}
