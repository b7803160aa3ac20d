/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grpc.Health: is anybody there, and who.
 */
#ifndef SVC_HEALTH_H
#define SVC_HEALTH_H

#include "rpc/call.h"

#define API_VERSION "0.0.1"
#ifndef AGENT_VERSION
#define AGENT_VERSION "unknown"
#endif

int svc_check(struct call *c, const void *req, struct err *err);
int svc_version(struct call *c, const void *req, struct err *err);

/* The program's version. Static text. */
const char *agent_version(void);
/* The line that --version prints; rootfs.sh also finds it in the binary of another architecture. */
const char *agent_version_line(void);

#endif
