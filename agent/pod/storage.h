/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Storages of a request: found, mounted, counted, unmounted. Devices are waited for by their
 * events, and everything that may block (mounts, the share, unmounting) runs in a worker.
 *
 * Who mounts what: a mount point below /run is one entry of the sandbox (struct storage_refs); a
 * container, and the sandbox itself, hold uses of entries (struct storage_set). An entry is mounted
 * by its first user and unmounted after its last. The sandbox counts as one more user of the
 * drivers "ephemeral" and "local", whose contents outlive the containers of a pod, and of the tmpfs
 * below which copies of watchable binds are (pod/watch.h).
 *
 *	storage_refs_init(&sb->refs); storage_set_init(&ctr->storages);
 *	r = storages_add(a, &sb->refs, &ctr->storages, c->schema, req->storages, req->n_storages,
 *			 on_mounted, ctr, err);
 *	...
 *	r = storages_release(a, &sb->refs, &ctr->storages, on_unmounted, ctr, err);
 */
#ifndef POD_STORAGE_H
#define POD_STORAGE_H

#include <stdbool.h>
#include <stddef.h>

#include "agent.pb-c.h"
#include "base/err.h"
#include "base/list.h"
#include "rpc/call.h"
#include "pod/watch.h"

struct agent;

/* Per sandbox. Mounting and unmounting is one at a time for each; waiting for devices is not. */
struct storage_refs {
	struct list entries; /* struct storage_entry, oldest first */
	struct list
		queue; /* struct storage_op that wait for their turn; the first one is running */
	struct watcher watcher;
};

/* Per container, and one for the sandbox's own storages: newest first. */
struct storage_set {
	struct list uses;
};

/*
 * err->code is 0 for success. Called exactly once, always from the loop, never before the starter
 * has returned.
 */
typedef void storages_done(void *arg, const struct err *err);

void storage_refs_init(struct storage_refs *refs);
void storage_set_init(struct storage_set *set);

/*
 * Finds and mounts the n storages in order, and adds their uses to set. All that is kept of them is
 * copied: the request may go. refs and set must live until done. When done reports a failure all
 * that this call mounted, made or counted is undone, and set is as before. A negative errno with
 * *err: nothing was started and done will not be called. n may be 0.
 * It cannot be cancelled: park the call with call_go_on.
 */
int storages_add(struct agent *a, struct storage_refs *refs, struct storage_set *set,
		 enum schema schema, Grpc__Storage *const *storages, size_t n, storages_done *done,
		 void *arg, struct err *err);

/*
 * Drops the uses of set, newest first, and unmounts what has no user left. The set is empty at once
 * and its memory may go when this returns; refs must live until done. A mount that is busy is
 * detached. All are tried; done gets the first failure. Only -ENOMEM can be returned: the uses are
 * dropped all the same. What is left then, or after a failure, the next operation unmounts first.
 */
int storages_release(struct agent *a, struct storage_refs *refs, struct storage_set *set,
		     storages_done *done, void *arg, struct err *err);

/*
 * The end of the sandbox: unmounts every entry that is left, newest first, also those that the
 * sandbox kept. Every set must be empty by then (storages_release), as containers go first.
 */
int storages_release_all(struct agent *a, struct storage_refs *refs, storages_done *done, void *arg,
			 struct err *err);

/* Names of the drivers, for GetGuestDetails: NULL after the last. */
const char *storage_driver_name(size_t i);
/* Is the i-th known to 3.x clients only? */
bool storage_driver_is_3x(size_t i);

#endif
