/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cgroup file systems of a guest, mounted by PID 1.
 */
#ifndef INIT_CGROUPS_H
#define INIT_CGROUPS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define CGROUPS_MAX 32u /* controllers; Linux has fourteen */

/*
 * unified: cgroup2 on /sys/fs/cgroup with all controllers enabled for the levels below. Else v1:
 * a tmpfs there with one hierarchy per enabled controller, read-only afterwards; one that can't be
 * mounted is left out. A kernel that has no v1 devices controller (cgroup_no_v1=all) gets v2,
 * whatever was asked for. What is mounted already is fine. On failure there are no cgroups.
 */
int cgroups_mount(bool unified, struct err *err);

/*
 * The names of the enabled controllers in the text of /proc/cgroups, which is cut in place; none
 * when "devices" is not among them. The number of names.
 */
size_t cgroups_parse(char *text, const char *names[CGROUPS_MAX]);

#endif
