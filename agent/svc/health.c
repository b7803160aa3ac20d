/* SPDX-License-Identifier: Apache-2.0 */
/*
 * grpc.Health. No state.
 */
#include "svc/svc.h"

#include "health.pb-c.h"

#define API_VERSION "0.0.1"
#ifndef AGENT_VERSION
#define AGENT_VERSION "unknown"
#endif

const char *agent_version(void)
{
	return AGENT_VERSION;
}

const char *agent_version_line(void)
{
	return "kata-agent version " AGENT_VERSION " (api version: " API_VERSION
	       ", commit version: " AGENT_VERSION ", type: c, extra-features: [seccomp])";
}

int svc_check(struct call *c, const void *req, struct err *err)
{
	Grpc__HealthCheckResponse resp = GRPC__HEALTH_CHECK_RESPONSE__INIT;

	(void)req;
	(void)err;
	resp.status = GRPC__SERVING_STATUS__SERVING;
	return call_reply(c, &resp.base);
}

int svc_version(struct call *c, const void *req, struct err *err)
{
	static char api[] = API_VERSION, version[] = AGENT_VERSION;
	Grpc__VersionCheckResponse resp = GRPC__VERSION_CHECK_RESPONSE__INIT;

	(void)req;
	(void)err;
	resp.grpc_version = api;
	resp.agent_version = version;
	return call_reply(c, &resp.base);
}
