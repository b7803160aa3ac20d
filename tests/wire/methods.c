/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service:
 *   Health/Check        SERVING
 *   Health/Version      fails with UNIMPLEMENTED and a message outside of ASCII
 *   WriteStdin          how many bytes came
 *   ReadStdout          so many bytes (at most LIMIT_READ) of a pattern
 *   WaitProcess         parks; "go-on" as container_id: is not ended by a cancellation
 *   SignalProcess       releases all parked calls with the signal's number
 *   StatsContainer      fails with NOT_FOUND and the container's name
 *   DestroySandbox      stops the loop
 */
#include "methods.h"

#include <errno.h>
#include <string.h>

#include "agent.pb-c.h"
#include "health.pb-c.h"
#include "base/auto.h"
#include "base/limits.h"
#include "rpc/call.h"

static struct test_service *service(struct call *c)
{
	return (struct test_service *)(void *)call_agent(c);
}

static int check(struct call *c, const void *req, struct err *err)
{
	Grpc__HealthCheckResponse resp = GRPC__HEALTH_CHECK_RESPONSE__INIT;

	(void)req;
	(void)err;
	service(c)->run++;
	resp.status = GRPC__SERVING_STATUS__SERVING;
	return call_reply(c, &resp.base);
}

static int version(struct call *c, const void *req, struct err *err)
{
	(void)req;
	service(c)->run++;
	return err_rpc(err, RPC_UNIMPLEMENTED, "100%% gr\xc3\xbcn\n");
}

static int write_stdin(struct call *c, const void *r, struct err *err)
{
	const Grpc__WriteStreamRequest *req = r;
	Grpc__WriteStreamResponse resp = GRPC__WRITE_STREAM_RESPONSE__INIT;

	(void)err;
	service(c)->run++;
	resp.len = (uint32_t)req->data.len;
	return call_reply(c, &resp.base);
}

static int read_stdout(struct call *c, const void *r, struct err *err)
{
	static uint8_t pattern[LIMIT_READ];
	const Grpc__ReadStreamRequest *req = r;
	Grpc__ReadStreamResponse resp = GRPC__READ_STREAM_RESPONSE__INIT;

	(void)err;
	service(c)->run++;
	if (pattern[1] == 0) {
		for (size_t i = 0; i < sizeof(pattern); i++)
			pattern[i] = (uint8_t)(i * 7 + i / 256);
	}
	resp.data.data = pattern;
	resp.data.len = req->len < LIMIT_READ ? req->len : LIMIT_READ;
	return call_reply(c, &resp.base);
}

static void cancelled(struct call *c)
{
	service(c)->parked_now--;
	service(c)->cancelled++;
}

static int wait_process(struct call *c, const void *r, struct err *err)
{
	const Grpc__WaitProcessRequest *req = r;
	struct test_service *t = service(c);

	(void)err;
	t->run++;
	t->parked_now++;
	return call_park(c, &t->parked, strcmp(req->container_id, "go-on") ? cancelled : call_go_on,
			 NULL);
}

void test_service_release(struct test_service *t, int status)
{
	Grpc__WaitProcessResponse resp = GRPC__WAIT_PROCESS_RESPONSE__INIT;
	struct call *c;

	resp.status = status;
	while ((c = list_first(&t->parked, struct call, parked))) {
		t->parked_now--;
		(void)call_reply(c, &resp.base);
	}
}

static int signal_process(struct call *c, const void *r, struct err *err)
{
	const Grpc__SignalProcessRequest *req = r;

	(void)err;
	service(c)->run++;
	test_service_release(service(c), (int)req->signal);
	return call_reply_empty(c);
}

static int stats(struct call *c, const void *r, struct err *err)
{
	const Grpc__StatsContainerRequest *req = r;

	service(c)->run++;
	return err_rpc(err, RPC_NOT_FOUND, "no container '%s'", req->container_id);
}

static int destroy(struct call *c, const void *r, struct err *err)
{
	(void)r;
	(void)err;
	loop_stop(c->server->loop);
	return call_reply_empty(c);
}

#define HEALTH(method, handler)                                            \
	{                                                                  \
		.service = "grpc.Health", .name = method,                  \
		.request = &grpc__check_request__descriptor, .fn = handler \
	}
#define AGENT(method, desc, handler)                                  \
	{                                                             \
		.service = "grpc.AgentService", .name = method,       \
		.request = &grpc__##desc##__descriptor, .fn = handler \
	}

static const struct rpc_method methods[] = {
	HEALTH("Check", check),
	HEALTH("Version", version),
	{ .service = "grpc.AgentService",
	  .name = "WriteStdin",
	  .request = &grpc__write_stream_request__descriptor,
	  .fn = write_stdin,
	  .flags = M_IN_PLACE },
	AGENT("ReadStdout", read_stream_request, read_stdout),
	AGENT("WaitProcess", wait_process_request, wait_process),
	AGENT("SignalProcess", signal_process_request, signal_process),
	AGENT("StatsContainer", stats_container_request, stats),
	AGENT("DestroySandbox", destroy_sandbox_request, destroy),
};

void test_service_init(struct test_service *t, struct rpc_server *rpc, struct loop *l)
{
	*t = (struct test_service){ 0 };
	list_init(&t->parked);
	*rpc = (struct rpc_server){
		.loop = l,
		.agent = (struct agent *)(void *)t,
		.methods = methods,
		.method_count = ARRAY_LEN(methods),
	};
}
