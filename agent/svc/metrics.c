/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GetMetrics. State: how often it was asked.
 */
#include "svc/svc.h"

#include <errno.h>
#include <fcntl.h>

#include "base/auto.h"
#include "linux/procmetrics.h"
#include "oci/cgroup/cgroup.h"
#include "pod/agent.h"
#include "pod/pod.h"

/*
 * Of each container that has a cgroup. The values of one metric have to stand together: three
 * rounds.
 */
static void container_metrics(struct metrics_text *t, const struct sandbox *sb)
{
	static const struct {
		const char *name, *type, *help;
	} metrics[] = {
		{ "kata_container_cpu_seconds_total", "counter",
		  "CPU time of a container (in seconds)" },
		{ "kata_container_memory_bytes", "gauge",
		  "Memory usage of a container (in bytes)" },
		{ "kata_container_pids", "gauge", "Tasks in a container" },
	};
	struct arena mem;

	metrics_head(t, "kata_agent_containers", "gauge", "Containers in this sandbox");
	metrics_add(t, "kata_agent_containers %zu\n", sb->container_count);
	for (size_t i = 0; i < ARRAY_LEN(metrics) && sb->container_count > 0; i++) {
		metrics_head(t, metrics[i].name, metrics[i].type, metrics[i].help);
		list_for_each(struct container, ctr, &sb->containers, link) {
			struct cgroup_stats s;

			arena_init(&mem, 1u << 20);
			if (ctr->cgroup && cgroup_stats(ctr->cgroup, &mem, &s, NULL) == 0) {
				metrics_add(t, "%s{container_id=\"%s\"} ", metrics[i].name,
					    ctr->id);
				if (i == 0)
					metrics_add(t, "%.6f\n", (double)s.cpu.total / 1e9);
				else
					metrics_add(t, "%llu\n",
						    (unsigned long long)(i == 1 ? s.memory.usage
										: s.pids));
			}
			arena_free(&mem);
		}
	}
}

int svc_get_metrics(struct call *c, const void *req, struct err *err)
{
	static unsigned long scrapes;
	AUTO_CLOSE int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct metrics_text t = { 0 };
	Grpc__Metrics resp;
	int r;

	(void)req;
	grpc__metrics__init(&resp);
	if (proc < 0)
		return err_sys(err, errno, "open /proc");
	metrics_agent(&t, proc, ++scrapes);
	metrics_guest(&t, proc);
	container_metrics(&t, call_agent(c)->sandbox);
	if (buf_append(&t.buf, "", 1) < 0 || t.failed) {
		buf_free(&t.buf);
		return err_sys(err, ENOMEM, "metrics");
	}
	resp.metrics = (char *)buf_data(&t.buf);
	r = call_reply(c, &resp.base);
	buf_free(&t.buf);
	return r;
}
