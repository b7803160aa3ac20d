/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop. State: the epoll fd, the armed timers in order of time, the queued jobs, and the batch
 * of events being worked off, in which loop_del blanks what it removes.
 */
#include "base/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/auto.h"

#define BATCH 32

struct loop {
	int epfd;
	bool stop;
	struct list timers, jobs;
	struct epoll_event batch[BATCH];
	int batch_len;
};

int loop_new(struct loop **ret)
{
	struct loop *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epfd < 0) {
		free(l);
		return -errno;
	}
	list_init(&l->timers);
	list_init(&l->jobs);
	*ret = l;
	return 0;
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	(void)close(l->epfd);
	free(l);
}

int64_t loop_now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void loop_stop(struct loop *l)
{
	l->stop = true;
}

int loop_add(struct loop *l, struct source *s, int fd, uint32_t events, source_fn *fn)
{
	struct epoll_event ev = { .events = events, .data.ptr = s };

	if (epoll_ctl(l->epfd, EPOLL_CTL_ADD, fd, &ev) < 0)
		return -errno;
	*s = (struct source){ .loop = l, .fn = fn, .fd = fd, .events = events };
	return 0;
}

int loop_mod(struct source *s, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = s };

	if (s->events == events)
		return 0;
	if (epoll_ctl(s->loop->epfd, EPOLL_CTL_MOD, s->fd, &ev) < 0)
		return -errno;
	s->events = events;
	return 0;
}

void loop_del(struct source *s)
{
	struct loop *l = s->loop;

	if (!l)
		return;
	(void)epoll_ctl(l->epfd, EPOLL_CTL_DEL, s->fd, NULL);
	/* It may have been ready in this very batch: nobody calls it any more. */
	for (int i = 0; i < l->batch_len; i++) {
		if (l->batch[i].data.ptr == s)
			l->batch[i].data.ptr = NULL;
	}
	s->loop = NULL;
}

void timer_set(struct loop *l, struct timer *t, int64_t ms, timer_fn *fn)
{
	struct list *before;

	timer_cancel(t);
	t->loop = l;
	t->fn = fn;
	t->at = loop_now_ms() + ms;
	/* From the end: a new timer is mostly the latest. */
	for (before = l->timers.prev; before != &l->timers; before = before->prev) {
		if (container_of(before, struct timer, link)->at <= t->at)
			break;
	}
	list_add(before, &t->link);
}

void timer_cancel(struct timer *t)
{
	if (!t->loop)
		return;
	list_del(&t->link);
	t->loop = NULL;
}

void job_queue(struct loop *l, struct job *j, job_fn *fn)
{
	if (j->queued)
		return;
	j->fn = fn;
	j->queued = true;
	list_add_tail(&l->jobs, &j->link);
}

void job_cancel(struct job *j)
{
	if (!j->queued)
		return;
	list_del(&j->link);
	j->queued = false;
}

/* Those that are there now: what they queue comes after the events that are ready by then. */
static void run_jobs(struct loop *l)
{
	struct job last = { 0 }, *j;

	if (list_empty(&l->jobs))
		return;
	list_add_tail(&l->jobs, &last.link);
	while ((j = list_first(&l->jobs, struct job, link)) != &last) {
		job_cancel(j);
		j->fn(j);
	}
	list_del(&last.link);
}

static void run_timers(struct loop *l)
{
	struct timer *t;

	while ((t = list_first(&l->timers, struct timer, link)) && t->at <= loop_now_ms()) {
		timer_cancel(t);
		t->fn(t);
	}
}

static int wait_ms(const struct loop *l)
{
	const struct timer *t = list_first(&l->timers, struct timer, link);
	int64_t ms;

	if (!list_empty(&l->jobs))
		return 0;
	if (!t)
		return -1;
	ms = t->at - loop_now_ms();
	return ms < 0 ? 0 : ms > 1000000 ? 1000000 : (int)ms;
}

int loop_run(struct loop *l)
{
	l->stop = false;
	while (!l->stop) {
		run_jobs(l);
		if (l->stop)
			break;
		l->batch_len = epoll_wait(l->epfd, l->batch, BATCH, wait_ms(l));
		if (l->batch_len < 0) {
			l->batch_len = 0;
			if (errno != EINTR)
				return -errno;
		}
		for (int i = 0; i < l->batch_len; i++) {
			struct source *s = l->batch[i].data.ptr;

			if (s)
				s->fn(s, l->batch[i].events);
		}
		l->batch_len = 0;
		run_timers(l);
	}
	return 0;
}
