/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entering the container's root where pivot_root is impossible: "/" is an initramfs.
 */
#ifndef OCI_FS_MOVEROOT_H
#define OCI_FS_MOVEROOT_H

#include <stdbool.h>

struct err;

/*
 * Moves the mount root on "/", chroots into it and chdirs to "/". The guest's other mounts are
 * unmounted from this namespace; a procfs or sysfs that can't be is covered by an empty tmpfs.
 * proc: fd of a procfs, which stays usable. shared: some of the guest's mounts may be shared with
 * it.
 */
int moveroot_enter(int root, int proc, bool shared, struct err *err);

#endif
