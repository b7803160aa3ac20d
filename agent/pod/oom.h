/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Out-of-memory kills: watched per container, handed to whoever asks with GetOOMEvent, lost by no
 * one who left.
 */
#ifndef POD_OOM_H
#define POD_OOM_H

#include "pod/container.h"

void oom_watch(struct container *ctr); /* failure is only logged */
void oom_check(struct container *ctr); /* has there been a kill? */
void oom_forget(struct container *ctr);

#endif
