/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mounts of type "cgroup": the container's own part of the cgroup file systems, whichever version
 * the guest has.
 */
#ifndef OCI_FS_MOUNTCGROUP_H
#define OCI_FS_MOUNTCGROUP_H

struct err;
struct mount_env;
struct mountopt;

/*
 * Mounts on the fd target. v2: a cgroup2 mount in a cgroup namespace, else a bind of the cgroup
 * that we are in, unless that is the root. v1: a tmpfs with one directory per hierarchy, and links
 * for the controllers of joint ones ("cpu" -> "cpu,cpuacct"). The fd of the top mount, the
 * caller's, or -errno.
 */
int mountcgroup(const struct mount_env *env, int target, const struct mountopt *o, struct err *err);

#endif
