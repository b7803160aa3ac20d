/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding devices. State: each search in its owner. A bus is only poked when the device is not
 * there, and by a worker: a rescan probes what it finds, and a SCSI scan talks to the disk.
 */
#include "linux/devfind.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/str.h"

int dev_scsi_parse(const char *address, unsigned int *id, unsigned int *lun, struct err *err)
{
	const char *colon = strchr(address, ':');
	char first[16];
	uint64_t a, b;

	if (!colon || colon - address >= (ptrdiff_t)sizeof(first))
		return err_set(err, EINVAL,
			       "Unexpected format for SCSI Address: '%s', expect SCSIID:LUN",
			       address);
	(void)memcpy(first, address, (size_t)(colon - address));
	first[colon - address] = '\0';
	if (str_u64(first, LIMIT_SCSI_ID, &a) < 0 || str_u64(colon + 1, LIMIT_SCSI_ID, &b) < 0)
		return err_set(err, EINVAL,
			       "Unexpected format for SCSI Address: '%s', expect SCSIID:LUN",
			       address);
	*id = (unsigned int)a;
	*lun = (unsigned int)b;
	return 0;
}

/* "0.<0 to 3>.<4 hex digits>" */
int dev_ccw_check(const char *a, struct err *err)
{
	bool good = strlen(a) == 8 && a[0] == '0' && a[1] == '.' && a[2] >= '0' && a[2] <= '3' &&
		    a[3] == '.' && strspn(a + 4, "0123456789abcdefABCDEF") == 4;

	return good ? 0
		    : err_set(err, EINVAL,
			      "invalid CCW bus address '%s', expected 0.<0-3>.<4 hex digits>", a);
}

/* Go's text of a duration, as clients see it in the reference's messages. */
static const char *duration(int64_t ms, char *buf, size_t size)
{
	char fraction[8] = "";
	int64_t s = ms / 1000;

	if (ms < 1000) {
		(void)snprintf(buf, size, "%lldms", (long long)ms);
		return buf;
	}
	if (ms % 1000) {
		(void)snprintf(fraction, sizeof(fraction), ".%03lld", (long long)(ms % 1000));
		for (size_t n = strlen(fraction); fraction[n - 1] == '0'; n--)
			fraction[n - 1] = '\0';
	}
	if (s >= 3600)
		(void)snprintf(buf, size, "%lldh%lldm%lld%ss", (long long)(s / 3600),
			       (long long)(s / 60 % 60), (long long)(s % 60), fraction);
	else if (s >= 60)
		(void)snprintf(buf, size, "%lldm%lld%ss", (long long)(s / 60), (long long)(s % 60),
			       fraction);
	else
		(void)snprintf(buf, size, "%lld%ss", (long long)s, fraction);
	return buf;
}

static int scsi_scan(int sys, unsigned int id, unsigned int lun, struct err *err)
{
	static const char hosts[] = "class/scsi_host";
	AUTO_DIR DIR *d = NULL;
	int fd = openat(sys, hosts, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *e;
	char text[40];

	if (fd < 0)
		return err_sys(err, errno, "open /sys/%s", hosts);
	d = fdopendir(fd);
	if (!d) {
		(void)close(fd);
		return err_sys(err, ENOMEM, "open /sys/%s", hosts);
	}
	(void)snprintf(text, sizeof(text), "0 %u %u", id, lun);
	while ((e = readdir(d))) {
		char path[NAME_MAX + 8];
		int r;

		if (e->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "%s/scan", e->d_name);
		r = fdio_write_file(fd, path, text);
		if (r < 0)
			return err_sys(err, -r, "write '%s' to /sys/%s/%s", text, hosts, path);
	}
	return 0;
}

/* In the worker. */
static int dev_find_poke(void *arg, int out, struct err *err)
{
	const struct dev_find *f = arg;

	(void)out;
	if (f->bus == DEV_SCSI)
		return scsi_scan(uevents_sys(f->u), f->scsi_id, f->scsi_lun, err);
	return pci_rescan(uevents_sys(f->u), err);
}

void dev_find_cancel(struct dev_find *f)
{
	if (!f->u)
		return;
	uevent_wait_cancel(&f->wait);
	if (f->poke)
		worker_cancel(f->poke);
	f->poke = NULL;
	f->u = NULL;
}

static void dev_find_finish(struct dev_find *f, const char *name, const struct err *err)
{
	dev_find_cancel(f);
	f->fn(f, name, err);
}

static void dev_find_on_device(struct uevent_wait *w, const char *name)
{
	struct dev_find *f = container_of(w, struct dev_find, wait);
	struct err err = { 0 };
	char text[48];

	if (!name)
		err_set(&err, ETIMEDOUT, "Timeout reached after %s waiting for device %s",
			duration(f->timeout_ms, text, sizeof(text)),
			*f->match.path ? f->match.path : f->match.name);
	dev_find_finish(f, name, &err);
}

static int dev_find_resolve(struct dev_find *f, struct err *err)
{
	char rel[PCI_REL_MAX];
	int r = pci_resolve(uevents_sys(f->u), &f->pci, rel, err);

	if (r < 0)
		return r;
	if ((size_t)snprintf(f->match.path, sizeof(f->match.path), "/%s/", rel) >=
	    sizeof(f->match.path))
		return err_set(err, ENAMETOOLONG, "PCI path of %zu elements", f->pci.n);
	f->resolved = true;
	return 0;
}

static void dev_find_wait(struct dev_find *f)
{
	uevent_wait(f->u, &f->wait, &f->match, f->until_ms - loop_now_ms(), dev_find_on_device);
}

static void dev_find_on_poked(void *arg, const struct err *err, const struct buf *out)
{
	struct dev_find *f = arg;
	struct err fail = *err;

	(void)out;
	f->poke = NULL;
	if (fail.code == 0 && !f->resolved && dev_find_resolve(f, &fail) == 0)
		dev_find_wait(f);
	if (fail.code)
		dev_find_finish(f, NULL, &fail);
}

/* Reads the address into what to look for. */
static int dev_find_parse(struct dev_find *f, const char *address, struct err *err)
{
	int r;

	f->resolved = true;
	f->match = (struct dev_match){ .subsystem = f->bus == DEV_PCI_NET   ? "net"
						    : f->bus == DEV_PCI_ANY ? "pci"
									    : "block" };
	switch (f->bus) {
	case DEV_PCI_BLOCK:
	case DEV_PCI_NET:
	case DEV_PCI_ANY:
		f->resolved = false;
		return pci_path_parse(address, &f->pci, err);
	case DEV_SCSI:
		r = dev_scsi_parse(address, &f->scsi_id, &f->scsi_lun, err);
		(void)snprintf(f->match.path, sizeof(f->match.path), "/0:0:%u:%u/block/",
			       f->scsi_id, f->scsi_lun);
		return r;
	case DEV_CCW:
		r = dev_ccw_check(address, err);
		(void)snprintf(f->match.path, sizeof(f->match.path), "/%.8s/virtio", address);
		return r;
	case DEV_PMEM:
		if (strlen(address) >= sizeof(f->match.name))
			return err_set(err, ENAMETOOLONG, "pmem device '%s'", address);
		(void)snprintf(f->match.name, sizeof(f->match.name), "%s", address);
		return 0;
	}
	return err_set(err, EINVAL, "unknown bus %d", (int)f->bus);
}

const char *dev_missing(const char *path)
{
	const char *name = path + strlen("/dev/");

	if (!str_starts(path, "/dev/") || !*name || strchr(name, '/') ||
	    faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return NULL;
	return name;
}

int dev_find(struct dev_find *f, struct uevents *u, enum dev_bus bus, const char *address,
	     int64_t timeout_ms, dev_found_fn *fn, struct err *err)
{
	struct worker_opts opts = { .timeout_ms = timeout_ms > 0 ? timeout_ms : 1 };
	struct err ignored = { 0 };
	char name[DEV_NAME_MAX];
	int r, sys;

	if (!u)
		return err_set(err, ENODEV,
			       "device '%s' cannot be looked for: /sys could not be opened",
			       address);
	*f = (struct dev_find){ .u = u,
				.bus = bus,
				.fn = fn,
				.timeout_ms = timeout_ms,
				.until_ms = loop_now_ms() + timeout_ms };
	r = dev_find_parse(f, address, err);
	if (r < 0) {
		f->u = NULL;
		return r;
	}
	/* A bridge may be as new as what is behind it: then the rescan shows it. */
	if (f->resolved || dev_find_resolve(f, &ignored) == 0) {
		bool there = uevents_lookup(u, &f->match, name);

		dev_find_wait(f);
		if (there || bus == DEV_CCW || bus == DEV_PMEM)
			return 0;
	}
	sys = uevents_sys(u);
	opts.keep = &sys;
	opts.keep_count = 1;
	r = worker_start(uevents_loop(u), uevents_reaper(u), &opts, dev_find_poke,
			 dev_find_on_poked, f, &f->poke);
	if (r < 0) {
		dev_find_cancel(f);
		return err_sys(err, -r, "start a bus scan for '%s'", address);
	}
	return 0;
}
