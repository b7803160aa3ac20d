/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Storages of 3.x's driver "watchable-bind" (ConfigMaps, Secrets): the share tells nobody of
 * changes, so that small ones are copied into a tmpfs, and one child for all looks every two
 * seconds whether they have changed. Nothing of the share is touched outside of it.
 */
#ifndef POD_WATCH_H
#define POD_WATCH_H

#include <stddef.h>

#include "base/list.h"
#include "base/loop.h"
#include "pod/storage_mount.h"

struct agent;
struct worker;

/* One storage that is copied: its plan's source and rel are the owner's, and stay. */
struct watched {
	struct list link;
	struct mount_plan plan; /* MOUNT_COPY */
};

struct watcher {
	struct list items;
	struct worker *worker; /* NULL: none runs */
	struct timer start;
	struct agent *agent;
};

void watcher_init(struct watcher *w);
/* From now on it is kept the same. The owner removes it before its memory goes. */
void watch_add(struct agent *a, struct watcher *w, struct watched *item);
/* Nobody touches it any more. Harmless on one that was not added (link as list_init leaves it). */
void watch_remove(struct watcher *w, struct watched *item);

/*
 * The folder "watchable" that a mount point is below, as the length of its path in rel; 0: none.
 * There the tmpfs of the copies is mounted.
 */
size_t watch_folder(const char *rel);

#endif
