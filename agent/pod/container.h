/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Containers and their processes as the RPCs see them.
 *
 * A container is on its sandbox's list from the moment its id is reserved until the last of its
 * teardown is done; a process belongs to its container's list until it has been waited for.
 */
#ifndef POD_CONTAINER_H
#define POD_CONTAINER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent.pb-c.h"
#include "oci/spawn.h"
#include "base/list.h"
#include "base/reaper.h"
#include "rpc/call.h"
#include "pod/hook.h"
#include "pod/storage.h"

struct agent;
struct sandbox;
struct worker;

enum container_state {
	CTR_CREATING, /* id reserved; nobody else sees it */
	CTR_CREATED,  /* its init waits for StartContainer */
	CTR_STARTING,
	CTR_RUNNING,
	CTR_STOPPED, /* its init is gone */
	CTR_REMOVING,
};

struct process;

/* One of a process's streams towards the client. */
struct stream_end {
	struct process *process;
	struct source source;
	int fd;		   /* non-blocking; FD_NONE: never was, or closed */
	struct list calls; /* parked, oldest first */
	bool eof;	   /* told or known: nothing more will come */
};

struct process {
	struct list link; /* in container->processes */
	struct container *ctr;
	char *exec_id;
	struct spawn spawn;
	struct reap reap;
	bool terminal;
	bool exited;
	bool waited;	  /* its status has been told at least once */
	bool close_stdin; /* once the writes that wait are through */
	bool draining;	  /* grace after the exit is over: only what is in the pipes counts */
	int status;	  /* exit code, or 128 + signal */
	struct stream_end in, out, err; /* with a terminal, in and err stand on out's fd */
	size_t out_left, err_left;	/* bytes to deliver yet, when draining */
	struct timer grace;
	struct timer linger;  /* until it is let go, once its status has been told */
	struct list waiters;  /* parked WaitProcess calls */
	struct call *starter; /* CreateContainer or ExecProcess that started it */
};

struct container {
	struct list link; /* in sandbox->containers */
	struct agent *agent;
	struct sandbox *sandbox;
	char *id;
	enum container_state state;
	enum schema schema; /* of the call that made it */
	bool paused;
	struct list processes;
	struct process *init; /* NULL before it is spawned */
	struct cgroup *cgroup;
	struct ctr_rules rules;
	unsigned int own_flags; /* namespaces that an exec has to join */
	bool own_pid_ns;	/* its init takes everybody along when it dies */
	struct storage_set storages;
	Grpc__Spec *kept;     /* version, hooks, annotations, root; svc/hook.c's */
	bool explicit_cpus;   /* cpuset given: OnlineCPUMem leaves it alone */
	struct call *pending; /* CreateContainer or StartContainer under way */
	const Grpc__CreateContainerRequest *request; /* in pending's arena, while creating */
	bool waiting;		/* for devices or storages: request and container must stay */
	struct worker *sharing; /* makes shared mounts, or NULL */
	struct worker *hooks;	/* NULL: none run; this and the next four are svc/hook.c's */
	hooks_done *hooks_done;
	unsigned int hook_kinds; /* those that run, as bits */
	char *bundle;		 /* that hooks are told */
	bool has_config;	 /* there is a config.json for hooks */
	struct source oom_source;
	struct timer oom_timer;
	int oom_fd;
	struct list oom_link; /* in agent->oom_events */
	struct timer timer;   /* freezing, or removing */
	int freeze_tries;
	struct call *freezer; /* PauseContainer or ResumeContainer under way */
	struct teardown *teardown;
};

/*
 * NULL with *err: "Container X not found", with the status that the call's schema has for it.
 * Containers being created are not found.
 */
struct container *container_find(struct call *c, const char *id, struct err *err);
struct container *container_find_any(struct sandbox *sb, const char *id);

/* err->code is 0 for success; the container is freed right after, on success and on failure. */
typedef void container_gone(void *arg, const struct err *err);
/*
 * Kills what runs, removes the cgroup, runs the poststop hooks, drops the storages, frees. 0: done
 * follows from the loop; -EALREADY when it is being removed already.
 */
int container_remove(struct container *ctr, container_gone *done, void *arg);
/* A pause or resume under way fails; its call is answered. */
void container_abandon_freeze(struct container *ctr);
/* StartContainer's second half: execve has succeeded, or has not. */
void container_running(struct container *ctr);
/* The init has been reaped: called by its process. */
void container_init_exited(struct container *ctr);

int svc_create_container(struct call *c, const void *req, struct err *err);
int svc_start_container(struct call *c, const void *req, struct err *err);
int svc_remove_container(struct call *c, const void *req, struct err *err);
int svc_update_container(struct call *c, const void *req, struct err *err);
int svc_stats_container(struct call *c, const void *req, struct err *err);
int svc_pause_container(struct call *c, const void *req, struct err *err);
int svc_resume_container(struct call *c, const void *req, struct err *err);
int svc_list_processes(struct call *c, const void *req, struct err *err);
int svc_get_oom_event(struct call *c, const void *req, struct err *err);

#endif
