/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tmpcopyup: the content that a new file system hides, copied into it.
 */
#ifndef OCI_FS_COPYUP_H
#define OCI_FS_COPYUP_H

struct err;

/*
 * Copies what is in the directory from (any fd of it) into the directory to: directories, files,
 * links, nodes and FIFOs with owner, mode and times. Links are copied, not followed. Sockets and
 * extended attributes are left out.
 */
int copyup(int from, int to, struct err *err);

#endif
