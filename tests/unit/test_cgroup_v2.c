/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A real cgroup v2, which may be the controller-less tree of a hybrid layout: device program,
 * freezer, kill and CLONE_INTO_CGROUP need no controller. Skipped without root.
 */
#include "oci/cgroup/cgroup.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/sched.h>
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
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "oci/cgroup/impl.h"
#include "linux/guestdev.h"
#include "base/auto.h"
#include "base/fdio.h"
#include "base/str.h"

static struct cgroup_root *root;
static struct cgroup *cg;
static struct err err;

/* Only the cgroup2 line of the mount table, so that a hybrid layout looks like v2. */
static void make(const char *leaf, const Grpc__LinuxResources *res)
{
	AUTO_FREE char *table = NULL;
	char mounts[8192] = "", self[] = "0::/\n", name[64], path[128], *rest, *line;
	int r;

	if (getuid() != 0)
		cr_skip_test("needs root");
	cr_assert(fdio_slurp(AT_FDCWD, "/proc/self/mountinfo", 1 << 20, &table) > 0);
	rest = table;
	while ((line = strsep(&rest, "\n"))) {
		if (strstr(line, " - cgroup2 ") &&
		    strlen(mounts) + strlen(line) + 2 < sizeof(mounts))
			(void)strcat(strcat(mounts, line), "\n");
	}
	if (!*mounts)
		cr_skip_test("no cgroup v2 is mounted");
	cr_assert_eq(cgroup_root_parse(mounts, self, &root, &err), 0, "%s", err.msg);
	if (faccessat(root->h[0].fd, "cgroup.procs", W_OK, 0) < 0)
		cr_skip_test("cgroup v2 is not writable");
	rootdisk_find(&root->disks);
	(void)snprintf(name, sizeof(name), "c%d", getpid());
	(void)snprintf(path, sizeof(path), "/kata-test-%d/%s", getpid(), leaf);
	r = cgroup_create(root, path, name, res, &cg, &err);
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
	cr_expect(list_empty(&root->made));
	cgroup_free(cg);
	cgroup_root_free(root);
}

static pid_t spawn(int (*fn)(void *), void *arg)
{
	struct clone_args args = {
		.flags = CLONE_INTO_CGROUP,
		.exit_signal = SIGCHLD,
		.cgroup = (uint64_t)cgroup_attach_fd(cg),
	};
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));

	cr_assert(pid >= 0, "clone3: %d", errno);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nobody behind */
		_exit(fn(arg));
	}
	return pid;
}

static int status_of(pid_t pid)
{
	int status = -1;

	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return status;
}

static int do_wait(void *arg)
{
	(void)arg;
	while (pause())
		;
	return 0;
}

TestSuite(cgroup_v2, .timeout = 30);

Test(cgroup_v2, enter_freeze_kill)
{
	struct arena mem;
	pid_t child, *pids;
	size_t count;
	int state = -1;

	make("a", NULL);
	child = spawn(do_wait, NULL);
	arena_init(&mem, 1 << 16);
	cr_assert_eq(cgroup_pids(cg, &mem, &pids, &count), 0);
	cr_assert_eq(count, 1);
	cr_expect_eq(pids[0], child);
	arena_free(&mem);
	cr_expect_eq(cgroup_remove(cg, &err), -EBUSY);
	cr_expect_eq(cgroup_freeze(cg, true, &err), 0, "%s", err.msg);
	for (int i = 0; i < 200 && (state = cgroup_freeze_state(cg)) == CGROUP_FREEZING; i++)
		(void)usleep(1000);
	cr_expect_eq(state, CGROUP_FROZEN);
	cr_expect_eq(cgroup_kill(cg, SIGKILL), 1);
	cr_expect_eq(WTERMSIG(status_of(child)), SIGKILL);
	cr_expect_eq(cgroup_freeze_state(cg), CGROUP_THAWED);
	child = spawn(do_wait, NULL);
	cr_expect_eq(cgroup_freeze(cg, true, &err), 0);
	cr_expect_eq(cgroup_kill(cg, SIGTERM), 1);
	cr_expect_eq(WTERMSIG(status_of(child)), SIGTERM);
	remove_it();
}

static int do_join(void *arg)
{
	struct err e = { 0 };

	(void)arg;
	return cgroup_join(cg, &e) < 0;
}

Test(cgroup_v2, join_and_attach)
{
	pid_t child;

	make("j", NULL);
	child = fork();
	if (child == 0)
		_exit(do_join(NULL));
	cr_expect_eq(WEXITSTATUS(status_of(child)), 0);
	child = spawn(do_wait, NULL);
	cr_expect_eq(cgroup_kill(cg, SIGKILL), 1);
	(void)status_of(child);
	remove_it();
}

/* --- devices ------------------------------------------------------------------------------ */

struct probe {
	dev_t dev;
	mode_t type;
	int flags; /* of open, or -1: only mknod */
};

/* The errno of making (and opening) a node, in a mount of its own that allows devices. */
static int do_probe(void *arg)
{
	const struct probe *p = arg;
	char path[64];
	int fd, r = 0;

	(void)snprintf(path, sizeof(path), "/dev/kata-probe-%d", getpid());
	if (mknod(path, p->type | 0600, p->dev) < 0)
		return errno;
	if (p->flags >= 0) {
		fd = open(path, p->flags | O_NONBLOCK | O_CLOEXEC);
		r = fd < 0 ? errno : 0;
	}
	(void)unlink(path);
	return r;
}

static int probe(mode_t type, unsigned int maj, unsigned int min, int flags)
{
	struct probe p = { makedev(maj, min), type, flags };

	return WEXITSTATUS(status_of(spawn(do_probe, &p)));
}

struct rules {
	Grpc__LinuxDeviceCgroup rule[8], *list[8];
	char type[8][2], access[8][4];
	Grpc__LinuxResources res;
};

static void add(struct rules *r, bool allow, const char *type, int64_t maj, int64_t min,
		const char *access_text)
{
	size_t n = r->res.n_devices++;

	grpc__linux_device_cgroup__init(&r->rule[n]);
	(void)snprintf(r->type[n], sizeof(r->type[n]), "%s", type);
	(void)snprintf(r->access[n], sizeof(r->access[n]), "%s", access_text);
	r->rule[n].allow = allow;
	r->rule[n].type = r->type[n];
	r->rule[n].major = maj;
	r->rule[n].minor = min;
	r->rule[n].access = r->access[n];
	r->list[n] = &r->rule[n];
	r->res.devices = r->list;
}

static int set_named(const char *type, int64_t maj, int64_t min, bool privileged)
{
	Grpc__LinuxDevice named = GRPC__LINUX_DEVICE__INIT, *list[] = { &named };
	char text[4];

	(void)snprintf(text, sizeof(text), "%s", type);
	named.type = text;
	named.major = maj;
	named.minor = min;
	return cgroup_set_devices(
		cg,
		&(struct cgroup_devices){ .device = list, .count = 1, .privileged = privileged },
		&err);
}

/* Hosts leave the rules out: then only what is harmless, and what the spec names. */
/* The groups that a container makes below its own are bounded, and die with it at any depth. */
Test(cgroup_v2, groups_below)
{
	char path[1024], file[1100], pid[16];
	int n = 0;
	pid_t child;

	make("d", NULL);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", root->h[0].fd, cg->path);
	while (n < 200) {
		(void)strcat(path, "/x");
		if (mkdir(path, 0755) < 0)
			break;
		n++;
	}
	cr_expect_eq(n, LIMIT_CGROUP_DEPTH);
	*strrchr(path, '/') = '\0';
	child = spawn(do_wait, NULL);
	(void)snprintf(pid, sizeof(pid), "%d", child);
	(void)snprintf(file, sizeof(file), "%s/cgroup.procs", path);
	cr_assert_eq(fdio_write_file(AT_FDCWD, file, pid), 0);
	(void)snprintf(file, sizeof(file), "%s/cgroup.freeze", path);
	cr_assert_eq(fdio_write_file(AT_FDCWD, file, "1"), 0);
	cr_expect_eq(cgroup_kill(cg, 0), 1);
	(void)cgroup_end(cg);
	cr_expect_eq(WTERMSIG(status_of(child)), SIGKILL);
	remove_it();
}

Test(cgroup_v2, no_rules)
{
	make("d", NULL);
	root->disks.n = 0;
	cr_expect_eq(cgroup_set_devices(cg, &(struct cgroup_devices){ .res = NULL }, &err), 0);
	cr_expect_eq(probe(S_IFCHR, 1, 3, O_RDWR), 0);
	cr_expect_eq(probe(S_IFCHR, 1, 11, O_RDONLY), EPERM);
	cr_expect_eq(probe(S_IFCHR, 5, 1, O_WRONLY | O_NOCTTY), EPERM);
	cr_expect_eq(probe(S_IFBLK, 7, 200, O_RDONLY), EPERM);
	cr_expect_eq(probe(S_IFBLK, 7, 200, -1), 0, "mknod alone is fine");
	cr_expect_eq(set_named("c", 1, 11, false), 0, "%s", err.msg);
	cr_expect_eq(probe(S_IFCHR, 1, 11, O_RDONLY), 0);
	cr_expect_eq(set_named("b", 7, 200, false), 0, "%s", err.msg);
	cr_expect_eq(probe(S_IFBLK, 7, 200, O_RDONLY), EPERM, "the host's number of a disk");
	remove_it();
}

/* All but what is the guest's own, unless it is named. */
Test(cgroup_v2, privileged)
{
	struct guestdev own;
	bool terminal = false;

	make("d", NULL);
	cr_expect_eq(cgroup_set_devices(cg, &(struct cgroup_devices){ .privileged = true }, &err),
		     0, "%s", err.msg);
	cr_expect_eq(probe(S_IFCHR, 1, 11, O_RDONLY), 0);
	cr_expect_neq(probe(S_IFBLK, 7, 200, O_RDONLY), EPERM);
	cr_expect_eq(probe(S_IFCHR, 10, 130, O_WRONLY), EPERM, "watchdog");
	guestdev_find(&own);
	for (size_t i = 0; i < own.n; i++) {
		unsigned int min = own.dev[i].minor < 0 ? 1 : (unsigned int)own.dev[i].minor;

		cr_expect_eq(
			probe(S_IFCHR, (unsigned int)own.dev[i].major, min, O_WRONLY | O_NOCTTY),
			EPERM, "%lld:%u", (long long)own.dev[i].major, min);
		terminal = terminal || own.dev[i].major == 4 || own.dev[i].major == 229;
	}
	cr_expect(terminal, "what is behind /dev/console");
	cr_expect_eq(set_named("c", 5, 1, true), 0, "%s", err.msg);
	cr_expect_neq(probe(S_IFCHR, 5, 1, O_WRONLY | O_NOCTTY), EPERM, "named");
	cr_expect_eq(probe(S_IFCHR, 10, 130, O_WRONLY), EPERM);
	remove_it();
}

/* To name a device is to ask for it, but no rule that denies it is broken. */
Test(cgroup_v2, named_against_the_rules)
{
	Grpc__LinuxDevice named = GRPC__LINUX_DEVICE__INIT, *devices[] = { &named };
	struct rules r = { 0 };
	char type[] = "c";

	make("d", NULL);
	grpc__linux_resources__init(&r.res);
	add(&r, false, "a", -1, -1, "rwm");
	named.type = type;
	named.major = 5;
	named.minor = 1;
	cr_expect_eq(cgroup_set_devices(cg,
					&(struct cgroup_devices){
						.res = &r.res, .device = devices, .count = 1 },
					&err),
		     0, "%s", err.msg);
	cr_expect_eq(probe(S_IFCHR, 5, 1, O_WRONLY | O_NOCTTY), EPERM);
	add(&r, true, "c", -1, -1, "rw"); /* broad rules don't reach what is the guest's own */
	cr_expect_eq(cgroup_set_devices(cg, &(struct cgroup_devices){ .res = &r.res }, &err), 0,
		     "%s", err.msg);
	cr_expect_eq(probe(S_IFCHR, 1, 11, O_RDONLY), 0);
	cr_expect_eq(probe(S_IFCHR, 5, 1, O_WRONLY | O_NOCTTY), EPERM);
	remove_it();
}

Test(cgroup_v2, deny_all_and_the_fixed_list)
{
	struct rules r = { 0 };

	make("d", NULL);
	grpc__linux_resources__init(&r.res);
	add(&r, false, "", 0, 0, "rwm");
	add(&r, true, "c", 1, 11, "r");
	cr_assert_eq(cgroup_set_devices(cg, &(struct cgroup_devices){ .res = &r.res }, &err), 0,
		     "%s", err.msg);
	cr_expect_eq(probe(S_IFCHR, 1, 3, O_RDWR), 0, "null");
	cr_expect_eq(probe(S_IFCHR, 1, 5, O_RDONLY), 0, "zero");
	cr_expect_eq(probe(S_IFCHR, 1, 11, O_RDONLY), 0, "kmsg, as asked");
	cr_expect_eq(probe(S_IFCHR, 1, 11, O_WRONLY), EPERM);
	cr_expect_eq(probe(S_IFCHR, 1, 11, O_RDWR), EPERM, "half allowed is not allowed");
	cr_expect_eq(probe(S_IFCHR, 1, 4, O_RDONLY), EPERM, "port");
	cr_expect_eq(probe(S_IFCHR, 1, 4, -1), 0, "mknod alone is fine");
	cr_expect_eq(probe(S_IFBLK, 7, 200, O_RDONLY), EPERM);
	remove_it();
}

Test(cgroup_v2, last_rule_counts)
{
	struct rules r = { 0 };

	make("d", NULL);
	grpc__linux_resources__init(&r.res);
	add(&r, false, "c", 1, -1, "rwm");
	add(&r, true, "c", 1, 11, "rwm");
	add(&r, false, "c", 1, 11, "w");
	cr_assert_eq(cgroup_set_devices(cg, &(struct cgroup_devices){ .res = &r.res }, &err), 0,
		     "%s", err.msg);
	cr_expect_eq(probe(S_IFCHR, 1, 11, O_RDONLY), 0);
	cr_expect_eq(probe(S_IFCHR, 1, 11, O_WRONLY), EPERM);
	cr_expect_eq(probe(S_IFCHR, 1, 4, O_RDONLY), EPERM, "major denied");
	cr_expect_eq(probe(S_IFCHR, 10, 61, -1), 0, "not spoken of: allowed");
	/* Replaced as a whole, not added to. */
	r.res.n_devices = 0;
	add(&r, false, "c", 1, 4, "r");
	cr_assert_eq(cgroup_set_devices(cg, &(struct cgroup_devices){ .res = &r.res }, &err), 0,
		     "%s", err.msg);
	cr_expect_eq(probe(S_IFCHR, 1, 11, O_WRONLY), 0);
	cr_expect_eq(probe(S_IFCHR, 1, 4, O_RDONLY), EPERM);
	remove_it();
}

Test(cgroup_v2, guest_root_disk)
{
	struct rules r = { 0 };
	unsigned int maj, min;

	make("d", NULL);
	if (root->disks.n == 0) {
		remove_it();
		cr_skip_test("\"/\" is on no block device here");
	}
	maj = major(root->disks.dev[0]);
	min = minor(root->disks.dev[0]);
	cr_assert_eq(set_named("b", maj, min, true), 0, "%s", err.msg);
	cr_expect_eq(probe(S_IFBLK, maj, min, O_RDONLY), EPERM);
	cr_expect_eq(probe(S_IFBLK, maj, min, O_WRONLY), EPERM);
	grpc__linux_resources__init(&r.res);
	add(&r, true, "b", maj, min, "rwm"); /* asking for it does not help */
	cr_assert_eq(cgroup_set_devices(cg, &(struct cgroup_devices){ .res = &r.res }, &err), 0,
		     "%s", err.msg);
	cr_expect_eq(probe(S_IFBLK, maj, min, O_RDONLY), EPERM);
	remove_it();
}

Test(cgroup_v2, many_rules)
{
	static Grpc__LinuxDeviceCgroup rule[513];
	static Grpc__LinuxDeviceCgroup *list[513];
	char type[] = "c", all[] = "rwm";
	Grpc__LinuxResources res = GRPC__LINUX_RESOURCES__INIT;

	for (size_t i = 0; i < ARRAY_LEN(rule); i++) {
		grpc__linux_device_cgroup__init(&rule[i]);
		rule[i].type = type;
		rule[i].access = all;
		rule[i].major = 4000;
		rule[i].minor = (int64_t)i;
		list[i] = &rule[i];
	}
	make("d", NULL);
	res.devices = list;
	res.n_devices = 512;
	cr_expect_eq(cgroup_set_devices(cg, &(struct cgroup_devices){ .res = &res }, &err), 0, "%s",
		     err.msg);
	cr_expect_eq(probe(S_IFCHR, 4000, 77, -1), 0, "the fixed list allows every mknod");
	cr_expect_eq(probe(S_IFCHR, 1, 3, O_RDWR), 0);
	all[0] = all[1] = 'r';
	all[2] = '\0';
	cr_expect_eq(cgroup_set_devices(cg, &(struct cgroup_devices){ .res = &res }, &err), 0, "%s",
		     err.msg);
	res.n_devices = 513;
	cr_expect_eq(cgroup_set_devices(cg, &(struct cgroup_devices){ .res = &res }, &err), -E2BIG);
	remove_it();
}

/* --- with the memory controller, that is in a guest with v2 --------------------------------- */

static int do_use_memory(void *arg)
{
	size_t size = 256 << 20;
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)arg;
	for (size_t i = 0; i < size; i += 4096)
		p[i] = 1;
	return 0;
}

Test(cgroup_v2, limits_statistics_and_out_of_memory)
{
	Grpc__LinuxMemory mem = GRPC__LINUX_MEMORY__INIT;
	Grpc__LinuxResources res = GRPC__LINUX_RESOURCES__INIT;
	struct pollfd p = { .events = POLLIN };
	struct arena arena;
	struct cgroup_stats s;

	make("m", NULL);
	if (!strstr(root->enable, "memory")) {
		remove_it();
		cr_skip_test("the memory controller is not in v2 here");
	}
	mem.limit = mem.swap = 32 << 20;
	res.memory = &mem;
	cr_assert_eq(cgroup_update(cg, &res, &err), 0, "%s", err.msg);
	p.fd = cgroup_oom_watch(cg, &err);
	cr_assert(p.fd >= 0, "%s", err.msg);
	cr_expect_eq(cgroup_oom_check(cg), 0);
	cr_expect_eq(WTERMSIG(status_of(spawn(do_use_memory, NULL))), SIGKILL);
	cr_expect_eq(poll(&p, 1, 1000), 1);
	cr_expect_eq(cgroup_oom_check(cg), 1);
	cr_expect_eq(cgroup_oom_check(cg), 0);
	arena_init(&arena, 1 << 20);
	cr_assert_eq(cgroup_stats(cg, &arena, &s, &err), 0);
	cr_expect_eq(s.memory.limit, 32u << 20);
	cr_expect(s.cpu.total > 0);
	arena_free(&arena);
	cr_expect_eq(cgroup_remove(cg, &err), 0);
	cr_expect_eq(cgroup_oom_check(cg), -ENOENT);
	remove_it();
}
