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

#include "base/str.h"

int cgroup_check_limits(const Grpc__LinuxResources *res, bool update, struct err *err)
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
	return 0;
}

int cgroup_write_pids(struct cgroup *cg, const Grpc__LinuxResources *res, struct err *err)
{
	if (!res->pids || res->pids->limit == 0)
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
		if (r < 0 && r != -ENOENT) /* nobody can use a size that the guest lacks */
			return r;
	}
	return 0;
}
