/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits in cgroup v2, converted from the spec's words, which are those of v1. No state.
 */
#include "oci/cgroup/impl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/str.h"

/* --- controllers --------------------------------------------------------------------- */

static int enable_at(const struct cgroup_root *root, const char *dir)
{
	char path[PATH_MAX], words[sizeof(root->enable)], *rest = words, *word;
	int n = snprintf(path, sizeof(path), "%s%scgroup.subtree_control", dir, *dir ? "/" : "");
	int r;

	if (n < 0 || (size_t)n >= sizeof(path))
		return -ENAMETOOLONG;
	r = fdio_write_file(root->h[0].fd, path, root->enable);
	if (r == 0 || r == -ENOENT)
		return r;
	/* One that can't be enabled fails all: so each alone, and whoever needs it will tell. */
	(void)memcpy(words, root->enable, sizeof(words));
	while ((word = strsep(&rest, " ")))
		(void)fdio_write_file(root->h[0].fd, path, word);
	return 0;
}

static bool is_enabled_at(const struct cgroup_root *root, const char *dir)
{
	char path[PATH_MAX], have[256], want[sizeof(root->enable)], *rest = want, *word;
	int n = snprintf(path, sizeof(path), "%s%scgroup.subtree_control", dir, *dir ? "/" : "");

	if (!*root->enable)
		return true;
	if (n < 0 || (size_t)n >= sizeof(path) ||
	    fdio_read_file(root->h[0].fd, path, have, sizeof(have)) < 0)
		return false;
	(void)memcpy(want, root->enable, sizeof(want));
	while ((word = strsep(&rest, " "))) {
		char *at = *word ? strstr(have, word + 1) : have;
		size_t len = *word ? strlen(word + 1) : 0;

		while (at && at[len] != ' ' && at[len] != '\0') /* "cpu" is in "cpuset" as well */
			at = strstr(at + 1, word + 1);
		if (!at)
			return false;
	}
	return true;
}

int cgroup_v2_enable(struct cgroup *cg, struct err *err)
{
	struct cgroup_root *root = cg->root;
	struct cgroup_path path;
	char *slash;
	int r = cgroup_path(cg, &root->h[0], NULL, &path);

	if (r < 0)
		return err_sys(err, -r, "cgroup '%s'", cg->path);
	slash = strrchr(path.text, '/');
	if (slash)
		*slash = '\0';
	if (is_enabled_at(root, slash ? path.text : ""))
		return 0;
	if (slash)
		*slash = '/';
	r = enable_at(root, "");
	for (slash = strchr(path.text, '/'); r == 0 && slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		r = enable_at(root, path.text);
		*slash = '/';
	}
	return r < 0 ? err_sys(err, -r, "enable controllers above cgroup '%s'", cg->path) : 0;
}

/* --- cpu ----------------------------------------------------------------------------- */

static double base2_log(double x)
{
	double log = 0;

	for (; x >= 2; x /= 2)
		log++;
	for (double bit = 0.5; bit > 1e-12; bit /= 2) {
		x *= x;
		if (x >= 2) {
			x /= 2;
			log += bit;
		}
	}
	return log;
}

static double power_of_10(double x)
{
	const double t = x * 2.302585092994046; /* ln 10 */
	double sum = 1, term = 1;

	for (int i = 1; i < 60; i++) {
		term *= t / i;
		sum += term;
	}
	return sum;
}

/*
 * The curve on which runc, crun and systemd agreed in 2025: the two ends and the defaults of v1
 * and v2 are on it (2 -> 1, 1024 -> 100, 262144 -> 10000), as on no straight line. No libm for it.
 */
uint64_t cgroup_v2_weight(uint64_t shares)
{
	double l = base2_log((double)shares);
	double weight = power_of_10(l * (l + 125) / 612 - 7.0 / 34);

	return (uint64_t)(weight - 1e-6) + 1; /* rounded up */
}

/* "quota period"; what isn't given stays as it is. */
static int set_cpu_max(struct cgroup *cg, int64_t quota, uint64_t period, struct err *err)
{
	char text[64], old[64];
	ssize_t n;

	if ((!quota && !period) || !cgroup_has(cg, CTL_CPU))
		return 0;
	if (quota) {
		(void)snprintf(text, sizeof(text), "%" PRId64, quota);
		if (quota < 0)
			(void)snprintf(text, sizeof(text), "max");
	} else {
		n = cgroup_read(cg, CTL_CPU, "cpu.max", old, sizeof(old));
		if (n < 0)
			return err_sys(err, (int)-n, "read cpu.max");
		old[strcspn(old, " ")] = '\0';
		(void)snprintf(text, sizeof(text), "%s", old);
	}
	if (period)
		return cgroup_write(cg, CTL_CPU, "cpu.max", err, "%s %" PRIu64, text, period);
	return cgroup_write(cg, CTL_CPU, "cpu.max", err, "%s", text);
}

static int v2_set_cpu(struct cgroup *cg, const Grpc__LinuxCPU *c, struct err *err)
{
	char online[1024];
	const char *cpus;
	int r = 0;

	if (c->realtimeperiod || c->realtimeruntime)
		return err_set(err, EOPNOTSUPP, "cgroup v2 has no real-time scheduling limits");
	if (c->shares)
		r = cgroup_write(cg, CTL_CPU, "cpu.weight", err, "%" PRIu64,
				 cgroup_v2_weight(c->shares));
	if (r == 0)
		r = set_cpu_max(cg, c->quota, c->period, err);
	if (r == 0 && !str_empty(c->cpus)) {
		r = cgroup_clamp_cpus(c->cpus, online, sizeof(online), &cpus, err);
		if (r == 0)
			r = cgroup_write(cg, CTL_CPUSET, "cpuset.cpus", err, "%s", cpus);
		cg->own_cpus = true;
	}
	if (r == 0 && !str_empty(c->mems))
		r = cgroup_write_mems(cg, c->mems, err);
	return r;
}

/* --- memory -------------------------------------------------------------------------- */

static int write_limit(struct cgroup *cg, const char *file, int64_t limit, struct err *err)
{
	if (limit < 0)
		return cgroup_write(cg, CTL_MEMORY, file, err, "max");
	return cgroup_write(cg, CTL_MEMORY, file, err, "%" PRId64, limit);
}

/* The spec's swap is memory and swap together, the file's is swap alone. */
static int set_swap(struct cgroup *cg, int64_t limit, int64_t swap, struct err *err)
{
	uint64_t now;
	int r;

	if (limit == -1 && swap == 0)
		swap = -1;
	if (swap == 0)
		return 0;
	if (swap > 0) {
		if (limit == 0) { /* an update that leaves the memory limit alone */
			r = cgroup_read_u64(cg, CTL_MEMORY, "memory.max", &now);
			if (r < 0)
				return err_sys(err, -r, "read memory.max");
			limit = now > INT64_MAX ? -1 : (int64_t)now;
		}
		if (limit == -1)
			return err_set(err, EINVAL, "a limit on swap needs one on memory");
		if (swap < limit)
			return err_set(err, EINVAL,
				       "memory+swap limit %" PRId64
				       " is below memory limit %" PRId64,
				       swap, limit);
		swap -= limit;
	}
	r = write_limit(cg, "memory.swap.max", swap, err);
	return r == -ENOENT ? 0 : r; /* a kernel without swap needs no limit on it */
}

static int v2_set_memory(struct cgroup *cg, const Grpc__LinuxMemory *m, struct err *err)
{
	int r = 0;

	if (m->limit)
		r = write_limit(cg, "memory.max", m->limit, err);
	if (r == 0)
		r = set_swap(cg, m->limit, m->swap, err);
	if (r == 0 && m->reservation)
		r = write_limit(cg, "memory.low", m->reservation, err);
	return r; /* kernel memory, swappiness and the OOM switch have no counterpart */
}

/* --- io ------------------------------------------------------------------------------ */

static uint64_t io_weight(uint32_t weight) /* 10..1000 onto 1..10000 */
{
	return weight <= 10 ? 1 : 1 + (uint64_t)(weight - 10) * 9999 / 990;
}

/* prefix: "default" or "major:minor". BFQ has a file of its own, with the spec's scale. */
static int write_weight(struct cgroup *cg, const char *prefix, uint32_t weight, struct err *err)
{
	int r = cgroup_write(cg, CTL_BLKIO, "io.bfq.weight", err, "%s %u", prefix, weight);

	if (r != -ENOENT)
		return r;
	r = cgroup_write(cg, CTL_BLKIO, "io.weight", err, "%s %" PRIu64, prefix, io_weight(weight));
	return r == -ENOENT ? cgroup_no_weights(err) : r;
}

static int v2_set_throttles(struct cgroup *cg, const Grpc__LinuxBlockIO *b, struct err *err)
{
	const struct {
		const char *key;
		Grpc__LinuxThrottleDevice **list;
		size_t count;
	} rows[] = {
		{ "rbps", b->throttlereadbpsdevice, b->n_throttlereadbpsdevice },
		{ "wbps", b->throttlewritebpsdevice, b->n_throttlewritebpsdevice },
		{ "riops", b->throttlereadiopsdevice, b->n_throttlereadiopsdevice },
		{ "wiops", b->throttlewriteiopsdevice, b->n_throttlewriteiopsdevice },
	};
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		for (size_t k = 0; r == 0 && k < rows[i].count; k++) {
			const Grpc__LinuxThrottleDevice *t = rows[i].list[k];

			if (t->rate == 0) /* v1's word for "no limit" */
				r = cgroup_write(cg, CTL_BLKIO, "io.max", err,
						 "%" PRId64 ":%" PRId64 " %s=max", t->major,
						 t->minor, rows[i].key);
			else
				r = cgroup_write(cg, CTL_BLKIO, "io.max", err,
						 "%" PRId64 ":%" PRId64 " %s=%" PRIu64, t->major,
						 t->minor, rows[i].key, t->rate);
		}
	}
	return r;
}

static int set_io(struct cgroup *cg, const Grpc__LinuxBlockIO *b, bool update, struct err *err)
{
	char device[48];
	int r = 0;

	if (b->weight)
		r = write_weight(cg, "default", b->weight, err);
	if (r < 0 || update)
		return r;
	for (size_t i = 0; r == 0 && i < b->n_weightdevice; i++) {
		(void)snprintf(device, sizeof(device), "%" PRId64 ":%" PRId64,
			       b->weightdevice[i]->major, b->weightdevice[i]->minor);
		if (b->weightdevice[i]->weight)
			r = write_weight(cg, device, b->weightdevice[i]->weight, err);
	}
	return r == 0 ? v2_set_throttles(cg, b, err) : r;
}

int cgroup_v2_limits(struct cgroup *cg, const Grpc__LinuxResources *res, bool update,
		     struct err *err)
{
	int r = 0;

	if (res->cpu)
		r = v2_set_cpu(cg, res->cpu, err);
	if (r == 0 && res->memory && cgroup_has(cg, CTL_MEMORY))
		r = v2_set_memory(cg, res->memory, err);
	if (r == 0)
		r = cgroup_write_pids(cg, res, err);
	if (r == 0 && res->blockio)
		r = set_io(cg, res->blockio, update, err);
	if (r == 0)
		r = cgroup_write_hugepages(cg, res, "max", err);
	return r;
}
