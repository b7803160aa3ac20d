/* SPDX-License-Identifier: Apache-2.0 */
#include "linux/procmetrics.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

Test(metrics, item_names)
{
	static const char *const rows[][2] = {
		{ "MemTotal", "mem_total" },
		{ "SReclaimable", "s_reclaimable" },
		{ "Active(anon)", "active_anon" },
		{ "DirectMap4k", "direct_map_4k" },
		{ "DirectMap2M", "direct_map_2M" },
		{ "DirectMap1G", "direct_map_1G" },
		{ "Percpu", "per_cpu" },
		{ "KReclaimable", "k_reclaimable" },
		{ "SUnreclaim", "s_unreclaim" },
		{ "ShmemHugePages", "shmem_hugepages" },
		{ "ShmemPmdMapped", "shmem_pmd_mapped" },
		{ "Hugepagesize", "hugepagesize" },
		{ "Inactive(file)", "inactive_file" },
		{ "WritebackTmp", "writeback_tmp" },
		{ "CmaTotal", "cma_total" },
		{ "HugePages_Total", "hugepages_total" },
		{ "AnonHugePages", "anon_hugepages" },
		{ "Committed_AS", "committed_as" },
		{ "NFS_Unstable", "nfs_unstable" },
		{ "rchar", "rchar" },
		{ "write_bytes", "write_bytes" },
		{ "KernelStack", "kernel_stack" },
		{ "VmallocTotal", "vmalloc_total" },
	};
	char out[64], tight[6];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		metrics_item_name(rows[i][0], strlen(rows[i][0]), out, sizeof(out));
		cr_expect_str_eq(out, rows[i][1]);
	}
	metrics_item_name("LongNameThatDoesNotFit", 22, tight, sizeof(tight));
	cr_expect_lt(strlen(tight), sizeof(tight));
}

/* Every line is what the format allows, and every metric has its type before its values, once. */
Test(metrics, format)
{
	int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct metrics_text t = { 0 };
	char *save = NULL, *text, type[128] = "", all[8192] = " ";
	int values = 0;

	metrics_agent(&t, proc, 3);
	metrics_guest(&t, proc);
	metrics_filesystems(&t, proc);
	close(proc);
	cr_assert(!t.failed);
	cr_assert_eq(buf_append(&t.buf, "", 1), 0);
	text = (char *)buf_data(&t.buf);
	cr_assert_not_null(strstr(text, "\nkata_agent_scrape_count 3\n"));
	cr_assert_not_null(strstr(text, "\nkata_agent_threads "));
	cr_assert_not_null(strstr(text, "kata_guest_load{item=\"load15\"} "));
	cr_assert_not_null(strstr(text, "kata_guest_cpu_time{cpu=\"total\",item=\"user\"} "));
	cr_assert_not_null(strstr(text, "kata_guest_cpu_time{cpu=\"0\",item=\"idle\"} "));
	cr_assert_not_null(strstr(text, "kata_guest_meminfo{item=\"mem_total\"} "));
	cr_assert_not_null(
		strstr(text, "kata_guest_netdev_stat{interface=\"lo\",item=\"recv_bytes\"} "));
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		size_t name = strcspn(line, "{ "), n = strlen(type);
		char word[130], *end;

		if (strncmp(line, "# HELP ", 7) == 0)
			continue;
		if (strncmp(line, "# TYPE ", 7) == 0) {
			snprintf(type, sizeof(type), "%.*s", (int)strcspn(line + 7, " "), line + 7);
			snprintf(word, sizeof(word), " %s ", type);
			cr_assert_null(strstr(all, word), "%s twice", type);
			strcat(all, word + 1);
			continue;
		}
		cr_assert(name == n && strncmp(line, type, n) == 0, "value of another metric: %s",
			  line);
		end = strrchr(line, ' ');
		cr_assert_not_null(end);
		(void)strtod(end + 1, &end);
		cr_assert_eq(*end, '\0', "no number: %s", line);
		values++;
	}
	cr_assert_gt(values, 100);
	buf_free(&t.buf);
}

/* The units of the 3.x agent, which its dashboards know: milliseconds of a CPU, bytes of memory. */
Test(metrics, units)
{
	char dir[] = "/tmp/test_metrics.XXXXXX", path[64];
	struct metrics_text t = { 0 };
	int proc;
	FILE *f;

	cr_assert_not_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/stat", dir);
	f = fopen(path, "w");
	cr_assert_gt(fprintf(f, "cpu  700 0 30 4\ncpu0 700 0 30 4\nintr 1\n"), 0);
	fclose(f);
	(void)snprintf(path, sizeof(path), "%s/meminfo", dir);
	f = fopen(path, "w");
	cr_assert_gt(fprintf(f, "Percpu:    2 kB\nDirectMap2M:    4 kB\n"), 0);
	fclose(f);
	(void)snprintf(path, sizeof(path), "%s/loadavg", dir);
	f = fopen(path, "w");
	cr_assert_gt(fprintf(f, "0.25 1.50 10.00 3/456 789\n"), 0);
	fclose(f);
	(void)snprintf(path, sizeof(path), "%s/diskstats", dir);
	f = fopen(path, "w");
	cr_assert_gt(fprintf(f, " 254       0 vda 11 12 13 14\n   7       1 loop1 21 22\n\n 1 2\n"),
		     0);
	fclose(f);
	(void)snprintf(path, sizeof(path), "%s/self", dir);
	cr_assert_eq(mkdir(path, 0755), 0);
	(void)snprintf(path, sizeof(path), "%s/self/stat", dir);
	f = fopen(path, "w");
	cr_assert_gt(
		fprintf(f,
			"1 (a) b) S 0 1 1 0 -1 4194560 5 6 7 8 11 12 13 14 20 0 1 0 15 4096000 33 9\n"),
		0);
	fclose(f);
	proc = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	metrics_guest(&t, proc);
	metrics_agent(&t, proc, 1);
	close(proc);
	cr_assert_eq(buf_append(&t.buf, "", 1), 0);
	static const char *const lines[] = {
		"\nkata_guest_load{item=\"load1\"} 0.25\nkata_guest_load{item=\"load5\"} 1.50\n",
		"\nkata_guest_load{item=\"load15\"} 10.00\n",
		"\nkata_guest_tasks{item=\"cur\"} 3\nkata_guest_tasks{item=\"max\"} 456\n",
		"\nkata_guest_diskstat{disk=\"vda\",item=\"reads\"} 11\n",
		"\nkata_guest_diskstat{disk=\"loop1\",item=\"merged\"} 22\n",
		"\nkata_agent_threads 1\n",
		"\nkata_agent_total_vm 4096000\n",
		"\nkata_agent_proc_stat{item=\"utime\"} 11\n",
		"\nkata_agent_proc_stat{item=\"cstime\"} 14\n",
	};
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		cr_expect_not_null(strstr((char *)buf_data(&t.buf), lines[i]), "%s", lines[i]);
	cr_expect_not_null(strstr((char *)buf_data(&t.buf),
				  "kata_guest_cpu_time{cpu=\"total\",item=\"user\"} 7000\n"));
	cr_expect_not_null(
		strstr((char *)buf_data(&t.buf), "kata_guest_meminfo{item=\"per_cpu\"} 2048\n"));
	cr_expect_not_null(strstr((char *)buf_data(&t.buf),
				  "kata_guest_meminfo{item=\"direct_map_2M\"} 4096\n"));
	buf_free(&t.buf);
	static const char *const made[] = { "stat",	 "meminfo",   "loadavg",
					    "diskstats", "self/stat", "self" };
	for (size_t i = 0; i < sizeof(made) / sizeof(made[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, made[i]);
		(void)remove(path);
	}
	(void)rmdir(dir);
}
