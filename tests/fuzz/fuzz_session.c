/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions of valid frames in any order: calls, windows, resets, early closes, half closes, answers
 * that nobody takes. The input is a program: each step is a few bytes, and makes a frame that fits
 * what the client has said before (streams that there are, messages that are what they say), so that
 * the fuzzer searches among orders, not among bytes. Frames wait until a step sends them: several in
 * one read are a case of their own. The first byte chooses HTTP/2, ttrpc, or either in yamux.
 */
// objs: fake
#include "fake.h"

#include <string.h>

#include "wire/h2.h"
#include "wire/ttrpc.h"
#include "wire/yamux.h"

#define SLOTS	16u
#define PENDING (1u << 20)

struct program {
	const uint8_t *at, *end;
};

struct out {
	uint8_t bytes[PENDING];
	size_t len;
};

static struct out wire, inner; /* what is to be sent; what a yamux stream is to carry */
static struct fake peer;
static int over;

static uint32_t next(struct program *p)
{
	return p->at < p->end ? *p->at++ : 0;
}

static void put(struct out *o, const void *data, size_t len)
{
	if (len == 0 || len > sizeof(o->bytes) - o->len)
		return;
	(void)memcpy(o->bytes + o->len, data, len);
	o->len += len;
}

static void put_be(struct out *o, uint32_t v, size_t bytes)
{
	while (bytes--) {
		uint8_t b = (uint8_t)(v >> 8 * bytes);

		put(o, &b, 1);
	}
}

/* --- messages ------------------------------------------------------------------------------ */

static const struct method {
	const char *service, *name;
} methods[] = {
	{ "grpc.Health", "Check" },
	{ "grpc.Health", "Version" },
	{ "grpc.AgentService", "WriteStdin" },
	{ "grpc.AgentService", "ReadStdout" },
	{ "grpc.AgentService", "WaitProcess" },
	{ "grpc.AgentService", "SignalProcess" },
	{ "grpc.AgentService", "StatsContainer" },
	{ "grpc.AgentService", "NoSuch" },
};

static const uint32_t sizes[] = { 0, 1, 100, 4096, 32768, 70000, 300000, 3 };
static const uint32_t windows[] = { 1, 100, 1000, 16384, 65535, 100000, 0x10000000, 0x7fffffff };

static size_t put_varint(uint8_t *to, uint32_t v)
{
	size_t n = 0;

	for (; v >= 0x80; v >>= 7)
		to[n++] = (uint8_t)(v | 0x80);
	to[n++] = (uint8_t)v;
	return n;
}

/* A request that the method takes; how much it carries or asks for is a choice. */
static size_t message(uint8_t to[static 70032], uint32_t method, uint32_t choice)
{
	uint32_t size = sizes[choice & 7];
	size_t n = 0;

	switch (method) {
	case 2: /* WriteStdin: data is field 3 */
		size = size > 70000 ? 70000 : size;
		to[n++] = 3 << 3 | 2;
		n += put_varint(to + n, size);
		(void)memset(to + n, 'x', size);
		return n + size;
	case 3: /* ReadStdout: len is field 3 */
		to[n++] = 3 << 3;
		return n + put_varint(to + n, size);
	case 4: /* WaitProcess: some go on without their client */
		if (choice & 8) {
			(void)memcpy(to, "\x0a\x05go-on", 7);
			n = 7;
		}
		return n;
	default:
		return 0;
	}
}

/* --- HTTP/2 -------------------------------------------------------------------------------- */

static struct {
	uint32_t last;		/* stream id */
	uint32_t slots[SLOTS];	/* ids; 0: none */
	uint32_t method[SLOTS]; /* of them */
} h2;

static void h2_frame(struct out *o, uint8_t type, uint8_t flags, uint32_t stream, const void *data,
		     size_t len)
{
	put_be(o, (uint32_t)len, 3);
	put_be(o, type, 1);
	put_be(o, flags, 1);
	put_be(o, stream, 4);
	put(o, data, len);
}

static void put_header(struct out *o, const char *name, const char *value)
{
	put_be(o, 0, 1); /* a literal with a new name, not indexed; all are short */
	put_be(o, (uint32_t)strlen(name), 1);
	put(o, name, strlen(name));
	put_be(o, (uint32_t)strlen(value), 1);
	put(o, value, strlen(value));
}

static void h2_open(struct out *o, struct program *p)
{
	static const char *const timeouts[] = { NULL,	"1H",	     "1n", "0S",
						"junk", "99999999S", "1m", "" };
	static struct out head;
	uint32_t slot = next(p) % SLOTS, choice = next(p);
	const struct method *m = &methods[choice & 7];
	const char *timeout = choice & 0x80 ? timeouts[next(p) & 7] : NULL;
	char path[64];

	head.len = 0;
	h2.last += h2.last ? 2 : 1;
	h2.slots[slot] = h2.last;
	h2.method[slot] = choice & 7;
	(void)snprintf(path, sizeof(path), "/%s/%s", m->service, m->name);
	put_header(&head, ":method", choice & 0x40 ? "GET" : "POST");
	put_header(&head, ":scheme", "http");
	put_header(&head, ":path", path);
	put_header(&head, ":authority", "vsock://3:1024");
	put_header(&head, "content-type", "application/grpc");
	put_header(&head, "te", "trailers");
	if (timeout)
		put_header(&head, "grpc-timeout", timeout);
	if (choice & 0x20 && head.len > 20) { /* in two: HEADERS and CONTINUATION */
		h2_frame(o, 1, choice & 8 ? 1 : 0, h2.last, head.bytes, 20);
		h2_frame(o, 9, 4, h2.last, head.bytes + 20, head.len - 20);
	} else {
		h2_frame(o, 1, 4 | (choice & 8 ? 1 : 0), h2.last, head.bytes, head.len);
	}
}

/* A whole message, or its first half and the rest later, or two of them. */
static void h2_data(struct out *o, struct program *p)
{
	static uint8_t msg[70032 + 5];
	uint32_t slot = next(p) % SLOTS, choice = next(p), id = h2.slots[slot];
	size_t len = message(msg + 5, h2.method[slot], choice), from = 0, to, end;

	if (!id)
		return;
	msg[0] = 0;
	for (int i = 0; i < 4; i++)
		msg[1 + i] = (uint8_t)(len >> 8 * (3 - i));
	len += 5;
	end = choice & 0x20 ? len / 2 : len;
	if (choice & 0x10)
		from = len / 2;
	for (; from < end; from = to) {
		to = end - from > 16384 ? from + 16384 : end;
		h2_frame(o, 0, to == end && choice & 0x40 ? 1 : 0, id, msg + from, to - from);
	}
	if (choice & 0x80) /* trailing, empty, the half close */
		h2_frame(o, 0, 1, id, NULL, 0);
}

static void h2_number(struct out *o, uint8_t type, uint32_t stream, uint32_t v)
{
	uint8_t data[4] = { (uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v };

	h2_frame(o, type, 0, stream, data, sizeof(data));
}

static void h2_settings(struct out *o, struct program *p)
{
	static const uint32_t values[][2] = { { 4, 0 },		 { 4, 1 },	  { 4, 65535 },
					      { 4, 0x7fffffff }, { 1, 0 },	  { 1, 4096 },
					      { 5, 16384 },	 { 5, 0xffffff }, { 3, 0 },
					      { 3, 100 },	 { 6, 100 },	  { 2, 0 } };
	const uint32_t *v = values[next(p) % 12];
	uint8_t data[6] = { 0,
			    (uint8_t)v[0],
			    (uint8_t)(v[1] >> 24),
			    (uint8_t)(v[1] >> 16),
			    (uint8_t)(v[1] >> 8),
			    (uint8_t)v[1] };

	h2_frame(o, 4, 0, 0, data, sizeof(data));
}

static void h2_step(struct out *o, uint32_t op, struct program *p)
{
	uint32_t n;

	switch (op) {
	case 0:
	case 1:
		h2_open(o, p);
		return;
	case 2:
	case 3:
		h2_data(o, p);
		return;
	case 4:
		n = next(p) % SLOTS;
		if (h2.slots[n])
			h2_number(o, 3, h2.slots[n], next(p) % 14);
		return;
	case 5:
		n = next(p) % (SLOTS + 1);
		if (n == SLOTS || h2.slots[n])
			h2_number(o, 8, n == SLOTS ? 0 : h2.slots[n], windows[next(p) & 7]);
		return;
	case 6:
		h2_settings(o, p);
		return;
	case 7:
		n = next(p);
		if (n & 1)
			h2_frame(o, 6, n & 2 ? 1 : 0, 0, "12345678", 8);
		else if (n & 4)
			h2_frame(o, 7, 0, 0, "\0\0\0\0\0\0\0\0", 8);
		else
			h2_frame(o, 4, 1, 0, NULL, 0);
		return;
	case 8: /* many calls, as it takes for bounds */
		for (n = next(p) % 100; n > 0; n--) {
			struct program one = { (const uint8_t *)"\0\x08", NULL };

			one.end = one.at + 2;
			h2_open(o, &one);
		}
		return;
	default:
		return;
	}
}

/* --- ttrpc --------------------------------------------------------------------------------- */

static uint32_t ttrpc_last;

static void ttrpc_step(struct out *o, uint32_t op, struct program *p)
{
	static uint8_t body[70032 + 256];
	uint32_t choice = next(p), method = choice & 7, stream, kind = 1;
	static uint8_t msg[70032];
	size_t len = message(msg, method, next(p)), n = 0;
	const struct method *m = &methods[method];

	switch (op) {
	case 4: /* an id used before, or an even one */
		stream = choice & 0x10 ? ttrpc_last : ttrpc_last + 1;
		break;
	case 5: /* what no unary call has: data */
		stream = ttrpc_last;
		kind = 3;
		break;
	default:
		stream = ttrpc_last = ttrpc_last ? ttrpc_last + 2 : 1;
	}
	body[n++] = 1 << 3 | 2;
	n += put_varint(body + n, (uint32_t)strlen(m->service));
	n += (size_t)snprintf((char *)body + n, 64, "%s", m->service);
	body[n++] = 2 << 3 | 2;
	n += put_varint(body + n, (uint32_t)strlen(m->name));
	n += (size_t)snprintf((char *)body + n, 64, "%s", m->name);
	if (len) {
		body[n++] = 3 << 3 | 2;
		n += put_varint(body + n, (uint32_t)len);
		(void)memcpy(body + n, msg, len);
		n += len;
	}
	if (choice & 0x20) {
		body[n++] = 4 << 3;
		n += put_varint(body + n, choice & 0x40 ? 1 : 0x7fffffff);
	}
	put_be(o, (uint32_t)n, 4);
	put_be(o, stream, 4);
	put_be(o, kind, 1);
	put_be(o, choice & 0x80 ? next(p) & 7 : 0, 1);
	put(o, body, n);
}

/* --- yamux --------------------------------------------------------------------------------- */

static struct {
	uint32_t last, slots[SLOTS];
} yamux;

static void yamux_frame(uint32_t type, uint32_t flags, uint32_t stream, uint32_t len)
{
	put_be(&wire, 0, 1);
	put_be(&wire, type, 1);
	put_be(&wire, flags, 2);
	put_be(&wire, stream, 4);
	put_be(&wire, len, 4);
}

/* What the streams are to carry is made by the other steps, and cut here as the program likes. */
static void yamux_step(uint32_t op, struct program *p)
{
	uint32_t slot = next(p) % SLOTS, choice = next(p), flags = 0;
	size_t part;

	switch (op) {
	case 10:
		yamux.last += yamux.last ? 2 : 1;
		yamux.slots[slot] = yamux.last;
		flags = 1;
		part = choice & 1 ? 0 : inner.len;
		break;
	case 11:
		part = choice & 1 ? inner.len : choice & 2 ? inner.len / 2 : choice % 32;
		flags = choice & 0x40 ? 4 : choice & 0x80 ? 8 : 0;
		break;
	case 12:
		if (yamux.slots[slot])
			yamux_frame(1,
				    choice & 0x40   ? 4
				    : choice & 0x80 ? 8
						    : 0,
				    yamux.slots[slot], windows[choice & 7]);
		return;
	case 13:
		yamux_frame(2, choice & 1 ? 1 : 2, 0, choice);
		return;
	default:
		yamux_frame(3, 0, 0, choice % 3);
		return;
	}
	if (!yamux.slots[slot])
		return;
	part = part > inner.len ? inner.len : part;
	yamux_frame(0, flags, yamux.slots[slot], (uint32_t)part);
	put(&wire, inner.bytes, part);
	(void)memmove(inner.bytes, inner.bytes + part, inner.len - part);
	inner.len -= part;
}

/* --- the session --------------------------------------------------------------------------- */

static void send_all(void)
{
	if (!over && !peer.hung_up && wire.len)
		over = fake_feed(&peer, wire.bytes, wire.len);
	wire.len = 0;
}

/* What is not a frame. False: the client leaves, perhaps in the middle of one. */
static bool session_step(uint32_t op, struct program *p)
{
	struct fake_world *w = fake_world();

	switch (op) {
	case 0:
	case 1:
		send_all();
		fake_run_jobs(w);
		return true;
	case 2: /* without the answers' turn */
		send_all();
		return true;
	case 3:
		peer.script = next(p) * 0x01010101u;
		return true;
	case 4:
		if (!over && !peer.hung_up)
			over = conn_writable(&peer.conn);
		return true;
	case 5:
		test_service_release(&w->service, 7);
		return true;
	case 6:
		if (wire.len)
			wire.len -= wire.len / 3 + 1;
		send_all();
		return false;
	default:
		fake_run_jobs(w);
		return true;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
	struct program p = { data, data + size };
	uint32_t road = next(&p) % 4;
	struct out *o = road < 2 ? &wire : &inner;
	bool goes_on = true;

	(void)memset(&h2, 0, sizeof(h2));
	(void)memset(&yamux, 0, sizeof(yamux));
	ttrpc_last = 0;
	wire.len = inner.len = 0;
	over = fake_begin(&peer, next(&p) * 0x01010101u, road < 2 ? NULL : yamux_start);
	if (!(road & 1)) {
		put(o, preface, sizeof(preface) - 1);
		h2_frame(o, 4, 0, 0, NULL, 0);
	}
	for (int steps = 0; goes_on && p.at < p.end && !over && !peer.hung_up && steps < 400;
	     steps++) {
		uint32_t op = next(&p);

		if (op & 0x80)
			goes_on = session_step(op & 7, &p);
		else if (road >= 2 && op & 0x40)
			yamux_step(10 + op % 5, &p);
		else if (road & 1)
			ttrpc_step(o, op % 10, &p);
		else
			h2_step(o, op % 10, &p);
		if (wire.len > PENDING / 2)
			send_all();
	}
	if (goes_on)
		send_all();
	fake_end(&peer);
	return 0;
}
