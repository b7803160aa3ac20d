/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OCI hooks: programs run around a container's life, told its state on standard input.
 */
#ifndef OCI_HOOKS_H
#define OCI_HOOKS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "base/err.h"
#include "oci.pb-c.h"

/* In the order of a container's life. */
enum hook_kind {
	HOOK_PRESTART,	       /* in the agent's namespaces, the old root visible */
	HOOK_CREATE_RUNTIME,   /* there, too */
	HOOK_CREATE_CONTAINER, /* in the container's namespaces, the old root visible */
	HOOK_START_CONTAINER,  /* in the container's namespaces and root */
	HOOK_POSTSTART,	       /* in the agent's namespaces */
	HOOK_POSTSTOP,	       /* there, too */
	HOOK_KINDS,
};

#define HOOK_TIMEOUT_3X 10 /* seconds that 3.x gives a hook which names none */

/* What hooks are told, and what becomes of their failures. All is borrowed. */
struct hook_ctx {
	const Grpc__Spec *spec; /* hooks, version, annotations */
	const char *id, *bundle;
	pid_t pid;		     /* as the hooks see it; 0: left out */
	const struct rlimit *nofile; /* of files that they may open */
	bool lax; /* as in 3.x: no failure counts, and HOOK_TIMEOUT_3X is the default time */
	void (*failed)(void *arg, const struct err *err); /* told of a failure that doesn't count */
	void *arg;
};

/* How many of a kind the spec has. */
size_t hooks_count(const Grpc__Spec *spec, enum hook_kind kind);
/*
 * Runs the hooks of a kind in order and waits for each: for a worker or a child, never in the loop.
 * The first failure that counts ends it: -errno with *err. As the runtime-spec has it, none of the
 * poststart and poststop hooks' does. A timeout (seconds) of 0 is the default time: none, but for
 * 3.x. Everything but the standard streams is closed in the hook.
 */
int hooks_run(const struct hook_ctx *ctx, enum hook_kind kind, struct err *err);

#endif
