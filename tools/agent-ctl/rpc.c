/* SPDX-License-Identifier: Apache-2.0 */
/* Calls and their deadlines, whatever the protocol below. */
#include "rpc.h"

#include <errno.h>
#include <string.h>

const char *rpc_status_name(int status)
{
	static const char *const names[] = {
		"OK",
		"CANCELLED",
		"UNKNOWN",
		"INVALID_ARGUMENT",
		"DEADLINE_EXCEEDED",
		"NOT_FOUND",
		"ALREADY_EXISTS",
		"PERMISSION_DENIED",
		"RESOURCE_EXHAUSTED",
		"FAILED_PRECONDITION",
		"ABORTED",
		"OUT_OF_RANGE",
		"UNIMPLEMENTED",
		"INTERNAL",
		"UNAVAILABLE",
		"DATA_LOSS",
		"UNAUTHENTICATED",
	};

	return status >= 0 && (size_t)status < ARRAY_LEN(names) ? names[status]
								: "status out of range";
}

/* A message of one line: causes behind it, and no backtrace (the Rust agent's errors have both). */
void rpc_plain_message(const char *message, char *out, size_t size)
{
	/* Some are a text's debugging form, with quotes and backslashes. */
	static const char *const ends[] = { "\nStack backtrace:", "\nBacktrace:", "\n   0: ",
					    "\\n\\nStack backtrace:" };
	size_t len = strlen(message), n = 0;
	bool gap = false;

	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		const char *end = strstr(message, ends[i]);

		if (end && (size_t)(end - message) < len)
			len = (size_t)(end - message);
	}
	while (len > 0 && (message[len - 1] == '\n' || message[len - 1] == ' '))
		len--;
	for (size_t i = 0; i < len && n + 3 < size; i++) {
		if (message[i] == '\n' || (gap && message[i] == ' ')) {
			gap = true;
			continue;
		}
		if (gap && n > 0) {
			if (out[n - 1] != ':')
				out[n++] = ':';
			out[n++] = ' ';
		}
		gap = false;
		out[n++] = message[i];
	}
	out[n] = '\0';
}

static void unlink_call(struct rpc_call *c)
{
	if (c->prev)
		c->prev->next = c->next;
	else
		c->rpc->calls = c->next;
	if (c->next)
		c->next->prev = c->prev;
	loop_timer_del(c->rpc->loop, &c->timer);
}

static void free_call(struct rpc_call *c)
{
	free(c->req);
	free(c->res);
	free(c);
}

void rpc_finish(struct rpc_call *c, int status, const char *message, const uint8_t *data,
		size_t len)
{
	char text[sizeof(c->message)];
	struct rpc_result res = { status, text, data, len };

	rpc_plain_message(message, text, sizeof(text));
	unlink_call(c);
	if (c->done)
		c->done(c->arg, &res);
	free_call(c);
}

struct rpc_call *rpc_find(struct rpc *r, uint32_t stream)
{
	struct rpc_call *c = r->calls;

	while (c && c->stream != stream)
		c = c->next;
	return c;
}

/* The connection is gone: every call hears why. New calls may be started from their callbacks. */
static void fail_all(struct rpc *r, const struct err *why)
{
	if (!r->dead && why != &r->why)
		r->why = *why;
	r->dead = true;
	while (r->calls)
		rpc_finish(r->calls, RPC_UNAVAILABLE, r->why.msg, NULL, 0);
}

static void on_death(struct timer *t)
{
	struct rpc *r = t->arg;

	fail_all(r, &r->why);
}

static void pump(struct rpc *r)
{
	if (r->dead || r->pumping || r->death.armed)
		return;
	r->pumping = true;
	if (r->ops->pump(r->state, &r->why) < 0) {
		r->death = (struct timer){ .fn = on_death, .arg = r };
		loop_timer(r->loop, &r->death, 0);
	}
	xport_flush(&r->xport);
	r->pumping = false;
}

static void on_data(void *user, const uint8_t *data, size_t len)
{
	struct rpc *r = user;
	struct err err;
	bool ok;

	if (r->dead)
		return;
	r->pumping = true; /* nothing may be sent from inside a protocol's callbacks */
	ok = r->ops->input(r->state, data, len, &err) == 0;
	r->pumping = false;
	if (!ok)
		fail_all(r, &err);
	pump(r);
}

static void on_end(void *user, const struct err *why)
{
	fail_all(user, why);
}

static void on_room(void *user)
{
	pump(user);
}

struct rpc *rpc_open(struct loop *loop, int fd, bool yamux, const struct rpc_ops *ops)
{
	struct rpc *r = xcalloc(1, sizeof(*r));

	r->ops = ops;
	r->loop = loop;
	xport_open(&r->xport, loop, fd, yamux);
	r->xport.user = r;
	r->xport.on_data = on_data;
	r->xport.on_end = on_end;
	r->xport.on_room = on_room;
	r->state = ops->open(r);
	pump(r);
	return r;
}

void rpc_close(struct rpc *r)
{
	if (!r)
		return;
	while (r->calls) {
		struct rpc_call *c = r->calls;

		unlink_call(c);
		free_call(c);
	}
	loop_timer_del(r->loop, &r->death);
	r->ops->close(r->state);
	xport_close(&r->xport);
	free(r);
}

/*
 * The answer is no longer wanted. The call itself lives on until the protocol has let go of it: its
 * request may be half sent, its answer on the way.
 */
void rpc_cancel(struct rpc_call *c)
{
	struct rpc *r = c->rpc;

	c->done = NULL;
	loop_timer_del(r->loop, &c->timer);
	if (r->dead) {
		unlink_call(c);
		free_call(c);
		return;
	}
	r->ops->cancel(r->state, c);
	pump(r);
}

static void on_deadline(struct timer *t)
{
	struct rpc_call *c = t->arg;
	rpc_done_fn *done = c->done;
	void *arg = c->arg;
	char text[100];
	struct rpc_result res = { RPC_DEADLINE_EXCEEDED, text, NULL, 0 };

	(void)snprintf(text, sizeof(text), "no answer within %g s", (double)c->timeout_ms / 1000);
	rpc_cancel(c);
	done(arg, &res);
}

/* A connection that is dead already answers from the loop, too, never from inside rpc_start. */
static void on_stillborn(struct timer *t)
{
	struct rpc_call *c = t->arg;

	rpc_finish(c, RPC_UNAVAILABLE, c->rpc->why.msg, NULL, 0);
}

struct rpc_call *rpc_start(struct rpc *r, const char *service, const char *method,
			   const ProtobufCMessage *req, int64_t timeout_ms, rpc_done_fn *done,
			   void *arg)
{
	struct rpc_call *c = xcalloc(1, sizeof(*c));

	c->rpc = r;
	c->service = service;
	(void)snprintf(c->method, sizeof(c->method), "%s", method);
	c->timeout_ms = timeout_ms;
	c->done = done;
	c->arg = arg;
	c->status = -1;
	c->next = r->calls;
	if (c->next)
		c->next->prev = c;
	r->calls = c;
	c->timer = (struct timer){ .fn = on_deadline, .arg = c };
	if (!r->dead) {
		c->req_len = protobuf_c_message_get_packed_size(req) + r->ops->req_head;
		c->req = xmalloc(c->req_len);
		(void)protobuf_c_message_pack(req, c->req + r->ops->req_head);
		if (timeout_ms != RPC_NO_TIMEOUT)
			loop_timer(r->loop, &c->timer, now_ms() + timeout_ms);
		if (r->ops->start(r->state, c) == 0) {
			pump(r);
			return c;
		}
		err_set(&r->why, EPROTO, "this connection takes no more calls");
	}
	c->timer.fn = on_stillborn;
	loop_timer(r->loop, &c->timer, 0);
	return c;
}

struct waiter {
	const struct rpc *rpc;
	const ProtobufCMethodDescriptor *m;
	ProtobufCMessage **ret_res;
	struct err *err;
	int result;
	bool done;
};

static void on_sync_done(void *arg, const struct rpc_result *res)
{
	struct waiter *w = arg;

	w->done = true;
	if (res->status != RPC_OK) {
		w->result = err_set(w->err, w->rpc->dead ? ECONNRESET : EREMOTEIO, "%s: %s: %s",
				    w->m->name, rpc_status_name(res->status), res->message);
		w->err->rpc = res->status;
		return;
	}
	if (!w->ret_res)
		return;
	*w->ret_res = protobuf_c_message_unpack(w->m->output, NULL, res->len, res->data);
	if (!*w->ret_res)
		w->result = err_set(w->err, EBADMSG, "%s: the answer of %zu bytes is no valid %s",
				    w->m->name, res->len, w->m->output->name);
}

int rpc_sync(struct rpc *r, const char *service, const ProtobufCMethodDescriptor *m,
	     const ProtobufCMessage *req, int64_t timeout_ms, ProtobufCMessage **ret_res,
	     struct err *err)
{
	struct waiter w = { .rpc = r, .m = m, .ret_res = ret_res, .err = err };

	(void)rpc_start(r, service, m->name, req, timeout_ms, on_sync_done, &w);
	loop_until(r->loop, &w.done);
	return w.result;
}
