/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of oci/fs share; for nobody else. Destinations are resolved inside the
 * container's root and used as fds; a mount gets its attributes before it is attached.
 */
#ifndef OCI_FS_IMPL_H
#define OCI_FS_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "oci/fs/mountopt.h"
#include "base/err.h"
#include "oci.pb-c.h"

#define PROC_ROOT_INO 1u /* of the root of any procfs */

/* --- mount.c: an entry of the spec's mounts, checked in the parent, carried out in the child */

struct mount_env {
	int root;	   /* O_PATH fd of the container's root, the top of a mount */
	int proc;	   /* fd of a procfs that we trust */
	const char *path;  /* of the root, as the guest sees it: clean and absolute */
	const char *label; /* SELinux context for new file systems, or "" */
	/* a new mqueue file system that only the agent could make, or FD_NONE */
	int mqueue;
	int procfs;    /* the same of the pid namespace that is joined */
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

/* --- mountcgroup.c: mounts of type "cgroup", whichever version the guest has --- */

/*
 * Mounts on the fd target. v2: a cgroup2 mount in a cgroup namespace, else a bind of the cgroup
 * that we are in, unless that is the root. v1: a tmpfs with one directory per hierarchy, and links
 * for the controllers of joint ones ("cpu" -> "cpu,cpuacct"). The fd of the top mount, the
 * caller's, or -errno.
 */
int mountcgroup(const struct mount_env *env, int target, const struct mountopt *o, struct err *err);

/* --- copyup.c: tmpcopyup, the content that a new file system hides, copied into it --- */

/*
 * Copies what is in the directory from (any fd of it) into the directory to: directories, files,
 * links, nodes and FIFOs with owner, mode and times. Links are copied, not followed. Sockets and
 * extended attributes are left out.
 */
int copyup(int from, int to, struct err *err);

/* --- devnode.c: the container's /dev --- */

/* Types, paths and numbers; -EINVAL with the text. */
int devnode_check(const Grpc__LinuxDevice *dev, struct err *err);
/*
 * Makes nodes and links below the root fd; needs umask 0. A node that is there already is kept if
 * it is the same device, else it is -EEXIST. In a user namespace (and where mknod is not
 * permitted) the guest's node of the same path and numbers is bound instead. Block devices that
 * the guest runs from are left out. linux may be NULL.
 */
int devnode_setup(int root, const Grpc__Linux *linux, bool userns, struct err *err);
/* Fd of /dev (a real directory, made where missing) below the root, or -errno with *err. */
int devnode_open_dev(int root, struct err *err);
/* True if the fd is the character device major:minor. */
bool devnode_is_char(int fd, unsigned int major, unsigned int minor);

/* --- mask.c: paths that the container must not see, or not change --- */

/* What covers masked paths; one mount each, cloned for every further path. */
struct mask {
	int null;  /* the guest's /dev/null, cloned and read-only; FD_NONE: not needed */
	int empty; /* an empty read-only tmpfs; FD_NONE until one is needed */
	int null_used, empty_used; /* attached once: clones from now on */
};

/* Absolute and without ".."; -EINVAL with the text. what: "masked" or "readonly". */
int mask_check_path(const char *path, const char *what, struct err *err);
/* Whether such a path is the root: read-only as a whole then; covering it has no effect. */
bool mask_is_root(const char *path);
/* While the guest's own /dev is still visible: takes its null device, verified to be one. */
int mask_init(struct mask *m, struct err *err);
void mask_free(struct mask *m);
/* Covers a path below the root fd; nothing there: nothing done. Its last part must be no link. */
int mask_hide(struct mask *m, int root, const char *path, struct err *err);
/* Makes a path read-only by binding it on itself. As above. */
int mask_readonly(int root, const char *path, struct err *err);

/* --- sysctl.c: kernel parameters of the container's namespaces, no others --- */

/* Refuses names outside the container's namespaces; -EINVAL with the text. */
int sysctl_check(const Grpc__Linux *linux, struct err *err);
/* Writes them all through an fd of a trusted procfs' root. */
int sysctl_apply(int proc, const Grpc__Linux *linux, struct err *err);

#endif
