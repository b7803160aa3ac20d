/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the agent adds to a request's spec. All of it lives in mem, the call's arena; without memory
 * -ENOMEM with *err, and the spec is as it was.
 */
#ifndef POD_SPECEDIT_H
#define POD_SPECEDIT_H

#include <stdint.h>
#include <sys/stat.h>

#include "agent.pb-c.h"
#include "base/arena.h"
#include "base/err.h"

/* One more pointer at the end of a list; *list becomes a new one. */
int spec_append(void *list, size_t *n, void *item, struct arena *mem, struct err *err);
/* A device rule that allows it. */
int spec_add_rule(Grpc__Spec *spec, struct arena *mem, char type, int64_t major, int64_t minor,
		  const char *access, struct err *err);
/* A node, with mode, owner and numbers of st, and a rule for it. path is kept; NULL: -ENOMEM. */
int spec_add_device(Grpc__Spec *spec, struct arena *mem, char *path, const struct stat *st,
		    const char *access, struct err *err);

#endif
