/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Containers: found, made, started, removed. The states: pod.h.
 *
 * A container is on its sandbox's list from the moment its id is taken until the last of its
 * removal is done.
 */
#ifndef POD_CONTAINER_H
#define POD_CONTAINER_H

#include "pod/pod.h"

/* NULL when there is none, whatever its state. */
struct container *container_find_any(struct sandbox *sb, const char *id);
/*
 * NULL with *err: "Container X not found", with the status that the call's schema has for it.
 * Containers being created are not found.
 */
struct container *container_find(struct call *c, const char *id, struct err *err);

/* CreateContainer: parks the call until the container is created. As a handler returns. */
int container_create(struct agent *a, const Grpc__CreateContainerRequest *req, struct call *c,
		     struct err *err);
/* StartContainer: parks the call until it runs and its poststart hooks have run. */
int container_start(struct container *ctr, struct call *c, struct err *err);
/*
 * Kills what runs, removes the cgroup, runs the poststop hooks, drops the storages, frees; the
 * waiter (NULL: nobody waits) is told, from the loop. May be called again for another waiter.
 */
void container_remove(struct container *ctr, struct gone_waiter *waiter);

#endif
