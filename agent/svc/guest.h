/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest as a machine: CPUs, memory, entropy, clock, kernel modules, resolv.conf, namespaces
 * that outlive containers.
 */
#ifndef SVC_GUEST_H
#define SVC_GUEST_H

#include <stddef.h>

#include "agent.pb-c.h"
#include "base/err.h"
#include "rpc/call.h"

struct agent;

int svc_online_cpu_mem(struct call *c, const void *req, struct err *err);
int svc_reseed_random_dev(struct call *c, const void *req, struct err *err);
int svc_get_guest_details(struct call *c, const void *req, struct err *err);
int svc_mem_hotplug_by_probe(struct call *c, const void *req, struct err *err);
int svc_set_guest_date_time(struct call *c, const void *req, struct err *err);

/*
 * Provided by the sandbox (svc/sandbox.c): new CPUs are online, cpus is the guest's list ("0-3").
 * Widens the cpusets of all containers and of the groups above them. 0 or -errno with *err.
 */
int sandbox_cpus_online(struct agent *a, const char *cpus, struct err *err);

/* err->code is 0 for success. Called once, from the loop, never before the starter has returned. */
typedef void guest_done(void *arg, const struct err *err);

/*
 * Loads the modules in order with /sbin/modprobe, in a worker. What is needed of them is read by
 * the worker, which is forked at once: the request may go. Negative errno: done will not be called.
 */
int guest_load_modules(struct agent *a, Grpc__KernelModule *const *modules, size_t n,
		       guest_done *done, void *arg, struct err *err);

/*
 * Lines of a resolv.conf, written below /run and bound over /etc/resolv.conf (6.6). n may be 0.
 * Does not block.
 */
int guest_set_dns(char *const *lines, size_t n, struct err *err);
/* Takes the binding away again; harmless without one. */
void guest_unset_dns(void);

#define SANDBOX_NS_IPC "/run/sandbox-ns/ipc" /* what containers join */
#define SANDBOX_NS_UTS "/run/sandbox-ns/uts"

/*
 * Makes the sandbox's IPC and UTS namespaces, held by the two files above. hostname NULL or "":
 * as the guest's. The caller must be single-threaded; it comes back to its own namespaces.
 */
int sandbox_ns_create(const char *hostname, struct err *err);
void sandbox_ns_destroy(void); /* detaches both; processes in them stay there */

#endif
