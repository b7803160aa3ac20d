/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container's view of the file system, made by the child that will become its process, in the
 * namespaces and cgroups that it already has. In this order: rootfs_prepare, (hooks that see the
 * guest's root), rootfs_enter, rootfs_pty and rootfs_console where there is a terminal,
 * rootfs_seal, exec. All fds are close-on-exec; exec or _exit cleans up.
 */
#ifndef OCI_FS_ROOTFS_H
#define OCI_FS_ROOTFS_H

#include <stdbool.h>

#include "oci.pb-c.h"

struct err;
struct rootfs;

struct rootfs_opts {
	const Grpc__Spec *spec; /* must outlive the struct rootfs */
	int dir;		/* from rootfs_open_dir, the struct rootfs's from now on */
	/* in a new mount namespace; else a plain chroot, no mounts */
	bool new_mntns;
	bool userns;   /* in a new user namespace: devices are bound, not made */
	bool cgroupns; /* in a new cgroup namespace, listed in the spec or not */
	/* detached mqueue file system for a user namespace, or FD_NONE */
	int mqueue;
	int procfs; /* detached procfs of the pid namespace that is joined, or FD_NONE */
	const char *mount_label; /* SELinux context for new file systems, if enabled */
};

/*
 * In the parent, before anything is made: what can be refused by looking at the specification
 * alone; the root is the child's to open, for a share may not answer. -EINVAL with the text.
 */
int rootfs_check(const Grpc__Spec *spec, struct err *err);

/*
 * The directory that is to be the root, in the mount namespace that is to be the container's but
 * while we still may pass what leads to it: a user namespace's root may not. An fd or -errno.
 */
int rootfs_open_dir(const Grpc__Spec *spec, struct err *err);
/*
 * Propagation, the root bound on itself, all mounts, devices and links. The guest's root stays
 * visible. *ret is the caller's.
 */
int rootfs_prepare(const struct rootfs_opts *o, struct rootfs **ret, struct err *err);

/* The container's root becomes "/" and the current directory. */
int rootfs_enter(struct rootfs *rf, struct err *err);

/*
 * A pty of the devpts in the caller's "/" (the container's: init or exec), through fds only: the
 * master for the agent, the slave for the process. Both the caller's.
 */
int rootfs_pty(int *ret_master, int *ret_slave, struct err *err);
/* Binds the slave on /dev/console, which must be a file, a device or missing; never a link. */
int rootfs_console(struct rootfs *rf, int slave, struct err *err);

/*
 * After hooks and console: sysctls, readonly and masked paths, the mounts that wait to turn
 * read-only, the root last; fds 0 to 2 that are the guest's /dev/null become the container's.
 */
int rootfs_seal(struct rootfs *rf, struct err *err);

/* --- room.c: for our own processes that a container's may see --- */

/* In a mount namespace of its own: nothing is left of it but an empty directory. */
int room_enter(struct err *err);
/*
 * A procfs of a pid namespace that we shall not be in ourselves; by a child, for which the caller
 * waits. A detached mount, the caller's, or -errno with *err.
 */
int room_procfs(int pidns, struct err *err);

void rootfs_free(struct rootfs *rf); /* NULL is fine; mounts stay */

static inline void rootfs_freep(struct rootfs **rf)
{
	rootfs_free(*rf);
	*rf = NULL;
}

#endif
