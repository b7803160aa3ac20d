/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting a container's process, the parent's half: clone it into its namespaces and cgroup, give
 * it its pipes, and follow its way to execve through one socket.
 */
#ifndef OCI_SPAWN_H
#define OCI_SPAWN_H

#include <sys/resource.h>
#include <sys/types.h>

#include "oci/caps.h"
#include "oci/cgroup/cgroup.h"
#include "oci/hooks.h"
#include "oci/ns.h"
#include "oci/rlimit.h"
#include "base/err.h"
#include "base/loop.h"
#include "oci.pb-c.h"

/* What all containers of the agent share. */
struct engine {
	struct loop *loop;
	struct cgroup_root *cgroups;
	struct ns_home home;
	bool no_pivot;	      /* "/" is an initramfs */
	struct rlimit nofile; /* as the agent found it: it raises its own, processes keep this */
	uint32_t pipe_size;   /* bytes for stdout's and stderr's pipes; 0: the kernel's default */
};

/* What a container's processes have in common, taken from its spec; kept for later execs. */
struct ctr_rules {
	struct caps caps;
	struct rlimit_set rlimits;
	int seccomp_fd; /* where the init leaves its compiled filter; FD_NONE: no filter */
	bool no_new_privs;
	int oom_score_adj;
	char *exec_label, *apparmor; /* SELinux label, AppArmor profile; NULL: none */
};

/* 0 or -errno with *err. ctr_rules_release accepts a half-built one. */
int ctr_rules_build(const Grpc__Spec *spec, struct ctr_rules *ret, struct err *err);
void ctr_rules_release(struct ctr_rules *r);

/* One start. All pointers are borrowed for the duration of spawn_start. */
struct spawn_plan {
	const struct engine *engine;
	const Grpc__Process *process;
	const struct ctr_rules *rules;
	struct cgroup *cgroup;
	const struct ns_plan *ns; /* init: its namespaces; exec: only pid is looked at */
	const Grpc__Spec *spec;	  /* init; NULL for an exec */
	bool parent_hooks;	  /* init: stop at SPAWN_MOUNTED for hooks that the agent runs */
	const struct hook_ctx *hooks; /* init: what is to be said to those that the child runs */
	int init_pidfd;		      /* exec: whose namespaces to join */
	unsigned int join_flags;      /* exec: CLONE_NEW* bits to join, without pid */
};

enum spawn_event {
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
	pid_t pid; /* as the agent sees it */
	int pidfd;
	int in, out, err; /* non-blocking; with a terminal: out is the master, the others FD_NONE */
};

void spawn_init(struct spawn *s);
/*
 * Clones. 0: the child runs, s->pid and s->pidfd are set (watch it in the reaper before returning
 * to the loop), events follow. -errno with *err: nothing is left over.
 */
int spawn_start(const struct spawn_plan *plan, struct spawn *s, spawn_fn *fn, struct err *err);
/* Lets a child go on that stopped at SPAWN_MOUNTED or SPAWN_READY. 0 or -errno (it died). */
int spawn_continue(struct spawn *s);
/* Stops listening; closes the socket, which makes a waiting child exit. Pipes stay. */
void spawn_release(struct spawn *s);

/* The child's half (child.c), never returns. fds: the child's ends. */
struct child_io {
	int sync;
	int in, out, err; /* FD_NONE with a terminal */
	int mqueue;	  /* a detached mqueue file system, or FD_NONE */
};
_Noreturn void child_run(const struct spawn_plan *plan, const struct child_io *io);

/* What travels on the socket. */
enum spawn_msg_kind { MSG_FAILED, MSG_MOUNTED, MSG_TERMINAL, MSG_READY, MSG_HOOK_FAILED };
struct spawn_msg {
	int kind;
	struct err err; /* MSG_FAILED, MSG_HOOK_FAILED */
};

#endif
