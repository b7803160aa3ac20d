/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who belongs to a container: its cgroup tells; where the guest has none, its namespaces do.
 */
#ifndef POD_MEMBERS_H
#define POD_MEMBERS_H

#include <stddef.h>
#include <sys/types.h>

#include "base/arena.h"

struct container;

/*
 * The init runs: what its processes are to be known by later, where there are no cgroups.
 */
void members_know(struct container *ctr);
/* All its processes, as numbers of the agent's pid namespace, in memory of mem. 0 or -errno. */
int members_pids(const struct container *ctr, struct arena *mem, pid_t **ret, size_t *ret_count);
/* As cgroup_kill: the signal to all of them, 0 only counts. How many there were, or -errno. */
int members_signal(struct container *ctr, int sig);

#endif
