/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A real cgroup v1 of this machine. Skipped without root or where v1 isn't mounted writable.
 */
#include "oci/cgroup/cgroup.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "oci/cgroup/impl.h"
#include "base/auto.h"
#include "base/fdio.h"
#include "base/str.h"

static struct cgroup_root *root;
static struct cgroup *cg;
static char name[64];
static struct err err;

static void make(const char *path, const Grpc__LinuxResources *res)
{
	int r;

	if (getuid() != 0 || access("/sys/fs/cgroup/devices/tasks", W_OK) < 0)
		cr_skip_test("needs root and a writable cgroup v1");
	(void)snprintf(name, sizeof(name), "kata-test-%d", getpid());
	r = cgroup_root_open("", &root, &err);
	cr_assert_eq(r, 0, "%s", err.msg);
	cr_assert_eq(root->mode, CGROUP_V1);
	r = cgroup_create(root, path ? path : name, name, res, &cg, &err);
	cr_assert_eq(r, 0, "%s", err.msg);
}

static void remove_it(void)
{
	int r = -EBUSY;

	for (int i = 0; i < 100 && r == -EBUSY; i++) {
		r = cgroup_remove(cg, &err);
		if (r == -EBUSY)
			(void)usleep(10000);
	}
	cr_expect_eq(r, 0, "%s", err.msg);
	cgroup_free(cg);
	cr_expect(list_empty(&root->made), "directories above are left");
	cgroup_root_free(root);
}

static void expect_file(enum ctl ctl, const char *file, const char *value)
{
	char text[4096];
	ssize_t n = cgroup_read(cg, ctl, file, text, sizeof(text));

	cr_assert(n >= 0, "%s: %zd", file, n);
	cr_expect_str_eq(text, value, "%s is '%s', not '%s'", file, text, value);
}

/* A child inside the cgroup that runs fn. */
static pid_t spawn(int (*fn)(void))
{
	pid_t pid = fork();

	cr_assert(pid >= 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (cgroup_join(cg, &err) < 0)
			_exit(200);
		_exit(fn());
	}
	return pid;
}

static int do_wait(void)
{
	while (pause())
		;
	return 0;
}

static int do_nothing(void)
{
	return 0;
}

static int status_of(pid_t pid)
{
	int status = -1;

	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return status;
}

static bool wait_for_pids(size_t wanted)
{
	struct arena mem;
	size_t count = 0;
	pid_t *pids;

	for (int i = 0; i < 200; i++) {
		arena_init(&mem, 1 << 20);
		if (cgroup_pids(cg, &mem, &pids, &count) < 0)
			count = SIZE_MAX;
		arena_free(&mem);
		if (count == wanted)
			return true;
		(void)usleep(5000);
	}
	return false;
}

TestSuite(cgroup_v1, .timeout = 30);

Test(cgroup_v1, create_and_remove)
{
	struct stat st;
	char path[128];

	make(NULL, NULL);
	(void)snprintf(path, sizeof(path), "/sys/fs/cgroup/cpuset/%s", name);
	cr_expect_eq(stat(path, &st), 0);
	cr_expect_eq(WEXITSTATUS(status_of(spawn(do_nothing))), 0, "an empty cpuset admits nobody");
	cr_expect_eq(cgroup_attach_fd(cg), -1);
	remove_it();
	cr_expect_eq(stat(path, &st), -1);
}

Test(cgroup_v1, nested_path_leaves_nothing)
{
	struct cgroup *second;
	char path[160];
	struct stat st;

	(void)snprintf(path, sizeof(path), "/../kata-test-n%d//./a/../b/c", getpid());
	make(path, NULL);
	cr_expect_eq(WEXITSTATUS(status_of(spawn(do_nothing))), 0);
	(void)snprintf(path, sizeof(path), "kata-test-n%d/b/d/", getpid());
	cr_assert_eq(cgroup_create(root, path, "x", NULL, &second, &err), 0, "%s", err.msg);
	cr_expect_eq(cgroup_remove(second, &err), 0);
	cgroup_free(second);
	(void)snprintf(path, sizeof(path), "/sys/fs/cgroup/memory/kata-test-n%d/b", getpid());
	cr_expect_eq(stat(path, &st), 0, "removed while in use");
	remove_it();
	(void)snprintf(path, sizeof(path), "/sys/fs/cgroup/memory/kata-test-n%d", getpid());
	cr_expect_eq(stat(path, &st), -1);
}

Test(cgroup_v1, limits)
{
	Grpc__LinuxMemory mem = GRPC__LINUX_MEMORY__INIT;
	Grpc__LinuxCPU cpu = GRPC__LINUX_CPU__INIT;
	Grpc__LinuxPids pids = GRPC__LINUX_PIDS__INIT;
	Grpc__LinuxHugepageLimit huge = GRPC__LINUX_HUGEPAGE_LIMIT__INIT;
	Grpc__LinuxHugepageLimit *huges[] = { &huge };
	Grpc__LinuxResources res = GRPC__LINUX_RESOURCES__INIT;
	char cpus[] = "0", size[] = "2MB";

	mem.limit = 64 << 20;
	mem.swap = 128 << 20;
	mem.reservation = 32 << 20;
	cpu.shares = 512;
	cpu.period = 50000;
	cpu.quota = 25000;
	cpu.cpus = cpus;
	pids.limit = 50;
	huge.pagesize = size;
	huge.limit = 0;
	res.memory = &mem;
	res.cpu = &cpu;
	res.pids = &pids;
	res.hugepagelimits = huges;
	res.n_hugepagelimits = access("/sys/fs/cgroup/hugetlb/tasks", F_OK) == 0;
	make(NULL, &res);
	expect_file(CTL_MEMORY, "memory.limit_in_bytes", "67108864");
	expect_file(CTL_MEMORY, "memory.memsw.limit_in_bytes", "134217728");
	expect_file(CTL_MEMORY, "memory.soft_limit_in_bytes", "33554432");
	expect_file(CTL_MEMORY, "memory.swappiness", "0");
	expect_file(CTL_CPU, "cpu.shares", "512");
	expect_file(CTL_CPU, "cpu.cfs_period_us", "50000");
	expect_file(CTL_CPU, "cpu.cfs_quota_us", "25000");
	expect_file(CTL_CPUSET, "cpuset.cpus", "0");
	expect_file(CTL_PIDS, "pids.max", "50");

	/* Upwards and downwards, through every order of limit and memory+swap. */
	mem.limit = 256 << 20;
	mem.swap = 512 << 20;
	cr_expect_eq(cgroup_update(cg, &res, &err), 0, "%s", err.msg);
	expect_file(CTL_MEMORY, "memory.limit_in_bytes", "268435456");
	mem.limit = 16 << 20;
	mem.swap = 32 << 20;
	cpu.quota = -1;
	pids.limit = -1;
	cr_expect_eq(cgroup_update(cg, &res, &err), 0, "%s", err.msg);
	expect_file(CTL_MEMORY, "memory.memsw.limit_in_bytes", "33554432");
	expect_file(CTL_CPU, "cpu.cfs_quota_us", "-1");
	expect_file(CTL_PIDS, "pids.max", "max");
	mem.limit = 8 << 20; /* alone: the sum of both stays as it is */
	mem.swap = 0;
	cr_expect_eq(cgroup_update(cg, &res, &err), 0, "%s", err.msg);
	expect_file(CTL_MEMORY, "memory.limit_in_bytes", "8388608");
	expect_file(CTL_MEMORY, "memory.memsw.limit_in_bytes", "33554432");
	mem.limit = -1;
	mem.swap = 0;
	cr_expect_eq(cgroup_update(cg, &res, &err), 0, "%s", err.msg);
	expect_file(CTL_MEMORY, "memory.memsw.limit_in_bytes", "9223372036854771712");
	remove_it();
}

Test(cgroup_v1, failed_update_is_undone)
{
	Grpc__LinuxMemory mem = GRPC__LINUX_MEMORY__INIT;
	Grpc__LinuxCPU cpu = GRPC__LINUX_CPU__INIT;
	Grpc__LinuxResources res = GRPC__LINUX_RESOURCES__INIT;
	char cpus[] = "0";

	make(NULL, NULL);
	cpu.shares = 300;
	cpu.cpus = cpus;
	cpu.quota = 20000;
	mem.limit = 64 << 20;
	mem.swap = 32 << 20; /* below the limit: refused in any order */
	res.memory = &mem;
	res.cpu = &cpu;
	cr_expect_eq(cgroup_update(cg, &res, &err), -EINVAL);
	cr_expect(strstr(err.msg, "failed to write"), "%s", err.msg);
	expect_file(CTL_CPU, "cpu.shares", "1024");
	expect_file(CTL_CPU, "cpu.cfs_quota_us", "-1");
	expect_file(CTL_MEMORY, "memory.memsw.limit_in_bytes", "9223372036854771712");
	expect_file(CTL_CPUSET, "cpuset.cpus", "0-1");
	cpu.quota = 5; /* below the kernel's 1 ms */
	res.memory = NULL;
	cr_expect_eq(cgroup_update(cg, &res, &err), -EINVAL);
	cr_expect(strstr(err.msg, "cpu.cfs_quota_us"), "%s", err.msg);
	expect_file(CTL_CPU, "cpu.shares", "1024");
	cpu.quota = 0;
	cpu.shares = 300000;
	cr_expect_eq(cgroup_update(cg, &res, &err), -EINVAL);
	cr_expect_str_eq(err.msg, "The maximum allowed cpu-shares is 262144");
	remove_it();
}

Test(cgroup_v1, create_that_fails_leaves_nothing)
{
	Grpc__LinuxMemory mem = GRPC__LINUX_MEMORY__INIT;
	Grpc__LinuxResources res = GRPC__LINUX_RESOURCES__INIT;
	struct cgroup *bad = NULL;
	char path[128];
	struct stat st;

	make(NULL, NULL);
	mem.limit = -2;
	res.memory = &mem;
	(void)snprintf(path, sizeof(path), "kata-test-f%d/a/b", getpid());
	cr_expect_eq(cgroup_create(root, path, "x", &res, &bad, &err), -EINVAL);
	cr_expect_null(bad);
	(void)snprintf(path, sizeof(path), "/sys/fs/cgroup/memory/kata-test-f%d", getpid());
	cr_expect_eq(stat(path, &st), -1);
	remove_it();
}

Test(cgroup_v1, not_our_own)
{
	struct cgroup *bad = NULL;

	make(NULL, NULL);
	for (size_t i = 0; i < root->count; i++) {
		if (!*root->h[i].own)
			continue;
		cr_expect_eq(cgroup_create(root, root->h[i].own, "x", NULL, &bad, &err), -EINVAL);
	}
	remove_it();
}

Test(cgroup_v1, clamp)
{
	Grpc__LinuxCPU cpu = GRPC__LINUX_CPU__INIT;
	Grpc__LinuxResources res = GRPC__LINUX_RESOURCES__INIT;
	char many[] = "0-511", junk[] = "0-", online[256];

	(void)cgroup_online_cpus(online, sizeof(online), &err);
	cpu.cpus = many;
	res.cpu = &cpu;
	make(NULL, &res);
	expect_file(CTL_CPUSET, "cpuset.cpus", online);
	cpu.cpus = junk;
	cr_expect_eq(cgroup_update(cg, &res, &err), -EINVAL);
	cr_expect_eq(cgroup_cpuset_online(cg, online, &err), 0, "%s", err.msg);
	remove_it();
}

Test(cgroup_v1, freeze_pids_and_kill)
{
	pid_t child;
	int state = -1;

	make(NULL, NULL);
	cr_expect_eq(cgroup_kill(cg, SIGKILL), 0);
	child = spawn(do_wait);
	cr_expect(wait_for_pids(1));
	cr_expect_eq(cgroup_kill(cg, 0), 1);
	cr_expect_eq(cgroup_remove(cg, &err), -EBUSY);
	cr_expect_eq(cgroup_freeze(cg, true, &err), 0);
	for (int i = 0; i < 200 && (state = cgroup_freeze_state(cg)) == CGROUP_FREEZING; i++)
		(void)usleep(1000);
	cr_expect_eq(state, CGROUP_FROZEN);
	cr_expect_eq(cgroup_kill(cg, SIGTERM), 1, "a paused container is thawed by a signal");
	cr_expect_eq(WTERMSIG(status_of(child)), SIGTERM);
	cr_expect_eq(cgroup_freeze_state(cg), CGROUP_THAWED);
	remove_it();
}

/* What has frozen itself in a group of its own below would stay so, and stay alive. */
Test(cgroup_v1, nested_frozen_group)
{
	char path[128], file[160], pid[16], text[32] = "";
	pid_t child;

	make(NULL, NULL);
	child = spawn(do_wait);
	cr_expect(wait_for_pids(1));
	(void)snprintf(path, sizeof(path), "/sys/fs/cgroup/freezer/%s/in", name);
	cr_assert_eq(mkdir(path, 0755), 0);
	(void)snprintf(pid, sizeof(pid), "%d", child);
	(void)snprintf(file, sizeof(file), "%s/cgroup.procs", path);
	cr_assert_eq(fdio_write_file(AT_FDCWD, file, pid), 0);
	(void)snprintf(file, sizeof(file), "%s/freezer.state", path);
	cr_assert_eq(fdio_write_file(AT_FDCWD, file, "FROZEN"), 0);
	for (int i = 0; i < 200 && !str_eq(text, "FROZEN"); i++) {
		(void)usleep(1000);
		cr_assert(fdio_read_file(AT_FDCWD, file, text, sizeof(text)) > 0);
	}
	cr_expect_str_eq(text, "FROZEN");
	cr_expect_eq(cgroup_end(cg), 1);
	cr_expect_eq(WTERMSIG(status_of(child)), SIGKILL);
	remove_it();
}

/* One try goes through so many and no more; the next goes on. */
Test(cgroup_v1, many_groups_below)
{
	char path[128];
	int tries = 0, r;

	make(NULL, NULL);
	for (int i = 0; i < (int)LIMIT_CGROUP_GROUPS + 50; i++) {
		(void)snprintf(path, sizeof(path), "/sys/fs/cgroup/freezer/%s/%d", name, i);
		cr_assert_eq(mkdir(path, 0755), 0);
		(void)strcat(path, "/x");
		cr_assert_eq(mkdir(path, 0755), 0);
	}
	while ((r = cgroup_remove(cg, &err)) == -EBUSY && tries < 10)
		tries++;
	cr_expect_eq(r, 0, "%s", err.msg);
	cr_expect(tries > 0, "no bound");
	cgroup_free(cg);
	cgroup_root_free(root);
}

static int do_fork_bomb(void)
{
	(void)signal(SIGCHLD, SIG_IGN);
	while (fork() >= 0 || sched_yield() == 0)
		;
	return 0;
}

Test(cgroup_v1, kill_beats_a_fork_bomb)
{
	Grpc__LinuxPids pids = GRPC__LINUX_PIDS__INIT;
	Grpc__LinuxResources res = GRPC__LINUX_RESOURCES__INIT;
	int rounds = 0;

	pids.limit = 60;
	res.pids = &pids;
	make(NULL, &res);
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1);
	(void)spawn(do_fork_bomb);
	(void)usleep(50000);
	while (cgroup_kill(cg, SIGKILL) > 0 && ++rounds < 100) {
		(void)usleep(20000);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
	cr_log_info("%d rounds", rounds);
	cr_expect(rounds < 20, "%d rounds of killing", rounds);
	cr_expect(wait_for_pids(0));
	remove_it();
}

/* Three levels below, as a container with a writable cgroup mount can make them. */
Test(cgroup_v1, levels_below)
{
	char path[256];
	pid_t child;
	int fd;

	make(NULL, NULL);
	(void)snprintf(path, sizeof(path), "/sys/fs/cgroup/devices/%s/x/y/z", name);
	cr_assert_eq(fdio_mkdirs(path, 0755), 0);
	child = spawn(do_wait);
	cr_assert(wait_for_pids(1));
	(void)strcat(path, "/cgroup.procs");
	fd = open(path, O_WRONLY | O_CLOEXEC);
	(void)snprintf(path, sizeof(path), "%d", child);
	cr_assert_eq(fdio_write_all(fd, path, strlen(path)), 0);
	(void)close(fd);
	cr_expect_eq(cgroup_kill(cg, SIGKILL), 1);
	(void)status_of(child);
	remove_it();
}

static int do_use_memory(void)
{
	size_t size = 256 << 20;
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (size_t i = 0; i < size; i += 4096)
		p[i] = 1;
	return 0;
}

Test(cgroup_v1, out_of_memory)
{
	Grpc__LinuxMemory mem = GRPC__LINUX_MEMORY__INIT;
	Grpc__LinuxResources res = GRPC__LINUX_RESOURCES__INIT;
	struct pollfd p = { .events = POLLIN };
	struct cgroup *again;

	mem.limit = mem.swap = 32 << 20;
	res.memory = &mem;
	make(NULL, &res);
	p.fd = cgroup_oom_watch(cg, &err);
	cr_assert(p.fd >= 0, "%s", err.msg);
	cr_expect_eq(poll(&p, 1, 0), 0);
	cr_expect_eq(cgroup_oom_check(cg), 0);
	cr_expect_eq(WTERMSIG(status_of(spawn(do_use_memory))), SIGKILL);
	cr_expect_eq(poll(&p, 1, 1000), 1);
	cr_expect_eq(cgroup_oom_check(cg), 1);
	cr_expect_eq(poll(&p, 1, 0), 0, "emptied");
	cr_expect_eq(cgroup_oom_check(cg), 0);
	cr_expect_eq(cgroup_remove(cg, &err), 0, "%s", err.msg);
	(void)poll(&p, 1, 1000); /* the removal wakes the watcher, too */
	cr_expect_eq(cgroup_oom_check(cg), -ENOENT, "no false event");
	cr_assert_eq(cgroup_create(root, name, name, NULL, &again, &err), 0);
	cgroup_free(cg);
	cg = again;
	remove_it();
}

static int do_burn(void)
{
	volatile unsigned int n = 0;

	for (unsigned int i = 0; i < 300000000u; i++)
		n += i;
	return do_wait();
}

Test(cgroup_v1, statistics)
{
	Grpc__LinuxPids pids = GRPC__LINUX_PIDS__INIT;
	Grpc__LinuxResources res = GRPC__LINUX_RESOURCES__INIT;
	struct cgroup_stats s;
	struct arena mem;
	pid_t child;

	pids.limit = 70;
	res.pids = &pids;
	make(NULL, &res);
	child = spawn(do_burn);
	cr_assert(wait_for_pids(1));
	(void)usleep(200000);
	arena_init(&mem, 1 << 20);
	cr_assert_eq(cgroup_stats(cg, &mem, &s, &err), 0, "%s", err.msg);
	cr_expect(s.cpu.total > 10000000);
	cr_expect(s.cpu.n_percpu >= 1);
	cr_expect(s.cpu.user > 0);
	cr_expect(s.n_memory_stat > 20);
	cr_expect(s.memory.usage > 0);
	cr_expect(s.memory.limit > 0);
	cr_expect(s.use_hierarchy);
	cr_expect_eq(s.pids, 1);
	cr_expect_eq(s.pids_limit, 70);
	pids.limit = -1;
	cr_expect_eq(cgroup_update(cg, &res, &err), 0, "%s", err.msg);
	cr_assert_eq(cgroup_stats(cg, &mem, &s, &err), 0, "%s", err.msg);
	cr_expect_eq(s.pids_limit, 0, "none");
	arena_free(&mem);
	cr_expect_eq(cgroup_kill(cg, SIGKILL), 1);
	(void)status_of(child);
	remove_it();
	/* Ceiling reached: an error, no crash. */
	for (size_t ceiling = 0; ceiling < 90000; ceiling += 3000) {
		make(NULL, NULL);
		arena_init(&mem, ceiling);
		(void)cgroup_stats(cg, &mem, &s, &err);
		arena_free(&mem);
		remove_it();
	}
}

static int do_devices(void)
{
	int r = 0;

	if (open("/dev/null", O_RDWR | O_CLOEXEC) < 0)
		r |= 1;
	if (open("/dev/kmsg", O_RDONLY | O_CLOEXEC) >= 0)
		r |= 2;
	return r;
}

static int do_kmsg(void)
{
	return open("/dev/kmsg", O_RDONLY | O_CLOEXEC) < 0 ? errno : 0;
}

static int do_console(void)
{
	return open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC) < 0 ? errno : 0;
}

/* Hosts leave the rules out: then only what is harmless, and what the spec names. */
Test(cgroup_v1, devices_without_rules)
{
	Grpc__LinuxDevice kmsg = GRPC__LINUX_DEVICE__INIT, disk = GRPC__LINUX_DEVICE__INIT;
	Grpc__LinuxDevice *devices[] = { &kmsg, &disk };
	char type[] = "c", block[] = "b", list[4096];

	make(NULL, NULL);
	cr_expect_eq(cgroup_set_devices(cg, &(struct cgroup_devices){ .res = NULL }, &err), 0, "%s",
		     err.msg);
	cr_expect_eq(WEXITSTATUS(status_of(spawn(do_devices))), 0);
	cr_expect_eq(WEXITSTATUS(status_of(spawn(do_kmsg))), EPERM);
	cr_expect_eq(WEXITSTATUS(status_of(spawn(do_console))), EPERM);
	kmsg.type = type;
	kmsg.major = 1;
	kmsg.minor = 11;
	disk.type = block; /* the host's number of it */
	disk.major = 259;
	cr_expect_eq(cgroup_set_devices(
			     cg, &(struct cgroup_devices){ .device = devices, .count = 2 }, &err),
		     0, "%s", err.msg);
	cr_expect_eq(WEXITSTATUS(status_of(spawn(do_kmsg))), 0, "named");
	cr_assert(cgroup_read(cg, CTL_DEVICES, "devices.list", list, sizeof(list)) > 0);
	cr_expect_null(strstr(list, "259"));
	cr_expect_null(strstr(list, "c 5:1 "));
	kmsg.major = 5; /* the console, if it is that very device that is asked for */
	kmsg.minor = 1;
	cr_expect_eq(cgroup_set_devices(
			     cg, &(struct cgroup_devices){ .device = devices, .count = 1 }, &err),
		     0, "%s", err.msg);
	cr_assert(cgroup_read(cg, CTL_DEVICES, "devices.list", list, sizeof(list)) > 0);
	cr_expect(strstr(list, "c 5:1 rwm"), "%s", list);
	remove_it();
}

/* v1 takes back from "c *:*" only "c *:*": what is the guest's own must not be in what is allowed. */
Test(cgroup_v1, devices_by_wildcards)
{
	Grpc__LinuxDeviceCgroup deny = GRPC__LINUX_DEVICE_CGROUP__INIT, allow = deny, taken = deny;
	Grpc__LinuxDeviceCgroup *rules[] = { &deny, &allow, &taken };
	Grpc__LinuxResources res = GRPC__LINUX_RESOURCES__INIT;
	const struct cgroup_devices asked = { .res = &res };
	static const struct {
		int64_t major, minor;
		int kmsg, console;
	} cases[] = { { -1, -1, 0, EPERM }, { 5, -1, EPERM, EPERM }, { -1, 1, EPERM, EPERM },
		      { -1, 11, 0, EPERM }, { 1, -1, 0, EPERM },     { 5, 1, EPERM, EPERM } };
	char all[] = "rwm", type[] = "c", block[] = "b", list[65536], want[64];

	deny.access = allow.access = taken.access = all;
	allow.allow = true;
	allow.type = taken.type = type;
	res.devices = rules;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		make(NULL, NULL);
		allow.major = taken.major = cases[i].major;
		allow.minor = taken.minor = cases[i].minor;
		res.n_devices = 2;
		cr_expect_eq(cgroup_set_devices(cg, &asked, &err), 0, "%s", err.msg);
		cr_expect_eq(status_of(spawn(do_kmsg)) >> 8, cases[i].kmsg, "%zu", i);
		cr_expect_eq(status_of(spawn(do_console)) >> 8, cases[i].console, "%zu", i);
		res.n_devices = 3;
		cr_expect_eq(cgroup_set_devices(cg, &asked, &err), 0, "%s", err.msg);
		cr_expect_eq(status_of(spawn(do_kmsg)) >> 8, EPERM, "taken back, %zu", i);
		remove_it();
	}
	make(NULL, NULL);
	rootdisk_add(&root->disks, makedev(254, 3));
	allow.type = block;
	allow.major = allow.minor = -1;
	res.n_devices = 2;
	cr_expect_eq(cgroup_set_devices(cg, &asked, &err), 0, "%s", err.msg);
	cr_assert(cgroup_read(cg, CTL_DEVICES, "devices.list", list, sizeof(list)) > 0);
	cr_expect(strstr(list, "b *:* m\n") && strstr(list, "b 253:* rw\n") &&
		  strstr(list, "b 254:2 rw\n"));
	cr_expect(!strstr(list, "b 254:3 ") && !strstr(list, "b 254:*"));
	for (size_t i = 0; i < root->disks.n; i++) {
		(void)snprintf(want, sizeof(want), "b %u:%u ", major(root->disks.dev[i]),
			       minor(root->disks.dev[i]));
		cr_expect(!strstr(list, want), "%s allowed", want);
	}
	remove_it();
}

/* What v1 has no words for: a part of what was allowed is denied, and a part of that allowed again. */
Test(cgroup_v1, devices_denied_in_part)
{
	Grpc__LinuxDeviceCgroup deny = GRPC__LINUX_DEVICE_CGROUP__INIT, some = deny, part = deny,
				back = deny;
	Grpc__LinuxDeviceCgroup *rules[] = { &deny, &some, &part, &back };
	Grpc__LinuxResources res = GRPC__LINUX_RESOURCES__INIT;
	const struct cgroup_devices asked = { .res = &res };
	char all[] = "rwm", write[] = "w", type[] = "c", list[65536];

	deny.access = some.access = back.access = all;
	part.access = write;
	some.allow = back.allow = true;
	some.type = part.type = back.type = type;
	some.major = part.major = back.major = 29;
	some.minor = part.minor = -1;
	back.minor = 3;
	res.devices = rules;
	res.n_devices = 4;
	make(NULL, NULL);
	cr_expect_eq(cgroup_set_devices(cg, &asked, &err), 0, "%s", err.msg);
	cr_assert(cgroup_read(cg, CTL_DEVICES, "devices.list", list, sizeof(list)) > 0);
	cr_expect(strstr(list, "c 29:* rm\n") && strstr(list, "c 29:3 rwm\n"), "%s", list);
	part.minor = 5;
	cr_expect_eq(cgroup_set_devices(cg, &asked, &err), 0, "%s", err.msg);
	cr_assert(cgroup_read(cg, CTL_DEVICES, "devices.list", list, sizeof(list)) > 0);
	cr_expect(strstr(list, "c 29:* rm\n") && strstr(list, "c 29:4 w\n") &&
		  strstr(list, "c 29:6 w\n") && !strstr(list, "c 29:5 "));
	remove_it();
}

Test(cgroup_v1, devices)
{
	Grpc__LinuxDeviceCgroup deny = GRPC__LINUX_DEVICE_CGROUP__INIT;
	Grpc__LinuxDeviceCgroup *rules[] = { &deny };
	Grpc__LinuxResources res = GRPC__LINUX_RESOURCES__INIT;
	char all[] = "rwm", type[] = "c", list[4096], want[64];

	make(NULL, NULL);
	cr_expect_eq(cgroup_set_devices(cg, &(struct cgroup_devices){ .privileged = true }, &err),
		     0, "%s", err.msg);
	cr_expect_eq(WEXITSTATUS(status_of(spawn(do_kmsg))), 0, "privileged");
	cr_expect_eq(WEXITSTATUS(status_of(spawn(do_console))), EPERM, "the guest's own");
	deny.access = all;
	res.devices = rules;
	res.n_devices = 1;
	deny.type = type;
	deny.major = 1;
	deny.minor = 11;
	cr_expect_eq(cgroup_set_devices(cg, &(struct cgroup_devices){ .res = &res }, &err), 0, "%s",
		     err.msg);
	cr_expect_eq(WEXITSTATUS(status_of(spawn(do_kmsg))), EPERM);
	*type = 'a';
	deny.major = deny.minor = 0; /* what "not given" looks like */
	cr_expect_eq(cgroup_set_devices(cg, &(struct cgroup_devices){ .res = &res }, &err), 0, "%s",
		     err.msg);
	cr_expect_eq(WEXITSTATUS(status_of(spawn(do_devices))), 0);
	cr_assert(cgroup_read(cg, CTL_DEVICES, "devices.list", list, sizeof(list)) > 0);
	cr_expect(strstr(list, "c 136:* rwm"), "%s", list);
	cr_expect(strstr(list, "b *:* m"), "%s", list);
	for (size_t i = 0; i < root->disks.n; i++) {
		(void)snprintf(want, sizeof(want), "b %u:%u", major(root->disks.dev[i]),
			       minor(root->disks.dev[i]));
		cr_expect(!strstr(list, want), "%s allowed", want);
	}
	remove_it();
}
