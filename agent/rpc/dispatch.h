/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a method's name and a request's bytes to its handler.
 */
#ifndef RPC_DISPATCH_H
#define RPC_DISPATCH_H

#include <protobuf-c/protobuf-c.h>
#include "rpc/call.h"

/* The row, or NULL with *known telling whether at least the service exists. */
const struct rpc_method *rpc_find(const struct rpc_server *s, const char *service,
				  size_t service_len, const char *name, size_t name_len,
				  bool *known);
/*
 * Passes the gate, unpacks body into the call's arena and runs the handler. The answer comes
 * through the call's road, maybe before this returns. body may be changed, and is not used
 * afterwards.
 */
void rpc_run(struct call *c, uint8_t *body, size_t len);

/* --- describe.c: a request as text, for the log --- */

/*
 * The fields of m that are set, cut where text (of size bytes, at least 1) is full. Bytes (input,
 * files) are told by their number only, and so are environments. Returns text.
 */
const char *rpc_describe(const ProtobufCMessage *m, char *text, size_t size);

#endif
