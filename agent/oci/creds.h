/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a container's process is allowed: who it runs as, its capabilities, its resource limits.
 * Read in the parent, applied by the child in this order:
 *
 *	user_resolve(), rlimit_apply()
 *	caps_apply_bounding(&caps)	as root of its namespaces
 *	caps_keep()			the change of user leaves the permitted set alone
 *	user_apply(&user)
 *	caps_apply(&caps)		the other four sets; KEEPCAPS off again
 */
#ifndef OCI_CREDS_H
#define OCI_CREDS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "base/err.h"
#include "oci.pb-c.h"

/* --- caps.c --- */

struct caps { /* bit n: capability n */
	uint64_t bounding, effective, permitted, inheritable, ambient;
};

/*
 * NULL counts as five empty sets. A name that nobody knows is logged and left out, one that only
 * this kernel doesn't know is left out, since it could not be granted anyway. Effective without
 * being permitted is -EINVAL.
 */
int caps_parse(const Grpc__LinuxCapabilities *c, struct caps *ret, struct err *err);
int caps_apply_bounding(const struct caps *caps, struct err *err);
int caps_keep(struct err *err);
/*
 * Sets are cut to what the process holds: a capability that the agent hasn't got can't be given.
 * Those of extra are permitted and effective as well, until the next execve.
 */
int caps_apply(const struct caps *caps, uint64_t extra, struct err *err);

/* --- rlimit.c: all sixteen --- */

struct rlimit_set {
	uint32_t given; /* bit n: limit n is in value[n] */
	struct rlimit value[RLIM_NLIMITS];
};

/* -EINVAL: a name not known or given twice (the runtime-spec's MUST), soft above hard. */
int rlimit_parse(Grpc__POSIXRlimit *const *limits, size_t count, struct rlimit_set *ret,
		 struct err *err);
/*
 * RLIMIT_NPROC counts the user's processes, and the middle is one of them while it makes another:
 * it is raised here and lowered by that one.
 */
int rlimit_apply(const struct rlimit_set *set, struct err *err);
int rlimit_apply_nproc(const struct rlimit_set *set, struct err *err);

/*
 * --- user.c: the user of the spec, looked up in the container's own /etc/passwd and /etc/group.
 * Those files belong to the image and are not believed: only regular files of bounded size are
 * read, malformed lines are skipped. Made for the child after fork. ---
 */

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
