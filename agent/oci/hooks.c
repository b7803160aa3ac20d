/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Running hooks. Made for a forked worker or for the container's child: it waits for its own
 * children by pid, which only a process without a reaper may do.
 */
#include "oci/hooks.h"

#include <assert.h>
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

#include "base/auto.h"
#include "base/fdio.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/str.h"
#include "base/loop.h"

#define OUTPUT_KEPT 200		  /* bytes of a failed hook's output that go into the error */
#define ASK_MS	    20		  /* how often a hook without a pidfd is looked after */
#define STATE_MAX   LIMIT_MESSAGE /* bytes of JSON that a hook is told */

/* clang-format off */
static const struct {
	const char *name, *status;
	size_t count, list; /* where they are in Grpc__Hooks */
	bool lax;
} kinds[] = {
#define ROW(member) offsetof(Grpc__Hooks, n_##member), offsetof(Grpc__Hooks, member)
	[HOOK_PRESTART] =	  { "prestart",	       "creating", ROW(prestart),	 false },
	[HOOK_CREATE_RUNTIME] =	  { "createRuntime",   "creating", ROW(createruntime),	 false },
	[HOOK_CREATE_CONTAINER] = { "createContainer", "creating", ROW(createcontainer), false },
	[HOOK_START_CONTAINER] =  { "startContainer",  "created",  ROW(startcontainer),	 false },
	[HOOK_POSTSTART] =	  { "poststart",       "running",  ROW(poststart),	 true },
	[HOOK_POSTSTOP] =	  { "poststop",	       "stopped",  ROW(poststop),	 true },
#undef ROW
};
/* clang-format on */
static_assert(ARRAY_LEN(kinds) == HOOK_KINDS, "a row for each kind");

static const void *member(const Grpc__Spec *spec, size_t offset)
{
	return (const char *)spec->hooks + offset;
}

size_t hooks_count(const Grpc__Spec *spec, enum hook_kind kind)
{
	return spec->hooks ? *(const size_t *)member(spec, kinds[kind].count) : 0;
}

/* The state's JSON in memory from malloc, or NULL. */
static char *state_json(const struct hook_ctx *ctx, enum hook_kind kind)
{
	const Grpc__Spec *spec = ctx->spec;
	char *text = NULL, number[32];
	size_t len;
	struct json j = { .f = open_memstream(&text, &len), .left = STATE_MAX };
	int r;

	if (!j.f)
		return NULL;
	json_text(&j, "{\"ociVersion\":");
	json_string(&j, str_empty(spec->version) ? "1.0.2" : spec->version);
	json_text(&j, ",\"id\":");
	json_string(&j, ctx->id);
	json_text(&j, ",\"status\":");
	json_string(&j, kinds[kind].status);
	(void)snprintf(number, sizeof(number), ",\"pid\":%d", (int)ctx->pid);
	json_text(&j, ctx->pid ? number : "");
	json_text(&j, ",\"bundle\":");
	json_string(&j, ctx->bundle);
	for (size_t i = 0; i < spec->n_annotations; i++) {
		json_text(&j, i ? "," : ",\"annotations\":{");
		json_string(&j, spec->annotations[i]->key);
		json_text(&j, ":");
		json_string(&j, spec->annotations[i]->value);
	}
	json_text(&j, spec->n_annotations ? "}}" : "}");
	r = json_end(&j);
	if (fclose(j.f) != 0 || r < 0) {
		free(text);
		return NULL;
	}
	return text;
}

/* What the hooks of one kind have in common. */
struct run {
	const char *json;
	const char *cwd; /* NULL: as it is */
	int64_t timeout; /* seconds, for hooks that name none; 0: none either */
	int stop;	 /* readable: somebody wants an end of it */
};

static _Noreturn void exec_hook(const struct run *run, const Grpc__Hook *h, int in, int out)
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
	if (run->cwd && chdir(run->cwd) < 0 && chdir("/") < 0)
		_exit(126);
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
	int pidfd;	  /* FD_NONE where a filter forbids it: then its end is asked for */
	int in, out;	  /* our ends */
	int stop;	  /* readable: somebody wants an end of it */
	int64_t deadline; /* -1: none */
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
	int out = h->out, status;

	for (;;) {
		struct pollfd p[4] = { { .fd = h->pidfd, .events = POLLIN },
				       { .fd = out, .events = POLLIN },
				       { .fd = feed, .events = POLLOUT },
				       { .fd = h->stop, .events = POLLIN } };
		int64_t ms = h->deadline < 0 ? -1 : h->deadline - loop_now_ms();
		char drop[512];
		ssize_t n;

		if (h->deadline >= 0 && ms <= 0)
			return kill_hook(h, -ETIMEDOUT);
		if (h->pidfd < 0 && (ms < 0 || ms > ASK_MS))
			ms = ASK_MS;
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
		if (p[1].revents & POLLIN && !(p[0].revents && have == OUTPUT_KEPT)) {
			n = read(out, drop, sizeof(drop));
			for (ssize_t i = 0; i < n && have < OUTPUT_KEPT; i++)
				kept[have++] = drop[i];
			kept[have] = '\0';
			continue;
		}
		if (p[1].revents & POLLHUP)
			out = FD_NONE; /* it has closed its output, and may go on */
		/* What a daemon of its writes later is its own business. */
		if (p[0].revents || h->pidfd < 0) {
			n = waitpid(h->pid, &status, WNOHANG);
			if (n != 0)
				return n < 0 ? -errno : status;
		}
	}
}

static int run_one(const struct run *run, const Grpc__Hook *h, struct err *err)
{
	int64_t timeout = h->timeout ? h->timeout : run->timeout;
	int64_t deadline = timeout > 0 && timeout < 1000000 ? loop_now_ms() + timeout * 1000 : -1;
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
		exec_hook(run, h, in_r, out_w);
	if (pid > 0)
		pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	auto_closep(&in_r);
	auto_closep(&out_w);
	if (pid < 0) {
		(void)close(in_w);
		return err_sys(err, errno, "hook '%s'", h->path);
	}
	status = follow(&(struct running){ pid, pidfd, in_w, out_r, run->stop, deadline },
			run->json, kept);
	if (status == -ETIMEDOUT)
		return err_set(err, ETIMEDOUT, "hook '%s' ran past its timeout of %lld s", h->path,
			       (long long)timeout);
	if (status < 0)
		return err_sys(err, -status, "hook '%s'", h->path);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return err_set(err, ECHILD, "error running hook '%s': %s %d%s%s", h->path,
		       WIFEXITED(status) ? "exit status" : "signal",
		       WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status),
		       *kept ? ", output: " : "", kept);
}

int hooks_run(const struct hook_ctx *ctx, enum hook_kind kind, struct err *err)
{
	size_t n = hooks_count(ctx->spec, kind);
	bool lax = ctx->lax || kinds[kind].lax;
	AUTO_FREE char *json = NULL;
	AUTO_CLOSE int stop = FD_NONE;
	struct run run = { .timeout = ctx->lax ? HOOK_TIMEOUT_3X : 0 };
	Grpc__Hook *const *hooks;
	void (*on_pipe)(int);
	sigset_t term, before;
	int r = 0;

	if (n == 0)
		return 0;
	run.json = json = state_json(ctx, kind);
	if (!json)
		return err_sys(err, ENOMEM, "%s hooks", kinds[kind].name);
	/* The bundle is no place in the container. */
	if (kind != HOOK_START_CONTAINER)
		run.cwd = ctx->bundle;
	/* SIGPIPE would end us when a hook does not read, SIGTERM without taking the hook along. */
	on_pipe = signal(SIGPIPE, SIG_IGN);
	(void)sigemptyset(&term);
	(void)sigaddset(&term, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &term, &before);
	run.stop = stop = signalfd(-1, &term, SFD_CLOEXEC);
	hooks = *(Grpc__Hook *const *const *)member(ctx->spec, kinds[kind].list);
	for (size_t i = 0; i < n && r == 0; i++) {
		r = run_one(&run, hooks[i], err);
		if (r == 0)
			continue;
		err_wrap(err, "%s hook %zu", kinds[kind].name, i);
		if (lax && r != -ECANCELED) {
			ctx->failed(ctx->arg, err);
			*err = (struct err){ 0 };
			r = 0;
		}
	}
	(void)signal(SIGPIPE, on_pipe);
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	return r;
}
