/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yamux of the client: where a session begins, headers, windows both ways, pings, several streams,
 * what ends a stream and a session; bytes split anywhere.
 */
#include "../agent-ctl/yamux.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#define RANDOM 0x5eed1234u
#define WIDE   (1024u * 1024)

struct peer {
	struct yamux y;
	struct yamux_stream s, other;
	uint8_t *wire; /* what the client emitted */
	size_t wire_len;
	size_t got; /* bytes handed up */
	uint32_t sum;
	int ready, ends, resets, rooms;
};

static struct peer *peer_of(struct yamux_stream *s)
{
	return s->y->arg;
}

static void on_emit(void *arg, const void *data, size_t len)
{
	struct peer *p = arg;

	p->wire = xrealloc(p->wire, p->wire_len + len);
	memcpy(p->wire + p->wire_len, data, len);
	p->wire_len += len;
}

static void on_ready(void *arg)
{
	((struct peer *)arg)->ready++;
}

static void on_data(struct yamux_stream *s, const uint8_t *data, size_t len)
{
	struct peer *p = peer_of(s);

	p->got += len;
	for (size_t i = 0; i < len; i++)
		p->sum += data[i];
	yamux_took(s, len);
}

static void on_room(struct yamux_stream *s)
{
	peer_of(s)->rooms++;
}

static void on_end(struct yamux_stream *s, bool reset)
{
	struct peer *p = peer_of(s);

	p->ends++;
	p->resets += reset;
	yamux_drop(s); /* as an owner may */
}

static const struct yamux_ops ops = { on_emit, on_ready, on_data, on_room, on_end };

static int feed(struct peer *p, uint8_t type, uint16_t flags, uint32_t stream, uint32_t length,
		struct err *err)
{
	struct yamux_frame f = { type, flags, stream, length };
	uint8_t head[YAMUX_HEADER];

	yamux_encode(&f, head);
	return yamux_input(&p->y, head, sizeof(head), err);
}

/* A session that is ready; what was emitted for that is forgotten. */
static void open_session(struct peer *p)
{
	struct err err = { 0 };

	*p = (struct peer){ .got = 0 };
	yamux_init(&p->y, &ops, p, RANDOM);
	yamux_ping(&p->y);
	cr_assert_eq(feed(p, YAMUX_PING, YAMUX_ACK, 0, RANDOM, &err), 0);
	cr_assert_eq(p->ready, 1);
	p->wire_len = 0;
}

static void open_peer(struct peer *p)
{
	open_session(p);
	yamux_open(&p->y, &p->s, WIDE);
}

static struct yamux_frame take_frame(struct peer *p, size_t *at)
{
	struct yamux_frame f = { 0 };

	cr_assert_leq(*at + YAMUX_HEADER, p->wire_len, "no further frame");
	cr_assert(yamux_decode(p->wire + *at, &f));
	*at += YAMUX_HEADER + (f.type == YAMUX_DATA ? f.length : 0);
	return f;
}

Test(agent_ctl_yamux, header_is_big_endian)
{
	static const uint8_t want[YAMUX_HEADER] = {
		0, 1, 0, 9, 0, 0, 0, 5, 0x01, 0x02, 0x03, 0x04
	};
	struct yamux_frame f = { YAMUX_WINDOW, YAMUX_SYN | YAMUX_RST, 5, 0x01020304 }, g;
	uint8_t head[YAMUX_HEADER];

	yamux_encode(&f, head);
	cr_expect_arr_eq(head, want, sizeof(want));
	cr_assert(yamux_decode(head, &g));
	cr_expect(f.type == g.type && f.flags == g.flags && f.stream == g.stream &&
		  f.length == g.length);
	head[0] = 1;
	cr_expect(!yamux_decode(head, &g), "version 1");
	head[0] = 0;
	head[1] = 4;
	cr_expect(!yamux_decode(head, &g), "type 4");
}

/* Somebody else's bytes come first, from the middle of a frame on, with answers to other pings. */
Test(agent_ctl_yamux, begins_with_the_answer_to_its_ping)
{
	uint8_t before[200];
	struct yamux_frame pong = { YAMUX_PING, YAMUX_ACK, 0, RANDOM - 1 };
	struct err err = { 0 };
	struct yamux_frame f;

	for (size_t i = 0; i < sizeof(before); i++)
		before[i] = (uint8_t)(i * 37);
	yamux_encode(&pong, before + 101);
	before[sizeof(before) - 1] = 0; /* as the first byte of the answer */
	for (size_t start = 0; start < sizeof(before); start++) {
		uint8_t wire[sizeof(before) + 2 * YAMUX_HEADER];
		size_t n = sizeof(before) - start, at = 0;
		struct peer p = { .got = 0 };

		pong.length = RANDOM;
		memcpy(wire, before + start, n);
		yamux_encode(&pong, wire + n);
		pong = (struct yamux_frame){ YAMUX_PING, YAMUX_SYN, 0, 77 };
		yamux_encode(&pong, wire + n + YAMUX_HEADER);
		pong = (struct yamux_frame){ YAMUX_PING, YAMUX_ACK, 0, 0 };
		yamux_init(&p.y, &ops, &p, RANDOM);
		yamux_ping(&p.y);
		yamux_ping(&p.y);
		cr_assert_eq(yamux_input(&p.y, wire, n + start % 12, &err), 0);
		cr_assert_eq(p.ready, 0, "too early");
		cr_assert_eq(yamux_input(&p.y, wire + n + start % 12, 24 - start % 12, &err), 0);
		cr_assert_eq(p.ready, 1, "start %zu", start);
		for (int i = 0; i < 2; i++) { /* asked twice, the same */
			f = take_frame(&p, &at);
			cr_expect(f.type == YAMUX_PING && f.flags == YAMUX_SYN &&
				  f.length == RANDOM);
		}
		f = take_frame(&p, &at); /* the agent's older clients are over */
		cr_expect(f.type == YAMUX_WINDOW && f.flags == (YAMUX_SYN | YAMUX_RST) &&
			  f.stream == 1 && f.length == 0);
		f = take_frame(&p, &at);
		cr_expect(f.type == YAMUX_PING && f.flags == YAMUX_ACK && f.length == 77);
		cr_expect_eq(at, p.wire_len);
		free(p.wire);
	}
}

/* The padding: whole, it says nothing; cut anywhere, it is no frame of any known version. */
Test(agent_ctl_yamux, padding_is_noticed_only_out_of_step)
{
	struct peer p = { .got = 0 };
	struct yamux_frame f;

	yamux_init(&p.y, &ops, &p, RANDOM);
	yamux_pad(&p.y);
	cr_expect_gt(p.wire_len, YAMUX_INITIAL_WINDOW);
	cr_expect_eq(p.wire_len % YAMUX_HEADER, 0);
	cr_assert(yamux_decode(p.wire, &f));
	cr_expect_eq(f.type, YAMUX_PING);
	cr_expect_eq(f.flags & YAMUX_SYN, 0);
	for (size_t i = 1; i < YAMUX_HEADER; i++)
		cr_expect(!yamux_decode(p.wire + i, &f), "cut at %zu", i);
	free(p.wire);
}

Test(agent_ctl_yamux, opens_with_syn_and_credit)
{
	struct peer p;
	size_t at = 0;
	struct yamux_frame f;

	open_peer(&p);
	f = take_frame(&p, &at);
	cr_expect_eq(f.type, YAMUX_WINDOW);
	cr_expect_eq(f.flags, YAMUX_SYN);
	cr_expect_eq(f.stream, (1u << 25) + 2 * (RANDOM & 0xffffff) + 1);
	cr_expect_eq(f.length, WIDE - YAMUX_INITIAL_WINDOW);
	cr_expect_eq(at, p.wire_len);
	yamux_open(&p.y, &p.other, YAMUX_INITIAL_WINDOW);
	cr_expect_eq(take_frame(&p, &at).stream, f.stream + 2);
	free(p.wire);
}

Test(agent_ctl_yamux, never_sends_past_the_window)
{
	static uint8_t data[400 * 1024];
	struct peer p;
	struct err err = { 0 };
	size_t at = YAMUX_HEADER, sent = 0;

	open_peer(&p);
	cr_expect_eq(yamux_send(&p.s, data, sizeof(data)), YAMUX_INITIAL_WINDOW);
	cr_expect_eq(yamux_send(&p.s, data, 1), 0);
	while (at < p.wire_len) {
		struct yamux_frame f = take_frame(&p, &at);

		cr_expect_eq(f.type, YAMUX_DATA);
		cr_expect_leq(f.length, YAMUX_MAX_FRAME);
		sent += f.length;
	}
	cr_expect_eq(sent, YAMUX_INITIAL_WINDOW);
	cr_expect_eq(feed(&p, YAMUX_WINDOW, YAMUX_ACK, p.s.id, 1000, &err), 0);
	cr_expect_eq(p.rooms, 1);
	cr_expect_eq(yamux_send(&p.s, data, sizeof(data)), 1000);
	free(p.wire);
}

Test(agent_ctl_yamux, gives_credit_at_half_a_window)
{
	static uint8_t data[64 * 1024];
	struct peer p;
	struct err err = { 0 };
	size_t before;

	memset(data, 1, sizeof(data));
	open_peer(&p);
	before = p.wire_len;
	for (size_t i = 0; i < WIDE / 2; i += sizeof(data)) {
		cr_expect_eq(p.wire_len, before, "credit too early, at %zu", i);
		cr_assert_eq(feed(&p, YAMUX_DATA, 0, p.s.id, sizeof(data), &err), 0);
		cr_assert_eq(yamux_input(&p.y, data, sizeof(data), &err), 0);
	}
	cr_expect_eq(p.got, WIDE / 2);
	cr_expect_eq(take_frame(&p, &before).length, WIDE / 2);
	cr_expect_eq(p.s.recv_window, WIDE);
	free(p.wire);
}

Test(agent_ctl_yamux, split_anywhere)
{
	struct peer p;

	for (size_t cut = 0; cut <= 2 * YAMUX_HEADER + 13; cut++) {
		uint8_t wire[2 * YAMUX_HEADER + 10 + 3];
		struct err err = { 0 };
		struct yamux_frame a = { YAMUX_DATA, YAMUX_ACK, 0, 10 };
		struct yamux_frame b = { YAMUX_DATA, 0, 7, 3 }; /* a stream that is not ours */

		open_peer(&p);
		a.stream = p.s.id;
		yamux_encode(&a, wire);
		memset(wire + YAMUX_HEADER, 2, 10);
		yamux_encode(&b, wire + YAMUX_HEADER + 10);
		memset(wire + 2 * YAMUX_HEADER + 10, 9, 3);
		cr_expect_eq(yamux_input(&p.y, wire, cut, &err), 0);
		cr_expect_eq(yamux_input(&p.y, wire + cut, sizeof(wire) - cut, &err), 0);
		cr_expect_eq(p.got, 10);
		cr_expect_eq(p.sum, 20);
		free(p.wire);
	}
}

Test(agent_ctl_yamux, answers_pings)
{
	struct peer p;
	struct err err = { 0 };
	size_t at = 0;
	struct yamux_frame f;

	open_session(&p);
	cr_assert_eq(feed(&p, YAMUX_PING, YAMUX_SYN, 0, 0xcafe, &err), 0);
	f = take_frame(&p, &at);
	cr_expect_eq(f.type, YAMUX_PING);
	cr_expect_eq(f.flags, YAMUX_ACK);
	cr_expect_eq(f.length, 0xcafe);
	yamux_ping(&p.y);
	f = take_frame(&p, &at);
	cr_expect_eq(f.flags, YAMUX_SYN);
	cr_expect_eq(f.length, RANDOM + 1, "a number of its own");
	cr_assert_eq(feed(&p, YAMUX_PING, YAMUX_ACK, 0, f.length, &err), 0);
	cr_expect_eq(at, p.wire_len);
	free(p.wire);
}

/* What ends a stream leaves the session and the others alone. */
static void expect_stream_end(uint8_t type, uint16_t flags, uint32_t length, int resets,
			      const char *what)
{
	struct peer p;
	struct err err = { 0 };

	open_peer(&p);
	yamux_open(&p.y, &p.other, YAMUX_INITIAL_WINDOW);
	cr_expect_eq(feed(&p, type, flags, p.s.id, length, &err), 0, "%s", what);
	cr_expect_eq(p.ends, 1, "%s", what);
	cr_expect_eq(p.resets, resets, "%s", what);
	for (uint32_t i = 0; i < length; i++)
		cr_expect_eq(yamux_input(&p.y, (const uint8_t *)"x", 1, &err), 0);
	cr_expect_eq(p.got, 0, "%s", what);
	/* For a stream that is no more everything is ignored. */
	cr_expect_eq(feed(&p, YAMUX_WINDOW, YAMUX_FIN, p.s.id, 5, &err), 0);
	cr_expect_eq(feed(&p, YAMUX_DATA, 0, p.s.id, 1, &err), 0);
	cr_expect_eq(yamux_input(&p.y, (const uint8_t *)"x", 1, &err), 0);
	cr_expect_eq(feed(&p, YAMUX_DATA, 0, p.other.id, 1, &err), 0);
	cr_expect_eq(yamux_input(&p.y, (const uint8_t *)"x", 1, &err), 0);
	cr_expect_eq(p.ends, 1, "%s", what);
	cr_expect_eq(p.got, 1, "%s", what);
	free(p.wire);
}

Test(agent_ctl_yamux, streams_end)
{
	expect_stream_end(YAMUX_WINDOW, YAMUX_RST, 0, 1, "reset");
	expect_stream_end(YAMUX_WINDOW, YAMUX_FIN, 0, 0, "fin");
	expect_stream_end(YAMUX_DATA, YAMUX_FIN, 0, 0, "fin on data");
	expect_stream_end(YAMUX_DATA, YAMUX_RST, 3, 1, "reset on data");
}

static void expect_end(uint8_t type, uint16_t flags, uint32_t length, bool ends, const char *what)
{
	struct peer p;
	struct err err = { 0 };
	int r;

	open_peer(&p);
	r = feed(&p, type, flags, type == YAMUX_DATA ? p.s.id : 0, length, &err);
	cr_expect_eq(r < 0, ends, "%s: %d", what, r);
	cr_expect_eq(err.msg[0] != '\0', ends, "%s", what);
	free(p.wire);
}

Test(agent_ctl_yamux, sessions_end)
{
	expect_end(YAMUX_GOAWAY, 0, 0, false, "a normal go-away: what runs goes on");
	expect_end(YAMUX_GOAWAY, 0, 1, true, "go-away");
	expect_end(9, 0, 0, true, "unknown type");
	expect_end(YAMUX_DATA, 0, WIDE + 1, true, "more than the window");
}

Test(agent_ctl_yamux, last_bytes_before_fin_arrive)
{
	struct peer p;
	struct err err = { 0 };

	open_peer(&p);
	cr_expect_eq(feed(&p, YAMUX_DATA, YAMUX_FIN, p.s.id, 4, &err), 0);
	cr_expect_eq(p.ends, 0);
	cr_expect_eq(yamux_input(&p.y, (const uint8_t *)"last", 4, &err), 0);
	cr_expect_eq(p.got, 4);
	cr_expect_eq(p.ends, 1);
	free(p.wire);
}

/* Closing: one FIN, or a reset; ten thousand streams leave nothing. */
Test(agent_ctl_yamux, closes)
{
	struct peer p;
	struct err err = { 0 };
	size_t at = YAMUX_HEADER;

	open_peer(&p);
	yamux_fin(&p.s);
	yamux_fin(&p.s);
	cr_expect_eq(take_frame(&p, &at).flags, YAMUX_FIN);
	yamux_reset(&p.s);
	cr_expect_eq(take_frame(&p, &at).flags, YAMUX_RST);
	cr_expect_eq(at, p.wire_len);
	for (int i = 0; i < 10000; i++) {
		p.wire_len = 0;
		yamux_open(&p.y, &p.other, YAMUX_INITIAL_WINDOW);
		yamux_fin(&p.other);
		cr_assert_eq(feed(&p, YAMUX_WINDOW, YAMUX_FIN, p.other.id, 0, &err), 0);
	}
	cr_expect_eq(p.ends, 10000);
	for (size_t i = 0; i < YAMUX_BUCKETS; i++)
		cr_expect_null(p.y.buckets[i]);
	free(p.wire);
}
