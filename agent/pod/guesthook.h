/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hooks that the guest brings itself: executables in the folders prestart, poststart and
 * poststop of CreateSandbox's guest_hook_path.
 */
#ifndef POD_GUESTHOOK_H
#define POD_GUESTHOOK_H

#include "oci.pb-c.h"
#include "base/buf.h"
#include "base/err.h"

struct arena;
struct guest_hooks;

/*
 * For a worker: what is in the folders, by name, written to out, at most LIMIT_GUEST_HOOKS bytes.
 * What is no regular file or not executable is skipped with a warning. 0 or -errno with *err.
 */
int guest_hooks_scan(const char *dir, int out, struct err *err);
/* What a worker has found; *ret is NULL when that is nothing. 0, or -ENOMEM. */
int guest_hooks_take(const struct buf *found, struct guest_hooks **ret);
void guest_hooks_free(struct guest_hooks *g);
/*
 * Appends them to the spec's own. New lists come from the arena, which the spec is in; the hooks
 * stay the guest's. 0 or -ENOMEM.
 */
int guest_hooks_add(const struct guest_hooks *g, Grpc__Spec *spec, struct arena *mem);

#endif
