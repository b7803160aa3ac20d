/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest as a machine. No state of its own: what takes long runs in a worker, and the call
 * waits.
 */
#include "svc/guest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/time.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/log.h"
#include "base/str.h"
#include "base/worker.h"
#include "rpc/call.h"
#include "pod/agent.h"
#include "pod/device.h"
#include "pod/sandbox.h"
#include "svc/health.h"
#include "pod/storage.h"
#include "linux/hotplug.h"
#include "linux/uevent.h"

#define CPU_ROUNDS	  100
#define CPU_PAUSE_MS	  100 /* 1.x: ten seconds in all */
#define CPU_PAUSE_3X_MS	  50
#define ONLINE_TIMEOUT_MS 60000
#define PROBE_TIMEOUT_MS  50000

/* The fd of /sys, or -errno. */
static int sys_fd(const struct agent *a, struct err *err)
{
	return a->uevents ? uevents_sys(a->uevents)
			  : err_set(err, ENODEV, "/sys could not be opened");
}

/* ---- CPUs and memory ---- */

struct online {
	struct agent *agent;
	struct call *call; /* NULL: nobody waits (any more) */
	int sys;
	uint32_t cpus;
	bool cpu_only;
	enum schema schema;
};

/* How many CPUs are still to come: 1.x sends that, 3.x the number it wants to see. */
static int missing_cpus(const struct online *o, uint32_t *ret, struct err *err)
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

static int online_job(void *arg, int out, struct err *err)
{
	const struct online *o = arg;
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

static void online_done(void *arg, const struct err *e, const struct buf *out)
{
	struct online *o = arg;
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

static void online_cancelled(struct call *c)
{
	struct online *o = c->wait;

	o->call = NULL; /* the CPUs are wanted all the same */
}

int svc_online_cpu_mem(struct call *c, const void *request, struct err *err)
{
	const Grpc__OnlineCPUMemRequest *req = request;
	struct worker_opts opts = { .timeout_ms = ONLINE_TIMEOUT_MS };
	bool wait = req->wait || c->schema == SCHEMA_3X;
	struct agent *a = call_agent(c);
	AUTO_FREE struct online *o = calloc(1, sizeof(*o));
	int r, sys = sys_fd(a, err);

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
	*o = (struct online){ .agent = a,
			      .call = wait ? c : NULL,
			      .sys = sys,
			      .cpus = req->nb_cpus,
			      .cpu_only = req->cpu_only,
			      .schema = c->schema };
	r = worker_start(a->loop, a->reaper, &opts, online_job, online_done, o, NULL);
	if (r < 0)
		return err_sys(err, -r, "start setting CPUs and memory online");
	if (wait)
		return call_park(c, NULL, online_cancelled, TAKE_PTR(o));
	o = NULL;
	return call_reply_empty(c);
}

struct probe {
	struct call *call;
	const Grpc__MemHotplugByProbeRequest *req;
	int sys;
};

static int probe_job(void *arg, int out, struct err *err)
{
	const struct probe *p = arg;

	(void)out;
	for (size_t i = 0; i < p->req->n_memhotplugprobeaddr; i++) {
		if (hotplug_probe(p->sys, p->req->memhotplugprobeaddr[i], err) < 0)
			return -err->code;
	}
	return 0;
}

static void probe_done(void *arg, const struct err *err, const struct buf *out)
{
	struct call *c = ((struct probe *)arg)->call;

	(void)out;
	if (err->code)
		(void)call_fail(c, err);
	else
		(void)call_reply_empty(c);
}

int svc_mem_hotplug_by_probe(struct call *c, const void *req, struct err *err)
{
	struct worker_opts opts = { .timeout_ms = PROBE_TIMEOUT_MS };
	struct probe *p = arena_zalloc(&c->mem, sizeof(*p));
	struct agent *a = call_agent(c);
	int r, sys = sys_fd(a, err);

	if (sys < 0)
		return sys;
	if (!p)
		return err_sys(err, ENOMEM, "MemHotplugByProbe");
	*p = (struct probe){ c, req, sys };
	r = worker_start(a->loop, a->reaper, &opts, probe_job, probe_done, p, NULL);
	return r < 0 ? err_sys(err, -r, "start probing memory") : call_park(c, NULL, call_go_on, p);
}

/* ---- entropy, clock, details ---- */

int svc_reseed_random_dev(struct call *c, const void *request, struct err *err)
{
	const Grpc__ReseedRandomDevRequest *req = request;
	AUTO_CLOSE int fd = FD_NONE;
	AUTO_FREE struct rand_pool_info *info = NULL;
	int r;

	if (req->data.len == 0)
		return err_set(err, EINVAL, "missing entropy data");
	fd = open("/dev/random", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, errno, "open /dev/random");
	info = malloc(sizeof(*info) + req->data.len);
	if (!info)
		return err_sys(err, ENOMEM, "ReseedRandomDev");
	/* Mixed in and credited in one step, so that nobody reads between the two. */
	info->entropy_count = (int)req->data.len * 8;
	info->buf_size = (int)req->data.len;
	(void)memcpy(info->buf, req->data.data, req->data.len);
	if (ioctl(fd, RNDADDENTROPY, info) < 0) {
		log_warn("guest", "entropy cannot be credited: %s", strerror(errno));
		r = fdio_write_all(fd, req->data.data, req->data.len);
		if (r < 0)
			return err_sys(err, -r, "write to /dev/random");
	}
	explicit_bzero(info->buf, req->data.len);
	if (ioctl(fd, RNDRESEEDCRNG) < 0)
		log_warn("guest", "random numbers cannot be reseeded now: %s", strerror(errno));
	return call_reply_empty(c);
}

int svc_set_guest_date_time(struct call *c, const void *request, struct err *err)
{
	const Grpc__SetGuestDateTimeRequest *req = request;
	struct timeval tv = { .tv_sec = req->sec, .tv_usec = req->usec };

	if (settimeofday(&tv, NULL) < 0)
		return err_rpc(err, RPC_INTERNAL, "Could not set guest time: %s", strerror(errno));
	return call_reply_empty(c);
}

/* EFAULT: the kernel knows filters and only dislikes that there is none. */
static bool has_seccomp(void)
{
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL, 0, 0) < 0 && errno == EFAULT;
}

#define HANDLERS_MAX 32

/* The tables' names, as an array of texts that are only read. */
static size_t device_names(char *list[HANDLERS_MAX])
{
	size_t n = 0;

	for (const char *s; n < HANDLERS_MAX && (s = device_driver_name(n)); n++)
		list[n] = (char *)(uintptr_t)s;
	return n;
}

static size_t storage_names(enum schema schema, char *list[HANDLERS_MAX])
{
	size_t n = 0;
	const char *s;

	for (size_t i = 0; n < HANDLERS_MAX && (s = storage_driver_name(i)); i++) {
		if (schema == SCHEMA_3X || !storage_driver_is_3x(i))
			list[n++] = (char *)(uintptr_t)s;
	}
	return n;
}

int svc_get_guest_details(struct call *c, const void *request, struct err *err)
{
	const Grpc__GuestDetailsRequest *req = request;
	Grpc__GuestDetailsResponse res = GRPC__GUEST_DETAILS_RESPONSE__INIT;
	Grpc__AgentDetails details;
	char *devices[HANDLERS_MAX], *storages[HANDLERS_MAX];
	char *features[] = { (char *)(uintptr_t) "seccomp" };
	struct agent *a = call_agent(c);
	int sys = sys_fd(a, err);

	if (sys < 0)
		return sys;
	if (req->mem_block_size && hotplug_block_size(sys, &res.mem_block_size_bytes, err) < 0)
		return -err->code;
	if (req->mem_hotplug_probe)
		res.support_mem_hotplug_probe = hotplug_wants_probe(sys);
	grpc__agent_details__init(&details);
	details.version = (char *)(uintptr_t)agent_version();
	details.init_daemon = a->is_init;
	details.device_handlers = devices;
	if (c->schema == SCHEMA_1X)
		details.n_device_handlers = device_names(devices);
	details.storage_handlers = storages;
	details.n_storage_handlers = storage_names(c->schema, storages);
	details.supports_seccomp = has_seccomp();
	if (c->schema == SCHEMA_3X && details.supports_seccomp) {
		details.extra_features = features;
		details.n_extra_features = ARRAY_LEN(features);
	}
	res.agent_details = &details;
	return call_reply(c, &res.base);
}
