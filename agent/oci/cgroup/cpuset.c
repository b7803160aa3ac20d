/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPU lists. No state.
 */
#include "oci/cgroup/impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/fdio.h"

static int parse_number(const char **p, unsigned int *ret)
{
	unsigned int n = 0;
	const char *s = *p;

	while (*s >= '0' && *s <= '9') {
		n = n * 10 + (unsigned int)(*s++ - '0');
		if (n >= LIMIT_CPUS)
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

static int read_cpu_list(const char *path, char *buf, size_t size, struct err *err)
{
	ssize_t n = fdio_read_file(AT_FDCWD, path, buf, size);

	return n < 0 ? err_sys(err, (int)-n, "read %s", path) : 0;
}

int cgroup_online_cpus(char *buf, size_t size, struct err *err)
{
	return read_cpu_list("/sys/devices/system/cpu/online", buf, size, err);
}

int cgroup_clamp_cpus(const char *wanted, char *buf, size_t size, const char **ret, struct err *err)
{
	int r = cgroup_online_cpus(buf, size, err);

	if (r < 0)
		return r;
	r = cpuset_clamp(wanted, buf, ret);
	return r < 0 ? err_set(err, -r, "can't read '%s' as a list of CPUs", wanted) : 0;
}

/* The host's nodes are not the guest's: as with CPUs, where one is missing all that are there. */
int cgroup_write_mems(struct cgroup *cg, const char *wanted, struct err *err)
{
	char nodes[1024];
	const char *mems;
	int r = read_cpu_list("/sys/devices/system/node/has_memory", nodes, sizeof(nodes), NULL);

	if (r < 0)
		(void)snprintf(nodes, sizeof(nodes), "0"); /* a kernel without NUMA */
	r = cpuset_clamp(wanted, nodes, &mems);
	if (r < 0)
		return err_set(err, -r, "can't read '%s' as a list of memory nodes", wanted);
	return cgroup_write(cg, CTL_CPUSET, "cpuset.mems", err, "%s", mems);
}
