// SPDX-License-Identifier: Apache-2.0
// The kernel's part of what the agent does, and nothing else: no RPC, no checks, no clean-up. What the agent takes
// beyond it in the same guest is the agent's own.
//
//   floor create ROOTFS N   a process in new namespaces and a cgroup of its own, with /proc, /dev and a pivoted root,
//                           up to its execve of /bin/true; the median of N, in microseconds
//   floor exec ROOTFS N     the same for a process that joins such a one
//   floor out WHERE MIB     writes of 64 KiB to WHERE, the host's vsock port or the path of a Unix socket; microseconds
//   floor in WHERE MIB      reads of 64 KiB from it
//
// To be run as root with all capabilities, in the agent's namespaces.
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
/* behind sys/socket.h */
#include <linux/vm_sockets.h>

#define NEW (CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS)

static int64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void must(int r, const char *what)
{
	if (r < 0) {
		fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
		_exit(1);
	}
}

static pid_t clone3(uint64_t flags, int *pidfd)
{
	struct clone_args a = { .flags = flags | CLONE_PIDFD,
				.pidfd = (uint64_t)(uintptr_t)pidfd,
				.exit_signal = SIGCHLD };

	return (pid_t)syscall(SYS_clone3, &a, sizeof(a));
}

static const char *const hierarchies[] = { "cpu,cpuacct", "cpuset",  "memory", "devices",
					   "freezer",	  "blkio",   "pids",   "net_cls,net_prio",
					   "perf_event",  "hugetlb", "cpu",    "cpuacct",
					   "unified",	  "systemd" };

/* Into a cgroup of that name in each hierarchy that there is; made before. */
static void cgroups(const char *name, void (*fn)(const char *dir))
{
	char dir[200];

	for (size_t i = 0; i < sizeof(hierarchies) / sizeof(hierarchies[0]); i++) {
		snprintf(dir, sizeof(dir), "/sys/fs/cgroup/%s", hierarchies[i]);
		if (access(dir, F_OK) < 0)
			continue;
		snprintf(dir, sizeof(dir), "/sys/fs/cgroup/%s/%s", hierarchies[i], name);
		fn(dir);
	}
}

static void cgroup_make(const char *dir)
{
	char file[250], text[256];
	ssize_t n;
	int from, to;

	(void)mkdir(dir, 0755);
	static const char *const copied[] = { "cpuset.cpus", "cpuset.mems" };
	for (int i = 0; i < 2; i++) {
		snprintf(file, sizeof(file), "%s/../%s", dir, copied[i]);
		from = open(file, O_RDONLY | O_CLOEXEC);
		if (from < 0)
			return;
		n = read(from, text, sizeof(text));
		close(from);
		snprintf(file, sizeof(file), "%s/%s", dir, copied[i]);
		to = open(file, O_WRONLY | O_CLOEXEC);
		if (to >= 0 && n > 0)
			(void)!write(to, text, (size_t)n);
		close(to);
	}
}

static void cgroup_enter(const char *dir)
{
	char file[250];
	int fd;

	snprintf(file, sizeof(file), "%s/cgroup.procs", dir);
	fd = open(file, O_WRONLY | O_CLOEXEC);
	if (fd >= 0)
		(void)!write(fd, "0", 1);
	close(fd);
}

static void cgroup_gone(const char *dir)
{
	(void)rmdir(dir);
}

static void become(const char *const argv[])
{
	execve(argv[0], (char *const *)(uintptr_t)argv, (char *const[]){ NULL });
	must(-1, argv[0]);
}

static void container(const char *rootfs, const char *const argv[])
{
	static const struct {
		const char *name;
		unsigned int minor;
	} nodes[] = { { "dev/null", 3 },
		      { "dev/zero", 5 },
		      { "dev/full", 7 },
		      { "dev/random", 8 },
		      { "dev/urandom", 9 } };

	cgroups("floor", cgroup_enter);
	(void)setsid();
	must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "private");
	must(mount(rootfs, rootfs, NULL, MS_BIND | MS_REC, NULL), "bind");
	must(chdir(rootfs), rootfs);
	must(mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL), "proc");
	must(mount("tmpfs", "dev", "tmpfs", MS_NOSUID, "mode=755"), "dev");
	for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++)
		must(mknod(nodes[i].name, S_IFCHR | 0666, makedev(1, nodes[i].minor)),
		     nodes[i].name);
	must(mkdir("dev/pts", 0755), "dev/pts");
	must(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance"), "devpts");
	must((int)syscall(SYS_pivot_root, ".", "."), "pivot_root");
	must(umount2(".", MNT_DETACH), "old root");
	must(chdir("/"), "/");
	must(sethostname("floor", 5), "hostname");
	become(argv);
}

/* Until execve: the pipe, close-on-exec, ends. */
static void await_exec(int fd)
{
	char c;

	(void)!read(fd, &c, 1);
	close(fd);
}

static int by_size(const void *a, const void *b)
{
	const int64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void runs(const char *rootfs, int n, int execs)
{
	static const char *const sleeps[] = { "/bin/sleep", "1000", NULL }, *const ends[] = {
		"/bin/true", NULL
	};
	int64_t *took = calloc((size_t)n, sizeof(*took));
	int holder = -1, fds[2], pidfd;
	pid_t held = 0, pid;

	if (execs) {
		must(pipe2(fds, O_CLOEXEC), "pipe");
		cgroups("floor", cgroup_make);
		held = clone3(NEW, &holder);
		must(held, "clone3");
		if (held == 0)
			container(rootfs, sleeps);
		close(fds[1]);
		await_exec(fds[0]);
	}
	for (int i = 0; i < n; i++) {
		int64_t began = now_us();

		must(pipe2(fds, O_CLOEXEC), "pipe");
		if (!execs) {
			cgroups("floor", cgroup_make);
			pid = clone3(NEW, &pidfd);
			if (pid == 0)
				container(rootfs, ends);
		} else {
			pid = clone3(0, &pidfd);
			if (pid == 0) {
				cgroups("floor", cgroup_enter);
				must(setns(holder, NEW), "setns");
				pid = clone3(0, &pidfd);
				if (pid == 0)
					become(ends);
				(void)waitpid(pid, NULL, 0);
				_exit(0);
			}
		}
		must(pid, "clone3");
		close(fds[1]);
		await_exec(fds[0]);
		if (execs)
			(void)waitpid(pid, NULL, 0);
		took[i] = now_us() - began;
		if (!execs) {
			(void)waitpid(pid, NULL, 0);
			cgroups("floor", cgroup_gone);
		}
		close(pidfd);
	}
	if (held) {
		(void)kill(held, SIGKILL);
		(void)waitpid(held, NULL, 0);
		cgroups("floor", cgroup_gone);
	}
	qsort(took, (size_t)n, sizeof(*took), by_size);
	printf("%lld\n", (long long)took[n / 2]);
	free(took);
}

static int dial(const char *where)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct sockaddr_vm vm = { .svm_family = AF_VSOCK,
				  .svm_cid = VMADDR_CID_HOST,
				  .svm_port = (unsigned int)atoi(where) };
	int is_unix = *where == '/',
	    fd = socket(is_unix ? AF_UNIX : AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

	must(fd, "socket");
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", where);
	must(is_unix ? connect(fd, (struct sockaddr *)&un, sizeof(un))
		     : connect(fd, (struct sockaddr *)&vm, sizeof(vm)),
	     where);
	return fd;
}

static void stream(const char *where, size_t bytes, int out)
{
	static char chunk[64 << 10];
	int fd = dial(where);
	int64_t began;

	began = now_us();
	for (size_t done = 0; done < bytes;) {
		ssize_t n = out ? write(fd, chunk, sizeof(chunk)) : read(fd, chunk, sizeof(chunk));

		must(n > 0 ? 0 : -1, "stream");
		done += (size_t)n;
	}
	printf("%lld\n", (long long)(now_us() - began));
	fflush(stdout);
	shutdown(fd, SHUT_WR);
	(void)!read(fd, chunk, 1); /* until the host has it all */
	close(fd);
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	if (strcmp(argv[1], "create") == 0 || strcmp(argv[1], "exec") == 0)
		runs(argv[2], atoi(argv[3]), argv[1][0] == 'e');
	else
		stream(argv[2], (size_t)atoi(argv[3]) << 20, argv[1][0] == 'o');
	return 0;
}
