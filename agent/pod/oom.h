/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Out-of-memory kills: watched for each container, kept until somebody asks.
 */
#ifndef POD_OOM_H
#define POD_OOM_H

#include "pod/pod.h"

void oom_watch(struct container *ctr); /* failure is only logged */
void oom_check(struct container *ctr); /* has there been a kill? */
/* It is removed: what has befallen it is looked for once more, and not watched any longer. */
void oom_forget(struct container *ctr);
/* GetOOMEvent: answered with the oldest event, or parked until there is one. */
int oom_next(struct agent *a, struct call *c);
/* The sandbox goes: whoever waits is told so, and nothing is left to be asked for. */
void oom_end(struct agent *a);

#endif
