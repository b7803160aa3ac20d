/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handlers of the guest's network: interfaces, routes, neighbours. Callable before CreateSandbox.
 */
#ifndef SVC_NET_H
#define SVC_NET_H

#include "agent.pb-c.h"
#include "base/arena.h"
#include "base/err.h"
#include "rpc/call.h"

int svc_update_interface(struct call *c, const void *req, struct err *err);
int svc_update_routes(struct call *c, const void *req, struct err *err);
int svc_list_interfaces(struct call *c, const void *req, struct err *err);
int svc_list_routes(struct call *c, const void *req, struct err *err);
int svc_add_arp_neighbors(struct call *c, const void *req, struct err *err);

/* What went through the guest's interfaces, without the loopback's; in memory of mem. */
int net_stats(struct arena *mem, Grpc__NetworkStats ***ret, size_t *ret_n, struct err *err);

#endif
