/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths that the container's image decides about: found, and made where missing, below the fd of
 * its root as if that were "/". Symbolic links, dangling ones too, are followed inside the root;
 * whoever moves things about meanwhile makes us fail, never leave. All fds are close-on-exec and
 * the caller's; results are an fd or 0, or -errno.
 */
#ifndef OCI_FS_ROOTPATH_H
#define OCI_FS_ROOTPATH_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define ROOTPATH_MAX 4096u /* PATH_MAX: bytes of a path, the NUL included */

/* Removes empty, "." and ".." components (".." stops at the root); "/a/b" or "/". -ENAMETOOLONG. */
int rootpath_clean(const char *path, char ret[static ROOTPATH_MAX]);
/* True if one of the components is "..". */
bool rootpath_has_dotdot(const char *path);
/* True if path is dir or below it; both clean and absolute. */
bool rootpath_is_below(const char *path, const char *dir);

/*
 * Where path leads inside root, links resolved, relative to root ("" for the root itself). What
 * does not exist yet counts as directories to be made.
 */
int rootpath_resolve(int root, const char *path, char ret[static ROOTPATH_MAX]);
/* Opens a path of real directories: a link anywhere is -ELOOP, another mount is crossed. */
int rootpath_open_plain(int dir, const char *path, int flags, mode_t mode);

/* O_PATH fd of a directory of our own guest: absolute, no link anywhere (-ELOOP). */
int rootpath_open_real(const char *path);

/* O_PATH fd of the directory, made with its parents (mode 0755) where missing. */
int rootpath_dir(int root, const char *path);
/* As rootpath_dir, but the last component must not be a link: -ENOTDIR or -ELOOP. */
int rootpath_real_dir(int root, const char *path);
/* Fd of whatever path is; an empty file of that mode is made where nothing is. */
int rootpath_file(int root, const char *path, mode_t mode);
/*
 * O_PATH fd of the directory that holds the last component, made where missing, and where that
 * component starts inside path (which must not end in a slash). The component isn't looked at.
 */
int rootpath_parent(int root, const char *path, const char **ret_name);

#endif
