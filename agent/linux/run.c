/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Running programs. State: none but of the one that runs.
 */
#include "linux/run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/loop.h"

#define RUN_PATH     "/usr/sbin:/sbin:/usr/bin:/bin"
#define RUN_PATH_MAX 64	 /* of a program that is looked for there */
#define ERRORS_KEPT  300 /* bytes of its errors that go into ours */
#define ASK_MS	     20	 /* how often a program without a pidfd is looked after */

struct running {
	const struct run *run;
	pid_t pid;
	int pidfd; /* FD_NONE where a filter forbids it: then its end is asked for */
	int in, out, errors;
	size_t fed, kept;
	int64_t deadline; /* -1: none */
	char text[ERRORS_KEPT + 1];
};

/* PATH is of no use in an agent that is PID 1. */
static int run_find(const char *name, char path[RUN_PATH_MAX], struct err *err)
{
	for (const char *dir = RUN_PATH; *dir; dir += strcspn(dir, ":"), dir += *dir == ':') {
		int n = snprintf(path, RUN_PATH_MAX, "%.*s/%s", (int)strcspn(dir, ":"), dir, name);

		if (n < RUN_PATH_MAX && access(path, X_OK) == 0)
			return 0;
	}
	return err_set(err, ENOENT, "%s is not installed in this guest (looked in " RUN_PATH ")",
		       name);
}

static bool has_group(const struct run *run)
{
	return run->timeout_ms > 0 || run->stop;
}

/* What is to protect an agent, or to give it room, is not a program's. */
static void shed_privilege(const struct rlimit *nofile)
{
	static const char file[] = "/proc/self/oom_score_adj";
	char score[16];

	if (fdio_read_file(AT_FDCWD, file, score, sizeof(score)) > 0 && score[0] == '-')
		(void)fdio_write_file(AT_FDCWD, file, "0");
	if (nofile)
		(void)setrlimit(RLIMIT_NOFILE, nofile);
}

static _Noreturn void exec_program(const struct run *run, const char *path, const int fds[3])
{
	static char *const usual[] = { (char *)(uintptr_t) "PATH=" RUN_PATH, NULL };
	int none[1] = { FD_NONE };
	sigset_t signals;

	if (has_group(run))
		(void)setpgid(0, 0);
	shed_privilege(run->nofile);
	(void)signal(SIGPIPE, SIG_DFL);
	(void)sigemptyset(&signals);
	(void)sigprocmask(SIG_SETMASK, &signals, NULL);
	for (int i = 0; i < 3; i++) {
		if (dup2(fds[i], i) < 0)
			_exit(126);
	}
	fdio_close_except(none, 1);
	if (run->cwd && chdir(run->cwd) < 0 && chdir("/") < 0)
		_exit(126);
	(void)execve(path, run->argv, run->envp ? run->envp : usual);
	(void)dprintf(STDERR_FILENO, "%s", strerror(errno));
	_exit(127);
}

static int run_kill(const struct running *p, int why)
{
	int status;

	if (has_group(p->run))
		(void)kill(-p->pid, SIGKILL);
	(void)kill(p->pid, SIGKILL);
	(void)waitpid(p->pid, &status, 0);
	return why;
}

static void run_feed(struct running *p)
{
	ssize_t n = write(p->in, (const char *)p->run->input + p->fed, p->run->input_len - p->fed);

	if (n > 0)
		p->fed += (size_t)n;
	/* It need not read. */
	if (p->fed == p->run->input_len || (n < 0 && errno != EAGAIN && errno != EINTR))
		auto_closep(&p->in);
}

/* Takes what can be read from *fd; its end closes it. 0 or -errno. */
static int run_listen(struct running *p, int *fd, struct buf *keep)
{
	char chunk[4096];
	ssize_t n = read(*fd, chunk, sizeof(chunk));
	size_t room = ERRORS_KEPT - p->kept;

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		auto_closep(fd);
	if (n <= 0)
		return 0;
	if (keep)
		return buf_len(keep) + (size_t)n > p->run->max_out
			       ? -EFBIG
			       : buf_append(keep, chunk, (size_t)n);
	if ((size_t)n < room)
		room = (size_t)n;
	(void)memcpy(p->text + p->kept, chunk, room);
	p->kept += room;
	return 0;
}

/* Feeds and listens until the program ends or is to be ended. Its raw status, or -errno. */
static int run_follow(struct running *p)
{
	enum { END, STOP, IN, OUT, ERRORS, COUNT };
	int status, r = 0;

	for (;;) {
		struct pollfd fds[COUNT] = {
			[END] = { .fd = p->pidfd, .events = POLLIN },
			[STOP] = { .fd = p->run->stop ? *p->run->stop : FD_NONE, .events = POLLIN },
			[IN] = { .fd = p->in, .events = POLLOUT },
			[OUT] = { .fd = p->out, .events = POLLIN },
			[ERRORS] = { .fd = p->errors, .events = POLLIN },
		};
		int64_t ms = p->deadline < 0 ? -1 : p->deadline - loop_now_ms();

		if (p->deadline >= 0 && ms <= 0)
			return run_kill(p, -ETIMEDOUT);
		if (p->pidfd < 0 && (ms < 0 || ms > ASK_MS))
			ms = ASK_MS;
		if (poll(fds, COUNT, (int)ms) < 0 && errno != EINTR)
			return run_kill(p, -errno);
		if (fds[STOP].revents)
			return run_kill(p, -ECANCELED);
		if (fds[IN].revents)
			run_feed(p);
		if (fds[OUT].revents)
			r = run_listen(p, &p->out, p->run->out);
		if (fds[ERRORS].revents)
			(void)run_listen(p, &p->errors, NULL);
		if (r < 0)
			return run_kill(p, r);
		/* What it said before its end counts, not what a daemon of its says later. */
		if (fds[OUT].revents & POLLIN ||
		    (fds[ERRORS].revents & POLLIN && p->kept < ERRORS_KEPT))
			continue;
		if (fds[END].revents || p->pidfd < 0) {
			pid_t pid = waitpid(p->pid, &status, WNOHANG);

			if (pid != 0)
				return pid < 0 ? -errno : status;
		}
	}
}

static int run_pipe(int *read_end, int *write_end)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	*read_end = fds[0];
	*write_end = fds[1];
	return 0;
}

/* Starts it and follows it. Its raw status, or -errno. */
static int run_start(struct running *p, const char *path)
{
	AUTO_CLOSE int in = FD_NONE;
	AUTO_CLOSE int out = FD_NONE;
	AUTO_CLOSE int errors = FD_NONE;
	int r = run_pipe(&in, &p->in);

	if (r == 0)
		r = run_pipe(&p->errors, &errors);
	if (r == 0 && p->run->out)
		r = run_pipe(&p->out, &out);
	if (r < 0)
		return r;
	(void)fdio_nonblock(p->in, true);
	p->pid = fork();
	if (p->pid < 0)
		return -errno;
	if (p->pid == 0)
		exec_program(p->run, path, (int[]){ in, p->run->out ? out : errors, errors });
	p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
	auto_closep(&in);
	auto_closep(&out);
	auto_closep(&errors);
	if (p->run->input_len == 0)
		auto_closep(&p->in);
	return run_follow(p);
}

int run_program(const struct run *run, struct err *err)
{
	int64_t deadline = run->timeout_ms > 0 ? loop_now_ms() + run->timeout_ms : -1;
	struct running p = { .run = run,
			     .pidfd = FD_NONE,
			     .in = FD_NONE,
			     .out = FD_NONE,
			     .errors = FD_NONE,
			     .deadline = deadline };
	const char *path = run->path ? run->path : run->argv[0];
	void (*on_pipe)(int);
	char found[RUN_PATH_MAX];
	int status;

	if (!strchr(path, '/')) {
		if (run_find(path, found, err) < 0)
			return -err->code;
		path = found;
	}
	on_pipe = signal(SIGPIPE, SIG_IGN); /* a program that does not read would end us */
	status = run_start(&p, path);
	(void)signal(SIGPIPE, on_pipe);
	auto_closep(&p.pidfd);
	auto_closep(&p.in);
	auto_closep(&p.out);
	auto_closep(&p.errors);
	if (status == -EFBIG)
		return err_set(err, EFBIG, "it said more than %zu bytes", run->max_out);
	if (status < 0)
		return err_sys(err, -status, "run %s", path);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return err_set(err, ECHILD, "%s %d%s%s", WIFEXITED(status) ? "exit status" : "signal",
		       WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status),
		       p.kept ? ", output: " : "", p.text);
}
