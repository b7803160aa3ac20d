/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 3.x: directories of one container that another one of its pod sees, too.
 */
#ifndef POD_SHAREDMOUNT_H
#define POD_SHAREDMOUNT_H

#include "base/worker.h"
#include "pod/pod.h"

/*
 * Makes the n mounts whose destination is ctr, which has its init but does not run yet, in
 * ctr->worker. A source that is no mount of a running container is waited for, LIMIT_SHARING_MS in
 * all; then the container goes without, and the log says so. ctr->sharing is to be cancelled with
 * ctr->worker. Containers are named as Kubernetes names them (annotation
 * io.kubernetes.cri.container-name or io.kubernetes.container.name) or by their ids. 0: done(ctr)
 * follows; 1: none is for ctr; -errno with *err. mounts must live until done.
 */
int sharedmounts_start(struct container *ctr, Grpc__SharedMount *const *mounts, size_t n,
		       worker_done *done, struct err *err);

#endif
