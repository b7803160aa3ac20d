/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the kernel queues what goes to disks.
 */
#ifndef LINUX_DISKQUEUE_H
#define LINUX_DISKQUEUE_H

/*
 * Gives all disks that are there the one scheduler that heeds cgroups' weights, BFQ, where the
 * kernel has it. Waits for what is under way on them.
 */
void diskqueue_weigh(void);

#endif
