/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Masked and read-only paths: what the container must not see, or not change.
 */
#ifndef OCI_FS_MASK_H
#define OCI_FS_MASK_H

#include <stddef.h>

struct err;

/* What covers masked paths; one mount each, cloned for every further path. */
struct mask {
	int null;  /* the guest's /dev/null, cloned and read-only; FD_NONE: not needed */
	int empty; /* an empty read-only tmpfs; FD_NONE until one is needed */
	int null_used, empty_used; /* attached once: clones from now on */
};

/* Absolute and without ".."; -EINVAL with the text. what: "masked" or "readonly". */
int mask_check_path(const char *path, const char *what, struct err *err);
/* While the guest's own /dev is still visible: takes its null device, verified to be one. */
int mask_init(struct mask *m, struct err *err);
void mask_free(struct mask *m);
/* Covers a path below the root fd; nothing there: nothing done. Its last part must be no link. */
int mask_hide(struct mask *m, int root, const char *path, struct err *err);
/* Makes a path read-only by binding it on itself. As above. */
int mask_readonly(int root, const char *path, struct err *err);

#endif
