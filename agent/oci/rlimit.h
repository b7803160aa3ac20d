/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resource limits of a process (setrlimit(2)), all sixteen. Nothing here allocates.
 */
#ifndef OCI_RLIMIT_H
#define OCI_RLIMIT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

#include "base/err.h"
#include "oci.pb-c.h"

struct rlimit_set {
	uint32_t given; /* bit n: limit n is in value[n] */
	struct rlimit value[RLIM_NLIMITS];
};

/* Names not known are left out; the last of several for one name counts; soft > hard is -EINVAL. */
int rlimit_parse(Grpc__POSIXRlimit *const *limits, size_t count, struct rlimit_set *ret,
		 struct err *err);
int rlimit_apply(const struct rlimit_set *set, struct err *err);

#endif
