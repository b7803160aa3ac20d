/* SPDX-License-Identifier: Apache-2.0 */
#include "wire/grpc.h"

#include <criterion/criterion.h>
#include <string.h>

#include "base/limits.h"
#include "rpc/call.h"
#include "rpc/pb.h"

Test(grpc, timeouts)
{
	static const struct {
		const char *text;
		int64_t ms;
	} rows[] = {
		{ "1H", 3600000 },    { "2M", 120000 }, { "3S", 3000 },
		{ "100m", 100 },      { "1u", 1 },	{ "1500u", 2 },
		{ "1n", 1 },	      { "0m", 0 },	{ "99999999H", 359999996400000 },
		{ "", -1 },	      { "H", -1 },	{ "1", -1 },
		{ "1x", -1 },	      { "-1S", -1 },	{ " 1S", -1 },
		{ "999999999S", -1 }, { "1.5S", -1 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int64_t ms = grpc_timeout_ms(rows[i].text, strlen(rows[i].text));

		if (rows[i].ms < 0)
			cr_expect_lt(ms, 0, "'%s'", rows[i].text);
		else
			cr_expect_eq(ms, rows[i].ms, "'%s': %lld", rows[i].text, (long long)ms);
	}
}

Test(grpc, message_encoding)
{
	char out[64], tight[8];

	cr_expect_eq(grpc_encode_message("plain text", out, sizeof(out)), 10);
	cr_expect_str_eq(out, "plain text");
	(void)grpc_encode_message("100% gr\xc3\xbcn\n", out, sizeof(out));
	cr_expect_str_eq(out, "100%25 gr%C3%BCn%0A");
	(void)grpc_encode_message(" a b ", out, sizeof(out));
	cr_expect_str_eq(out, "%20a b%20");
	cr_expect_eq(grpc_encode_message("", out, sizeof(out)), 0);
	cr_expect_lt(grpc_encode_message("\n\n\n\n\n", tight, sizeof(tight)), sizeof(tight));
	cr_expect_eq(strlen(tight) % 3, 0, "no half escapes");
}

static int feed(struct grpc_reader *r, const char *data, size_t len, size_t portion,
		struct err *err)
{
	for (size_t at = 0; at < len; at += portion) {
		int e = grpc_read(r, (const uint8_t *)data + at,
				  len - at < portion ? len - at : portion, err);

		if (e < 0)
			return e;
	}
	return 0;
}

Test(grpc, messages_in_portions)
{
	for (size_t portion = 1; portion < 12; portion++) {
		struct grpc_reader r = { 0 };
		struct err err = { 0 };

		cr_assert_eq(feed(&r, "\0\0\0\0\5hello", 10, portion, &err), 0);
		cr_assert_eq(grpc_read_end(&r, &err), 0);
		cr_assert_eq(memcmp(buf_data(&r.body), "hello", 5), 0);
		buf_free(&r.body);
	}
}

Test(grpc, bad_messages)
{
	static const struct {
		const char *data;
		size_t len;
		int status;
	} rows[] = {
		{ "\1\0\0\0\0", 5, RPC_UNIMPLEMENTED },
		{ "\0\0\x40\0\1", 5, RPC_RESOURCE_EXHAUSTED },
		{ "\0\xff\xff\xff\xff", 5, RPC_RESOURCE_EXHAUSTED },
		{ "\0\0\0\0\1ab", 7, RPC_INTERNAL },
		{ "\0\0\0\0\0\0", 6, RPC_INTERNAL },
		{ "\0\0\0\0\3ab", 7, RPC_INTERNAL },
		{ "\0\0\0", 3, RPC_INTERNAL },
		{ "", 0, RPC_INTERNAL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct grpc_reader r = { 0 };
		struct err err = { 0 };
		int e = feed(&r, rows[i].data, rows[i].len, 100, &err);

		if (e == 0)
			e = grpc_read_end(&r, &err);
		cr_expect_lt(e, 0, "row %zu", i);
		cr_expect_eq(rpc_status(&err), rows[i].status, "row %zu: %d", i, rpc_status(&err));
		buf_free(&r.body);
	}
}

Test(grpc, methods)
{
	static const struct rpc_method m[] = { { .service = "a.B", .name = "C" } };
	const struct rpc_server s = { .methods = m, .method_count = 1 };
	struct err err = { 0 };

	cr_expect_eq(grpc_method(&s, "/a.B/C", 6, &err), m);
	cr_expect_null(grpc_method(&s, "/a.B/CC", 7, &err));
	cr_expect_eq(rpc_status(&err), RPC_UNIMPLEMENTED);
	cr_expect_str_eq(err.msg, "unknown method CC");
	cr_expect_null(grpc_method(&s, "/a.BB/C", 7, &err));
	cr_expect_str_eq(err.msg, "unknown service a.BB");
	for (const char *const *p =
		     (const char *const[]){ "", "/", "//", "x", "/x", "a.B/C", NULL };
	     *p; p++)
		cr_expect_null(grpc_method(&s, *p, strlen(*p), &err), "'%s'", *p);
}

Test(pb, fields)
{
	static const uint8_t msg[] = { 0x08, 0x96, 0x01, 0x12, 3,    'a',  'b',	 'c', 0x1d, 1,
				       2,    3,	   4,	 0x21, 1,    2,	   3,	 4,   5,    6,
				       7,    8,	   0xf8, 0xff, 0xff, 0xff, 0x0f, 0 };
	struct pb_reader r = { msg, msg + sizeof(msg) };
	struct pb_field f;
	bool bad = false;

	cr_assert(pb_next(&r, &f, &bad) && f.number == 1 && f.value == 150);
	cr_assert(pb_next(&r, &f, &bad) && f.number == 2 && f.len == 3 &&
		  memcmp(f.data, "abc", 3) == 0);
	cr_assert(pb_next(&r, &f, &bad) && f.number == 3 && f.type == PB_FIXED32);
	cr_assert(pb_next(&r, &f, &bad) && f.number == 4 && f.type == PB_FIXED64);
	cr_assert(pb_next(&r, &f, &bad) && f.number == 536870911);
	cr_assert(!pb_next(&r, &f, &bad) && !bad);
}

Test(pb, malformed)
{
	static const struct {
		const char *data;
		size_t len;
	} rows[] = {
		{ "\x08", 1 },
		{ "\x08\xff", 2 },
		{ "\x12\x05"
		  "abc",
		  5 },
		{ "\x00\x00", 2 },
		{ "\x0b", 1 },
		{ "\x0c", 1 },
		{ "\x0f", 1 },
		{ "\x09"
		  "1234567",
		  8 },
		{ "\x0d"
		  "123",
		  4 },
		{ "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12 },
		{ "\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct pb_reader r = { (const uint8_t *)rows[i].data,
				       (const uint8_t *)rows[i].data + rows[i].len };
		struct pb_field f;
		bool bad = false;

		while (pb_next(&r, &f, &bad))
			;
		cr_expect(bad, "row %zu", i);
	}
}

Test(pb, varints)
{
	static const uint64_t values[] = { 0, 1, 127, 128, 16383, 16384, UINT32_MAX, UINT64_MAX };
	uint8_t out[PB_VARINT_MAX + 1];

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		size_t n = 1 + pb_put_varint(out + 1, values[i]);
		struct pb_reader r = { out, out + n };
		struct pb_field f;
		bool bad = false;

		out[0] = 0x08;
		cr_expect_eq(n - 1, pb_varint_len(values[i]));
		cr_expect(pb_next(&r, &f, &bad) && f.value == values[i]);
	}
}
