/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of the storages that runs in a worker: it may block on the share or on a disk.
 */
#ifndef POD_STORAGE_MOUNT_H
#define POD_STORAGE_MOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "oci/fs/mountopt.h"
#include "base/err.h"
#include "base/limits.h"
#include "linux/dmverity.h"

#define STORAGE_ROOT "/run" /* mount points of requests are below it */

enum mount_kind {
	MOUNT_TAG,  /* the source is a name for the file system (share tag, "tmpfs") */
	MOUNT_PATH, /* the source is a path: a device node, or what is bound */
	MOUNT_NONE, /* only a directory of the given mode */
	MOUNT_COPY, /* a path; if it is small, its content is copied, else it is bound */
};

struct mount_plan {
	enum mount_kind kind;
	const char *source, *fstype;
	const char *rel; /* mount point below STORAGE_ROOT, from confine_clean */
	struct mountopt opt;
	mode_t mode;	/* of a directory that is missing; MOUNT_NONE: of it in any case */
	bool has_group; /* 3.x: the content is given to a group */
	gid_t group;
	bool group_tree;	/* all of the content, not only its top */
	bool group_on_mismatch; /* only if the top is not that group's already */
	const char **dirs;	/* folders below STORAGE_ROOT that are made before, as mkdir -p */
	size_t n_dirs, max_dirs;
	struct dmverity verity; /* enabled: what is mounted is a device of it over the source */
	bool make_ext4;		/* on the device, where it holds none yet */
	bool wait;		/* for the source, a partition's node, to appear */
	bool device;		/* the source must be a device */
	bool keep_same;		/* the same file system is mounted already: leave it so */
	bool keep_mounted; /* already a mount point: leave it so (a share that the image mounted) */
};

/*
 * What is about to be done of one plan, and then what was: the last one counts. The parent needs it
 * to undo, whenever the worker dies.
 */
struct mount_record {
	uint32_t index;
	uint8_t made, mounted, copied;
	uint8_t dirs[LIMIT_STORAGE_DIRS / 8]; /* which of the folders were made, as bits */
	uint64_t below;			      /* id of the mount that the mount point was on */
	uint64_t page;			      /* size of a volume's huge pages, or 0 */
	int64_t pool;			      /* how many the kernel had put aside before */
};

struct unmount_plan {
	const char *rel;
	bool mounted; /* to be unmounted, unless the mount there is still this one: */
	uint64_t below;
	uint64_t page; /* then the pool of these gets back the size it had */
	int64_t pool;
	bool made;  /* to be removed: an empty directory or file */
	bool maybe; /* made or not: to be removed if it is empty */
	bool again; /* it has been tried before */
	bool tree;  /* with all that is in it */
	char *const
		*dirs; /* folders that were made for it: they go with all in them; NULL: not that */
	size_t n_dirs;
};

/*
 * Makes the copy of a MOUNT_COPY what the source is now; *ret_copied is false when it had grown
 * too large and is bound instead. 0 or -errno with *err.
 */
int storage_copy_again(const struct mount_plan *p, bool *ret_copied, struct err *err);
/*
 * Mounts in order, writing records to out for each; stops at the first failure. 0 or -errno with
 * *err.
 */
int storage_mount_all(const struct mount_plan *plans, size_t n, int out, struct err *err);
/*
 * Unmounts all, in order; a busy mount is detached. The first failure, after all were tried. The
 * number of each that is no longer there is written to out, as a size_t.
 */
int storage_unmount_all(const struct unmount_plan *plans, size_t n, int out, struct err *err);

#endif
