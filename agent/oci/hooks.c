/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Running hooks. Made for a forked worker or for the container's child: it waits for its own
 * children by pid, which only a process without a reaper may do.
 */
#include "oci/hooks.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/str.h"
#include "linux/run.h"

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
	struct json j = { .f = open_memstream(&text, &len), .left = LIMIT_MESSAGE };
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

/* One hook, told the state; run has what the hooks of its kind have in common. */
static int run_hook(struct run *run, const Grpc__Hook *h, int64_t usual_timeout, struct err *err)
{
	int64_t timeout = h->timeout ? h->timeout : usual_timeout; /* seconds */
	char *fallback[] = { h->path, NULL };
	AUTO_FREE char **argv = calloc(h->n_args + 1, sizeof(*argv));
	AUTO_FREE char **envp = calloc(h->n_env + 1, sizeof(*envp));
	int r;

	if (h->path[0] != '/')
		return err_set(err, EINVAL, "hook path '%s' is not absolute", h->path);
	if (!argv || !envp)
		return err_sys(err, ENOMEM, "hook '%s'", h->path);
	for (size_t i = 0; i < h->n_args; i++)
		argv[i] = h->args[i];
	for (size_t i = 0; i < h->n_env; i++)
		envp[i] = h->env[i];
	run->path = h->path;
	run->argv = h->n_args ? argv : fallback;
	run->envp = envp;
	run->timeout_ms = timeout > 0 && timeout < LIMIT_HOOK_SECONDS ? timeout * 1000 : 0;
	r = run_program(run, err);
	if (r == -ETIMEDOUT)
		return err_set(err, ETIMEDOUT, "hook '%s' ran past its timeout of %lld s", h->path,
			       (long long)timeout);
	return r < 0 ? err_wrap(err, "error running hook '%s'", h->path) : 0;
}

int hooks_run(const struct hook_ctx *ctx, enum hook_kind kind, struct err *err)
{
	size_t n = hooks_count(ctx->spec, kind);
	bool lax = ctx->lax || kinds[kind].lax;
	AUTO_FREE char *json = NULL;
	AUTO_CLOSE int stop = FD_NONE;
	struct run run = { .stop = &stop, .nofile = ctx->nofile };
	Grpc__Hook *const *hooks;
	sigset_t term, before;
	int r = 0;

	if (n == 0)
		return 0;
	json = state_json(ctx, kind);
	if (!json)
		return err_sys(err, ENOMEM, "%s hooks", kinds[kind].name);
	run.input = json;
	run.input_len = strlen(json);
	/* The bundle is no place in the container. */
	if (kind != HOOK_START_CONTAINER)
		run.cwd = ctx->bundle;
	/* SIGTERM would end us without taking the hook along. */
	(void)sigemptyset(&term);
	(void)sigaddset(&term, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &term, &before);
	stop = signalfd(-1, &term, SFD_CLOEXEC);
	hooks = *(Grpc__Hook *const *const *)member(ctx->spec, kinds[kind].list);
	for (size_t i = 0; i < n && r == 0; i++) {
		r = run_hook(&run, hooks[i], ctx->lax ? HOOK_TIMEOUT_3X : 0, err);
		if (r == 0)
			continue;
		err_wrap(err, "%s hook %zu", kinds[kind].name, i);
		if (lax && r != -ECANCELED) {
			ctx->failed(ctx->arg, err);
			*err = (struct err){ 0 };
			r = 0;
		}
	}
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	return r;
}
