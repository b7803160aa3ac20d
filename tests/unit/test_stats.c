/* SPDX-License-Identifier: Apache-2.0 */
/* Every number of a cgroup arrives in its field of the message. */
#include "svc/svc.h"

#include <criterion/criterion.h>
#include <errno.h>

#include "oci/cgroup/cgroup.h"

static struct cgroup_stats sample(void)
{
	static uint64_t percpu[] = { 11, 12 };
	static struct cgroup_number lines[] = { { "anon", 21 }, { "file", 22 } };
	static struct cgroup_io_entry io[] = { { 8, 1, 31, "Read" }, { 8, 2, 32, "" } };
	static struct cgroup_hugetlb huge[] = { { "2MB", 41, 42, 43 } };
	struct cgroup_stats s = {
		.cpu = { 1, 2, 3, percpu, 2, 4, 5, 6 },
		.memory = { 51, 52, 53, 54 },
		.swap = { 61, 62, 63, 64 },
		.kernel = { 71, 72, 73, 74 },
		.cache = 7,
		.use_hierarchy = true,
		.memory_stat = lines,
		.n_memory_stat = 2,
		.pids = 8,
		.pids_limit = 9,
		.io = { .bytes = { 2, io },
			.ops = { 1, io },
			.service_time = { 1, io + 1 },
			.wait_time = { 1, io + 1 },
			.merged = { 1, io + 1 },
			.time = { 1, io + 1 },
			.sectors = { 1, io + 1 } },
		.hugetlb = huge,
		.n_hugetlb = 1,
	};

	return s;
}

Test(stats, all_fields)
{
	struct cgroup_stats s = sample();
	Grpc__CgroupStats m;
	struct arena mem;
	struct err err = { 0 };

	arena_init(&mem, 1 << 20);
	cr_assert_eq(stats_message(&s, &mem, &m, &err), 0);
	cr_expect_eq(m.cpu_stats->cpu_usage->total_usage, 1);
	cr_expect_eq(m.cpu_stats->cpu_usage->usage_in_usermode, 2);
	cr_expect_eq(m.cpu_stats->cpu_usage->usage_in_kernelmode, 3);
	cr_assert_eq(m.cpu_stats->cpu_usage->n_percpu_usage, 2);
	cr_expect_eq(m.cpu_stats->cpu_usage->percpu_usage[1], 12);
	cr_expect_eq(m.cpu_stats->throttling_data->periods, 4);
	cr_expect_eq(m.cpu_stats->throttling_data->throttled_periods, 5);
	cr_expect_eq(m.cpu_stats->throttling_data->throttled_time, 6);
	cr_expect_eq(m.memory_stats->usage->usage, 51);
	cr_expect_eq(m.memory_stats->usage->max_usage, 52);
	cr_expect_eq(m.memory_stats->usage->failcnt, 53);
	cr_expect_eq(m.memory_stats->usage->limit, 54);
	cr_expect_eq(m.memory_stats->swap_usage->usage, 61);
	cr_expect_eq(m.memory_stats->kernel_usage->limit, 74);
	cr_expect_eq(m.memory_stats->cache, 7);
	cr_expect(m.memory_stats->use_hierarchy);
	cr_assert_eq(m.memory_stats->n_stats, 2);
	cr_expect_str_eq(m.memory_stats->stats[1]->key, "file");
	cr_expect_eq(m.memory_stats->stats[1]->value, 22);
	cr_expect_eq(m.pids_stats->current, 8);
	cr_expect_eq(m.pids_stats->limit, 9);
	cr_assert_eq(m.blkio_stats->n_io_service_bytes_recursive, 2);
	cr_expect_eq(m.blkio_stats->io_service_bytes_recursive[0]->major, 8);
	cr_expect_eq(m.blkio_stats->io_service_bytes_recursive[1]->minor, 2);
	cr_expect_eq(m.blkio_stats->io_service_bytes_recursive[1]->value, 32);
	cr_assert_eq(m.blkio_stats->n_io_serviced_recursive, 1);
	cr_expect_str_eq(m.blkio_stats->io_serviced_recursive[0]->op, "Read");
	cr_expect_eq(m.blkio_stats->n_io_service_time_recursive, 1);
	cr_expect_eq(m.blkio_stats->n_io_wait_time_recursive, 1);
	cr_expect_eq(m.blkio_stats->n_io_merged_recursive, 1);
	cr_expect_eq(m.blkio_stats->n_io_time_recursive, 1);
	cr_expect_eq(m.blkio_stats->n_sectors_recursive, 1);
	cr_expect_eq(m.blkio_stats->n_io_queued_recursive, 0);
	cr_assert_eq(m.n_hugetlb_stats, 1);
	cr_expect_str_eq(m.hugetlb_stats[0]->key, "2MB");
	cr_expect_eq(m.hugetlb_stats[0]->value->usage, 41);
	cr_expect_eq(m.hugetlb_stats[0]->value->max_usage, 42);
	cr_expect_eq(m.hugetlb_stats[0]->value->failcnt, 43);
	cr_expect(grpc__cgroup_stats__get_packed_size(&m) > 100);
	arena_free(&mem);
}

Test(stats, nothing_and_no_memory)
{
	struct cgroup_stats none = { 0 }, s = sample();
	Grpc__CgroupStats m;
	struct arena mem;
	struct err err = { 0 };
	int r = -ENOMEM;

	arena_init(&mem, 1 << 20);
	cr_assert_eq(stats_message(&none, &mem, &m, &err), 0);
	cr_assert_not_null(m.memory_stats->kernel_usage);
	cr_assert_not_null(m.blkio_stats);
	arena_free(&mem);
	for (size_t ceiling = 0; ceiling < 8192 && r < 0; ceiling += 16) {
		arena_init(&mem, ceiling);
		r = stats_message(&s, &mem, &m, &err);
		cr_expect(r == 0 || r == -ENOMEM);
		arena_free(&mem);
	}
	cr_expect_eq(r, 0);
}
