/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lives between calls: the sandbox, its containers, their processes, and the processes'
 * standard streams.
 *
 * Each has one field for its state, and one function that changes it (..._enter, in pod.c), which
 * asserts that the tables there allow the step. A parked call is kept under the name of what ends
 * it (until_...), and may be parked in the states that name it below and in no other: a state is
 * left only after the calls that end with it have been answered, which is asserted too.
 *
 * Sandbox. Parked: until_running (CreateSandbox), until_none (DestroySandbox).
 *
 *	NONE		CreateSandbox: -> MODULES. DestroySandbox: answered, there is nothing; but
 *			with containers or storages, which 3.x makes without a sandbox, or a rest
 *			of the last one: -> EMPTYING.
 *	MODULES		until_running. Kernel modules loaded, guest hooks found: -> MOUNTING.
 *			Failed: -> NONE, fails.
 *	MOUNTING	until_running. Storages mounted, name servers set: -> RUNNING, answered.
 *			No storages: -> NONE, fails. No name servers: -> UNDOING.
 *	UNDOING		until_running. Storages unmounted, the name servers' file, too: -> NONE,
 *			fails.
 *	RUNNING		DestroySandbox: -> EMPTYING. CreateSandbox: refused in all but NONE.
 *	EMPTYING	until_none. All containers are removed at once. The last one is gone:
 *			-> UNMOUNTING.
 *	UNMOUNTING	until_none. Storages unmounted: -> SYNCING.
 *	SYNCING		until_none. Disks synced: -> NONE, answered; or failed, where a storage
 *			is left: the next storage operation unmounts it, or DestroySandbox.
 *	DestroySandbox while it is being created is refused; while it is being destroyed it waits
 *	for the same end. After 50 s who waits is told that it lasts, and it goes on.
 *
 * Container. Parked: until_created (CreateContainer), until_running (StartContainer), until_gone
 * (RemoveContainer, DestroySandbox); until_updated (UpdateContainer while another's is under way).
 *
 *	NEW		The id is taken. Nobody but RemoveContainer sees it before CREATED.
 *	DEVICES		until_created. Found, CDI's edits made, namespaces that have paths opened:
 *			-> MOUNTING.
 *			Removed: -> ABANDONED.
 *	MOUNTING	until_created. Storages mounted: -> BUILDING. Removed: -> ABANDONED.
 *	BUILDING	until_created. The init has built its root: -> PRESTART.
 *	PRESTART	until_created. Hooks have run: -> SEALING.
 *	SEALING		until_created. The init is at its gate before execve: -> SHARING.
 *	SHARING		until_created. Shared mounts are there: -> CREATED, answered.
 *	CREATED		StartContainer: -> STARTING. The init dies: -> STOPPED.
 *	STARTING	until_running. execve: -> POSTSTART; fails: -> STOPPED, fails. The init
 *			dies: -> ENDING.
 *	POSTSTART	until_running. Hooks have run: -> RUNNING, answered. The init dies:
 *			-> ENDING.
 *	RUNNING		The init dies: -> STOPPED.
 *	ENDING		until_running. The init is gone already; what was begun is told yet: hooks
 *			have run, or execve is known to have failed: -> STOPPED, answered.
 *	STOPPED		Waits for RemoveContainer.
 *	ABANDONED	until_created, until_gone. To be removed once what is being found or mounted
 *			for it has come: -> KILLING.
 *	KILLING		until_created, until_gone: both fail after 10 s, and the next to come
 *			after 10 s of his. Init reaped and cgroup gone: -> POSTSTOP.
 *	POSTSTOP	until_created, until_gone. Hooks have run: -> RELEASING.
 *	RELEASING	until_created, until_gone. Storages released: -> GONE.
 *	GONE		Freed; all that waited have their answer.
 *	Whatever fails before CREATED, and RemoveContainer or DestroySandbox at any time, takes the
 *	last five: until_created then fails when nothing is left; until_running fails at once, and
 *	so do until_updated and calls parked with the processes. RemoveContainer while it is removed
 *	waits for the same end.
 *
 * Freezer, of a container in CREATED to STOPPED. Parked: until_settled (Pause-, ResumeContainer).
 *
 *	THAWED		PauseContainer: -> FREEZING.
 *	FREEZING	until_settled. Frozen: -> FROZEN, answered. 50 s: -> THAWED, fails.
 *	FROZEN		ResumeContainer: -> THAWING. A signal to all thaws: -> SIGNALLED.
 *	THAWING		until_settled. Thawed: -> THAWED, answered. 50 s: -> FROZEN, fails.
 *	SIGNALLED	Thawed, but the host that paused it believes that it has yet to resume it:
 *			ResumeContainer: -> THAWED, answered. PauseContainer: -> FREEZING.
 *	The container's removal: -> THAWED, until_settled fails.
 *
 * Process. Parked: until_running (ExecProcess), until_exited (WaitProcess).
 *
 *	NEW		Not cloned yet.
 *	STARTING	until_running; an exec, nobody sees it. execve: -> RUNNING, answered; fails:
 *			freed, fails. It dies: -> ENDING.
 *	RUNNING		until_exited. It dies: -> EXITED, or with until_exited: -> TOLD, answered;
 *			but with output on its way to streams of the host's: -> DELIVERING.
 *			Inits come here from NEW: their container's state says the rest.
 *	ENDING		until_running. Gone before the agent heard of execve, which it does now:
 *			-> EXITED or DELIVERING, answered.
 *	DELIVERING	until_exited. passfd: all is with the host, or who else holds the pipes is
 *			silent, or the host is gone: -> EXITED or TOLD as above.
 *	EXITED		WaitProcess: -> TOLD, answered.
 *	TOLD		An exec is freed once its output has been read, or after 10 s.
 *	With its container it goes in any state: until_running fails, until_exited is answered with
 *	the status of the death by which it goes.
 *
 * Stream. Parked: until_ready (ReadStdout, ReadStderr, WriteStdin).
 *
 *	OPEN		until_ready. A reader is told the end: -> ENDED. CloseStdin: -> ENDED, or
 *			while writes wait -> CLOSING.
 *	CLOSING		until_ready. The last write is through, or fails: -> ENDED.
 *	ENDED		Readers are told the end (3.x: an empty success, and the error from then
 *			on), writers that nothing was written (3.x: an error).
 *	With its process it ends in any state: readers get the end, writers an error.
 *	The end of a pipe is when all have closed it; or, where a WaitProcess has come, who then
 *	wants to be done with the process, half a second of silence after its death: what others
 *	write to the pipe later goes into nothing (drain.h). A terminal ends with its process.
 */
#ifndef POD_POD_H
#define POD_POD_H

#include <linux/capability.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent.pb-c.h"
#include "oci/spawn.h"
#include "base/err.h"
#include "base/list.h"
#include "base/loop.h"
#include "base/reaper.h"
#include "base/worker.h"
#include "rpc/call.h"
#include "pod/pcimap.h"
#include "pod/storage.h"

struct agent;
struct cdi_op;
struct container;
struct guest_hooks;
struct nspath;
struct passfd;
struct process;
struct worker;

enum sandbox_state {
	SANDBOX_NONE,
	SANDBOX_MODULES,
	SANDBOX_MOUNTING,
	SANDBOX_UNDOING,
	SANDBOX_RUNNING,
	SANDBOX_EMPTYING,
	SANDBOX_UNMOUNTING,
	SANDBOX_SYNCING,
};

/* In the order of a container's life: what is created goes through all up to CREATED. */
enum container_state {
	CTR_NEW,
	CTR_DEVICES,
	CTR_MOUNTING,
	CTR_BUILDING,
	CTR_PRESTART,
	CTR_SEALING,
	CTR_SHARING,
	CTR_CREATED,
	CTR_STARTING,
	CTR_POSTSTART,
	CTR_RUNNING,
	CTR_ENDING,
	CTR_STOPPED,
	CTR_ABANDONED, /* from here on it is being removed */
	CTR_KILLING,
	CTR_POSTSTOP,
	CTR_RELEASING,
	CTR_GONE,
};

enum freezer_state {
	FREEZER_THAWED,
	FREEZER_FREEZING,
	FREEZER_FROZEN,
	FREEZER_THAWING,
	FREEZER_SIGNALLED,
};

enum process_state {
	PROC_NEW,
	PROC_STARTING,
	PROC_RUNNING,
	PROC_ENDING, /* from here on it is dead */
	PROC_DELIVERING,
	PROC_EXITED,
	PROC_TOLD,
};

enum stream_state { STREAM_OPEN, STREAM_CLOSING, STREAM_ENDED };

/* Somebody who waits for a container's end; list_del(&w->link) is enough not to be told. */
struct gone_waiter {
	struct list link; /* in container->until_gone */
	/*
	 * The container is freed already, err->code is 0 when nothing of it is left; or it doesn't
	 * die, and the error says so.
	 */
	void (*gone)(struct gone_waiter *w, const struct err *err);
};

struct sandbox {
	struct agent *agent;
	enum sandbox_state state;
	struct call *until_running;
	struct list until_none;
	struct engine engine;
	char *id;			 /* "" until known */
	struct guest_hooks *guest_hooks; /* NULL: none */
	struct list containers;
	size_t container_count;
	struct storage_refs refs;
	struct storage_set storages;
	int ns_ipc, ns_uts; /* FD_NONE: none are shared */
	int ns_pid;	    /* the pause process's or the first container's; FD_NONE: none known */
	int ns_pid_init;    /* pidfd of that container's init; FD_NONE: it is the pause process's */
	const struct container *ns_pid_ctr;  /* that container, until it is being removed */
	bool sandbox_pidns;		     /* all containers join ns_pid */
	struct reap pause;		     /* the pause process; pid 0: none */
	void (*emptied)(struct sandbox *sb); /* the last container is gone; in EMPTYING */
	struct err destroy_err;		     /* the first storage that could not be unmounted */
	bool rest; /* something of the last sandbox is left, perhaps: DestroySandbox looks */
	struct timer patience;	    /* of those who wait for DestroySandbox */
	struct timer end;	    /* agent.trace: of the agent, behind DestroySandbox */
	bool traced, trace_stopped; /* StartTracing and StopTracing came */
};

/* One of a process's standard streams. */
struct stdio_stream {
	struct process *process;
	enum stream_state state;
	struct list until_ready; /* oldest first */
	struct source source;
	int fd; /* non-blocking; FD_NONE: never was, or closed */
	struct timer silence;
	/* 3.x: a reader has had the empty answer; on a terminal err's says it for stderr */
	bool end_told;
};

struct process {
	struct list link; /* in container->processes */
	struct container *ctr;
	enum process_state state;
	struct call *until_running;
	struct list until_exited;
	char *exec_id;
	struct spawn spawn;
	struct reap reap;
	bool terminal;
	bool waited;			  /* a WaitProcess has been parked or answered */
	int64_t read_at;		  /* when a reader came last, in loop_now_ms() */
	int status;			  /* once dead: exit code, or 128 + signal */
	struct stdio_stream in, out, err; /* with a terminal, in and err stand on out's fd */
	struct passfd *passfd;		  /* its streams are the host's; NULL: read by calls */
	struct timer linger;		  /* in TOLD, until it is freed */
	/* Set by who made it; both may be NULL. They don't free it. */
	void (*exited)(struct process *p);
	void (*drained)(struct process *p); /* both outputs have ended */
};

struct freezer {
	enum freezer_state state;
	struct call *until_settled;
	struct timer timer; /* the next look */
	int64_t end, poll_ms;
};

struct container {
	struct list link; /* in sandbox->containers */
	struct agent *agent;
	struct sandbox *sandbox;
	enum container_state state;
	struct call *until_created;
	struct call *until_running;
	struct list until_gone;	   /* struct gone_waiter */
	bool traces;		   /* an exec of its own capabilities had CAP_SYS_PTRACE */
	struct call *updating;	   /* in a worker; with the next one update.c's */
	struct list until_updated; /* oldest first */
	char *id;
	enum schema schema;			     /* of the call that made it */
	const Grpc__CreateContainerRequest *request; /* in until_created's arena */
	struct list processes;
	struct list drains; /* drain.c's */
	size_t drain_count;
	struct process *init;  /* NULL before BUILDING */
	struct cgroup *cgroup; /* NULL before BUILDING */
	struct freezer freezer;
	struct ctr_rules rules;
	struct pci_map pci_map;	   /* the host's addresses of VFIO devices, and ours */
	struct nspath *ns_paths;   /* until BUILDING; NULL: it joins none by path */
	unsigned int own_flags;	   /* namespaces that an exec has to join */
	uint64_t mount_ns, pid_ns; /* members.c's: its own, without cgroups; 0: it has none */
	bool own_pid_ns;	   /* its init takes everybody along when it dies */
	struct storage_set storages;
	struct worker
		*worker; /* of namespaces, hooks or shared mounts, in the states that have them */
	struct cdi_op *cdi; /* while its worker reads */
	struct timer
		sharing; /* in SHARING, until the next try; with the next three sharedmount.c's */
	int64_t sharing_end;
	size_t shared; /* mounts that are through */
	worker_done *sharing_done;
	Grpc__Spec
		*kept; /* version, hooks, annotations, root, mounts; with the next four hook.c's */
	char *bundle;  /* that hooks are told */
	bool has_config;	 /* there is a config.json for hooks */
	unsigned int hook_kinds; /* those that run, as bits */
	void (*hooks_done)(struct container *ctr, const struct err *err);
	struct source oom_source; /* with the next two oom.c's */
	struct timer oom_timer;
	int oom_fd;
	bool was_created;		    /* somebody has seen it */
	struct timer removal;		    /* in KILLING, until the next try */
	int64_t removal_began, removal_end; /* who waits is told at the end, KILLING goes on */
	struct err create_err;		    /* why until_created fails */
	struct err removal_err;		    /* the first thing that went wrong in the removal */
};

void sandbox_enter(struct sandbox *sb, enum sandbox_state state);
void container_enter(struct container *ctr, enum container_state state);
void freezer_enter(struct container *ctr, enum freezer_state state);
void process_enter(struct process *p, enum process_state state);
void stream_enter(struct stdio_stream *s, enum stream_state state);

static inline bool container_is_creating(const struct container *ctr)
{
	return ctr->state < CTR_CREATED;
}

/* Its init is gone: nothing of it runs, or won't for long. */
static inline bool container_is_over(const struct container *ctr)
{
	return ctr->state >= CTR_ENDING;
}

static inline bool container_is_removing(const struct container *ctr)
{
	return ctr->state >= CTR_ABANDONED;
}

/* Who may see its processes may trace them: it, or another of the pod. */
static inline bool container_is_spied(const struct container *ctr)
{
	list_for_each(struct container, other, &ctr->sandbox->containers, link) {
		if (other->traces || other->rules.caps.bounding & UINT64_C(1) << CAP_SYS_PTRACE)
			return true;
	}
	return false;
}

static inline bool container_is_paused(const struct container *ctr)
{
	return ctr->freezer.state == FREEZER_FROZEN || ctr->freezer.state == FREEZER_THAWING;
}

static inline bool process_is_dead(const struct process *p)
{
	return p->state >= PROC_ENDING;
}

#endif
