/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the 3.x service has and 1.x had not. Everything that may wait runs in a worker.
 */
#ifndef SVC_V3_H
#define SVC_V3_H

#include "base/err.h"
#include "rpc/call.h"

int svc_get_metrics(struct call *c, const void *req, struct err *err);
int svc_add_swap(struct call *c, const void *req, struct err *err);
int svc_add_swap_path(struct call *c, const void *req, struct err *err);
int svc_get_volume_stats(struct call *c, const void *req, struct err *err);
int svc_resize_volume(struct call *c, const void *req, struct err *err);
int svc_update_ephemeral_mounts(struct call *c, const void *req, struct err *err);
int svc_remove_stale_virtiofs_share_mounts(struct call *c, const void *req, struct err *err);
int svc_get_diagnostic_data(struct call *c, const void *req, struct err *err);
/* UNIMPLEMENTED, with the reason. */
int svc_set_policy(struct call *c, const void *req, struct err *err);
int svc_mem_agent_set(struct call *c, const void *req, struct err *err);

#endif
