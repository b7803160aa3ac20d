/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pod's IPC and UTS namespaces.
 */
#ifndef POD_SHAREDNS_H
#define POD_SHAREDNS_H

#include "base/err.h"

#define SHAREDNS_DIR "/run/sandbox-ns"
#define SHAREDNS_IPC SHAREDNS_DIR "/ipc" /* what containers join */
#define SHAREDNS_UTS SHAREDNS_DIR "/uts"

/*
 * Makes the sandbox's IPC and UTS namespaces, held by the two files above. hostname NULL or "":
 * as the guest's. The caller must be single-threaded; it comes back to its own namespaces.
 */
int sharedns_create(const char *hostname, struct err *err);
void sharedns_destroy(void); /* detaches both; processes in them stay there */

#endif
