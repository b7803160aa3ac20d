/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes to a cgroup that has processes in it. State: a journal for the length of one update.
 */
#include "oci/cgroup/impl.h"

#include <errno.h>

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
	}
	cgroup_journal_free(&journal);
	cg->journal = NULL;
	return r;
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
