/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a container's process runs as: the user of the spec, looked up in the container's own
 * /etc/passwd and /etc/group. Those files belong to the image and are not believed: only regular
 * files of bounded size are read, malformed lines are skipped. Made for the child after fork.
 */
#ifndef OCI_USER_H
#define OCI_USER_H

#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "oci.pb-c.h"

struct user {
	uid_t uid;
	gid_t gid;
	gid_t *gids; /* supplementary groups, from malloc */
	size_t ngids;
	char *home; /* from malloc; "/" if the database has none */
};

/*
 * root: the container's root directory, or AT_FDCWD for the caller's own "/". u may be NULL:
 * root. Username is "user", "uid", "user:group", "uid:gid"; when empty UID and GID are taken.
 * Only a user without explicit group gets the supplementary groups of the group file;
 * AdditionalGids always come last.
 */
int user_resolve(int root, const Grpc__User *u, struct user *ret, struct err *err);
void user_free(struct user *user);

/* Makes the three standard streams the user's where possible, then changes all ids for good. */
int user_apply(const struct user *user, struct err *err);

#endif
