/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <criterion/criterion.h>

static struct config parsed(const char *cmdline)
{
	struct config c;

	config_defaults(&c);
	config_parse_cmdline(&c, cmdline);
	return c;
}

/* Each of the names that hosts have had for it, alone: a guest with one of them has cgroup v2. */
Test(config, names_of_cgroup_v2)
{
	static const struct {
		const char *cmdline;
		bool unified, no_v1;
	} rows[] = {
		{ "", false, false },
		{ "cgroup_no_v1=all", false, true },
		{ "quiet cgroup_no_v1=all systemd.unified_cgroup_hierarchy=1 panic=1", true, true },
		{ "systemd.unified_cgroup_hierarchy=1", true, false },
		{ "systemd.unified_cgroup_hierarchy=true", true, false },
		{ "systemd.unified_cgroup_hierarchy=yes", true, false },
		{ "systemd.unified_cgroup_hierarchy", true, false },
		{ "systemd.unified_cgroup_hierarchy=0", false, false },
		{ "systemd.unified_cgroup_hierarchy=1 systemd.unified_cgroup_hierarchy=no", false,
		  false },
		{ "agent.unified_cgroup_hierarchy=1", true, false },
		{ "agent.unified_cgroup_hierarchy=true", true, false },
		{ "agent.unified_cgroup_hierarchy=maybe", false, false },
		{ "cgroup_no_v1=memory,cpu", false, false },
		{ "cgroup_no_v1=allegro", false, false },
		{ "cgroup_no_v1=named,all", false, true },
		{ "cgroup_no_v1=", false, false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct config c = parsed(rows[i].cmdline);

		cr_expect_eq(c.unified_cgroup_hierarchy, rows[i].unified, "%s", rows[i].cmdline);
		cr_expect_eq(c.cgroup_no_v1, rows[i].no_v1, "%s", rows[i].cmdline);
	}
}
