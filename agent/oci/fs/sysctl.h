/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container's kernel parameters: those that belong to its namespaces, no others.
 */
#ifndef OCI_FS_SYSCTL_H
#define OCI_FS_SYSCTL_H

#include "oci.pb-c.h"

struct err;

/* Refuses names outside the container's namespaces; -EINVAL with the text. */
int sysctl_check(const Grpc__Linux *linux, struct err *err);
/* Writes them all through an fd of a trusted procfs' root. */
int sysctl_apply(int proc, const Grpc__Linux *linux, struct err *err);

#endif
