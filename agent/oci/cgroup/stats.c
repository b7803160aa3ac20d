/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cgroup's numbers from v1's and v2's files. No state; all memory is the arena's. A file
 * that isn't there leaves its field zero: kernels differ, and a guest needs few of them. What is
 * there and can't be read for lack of something is an error, and no zero.
 */
#include "oci/cgroup/impl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/limits.h"
#include "base/str.h"

#define NS_PER_TICK 10000000u /* USER_HZ is 100 everywhere Linux runs */
#define NS_PER_US   1000u

struct stats_reader {
	const struct cgroup *cg;
	struct arena *mem;
	char *buf; /* LIMIT_CGROUP_FILE bytes */
	int error; /* the first, -errno */
};

static void note_error(struct stats_reader *x, int r)
{
	if (x->error == 0 && (r == -EMFILE || r == -ENFILE || r == -ENOMEM || r == -EIO))
		x->error = r;
}

static void get_number(struct stats_reader *x, enum ctl ctl, const char *file, uint64_t *ret)
{
	note_error(x, cgroup_read_u64(x->cg, ctl, file, ret));
}

/* The file as text in x->buf, "" when it can't be read. */
static char *slurp(struct stats_reader *x, enum ctl ctl, const char *file)
{
	int r = (int)cgroup_read(x->cg, ctl, file, x->buf, LIMIT_CGROUP_FILE);

	if (r < 0) {
		note_error(x, r);
		x->buf[0] = '\0';
	}
	return x->buf;
}

/* Lines of "key number" into the fields of a table; others are passed over. */
struct key_row {
	const char *key;
	uint64_t *ret;
	uint64_t factor;
};

static void get_keys(struct stats_reader *x, enum ctl ctl, const char *file,
		     const struct key_row *rows, size_t count)
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

static int percpu_stats(struct stats_reader *x, struct cgroup_stats *s)
{
	char *rest = slurp(x, CTL_CPUACCT, "cpuacct.usage_percpu"), *word;
	size_t words = 1;

	for (const char *p = rest; *p; p++)
		words += *p == ' ';
	s->cpu.percpu = arena_alloc(x->mem, words * sizeof(*s->cpu.percpu));
	if (!s->cpu.percpu)
		return -ENOMEM;
	while ((word = strsep(&rest, " ")) && s->cpu.n_percpu < words) {
		if (str_u64(word, UINT64_MAX, &s->cpu.percpu[s->cpu.n_percpu]) == 0)
			s->cpu.n_percpu++;
	}
	return 0;
}

static int cpu_stats(struct stats_reader *x, struct cgroup_stats *s)
{
	const struct key_row unified[] = {
		{ "usage_usec", &s->cpu.total, NS_PER_US },
		{ "user_usec", &s->cpu.user, NS_PER_US },
		{ "system_usec", &s->cpu.kernel, NS_PER_US },
		{ "nr_periods", &s->cpu.periods, 1 },
		{ "nr_throttled", &s->cpu.throttled_periods, 1 },
		{ "throttled_usec", &s->cpu.throttled_time, NS_PER_US },
	};
	const struct key_row ticks[] = {
		{ "user", &s->cpu.user, NS_PER_TICK },
		{ "system", &s->cpu.kernel, NS_PER_TICK },
	};
	const struct key_row throttled[] = {
		{ "nr_periods", &s->cpu.periods, 1 },
		{ "nr_throttled", &s->cpu.throttled_periods, 1 },
		{ "throttled_time", &s->cpu.throttled_time, 1 },
	};

	if (x->cg->root->mode == CGROUP_V2) {
		get_keys(x, CTL_CPU, "cpu.stat", unified, ARRAY_LEN(unified));
		return 0;
	}
	get_number(x, CTL_CPUACCT, "cpuacct.usage", &s->cpu.total);
	get_keys(x, CTL_CPUACCT, "cpuacct.stat", ticks, ARRAY_LEN(ticks));
	get_keys(x, CTL_CPU, "cpu.stat", throttled, ARRAY_LEN(throttled));
	return percpu_stats(x, s);
}

/* --- memory -------------------------------------------------------------------------- */

/* Every line of memory.stat. */
static int memory_lines(struct stats_reader *x, struct cgroup_stats *s)
{
	char *rest = slurp(x, CTL_MEMORY, "memory.stat"), *line;
	size_t lines = 1;

	for (const char *p = rest; *p; p++)
		lines += *p == '\n';
	s->memory_stat = arena_alloc(x->mem, lines * sizeof(*s->memory_stat));
	if (!s->memory_stat)
		return -ENOMEM;
	while ((line = strsep(&rest, "\n"))) {
		struct cgroup_number *e = &s->memory_stat[s->n_memory_stat];
		char *key = strsep(&line, " ");

		if (!line || str_u64(line, UINT64_MAX, &e->value) < 0)
			continue;
		e->key = arena_strdup(x->mem, key);
		if (!e->key)
			return -ENOMEM;
		s->n_memory_stat++;
	}
	return 0;
}

static uint64_t memory_line(const struct cgroup_stats *s, const char *key)
{
	for (size_t i = 0; i < s->n_memory_stat; i++) {
		if (str_eq(s->memory_stat[i].key, key))
			return s->memory_stat[i].value;
	}
	return 0;
}

/* A module whose first file is missing is missing altogether. */
static void memory_v1(struct stats_reader *x, const char *module, struct cgroup_memory *d)
{
	const struct {
		const char *file;
		uint64_t *ret;
	} rows[] = {
		{ "usage_in_bytes", &d->usage },
		{ "max_usage_in_bytes", &d->peak },
		{ "failcnt", &d->failures },
		{ "limit_in_bytes", &d->limit },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char file[64];
		int r;

		(void)snprintf(file, sizeof(file), "%s.%s", module, rows[i].file);
		r = cgroup_read_u64(x->cg, CTL_MEMORY, file, rows[i].ret);
		note_error(x, r);
		if (r == -ENOENT)
			return;
	}
}

static void memory_v2(struct stats_reader *x, struct cgroup_stats *s)
{
	const struct key_row failures[] = { { "max", &s->memory.failures, 1 } };
	const struct key_row swap_failures[] = { { "max", &s->swap.failures, 1 } };

	get_number(x, CTL_MEMORY, "memory.current", &s->memory.usage);
	get_number(x, CTL_MEMORY, "memory.peak", &s->memory.peak);
	get_number(x, CTL_MEMORY, "memory.max", &s->memory.limit);
	get_keys(x, CTL_MEMORY, "memory.events", failures, ARRAY_LEN(failures));
	s->kernel.usage = memory_line(s, "kernel");
	if (cgroup_read_u64(x->cg, CTL_MEMORY, "memory.swap.current", &s->swap.usage) < 0)
		return;
	get_number(x, CTL_MEMORY, "memory.swap.max", &s->swap.limit);
	get_keys(x, CTL_MEMORY, "memory.swap.events", swap_failures, ARRAY_LEN(swap_failures));
}

static int memory_stats(struct stats_reader *x, struct cgroup_stats *s)
{
	uint64_t hierarchy = 0;
	int r = memory_lines(x, s);

	if (r < 0)
		return r;
	if (x->cg->root->mode == CGROUP_V2) {
		s->cache = memory_line(s, "file");
		s->use_hierarchy = true;
		memory_v2(x, s);
		return 0;
	}
	s->cache = memory_line(s, "cache");
	get_number(x, CTL_MEMORY, "memory.use_hierarchy", &hierarchy);
	s->use_hierarchy = hierarchy == 1;
	memory_v1(x, "memory", &s->memory);
	memory_v1(x, "memory.memsw", &s->swap);
	memory_v1(x, "memory.kmem", &s->kernel);
	return 0;
}

/* --- pids ---------------------------------------------------------------------------- */

static int pids_stats(struct stats_reader *x, struct cgroup_stats *s)
{
	get_number(x, CTL_PIDS, "pids.current", &s->pids);
	get_number(x, CTL_PIDS, "pids.max", &s->pids_limit);
	if (s->pids_limit == UINT64_MAX)
		s->pids_limit = 0;
	return 0;
}

/* --- block devices ------------------------------------------------------------------- */

#define IO_STEP 16u /* entries */

static int io_add(struct stats_reader *x, struct cgroup_io *l, uint64_t major, uint64_t minor,
		  const char *op, uint64_t value)
{
	if (l->n % IO_STEP == 0) {
		struct cgroup_io_entry *more =
			arena_alloc(x->mem, (l->n + IO_STEP) * sizeof(*more));

		if (!more)
			return -ENOMEM;
		if (l->n)
			(void)memcpy(more, l->entry, l->n * sizeof(*more));
		l->entry = more;
	}
	op = arena_strdup(x->mem, op);
	if (!op)
		return -ENOMEM;
	l->entry[l->n++] = (struct cgroup_io_entry){ major, minor, value, op };
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
static int io_file(struct stats_reader *x, const char *file, struct cgroup_io *l)
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
static int io_stat(struct stats_reader *x, struct cgroup_io *bytes, struct cgroup_io *ios)
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

static int io_v1(struct stats_reader *x, struct cgroup_stats *s)
{
	const struct {
		const char *file;
		struct cgroup_io *list;
	} cfq[] = {
		{ "blkio.io_service_bytes_recursive", &s->io.bytes },
		{ "blkio.sectors_recursive", &s->io.sectors },
		{ "blkio.io_service_time_recursive", &s->io.service_time },
		{ "blkio.io_wait_time_recursive", &s->io.wait_time },
		{ "blkio.io_merged_recursive", &s->io.merged },
		{ "blkio.time_recursive", &s->io.time },
	};
	int r = io_file(x, "blkio.io_serviced_recursive", &s->io.ops);

	if (r < 0)
		return r;
	if (s->io.ops.n == 0) { /* no CFQ, which is gone since 5.0 */
		r = io_file(x, "blkio.throttle.io_service_bytes", &s->io.bytes);
		return r < 0 ? r : io_file(x, "blkio.throttle.io_serviced", &s->io.ops);
	}
	for (size_t i = 0; r == 0 && i < ARRAY_LEN(cfq); i++)
		r = io_file(x, cfq[i].file, cfq[i].list);
	return r;
}

static int blkio_stats(struct stats_reader *x, struct cgroup_stats *s)
{
	return x->cg->root->mode == CGROUP_V2 ? io_stat(x, &s->io.bytes, &s->io.ops) : io_v1(x, s);
}

/* --- huge pages ---------------------------------------------------------------------- */

static void hugetlb_read(struct stats_reader *x, struct cgroup_hugetlb *h, const char *size)
{
	const struct key_row failures[] = { { "max", &h->failures, 1 } };
	char file[64];

	if (x->cg->root->mode == CGROUP_V2) {
		(void)snprintf(file, sizeof(file), "hugetlb.%s.current", size);
		get_number(x, CTL_HUGETLB, file, &h->usage);
		(void)snprintf(file, sizeof(file), "hugetlb.%s.events", size);
		get_keys(x, CTL_HUGETLB, file, failures, ARRAY_LEN(failures));
		return;
	}
	(void)snprintf(file, sizeof(file), "hugetlb.%s.usage_in_bytes", size);
	get_number(x, CTL_HUGETLB, file, &h->usage);
	(void)snprintf(file, sizeof(file), "hugetlb.%s.max_usage_in_bytes", size);
	get_number(x, CTL_HUGETLB, file, &h->peak);
	(void)snprintf(file, sizeof(file), "hugetlb.%s.failcnt", size);
	get_number(x, CTL_HUGETLB, file, &h->failures);
}

/*
 * Sizes that nobody has used are left out: the 1.x shim drops the size itself, and containerd's
 * metrics fail for the whole node when two entries look the same.
 */
static int hugetlb_add(struct stats_reader *x, struct cgroup_stats *s, const char *size)
{
	struct cgroup_hugetlb *h = &s->hugetlb[s->n_hugetlb];

	*h = (struct cgroup_hugetlb){ 0 };
	hugetlb_read(x, h, size);
	if (!h->usage && !h->peak && !h->failures)
		return 0;
	h->size = arena_strdup(x->mem, size);
	if (!h->size)
		return -ENOMEM;
	s->n_hugetlb++;
	return 0;
}

/* The page sizes are those that have files: "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max". */
static int hugetlb_stats(struct stats_reader *x, struct cgroup_stats *s)
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
	s->hugetlb = arena_alloc(x->mem, SIZES * sizeof(*s->hugetlb));
	if (!s->hugetlb)
		return -ENOMEM;
	while (r == 0 && s->n_hugetlb < SIZES && (e = readdir(d))) {
		char *rest = e->d_name, *size;

		if (!str_eq(strsep(&rest, "."), "hugetlb") || !(size = strsep(&rest, ".")) ||
		    !rest || !str_eq(rest, last) || !cgroup_is_page_size(size))
			continue;
		r = hugetlb_add(x, s, size);
	}
	return r;
}

int cgroup_stats(const struct cgroup *cg, struct arena *mem, struct cgroup_stats *ret,
		 struct err *err)
{
	struct stats_reader x = { .cg = cg,
				  .mem = mem,
				  .buf = arena_alloc(mem, LIMIT_CGROUP_FILE) };
	int r = x.buf ? 0 : -ENOMEM;

	*ret = (struct cgroup_stats){ 0 };
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
	if (r == 0)
		r = x.error;
	return r < 0 ? err_sys(err, -r, "statistics of cgroup '%s'", cg->path) : 0;
}
