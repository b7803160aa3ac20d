/*
 * The hooks that the guest brings itself: executables in the folders prestart, poststart and
 * poststop of CreateSandbox's guest_hook_path.
 */
#ifndef SVC_GUESTHOOK_H
#define SVC_GUESTHOOK_H

#include "oci.pb-c.h"

struct arena;

/*
 * *ret: own's hooks (own may be NULL), then the guest's in the order of their names. All that is
 * new lives in the arena, the rest is own's. -ENOMEM; a folder that cannot be read has no hooks.
 */
int guesthooks_merge(const char *path, const Grpc__Hooks *own, struct arena *mem, Grpc__Hooks *ret);

#endif
