/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI paths of the runtime ("02/03", "02.1/00.0") to places in sysfs.
 */
#ifndef LINUX_PCI_H
#define LINUX_PCI_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"

#define PCI_REL_MAX (LIMIT_PCI_PATH * 16)

/* From the root bus down: the slot on each bus, the last one is the device. */
struct pci_path {
	unsigned int root; /* number of the root bus: 0 but for NUMA expanders */
	size_t n;
	struct {
		uint8_t slot, function;
	} at[LIMIT_PCI_PATH];
};

/*
 * SS[.F] between slashes, hexadecimal, SS up to 1f, F up to 7. With three or more elements a first
 * one of 20 or more is a root bus. 0 or -EINVAL with *err.
 */
int pci_path_parse(const char *text, struct pci_path *ret, struct err *err);
/*
 * The device's path below its root bus ("0000:00:02.0/0000:01:03.0"), found through the bridges in
 * the sysfs at fd sys; the device itself need not be there yet. -ENOENT: a bridge is not there
 * (yet).
 */
int pci_resolve(int sys, const struct pci_path *path, char rel[PCI_REL_MAX], struct err *err);
/* "DDDD:BB:SS.F", as the kernel writes it, of such a text in any letters; ".F" may lack. -EINVAL. */
#define PCI_ADDRESS_MAX 16
int pci_address(const char *text, size_t len, char ret[PCI_ADDRESS_MAX]);
/*
 * Takes the device of that address from its driver and gives it to vfio-pci; *ret_group is its
 * IOMMU group, in which others may be. Probes: for workers.
 */
int pci_give_to_vfio(int sys, const char *address, unsigned int *ret_group, struct err *err);
#define PCI_RESCAN "bus/pci/rescan" /* below /sys; not there in guests without PCI */
/* Has the kernel look for new devices. Probes them, too: for workers. */
int pci_rescan(int sys, struct err *err);

#endif
