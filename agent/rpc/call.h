/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One RPC from its request to its answer. A handler answers at once, fails, or parks the call and
 * answers from a later event; a peer that left, or a deadline, cancels a parked call.
 *
 * The call belongs to its connection until it is answered or cancelled, and is freed right after.
 */
#ifndef RPC_CALL_H
#define RPC_CALL_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "base/loop.h"

struct call;
struct agent;
struct rpc_server;

/* Which generation of the schema the road speaks; the road decides where they disagree. */
enum schema { SCHEMA_1X, SCHEMA_3X };

/* How a call is answered on its road. Both take the call's stream away from it. */
struct call_road {
	/*
	 * The message to send, or NULL with *err. body has CALL_HEADROOM bytes free before
	 * buf_data(body) for the road's own framing; it is taken over.
	 */
	void (*answer)(struct call *c, struct buf *body);
	void (*fail)(struct call *c, int status, const char *msg);
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
