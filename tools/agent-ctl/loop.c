/* SPDX-License-Identifier: Apache-2.0 */
/* The poll loop of agent-ctl. */
#include "loop.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>

void loop_add(struct loop *l, struct io *io)
{
	for (size_t i = 0; i < LOOP_MAX_IO; i++) {
		if (!l->ios[i] || l->ios[i] == io) {
			l->ios[i] = io;
			l->n_ios = i >= l->n_ios ? i + 1 : l->n_ios;
			return;
		}
	}
	assert(false); /* more descriptors than agent-ctl ever opens */
}

void loop_del(struct loop *l, struct io *io)
{
	for (size_t i = 0; i < l->n_ios; i++) {
		if (l->ios[i] == io)
			l->ios[i] = NULL;
	}
	while (l->n_ios > 0 && !l->ios[l->n_ios - 1])
		l->n_ios--;
}

void loop_timer(struct loop *l, struct timer *t, int64_t at_ms)
{
	t->at_ms = at_ms;
	if (t->armed)
		return;
	assert(l->n_timers < LOOP_MAX_TIMERS);
	l->timers[l->n_timers++] = t;
	t->armed = true;
}

void loop_timer_del(struct loop *l, struct timer *t)
{
	if (!t->armed)
		return;
	for (size_t i = 0; i < l->n_timers; i++) {
		if (l->timers[i] == t) {
			l->timers[i] = l->timers[--l->n_timers];
			break;
		}
	}
	t->armed = false;
}

static int next_timeout(const struct loop *l)
{
	int64_t next = INT64_MAX, left;

	for (size_t i = 0; i < l->n_timers; i++) {
		if (l->timers[i]->at_ms < next)
			next = l->timers[i]->at_ms;
	}
	if (next == INT64_MAX)
		return -1;
	left = next - now_ms();
	return left <= 0 ? 0 : left > 3600000 ? 3600000 : (int)left;
}

/* A callback may arm or drop any timer: start over after each. */
static void run_timers(struct loop *l)
{
	int64_t now = now_ms();

	for (;;) {
		struct timer *due = NULL;

		for (size_t i = 0; i < l->n_timers && !due; i++) {
			if (l->timers[i]->at_ms <= now)
				due = l->timers[i];
		}
		if (!due)
			return;
		loop_timer_del(l, due);
		due->fn(due);
	}
}

void loop_turn(struct loop *l)
{
	struct pollfd fds[LOOP_MAX_IO];
	struct io *who[LOOP_MAX_IO];
	size_t slot[LOOP_MAX_IO];
	nfds_t n = 0;
	int r;

	for (size_t i = 0; i < l->n_ios; i++) {
		if (!l->ios[i] || !l->ios[i]->events)
			continue;
		fds[n] = (struct pollfd){ .fd = l->ios[i]->fd, .events = l->ios[i]->events };
		slot[n] = i;
		who[n++] = l->ios[i];
	}
	r = poll(fds, n, next_timeout(l));
	if (r < 0 && errno != EINTR)
		abort(); /* poll with descriptors of our own does not fail */
	for (nfds_t k = 0; r > 0 && k < n; k++) {
		if (fds[k].revents && l->ios[slot[k]] == who[k])
			who[k]->fn(who[k], fds[k].revents);
	}
	run_timers(l);
}
