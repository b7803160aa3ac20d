/* SPDX-License-Identifier: Apache-2.0 */
// The states of containers, processes and streams: what is parked has an answer when its object
// goes, in whatever state; steps that the tables do not have, and calls left behind, assert.
#include "pod/pod.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test_guest_harness.h"
#include "pod/container.h"
#include "pod/process.h"
#include "pod/stdio.h"

static struct sandbox *sandbox;

struct result {
	int answered, status;
	char message[200];
};

static void on_reply(struct call *c, struct buf *body)
{
	struct result *r = c->stream;

	r->answered++;
	r->status = RPC_OK;
	buf_free(body);
}

static void on_refuse(struct call *c, int code, const char *msg)
{
	struct result *r = c->stream;

	r->answered++;
	r->status = code;
	(void)snprintf(r->message, sizeof(r->message), "%s", msg);
}

static const struct call_road parking = { on_reply, on_refuse };
static const struct rpc_method any_method = { .service = "grpc.Test", .name = "Test" };

static struct call *new_call(struct result *r, enum schema schema)
{
	struct call *c = call_new(&agent.rpc, &parking, r, &any_method, schema, -1);

	*r = (struct result){ 0 };
	cr_assert_not_null(c);
	return c;
}

/* As a handler parks the calls of CreateContainer, StartContainer, ExecProcess. */
static struct call *parked_call(struct result *r)
{
	struct call *c = new_call(r, SCHEMA_1X);

	(void)call_park(c, NULL, call_go_on, NULL);
	return c;
}

static void start(void)
{
	harness_start();
	sandbox = calloc(1, sizeof(*sandbox));
	cr_assert_not_null(sandbox);
	sandbox->agent = &agent;
	list_init(&sandbox->containers);
	list_init(&sandbox->until_none);
	storage_refs_init(&sandbox->refs);
	agent.sandbox = sandbox;
	list_init(&agent.until_oom);
	list_init(&agent.oom_events);
}

static void stop(void)
{
	cr_assert_eq(agent.rpc.calls, 0, "all calls are gone");
	free(sandbox);
	timer_cancel(&agent.rpc.quiet);
	harness_stop();
}

/* One without a cgroup, without processes, in a state of its life. */
static struct container *container_in(enum container_state state)
{
	struct container *ctr = calloc(1, sizeof(*ctr));

	cr_assert_not_null(ctr);
	ctr->id = strdup("ctr");
	ctr->agent = &agent;
	ctr->sandbox = sandbox;
	ctr->state = state;
	ctr->oom_fd = ctr->rules.seccomp_fd = FD_NONE;
	list_init(&ctr->until_gone);
	list_init(&ctr->until_updated);
	list_init(&ctr->processes);
	list_init(&ctr->drains);
	storage_set_init(&ctr->storages);
	list_add_tail(&sandbox->containers, &ctr->link);
	sandbox->container_count++;
	return ctr;
}

struct goner {
	struct gone_waiter waiter;
	int told, code;
};

static void on_gone(struct gone_waiter *w, const struct err *e)
{
	struct goner *g = container_of(w, struct goner, waiter);

	g->told++;
	g->code = e->code;
	loop_stop(agent.loop);
}

Test(pod, removal_answers_whoever_waits_in_any_state, .init = start, .fini = stop)
{
	for (enum container_state s = CTR_BUILDING; s <= CTR_STOPPED; s++) {
		struct result made = { 0 }, begun = { 0 }, frozen = { 0 }, changed = { 0 };
		struct goner first = { .waiter.gone = on_gone }, second = first;
		struct container *ctr = container_in(s);
		bool creating = s < CTR_CREATED;
		bool starting = s == CTR_STARTING || s == CTR_POSTSTART || s == CTR_ENDING;

		if (creating)
			ctr->until_created = parked_call(&made);
		if (starting)
			ctr->until_running = parked_call(&begun);
		if (s >= CTR_CREATED) {
			freezer_enter(ctr, FREEZER_FREEZING);
			ctr->freezer.until_settled = parked_call(&frozen);
			(void)call_park(parked_call(&changed), &ctr->until_updated, NULL, NULL);
		}
		container_remove(ctr, &first.waiter);
		container_remove(ctr, &second.waiter);
		cr_expect_eq(begun.answered, starting, "state %d: StartContainer, at once", s);
		cr_expect_eq(frozen.answered, s >= CTR_CREATED, "state %d: Pause, at once", s);
		cr_expect_eq(changed.answered, s >= CTR_CREATED, "state %d: Update, at once", s);
		cr_expect_eq(made.answered, 0, "state %d: CreateContainer, at the end", s);
		cr_assert_eq(loop_run(agent.loop), 0);
		cr_expect_eq(made.answered, creating, "state %d: CreateContainer", s);
		if (creating || starting) {
			const struct result *r = creating ? &made : &begun;

			cr_expect_eq(r->status, RPC_ABORTED, "state %d: %d", s, r->status);
			cr_expect_str_eq(r->message, "Container ctr is being removed");
		}
		cr_expect_eq(first.told, 1);
		cr_expect_eq(second.told, 1);
		cr_expect_eq(first.code, 0);
		cr_expect(list_empty(&sandbox->containers));
		cr_expect_eq(sandbox->container_count, 0);
	}
}

/* A deadline answers; the container keeps its entry, and goes when it can. */
Test(pod, what_does_not_die_is_told_in_time_and_goes_later, .init = start, .fini = stop)
{
	struct goner first = { .waiter.gone = on_gone }, second = first;
	struct container *ctr = container_in(CTR_RUNNING);
	struct process *p = process_new(ctr, "stuck", false);
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	cr_assert_gt(pid, 0);
	process_enter(p, PROC_RUNNING);
	p->spawn.pid = pid; /* nobody reaps it: so it lives, as far as the agent knows */
	container_remove(ctr, &first.waiter);
	ctr->removal_end = loop_now_ms() + 30;
	cr_assert_eq(loop_run(agent.loop), 0);
	cr_expect_eq(first.told, 1);
	cr_expect_eq(first.code, EBUSY);
	cr_expect_eq(list_first(&sandbox->containers, struct container, link), ctr);
	cr_expect_eq(ctr->state, CTR_KILLING);
	container_remove(ctr, &second.waiter);
	cr_expect_gt(ctr->removal_end, loop_now_ms(), "he waits as long");
	process_enter(p, PROC_EXITED);
	cr_assert_eq(loop_run(agent.loop), 0);
	cr_expect_eq(first.told, 1);
	cr_expect_eq(second.told, 1);
	cr_expect_eq(second.code, 0);
	cr_expect(list_empty(&sandbox->containers));
}

Test(pod, a_waiter_may_leave, .init = start, .fini = stop)
{
	struct goner stays = { .waiter.gone = on_gone }, leaves = stays;
	struct container *ctr = container_in(CTR_STOPPED);

	container_remove(ctr, &leaves.waiter);
	container_remove(ctr, &stays.waiter);
	list_del(&leaves.waiter.link);
	cr_assert_eq(loop_run(agent.loop), 0);
	cr_expect_eq(leaves.told, 0);
	cr_expect_eq(stays.told, 1);
}

/* Every call that a process can have parked: ExecProcess was lost here once. */
Test(pod, a_process_that_goes_answers_its_calls, .init = start, .fini = stop)
{
	struct result exec, wait[2], out[2], errs, in[2];
	struct goner g = { .waiter.gone = on_gone };
	struct container *ctr = container_in(CTR_RUNNING);
	struct process *starting = process_new(ctr, "starting", false);
	struct process *runs = process_new(ctr, "runs", false);
	static uint8_t block[1 << 20];
	struct err err = { 0 };
	int fds[3][2];

	process_enter(starting, PROC_STARTING);
	starting->until_running = parked_call(&exec);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(pipe2(fds[i], O_NONBLOCK | O_CLOEXEC), 0);
	runs->spawn.in = fds[0][1];
	runs->spawn.out = fds[1][0];
	runs->spawn.err = fds[2][0];
	process_enter(runs, PROC_RUNNING);
	stdio_take(runs);
	for (int i = 0; i < 2; i++) {
		struct call *c = new_call(&in[i], SCHEMA_1X);

		cr_assert_eq(process_wait(runs, new_call(&wait[i], SCHEMA_1X)), CALL_PENDING);
		cr_assert_eq(stdio_read(runs, false, 10,
					new_call(&out[i], i ? SCHEMA_3X : SCHEMA_1X), &err),
			     CALL_PENDING);
		cr_assert_eq(stdio_write(runs, block, sizeof(block), c, &err), CALL_PENDING);
	}
	cr_assert_eq(stdio_read(runs, true, 10, new_call(&errs, SCHEMA_1X), &err), CALL_PENDING);
	container_remove(ctr, &g.waiter);
	cr_assert_eq(loop_run(agent.loop), 0);
	cr_expect_eq(exec.answered, 1, "ExecProcess");
	cr_expect_eq(exec.status, RPC_ABORTED);
	cr_expect_str_eq(exec.message, "Container ctr is being removed");
	for (int i = 0; i < 2; i++) {
		cr_expect_eq(wait[i].answered, 1, "WaitProcess %d", i);
		cr_expect_eq(wait[i].status, RPC_OK);
		cr_expect_eq(out[i].answered, 1, "ReadStdout %d", i);
		cr_expect_eq(out[i].status, i ? RPC_OK : RPC_UNKNOWN,
			     "3.x is told first by an empty answer");
		cr_expect_eq(in[i].answered, 1, "WriteStdin %d", i);
		cr_expect_eq(in[i].status, RPC_UNKNOWN);
	}
	cr_expect_eq(errs.answered, 1, "ReadStderr");
	(void)close(fds[0][0]);
	(void)close(fds[1][1]);
	(void)close(fds[2][1]);
}

static int read_end(struct process *p, bool is_err, enum schema schema, struct result *r)
{
	struct err err = { 0 };

	cr_assert_eq(stdio_read(p, is_err, 10, new_call(r, schema), &err), 0);
	cr_assert_eq(r->answered, 1);
	return r->status;
}

/*
 * Hosts of 3.x end a stream at the first empty answer, or only at an error: so the one, and then
 * the other, for each of the two names that a terminal has. 1.x has the error alone.
 */
Test(pod, the_end_of_output_is_empty_once_and_then_an_error, .init = start, .fini = stop)
{
	for (int terminal = 0; terminal < 2; terminal++) {
		struct goner g = { .waiter.gone = on_gone };
		struct container *ctr = container_in(CTR_RUNNING);
		struct process *p = process_new(ctr, "e", terminal);
		struct result r;

		process_enter(p, PROC_RUNNING);
		process_enter(p, PROC_EXITED);
		for (int is_err = 0; is_err < 2; is_err++) {
			cr_expect_eq(read_end(p, is_err, SCHEMA_1X, &r), RPC_UNKNOWN);
			cr_expect_str_eq(r.message, "EOF");
			cr_expect_eq(read_end(p, is_err, SCHEMA_3X, &r), RPC_OK);
			for (int i = 0; i < 3; i++)
				cr_expect_eq(read_end(p, is_err, SCHEMA_3X, &r), RPC_INTERNAL);
			cr_expect_eq(read_end(p, is_err, SCHEMA_1X, &r), RPC_UNKNOWN);
		}
		container_remove(ctr, &g.waiter);
		cr_assert_eq(loop_run(agent.loop), 0);
	}
}

/* runtime-rs names it so, whatever it called it in CreateContainer. */
Test(pod, no_exec_id_means_the_init, .init = start, .fini = stop)
{
	struct goner g = { .waiter.gone = on_gone };
	struct container *ctr = container_in(CTR_RUNNING);
	struct err err = { 0 };

	ctr->init = process_new(ctr, "init", false);
	(void)process_new(ctr, "e", false);
	cr_expect_eq(process_find(ctr, "", &err), ctr->init);
	cr_expect_eq(process_find(ctr, "init", &err), ctr->init);
	cr_expect_neq(process_find(ctr, "e", &err), ctr->init);
	cr_expect_null(process_find(ctr, "none", &err));
	container_remove(ctr, &g.waiter);
	cr_assert_eq(loop_run(agent.loop), 0);
}

Test(pod, a_call_left_behind_asserts, .init = start, .signal = SIGABRT)
{
	struct container *ctr = container_in(CTR_SHARING);
	struct result made;

	ctr->until_created = parked_call(&made);
	container_enter(ctr, CTR_CREATED);
}

Test(pod, a_step_that_no_table_has_asserts, .init = start, .signal = SIGABRT)
{
	container_enter(container_in(CTR_STOPPED), CTR_RUNNING);
}
