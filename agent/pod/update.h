/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container's limits changed, one change after the other.
 */
#ifndef POD_UPDATE_H
#define POD_UPDATE_H

#include "pod/pod.h"

/*
 * UpdateContainer: at once, or parked until those that came before are through. req lives in the
 * call's arena. As a handler returns.
 */
int container_update(struct container *ctr, const Grpc__UpdateContainerRequest *req, struct call *c,
		     struct err *err);
/* The container is being removed: those that wait fail; one that runs goes on alone. */
void container_updates_abandon(struct container *ctr);

#endif
