/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mount trees that are not attached anywhere yet: made or cloned, given their attributes while
 * nobody can see them, then attached to an fd. Fds are close-on-exec and the caller's; a tree
 * whose last fd is closed before it was attached is gone. All functions fill *err.
 */
#ifndef OCI_FS_TREE_H
#define OCI_FS_TREE_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct mountopt;

struct tree_fs {
	const char *type;
	const char *source;  /* NULL or "": none */
	const char *data;    /* options joined by commas; NULL or "": none */
	const char *mode;    /* octal text for mode=, or NULL */
	const char *context; /* SELinux label for context=, or NULL */
	unsigned long flags; /* MS_*: those of the mount and those of the file system */
	bool writable;	     /* MS_RDONLY waits: the caller has still to fill the file system */
};

/* An instance of a file system, as a detached mount. */
int tree_new(const struct tree_fs *fs, struct err *err);
/* New data and flags for the file system whose mount the fd is the root of (remount). */
int tree_reconfigure(int fd, const struct tree_fs *fs, struct err *err);
/*
 * False if the source or a value is too long for tree_new, or has commas (escaped, or in quotes);
 * only mount(2) takes it then.
 */
bool tree_fits(const char *source, const char *data);
/* A clone of what path (links followed) leads to in our own mount namespace, or of the fd. */
int tree_clone(const char *path, bool recursive, struct err *err);
int tree_clone_fd(int fd, bool recursive, struct err *err);
/* Sets and clears MOUNT_ATTR_* on the tree's top, or on all of it. Nothing to do: no call. */
int tree_attr(int tree, uint64_t set, uint64_t clr, bool recursive, struct err *err);
/* MS_SHARED, MS_SLAVE, MS_PRIVATE or MS_UNBINDABLE, with MS_REC: on all of it. */
int tree_propagation(int tree, unsigned long flags, struct err *err);
/* What the options ask of a bind's own top. writable: MS_RDONLY waits. */
int tree_bind_options(int tree, const struct mountopt *o, bool writable, struct err *err);
/* What the options ask of the whole tree, and propagation, in the order given. */
int tree_options(int tree, const struct mountopt *o, struct err *err);
/* Mounts the tree on what the fd target refers to. */
int tree_attach(int tree, int target, struct err *err);

#endif
