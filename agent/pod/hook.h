/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hooks of containers: the spec that they read, and running those that run in the agent's
 * namespaces.
 */
#ifndef POD_HOOK_H
#define POD_HOOK_H

#include "oci/hooks.h"
#include "pod/pod.h"

struct arena;

/*
 * To be called once, before any other: adds the guest's hooks to the spec (in the arena, which the
 * spec is in), keeps in ctr->kept what outlives it, and writes config.json where hooks may look for
 * it. 0 or -errno with *err; container_hooks_forget accepts what is there then.
 */
int container_hooks_prepare(struct container *ctr, Grpc__Spec *spec, struct arena *mem,
			    struct err *err);
void container_hooks_forget(struct container *ctr);
/* What hooks of the container are told, as of now. Borrowed from it. */
struct hook_ctx container_hook_ctx(const struct container *ctr);

/* err->code is 0 for success, or for failures that don't count. */
typedef void hooks_done(struct container *ctr, const struct err *err);
/*
 * Runs the hooks of each kind in the mask of 1 << HOOK_..., in ctr->worker, which joins the init's
 * namespaces, but for its pid namespace, before createContainer's. 0: done follows from
 * the loop, unless the worker is cancelled; 1: there are none; -errno with *err.
 */
int container_hooks_start(struct container *ctr, unsigned int kinds, hooks_done *done,
			  struct err *err);
/* Does it have any of the kinds in the mask? */
bool container_has_hooks(const struct container *ctr, unsigned int kinds);
/* Says where it is read that a hook has failed, which doesn't count. */
void container_hook_failed(const struct container *ctr, const char *text);

#endif
