/* SPDX-License-Identifier: Apache-2.0 */
// Streams that the host carries: claimed by their ports, copied without loss however the two sides
// come and go, and a status that waits for them.
#include "pod/passfd.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test_guest_harness.h"
#include "base/auto.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "pod/drain.h"
#include "pod/pod.h"
#include "pod/process.h"
#include "pod/stdio.h"

#define LOT (3u << 20)

static struct sandbox sandbox;
static struct container ctr;
static int accepts;

struct told {
	int count, status;
};

static void on_status(struct call *c, struct buf *body)
{
	struct told *told = c->stream;
	Grpc__WaitProcessResponse *r =
		grpc__wait_process_response__unpack(NULL, buf_len(body), buf_data(body));

	cr_assert_not_null(r);
	told->count++;
	told->status = r->status;
	grpc__wait_process_response__free_unpacked(r, NULL);
	buf_free(body);
	loop_stop(agent.loop);
}

static void on_refusal(struct call *c, int code, const char *msg)
{
	(void)c;
	cr_assert_fail("%d: %s", code, msg);
}

static const struct call_road waiting = { on_status, on_refusal };
static const struct rpc_method method = { .service = "grpc.Test", .name = "Test" };

static int burst; /* who waits at the door: this many turns of others, then the one from port 78 */
static int offered = -1;

static int offer(uint32_t port);

static bool on_accept(void)
{
	accepts++;
	if (burst > 0 && --burst == 0)
		offered = offer(78);
	return burst > 0;
}

static int offer(uint32_t port)
{
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	passfd_offer_port(&agent, fds[0], port);
	return fds[1];
}

static void setup(void)
{
	(void)signal(SIGPIPE, SIG_IGN); /* as main.c has it */
	harness_start();
	sandbox.agent = &agent;
	agent.sandbox = &sandbox;
	ctr = (struct container){ .agent = &agent, .sandbox = &sandbox, .id = (char *)"c" };
	list_init(&ctr.processes);
	list_init(&ctr.drains);
	accepts = 0;
	cr_assert_eq(passfd_open(&agent, on_accept), 0);
}

static void teardown(void)
{
	while (!list_empty(&ctr.processes))
		process_free(list_first(&ctr.processes, struct process, link));
	drains_close(&ctr);
	cr_expect_eq(agent.rpc.calls, 0);
	timer_cancel(&agent.rpc.quiet);
	harness_stop();
}

static void pipe_of(int *reader, int *writer)
{
	int fds[2];

	cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
	*reader = fds[0];
	*writer = fds[1];
}

/* What a process does with its three streams; its exit status. */
typedef int body_fn(int in, int out, int err);

static struct process *run(body_fn *body, uint32_t in, uint32_t out, uint32_t err)
{
	struct process *p = process_new(&ctr, "p", false);
	int child_in, child_out, child_err;

	cr_assert_not_null(p);
	cr_assert_eq(passfd_take(p, in, out, err), 0);
	pipe_of(&child_in, &p->spawn.in);
	pipe_of(&p->spawn.out, &child_out);
	pipe_of(&p->spawn.err, &child_err);
	p->spawn.pid = fork();
	cr_assert_geq(p->spawn.pid, 0);
	if (p->spawn.pid == 0) {
		int keep[] = { child_in, child_out, child_err };

		(void)signal(SIGPIPE, SIG_DFL);
		fdio_close_except(keep, ARRAY_LEN(keep));
		_exit(body(child_in, child_out, child_err));
	}
	(void)close(child_in);
	(void)close(child_out);
	(void)close(child_err);
	(void)fdio_nonblock(p->spawn.in, true);
	(void)fdio_nonblock(p->spawn.out, true);
	(void)fdio_nonblock(p->spawn.err, true);
	process_started(p, PROC_RUNNING);
	return p;
}

static void wait_for(struct process *p, struct told *told)
{
	struct call *c = call_new(&agent.rpc, &waiting, told, &method, SCHEMA_3X, -1);

	*told = (struct told){ 0 };
	cr_assert_not_null(c);
	(void)process_wait(p, c);
}

static void on_time(struct timer *t)
{
	(void)t;
	loop_stop(agent.loop);
}

static void turn(int64_t ms)
{
	struct timer t = { .loop = NULL };

	timer_set(agent.loop, &t, ms, on_time);
	cr_assert_eq(loop_run(agent.loop), 0);
	timer_cancel(&t);
}

/* Reads to the end while the agent works; how much, and whether it came to an end. */
static size_t read_out(int fd, bool *ret_ended)
{
	static char buf[65536];
	size_t n = 0;

	*ret_ended = false;
	for (int i = 0; i < 2000 && !*ret_ended; i++) {
		ssize_t r = read(fd, buf, sizeof(buf));

		if (r > 0)
			n += (size_t)r;
		else if (r == 0)
			*ret_ended = true;
		else
			turn(5);
	}
	return n;
}

static int write_lot(int fd)
{
	static char buf[65536];

	for (size_t n = 0; n < LOT; n += sizeof(buf)) {
		if (fdio_write_all(fd, buf, sizeof(buf)) < 0)
			return -1;
	}
	return 0;
}

static int talk(int in, int out, int err)
{
	char c;

	(void)err;
	if (write_lot(out) < 0)
		return 1;
	return read(in, &c, 1) == 0 && write(err, "E", 1) == 1 ? 7 : 2;
}

Test(passfd, status_waits_for_a_slow_host, .init = setup, .fini = teardown)
{
	AUTO_CLOSE int in = offer(1), out = offer(2), err = offer(3);
	struct process *p = run(talk, 1, 2, 3);
	struct told told;
	bool ended;

	wait_for(p, &told);
	cr_assert_eq(shutdown(in, SHUT_WR), 0);
	turn(300);
	cr_expect_eq(told.count, 0);
	cr_expect_eq(read_out(out, &ended), LOT);
	cr_expect(ended);
	cr_expect_eq(read_out(err, &ended), 1u);
	cr_expect(ended);
	turn(50);
	cr_expect_eq(told.count, 1);
	cr_expect_eq(told.status, 7);
	cr_expect_eq(accepts, 0);
}

static int count(int in, int out, int err)
{
	static char buf[65536];
	size_t n = 0;
	ssize_t r;

	(void)err;
	while ((r = read(in, buf, sizeof(buf))) > 0)
		n += (size_t)r;
	return r == 0 && n == LOT && write(out, "ok", 2) == 2 ? 0 : 1;
}

Test(passfd, input_of_a_host_that_has_left, .init = setup, .fini = teardown)
{
	AUTO_CLOSE int in = offer(4), out = offer(5);
	struct process *p = run(count, 4, 5, 0);
	static char buf[65536];
	struct told told;
	bool ended;

	wait_for(p, &told);
	for (size_t n = 0; n < LOT;) {
		ssize_t r = write(in, buf, LOT - n < sizeof(buf) ? LOT - n : sizeof(buf));

		if (r < 0)
			turn(1);
		else
			n += (size_t)r;
	}
	auto_closep(&in);
	cr_expect_eq(read_out(out, &ended), 2u);
	cr_expect(ended);
	turn(20);
	cr_expect_eq(told.count, 1);
	cr_expect_eq(told.status, 0);
}

static int lot_twice(int in, int out, int err)
{
	(void)in;
	return write_lot(out) < 0 || write_lot(err) < 0 ? 1 : 5;
}

Test(passfd, process_outlives_its_reader, .init = setup, .fini = teardown)
{
	AUTO_CLOSE int out = offer(8);
	struct process *p = run(lot_twice, 0, 8, 0); /* stderr has no stream: dropped */
	struct told told;

	wait_for(p, &told);
	turn(20);
	auto_closep(&out);
	for (int i = 0; i < 200 && !told.count; i++)
		turn(10);
	cr_expect_eq(told.status, 5);
}

static int leave_one_behind(int in, int out, int err)
{
	(void)in;
	(void)err;
	if (fork() == 0) {
		(void)!read(in, &(char){ 0 }, 1);
		(void)sleep(2);
		return 0;
	}
	return write(out, "now", 3) == 3 ? 0 : 1;
}

Test(passfd, silence_ends_a_pipe_that_others_hold, .init = setup, .fini = teardown)
{
	AUTO_CLOSE int out = offer(9);
	struct process *p = run(leave_one_behind, 0, 9, 0);
	int64_t began = loop_now_ms();
	struct told told;
	bool ended;

	wait_for(p, &told);
	cr_expect_eq(read_out(out, &ended), 3u);
	cr_expect(ended);
	cr_expect_eq(told.count, 1);
	cr_expect_lt(loop_now_ms() - began, 1800);
}

Test(passfd, ports, .init = setup, .fini = teardown)
{
	AUTO_CLOSE int old = offer(1), now = offer(1);
	struct process *p = process_new(&ctr, "p", false);
	int many[LIMIT_STREAMS];
	char c;

	cr_expect_eq(read(old, &c, 1), 0, "one port, one stream");
	cr_expect_lt(read(now, &c, 1), 0);
	cr_assert_eq(passfd_take(p, 0, 0, 0), 0);
	cr_expect_null(p->passfd);
	cr_assert_eq(passfd_take(p, 77, 0, 0), 0);
	cr_expect_not_null(p->passfd);
	cr_expect_eq(accepts, 1, "it looked who is at the door");
	process_free(p);
	burst = 5;
	p = process_new(&ctr, "p", false);
	cr_assert_eq(passfd_take(p, 78, 0, 0), 0);
	cr_expect_eq(accepts, 6, "it looked until its own came");
	cr_expect_lt(read(offered, &c, 1), 0, "which is taken, and open");
	process_free(p);
	cr_expect_eq(read(offered, &c, 1), 0);
	(void)close(offered);
	for (uint32_t i = 0; i < LIMIT_STREAMS; i++)
		many[i] = offer(100 + i);
	cr_expect_eq(read(now, &c, 1), 0, "the oldest had to go");
	cr_expect_lt(read(many[0], &c, 1), 0);
	for (uint32_t i = 0; i < LIMIT_STREAMS; i++)
		(void)close(many[i]);
}
