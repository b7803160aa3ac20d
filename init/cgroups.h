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
 * a tmpfs there with one hierarchy per enabled controller, read-only afterwards. A kernel without
 * cgroups, or on v1 without the devices controller, is fine: nothing is mounted. What is mounted
 * already is fine too.
 */
int cgroups_mount(bool unified, struct err *err);

/*
 * The names of the enabled controllers in the text of /proc/cgroups, which is cut in place; none
 * when "devices" is not among them. The number of names.
 */
size_t cgroups_parse(char *text, const char *names[CGROUPS_MAX]);

#endif
