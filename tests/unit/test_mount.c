/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/fs/impl.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "oci/fs/tree.h"
#include "base/auto.h"
#include "base/err.h"

/* Carrying mounts out needs privileges: tests/ns/test_rootfs.sh. */

static int check(const char *dest, const char *type, const char *source, const char *option,
		 struct err *err)
{
	char d[8192], t[64], s[8192], o[64];
	char *options[] = { o };
	Grpc__Mount m = GRPC__MOUNT__INIT;

	(void)snprintf(d, sizeof(d), "%s", dest);
	(void)snprintf(t, sizeof(t), "%s", type);
	(void)snprintf(s, sizeof(s), "%s", source);
	(void)snprintf(o, sizeof(o), "%s", option);
	m.destination = d;
	m.type = t;
	m.source = s;
	m.options = options;
	m.n_options = *option ? 1 : 0;
	return mount_check(&m, err);
}

Test(mount, accepted)
{
	static const char *const rows[][4] = {
		{ "/proc", "proc", "proc", "nosuid" },
		{ "/proc", "bind", "/proc", "rbind" },
		{ "/proc/meminfo", "bind", "/x", "bind" },
		{ "/proc/net/dev", "", "/x", "rbind" },
		{ "//proc/./uptime", "none", "/x", "bind" },
		{ "/process", "tmpfs", "tmpfs", "" },
		{ "/vol", "tmpfs", "", "tmpcopyup" },
		{ "/vol", "bind", "relative", "" },
		{ "/vol", "none", "none", "bind" },
		{ "/vol/", "ext4", "/dev/vda", "errors=remount-ro" },
		{ "/..data", "tmpfs", "tmpfs", "ro" },
	};
	struct err err = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		cr_expect_eq(check(rows[i][0], rows[i][1], rows[i][2], rows[i][3], &err), 0,
			     "%s: %s", rows[i][0], err.msg);
}

Test(mount, refused)
{
	static const char *const rows[][5] = {
		{ "", "tmpfs", "tmpfs", "", "would hide" },
		{ "proc/sys", "tmpfs", "tmpfs", "", "inside /proc" },
		{ "/a/../../proc/1", "tmpfs", "tmpfs", "", "inside /proc" },
		{ "/a/..", "tmpfs", "tmpfs", "", "would hide" },
		{ "/.", "tmpfs", "tmpfs", "", "would hide" },
		{ "/vol", "", "x", "", "without a type" },
		{ "/vol", "none", "x", "ro", "without a type" },
		{ "/vol", "bind", "", "", "without a source" },
		{ "/proc", "tmpfs", "tmpfs", "", "only a proc" },
		{ "/proc/sys", "proc", "proc", "", "inside /proc" },
		{ "/proc/meminfo", "tmpfs", "tmpfs", "", "inside /proc" },
		{ "/proc/meminfo/x", "bind", "/x", "bind", "inside /proc" },
		{ "/proc/self/attr", "bind", "/x", "bind", "inside /proc" },
		{ "/vol", "bind", "/x", "idmap", "not supported" },
		{ "/vol", "ext4", "/x", "tmpcopyup", "tmpfs only" },
		{ "/vol", "tmpfs", "/x", "loop", "loop" },
	};
	char big[5000];
	struct err err = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		cr_expect_eq(check(rows[i][0], rows[i][1], rows[i][2], rows[i][3], &err), -EINVAL,
			     "%s", rows[i][0]);
		cr_expect_not_null(strstr(err.msg, rows[i][4]), "%s: %s", rows[i][0], err.msg);
	}
	memset(big, 'x', sizeof(big));
	big[0] = '/';
	big[sizeof(big) - 1] = '\0';
	cr_expect_eq(check(big, "tmpfs", "x", "", &err), -ENAMETOOLONG);
	cr_expect_eq(check("/vol", "bind", big, "", &err), -ENAMETOOLONG);
}

Test(mount, is_bind)
{
	char rbind[] = "rbind", ro[] = "ro", bind[] = "bind", tmpfs[] = "tmpfs";
	char *options[] = { ro, rbind };
	Grpc__Mount m = GRPC__MOUNT__INIT;

	m.type = tmpfs;
	m.options = options;
	m.n_options = 1;
	cr_expect_not(mount_is_bind(&m));
	m.n_options = 2;
	cr_expect(mount_is_bind(&m));
	m.n_options = 0;
	m.type = bind;
	cr_expect(mount_is_bind(&m));
}

Test(mount, what_fits_fsconfig)
{
	char value[400];

	(void)snprintf(value, sizeof(value), "lowerdir=%0255d,x", 0);
	cr_expect(tree_fits("overlay", value));
	(void)snprintf(value, sizeof(value), "x,lowerdir=%0256d", 0);
	cr_expect_not(tree_fits("overlay", value));
	(void)snprintf(value, sizeof(value), "%0256d", 0);
	cr_expect_not(tree_fits("overlay", value));
	cr_expect_not(tree_fits(value, ""));
	cr_expect(tree_fits("", ""));
	cr_expect(tree_fits("x", ",,a=,=b"));
}
