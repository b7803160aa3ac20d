/* SPDX-License-Identifier: Apache-2.0 */
// ldflags: -Wl,--wrap=malloc -Wl,--wrap=calloc -Wl,--wrap=malloc_trim
#include "rpc/call.h"

#include "wire_fake.h"

#include "base/limits.h"
#include "rpc/dispatch.h"

/* A road that notes what it is told. */
static struct {
	int answers, failures, status;
	size_t len;
	char msg[200];
} told;

static void on_answer(struct call *c, struct buf *body)
{
	(void)c;
	told.answers++;
	told.len = buf_len(body);
	cr_assert(!body->mem || body->start >= CALL_HEADROOM, "room for the road's framing");
	buf_free(body);
}

static void on_fail(struct call *c, int status, const char *msg)
{
	(void)c;
	told.failures++;
	told.status = status;
	snprintf(told.msg, sizeof(told.msg), "%s", msg);
}

static const struct call_road road = { on_answer, on_fail };

static void begin(void)
{
	fake_begin();
	memset(&told, 0, sizeof(told));
}

static void end(void)
{
	fake_end();
	fake_all_over();
}

static struct call *call(const char *name, const void *body, size_t len, int64_t timeout_ms,
			 enum schema schema)
{
	const struct rpc_method *m;
	struct call *c;
	uint8_t copy[256];
	bool known;

	m = rpc_find(&fake_rpc, "grpc.AgentService", 17, name, strlen(name), &known);
	cr_assert_not_null(m);
	c = call_new(&fake_rpc, &road, NULL, m, schema, timeout_ms);
	if (!c)
		return NULL;
	memcpy(copy, body, len);
	rpc_run(c, copy, len);
	return c;
}

static void on_stop(struct timer *t)
{
	(void)t;
	loop_stop(fake_loop);
}

static void run(int64_t ms)
{
	struct timer stop = { 0 };

	timer_set(fake_loop, &stop, ms, on_stop);
	cr_assert_eq(loop_run(fake_loop), 0);
}

TestSuite(call, .init = begin, .fini = end, .timeout = 20);

Test(call, answered)
{
	(void)call("WriteStdin",
		   "\x1a\x03"
		   "abc",
		   5, -1, SCHEMA_1X);
	cr_expect_eq(told.answers, 1);
	cr_expect_eq(told.len, 2);
	(void)call("SignalProcess", "", 0, -1, SCHEMA_1X);
	cr_expect_eq(told.answers, 2);
	cr_expect_eq(told.len, 0);
	cr_expect_eq(fake_rpc.calls, 0);
}

static int trims;

int __wrap_malloc_trim(size_t pad);
int __wrap_malloc_trim(size_t pad)
{
	(void)pad;
	trims++;
	return 1;
}

Test(call, a_burst_gives_its_memory_back)
{
	for (int i = 0; i < 100; i++)
		(void)call("SignalProcess", "", 0, -1, SCHEMA_1X);
	run(500);
	cr_expect_eq(trims, 0, "not while it may go on");
	run(700);
	cr_expect_eq(trims, 1, "once for all of it");
}

Test(call, failed)
{
	(void)call("StatsContainer", "\x0a\x01x", 3, -1, SCHEMA_1X);
	cr_expect_eq(told.failures, 1);
	cr_expect_eq(told.status, RPC_NOT_FOUND);
	cr_expect_str_eq(told.msg, "no container 'x'");
}

Test(call, malformed)
{
	(void)call("StatsContainer", "\x0a\x7fx", 3, -1, SCHEMA_1X);
	cr_expect_eq(told.status, RPC_INTERNAL);
	cr_expect_eq(told.failures, 1);
}

Test(call, deadline_of_a_parked_call)
{
	(void)call("WaitProcess", "", 0, 30, SCHEMA_1X);
	run(15);
	cr_expect_eq(told.failures, 0);
	run(60);
	cr_expect_eq(told.failures, 1);
	cr_expect_eq(told.status, RPC_DEADLINE_EXCEEDED);
	cr_expect_eq(fake_service.cancelled, 1);
	cr_expect_eq(fake_rpc.calls, 0);
	test_service_release(&fake_service, 0);
	cr_expect_eq(told.answers, 0, "the event stays for the next one");
}

Test(call, answered_before_its_deadline)
{
	(void)call("WaitProcess", "", 0, 30, SCHEMA_1X);
	test_service_release(&fake_service, 0);
	run(60);
	cr_expect_eq(told.answers, 1);
	cr_expect_eq(told.failures, 0);
}

Test(call, cancelled)
{
	call_cancelled(call("WaitProcess", "", 0, -1, SCHEMA_1X));
	cr_expect_eq(fake_service.cancelled, 1);
	cr_expect_eq(fake_rpc.calls, 0);
	cr_expect_eq(told.answers + told.failures, 0);
}

Test(call, work_that_goes_on)
{
	struct call *c = call("WaitProcess", "\x0a\x05go-on", 7, 30, SCHEMA_1X);

	call_cancelled(c);
	call_cancelled(c);
	cr_expect_eq(fake_rpc.calls, 1, "detached, not gone");
	run(60);
	cr_expect_eq(told.failures, 0, "nobody is there to be told of the deadline");
	test_service_release(&fake_service, 0);
	cr_expect_eq(told.answers, 0);
	cr_expect_eq(fake_rpc.calls, 0);

	(void)call("WaitProcess", "\x0a\x05go-on", 7, 30, SCHEMA_1X);
	run(60);
	cr_expect_eq(told.status, RPC_DEADLINE_EXCEEDED);
	cr_expect_eq(fake_rpc.calls, 1);
	test_service_release(&fake_service, 0);
	cr_expect_eq(told.answers, 0);
	cr_expect_eq(fake_rpc.calls, 0);
}

Test(call, so_many_and_no_more)
{
	static struct call *calls[LIMIT_CALLS_TOTAL];
	struct rpc_method check = { .service = "grpc.Health", .name = "Check" };
	struct call *one;

	for (size_t i = 0; i < LIMIT_CALLS_TOTAL; i++) {
		calls[i] = call("WaitProcess", "", 0, -1, SCHEMA_1X);
		cr_assert_not_null(calls[i]);
	}
	cr_expect_null(call("WaitProcess", "", 0, -1, SCHEMA_1X));
	/* What is answered at once and at any time is not kept out. */
	check.flags = M_ANYTIME;
	one = call_new(&fake_rpc, &road, NULL, &check, SCHEMA_1X, -1);
	cr_assert_not_null(one);
	call_cancelled(one);
	for (size_t i = 0; i < LIMIT_CALLS_TOTAL; i++)
		call_cancelled(calls[i]);
	cr_expect_eq(fake_rpc.calls, 0);
}

/* Two bytes on the wire can become a hundred in memory: the arena's ceiling is reached first. */
Test(call, a_bomb)
{
	static uint8_t bomb[4u << 20];
	const struct rpc_method m = { .service = "s",
				      .name = "Bomb",
				      .request = &grpc__create_sandbox_request__descriptor };
	struct call *c = call_new(&fake_rpc, &road, NULL, &m, SCHEMA_1X, -1);

	for (size_t i = 0; i < sizeof(bomb); i += 2)
		bomb[i] = 0x1a; /* an empty Storage */
	rpc_run(c, bomb, sizeof(bomb));
	cr_expect_eq(told.status, RPC_RESOURCE_EXHAUSTED, "%d %s", told.status, told.msg);
	cr_expect_eq(fake_rpc.calls, 0);
}

Test(call, without_memory)
{
	for (int n = 0; n < 12; n++) {
		malloc_left = n;
		(void)call("WriteStdin",
			   "\x1a\x03"
			   "abc",
			   5, -1, SCHEMA_1X);
		malloc_left = -1;
		cr_expect_eq(fake_rpc.calls, 0);
	}
	cr_expect_gt(told.failures, 0);
	cr_expect_gt(told.answers, 0);
}

Test(call, methods)
{
	bool known;

	cr_expect_null(rpc_find(&fake_rpc, "grpc.AgentService", 17, "Nothing", 7, &known));
	cr_expect(known);
	cr_expect_null(rpc_find(&fake_rpc, "grpc.Agent", 10, "WriteStdin", 10, &known));
	cr_expect(!known);
	cr_expect_null(rpc_find(&fake_rpc, NULL, 0, NULL, 0, &known));
	cr_expect_null(rpc_find(&fake_rpc, "grpc.AgentService", 17, "WriteStdin", 9, &known));
}

/* What a WriteStdin got: where its bytes are, and how many. */
static struct {
	const uint8_t *at;
	size_t len;
	char id[20];
} taken;

static int take_bytes(struct call *c, const void *r, struct err *err)
{
	const Grpc__WriteStreamRequest *req = r;

	(void)err;
	taken.at = req->data.data;
	taken.len = req->data.len;
	snprintf(taken.id, sizeof(taken.id), "%s", req->container_id);
	return call_reply_empty(c);
}

static void run_in_place(const char *body, size_t len, uint8_t *copy, unsigned int flags)
{
	struct rpc_method m = {
		"grpc.AgentService", "WriteStdin", &grpc__write_stream_request__descriptor,
		take_bytes,	     flags,	   NULL
	};
	struct call *c = call_new(&fake_rpc, &road, NULL, &m, SCHEMA_1X, -1);

	memset(&taken, 0, sizeof(taken));
	memcpy(copy, body, len);
	rpc_run(c, copy, len);
}

Test(call, bytes_at_the_end_stay_in_place)
{
	uint8_t copy[64];

	run_in_place("\x0a\x01"
		     "c\x1a\x03"
		     "abc",
		     8, copy, M_IN_PLACE);
	cr_expect_eq(taken.at, copy + 5);
	cr_expect_eq(taken.len, 3);
	cr_expect_str_eq(taken.id, "c");
	run_in_place("\x0a\x01"
		     "c\x1a\x03"
		     "abc",
		     8, copy, 0);
	cr_expect_neq(taken.at, copy + 5);
	cr_expect_eq(taken.len, 3);
	/* Not at the end, another type, none: as ever. */
	run_in_place("\x1a\x03"
		     "abc\x0a\x01"
		     "c",
		     8, copy, M_IN_PLACE);
	cr_expect_neq(taken.at, copy + 2);
	cr_expect_eq(taken.len, 3);
	cr_expect_str_eq(taken.id, "c");
	/* The last one counts. */
	run_in_place("\x1a\x03"
		     "abc\x1a\x02"
		     "de",
		     9, copy, M_IN_PLACE);
	cr_expect_eq(taken.at, copy + 7);
	cr_expect_eq(taken.len, 2);
	run_in_place("\x1a\x00", 2, copy, M_IN_PLACE);
	cr_expect_eq(taken.len, 0);
	run_in_place("", 0, copy, M_IN_PLACE);
	cr_expect_eq(taken.len, 0);
	cr_expect_eq(told.answers, 6);
	run_in_place("\x0a\x05"
		     "c\x1a\x03"
		     "abc",
		     8, copy, M_IN_PLACE);
	run_in_place("\x0a\x01"
		     "c\x1a\x04"
		     "abc",
		     8, copy, M_IN_PLACE);
	run_in_place("\x18\x04", 2, copy, M_IN_PLACE);
	cr_expect_eq(told.answers + told.failures, 9);
	cr_expect_geq(told.failures, 2);
}
