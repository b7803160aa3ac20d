/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes: made, waited for, signalled, listed. No state.
 */
#include "svc/svc.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/str.h"
#include "linux/run.h"
#include "pod/agent.h"
#include "pod/container.h"
#include "pod/members.h"
#include "pod/process.h"

int svc_exec_process(struct call *c, const void *request, struct err *err)
{
	const Grpc__ExecProcessRequest *req = request;
	struct container *ctr = container_find(c, req->container_id, err);

	if (c->schema == SCHEMA_3X)
		adopt3x_environment(req->process);
	return ctr ? process_exec(ctr, req, c, err) : -ENOENT;
}

int svc_wait_process(struct call *c, const void *request, struct err *err)
{
	const Grpc__WaitProcessRequest *req = request;
	struct container *ctr = container_find(c, req->container_id, err);
	struct process *p = ctr ? process_find(ctr, req->exec_id, err) : NULL;

	return p ? process_wait(p, c) : -ENOENT;
}

int svc_signal_process(struct call *c, const void *request, struct err *err)
{
	const Grpc__SignalProcessRequest *req = request;
	struct container *ctr = container_find(c, req->container_id, err);
	bool all = str_empty(req->exec_id);
	struct process *p;
	int r;

	if (!ctr && c->schema == SCHEMA_1X)
		return err_rpc(err, RPC_FAILED_PRECONDITION,
			       "Could not signal process %s: rpc error: code = NotFound desc = "
			       "Container %s not found",
			       req->exec_id, req->container_id);
	if (!ctr)
		return -ENOENT;
	if (container_is_over(ctr))
		return call_reply_empty(c);
	if (req->signal > (uint32_t)SIGRTMAX)
		return err_sys(err, EINVAL, "signal %u", req->signal);
	/* 3.x: of all processes only SIGKILL is meant; any other signal is for the init. */
	if (all && c->schema == SCHEMA_3X && req->signal != SIGKILL) {
		r = process_signal(ctr->init, (int)req->signal, c->schema, err);
	} else if (all || (c->schema == SCHEMA_1X && container_is_paused(ctr))) {
		r = process_signal_all(ctr, (int)req->signal, err);
	} else {
		p = process_find(ctr, req->exec_id, err);
		if (!p)
			return err_wrap(err, "Could not signal process");
		r = process_signal(p, (int)req->signal, c->schema, err);
	}
	return r < 0 ? r : call_reply_empty(c);
}

/* --- ListProcesses ------------------------------------------------------------------------- */

static int reply_processes(struct call *c, char *text, size_t len)
{
	Grpc__ListProcessesResponse resp = GRPC__LIST_PROCESSES_RESPONSE__INIT;

	resp.process_list.data = (uint8_t *)text;
	resp.process_list.len = len;
	return call_reply(c, &resp.base);
}

static int reply_json(struct call *c, const pid_t *pids, size_t n, struct err *err)
{
	char *text = arena_alloc(&c->mem, n * 12 + 16);
	size_t len = 0;

	if (!text)
		return err_sys(err, ENOMEM, "process list");
	if (n == 0)
		return reply_processes(c, memcpy(text, "null", 4), 4);
	for (size_t i = 0; i < n; i++)
		len += (size_t)snprintf(text + len, 13, "%c%d", i ? ',' : '[', (int)pids[i]);
	text[len++] = ']';
	return reply_processes(c, text, len);
}

/* What a running ps needs; in the call's arena. */
struct ps {
	struct call *call;
	struct worker *worker;
	char *const *args;
	size_t n_args;
	pid_t *pids;
	size_t n_pids;
};

static int run_ps(void *arg, int out, struct err *err)
{
	static char ps[] = "ps", ef[] = "-ef";
	const struct ps *s = arg;
	AUTO_FREE char **argv = calloc(s->n_args + 3, sizeof(*argv));
	AUTO(buf_free) struct buf text = { 0 };
	struct run run = { .argv = argv,
			   .out = &text,
			   .max_out = LIMIT_MESSAGE,
			   .nofile = &call_agent(s->call)->sandbox->engine.nofile };

	if (!argv)
		return err_sys(err, ENOMEM, "ps");
	argv[0] = ps;
	argv[1] = s->n_args ? NULL : ef;
	for (size_t i = 0; i < s->n_args; i++)
		argv[1 + i] = s->args[i];
	if (run_program(&run, err) < 0)
		return err_wrap(err, "ps");
	return fdio_write_all(out, buf_data(&text), buf_len(&text));
}

static size_t field_at(const char *line, size_t len, size_t index, const char **ret)
{
	size_t i = 0;

	for (size_t n = 0;; n++) {
		size_t start;

		while (i < len && (line[i] == ' ' || line[i] == '\t'))
			i++;
		start = i;
		while (i < len && line[i] != ' ' && line[i] != '\t')
			i++;
		if (i == start)
			return 0;
		if (n == index) {
			*ret = line + start;
			return i - start;
		}
	}
}

static bool line_is_ours(const struct ps *s, const char *line, size_t len, size_t column)
{
	const char *f;
	size_t n = field_at(line, len, column, &f);
	char digits[16];
	uint64_t pid;

	if (n == 0 || n >= sizeof(digits))
		return false;
	(void)memcpy(digits, f, n);
	digits[n] = '\0';
	if (str_u64(digits, INT32_MAX, &pid) < 0)
		return false;
	for (size_t i = 0; i < s->n_pids; i++) {
		if ((uint64_t)s->pids[i] == pid)
			return true;
	}
	return false;
}

static void on_ps(void *arg, const struct err *e, const struct buf *out)
{
	struct ps *s = arg;
	struct call *c = s->call;
	const char *p = (const char *)buf_data(out), *end = p + buf_len(out), *f;
	char *text = arena_alloc(&c->mem, buf_len(out) + 1);
	size_t len = 0, column = 0, n;
	struct err err = *e;
	bool header = true, found = false;

	if (!text)
		err_sys(&err, ENOMEM, "ps");
	while (text && p < end) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		size_t line = nl ? (size_t)(nl - p) : (size_t)(end - p);

		for (; header && (n = field_at(p, line, column, &f)); column++) {
			if (n == 3 && memcmp(f, "PID", 3) == 0) {
				found = true;
				break;
			}
		}
		if (found && (header || line_is_ours(s, p, line, column))) {
			(void)memcpy(text + len, p, line);
			len += line;
			text[len++] = '\n';
		}
		header = false;
		p += line + 1;
	}
	if (err.code || !found) {
		if (!err.code)
			err_set(&err, EINVAL, "failed to find PID field in ps output");
		(void)call_fail(c, &err);
		return;
	}
	(void)reply_processes(c, text, len);
}

static void cancel_ps(struct call *c)
{
	struct ps *s = c->wait;

	worker_cancel(s->worker);
}

int svc_list_processes(struct call *c, const void *request, struct err *err)
{
	static const struct worker_opts opts = { .timeout_ms = LIMIT_PS_MS,
						 .max_out = LIMIT_PS,
						 .caps = WORKER_CAPS };
	const Grpc__ListProcessesRequest *req = request;
	struct agent *a = call_agent(c);
	struct container *ctr = container_find(c, req->container_id, err);
	struct ps *s = arena_zalloc(&c->mem, sizeof(*s));
	int r;

	if (!ctr)
		return -ENOENT;
	if (!s)
		return err_sys(err, ENOMEM, "process list");
	r = members_pids(ctr, &c->mem, &s->pids, &s->n_pids);
	if (r < 0)
		return err_sys(err, -r, "processes of container %s", ctr->id);
	if (str_eq(req->format, "json"))
		return reply_json(c, s->pids, s->n_pids, err);
	if (!str_eq(req->format, "table"))
		return err_rpc(err, RPC_UNKNOWN, "invalid format option");
	s->call = c;
	s->args = req->args;
	s->n_args = req->n_args;
	r = worker_start(a->loop, a->reaper, &opts, run_ps, on_ps, s, &s->worker);
	if (r < 0)
		return err_sys(err, -r, "ps");
	return call_park(c, NULL, cancel_ps, s);
}
