/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The holder of a shared pid namespace: its number 1, which reaps its orphans.
 */
#ifndef OCI_PAUSE_H
#define OCI_PAUSE_H

#include <sys/types.h>

#include "base/err.h"

/* In a new pid namespace, until it is killed. Its pid, a child of ours, or -errno with *err. */
pid_t pause_start(struct err *err);

#endif
