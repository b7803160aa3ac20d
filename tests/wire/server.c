/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server ADDRESS...: serves the test service at each address until DestroySandbox or a signal. For
 * tests of the roads without an agent; built under ASan it also checks them for leaks.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "methods.h"
#include "wire/channel.h"
#include "wire/conn.h"

#define ADDRESSES 8

static void failed(void *arg, const struct err *err)
{
	(void)fprintf(stderr, "server: %s\n", err->msg);
	loop_stop(arg);
}

static struct loop *loop;

static void stop(struct job *j)
{
	(void)j;
	loop_stop(loop);
}

int main(int argc, char **argv)
{
	struct channel *channels[ADDRESSES] = { 0 };
	struct test_service service;
	struct rpc_server rpc;
	struct job last = { 0 };
	struct loop *l;
	int r;

	(void)signal(SIGPIPE, SIG_DFL); /* a write that could raise it is a bug */
	if (getenv("TEST_DEBUG"))
		log_threshold = LOG_DEBUG;
	if (argc < 2 || argc > ADDRESSES || loop_new(&l) < 0)
		return 2;
	test_service_init(&service, &rpc, l);
	for (int i = 1; i < argc; i++) {
		struct channel_opts opts = { .address = argv[i] };
		struct err err = { 0 };

		if (channel_start(l, &rpc, &opts, failed, l, &channels[i - 1], &err) < 0) {
			(void)fprintf(stderr, "server: %s\n", err.msg);
			return 1;
		}
	}
	r = loop_run(l);
	test_service_release(&service, 0);
	/* After the jobs that write the answers. */
	loop = l;
	job_queue(l, &last, stop);
	r |= loop_run(l);
	fdconn_close_all();
	for (int i = 0; i < ADDRESSES; i++)
		channel_stop(channels[i]);
	loop_free(l);
	return r < 0;
}
