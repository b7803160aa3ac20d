/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPU lists. No state.
 */
#include "oci/cgroup/cpuset.h"

#include <errno.h>
#include <string.h>

#include "base/auto.h"

static int parse_number(const char **p, unsigned int *ret)
{
	unsigned int n = 0;
	const char *s = *p;

	while (*s >= '0' && *s <= '9') {
		n = n * 10 + (unsigned int)(*s++ - '0');
		if (n >= CPUSET_MAX)
			return -EINVAL;
	}
	if (s == *p)
		return -EINVAL;
	*p = s;
	*ret = n;
	return 0;
}

int cpuset_parse(const char *list, struct cpuset *ret)
{
	const char *p = list;
	struct cpuset set = { 0 };

	while (*p) {
		unsigned int first, last;

		if (parse_number(&p, &first) < 0)
			return -EINVAL;
		last = first;
		if (*p == '-') {
			p++;
			if (parse_number(&p, &last) < 0 || last < first)
				return -EINVAL;
		}
		for (unsigned int i = first; i <= last; i++)
			set.bits[i / 64] |= (uint64_t)1 << (i % 64);
		if (*p == '\0')
			break;
		if (*p++ != ',' || *p == '\0')
			return -EINVAL;
	}
	*ret = set;
	return 0;
}

bool cpuset_contains(const struct cpuset *set, const struct cpuset *subset)
{
	for (size_t i = 0; i < ARRAY_LEN(set->bits); i++) {
		if (subset->bits[i] & ~set->bits[i])
			return false;
	}
	return true;
}

int cpuset_clamp(const char *requested, const char *online, const char **ret)
{
	struct cpuset want, have;

	if (cpuset_parse(requested, &want) < 0 || cpuset_parse(online, &have) < 0)
		return -EINVAL;
	*ret = cpuset_contains(&have, &want) ? requested : online;
	return 0;
}
