/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's own disks: every block device that is a way to the blocks below "/".
 * A container that has one of them owns the guest (CVE-2020-2023, CVE-2026-24834).
 */
#ifndef LINUX_ROOTDISK_H
#define LINUX_ROOTDISK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/limits.h"

struct rootdisk {
	size_t n; /* 0: "/" is on no disk (an initramfs, an overlay) */
	dev_t dev[LIMIT_ROOT_DISKS];
};

/* Asks sysfs what "/" stands on: disk, its partitions, and all that is below a mapping. */
void rootdisk_find(struct rootdisk *ret);
/* The same of another device than that of "/"; added to what *list has. */
void rootdisk_add(struct rootdisk *list, dev_t dev);
bool rootdisk_has(const struct rootdisk *list, dev_t dev);
/*
 * When "/" is mounted read-only from a disk (the guest's image), makes all of the list read-only
 * for good: nobody mounts it writable or writes it raw any more, whatever his capabilities.
 * Nothing to do for an initramfs or a writable root. 0 or -errno.
 */
int rootdisk_protect(struct err *err);

#endif
