/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Protobuf's wire format. No state.
 */
#include "rpc/pb.h"

static bool varint(struct pb_reader *r, uint64_t *ret)
{
	uint64_t v = 0;

	for (unsigned int shift = 0; shift < 7 * PB_VARINT_MAX && r->at < r->end; shift += 7) {
		uint8_t b = *r->at++;

		v |= (uint64_t)(b & 0x7f) << shift;
		if (!(b & 0x80)) {
			*ret = v;
			return true;
		}
	}
	return false;
}

static bool skip(struct pb_reader *r, uint64_t n)
{
	if (n > (uint64_t)(r->end - r->at))
		return false;
	r->at += n;
	return true;
}

static bool field(struct pb_reader *r, struct pb_field *f)
{
	uint64_t key, len;

	if (!varint(r, &key) || key >> 3 == 0 || key >> 3 > (1u << 29) - 1)
		return false;
	*f = (struct pb_field){ .number = (uint32_t)(key >> 3),
				.type = (enum pb_type)(key & 7),
				.data = r->at };
	switch (key & 7) {
	case PB_VARINT:
		return varint(r, &f->value);
	case PB_FIXED64:
		return skip(r, 8);
	case PB_FIXED32:
		return skip(r, 4);
	case PB_BYTES:
		if (!varint(r, &len))
			return false;
		f->data = r->at;
		f->len = (size_t)len;
		return skip(r, len);
	default:
		return false; /* groups: nobody sends them */
	}
}

bool pb_next(struct pb_reader *r, struct pb_field *f, bool *bad)
{
	if (r->at == r->end)
		return false;
	if (field(r, f))
		return true;
	*bad = true;
	return false;
}

size_t pb_put_varint(uint8_t *out, uint64_t v)
{
	size_t n = 0;

	for (; v >= 0x80; v >>= 7)
		out[n++] = (uint8_t)(v | 0x80);
	out[n++] = (uint8_t)v;
	return n;
}

size_t pb_varint_len(uint64_t v)
{
	size_t n = 1;

	for (; v >= 0x80; v >>= 7)
		n++;
	return n;
}
