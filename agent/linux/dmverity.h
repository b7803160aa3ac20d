/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dm-verity: a device that only gives what a root hash vouches for
 * (Documentation/admin-guide/device-mapper/verity.rst). The hashes lie behind the data on one disk.
 */
#ifndef LINUX_DMVERITY_H
#define LINUX_DMVERITY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

struct dmverity {
	bool enabled;
	const char *root_hash, *salt, *algorithm; /* hex; hex or NULL; NULL: sha256 */
	uint64_t hash_offset;			  /* in bytes; where the data end */
	uint64_t block_size, hash_size;		  /* of data and of hashes, in bytes */
	uint64_t version;			  /* of the hash format: 0 or 1 */
	bool no_superblock;			  /* the hashes begin at hash_offset itself */
};

void dmverity_defaults(struct dmverity *v);
/*
 * Takes one of runtime-rs' words: "-enabled=true", ".roothash=HEX", ".hashoffset=BYTES",
 * ".blocksize=", ".hashsize=", ".algorithm=", ".salt=", ".hashtype=", ".no-superblock=". The text
 * must outlive v. 0 or -EINVAL with *err.
 */
int dmverity_option(struct dmverity *v, const char *word, struct err *err);
/* Whether all is there and fits together. 0 or -EINVAL with *err. */
int dmverity_check(const struct dmverity *v, struct err *err);

#define DMVERITY_NODE 24 /* "/dev/dm-N" */

/*
 * Makes the device over the disk and opens it: the fd, or -errno with *err. It is there, at node,
 * until the fd and what is mounted from it by then are gone.
 */
int dmverity_open(dev_t disk, const struct dmverity *v, char node[static DMVERITY_NODE],
		  struct err *err);

#endif
