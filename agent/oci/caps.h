/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Capabilities: names from the spec into masks (parent or child), and the order in which a child
 * gives them up:
 *
 *	caps_apply_bounding(&caps)	as root of its namespaces
 *	caps_keep()			the change of user leaves the permitted set alone
 *	user_apply(&user)
 *	caps_apply(&caps)		the other four sets; KEEPCAPS off again
 */
#ifndef OCI_CAPS_H
#define OCI_CAPS_H

#include <stdint.h>

#include "base/err.h"
#include "oci.pb-c.h"

struct caps { /* bit n: capability n */
	uint64_t bounding, effective, permitted, inheritable, ambient;
};

/*
 * NULL counts as five empty sets. A name that nobody knows is -EINVAL; one that only this kernel
 * doesn't know is left out, since it could not be granted anyway.
 */
int caps_parse(const Grpc__LinuxCapabilities *c, struct caps *ret, struct err *err);
int caps_apply_bounding(const struct caps *caps, struct err *err);
int caps_keep(struct err *err);
/* Sets are cut to what the process holds: a capability that the agent hasn't got can't be given. */
int caps_apply(const struct caps *caps, struct err *err);

#endif
