/* SPDX-License-Identifier: Apache-2.0 */
#include "linux/mountinfo.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/auto.h"

Test(mountinfo, lines)
{
	char text[] =
		"36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 shared:2 - ext3 /dev/a\\134b rw,errors=x\n"
		"not a line\n"
		"1 2 3 / /x rw - tmpfs tmpfs rw\n" /* no device number */
		"1 2 0:4 / /short rw - tmpfs\n"
		"37 35 0:31 net:[42] /run/x\\011\\012\\1 rw - nsfs  rw\n";
	char *at = text;
	struct mountinfo m;

	cr_assert(mountinfo_next(&at, &m));
	cr_expect_eq(m.dev, makedev(98, 0));
	cr_expect_str_eq(m.root, "/mnt1");
	cr_expect_str_eq(m.point, "/mnt 2");
	cr_expect_str_eq(m.options, "rw,noatime");
	cr_expect_str_eq(m.type, "ext3");
	cr_expect_str_eq(m.source, "/dev/a\\b");
	cr_expect_str_eq(m.super, "rw,errors=x");
	cr_assert(mountinfo_next(&at, &m));
	cr_expect_str_eq(m.root, "net:[42]");
	cr_expect_str_eq(m.point, "/run/x\t\n\\1");
	cr_expect_str_eq(m.source, "");
	cr_expect_not(mountinfo_next(&at, &m));
	cr_expect_not(mountinfo_next(&at, &m));
}

Test(mountinfo, our_own)
{
	AUTO_CLOSE int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	AUTO_FREE char *a = NULL;
	AUTO_FREE char *b = NULL;
	char *at;
	struct mountinfo m;
	bool seen = false;

	cr_assert_gt(mountinfo_read(AT_FDCWD, &a), 0);
	cr_assert_gt(mountinfo_read(proc, &b), 0);
	cr_expect_str_eq(a, b);
	for (at = a; mountinfo_next(&at, &m);)
		seen = seen || (strcmp(m.point, "/proc") == 0 && strcmp(m.type, "proc") == 0);
	cr_expect(seen);
}

Test(mountinfo, cgroup_lines)
{
	char text[] = "12:cpu,cpuacct:/a:b\nx\n\n1:name=systemd:/s\n0::/\n", *at = text;
	struct cgroup_line c;

	cr_assert(cgroup_line_next(&at, &c));
	cr_expect_str_eq(c.id, "12");
	cr_expect_str_eq(c.controllers, "cpu,cpuacct");
	cr_expect_str_eq(c.path, "/a:b");
	cr_assert(cgroup_line_next(&at, &c));
	cr_expect_str_eq(c.controllers, "name=systemd");
	cr_assert(cgroup_line_next(&at, &c));
	cr_expect_str_eq(c.controllers, "");
	cr_expect_str_eq(c.path, "/");
	cr_expect_not(cgroup_line_next(&at, &c));
}
