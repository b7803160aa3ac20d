/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A root of several layers: storages of one mount point that belong together (containerd's erofs
 * snapshotter through runtime-rs) become ordinary storages, each with a place of its own.
 */
#ifndef POD_STORAGE_LAYERS_H
#define POD_STORAGE_LAYERS_H

#include <stddef.h>

#include "agent.pb-c.h"
#include "base/err.h"

struct arena;

#define LAYERS_DRIVER	   "erofs.multi-layer"
#define LAYERS_PARTITION   "X-kata.partition-number=" /* among driver options: of the device */
#define LAYERS_VERITY	   "X-kata.dmverity"	      /* as well; linux/dmverity.h has the rest */
#define OVERLAY_CREATE_DIR "io.katacontainers.volume.overlayfs.create_directory="

/*
 * Storages with the option X-kata.multi-layer=true, or with LAYERS_DRIVER, are replaced, for each
 * mount point DIR/NAME, by: the folder DIR/multi-layer (LAYERS_DRIVER again, as a folder), the
 * layers below it, and the overlay of them at the mount point. Others stay as they are. *ret is in
 * mem, and points into storages. 0 or -errno with *err.
 */
int storage_layers(struct arena *mem, Grpc__Storage *const *storages, size_t n,
		   Grpc__Storage *const **ret, size_t *ret_n, struct err *err);

#endif
