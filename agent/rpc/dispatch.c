/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dispatch: find the row, pass the gate, unpack into the call's arena, run.
 */
#include "rpc/dispatch.h"

#include <string.h>

#include "base/limits.h"
#include "base/log.h"
#include "rpc/pb.h"

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

/* The field with which the message ends, if it is bytes, which can stay in place; else NULL. */
static const ProtobufCFieldDescriptor *rpc_last_bytes(const ProtobufCMessageDescriptor *d,
						      const uint8_t *body, size_t len,
						      size_t *ret_before, struct pb_field *last)
{
	const ProtobufCFieldDescriptor *field;
	struct pb_reader r;
	bool bad = false;

	if (len == 0) /* body may be NULL then */
		return NULL;
	r = (struct pb_reader){ body, body + len };
	do
		*ret_before = (size_t)(r.at - body);
	while (pb_next(&r, last, &bad) && r.at < r.end);
	if (bad || last->type != PB_BYTES)
		return NULL;
	field = protobuf_c_message_descriptor_get_field(d, last->number);
	return field && field->type == PROTOBUF_C_TYPE_BYTES &&
			       field->label != PROTOBUF_C_LABEL_REPEATED
		       ? field
		       : NULL;
}

static ProtobufCMessage *rpc_unpack(struct call *c, uint8_t *body, size_t len)
{
	ProtobufCAllocator in_arena = { alloc_in_arena, free_in_arena, &c->mem };
	const ProtobufCFieldDescriptor *field = NULL;
	struct pb_field last;
	size_t before = 0;
	ProtobufCMessage *req;

	if (c->method->flags & M_IN_PLACE)
		field = rpc_last_bytes(c->method->request, body, len, &before, &last);
	req = protobuf_c_message_unpack(c->method->request, &in_arena, field ? before : len, body);
	if (req && field)
		*(ProtobufCBinaryData *)(void *)((char *)req + field->offset) =
			(ProtobufCBinaryData){ last.len, (uint8_t *)(uintptr_t)last.data };
	return req;
}

void rpc_run(struct call *c, uint8_t *body, size_t len)
{
	struct err err = { 0 };
	ProtobufCMessage *req;
	int r = 0;

	if (c->server->gate)
		r = c->server->gate(c, &err);
	if (r == 0 && c->schema == SCHEMA_3X && c->method->adopt_3x)
		c->method->adopt_3x(body, len);
	if (r == 0) {
		req = rpc_unpack(c, body, len);
		if (!req)
			r = c->mem.taken + 2 * len + (64u << 10) > c->mem.ceiling
				    ? err_rpc(&err, RPC_RESOURCE_EXHAUSTED,
					      "request of %zu bytes takes more memory than a call may",
					      len)
				    : err_rpc(&err, RPC_INTERNAL,
					      "grpc: error unmarshalling request: malformed %s",
					      c->method->request->short_name);
		else
			r = rpc_call_handler(c, req, len, &err);
	}
	if (r < 0)
		(void)call_fail(c, &err);
}
