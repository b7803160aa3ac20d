/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pipes whose streams have ended while somebody still holds their other end: what he writes is
 * read and dropped, so that he neither waits nor dies of SIGPIPE.
 */
#ifndef POD_DRAIN_H
#define POD_DRAIN_H

struct container;

/* Takes *fd over, until its other end is closed by all; with too many of them the oldest ends. */
void drain_add(struct container *ctr, int *fd);
/* Closes all that ctr has. */
void drains_close(struct container *ctr);

#endif
