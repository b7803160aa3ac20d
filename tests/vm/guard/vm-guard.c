/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vm-guard: keeps one process of a test machine, and sees to its end.
 *
 * boot.sh starts a guest and returns, so nobody would notice when the test that wanted the guest
 * dies. The guard does: it ends its command when the watched process is gone or when it is told
 * to, and the kernel ends the command should the guard itself be killed. In DIR it keeps
 *
 *   NAME.lock    locked while the guard lives; holds its process id
 *   NAME.pid     the command's process id, while that runs
 *   NAME.status  how the command ended: "exit N" or "signal N"
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { GRACE_MS = 3000 }; /* between SIGTERM and SIGKILL */

static void usage(FILE *out)
{
	fputs("Usage: vm-guard --dir DIR --name NAME [--watch PID] -- COMMAND [ARG]...\n"
	      "\n"
	      "Runs COMMAND until it ends, process PID is gone, or a SIGTERM, SIGINT or SIGHUP comes;\n"
	      "then ends it with SIGTERM, after 3 s with SIGKILL. DIR/NAME.lock is locked meanwhile\n"
	      "and holds the guard's process id, DIR/NAME.pid the command's; DIR/NAME.status tells\n"
	      "afterwards how the command ended.\n",
	      out);
}

static _Noreturn __attribute__((format(printf, 2, 3))) void die(int err, const char *fmt, ...)
{
	va_list ap;

	fputs("vm-guard: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "%s%s\n", err ? ": " : "", err ? strerror(err) : "");
	exit(1);
}

struct guard {
	const char *dir, *name;
	char **argv;
	pid_t watch, child;
	int watch_fd, child_fd, signal_fd, lock_fd;
};

static void path_of(const struct guard *g, const char *suffix, char *path, size_t size)
{
	int n = snprintf(path, size, "%s/%s.%s", g->dir, g->name, suffix);

	if (n < 0 || (size_t)n >= size)
		die(ENAMETOOLONG, "%s", g->dir);
}

static int open_file(const struct guard *g, const char *suffix, int flags)
{
	char path[4096];
	int fd;

	path_of(g, suffix, path, sizeof(path));
	fd = open(path, flags | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0)
		die(errno, "cannot write '%s'", path);
	return fd;
}

static void remove_file(const struct guard *g, const char *suffix)
{
	char path[4096];

	path_of(g, suffix, path, sizeof(path));
	(void)unlink(path);
}

static void write_file(const struct guard *g, const char *suffix, const char *word, int n)
{
	int fd = open_file(g, suffix, O_WRONLY | O_TRUNC);

	(void)dprintf(fd, "%s%d\n", word, n);
	close(fd);
}

static int open_pidfd(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

static void parse(int argc, char **argv, struct guard *g)
{
	static const struct option longs[] = {
		{ "dir", required_argument, NULL, 'd' },
		{ "name", required_argument, NULL, 'n' },
		{ "watch", required_argument, NULL, 'w' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "+d:n:w:h", longs, NULL)) != -1) {
		switch (opt) {
		case 'd':
			g->dir = optarg;
			break;
		case 'n':
			g->name = optarg;
			break;
		case 'w':
			g->watch = (pid_t)strtol(optarg, NULL, 10);
			break;
		case 'h':
			usage(stdout);
			exit(0);
		default:
			exit(2);
		}
	}
	g->argv = argv + optind;
	if (!g->dir || !g->name || !g->argv[0]) {
		usage(stderr);
		exit(2);
	}
}

static void take_lock(struct guard *g)
{
	g->lock_fd = open_file(g, "lock", O_RDWR);
	if (flock(g->lock_fd, LOCK_EX | LOCK_NB) < 0)
		die(errno == EWOULDBLOCK ? 0 : errno, "another '%s' runs in '%s'", g->name, g->dir);
	(void)!ftruncate(g->lock_fd, 0);
	(void)dprintf(g->lock_fd, "%d\n", getpid());
}

static void catch_signals(struct guard *g, sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
	sigprocmask(SIG_BLOCK, set, NULL);
	g->signal_fd = signalfd(-1, set, SFD_CLOEXEC);
	if (g->signal_fd < 0)
		die(errno, "signalfd");
}

static void start(struct guard *g, const sigset_t *set)
{
	pid_t me = getpid();

	g->child = fork();
	if (g->child < 0)
		die(errno, "fork");
	if (g->child == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != me)
			_exit(127);
		sigprocmask(SIG_UNBLOCK, set, NULL);
		execvp(g->argv[0], g->argv);
		fprintf(stderr, "vm-guard: cannot run '%s': %s\n", g->argv[0], strerror(errno));
		_exit(127);
	}
	g->child_fd = open_pidfd(g->child);
	if (g->child_fd < 0) {
		(void)kill(g->child, SIGKILL);
		die(errno, "pidfd_open (needs Linux 5.3)");
	}
	write_file(g, "pid", "", g->child);
}

static void end_child(const struct guard *g)
{
	struct pollfd p = { .fd = g->child_fd, .events = POLLIN };

	(void)kill(g->child, SIGTERM);
	if (poll(&p, 1, GRACE_MS) <= 0)
		(void)kill(g->child, SIGKILL);
}

static int report(const struct guard *g)
{
	int status = 0;

	while (waitpid(g->child, &status, 0) < 0 && errno == EINTR)
		;
	remove_file(g, "pid");
	if (WIFSIGNALED(status)) {
		write_file(g, "status", "signal ", WTERMSIG(status));
		return 128 + WTERMSIG(status);
	}
	write_file(g, "status", "exit ", WEXITSTATUS(status));
	return WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
	struct guard g = { .watch_fd = -1 };
	sigset_t set;

	parse(argc, argv, &g);
	/* Whoever waits for the end of a pipe that boot.sh was given must not wait for us. */
	(void)syscall(SYS_close_range, 3u, ~0u, 0u);
	take_lock(&g);
	remove_file(&g, "status");
	catch_signals(&g, &set);
	if (g.watch > 0) {
		g.watch_fd = open_pidfd(g.watch);
		if (g.watch_fd < 0)
			die(errno, "cannot watch process %d", g.watch);
	}
	start(&g, &set);

	struct pollfd p[] = {
		{ .fd = g.child_fd, .events = POLLIN },
		{ .fd = g.signal_fd, .events = POLLIN },
		{ .fd = g.watch_fd, .events = POLLIN },
	};
	while (poll(p, sizeof(p) / sizeof(p[0]), -1) < 0 && errno == EINTR)
		;
	if (!p[0].revents)
		end_child(&g);
	return report(&g);
}
