/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest as a machine: CPUs, memory, entropy, clock.
 */
#ifndef SVC_GUEST_H
#define SVC_GUEST_H

#include "base/err.h"
#include "rpc/call.h"

int svc_online_cpu_mem(struct call *c, const void *req, struct err *err);
int svc_reseed_random_dev(struct call *c, const void *req, struct err *err);
int svc_get_guest_details(struct call *c, const void *req, struct err *err);
int svc_mem_hotplug_by_probe(struct call *c, const void *req, struct err *err);
int svc_set_guest_date_time(struct call *c, const void *req, struct err *err);

#endif
