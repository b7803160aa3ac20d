/* SPDX-License-Identifier: Apache-2.0 */
/* gRPC's header values and message frames. data[0] says what is read. */
// objs: fake
#include "fake.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "wire/grpc.h"
#include "rpc/pb.h"

static void frames(const uint8_t *data, size_t size)
{
	struct grpc_reader r = { 0 };
	struct err err = { 0 };
	size_t at = 0;

	while (at < size) {
		size_t n = (size_t)(data[at] & 15) + 1;

		if (n > size - at)
			n = size - at;
		if (grpc_read(&r, data + at, n, &err) < 0)
			break;
		at += n;
		if (buf_len(&r.body) > size || r.want > LIMIT_MESSAGE)
			abort();
	}
	(void)grpc_read_end(&r, &err);
	buf_free(&r.body);
}

static void envelope(const uint8_t *data, size_t size)
{
	struct pb_reader r = { data, data + size };
	uint8_t text[PB_VARINT_MAX];
	struct pb_field f;
	bool bad = false;

	while (pb_next(&r, &f, &bad)) {
		if (f.type == PB_BYTES &&
		    (f.data < data || f.len > size || f.data + f.len > data + size))
			abort();
		if (pb_put_varint(text, f.value) != pb_varint_len(f.value))
			abort();
	}
	if (!bad && r.at != r.end)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err = { 0 };
	char out[64], *text;

	if (size == 0)
		return 0;
	text = calloc(1, size); /* without its first byte, with a NUL */
	if (!text)
		return 0;
	(void)memcpy(text, data + 1, size - 1);
	switch (data[0] % 5) {
	case 0:
		(void)grpc_timeout_ms(text, size - 1);
		break;
	case 1:
		if (grpc_encode_message(text, out, sizeof(out)) >= sizeof(out) ||
		    strlen(out) >= sizeof(out))
			abort();
		break;
	case 2:
		(void)grpc_method(&fake_world()->rpc, text, size - 1, &err);
		break;
	case 3:
		frames(data + 1, size - 1);
		break;
	default:
		envelope(data + 1, size - 1);
	}
	free(text);
	return 0;
}
