/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dispatch: find the row, pass the gate, unpack into the call's arena, run.
 */
#include "rpc/dispatch.h"

#include <string.h>

#include "base/limits.h"
#include "base/log.h"

static bool rpc_same(const char *s, const char *text, size_t len)
{
	return strlen(s) == len && memcmp(s, text, len) == 0;
}

const struct rpc_method *rpc_find(const struct rpc_server *s, const char *service,
				  size_t service_len, const char *name, size_t name_len,
				  bool *known)
{
	*known = false;
	for (size_t i = 0; i < s->method_count; i++) {
		const struct rpc_method *m = &s->methods[i];

		if (!rpc_same(m->service, service, service_len))
			continue;
		*known = true;
		if (rpc_same(m->name, name, name_len))
			return m;
	}
	return NULL;
}

static void *alloc_in_arena(void *arena, size_t size)
{
	return arena_alloc(arena, size);
}

static void free_in_arena(void *arena, void *p)
{
	(void)arena; /* all at once, with the call */
	(void)p;
}

static int rpc_call_handler(struct call *c, const ProtobufCMessage *req, size_t len,
			    struct err *err)
{
	if (log_threshold >= LOG_DEBUG) {
		char text[700]; /* a line takes no more */

		log_debug("call", "%s: %zu bytes %s", c->method->name, len,
			  rpc_describe(req, text, sizeof(text)));
	}
	return c->method->fn(c, req, err);
}

void rpc_run(struct call *c, uint8_t *body, size_t len)
{
	ProtobufCAllocator in_arena = { alloc_in_arena, free_in_arena, &c->mem };
	struct err err = { 0 };
	ProtobufCMessage *req;
	int r = 0;

	if (c->server->gate)
		r = c->server->gate(c, &err);
	if (r == 0 && c->schema == SCHEMA_3X && c->method->adopt_3x)
		c->method->adopt_3x(body, len);
	if (r == 0) {
		req = protobuf_c_message_unpack(c->method->request, &in_arena, len, body);
		if (!req)
			r = c->mem.taken + 2 * len + (64u << 10) > c->mem.ceiling
				    ? err_rpc(&err, RPC_RESOURCE_EXHAUSTED,
					      "request of %zu bytes takes more memory than a call may",
					      len)
				    : err_rpc(&err,
					      c->schema == SCHEMA_1X ? RPC_INTERNAL : RPC_UNKNOWN,
					      "grpc: error unmarshalling request: malformed %s",
					      c->method->request->short_name);
		else
			r = rpc_call_handler(c, req, len, &err);
	}
	if (r < 0)
		(void)call_fail(c, &err);
}
