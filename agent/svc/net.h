/*
 * Handlers of the guest's network: interfaces, routes, neighbours. Callable before CreateSandbox.
 */
#ifndef SVC_NET_H
#define SVC_NET_H

#include "lib/err.h"
#include "rpc/call.h"

int svc_update_interface(struct call *c, const void *req, struct err *err);
int svc_update_routes(struct call *c, const void *req, struct err *err);
int svc_list_interfaces(struct call *c, const void *req, struct err *err);
int svc_list_routes(struct call *c, const void *req, struct err *err);
int svc_add_arp_neighbors(struct call *c, const void *req, struct err *err);

#endif
