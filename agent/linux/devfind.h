/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding one device from the address that the runtime gives: pokes the bus, waits for the device.
 */
#ifndef LINUX_DEVFIND_H
#define LINUX_DEVFIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/worker.h"
#include "linux/pci.h"
#include "linux/uevent.h"

enum dev_bus {
	DEV_PCI_BLOCK, /* "02/03": the disk of that function */
	DEV_PCI_NET,   /* the same: its network interface */
	DEV_PCI_ANY,   /* the function itself, by its address: "0000:01:00.0" */
	DEV_SCSI,      /* "id:lun" */
	DEV_CCW,       /* "0.n.dddd", s390x */
	DEV_PMEM,      /* a block device by its name: "pmem0", "pmem0p1" */
};

struct dev_find;

/*
 * name: below /dev, or the interface's; NULL with err set: -ETIMEDOUT when it did not come. f is
 * free for anything.
 */
typedef void dev_found_fn(struct dev_find *f, const char *name, const struct err *err);

struct dev_find {	   /* inside its owner, zero before its first use */
	struct uevents *u; /* NULL: idle */
	struct uevent_wait wait;
	struct worker *poke;
	struct dev_match match;
	enum dev_bus bus;
	struct pci_path pci;
	unsigned int scsi_id, scsi_lun;
	bool resolved;
	int64_t until_ms, timeout_ms;
	dev_found_fn *fn;
};

/*
 * Finds a device, at once or when it appears within timeout_ms. fn is called once, from the loop,
 * never before this returns. Negative errno with *err: the address is bad, fn will not be called.
 */
int dev_find(struct dev_find *f, struct uevents *u, enum dev_bus bus, const char *address,
	     int64_t timeout_ms, dev_found_fn *fn, struct err *err);
void dev_find_cancel(struct dev_find *f); /* harmless when idle */
/* NAME of "/dev/NAME", which DEV_PMEM can wait for, while there is no such node; else NULL. */
const char *dev_missing(const char *path);

/* What an address stands for in sysfs; exported for its tests. 0 or -EINVAL with *err. */
int dev_scsi_parse(const char *address, unsigned int *id, unsigned int *lun, struct err *err);
int dev_ccw_check(const char *address, struct err *err);

#endif
