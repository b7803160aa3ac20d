/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container paused and resumed. The states: pod.h.
 */
#ifndef POD_FREEZER_H
#define POD_FREEZER_H

#include "pod/pod.h"

/* PauseContainer, ResumeContainer: parks the call until it is so. As a handler returns. */
int freezer_pause(struct container *ctr, struct call *c, struct err *err);
int freezer_resume(struct container *ctr, struct call *c, struct err *err);
/* A signal has thawed it. */
void freezer_signalled(struct container *ctr);
/* The container is being removed: what is under way fails. */
void freezer_abandon(struct container *ctr);
/* The container's status in the words that 1.x has for it. */
const char *container_status(const struct container *ctr);

#endif
