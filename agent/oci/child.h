/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting a container's process, the child's half, and what it says to the parent.
 */
#ifndef OCI_CHILD_H
#define OCI_CHILD_H

#include "oci/plan.h"

/* The child's ends. */
struct child_io {
	int sync;
	int in, out, err; /* FD_NONE with a terminal */
	int mqueue;	  /* a detached mqueue file system, or FD_NONE */
};
/* Never returns. */
_Noreturn void child_run(const struct spawn_plan *plan, const struct child_io *io);

/* What travels on the socket. */
enum spawn_msg_kind {
	MSG_FAILED,
	MSG_UNSHARED, /* from the middle: its user namespace is new */
	MSG_MOUNTED,
	MSG_TERMINAL, /* with its master */
	MSG_BORN,     /* from the middle: pid, with a pidfd */
	MSG_READY,
	MSG_HOOK_FAILED,
	MSG_WARNING, /* for the log */
};
struct spawn_msg {
	int kind;
	pid_t pid;	/* MSG_BORN */
	struct err err; /* MSG_FAILED, MSG_HOOK_FAILED, MSG_WARNING */
};

#endif
