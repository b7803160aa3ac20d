/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Namespaces of a container: which are new, which are joined, and which the agent lends its child
 * by standing in them while it clones.
 */
#ifndef OCI_NS_H
#define OCI_NS_H

#include <stdbool.h>

#include "base/err.h"
#include "oci.pb-c.h"

enum ns_type { NS_USER, NS_IPC, NS_UTS, NS_NET, NS_PID, NS_MNT, NS_CGROUP, NS_COUNT };

/* The agent's own namespaces, to come back to. */
struct ns_home {
	int fd[NS_COUNT];
};

struct ns_plan {
	unsigned int new_flags; /* CLONE_NEW* bits that clone3 makes, or unshare */
	bool new_cgroup;	/* unshared by the child once it is in its cgroup */
	int join[NS_COUNT];	/* owned; FD_NONE: not joined */
	unsigned int own_flags; /* CLONE_NEW* bits of all that are not the agent's, joined or new */
};

/* What the sandbox decides over the head of the spec. Fds are borrowed. */
struct ns_sandbox {
	int ipc, uts;	   /* FD_NONE: as the spec says */
	bool agent_pid;	   /* stay in the agent's pid namespace */
	bool cgroup;	   /* a new cgroup namespace, whether or not the spec has one */
	int pid;	   /* join this one; FD_NONE: a new one */
	const int *opened; /* from ns_open_paths; NULL: the spec names none by path */
};

/* 0 or -errno. */
int ns_home_open(struct ns_home *home);
/* Whether the spec lists such a namespace, by the runtime-spec's word or the kernel's. */
bool ns_has(const Grpc__Linux *l, enum ns_type type);
/*
 * For workers: opens what the spec names by path, by type; -errno where that is no namespace,
 * FD_NONE where there is none.
 */
void ns_open_paths(const Grpc__Linux *l, int ret[static NS_COUNT]);
/* An empty plan, safe to release: all zero would own descriptor 0. */
void ns_plan_init(struct ns_plan *p);
/* 0 or -errno with *err; *ret is to be released in any case. */
int ns_plan_build(const Grpc__Spec *spec, const struct ns_sandbox *sb, struct ns_plan *ret,
		  struct err *err);
void ns_plan_release(struct ns_plan *p);
/*
 * Parent: enters the namespaces that a child is to be born in (ipc, uts, net).
 * ns_leave goes back; it must be called even when ns_enter failed, and it cannot fail unless the
 * kernel is out of its mind: then the agent aborts rather than run on in a container's namespace.
 */
int ns_enter(const struct ns_plan *p, struct err *err);
void ns_leave(const struct ns_plan *p, const struct ns_home *home);
/*
 * Child: joins the pid namespace, for its own children, and makes those that are new, as clone3
 * does for a child that needs no other; then the rest is joined (user, mnt, cgroup).
 */
int ns_join_pid(const struct ns_plan *p, struct err *err);
int ns_join_rest(const struct ns_plan *p, struct err *err);

#endif
