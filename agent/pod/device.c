/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices of a CreateContainer. State: one operation per call, walking its list. The numbers in the
 * spec are the host's; which of them a device meant is decided before any is changed, for a guest
 * number may be another device's number on the host.
 */
#include "pod/device.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/log.h"
#include "base/str.h"
#include "base/worker.h"
#include "rpc/call.h"
#include "pod/agent.h"
#include "config.h"
#include "linux/devfind.h"
#include "linux/path.h"
#include "linux/rootdisk.h"

struct device_driver {
	const char *name;
	enum dev_bus bus;
	bool by_path;	      /* vm_path as it is, nothing to wait for */
	bool path_without_id; /* the same, when there is no id */
};

static const struct device_driver device_drivers[] = {
	{ "mmioblk", 0, true, false },	      { "blk", DEV_PCI_BLOCK, false, true },
	{ "blk-ccw", DEV_CCW, false, false }, { "scsi", DEV_SCSI, false, false },
	{ "nvdimm", 0, true, false },
};

struct numbers {
	int64_t major, minor;
};

struct devices_op {
	struct agent *agent;
	enum schema schema;
	Grpc__Device *const *devices;
	size_t n, at;
	Grpc__Spec *spec;
	struct arena *mem;
	struct numbers *device_was, *rule_was; /* of the spec, before */
	size_t n_rules;			       /* when we began */
	struct dev_find find;
	struct job job;
	devices_done *done;
	void *arg;
	struct err err;
};

const char *device_driver_name(size_t i)
{
	return i < ARRAY_LEN(device_drivers) ? device_drivers[i].name : NULL;
}

static const struct device_driver *device_driver_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(device_drivers); i++) {
		if (str_eq(device_drivers[i].name, name))
			return &device_drivers[i];
	}
	return NULL;
}

static int device_check(const Grpc__Device *d, const Grpc__Spec *spec, struct err *err)
{
	if (!spec)
		return err_rpc(err, RPC_INVALID_ARGUMENT, "invalid OCI spec: none is given");
	if (str_empty(d->type))
		return err_rpc(err, RPC_INVALID_ARGUMENT, "invalid type for device '%s'",
			       d->container_path);
	if (str_empty(d->id) && str_empty(d->vm_path))
		return err_rpc(err, RPC_INVALID_ARGUMENT, "invalid ID and VM path for device '%s'",
			       d->container_path);
	if (str_empty(d->container_path))
		return err_rpc(err, RPC_INVALID_ARGUMENT, "invalid container path for device '%s'",
			       d->id);
	if (!device_driver_find(d->type))
		return err_rpc(err, RPC_INVALID_ARGUMENT, "Unknown device type \"%s\"", d->type);
	return 0;
}

static char type_of(const char *type)
{
	return type[0];
}

/* 3.x: the guest's numbers are allowed, whatever the host's rules said. */
static int device_allow(struct devices_op *op, char type, struct numbers now, struct err *err)
{
	Grpc__LinuxResources *res = op->spec->linux->resources;
	Grpc__LinuxDeviceCgroup *rule = arena_alloc(op->mem, sizeof(*rule)), **rules;

	if (!res) {
		res = arena_alloc(op->mem, sizeof(*res));
		if (!res)
			return err_sys(err, ENOMEM, "device rule");
		grpc__linux_resources__init(res);
		op->spec->linux->resources = res;
	}
	rules = arena_alloc(op->mem, (res->n_devices + 1) * sizeof(*rules));
	if (!rule || !rules)
		return err_sys(err, ENOMEM, "device rule");
	grpc__linux_device_cgroup__init(rule);
	rule->allow = true;
	rule->type = arena_printf(op->mem, "%c", type);
	rule->access = arena_strdup(op->mem, "rwm");
	rule->major = now.major;
	rule->minor = now.minor;
	if (!rule->type || !rule->access)
		return err_sys(err, ENOMEM, "device rule");
	if (res->n_devices)
		(void)memcpy(rules, res->devices, res->n_devices * sizeof(*rules));
	rules[res->n_devices] = rule;
	res->devices = rules;
	res->n_devices++;
	return 0;
}

static int update_rules(struct devices_op *op, const Grpc__LinuxDevice *entry, struct numbers was,
			struct numbers now, struct err *err)
{
	Grpc__LinuxResources *res = op->spec->linux->resources;

	for (size_t i = 0; i < op->n_rules; i++) {
		Grpc__LinuxDeviceCgroup *rule = res->devices[i];

		if (type_of(rule->type) == type_of(entry->type) &&
		    op->rule_was[i].major == was.major && op->rule_was[i].minor == was.minor) {
			rule->major = now.major;
			rule->minor = now.minor;
		}
	}
	return op->schema == SCHEMA_3X ? device_allow(op, type_of(entry->type), now, err) : 0;
}

/* The device is at vm_path: its numbers go into the spec. */
static int update_spec(struct devices_op *op, const Grpc__Device *d, const char *vm_path,
		       struct err *err)
{
	Grpc__Linux *lx = op->spec ? op->spec->linux : NULL;
	AUTO_CLOSE int fd = FD_NONE;
	struct rootdisk disks;
	struct numbers now;
	struct stat st;

	if (!lx || lx->n_devices == 0)
		return err_rpc(err, RPC_INTERNAL, "No devices found from the spec, cannot update");
	fd = path_open_dev(vm_path);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_sys(err, fd < 0 ? -fd : errno, "device '%s'", vm_path);
	if (!S_ISBLK(st.st_mode) && !S_ISCHR(st.st_mode))
		return err_set(err, ENODEV, "'%s' is not a device", vm_path);
	rootdisk_find(&disks);
	if (S_ISBLK(st.st_mode) && rootdisk_has(&disks, st.st_rdev))
		return err_rpc(err, RPC_PERMISSION_DENIED, "'%s' is the guest's root disk",
			       vm_path);
	now = (struct numbers){ major(st.st_rdev), minor(st.st_rdev) };
	for (size_t i = 0; i < lx->n_devices; i++) {
		Grpc__LinuxDevice *entry = lx->devices[i];

		if (!str_eq(entry->path, d->container_path))
			continue;
		entry->major = now.major;
		entry->minor = now.minor;
		return update_rules(op, entry, op->device_was[i], now, err);
	}
	return err_rpc(err, RPC_INTERNAL, "Should have found a matching device %s in the spec",
		       d->container_path);
}

static void devices_end(struct job *j)
{
	struct devices_op *op = container_of(j, struct devices_op, job);
	devices_done *done = op->done;
	void *arg = op->arg;
	struct err err = op->err;

	free(op);
	done(arg, &err);
}

static void device_next(struct devices_op *op);

static void device_found(struct dev_find *f, const char *name, const struct err *err)
{
	struct devices_op *op = container_of(f, struct devices_op, find);
	char path[DEV_NAME_MAX + 8];

	op->err = *err;
	if (!name && op->err.code == ETIMEDOUT)
		op->err.rpc = RPC_DEADLINE_EXCEEDED;
	if (name) {
		(void)snprintf(path, sizeof(path), "/dev/%s", name);
		(void)update_spec(op, op->devices[op->at++], path, &op->err);
	}
	device_next(op);
}

/* Continues with the next device; ends, from a job, with the first failure or the last device. */
static void device_next(struct devices_op *op)
{
	for (; op->err.code == 0 && op->at < op->n; op->at++) {
		const Grpc__Device *d = op->devices[op->at];
		const struct device_driver *drv = device_driver_find(d->type);

		if (!drv || (drv->by_path && str_empty(d->vm_path))) {
			err_set(&op->err, EINVAL, "Invalid path for %s device '%s'", d->type,
				d->id);
			break;
		}
		if (drv->by_path || (drv->path_without_id && str_empty(d->id))) {
			(void)update_spec(op, d, d->vm_path, &op->err);
			continue;
		}
		if (dev_find(&op->find, op->agent->uevents, drv->bus, d->id,
			     op->agent->config->hotplug_timeout_ms, device_found, &op->err) == 0)
			return;
		if (drv->bus == DEV_SCSI)
			op->err.rpc = RPC_INTERNAL;
	}
	job_queue(op->agent->loop, &op->job, devices_end);
}

static int devices_rescan_job(void *arg, int out, struct err *err)
{
	const struct devices_op *op = arg;

	(void)out;
	return pci_rescan(uevents_sys(op->agent->uevents), err);
}

static void devices_rescanned(void *arg, const struct err *err, const struct buf *out)
{
	(void)out;
	if (err->code)
		log_warn("device", "%s", err->msg);
	device_next(arg);
}

/*
 * Hosts of 1.x plug devices that no request names (VFIO) and count on a rescan before each
 * container. It probes what it finds: in a worker. 3.x hosts expect none. 1: none is needed.
 */
static int devices_rescan(struct devices_op *op)
{
	struct agent *a = op->agent;
	int sys = a->uevents ? uevents_sys(a->uevents) : FD_NONE;
	struct worker_opts opts = { .timeout_ms = LIMIT_WORK_MS, .keep = &sys, .keep_count = 1 };
	int r;

	if (op->schema != SCHEMA_1X || sys < 0 || faccessat(sys, PCI_RESCAN, W_OK, 0) < 0)
		return 1;
	r = worker_start(a->loop, a->reaper, &opts, devices_rescan_job, devices_rescanned, op,
			 NULL);
	if (r < 0)
		log_warn("device", "start a bus scan: %s", strerror(-r));
	return r < 0 ? 1 : 0;
}

/* What the spec says before anything is changed. */
static int device_snapshot(struct devices_op *op, struct err *err)
{
	const Grpc__Linux *lx = op->spec ? op->spec->linux : NULL;
	const Grpc__LinuxResources *res = lx ? lx->resources : NULL;

	if (lx) {
		op->device_was =
			arena_zalloc(op->mem, (lx->n_devices + 1) * sizeof(*op->device_was));
		if (!op->device_was)
			return err_sys(err, ENOMEM, "devices");
		for (size_t i = 0; i < lx->n_devices; i++)
			op->device_was[i] =
				(struct numbers){ lx->devices[i]->major, lx->devices[i]->minor };
	}
	if (res) {
		op->rule_was = arena_zalloc(op->mem, (res->n_devices + 1) * sizeof(*op->rule_was));
		if (!op->rule_was)
			return err_sys(err, ENOMEM, "devices");
		for (size_t i = 0; i < res->n_devices; i++)
			op->rule_was[i] =
				(struct numbers){ res->devices[i]->major, res->devices[i]->minor };
		op->n_rules = res->n_devices;
	}
	return 0;
}

int devices_add(struct agent *a, enum schema schema, Grpc__Device *const *devices, size_t n,
		Grpc__Spec *spec, struct arena *mem, devices_done *done, void *arg, struct err *err)
{
	AUTO_FREE struct devices_op *op = calloc(1, sizeof(*op));

	if (!op)
		return err_sys(err, ENOMEM, "devices");
	for (size_t i = 0; i < n; i++) {
		if (device_check(devices[i], spec, err) < 0)
			return -err->code;
	}
	*op = (struct devices_op){ .agent = a,
				   .schema = schema,
				   .devices = devices,
				   .n = n,
				   .spec = spec,
				   .mem = mem,
				   .done = done,
				   .arg = arg };
	if (device_snapshot(op, err) < 0)
		return -err->code;
	if (devices_rescan(op) > 0)
		device_next(op);
	op = NULL;
	return 0;
}
