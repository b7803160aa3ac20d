/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox: made, destroyed, traced; what befell its containers. No state.
 */
#include "svc/svc.h"

#include "config.h"
#include "pod/agent.h"
#include "pod/oom.h"
#include "pod/sandbox.h"

int svc_create_sandbox(struct call *c, const void *req, struct err *err)
{
	return sandbox_create(call_agent(c)->sandbox, req, c, err);
}

int svc_destroy_sandbox(struct call *c, const void *req, struct err *err)
{
	(void)req;
	return sandbox_destroy(call_agent(c)->sandbox, c, err);
}

int svc_get_oom_event(struct call *c, const void *req, struct err *err)
{
	(void)req;
	(void)err;
	return oom_next(call_agent(c), c);
}

/* By agent.trace, as 1.x has it: on from the start, and StopTracing is answered before the end. */
static bool is_traced_always(const struct call *c)
{
	return call_agent(c)->config->trace;
}

/* Spans go to the log: switched on, every call is logged with its duration (rpc/call.c). */
int svc_start_tracing(struct call *c, const void *request, struct err *err)
{
	struct sandbox *sb = call_agent(c)->sandbox;

	(void)request;
	if (sb->traced || is_traced_always(c))
		return err_rpc(err, RPC_FAILED_PRECONDITION, "tracing already enabled");
	sb->traced = true;
	call_agent(c)->rpc.trace = true;
	return call_reply_empty(c);
}

int svc_stop_tracing(struct call *c, const void *request, struct err *err)
{
	struct sandbox *sb = call_agent(c)->sandbox;

	(void)request;
	if (!sb->traced && !is_traced_always(c))
		return err_rpc(err, RPC_FAILED_PRECONDITION, "tracing not enabled");
	if (sb->trace_stopped)
		return err_rpc(err, RPC_FAILED_PRECONDITION, "tracing already disabled");
	sb->trace_stopped = true;
	call_agent(c)->rpc.trace = is_traced_always(c);
	return call_reply_empty(c);
}
