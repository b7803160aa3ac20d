/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's own character devices: the ports of its virtio channels, its console and what is
 * behind that, its watchdog. A container that has one of them speaks for the agent, reads what is
 * typed on the console, or ends the guest. The disks: rootdisk.h.
 */
#ifndef LINUX_GUESTDEV_H
#define LINUX_GUESTDEV_H

#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"

struct guestdev {
	size_t n;
	struct guestdev_number {
		int64_t major, minor; /* minor -1: all of them */
	} dev[LIMIT_GUEST_DEVICES];
};

/* From /proc/devices and sysfs, as drivers are now: some come with modules, or are plugged. */
void guestdev_find(struct guestdev *ret);
/* The majors in the text of /proc/devices (cut in place) that are the guest's own. */
void guestdev_majors(char *text, struct guestdev *ret);

#endif
