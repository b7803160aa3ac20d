/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's packet filter, through the guest's own iptables programs where it has them.
 */
#ifndef SVC_IPTABLES_H
#define SVC_IPTABLES_H

#include "base/err.h"
#include "rpc/call.h"

int svc_get_iptables(struct call *c, const void *req, struct err *err);
int svc_set_iptables(struct call *c, const void *req, struct err *err);

#endif
