/* SPDX-License-Identifier: Apache-2.0 */
// ldflags: -Wl,--wrap=malloc -Wl,--wrap=calloc
#include "wire/ttrpc.h"

#include "wire_fake.h"

#include "base/limits.h"
#include "rpc/pb.h"

/* A request frame; the length of all of it. */
static size_t request(uint8_t *out, uint32_t id, const char *service, const char *method,
		      const void *payload, size_t len)
{
	uint8_t *p = out + 10;
	size_t body;

	*p++ = 0x0a;
	*p++ = (uint8_t)strlen(service);
	p = (uint8_t *)stpcpy((char *)p, service);
	*p++ = 0x12;
	*p++ = (uint8_t)strlen(method);
	p = (uint8_t *)stpcpy((char *)p, method);
	if (len) {
		*p++ = 0x1a;
		p += pb_put_varint(p, len);
		memcpy(p, payload, len);
		p += len;
	}
	body = (size_t)(p - out) - 10;
	for (int i = 0; i < 4; i++) {
		out[i] = (uint8_t)(body >> (24 - 8 * i));
		out[4 + i] = (uint8_t)(id >> (24 - 8 * i));
	}
	out[8] = 1;
	out[9] = 0;
	return body + 10;
}

Test(ttrpc, bytes_of_an_answer)
{
	static const uint8_t want[] = { 0, 0, 0, 6, 0, 0, 0, 1, 2, 0, 0x0a, 0, 0x12, 2, 8, 1 };
	uint8_t req[100];
	size_t n = request(req, 1, "grpc.Health", "Check", NULL, 0);

	for (size_t portion = 1; portion <= n; portion++) {
		fake_begin();
		cr_assert_eq(fake_feed(req, n, portion), 0);
		cr_assert_eq(buf_len(&fake.out), sizeof(want));
		cr_assert_eq(memcmp(buf_data(&fake.out), want, sizeof(want)), 0);
		fake_end();
	}
	fake_all_over();
}

Test(ttrpc, answers_leave_in_portions)
{
	uint8_t req[100];
	size_t n = request(req, 3, "grpc.AgentService", "ReadStdout", "\x18\xe8\x07", 3);

	fake_begin();
	fake.room = 0;
	cr_assert_eq(fake_feed(req, n, n), 0);
	req[7] = 5; /* another stream */
	cr_assert_eq(fake_feed(req, n, n), 0);
	for (int i = 0; i < 3000; i++) {
		fake.room = 1;
		cr_assert_eq(conn_writable(&fake.conn), 0);
	}
	cr_assert_eq(buf_len(&fake.out), 2 * (10 + 2 + 3 + 3 + 1000));
	cr_assert_eq(memcmp(buf_data(&fake.out), buf_data(&fake.out) + 1018, 7), 0);
	cr_assert_eq(memcmp(buf_data(&fake.out) + 8, buf_data(&fake.out) + 1026, 1010), 0);
	fake_end();
	fake_all_over();
}

Test(ttrpc, pauses_and_goes_on)
{
	uint8_t req[200];
	size_t n = request(req, 3, "grpc.AgentService", "ReadStdout", "\x18\x80\x80\x40", 4);
	unsigned int before;

	fake_begin();
	fake.room = 0;
	memcpy(req + n, req, n);
	req[n + 7] = 5;
	cr_assert_eq(fake_feed(req, 2 * n, 2 * n), 0);
	before = fake_service.run;
	cr_assert_eq(before, 1, "the second one waits: one answer is a MiB");
	cr_assert(fake.paused);
	fake.room = SIZE_MAX;
	cr_assert_eq(conn_writable(&fake.conn), 0);
	fake_jobs();
	cr_assert_eq(fake_service.run, 2);
	cr_assert(!fake.paused);
	cr_assert_gt(buf_len(&fake.out), 2u << 20);
	fake_end();
	fake_all_over();
}

Test(ttrpc, bodies_of_all_connections_are_bounded)
{
	static uint8_t big[LIMIT_MESSAGE];
	uint8_t head[10] = { 0, 0x3f, 0xff, 0xff, 0, 0, 0, 1, 1, 0 };

	fake_begin();
	fake_rpc.held = LIMIT_BODIES;
	cr_assert_eq(fake_feed(head, 10, 10), 0);
	cr_assert_eq(fake_feed(big, 0x3fffff, 60000), 0);
	fake_rpc.held -= LIMIT_BODIES;
	cr_assert_gt(buf_len(&fake.out), 20);
	cr_assert_eq(buf_data(&fake.out)[13], 8, "RESOURCE_EXHAUSTED");
	fake_end();
	fake_all_over();
}

Test(ttrpc, a_dead_peer)
{
	uint8_t req[100];
	size_t n = request(req, 1, "grpc.Health", "Check", NULL, 0);

	fake_begin();
	fake.dead = -EPIPE;
	cr_assert_eq(fake_feed(req, n, n), 0);
	cr_assert(fake.hung_up);
	fake_end();
	fake_all_over();
}

Test(ttrpc, without_memory)
{
	uint8_t data[600];
	size_t n = request(data, 1, "grpc.AgentService", "WaitProcess", NULL, 0);

	n += request(data + n, 3, "grpc.AgentService", "StatsContainer", "\x0a\x01x", 3);
	n += request(data + n, 5, "grpc.AgentService", "WriteStdin",
		     "\x1a\x04"
		     "abcd",
		     6);
	n += request(data + n, 7, "no.Service", "X", NULL, 0);
	n += request(data + n, 9, "grpc.AgentService", "SignalProcess", NULL, 0);
	fake_without_memory(data, n, NULL, 60);
}
