/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OOM events. One that nobody has taken stands on agent->oom_events, and outlives its container; a
 * GetOOMEvent that found none stands on agent->until_oom. Never are both lists filled.
 */
#include "pod/oom.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/limits.h"
#include "base/log.h"
#include "pod/agent.h"

#define RECHECK_MS 100 /* cgroup v1 tells before the kill is counted */

struct oom_event {
	struct list link; /* in agent->oom_events */
	char id[];
};

static int reply_event(struct call *c, char *id)
{
	Grpc__OOMEvent resp = GRPC__OOMEVENT__INIT;

	resp.container_id = id;
	return call_reply(c, &resp.base);
}

static void oom_event_free(struct agent *a, struct oom_event *e)
{
	list_del(&e->link);
	a->oom_event_count--;
	free(e);
}

static void oom_event_add(struct agent *a, const char *id)
{
	size_t size = strlen(id) + 1;
	struct oom_event *e =
		a->oom_event_count < LIMIT_OOM_EVENTS ? malloc(sizeof(*e) + size) : NULL;

	if (!e) {
		log_warn("oom", "container %s: one event more than anybody asks for", id);
		return;
	}
	(void)memcpy(e->id, id, size);
	list_add_tail(&a->oom_events, &e->link);
	a->oom_event_count++;
}

static void oom_post(struct container *ctr)
{
	struct agent *a = ctr->agent;
	struct call *c = list_first(&a->until_oom, struct call, parked);

	log_info("oom", "container %s: a process was killed for lack of memory", ctr->id);
	if (c)
		(void)reply_event(c, ctr->id);
	else
		oom_event_add(a, ctr->id);
}

void oom_check(struct container *ctr)
{
	int kills;

	if (ctr->oom_fd < 0)
		return;
	kills = cgroup_oom_check(ctr->cgroup);
	if (kills > 0)
		oom_post(ctr);
	else if (kills < 0)
		loop_del(&ctr->oom_source);
}

static void on_recheck(struct timer *t)
{
	oom_check(container_of(t, struct container, oom_timer));
}

static void on_oom(struct source *s, uint32_t events)
{
	struct container *ctr = container_of(s, struct container, oom_source);

	(void)events;
	oom_check(ctr);
	timer_set(ctr->agent->loop, &ctr->oom_timer, RECHECK_MS, on_recheck);
}

void oom_watch(struct container *ctr)
{
	struct err err = { 0 };
	int r;

	if (ctr->oom_fd >= 0)
		return;
	r = cgroup_oom_watch(ctr->cgroup, &err);
	if (r < 0) {
		log_debug("oom", "container %s: no OOM events: %s", ctr->id, err.msg);
		return;
	}
	ctr->oom_fd = r; /* the cgroup's own */
	r = loop_add(ctr->agent->loop, &ctr->oom_source, ctr->oom_fd, EPOLLIN, on_oom);
	if (r < 0)
		log_warn("oom", "container %s: no OOM events: error %d", ctr->id, -r);
	oom_check(ctr); /* of what was killed before */
}

void oom_forget(struct container *ctr)
{
	oom_check(ctr);
	loop_del(&ctr->oom_source);
	timer_cancel(&ctr->oom_timer);
	ctr->oom_fd = FD_NONE;
}

int oom_next(struct agent *a, struct call *c)
{
	struct oom_event *e = list_first(&a->oom_events, struct oom_event, link);

	if (!e)
		return call_park(c, &a->until_oom, NULL, NULL);
	(void)reply_event(c, e->id);
	oom_event_free(a, e);
	return 0;
}

void oom_end(struct agent *a)
{
	struct oom_event *e;
	struct call *c;

	while ((e = list_first(&a->oom_events, struct oom_event, link)))
		oom_event_free(a, e);
	while ((c = list_first(&a->until_oom, struct call, parked))) {
		struct err err = { 0 };

		err_rpc(&err, RPC_INTERNAL, "the sandbox has been destroyed");
		(void)call_fail(c, &err);
	}
}
