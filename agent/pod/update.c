/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UpdateContainer. State: the container's updating and until_updated. A lower memory limit may wait
 * for a disk and is a worker's; meanwhile the next change waits, lest the undoing of one that fails
 * undo another.
 */
#include "pod/update.h"

#include <errno.h>

#include "base/auto.h"
#include "base/limits.h"
#include "base/worker.h"
#include "pod/agent.h"

/* In the call's arena. */
struct update {
	const Grpc__UpdateContainerRequest *req;
	struct agent *agent;
	struct cgroup *cgroup; /* for the worker; the agent's may be gone before it */
};

static int update_begin(struct container *ctr, struct call *c, struct err *err);

static int update_job(void *arg, int out, struct err *err)
{
	const struct update *u = ((struct call *)arg)->wait;

	(void)out;
	return cgroup_update(u->cgroup, u->req->resources, err);
}

/* Those that wait, up to one that has to wait itself. */
static void update_next(struct container *ctr)
{
	struct call *c;

	while (!ctr->updating && (c = list_first(&ctr->until_updated, struct call, parked))) {
		struct err err = { 0 };

		list_del(&c->parked);
		if (update_begin(ctr, c, &err) < 0)
			(void)call_fail(c, &err);
	}
}

/* NULL: it is gone, though another may be there under its name. */
static struct container *update_whose(struct sandbox *sb, const struct call *c)
{
	list_for_each(struct container, ctr, &sb->containers, link) {
		if (ctr->updating == c)
			return ctr;
	}
	return NULL;
}

static void update_done(void *arg, const struct err *err, const struct buf *out)
{
	struct call *c = arg;
	const struct update *u = c->wait;
	struct container *ctr = update_whose(u->agent->sandbox, c);

	(void)out;
	if (ctr)
		ctr->updating = NULL;
	if (ctr && !err->code)
		cgroup_updated(ctr->cgroup, u->req->resources);
	if (err->code)
		(void)call_fail(c, err);
	else
		(void)call_reply_empty(c);
	if (ctr)
		update_next(ctr);
}

/* 0 once answered, CALL_PENDING with a worker, or -errno. */
static int update_begin(struct container *ctr, struct call *c, struct err *err)
{
	struct update *u = c->wait;
	const Grpc__LinuxResources *res = u->req->resources;
	int fds[CGROUP_FDS], r;
	struct worker_opts opts = { .timeout_ms = LIMIT_WORK_MS, .keep = fds };

	/* 3.x: an exited one's cgroup is there until it is removed. */
	if (c->schema == SCHEMA_3X ? container_is_removing(ctr) : container_is_over(ctr))
		return err_rpc(err, RPC_UNKNOWN, "container not running");
	if (!cgroup_update_waits(res)) {
		r = cgroup_update(ctr->cgroup, res, err);
		return r < 0 ? r : call_reply_empty(c);
	}
	u->cgroup = ctr->cgroup;
	opts.keep_count = cgroup_fds(ctr->cgroup, fds);
	(void)call_park(c, NULL, call_go_on, u);
	r = worker_start(ctr->agent->loop, ctr->agent->reaper, &opts, update_job, update_done, c,
			 NULL);
	if (r < 0)
		return err_sys(err, -r, "start a worker");
	ctr->updating = c;
	return CALL_PENDING;
}

int container_update(struct container *ctr, const Grpc__UpdateContainerRequest *req, struct call *c,
		     struct err *err)
{
	struct update *u = arena_alloc(&c->mem, sizeof(*u));

	if (!u)
		return err_sys(err, ENOMEM, "update container %s", ctr->id);
	*u = (struct update){ .req = req, .agent = ctr->agent };
	c->wait = u;
	if (ctr->updating)
		return call_park(c, &ctr->until_updated, NULL, u);
	return update_begin(ctr, c, err);
}

void container_updates_abandon(struct container *ctr)
{
	struct call *c;

	ctr->updating = NULL;
	while ((c = list_first(&ctr->until_updated, struct call, parked))) {
		struct err err = { 0 };

		err_rpc(&err, RPC_ABORTED, "Container %s is being removed", ctr->id);
		(void)call_fail(c, &err);
	}
}
