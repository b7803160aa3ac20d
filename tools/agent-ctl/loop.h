/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One poll loop. poll rather than epoll: standard input and output may be regular files, which
 * epoll refuses, and but for the proxy there are never more than a handful of descriptors.
 */
#ifndef CTL_LOOP_H
#define CTL_LOOP_H

#include "common.h"

#define LOOP_MAX_IO	1032 /* the proxy's clients and a few more */
#define LOOP_MAX_TIMERS 1024

/* Embedded in its owner, which keeps it until loop_del. events may be changed at any time. */
struct io {
	int fd;
	short events; /* 0: not waited for */
	void (*fn)(struct io *io, short revents);
	void *arg;
};

struct timer {
	int64_t at_ms;
	void (*fn)(struct timer *t);
	void *arg;
	bool armed;
};

struct loop {
	struct io *ios[LOOP_MAX_IO];
	size_t n_ios; /* those in use lie below */
	struct timer *timers[LOOP_MAX_TIMERS];
	size_t n_timers;
};

void loop_add(struct loop *l, struct io *io);
void loop_del(struct loop *l, struct io *io); /* safe inside any callback, harmless twice */
void loop_timer(struct loop *l, struct timer *t, int64_t at_ms);
void loop_timer_del(struct loop *l, struct timer *t);
/* Waits for one batch of events and runs their callbacks. */
void loop_turn(struct loop *l);
static inline void loop_until(struct loop *l, const bool *done)
{
	while (!*done)
		loop_turn(l);
}

#endif
