/* SPDX-License-Identifier: Apache-2.0 */
#include "init.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static size_t parse(const char *in, const char *names[CGROUPS_MAX])
{
	static char text[4096];

	(void)snprintf(text, sizeof(text), "%s", in);
	return cgroups_parse(text, names);
}

Test(init_cgroups, enabled_controllers)
{
	const char *names[CGROUPS_MAX];

	cr_assert_eq(parse("#subsys_name\thierarchy\tnum_cgroups\tenabled\n"
			   "cpuset\t3\t1\t1\n"
			   "memory\t0\t1\t0\n" /* cgroup_disable=memory */
			   "\t1\t1\t1\n"
			   "short\t1\n"
			   "devices\t5\t1\t1\n"
			   "../etc\t5\t1\t1\n"
			   "pids\t8\t1\t1",
			   names),
		     3);
	cr_expect_str_eq(names[0], "cpuset");
	cr_expect_str_eq(names[1], "devices");
	cr_expect_str_eq(names[2], "pids");
}

Test(init_cgroups, none_without_devices)
{
	const char *names[CGROUPS_MAX];

	cr_expect_eq(parse("cpuset\t3\t1\t1\ndevices\t1\t1\t0\n", names), 0);
	cr_expect_eq(parse("", names), 0);
	cr_expect_eq(parse("garbage", names), 0);
}

Test(init_cgroups, more_than_fit)
{
	const char *names[CGROUPS_MAX];
	char text[4096] = "devices\t1\t1\t1\n";

	for (int i = 0; i < 60; i++)
		(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "c%d\t1\t1\t1\n",
			       i);
	cr_expect_eq(parse(text, names), CGROUPS_MAX);
}
