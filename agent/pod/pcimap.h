/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container's PCI devices: the addresses that they have on the host, by which its environment
 * names them, and those that they have here.
 */
#ifndef POD_PCIMAP_H
#define POD_PCIMAP_H

#include <stddef.h>

#include "agent.pb-c.h"
#include "base/arena.h"
#include "base/err.h"
#include "linux/pci.h"

struct pci_pair {
	char host[PCI_ADDRESS_MAX], guest[PCI_ADDRESS_MAX];
};

struct pci_map { /* zero: empty */
	struct pci_pair *pairs;
	size_t n;
};

/* -EINVAL where that host's address has another here, -E2BIG, -ENOMEM; with *err. */
int pci_map_add(struct pci_map *map, const char *host, const char *guest, struct err *err);
void pci_map_free(struct pci_map *map);
/*
 * Rewrites PCIDEVICE_X, a list of the host's addresses that SR-IOV's device plugin sets, and the
 * same addresses in the JSON text PCIDEVICE_X_INFO. A list with an address that isn't known here is
 * left with its text, and warned about. New texts are mem's. 0, or -ENOMEM with *err.
 */
int pci_map_translate(const struct pci_map *map, const char *id, Grpc__Process *process,
		      struct arena *mem, struct err *err);

#endif
