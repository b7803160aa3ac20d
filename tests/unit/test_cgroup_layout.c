/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layouts of guests that this machine is not, and what is written for v2: ordinary directories
 * and files stand in for the kernel's. No root needed.
 */
#include "oci/cgroup/cgroup.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci/cgroup/impl.h"
#include "base/auto.h"
#include "base/fdio.h"
#include "base/str.h"

static char dir[64];
static struct cgroup_root *root;
static struct err err;

static void setup(void)
{
	(void)snprintf(dir, sizeof(dir), "/tmp/test_cgroup.XXXXXX");
	cr_assert(mkdtemp(dir));
}

static void teardown(void)
{
	cgroup_root_free(root);
	cr_assert_eq(fdio_remove_tree(AT_FDCWD, dir), 0);
}

TestSuite(cgroup_layout, .init = setup, .fini = teardown, .timeout = 20);

__attribute__((format(printf, 2, 3))) static void put(const char *path, const char *fmt, ...)
{
	char full[256], text[512];
	va_list ap;
	int fd;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	(void)snprintf(full, sizeof(full), "%s/%s", dir, path);
	*strrchr(full, '/') = '\0';
	cr_assert_eq(fdio_mkdirs(full, 0755), 0);
	full[strlen(full)] = '/';
	fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	cr_assert(fd >= 0);
	cr_assert_eq(fdio_write_all(fd, text, strlen(text)), 0);
	(void)close(fd);
}

static void expect(const char *path, const char *value)
{
	char full[256], text[512];

	(void)snprintf(full, sizeof(full), "%s/%s", dir, path);
	cr_assert(fdio_read_file(AT_FDCWD, full, text, sizeof(text)) >= 0, "%s", path);
	cr_expect_str_eq(text, value, "%s is '%s', not '%s'", path, text, value);
}

/* %s in the mount table becomes the test's directory. */
static void parse(const char *mounts, const char *self_text)
{
	char table[4096], self[1024], *out = table;

	for (const char *p = mounts; *p; p++) {
		if (*p == '@')
			out += sprintf(out, "%s", dir);
		else
			*out++ = *p;
	}
	*out = '\0';
	(void)snprintf(self, sizeof(self), "%s", self_text);
	cr_assert_eq(cgroup_root_parse(table, self, &root, &err), 0, "%s", err.msg);
}

Test(cgroup_layout, none)
{
	struct cgroup *cg;
	struct arena mem;
	struct cgroup_stats s;
	Grpc__LinuxResources res = GRPC__LINUX_RESOURCES__INIT;
	Grpc__LinuxMemory memory = GRPC__LINUX_MEMORY__INIT;
	Grpc__LinuxDeviceCgroup deny = GRPC__LINUX_DEVICE_CGROUP__INIT;
	Grpc__LinuxDeviceCgroup *devices[] = { &deny };
	char access[] = "rwm";
	pid_t *pids;
	size_t count = 1;

	parse("20 1 0:5 / /proc rw - proc proc rw\n", "");
	cr_expect_eq(root->mode, CGROUP_NONE);
	(void)snprintf(root->lacks, sizeof(root->lacks), "the guest has no cgroups (why)");
	memory.limit = -1; /* no limit */
	res.memory = &memory;
	cr_assert_eq(cgroup_create(root, "/a/b", "cid", &res, &cg, &err), 0);
	cr_expect_eq(cgroup_join(cg, &err), 0);
	cr_expect_eq(cgroup_set_devices(cg, &(struct cgroup_devices){ .res = &res }, &err), 0);
	cr_expect_eq(cgroup_freeze(cg, true, &err), -EOPNOTSUPP);
	cr_expect_eq(cgroup_freeze_state(cg), CGROUP_THAWED);
	cr_expect_eq(cgroup_update(cg, &res, &err), 0, "%s", err.msg);
	memory.limit = 1 << 20;
	cr_expect_eq(cgroup_update(cg, &res, &err), -EOPNOTSUPP);
	deny.access = access;
	res.devices = devices;
	res.n_devices = 1;
	cr_expect_eq(cgroup_set_devices(cg, &(struct cgroup_devices){ .res = &res }, &err),
		     -EOPNOTSUPP);
	cr_expect_eq(cgroup_oom_watch(cg, &err), -EOPNOTSUPP);
	cr_expect_eq(cgroup_kill(cg, 9), 0);
	arena_init(&mem, 1 << 20);
	cr_expect_eq(cgroup_pids(cg, &mem, &pids, &count), 0);
	cr_expect_eq(count, 0);
	cr_expect_eq(cgroup_stats(cg, &mem, &s, &err), 0);
	arena_free(&mem);
	cr_expect_eq(cgroup_remove(cg, &err), 0);
	cgroup_free(cg);
	cr_expect_eq(cgroup_create(root, "/a/c", "cid", &res, &cg, &err), -EOPNOTSUPP);
	cr_expect_str_eq(err.msg, "can't limit memory: no cgroup controller 'memory': "
				  "the guest has no cgroups (why)");
}

/* What is there is used, and only what isn't is refused, by its name. */
static void expect_only(enum cgroup_mode mode, const char *missing)
{
	Grpc__LinuxCPU cpu = GRPC__LINUX_CPU__INIT;
	Grpc__LinuxPids pids = GRPC__LINUX_PIDS__INIT;
	Grpc__LinuxResources res = GRPC__LINUX_RESOURCES__INIT;
	struct cgroup *cg;

	cr_assert_eq(root->mode, mode);
	pids.limit = 7;
	cpu.quota = -1;
	cpu.period = 100000;
	res.pids = &pids;
	res.cpu = &cpu;
	cr_assert_eq(cgroup_create(root, "/c", "c", &res, &cg, &err), 0, "%s", err.msg);
	cpu.shares = 2;
	cr_expect_eq(cgroup_update(cg, &res, &err), -EOPNOTSUPP);
	cr_expect_str_eq(err.msg, missing);
	cgroup_free(cg);
}

Test(cgroup_layout, v1_in_part)
{
	put("pids/c/pids.max", "max");
	put("devices/tasks", "x");
	put("freezer/tasks", "x");
	parse("32 31 0:30 / @/pids rw - cgroup cgroup rw,pids\n"
	      "33 31 0:31 / @/devices rw - cgroup cgroup rw,devices\n"
	      "34 31 0:32 / @/freezer rw - cgroup cgroup rw,freezer\n",
	      "");
	cr_expect_str_eq(cgroup_root_lacks(root),
			 "the guest has no cgroup controllers cpuset, memory, cpu");
	expect_only(CGROUP_V1, "can't limit CPU time: no cgroup controller 'cpu': "
			       "the guest has no cgroup controllers cpuset, memory, cpu");
	expect("pids/c/pids.max", "7");
}

/* cgroup_no_v1=all and a systemd that still mounts its own v1 hierarchy. */
Test(cgroup_layout, v2_beside_systemds_hierarchy)
{
	put("unified/cgroup.controllers", "cpuset memory pids");
	put("unified/cgroup.subtree_control", "cpuset memory pids");
	put("unified/c/pids.max", "max");
	put("systemd/tasks", "x");
	parse("32 31 0:30 / @/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
	      "33 31 0:31 / @/unified rw - cgroup2 cgroup2 rw,nsdelegate\n",
	      "1:name=systemd:/system.slice/kata-agent.service\n0::/system.slice\n");
	cr_expect_eq(root->count, 1);
	expect_only(CGROUP_V2, "can't limit CPU time: no cgroup controller 'cpu': "
			       "the guest has no cgroup controllers cpu");
	expect("unified/c/pids.max", "7");
}

Test(cgroup_layout, systemd_comounts_and_own_path)
{
	struct cgroup *cg;
	char path[128];
	struct stat st;

	put("cpu,cpuacct/system.slice/kata-agent.service/tasks", "x");
	put("cpuset/tasks", "x");
	put("systemd/system.slice/kata-agent.service/tasks", "x");
	put("cpuset/cpuset.cpus", "0-1");
	put("cpuset/cpuset.mems", "0");
	put("cpuset/cid/cpuset.cpus", "%s", "");
	put("cpuset/cid/cpuset.mems", "%s", "");
	parse("31 23 0:28 / @ rw - tmpfs tmpfs rw\n"
	      "32 31 0:30 / @/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
	      "33 31 0:31 / @/cpuset rw - cgroup cgroup rw,cpuset,clone_children\n"
	      "34 31 0:32 / @/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
	      "35 31 0:33 / @/elsewhere rw - cgroup cgroup rw,cpuset\n"
	      "36 31 0:34 / @/rdma rw - cgroup cgroup rw,rdma\n"
	      "37 31 0:35 / @/unified rw - cgroup2 cgroup2 rw\n",
	      "4:cpu,cpuacct:/system.slice/kata-agent.service\n3:cpuset:/\n"
	      "1:name=systemd:/system.slice/kata-agent.service\n0::/system.slice/kata-agent.service\n");
	cr_expect_eq(root->mode, CGROUP_V1);
	cr_expect_eq(root->count, 3);
	cr_assert_eq(cgroup_create(root, "", "cid", NULL, &cg, &err), 0, "%s", err.msg);
	(void)snprintf(path, sizeof(path), "%s/cpu,cpuacct/system.slice/kata-agent.service/cid",
		       dir);
	cr_expect_eq(stat(path, &st), 0, "empty path: below the agent's own");
	expect("cpuset/cid/cpuset.cpus", "0-1");
	expect("cpuset/cid/cpuset.mems", "0");
	cr_expect_str_eq(root->h[0].name, "cpu,cpuacct");
	cr_expect_eq(root->h[0].ctls, 1u << CTL_CPU | 1u << CTL_CPUACCT);
	cr_expect_str_eq(root->h[2].name, "systemd");
	cgroup_free(cg);
	cr_expect_eq(cgroup_create(root, "/system.slice", "cid", NULL, &cg, &err), -EINVAL);
	cr_expect_eq(cgroup_create(root, "/system.slice/kata-agent.service", "c", NULL, &cg, &err),
		     -EINVAL);
}

Test(cgroup_layout, part_of_the_tree_is_mounted)
{
	put("memory/tasks", "x");
	parse("32 31 0:30 /docker/abc @/memory rw - cgroup cgroup rw,memory\n",
	      "4:memory:/docker/abc/agent\n");
	cr_expect_str_eq(root->h[0].own, "agent");
	cgroup_root_free(root);
	parse("32 31 0:30 /docker/abc @/memory rw - cgroup cgroup rw,memory\n",
	      "4:memory:/docker/abcd\n");
	cr_expect_str_eq(root->h[0].own, "");
	cgroup_root_free(root);
	parse("32 31 0:30 /../.. @/memory rw - cgroup cgroup rw,memory\n", "4:memory:/../..\n");
	cr_expect_str_eq(root->h[0].own, "");
}

Test(cgroup_layout, paths)
{
	static const char *const rows[][2] = {
		{ "/kubepods/pod1/c", "kubepods/pod1/c" },
		{ "kubepods//pod1/./c/", "kubepods/pod1/c" },
		{ "/../../etc", "etc" },
		{ "a/../../..", "cid" },
		{ "/", "cid" },
		{ "", "cid" },
		{ "a/b/../c", "a/c" },
		{ "..a/...", "..a/..." },
		{ "my.slice:cri:abc", "my.slice/cri/abc" },
		{ "..:..:x", "x" },
		{ "::", "cid" },
		{ "a:b", "a:b" },
		{ "a:b:c:d", "a:b:c:d" },
		{ "/a:b:c", "a:b:c" },
	};

	put("memory/tasks", "x");
	parse("32 31 0:30 / @/memory rw - cgroup cgroup rw,memory\n", "4:memory:/\n");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct cgroup *cg;

		cr_assert_eq(cgroup_create(root, rows[i][0], "cid", NULL, &cg, &err), 0, "%s: %s",
			     rows[i][0], err.msg);
		cr_expect_str_eq(cg->path, rows[i][1]);
		cr_expect_eq(cgroup_remove(cg, &err), 0, "%s", err.msg);
		cgroup_free(cg);
	}
	cr_expect(list_empty(&root->made));
}

static void parse_v2(void)
{
	put("cgroup.controllers", "cpuset cpu io memory hugetlb pids rdma misc");
	put("cgroup.subtree_control", "%s", "");
	parse("32 31 0:30 / @ rw - cgroup2 cgroup2 rw,nsdelegate\n", "0::/\n");
	cr_assert_eq(root->mode, CGROUP_V2);
	cr_assert_str_eq(root->enable, "+cpuset +cpu +io +memory +hugetlb +pids");
}

static void put_v2_files(const char *leaf)
{
	static const char *const files[] = { "cpu.weight",     "cpu.max",    "cpuset.cpus",
					     "cpuset.mems",    "memory.max", "memory.swap.max",
					     "memory.low",     "pids.max",   "io.max",
					     "hugetlb.2MB.max" };
	char path[128];

	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", leaf, files[i]);
		put(path, "%s", str_eq(files[i], "cpu.max") ? "max 100000" : "max");
	}
}

/* From runc's and crun's tables of 2025. */
Test(cgroup_layout, v2_weights)
{
	static const uint64_t rows[][2] = { { 2, 1 },	       { 3, 2 },	 { 512, 59 },
					    { 1024, 100 },     { 1025, 101 },	 { 2048, 174 },
					    { 262143, 10000 }, { 262144, 10000 } };

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		cr_expect_eq(cgroup_v2_weight(rows[i][0]), rows[i][1], "%lu: %lu",
			     (unsigned long)rows[i][0],
			     (unsigned long)cgroup_v2_weight(rows[i][0]));
}

Test(cgroup_layout, v2_conversion)
{
	Grpc__LinuxMemory mem = GRPC__LINUX_MEMORY__INIT;
	Grpc__LinuxCPU cpu = GRPC__LINUX_CPU__INIT;
	Grpc__LinuxPids pids = GRPC__LINUX_PIDS__INIT;
	Grpc__LinuxBlockIO io = GRPC__LINUX_BLOCK_IO__INIT;
	Grpc__LinuxThrottleDevice dev = GRPC__LINUX_THROTTLE_DEVICE__INIT;
	Grpc__LinuxThrottleDevice *devs[] = { &dev };
	Grpc__LinuxHugepageLimit huge = GRPC__LINUX_HUGEPAGE_LIMIT__INIT;
	Grpc__LinuxHugepageLimit *huges[] = { &huge };
	Grpc__LinuxResources res = GRPC__LINUX_RESOURCES__INIT;
	char cpus[] = "0", size[] = "2MB", path[128];
	struct cgroup *cg, *second;
	struct stat st;

	mem.limit = 1000 << 10;
	mem.swap = 1500 << 10;
	mem.reservation = 500 << 10;
	cpu.shares = 1024;
	cpu.quota = 50000;
	cpu.period = 200000;
	cpu.cpus = cpus;
	pids.limit = 7;
	dev.major = 8;
	dev.minor = 16;
	dev.rate = 1 << 20;
	io.throttlereadbpsdevice = devs;
	io.n_throttlereadbpsdevice = 1;
	huge.pagesize = size;
	huge.limit = 2 << 20;
	res.memory = &mem;
	res.cpu = &cpu;
	res.pids = &pids;
	res.blockio = &io;
	res.hugepagelimits = huges;
	res.n_hugepagelimits = 1;
	parse_v2();
	put("pod/cgroup.subtree_control", "%s", "");
	put_v2_files("pod/cid");
	cr_assert_eq(cgroup_create(root, "/pod/cid", "cid", &res, &cg, &err), 0, "%s", err.msg);
	expect("cgroup.subtree_control", root->enable);
	expect("pod/cgroup.subtree_control", root->enable);
	expect("pod/cid/cpu.weight", "100");
	expect("pod/cid/cpu.max", "50000 200000");
	expect("pod/cid/cpuset.cpus", "0");
	expect("pod/cid/memory.max", "1024000");
	expect("pod/cid/memory.swap.max", "512000");
	expect("pod/cid/memory.low", "512000");
	expect("pod/cid/pids.max", "7");
	expect("pod/cid/io.max", "8:16 rbps=1048576");
	expect("pod/cid/hugetlb.2MB.max", "2097152");
	cr_expect(cgroup_attach_fd(cg) >= 0);

	/* Zeros keep what is there; the second try fails late and is undone. */
	cpu = (Grpc__LinuxCPU)GRPC__LINUX_CPU__INIT;
	cpu.period = 100000;
	mem = (Grpc__LinuxMemory)GRPC__LINUX_MEMORY__INIT;
	mem.limit = -1;
	pids.limit = -1;
	res.blockio = NULL;
	cr_expect_eq(cgroup_update(cg, &res, &err), 0, "%s", err.msg);
	expect("pod/cid/cpu.max", "50000 100000");
	expect("pod/cid/cpu.weight", "100");
	expect("pod/cid/memory.max", "max");
	expect("pod/cid/memory.swap.max", "max");
	expect("pod/cid/pids.max", "max");
	cpu.shares = 2;
	mem.limit = 4096;
	mem.swap = 100;
	cr_expect_eq(cgroup_update(cg, &res, &err), -EINVAL);
	expect("pod/cid/cpu.weight", "100");
	expect("pod/cid/memory.max", "max");
	res.cpu = NULL;
	mem.limit = 0;
	mem.swap = 8192;
	cr_expect_eq(cgroup_update(cg, &res, &err), -EINVAL, "swap without a limit on memory");
	put("pod/cid/memory.max", "4096");
	cr_expect_eq(cgroup_update(cg, &res, &err), 0, "%s", err.msg);
	expect("pod/cid/memory.swap.max", "4096");

	/* An enabled parent is not written again, and "cpu" isn't found inside "cpuset". */
	put("pod/cgroup.subtree_control", "pids hugetlb memory io cpu cpuset");
	put("cgroup.subtree_control", "untouched");
	cr_assert_eq(cgroup_create(root, "/pod/second", "s", NULL, &second, &err), 0);
	expect("cgroup.subtree_control", "untouched");
	cgroup_free(second);
	put("pod/cgroup.subtree_control", "pids hugetlb memory io cpuset");
	cr_assert_eq(cgroup_create(root, "/pod/third", "s", NULL, &second, &err), 0);
	expect("cgroup.subtree_control", root->enable);
	cgroup_free(second);
	cgroup_free(cg);
	(void)snprintf(path, sizeof(path), "%s/pod/cid", dir);
	cr_expect_eq(stat(path, &st), 0);
}

Test(cgroup_layout, v2_shares_and_weights)
{
	static const struct {
		uint64_t shares;
		const char *weight;
	} rows[] = { { 2, "1" }, { 1024, "100" }, { 262144, "10000" } };
	Grpc__LinuxCPU cpu = GRPC__LINUX_CPU__INIT;
	Grpc__LinuxBlockIO io = GRPC__LINUX_BLOCK_IO__INIT;
	Grpc__LinuxResources res = GRPC__LINUX_RESOURCES__INIT;
	struct cgroup *cg;

	parse_v2();
	put_v2_files("c");
	put("c/io.weight", "default 100");
	cr_assert_eq(cgroup_create(root, "c", "c", NULL, &cg, &err), 0);
	res.cpu = &cpu;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		cpu.shares = rows[i].shares;
		cr_expect_eq(cgroup_update(cg, &res, &err), 0);
		expect("c/cpu.weight", rows[i].weight);
	}
	res.cpu = NULL;
	res.blockio = &io;
	io.weight = 1000;
	cr_expect_eq(cgroup_update(cg, &res, &err), 0, "%s", err.msg);
	expect("c/io.weight", "default 10000");
	put("c/io.bfq.weight", "default 100");
	io.weight = 500;
	cr_expect_eq(cgroup_update(cg, &res, &err), 0, "%s", err.msg);
	expect("c/io.bfq.weight", "default 500");
	expect("c/io.weight", "default 10000");
	cgroup_free(cg);
}

Test(cgroup_layout, v2_statistics)
{
	struct cgroup *cg;
	struct arena mem;
	struct cgroup_stats s;

	parse_v2();
	put("c/cpu.stat", "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 7\nnr_throttled 1\n"
			  "throttled_usec 9\n");
	put("c/memory.current", "1000\n");
	put("c/memory.peak", "2000\n");
	put("c/memory.max", "max\n");
	put("c/memory.events", "low 0\nhigh 0\nmax 4\noom 1\noom_kill 1\n");
	put("c/memory.stat", "anon 10\nfile 20\nkernel 30\nbroken\nworse x\n");
	put("c/memory.swap.current", "50\n");
	put("c/memory.swap.max", "60\n");
	put("c/pids.current", "3\n");
	put("c/pids.max", "max\n");
	put("c/io.stat",
	    "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\nx:y rbytes=1\n254:1 \n");
	put("c/hugetlb.2MB.max", "max\n");
	put("c/hugetlb.2MB.current", "4\n");
	put("c/hugetlb.2MB.events", "max 8\n");
	put("c/hugetlb.2MB.rsvd.max", "max\n");
	/* Nobody uses these: no entry, for containerd's metrics' sake. */
	put("c/hugetlb.1GB.max", "max\n");
	put("c/hugetlb.1GB.current", "0\n");
	put("c/hugetlb.1GB.events", "max 0\n");
	put("c/hugetlb.64KB.max", "max\n");
	cr_assert_eq(cgroup_create(root, "c", "c", NULL, &cg, &err), 0);
	arena_init(&mem, 1 << 20);
	cr_assert_eq(cgroup_stats(cg, &mem, &s, &err), 0);
	cr_expect_eq(s.cpu.total, 5000);
	cr_expect_eq(s.cpu.user, 3000);
	cr_expect_eq(s.cpu.throttled_time, 9000);
	cr_expect_eq(s.memory.usage, 1000);
	cr_expect_eq(s.memory.peak, 2000);
	cr_expect_eq(s.memory.failures, 4);
	cr_expect_eq(s.memory.limit, UINT64_MAX);
	cr_expect_eq(s.swap.usage, 50, "swap alone");
	cr_expect_eq(s.swap.limit, 60);
	cr_expect_eq(s.kernel.usage, 30);
	cr_expect_eq(s.cache, 20);
	cr_expect_eq(s.n_memory_stat, 3);
	cr_expect_eq(s.pids, 3);
	cr_expect_eq(s.pids_limit, 0);
	cr_assert_eq(s.io.bytes.n, 3);
	cr_expect_eq(s.io.bytes.entry[1].value, 2);
	cr_expect_str_eq(s.io.bytes.entry[1].op, "Write");
	cr_expect_eq(s.io.ops.n, 3);
	cr_assert_eq(s.n_hugetlb, 1);
	cr_expect_str_eq(s.hugetlb[0].size, "2MB");
	cr_expect_eq(s.hugetlb[0].failures, 8);
	cr_expect_eq(cgroup_oom_check(cg), 1);
	cr_expect_eq(cgroup_oom_check(cg), 0);
	put("c/memory.events", "oom_kill 3\n");
	cr_expect_eq(cgroup_oom_check(cg), 2);
	arena_free(&mem);
	cgroup_free(cg);
}

/* A size is told of as long as any of its numbers says something. */
Test(cgroup_layout, v1_huge_page_statistics)
{
	struct cgroup *cg;
	struct arena mem;
	struct cgroup_stats s;

	put("h/c/hugetlb.2MB.limit_in_bytes", "9223372036854771712\n");
	put("h/c/hugetlb.2MB.usage_in_bytes", "0\n");
	put("h/c/hugetlb.2MB.max_usage_in_bytes", "2097152\n");
	put("h/c/hugetlb.2MB.failcnt", "0\n");
	put("h/c/hugetlb.1GB.limit_in_bytes", "9223372036854771712\n");
	put("h/c/hugetlb.1GB.usage_in_bytes", "0\n");
	put("h/c/hugetlb.1GB.max_usage_in_bytes", "0\n");
	put("h/c/hugetlb.1GB.failcnt", "0\n");
	parse("31 23 0:28 / @/h rw - cgroup cgroup rw,hugetlb\n", "3:hugetlb:/\n");
	cr_assert_eq(cgroup_create(root, "c", "c", NULL, &cg, &err), 0, "%s", err.msg);
	arena_init(&mem, 1 << 20);
	cr_assert_eq(cgroup_stats(cg, &mem, &s, &err), 0);
	cr_assert_eq(s.n_hugetlb, 1);
	cr_expect_str_eq(s.hugetlb[0].size, "2MB");
	cr_expect_eq(s.hugetlb[0].peak, 2097152);
	put("h/c/hugetlb.2MB.max_usage_in_bytes", "0\n");
	cr_assert_eq(cgroup_stats(cg, &mem, &s, &err), 0);
	cr_expect_eq(s.n_hugetlb, 0);
	arena_free(&mem);
	cgroup_free(cg);
}

Test(cgroup_layout, v1_io_statistics)
{
	struct cgroup *cg;
	struct arena mem;
	struct cgroup_stats s;

	put("blkio/c/blkio.throttle.io_service_bytes", "254:0 Read 10\n254:0 Write 20\nTotal 30\n");
	put("blkio/c/blkio.throttle.io_serviced", "254:0 Read 1\n");
	parse("32 31 0:30 / @/blkio rw - cgroup cgroup rw,blkio\n", "1:blkio:/\n");
	cr_assert_eq(cgroup_create(root, "c", "c", NULL, &cg, &err), 0);
	arena_init(&mem, 1 << 20);
	cr_assert_eq(cgroup_stats(cg, &mem, &s, &err), 0);
	cr_expect_eq(s.io.bytes.n, 2);
	cr_expect_eq(s.io.ops.n, 1);
	put("blkio/c/blkio.io_serviced_recursive", "8:0 Read 5\n");
	put("blkio/c/blkio.time_recursive", "8:0 77\n");
	cr_assert_eq(cgroup_stats(cg, &mem, &s, &err), 0);
	cr_expect_eq(s.io.ops.entry[0].value, 5);
	cr_expect_eq(s.io.bytes.n, 0);
	cr_assert_eq(s.io.time.n, 1);
	cr_expect_eq(s.io.time.entry[0].value, 77);
	cr_expect_str_eq(s.io.time.entry[0].op, "");
	arena_free(&mem);
	cgroup_free(cg);
}

Test(cgroup_layout, device_rules)
{
	static const struct {
		const char *type, *access;
		int64_t major, minor;
		int result;
		const char *text;
	} rows[] = {
		{ "c", "rwm", 1, 3, 0, "" },
		{ "b", "m", -1, -1, 0, "" },
		{ "", "rwm", 0, 0, 0, "" },
		{ "c", "", 1, 3, -EINVAL, "device access at 7 field cannot be empty" },
		{ "c", "rx", 1, 3, -EINVAL, "not of r, w, m" },
		{ "p", "rwm", 1, 3, -EINVAL, "not a, b or c" },
		{ "c", "rwm", -2, 3, -EINVAL, "invalid" },
		{ "c", "rwm", 1, (int64_t)1 << 32, -EINVAL, "invalid" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		Grpc__LinuxDeviceCgroup d = GRPC__LINUX_DEVICE_CGROUP__INIT;
		struct device_rule rule;
		char type[4], access_text[8];

		(void)snprintf(type, sizeof(type), "%s", rows[i].type);
		(void)snprintf(access_text, sizeof(access_text), "%s", rows[i].access);
		d.type = type;
		d.access = access_text;
		d.major = rows[i].major;
		d.minor = rows[i].minor;
		err.msg[0] = '\0';
		cr_expect_eq(cgroup_device_rule(&d, 7, &rule, &err), rows[i].result);
		cr_expect(strstr(err.msg, rows[i].text), "%s", err.msg);
		if (rows[i].result == 0 && !*type) {
			cr_expect_eq(rule.type, 'a');
			cr_expect_eq(rule.major, -1);
		}
	}
}
