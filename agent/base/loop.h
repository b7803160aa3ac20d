/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one loop: epoll sources, timers, and jobs to do before the next wait. Everything runs in
 * this thread; callbacks must not block. Sources, timers and jobs live inside their owner's struct.
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "base/list.h"

struct loop;
struct source;
struct timer;
struct job;

typedef void source_fn(struct source *s, uint32_t events);
typedef void timer_fn(struct timer *t);
typedef void job_fn(struct job *j);

struct source {
	struct loop *loop; /* NULL: not in a loop */
	source_fn *fn;
	int fd; /* not owned */
	uint32_t
		/* what is being waited for; 0 waits for nothing (HUP and ERR come always) */
		events;
};

struct timer {
	struct list link;
	struct loop *loop; /* NULL: not armed */
	timer_fn *fn;
	int64_t at; /* CLOCK_MONOTONIC ms */
};

struct job {
	struct list link;
	job_fn *fn;
	bool queued;
};

int loop_new(struct loop **ret); /* 0 or -errno */
void loop_free(struct loop *l);
/* Runs until loop_stop; 0 or -errno (only when epoll itself fails). */
int loop_run(struct loop *l);
void loop_stop(struct loop *l);
int64_t loop_now_ms(void);

/*
 * Adds fd to the loop; s must not be in one. 0 or -errno. Level-triggered unless events has
 * EPOLLET. A regular file cannot be waited for: -EPERM.
 */
int loop_add(struct loop *l, struct source *s, int fd, uint32_t events, source_fn *fn);
int loop_mod(struct source *s, uint32_t events);
/* Safe in any callback and on a source that is in no loop. The memory of s may go at once. */
void loop_del(struct source *s);

/* (Re)arms t to fire once in ms milliseconds. */
void timer_set(struct loop *l, struct timer *t, int64_t ms, timer_fn *fn);
void timer_cancel(struct timer *t); /* harmless when not armed */

/* Runs fn once, after the current batch of events; harmless when queued already. */
void job_queue(struct loop *l, struct job *j, job_fn *fn);
void job_cancel(struct job *j);

#endif
