/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The option words of a mount, sorted by what the kernel wants to know: flags, propagation, what
 * holds for the whole tree below, and the rest as data for the file system. Pure: no system calls.
 */
#ifndef OCI_FS_MOUNTOPT_H
#define OCI_FS_MOUNTOPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MOUNTOPT_DATA	     4095u /* the kernel takes one page, its NUL included */
#define MOUNTOPT_PROPAGATION 8u	   /* propagation words of one mount */

struct arena;
struct err;
struct mount_attr;

struct mountopt {
	unsigned long flags; /* MS_* asked for; MS_BIND (and MS_REC) for bind, rbind */
	/* MS_* that a clearing word named last: matters for binds */
	unsigned long clear;
	/* MOUNT_ATTR_* for the mount and everything below it (rro, ...) */
	uint64_t rec_set, rec_clr;
	/* MS_SHARED etc., MS_REC or'ed in */
	unsigned long propagation[MOUNTOPT_PROPAGATION];
	size_t n_propagation; /* in the order given */
	bool tmpcopyup;	      /* a tmpfs starts with the content that it hides */
	/* the other words joined by commas, "" for none; the arena's */
	const char *data;
};

/*
 * Sorts n option words. The last of contradicting words wins. Empty words are skipped. -EINVAL for
 * what we refuse (idmap, loop, too much), -ENOMEM when the arena is full.
 */
int mountopt_parse(char **options, size_t n, struct mountopt *ret, struct arena *arena,
		   struct err *err);

/* The propagation that a word ("rslave") stands for, MS_REC or'ed in; 0 if it is no such word. */
unsigned long mountopt_propagation(const char *word);

/* MOUNT_ATTR_* of the MS_* flags that belong to a mount and not to its file system. */
uint64_t mountopt_attrs(unsigned long flags);

/* What mount_setattr() must change on a bind mount's own top; attr_set = attr_clr = 0: nothing. */
void mountopt_setattr(const struct mountopt *o, struct mount_attr *ret);

/* True if the data has the option key, as "key" or "key=value". */
bool mountopt_has(const char *data, const char *key);

#endif
