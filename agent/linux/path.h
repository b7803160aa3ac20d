/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths from outside: cleaned as text, found, and made where missing, below the fd of a directory
 * (a container's root) as if that were "/". Symbolic links, dangling ones too, are followed inside
 * the root; whoever moves things about meanwhile makes us fail, never leave. All fds are
 * close-on-exec and the caller's; results are an fd or 0, or -errno.
 */
#ifndef LINUX_PATH_H
#define LINUX_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/limits.h"

/* Removes empty, "." and ".." components (".." stops at the root); "/a/b" or "/". -ENAMETOOLONG. */
int path_clean(const char *path, char ret[static LIMIT_PATH]);
/* True if one of the components is "..". */
bool path_has_dotdot(const char *path);
/* True if path is dir or below it; both clean, and absolute or relative to the same. */
bool path_is_below(const char *path, const char *dir);

/*
 * Where path leads inside root, links resolved, relative to root ("" for the root itself). What
 * does not exist yet counts as directories to be made.
 */
int path_resolve(int root, const char *path, char ret[static LIMIT_PATH]);
/*
 * Opens a path below the directory root as if root were "/": links and ".." stay inside, magic
 * links are refused.
 */
int path_open_in(int root, const char *path, int flags, mode_t mode);
/* Opens a path of real directories: a link anywhere is -ELOOP, another mount is crossed. */
int path_open_plain(int dir, const char *path, int flags, mode_t mode);
/*
 * O_PATH fd of a directory below root, by a path without links and dots ("" for root itself);
 * missing ones are made with mode when it is not 0. *made: the last one was. -EINVAL for "..".
 */
int path_plain_dir(int root, const char *path, mode_t mode, bool *made);
/*
 * The same, but only on root's own mount: -EXDEV where the path leads onto another, which is not
 * touched. So it can't wait for somebody else's share or disk.
 */
int path_mount_dir(int root, const char *path, mode_t mode);

/*
 * O_PATH fd of a device node by its path below /dev, links resolved there; what leads elsewhere is
 * -EXDEV, and not touched.
 */
int path_open_dev(const char *path);

/* 1 if the fd is the top of a mount, 0 if not, -errno. */
int path_is_mount_top(int fd);

/* O_PATH fd of a directory of our own guest: absolute, no link anywhere (-ELOOP). */
int path_open_real(const char *path);

/* O_PATH fd of the directory, made with its parents (mode 0755) where missing. */
int path_dir(int root, const char *path);
/* As path_dir, but the last component must not be a link: -ENOTDIR or -ELOOP. */
int path_real_dir(int root, const char *path);
/* Fd of whatever path is; an empty file of that mode is made where nothing is. */
int path_file(int root, const char *path, mode_t mode);
/*
 * O_PATH fd of the directory that holds the last component, made where missing, and where that
 * component starts inside path (which must not end in a slash). The component isn't looked at.
 */
int path_parent(int root, const char *path, const char **ret_name);

#endif
