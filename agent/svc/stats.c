/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cgroup's numbers as StatsContainer's message has them. No state.
 */
#include "svc/svc.h"

#include <errno.h>

#include "oci/cgroup/cgroup.h"

/* A message of the given type in the arena; NULL only for lack of memory. */
#define STATS_NEW(mem, type, init_fn)                         \
	({                                                    \
		type *new_ = arena_alloc(mem, sizeof(*new_)); \
		if (new_)                                     \
			init_fn(new_);                        \
		new_;                                         \
	})

static Grpc__CpuStats *stats_cpu(const struct cgroup_stats *s, struct arena *mem)
{
	Grpc__CpuStats *cpu = STATS_NEW(mem, Grpc__CpuStats, grpc__cpu_stats__init);
	Grpc__CpuUsage *u = STATS_NEW(mem, Grpc__CpuUsage, grpc__cpu_usage__init);
	Grpc__ThrottlingData *t = STATS_NEW(mem, Grpc__ThrottlingData, grpc__throttling_data__init);

	if (!cpu || !u || !t)
		return NULL;
	cpu->cpu_usage = u;
	cpu->throttling_data = t;
	u->total_usage = s->cpu.total;
	u->usage_in_usermode = s->cpu.user;
	u->usage_in_kernelmode = s->cpu.kernel;
	u->percpu_usage = s->cpu.percpu;
	u->n_percpu_usage = s->cpu.n_percpu;
	t->periods = s->cpu.periods;
	t->throttled_periods = s->cpu.throttled_periods;
	t->throttled_time = s->cpu.throttled_time;
	return cpu;
}

static Grpc__MemoryData *stats_memory_data(const struct cgroup_memory *d, struct arena *mem)
{
	Grpc__MemoryData *m = STATS_NEW(mem, Grpc__MemoryData, grpc__memory_data__init);

	if (m) {
		m->usage = d->usage;
		m->max_usage = d->peak;
		m->failcnt = d->failures;
		m->limit = d->limit;
	}
	return m;
}

static Grpc__MemoryStats *stats_memory(const struct cgroup_stats *s, struct arena *mem)
{
	Grpc__MemoryStats *m = STATS_NEW(mem, Grpc__MemoryStats, grpc__memory_stats__init);

	if (!m)
		return NULL;
	m->cache = s->cache;
	m->use_hierarchy = s->use_hierarchy;
	m->usage = stats_memory_data(&s->memory, mem);
	m->swap_usage = stats_memory_data(&s->swap, mem);
	m->kernel_usage = stats_memory_data(&s->kernel, mem);
	m->stats = arena_alloc(mem, (s->n_memory_stat + 1) * sizeof(*m->stats));
	if (!m->usage || !m->swap_usage || !m->kernel_usage || !m->stats)
		return NULL;
	for (size_t i = 0; i < s->n_memory_stat; i++) {
		Grpc__MemoryStats__StatsEntry *e = STATS_NEW(mem, Grpc__MemoryStats__StatsEntry,
							     grpc__memory_stats__stats_entry__init);

		if (!e || !(e->key = arena_strdup(mem, s->memory_stat[i].key)))
			return NULL;
		e->value = s->memory_stat[i].value;
		m->stats[m->n_stats++] = e;
	}
	return m;
}

static int stats_io_list(const struct cgroup_io *l, struct arena *mem, Grpc__BlkioStatsEntry ***ret,
			 size_t *ret_n)
{
	*ret = arena_alloc(mem, (l->n + 1) * sizeof(**ret));
	if (!*ret)
		return -ENOMEM;
	for (size_t i = 0; i < l->n; i++) {
		Grpc__BlkioStatsEntry *e =
			STATS_NEW(mem, Grpc__BlkioStatsEntry, grpc__blkio_stats_entry__init);

		if (!e || !(e->op = arena_strdup(mem, l->entry[i].op)))
			return -ENOMEM;
		e->major = l->entry[i].major;
		e->minor = l->entry[i].minor;
		e->value = l->entry[i].value;
		(*ret)[(*ret_n)++] = e;
	}
	return 0;
}

static Grpc__BlkioStats *stats_io(const struct cgroup_stats *s, struct arena *mem)
{
	Grpc__BlkioStats *b = STATS_NEW(mem, Grpc__BlkioStats, grpc__blkio_stats__init);

#define LIST(from, to) stats_io_list(&s->io.from, mem, &b->to, &b->n_##to) < 0
	if (!b || LIST(bytes, io_service_bytes_recursive) || LIST(ops, io_serviced_recursive) ||
	    LIST(service_time, io_service_time_recursive) ||
	    LIST(wait_time, io_wait_time_recursive) || LIST(merged, io_merged_recursive) ||
	    LIST(time, io_time_recursive) || LIST(sectors, sectors_recursive))
		return NULL;
#undef LIST
	return b;
}

static int stats_hugetlb(const struct cgroup_stats *s, struct arena *mem, Grpc__CgroupStats *ret)
{
	ret->hugetlb_stats = arena_alloc(mem, (s->n_hugetlb + 1) * sizeof(*ret->hugetlb_stats));
	if (!ret->hugetlb_stats)
		return -ENOMEM;
	for (size_t i = 0; i < s->n_hugetlb; i++) {
		Grpc__CgroupStats__HugetlbStatsEntry *e =
			STATS_NEW(mem, Grpc__CgroupStats__HugetlbStatsEntry,
				  grpc__cgroup_stats__hugetlb_stats_entry__init);
		Grpc__HugetlbStats *h =
			STATS_NEW(mem, Grpc__HugetlbStats, grpc__hugetlb_stats__init);

		if (!e || !h || !(e->key = arena_strdup(mem, s->hugetlb[i].size)))
			return -ENOMEM;
		h->usage = s->hugetlb[i].usage;
		h->max_usage = s->hugetlb[i].peak;
		h->failcnt = s->hugetlb[i].failures;
		e->value = h;
		ret->hugetlb_stats[ret->n_hugetlb_stats++] = e;
	}
	return 0;
}

int stats_message(const struct cgroup_stats *s, struct arena *mem, Grpc__CgroupStats *ret,
		  struct err *err)
{
	grpc__cgroup_stats__init(ret);
	ret->cpu_stats = stats_cpu(s, mem);
	ret->memory_stats = stats_memory(s, mem);
	ret->pids_stats = STATS_NEW(mem, Grpc__PidsStats, grpc__pids_stats__init);
	ret->blkio_stats = stats_io(s, mem);
	if (!ret->cpu_stats || !ret->memory_stats || !ret->pids_stats || !ret->blkio_stats ||
	    stats_hugetlb(s, mem, ret) < 0)
		return err_sys(err, ENOMEM, "statistics");
	ret->pids_stats->current = s->pids;
	ret->pids_stats->limit = s->pids_limit;
	return 0;
}
