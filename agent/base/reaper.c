/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reaper. State: the signalfd and the list of watched children. Everything else that dies here
 * is an orphan of some container, and is dropped.
 */
#include "base/reaper.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/log.h"

struct reaper {
	struct source source;
	struct list watched;
	int fd;
};

static void on_sigchld(struct source *s, uint32_t events)
{
	struct reaper *r = container_of(s, struct reaper, source);
	struct signalfd_siginfo drop[8];
	ssize_t n;

	(void)events;
	/* Fifty deaths may leave one record; what comes after a short read wakes us anew. */
	do
		n = read(s->fd, drop, sizeof(drop));
	while (n == (ssize_t)sizeof(drop) || (n < 0 && errno == EINTR));
	for (;;) {
		siginfo_t w = { 0 };

		if (waitid(P_ALL, 0, &w, WEXITED | WNOHANG) < 0) {
			if (errno == EINTR)
				continue;
			return;
		}
		if (w.si_pid == 0)
			return;
		list_for_each(struct reap, it, &r->watched, link) {
			if (it->pid != w.si_pid)
				continue;
			reaper_forget(it);
			it->fn(it, w.si_code == CLD_EXITED ? w.si_status : 128 + w.si_status);
			break;
		}
	}
}

int reaper_new(struct loop *l, struct reaper **ret)
{
	struct reaper *r = calloc(1, sizeof(*r));
	sigset_t set;
	int err;

	if (!r)
		return -ENOMEM;
	list_init(&r->watched);
	r->fd = FD_NONE;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 ||
	    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0) {
		err = -errno;
		goto fail;
	}
	r->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (r->fd < 0) {
		err = -errno;
		goto fail;
	}
	err = loop_add(l, &r->source, r->fd, EPOLLIN, on_sigchld);
	if (err < 0)
		goto fail;
	*ret = r;
	return 0;
fail:
	reaper_free(r);
	return err;
}

void reaper_free(struct reaper *r)
{
	if (!r)
		return;
	loop_del(&r->source);
	auto_closep(&r->fd);
	free(r);
}

void reaper_watch(struct reaper *r, struct reap *w, pid_t pid, reap_fn *fn)
{
	w->pid = pid;
	w->fn = fn;
	list_add(&r->watched, &w->link);
}

void reaper_forget(struct reap *w)
{
	if (!w->pid)
		return;
	list_del(&w->link);
	w->pid = 0;
}
