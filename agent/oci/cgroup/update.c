/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes to a cgroup that has processes in it. State: a journal for the length of one update.
 */
#include "oci/cgroup/impl.h"

#include <assert.h>
#include <errno.h>

#include "base/str.h"

int cgroup_update(struct cgroup *cg, const Grpc__LinuxResources *res, struct err *err)
{
	struct journal journal = { 0 };
	bool own_cpus = cg->own_cpus;
	int r = cgroup_check_limits(cg, res, true, err);

	if (r < 0 || cg->root->mode == CGROUP_NONE)
		return r;
	cg->journal = &journal;
	if (cg->root->mode == CGROUP_V2)
		r = cgroup_v2_limits(cg, res, true, err);
	else
		r = cgroup_v1_limits(cg, res, true, err);
	if (r < 0) {
		cgroup_undo(cg);
		cg->own_cpus = own_cpus;
	} else if (err) {
		*err = (struct err){ 0 }; /* of what failed at first and was done another way */
	}
	cgroup_journal_free(&journal);
	cg->journal = NULL;
	return r;
}

bool cgroup_update_waits(const Grpc__LinuxResources *res)
{
	const Grpc__LinuxMemory *m = res->memory;

	return m && (m->limit || m->swap || m->reservation);
}

size_t cgroup_fds(const struct cgroup *cg, int ret[static CGROUP_FDS])
{
	size_t n = 0;

	static_assert(CTL_COUNT < CGROUP_FDS, "a descriptor for each hierarchy, and the cgroup's");
	for (; n < cg->root->count; n++)
		ret[n] = cg->root->h[n].fd;
	ret[n++] = cg->dir_fd;
	return n;
}

void cgroup_updated(struct cgroup *cg, const Grpc__LinuxResources *res)
{
	if (res->cpu && !str_empty(res->cpu->cpus))
		cg->own_cpus = true;
}

int cgroup_cpuset_online(struct cgroup *cg, const char *online, struct err *err)
{
	int r;

	if (cg->root->mode != CGROUP_V1 || !cgroup_has(cg, CTL_CPUSET))
		return 0;
	r = cgroup_v1_widen(cg, online, err);
	if (r == 0 && !cg->own_cpus)
		r = cgroup_write(cg, CTL_CPUSET, "cpuset.cpus", err, "%s", online);
	return r;
}
