/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Namespaces that a spec names by path: opened in a worker, for the path may lead to a share that
 * does not answer, or to a FIFO; the descriptors travel from it to the agent.
 */
#ifndef POD_NSPATH_H
#define POD_NSPATH_H

#include "oci/ns.h"
#include "base/worker.h"

struct container;
struct nspath;

/*
 * Opens what ctr->request names, into ctr->ns_paths. 1: it names none; 0: done(ctr) follows, unless
 * ctr->worker is cancelled; -errno with *err.
 */
int nspath_start(struct container *ctr, worker_done *done, struct err *err);
/* To be called by done: takes over what the worker has opened. 0 or -errno with *err. */
int nspath_take(struct container *ctr, struct err *err);
/* By type an fd or -errno, borrowed; NULL when there are none. */
const int *nspath_fds(const struct container *ctr);
void nspath_free(struct nspath *p); /* NULL is fine */

#endif
