/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small tree of the share (a ConfigMap, a Secret) made the same in the guest's memory, so that
 * inotify tells of its changes. For workers: the share may not answer.
 */
#ifndef POD_WATCHCOPY_H
#define POD_WATCHCOPY_H

#define WATCHCOPY_LARGE 1

/*
 * Makes the file or directory behind the O_PATH fd copy what is behind source: content, modes,
 * owners, times; what source has not goes. A file that changed keeps its inode; a link changes at
 * once, and after what it leads to. Only what differs is touched. times: how often the bound on
 * files and bytes (LIMIT_WATCH_...) may be used. 0, WATCHCOPY_LARGE (copy is then incomplete), or
 * -errno.
 */
int watchcopy_sync(int source, int copy, unsigned int times);

#endif
