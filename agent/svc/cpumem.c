/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPUs and memory that the host has plugged. State: the requests under way (a->onlines). One worker
 * at a time sets them online, for all that wait by then: two workers would count the same CPU, and
 * a thousand requests are no thousand processes.
 */
#include "svc/svc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/log.h"
#include "linux/hotplug.h"
#include "linux/uevent.h"
#include "pod/agent.h"
#include "pod/sandbox.h"

#define CPU_ROUNDS	100
#define CPU_PAUSE_MS	100 /* 1.x: ten seconds in all */
#define CPU_PAUSE_3X_MS 50

struct cpumem { /* a request, or several that nobody waits for; in a->onlines, oldest first */
	struct list link;
	struct call *call; /* NULL: nobody waits (any more) */
	uint32_t cpus; /* 1.x: how many are to come; 3.x: how many there are to be, 0: no matter */
	bool cpu_only;
	enum schema schema;
	bool running; /* the worker's */
};

struct cpumem_batch { /* the worker's: for the running requests, which are of one schema */
	struct agent *agent;
	int sys;
	enum schema schema;
	uint32_t cpus; /* of all */
	bool memory;
};

struct cpumem_result {			      /* what it did */
	uint32_t had, came;		      /* CPUs; had: 3.x only */
	unsigned int blocks, online, refused; /* of memory: set online; online now; not to be had */
	struct err cpu_err, memory_err;
};

static uint32_t cpumem_sum(uint32_t a, uint32_t b)
{
	return a > UINT32_MAX - b ? UINT32_MAX : a + b;
}

/* How many CPUs are still to come: 1.x sends that, 3.x the number it wants to see. */
static int missing_cpus(const struct cpumem_batch *b, struct cpumem_result *res, uint32_t *ret,
			struct err *err)
{
	char list[4096];

	*ret = b->cpus;
	if (b->schema == SCHEMA_1X || b->cpus == 0)
		return 0;
	if (hotplug_cpu_list(b->sys, list, sizeof(list), err) < 0)
		return -err->code;
	if (hotplug_count_cpus(list, &res->had) < 0)
		return err_set(err, EINVAL, "list of online CPUs '%s'", list);
	*ret = b->cpus > res->had ? b->cpus - res->had : 0;
	return 0;
}

static int cpumem_job(void *arg, int out, struct err *err)
{
	const struct cpumem_batch *b = arg;
	struct cpumem_result res = { 0 };
	uint32_t want;
	int r;

	if (missing_cpus(b, &res, &want, &res.cpu_err) == 0 && want > 0)
		(void)hotplug_cpus_online(b->sys, want, CPU_ROUNDS,
					  b->schema == SCHEMA_1X ? CPU_PAUSE_MS : CPU_PAUSE_3X_MS,
					  &res.came, &res.cpu_err);
	if (b->memory) {
		r = hotplug_memory_online(b->sys, &res.blocks, &res.online, &res.refused);
		if (r < 0)
			(void)err_sys(&res.memory_err, -r, "open /sys/devices/system/memory");
	}
	r = fdio_write_all(out, &res, sizeof(res));
	return r < 0 ? err_sys(err, -r, "answer") : 0;
}

/* The CPUs of 1.x are given out in the order of the requests: *left is what others have left. */
static int cpumem_verdict(const struct cpumem *o, const struct cpumem_result *res, uint32_t *left,
			  struct err *err)
{
	uint32_t got = o->schema == SCHEMA_1X ? *left : cpumem_sum(res->had, res->came);

	if (got > o->cpus)
		got = o->cpus;
	if (o->schema == SCHEMA_1X)
		*left -= got;
	if (got < o->cpus && res->cpu_err.code && res->cpu_err.code != EAGAIN)
		*err = res->cpu_err;
	else if (got < o->cpus && o->schema == SCHEMA_3X)
		return err_set(err, EAGAIN, "only %u of %u CPUs are online", got, o->cpus);
	else if (got < o->cpus)
		return err_set(err, EAGAIN, "only %u of %u were connected", got, o->cpus);
	else if (!o->cpu_only)
		*err = res->memory_err;
	return err->code ? -err->code : 0;
}

/* Nothing is silent: what was wanted and what there is. */
static void cpumem_tell(const struct cpumem_batch *b, const struct cpumem_result *res)
{
	struct err err = { 0 };
	uint64_t size = 0;

	if (res->cpu_err.code)
		log_warn("guest", "OnlineCPUMem: CPUs: %u %s wanted, %u were there, %u came: %s",
			 b->cpus, b->schema == SCHEMA_1X ? "more" : "in all", res->had, res->came,
			 res->cpu_err.msg);
	if (!b->memory || res->memory_err.code)
		return;
	(void)hotplug_block_size(b->sys, &size, &err);
	if (res->refused)
		log_warn("guest",
			 "OnlineCPUMem: memory: %u blocks of %llu bytes refused to go online, %u "
			 "did, %u are",
			 res->refused, (unsigned long long)size, res->blocks, res->online);
	else if (uevents_take_blocks(b->agent->uevents) == 0 && res->blocks == 0 &&
		 !(b->schema == SCHEMA_1X && b->cpus == 0)) /* 1.x asks with each container */
		log_warn("guest",
			 "OnlineCPUMem: memory: new blocks expected, none came: %u of %llu bytes "
			 "are online, as before",
			 res->online, (unsigned long long)size);
}

static void cpumem_end(struct cpumem *o, const struct err *err)
{
	struct call *c = o->call;

	list_del(&o->link);
	free(o);
	if (c && err->code)
		(void)call_fail(c, err);
	else if (c)
		(void)call_reply_empty(c);
	else if (err->code)
		log_warn("guest", "OnlineCPUMem: %s", err->msg);
}

static void cpumem_next(struct job *j);

static void cpumem_done(void *arg, const struct err *why, const struct buf *out)
{
	AUTO_FREE struct cpumem_batch *b = arg;
	struct agent *a = b->agent;
	struct cpumem_result res = { 0 };
	struct err set = { 0 };
	char list[4096];
	uint32_t left;

	if (why->code == 0 && buf_len(out) == sizeof(res)) {
		(void)memcpy(&res, buf_data(out), sizeof(res));
		cpumem_tell(b, &res);
	}
	/*
	 * Those CPUs that did come are for the containers, even when there are fewer than wanted.
	 */
	if ((b->schema == SCHEMA_1X || b->cpus > 0) &&
	    hotplug_cpu_list(b->sys, list, sizeof(list), &set) >= 0)
		(void)sandbox_cpus_online(a, list, &set);
	left = res.came;
	list_for_each_safe(struct cpumem, o, &a->onlines, link) {
		struct err err = *why;

		if (!o->running)
			break;
		if (err.code == 0 && cpumem_verdict(o, &res, &left, &err) == 0 &&
		    (o->schema == SCHEMA_1X || o->cpus > 0))
			err = set;
		cpumem_end(o, &err);
	}
	if (!list_empty(&a->onlines))
		job_queue(a->loop, &a->next_online, cpumem_next);
}

/* For all that wait, as long as they are of one schema. */
static int cpumem_start(struct agent *a, struct err *err)
{
	struct worker_opts opts = { .timeout_ms = LIMIT_ONLINE_MS,
				    .max_out = sizeof(struct cpumem_result) };
	AUTO_FREE struct cpumem_batch *b = calloc(1, sizeof(*b));
	const struct cpumem *first = list_first(&a->onlines, struct cpumem, link);
	int r;

	if (!b)
		return err_sys(err, ENOMEM, "OnlineCPUMem");
	*b = (struct cpumem_batch){ .agent = a,
				    .sys = uevents_sys(a->uevents),
				    .schema = first->schema };
	list_for_each(struct cpumem, o, &a->onlines, link) {
		if (o->schema != b->schema)
			break;
		o->running = true;
		b->memory |= !o->cpu_only;
		if (b->schema == SCHEMA_1X)
			b->cpus = cpumem_sum(b->cpus, o->cpus);
		else if (o->cpus > b->cpus)
			b->cpus = o->cpus;
	}
	opts.keep = &b->sys;
	opts.keep_count = 1;
	r = worker_start(a->loop, a->reaper, &opts, cpumem_job, cpumem_done, b, NULL);
	if (r < 0)
		return err_sys(err, -r, "start setting CPUs and memory online");
	b = NULL;
	return 0;
}

static void cpumem_next(struct job *j)
{
	struct agent *a = container_of(j, struct agent, next_online);
	struct cpumem *first = list_first(&a->onlines, struct cpumem, link);
	struct err err = { 0 };

	if (!first || first->running || cpumem_start(a, &err) == 0)
		return;
	list_for_each_safe(struct cpumem, o, &a->onlines, link)
		cpumem_end(o, &err);
}

static void cpumem_cancelled(struct call *c)
{
	struct cpumem *o = c->wait;

	o->call = NULL; /* the CPUs are wanted all the same */
}

/* The request that this one can be added to, since nobody waits for either. */
static struct cpumem *cpumem_idle(struct agent *a, const struct call *c)
{
	list_for_each(struct cpumem, o, &a->onlines, link) {
		if (!o->running && !o->call && o->schema == c->schema)
			return o;
	}
	return NULL;
}

int svc_online_cpu_mem(struct call *c, const void *request, struct err *err)
{
	const Grpc__OnlineCPUMemRequest *req = request;
	bool wait = req->wait || c->schema == SCHEMA_3X;
	struct agent *a = call_agent(c);
	struct cpumem *o = wait ? NULL : cpumem_idle(a, c);
	int sys = work_sys(c, err);

	if (sys < 0)
		return sys;
	if (req->nb_cpus == 0 && req->cpu_only && c->schema == SCHEMA_1X) {
		err_set(err, EINVAL, "requested number of CPUs '0' must be greater than 0");
		if (wait)
			return -err->code;
		log_warn("guest", "OnlineCPUMem: %s", err->msg);
		return call_reply_empty(c);
	}
	if (o) {
		o->cpus = cpumem_sum(o->cpus, req->nb_cpus);
		o->cpu_only &= req->cpu_only;
		return call_reply_empty(c);
	}
	o = calloc(1, sizeof(*o));
	if (!o)
		return err_sys(err, ENOMEM, "OnlineCPUMem");
	*o = (struct cpumem){ .call = wait ? c : NULL,
			      .cpus = req->nb_cpus,
			      .cpu_only = req->cpu_only,
			      .schema = c->schema };
	list_add_tail(&a->onlines, &o->link);
	job_queue(a->loop, &a->next_online, cpumem_next);
	return wait ? call_park(c, NULL, cpumem_cancelled, o) : call_reply_empty(c);
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
