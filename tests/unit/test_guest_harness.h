/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs handlers as the dispatcher does, with a road that keeps the answer. For tests that include it
 * once; what it needs of the kernel (namespaces, mounts) makes a test skip where it is refused.
 */
#ifndef TEST_GUEST_HARNESS_H
#define TEST_GUEST_HARNESS_H

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.pb-c.h"
#include "base/auto.h"
#include "base/fdio.h"
#include "base/loop.h"
#include "base/reaper.h"
#include "rpc/call.h"
#include "rpc/dispatch.h"
#include "pod/agent.h"
#include "config.h"
#include "linux/uevent.h"

static struct config config = { .hotplug_timeout_ms = 200 };
static struct agent agent;
static int answered; /* how often: must be once */
static int status;   /* of the last answer */
static char message[600];
static struct buf answer;

static void on_answer(struct call *c, struct buf *body)
{
	(void)c;
	answered++;
	status = RPC_OK;
	message[0] = '\0';
	buf_free(&answer);
	answer = *body;
	*body = (struct buf){ 0 };
	loop_stop(agent.loop);
}

static void on_fail(struct call *c, int code, const char *msg)
{
	(void)c;
	answered++;
	status = code;
	(void)snprintf(message, sizeof(message), "%s", msg);
	loop_stop(agent.loop);
}

static const struct call_road road = { on_answer, on_fail };

static inline void harness_start(void)
{
	cr_assert_eq(loop_new(&agent.loop), 0);
	cr_assert_eq(reaper_new(agent.loop, &agent.reaper), 0);
	cr_assert_eq(uevents_new(agent.loop, agent.reaper, &agent.uevents), 0);
	agent.config = &config;
	list_init(&agent.copies);
	list_init(&agent.onlines);
	list_init(&agent.scrapes);
	log_threshold = LOG_ERROR; /* refusals are what is tested */
	agent.rpc.loop = agent.loop;
	agent.rpc.agent = &agent;
}

static inline void harness_stop(void)
{
	buf_free(&answer);
	uevents_free(agent.uevents);
	reaper_free(agent.reaper);
	loop_free(agent.loop);
}

/* A mount namespace of our own with an empty /run; skips where that is refused. */
static inline void harness_own_run(void)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		cr_skip_test("needs a mount namespace");
	cr_assert_eq(mount("tmpfs", "/run", "tmpfs", 0, "mode=0755"), 0);
}

/* Calls a handler and waits for its answer; the status. */
static inline int ask(rpc_handler *fn, enum schema schema, const void *req)
{
	const ProtobufCMessage *m = req;
	struct rpc_method method = {
		.service = "grpc.Test", .name = "Test", .request = m->descriptor, .fn = fn
	};
	size_t len = protobuf_c_message_get_packed_size(m);
	uint8_t *body = malloc(len + 1);
	struct call *c = call_new(&agent.rpc, &road, NULL, &method, schema, -1);

	cr_assert_not_null(body);
	cr_assert_not_null(c);
	(void)protobuf_c_message_pack(m, body);
	answered = 0;
	rpc_run(c, body, len);
	free(body);
	if (!answered)
		cr_assert_eq(loop_run(agent.loop), 0);
	cr_assert_eq(answered, 1);
	cr_assert_eq(agent.rpc.calls, 0, "the call is gone");
	return status;
}

/* The last answer as a message; free with protobuf_c_message_free_unpacked. */
static inline void *answer_as(const ProtobufCMessageDescriptor *type)
{
	void *m = protobuf_c_message_unpack(type, NULL, buf_len(&answer), buf_data(&answer));

	cr_assert_not_null(m);
	return m;
}

#endif
