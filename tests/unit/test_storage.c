/* SPDX-License-Identifier: Apache-2.0 */
// libs: -lprotobuf-c
// ldflags: -Wl,--wrap=fdio_write_file -Wl,--wrap=tree_attach -Wl,--wrap=worker_start -Wl,--wrap=umount2
/*
 * Storages: drivers, counting, roll back, and that no mount point leaves /run (T16 to T18, T26,
 * GHSA-fmg6-v47x-52wr). Mounts in a mount namespace of the test's own; skipped where that is refused.
 */
#include "pod/storage.h"

#include <linux/loop.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "base/worker.h"
#include "oci/fs/tree.h"
#include "pod/storage_layers.h"
#include "pod/storage_mount.h"
#include "linux/devfind.h"
#include "linux/confine.h"
#include "linux/path.h"
#include "test_guest_harness.h"

#define SHARE "/run/kata-containers/shared/containers"
#define CTR   "/run/kata-containers/ctr"

static struct storage_refs refs;
static struct storage_set a, b;
static struct err outcome;
static int outcomes;

static void setup(void)
{
	harness_own_run();
	harness_start();
	storage_refs_init(&refs);
	storage_set_init(&a);
	storage_set_init(&b);
}

static void on_done(void *arg, const struct err *err)
{
	cr_assert_eq(arg, &refs);
	outcome = *err;
	outcomes++;
	loop_stop(agent.loop);
}

static void wait_outcome(void)
{
	cr_assert_eq(outcomes, 0, "not before the starter has returned");
	cr_assert_eq(loop_run(agent.loop), 0);
	cr_assert_eq(outcomes, 1);
}

static void release(struct storage_set *set)
{
	struct err err = { 0 };

	outcomes = 0;
	cr_assert_eq(storages_release(&agent, &refs, set, on_done, &refs, &err), 0);
	cr_assert(list_empty(&set->uses));
	wait_outcome();
}

static void release_all(void)
{
	struct err err = { 0 };

	outcomes = 0;
	cr_assert_eq(storages_release_all(&agent, &refs, on_done, &refs, &err), 0);
	wait_outcome();
	cr_assert(list_empty(&refs.entries));
}

static void teardown(void)
{
	release(&a);
	release(&b);
	release_all();
	harness_stop();
}

TestSuite(storage, .init = setup, .fini = teardown, .timeout = 20);

/* One storage; options are up to four words. */
static Grpc__Storage make(const char *driver, const char *source, const char *fstype,
			  const char *point, const char **options)
{
	Grpc__Storage s = GRPC__STORAGE__INIT;

	s.driver = (char *)(uintptr_t)driver;
	s.source = (char *)(uintptr_t)source;
	s.fstype = (char *)(uintptr_t)fstype;
	s.mount_point = (char *)(uintptr_t)point;
	s.options = (char **)(uintptr_t)options;
	for (; options && options[s.n_options]; s.n_options++)
		;
	return s;
}

static int add_as(enum schema schema, struct storage_set *set, Grpc__Storage *list, size_t n)
{
	Grpc__Storage *pointers[8] = { NULL };
	struct err err = { 0 };

	for (size_t i = 0; i < n; i++)
		pointers[i] = &list[i];
	outcomes = 0;
	if (storages_add(&agent, &refs, set, schema, pointers, n, on_done, &refs, &err) < 0) {
		cr_assert_neq(err.code, 0);
		outcome = err;
		return err.code;
	}
	if (n)
		(void)memset(list, 0x5a, n * sizeof(*list)); /* all that is kept was copied */
	wait_outcome();
	return outcome.code;
}

/* Adds; 0 or the errno. */
static int add(struct storage_set *set, Grpc__Storage *list, size_t n)
{
	return add_as(SCHEMA_1X, set, list, n);
}

static bool is_fs(const char *path, unsigned int magic)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && (unsigned int)fs.f_type == magic;
}

static unsigned int mounts_at(const char *path)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char line[4096], point[4096];
	unsigned int n = 0;

	cr_assert_not_null(f);
	while (fgets(line, sizeof(line), f))
		n += sscanf(line, "%*d %*d %*s %*s %4095s", point) == 1 && strcmp(point, path) == 0;
	(void)fclose(f);
	return n;
}

#define TMPFS 0x01021994

Test(storage, ephemeral_is_counted_and_kept_for_the_sandbox)
{
	static const char shm[] = "/run/kata-containers/sandbox/shm";
	const char *options[] = { "noexec", "nosuid", "nodev", "mode=1777", "size=1048576", NULL };
	Grpc__Storage s = make("ephemeral", "shm", "tmpfs", shm, options);
	struct stat st;

	cr_assert_eq(add(&a, &s, 1), 0, "%s", outcome.msg);
	cr_assert_eq(mounts_at(shm), 1);
	cr_assert_eq(stat(shm, &st), 0);
	cr_assert_eq(st.st_mode & 07777, 01777);
	s = make("ephemeral", "shm", "tmpfs", "/var/run/kata-containers/sandbox//shm/", options);
	cr_assert_eq(add(&b, &s, 1), 0, "%s", outcome.msg);
	cr_assert_eq(mounts_at(shm), 1, "the second use does not mount");
	release(&a);
	release(&b);
	cr_assert_eq(mounts_at(shm), 1, "an emptyDir outlives its containers");
	release_all();
	cr_assert_eq(mounts_at(shm), 0);
	cr_assert_eq(access(shm, F_OK), -1);
}

Test(storage, the_last_user_unmounts)
{
	static const char point[] = "/run/kata-containers/sandbox/storage/x";
	Grpc__Storage s = make("mmioblk", "none", "tmpfs", point, NULL);

	cr_assert_eq(add(&a, &s, 1), 0, "%s", outcome.msg);
	s = make("mmioblk", "none", "tmpfs", point, NULL);
	cr_assert_eq(add(&b, &s, 1), 0, "%s", outcome.msg);
	cr_assert_eq(mounts_at(point), 1);
	s = make("mmioblk", "other", "tmpfs", point, NULL);
	cr_assert_eq(add(&b, &s, 1), EBUSY, "another storage at the same place");
	release(&a);
	cr_assert_eq(mounts_at(point), 1);
	release(&b);
	cr_assert_eq(mounts_at(point), 0);
	cr_assert_eq(access(point, F_OK), -1, "the directory that was made is gone");
}

Test(storage, local_modes)
{
	static const struct {
		const char *option;
		mode_t mode;
	} cases[] = { { "mode=0400", 0400 },
		      { "mode=0600", 0600 },
		      { "mode=0755", 0755 },
		      { "mode=0777", 0777 },
		      { "other", 0777 } };
	const char *bad[] = { "mode=abcde", NULL };
	Grpc__Storage s = make("local", "local", "local", SHARE "/sid/rootfs/local/bad", bad);
	struct stat st;

	cr_assert_eq(add(&a, &s, 1), EINVAL);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const char *options[] = { cases[i].option, NULL };
		char point[128];

		(void)snprintf(point, sizeof(point), SHARE "/sid/rootfs/local/%zu", i);
		s = make("local", "local", "local", point, options);
		cr_assert_eq(add(&a, &s, 1), 0, "%s", outcome.msg);
		cr_assert_eq(stat(point, &st), 0);
		cr_assert_eq(st.st_mode & 07777, cases[i].mode);
		cr_assert_eq(mounts_at(point), 0);
	}
}

Test(storage, failure_undoes_everything)
{
	const char *options[] = { "size=4096", NULL };
	Grpc__Storage s[4] = {
		make("ephemeral", "shm", "tmpfs", "/run/kata-containers/e", options),
		make("9p", "none", "tmpfs", SHARE "/", NULL),
		make("local", "local", "local", "/run/kata-containers/l", NULL),
		make("mmioblk", "/nosuch", "ext4", "/run/kata-containers/x", NULL),
	};
	Grpc__Storage again = make("ephemeral", "shm", "tmpfs", "/run/kata-containers/e", options);

	cr_assert_eq(add(&b, &again, 1), 0);
	cr_assert_neq(add(&a, s, 4), 0);
	cr_assert_eq(outcome.rpc, RPC_INTERNAL);
	cr_assert_not_null(strstr(outcome.msg, "Could not resolve symlink for source /nosuch"),
			   "%s", outcome.msg);
	cr_assert(list_empty(&a.uses));
	cr_assert_eq(mounts_at(SHARE), 0);
	cr_assert_eq(access("/run/kata-containers/l", F_OK), -1);
	cr_assert_eq(mounts_at("/run/kata-containers/e"), 1, "somebody else's");
}

Test(storage, share_with_trailing_slash)
{
	const char *options[] = { "size=1m,mode=0700", "nodev", NULL };
	Grpc__Storage s = make("virtio-fs", "kataShared", "tmpfs", SHARE "/", options);
	struct stat st;

	cr_assert_eq(add(&a, &s, 1), 0, "%s", outcome.msg);
	cr_assert(is_fs(SHARE, TMPFS));
	cr_assert_eq(mounts_at(SHARE), 1);
	cr_assert_eq(stat(SHARE, &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0700,
		     "a joined string of options is taken apart by the kernel");
}

/* 3.x: by the image, or by whoever was there before. */
Test(storage, mounted_before)
{
	static const char point[] = "/run/kata-containers/sandbox/storage/pre";
	Grpc__Storage s = make("mmioblk", "none", "tmpfs", point, NULL);

	cr_assert_eq(fdio_mkdirs(point, 0755), 0);
	cr_assert_eq(mount("image", point, "tmpfs", 0, NULL), 0);
	cr_assert_eq(add_as(SCHEMA_3X, &a, &s, 1), 0, "%s", outcome.msg);
	cr_assert_eq(mounts_at(point), 1, "the same type is left");
	release(&a);
	cr_assert_eq(mounts_at(point), 1, "and not ours to unmount");
	s = make("mmioblk", "none", "ramfs", point, NULL);
	s.source = (char *)(uintptr_t) "/dev/null";
	cr_assert_eq(add_as(SCHEMA_3X, &a, &s, 1), 0, "%s", outcome.msg);
	cr_assert_eq(mounts_at(point), 2, "another is mounted");
	release(&a);
	s = make("mmioblk", "none", "tmpfs", point, NULL);
	cr_assert_eq(add(&a, &s, 1), 0, "%s", outcome.msg);
	cr_assert_eq(mounts_at(point), 2, "1.x mounts");
	release(&a);
	cr_assert_eq(mounts_at(point), 1);
	cr_assert_eq(umount(point), 0);
}

Test(storage, binds)
{
	const char *options[] = { "rbind", "ro", "nosuid", "rprivate", NULL };
	Grpc__Storage s;
	int fd;

	cr_assert_eq(fdio_mkdirs("/run/src/dir/sub", 0755), 0);
	fd = open("/run/src/file", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	cr_assert_eq(fdio_write_all(fd, "hi", 2), 0);
	(void)close(fd);
	s = make("bind", "/run/src/file", "bind", "/run/kata-containers/sandbox/storage/f",
		 options);
	cr_assert_eq(add(&a, &s, 1), 0, "%s", outcome.msg);
	fd = open("/run/kata-containers/sandbox/storage/f", O_WRONLY | O_CLOEXEC);
	cr_assert_eq(fd, -1);
	cr_assert_eq(errno, EROFS);
	s = make("bind", "/run/src/dir", "", "/run/kata-containers/sandbox/storage/d", options);
	cr_assert_eq(add(&a, &s, 1), 0, "%s", outcome.msg);
	cr_assert_eq(access("/run/kata-containers/sandbox/storage/d/sub", F_OK), 0);
	s = make("ephemeral", "/run/src/dir", "tmpfs", "/run/kata-containers/sandbox/storage/t",
		 options);
	cr_assert_eq(add(&a, &s, 1), 0, "%s", outcome.msg);
	cr_assert_eq(access("/run/kata-containers/sandbox/storage/t/sub", F_OK), 0);
	/* What is not below /run belongs to the guest. */
	s = make("ephemeral", "/etc", "tmpfs", "/run/kata-containers/sandbox/storage/e", options);
	cr_assert_neq(add(&a, &s, 1), 0, "a bind, whatever it is called");
	s = make("bind", "/etc", "bind", "/run/kata-containers/sandbox/storage/e", options);
	cr_assert_neq(add(&a, &s, 1), 0);
	cr_assert_eq(symlink("/etc", "/run/src/link"), 0);
	s = make("bind", "/run/src/link", "bind", "/run/kata-containers/sandbox/storage/e",
		 options);
	cr_assert_neq(add(&a, &s, 1), 0);
	s = make("mmioblk", "/etc", "bind", "/run/kata-containers/sandbox/storage/e", NULL);
	cr_assert_neq(add(&a, &s, 1), 0);
	cr_assert_eq(access("/run/kata-containers/sandbox/storage/e", F_OK), -1);
	release(&a);
	cr_assert_eq(access("/run/kata-containers/sandbox/storage/f", F_OK), -1,
		     "the file that was made is gone");
}

/* What stands in a mount's line, after the mount point. */
static const char *mount_line(const char *point)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	static char rest[4096];
	char line[8192], at[4096];

	cr_assert_not_null(f);
	rest[0] = '\0';
	while (fgets(line, sizeof(line), f)) {
		int n = 0;

		if (sscanf(line, "%*d %*d %*s %*s %4095s %n", at, &n) == 1 &&
		    strcmp(at, point) == 0)
			(void)snprintf(rest, sizeof(rest), "%s", line + n);
	}
	(void)fclose(f);
	return rest;
}

/* Under a shared parent, as where systemd is init: propagation is what was asked for. */
Test(storage, options_and_propagation)
{
	static const char point[] = "/run/kata-containers/sandbox/storage/p";
	const char *slave[] = { "rbind", "nosuid", "nodev", "rslave", NULL };
	const char *private[] = { "noexec", "nosuid", "rprivate", "size=65536", NULL };
	Grpc__Storage s;

	cr_assert_eq(mount(NULL, "/run", NULL, MS_SHARED, NULL), 0);
	cr_assert_eq(fdio_mkdirs("/run/src/dir", 0755), 0);
	s = make("bind", "/run/src/dir", "bind", point, slave);
	cr_assert_eq(add(&a, &s, 1), 0, "%s", outcome.msg);
	cr_assert_eq(strncmp(mount_line(point), "rw,nosuid,nodev,relatime master:", 32), 0, "%s",
		     mount_line(point));
	release(&a);
	s = make("mmioblk", "x", "tmpfs", point, private);
	cr_assert_eq(add(&a, &s, 1), 0, "%s", outcome.msg);
	cr_assert_eq(
		strncmp(mount_line(point), "rw,nosuid,noexec,relatime - tmpfs x rw,size=64k", 47),
		0, "%s", mount_line(point));
	release(&a);
	cr_assert_eq(mount(NULL, "/run", NULL, MS_PRIVATE, NULL), 0);
}

enum { LIVES, DIES_BEFORE, DIES_AFTER };
static int fate; /* of the next worker that mounts */

#define HUGE "/sys/kernel/mm/hugepages"
static long long pool_max = 1000; /* pages that this kernel finds */

int __real_fdio_write_file(int dirfd, const char *path, const char *text);
int __wrap_fdio_write_file(int dirfd, const char *path, const char *text);
int __wrap_fdio_write_file(int dirfd, const char *path, const char *text)
{
	char most[24];

	(void)snprintf(most, sizeof(most), "%lld", pool_max);
	return __real_fdio_write_file(dirfd, path, atoll(text) > pool_max ? most : text);
}

static int pool(void)
{
	char text[24] = "";

	cr_assert_gt(
		fdio_read_file(AT_FDCWD, HUGE "/hugepages-2048kB/nr_hugepages", text, sizeof(text)),
		0);
	return atoi(text);
}

/* Each volume adds its pages; what the kernel line made, eight, stays. */
Test(storage, huge_pages)
{
	static const char one[] = "/run/kata-containers/sandbox/ephemeral/one",
			  two[] = "/run/kata-containers/sandbox/ephemeral/two";
	const char *four[] = { "pagesize=2097152,size=8388608", NULL },
		   *three[] = { "pagesize=2097152", "size=7000000", NULL },
		   *bad[] = { "pagesize=2097152,size=8388608,nosuchoption", NULL },
		   *again[] = { "remount", "pagesize=2097152", "size=12582912", NULL };
	AUTO_CLOSE int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	struct mount_plan remount = { .kind = MOUNT_TAG,
				      .source = "nodev",
				      .fstype = "hugetlbfs",
				      .rel = one + strlen("/run/") };
	struct err err = { 0 };
	struct arena mem;
	Grpc__Storage s;
	int fd;

	if (mount("tmpfs", HUGE, "tmpfs", 0, NULL) < 0)
		cr_skip_test("no " HUGE);
	cr_assert_eq(fdio_mkdirs(HUGE "/hugepages-2048kB", 0755), 0);
	fd = open(HUGE "/hugepages-2048kB/nr_hugepages", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	cr_assert_eq(fdio_write_all(fd, "8\n", 2), 0);
	(void)close(fd);

	s = make("ephemeral", "nodev", "hugetlbfs", one, four);
	if (add(&a, &s, 1) == ENODEV)
		cr_skip_test("no hugetlbfs");
	cr_assert_eq(outcome.code, 0, "%s", outcome.msg);
	cr_assert_eq(pool(), 12);
	s = make("ephemeral", "nodev", "hugetlbfs", one, four);
	cr_assert_eq(add(&b, &s, 1), 0, "%s", outcome.msg);
	cr_assert_eq(pool(), 12, "the same volume");
	s = make("mmioblk", "nodev", "hugetlbfs", two, three);
	cr_assert_eq(add(&b, &s, 1), 0, "%s", outcome.msg);
	cr_assert_eq(pool(), 15, "and another");
	s = make("ephemeral", "nodev", "hugetlbfs", "/run/kata-containers/x", bad);
	cr_assert_neq(add(&b, &s, 1), 0);
	cr_assert_eq(pool(), 15, "what failed has none");
	pool_max = 17;
	s = make("ephemeral", "nodev", "hugetlbfs", "/run/kata-containers/x", four);
	cr_assert_neq(add(&b, &s, 1), 0);
	cr_assert_str_eq(outcome.msg, "Only allocated 2 of 4 hugepages of size 2097152");
	cr_assert_eq(outcome.rpc, RPC_INTERNAL);
	cr_assert_eq(pool(), 15, "all or none");
	pool_max = 1000;
	fate = DIES_BEFORE;
	s = make("ephemeral", "nodev", "hugetlbfs", "/run/kata-containers/x", four);
	cr_assert_neq(add(&b, &s, 1), 0);
	cr_assert_eq(pool(), 15, "a worker that died between the pool and the mount");
	fate = LIVES;

	arena_init(&mem, 1 << 16);
	cr_assert_eq(mountopt_parse((char **)(uintptr_t)again, 3, &remount.opt, &mem, &err), 0);
	cr_assert_eq(storage_mount_all(&remount, 1, null, &err), 0, "%s", err.msg);
	cr_assert_eq(pool(), 15, "the kernel keeps a hugetlbfs at its size");
	arena_free(&mem);

	release(&b);
	cr_assert_eq(pool(), 12);
	release(&a);
	cr_assert_eq(pool(), 12, "the sandbox's own");
	release_all();
	cr_assert_eq(pool(), 8, "as it was");
	cr_assert_eq(umount(HUGE), 0);
}

/* ---- workers that die, or can't be started ---- */

static bool no_worker;

int __real_tree_attach(int tree, int target, struct err *err);
int __wrap_tree_attach(int tree, int target, struct err *err);
int __wrap_tree_attach(int tree, int target, struct err *err)
{
	int r;

	if (fate == DIES_BEFORE)
		_exit(1);
	r = __real_tree_attach(tree, target, err);
	if (fate == DIES_AFTER)
		_exit(1);
	return r;
}

int __real_worker_start(struct loop *l, struct reaper *r, const struct worker_opts *opts,
			worker_job *job, worker_done *done, void *arg, struct worker **ret);
int __wrap_worker_start(struct loop *l, struct reaper *r, const struct worker_opts *opts,
			worker_job *job, worker_done *done, void *arg, struct worker **ret);
int __wrap_worker_start(struct loop *l, struct reaper *r, const struct worker_opts *opts,
			worker_job *job, worker_done *done, void *arg, struct worker **ret)
{
	return no_worker ? -EAGAIN : __real_worker_start(l, r, opts, job, done, arg, ret);
}

Test(storage, a_worker_that_dies_leaves_nothing)
{
	static const char point[] = "/run/kata-containers/sandbox/storage/d";
	Grpc__Storage s;

	cr_assert_eq(fdio_mkdirs("/run/src/dir", 0755), 0);
	for (fate = DIES_BEFORE; fate <= DIES_AFTER; fate++) {
		s = make("mmioblk", "none", "tmpfs", point, NULL);
		cr_assert_neq(add(&a, &s, 1), 0);
		cr_assert_eq(mounts_at(point), 0, "%d", fate);
		cr_assert_eq(access(point, F_OK), -1, "%d", fate);
		/* What was mounted there before is somebody else's. */
		cr_assert_eq(fdio_mkdirs(point, 0755), 0);
		cr_assert_eq(mount("other", point, "tmpfs", 0, NULL), 0);
		s = make("bind", "/run/src/dir", "bind", point, NULL);
		cr_assert_neq(add(&a, &s, 1), 0);
		cr_assert_eq(mounts_at(point), 1, "%d", fate);
		cr_assert_eq(umount(point), 0);
		cr_assert_eq(rmdir(point), 0);
	}
	fate = LIVES;
}

static bool umount_fails; /* at points that begin with "stuck" */

int __real_umount2(const char *path, int flags);
int __wrap_umount2(const char *path, int flags);

int __wrap_umount2(const char *path, int flags)
{
	if (umount_fails && strstr(path, "/stuck")) {
		errno = EIO;
		return -1;
	}
	return __real_umount2(path, flags);
}

/* What the kernel does not let go of is told, stays nobody's, and goes with a later operation. */
Test(storage, what_cannot_be_unmounted_is_not_forgotten)
{
	static const char one[] = "/run/kata-containers/stuck", two[] = "/run/kata-containers/two";
	Grpc__Storage s[2] = { make("mmioblk", "none", "tmpfs", one, NULL),
			       make("mmioblk", "none", "tmpfs", two, NULL) };

	cr_assert_eq(add(&a, s, 2), 0, "%s", outcome.msg);
	umount_fails = true;
	release(&a);
	cr_assert_eq(outcome.code, EIO);
	cr_assert_eq(mounts_at(one), 1);
	cr_assert_eq(mounts_at(two), 0, "the others are tried all the same");
	s[0] = make("mmioblk", "none", "tmpfs", one, NULL);
	cr_assert_eq(add(&a, s, 1), EBUSY, "it has another's content");
	s[0] = make("mmioblk", "none", "tmpfs", two, NULL);
	cr_assert_eq(add(&a, s, 1), 0, "%s", outcome.msg);
	umount_fails = false;
	s[0] = make("mmioblk", "none", "tmpfs", one, NULL);
	cr_assert_eq(add(&a, s, 1), 0, "%s", outcome.msg);
	cr_assert_eq(mounts_at(one), 1);
	release(&a);
	cr_assert_eq(mounts_at(one) + mounts_at(two), 0);
	cr_assert(list_empty(&refs.entries));
}

/* What could not be unmounted is not the next sandbox's. */
Test(storage, leftovers_are_swept_before_anything_is_mounted)
{
	static const char point[] = "/run/kata-containers/sandbox/shm";
	Grpc__Storage s = make("ephemeral", "shm", "tmpfs", point, NULL);
	int fd;

	cr_assert_eq(add(&a, &s, 1), 0, "%s", outcome.msg);
	fd = open("/run/kata-containers/sandbox/shm/secret", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	cr_assert_geq(fd, 0);
	(void)close(fd);
	release(&a);
	no_worker = true;
	outcomes = 0;
	cr_assert_eq(storages_release_all(&agent, &refs, on_done, &refs, &outcome), 0);
	wait_outcome();
	no_worker = false;
	cr_assert_eq(outcome.code, EAGAIN, "it is told");
	s = make("ephemeral", "shm", "tmpfs", point, NULL);
	cr_assert_eq(add(&a, &s, 1), 0, "%s", outcome.msg);
	cr_assert_eq(mounts_at(point), 1);
	cr_assert_eq(access("/run/kata-containers/sandbox/shm/secret", F_OK), -1);
}

/* ---- watchable binds ---- */

#define SOURCE	  SHARE "/src"
#define WATCHABLE SHARE "/watchable"

static void put(const char *path, const char *text)
{
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);

	cr_assert_geq(fd, 0, "%s: %s", path, strerror(errno));
	cr_assert_eq(fdio_write_all(fd, text, strlen(text)), 0);
}

static const char *text_of(const char *path)
{
	static char buf[64];
	ssize_t n = fdio_read_file(AT_FDCWD, path, buf, sizeof(buf));

	return n < 0 ? strerror((int)-n) : buf;
}

static int watch(const char *source, const char *point)
{
	const char *options[] = { "bind", NULL };
	Grpc__Storage s = make("watchable-bind", source, "bind", point, options);

	return add_as(SCHEMA_3X, &a, &s, 1);
}

static void on_tick(struct timer *t)
{
	(void)t;
	loop_stop(agent.loop);
}

/* Runs the loop until the file has that text, at most for two passes of the watcher. */
static bool becomes(const char *path, const char *text)
{
	struct timer tick = { 0 };

	for (int i = 0; i < 100 && strcmp(text_of(path), text) != 0; i++) {
		timer_set(agent.loop, &tick, 50, on_tick);
		cr_assert_eq(loop_run(agent.loop), 0);
	}
	return strcmp(text_of(path), text) == 0;
}

/* As kubelet writes a ConfigMap: version is a directory, the files are links through ..data. */
static void kubelet_write(const char *version, const char *text)
{
	char path[128];

	(void)snprintf(path, sizeof(path), SOURCE "/..%s", version);
	cr_assert_eq(mkdir(path, 0755), 0);
	(void)snprintf(path, sizeof(path), SOURCE "/..%s/key", version);
	put(path, text);
	(void)snprintf(path, sizeof(path), "..%s", version);
	cr_assert_eq(symlink(path, SOURCE "/..data_tmp"), 0);
	cr_assert_eq(rename(SOURCE "/..data_tmp", SOURCE "/..data"), 0);
}

Test(storage, watchable_bind_follows_kubelet)
{
	char events[4096];
	struct stat st;
	int in;

	cr_assert_eq(fdio_mkdirs(SOURCE, 0750), 0);
	cr_assert_eq(fdio_mkdirs(WATCHABLE, 0755), 0);
	put(WATCHABLE "/hidden", "of the share");
	kubelet_write("one", "first");
	cr_assert_eq(symlink("..data/key", SOURCE "/key"), 0);
	cr_assert_eq(watch(SOURCE, WATCHABLE "/cm"), 0, "%s", outcome.msg);
	cr_assert(is_fs(WATCHABLE, TMPFS));
	cr_assert_eq(access(WATCHABLE "/hidden", F_OK), -1, "a tmpfs of its own");
	cr_assert_eq(mounts_at(WATCHABLE), 1);
	cr_assert_eq(mounts_at(WATCHABLE "/cm"), 0, "copied, not bound");
	cr_assert_str_eq(text_of(WATCHABLE "/cm/key"), "first");
	cr_assert_eq(stat(WATCHABLE "/cm/key", &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0640);
	cr_assert_eq(stat(WATCHABLE "/cm", &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0750);
	in = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	cr_assert_geq(inotify_add_watch(in, WATCHABLE "/cm", IN_MOVED_TO | IN_DELETE), 0);
	kubelet_write("two", "second");
	cr_assert_eq(fdio_remove_tree(AT_FDCWD, SOURCE "/..one"), 0);
	cr_assert(becomes(WATCHABLE "/cm/key", "second"), "%s", text_of(WATCHABLE "/cm/key"));
	cr_assert_gt(read(in, events, sizeof(events)), 0, "inotify tells");
	cr_assert(becomes(WATCHABLE "/cm/..one/key", "No such file or directory"));
	(void)close(in);
	release(&a);
	cr_assert_eq(access(WATCHABLE "/cm", F_OK), -1);
	cr_assert_eq(mounts_at(WATCHABLE), 1, "the sandbox's own");
	release_all();
	cr_assert_eq(mounts_at(WATCHABLE), 0);
	alarm(5);
	while (waitpid(-1, NULL, 0) > 0) /* nobody watches any more, but one may be dying */
		;
	alarm(0);
}

/* A file that is bound into a container keeps its inode; what goes in the source goes. */
Test(storage, watchable_files_and_folders)
{
	struct stat before, after;

	cr_assert_eq(fdio_mkdirs(SOURCE "/dir/sub", 0755), 0);
	put(SOURCE "/file", "one");
	put(SOURCE "/dir/f", "one");
	put(SOURCE "/dir/sub/g", "one");
	put(SOURCE "/dir/h", "one");
	cr_assert_eq(watch(SOURCE "/file", SHARE "/passthrough/watchable/file"), 0, "%s",
		     outcome.msg);
	cr_assert_eq(watch(SOURCE "/dir", WATCHABLE "/dir"), 0, "%s", outcome.msg);
	cr_assert(is_fs(SHARE "/passthrough/watchable", TMPFS));
	cr_assert_eq(stat(SHARE "/passthrough/watchable/file", &before), 0);
	put(SOURCE "/file", "another");
	put(SOURCE "/dir/sub/g", "two");
	cr_assert_eq(unlink(SOURCE "/dir/f"), 0);
	cr_assert_eq(mkdir(SOURCE "/dir/f", 0755), 0);
	put(SOURCE "/dir/f/now-a-folder", "two");
	cr_assert_eq(unlink(SOURCE "/dir/h"), 0);
	cr_assert(becomes(SHARE "/passthrough/watchable/file", "another"));
	cr_assert_eq(stat(SHARE "/passthrough/watchable/file", &after), 0);
	cr_assert_eq(before.st_ino, after.st_ino);
	cr_assert(becomes(WATCHABLE "/dir/sub/g", "two"));
	cr_assert(becomes(WATCHABLE "/dir/f/now-a-folder", "two"));
	cr_assert(becomes(WATCHABLE "/dir/h", "No such file or directory"));
}

static void fill(const char *dir, unsigned int files, size_t size)
{
	cr_assert_eq(fdio_mkdirs(dir, 0755), 0);
	for (unsigned int i = 0; i < files; i++) {
		char path[128];

		(void)snprintf(path, sizeof(path), "%s/%u", dir, i);
		put(path, "");
		cr_assert_eq(truncate(path, (off_t)size), 0);
	}
}

Test(storage, watchable_binds_that_are_large)
{
	fill(SOURCE "/16", 16, 1 << 16);
	fill(SOURCE "/17", 17, 1);
	fill(SOURCE "/big", 2, (1 << 19) + 1);
	cr_assert_eq(watch(SOURCE "/16", WATCHABLE "/16"), 0, "%s", outcome.msg);
	cr_assert_eq(mounts_at(WATCHABLE "/16"), 0);
	cr_assert_eq(watch(SOURCE "/17", WATCHABLE "/17"), 0, "%s", outcome.msg);
	cr_assert_eq(mounts_at(WATCHABLE "/17"), 1);
	cr_assert_eq(watch(SOURCE "/big", WATCHABLE "/big"), 0, "%s", outcome.msg);
	cr_assert_eq(mounts_at(WATCHABLE "/big"), 1);
	/* Elsewhere there is no tmpfs to copy into. */
	cr_assert_eq(watch(SOURCE "/16", "/run/kata-containers/sandbox/storage/x"), 0);
	cr_assert_eq(mounts_at("/run/kata-containers/sandbox/storage/x"), 1);
	/* What grows is bound from then on. */
	fill(SOURCE "/16/more", 17, 1);
	put(SOURCE "/16/more/0", "new");
	cr_assert(becomes(WATCHABLE "/16/more/0", "new"));
	cr_assert_eq(mounts_at(WATCHABLE "/16"), 1);
	release(&a);
	cr_assert_eq(access(WATCHABLE "/16", F_OK), -1);
	cr_assert_eq(access(SOURCE "/16/0", F_OK), 0, "the share's own");
}

/* ---- driver options and layers ---- */

static char loops[4][32];
static size_t n_loops;

/* A loop device on a file; NULL where there is none to be had. */
static const char *loop_on(const char *file)
{
	AUTO_CLOSE int ctl = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	AUTO_CLOSE int fd = open(file, O_RDWR | O_CLOEXEC);

	for (int tries = 0; ctl >= 0 && fd >= 0 && n_loops < 4 && tries < 20; tries++) {
		int n = ioctl(ctl, LOOP_CTL_GET_FREE);
		AUTO_CLOSE int dev = FD_NONE;

		(void)snprintf(loops[n_loops], sizeof(loops[0]), "/dev/loop%d", n);
		dev = n < 0 ? n : open(loops[n_loops], O_RDWR | O_CLOEXEC);
		if (dev >= 0 && ioctl(dev, LOOP_SET_FD, fd) == 0)
			return loops[n_loops++];
	}
	return NULL;
}

static void loops_end(void)
{
	while (n_loops > 0) {
		AUTO_CLOSE int dev = open(loops[--n_loops], O_RDWR | O_CLOEXEC);

		(void)ioctl(dev, LOOP_CLR_FD, 0);
	}
}

static Grpc__Storage with_driver_options(Grpc__Storage s, const char **words)
{
	s.driver_options = (char **)(uintptr_t)words;
	for (; words[s.n_driver_options]; s.n_driver_options++)
		;
	return s;
}

Test(storage, options_that_are_refused_by_name)
{
	static const char point[] = "/run/kata-containers/sandbox/storage/o";
	const char *no_hash[] = { LAYERS_VERITY "-enabled=true", NULL };
	Grpc__Storage s;

	s = with_driver_options(make("mmioblk", "/dev/null", "erofs", point, NULL), no_hash);
	cr_assert_neq(add_as(SCHEMA_3X, &a, &s, 1), 0);
	cr_expect_eq(outcome.rpc, RPC_INVALID_ARGUMENT);
	cr_expect_not_null(strstr(outcome.msg, "root hash"), "%s", outcome.msg);
}

Test(storage, overlay_rw)
{
	const char *options[] = { "lowerdir=/run/layer", "io.katacontainers.fs-opt.overlay-rw",
				  NULL };
	const char *twice[] = { options[0], options[1], options[1], NULL };
	Grpc__Storage s = make("overlayfs", "overlay", "overlay", CTR "/rootfs", options);

	cr_assert_eq(fdio_mkdirs("/run/layer", 0755), 0);
	put("/run/layer/old", "x");
	if (add_as(SCHEMA_3X, &a, &s, 1) != 0 && strstr(outcome.msg, "No such device"))
		cr_skip_test("no overlayfs");
	cr_assert_eq(outcome.code, 0, "%s", outcome.msg);
	put(CTR "/rootfs/new", "x");
	cr_expect_eq(access(CTR "/rootfs/old", F_OK), 0);
	cr_expect_eq(access(CTR "/upper/new", F_OK), 0);
	release(&a);
	cr_expect_neq(access(CTR "/upper", F_OK), 0);
	cr_expect_neq(access(CTR "/work", F_OK), 0);
	s = make("overlayfs", "overlay", "overlay", CTR "/rootfs", twice);
	cr_expect_neq(add_as(SCHEMA_3X, &a, &s, 1), 0);
}

/* The node of a virtio-mmio disk may come after the request. */
Test(storage, nodes_that_are_waited_for)
{
	cr_expect_null(dev_missing("/dev/null"));
	cr_expect_null(dev_missing("/dev/"));
	cr_expect_null(dev_missing("/dev/disk/by-id/x"));
	cr_expect_null(dev_missing("/run/disk"));
	cr_expect_str_eq(dev_missing("/dev/vdnone"), "vdnone");
}

Test(storage, create_filesystem, .fini = loops_end)
{
	static const char point[] = "/run/kata-containers/sandbox/storage/disk";
	const char *create[] = { "create_filesystem", NULL };
	const char *dev;
	Grpc__Storage s;
	int fd;

	put("/run/disk", "");
	cr_assert_eq(truncate("/run/disk", (off_t)252 << 30), 0);
	s = with_driver_options(make("mmioblk", "/run/disk", "ext4", point, NULL), create);
	cr_assert_neq(add_as(SCHEMA_3X, &a, &s, 1), 0, "no device");
	cr_assert_not_null(strstr(outcome.msg, "invalid device"), "%s", outcome.msg);
	s = with_driver_options(make("mmioblk", "/dev/null", "xfs", point, NULL), create);
	cr_assert_neq(add_as(SCHEMA_3X, &a, &s, 1), 0);
	cr_assert_not_null(strstr(outcome.msg, "ext4, not 'xfs'"), "%s", outcome.msg);
	dev = loop_on("/run/disk");
	if (!dev || access("/usr/sbin/mkfs.ext4", X_OK) < 0)
		cr_skip_test("needs a loop device and mkfs.ext4");
	s = make("mmioblk", dev, "ext4", point, NULL);
	cr_assert_neq(add_as(SCHEMA_3X, &a, &s, 1), 0, "nothing is on it");
	s = with_driver_options(make("mmioblk", dev, "ext4", point, NULL), create);
	cr_assert_eq(add_as(SCHEMA_3X, &a, &s, 1), 0, "%s", outcome.msg);
	cr_assert(is_fs(point, 0xef53));
	fd = open("/run/kata-containers/sandbox/storage/disk/kept", O_CREAT | O_WRONLY | O_CLOEXEC,
		  0600);
	cr_assert_geq(fd, 0);
	(void)close(fd);
	release(&a);
	s = with_driver_options(make("mmioblk", dev, "ext4", point, NULL), create);
	cr_assert_eq(add_as(SCHEMA_3X, &a, &s, 1), 0, "%s", outcome.msg);
	cr_assert_eq(access("/run/kata-containers/sandbox/storage/disk/kept", F_OK), 0,
		     "made only once");
	release(&a);
}

Test(storage, options_that_are_not_known)
{
	static const struct {
		const char *driver, *word, *text;
	} cases[] = {
		{ "mmioblk", "encryption_key=ephemeral", "encryption_key=ephemeral" },
		{ "ephemeral", "create_filesystem", "create_filesystem" },
		{ "overlayfs", OVERLAY_CREATE_DIR "/etc/x", "not below /run" },
		{ "image_guest_pull", "image_guest_pull={}", "image_guest_pull" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const char *words[] = { cases[i].word, NULL };
		Grpc__Storage s = with_driver_options(
			make(cases[i].driver, "x", "tmpfs", "/run/kata-containers/x", NULL), words);

		cr_assert_neq(add_as(SCHEMA_3X, &a, &s, 1), 0, "%s", cases[i].word);
		cr_assert_not_null(strstr(outcome.msg, cases[i].text), "%s", outcome.msg);
	}
}

Test(storage, overlay_with_folders_to_be_made)
{
	static const char point[] = "/run/kata-containers/ctr/rootfs";
	const char *options[] = { "lowerdir=/run/lower", "upperdir=/run/ovl/deep/up",
				  "workdir=/run/ovl/work", NULL };
	const char *dirs[] = { OVERLAY_CREATE_DIR "/run/ovl/deep/up",
			       OVERLAY_CREATE_DIR "/run/ovl/work", NULL };
	Grpc__Storage s;

	cr_assert_eq(fdio_mkdirs("/run/lower", 0755), 0);
	cr_assert_eq(fdio_mkdirs("/run/ovl/work", 0755), 0);
	put("/run/lower/f", "below");
	s = with_driver_options(make("overlayfs", "overlay", "overlay", point, options), dirs);
	if (add_as(SCHEMA_3X, &a, &s, 1) == ENODEV)
		cr_skip_test("no overlayfs");
	cr_assert_eq(outcome.code, 0, "%s", outcome.msg);
	cr_assert_str_eq(text_of("/run/kata-containers/ctr/rootfs/f"), "below");
	put("/run/kata-containers/ctr/rootfs/new", "above");
	cr_assert_eq(access("/run/ovl/deep/up/new", F_OK), 0);
	release(&a);
	cr_assert_eq(access("/run/ovl/deep/up", F_OK), -1, "what was made for it goes with it");
	cr_assert_eq(access("/run/ovl/work", F_OK), 0, "what was there stays");
}

/* As many as a request may have, not as many as bits of a word. */
Test(storage, many_folders_to_be_made)
{
	static char words[LIMIT_STORAGE_DIRS + 1][96];
	const char *dirs[LIMIT_STORAGE_DIRS + 2] = { NULL };
	const char *options[] = { "lowerdir=/run/lower", NULL };
	Grpc__Storage s;
	char last[64];

	cr_assert_eq(fdio_mkdirs("/run/lower", 0755), 0);
	cr_assert_eq(fdio_mkdirs("/run/many/d0", 0755), 0);
	for (size_t i = 0; i <= LIMIT_STORAGE_DIRS; i++) {
		(void)snprintf(words[i], sizeof(words[i]), OVERLAY_CREATE_DIR "/run/many/d%zu", i);
		dirs[i] = words[i];
	}
	s = with_driver_options(make("overlayfs", "overlay", "overlay", CTR, options), dirs);
	cr_assert_eq(add_as(SCHEMA_3X, &a, &s, 1), EINVAL);
	cr_assert_eq(outcome.rpc, RPC_INVALID_ARGUMENT);
	dirs[LIMIT_STORAGE_DIRS] = NULL;
	s = with_driver_options(make("overlayfs", "overlay", "overlay", CTR, options), dirs);
	/* An overlay of one read-only layer does not mount: what was made for it goes. */
	cr_assert_neq(add_as(SCHEMA_3X, &a, &s, 1), 0);
	(void)snprintf(last, sizeof(last), "/run/many/d%u", LIMIT_STORAGE_DIRS - 1);
	cr_assert_eq(access(last, F_OK), -1, "%s", outcome.msg);
	cr_assert_eq(access("/run/many/d33", F_OK), -1);
	cr_assert_eq(access("/run/many/d0", F_OK), 0, "what was there stays");
}

/* As runtime-rs sends a root of containerd's erofs snapshotter. */
Test(storage, layers_of_erofs, .fini = loops_end)
{
	const char *upper_options[] = { "X-kata.overlay-upper", "X-kata.multi-layer=true",
					"X-kata.mkdir.path={{ mount 0 }}/upper",
					"X-kata.mkdir.path={{ mount 0 }}/work", NULL };
	const char *lower_options[] = { "ro", "X-kata.overlay-lower", "X-kata.multi-layer=true",
					NULL };
	const char *create[] = { "create_filesystem", NULL };
	const char *upper, *one, *two;
	Grpc__Storage s[3];

	for (int with_upper = 0; with_upper < 2; with_upper++) {
		size_t n = 0;

		fill("/run/l1", 2, 1);
		fill("/run/l2", 1, 1);
		put("/run/l1/0", "first of the lowers");
		put("/run/l2/0", "second");
		put("/run/l2/only", "second");
		put("/run/upper.img", "");
		cr_assert_eq(truncate("/run/upper.img", 64 << 20), 0);
		if (system("mkfs.erofs /run/1.img /run/l1 >/dev/null 2>&1 && "
			   "mkfs.erofs /run/2.img /run/l2 >/dev/null 2>&1") != 0)
			cr_skip_test("needs mkfs.erofs");
		one = loop_on("/run/1.img");
		two = loop_on("/run/2.img");
		upper = loop_on("/run/upper.img");
		if (!one || !two || !upper)
			cr_skip_test("needs loop devices");
		if (with_upper)
			s[n++] = with_driver_options(
				make("mmioblk", upper, "ext4", CTR "/rootfs", upper_options),
				create);
		s[n++] = make("mmioblk", one, "erofs", CTR "/rootfs", lower_options);
		s[n++] = make("mmioblk", two, "erofs", CTR "/rootfs", lower_options);
		if (add_as(SCHEMA_3X, &a, s, n) == ENODEV)
			cr_skip_test("no erofs");
		cr_assert_eq(outcome.code, 0, "%s", outcome.msg);
		cr_assert_str_eq(text_of(CTR "/rootfs/0"), "first of the lowers");
		cr_assert_str_eq(text_of(CTR "/rootfs/only"), "second");
		put(CTR "/rootfs/new", "x");
		cr_assert_eq(access(CTR "/multi-layer/upper/upper/new", F_OK), 0);
		cr_assert_eq(mounts_at(CTR "/multi-layer/upper"), (unsigned int)with_upper);
		release(&a);
		cr_assert_eq(mounts_at(CTR "/rootfs"), 0);
		cr_assert_eq(access(CTR "/multi-layer", F_OK), -1, "all goes with the container");
		loops_end();
	}
}

/* The forms that need a partitioned disk or dm-verity, as text. */
Test(storage, layers_taken_apart)
{
	const char *p2[] = { "ro",
			     "X-kata.multi-layer=true",
			     "X-kata.overlay-lower",
			     "X-kata.gpt-partitioned=true",
			     "X-kata.partition-number=2",
			     NULL };
	const char *p1[] = { "ro",
			     "X-kata.multi-layer=true",
			     "X-kata.overlay-lower",
			     "X-kata.gpt-partitioned=true",
			     "X-kata.partition-number=1",
			     NULL };
	const char *verity[] = { "X-kata.multi-layer=true", "X-kata.overlay-lower",
				 "X-kata.dmverity-enabled=true", "X-kata.dmverity.salt=00", NULL };
	const char *typo[] = { "X-kata.multi-layer=true", "X-kata.overlay-lover", NULL };
	Grpc__Storage other = make("ephemeral", "t", "tmpfs", "/run/kata-containers/t", NULL);
	Grpc__Storage s[] = { make("blk", "02/01", "erofs", CTR "/rootfs", p2), other,
			      make("blk", "02/01", "erofs", CTR "/rootfs", p1) };
	Grpc__Storage bad[] = { make("blk", "02", "erofs", CTR "/rootfs", verity),
				make("blk", "02", "erofs", CTR "/rootfs", typo) };
	Grpc__Storage *in[] = { &s[0], &s[1], &s[2] }, *one[1], *const * out;
	struct err err = { 0 };
	struct arena mem;
	size_t n;

	arena_init(&mem, 1 << 20);
	cr_assert_eq(storage_layers(&mem, in, 3, &out, &n, &err), 0, "%s", err.msg);
	cr_assert_eq(n, 5);
	cr_assert_str_eq(out[0]->mount_point, CTR "/multi-layer");
	cr_assert_str_eq(out[1]->mount_point, CTR "/multi-layer/lower-0");
	cr_assert_eq(out[1]->n_options, 1);
	cr_assert_str_eq(out[1]->options[0], "ro");
	cr_assert_str_eq(out[1]->driver_options[0], LAYERS_PARTITION "1");
	cr_assert_str_eq(out[2]->driver_options[0], LAYERS_PARTITION "2");
	cr_assert_str_eq(out[3]->options[0],
			 "lowerdir=" CTR "/multi-layer/lower-0:" CTR "/multi-layer/lower-1");
	cr_assert_eq(out[4], &s[1], "others as they are");
	one[0] = &bad[0];
	cr_assert_eq(storage_layers(&mem, one, 1, &out, &n, &err), 0, "%s", err.msg);
	cr_assert_eq(out[1]->n_driver_options, 2);
	cr_assert_str_eq(out[1]->driver_options[0], LAYERS_VERITY "-enabled=true");
	cr_assert_str_eq(out[1]->driver_options[1], LAYERS_VERITY ".salt=00");
	one[0] = &bad[1];
	cr_assert_neq(storage_layers(&mem, one, 1, &out, &n, &err), 0);
	cr_assert_not_null(strstr(err.msg, "X-kata.overlay-lover"), "%s", err.msg);
	arena_free(&mem);
}

/* More than the new mount API takes: the layers of an overlay. */
Test(storage, long_options)
{
	static const char point[] = "/run/kata-containers/sandbox/storage/o";
	char lower[1024] = "lowerdir=";
	const char *options[] = { lower, NULL };
	Grpc__Storage s;

	for (int i = 0; i < 20; i++) {
		char dir[40];

		(void)snprintf(dir, sizeof(dir), "/run/layers/number-%02d-of-many", i);
		cr_assert_eq(fdio_mkdirs(dir, 0755), 0);
		(void)strcat(lower, i ? ":" : "");
		(void)strcat(lower, dir);
	}
	cr_assert_eq(fdio_mkdirs("/run/layers/number-07-of-many/seven", 0755), 0);
	s = make("overlayfs", "overlay", "overlay", point, options);
	cr_assert_eq(add_as(SCHEMA_3X, &a, &s, 1), 0, "%s", outcome.msg);
	cr_assert_eq(access("/run/kata-containers/sandbox/storage/o/seven", F_OK), 0);
	release(&a);
	cr_assert_eq(mounts_at(point), 0);
}

Test(storage, confined)
{
	static const char *const outside[] = { "/",
					       "/run",
					       "/run/",
					       "/etc",
					       "/runaway/x",
					       "/run/../etc",
					       "run/x",
					       "/var/lib/x",
					       "/run/sandbox-ns/ipc",
					       "/run/libcontainer/c" };
	Grpc__Storage s;

	for (size_t i = 0; i < ARRAY_LEN(outside); i++) {
		s = make("ephemeral", "shm", "tmpfs", outside[i], NULL);
		cr_assert_eq(add(&a, &s, 1), EPERM, "%s", outside[i]);
	}
	/* A container that puts a link into the share does not choose where we mount. */
	cr_assert_eq(fdio_mkdirs(SHARE "/sid/rootfs", 0755), 0);
	cr_assert_eq(symlink("/etc", SHARE "/sid/rootfs/local"), 0);
	s = make("local", "local", "local", SHARE "/sid/rootfs/local/x", NULL);
	cr_assert_neq(add(&a, &s, 1), 0);
	cr_assert_eq(access("/etc/x", F_OK), -1);
	s = make("ephemeral", "shm", "tmpfs", SHARE "/sid/rootfs/local", NULL);
	cr_assert_neq(add(&a, &s, 1), 0);
	cr_assert_eq(mounts_at("/etc"), 0);
}

Test(storage, refuses)
{
	Grpc__Storage s = make("watchable", "x", "tmpfs", "/run/x", NULL);
	int fd;

	cr_assert_eq(add(&a, &s, 1), EINVAL);
	cr_assert_eq(outcome.rpc, RPC_INVALID_ARGUMENT);
	cr_assert_str_eq(outcome.msg, "Unknown storage driver \"watchable\"");
	s = make("9p", "", "9p", "/run/x", NULL);
	cr_assert_eq(add(&a, &s, 1), EINVAL);
	cr_assert_str_eq(outcome.msg, "need mount source");
	s = make("9p", "tag", "9p", "", NULL);
	cr_assert_eq(add(&a, &s, 1), EINVAL);
	cr_assert_str_eq(outcome.msg, "need mount destination");
	s = make("9p", "tag", "", "/run/x", NULL);
	cr_assert_eq(add(&a, &s, 1), EINVAL);
	cr_assert_str_eq(outcome.msg, "need mount FS type");
	s = make("nvdimm", "/dev/vda", "ext4", "/run/x", NULL);
	cr_assert_eq(add(&a, &s, 1), EINVAL);
	s = make("nvdimm", "/tmp/pmem0", "ext4", "/run/x", NULL);
	cr_assert_eq(add(&a, &s, 1), EINVAL);
	fd = open("/dev/shm/storage_test", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd >= 0) {
		(void)close(fd);
		s = make("blk", "/dev/shm/storage_test", "ext4", "/run/x", NULL);
		cr_assert_eq(add(&a, &s, 1), EINVAL);
		cr_assert_str_eq(outcome.msg, "invalid device /dev/shm/storage_test");
		(void)unlink("/dev/shm/storage_test");
	}
	s = make("blk", "1g", "ext4", "/run/x", NULL);
	cr_assert_eq(add(&a, &s, 1), EINVAL, "a bad PCI path");
	s = make("scsi", "1", "ext4", "/run/x", NULL);
	cr_assert_eq(add(&a, &s, 1), EINVAL);
	cr_assert_eq(outcome.rpc, RPC_INTERNAL);
	s = make("nvdimm", "/dev/pmem99", "ext4", "/run/x", NULL);
	cr_assert_eq(add(&a, &s, 1), ETIMEDOUT);
	cr_assert_eq(outcome.rpc, RPC_DEADLINE_EXCEEDED);
	cr_assert_str_eq(outcome.msg, "Timeout reached after 200ms waiting for device pmem99");
	s = make("ephemeral", "nodev", "hugetlbfs", "/run/x",
		 (const char *[]){ "idontexist", NULL });
	cr_assert_neq(add(&a, &s, 1), 0);
	cr_assert_eq(outcome.rpc, RPC_INTERNAL);
	cr_assert_eq(access("/run/x", F_OK), -1);
	cr_assert_eq(add(&a, NULL, 0), 0, "nothing is fine");
}

/* Both are asked for at once: the second waits for the first one's mount and shares it. */
Test(storage, operations_take_turns)
{
	static const char point[] = "/run/kata-containers/sandbox/ephemeral/v";
	Grpc__Storage s = make("ephemeral", "v", "tmpfs", point, NULL), *list[] = { &s };
	struct err err = { 0 };

	outcomes = 0;
	cr_assert_eq(storages_add(&agent, &refs, &a, SCHEMA_1X, list, 1, on_done, &refs, &err), 0);
	cr_assert_eq(storages_add(&agent, &refs, &b, SCHEMA_1X, list, 1, on_done, &refs, &err), 0);
	cr_assert_eq(storages_release(&agent, &refs, &a, on_done, &refs, &err), 0);
	while (outcomes < 3)
		cr_assert_eq(loop_run(agent.loop), 0);
	cr_assert_eq(mounts_at(point), 1);
	cr_assert_not(list_empty(&b.uses));
}

Test(storage, busy_mounts_are_detached)
{
	static const char point[] = "/run/kata-containers/sandbox/storage/busy";
	Grpc__Storage s = make("mmioblk", "none", "tmpfs", point, NULL);
	int fd;

	cr_assert_eq(add(&a, &s, 1), 0, "%s", outcome.msg);
	fd = open(point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_geq(fd, 0);
	release(&a);
	cr_assert_eq(outcome.code, 0, "%s", outcome.msg);
	cr_assert_eq(mounts_at(point), 0);
	(void)close(fd);
}

Test(storage, fs_group_of_3x)
{
	static const char point[] = "/run/kata-containers/sandbox/storage/g";
	const char *fsgid[] = { "fsgid=4321", "size=65536", NULL }, *bind[] = { "bind", NULL };
	Grpc__FSGroup group = GRPC__FSGROUP__INIT;
	Grpc__Storage s;
	struct stat st;
	int fd;

	cr_assert_eq(fdio_mkdirs("/run/src/sub", 0700), 0);
	fd = open("/run/src/sub/file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	(void)close(fd);
	cr_assert_eq(symlink("/etc", "/run/src/link"), 0);
	group.group_id = 1234;
	s = make("bind", "/run/src", "bind", point, bind);
	s.fs_group = &group;
	cr_assert_eq(add_as(SCHEMA_1X, &a, &s, 1), 0, "%s", outcome.msg);
	cr_assert_eq(stat("/run/src/sub/file", &st), 0);
	cr_assert_neq(st.st_gid, 1234, "1.x has no such thing");
	release(&a);
	s = make("bind", "/run/src", "bind", point, bind);
	s.fs_group = &group;
	cr_assert_eq(add_as(SCHEMA_3X, &a, &s, 1), 0, "%s", outcome.msg);
	cr_assert_eq(stat("/run/src/sub/file", &st), 0);
	cr_assert_eq(st.st_gid, 1234);
	cr_assert_eq(st.st_mode & 07777, 0660);
	cr_assert_eq(stat("/run/src/sub", &st), 0);
	cr_assert_eq(st.st_mode & 07777, 02770);
	cr_assert_eq(stat("/run/src", &st), 0);
	cr_assert_eq(st.st_gid, 1234);
	cr_assert_eq(stat("/etc", &st), 0);
	cr_assert_neq(st.st_gid, 1234, "links are not followed");
	release(&a);

	/* The top is as wanted: nothing below is looked at. */
	group.group_change_policy = TYPES__FSGROUP_CHANGE_POLICY__OnRootMismatch;
	cr_assert_eq(chmod("/run/src/sub/file", 0600), 0);
	s = make("bind", "/run/src", "bind", point, bind);
	s.fs_group = &group;
	cr_assert_eq(add_as(SCHEMA_3X, &a, &s, 1), 0, "%s", outcome.msg);
	cr_assert_eq(stat("/run/src/sub/file", &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0600);
	release(&a);

	s = make("ephemeral", "x", "tmpfs", point, fsgid);
	cr_assert_eq(add_as(SCHEMA_3X, &a, &s, 1), 0, "%s", outcome.msg);
	cr_assert_eq(stat(point, &st), 0);
	cr_assert_eq(st.st_gid, 4321);
	cr_assert(st.st_mode & S_ISGID);
}

Test(storage, shared_and_drivers_of_3x)
{
	static const char point[] = "/run/kata-containers/sandbox/storage/s";
	Grpc__Storage s = make("mmioblk", "x", "tmpfs", point, NULL);

	s.shared = true;
	cr_assert_eq(add_as(SCHEMA_3X, &a, &s, 1), 0, "%s", outcome.msg);
	release(&a);
	cr_assert_eq(mounts_at(point), 1, "stays when its last container leaves");
	cr_assert_eq(fdio_mkdirs("/run/src/sub", 0700), 0);
	s = make("watchable-bind", "/run/src", "bind", SHARE "/watchable/w", NULL);
	cr_assert_eq(add_as(SCHEMA_1X, &a, &s, 1), EINVAL, "1.x has no such driver");
	s = make("watchable-bind", "/run/src", "bind", SHARE "/watchable/w", NULL);
	cr_assert_eq(add_as(SCHEMA_3X, &a, &s, 1), 0, "%s", outcome.msg);
	cr_assert_eq(access(SHARE "/watchable/w/sub", F_OK), 0);
	s = make("virtio-fs", "kataShared", "tmpfs", "/run/src", NULL);
	cr_assert_eq(add_as(SCHEMA_3X, &a, &s, 1), 0, "%s", outcome.msg);
	release(&a);
	cr_assert_eq(mounts_at("/run/src"), 0);
}

Test(storage, names)
{
	size_t n = 0;

	while (storage_driver_name(n))
		n++;
	cr_assert_eq(n, 13);
}

Test(confine, cleans)
{
	char rel[LIMIT_PATH];

	cr_assert_eq(confine_clean("/run", "/run//a/./b/../c/", rel), 0);
	cr_assert_str_eq(rel, "a/c");
	cr_assert_eq(confine_clean("/run", "/var/run/a", rel), 0);
	cr_assert_str_eq(rel, "a");
	cr_assert_eq(confine_clean("/run", "/x/../../../run/a", rel), 0);
	cr_assert_eq(confine_clean("/run", "/run/a/../..", rel), -EPERM);
	cr_assert_eq(confine_clean("/run/b", "/run/bc/d", rel), -EPERM);
	cr_assert_eq(confine_clean("/run", "", rel), -EPERM);
	cr_assert(path_is_below("a/b", "a"));
	cr_assert_not(path_is_below("ab", "a"));
}
