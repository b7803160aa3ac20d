/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/creds.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "base/auto.h"

static struct rlimit_set parse_one(char *type, uint64_t soft, uint64_t hard, int expect)
{
	Grpc__POSIXRlimit l = GRPC__POSIXRLIMIT__INIT;
	Grpc__POSIXRlimit *list[] = { &l };
	struct rlimit_set set = { 0 };
	struct err err = { 0 };

	l.type = type;
	l.soft = soft;
	l.hard = hard;
	cr_expect_eq(rlimit_parse(list, 1, &set, &err), expect, "%s: %s", type, err.msg);
	return set;
}

Test(rlimit, all_names)
{
	static const struct {
		const char *name;
		int number;
	} rows[] = {
		{ "RLIMIT_CPU", 0 },	   { "RLIMIT_FSIZE", 1 },  { "RLIMIT_DATA", 2 },
		{ "RLIMIT_STACK", 3 },	   { "RLIMIT_CORE", 4 },   { "RLIMIT_RSS", 5 },
		{ "RLIMIT_NPROC", 6 },	   { "RLIMIT_NOFILE", 7 }, { "RLIMIT_MEMLOCK", 8 },
		{ "RLIMIT_AS", 9 },	   { "RLIMIT_LOCKS", 10 }, { "RLIMIT_SIGPENDING", 11 },
		{ "RLIMIT_MSGQUEUE", 12 }, { "RLIMIT_NICE", 13 },  { "RLIMIT_RTPRIO", 14 },
		{ "RLIMIT_RTTIME", 15 },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char name[32];
		struct rlimit_set set;

		(void)strncpy(name, rows[i].name, sizeof(name));
		set = parse_one(name, 0, UINT64_MAX, 0);
		cr_expect_eq(set.given, 1u << rows[i].number, "%s", name);
		cr_expect_eq(set.value[rows[i].number].rlim_cur, 0, "zero is a limit");
		cr_expect_eq(set.value[rows[i].number].rlim_max, RLIM_INFINITY);
	}
}

Test(rlimit, unknown_or_twice)
{
	Grpc__POSIXRlimit l = GRPC__POSIXRLIMIT__INIT;
	Grpc__POSIXRlimit *list[] = { &l, &l };
	struct rlimit_set set;
	struct err err = { 0 };

	char name[] = "RLIMIT_NONE", lower[] = "rlimit_core", empty[] = "", core[] = "RLIMIT_CORE";

	(void)parse_one(name, 1, 2, -EINVAL);
	(void)parse_one(lower, 1, 2, -EINVAL);
	(void)parse_one(empty, 1, 2, -EINVAL);
	l.type = core;
	cr_expect_eq(rlimit_parse(list, 2, &set, &err), -EINVAL);
	cr_expect(strstr(err.msg, "RLIMIT_CORE is given twice"), "%s", err.msg);
}

Test(rlimit, soft_above_hard)
{
	char name[] = "RLIMIT_CORE";

	(void)parse_one(name, 2, 1, -EINVAL);
}

Test(rlimit, apply)
{
	struct rlimit_set set = { .given = 1u << RLIMIT_CORE };
	struct rlimit now;
	struct err err = { 0 };

	set.value[RLIMIT_CORE] = (struct rlimit){ 0, 0 };
	cr_expect_eq(rlimit_apply(&set, &err), 0, "%s", err.msg);
	cr_assert_eq(getrlimit(RLIMIT_CORE, &now), 0);
	cr_expect_eq(now.rlim_max, 0);
	set.given = 1u << RLIMIT_NOFILE;
	set.value[RLIMIT_NOFILE] = (struct rlimit){ RLIM_INFINITY, RLIM_INFINITY };
	cr_expect_eq(rlimit_apply(&set, &err), -EPERM);
	cr_expect(strstr(err.msg, "RLIMIT_NOFILE"), "%s", err.msg);
}
