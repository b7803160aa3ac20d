/*
 * OCI hooks: programs run around a container's life, told its state on standard input.
 */
#ifndef ENGINE_HOOKS_H
#define ENGINE_HOOKS_H

#include <stddef.h>
#include <sys/types.h>

#include "lib/err.h"
#include "oci.pb-c.h"

/* The state as hooks see it. Texts are borrowed. */
struct hook_state {
	const char *version; /* ociVersion */
	const char *id, *status, *bundle;
	pid_t pid; /* 0: left out */
	Grpc__Spec__AnnotationsEntry *const *annotations;
	size_t n_annotations;
};

/*
 * Runs the hooks in order and waits for each: for a worker or a child, never in the loop. The first
 * failure ends it: -errno with *err. A timeout (seconds) of 0 is none. Everything but the standard
 * streams is closed in the hook.
 */
int hooks_run(Grpc__Hook *const *hooks, size_t n, const char *kind, const struct hook_state *state,
	      struct err *err);

#endif
