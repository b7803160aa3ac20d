/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One RPC from its request to its answer, what it is a call of (method, server), and the statuses
 * that it may end with. A handler answers at once, fails, or parks the call and
 * answers from a later event; a peer that left, or a deadline, cancels a parked call.
 *
 * The call belongs to its connection until it is answered or cancelled, and is freed right after.
 */
#ifndef RPC_CALL_H
#define RPC_CALL_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "base/loop.h"

struct call;
struct agent;

/* The numbers that gRPC and ttrpc share. */
enum rpc_status {
	RPC_OK = 0,
	RPC_CANCELLED = 1,
	RPC_UNKNOWN = 2,
	RPC_INVALID_ARGUMENT = 3,
	RPC_DEADLINE_EXCEEDED = 4,
	RPC_NOT_FOUND = 5,
	RPC_ALREADY_EXISTS = 6,
	RPC_PERMISSION_DENIED = 7,
	RPC_RESOURCE_EXHAUSTED = 8,
	RPC_FAILED_PRECONDITION = 9,
	RPC_ABORTED = 10,
	RPC_OUT_OF_RANGE = 11,
	RPC_UNIMPLEMENTED = 12,
	RPC_INTERNAL = 13,
	RPC_UNAVAILABLE = 14,
};

/* What the peer is told: err->rpc where it is set, else UNKNOWN, whatever the errno is. */
int rpc_status(const struct err *err);

/* Which generation of the schema the road speaks; the road decides where they disagree. */
enum schema { SCHEMA_1X, SCHEMA_3X };

/* How a call is answered on its road. Both take the call's stream away from it. */
struct call_road {
	/*
	 * body is the encoded message, with CALL_HEADROOM bytes free before buf_data(body) for the
	 * road's own framing; it is taken over. body->mem is NULL where there was no memory for it.
	 */
	void (*answer)(struct call *c, struct buf *body);
	void (*fail)(struct call *c, int status, const char *msg);
};

enum method_flags {
	M_SANDBOX = 1, /* only while a sandbox runs: else FAILED_PRECONDITION (1.x) */
	M_LIFE = 2,    /* of a container's life: an unknown id is INTERNAL in 3.x */
	M_ANYTIME = 4, /* also while the agent is still starting up */
	/*
	 * Bytes that end the request are not copied: they are there until the handler returns, and
	 * who parks the call copies them.
	 */
	M_IN_PLACE = 8,
};

/*
 * What a method does: 0 once answered, CALL_PENDING when parked, or -errno with *err (then the call
 * is failed for it). req lives in c->mem.
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
	size_t unsent;	    /* bytes of answers that wait for their peers, all together */
	struct timer quiet; /* armed by the end of a call, until memory has been given back */
};

#define CALL_HEADROOM 32
#define CALL_PENDING  1 /* what a handler returns that has parked its call */

struct call {
	struct rpc_server *server;
	const struct call_road *road;
	void *stream; /* the road's */
	const struct rpc_method *method;
	enum schema schema;
	struct arena mem;		/* request, scratch: until the answer is written */
	struct list parked;		/* link in the waiting list of whatever it waits for */
	void (*cancel)(struct call *c); /* set by who parks; must not answer; NULL: only unlink */
	void *wait;			/* the parker's own */
	struct timer deadline;
	/* the peer left or the deadline passed, the work goes on; answers are dropped */
	bool detached;
	int64_t started_ms;
};

/*
 * For roads: a new call, which rpc_run then hands to its handler. timeout_ms < 0: no deadline. NULL
 * when memory or LIMIT_CALLS_TOTAL is out, and nothing has happened; methods that are served at any
 * time, which answer at once, don't count for that.
 */
struct call *call_new(struct rpc_server *s, const struct call_road *road, void *stream,
		      const struct rpc_method *method, enum schema schema, int64_t timeout_ms);

/*
 * Each ends the call; c is gone afterwards. All return 0, for "return call_...": a negative errno from
 * a handler means that the call is still there and is to be failed.
 */
int call_reply(struct call *c, const ProtobufCMessage *msg);
int call_reply_empty(struct call *c);
/* An encoded message with CALL_HEADROOM bytes of room in front, from call_body; taken over. */
int call_reply_body(struct call *c, struct buf *body);
int call_fail(struct call *c, const struct err *err);

/* An empty body with the headroom in place and room for len bytes; .mem is NULL without memory. */
struct buf call_body(size_t len);

/*
 * Parks the call on a waiting list (NULL: on none). cancel is called when the peer leaves or the
 * deadline passes: it undoes the wait, answers nothing. Work with side effects that must go on
 * passes call_go_on: then the call stays, detached, until it is answered.
 */
int call_park(struct call *c, struct list *waiters, void (*cancel)(struct call *c), void *wait);
void call_go_on(struct call *c);

/* For roads: the peer is not interested any more (reset, connection lost). */
void call_cancelled(struct call *c);

struct agent *call_agent(const struct call *c);

#endif
