/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One entry of the specification's mount list: checked in the parent, carried out in the child
 * while the guest's own root is still visible. Destinations are resolved inside the container's
 * root and used as fds; a mount gets its attributes before it is attached.
 */
#ifndef OCI_FS_MOUNT_H
#define OCI_FS_MOUNT_H

#include <stdbool.h>

#include "oci/fs/mountopt.h"
#include "oci.pb-c.h"

struct err;

struct mount_env {
	int root;	   /* O_PATH fd of the container's root, the top of a mount */
	int proc;	   /* fd of a procfs that we trust */
	const char *path;  /* of the root, as the guest sees it: clean and absolute */
	const char *label; /* SELinux context for new file systems, or "" */
	/* a new mqueue file system that only the agent could make, or FD_NONE */
	int mqueue;
	bool userns;   /* in a user namespace of its own */
	bool cgroupns; /* in a cgroup namespace of its own */
};

struct mount_done {
	int fd;	   /* the mount: the caller's, FD_NONE when there is nothing to keep */
	bool seal; /* asked for read-only, still writable ("/dev") */
	unsigned long propagation[MOUNTOPT_PROPAGATION];
	size_t n_propagation;
};

/* What can be said without touching anything; -EINVAL with the text. */
int mount_check(const Grpc__Mount *m, struct err *err);
/* True if the entry is a bind mount, by type or by option. */
bool mount_is_bind(const Grpc__Mount *m);
/* Makes the mount point where missing and mounts. */
int mount_make(const struct mount_env *env, const Grpc__Mount *m, struct mount_done *ret,
	       struct err *err);

#endif
