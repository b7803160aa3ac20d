/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Containers from the taking of an id to the end of the removal. Whatever fails while one is being
 * made takes all of it down again, and the call is answered when nothing is left.
 */
#include "pod/container.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
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
#include "pod/agent.h"
#include "pod/cdi.h"
#include "pod/device.h"
#include "pod/drain.h"
#include "pod/freezer.h"
#include "pod/hook.h"
#include "pod/members.h"
#include "pod/nspath.h"
#include "pod/oom.h"
#include "pod/pcimap.h"
#include "pod/passfd.h"
#include "pod/process.h"
#include "pod/sharedmount.h"
#include "pod/stdio.h"
#include "pod/update.h"

/* Looks whether a container that is removed is gone: first, then, and after LIMIT_REMOVAL_MS. */
#define REMOVAL_SOON_MS	 5
#define REMOVAL_LATER_MS 50
#define REMOVAL_LATE_MS	 1000
#define REMOVAL_SOON_FOR 100
#define REMOVAL_GIVE_UP	 1000 /* on a cgroup that does not go for another reason than processes */

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

	/* Nobody has seen one that is removed before it was created. */
	if (ctr && !container_is_creating(ctr) && ctr->was_created)
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
	list_init(&ctr->until_gone);
	list_init(&ctr->until_updated);
	list_init(&ctr->processes);
	list_init(&ctr->drains);
	storage_set_init(&ctr->storages);
	list_add_tail(&a->sandbox->containers, &ctr->link);
	a->sandbox->container_count++;
	return ctr;
}

/* --- the removal --------------------------------------------------------------------------- */

static void container_kill(struct timer *t);
static void container_poststop(struct container *ctr);
static void container_release(struct container *ctr);
static void container_free(void *arg, const struct err *err);

static void removal_failed(struct container *ctr, const struct err *err)
{
	log_warn("container", "remove %s: %s", ctr->id, err->msg);
	if (!ctr->removal_err.code)
		ctr->removal_err = *err;
}

/* Ends what is under way, kills, and goes on with container_kill. */
static void container_take_down(struct container *ctr)
{
	struct call *starter = TAKE_PTR(ctr->until_running);
	struct err err = { 0 };

	container_updates_abandon(ctr);
	container_enter(ctr, CTR_KILLING);
	if (starter) {
		err_rpc(&err, RPC_ABORTED, "Container %s is being removed", ctr->id);
		(void)call_fail(starter, &err);
	}
	freezer_abandon(ctr);
	/* Its namespace ends with it: who is created from now on would find it dying. */
	if (ctr->sandbox->ns_pid_ctr == ctr) {
		ctr->sandbox->ns_pid_ctr = NULL;
		auto_closep(&ctr->sandbox->ns_pid);
		auto_closep(&ctr->sandbox->ns_pid_init);
	}
	if (ctr->worker)
		worker_cancel(TAKE_PTR(ctr->worker));
	timer_cancel(&ctr->sharing);
	oom_forget(ctr);
	list_for_each(struct process, p, &ctr->processes, link) {
		if (!process_is_dead(p) && p->spawn.pid)
			(void)kill(p->spawn.pid, SIGKILL);
	}
	if (ctr->cgroup)
		(void)members_signal(ctr, SIGKILL);
	ctr->removal_began = loop_now_ms();
	ctr->removal_end = ctr->removal_began + LIMIT_REMOVAL_MS;
	timer_set(ctr->agent->loop, &ctr->removal, 0, container_kill);
}

void container_remove(struct container *ctr, struct gone_waiter *waiter)
{
	if (waiter)
		list_add_tail(&ctr->until_gone, &waiter->link);
	if (container_is_removing(ctr)) {
		/* Who comes late waits as long as who came first. */
		if (ctr->state == CTR_KILLING && loop_now_ms() >= ctr->removal_end)
			ctr->removal_end = loop_now_ms() + LIMIT_REMOVAL_MS;
		return;
	}
	if (ctr->until_created)
		err_rpc(&ctr->create_err, RPC_ABORTED, "Container %s is being removed", ctr->id);
	if ((ctr->state == CTR_DEVICES && !ctr->worker) || ctr->state == CTR_MOUNTING)
		container_enter(ctr, CTR_ABANDONED);
	else
		container_take_down(ctr);
}

static void waiters_tell(struct list *waiters, const struct err *err)
{
	struct gone_waiter *w;

	while ((w = list_first(waiters, struct gone_waiter, link))) {
		list_del(&w->link);
		w->gone(w, err);
	}
}

static void waiters_take(struct list *from, struct list *to)
{
	struct gone_waiter *w;

	list_init(to);
	while ((w = list_first(from, struct gone_waiter, link))) {
		list_del(&w->link);
		list_add_tail(to, &w->link);
	}
}

/* What can't die keeps its entry and is tried again; but who waits has waited long enough. */
static void removal_late(struct container *ctr, const struct err *why)
{
	struct call *creator = TAKE_PTR(ctr->until_created);
	struct list waiters;

	waiters_take(&ctr->until_gone, &waiters);
	if (creator || !list_empty(&waiters))
		log_warn("container", "remove %s: %s, it goes on", ctr->id, why->msg);
	if (creator)
		(void)call_fail(creator, &ctr->create_err);
	waiters_tell(&waiters, why);
}

/*
 * Its processes are dead or dying: gone when the init is reaped and the kernel lets the cgroup go.
 */
static void container_kill(struct timer *t)
{
	struct container *ctr = container_of(t, struct container, removal);
	int64_t now = loop_now_ms(), wait = REMOVAL_SOON_MS;
	bool alive = false;
	struct err err = { 0 };
	int r = 0;

	list_for_each(struct process, p, &ctr->processes, link)
		alive |= !process_is_dead(p) && p->spawn.pid;
	if (ctr->cgroup && !alive && !cgroup_is_none(ctr->cgroup))
		r = cgroup_remove(ctr->cgroup, &err);
	else if (ctr->cgroup && !alive && members_signal(ctr, 0) > 0)
		r = err_set(&err, EBUSY, "its processes do not die");
	if (!alive && r != -EBUSY && (r == 0 || now - ctr->removal_began >= REMOVAL_GIVE_UP)) {
		if (err.code)
			removal_failed(ctr, &err);
		container_poststop(ctr);
		return;
	}
	/* Somebody may have forked or joined while the first signal was on its way. */
	if (ctr->cgroup)
		(void)members_signal(ctr, SIGKILL);
	if (now - ctr->removal_began >= REMOVAL_SOON_FOR)
		wait = REMOVAL_LATER_MS;
	if (now >= ctr->removal_end) {
		if (alive)
			err_set(&err, EBUSY, "its processes do not die");
		removal_late(ctr, &err);
		wait = REMOVAL_LATE_MS;
	}
	timer_set(ctr->agent->loop, t, wait, container_kill);
}

static void on_poststop(struct container *ctr, const struct err *err)
{
	timer_cancel(&ctr->removal);
	if (err->code)
		removal_failed(ctr, err);
	container_release(ctr);
}

/* Hooks that end by no time of their own must not keep the container for ever. */
static void poststop_late(struct timer *t)
{
	struct container *ctr = container_of(t, struct container, removal);
	struct err err = { 0 };

	worker_cancel(TAKE_PTR(ctr->worker));
	err_set(&err, ETIMEDOUT, "the poststop hooks of container %s take too long", ctr->id);
	on_poststop(ctr, &err);
}

static void container_poststop(struct container *ctr)
{
	struct err err = { 0 };

	container_enter(ctr, CTR_POSTSTOP);
	if (container_hooks_start(ctr, 1u << HOOK_POSTSTOP, on_poststop, &err) != 0)
		on_poststop(ctr, &err);
	else
		timer_set(ctr->agent->loop, &ctr->removal, LIMIT_WORK_MS, poststop_late);
}

static void container_release(struct container *ctr)
{
	struct err err = { 0 };

	container_enter(ctr, CTR_RELEASING);
	if (list_empty(&ctr->storages.uses) ||
	    storages_release(ctr->agent, &ctr->sandbox->refs, &ctr->storages, container_free, ctr,
			     &err) < 0)
		container_free(ctr, &err);
}

static void container_free(void *arg, const struct err *err)
{
	struct container *ctr = arg;
	struct call *creator = TAKE_PTR(ctr->until_created);
	struct err create_err = ctr->create_err, removal_err;
	struct sandbox *sb = ctr->sandbox;
	struct list waiters;

	if (err->code)
		removal_failed(ctr, err);
	removal_err = ctr->removal_err;
	waiters_take(&ctr->until_gone, &waiters);
	container_enter(ctr, CTR_GONE);
	while (!list_empty(&ctr->processes))
		process_free(list_first(&ctr->processes, struct process, link));
	drains_close(ctr);
	cgroup_free(ctr->cgroup);
	ctr_rules_release(&ctr->rules);
	nspath_free(ctr->ns_paths);
	pci_map_free(&ctr->pci_map);
	cdi_forget(ctr);
	container_hooks_forget(ctr);
	list_del(&ctr->link);
	sb->container_count--;
	free(ctr->id);
	free(ctr);
	if (creator)
		(void)call_fail(creator, &create_err);
	waiters_tell(&waiters, &removal_err);
	if (list_empty(&sb->containers) && sb->emptied)
		sb->emptied(sb);
}

/* --- CreateContainer ----------------------------------------------------------------------- */

/*
 * Its steps stand below in their order, and at the end in a table by the state that they make true.
 * A step returns 1 when it is done, 0 when an event will tell its end (create_step_done), or -errno
 * with *err.
 */
static void create_next(struct container *ctr);

static void create_failed(struct container *ctr, const struct err *err)
{
	ctr->create_err = *err;
	container_take_down(ctr);
}

static void create_step_done(void *arg, const struct err *err)
{
	struct container *ctr = arg;

	if (ctr->state == CTR_ABANDONED)
		container_take_down(ctr);
	else if (err->code)
		create_failed(ctr, err);
	else
		create_next(ctr);
}

static void on_ns_opened(void *arg, const struct err *e, const struct buf *out)
{
	struct container *ctr = arg;
	struct err err = *e;

	(void)out;
	ctr->worker = NULL;
	if (err.code == 0)
		(void)nspath_take(ctr, &err);
	create_step_done(ctr, &err);
}

static void on_cdi(struct container *ctr, const struct err *e)
{
	struct err err = *e;

	if (ctr->state == CTR_ABANDONED || err.code || nspath_start(ctr, on_ns_opened, &err) != 0)
		create_step_done(ctr, &err);
}

static void on_devices(void *arg, const struct err *e)
{
	struct container *ctr = arg;
	struct err err = *e;
	int r = 1;

	if (ctr->state != CTR_ABANDONED && !err.code)
		(void)pci_map_translate(&ctr->pci_map, ctr->id, ctr->request->oci->process,
					&ctr->until_created->mem, &err);
	if (ctr->state != CTR_ABANDONED && !err.code)
		r = cdi_start(ctr, on_cdi, &err);
	if (r != 0)
		on_cdi(ctr, &err);
}

static int find_devices(struct container *ctr, struct err *err)
{
	const Grpc__CreateContainerRequest *req = ctr->request;
	int r;

	/* 1.x names no VFIO devices: what was plugged is found by looking for it. */
	if (req->n_devices == 0 && ctr->schema != SCHEMA_1X) {
		r = cdi_start(ctr, on_cdi, err);
		return r > 0 ? nspath_start(ctr, on_ns_opened, err) : r;
	}
	return devices_add(ctr->agent, ctr->schema, req->devices, req->n_devices, req->oci,
			   &ctr->pci_map, &ctr->until_created->mem, on_devices, ctr, err);
}

static int mount_storages(struct container *ctr, struct err *err)
{
	const Grpc__CreateContainerRequest *req = ctr->request;

	if (req->n_storages == 0)
		return 1;
	return storages_add(ctr->agent, &ctr->sandbox->refs, &ctr->storages, ctr->schema,
			    req->storages, req->n_storages, create_step_done, ctr, err);
}

/* The pid namespace that containers share ends with its init: then the next one makes it anew. */
static int shared_pid_ns(struct sandbox *sb)
{
	struct pollfd init = { .fd = sb->ns_pid_init, .events = POLLIN };

	if (sb->ns_pid_init >= 0 && poll(&init, 1, 0) > 0) {
		auto_closep(&sb->ns_pid);
		auto_closep(&sb->ns_pid_init);
	}
	return sb->ns_pid;
}

/* The first container's pid namespace is what later ones share on request. */
static void share_pid_ns(struct container *ctr)
{
	struct sandbox *sb = ctr->sandbox;
	char path[32];

	if (!ctr->own_pid_ns || shared_pid_ns(sb) >= 0)
		return;
	(void)snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)ctr->init->spawn.pid);
	sb->ns_pid = open(path, O_RDONLY | O_CLOEXEC);
	sb->ns_pid_ctr = ctr;
	sb->ns_pid_init = fcntl(ctr->init->spawn.pidfd, F_DUPFD_CLOEXEC, 3);
	if (sb->ns_pid < 0 || sb->ns_pid_init < 0) {
		auto_closep(&sb->ns_pid);
		auto_closep(&sb->ns_pid_init);
	}
}

static int plan_namespaces(struct container *ctr, const Grpc__CreateContainerRequest *req,
			   struct ns_plan *ret, struct err *err)
{
	struct sandbox *sb = ctr->sandbox;
	struct ns_sandbox ns = { .ipc = sb->ns_ipc, .uts = sb->ns_uts, .pid = FD_NONE };
	int r;

	if (ctr->schema == SCHEMA_1X && req->agent_pidns) {
		log_warn("container", "%s runs in the agent's own pid namespace", ctr->id);
		ns.agent_pid = ctr->agent->shares_pid_ns = true;
	} else if (sb->sandbox_pidns || req->sandbox_pidns) {
		ns.pid = shared_pid_ns(sb);
	}
	/* Without one its programs look for their limits in vain: /proc has the guest's paths. */
	ns.cgroup = cgroup_root_is_unified(sb->engine.cgroups);
	ns.opened = nspath_fds(ctr);
	r = ns_plan_build(req->oci, &ns, ret, err);
	ctr->own_flags = ret->own_flags;
	ctr->own_pid_ns = ret->new_flags & CLONE_NEWPID;
	return r;
}

static void on_init_event(struct spawn *s, enum spawn_event event, const struct err *e);
static void on_init_exit(struct process *p);

/* What the parent finds is told as what the child finds; a spec that makes no sense is not so. */
static int could_not_run(struct err *err)
{
	err->rpc = RPC_INTERNAL;
	return err_wrap(err, "Could not run process");
}

/* Everything that the init's start borrows: its rules, what hooks read, its cgroup. */
static int prepare_init(struct container *ctr, struct ns_plan *ns, struct err *err)
{
	const Grpc__CreateContainerRequest *req = ctr->request;
	const Grpc__Linux *l = req->oci->linux;
	struct sandbox *sb = ctr->sandbox;
	/* 3.x names the init after its container, whatever the request says. */
	bool by_id = ctr->schema == SCHEMA_3X || str_empty(req->exec_id);
	int r = rootfs_check(req->oci, err);

	if (r == 0)
		r = plan_namespaces(ctr, req, ns, err);
	if (r == 0)
		r = ctr_rules_build(req->oci, &ctr->rules, err);
	if (r == 0)
		r = container_hooks_prepare(ctr, req->oci, &ctr->until_created->mem, err);
	if (r < 0)
		return r;
	if (cgroup_create(sb->engine.cgroups, l ? l->cgroupspath : "", ctr->id,
			  l ? l->resources : NULL, &ctr->cgroup, err) < 0)
		return could_not_run(err);
	ctr->init = process_new(ctr, by_id ? ctr->id : req->exec_id, req->oci->process->terminal);
	if (!ctr->init)
		return err_sys(err, ENOMEM, "container");
	ctr->init->exited = on_init_exit;
	if (ctr->schema == SCHEMA_3X &&
	    passfd_take(ctr->init, req->stdin_port, req->stdout_port, req->stderr_port) < 0)
		return err_sys(err, ENOMEM, "container");
	return 0;
}

/*
 * What the agent runs while the init waits. A hook that the init makes is in the container's pid
 * namespace and has the guest's root: nobody else may be there.
 */
static unsigned int parent_hooks(const struct container *ctr)
{
	unsigned int kinds = 1u << HOOK_PRESTART | 1u << HOOK_CREATE_RUNTIME;

	return ctr->own_pid_ns ? kinds : kinds | 1u << HOOK_CREATE_CONTAINER;
}

/* The init is cloned, and builds its root; it stops there when hooks are to be run before. */
static int build_init(struct container *ctr, struct err *err)
{
	AUTO(ns_plan_release) struct ns_plan ns;
	struct hook_ctx ctx;
	struct spawn_plan plan;
	unsigned int hooks;
	int r;

	ns_plan_init(&ns);
	r = prepare_init(ctr, &ns, err);
	if (r < 0)
		return r;
	hooks = container_has_hooks(ctr, parent_hooks(ctr)) ? parent_hooks(ctr) : 0;
	ctx = container_hook_ctx(ctr);
	plan = (struct spawn_plan){
		.engine = &ctr->sandbox->engine,
		.process = ctr->request->oci->process,
		.rules = &ctr->rules,
		.cgroup = ctr->cgroup,
		.ns = &ns,
		.spec = ctr->request->oci,
		.parent_hooks = hooks,
		.hooks = &ctx,
		.init_pidfd = FD_NONE,
		.spied = container_is_spied(ctr),
	};
	r = spawn_start(&plan, &ctr->init->spawn, on_init_event, err);
	nspath_free(TAKE_PTR(ctr->ns_paths));
	if (r < 0)
		return could_not_run(err);
	process_started(ctr->init, PROC_RUNNING);
	return hooks ? 0 : 1;
}

static void on_prestart(struct container *ctr, const struct err *err)
{
	create_step_done(ctr, err);
}

static int run_prestart(struct container *ctr, struct err *err)
{
	return container_hooks_start(ctr, parent_hooks(ctr), on_prestart, err);
}

/* The init goes on, up to its gate before execve. */
static int seal_init(struct container *ctr, struct err *err)
{
	if (container_has_hooks(ctr, parent_hooks(ctr)) && spawn_continue(&ctr->init->spawn) < 0)
		return err_set(err, ECHILD, "the process died during the prestart hooks");
	return 0;
}

static void on_shared(void *arg, const struct err *err, const struct buf *out)
{
	struct container *ctr = arg;

	(void)out;
	ctr->worker = NULL;
	create_step_done(ctr, err);
}

/* The init has made its nodes and waits: now the device rules, and 3.x's shared mounts. */
static int share_mounts(struct container *ctr, struct err *err)
{
	const Grpc__CreateContainerRequest *req = ctr->request;
	const Grpc__Linux *l = req->oci->linux;
	const struct cgroup_devices devices = {
		.res = l ? l->resources : NULL,
		.device = l ? l->devices : NULL,
		.count = l ? l->n_devices : 0,
		.privileged = spec_is_privileged(req->oci, &ctr->rules),
	};
	int r = cgroup_set_devices(ctr->cgroup, &devices, err);

	return r < 0 ? r
		     : sharedmounts_start(ctr, req->shared_mounts, req->n_shared_mounts, on_shared,
					  err);
}

static void create_done(struct container *ctr)
{
	struct call *c = TAKE_PTR(ctr->until_created);

	ctr->request = NULL;
	ctr->was_created = true;
	members_know(ctr);
	container_enter(ctr, CTR_CREATED);
	if (process_is_dead(ctr->init))
		container_enter(ctr, CTR_STOPPED);
	share_pid_ns(ctr);
	(void)call_reply_empty(c);
}

static void create_next(struct container *ctr)
{
	static int (*const steps[])(struct container * ctr, struct err * err) = {
		[CTR_DEVICES] = find_devices,	 /* numbered as the guest has them; namespaces */
		[CTR_MOUNTING] = mount_storages, /* in workers */
		[CTR_BUILDING] = build_init,	 /* until SPAWN_MOUNTED, if there are hooks */
		[CTR_PRESTART] = run_prestart,	 /* hooks that the agent runs, in a worker */
		[CTR_SEALING] = seal_init,	 /* until SPAWN_READY */
		[CTR_SHARING] = share_mounts,	 /* in a worker */
	};
	struct err err = { 0 };
	int r = 1;

	while (r > 0 && ctr->state < CTR_SHARING) {
		container_enter(ctr, ctr->state + 1);
		r = steps[ctr->state](ctr, &err);
	}
	if (r < 0)
		create_failed(ctr, &err);
	else if (r > 0)
		create_done(ctr);
}

static int check_create(struct sandbox *sb, const Grpc__CreateContainerRequest *req,
			struct err *err)
{
	const Grpc__Spec *spec = req->oci;

	if (sb->state > SANDBOX_RUNNING || sb->state == SANDBOX_UNDOING)
		return err_rpc(err, RPC_FAILED_PRECONDITION, "the sandbox is being destroyed");
	if (!str_is_id(req->container_id))
		return err_rpc(err, RPC_INVALID_ARGUMENT, "invalid id format: '%s'",
			       req->container_id);
	if (container_find_any(sb, req->container_id))
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

int container_create(struct agent *a, const Grpc__CreateContainerRequest *req, struct call *c,
		     struct err *err)
{
	struct container *ctr;
	int r = check_create(a->sandbox, req, err);

	if (r < 0)
		return r;
	ctr = container_new(a, req->container_id);
	if (!ctr)
		return err_sys(err, ENOMEM, "container");
	ctr->schema = c->schema;
	ctr->request = req;
	ctr->until_created = c;
	(void)call_park(c, NULL, call_go_on, ctr);
	create_next(ctr);
	return CALL_PENDING;
}

/* --- StartContainer, and what becomes of the init ------------------------------------------ */

static void on_poststart(struct container *ctr, const struct err *err)
{
	struct call *c = TAKE_PTR(ctr->until_running);

	if (err->code) /* the container runs: the runtime-spec wants a line, not a failure */
		container_hook_failed(ctr, err->msg);
	container_enter(ctr, ctr->state == CTR_ENDING ? CTR_STOPPED : CTR_RUNNING);
	(void)call_reply_empty(c);
}

static void start_done(struct container *ctr)
{
	struct err err = { 0 };

	if (ctr->state == CTR_STARTING)
		container_enter(ctr, CTR_POSTSTART);
	oom_watch(ctr);
	if (container_hooks_start(ctr, 1u << HOOK_POSTSTART, on_poststart, &err) != 0)
		on_poststart(ctr, &err);
}

static void start_failed(struct container *ctr, const struct err *err)
{
	struct call *c = TAKE_PTR(ctr->until_running);

	container_enter(ctr, CTR_STOPPED);
	(void)call_fail(c, err);
}

int container_start(struct container *ctr, struct call *c, struct err *err)
{
	if (ctr->state != CTR_CREATED)
		return err_rpc(err, RPC_FAILED_PRECONDITION,
			       "Container %s status %s, should be created", ctr->id,
			       container_status(ctr));
	if (spawn_continue(&ctr->init->spawn) < 0)
		return err_rpc(err, RPC_UNKNOWN, "container process is already dead");
	container_enter(ctr, CTR_STARTING);
	ctr->until_running = c;
	return call_park(c, NULL, call_go_on, ctr);
}

static void on_init_exit(struct process *p)
{
	struct container *ctr = p->ctr;

	oom_check(ctr);
	if (ctr->state == CTR_KILLING) {
		timer_set(ctr->agent->loop, &ctr->removal, 0, container_kill);
		return;
	}
	if (ctr->state == CTR_CREATED || ctr->state == CTR_RUNNING)
		container_enter(ctr, CTR_STOPPED);
	else if (ctr->state == CTR_STARTING || ctr->state == CTR_POSTSTART)
		container_enter(ctr, CTR_ENDING);
	/* In a pid namespace of its own all the others are gone already. */
	if (!ctr->own_pid_ns)
		(void)members_signal(ctr, SIGKILL);
}

/* "The process died" is no help to somebody whose limit leaves no room for a process. */
static void explain_death(const struct container *ctr, struct err *err)
{
	const Grpc__Linux *l = ctr->request ? ctr->request->oci->linux : NULL;
	const Grpc__LinuxMemory *m = l && l->resources ? l->resources->memory : NULL;

	if (!err->code || cgroup_is_none(ctr->cgroup) || cgroup_oom_check(ctr->cgroup) <= 0)
		return;
	if (m && m->limit > 0)
		err_set(err, ENOMEM,
			"killed for lack of memory: the memory limit of %lld bytes is too small "
			"for the container to start",
			(long long)m->limit);
	else
		err_set(err, ENOMEM, "killed for lack of memory before the container could start");
}

/* The init's way up to its gate is part of the creation; from there on, of the start. */
static void on_init_event(struct spawn *s, enum spawn_event event, const struct err *e)
{
	struct process *p = container_of(s, struct process, spawn);
	struct container *ctr = p->ctr;
	struct err err = *e;

	if (event == SPAWN_BORN) {
		process_born(p);
		return;
	}
	if (container_is_removing(ctr))
		return;
	stdio_take(p);
	passfd_begin(p);
	if (event == SPAWN_UNSHARED) {
		if (spawn_map_ids(s, ctr->request->oci, ctr->rules.oom_score_adj, &err) < 0)
			create_step_done(ctr, &err);
		return;
	}
	if (event == SPAWN_HOOK_FAILED) {
		container_hook_failed(ctr, err.msg);
		return;
	}
	if (event == SPAWN_RUNNING && container_is_creating(ctr))
		err_set(&err, ECHILD, "the process died before it was started");
	explain_death(ctr, &err);
	if (err.code)
		err.rpc = RPC_INTERNAL;
	if (container_is_creating(ctr)) {
		if (err.code)
			(void)could_not_run(&err);
		create_step_done(ctr, &err);
	} else if (ctr->until_running && err.code) {
		start_failed(ctr, &err);
	} else if (ctr->until_running) {
		start_done(ctr);
	}
}
