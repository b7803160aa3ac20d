/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of a call. It is freed in exactly two places: when it has been answered, and when it is
 * cancelled and nothing has to go on.
 */
#include "rpc/call.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/str.h"

#define CALL_QUIET_MS 1000

/* A burst is over: its memory goes back to the guest. */
static void call_on_quiet(struct timer *t)
{
	(void)t;
	(void)malloc_trim(0);
}

int rpc_status(const struct err *err)
{
	return err->rpc ? err->rpc : RPC_UNKNOWN;
}

static void call_free(struct call *c)
{
	struct rpc_server *s = c->server;

	if (c->server->trace)
		log_info("trace", "span %s start=%lld duration=%lldms", c->method->name,
			 (long long)c->started_ms, (long long)(loop_now_ms() - c->started_ms));
	timer_cancel(&c->deadline);
	list_del(&c->parked);
	arena_free(&c->mem);
	s->calls--;
	free(c);
	if (!s->quiet.loop)
		timer_set(s->loop, &s->quiet, CALL_QUIET_MS, call_on_quiet);
}

struct buf call_body(size_t len)
{
	struct buf b = { .mem = malloc(CALL_HEADROOM + len), .size = CALL_HEADROOM + len };

	if (b.mem)
		b.start = b.end = CALL_HEADROOM;
	return b;
}

int call_reply_body(struct call *c, struct buf *body)
{
	log_debug("call", "%s: done after %lld ms, %zu bytes", c->method->name,
		  (long long)(loop_now_ms() - c->started_ms), buf_len(body));
	if (c->detached)
		buf_free(body);
	else
		c->road->answer(c, body);
	call_free(c);
	return 0;
}

int call_reply(struct call *c, const ProtobufCMessage *msg)
{
	size_t len = protobuf_c_message_get_packed_size(msg);
	struct buf body = call_body(len);
	struct err err = { 0 };

	if (!body.mem) {
		err_sys(&err, ENOMEM, "answer");
		return call_fail(c, &err);
	}
	(void)protobuf_c_message_pack(msg, buf_data(&body));
	body.end += len;
	return call_reply_body(c, &body);
}

int call_reply_empty(struct call *c)
{
	struct buf body = call_body(0);

	return call_reply_body(c, &body);
}

int call_fail(struct call *c, const struct err *err)
{
	int status = rpc_status(err);

	if (status == RPC_UNKNOWN && c->schema == SCHEMA_3X)
		status = RPC_INTERNAL; /* what the agents of 2.x and 3.x make of a plain error */
	/* A reader at the end of its stream is no failure worth a line. */
	if (str_eq(err->msg, "EOF"))
		log_debug("call", "%s: end of stream", c->method->name);
	else
		log_warn("call", "%s: status %d: %s", c->method->name, status, err->msg);
	if (!c->detached)
		c->road->fail(c, status, err->msg);
	call_free(c);
	return 0;
}

void call_go_on(struct call *c)
{
	(void)c;
}

int call_park(struct call *c, struct list *waiters, void (*cancel)(struct call *c), void *wait)
{
	c->cancel = cancel;
	c->wait = wait;
	if (waiters)
		list_add_tail(waiters, &c->parked);
	return CALL_PENDING;
}

void call_cancelled(struct call *c)
{
	if (c->detached)
		return;
	c->detached = true;
	timer_cancel(&c->deadline);
	if (c->cancel == call_go_on)
		return; /* the work goes on, and its answer frees the call */
	log_debug("call", "%s: cancelled after %lld ms", c->method->name,
		  (long long)(loop_now_ms() - c->started_ms));
	if (c->cancel)
		c->cancel(c);
	call_free(c);
}

static void call_on_deadline(struct timer *t)
{
	struct call *c = container_of(t, struct call, deadline);

	c->road->fail(c, RPC_DEADLINE_EXCEEDED, "deadline exceeded");
	call_cancelled(c);
}

struct agent *call_agent(const struct call *c)
{
	return c->server->agent;
}

struct call *call_new(struct rpc_server *s, const struct call_road *road, void *stream,
		      const struct rpc_method *method, enum schema schema, int64_t timeout_ms)
{
	bool full = s->calls >= LIMIT_CALLS_TOTAL && !(method->flags & M_ANYTIME);
	struct call *c = full ? NULL : calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	s->calls++;
	c->server = s;
	c->road = road;
	c->stream = stream;
	c->method = method;
	c->schema = schema;
	c->started_ms = loop_now_ms();
	arena_init(&c->mem, LIMIT_ARENA);
	list_init(&c->parked);
	if (timeout_ms >= 0)
		timer_set(s->loop, &c->deadline, timeout_ms, call_on_deadline);
	return c;
}
