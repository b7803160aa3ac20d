/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What background processes write when nobody listens any more. Each wake-up reads one buffer, of
 * the stack: a flood costs no memory, and the others have their turn.
 */
#include "pod/drain.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/limits.h"
#include "base/log.h"
#include "pod/agent.h"
#include "pod/pod.h"

struct drain {
	struct list link; /* in container->drains, oldest first */
	struct container *ctr;
	struct source source;
	int fd;
};

static void drain_end(struct drain *d)
{
	loop_del(&d->source);
	auto_closep(&d->fd);
	list_del(&d->link);
	d->ctr->drain_count--;
	free(d);
}

static void on_drain(struct source *s, uint32_t events)
{
	struct drain *d = container_of(s, struct drain, source);
	char nothing[16384];
	ssize_t n = read(d->fd, nothing, sizeof(nothing));

	(void)events;
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		drain_end(d);
}

void drain_add(struct container *ctr, int *fd)
{
	struct drain *d;

	if (*fd < 0)
		return;
	if (ctr->drain_count >= LIMIT_DRAINS)
		drain_end(list_first(&ctr->drains, struct drain, link));
	d = calloc(1, sizeof(*d));
	if (!d) {
		auto_closep(fd);
		return;
	}
	d->ctr = ctr;
	d->fd = TAKE_FD(*fd);
	list_add_tail(&ctr->drains, &d->link);
	ctr->drain_count++;
	if (loop_add(ctr->agent->loop, &d->source, d->fd, EPOLLIN, on_drain) < 0)
		drain_end(d);
}

void drains_close(struct container *ctr)
{
	struct drain *d;

	while ((d = list_first(&ctr->drains, struct drain, link)))
		drain_end(d);
}
