/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a method's name and a request's bytes to its handler.
 */
#ifndef RPC_DISPATCH_H
#define RPC_DISPATCH_H

#include <stdint.h>

#include "rpc/call.h"

enum method_flags {
	M_SANDBOX = 1, /* only while a sandbox runs: else FAILED_PRECONDITION (1.x) */
	M_LIFE = 2,    /* of a container's life: an unknown id is INTERNAL in 3.x */
	M_ANYTIME = 4, /* also while the agent is still starting up */
};

/*
 * 0 once answered, CALL_PENDING when parked, or -errno with *err (then the call is failed for it).
 * req lives in c->mem.
 */
typedef int rpc_handler(struct call *c, const void *req, struct err *err);

struct rpc_method {
	const char *service, *name; /* "grpc.AgentService", "Check" */
	const ProtobufCMessageDescriptor *request;
	rpc_handler *fn;
	unsigned int flags;
	/*
	 * Makes 3.x's bytes fit the 1.x message, in place; NULL: they do. Malformed bytes stay so.
	 */
	void (*adopt_3x)(uint8_t *body, size_t len);
};

struct rpc_server {
	struct loop *loop;
	struct agent *agent;
	const struct rpc_method *methods;
	size_t method_count;
	/* A gate before unpacking: 0 or -errno with *err. May be NULL. */
	int (*gate)(struct call *c, struct err *err);
	bool trace;	    /* log each call with its duration */
	unsigned int calls; /* open, parked ones included */
	size_t held;	    /* bytes of request bodies that roads hold, all together */
	struct timer quiet; /* armed by the end of a call, until memory has been given back */
};

/* The row, or NULL with *known telling whether at least the service exists. */
const struct rpc_method *rpc_find(const struct rpc_server *s, const char *service,
				  size_t service_len, const char *name, size_t name_len,
				  bool *known);

/*
 * Starts a call and runs its handler. The answer comes through road, maybe before this returns.
 * body is used, and may be changed, only during the call. timeout_ms < 0: no deadline. The new call
 * goes to *ret before the handler runs, so that the road can find its stream; without memory NULL
 * and nothing happens.
 */
struct call *rpc_call_new(struct rpc_server *s, const struct call_road *road, void *stream,
			  const struct rpc_method *method, enum schema schema, int64_t timeout_ms);
void rpc_call_run(struct call *c, uint8_t *body, size_t len);

#endif
