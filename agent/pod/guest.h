/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of the guest a sandbox asks for: kernel modules, shared namespaces, name servers.
 */
#ifndef POD_GUEST_H
#define POD_GUEST_H

#include <stddef.h>

#include "agent.pb-c.h"
#include "base/err.h"

/* --- kmod.c: modules that a host wants loaded before its containers --- */

struct agent;

/* err->code is 0 for success. Called once, from the loop, never before the starter has returned. */
typedef void kmod_loaded(void *arg, const struct err *err);

/*
 * Loads the modules in order with /sbin/modprobe, in a worker. What is needed of them is read by
 * the worker, which is forked at once: the request may go. Negative errno: done will not be called.
 */
int kmod_load(struct agent *a, Grpc__KernelModule *const *modules, size_t n, kmod_loaded *done,
	      void *arg, struct err *err);

/* --- sharedns.c: the IPC and UTS namespaces of a pod --- */

#define SHAREDNS_DIR "/run/sandbox-ns"
#define SHAREDNS_IPC SHAREDNS_DIR "/ipc" /* what containers join */
#define SHAREDNS_UTS SHAREDNS_DIR "/uts"

/*
 * Makes the sandbox's IPC and UTS namespaces, held by the two files above. hostname NULL or "":
 * as the guest's. The caller must be single-threaded; it comes back to its own namespaces.
 */
int sharedns_create(const char *hostname, struct err *err);
/* Detaches both; processes in them stay there. -errno: something is left. */
int sharedns_destroy(void);

/* --- dns.c: name servers --- */

/*
 * Lines of a resolv.conf, written below /run and bound over /etc/resolv.conf. n may be 0. For
 * workers, as dns_unset: the root disk may not answer.
 */
int dns_set(char *const *lines, size_t n, struct err *err);
/* Takes the binding away again; harmless without one. -errno: it is still there. */
int dns_unset(void);

#endif
