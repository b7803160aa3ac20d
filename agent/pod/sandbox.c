/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox's life: CreateSandbox in steps (modules, namespaces, pause process, storages, DNS),
 * DestroySandbox in reverse. A step that fails undoes what came before it, so that the caller may
 * simply try again.
 */
#include "pod/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oci/pause.h"
#include "base/auto.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/str.h"
#include "base/worker.h"
#include "pod/agent.h"
#include "pod/container.h"
#include "pod/guest.h"
#include "pod/guesthook.h"
#include "pod/oom.h"
#include "config.h"

#define END_MS 500 /* for the answer to DestroySandbox to arrive */

int sandbox_new(struct agent *a, struct sandbox **ret, struct err *err)
{
	AUTO_FREE struct sandbox *sb = calloc(1, sizeof(*sb));
	int r;

	if (!sb)
		return err_sys(err, ENOMEM, "sandbox");
	sb->agent = a;
	sb->engine.loop = a->loop;
	list_init(&sb->until_none);
	list_init(&sb->containers);
	storage_refs_init(&sb->refs);
	storage_set_init(&sb->storages);
	sb->ns_ipc = sb->ns_uts = sb->ns_pid = sb->ns_pid_init = FD_NONE;
	r = ns_home_open(&sb->engine.home);
	if (r < 0)
		return err_sys(err, -r, "open own namespaces");
	sb->id = strdup("");
	if (!sb->id) {
		sandbox_free(TAKE_PTR(sb));
		return err_sys(err, ENOMEM, "sandbox");
	}
	*ret = TAKE_PTR(sb);
	return 0;
}

int sandbox_find_cgroups(struct sandbox *sb, const char *why, struct err *err)
{
	int r = cgroup_root_open(why, &sb->engine.cgroups, err);

	if (r == 0 && *cgroup_root_lacks(sb->engine.cgroups))
		log_error("cgroups", "%s: containers that ask for it are refused",
			  cgroup_root_lacks(sb->engine.cgroups));
	return r;
}

const char *sandbox_lacks(const struct agent *a)
{
	return cgroup_root_lacks(a->sandbox->engine.cgroups);
}

void sandbox_free(struct sandbox *sb)
{
	if (!sb)
		return;
	for (int t = 0; t < NS_COUNT; t++)
		auto_closep(&sb->engine.home.fd[t]);
	cgroup_root_free(sb->engine.cgroups);
	free(sb->id);
	guest_hooks_free(sb->guest_hooks);
	free(sb);
}

int sandbox_cpus_online(struct agent *a, const char *cpus, struct err *err)
{
	int r = 0;

	list_for_each(struct container, ctr, &a->sandbox->containers, link) {
		if (ctr->cgroup && r == 0)
			r = cgroup_cpuset_online(ctr->cgroup, cpus, err);
	}
	return r;
}

/* --- the pause process --------------------------------------------------------------------- */

static void on_pause_exit(struct reap *r, int status)
{
	(void)r;
	log_warn("sandbox", "the pause process ended with status %d", status);
}

static int start_pause(struct sandbox *sb, struct err *err)
{
	char path[32];
	pid_t pid = pause_start(err);

	if (pid < 0)
		return pid;
	reaper_watch(sb->agent->reaper, &sb->pause, pid, on_pause_exit);
	(void)snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)pid);
	sb->ns_pid = open(path, O_RDONLY | O_CLOEXEC);
	sb->sandbox_pidns = true;
	return sb->ns_pid < 0 ? err_sys(err, errno, "open '%s'", path) : 0;
}

static void stop_pause(struct sandbox *sb)
{
	if (sb->pause.pid) {
		(void)kill(sb->pause.pid, SIGKILL);
		reaper_forget(&sb->pause);
	}
	auto_closep(&sb->ns_pid);
	auto_closep(&sb->ns_pid_init);
	sb->sandbox_pidns = false;
}

/* --- CreateSandbox ------------------------------------------------------------------------- */

/* Everything but containers and storages; those are gone by then. */
static void sandbox_clear(struct sandbox *sb)
{
	stop_pause(sb);
	auto_closep(&sb->ns_ipc);
	auto_closep(&sb->ns_uts);
	sb->rest = sharedns_destroy() < 0;
	guest_hooks_free(TAKE_PTR(sb->guest_hooks));
	sb->id[0] = '\0';
	log_set_sandbox("");
}

static void sandbox_failed(struct sandbox *sb, const struct err *err)
{
	struct call *c = TAKE_PTR(sb->until_running);

	sandbox_clear(sb);
	sb->rest = true;
	sandbox_enter(sb, SANDBOX_NONE);
	(void)call_fail(c, err);
}

/* What the steps need; in the call's arena. */
struct sandbox_request {
	struct sandbox *sb;
	const Grpc__CreateSandboxRequest *req;
};

static void sandbox_modules_loaded(void *arg, const struct err *e);
static void sandbox_hooks_found(void *arg, const struct err *e, const struct buf *out);
static void sandbox_mounted(void *arg, const struct err *e);
static void sandbox_named(void *arg, const struct err *e, const struct buf *out);

static int set_text(char **text, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	free(*text);
	*text = copy;
	return 0;
}

int sandbox_create(struct sandbox *sb, const Grpc__CreateSandboxRequest *req, struct call *c,
		   struct err *err)
{
	struct sandbox_request *sr = arena_alloc(&c->mem, sizeof(*sr));
	struct err none = { 0 };

	if (sb->state != SANDBOX_NONE)
		return err_rpc(err, RPC_ALREADY_EXISTS,
			       "Sandbox already started, impossible to start again");
	if (*req->sandbox_id && !str_is_id(req->sandbox_id))
		return err_rpc(err, RPC_INVALID_ARGUMENT, "invalid sandbox id '%s'",
			       req->sandbox_id);
	if (req->n_storages > LIMIT_STORAGES)
		return err_rpc(err, RPC_INVALID_ARGUMENT, "%zu storages", req->n_storages);
	if (!sr || set_text(&sb->id, req->sandbox_id) < 0)
		return err_sys(err, ENOMEM, "sandbox");
	*sr = (struct sandbox_request){ sb, req };
	sandbox_enter(sb, SANDBOX_MODULES);
	sb->until_running = c;
	log_set_sandbox(sb->id);
	(void)call_park(c, NULL, call_go_on, sr);
	if (req->n_kernel_modules == 0)
		sandbox_modules_loaded(sr, &none);
	else if (kmod_load(sb->agent, req->kernel_modules, req->n_kernel_modules,
			   sandbox_modules_loaded, sr, err) < 0)
		sandbox_failed(sb, err);
	return CALL_PENDING;
}

static int open_namespaces(struct sandbox *sb, const char *hostname, struct err *err)
{
	int r = sharedns_create(hostname, err);

	if (r < 0)
		return err_wrap(err, "failed to create namespace");
	sb->ns_ipc = open(SHAREDNS_IPC, O_RDONLY | O_CLOEXEC);
	sb->ns_uts = open(SHAREDNS_UTS, O_RDONLY | O_CLOEXEC);
	if (sb->ns_ipc < 0 || sb->ns_uts < 0)
		return err_sys(err, errno, "open the sandbox's namespaces");
	return 0;
}

static int find_hooks(void *arg, int out, struct err *err)
{
	const struct sandbox_request *sr = arg;

	return guest_hooks_scan(sr->req->guest_hook_path, out, err);
}

static void sandbox_modules_loaded(void *arg, const struct err *e)
{
	static const struct worker_opts opts = { .timeout_ms = LIMIT_WORK_MS,
						 .max_out = LIMIT_GUEST_HOOKS,
						 .caps = WORKER_READS };
	struct sandbox_request *sr = arg;
	struct agent *a = sr->sb->agent;
	struct err err = *e;
	int r;

	if (err.code || str_empty(sr->req->guest_hook_path)) {
		sandbox_hooks_found(sr, &err, NULL);
		return;
	}
	r = worker_start(a->loop, a->reaper, &opts, find_hooks, sandbox_hooks_found, sr, NULL);
	if (r < 0) {
		err_sys(&err, -r, "guest hooks");
		sandbox_hooks_found(sr, &err, NULL);
	}
}

static void sandbox_hooks_found(void *arg, const struct err *e, const struct buf *out)
{
	struct sandbox_request *sr = arg;
	struct sandbox *sb = sr->sb;
	const Grpc__CreateSandboxRequest *req = sr->req;
	enum schema schema = sb->until_running->schema;
	struct err err = *e;
	int r = err.code ? -err.code : 0;

	if (r == 0 && out && guest_hooks_take(out, &sb->guest_hooks) < 0)
		r = err_sys(&err, ENOMEM, "guest hooks");
	if (r == 0)
		r = open_namespaces(sb, req->hostname, &err);
	if (r == 0 && req->sandbox_pidns && schema == SCHEMA_1X)
		r = start_pause(sb, &err);
	if (r == 0)
		r = storages_add(sb->agent, &sb->refs, &sb->storages, schema, req->storages,
				 req->n_storages, sandbox_mounted, sr, &err);
	if (r < 0)
		sandbox_failed(sb, &err);
	else
		sandbox_enter(sb, SANDBOX_MOUNTING);
}

static int unset_name_servers(void *arg, int out, struct err *err)
{
	int r = dns_unset();

	(void)arg;
	(void)out;
	return r < 0 ? err_sys(err, -r, "unset name servers") : 0;
}

static void sandbox_unnamed(void *arg, const struct err *err, const struct buf *out)
{
	struct sandbox *sb = arg;
	struct err e = { 0 };

	(void)err;
	(void)out;
	err_rpc(&e, RPC_UNKNOWN, "could not set up the guest's DNS");
	sandbox_failed(sb, &e);
}

static void sandbox_undone(void *arg, const struct err *err)
{
	static const struct worker_opts opts = { .timeout_ms = LIMIT_WORK_MS };
	struct sandbox *sb = arg;

	if (worker_start(sb->agent->loop, sb->agent->reaper, &opts, unset_name_servers,
			 sandbox_unnamed, sb, NULL) < 0)
		sandbox_unnamed(sb, err, NULL);
}

static void sandbox_undo_all(void *arg, const struct err *err)
{
	struct sandbox *sb = arg;
	struct err e = *err;

	if (storages_release_all(sb->agent, &sb->refs, sandbox_undone, sb, &e) < 0)
		sandbox_undone(sb, &e);
}

static int set_name_servers(void *arg, int out, struct err *err)
{
	const struct sandbox_request *sr = arg;

	(void)out;
	return dns_set(sr->req->dns, sr->req->n_dns, err);
}

static void sandbox_mounted(void *arg, const struct err *e)
{
	static const struct worker_opts opts = { .timeout_ms = LIMIT_WORK_MS };
	struct sandbox_request *sr = arg;
	struct sandbox *sb = sr->sb;
	struct err err = *e;
	int r;

	if (err.code) {
		sandbox_failed(sb, &err);
		return;
	}
	if (sr->req->n_dns == 0) {
		sandbox_named(sr, &err, NULL);
		return;
	}
	r = worker_start(sb->agent->loop, sb->agent->reaper, &opts, set_name_servers, sandbox_named,
			 sr, NULL);
	if (r < 0) {
		err_sys(&err, -r, "set name servers");
		sandbox_named(sr, &err, NULL);
	}
}

static void sandbox_named(void *arg, const struct err *e, const struct buf *out)
{
	struct sandbox *sb = ((struct sandbox_request *)arg)->sb;
	struct call *c;
	struct err err = *e;

	(void)out;
	if (err.code) {
		log_warn("sandbox", "%s", err.msg);
		sandbox_enter(sb, SANDBOX_UNDOING);
		if (storages_release(sb->agent, &sb->refs, &sb->storages, sandbox_undo_all, sb,
				     &err) < 0)
			sandbox_undo_all(sb, &err);
		return;
	}
	c = TAKE_PTR(sb->until_running);
	sandbox_enter(sb, SANDBOX_RUNNING);
	log_info("sandbox", "sandbox created");
	(void)call_reply_empty(c);
}

/* --- DestroySandbox ------------------------------------------------------------------------ */

/* In this order: containers, the sandbox's own storages, those that outlive containers, disks. */
static void sandbox_emptied(struct sandbox *sb);
static void sandbox_released(void *arg, const struct err *err);
static void sandbox_unmounted(void *arg, const struct err *err);
static void sandbox_synced(void *arg, const struct err *err, const struct buf *out);

static void on_patience(struct timer *t)
{
	struct sandbox *sb = container_of(t, struct sandbox, patience);
	struct call *c;

	while ((c = list_first(&sb->until_none, struct call, parked))) {
		struct err err = { 0 };

		err_rpc(&err, RPC_DEADLINE_EXCEEDED, "the sandbox is being destroyed yet");
		(void)call_fail(c, &err);
	}
}

int sandbox_destroy(struct sandbox *sb, struct call *c, struct err *err)
{
	bool first = sb->state <= SANDBOX_RUNNING;

	/* 3.x makes containers without a sandbox, too. */
	if (sb->state == SANDBOX_NONE && !sb->rest && list_empty(&sb->containers) &&
	    list_empty(&sb->refs.entries))
		return call_reply_empty(c);
	if (sb->state != SANDBOX_NONE && sb->state < SANDBOX_RUNNING)
		return err_rpc(err, RPC_FAILED_PRECONDITION, "the sandbox is being created");
	if (first) {
		sandbox_enter(sb, SANDBOX_EMPTYING);
		oom_end(sb->agent);
	}
	(void)call_park(c, &sb->until_none, call_go_on, sb);
	if (!sb->patience.loop)
		timer_set(sb->agent->loop, &sb->patience, LIMIT_DESTROY_MS, on_patience);
	if (!first)
		return CALL_PENDING;
	sb->emptied = sandbox_emptied;
	list_for_each(struct container, ctr, &sb->containers, link)
		container_remove(ctr, NULL);
	if (list_empty(&sb->containers))
		sandbox_emptied(sb);
	return CALL_PENDING;
}

static void sandbox_emptied(struct sandbox *sb)
{
	struct err err = { 0 };

	sb->emptied = NULL;
	sandbox_enter(sb, SANDBOX_UNMOUNTING);
	if (storages_release(sb->agent, &sb->refs, &sb->storages, sandbox_released, sb, &err) < 0)
		sandbox_released(sb, &err);
}

/* It goes on all the same; but who asked for the end is told that something is left. */
static void destroy_failed(struct sandbox *sb, const struct err *e)
{
	if (!e->code)
		return;
	log_warn("sandbox", "destroy: %s", e->msg);
	if (!sb->destroy_err.code)
		sb->destroy_err = *e;
}

static void sandbox_released(void *arg, const struct err *e)
{
	struct sandbox *sb = arg;
	struct err err = { 0 };

	destroy_failed(sb, e);
	if (storages_release_all(sb->agent, &sb->refs, sandbox_unmounted, sb, &err) < 0)
		sandbox_unmounted(sb, &err);
}

static int run_sync(void *arg, int out, struct err *err)
{
	int r = unset_name_servers(arg, out, err);

	sync();
	return r;
}

static void sandbox_unmounted(void *arg, const struct err *e)
{
	static const struct worker_opts opts = { .timeout_ms = LIMIT_WORK_MS };
	struct sandbox *sb = arg;
	struct err err = { 0 };
	int r;

	destroy_failed(sb, e);
	sandbox_enter(sb, SANDBOX_SYNCING);
	/*
	 * What the guest wrote must be on its disks when the answer comes: the host then quits the
	 * VM.
	 */
	r = worker_start(sb->agent->loop, sb->agent->reaper, &opts, run_sync, sandbox_synced, sb,
			 NULL);
	if (r < 0) {
		err_sys(&err, -r, "sync");
		sandbox_synced(sb, &err, NULL);
	}
}

/* A host that traces waits for the guest's own end, up to 15 s; others end it themselves. */
static void on_end(struct timer *t)
{
	loop_stop(container_of(t, struct sandbox, end)->agent->loop);
}

static void sandbox_synced(void *arg, const struct err *err, const struct buf *out)
{
	struct sandbox *sb = arg;
	struct err left;
	struct call *c;

	(void)out;
	destroy_failed(sb, err);
	left = sb->destroy_err;
	timer_cancel(&sb->patience);
	sandbox_clear(sb);
	sb->rest |= left.code != 0;
	oom_end(sb->agent);
	sb->destroy_err = (struct err){ 0 };
	log_info("sandbox", "sandbox destroyed");
	while ((c = list_first(&sb->until_none, struct call, parked)))
		(void)(left.code ? call_fail(c, &left) : call_reply_empty(c));
	sandbox_enter(sb, SANDBOX_NONE);
	if (sb->agent->config->trace)
		timer_set(sb->agent->loop, &sb->end, END_MS, on_end);
}
