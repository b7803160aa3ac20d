/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container's /dev: the nodes that every container has, those of the specification, and the
 * customary links.
 */
#ifndef OCI_FS_DEVNODE_H
#define OCI_FS_DEVNODE_H

#include <stdbool.h>
#include <sys/types.h>

#include "oci.pb-c.h"

struct err;

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

#endif
