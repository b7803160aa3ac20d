/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resource limits by their names in the spec. No state.
 */
#include "oci/creds.h"

#include <errno.h>
#include <inttypes.h>

#include "base/auto.h"
#include "base/str.h"

static const char *const names[RLIM_NLIMITS] = {
	[RLIMIT_CPU] = "RLIMIT_CPU",	       [RLIMIT_FSIZE] = "RLIMIT_FSIZE",
	[RLIMIT_DATA] = "RLIMIT_DATA",	       [RLIMIT_STACK] = "RLIMIT_STACK",
	[RLIMIT_CORE] = "RLIMIT_CORE",	       [RLIMIT_RSS] = "RLIMIT_RSS",
	[RLIMIT_NPROC] = "RLIMIT_NPROC",       [RLIMIT_NOFILE] = "RLIMIT_NOFILE",
	[RLIMIT_MEMLOCK] = "RLIMIT_MEMLOCK",   [RLIMIT_AS] = "RLIMIT_AS",
	[RLIMIT_LOCKS] = "RLIMIT_LOCKS",       [RLIMIT_SIGPENDING] = "RLIMIT_SIGPENDING",
	[RLIMIT_MSGQUEUE] = "RLIMIT_MSGQUEUE", [RLIMIT_NICE] = "RLIMIT_NICE",
	[RLIMIT_RTPRIO] = "RLIMIT_RTPRIO",     [RLIMIT_RTTIME] = "RLIMIT_RTTIME",
};
static_assert(RLIM_NLIMITS <= 32, "one bit for each limit");
static_assert(sizeof(rlim_t) == sizeof(uint64_t), "RLIM_INFINITY is the spec's 2^64-1");

int rlimit_parse(Grpc__POSIXRlimit *const *limits, size_t count, struct rlimit_set *ret,
		 struct err *err)
{
	struct rlimit_set set = { 0 };

	for (size_t i = 0; i < count; i++) {
		const Grpc__POSIXRlimit *l = limits[i];
		size_t n = 0;

		while (n < ARRAY_LEN(names) && !str_eq(names[n], l->type))
			n++;
		if (n == ARRAY_LEN(names))
			return err_set(err, EINVAL, "unknown rlimit type '%s'", l->type);
		if (set.given >> n & 1)
			return err_set(err, EINVAL, "rlimit %s is given twice", l->type);
		if (l->soft > l->hard)
			return err_set(err, EINVAL,
				       "rlimit %s: soft limit %" PRIu64
				       " is above hard limit %" PRIu64,
				       l->type, l->soft, l->hard);
		set.given |= 1u << n;
		set.value[n] = (struct rlimit){ .rlim_cur = l->soft, .rlim_max = l->hard };
	}
	*ret = set;
	return 0;
}

static int rlimit_set_one(unsigned int n, const struct rlimit *value, struct err *err)
{
	if (setrlimit((__rlimit_resource_t)n, value) < 0)
		return err_sys(err, errno, "set rlimit %s to %" PRIu64 ":%" PRIu64, names[n],
			       (uint64_t)value->rlim_cur, (uint64_t)value->rlim_max);
	return 0;
}

int rlimit_apply(const struct rlimit_set *set, struct err *err)
{
	int r = 0;

	for (unsigned int n = 0; r == 0 && n < RLIM_NLIMITS; n++) {
		struct rlimit value = set->value[n], now;

		if (!(set->given >> n & 1))
			continue;
		if (n == RLIMIT_NPROC && getrlimit(RLIMIT_NPROC, &now) == 0) {
			value.rlim_max =
				value.rlim_max > now.rlim_max ? value.rlim_max : now.rlim_max;
			value.rlim_cur = value.rlim_max;
		}
		r = rlimit_set_one(n, &value, err);
	}
	return r;
}

int rlimit_apply_nproc(const struct rlimit_set *set, struct err *err)
{
	if (!(set->given >> RLIMIT_NPROC & 1))
		return 0;
	return rlimit_set_one(RLIMIT_NPROC, &set->value[RLIMIT_NPROC], err);
}
