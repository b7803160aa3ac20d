/* SPDX-License-Identifier: Apache-2.0 */
// ldflags: -Wl,--wrap=malloc -Wl,--wrap=calloc -Wl,--wrap=nghttp2_submit_response
#include "wire/h2.h"

#include "wire_fake.h"

#include <nghttp2/nghttp2.h>

#include "base/limits.h"

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

static void begin(void)
{
	fake_begin();
	cr_assert_eq(fake_feed(preface, sizeof(preface) - 1, 100), 0);
}

/* How many frames of a type are in the output; the payload of the last one goes to *last. */
static int frames(uint8_t type, const uint8_t **last, size_t *last_len)
{
	const uint8_t *p = buf_data(&fake.out), *end = p + buf_len(&fake.out);
	int n = 0;

	while (p && end - p >= 9) {
		size_t len = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];

		cr_assert_leq(len, (size_t)(end - p) - 9, "whole frames");
		if (p[3] == type) {
			n++;
			if (last) {
				*last = p + 9;
				*last_len = len;
			}
		}
		p += 9 + len;
	}
	return n;
}

Test(h2, check_in_portions)
{
	static const uint8_t want[] = { 0, 0, 0, 0, 2, 8, 1 };
	uint8_t req[1000];
	size_t n = fake_read_seed("h2/check", req, sizeof(req)), len;
	const uint8_t *data;

	for (size_t portion = 1; portion < 60; portion += 3) {
		begin();
		cr_assert_eq(fake_feed(req, n, portion), 0);
		cr_assert_eq(frames(0, &data, &len), 1);
		cr_assert_eq(len, sizeof(want));
		cr_assert_eq(memcmp(data, want, len), 0);
		cr_assert_eq(frames(1, NULL, NULL), 2, "headers and trailers");
		fake_end();
	}
	fake_all_over();
}

Test(h2, output_byte_by_byte)
{
	uint8_t req[1000];
	size_t n = fake_read_seed("h2/check", req, sizeof(req)), whole;
	uint8_t copy[1000];

	begin();
	cr_assert_eq(fake_feed(req, n, n), 0);
	whole = buf_len(&fake.out);
	memcpy(copy, buf_data(&fake.out), whole);
	fake_end();
	fake_begin();
	fake.room = 0;
	cr_assert_eq(fake_feed(preface, sizeof(preface) - 1, 100), 0);
	cr_assert_eq(fake_feed(req, n, n), 0);
	for (int i = 0; i < 500; i++) {
		fake.room = 1;
		cr_assert_eq(conn_writable(&fake.conn), 0);
	}
	cr_assert_eq(buf_len(&fake.out), whole);
	cr_assert_eq(memcmp(buf_data(&fake.out), copy, whole), 0);
	fake_end();
	fake_all_over();
}

Test(h2, reset_cancels)
{
	uint8_t req[1000];
	size_t n = fake_read_seed("h2/wait-reset", req, sizeof(req));

	begin();
	cr_assert_eq(fake_feed(req, n, n), 0);
	cr_assert_eq(fake_service.cancelled + (fake_service.run == 0), 1);
	cr_assert_eq(fake_service.parked_now, 0);
	fake_end();
	fake_all_over();
}

static size_t put_frame(uint8_t *out, uint8_t type, uint32_t stream, const void *body, uint8_t len)
{
	out[0] = out[1] = out[4] = 0;
	out[2] = len;
	out[3] = type;
	be32_put(out + 5, stream);
	memcpy(out + 9, body, len);
	return 9u + len;
}

/*
 * More streams than one flush has places for end by a reset of ours while the answer of another is
 * on its way: its body lives until it is written.
 */
Test(h2, resets_of_ours_beside_an_answer)
{
	static const uint8_t no_window[] = { 0, 4, 0, 0, 0, 0 }, all[] = { 0x7f, 0xff, 0xff, 0xff },
			     enough[] = { 0, 1, 0, 0 }, want[] = { 0, 0, 0, 0, 2, 8, 1 };
	uint8_t req[1000], some[100], grants[71 * 2 * 13];
	size_t n = fake_read_seed("h2/check", req, sizeof(req)), len = 0;
	size_t skip = 9u + req[2], head = 9u + req[skip + 2];
	const uint8_t *data;

	begin();
	cr_assert_eq(req[skip + 3], 1, "HEADERS follow SETTINGS");
	cr_assert_eq(fake_feed(some, put_frame(some, 4, 0, no_window, sizeof(no_window)), 100), 0);
	for (uint32_t id = 1; id <= 141; id += 2) {
		be32_put(req + skip + 5, id);
		be32_put(req + skip + head + 5, id);
		cr_assert_eq(fake_feed(req + skip, n - skip, n), 0);
	}
	cr_assert_eq(frames(1, NULL, NULL), 71, "all are answered");
	cr_assert_eq(frames(0, NULL, NULL), 0, "and nothing of it may be sent");
	for (uint32_t id = 1; id <= 139; id += 2) {
		len += put_frame(grants + len, 8, id, all, 4);
		len += put_frame(grants + len, 8, id, all, 4); /* one too many */
	}
	len += put_frame(grants + len, 8, 141, enough, 4);
	cr_assert_eq(fake_feed(grants, len, len), 0);
	cr_assert_eq(frames(3, NULL, NULL), 70);
	cr_assert_eq(frames(0, &data, &len), 1);
	cr_assert_eq(len, sizeof(want));
	cr_assert_eq(memcmp(data, want, len), 0);
	fake_end();
	fake_all_over();
}

static bool submit_fails;

int __real_nghttp2_submit_response(nghttp2_session *ng, int32_t id, const nghttp2_nv *nv, size_t n,
				   const nghttp2_data_provider *body);
int __wrap_nghttp2_submit_response(nghttp2_session *ng, int32_t id, const nghttp2_nv *nv, size_t n,
				   const nghttp2_data_provider *body);

int __wrap_nghttp2_submit_response(nghttp2_session *ng, int32_t id, const nghttp2_nv *nv, size_t n,
				   const nghttp2_data_provider *body)
{
	return submit_fails ? NGHTTP2_ERR_NOMEM
			    : __real_nghttp2_submit_response(ng, id, nv, n, body);
}

Test(h2, an_answer_without_memory_ends_the_connection)
{
	static const char *const seeds[] = { "h2/check", "h2/unknown" };
	uint8_t req[1000];

	for (size_t i = 0; i < 2; i++) {
		size_t n = fake_read_seed(seeds[i], req, sizeof(req));

		begin();
		submit_fails = true;
		cr_assert_eq(fake_feed(req, n, n), 0);
		submit_fails = false;
		cr_assert(fake.hung_up);
		fake_end();
	}
	fake_all_over();
}

static size_t frame(uint8_t *to, uint8_t type, uint8_t flags, uint32_t stream, const void *data,
		    size_t len)
{
	const uint8_t head[9] = { (uint8_t)(len >> 16),
				  (uint8_t)(len >> 8),
				  (uint8_t)len,
				  type,
				  flags,
				  (uint8_t)(stream >> 24),
				  (uint8_t)(stream >> 16),
				  (uint8_t)(stream >> 8),
				  (uint8_t)stream };

	memcpy(to, head, sizeof(head));
	if (len)
		memcpy(to + sizeof(head), data, len);
	return sizeof(head) + len;
}

static size_t header(uint8_t *to, const char *name, const char *value)
{
	size_t n = 0;

	to[n++] = 0; /* a literal, not indexed */
	to[n++] = (uint8_t)strlen(name);
	memcpy(to + n, name, strlen(name));
	n += strlen(name);
	to[n++] = (uint8_t)strlen(value);
	memcpy(to + n, value, strlen(value));
	return n + strlen(value);
}

/* The headers of a call. */
static size_t head_of(uint8_t *to, uint32_t stream, const char *path)
{
	uint8_t block[300];
	size_t n = header(block, ":method", "POST");

	n += header(block + n, ":scheme", "http");
	n += header(block + n, ":path", path);
	n += header(block + n, "content-type", "application/grpc");
	n += header(block + n, "te", "trailers");
	return frame(to, 1, 4, stream, block, n);
}

/* A peer that asks and takes nothing: so many answers are made for it, and no more. */
Test(h2, unread_answers_end_what_is_run)
{
	static const uint8_t wide[] = { 0, 4, 0x7f, 0xff, 0xff, 0xff }, more[] = { 0x7f, 0, 0, 0 };
	static const uint8_t read_all[] = {
		0, 0, 0, 0, 4, 0x18, 0x80, 0x80, 0x40
	}; /* len: LIMIT_READ */
	uint8_t req[1000];
	size_t n;
	int run;

	begin();
	n = frame(req, 4, 0, 0, wide, sizeof(wide));
	n += frame(req + n, 8, 0, 0, more, sizeof(more));
	cr_assert_eq(fake_feed(req, n, n), 0);
	fake.room = 0;
	for (uint32_t i = 0; i < 30; i++) {
		n = head_of(req, 2 * i + 1, "/grpc.AgentService/ReadStdout");
		n += frame(req + n, 0, 1, 2 * i + 1, read_all, sizeof(read_all));
		cr_assert_eq(fake_feed(req, n, n), 0);
	}
	run = fake_service.run;
	cr_expect_geq(run, (int)(LIMIT_H2_UNSENT / LIMIT_READ));
	cr_expect_leq(run, (int)(LIMIT_H2_UNSENT / LIMIT_READ) + 1);
	for (int i = 0; i < 1000 && fake_service.run < 30; i++) {
		fake.room = 200000;
		cr_assert_eq(conn_writable(&fake.conn), 0);
		fake_jobs();
		buf_free(&fake.out);
	}
	cr_expect_eq(fake_service.run, 30, "they had to wait");
	fake_end();
	fake_all_over();
}

/* What unfinished requests hold is bounded over all connections; a Check is always taken. */
Test(h2, bodies_of_all_together)
{
	uint8_t long_one[5 + 2 + 93] = { 0, 0, 0, 0, 95, 0x0a, 93 }; /* container_id */
	uint8_t req[1000], check[1000];
	size_t n, n_check = fake_read_seed("h2/check", check, sizeof(check));

	(void)memset(long_one + 7, 'a', 93);
	n = head_of(req, 1, "/grpc.AgentService/ReadStdout");
	n += frame(req + n, 0, 1, 1, long_one, sizeof(long_one));
	begin();
	fake_rpc.held += LIMIT_BODIES;
	cr_assert_eq(fake_feed(req, n, n), 0);
	cr_expect_eq(fake_service.run, 0);
	fake_rpc.held -= LIMIT_BODIES;
	fake_end();
	begin();
	fake_rpc.held += LIMIT_BODIES;
	cr_assert_eq(fake_feed(check, n_check, n_check), 0);
	cr_expect_eq(frames(0, NULL, NULL), 1, "answered");
	fake_rpc.held -= LIMIT_BODIES;
	fake_end();
	cr_expect_eq(fake_rpc.held, 0);
	begin();
	cr_assert_eq(fake_feed(req, n, n), 0);
	cr_expect_eq(fake_service.run, 1);
	fake_end();
	fake_all_over();
}

Test(h2, dead_peer)
{
	uint8_t req[1000];
	size_t n = fake_read_seed("h2/check", req, sizeof(req));

	begin();
	fake.dead = -EPIPE;
	cr_assert_eq(fake_feed(req, n, n), 0);
	cr_assert(fake.hung_up);
	fake_end();
	fake_all_over();
}

static void without_memory(const char *seed)
{
	uint8_t data[2000];
	size_t n;

	memcpy(data, preface, sizeof(preface) - 1);
	n = fake_read_seed(seed, data + sizeof(preface) - 1, sizeof(data) - sizeof(preface));
	fake_without_memory(data, n + sizeof(preface) - 1, NULL, 40);
}

Test(h2, without_memory)
{
	without_memory("h2/check");
	without_memory("h2/wait");
	without_memory("h2/stats");
	without_memory("h2/unknown");
	without_memory("h2/read");
}
