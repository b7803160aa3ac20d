/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CopyFile: a file of the host, chunk by chunk, to a place below /run.
 */
#ifndef SVC_COPYFILE_H
#define SVC_COPYFILE_H

#include "base/err.h"
#include "rpc/call.h"

int svc_copy_file(struct call *c, const void *req, struct err *err);

#endif
