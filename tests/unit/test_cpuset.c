/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/cgroup/impl.h"

#include <criterion/criterion.h>
#include <errno.h>

#include "base/auto.h"

/* T36 of the reference's behaviours. */
Test(cpuset, clamp)
{
	static const char *const kept[] = { "0", "0,1", "0,1,2", "0,1,2,3", "0-3",
					    "1", "1,3", "2-3",	 "3,0",	    "" };
	static const char *const cut[] = { "0,1,2,3,4", "0-3,4", "0-4", "2-4", "4", "8191" };
	const char *ret;

	for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
		ret = NULL;
		cr_expect_eq(cpuset_clamp(kept[i], "0-3", &ret), 0);
		cr_expect_str_eq(ret, kept[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(cut); i++) {
		ret = NULL;
		cr_expect_eq(cpuset_clamp(cut[i], "0-3", &ret), 0);
		cr_expect_str_eq(ret, "0-3", "%s", cut[i]);
	}
}

Test(cpuset, refused)
{
	static const char *const bad[] = { "x",
					   "-",
					   "-1",
					   "1-",
					   "3-1",
					   "1,",
					   ",1",
					   "1,,2",
					   "1 ,2",
					   "0-3\n",
					   "8192",
					   "0-8192",
					   "99999999999999999999",
					   "1-2-3",
					   "+1",
					   "0x1" };
	struct cpuset set;
	const char *ret;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		cr_expect_eq(cpuset_parse(bad[i], &set), -EINVAL, "%s", bad[i]);
		cr_expect_eq(cpuset_clamp(bad[i], "0-3", &ret), -EINVAL);
		cr_expect_eq(cpuset_clamp("0", bad[i], &ret), -EINVAL);
	}
}

Test(cpuset, bits)
{
	struct cpuset set, other;

	cr_assert_eq(cpuset_parse("0,63-65,8191", &set), 0);
	cr_expect_eq(set.bits[0], (uint64_t)1 << 63 | 1);
	cr_expect_eq(set.bits[1], 3);
	cr_expect_eq(set.bits[127], (uint64_t)1 << 63);
	cr_assert_eq(cpuset_parse("64", &other), 0);
	cr_expect(cpuset_contains(&set, &other));
	cr_expect_not(cpuset_contains(&other, &set));
}
