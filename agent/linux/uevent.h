/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices that come: the kernel's uevents, and sysfs for those that are there already.
 *
 * sysfs is the only table: it is read when a wait starts, when an event fits a waiter, when events
 * were lost, and once more before a wait times out. Nothing can be stale or missed for good. Memory
 * blocks that are added are set online, by a worker.
 */
#ifndef LINUX_UEVENT_H
#define LINUX_UEVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/loop.h"
#include "base/reaper.h"

struct uevents;
struct uevent_wait;

#define DEV_NAME_MAX 64

/* Which device: all that is given must fit. */
struct dev_match {
	const char *subsystem; /* "block" (whole disks; partitions only by name), "net" or "pci" */
	char path[256];	       /* part of the device's path in sysfs, with its slashes; "": any */
	char name[DEV_NAME_MAX]; /* as below /dev, or of the interface; "": any */
};

/*
 * devname: below /dev, or the interface's name, or the address; NULL: timed out. w is free for
 * anything again.
 */
typedef void uevent_fn(struct uevent_wait *w, const char *devname);

struct uevent_wait { /* inside its owner, who sets nothing in it */
	struct list link;
	struct uevents *u; /* NULL: not waiting */
	struct timer timer;
	struct job job;
	struct dev_match match;
	uevent_fn *fn;
	bool seen; /* an event came, its node did not yet */
	char name[DEV_NAME_MAX];
};

/*
 * Opens the socket and the directories /sys and /dev, which must be mounted. 0 or -errno. Without a
 * socket (a host that refuses it) sysfs is looked at ten times a second while somebody waits.
 */
int uevents_new(struct loop *l, struct reaper *r, struct uevents **ret);
/* The same with other directories, for tests. */
int uevents_new_at(struct loop *l, struct reaper *r, const char *sys, const char *dev,
		   struct uevents **ret);
void uevents_free(struct uevents *u);

/*
 * Waits for a device that fits and whose node is there. fn is called once, from the loop, never
 * before this returns. Any number may wait for the same device.
 */
void uevent_wait(struct uevents *u, struct uevent_wait *w, const struct dev_match *m,
		 int64_t timeout_ms, uevent_fn *fn);
void uevent_wait_cancel(struct uevent_wait *w); /* harmless when not waiting (w zero, or done) */
/* Is it there now? Its name goes to name. */
bool uevents_lookup(const struct uevents *u, const struct dev_match *m, char name[DEV_NAME_MAX]);

/* How many memory blocks the kernel has told of since the last time this was asked. */
unsigned int uevents_take_blocks(struct uevents *u);

int uevents_sys(const struct uevents *u); /* fd of /sys, not the caller's */
struct loop *uevents_loop(const struct uevents *u);
struct reaper *uevents_reaper(const struct uevents *u);

/* One event's texts, inside the message; "" where it has none. */
struct uevent {
	const char *action, *devpath, *subsystem, *devname, *devtype, *interface;
};

/* Reads "action@devpath\0KEY=VALUE\0..."; false for anything that is not of that form. */
bool uevent_parse(const char *msg, size_t len, struct uevent *ret);
/* Does a device of this subsystem and path fit? The path is the sysfs link's or the event's. */
bool dev_match_path(const struct dev_match *m, const char *subsystem, const char *devpath);

#endif
