/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPUs and memory that the host has plugged. State: none; they come in a worker, whether the host
 * waits for them or not.
 */
#include "svc/svc.h"

#include <errno.h>
#include <stdlib.h>

#include "base/auto.h"
#include "base/limits.h"
#include "base/log.h"
#include "linux/hotplug.h"
#include "pod/agent.h"
#include "pod/sandbox.h"

#define CPU_ROUNDS	100
#define CPU_PAUSE_MS	100 /* 1.x: ten seconds in all */
#define CPU_PAUSE_3X_MS 50

struct cpumem {
	struct agent *agent;
	struct call *call; /* NULL: nobody waits (any more) */
	int sys;
	uint32_t cpus;
	bool cpu_only;
	enum schema schema;
};

/* How many CPUs are still to come: 1.x sends that, 3.x the number it wants to see. */
static int missing_cpus(const struct cpumem *o, uint32_t *ret, struct err *err)
{
	char list[4096];
	uint32_t have;

	*ret = o->cpus;
	if (o->schema == SCHEMA_1X || o->cpus == 0)
		return 0;
	if (hotplug_cpu_list(o->sys, list, sizeof(list), err) < 0)
		return -err->code;
	if (hotplug_count_cpus(list, &have) < 0)
		return err_set(err, EINVAL, "list of online CPUs '%s'", list);
	*ret = o->cpus > have ? o->cpus - have : 0;
	return 0;
}

static int cpumem_job(void *arg, int out, struct err *err)
{
	const struct cpumem *o = arg;
	uint32_t want, came = 0;
	unsigned int failed;
	int r;

	(void)out;
	if (missing_cpus(o, &want, err) < 0)
		return -err->code;
	if (want > 0 && hotplug_cpus_online(o->sys, want, CPU_ROUNDS,
					    o->schema == SCHEMA_1X ? CPU_PAUSE_MS : CPU_PAUSE_3X_MS,
					    &came, err) < 0)
		return -err->code;
	if (o->cpu_only)
		return 0;
	r = hotplug_memory_online(o->sys, &failed);
	return r < 0 ? err_sys(err, -r, "open /sys/devices/system/memory") : 0;
}

static void cpumem_done(void *arg, const struct err *e, const struct buf *out)
{
	struct cpumem *o = arg;
	struct call *c = o->call;
	char list[4096];
	struct err err = *e, later = { 0 };

	(void)out;
	/*
	 * Those CPUs that did come are for the containers, even when there are fewer than wanted.
	 */
	if (o->schema == SCHEMA_1X || o->cpus > 0) {
		if (hotplug_cpu_list(o->sys, list, sizeof(list), &later) >= 0)
			(void)sandbox_cpus_online(o->agent, list, &later);
		if (err.code == 0)
			err = later;
	}
	free(o);
	if (c && err.code)
		(void)call_fail(c, &err);
	else if (c)
		(void)call_reply_empty(c);
	else if (err.code)
		log_warn("guest", "OnlineCPUMem: %s", err.msg);
}

static void cpumem_cancelled(struct call *c)
{
	struct cpumem *o = c->wait;

	o->call = NULL; /* the CPUs are wanted all the same */
}

int svc_online_cpu_mem(struct call *c, const void *request, struct err *err)
{
	const Grpc__OnlineCPUMemRequest *req = request;
	struct worker_opts opts = { .timeout_ms = LIMIT_ONLINE_MS };
	bool wait = req->wait || c->schema == SCHEMA_3X;
	struct agent *a = call_agent(c);
	AUTO_FREE struct cpumem *o = calloc(1, sizeof(*o));
	int r, sys = work_sys(c, err);

	if (sys < 0)
		return sys;
	if (!o)
		return err_sys(err, ENOMEM, "OnlineCPUMem");
	if (req->nb_cpus == 0 && req->cpu_only && c->schema == SCHEMA_1X) {
		err_set(err, EINVAL, "requested number of CPUs '0' must be greater than 0");
		if (wait)
			return -err->code;
		log_warn("guest", "OnlineCPUMem: %s", err->msg);
		return call_reply_empty(c);
	}
	*o = (struct cpumem){ .agent = a,
			      .call = wait ? c : NULL,
			      .sys = sys,
			      .cpus = req->nb_cpus,
			      .cpu_only = req->cpu_only,
			      .schema = c->schema };
	opts.keep = &sys;
	opts.keep_count = 1;
	r = worker_start(a->loop, a->reaper, &opts, cpumem_job, cpumem_done, o, NULL);
	if (r < 0)
		return err_sys(err, -r, "start setting CPUs and memory online");
	if (wait)
		return call_park(c, NULL, cpumem_cancelled, TAKE_PTR(o));
	o = NULL;
	return call_reply_empty(c);
}

struct probe {
	const Grpc__MemHotplugByProbeRequest *req;
	int sys;
};

static int probe_job(void *arg, int out, struct err *err)
{
	const struct call *c = arg;
	const struct probe *p = c->wait;

	(void)out;
	for (size_t i = 0; i < p->req->n_memhotplugprobeaddr; i++) {
		if (hotplug_probe(p->sys, p->req->memhotplugprobeaddr[i], err) < 0)
			return -err->code;
	}
	return 0;
}

int svc_mem_hotplug_by_probe(struct call *c, const void *req, struct err *err)
{
	struct probe *p = arena_zalloc(&c->mem, sizeof(*p));
	int sys = work_sys(c, err);
	const struct worker_opts opts = { .timeout_ms = LIMIT_WORK_MS,
					  .keep = &sys,
					  .keep_count = 1 };

	if (sys < 0)
		return sys;
	if (!p)
		return err_sys(err, ENOMEM, "MemHotplugByProbe");
	*p = (struct probe){ req, sys };
	return work_start(c, &opts, p, probe_job, work_done_empty, err);
}
