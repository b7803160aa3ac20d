/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting a container's process, the parent's half: clone it into its namespaces and cgroup, give
 * it its pipes, and follow its way to execve through one socket.
 */
#ifndef OCI_SPAWN_H
#define OCI_SPAWN_H

#include <sys/types.h>

#include "oci/plan.h"
#include "base/loop.h"

enum spawn_event {
	SPAWN_UNSHARED, /* a new user namespace: spawn_map_ids goes on */
	SPAWN_BORN,	/* s->pid and s->pidfd are another process's now, to be watched instead */
	/* the file system stands, the old root is still there: spawn_continue goes on */
	SPAWN_MOUNTED,
	SPAWN_READY,	   /* init: waits for spawn_continue to execve */
	SPAWN_RUNNING,	   /* execve has succeeded */
	SPAWN_FAILED,	   /* err says where; the child is gone or going */
	SPAWN_HOOK_FAILED, /* err says how; the child goes on */
};

struct spawn;
typedef void spawn_fn(struct spawn *s, enum spawn_event event, const struct err *err);

/* Embedded in the process. Our ends of the pipes are the owner's to take. */
struct spawn {
	spawn_fn *fn;
	struct source source;
	int sync; /* our end of the socket */
	bool ready;
	bool middle; /* s->pid is the middle's */
	bool seen;   /* by processes of the container, which could take its socket away */
	unsigned int messages;
	pid_t pid; /* as the agent sees it */
	int pidfd;
	int in, out, err; /* non-blocking; with a terminal: out is the master, the others FD_NONE */
};

void spawn_init(struct spawn *s);
/*
 * Clones. 0: the child, or the middle, runs, s->pid and s->pidfd are set (watch it in the reaper
 * before returning to the loop), events follow. -errno with *err: nothing is left over.
 */
int spawn_start(const struct spawn_plan *plan, struct spawn *s, spawn_fn *fn, struct err *err);
/*
 * What only the parent can do for a child in a user namespace of its own; then it may go on.
 * 0 or -errno with *err.
 */
int spawn_map_ids(struct spawn *s, const Grpc__Spec *spec, int oom_score_adj, struct err *err);
/*
 * s->pid is dead: what it has said is heard yet, and then that it has ended; one that it has made
 * and not told of must not wait for ever.
 */
void spawn_died(struct spawn *s);
/* Lets a child go on that stopped at SPAWN_MOUNTED or SPAWN_READY. 0 or -errno (it died). */
int spawn_continue(struct spawn *s);
/* Stops listening; closes the socket, which makes a waiting child exit. Pipes stay. */
void spawn_release(struct spawn *s);

#endif
