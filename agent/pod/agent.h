/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All the state there is. One struct agent, made in main.c, reached from every call.
 */
#ifndef POD_AGENT_H
#define POD_AGENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/loop.h"
#include "base/reaper.h"
#include "rpc/call.h"

struct sandbox;
struct uevents;
struct config;

struct agent {
	struct loop *loop;
	struct reaper *reaper;
	const struct config *config; /* kernel parameters and arguments */
	struct uevents
		*uevents; /* kernel's device events; NULL where there is no socket for them */
	struct sandbox
		*sandbox; /* never NULL; sandbox_is_running tells whether CreateSandbox came */
	struct rpc_server rpc;
	void (*settle)(struct agent *a); /* the rest of starting up; NULL once it is done */
	struct timer settle_timer;
	bool is_init;		 /* PID 1 of the guest */
	bool no_pivot;		 /* "/" is an initramfs: MS_MOVE and chroot instead of pivot_root */
	struct list oom_waiters; /* parked GetOOMEvent calls, oldest first */
	struct list oom_events;	 /* containers with an event nobody has taken */
};

#endif
