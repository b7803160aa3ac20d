/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CDI (Container Device Interface): a request names devices, files in the guest say what containers
 * need for them. Without it a container with a GPU starts without its GPU.
 */
#ifndef POD_CDI_H
#define POD_CDI_H

#include "pod/pod.h"

/* err->code is 0 for success. Called once, from the loop. */
typedef void cdi_done(struct container *ctr, const struct err *err);

/*
 * Puts what the devices of ctr->request need into its spec. They are named by annotations
 * cdi.k8s.io/..., and with agent.visible_cdi_devices by VISIBLE_CDI_DEVICES, and looked for in
 * /var/run/cdi and /etc/cdi; a kind that isn't there yet is waited for, agent.cdi_timeout in all.
 * A worker reads the files: ctr->worker. A container in CTR_ABANDONED has done told within a
 * second. 1: it wants none; 0: done follows; -errno with *err.
 */
int cdi_start(struct container *ctr, cdi_done *done, struct err *err);
/* Of a container that goes. */
void cdi_forget(struct container *ctr);

#endif
