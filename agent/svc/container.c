/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Containers: made, started, paused, changed, measured, removed. No state.
 */
#include "svc/svc.h"

#include <errno.h>

#include "base/auto.h"
#include "base/limits.h"
#include "base/log.h"
#include "pod/agent.h"
#include "pod/container.h"
#include "pod/freezer.h"
#include "pod/update.h"

int svc_create_container(struct call *c, const void *request, struct err *err)
{
	const Grpc__CreateContainerRequest *req = request;

	/* Not a field of 1.x: oci takes it where it is given. */
	if (c->schema == SCHEMA_1X && req->oci && req->oci->linux && req->oci->linux->seccomp)
		req->oci->linux->seccomp->n_syscalls3x = 0;
	if (c->schema == SCHEMA_3X && req->oci)
		adopt3x_environment(req->oci->process);
	return container_create(call_agent(c), req, c, err);
}

int svc_start_container(struct call *c, const void *request, struct err *err)
{
	const Grpc__StartContainerRequest *req = request;
	struct container *ctr = container_find(c, req->container_id, err);

	return ctr ? container_start(ctr, c, err) : -ENOENT;
}

/* --- RemoveContainer ----------------------------------------------------------------------- */

struct removal { /* in the call's arena */
	struct gone_waiter waiter;
	struct timer timer;
	struct call *call;
	uint32_t seconds;
};

static void on_removed(struct gone_waiter *w, const struct err *err)
{
	struct removal *rm = container_of(w, struct removal, waiter);

	timer_cancel(&rm->timer);
	if (err->code)
		(void)call_fail(rm->call, err);
	else
		(void)call_reply_empty(rm->call);
}

/* The removal goes on; only this call has waited long enough. */
static void on_removal_timeout(struct timer *t)
{
	struct removal *rm = container_of(t, struct removal, timer);
	struct err err = { 0 };

	list_del(&rm->waiter.link);
	err_rpc(&err, RPC_DEADLINE_EXCEEDED, "Timeout reached after %us", rm->seconds);
	(void)call_fail(rm->call, &err);
}

int svc_remove_container(struct call *c, const void *request, struct err *err)
{
	const Grpc__RemoveContainerRequest *req = request;
	struct agent *a = call_agent(c);
	struct container *ctr = container_find_any(a->sandbox, req->container_id);
	struct removal *rm = arena_zalloc(&c->mem, sizeof(*rm));

	if (!rm)
		return err_sys(err, ENOMEM, "remove container %s", req->container_id);
	/* One that is still being made goes, too. */
	if (!ctr)
		ctr = container_find(c, req->container_id, err);
	if (!ctr)
		return -ENOENT;
	*rm = (struct removal){ .waiter.gone = on_removed, .call = c, .seconds = req->timeout };
	container_remove(ctr, &rm->waiter);
	if (req->timeout)
		timer_set(a->loop, &rm->timer, (int64_t)req->timeout * 1000, on_removal_timeout);
	return call_park(c, NULL, call_go_on, rm);
}

/* --- resources ----------------------------------------------------------------------------- */

int svc_update_container(struct call *c, const void *request, struct err *err)
{
	const Grpc__UpdateContainerRequest *req = request;
	struct container *ctr = container_find(c, req->container_id, err);

	if (!ctr)
		return -ENOENT;
	if (!req->resources && c->schema == SCHEMA_3X)
		return call_reply_empty(c);
	if (!req->resources)
		return err_rpc(err, RPC_UNKNOWN, "Resources in the request are nil");
	return container_update(ctr, req, c, err);
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

int svc_pause_container(struct call *c, const void *request, struct err *err)
{
	const Grpc__PauseContainerRequest *req = request;
	struct container *ctr = container_find(c, req->container_id, err);

	return ctr ? freezer_pause(ctr, c, err) : -ENOENT;
}

int svc_resume_container(struct call *c, const void *request, struct err *err)
{
	const Grpc__ResumeContainerRequest *req = request;
	struct container *ctr = container_find(c, req->container_id, err);

	return ctr ? freezer_resume(ctr, c, err) : -ENOENT;
}
