/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits in cgroup v1. No state.
 */
#include "oci/cgroup/impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/str.h"

/* --- cpuset -------------------------------------------------------------------------- */

static int read_at(int dirfd, const char *dir, const char *file, char *buf, size_t size)
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s%s%s", dir, *dir ? "/" : "", file);
	ssize_t len;

	if (n < 0 || (size_t)n >= sizeof(path))
		return -ENAMETOOLONG;
	len = fdio_read_file(dirfd, path, buf, size);
	return len < 0 ? (int)len : 0;
}

static int write_at(int dirfd, const char *dir, const char *file, const char *text)
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s%s%s", dir, *dir ? "/" : "", file);

	if (n < 0 || (size_t)n >= sizeof(path))
		return -ENAMETOOLONG;
	return fdio_write_file(dirfd, path, text);
}

struct cpuset_level {
	char cpus[1024], mems[1024];
};

static int read_level(int dirfd, const char *dir, struct cpuset_level *ret)
{
	int r = read_at(dirfd, dir, "cpuset.cpus", ret->cpus, sizeof(ret->cpus));

	return r < 0 ? r : read_at(dirfd, dir, "cpuset.mems", ret->mems, sizeof(ret->mems));
}

/* Calls fn for each directory above path, the mount point ("") first; path is as it was after. */
static int each_level_above(char *path, int (*fn)(const char *dir, void *arg), void *arg)
{
	int r = fn("", arg);

	for (char *slash = strchr(path, '/'); r == 0 && slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		r = fn(path, arg);
		*slash = '/';
	}
	return r;
}

struct descent {
	int dirfd;
	struct cpuset_level level; /* of the directory above */
};

/* An empty set admits no process, so an empty level gets what is above it. */
static int inherit(const char *dir, void *arg)
{
	struct descent *d = arg;
	struct cpuset_level now;
	int r = read_level(d->dirfd, dir, &now);

	if (r == 0 && !*now.cpus && *d->level.cpus) {
		r = write_at(d->dirfd, dir, "cpuset.cpus", d->level.cpus);
		(void)memcpy(now.cpus, d->level.cpus, sizeof(now.cpus));
	}
	if (r == 0 && !*now.mems && *d->level.mems) {
		r = write_at(d->dirfd, dir, "cpuset.mems", d->level.mems);
		(void)memcpy(now.mems, d->level.mems, sizeof(now.mems));
	}
	d->level = now;
	return r;
}

int cgroup_v1_prepare(struct cgroup *cg, const Grpc__LinuxResources *res, struct err *err)
{
	const Grpc__LinuxCPU *cpu = res ? res->cpu : NULL;
	struct cgroup_path path;
	struct descent d = { 0 };
	char *slash;
	int r;

	if (!cgroup_has(cg, CTL_CPUSET))
		return 0;
	d.dirfd = cg->root->h[cg->root->of[CTL_CPUSET]].fd;
	r = cgroup_path(cg, &cg->root->h[cg->root->of[CTL_CPUSET]], NULL, &path);
	if (r < 0)
		return err_sys(err, -r, "cgroup '%s'", cg->path);
	slash = strrchr(path.text, '/');
	if (slash)
		*slash = '\0';
	r = read_level(d.dirfd, slash ? path.text : "", &d.level); /* mostly that is enough */
	if (slash)
		*slash = '/';
	if (r == 0 && (!*d.level.cpus || !*d.level.mems))
		r = each_level_above(path.text, inherit, &d);
	if (r == 0 && (!cpu || str_empty(cpu->cpus)))
		r = write_at(d.dirfd, path.text, "cpuset.cpus", d.level.cpus);
	if (r == 0 && (!cpu || str_empty(cpu->mems)))
		r = write_at(d.dirfd, path.text, "cpuset.mems", d.level.mems);
	return r < 0 ? err_sys(err, -r, "initialise the cpuset of cgroup '%s'", cg->path) : 0;
}

struct widening {
	int dirfd;
	const char *online;
};

static int widen_level(const char *dir, void *arg)
{
	const struct widening *w = arg;

	/* The top always has all CPUs and can't be written. */
	return *dir ? write_at(w->dirfd, dir, "cpuset.cpus", w->online) : 0;
}

int cgroup_v1_widen(struct cgroup *cg, const char *online, struct err *err)
{
	struct cgroup_path path;
	struct widening w = { .online = online };
	int r;

	if (!cgroup_has(cg, CTL_CPUSET))
		return 0;
	w.dirfd = cg->root->h[cg->root->of[CTL_CPUSET]].fd;
	r = cgroup_path(cg, &cg->root->h[cg->root->of[CTL_CPUSET]], NULL, &path);
	if (r == 0)
		r = each_level_above(path.text, widen_level, &w);
	return r < 0 ? err_sys(err, -r, "give CPUs %s to the levels above cgroup '%s'", online,
			       cg->path)
		     : 0;
}

static int set_cpus(struct cgroup *cg, const char *wanted, struct err *err)
{
	char online[1024];
	const char *cpus;
	int r = cgroup_clamp_cpus(wanted, online, sizeof(online), &cpus, err);

	if (r < 0)
		return r;
	cg->own_cpus = true;
	r = cgroup_write(cg, CTL_CPUSET, "cpuset.cpus", err, "%s", cpus);
	if (r != -EACCES && r != -EINVAL)
		return r;
	/* A level above has fewer CPUs, from a time when fewer were online. */
	if (cgroup_v1_widen(cg, online, NULL) < 0)
		return r;
	return cgroup_write(cg, CTL_CPUSET, "cpuset.cpus", err, "%s", cpus);
}

/* --- the others ---------------------------------------------------------------------- */

/*
 * Two values of which the kernel demands an order (memory below memory+swap, quota within what
 * the period allows): whichever order the old values need, one of the two works.
 */
static int write_pair(struct cgroup *cg, enum ctl ctl, const char *file1, const char *text1,
		      const char *file2, const char *text2, struct err *err)
{
	int r = cgroup_write(cg, ctl, file1, err, "%s", text1);

	if (r == 0)
		return cgroup_write(cg, ctl, file2, err, "%s", text2);
	if (r != -EINVAL)
		return r;
	r = cgroup_write(cg, ctl, file2, err, "%s", text2);
	return r < 0 ? r : cgroup_write(cg, ctl, file1, err, "%s", text1);
}

static int memory_limits(struct cgroup *cg, int64_t limit, int64_t swap, struct err *err)
{
	static const char file[] = "memory.limit_in_bytes";
	static const char sw_file[] = "memory.memsw.limit_in_bytes";
	char text[24], sw_text[24];
	uint64_t usage;
	int r = 0;

	if (limit == -1 && swap == 0)
		swap = -1; /* no limit, but one on the sum of both: nobody means that */
	if (swap && cgroup_read_u64(cg, CTL_MEMORY, sw_file, &usage) == -ENOENT)
		swap = 0; /* swap isn't counted, or there is none */
	(void)snprintf(text, sizeof(text), "%" PRId64, limit);
	(void)snprintf(sw_text, sizeof(sw_text), "%" PRId64, swap);
	if (limit && swap)
		r = write_pair(cg, CTL_MEMORY, file, text, sw_file, sw_text, err);
	else if (limit)
		r = cgroup_write(cg, CTL_MEMORY, file, err, "%s", text);
	else if (swap)
		r = cgroup_write(cg, CTL_MEMORY, sw_file, err, "%s", sw_text);
	if (r == -EBUSY && cgroup_read_u64(cg, CTL_MEMORY, "memory.usage_in_bytes", &usage) == 0)
		return err_set(err, EBUSY,
			       "unable to set memory limit to %" PRId64 " (current usage: %" PRIu64
			       ")",
			       limit, usage);
	return r;
}

/* Kernel memory has no limit of its own any more (5.16); its files stay or are gone. */
static int kernel_memory(struct cgroup *cg, const char *file, int64_t limit, struct err *err)
{
	int r = limit ? cgroup_write(cg, CTL_MEMORY, file, err, "%" PRId64, limit) : 0;

	return r == -ENOENT || r == -EOPNOTSUPP ? 0 : r;
}

static int v1_set_memory(struct cgroup *cg, const Grpc__LinuxMemory *m, bool update,
			 struct err *err)
{
	int r;

	r = memory_limits(cg, m->limit, m->swap, err);
	if (r == 0)
		r = kernel_memory(cg, "memory.kmem.limit_in_bytes", m->kernel, err);
	if (r == 0)
		r = kernel_memory(cg, "memory.kmem.tcp.limit_in_bytes", m->kerneltcp, err);
	if (r == 0 && m->reservation)
		r = cgroup_write(cg, CTL_MEMORY, "memory.soft_limit_in_bytes", err, "%" PRId64,
				 m->reservation);
	if (r < 0 || update)
		return r;
	if (m->disableoomkiller)
		r = cgroup_write(cg, CTL_MEMORY, "memory.oom_control", err, "1");
	/* A 0 is a 0: whether it was given, proto3 doesn't tell, and both references write it. */
	if (r == 0)
		r = cgroup_write(cg, CTL_MEMORY, "memory.swappiness", err, "%" PRIu64,
				 m->swappiness);
	return r;
}

static int set_period(struct cgroup *cg, const char *period_file, uint64_t period,
		      const char *quota_file, int64_t quota, struct err *err)
{
	char period_text[24], quota_text[24];

	(void)snprintf(period_text, sizeof(period_text), "%" PRIu64, period);
	(void)snprintf(quota_text, sizeof(quota_text), "%" PRId64, quota);
	if (period && quota)
		return write_pair(cg, CTL_CPU, period_file, period_text, quota_file, quota_text,
				  err);
	if (period)
		return cgroup_write(cg, CTL_CPU, period_file, err, "%s", period_text);
	if (quota)
		return cgroup_write(cg, CTL_CPU, quota_file, err, "%s", quota_text);
	return 0;
}

static int v1_set_cpu(struct cgroup *cg, const Grpc__LinuxCPU *c, struct err *err)
{
	bool has = cgroup_has(cg, CTL_CPU);
	int r = 0;

	if (c->shares)
		r = cgroup_write(cg, CTL_CPU, "cpu.shares", err, "%" PRIu64, c->shares);
	if (r == 0 && has)
		r = set_period(cg, "cpu.rt_period_us", c->realtimeperiod, "cpu.rt_runtime_us",
			       c->realtimeruntime, err);
	if (r == 0 && has)
		r = set_period(cg, "cpu.cfs_period_us", c->period, "cpu.cfs_quota_us", c->quota,
			       err);
	if (r == 0 && !str_empty(c->cpus))
		r = set_cpus(cg, c->cpus, err);
	if (r == 0 && !str_empty(c->mems))
		r = cgroup_write_mems(cg, c->mems, err);
	return r;
}

/* CFQ's file, or BFQ's that took its place: whichever this kernel has. */
static int write_either(struct cgroup *cg, const char *file1, const char *file2, const char *text,
			struct err *err)
{
	int r = cgroup_write(cg, CTL_BLKIO, file1, err, "%s", text);

	if (r == -ENOENT && file2)
		r = cgroup_write(cg, CTL_BLKIO, file2, err, "%s", text);
	return r == -ENOENT ? cgroup_no_weights(err) : r;
}

static int set_weights(struct cgroup *cg, const Grpc__LinuxBlockIO *b, bool update, struct err *err)
{
	char text[64];
	int r = 0;

	(void)snprintf(text, sizeof(text), "%u", b->weight);
	if (b->weight)
		r = write_either(cg, "blkio.weight", "blkio.bfq.weight", text, err);
	if (r < 0 || update)
		return r;
	(void)snprintf(text, sizeof(text), "%u", b->leafweight);
	if (b->leafweight)
		r = write_either(cg, "blkio.leaf_weight", NULL, text, err);
	for (size_t i = 0; r == 0 && i < b->n_weightdevice; i++) {
		const Grpc__LinuxWeightDevice *w = b->weightdevice[i];

		(void)snprintf(text, sizeof(text), "%" PRId64 ":%" PRId64 " %u", w->major, w->minor,
			       w->weight);
		if (w->weight)
			r = write_either(cg, "blkio.weight_device", "blkio.bfq.weight_device", text,
					 err);
		(void)snprintf(text, sizeof(text), "%" PRId64 ":%" PRId64 " %u", w->major, w->minor,
			       w->leafweight);
		if (r == 0 && w->leafweight)
			r = write_either(cg, "blkio.leaf_weight_device", NULL, text, err);
	}
	return r;
}

static int v1_set_throttles(struct cgroup *cg, const Grpc__LinuxBlockIO *b, struct err *err)
{
	const struct {
		const char *file;
		Grpc__LinuxThrottleDevice **list;
		size_t count;
	} rows[] = {
		{ "blkio.throttle.read_bps_device", b->throttlereadbpsdevice,
		  b->n_throttlereadbpsdevice },
		{ "blkio.throttle.write_bps_device", b->throttlewritebpsdevice,
		  b->n_throttlewritebpsdevice },
		{ "blkio.throttle.read_iops_device", b->throttlereadiopsdevice,
		  b->n_throttlereadiopsdevice },
		{ "blkio.throttle.write_iops_device", b->throttlewriteiopsdevice,
		  b->n_throttlewriteiopsdevice },
	};
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		for (size_t k = 0; r == 0 && k < rows[i].count; k++)
			r = cgroup_write(cg, CTL_BLKIO, rows[i].file, err,
					 "%" PRId64 ":%" PRId64 " %" PRIu64, rows[i].list[k]->major,
					 rows[i].list[k]->minor, rows[i].list[k]->rate);
	}
	return r;
}

static int set_network(struct cgroup *cg, const Grpc__LinuxNetwork *n, struct err *err)
{
	int r = 0;

	if (n->classid)
		r = cgroup_write(cg, CTL_NET_CLS, "net_cls.classid", err, "%u", n->classid);
	for (size_t i = 0; r == 0 && i < n->n_priorities; i++)
		r = cgroup_write(cg, CTL_NET_PRIO, "net_prio.ifpriomap", err, "%s %u",
				 n->priorities[i]->name, n->priorities[i]->priority);
	return r;
}

int cgroup_v1_limits(struct cgroup *cg, const Grpc__LinuxResources *res, bool update,
		     struct err *err)
{
	int r = 0;

	if (res->cpu)
		r = v1_set_cpu(cg, res->cpu, err);
	if (r == 0 && res->memory && cgroup_has(cg, CTL_MEMORY))
		r = v1_set_memory(cg, res->memory, update, err);
	if (r == 0)
		r = cgroup_write_pids(cg, res, err);
	if (r == 0 && res->blockio)
		r = set_weights(cg, res->blockio, update, err);
	if (r == 0 && res->blockio && !update)
		r = v1_set_throttles(cg, res->blockio, err);
	if (r == 0)
		r = cgroup_write_hugepages(cg, res, "limit_in_bytes", err);
	if (r == 0 && res->network && !update)
		r = set_network(cg, res->network, err);
	return r;
}
