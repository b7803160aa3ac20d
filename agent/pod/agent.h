/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All the state there is. One struct agent, made in main.c, reached from every call.
 */
#ifndef POD_AGENT_H
#define POD_AGENT_H

#include <stdbool.h>

#include "base/list.h"
#include "base/loop.h"
#include "base/reaper.h"
#include "rpc/call.h"

struct sandbox;
struct uevents;
struct config;
struct passfd_streams;

struct agent {
	struct loop *loop;
	struct reaper *reaper;
	const struct config *config; /* kernel parameters and arguments */
	struct uevents *uevents; /* the kernel's device events; NULL: there is no socket for them */
	struct sandbox *sandbox; /* never NULL; its state tells whether CreateSandbox came */
	struct rpc_server rpc;
	/* What of starting up can wait until a call needs it; NULL once it is done. */
	void (*finish_start)(struct agent *a);
	struct timer finish_start_timer;
	struct source signals;
	bool shares_pid_ns;	/* a container has been given the agent's own pid namespace */
	bool is_init;		/* PID 1 of the guest */
	struct list until_oom;	/* parked GetOOMEvent calls, oldest first */
	struct list oom_events; /* nobody has taken them, oldest first; with the next oom.c's */
	size_t oom_event_count;
	struct list onlines; /* OnlineCPUMem requests under way or waiting, oldest first */
	struct job next_online;
	struct list scrapes; /* parked GetMetrics calls, oldest first */
	bool scraping;	     /* a worker reads for them */
	struct timer scrape_late;
	struct passfd_streams *streams; /* passfd.c's; NULL: the host reads and writes by calls */
	struct list copies; /* CopyFile calls under way or waiting for their turn, oldest first */
};

#endif
