/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pause and resume: the kernel is asked once, and then looked at from a timer until it is so.
 */
#include "pod/freezer.h"

#include <errno.h>

#include "base/auto.h"
#include "base/limits.h"
#include "pod/agent.h"

#define POLL_FIRST_MS 1
#define POLL_MOST_MS  20

static void freezer_poll(struct timer *t)
{
	struct container *ctr = container_of(t, struct container, freezer.timer);
	struct freezer *f = &ctr->freezer;
	bool freezing = f->state == FREEZER_FREEZING;
	int state = cgroup_freeze_state(ctr->cgroup);
	struct call *c;
	struct err err = { 0 };

	if (state >= 0 && state != (freezing ? CGROUP_FROZEN : CGROUP_THAWED) &&
	    loop_now_ms() < f->end) {
		/* v1 asks once, and 9p loses that as it does signals: ask again. */
		if (state == CGROUP_FREEZING && freezing)
			(void)cgroup_freeze(ctr->cgroup, true, NULL);
		timer_set(ctr->agent->loop, t, f->poll_ms, freezer_poll);
		if (f->poll_ms < POLL_MOST_MS)
			f->poll_ms++;
		return;
	}
	c = TAKE_PTR(f->until_settled);
	if (state == (freezing ? CGROUP_FROZEN : CGROUP_THAWED)) {
		freezer_enter(ctr, freezing ? FREEZER_FROZEN : FREEZER_THAWED);
		(void)call_reply_empty(c);
		return;
	}
	(void)cgroup_freeze(ctr->cgroup, !freezing, NULL);
	freezer_enter(ctr, freezing ? FREEZER_THAWED : FREEZER_FROZEN);
	err_sys(&err, state < 0 ? -state : EBUSY, "%s container %s", freezing ? "pause" : "resume",
		ctr->id);
	(void)call_fail(c, &err);
}

static int freezer_start(struct container *ctr, enum freezer_state state, struct call *c,
			 struct err *err)
{
	struct freezer *f = &ctr->freezer;
	int r = cgroup_freeze(ctr->cgroup, state == FREEZER_FREEZING, err);

	if (r < 0)
		return r;
	freezer_enter(ctr, state);
	f->until_settled = c;
	f->end = loop_now_ms() + LIMIT_FREEZER_MS;
	f->poll_ms = POLL_FIRST_MS;
	timer_set(ctr->agent->loop, &f->timer, 0, freezer_poll);
	return call_park(c, NULL, call_go_on, ctr);
}

static int freezer_busy(const struct container *ctr, struct err *err)
{
	return err_rpc(err, RPC_FAILED_PRECONDITION, "container %s is being paused or resumed",
		       ctr->id);
}

int freezer_pause(struct container *ctr, struct call *c, struct err *err)
{
	if (ctr->freezer.until_settled)
		return freezer_busy(ctr, err);
	if (container_is_paused(ctr) || container_is_over(ctr))
		return err_rpc(err, RPC_UNKNOWN, "container not running or created: %s",
			       container_status(ctr));
	return freezer_start(ctr, FREEZER_FREEZING, c, err);
}

int freezer_resume(struct container *ctr, struct call *c, struct err *err)
{
	if (ctr->freezer.until_settled)
		return freezer_busy(ctr, err);
	if (ctr->freezer.state == FREEZER_SIGNALLED && !container_is_removing(ctr)) {
		freezer_enter(ctr, FREEZER_THAWED);
		return call_reply_empty(c);
	}
	/* The removal thaws by itself. */
	if (!container_is_paused(ctr) || container_is_removing(ctr))
		return err_rpc(err, RPC_UNKNOWN, "container not paused");
	return freezer_start(ctr, FREEZER_THAWING, c, err);
}

void freezer_signalled(struct container *ctr)
{
	if (ctr->freezer.state == FREEZER_FROZEN)
		freezer_enter(ctr, FREEZER_SIGNALLED);
}

void freezer_abandon(struct container *ctr)
{
	struct call *c = TAKE_PTR(ctr->freezer.until_settled);
	struct err err = { 0 };

	timer_cancel(&ctr->freezer.timer);
	freezer_enter(ctr, FREEZER_THAWED);
	if (!c)
		return;
	err_rpc(&err, RPC_ABORTED, "Container %s is being removed", ctr->id);
	(void)call_fail(c, &err);
}

const char *container_status(const struct container *ctr)
{
	if (container_is_paused(ctr))
		return "paused";
	if (container_is_over(ctr))
		return "stopped";
	if (container_is_creating(ctr))
		return "creating";
	return ctr->state == CTR_CREATED ? "created" : "running";
}
