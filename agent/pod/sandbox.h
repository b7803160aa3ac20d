/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox: what the containers of one guest share. The states: pod.h.
 */
#ifndef POD_SANDBOX_H
#define POD_SANDBOX_H

#include "pod/pod.h"

int sandbox_new(struct agent *a, struct sandbox **ret, struct err *err);
void sandbox_free(struct sandbox *sb);
/*
 * Looks which cgroups there are: once, before the first container. why: what init says of it when
 * there are none, or "". 0 or -errno with *err.
 */
int sandbox_find_cgroups(struct sandbox *sb, const char *why, struct err *err);
/* What the guest should have for its containers and has not, as a sentence, or "". */
const char *sandbox_lacks(const struct agent *a);

/* CreateSandbox, DestroySandbox: park the call until it is so. As a handler returns. */
int sandbox_create(struct sandbox *sb, const Grpc__CreateSandboxRequest *req, struct call *c,
		   struct err *err);
int sandbox_destroy(struct sandbox *sb, struct call *c, struct err *err);

/*
 * New CPUs are online, cpus is the guest's list ("0-3"). Widens the cpusets of all containers and of
 * the groups above them. 0 or -errno with *err.
 */
int sandbox_cpus_online(struct agent *a, const char *cpus, struct err *err);

#endif
