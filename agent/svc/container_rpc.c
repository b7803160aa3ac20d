/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What can be asked of a container that exists: start, remove, update, statistics, pause,
 * processes.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/str.h"
#include "base/worker.h"
#include "linux/run.h"
#include "rpc/call.h"
#include "pod/agent.h"
#include "pod/container.h"
#include "svc/svc.h"
#include "pod/process.h"
#include "pod/sandbox.h"

#define FREEZE_POLL_MS 1
#define FREEZE_TRIES   5000
#define PS_OUTPUT      (1u << 20)
#define PS_TIMEOUT_MS  10000

static const char *state_name(const struct container *ctr)
{
	static const char *const names[] = {
		[CTR_CREATING] = "creating", [CTR_CREATED] = "created", [CTR_STARTING] = "running",
		[CTR_RUNNING] = "running",   [CTR_STOPPED] = "stopped", [CTR_REMOVING] = "stopped",
	};

	return ctr->paused ? "paused" : names[ctr->state];
}

int svc_start_container(struct call *c, const void *request, struct err *err)
{
	const Grpc__StartContainerRequest *req = request;
	struct container *ctr = container_find(c, req->container_id, err);

	if (!ctr)
		return -ENOENT;
	if (ctr->state != CTR_CREATED || ctr->pending)
		return err_rpc(err, RPC_FAILED_PRECONDITION,
			       "Container %s status %s, should be created", ctr->id,
			       state_name(ctr));
	if (spawn_continue(&ctr->init->spawn) < 0)
		return err_rpc(err, RPC_UNKNOWN, "container process is already dead");
	ctr->state = CTR_STARTING;
	ctr->pending = c;
	return call_park(c, NULL, call_go_on, ctr);
}

/* --- RemoveContainer ----------------------------------------------------------------------- */

struct removal {
	struct call *call; /* NULL once its time was up */
	struct timer timer;
	uint32_t seconds;
};

static void on_removed(void *arg, const struct err *e)
{
	struct removal *rm = arg;
	struct call *c = rm->call;
	struct err err = *e;

	timer_cancel(&rm->timer);
	free(rm);
	if (c && err.code)
		(void)call_fail(c, &err);
	else if (c)
		(void)call_reply_empty(c);
}

static void on_removal_timeout(struct timer *t)
{
	struct removal *rm = container_of(t, struct removal, timer);
	struct call *c = TAKE_PTR(rm->call);
	struct err err = { 0 };

	err_rpc(&err, RPC_DEADLINE_EXCEEDED, "Timeout reached after %us", rm->seconds);
	(void)call_fail(c, &err);
}

int svc_remove_container(struct call *c, const void *request, struct err *err)
{
	const Grpc__RemoveContainerRequest *req = request;
	struct agent *a = call_agent(c);
	struct container *ctr = container_find(c, req->container_id, err);
	struct removal *rm;
	int r;

	if (!ctr)
		return -ENOENT;
	rm = calloc(1, sizeof(*rm));
	r = rm ? container_remove(ctr, on_removed, rm) : -ENOMEM;
	if (r < 0) {
		free(rm);
		if (r == -EALREADY)
			return err_rpc(err, RPC_FAILED_PRECONDITION,
				       "Container %s is being removed", ctr->id);
		return err_sys(err, -r, "remove container %s", ctr->id);
	}
	rm->call = c;
	rm->seconds = req->timeout;
	if (req->timeout)
		timer_set(a->loop, &rm->timer, (int64_t)req->timeout * 1000, on_removal_timeout);
	return call_park(c, NULL, call_go_on, rm);
}

/* --- resources ----------------------------------------------------------------------------- */

int svc_update_container(struct call *c, const void *request, struct err *err)
{
	const Grpc__UpdateContainerRequest *req = request;
	struct container *ctr = container_find(c, req->container_id, err);
	int r;

	if (!ctr)
		return -ENOENT;
	if (!req->resources && c->schema == SCHEMA_3X)
		return call_reply_empty(c);
	if (!req->resources)
		return err_rpc(err, RPC_UNKNOWN, "Resources in the request are nil");
	if (ctr->state == CTR_STOPPED || ctr->state == CTR_REMOVING)
		return err_rpc(err, RPC_UNKNOWN, "container not running");
	if (!ctr->cgroup)
		return err_set(err, EOPNOTSUPP, "this guest has no cgroups");
	r = cgroup_update(ctr->cgroup, req->resources, err);
	return r < 0 ? r : call_reply_empty(c);
}

int svc_stats_container(struct call *c, const void *request, struct err *err)
{
	const Grpc__StatsContainerRequest *req = request;
	struct container *ctr = container_find(c, req->container_id, err);
	Grpc__StatsContainerResponse resp = GRPC__STATS_CONTAINER_RESPONSE__INIT;
	Grpc__CgroupStats stats;
	struct cgroup_stats numbers;
	struct err none = { 0 };
	int r;

	if (!ctr)
		return -ENOENT;
	r = cgroup_stats(ctr->cgroup, &c->mem, &numbers, err);
	if (r == 0)
		r = stats_message(&numbers, &c->mem, &stats, err);
	if (r < 0)
		return r;
	resp.cgroup_stats = &stats;
	/* The pod's: its containers share them. Without them the others are worth telling still. */
	if (net_stats(&c->mem, &resp.network_stats, &resp.n_network_stats, &none) < 0)
		log_debug("container", "%s: %s", ctr->id, none.msg);
	return call_reply(c, &resp.base);
}

/* --- PauseContainer, ResumeContainer ------------------------------------------------------- */

static void freeze_failed(struct container *ctr, struct err *err)
{
	timer_cancel(&ctr->timer);
	(void)call_fail(TAKE_PTR(ctr->freezer), err);
}

void container_abandon_freeze(struct container *ctr)
{
	struct err err = { 0 };

	if (!ctr->freezer)
		return;
	err_rpc(&err, RPC_ABORTED, "Container %s is being removed", ctr->id);
	freeze_failed(ctr, &err);
}

static void poll_freezer(struct timer *t)
{
	struct container *ctr = container_of(t, struct container, timer);
	bool frozen = !ctr->paused; /* what is being waited for */
	int state = cgroup_freeze_state(ctr->cgroup);
	struct err err = { 0 };

	if (state == (frozen ? CGROUP_FROZEN : CGROUP_THAWED)) {
		ctr->paused = frozen;
		(void)call_reply_empty(TAKE_PTR(ctr->freezer));
		return;
	}
	if (state >= 0 && ++ctr->freeze_tries < FREEZE_TRIES) {
		/* v1 asks once, and 9p loses that as it does signals: ask again. */
		if (state == CGROUP_FREEZING && frozen)
			(void)cgroup_freeze(ctr->cgroup, true, NULL);
		timer_set(ctr->agent->loop, t, FREEZE_POLL_MS, poll_freezer);
		return;
	}
	(void)cgroup_freeze(ctr->cgroup, !frozen, NULL);
	err_sys(&err, state < 0 ? -state : EBUSY, "%s container %s", frozen ? "pause" : "resume",
		ctr->id);
	freeze_failed(ctr, &err);
}

static int set_frozen(struct call *c, const char *id, bool frozen, struct err *err)
{
	struct container *ctr = container_find(c, id, err);
	int r;

	if (!ctr)
		return -ENOENT;
	if (ctr->freezer)
		return err_rpc(err, RPC_FAILED_PRECONDITION,
			       "container %s is being paused or resumed", id);
	if (frozen && (ctr->paused || ctr->state == CTR_STOPPED || ctr->state == CTR_REMOVING))
		return err_rpc(err, RPC_UNKNOWN, "container not running or created: %s",
			       state_name(ctr));
	/* The removal thaws by itself, and the container's timer is its own by now. */
	if (!frozen && (!ctr->paused || ctr->state == CTR_REMOVING))
		return err_rpc(err, RPC_UNKNOWN, "container not paused");
	if (!ctr->cgroup)
		return err_set(err, EOPNOTSUPP, "this guest has no cgroups");
	r = cgroup_freeze(ctr->cgroup, frozen, err);
	if (r < 0)
		return r;
	ctr->freezer = c;
	ctr->freeze_tries = 0;
	timer_set(ctr->agent->loop, &ctr->timer, 0, poll_freezer);
	return call_park(c, NULL, call_go_on, ctr);
}

int svc_pause_container(struct call *c, const void *request, struct err *err)
{
	const Grpc__PauseContainerRequest *req = request;

	return set_frozen(c, req->container_id, true, err);
}

int svc_resume_container(struct call *c, const void *request, struct err *err)
{
	const Grpc__ResumeContainerRequest *req = request;

	return set_frozen(c, req->container_id, false, err);
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
	struct run run = { .argv = argv, .out = &text, .max_out = LIMIT_MESSAGE };

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
	static const struct worker_opts opts = { .timeout_ms = PS_TIMEOUT_MS,
						 .max_out = PS_OUTPUT };
	const Grpc__ListProcessesRequest *req = request;
	struct agent *a = call_agent(c);
	struct container *ctr = container_find(c, req->container_id, err);
	struct ps *s = arena_zalloc(&c->mem, sizeof(*s));
	int r;

	if (!ctr)
		return -ENOENT;
	if (!s)
		return err_sys(err, ENOMEM, "process list");
	r = ctr->cgroup ? cgroup_pids(ctr->cgroup, &c->mem, &s->pids, &s->n_pids) : 0;
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
