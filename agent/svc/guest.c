/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest as a machine: entropy, clock, what it is made of. No state.
 */
#include "svc/svc.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/time.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/log.h"
#include "linux/hotplug.h"
#include "pod/agent.h"
#include "pod/device.h"
#include "pod/sandbox.h"
#include "pod/storage.h"

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
	int sys = work_sys(c, err);

	if (sys < 0)
		return sys;
	if (*sandbox_lacks(a))
		log_warn("guest", "%s", sandbox_lacks(a));
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
