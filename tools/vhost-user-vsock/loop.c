/* SPDX-License-Identifier: Apache-2.0 */
/* The event loop. Its only state is the epoll fd and the list of sources removed in this batch. */
#include "loop.h"

#include <errno.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64 };

int loop_open(struct loop *l)
{
	*l = (struct loop){ .epfd = epoll_create1(EPOLL_CLOEXEC) };
	return l->epfd < 0 ? -errno : 0;
}

static void bury(struct loop *l)
{
	while (l->dead) {
		struct source *s = l->dead;

		l->dead = s->next_dead;
		s->gone(s);
	}
}

void loop_close(struct loop *l)
{
	bury(l);
	if (l->epfd >= 0)
		close(l->epfd);
	l->epfd = FD_NONE;
}

int loop_add(struct loop *l, struct source *s, int fd, uint32_t events)
{
	struct epoll_event ev = { .events = events | EPOLLET, .data.ptr = s };

	if (epoll_ctl(l->epfd, EPOLL_CTL_ADD, fd, &ev) < 0)
		return -errno;
	s->fd = fd;
	s->dead = false;
	return 0;
}

void loop_close_fd(struct loop *l, struct source *s)
{
	if (s->fd < 0)
		return;
	/* Explicit: QEMU holds the same eventfds, so close() alone would not remove them. */
	(void)epoll_ctl(l->epfd, EPOLL_CTL_DEL, s->fd, NULL);
	close(s->fd);
	s->fd = FD_NONE;
}

void loop_del(struct loop *l, struct source *s)
{
	if (s->dead)
		return;
	loop_close_fd(l, s);
	s->dead = true;
	if (!s->gone)
		return; /* never freed; it may even be added again within this batch */
	s->next_dead = l->dead;
	l->dead = s;
}

int loop_once(struct loop *l, int timeout_ms)
{
	struct epoll_event ev[BATCH];
	int n = epoll_wait(l->epfd, ev, BATCH, timeout_ms);

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	for (int i = 0; i < n; i++) {
		struct source *s = ev[i].data.ptr;

		if (!s->dead)
			s->fn(s, ev[i].events);
	}
	bury(l);
	return 0;
}

int64_t loop_now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}
