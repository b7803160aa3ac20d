/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GetMetrics. State: how often it was asked, the calls that wait (a->scrapes). One worker at a time
 * reads the guest's figures, for all that wait by then: a thousand calls are a few scrapes, and a
 * disk that doesn't answer holds nobody else up.
 */
#include "svc/svc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/worker.h"
#include "linux/procmetrics.h"
#include "oci/cgroup/cgroup.h"
#include "pod/agent.h"
#include "pod/pod.h"

struct container_figures {
	const char *id;
	uint64_t cpu, memory, pids;
};

/* Each cgroup is read once. The number of containers that have figures. */
static size_t figures_read(const struct sandbox *sb, struct container_figures *figures)
{
	size_t n = 0;

	list_for_each(struct container, ctr, &sb->containers, link) {
		struct cgroup_stats s;
		struct arena mem;

		arena_init(&mem, 1u << 20);
		if (ctr->cgroup && cgroup_stats(ctr->cgroup, &mem, &s, NULL) == 0)
			figures[n++] = (struct container_figures){ ctr->id, s.cpu.total,
								   s.memory.usage, s.pids };
		arena_free(&mem);
	}
	return n;
}

/* The values of one metric have to stand together. */
static void container_metrics(struct metrics_text *t, const struct sandbox *sb)
{
	AUTO_FREE struct container_figures *f = calloc(sb->container_count + 1, sizeof(*f));
	size_t n;

	metrics_head(t, "kata_agent_containers", "gauge", "Containers in this sandbox");
	metrics_add(t, "kata_agent_containers %zu\n", sb->container_count);
	if (!f)
		t->failed = true;
	if (!f || sb->container_count == 0)
		return;
	n = figures_read(sb, f);
	metrics_head(t, "kata_container_cpu_seconds_total", "counter",
		     "CPU time of a container (in seconds)");
	for (size_t i = 0; i < n; i++)
		metrics_add(t, "kata_container_cpu_seconds_total{container_id=\"%s\"} %.6f\n",
			    f[i].id, (double)f[i].cpu / 1e9);
	metrics_head(t, "kata_container_memory_bytes", "gauge",
		     "Memory usage of a container (in bytes)");
	for (size_t i = 0; i < n; i++)
		metrics_add(t, "kata_container_memory_bytes{container_id=\"%s\"} %llu\n", f[i].id,
			    (unsigned long long)f[i].memory);
	metrics_head(t, "kata_container_pids", "gauge", "Tasks in a container");
	for (size_t i = 0; i < n; i++)
		metrics_add(t, "kata_container_pids{container_id=\"%s\"} %llu\n", f[i].id,
			    (unsigned long long)f[i].pids);
}

/* In the worker: what may wait for a disk comes last, so that the rest is there without it. */
static int metrics_job(void *arg, int out, struct err *err)
{
	void (*const parts[])(struct metrics_text * t, int proc) = { metrics_guest,
								     metrics_filesystems };
	AUTO_CLOSE int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = proc < 0 ? -errno : 0;

	(void)arg;
	for (size_t i = 0; i < ARRAY_LEN(parts) && r == 0; i++) {
		struct metrics_text t = { 0 };

		parts[i](&t, proc);
		r = t.failed ? -ENOMEM : fdio_write_all(out, buf_data(&t.buf), buf_len(&t.buf));
		buf_free(&t.buf);
	}
	return r < 0 ? err_sys(err, -r, "metrics") : 0;
}

/* guest: whole lines of the worker's; NULL: it has none to give. */
static int metrics_text_of(struct agent *a, const struct buf *guest, struct metrics_text *t,
			   struct err *err)
{
	static unsigned long scrapes;
	AUTO_CLOSE int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	size_t len = guest ? buf_len(guest) : 0;

	if (proc < 0)
		return err_sys(err, errno, "open /proc");
	metrics_agent(t, proc, ++scrapes);
	while (len > 0 && buf_data(guest)[len - 1] != '\n')
		len--;
	if (len > 0 && buf_append(&t->buf, buf_data(guest), len) < 0)
		t->failed = true;
	container_metrics(t, a->sandbox);
	return buf_append(&t->buf, "", 1) < 0 || t->failed ? err_sys(err, ENOMEM, "metrics") : 0;
}

/* The same text for all that wait by now. */
static void metrics_answer(struct agent *a, const struct buf *guest)
{
	struct metrics_text t = { 0 };
	struct err err = { 0 };
	Grpc__Metrics resp;
	int r = metrics_text_of(a, guest, &t, &err);

	grpc__metrics__init(&resp);
	resp.metrics = (char *)buf_data(&t.buf);
	timer_cancel(&a->scrape_late);
	while (!list_empty(&a->scrapes)) {
		struct call *c = list_first(&a->scrapes, struct call, parked);

		if (r == 0)
			r = call_reply(c, &resp.base) < 0 ? err_sys(&err, ENOMEM, "metrics") : 0;
		else
			(void)call_fail(c, &err);
	}
	buf_free(&t.buf);
}

static void metrics_done(void *arg, const struct err *err, const struct buf *out)
{
	struct agent *a = arg;

	a->scraping = false;
	if (err->code)
		log_warn("metrics", "%s", err->msg);
	if (!list_empty(&a->scrapes))
		metrics_answer(a, out);
}

static void metrics_late(struct timer *t)
{
	metrics_answer(container_of(t, struct agent, scrape_late), NULL);
}

int svc_get_metrics(struct call *c, const void *req, struct err *err)
{
	static const struct worker_opts opts = { .timeout_ms = LIMIT_SCRAPE_MS,
						 .max_out = LIMIT_SCRAPE_OUT,
						 .caps = WORKER_READS };
	struct agent *a = call_agent(c);
	int r = 0;

	(void)req;
	if (!a->scraping)
		r = worker_start(a->loop, a->reaper, &opts, metrics_job, metrics_done, a, NULL);
	if (r < 0)
		return err_sys(err, -r, "start a worker for metrics");
	a->scraping = true;
	/* A worker that a dead disk keeps from dying is no reason not to answer. */
	if (!a->scrape_late.loop)
		timer_set(a->loop, &a->scrape_late, LIMIT_SCRAPE_MS + 500, metrics_late);
	return call_park(c, &a->scrapes, NULL, NULL);
}
