// objs: tests/agent-ctl/yamux.o tests/agent-ctl/common.o
/*
 * yamux of the client: headers, windows both ways, pings, what ends a session; bytes split
 * anywhere.
 */
#include "../agent-ctl/yamux.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

struct peer {
	struct yamux y;
	uint8_t *wire; /* what the client emitted */
	size_t wire_len;
	size_t got; /* bytes handed up */
	uint32_t sum;
};

static void on_emit(void *arg, const void *data, size_t len)
{
	struct peer *p = arg;

	p->wire = xrealloc(p->wire, p->wire_len + len);
	memcpy(p->wire + p->wire_len, data, len);
	p->wire_len += len;
}

static void on_data(void *arg, const uint8_t *data, size_t len)
{
	struct peer *p = arg;

	p->got += len;
	for (size_t i = 0; i < len; i++)
		p->sum += data[i];
}

static void open_peer(struct peer *p)
{
	*p = (struct peer){ .got = 0 };
	yamux_open(&p->y, p, on_emit, on_data);
}

static struct yamux_frame take_frame(struct peer *p, size_t *at)
{
	struct yamux_frame f = { 0 };

	cr_assert_leq(*at + YAMUX_HEADER, p->wire_len, "no further frame");
	cr_assert(yamux_decode(p->wire + *at, &f));
	*at += YAMUX_HEADER + (f.type == YAMUX_DATA ? f.length : 0);
	return f;
}

static int feed(struct peer *p, uint8_t type, uint16_t flags, uint32_t stream, uint32_t length,
		struct err *err)
{
	struct yamux_frame f = { type, flags, stream, length };
	uint8_t head[YAMUX_HEADER];

	yamux_encode(&f, head);
	return yamux_input(&p->y, head, sizeof(head), err);
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

Test(agent_ctl_yamux, opens_with_syn_and_credit)
{
	struct peer p;
	size_t at = 0;
	struct yamux_frame f;

	open_peer(&p);
	f = take_frame(&p, &at);
	cr_expect_eq(f.type, YAMUX_WINDOW);
	cr_expect_eq(f.flags, YAMUX_SYN);
	cr_expect_eq(f.stream, 1);
	cr_expect_eq(f.length, YAMUX_OUR_WINDOW - YAMUX_INITIAL_WINDOW);
	cr_expect_eq(at, p.wire_len);
	free(p.wire);
}

Test(agent_ctl_yamux, never_sends_past_the_window)
{
	static uint8_t data[400 * 1024];
	struct peer p;
	struct err err = { 0 };
	size_t at = YAMUX_HEADER, sent = 0;

	open_peer(&p);
	cr_expect_eq(yamux_send(&p.y, data, sizeof(data)), YAMUX_INITIAL_WINDOW);
	cr_expect_eq(yamux_send(&p.y, data, 1), 0);
	while (at < p.wire_len) {
		struct yamux_frame f = take_frame(&p, &at);

		cr_expect_eq(f.type, YAMUX_DATA);
		cr_expect_leq(f.length, YAMUX_MAX_FRAME);
		sent += f.length;
	}
	cr_expect_eq(sent, YAMUX_INITIAL_WINDOW);
	cr_expect_eq(feed(&p, YAMUX_WINDOW, YAMUX_ACK, 1, 1000, &err), 0);
	cr_expect_eq(yamux_send(&p.y, data, sizeof(data)), 1000);
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
	for (size_t i = 0; i < YAMUX_OUR_WINDOW / 2; i += sizeof(data)) {
		cr_expect_eq(p.wire_len, before, "credit too early, at %zu", i);
		cr_assert_eq(feed(&p, YAMUX_DATA, 0, 1, sizeof(data), &err), 0);
		cr_assert_eq(yamux_input(&p.y, data, sizeof(data), &err), 0);
	}
	cr_expect_eq(p.got, YAMUX_OUR_WINDOW / 2);
	cr_expect_eq(take_frame(&p, &before).length, YAMUX_OUR_WINDOW / 2);
	cr_expect_eq(p.y.recv_window, YAMUX_OUR_WINDOW);
	free(p.wire);
}

Test(agent_ctl_yamux, split_anywhere)
{
	uint8_t wire[2 * YAMUX_HEADER + 10 + 3];
	struct yamux_frame a = { YAMUX_DATA, YAMUX_ACK, 1, 10 }, b = { YAMUX_DATA, 0, 7, 3 };

	yamux_encode(&a, wire);
	memset(wire + YAMUX_HEADER, 2, 10);
	yamux_encode(&b, wire + YAMUX_HEADER + 10); /* a stream that is not ours */
	memset(wire + 2 * YAMUX_HEADER + 10, 9, 3);
	for (size_t cut = 0; cut <= sizeof(wire); cut++) {
		struct peer p;
		struct err err = { 0 };

		open_peer(&p);
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
	size_t at;
	struct yamux_frame f;

	open_peer(&p);
	at = p.wire_len;
	cr_assert_eq(feed(&p, YAMUX_PING, YAMUX_SYN, 0, 0xcafe, &err), 0);
	f = take_frame(&p, &at);
	cr_expect_eq(f.type, YAMUX_PING);
	cr_expect_eq(f.flags, YAMUX_ACK);
	cr_expect_eq(f.length, 0xcafe);
	yamux_ping(&p.y);
	f = take_frame(&p, &at);
	cr_expect_eq(f.flags, YAMUX_SYN);
	cr_expect(p.y.ping_out);
	cr_assert_eq(feed(&p, YAMUX_PING, YAMUX_ACK, 0, f.length, &err), 0);
	cr_expect(!p.y.ping_out);
	free(p.wire);
}

static void expect_end(uint8_t type, uint16_t flags, uint32_t stream, uint32_t length,
		       const char *what)
{
	struct peer p;
	struct err err = { 0 };

	open_peer(&p);
	cr_expect_lt(feed(&p, type, flags, stream, length, &err), 0, "%s went on", what);
	cr_expect_neq(err.msg[0], '\0', "%s", what);
	free(p.wire);
}

Test(agent_ctl_yamux, ends)
{
	expect_end(YAMUX_GOAWAY, 0, 0, 1, "go-away");
	expect_end(YAMUX_WINDOW, YAMUX_RST, 1, 0, "reset");
	expect_end(YAMUX_WINDOW, YAMUX_FIN, 1, 0, "fin");
	expect_end(9, 0, 1, 0, "unknown type");
	expect_end(YAMUX_DATA, 0, 1, YAMUX_OUR_WINDOW + 1, "more than the window");
}

Test(agent_ctl_yamux, last_bytes_before_fin_arrive)
{
	struct peer p;
	struct err err = { 0 };

	open_peer(&p);
	cr_expect_eq(feed(&p, YAMUX_DATA, YAMUX_FIN, 1, 4, &err), 0);
	cr_expect_lt(yamux_input(&p.y, (const uint8_t *)"last", 4, &err), 0);
	cr_expect_eq(p.got, 4);
	free(p.wire);
}
