/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection without a socket, and malloc that fails when told to (link with --wrap). The service is
 * that of tests/wire. One world a test process.
 */
#ifndef TESTS_UNIT_WIRE_FAKE_H
#define TESTS_UNIT_WIRE_FAKE_H

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../wire/methods.c"
#include "base/buf.h"
#include "base/log.h"
#include "wire/detect.h"

static struct fake {
	struct conn conn;
	struct buf out; /* what was written and taken */
	size_t room;	/* how much more is taken */
	int dead;	/* -errno that writes get */
	int writes;	/* how often it was asked to take something */
	bool hung_up, paused;
} fake;
static struct loop *fake_loop;
static struct test_service fake_service;
static struct rpc_server fake_rpc;

static long malloc_left = -1; /* allocations that still succeed; -1: all do */

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);

static bool malloc_fails(void)
{
	return malloc_left >= 0 && malloc_left-- == 0;
}

void *__wrap_malloc(size_t n)
{
	if (malloc_fails()) {
		malloc_left = -1; /* one failure at a time */
		return NULL;
	}
	return __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	if (malloc_fails()) {
		malloc_left = -1;
		return NULL;
	}
	return __real_calloc(n, size);
}

static ssize_t fake_writev(struct conn *c, const struct iovec *iov, int count)
{
	size_t done = 0;

	(void)c;
	fake.writes++;
	if (fake.dead)
		return fake.dead;
	for (int i = 0; i < count && done < fake.room; i++) {
		size_t n = iov[i].iov_len < fake.room - done ? iov[i].iov_len : fake.room - done;
		uint8_t *p;

		if (n == 0)
			continue;
		p = __real_malloc(buf_len(&fake.out) + n); /* not one that may fail */
		if (buf_len(&fake.out))
			memcpy(p, buf_data(&fake.out), buf_len(&fake.out));
		memcpy(p + buf_len(&fake.out), iov[i].iov_base, n);
		n += buf_len(&fake.out);
		done += n - buf_len(&fake.out);
		free(fake.out.mem);
		fake.out = (struct buf){ .mem = p, .end = n, .size = n };
	}
	fake.room -= done;
	return (ssize_t)done;
}

static void fake_hang_up(struct conn *c)
{
	(void)c;
	fake.hung_up = true;
}

static void fake_pause(struct conn *c, bool on)
{
	(void)c;
	fake.paused = on;
}

static const struct conn_carrier fake_carrier = { fake_writev, fake_hang_up, fake_pause };

static void fake_on_stop(struct job *j)
{
	(void)j;
	loop_stop(fake_loop);
}

static void fake_jobs(void)
{
	static struct job stop;

	job_queue(fake_loop, &stop, fake_on_stop);
	cr_assert_eq(loop_run(fake_loop), 0);
}

static void fake_begin(void)
{
	if (!fake_loop) {
		log_threshold = LOG_ERROR;
		cr_assert_eq(loop_new(&fake_loop), 0);
		test_service_init(&fake_service, &fake_rpc, fake_loop);
	}
	fake = (struct fake){
		.conn = { .rpc = &fake_rpc, .carrier = &fake_carrier, .peer = "fake" },
		.room = SIZE_MAX
	};
	(void)detect_start(&fake.conn);
}

/* Ends the connection; nothing of it may be left. */
static void fake_end(void)
{
	malloc_left = -1;
	conn_closed(&fake.conn);
	test_service_release(&fake_service, 0);
	fake_jobs();
	buf_free(&fake.out);
	cr_assert_eq(fake_rpc.calls, 0, "%u calls are left", fake_rpc.calls);
	cr_assert_eq(fake_rpc.held, 0, "%zu bytes are held", fake_rpc.held);
	cr_assert(list_empty(&fake_service.parked));
}

static void fake_all_over(void)
{
	loop_free(fake_loop);
	fake_loop = NULL;
}

/* Feeds bytes in portions and runs the jobs after each; 0 or what ended the connection. */
static inline int fake_feed(const void *data, size_t len, size_t portion)
{
	int r = 0;

	for (size_t at = 0; at < len && r == 0 && !fake.hung_up; at += portion) {
		size_t n = len - at < portion ? len - at : portion;
		uint8_t *exact = __real_malloc(n);

		memcpy(exact, (const uint8_t *)data + at, n);
		r = conn_input(&fake.conn, exact, n);
		free(exact);
		fake_jobs();
	}
	return r;
}

/* The whole session again and again, each time with another allocation that fails. */
static inline void fake_without_memory(const void *data, size_t len, conn_start *start, int rounds)
{
	for (int n = 0; n < rounds; n++) {
		fake_begin();
		malloc_left = n;
		if (!start || start(&fake.conn) == 0) {
			(void)fake_feed(data, len, 50);
			if (!fake.hung_up && fake.conn.protocol)
				(void)conn_writable(&fake.conn);
		}
		fake_end();
	}
	fake_all_over();
}

static inline size_t fake_read_seed(const char *name, uint8_t *out, size_t size)
{
	char path[256];
	FILE *f;
	size_t n;

	snprintf(path, sizeof(path), "tests/fuzz/corpus/%s", name);
	f = fopen(path, "rb");
	cr_assert_not_null(f, "%s: run the tests in the project's directory", path);
	n = fread(out, 1, size, f);
	fclose(f);
	cr_assert_gt(n, 5);
	memmove(out, out + 5, n - 5); /* without the fuzzer's script */
	return n - 5;
}

#endif
