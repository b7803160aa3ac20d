/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection without a socket, for fuzz targets: bytes come from the input, and what is written is
 * taken in portions that the input chooses, too.
 */
#ifndef TESTS_FUZZ_FAKE_H
#define TESTS_FUZZ_FAKE_H

#include "methods.h"
#include "wire/detect.h"

struct fake {
	struct conn conn;
	uint32_t script; /* what the peer takes of each write */
	bool hung_up, paused;
	size_t written;
};

/* The loop, the service and its server, made once. */
struct fake_world {
	struct loop *loop;
	struct test_service service;
	struct rpc_server rpc;
};

struct fake_world *fake_world(void);
/* All jobs that are queued, and none that waits for time or a socket. */
void fake_run_jobs(struct fake_world *w);
/* A connection, a step at a time. What returns negative, or hangs up, is over: fake_end. */
int fake_begin(struct fake *f, uint32_t script, conn_start *start);
int fake_feed(struct fake *f, const uint8_t *data, size_t n);
/* At the end nothing may be left of it. */
void fake_end(struct fake *f);

/*
 * A whole connection: data[0..4] is the script (portions in, portions out, what happens at the end),
 * the rest is fed behind prefix. At the end nothing may be left of it.
 */
void fake_session(const uint8_t *data, size_t size, const void *prefix, size_t prefix_len,
		  conn_start *start);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
