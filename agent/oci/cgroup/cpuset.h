/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists of CPU numbers as the kernel writes them: "0-3,8".
 */
#ifndef OCI_CGROUP_CPUSET_H
#define OCI_CGROUP_CPUSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CPUSET_MAX 8192u /* the largest NR_CPUS of any Linux */

struct cpuset {
	uint64_t bits[CPUSET_MAX / 64];
};

/* Numbers and rising ranges separated by commas, "" for the empty set; else -EINVAL. */
int cpuset_parse(const char *list, struct cpuset *ret);
bool cpuset_contains(const struct cpuset *set, const struct cpuset *subset);
/*
 * What to write for a container that asks for requested in a guest with these CPUs online: one of
 * the two strings. -EINVAL when either can't be parsed.
 */
int cpuset_clamp(const char *requested, const char *online, const char **ret);

#endif
