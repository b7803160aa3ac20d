/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kubernetes' fsGroup: a volume's content given to a group. Blocks on the volume: for workers.
 */
#ifndef POD_FSGROUP_H
#define POD_FSGROUP_H

#include <stdbool.h>
#include <sys/types.h>

/*
 * Everything at and below fd (O_PATH) becomes the group's, readable and (unless read_only) writable
 * to it; directories hand the group on. Links are left alone, other file systems not entered. With
 * on_mismatch nothing is done when the top looks so already. 0 or -errno.
 */
int fsgroup_set_tree(int fd, gid_t gid, bool read_only, bool on_mismatch);
/* Only the top: its group, and that what is made in it has the same. */
int fsgroup_set_top(int fd, gid_t gid);

#endif
