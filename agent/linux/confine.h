/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths of the host's requests, kept below /run: cleaned as text, then opened from a
 * directory without following a symbolic link anywhere. Mounts are crossed.
 * A container that plants links in the share, or swaps directories while we walk, makes us fail,
 * never leave.
 */
#ifndef LINUX_CONFINE_H
#define LINUX_CONFINE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/limits.h"

/*
 * What path is below dir ("/run"), "." and ".." resolved as text: "a/b", into rel. "/var/run" is
 * "/run". -EPERM for what is not strictly below, -ENAMETOOLONG.
 */
int confine_clean(const char *dir, const char *path, char rel[LIMIT_PATH]);

/*
 * O_PATH fd of a directory; missing ones are made with mode when it is not 0. *made (or NULL): the
 * last one was.
 */
int confine_dir(int root, const char *rel, mode_t mode, bool *made);
/*
 * O_PATH fd of the directory that holds the last component, which is not looked at; *name points
 * into rel.
 */
int confine_parent(int root, const char *rel, mode_t mode, const char **name);
/* O_PATH fd of whatever rel is, but a link (-ELOOP). */
int confine_any(int root, const char *rel);
/* O_PATH fd of a file; an empty one is made where nothing is. -EISDIR, -ELOOP. */
int confine_file(int root, const char *rel, mode_t mode, bool *made);

#endif
