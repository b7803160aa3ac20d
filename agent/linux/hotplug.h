/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPUs and memory in sysfs, below the directory fd sys. Setting them online takes milliseconds
 * each and may sleep: for workers. The others only read.
 */
#ifndef LINUX_HOTPLUG_H
#define LINUX_HOTPLUG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Sets up to want offline CPUs online, in rounds: plugged CPUs appear one by one. The number
 * reached is in *ret_n in any case. Fails when fewer than want came after all rounds.
 */
int hotplug_cpus_online(int sys, uint32_t want, unsigned int rounds, unsigned int pause_ms,
			uint32_t *ret_n, struct err *err);
/*
 * Every offline memory block, one pass: how many it set online, how many are online now, how many
 * refused. 0, or -errno when there are no blocks to see at all.
 */
int hotplug_memory_online(int sys, unsigned int *ret_done, unsigned int *ret_online,
			  unsigned int *ret_failed);
/* The list of CPUs that are online ("0-3,5"): its length, or -errno. */
int hotplug_cpu_list(int sys, char *buf, size_t size, struct err *err);
/* How many CPUs a list names; -EINVAL for what is no list. */
int hotplug_count_cpus(const char *list, uint32_t *ret_n);

/* Bytes of one memory block; 0 where the kernel cannot plug memory. */
int hotplug_block_size(int sys, uint64_t *ret, struct err *err);
/* Must memory be announced by its address? Not where ACPI does it. */
bool hotplug_wants_probe(int sys);
int hotplug_probe(int sys, uint64_t address, struct err *err);

#endif
