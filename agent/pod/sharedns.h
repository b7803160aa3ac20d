/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pod's IPC and UTS namespaces.
 */
#ifndef POD_SHAREDNS_H
#define POD_SHAREDNS_H

#include "base/err.h"

#define SANDBOX_NS_DIR "/run/sandbox-ns"
#define SANDBOX_NS_IPC SANDBOX_NS_DIR "/ipc" /* what containers join */
#define SANDBOX_NS_UTS SANDBOX_NS_DIR "/uts"

/*
 * Makes the sandbox's IPC and UTS namespaces, held by the two files above. hostname NULL or "":
 * as the guest's. The caller must be single-threaded; it comes back to its own namespaces.
 */
int sandbox_ns_create(const char *hostname, struct err *err);
void sandbox_ns_destroy(void); /* detaches both; processes in them stay there */

#endif
