/* SPDX-License-Identifier: Apache-2.0 */
// ldflags: -Wl,--wrap=malloc -Wl,--wrap=calloc
/*
 * yamux on a port whose other end changes without a word: when a new client is taken for one, what
 * becomes of the old one's streams and of frames half sent, and of frames for streams of before.
 */
#include "wire/yamux.h"

#include "wire_fake.h"

enum { DATA, WINDOW, PING, GO_AWAY };
enum { SYN = 1, ACK = 2, FIN = 4, RST = 8 };

static void put(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static int feed_frame(int type, unsigned int flags, uint32_t id, uint32_t len)
{
	uint8_t h[12] = { 0, (uint8_t)type, 0, (uint8_t)flags };

	put(h + 4, id);
	put(h + 8, len);
	return fake_feed(h, sizeof(h), sizeof(h));
}

static void feed(int type, unsigned int flags, uint32_t id, uint32_t len)
{
	cr_assert_eq(feed_frame(type, flags, id, len), 0);
}

static void expect(int type, unsigned int flags, uint32_t id, const char *what)
{
	uint8_t want[12] = { 0, (uint8_t)type, 0, (uint8_t)flags };

	put(want + 4, id);
	cr_assert_geq(buf_len(&fake.out), 12, "%s: no frame", what);
	cr_assert_arr_eq(buf_data(&fake.out), want, 8, "%s", what);
	buf_consume(&fake.out, 12);
}

static void expect_nothing(const char *what)
{
	cr_assert_eq(buf_len(&fake.out), 0, "%s: %zu bytes", what, buf_len(&fake.out));
}

static void open_streams(uint32_t from, uint32_t to)
{
	for (uint32_t id = from; id <= to; id += 2) {
		feed(WINDOW, SYN, id, 0);
		expect(WINDOW, ACK, id, "opened");
	}
}

static void begin(void)
{
	fake_begin();
	cr_assert_eq(yamux_start(&fake.conn), 0);
}

static void end(void)
{
	fake_end();
	fake_all_over();
}

/* The streams of the old client are gone without a word: their FINs get no answer. */
static void expect_gone(uint32_t from, uint32_t to)
{
	for (uint32_t id = from; id <= to; id += 2)
		feed(WINDOW, FIN, id, 0);
	expect_nothing("streams of the old client");
}

Test(yamux_peers, a_client_that_starts_at_1_is_new)
{
	begin();
	open_streams(1, 9);
	open_streams(1, 1);
	expect_gone(3, 9);
	feed(WINDOW, FIN, 1, 0);
	expect(WINDOW, FIN, 1, "the new one's stream");
	end();
}

/* kata-proxy's id was closed long ago: it makes no difference. */
Test(yamux_peers, also_after_its_stream_was_closed)
{
	begin();
	for (uint32_t id = 1; id < 2001; id += 2) {
		open_streams(id, id);
		feed(WINDOW, FIN, id, 0);
		expect(WINDOW, FIN, id, "closed");
	}
	open_streams(2001, 2001);
	open_streams(1, 3);
	expect_gone(2001, 2001);
	end();
}

/* agent-ctl's: 1 is opened and reset, its streams have ids from a random number on. */
Test(yamux_peers, a_client_that_announces_itself)
{
	const uint32_t old = (1u << 25) + 0x123457, new[] = { old + 1000, old - 1000, old };

	for (size_t i = 0; i < sizeof(new) / sizeof(new[0]); i++) {
		begin();
		feed(WINDOW, SYN | RST, 1, 0);
		expect(WINDOW, ACK, 1, "first");
		open_streams(old, old + 2);
		feed(WINDOW, SYN | RST, 1, 0);
		expect(WINDOW, ACK, 1, "second");
		expect_gone(old, old + 2);
		open_streams(new[i], new[i] + 2);
		feed(WINDOW, FIN, new[i], 0);
		expect(WINDOW, FIN, new[i], "the new one's");
		end();
	}
}

Test(yamux_peers, one_that_opens_two_at_once_is_not_new)
{
	begin();
	open_streams(1, 1);
	open_streams(7, 7);
	open_streams(3, 5);
	feed(WINDOW, FIN, 1, 0);
	expect(WINDOW, FIN, 1, "still there");
	end();
}

/* hashicorp's client has up to 256 opens on their way, and under load they overtake each other. */
Test(yamux_peers, one_that_opens_many_at_once_is_not_new)
{
	begin();
	open_streams(1, 1);
	open_streams(513, 513);
	open_streams(3, 511);
	open_streams(515, 2001);
	feed(WINDOW, FIN, 1, 0);
	expect(WINDOW, FIN, 1, "still there");
	end();
}

/* A frame of the old client's session that is half on its way goes to its end, the rest does not. */
Test(yamux_peers, the_new_one_stays_in_step)
{
	for (size_t cut = 0; cut <= 30; cut++) {
		begin();
		open_streams(1, 1);
		fake.room = cut;
		for (uint32_t i = 0; i < 10; i++)
			feed(PING, SYN, 0, i);
		feed(WINDOW, SYN, 1, 0);
		fake.room = SIZE_MAX;
		cr_assert_eq(conn_writable(&fake.conn), 0);
		fake_jobs();
		for (size_t i = 0; i < (cut + 11) / 12; i++)
			expect(PING, ACK, 0, "an old one");
		expect(WINDOW, ACK, 1, "the new one");
		expect_nothing("after it");
		end();
	}
}

/* Data frames, too, in portions of all sizes. */
Test(yamux_peers, in_step_behind_data)
{
	static const uint8_t read_mib[] = "\0\0\0\x25\0\0\0\1\1\0\x0a\x11grpc.AgentService\x12"
					  "\x0aReadStdout\x1a\x04\x18\x80\x80\x40";
	const uint32_t len = sizeof(read_mib) - 1;

	for (size_t portion = 1; portion < 100000; portion = portion * 2 + 1) {
		const uint8_t *p;
		size_t at = 0, n;

		begin();
		open_streams(1, 1);
		fake.room = 7;
		feed(DATA, 0, 1, len);
		cr_assert_eq(fake_feed(read_mib, len, len), 0);
		for (int i = 0; i < 5; i++) {
			fake.room = portion;
			cr_assert_eq(conn_writable(&fake.conn), 0);
			fake_jobs();
			feed(PING, SYN, 0, 1);
		}
		fake.room = 0;
		feed(WINDOW, SYN, 1, 0);
		fake.room = SIZE_MAX;
		cr_assert_eq(conn_writable(&fake.conn), 0);
		fake_jobs();
		p = buf_data(&fake.out);
		n = buf_len(&fake.out);
		while (n - at > 12) {
			cr_assert_eq(p[at], 0, "portion %zu, at %zu", portion, at);
			cr_assert_lt(p[at + 1], 3);
			at += 12;
			if (p[at - 11] == DATA)
				at += (size_t)p[at - 4] << 24 | (size_t)p[at - 3] << 16 |
				      (size_t)p[at - 2] << 8 | p[at - 1];
		}
		cr_assert_eq(n - at, 12, "portion %zu", portion);
		cr_assert_eq(p[at + 1], WINDOW);
		cr_assert_eq(p[at + 3], ACK);
		end();
	}
}

/* Its SYN went to a session that has ended: who waits for an answer gets one. Old ones' do not. */
Test(yamux_peers, streams_nobody_opened_are_reset)
{
	begin();
	feed(DATA, 0, 77, 0);
	expect(WINDOW, RST, 77, "data");
	feed(WINDOW, 0, 79, 5);
	expect(WINDOW, RST, 79, "window");
	feed(WINDOW, FIN, 81, 0);
	feed(WINDOW, RST, 83, 0);
	expect_nothing("an end is not answered");
	open_streams(99, 99);
	feed(DATA, 0, 77, 0);
	expect_nothing("as of a stream that we have closed");
	end();
}
