/* SPDX-License-Identifier: Apache-2.0 */
/*
 * StatsContainer's numbers from v1's and v2's files. No state; all memory is the call's. A file
 * that isn't there leaves its field zero: kernels differ, and a guest needs few of them.
 */
#include "oci/cgroup/impl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/str.h"

#define FILE_MAX    65536u    /* cpuacct.usage_percpu and io.stat grow with the machine */
#define NS_PER_TICK 10000000u /* USER_HZ is 100 everywhere Linux runs */
#define NS_PER_US   1000u

struct ctx {
	const struct cgroup *cg;
	struct arena *mem;
	char *buf; /* FILE_MAX bytes */
};

/* A message of the given type in the arena; returns NULL from nothing but lack of memory. */
#define NEW(ctx, type, init_fn)                                      \
	({                                                           \
		type *new_ = arena_alloc((ctx)->mem, sizeof(*new_)); \
		if (new_)                                            \
			init_fn(new_);                               \
		new_;                                                \
	})

static void get(struct ctx *x, enum ctl ctl, const char *file, uint64_t *ret)
{
	(void)cgroup_read_u64(x->cg, ctl, file, ret);
}

/* The file as text in x->buf, "" when it can't be read. */
static char *slurp(struct ctx *x, enum ctl ctl, const char *file)
{
	if (cgroup_read(x->cg, ctl, file, x->buf, FILE_MAX) < 0)
		x->buf[0] = '\0';
	return x->buf;
}

/* Lines of "key number" into the fields of a table; others are passed over. */
struct key_row {
	const char *key;
	uint64_t *ret;
	uint64_t factor;
};

static void get_keys(struct ctx *x, enum ctl ctl, const char *file, const struct key_row *rows,
		     size_t count)
{
	char *rest = slurp(x, ctl, file), *line;

	while ((line = strsep(&rest, "\n"))) {
		char *key = strsep(&line, " ");
		uint64_t v;

		for (size_t i = 0; line && i < count; i++) {
			if (str_eq(key, rows[i].key) && str_u64(line, UINT64_MAX, &v) == 0)
				*rows[i].ret = v * rows[i].factor;
		}
	}
}

/* --- cpu ----------------------------------------------------------------------------- */

static int percpu(struct ctx *x, Grpc__CpuUsage *u)
{
	char *rest = slurp(x, CTL_CPUACCT, "cpuacct.usage_percpu"), *word;
	size_t words = 1;

	for (const char *p = rest; *p; p++)
		words += *p == ' ';
	u->percpu_usage = arena_alloc(x->mem, words * sizeof(*u->percpu_usage));
	if (!u->percpu_usage)
		return -ENOMEM;
	while ((word = strsep(&rest, " ")) && u->n_percpu_usage < words) {
		if (str_u64(word, UINT64_MAX, &u->percpu_usage[u->n_percpu_usage]) == 0)
			u->n_percpu_usage++;
	}
	return 0;
}

static int cpu_stats(struct ctx *x, Grpc__CgroupStats *ret)
{
	Grpc__CpuStats *s = NEW(x, Grpc__CpuStats, grpc__cpu_stats__init);
	Grpc__CpuUsage *u = NEW(x, Grpc__CpuUsage, grpc__cpu_usage__init);
	Grpc__ThrottlingData *t = NEW(x, Grpc__ThrottlingData, grpc__throttling_data__init);

	if (!s || !u || !t)
		return -ENOMEM;
	s->cpu_usage = u;
	s->throttling_data = t;
	ret->cpu_stats = s;
	if (x->cg->root->mode == CGROUP_V2) {
		const struct key_row rows[] = {
			{ "usage_usec", &u->total_usage, NS_PER_US },
			{ "user_usec", &u->usage_in_usermode, NS_PER_US },
			{ "system_usec", &u->usage_in_kernelmode, NS_PER_US },
			{ "nr_periods", &t->periods, 1 },
			{ "nr_throttled", &t->throttled_periods, 1 },
			{ "throttled_usec", &t->throttled_time, NS_PER_US },
		};

		get_keys(x, CTL_CPU, "cpu.stat", rows, ARRAY_LEN(rows));
		return 0;
	} else {
		const struct key_row ticks[] = {
			{ "user", &u->usage_in_usermode, NS_PER_TICK },
			{ "system", &u->usage_in_kernelmode, NS_PER_TICK },
		};
		const struct key_row throttled[] = {
			{ "nr_periods", &t->periods, 1 },
			{ "nr_throttled", &t->throttled_periods, 1 },
			{ "throttled_time", &t->throttled_time, 1 },
		};

		get(x, CTL_CPUACCT, "cpuacct.usage", &u->total_usage);
		get_keys(x, CTL_CPUACCT, "cpuacct.stat", ticks, ARRAY_LEN(ticks));
		get_keys(x, CTL_CPU, "cpu.stat", throttled, ARRAY_LEN(throttled));
		return percpu(x, u);
	}
}

/* --- memory -------------------------------------------------------------------------- */

/* Every line of memory.stat as a map entry. */
static int memory_map(struct ctx *x, Grpc__MemoryStats *m)
{
	char *rest = slurp(x, CTL_MEMORY, "memory.stat"), *line;
	size_t lines = 1;

	for (const char *p = rest; *p; p++)
		lines += *p == '\n';
	m->stats = arena_alloc(x->mem, lines * sizeof(*m->stats));
	if (!m->stats)
		return -ENOMEM;
	while ((line = strsep(&rest, "\n"))) {
		Grpc__MemoryStats__StatsEntry *e;
		char *key = strsep(&line, " ");
		uint64_t v;

		if (!line || str_u64(line, UINT64_MAX, &v) < 0)
			continue;
		e = NEW(x, Grpc__MemoryStats__StatsEntry, grpc__memory_stats__stats_entry__init);
		if (!e || !(e->key = arena_strdup(x->mem, key)))
			return -ENOMEM;
		e->value = v;
		m->stats[m->n_stats++] = e;
	}
	return 0;
}

static uint64_t map_value(const Grpc__MemoryStats *m, const char *key)
{
	for (size_t i = 0; i < m->n_stats; i++) {
		if (str_eq(m->stats[i]->key, key))
			return m->stats[i]->value;
	}
	return 0;
}

/* A module whose first file is missing is missing altogether. */
static void memory_v1(struct ctx *x, const char *module, Grpc__MemoryData *d)
{
	const struct {
		const char *file;
		uint64_t *ret;
	} rows[] = {
		{ "usage_in_bytes", &d->usage },
		{ "max_usage_in_bytes", &d->max_usage },
		{ "failcnt", &d->failcnt },
		{ "limit_in_bytes", &d->limit },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char file[64];

		(void)snprintf(file, sizeof(file), "%s.%s", module, rows[i].file);
		if (cgroup_read_u64(x->cg, CTL_MEMORY, file, rows[i].ret) == -ENOENT)
			return;
	}
}

static uint64_t sum(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static void memory_v2(struct ctx *x, Grpc__MemoryStats *m)
{
	const struct key_row failures[] = { { "max", &m->usage->failcnt, 1 } };
	const struct key_row swap_failures[] = { { "max", &m->swap_usage->failcnt, 1 } };

	get(x, CTL_MEMORY, "memory.current", &m->usage->usage);
	get(x, CTL_MEMORY, "memory.peak", &m->usage->max_usage);
	get(x, CTL_MEMORY, "memory.max", &m->usage->limit);
	get_keys(x, CTL_MEMORY, "memory.events", failures, ARRAY_LEN(failures));
	m->kernel_usage->usage = map_value(m, "kernel");
	/* Readers know v1's numbers, where swap means memory and swap together. */
	if (cgroup_read_u64(x->cg, CTL_MEMORY, "memory.swap.current", &m->swap_usage->usage) < 0)
		return;
	get(x, CTL_MEMORY, "memory.swap.max", &m->swap_usage->limit);
	get_keys(x, CTL_MEMORY, "memory.swap.events", swap_failures, ARRAY_LEN(swap_failures));
	m->swap_usage->usage = sum(m->swap_usage->usage, m->usage->usage);
	m->swap_usage->limit = sum(m->swap_usage->limit, m->usage->limit);
}

static int memory_stats(struct ctx *x, Grpc__CgroupStats *ret)
{
	Grpc__MemoryStats *m = NEW(x, Grpc__MemoryStats, grpc__memory_stats__init);
	uint64_t hierarchy = 0;
	int r;

	if (!m)
		return -ENOMEM;
	ret->memory_stats = m;
	m->usage = NEW(x, Grpc__MemoryData, grpc__memory_data__init);
	m->swap_usage = NEW(x, Grpc__MemoryData, grpc__memory_data__init);
	m->kernel_usage = NEW(x, Grpc__MemoryData, grpc__memory_data__init);
	if (!m->usage || !m->swap_usage || !m->kernel_usage)
		return -ENOMEM;
	r = memory_map(x, m);
	if (r < 0)
		return r;
	if (x->cg->root->mode == CGROUP_V2) {
		m->cache = map_value(m, "file");
		m->use_hierarchy = true;
		memory_v2(x, m);
		return 0;
	}
	m->cache = map_value(m, "cache");
	get(x, CTL_MEMORY, "memory.use_hierarchy", &hierarchy);
	m->use_hierarchy = hierarchy == 1;
	memory_v1(x, "memory", m->usage);
	memory_v1(x, "memory.memsw", m->swap_usage);
	memory_v1(x, "memory.kmem", m->kernel_usage);
	return 0;
}

/* --- pids ---------------------------------------------------------------------------- */

static int pids_stats(struct ctx *x, Grpc__CgroupStats *ret)
{
	Grpc__PidsStats *p = NEW(x, Grpc__PidsStats, grpc__pids_stats__init);

	if (!p)
		return -ENOMEM;
	ret->pids_stats = p;
	get(x, CTL_PIDS, "pids.current", &p->current);
	get(x, CTL_PIDS, "pids.max", &p->limit);
	if (p->limit == UINT64_MAX)
		p->limit = 0;
	return 0;
}

/* --- block devices ------------------------------------------------------------------- */

struct io_list {
	Grpc__BlkioStatsEntry **entry;
	size_t count, room;
};

static int io_add(struct ctx *x, struct io_list *l, uint64_t major, uint64_t minor, const char *op,
		  uint64_t value)
{
	Grpc__BlkioStatsEntry *e = NEW(x, Grpc__BlkioStatsEntry, grpc__blkio_stats_entry__init);

	if (l->count == l->room) {
		size_t room = l->room ? l->room * 2 : 16;
		Grpc__BlkioStatsEntry **more = arena_alloc(x->mem, room * sizeof(e));

		if (!more)
			return -ENOMEM;
		if (l->count)
			(void)memcpy(more, l->entry, l->count * sizeof(*more));
		l->entry = more;
		l->room = room;
	}
	if (!e || !(e->op = arena_strdup(x->mem, op)))
		return -ENOMEM;
	e->major = major;
	e->minor = minor;
	e->value = value;
	l->entry[l->count++] = e;
	return 0;
}

/* "major:minor", cut in place. */
static bool parse_device(char *text, uint64_t *major, uint64_t *minor)
{
	char *rest = text;

	(void)strsep(&rest, ":");
	return rest && str_u64(text, UINT32_MAX, major) == 0 &&
	       str_u64(rest, UINT32_MAX, minor) == 0;
}

/* Lines "major:minor Op value" or "major:minor value"; a "Total value" has no device. */
static int io_file(struct ctx *x, const char *file, struct io_list *l)
{
	char *rest = slurp(x, CTL_BLKIO, file), *line;

	while ((line = strsep(&rest, "\n"))) {
		uint64_t major, minor, value;
		char *device = strsep(&line, " ");
		char *op = line ? strsep(&line, " ") : NULL;
		const char *number = line ? line : op;
		int r;

		if (!op || !parse_device(device, &major, &minor) ||
		    str_u64(number, UINT64_MAX, &value) < 0)
			continue;
		r = io_add(x, l, major, minor, line ? op : "", value);
		if (r < 0)
			return r;
	}
	return 0;
}

/* v2: "major:minor rbytes=1 wbytes=2 rios=3 ...", under the names that v1's readers look for. */
static int io_stat(struct ctx *x, struct io_list *bytes, struct io_list *ios)
{
	static const struct {
		const char *key, *op;
		bool is_bytes;
	} keys[] = {
		{ "rbytes", "Read", true },    { "wbytes", "Write", true },
		{ "dbytes", "Discard", true }, { "rios", "Read", false },
		{ "wios", "Write", false },    { "dios", "Discard", false },
	};
	char *rest = slurp(x, CTL_BLKIO, "io.stat"), *line;

	while ((line = strsep(&rest, "\n"))) {
		uint64_t major, minor, value;
		char *device = strsep(&line, " "), *word;

		if (!parse_device(device, &major, &minor))
			continue;
		while ((word = strsep(&line, " "))) {
			char *key = strsep(&word, "=");

			for (size_t i = 0; word && i < ARRAY_LEN(keys); i++) {
				if (!str_eq(key, keys[i].key) ||
				    str_u64(word, UINT64_MAX, &value) < 0)
					continue;
				if (io_add(x, keys[i].is_bytes ? bytes : ios, major, minor,
					   keys[i].op, value) < 0)
					return -ENOMEM;
			}
		}
	}
	return 0;
}

static int io_v1(struct ctx *x, Grpc__BlkioStats *b, struct io_list *bytes, struct io_list *ios)
{
	struct {
		const char *file;
		Grpc__BlkioStatsEntry ***list;
		size_t *count;
	} cfq[] = {
		{ "blkio.sectors_recursive", &b->sectors_recursive, &b->n_sectors_recursive },
		{ "blkio.io_service_time_recursive", &b->io_service_time_recursive,
		  &b->n_io_service_time_recursive },
		{ "blkio.io_wait_time_recursive", &b->io_wait_time_recursive,
		  &b->n_io_wait_time_recursive },
		{ "blkio.io_merged_recursive", &b->io_merged_recursive, &b->n_io_merged_recursive },
		{ "blkio.time_recursive", &b->io_time_recursive, &b->n_io_time_recursive },
	};
	int r = io_file(x, "blkio.io_serviced_recursive", ios);

	if (r < 0)
		return r;
	if (ios->count == 0) { /* no CFQ, which is gone since 5.0 */
		r = io_file(x, "blkio.throttle.io_service_bytes", bytes);
		return r < 0 ? r : io_file(x, "blkio.throttle.io_serviced", ios);
	}
	r = io_file(x, "blkio.io_service_bytes_recursive", bytes);
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(cfq); i++) {
		struct io_list l = { 0 };

		r = io_file(x, cfq[i].file, &l);
		*cfq[i].list = l.entry;
		*cfq[i].count = l.count;
	}
	return r;
}

static int blkio_stats(struct ctx *x, Grpc__CgroupStats *ret)
{
	Grpc__BlkioStats *b = NEW(x, Grpc__BlkioStats, grpc__blkio_stats__init);
	struct io_list bytes = { 0 }, ios = { 0 };
	int r;

	if (!b)
		return -ENOMEM;
	ret->blkio_stats = b;
	if (x->cg->root->mode == CGROUP_V2)
		r = io_stat(x, &bytes, &ios);
	else
		r = io_v1(x, b, &bytes, &ios);
	b->io_service_bytes_recursive = bytes.entry;
	b->n_io_service_bytes_recursive = bytes.count;
	b->io_serviced_recursive = ios.entry;
	b->n_io_serviced_recursive = ios.count;
	return r;
}

/* --- huge pages ---------------------------------------------------------------------- */

static int hugetlb_add(struct ctx *x, Grpc__CgroupStats *ret, size_t room, const char *size)
{
	Grpc__CgroupStats__HugetlbStatsEntry *e = arena_alloc(x->mem, sizeof(*e));
	Grpc__HugetlbStats *h = NEW(x, Grpc__HugetlbStats, grpc__hugetlb_stats__init);
	const struct key_row failures[] = { { "max", h ? &h->failcnt : NULL, 1 } };
	char file[64];

	if (!e || !h)
		return -ENOMEM;
	grpc__cgroup_stats__hugetlb_stats_entry__init(e);
	e->key = arena_strdup(x->mem, size);
	if (!e->key)
		return -ENOMEM;
	if (ret->n_hugetlb_stats == room)
		return 0;
	e->value = h;
	ret->hugetlb_stats[ret->n_hugetlb_stats++] = e;
	if (x->cg->root->mode == CGROUP_V2) {
		(void)snprintf(file, sizeof(file), "hugetlb.%s.current", size);
		get(x, CTL_HUGETLB, file, &h->usage);
		(void)snprintf(file, sizeof(file), "hugetlb.%s.events", size);
		get_keys(x, CTL_HUGETLB, file, failures, ARRAY_LEN(failures));
		return 0;
	}
	(void)snprintf(file, sizeof(file), "hugetlb.%s.usage_in_bytes", size);
	get(x, CTL_HUGETLB, file, &h->usage);
	(void)snprintf(file, sizeof(file), "hugetlb.%s.max_usage_in_bytes", size);
	get(x, CTL_HUGETLB, file, &h->max_usage);
	(void)snprintf(file, sizeof(file), "hugetlb.%s.failcnt", size);
	get(x, CTL_HUGETLB, file, &h->failcnt);
	return 0;
}

/* The page sizes are those that have files: "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max". */
static int hugetlb_stats(struct ctx *x, Grpc__CgroupStats *ret)
{
	enum { SIZES = 16 }; /* arm64 has four, the most of all */
	const char *last = x->cg->root->mode == CGROUP_V2 ? "max" : "limit_in_bytes";
	AUTO_DIR DIR *d = NULL;
	struct dirent *e;
	int r = 0, fd;

	if (!cgroup_has(x->cg, CTL_HUGETLB))
		return 0;
	fd = cgroup_open(x->cg, CTL_HUGETLB, NULL, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return 0;
	d = fdopendir(fd);
	if (!d) {
		(void)close(fd);
		return -ENOMEM;
	}
	ret->hugetlb_stats = arena_alloc(x->mem, SIZES * sizeof(*ret->hugetlb_stats));
	if (!ret->hugetlb_stats)
		return -ENOMEM;
	while (r == 0 && (e = readdir(d))) {
		char *rest = e->d_name, *size;

		if (!str_eq(strsep(&rest, "."), "hugetlb") || !(size = strsep(&rest, ".")) ||
		    !rest || !str_eq(rest, last) || !cgroup_is_page_size(size))
			continue;
		r = hugetlb_add(x, ret, SIZES, size);
	}
	return r;
}

int cgroup_stats(const struct cgroup *cg, struct arena *mem, Grpc__CgroupStats *ret,
		 struct err *err)
{
	struct ctx x = { .cg = cg, .mem = mem, .buf = arena_alloc(mem, FILE_MAX) };
	int r = x.buf ? 0 : -ENOMEM;

	grpc__cgroup_stats__init(ret);
	if (r == 0)
		r = cpu_stats(&x, ret);
	if (r == 0)
		r = memory_stats(&x, ret);
	if (r == 0)
		r = pids_stats(&x, ret);
	if (r == 0)
		r = blkio_stats(&x, ret);
	if (r == 0)
		r = hugetlb_stats(&x, ret);
	return r < 0 ? err_sys(err, -r, "statistics of cgroup '%s'", cg->path) : 0;
}
