/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hooks that the guest brings itself: executables in the folders prestart, poststart and
 * poststop of CreateSandbox's guest_hook_path.
 */
#ifndef POD_GUESTHOOK_H
#define POD_GUESTHOOK_H

#include "oci.pb-c.h"

struct arena;
struct guest_hooks;

/*
 * What is in the folders, by name; *ret is NULL when that is nothing. What is no regular file or
 * not executable is skipped with a warning. 0, or -ENOMEM.
 */
int guest_hooks_scan(const char *dir, struct guest_hooks **ret);
void guest_hooks_free(struct guest_hooks *g);
/*
 * Appends them to the spec's own. New lists come from the arena, which the spec is in; the hooks
 * stay the guest's. 0 or -ENOMEM.
 */
int guest_hooks_add(const struct guest_hooks *g, Grpc__Spec *spec, struct arena *mem);

#endif
