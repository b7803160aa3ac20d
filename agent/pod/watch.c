/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The watching child, from the parent's side and from its own. It is started anew whenever its
 * list changes: what it needs to know stands in the files.
 */
#include "pod/watch.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/log.h"
#include "base/worker.h"
#include "pod/agent.h"

/* What has grown too large for a copy is mounted. */
#define WATCH_CAPS (WORKER_WRITES | UINT64_C(1) << CAP_SYS_ADMIN)

#define WATCH_MS 2000 /* as the reference has it */
#define FOLDER	 "/watchable/"

void watcher_init(struct watcher *w)
{
	*w = (struct watcher){ 0 };
	list_init(&w->items);
}

size_t watch_folder(const char *rel)
{
	const char *at = strstr(rel, FOLDER);

	return at && at[strlen(FOLDER)] ? (size_t)(at - rel) + strlen(FOLDER) - 1 : 0;
}

/* ---- in the child ---- */

static void watch_pass(struct watcher *w)
{
	list_for_each_safe(struct watched, item, &w->items, link) {
		struct err err = { 0 };
		bool copied;

		/* A source that is gone for now may come back; the copy stays meanwhile. */
		if (storage_copy_again(&item->plan, &copied, &err) < 0 || copied)
			continue;
		log_warn(
			"storage",
			"%s has grown too large to be watched: it is bound, and who has " STORAGE_ROOT
			"/%s open or mounted keeps what he sees",
			item->plan.source, item->plan.rel);
		list_del(&item->link);
	}
}

/* Ends with the agent, or killed by it. */
static int watch_job(void *arg, int out, struct err *err)
{
	struct watcher *w = arg;
	pid_t agent = getppid();
	int keep[] = { out };

	(void)err;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	(void)prctl(PR_SET_NAME, "kata-watch", 0, 0, 0);
	fdio_close_except(keep, 1);
	log_forget_fds();
	while (getppid() == agent && !list_empty(&w->items)) {
		(void)poll(NULL, 0, WATCH_MS);
		watch_pass(w);
	}
	return 0;
}

/* ---- in the agent ---- */

static void watch_start(struct timer *t);

/* It has nothing left to watch, or was killed by somebody. */
static void watch_ended(void *arg, const struct err *err, const struct buf *out)
{
	struct watcher *w = arg;

	(void)err;
	(void)out;
	w->worker = NULL;
	if (!list_empty(&w->items))
		timer_set(w->agent->loop, &w->start, 30 * WATCH_MS, watch_start);
}

static void watch_start(struct timer *t)
{
	static const struct worker_opts opts = { .caps = WATCH_CAPS };
	struct watcher *w = container_of(t, struct watcher, start);
	int r = worker_start(w->agent->loop, w->agent->reaper, &opts, watch_job, watch_ended, w,
			     &w->worker);

	if (r < 0) {
		log_warn("storage", "start watching: %s", strerror(-r));
		timer_set(w->agent->loop, t, WATCH_MS, watch_start);
	}
}

/* Once for all changes of one turn of the loop. */
static void watch_changed(struct watcher *w)
{
	if (w->worker)
		worker_cancel(w->worker);
	w->worker = NULL;
	timer_cancel(&w->start);
	if (!list_empty(&w->items))
		timer_set(w->agent->loop, &w->start, 0, watch_start);
}

void watch_add(struct agent *a, struct watcher *w, struct watched *item)
{
	w->agent = a;
	list_add_tail(&w->items, &item->link);
	watch_changed(w);
}

void watch_remove(struct watcher *w, struct watched *item)
{
	if (list_empty(&item->link))
		return;
	list_del(&item->link);
	watch_changed(w);
}
