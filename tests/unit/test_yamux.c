/* SPDX-License-Identifier: Apache-2.0 */
// ldflags: -Wl,--wrap=malloc -Wl,--wrap=calloc
#include "wire/yamux.h"

#include "wire_fake.h"

#include "base/limits.h"

enum { DATA, WINDOW, PING, GO_AWAY };
enum { SYN = 1, ACK = 2, FIN = 4, RST = 8 };

static const uint8_t check_call[] = { 0,    0,	 0,   20,   0,	 0,   0,   1,	1,   0,
				      0x0a, 11,	 'g', 'r',  'p', 'c', '.', 'H', 'e', 'a',
				      'l',  't', 'h', 0x12, 5,	 'C', 'h', 'e', 'c', 'k' };

static size_t frame(uint8_t *out, int type, unsigned int flags, uint32_t id, uint32_t len,
		    const void *body)
{
	out[0] = 0;
	out[1] = (uint8_t)type;
	out[2] = (uint8_t)(flags >> 8);
	out[3] = (uint8_t)flags;
	for (int i = 0; i < 4; i++) {
		out[4 + i] = (uint8_t)(id >> (24 - 8 * i));
		out[8 + i] = (uint8_t)(len >> (24 - 8 * i));
	}
	if (!body)
		return 12;
	memcpy(out + 12, body, len);
	return 12 + len;
}

static void begin(void)
{
	fake_begin();
	cr_assert_eq(yamux_start(&fake.conn), 0);
}

static void feed(int type, unsigned int flags, uint32_t id, uint32_t len, const void *body)
{
	uint8_t out[1000];

	cr_assert_eq(fake_feed(out, frame(out, type, flags, id, len, body), sizeof(out)), 0);
}

/* Takes one frame off the output; its type, or -1. */
static int take(unsigned int *flags, uint32_t *id, uint32_t *len)
{
	const uint8_t *h = buf_data(&fake.out);
	int type;

	if (buf_len(&fake.out) < 12)
		return -1;
	type = h[1];
	*flags = (unsigned int)h[2] << 8 | h[3];
	*id = (uint32_t)h[4] << 24 | (uint32_t)h[5] << 16 | (uint32_t)h[6] << 8 | h[7];
	*len = (uint32_t)h[8] << 24 | (uint32_t)h[9] << 16 | (uint32_t)h[10] << 8 | h[11];
	buf_consume(&fake.out, 12 + (type == DATA ? *len : 0));
	return type;
}

static void expect(int type, unsigned int flags, uint32_t id)
{
	unsigned int f = 0;
	uint32_t i = 0, n;

	cr_assert_eq(take(&f, &i, &n), type);
	cr_assert_eq(f, flags);
	cr_assert_eq(i, id);
}

Test(yamux, a_call)
{
	begin();
	feed(WINDOW, SYN, 1, 0, NULL);
	expect(WINDOW, ACK, 1);
	feed(DATA, 0, 1, sizeof(check_call), check_call);
	expect(DATA, 0, 1);
	feed(WINDOW, FIN, 1, 0, NULL);
	expect(WINDOW, FIN, 1);
	cr_assert_eq(buf_len(&fake.out), 0);
	fake_end();
	fake_all_over();
}

Test(yamux, one_stream_too_many)
{
	begin();
	for (uint32_t i = 0; i < LIMIT_YAMUX_STREAMS; i++) {
		feed(WINDOW, SYN, 2 * i + 1, 0, NULL);
		expect(WINDOW, ACK, 2 * i + 1);
	}
	feed(WINDOW, SYN, 99999, 0, NULL);
	expect(WINDOW, RST, 99999);
	feed(WINDOW, RST, 1, 0, NULL);
	feed(WINDOW, SYN, 100001, 0, NULL);
	expect(WINDOW, ACK, 100001);
	fake_end();
	fake_all_over();
}

Test(yamux, ping_behind_a_full_window)
{
	static const uint8_t read_mib[] =
		"\0\0\0\x25\0\0\0\1\1\0\x0a\x11grpc.AgentService\x12\x0aReadStdout\x1a\x04\x18\x80\x80\x40";
	size_t data = 0;
	unsigned int flags;
	uint32_t id, len;
	int type;

	begin();
	feed(WINDOW, SYN, 1, 0, NULL);
	feed(DATA, 0, 1, sizeof(read_mib) - 1, read_mib);
	while ((type = take(&flags, &id, &len)) >= 0)
		data += type == DATA ? len : 0;
	cr_assert_eq(data, 256u << 10, "the window and no more: %zu", data);
	feed(PING, SYN, 0, 1234, NULL);
	expect(PING, ACK, 0);
	feed(WINDOW, 0, 1, 100, NULL);
	cr_assert_eq(take(&flags, &id, &len), DATA);
	cr_assert_eq(len, 100);
	fake_end();
	fake_all_over();
}

Test(yamux, nobody_reads)
{
	begin();
	feed(WINDOW, SYN, 1, 0, NULL);
	fake.room = 5;
	for (int i = 0; i < 6000; i++)
		feed(PING, SYN, 0, 1, NULL);
	cr_assert(fake.paused, "no more is read");
	fake.room = SIZE_MAX;
	cr_assert_eq(conn_writable(&fake.conn), 0);
	cr_assert(!fake.paused);
	cr_assert_eq(buf_len(&fake.out), 12 * 6001);
	fake_end();
	fake_all_over();
}

/* The connection takes a few bytes at a time: frames of several streams never mix. */
Test(yamux, frames_stay_whole)
{
	unsigned int flags;
	uint32_t id, len;
	int type, data = 0;

	begin();
	fake.room = 0;
	for (uint32_t i = 1; i < 40; i += 2) {
		feed(WINDOW, SYN, i, 0, NULL);
		feed(DATA, 0, i, sizeof(check_call), check_call);
	}
	for (int i = 0; i < 5000; i++) {
		fake.room = (size_t)i % 7;
		cr_assert_eq(conn_writable(&fake.conn), 0);
		fake_jobs();
	}
	while ((type = take(&flags, &id, &len)) >= 0) {
		cr_assert(type == WINDOW || (type == DATA && len == 16), "type %d, length %u", type,
			  len);
		data += type == DATA;
	}
	cr_assert_eq(data, 20);
	fake_end();
	fake_all_over();
}

/* A ttrpc ReadStdout of that many bytes (below 2 MiB), on a stream that is open; its number is 1. */
static void feed_read(uint32_t id, uint32_t n)
{
	uint8_t read[] =
		"\0\0\0\x25\0\0\0\1\1\0\x0a\x11grpc.AgentService\x12\x0aReadStdout\x1a\x04\x18xxx";

	read[sizeof(read) - 4] = (uint8_t)(n | 0x80);
	read[sizeof(read) - 3] = (uint8_t)(n >> 7 | 0x80);
	read[sizeof(read) - 2] = (uint8_t)(n >> 14);
	feed(DATA, 0, id, sizeof(read) - 1, read);
}

Test(yamux, frames_of_an_answer_are_written_together)
{
	begin();
	feed(WINDOW, SYN, 1, 0, NULL);
	expect(WINDOW, ACK, 1);
	fake.writes = 0;
	feed_read(1, 64 << 10);
	cr_assert_eq(fake.writes, 1);
	cr_assert_eq(buf_len(&fake.out), 3 * 12 + 10 + 2 + 4 + 4 + (64 << 10));
	fake_end();
	fake_all_over();
}

/* The connection stops anywhere: each stream's bytes are whole and in order, and what waits is bounded. */
Test(yamux, answers_of_several_streams_by_pieces)
{
	static uint8_t got[3][200000];
	size_t n[3] = { 0 };
	unsigned int seed = 1;

	begin();
	fake.room = 0;
	for (uint32_t i = 0; i < 3; i++) {
		feed(WINDOW, SYN, 2 * i + 1, 0, NULL);
		feed_read(2 * i + 1, 150000);
	}
	for (int i = 0; i < 4000; i++) {
		fake.room =
			(size_t)(rand_r(&seed) % 3 ? rand_r(&seed) % 100 : rand_r(&seed) % 50000);
		cr_assert_eq(conn_writable(&fake.conn), 0);
		fake_jobs();
	}
	while (buf_len(&fake.out)) {
		const uint8_t *h = buf_data(&fake.out);
		uint32_t id = be32_get(h + 4), len = be32_get(h + 8), which = id / 2;

		cr_assert(h[1] == WINDOW || (h[1] == DATA && which < 3 && len <= (32 << 10) - 12));
		if (h[1] == DATA) {
			cr_assert_leq(n[which] + len, sizeof(got[0]));
			memcpy(got[which] + n[which], h + 12, len);
			n[which] += len;
		}
		buf_consume(&fake.out, 12 + (h[1] == DATA ? len : 0));
	}
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(n[i], 10 + 2 + 4 + 4 + 150000, "stream %d: %zu", i, n[i]);
		for (size_t k = 0; k < 150000; k++)
			cr_assert_eq(got[i][20 + k], (uint8_t)(k * 7 + k / 256));
	}
	fake_end();
	fake_all_over();
}

Test(yamux, windows_are_given_back_by_halves)
{
	static uint8_t body[64u << 10];
	uint8_t out[12];
	unsigned int flags;
	uint32_t id, len, given = 0;

	begin();
	feed(WINDOW, SYN, 1, 0, NULL);
	expect(WINDOW, ACK, 1);
	body[0] = 0; /* a ttrpc frame of 4 MB */
	body[1] = 0x3d;
	body[8] = 1;
	body[7] = 1;
	for (int i = 0; i < 16; i++) {
		cr_assert_eq(fake_feed(out, frame(out, DATA, 0, 1, sizeof(body), NULL), 12), 0);
		cr_assert_eq(fake_feed(body, sizeof(body), sizeof(body)), 0);
		while (take(&flags, &id, &len) == WINDOW) {
			cr_assert_geq(len, 128u << 10);
			given += len;
		}
	}
	cr_assert_eq(given, 1u << 20);
	fake_end();
	fake_all_over();
}

Test(yamux, bad_headers_end_the_session_only)
{
	static const uint8_t bad[][12] = {
		{ 1 },
		{ 0, 4 },
		{ 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 },
		{ 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		begin();
		cr_assert_lt(fake_feed(bad[i], 12, 12), 0);
		fake_end();
	}
	fake_all_over();
}

Test(yamux, without_memory)
{
	uint8_t data[600];
	size_t n = 0;

	n += frame(data + n, WINDOW, SYN, 1, 0, NULL);
	n += frame(data + n, DATA, SYN, 3, sizeof(check_call), check_call);
	n += frame(data + n, DATA, 0, 1, sizeof(check_call), check_call);
	n += frame(data + n, PING, SYN, 0, 5, NULL);
	n += frame(data + n, WINDOW, FIN, 1, 0, NULL);
	n += frame(data + n, DATA, FIN, 3, sizeof(check_call), check_call);
	fake_without_memory(data, n, yamux_start, 60);
}
