/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernel modules that a host wants loaded before its containers.
 */
#ifndef POD_KMOD_H
#define POD_KMOD_H

#include <stddef.h>

#include "agent.pb-c.h"
#include "base/err.h"

struct agent;

/* err->code is 0 for success. Called once, from the loop, never before the starter has returned. */
typedef void kmod_loaded(void *arg, const struct err *err);

/*
 * Loads the modules in order with /sbin/modprobe, in a worker. What is needed of them is read by
 * the worker, which is forked at once: the request may go. Negative errno: done will not be called.
 */
int kmod_load(struct agent *a, Grpc__KernelModule *const *modules, size_t n, kmod_loaded *done,
	      void *arg, struct err *err);

#endif
