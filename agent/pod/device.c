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
#include "base/fdio.h"
#include "base/worker.h"
#include "rpc/call.h"
#include "pod/agent.h"
#include "config.h"
#include "linux/devfind.h"
#include "linux/path.h"
#include "pod/pcimap.h"
#include "pod/specedit.h"
#include "linux/rootdisk.h"

/* Served by the guest's driver; by the container itself, through its group's node; s390x's. */
enum vfio_kind { VFIO_NONE, VFIO_GUEST, VFIO_GROUP, VFIO_S390 };

struct device_driver {
	const char *name;
	enum dev_bus bus;
	bool by_path;	      /* vm_path as it is, nothing to wait for */
	bool late;	      /* but for its node */
	bool path_without_id; /* the same, when there is no id */
	enum vfio_kind vfio;
};

static const struct device_driver device_drivers[] = {
	{ .name = "mmioblk", .by_path = true, .late = true },
	{ .name = "blk", .bus = DEV_PCI_BLOCK, .path_without_id = true },
	{ .name = "blk-ccw", .bus = DEV_CCW },
	{ .name = "scsi", .bus = DEV_SCSI },
	{ .name = "nvdimm", .by_path = true },
	{ .name = "vfio-pci-gk", .vfio = VFIO_GUEST },
	{ .name = "vfio-pci", .vfio = VFIO_GROUP },
	{ .name = "vfio-ap", .vfio = VFIO_S390 },
	{ .name = "vfio-ap-cold", .vfio = VFIO_S390 },
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
	struct pci_map *map;
	size_t option; /* of a VFIO device: which function is being looked for */
	char host[PCI_ADDRESS_MAX], guest[PCI_ADDRESS_MAX];
	int64_t group; /* of all its functions; -1: none yet */
	bool vfio;     /* there was one */
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
	/* 3.x: the guest's numbers are allowed, whatever the host's rules said. */
	return op->schema == SCHEMA_3X ? spec_add_rule(op->spec, op->mem, type_of(entry->type),
						       now.major, now.minor, "rwm", err)
				       : 0;
}

/* The device is at vm_path: its numbers go into the spec; so does vm_path, with renamed. */
static int update_spec(struct devices_op *op, const Grpc__Device *d, const char *vm_path,
		       bool renamed, struct err *err)
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
		if (renamed)
			entry->path = arena_strdup(op->mem, vm_path);
		if (!entry->path)
			return err_sys(err, ENOMEM, "device '%s'", vm_path);
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
		(void)update_spec(op, op->devices[op->at++], path, false, &op->err);
	}
	device_next(op);
}

/* --- VFIO: "DDDD:BB:SS.F=PCI path", the host's address and where it is here ------------------ */

static void vfio_is_through(struct devices_op *op, const struct err *err)
{
	op->option++;
	op->err = *err;
	device_next(op);
}

static int vfio_bind_job(void *arg, int out, struct err *err)
{
	const struct devices_op *op = arg;
	unsigned int group;
	int r = pci_give_to_vfio(uevents_sys(op->agent->uevents), op->guest, &group, err);

	return r < 0 ? r : fdio_write_all(out, &group, sizeof(group));
}

static void vfio_bound(void *arg, const struct err *e, const struct buf *out)
{
	struct devices_op *op = arg;
	struct err err = *e;
	unsigned int group = 0;

	if (!err.code && buf_len(out) != sizeof(group))
		err_set(&err, EIO, "no IOMMU group was told");
	if (!err.code)
		(void)memcpy(&group, buf_data(out), sizeof(group));
	if (!err.code && op->group >= 0 && op->group != group)
		err_set(&err, EINVAL, "%s is not in guest IOMMU group %lld", op->guest,
			(long long)op->group);
	op->group = group;
	vfio_is_through(op, &err);
}

static void vfio_found(struct dev_find *f, const char *name, const struct err *e)
{
	struct devices_op *op = container_of(f, struct devices_op, find);
	struct agent *a = op->agent;
	int sys = uevents_sys(a->uevents), r;
	const struct worker_opts opts = { .timeout_ms = LIMIT_WORK_MS,
					  .max_out = sizeof(unsigned int),
					  .keep = &sys,
					  .keep_count = 1 };
	struct err err = *e;

	if (err.code == ETIMEDOUT)
		err.rpc = RPC_DEADLINE_EXCEEDED;
	if (name && pci_address(name, strlen(name), op->guest) < 0)
		err_set(&err, EINVAL, "'%s' is not a PCI address", name);
	if (err.code == 0)
		(void)pci_map_add(op->map, op->host, op->guest, &err);
	if (err.code || device_driver_find(op->devices[op->at]->type)->vfio == VFIO_GUEST) {
		vfio_is_through(op, &err);
		return;
	}
	r = worker_start(a->loop, a->reaper, &opts, vfio_bind_job, vfio_bound, op, NULL);
	if (r < 0) {
		err_sys(&err, -r, "bind %s to vfio-pci", op->guest);
		vfio_is_through(op, &err);
	}
}

static void vfio_end(struct devices_op *op, const Grpc__Device *d, const struct device_driver *drv)
{
	char path[32];

	if (drv->vfio == VFIO_GROUP && op->group < 0)
		err_rpc(&op->err, RPC_INTERNAL, "failed to get VFIO group");
	if (drv->vfio == VFIO_GROUP && op->group >= 0) {
		(void)snprintf(path, sizeof(path), "/dev/vfio/%lld", (long long)op->group);
		(void)update_spec(op, d, path, true, &op->err);
	}
	op->vfio = true;
	op->option = 0;
	op->group = -1;
}

/* True: one of its functions is being waited for. Else it is through, or has failed. */
static bool vfio_next(struct devices_op *op, const Grpc__Device *d, const struct device_driver *drv)
{
	while (drv->vfio != VFIO_S390 && op->err.code == 0 && op->option < d->n_options) {
		const char *text = d->options[op->option], *is = strchr(text, '=');

		if (!is || pci_address(text, (size_t)(is - text), op->host) < 0) {
			err_rpc(&op->err, RPC_INVALID_ARGUMENT, "Malformed VFIO PCI option '%s'",
				text);
		} else if (!is[1]) {
			log_warn("device", "%s: the host doesn't say where it is here", text);
			op->option++;
		} else if (dev_find(&op->find, op->agent->uevents, DEV_PCI_ANY, is + 1,
				    op->agent->config->hotplug_timeout_ms, vfio_found,
				    &op->err) == 0) {
			return true;
		}
	}
	if (drv->vfio == VFIO_S390)
		err_rpc(&op->err, RPC_INVALID_ARGUMENT, "VFIO-AP is only supported on s390x");
	if (op->err.code == 0)
		vfio_end(op, d, drv);
	return false;
}

/* RDMA cards of any kind are used through these; the host doesn't know them. */
static int device_add_infiniband(struct devices_op *op, struct err *err)
{
	AUTO_DIR DIR *dir = opendir("/dev/infiniband");
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		struct stat st;

		if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISCHR(st.st_mode) &&
		    spec_add_device(op->spec, op->mem,
				    arena_printf(op->mem, "/dev/infiniband/%s", e->d_name), &st,
				    "rwm", err) < 0)
			return -err->code;
	}
	return 0;
}

/* Continues with the next device; ends, from a job, with the first failure or the last device. */
static void device_next(struct devices_op *op)
{
	for (; op->err.code == 0 && op->at < op->n; op->at++) {
		const Grpc__Device *d = op->devices[op->at];
		const struct device_driver *drv = device_driver_find(d->type);
		const char *late;

		if (drv && drv->vfio) {
			if (vfio_next(op, d, drv))
				return;
			if (op->err.code)
				break;
			continue;
		}
		if (!drv || (drv->by_path && str_empty(d->vm_path))) {
			err_set(&op->err, EINVAL, "Invalid path for %s device '%s'", d->type,
				d->id);
			break;
		}
		late = drv->late ? dev_missing(d->vm_path) : NULL;
		if (late) {
			if (dev_find(&op->find, op->agent->uevents, DEV_PMEM, late,
				     op->agent->config->hotplug_timeout_ms, device_found,
				     &op->err) == 0)
				return;
			continue;
		}
		if (drv->by_path || (drv->path_without_id && str_empty(d->id))) {
			(void)update_spec(op, d, d->vm_path, false, &op->err);
			continue;
		}
		if (dev_find(&op->find, op->agent->uevents, drv->bus, d->id,
			     op->agent->config->hotplug_timeout_ms, device_found, &op->err) == 0)
			return;
		if (drv->bus == DEV_SCSI)
			op->err.rpc = RPC_INTERNAL;
	}
	if (op->err.code == 0 && op->vfio)
		(void)device_add_infiniband(op, &op->err);
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
		Grpc__Spec *spec, struct pci_map *map, struct arena *mem, devices_done *done,
		void *arg, struct err *err)
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
				   .map = map,
				   .group = -1,
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
