/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose child died: the one place that calls waitid. Creation and reaping share the loop's thread,
 * so a child that is watched before its creator returns to the loop cannot be missed.
 */
#ifndef BASE_REAPER_H
#define BASE_REAPER_H

#include <sys/types.h>

#include "base/list.h"
#include "base/loop.h"

struct reap;
/* status: the exit code, or 128 + the signal's number. r is off the list already. */
typedef void reap_fn(struct reap *r, int status);

struct reap {
	struct list link;
	pid_t pid; /* 0: not watched */
	reap_fn *fn;
};

struct reaper;

/* Blocks SIGCHLD, makes the process a child subreaper, listens. 0 or -errno. */
int reaper_new(struct loop *l, struct reaper **ret);
void reaper_free(struct reaper *r);
void reaper_watch(struct reaper *r, struct reap *w, pid_t pid, reap_fn *fn);
void reaper_forget(struct reap *w); /* its exit will be dropped */

#endif
