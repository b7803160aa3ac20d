/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disk below "/".
 */
#ifndef INIT_ROOTDISK_H
#define INIT_ROOTDISK_H

#include "base/err.h"

/*
 * When "/" is mounted read-only from a disk (the guest's image), makes that disk and its partition
 * read-only for good: nobody mounts it writable or writes it raw any more, whatever his
 * capabilities (CVE-2026-24834). Nothing to do for an initramfs or a writable root. 0 or -errno.
 */
int rootdisk_protect(struct err *err);

#endif
