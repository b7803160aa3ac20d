/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices of a CreateContainer: waited for, and their numbers put into the OCI spec.
 */
#ifndef POD_DEVICE_H
#define POD_DEVICE_H

#include <stddef.h>

#include "agent.pb-c.h"
#include "base/arena.h"
#include "base/err.h"
#include "rpc/call.h"

struct agent;
struct pci_map;

/*
 * err->code is 0 for success. Called exactly once, from the loop, never before devices_add has
 * returned.
 */
typedef void devices_done(void *arg, const struct err *err);

/*
 * Checks the n devices, finds each in turn (waiting up to agent.hotplug_timeout), and sets major
 * and minor of the matching spec->linux->devices and of the device cgroup rules that had the same
 * type and numbers before; map gets the addresses that VFIO devices have on the host and here.
 * devices and spec must live until done: they are the request's, so park the call with call_go_on.
 * SCHEMA_3X also appends an "allow rwm" rule for each device, from mem. SCHEMA_1X scans the PCI bus
 * before, for what no request names.
 * Negative errno with *err (bad request): nothing was started, done will not be called. n may be 0.
 */
int devices_add(struct agent *a, enum schema schema, Grpc__Device *const *devices, size_t n,
		Grpc__Spec *spec, struct pci_map *map, struct arena *mem, devices_done *done,
		void *arg, struct err *err);

/* Names of the drivers, for GetGuestDetails: NULL after the last. */
const char *device_driver_name(size_t i);

#endif
