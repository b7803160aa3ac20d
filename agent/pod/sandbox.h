/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox: what the containers of one guest share.
 */
#ifndef POD_SANDBOX_H
#define POD_SANDBOX_H

#include "oci/spawn.h"
#include "base/list.h"
#include "base/reaper.h"
#include "rpc/call.h"
#include "pod/storage.h"

struct guest_hooks;

struct sandbox {
	struct agent *agent;
	struct engine engine;
	bool running; /* between CreateSandbox and the end of DestroySandbox */
	bool destroying;
	char *id;			 /* "" until known */
	struct guest_hooks *guest_hooks; /* NULL: none */
	struct list containers;
	size_t container_count;
	struct storage_refs refs;
	struct storage_set storages;
	int ns_ipc, ns_uts; /* FD_NONE: none are shared */
	int ns_pid;	    /* the pause process's or the first container's; FD_NONE: none known */
	bool sandbox_pidns; /* all containers join ns_pid */
	struct reap pause;  /* the pause process; pid 0: none */
	struct call *pending; /* CreateSandbox or DestroySandbox under way */
	struct timer retry;   /* of the destruction, while another call removes a container */
	bool traced, trace_stopped;
};

int sandbox_new(struct agent *a, struct sandbox **ret, struct err *err);
void sandbox_free(struct sandbox *sb);
/* Looks which cgroups there are: once, before the first container. 0 or -errno with *err. */
int sandbox_find_cgroups(struct sandbox *sb, struct err *err);

/*
 * New CPUs are online, cpus is the guest's list ("0-3"). Widens the cpusets of all containers and of
 * the groups above them. 0 or -errno with *err.
 */
int sandbox_cpus_online(struct agent *a, const char *cpus, struct err *err);

int svc_create_sandbox(struct call *c, const void *req, struct err *err);
int svc_destroy_sandbox(struct call *c, const void *req, struct err *err);
int svc_start_tracing(struct call *c, const void *req, struct err *err);
int svc_stop_tracing(struct call *c, const void *req, struct err *err);

#endif
