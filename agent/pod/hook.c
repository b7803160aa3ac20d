/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hooks of containers. State, in the container: the part of its spec that is kept, the worker that
 * runs hooks, and whether there is a config.json.
 */
#include "pod/hook.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oci/specjson.h"
#include "base/auto.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/str.h"
#include "base/worker.h"
#include "pod/agent.h"
#include "pod/guesthook.h"

#define CONFIG_BASE "/run/libcontainer" /* hooks look for CONFIG_BASE/ID/config.json */

/* --- what hooks read ----------------------------------------------------------------------- */

struct config_path {
	char text[sizeof(CONFIG_BASE "/") + LIMIT_ID + sizeof("/config.json")];
};

static const char *config_path(const struct container *ctr, const char *name,
			       struct config_path *buf)
{
	(void)snprintf(buf->text, sizeof(buf->text), CONFIG_BASE "/%s%s", ctr->id, name);
	return buf->text;
}

static int write_config(struct container *ctr, const Grpc__Spec *spec, struct err *err)
{
	struct config_path buf;
	const char *path = config_path(ctr, "", &buf);
	AUTO_FILE FILE *f = NULL;
	int fd, r;

	r = fdio_mkdirs(path, 0700);
	if (r < 0)
		return err_sys(err, -r, "make '%s'", path);
	ctr->has_config = true;
	path = config_path(ctr, "/config.json", &buf);
	(void)unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
	if (fd < 0)
		return err_sys(err, errno, "make '%s'", path);
	f = fdopen(fd, "w");
	if (!f) {
		(void)close(fd);
		return err_sys(err, ENOMEM, "'%s'", path);
	}
	r = specjson_write(spec, f, LIMIT_SPEC_JSON);
	return r < 0 ? err_sys(err, -r, "write '%s'", path) : 0;
}

/* A copy of what hooks are told, and of themselves. */
static int keep_spec(struct container *ctr, const Grpc__Spec *spec)
{
	AUTO_FREE uint8_t *bytes = NULL;
	Grpc__Spec part;
	size_t len;

	grpc__spec__init(&part);
	part.version = spec->version;
	part.hooks = spec->hooks;
	part.root = spec->root;
	part.annotations = spec->annotations;
	part.n_annotations = spec->n_annotations;
	part.mounts = spec->mounts; /* GetDiagnosticData looks for a file in them */
	part.n_mounts = spec->n_mounts;
	len = grpc__spec__get_packed_size(&part);
	bytes = malloc(len + 1);
	if (bytes)
		ctr->kept = grpc__spec__unpack(NULL, grpc__spec__pack(&part, bytes), bytes);
	return ctr->kept ? 0 : -ENOMEM;
}

/*
 * 1.x has config.json elsewhere than in the bundle, which is where the root is. In 3.x it is in the
 * bundle, and hooks of its kind (NVIDIA's) look for it there.
 */
static int keep_bundle(struct container *ctr, const Grpc__Spec *spec)
{
	bool in_bundle = ctr->has_config && ctr->schema == SCHEMA_3X;
	struct config_path buf;
	char *slash;

	ctr->bundle = strdup(in_bundle ? config_path(ctr, "", &buf) : spec->root->path);
	if (!ctr->bundle)
		return -ENOMEM;
	if (in_bundle)
		return 0;
	for (size_t len = strlen(ctr->bundle); len > 1 && ctr->bundle[len - 1] == '/'; len--)
		ctr->bundle[len - 1] = '\0';
	slash = strrchr(ctr->bundle, '/');
	if (slash && slash != ctr->bundle)
		*slash = '\0';
	return 0;
}

int container_hooks_prepare(struct container *ctr, Grpc__Spec *spec, struct arena *mem,
			    struct err *err)
{
	const struct guest_hooks *g = ctr->sandbox->guest_hooks;
	int r = g ? guest_hooks_add(g, spec, mem) : 0;

	if (r == 0)
		r = keep_spec(ctr, spec);
	if (r < 0)
		return err_sys(err, -r, "hooks of container %s", ctr->id);
	if (g || (ctr->schema == SCHEMA_3X && spec->hooks)) {
		r = write_config(ctr, spec, err);
		if (r < 0)
			return r;
	}
	r = keep_bundle(ctr, spec);
	return r < 0 ? err_sys(err, -r, "hooks of container %s", ctr->id) : 0;
}

void container_hooks_forget(struct container *ctr)
{
	struct config_path buf;
	bool gone;

	if (ctr->kept)
		grpc__spec__free_unpacked(TAKE_PTR(ctr->kept), NULL);
	free(TAKE_PTR(ctr->bundle));
	if (ctr->has_config) {
		/* Without a descriptor: there may be none. What hooks have added needs one. */
		gone = unlink(config_path(ctr, "/config.json", &buf)) == 0 &&
		       rmdir(config_path(ctr, "", &buf)) == 0;
		if (!gone)
			(void)fdio_remove_tree(AT_FDCWD, config_path(ctr, "", &buf));
	}
	ctr->has_config = false;
}

/* --- running them -------------------------------------------------------------------------- */

struct hook_ctx container_hook_ctx(const struct container *ctr)
{
	return (struct hook_ctx){
		.spec = ctr->kept,
		.id = ctr->id,
		.bundle = ctr->bundle,
		.pid = ctr->init && !process_is_dead(ctr->init) ? ctr->init->spawn.pid : 0,
		.nofile = &ctr->sandbox->engine.nofile,
		.lax = ctr->schema == SCHEMA_3X,
	};
}

/* In the worker: a line for each. */
static void tell_failure(void *arg, const struct err *err)
{
	const int *out = arg;
	char line[sizeof(err->msg) + 1];
	size_t len = strlen(err->msg);

	for (size_t i = 0; i < len; i++)
		line[i] = err->msg[i] == '\n' ? ' ' : err->msg[i];
	line[len] = '\n';
	(void)fdio_write_all(*out, line, len + 1);
}

/* As its execs do, but for the pid namespace: there its processes would see us. */
static int join_init(const struct container *ctr, struct err *err)
{
	unsigned int flags = ctr->own_flags & ~(unsigned int)CLONE_NEWPID;

	if (flags && setns(ctr->init->spawn.pidfd, (int)flags) < 0)
		return err_sys(err, errno, "join the container's namespaces");
	if (flags & CLONE_NEWUSER && (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0))
		return err_sys(err, errno, "become root of the user namespace");
	return 0;
}

static int run_kinds(void *arg, int out, struct err *err)
{
	const struct container *ctr = arg;
	struct hook_ctx ctx = container_hook_ctx(ctr);
	int r = 0;

	ctx.failed = tell_failure;
	ctx.arg = &out;
	for (int kind = 0; kind < HOOK_KINDS && r == 0; kind++) {
		if (!(ctr->hook_kinds & 1u << kind) ||
		    hooks_count(ctr->kept, (enum hook_kind)kind) == 0)
			continue;
		if (kind == HOOK_CREATE_CONTAINER)
			r = join_init(ctr, err);
		if (r == 0)
			r = hooks_run(&ctx, (enum hook_kind)kind, err);
	}
	return r;
}

void container_hook_failed(const struct container *ctr, const char *text)
{
	AUTO_CLOSE int kmsg = open("/dev/kmsg", O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	char line[600];
	int len;

	log_warn("hook", "container=%s %s", ctr->id, text);
	len = snprintf(line, sizeof(line), "<4>kata-agent: hook failed: %s\n", text);
	if (kmsg >= 0 && len > 0)
		(void)!write(kmsg, line, strlen(line));
}

static void on_hooks(void *arg, const struct err *err, const struct buf *out)
{
	struct container *ctr = arg;
	const char *p = (const char *)buf_data(out), *end = p + buf_len(out), *nl;
	char line[600];

	ctr->worker = NULL;
	for (; p && p < end && (nl = memchr(p, '\n', (size_t)(end - p))); p = nl + 1) {
		(void)snprintf(line, sizeof(line), "%.*s", (int)(nl - p), p);
		container_hook_failed(ctr, line);
	}
	ctr->hooks_done(ctr, err);
}

bool container_has_hooks(const struct container *ctr, unsigned int kinds)
{
	size_t n = 0;

	for (int kind = 0; kind < HOOK_KINDS && ctr->kept; kind++)
		n += kinds & 1u << kind ? hooks_count(ctr->kept, (enum hook_kind)kind) : 0;
	return n > 0;
}

int container_hooks_start(struct container *ctr, unsigned int kinds, hooks_done *done,
			  struct err *err)
{
	const int keep[] = { ctr->init ? ctr->init->spawn.pidfd : FD_NONE };
	const struct worker_opts opts = {
		.max_out = LIMIT_HOOK_FAILURES,
		.gentle = true,
		.keep = keep,
		.keep_count = ARRAY_LEN(keep),
	};
	struct agent *a = ctr->agent;
	int r;

	if (!container_has_hooks(ctr, kinds))
		return 1;
	ctr->hook_kinds = kinds;
	ctr->hooks_done = done;
	r = worker_start(a->loop, a->reaper, &opts, run_kinds, on_hooks, ctr, &ctr->worker);
	return r < 0 ? err_sys(err, -r, "hooks of container %s", ctr->id) : 0;
}
