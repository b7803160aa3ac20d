/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Protobuf's wire format, read and written in place: for envelopes whose payload isn't to be
 * copied.
 */
#ifndef RPC_PB_H
#define RPC_PB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PB_VARINT_MAX 10u /* bytes of the longest varint */

enum pb_type { PB_VARINT = 0, PB_FIXED64 = 1, PB_BYTES = 2, PB_FIXED32 = 5 };

struct pb_field {
	uint32_t number;
	enum pb_type type;
	uint64_t value;	     /* of a varint */
	const uint8_t *data; /* of bytes: inside the message */
	size_t len;
};

struct pb_reader {
	const uint8_t *at, *end;
};

/*
 * The next field: true with *f, false at the end. *bad is set (and false returned) for what is no
 * protobuf.
 */
bool pb_next(struct pb_reader *r, struct pb_field *f, bool *bad);
/* Writes v and returns how many bytes it took; pb_varint_len tells that beforehand. */
size_t pb_put_varint(uint8_t *out, uint64_t v);
size_t pb_varint_len(uint64_t v);

#endif
