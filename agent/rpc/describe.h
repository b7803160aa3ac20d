/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request as text, for the log at debug level.
 */
#ifndef RPC_DESCRIBE_H
#define RPC_DESCRIBE_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>

/*
 * The fields of m that are set, cut where text (of size bytes, at least 1) is full. Bytes (input,
 * files) are told by their number only, and so are environments. Returns text.
 */
const char *rpc_describe(const ProtobufCMessage *m, char *text, size_t size);

#endif
