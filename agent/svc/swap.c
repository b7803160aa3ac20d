/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Swap space on a device of the host. State: in the call that waits for its device.
 */
#include "svc/svc.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/swap.h>

#include "config.h"
#include "linux/devfind.h"
#include "pod/agent.h"

struct swap { /* in the call's arena */
	struct dev_find find;
	struct call *call;
	char device[8 + DEV_NAME_MAX];
};

static int swap_on(const char *path, struct err *err)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return err_rpc(err, RPC_INTERNAL, "swap device '%s': %s", path, strerror(errno));
	if (!S_ISBLK(st.st_mode))
		return err_rpc(err, RPC_INVALID_ARGUMENT, "swap device '%s' is no block device",
			       path);
	if (swapon(path, 0) < 0)
		return err_rpc(err, RPC_INTERNAL, "swapon '%s': %s", path, strerror(errno));
	return 0;
}

static int swap_device_job(void *arg, int out, struct err *err)
{
	const struct call *c = arg;
	const struct swap *s = c->wait;

	(void)out;
	return swap_on(s->device, err);
}

static int swap_path_job(void *arg, int out, struct err *err)
{
	const struct call *c = arg;
	const Grpc__AddSwapPathRequest *req = c->wait;

	(void)out;
	return swap_on(req->path, err);
}

static void swap_found(struct dev_find *f, const char *name, const struct err *why)
{
	struct swap *s = container_of(f, struct swap, find);
	struct err err = { 0 };

	if (!name) {
		(void)call_fail(s->call, why);
		return;
	}
	(void)snprintf(s->device, sizeof(s->device), "/dev/%s", name);
	/* The device is there: what follows is short. */
	if (work_start(s->call, NULL, s, swap_device_job, work_done_empty, &err) < 0)
		(void)call_fail(s->call, &err);
}

static void swap_cancelled(struct call *c)
{
	struct swap *s = c->wait;

	dev_find_cancel(&s->find);
}

int svc_add_swap(struct call *c, const void *r, struct err *err)
{
	const Grpc__AddSwapRequest *req = r;
	struct agent *a = call_agent(c);
	char path[LIMIT_PCI_PATH * 3 + 1] = "";
	struct swap *s;
	size_t len = 0;

	if (req->n_pcipath == 0 || req->n_pcipath > LIMIT_PCI_PATH)
		return err_rpc(err, RPC_INVALID_ARGUMENT, "a PCI path of %zu elements",
			       req->n_pcipath);
	for (size_t i = 0; i < req->n_pcipath; i++) {
		if (req->pcipath[i] > 0xff)
			return err_rpc(err, RPC_INVALID_ARGUMENT, "PCI slot %u", req->pcipath[i]);
		len += (size_t)snprintf(path + len, sizeof(path) - len, "%s%02x", i ? "/" : "",
					req->pcipath[i]);
	}
	if (!a->uevents)
		return err_rpc(err, RPC_INTERNAL, "devices cannot be waited for here");
	s = arena_zalloc(&c->mem, sizeof(*s));
	if (!s)
		return err_sys(err, ENOMEM, "swap");
	s->call = c;
	if (dev_find(&s->find, a->uevents, DEV_PCI_BLOCK, path, a->config->hotplug_timeout_ms,
		     swap_found, err) < 0)
		return -err->code;
	return call_park(c, NULL, swap_cancelled, s);
}

int svc_add_swap_path(struct call *c, const void *req, struct err *err)
{
	return work_start(c, NULL, (void *)(uintptr_t)req, swap_path_job, work_done_empty, err);
}
