/* SPDX-License-Identifier: Apache-2.0 */
/* Device events of the kernel, and the paths of the runtime that they are compared with. */
// objs: agent/linux/uevent.c agent/linux/mnl.c agent/linux/pci.c agent/linux/confine.c agent/linux/path.c agent/linux/hotplug.c
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "linux/confine.h"
#include "linux/pci.h"
#include "linux/uevent.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dev_match m = { .subsystem = "block", .path = "/virtio0/block/", .name = "vda" };
	struct err err = { 0 };
	struct pci_path pci;
	struct uevent ev;
	char *text = malloc(size + 1), rel[LIMIT_PATH];

	if (!text)
		return 0;
	(void)memcpy(text, data, size);
	text[size] = '\0';
	if (uevent_parse(text, size, &ev)) {
		const char *all[] = { ev.action,  ev.devpath, ev.subsystem,
				      ev.devname, ev.devtype, ev.interface };

		for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
			if (*all[i] && (all[i] < text || all[i] + strlen(all[i]) > text + size))
				abort();
		}
		(void)dev_match_path(&m, ev.subsystem, ev.devpath);
	}
	if (pci_path_parse(text, &pci, &err) == 0 && (pci.n == 0 || pci.n > LIMIT_PCI_PATH))
		abort();
	if (confine_clean("/run", text, rel) == 0 &&
	    (*rel == '\0' || *rel == '/' || strstr(rel, "/../")))
		abort();
	free(text);
	return 0;
}
