/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a container, step by step: devices, storages, cgroup, its init up to the gate before
 * execve, hooks. Each step ends in an event that takes the next one; whatever fails takes the whole
 * thing down through container_remove, and the call is answered when nothing is left of it.
 */
#include "pod/container.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oci/fs/rootfs.h"
#include "base/auto.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/str.h"
#include "base/worker.h"
#include "rpc/call.h"
#include "pod/agent.h"
#include "pod/device.h"
#include "pod/hook.h"
#include "pod/oom.h"
#include "pod/process.h"
#include "pod/sandbox.h"
#include "pod/sharedmount.h"

struct container *container_find_any(struct sandbox *sb, const char *id)
{
	list_for_each(struct container, ctr, &sb->containers, link) {
		if (str_eq(ctr->id, id))
			return ctr;
	}
	return NULL;
}

struct container *container_find(struct call *c, const char *id, struct err *err)
{
	struct container *ctr = container_find_any(call_agent(c)->sandbox, id);
	int status = RPC_NOT_FOUND;

	if (ctr && ctr->state != CTR_CREATING)
		return ctr;
	if (c->schema == SCHEMA_3X)
		status = c->method->flags & M_LIFE ? RPC_INTERNAL : RPC_INVALID_ARGUMENT;
	err_rpc(err, status, "Container %s not found", id);
	return NULL;
}

static struct container *container_new(struct agent *a, const char *id)
{
	struct container *ctr = calloc(1, sizeof(*ctr));

	if (!ctr)
		return NULL;
	ctr->id = strdup(id);
	if (!ctr->id) {
		free(ctr);
		return NULL;
	}
	ctr->agent = a;
	ctr->sandbox = a->sandbox;
	ctr->oom_fd = ctr->rules.seccomp_fd = FD_NONE;
	list_init(&ctr->processes);
	list_init(&ctr->oom_link);
	storage_set_init(&ctr->storages);
	list_add_tail(&a->sandbox->containers, &ctr->link);
	a->sandbox->container_count++;
	return ctr;
}

/* --- teardown ------------------------------------------------------------------------------ */

#define REMOVE_TRY_MS	  5
#define REMOVE_GIVE_UP_MS 10000

struct teardown {
	container_gone *done;
	void *arg;
	int64_t give_up;
	struct err err; /* the first thing that went wrong */
};

static void note_error(struct container *ctr, const struct err *err)
{
	log_warn("container", "remove %s: %s", ctr->id, err->msg);
	if (!ctr->teardown->err.code)
		ctr->teardown->err = *err;
}

static void container_free(struct container *ctr)
{
	struct teardown t = *ctr->teardown;

	oom_forget(ctr);
	while (!list_empty(&ctr->processes))
		process_free(list_first(&ctr->processes, struct process, link));
	timer_cancel(&ctr->timer);
	cgroup_free(ctr->cgroup);
	ctr_rules_release(&ctr->rules);
	container_hooks_forget(ctr);
	list_del(&ctr->link);
	ctr->sandbox->container_count--;
	free(ctr->teardown);
	free(ctr->id);
	free(ctr);
	t.done(t.arg, &t.err);
}

static void on_storages_released(void *arg, const struct err *err)
{
	struct container *ctr = arg;

	if (err->code)
		note_error(ctr, err);
	container_free(ctr);
}

static void release_storages(struct container *ctr)
{
	struct agent *a = ctr->agent;
	struct err err = { 0 };

	if (list_empty(&ctr->storages.uses)) {
		container_free(ctr);
		return;
	}
	if (storages_release(a, &ctr->sandbox->refs, &ctr->storages, on_storages_released, ctr,
			     &err) < 0)
		on_storages_released(ctr, &err);
}

static void on_poststop(struct container *ctr, const struct err *err)
{
	if (err->code)
		note_error(ctr, err);
	release_storages(ctr);
}

static void run_poststop(struct container *ctr)
{
	struct err err = { 0 };
	int r = container_hooks_start(ctr, 1u << HOOK_POSTSTOP, on_poststop, &err);

	if (r < 0)
		note_error(ctr, &err);
	if (r != 0)
		release_storages(ctr);
}

/*
 * Its processes are dead or dying: gone when the init is reaped and the kernel lets the cgroup go.
 */
static void try_remove(struct timer *t)
{
	struct container *ctr = container_of(t, struct container, timer);
	bool late = loop_now_ms() >= ctr->teardown->give_up;
	bool alive = false;
	struct err err = { 0 };
	int r = 0;

	if (ctr->waiting) { /* what is being mounted for it has to be released, too */
		timer_set(ctr->agent->loop, &ctr->timer, REMOVE_TRY_MS, try_remove);
		return;
	}
	if (ctr->pending) {
		err_rpc(&err, RPC_ABORTED, "Container %s is being removed", ctr->id);
		(void)call_fail(TAKE_PTR(ctr->pending), &err);
		err = (struct err){ 0 };
	}
	list_for_each(struct process, p, &ctr->processes, link)
		alive |= !p->exited && p->spawn.pid;
	if (ctr->cgroup && !alive)
		r = cgroup_remove(ctr->cgroup, &err);
	if ((alive || r == -EBUSY) && !late) {
		/* Somebody may have forked or joined while the first signal was on its way. */
		if (ctr->cgroup)
			(void)cgroup_kill(ctr->cgroup, SIGKILL);
		timer_set(ctr->agent->loop, &ctr->timer, REMOVE_TRY_MS, try_remove);
		return;
	}
	if (alive)
		err_set(&err, EBUSY, "its processes do not die");
	if (err.code)
		note_error(ctr, &err);
	run_poststop(ctr);
}

int container_remove(struct container *ctr, container_gone *done, void *arg)
{
	struct teardown *t;

	if (ctr->teardown)
		return -EALREADY;
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->done = done;
	t->arg = arg;
	t->give_up = loop_now_ms() + REMOVE_GIVE_UP_MS;
	ctr->teardown = t;
	if (ctr->state != CTR_CREATING)
		ctr->state = CTR_REMOVING;
	container_hooks_cancel(ctr);
	if (ctr->sharing)
		worker_cancel(TAKE_PTR(ctr->sharing));
	container_abandon_freeze(ctr);
	oom_forget(ctr);
	list_for_each(struct process, p, &ctr->processes, link) {
		if (!p->exited && p->spawn.pid)
			(void)kill(p->spawn.pid, SIGKILL);
	}
	if (ctr->cgroup)
		(void)cgroup_kill(ctr->cgroup, SIGKILL);
	timer_set(ctr->agent->loop, &ctr->timer, 0, try_remove);
	return 0;
}

void container_init_exited(struct container *ctr)
{
	oom_check(ctr);
	if (ctr->state == CTR_CREATED || ctr->state == CTR_RUNNING || ctr->state == CTR_STARTING)
		ctr->state = CTR_STOPPED;
	/* In a pid namespace of its own all the others are gone already. */
	if (!ctr->own_pid_ns && ctr->cgroup)
		(void)cgroup_kill(ctr->cgroup, SIGKILL);
}

/* --- CreateContainer ----------------------------------------------------------------------- */

struct failed_create {
	struct call *call;
	struct err err;
};

static void on_rolled_back(void *arg, const struct err *err)
{
	struct failed_create *f = arg;

	(void)err;
	(void)call_fail(f->call, &f->err);
	free(f);
}

static void on_gone_quietly(void *arg, const struct err *err)
{
	(void)arg;
	(void)err;
}

static void create_failed(struct container *ctr, const struct err *err)
{
	struct call *c = TAKE_PTR(ctr->pending);
	struct failed_create *f = malloc(sizeof(*f));

	ctr->request = NULL;
	if (f) {
		f->call = c;
		f->err = *err;
		if (container_remove(ctr, on_rolled_back, f) == 0)
			return;
		free(f);
	}
	(void)container_remove(ctr, on_gone_quietly, NULL);
	(void)call_fail(c, err);
}

static void create_done(struct container *ctr)
{
	struct call *c = TAKE_PTR(ctr->pending);
	struct sandbox *sb = ctr->sandbox;
	char path[32];

	ctr->state = CTR_CREATED;
	ctr->request = NULL;
	ctr->init->starter = NULL;
	/* The first container's pid namespace is what later ones share on request. */
	if (!sb->sandbox_pidns && sb->container_count == 1) {
		auto_closep(&sb->ns_pid);
		(void)snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)ctr->init->spawn.pid);
		sb->ns_pid = open(path, O_RDONLY | O_CLOEXEC);
	}
	(void)call_reply_empty(c);
}

static void on_prestart(struct container *ctr, const struct err *e)
{
	struct err err = *e;

	if (!err.code && spawn_continue(&ctr->init->spawn) < 0)
		err_set(&err, ECHILD, "the process died during the prestart hooks");
	if (err.code)
		create_failed(ctr, &err);
}

static void on_mounted(struct container *ctr)
{
	struct err err = { 0 };

	if (container_hooks_start(ctr, 1u << HOOK_PRESTART | 1u << HOOK_CREATE_RUNTIME, on_prestart,
				  &err) < 0)
		create_failed(ctr, &err);
}

static void start_failed(struct container *ctr, const struct err *err)
{
	struct call *c = TAKE_PTR(ctr->pending);

	(void)call_fail(c, err);
}

static void on_poststart(struct container *ctr, const struct err *err)
{
	if (err->code) /* the container runs: the runtime-spec wants a line, not a failure */
		container_hook_failed(ctr, err->msg);
	(void)call_reply_empty(TAKE_PTR(ctr->pending));
}

void container_running(struct container *ctr)
{
	struct err err = { 0 };

	if (ctr->state == CTR_STARTING)
		ctr->state = CTR_RUNNING;
	oom_watch(ctr);
	if (container_hooks_start(ctr, 1u << HOOK_POSTSTART, on_poststart, &err) != 0)
		on_poststart(ctr, &err);
}

static void on_shared(void *arg, const struct err *err, const struct buf *out)
{
	struct container *ctr = arg;

	(void)out;
	ctr->sharing = NULL;
	if (err->code)
		create_failed(ctr, err);
	else
		create_done(ctr);
}

static void share_mounts(struct container *ctr)
{
	struct err err = { 0 };
	int r = sharedmounts_start(ctr, ctr->request->shared_mounts, ctr->request->n_shared_mounts,
				   on_shared, &err);

	if (r < 0)
		create_failed(ctr, &err);
	else if (r > 0)
		create_done(ctr);
}

static void on_init_event(struct spawn *s, enum spawn_event event, const struct err *e)
{
	struct process *p = container_of(s, struct process, spawn);
	struct container *ctr = p->ctr;
	struct err err = *e;
	bool creating = ctr->state == CTR_CREATING;

	if (ctr->teardown)
		return;
	process_take_terminal(p);
	switch (event) {
	case SPAWN_MOUNTED:
		on_mounted(ctr);
		return;
	case SPAWN_READY:
		/* Device rules come last: the child has made its nodes, and waits. */
		if (ctr->cgroup && cgroup_set_devices(ctr->cgroup,
						      ctr->request->oci->linux
							      ? ctr->request->oci->linux->resources
							      : NULL,
						      &err) < 0)
			create_failed(ctr, &err);
		else
			share_mounts(ctr);
		return;
	case SPAWN_RUNNING:
		if (!creating) {
			if (ctr->pending)
				container_running(ctr);
			return;
		}
		err_set(&err, ECHILD, "the process died before it was started");
		break;
	case SPAWN_HOOK_FAILED:
		container_hook_failed(ctr, err.msg);
		return;
	case SPAWN_FAILED:
		break;
	}
	err.rpc = RPC_INTERNAL;
	if (creating) {
		err_wrap(&err, "Could not run process");
		create_failed(ctr, &err);
	} else if (ctr->pending) {
		start_failed(ctr, &err);
	}
}

static int plan_namespaces(struct container *ctr, const Grpc__CreateContainerRequest *req,
			   struct ns_plan *ret, struct err *err)
{
	const struct sandbox *sb = ctr->sandbox;
	struct ns_sandbox ns = { .ipc = sb->ns_ipc, .uts = sb->ns_uts, .pid = FD_NONE };
	int r;

	if (ctr->pending->schema == SCHEMA_1X && req->agent_pidns) {
		log_warn("container", "%s runs in the agent's own pid namespace", ctr->id);
		ns.agent_pid = true;
	} else if (sb->sandbox_pidns || req->sandbox_pidns) {
		ns.pid = sb->ns_pid;
	}
	r = ns_plan_build(req->oci, &ns, ret, err);
	ctr->own_flags = ret->own_flags;
	ctr->own_pid_ns = ret->new_flags & CLONE_NEWPID;
	return r;
}

static int spawn_container(struct container *ctr, struct err *err)
{
	const Grpc__CreateContainerRequest *req = ctr->request;
	const Grpc__Spec *spec = req->oci;
	const Grpc__LinuxResources *res = spec->linux ? spec->linux->resources : NULL;
	struct sandbox *sb = ctr->sandbox;
	AUTO(ns_plan_release) struct ns_plan ns;
	struct hook_ctx hooks;
	struct spawn_plan plan;
	int r;

	/* Not a field of 1.x: oci takes it where it is given. */
	if (ctr->pending->schema == SCHEMA_1X && spec->linux && spec->linux->seccomp)
		spec->linux->seccomp->n_syscalls3x = 0;
	ns_plan_init(&ns);
	r = rootfs_check(spec, sb->engine.no_pivot, err);
	if (r == 0)
		r = plan_namespaces(ctr, req, &ns, err);
	if (r == 0)
		r = ctr_rules_build(spec, &ctr->rules, err);
	if (r == 0)
		r = container_hooks_prepare(ctr, req->oci, &ctr->pending->mem, err);
	if (r == 0)
		r = cgroup_create(sb->engine.cgroups, spec->linux ? spec->linux->cgroupspath : "",
				  ctr->id, res, &ctr->cgroup, err);
	if (r < 0)
		return r;
	ctr->explicit_cpus = res && res->cpu && !str_empty(res->cpu->cpus);
	/* 3.x names the init after its container, whatever the request says. */
	ctr->init = process_new(ctr,
				ctr->pending->schema == SCHEMA_3X || str_empty(req->exec_id)
					? ctr->id
					: req->exec_id,
				spec->process->terminal);
	if (!ctr->init)
		return err_sys(err, ENOMEM, "container");
	hooks = container_hook_ctx(ctr);
	plan = (struct spawn_plan){
		.engine = &sb->engine,
		.process = spec->process,
		.rules = &ctr->rules,
		.cgroup = ctr->cgroup,
		.ns = &ns,
		.spec = spec,
		.parent_hooks =
			hooks_count(spec, HOOK_PRESTART) || hooks_count(spec, HOOK_CREATE_RUNTIME),
		.hooks = &hooks,
		.init_pidfd = FD_NONE,
	};
	r = spawn_start(&plan, &ctr->init->spawn, on_init_event, err);
	if (r < 0)
		return r;
	ctr->init->starter = ctr->pending;
	process_started(ctr->init);
	return 0;
}

static void on_storages(void *arg, const struct err *e)
{
	struct container *ctr = arg;
	struct err err = *e;

	ctr->waiting = false;
	if (ctr->teardown)
		return;
	if (err.code || spawn_container(ctr, &err) < 0)
		create_failed(ctr, &err);
}

static void on_devices(void *arg, const struct err *e)
{
	struct container *ctr = arg;
	const Grpc__CreateContainerRequest *req = ctr->request;
	struct err err = *e;

	ctr->waiting = false;
	if (ctr->teardown)
		return;
	if (err.code) {
		create_failed(ctr, &err);
	} else if (req->n_storages == 0) {
		on_storages(ctr, &err);
	} else if (storages_add(ctr->agent, &ctr->sandbox->refs, &ctr->storages,
				ctr->pending->schema, req->storages, req->n_storages, on_storages,
				ctr, &err) < 0) {
		create_failed(ctr, &err);
	} else {
		ctr->waiting = true;
	}
}

static int check_create(struct call *c, const Grpc__CreateContainerRequest *req, struct err *err)
{
	const struct sandbox *sb = call_agent(c)->sandbox;
	const Grpc__Spec *spec = req->oci;

	if (!str_is_id(req->container_id))
		return err_rpc(err, RPC_INVALID_ARGUMENT, "invalid id format: '%s'",
			       req->container_id);
	if (container_find_any(call_agent(c)->sandbox, req->container_id))
		return err_rpc(err, RPC_ALREADY_EXISTS,
			       "Container %s already exists, impossible to create",
			       req->container_id);
	if (sb->container_count >= LIMIT_CONTAINERS)
		return err_rpc(err, RPC_RESOURCE_EXHAUSTED, "%zu containers exist",
			       sb->container_count);
	if (req->n_storages > LIMIT_STORAGES || (spec && spec->n_mounts > LIMIT_MOUNTS))
		return err_rpc(err, RPC_INVALID_ARGUMENT, "too many storages or mounts");
	if (!spec || !spec->process)
		return err_rpc(err, RPC_INVALID_ARGUMENT, "invalid OCI spec: no process");
	if (spec->process->n_args == 0)
		return err_rpc(err, RPC_INVALID_ARGUMENT, "invalid OCI spec: process has no args");
	if (!spec->root || str_empty(spec->root->path))
		return err_rpc(err, RPC_INVALID_ARGUMENT,
			       "invalid OCI spec: Root must be specified");
	for (size_t i = 0; spec->linux && i < spec->linux->n_namespaces; i++) {
		if (str_eq(spec->linux->namespaces[i]->type, "NEWPID"))
			return err_rpc(
				err, RPC_FAILED_PRECONDITION,
				"Unexpected PID namespace received for container %s, should have been "
				"cleared out",
				req->container_id);
	}
	return 0;
}

int svc_create_container(struct call *c, const void *request, struct err *err)
{
	const Grpc__CreateContainerRequest *req = request;
	struct agent *a = call_agent(c);
	struct err none = { 0 };
	struct container *ctr;
	int r = check_create(c, req, err);

	if (r < 0)
		return r;
	ctr = container_new(a, req->container_id);
	if (!ctr)
		return err_sys(err, ENOMEM, "container");
	ctr->schema = c->schema;
	ctr->pending = c;
	ctr->request = req;
	(void)call_park(c, NULL, call_go_on, ctr);
	if (req->n_devices == 0)
		on_devices(ctr, &none);
	else if (devices_add(a, c->schema, req->devices, req->n_devices, req->oci, &c->mem,
			     on_devices, ctr, err) < 0)
		create_failed(ctr, err);
	else
		ctr->waiting = true;
	return CALL_PENDING;
}
