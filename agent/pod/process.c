/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes of containers. A process stays on its container's list until its status has been told
 * and its output has been read (or nobody came for it), so that neither can be lost; an init stays
 * as long as its container.
 */
#include "pod/process.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/str.h"
#include "pod/agent.h"
#include "pod/freezer.h"
#include "pod/members.h"
#include "pod/oom.h"
#include "pod/passfd.h"
#include "pod/stdio.h"

/* Of a process whose status has been told and whose output has not been read to its end. */
#define LINGER_MS 10000

static void on_lingered(struct timer *t)
{
	struct process *p = container_of(t, struct process, linger);
	int64_t left = p->read_at + LINGER_MS - loop_now_ms();

	if (stdio_has_readers(p))
		left = LINGER_MS;
	if (left > 0 && !stdio_drained(p))
		timer_set(p->ctr->agent->loop, t, left, on_lingered);
	else
		process_free(p);
}

static int reply_status(struct call *c, int status)
{
	Grpc__WaitProcessResponse resp = GRPC__WAIT_PROCESS_RESPONSE__INIT;

	resp.status = status;
	return call_reply(c, &resp.base);
}

/* True if there was anybody. */
static bool answer_waiters(struct process *p)
{
	bool told = false;
	struct call *c;

	while ((c = list_first(&p->until_exited, struct call, parked))) {
		told = true;
		(void)reply_status(c, p->status);
	}
	return told;
}

/* Frees an exec, soon, whose status has been told and whose output has been read. */
static void process_let_go(struct process *p)
{
	if (p->state == PROC_DELIVERING && stdio_drained(p))
		process_enter(p, answer_waiters(p) ? PROC_TOLD : PROC_EXITED);
	if (p->state != PROC_TOLD || p == p->ctr->init)
		return;
	if (stdio_drained(p))
		timer_set(p->ctr->agent->loop, &p->linger, 0, on_lingered);
	else if (!p->linger.loop)
		timer_set(p->ctr->agent->loop, &p->linger, LINGER_MS, on_lingered);
}

struct process *process_new(struct container *ctr, const char *exec_id, bool terminal)
{
	struct process *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->exec_id = strdup(exec_id);
	if (!p->exec_id) {
		free(p);
		return NULL;
	}
	p->ctr = ctr;
	p->terminal = terminal;
	p->drained = process_let_go;
	spawn_init(&p->spawn);
	stdio_init(p);
	list_init(&p->until_exited);
	list_add_tail(&ctr->processes, &p->link);
	return p;
}

void process_free(struct process *p)
{
	struct call *starter = TAKE_PTR(p->until_running);
	struct container *ctr = p->ctr;
	struct err err = { 0 };

	if (!process_is_dead(p)) {
		if (p->spawn.pid)
			(void)kill(p->spawn.pid, SIGKILL);
		p->status = 128 + SIGKILL;
	}
	reaper_forget(&p->reap);
	if (starter) {
		err_rpc(&err, RPC_ABORTED, "Container %s is being removed", ctr->id);
		(void)call_fail(starter, &err);
	}
	(void)answer_waiters(p);
	passfd_close(p);
	p->drained = NULL;
	stdio_close(p);
	timer_cancel(&p->linger);
	spawn_release(&p->spawn);
	auto_closep(&p->spawn.pidfd);
	auto_closep(&p->spawn.in);
	auto_closep(&p->spawn.out);
	auto_closep(&p->spawn.err);
	auto_closep(&p->in.fd);
	list_del(&p->link);
	if (ctr->init == p)
		ctr->init = NULL;
	free(p->exec_id);
	free(p);
}

/* Dead, and known to have run. Its status waits for its output, where that goes by itself. */
static void process_ended(struct process *p)
{
	if (p->passfd && !stdio_drained(p))
		process_enter(p, PROC_DELIVERING);
	else
		process_enter(p, answer_waiters(p) ? PROC_TOLD : PROC_EXITED);
	passfd_died(p);
}

static void on_exit_status(struct reap *r, int status)
{
	struct process *p = container_of(r, struct process, reap);

	log_debug("process", "container %s, process %s: exit status %d", p->ctr->id, p->exec_id,
		  status);
	spawn_died(&p->spawn);
	p->status = status;
	if (p->state == PROC_STARTING)
		process_enter(p, PROC_ENDING);
	else
		process_ended(p);
	stdio_told(p);
	process_let_go(p);
	/* maybe by the OOM killer, which cgroup v1 does not always tell */
	if (status == 128 + SIGKILL)
		oom_check(p->ctr);
	if (p->exited)
		p->exited(p);
}

void process_born(struct process *p)
{
	/* The middle died before it was heard of: it goes as the process that it was to be. */
	if (process_is_dead(p)) {
		(void)syscall(SYS_pidfd_send_signal, p->spawn.pidfd, SIGKILL, NULL, 0);
		return;
	}
	reaper_forget(&p->reap);
	if (p->spawn.pid)
		reaper_watch(p->ctr->agent->reaper, &p->reap, p->spawn.pid, on_exit_status);
}

void process_started(struct process *p, enum process_state state)
{
	process_enter(p, state);
	reaper_watch(p->ctr->agent->reaper, &p->reap, p->spawn.pid, on_exit_status);
	stdio_take(p);
	passfd_begin(p);
}

struct process *process_find(struct container *ctr, const char *exec_id, struct err *err)
{
	if (str_empty(exec_id)) /* as runtime-rs names it */
		return ctr->init;
	list_for_each(struct process, p, &ctr->processes, link) {
		if (str_eq(p->exec_id, exec_id) && !p->until_running)
			return p;
	}
	err_rpc(err, RPC_NOT_FOUND, "Process %s not found (container %s)", exec_id, ctr->id);
	return NULL;
}

/* --- ExecProcess --------------------------------------------------------------------------- */

static void on_exec_event(struct spawn *s, enum spawn_event event, const struct err *e)
{
	struct process *p = container_of(s, struct process, spawn);
	struct call *c;
	struct err err = *e;

	stdio_take(p);
	passfd_begin(p);
	if (event == SPAWN_BORN)
		process_born(p);
	if (event == SPAWN_BORN || event == SPAWN_READY)
		return; /* execve is next */
	c = TAKE_PTR(p->until_running);
	if (event == SPAWN_RUNNING) {
		if (p->state == PROC_ENDING)
			process_ended(p);
		else
			process_enter(p, PROC_RUNNING);
		(void)call_reply_empty(c);
		return;
	}
	err.rpc = RPC_INTERNAL;
	err_wrap(&err, "Could not run process");
	process_free(p);
	(void)call_fail(c, &err);
}

/*
 * Room for one more: nobody may ever ask for a status, so that of the oldest dead exec is forgotten
 * then, one that has been told if there is any. False when all are alive.
 */
static bool forget_oldest(struct container *ctr)
{
	for (enum process_state s = PROC_TOLD; s >= PROC_EXITED; s--) {
		list_for_each_safe(struct process, p, &ctr->processes, link) {
			if (p->state != s || p == ctr->init)
				continue;
			if (s == PROC_EXITED)
				log_warn("process",
					 "container %s: nobody asked for the status of %s", ctr->id,
					 p->exec_id);
			process_free(p);
			return true;
		}
	}
	return false;
}

static int check_exec(struct container *ctr, const Grpc__ExecProcessRequest *req, struct err *err)
{
	size_t count = 0;

	if (!req->process || req->process->n_args == 0)
		return err_rpc(err, RPC_INVALID_ARGUMENT, "process without arguments");
	if (container_is_over(ctr))
		return err_rpc(err, RPC_FAILED_PRECONDITION, "Cannot exec in stopped container %s",
			       ctr->id);
	if (container_is_paused(ctr)) /* it would only stand still, and the caller with it */
		return err_rpc(err, RPC_FAILED_PRECONDITION, "Cannot exec in paused container %s",
			       ctr->id);
	list_for_each(struct process, p, &ctr->processes, link) {
		count++;
		if (str_eq(p->exec_id, req->exec_id) && p->state != PROC_TOLD)
			return err_rpc(err, RPC_ALREADY_EXISTS,
				       "exec_id '%s' already exists in container %s", req->exec_id,
				       ctr->id);
	}
	if (str_empty(req->exec_id) || str_eq(req->exec_id, ctr->init->exec_id))
		return err_rpc(err, RPC_ALREADY_EXISTS, "exec_id '%s' is the container's own",
			       req->exec_id);
	if (count >= LIMIT_PROCESSES && !forget_oldest(ctr))
		return err_rpc(err, RPC_RESOURCE_EXHAUSTED, "container %s has %zu processes",
			       ctr->id, count);
	return 0;
}

/* An id whose process has been waited for may be used again. */
static void forget_waited(struct container *ctr, const char *exec_id)
{
	list_for_each_safe(struct process, p, &ctr->processes, link) {
		if (str_eq(p->exec_id, exec_id) && p != ctr->init)
			process_free(p);
	}
}

int process_exec(struct container *ctr, const Grpc__ExecProcessRequest *req, struct call *c,
		 struct err *err)
{
	struct ctr_rules own;
	struct spawn_plan plan = { 0 };
	struct process *p;
	int r = check_exec(ctr, req, err);

	if (r < 0)
		return r;
	/* 1.x's agent took nothing of these from the request. */
	if (c->schema == SCHEMA_3X && exec_rules_build(&ctr->rules, req->process, &own, err) < 0) {
		err->rpc = RPC_INTERNAL;
		return err_wrap(err, "Could not run process");
	}
	if (pci_map_translate(&ctr->pci_map, ctr->id, req->process, &c->mem, err) < 0)
		return -err->code;
	forget_waited(ctr, req->exec_id);
	p = process_new(ctr, req->exec_id, req->process->terminal);
	if (!p)
		return err_sys(err, ENOMEM, "process");
	if (c->schema == SCHEMA_3X &&
	    passfd_take(p, req->stdin_port, req->stdout_port, req->stderr_port) < 0) {
		process_free(p);
		return err_sys(err, ENOMEM, "process");
	}
	plan = (struct spawn_plan){
		.engine = &ctr->sandbox->engine,
		.process = req->process,
		.rules = c->schema == SCHEMA_3X ? &own : &ctr->rules,
		.cgroup = ctr->cgroup,
		.init_pidfd = ctr->init->spawn.pidfd,
		.join_flags = ctr->own_flags,
		.spied = container_is_spied(ctr),
	};
	ctr->traces |= (plan.rules->caps.bounding & UINT64_C(1) << CAP_SYS_PTRACE) != 0;
	r = spawn_start(&plan, &p->spawn, on_exec_event, err);
	if (r < 0) {
		process_free(p);
		err->rpc = RPC_INTERNAL;
		return err_wrap(err, "Could not run process");
	}
	process_started(p, PROC_STARTING);
	p->until_running = c;
	return call_park(c, NULL, call_go_on, p);
}

/* --- WaitProcess, SignalProcess ------------------------------------------------------------ */

int process_wait(struct process *p, struct call *c)
{
	int r;

	p->waited = true;
	if (!process_is_dead(p) || p->state == PROC_DELIVERING)
		return call_park(c, &p->until_exited, NULL, p);
	stdio_told(p);
	process_enter(p, PROC_TOLD);
	r = reply_status(c, p->status);
	process_let_go(p);
	return r;
}

/* Whether SIGTERM would reach the process: a namespace's init never gets what it does not catch. */
static bool heeds_sigterm(pid_t pid, enum schema schema)
{
	static const char *const lines[] = { "\nSigCgt:", "\nSigBlk:", "\nSigIgn:" };
	char path[32], text[4096], *line;
	size_t count = schema == SCHEMA_3X ? ARRAY_LEN(lines) : 2;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	if (fdio_read_file(AT_FDCWD, path, text, sizeof(text)) < 0)
		return true;
	/* Who blocks it waits for it by signalfd or sigwait: that counts as caught. */
	for (size_t i = 0; i < count; i++) {
		line = strstr(text, lines[i]);
		if (line && strtoull(line + strlen(lines[i]), NULL, 16) & 1ULL << (SIGTERM - 1))
			return true;
	}
	return false;
}

int process_signal(struct process *p, int sig, enum schema schema, struct err *err)
{
	int r;

	if (p == p->ctr->init && sig == SIGTERM && p->ctr->own_pid_ns &&
	    !heeds_sigterm(p->spawn.pid, schema))
		sig = SIGKILL;
	if (process_is_dead(p))
		r = ESRCH;
	else
		r = syscall(SYS_pidfd_send_signal, p->spawn.pidfd, sig, NULL, 0) < 0 ? errno : 0;
	if (r == ESRCH && schema == SCHEMA_3X)
		return 0;
	if (r == ESRCH)
		return err_rpc(err, RPC_UNKNOWN, "os: process already finished");
	return r ? err_sys(err, r, "signal %d", sig) : 0;
}

int process_signal_all(struct container *ctr, int sig, struct err *err)
{
	int r = members_signal(ctr, sig);

	/* They are thawed, so that they heed the signal. */
	if (r >= 0 && sig != 0)
		freezer_signalled(ctr);
	return r < 0 && r != -ESRCH
		       ? err_sys(err, -r, "signal %d to all of container %s", sig, ctr->id)
		       : 0;
}
