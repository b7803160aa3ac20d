/*
 * Running hooks. Made for a forked worker or for the container's child: it waits for its own
 * children by pid, which only a process without a reaper may do.
 */
#include "engine/hooks.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/auto.h"
#include "lib/fdio.h"
#include "lib/str.h"
#include "loop/loop.h"

#define OUTPUT_KEPT 200 /* bytes of a failed hook's output that go into the error */

static void json_string(FILE *f, const char *s)
{
	(void)fputc('"', f);
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			(void)fprintf(f, "\\%c", c);
		else if (c < 0x20)
			(void)fprintf(f, "\\u%04x", c);
		else
			(void)fputc(c, f);
	}
	(void)fputc('"', f);
}

/* The state's JSON in memory from malloc, or NULL. */
static char *state_json(const struct hook_state *st)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return NULL;
	(void)fputs("{\"ociVersion\":", f);
	json_string(f, str_empty(st->version) ? "1.0.2" : st->version);
	(void)fputs(",\"id\":", f);
	json_string(f, st->id);
	(void)fputs(",\"status\":", f);
	json_string(f, st->status);
	if (st->pid)
		(void)fprintf(f, ",\"pid\":%d", (int)st->pid);
	(void)fputs(",\"bundle\":", f);
	json_string(f, st->bundle);
	for (size_t i = 0; i < st->n_annotations; i++) {
		(void)fputs(i ? "," : ",\"annotations\":{", f);
		json_string(f, st->annotations[i]->key);
		(void)fputc(':', f);
		json_string(f, st->annotations[i]->value);
	}
	(void)fputs(st->n_annotations ? "}}" : "}", f);
	if (fclose(f) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

static _Noreturn void exec_hook(const Grpc__Hook *h, int in, int out)
{
	char *fallback[] = { h->path, NULL };
	char **argv = calloc(h->n_args + 1, sizeof(*argv)),
	     **envp = calloc(h->n_env + 1, sizeof(*envp));
	int none[1] = { FD_NONE };
	sigset_t signals;

	if (!argv || !envp)
		_exit(126);
	for (size_t i = 0; i < h->n_args; i++)
		argv[i] = h->args[i];
	for (size_t i = 0; i < h->n_env; i++)
		envp[i] = h->env[i];
	(void)setpgid(0, 0);
	(void)signal(SIGPIPE, SIG_DFL);
	(void)sigemptyset(&signals);
	(void)sigprocmask(SIG_SETMASK, &signals, NULL);
	if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
		_exit(126);
	fdio_close_except(none, 1);
	(void)execve(h->path, h->n_args ? argv : fallback, envp);
	(void)fprintf(stderr, "%s", strerror(errno));
	(void)fflush(stderr);
	_exit(127);
}

struct running {
	pid_t pid;
	int pidfd, in, out; /* in and out: our ends */
	int stop;	    /* readable: somebody wants an end of it */
	int64_t deadline;   /* -1: none */
};

static int kill_hook(const struct running *h, int why)
{
	int status;

	(void)kill(-h->pid, SIGKILL);
	(void)kill(h->pid, SIGKILL);
	(void)waitpid(h->pid, &status, 0);
	return why;
}

/*
 * Feeds the state, gathers the output until the hook ends or its time is up. Its raw status, or
 * -errno.
 */
static int follow(const struct running *h, const char *json, char *kept)
{
	size_t left = strlen(json), have = 0;
	AUTO_CLOSE int feed = h->in;
	int status;

	for (;;) {
		struct pollfd p[4] = { { .fd = h->pidfd, .events = POLLIN },
				       { .fd = h->out, .events = POLLIN },
				       { .fd = feed, .events = POLLOUT },
				       { .fd = h->stop, .events = POLLIN } };
		int64_t ms = h->deadline < 0 ? -1 : h->deadline - loop_now_ms();
		char drop[512];
		ssize_t n;

		if (h->deadline >= 0 && ms <= 0)
			return kill_hook(h, -ETIMEDOUT);
		if (poll(p, ARRAY_LEN(p), (int)ms) < 0 && errno != EINTR)
			return kill_hook(h, -errno);
		if (p[3].revents)
			return kill_hook(h, -ECANCELED);
		if (p[2].revents) {
			n = write(feed, json + strlen(json) - left, left);
			if (n > 0)
				left -= (size_t)n;
			if (left == 0 || (n < 0 && errno != EAGAIN))
				auto_closep(&feed); /* a hook need not read it */
		}
		if (p[1].revents & POLLIN) {
			n = read(h->out, drop, sizeof(drop));
			for (ssize_t i = 0; i < n && have < OUTPUT_KEPT; i++)
				kept[have++] = drop[i];
			kept[have] = '\0';
		} else if (p[0].revents) {
			/*
			 * Dead, and nothing more to read: what a daemon of its writes later is its
			 * own business.
			 */
			return waitpid(h->pid, &status, 0) < 0 ? -errno : status;
		}
	}
}

static int run_one(const Grpc__Hook *h, const char *json, int stop, struct err *err)
{
	int64_t deadline =
		h->timeout > 0 && h->timeout < 1000000 ? loop_now_ms() + h->timeout * 1000 : -1;
	AUTO_CLOSE int in_r = FD_NONE;
	AUTO_CLOSE int out_r = FD_NONE;
	AUTO_CLOSE int out_w = FD_NONE;
	AUTO_CLOSE int pidfd = FD_NONE;
	char kept[OUTPUT_KEPT + 1] = "";
	int fds[2], in_w, status;
	pid_t pid;

	if (h->path[0] != '/')
		return err_set(err, EINVAL, "hook path '%s' is not absolute", h->path);
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(err, errno, "hook '%s'", h->path);
	in_r = fds[0];
	in_w = fds[1];
	(void)fdio_nonblock(in_w, true);
	if (pipe2(fds, O_CLOEXEC) < 0) {
		(void)close(in_w);
		return err_sys(err, errno, "hook '%s'", h->path);
	}
	out_r = fds[0];
	out_w = fds[1];
	pid = fork();
	if (pid == 0)
		exec_hook(h, in_r, out_w);
	if (pid > 0)
		pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	auto_closep(&in_r);
	auto_closep(&out_w);
	if (pid < 0 || pidfd < 0) {
		(void)close(in_w);
		return err_sys(err, errno, "hook '%s'", h->path);
	}
	status = follow(&(struct running){ pid, pidfd, in_w, out_r, stop, deadline }, json, kept);
	if (status == -ETIMEDOUT)
		return err_set(err, ETIMEDOUT, "hook '%s' ran past its timeout of %lld s", h->path,
			       (long long)h->timeout);
	if (status < 0)
		return err_sys(err, -status, "hook '%s'", h->path);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return err_set(err, ECHILD, "error running hook '%s': %s %d%s%s", h->path,
		       WIFEXITED(status) ? "exit status" : "signal",
		       WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status),
		       *kept ? ", output: " : "", kept);
}

int hooks_run(Grpc__Hook *const *hooks, size_t n, const char *kind, const struct hook_state *state,
	      struct err *err)
{
	AUTO_FREE char *json = NULL;
	AUTO_CLOSE int stop = FD_NONE;
	sigset_t term;
	int r;

	if (n == 0)
		return 0;
	/* SIGPIPE would end us when a hook does not read, SIGTERM without taking the hook along. */
	(void)signal(SIGPIPE, SIG_IGN);
	(void)sigemptyset(&term);
	(void)sigaddset(&term, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &term, NULL);
	stop = signalfd(-1, &term, SFD_CLOEXEC);
	json = state_json(state);
	if (!json)
		return err_sys(err, ENOMEM, "%s hooks", kind);
	for (size_t i = 0; i < n; i++) {
		r = run_one(hooks[i], json, stop, err);
		if (r < 0) {
			err_wrap(err, "%s hook %zu", kind, i);
			return r;
		}
	}
	return 0;
}
