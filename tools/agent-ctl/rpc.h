/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unary calls, any number at once on one connection, with deadlines; gRPC over HTTP/2 or ttrpc
 * below. Layers: addr (a socket) < xport (bytes, yamux) < rpc protocol (h2.c, ttrpc.c) < rpc.c
 * (calls).
 */
#ifndef CTL_RPC_H
#define CTL_RPC_H

#include "addr.h"
#include "loop.h"
#include "proto.h"
#include "xport.h"

enum rpc_status {
	RPC_OK,
	RPC_CANCELLED,
	RPC_UNKNOWN,
	RPC_INVALID_ARGUMENT,
	RPC_DEADLINE_EXCEEDED,
	RPC_NOT_FOUND,
	RPC_ALREADY_EXISTS,
	RPC_PERMISSION_DENIED,
	RPC_RESOURCE_EXHAUSTED,
	RPC_FAILED_PRECONDITION,
	RPC_ABORTED,
	RPC_OUT_OF_RANGE,
	RPC_UNIMPLEMENTED,
	RPC_INTERNAL,
	RPC_UNAVAILABLE,
	RPC_DATA_LOSS,
	RPC_UNAUTHENTICATED,
};

#define RPC_NO_TIMEOUT	 0
#define RPC_MAX_RESPONSE (64u << 20)

struct rpc;
struct rpc_call;

struct rpc_result {
	int status;	     /* enum rpc_status */
	const char *message; /* never NULL */
	const uint8_t *data; /* the encoded response; gone after the callback */
	size_t len;
};

typedef void rpc_done_fn(void *arg, const struct rpc_result *res);

struct rpc_call {
	struct rpc *rpc;
	struct rpc_call *next, *prev;
	const char *service; /* "grpc.AgentService" */
	char method[64];
	uint32_t stream; /* the protocol's number of it */
	int64_t timeout_ms;
	struct timer timer;
	rpc_done_fn *done;
	void *arg;
	uint8_t *req; /* as it goes on the wire, with the protocol's own head */
	size_t req_len, req_sent;
	uint8_t *res;
	size_t res_len, res_want;
	/* h2 only */
	uint8_t head[5];
	size_t head_len;
	int status; /* -1: none seen yet */
	int http_status;
	char message[900];
};

struct rpc_ops {
	const char *name;
	size_t req_head; /* bytes that the protocol wants in front of a request */
	void *(*open)(struct rpc *r);
	void (*close)(void *state);
	int (*start)(void *state, struct rpc_call *c); /* < 0: the connection is unusable */
	void (*cancel)(void *state, struct rpc_call *c);
	int (*input)(void *state, const uint8_t *data, size_t len, struct err *err);
	/* Hands as much to xport_send as there is room for; < 0: the session is over. */
	int (*pump)(void *state, struct err *err);
};

struct rpc {
	const struct rpc_ops *ops;
	void *state;
	struct loop *loop;
	struct xport xport;
	struct rpc_call *calls; /* waiting for their answer */
	bool dead;
	struct err why;
	struct timer death; /* the session is over, the calls hear of it from the loop */
	bool pumping;
};

extern const struct rpc_ops rpc_grpc, rpc_ttrpc;

/* Takes fd. */
struct rpc *rpc_open(struct loop *loop, int fd, bool yamux, const struct rpc_ops *ops);
void rpc_close(struct rpc *r); /* accepts NULL; calls under way are dropped without a callback */
/* done is called exactly once, never from inside rpc_start, unless the call is cancelled before. */
struct rpc_call *rpc_start(struct rpc *r, const char *service, const char *method,
			   const ProtobufCMessage *req, int64_t timeout_ms, rpc_done_fn *done,
			   void *arg);
void rpc_cancel(struct rpc_call *c);
/*
 * Runs the loop until the answer is there. ret_res may be NULL; else the caller frees *ret_res with
 * protobuf_c_message_free_unpacked. err->rpc is the gRPC status when the agent answered with one.
 */
int rpc_sync(struct rpc *r, const char *service, const ProtobufCMethodDescriptor *m,
	     const ProtobufCMessage *req, int64_t timeout_ms, ProtobufCMessage **ret_res,
	     struct err *err);
const char *rpc_status_name(int status);
/* One line of what an agent says: no backtrace, "Caused by" in a row. */
void rpc_plain_message(const char *message, char *out, size_t size);

/* For the protocols: the answer is complete. Frees c. */
void rpc_finish(struct rpc_call *c, int status, const char *message, const uint8_t *data,
		size_t len);
struct rpc_call *rpc_find(struct rpc *r, uint32_t stream);

#endif
