/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gRPC's own rules on top of HTTP/2: header values, message frames, status text. Pure functions.
 */
#ifndef WIRE_GRPC_H
#define WIRE_GRPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "rpc/call.h"

#define GRPC_PREFIX 5u /* compressed flag, length big-endian */

/* A grpc-timeout value ("100m", "1S") in ms, rounded up; -EINVAL when it is none. */
int64_t grpc_timeout_ms(const char *text, size_t len);
/* grpc-message: percent-encodes into out (NUL-terminated, cut to size); the length. */
size_t grpc_encode_message(const char *msg, char *out, size_t size);

/* The one message of a unary request, as its bytes come in. */
struct grpc_reader {
	uint8_t prefix[GRPC_PREFIX];
	size_t prefix_len;
	uint32_t want; /* length that the prefix announced */
	struct buf body;
};

/* 0, or -errno with *err: the call is lost, its further bytes can be dropped. */
int grpc_read(struct grpc_reader *r, const uint8_t *data, size_t len, struct err *err);
/* After the end of the stream: 0 if exactly one whole message has come. */
int grpc_read_end(const struct grpc_reader *r, struct err *err);

/* "/package.Service/Method" into its row; NULL with *err. */
const struct rpc_method *grpc_method(const struct rpc_server *s, const char *path, size_t len,
				     struct err *err);

#endif
