/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of all methods, for dispatch.
 */
#ifndef SVC_METHODS_H
#define SVC_METHODS_H

#include "rpc/call.h"

extern const struct rpc_method svc_methods[];
extern const size_t svc_method_count;

/* The gate of dispatch: M_SANDBOX methods of 1.x want a running sandbox. */
int svc_gate(struct call *c, struct err *err);

#endif
