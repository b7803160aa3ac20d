/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits that both versions of cgroups have in common. No state. Values come from proto3, where
 * zero means "not given": a zero is never written.
 */
#include "oci/cgroup/impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/str.h"

static bool limits_hugepages(const Grpc__LinuxResources *res)
{
	for (size_t i = 0; i < res->n_hugepagelimits; i++) {
		if (res->hugepagelimits[i]->limit > 0)
			return true;
	}
	return false;
}

/* Which controllers are needed; what asks for no limit (-1, a period alone) needs none. */
static int check_controllers(const struct cgroup *cg, const Grpc__LinuxResources *res, bool update,
			     struct err *err)
{
	const Grpc__LinuxMemory *m = res->memory;
	const Grpc__LinuxCPU *c = res->cpu;
	const Grpc__LinuxBlockIO *b = res->blockio;
	const Grpc__LinuxNetwork *n = update ? NULL : res->network;
	const struct {
		enum ctl ctl;
		bool needed;
		const char *what;
	} rows[] = {
		{ CTL_MEMORY, m && (m->limit > 0 || m->swap > 0 || m->reservation > 0), "memory" },
		{ CTL_MEMORY, m && !update && (m->swappiness || m->disableoomkiller), "memory" },
		{ CTL_CPU,
		  c && (c->shares || c->quota > 0 || c->realtimeruntime || c->realtimeperiod),
		  "CPU time" },
		{ CTL_CPUSET, c && (!str_empty(c->cpus) || !str_empty(c->mems)), "CPUs" },
		{ CTL_PIDS, res->pids && res->pids->limit > 0, "processes" },
		{ CTL_BLKIO, b && b->weight, "block I/O" },
		{ CTL_BLKIO,
		  b && !update &&
			  (b->leafweight || b->n_weightdevice || b->n_throttlereadbpsdevice ||
			   b->n_throttlewritebpsdevice || b->n_throttlereadiopsdevice ||
			   b->n_throttlewriteiopsdevice),
		  "block I/O" },
		{ CTL_HUGETLB, limits_hugepages(res), "huge pages" },
		{ CTL_NET_CLS, n && n->classid, "network classes" },
		{ CTL_NET_PRIO, n && n->n_priorities, "network priorities" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (!rows[i].needed || cgroup_has(cg, rows[i].ctl))
			continue;
		return err_set(err, EOPNOTSUPP, "can't limit %s: no cgroup controller '%s'%s%s",
			       rows[i].what,
			       rows[i].ctl == CTL_BLKIO && cg->root->mode == CGROUP_V2
				       ? "io"
				       : cgroup_ctl_names[rows[i].ctl],
			       *cg->root->lacks ? ": " : "", cg->root->lacks);
	}
	return 0;
}

int cgroup_check_limits(const struct cgroup *cg, const Grpc__LinuxResources *res, bool update,
			struct err *err)
{
	const Grpc__LinuxMemory *m = res->memory;
	const Grpc__LinuxCPU *c = res->cpu;

	if (c && c->shares > SHARES_MAX)
		return err_set(err, EINVAL, "The maximum allowed cpu-shares is %u", SHARES_MAX);
	if (c && c->shares && c->shares < SHARES_MIN)
		return err_set(err, EINVAL, "The minimum allowed cpu-shares is %u", SHARES_MIN);
	if (m && (m->limit < -1 || m->swap < -1 || m->reservation < -1 || m->kernel < -1 ||
		  m->kerneltcp < -1))
		return err_set(err, EINVAL, "memory limits below -1 have no meaning");
	if (m && !update && m->swappiness > 100)
		return err_set(err, EINVAL, "memory swappiness %" PRIu64 " is above 100",
			       m->swappiness);
	return check_controllers(cg, res, update, err);
}

int cgroup_write_pids(struct cgroup *cg, const Grpc__LinuxResources *res, struct err *err)
{
	if (!res->pids || res->pids->limit == 0 || !cgroup_has(cg, CTL_PIDS))
		return 0;
	if (res->pids->limit < 0)
		return cgroup_write(cg, CTL_PIDS, "pids.max", err, "max");
	return cgroup_write(cg, CTL_PIDS, "pids.max", err, "%" PRId64, res->pids->limit);
}

/* "2MB", "64KB", "1GB": goes into a file name, so nothing else may. */
bool cgroup_is_page_size(const char *s)
{
	size_t digits = strspn(s, "0123456789");

	return digits > 0 && digits < 6 &&
	       (str_eq(s + digits, "KB") || str_eq(s + digits, "MB") || str_eq(s + digits, "GB"));
}

int cgroup_no_weights(struct err *err)
{
	return err_set(err, EOPNOTSUPP, "can't weigh block I/O: the guest's kernel has no BFQ");
}

int cgroup_write_hugepages(struct cgroup *cg, const Grpc__LinuxResources *res, const char *suffix,
			   struct err *err)
{
	for (size_t i = 0; i < res->n_hugepagelimits; i++) {
		const Grpc__LinuxHugepageLimit *l = res->hugepagelimits[i];
		char file[64];
		int r;

		if (!cgroup_is_page_size(l->pagesize))
			return err_set(err, EINVAL, "invalid huge page size '%s'", l->pagesize);
		(void)snprintf(file, sizeof(file), "hugetlb.%s.%s", l->pagesize, suffix);
		r = cgroup_write(cg, CTL_HUGETLB, file, err, "%" PRIu64, l->limit);
		/* Hosts say 0 for each size that they have themselves: here there are none. */
		if (r == -ENOENT && l->limit == 0) {
			if (err)
				*err = (struct err){ 0 };
			continue;
		}
		if (r == -ENOENT)
			return err_set(err, EINVAL, "the guest has no huge pages of size '%s'",
				       l->pagesize);
		if (r < 0)
			return r;
		/* Else one may reserve them all and never touch them. From Linux 5.7 on. */
		(void)snprintf(file, sizeof(file), "hugetlb.%s.rsvd.%s", l->pagesize, suffix);
		r = cgroup_write(cg, CTL_HUGETLB, file, err, "%" PRIu64, l->limit);
		if (r < 0 && r != -ENOENT)
			return r;
	}
	return 0;
}
