/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is to be started: the engine that all containers share, the rules of one container, and the
 * plan of one process.
 */
#ifndef OCI_PLAN_H
#define OCI_PLAN_H

#include <stdbool.h>
#include <sys/resource.h>

#include "oci/cgroup/cgroup.h"
#include "oci/creds.h"
#include "oci/hooks.h"
#include "oci/ns.h"
#include "base/err.h"
#include "oci.pb-c.h"

struct loop;

/* What all containers of the agent share. */
struct engine {
	struct loop *loop;
	struct cgroup_root *cgroups;
	struct ns_home home;
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
	/* Its session keyring: execs join it by this name, which nobody else can guess. */
	char keyring[40];
	char *exec_label, *apparmor; /* SELinux label, AppArmor profile; NULL: none */
};

/* 0 or -errno with *err. ctr_rules_release accepts a half-built one. */
int ctr_rules_build(const Grpc__Spec *spec, struct ctr_rules *ret, struct err *err);
void ctr_rules_release(struct ctr_rules *r);
/*
 * Privileged by every sign: all capabilities that Linux 3.5 had, nothing masked or read-only, no
 * seccomp filter. No host says it in a word.
 */
bool spec_is_privileged(const Grpc__Spec *spec, const struct ctr_rules *rules);
/*
 * The rules of an exec that brings its own: what p says, and the container's where it says nothing.
 * *ret borrows from both; it is not to be released. 0 or -errno with *err.
 */
int exec_rules_build(const struct ctr_rules *ctr, const Grpc__Process *p, struct ctr_rules *ret,
		     struct err *err);

/* One start. All pointers are borrowed for the duration of spawn_start. */
struct spawn_plan {
	const struct engine *engine;
	const Grpc__Process *process;
	const struct ctr_rules *rules;
	struct cgroup *cgroup;
	const struct ns_plan *ns; /* init: its namespaces */
	const Grpc__Spec *spec;	  /* init; NULL for an exec */
	/* init: stop at SPAWN_MOUNTED for hooks that the agent runs, a bit 1 << HOOK_... each */
	unsigned int parent_hooks;
	const struct hook_ctx *hooks; /* init: what is to be said to those that the child runs */
	bool spied; /* who sees the process may have CAP_SYS_PTRACE, and do with it what he likes */
	int init_pidfd;		 /* exec: whose namespaces to join */
	unsigned int join_flags; /* exec: CLONE_NEW* bits to join */
};

/*
 * In a pid namespace that has processes already, they would see all of the agent's that a child of
 * the agent still has: it is the child's own child, the middle's, that they see.
 */
bool plan_has_middle(const struct spawn_plan *p);

#endif
