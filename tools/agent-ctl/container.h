/* SPDX-License-Identifier: Apache-2.0 */
/* Sandboxes and containers: the requests that take more than their fields. */
#ifndef CTL_CONTAINER_H
#define CTL_CONTAINER_H

#include "ctl.h"
#include "spec.h"

struct share_options {
	const char *dir; /* host directory that the VM exports as kataShared */
	bool none;	 /* the agent sees our own file system */
	const char *fs;	 /* "9p" or "virtio-fs"; NULL: what the agent has, 9p first */
};

/* --shared, --no-share and AGENT_CTL_SHARED. */
#define SHARE_OPTIONS(s)                                                                           \
	{ 0,	     "shared",                                                                     \
	  OPT_STR,   &(s)->dir,                                                                    \
	  "HOSTDIR", "host directory that the guest sees as kataShared (AGENT_CTL_SHARED)" },      \
		{ 0,	   "fs",                                                                   \
		  OPT_STR, &(s)->fs,                                                               \
		  "TYPE",  "how it is exported: 9p or virtio-fs (what the agent has, 9p first)" }, \
	{                                                                                          \
		0, "no-share", OPT_FLAG, &(s)->none, NULL,                                         \
			"no share: the agent sees root.path as it is"                              \
	}

int share_check(struct share_options *s, struct err *err);

/*
 * Adds what a runtime sends for the share to request->storages. fs may be NULL: 9p where the agent
 * has it (the Rust agent lost it in 3.29), else virtio-fs.
 */
int sandbox_add_share(struct ctl *c, json_object *request, const char *fs, struct err *err);
/*
 * One that is there already is an error with RPC status ALREADY_EXISTS, also with the Rust agent,
 * which would make it anew, over all that is in it.
 */
int sandbox_create(struct ctl *c, const char *id, const struct share_options *share,
		   struct err *err);

int container_create(struct ctl *c, const char *id, const struct share_options *share,
		     const struct spec_options *opt, bool *ret_terminal, struct err *err);
int container_start(struct ctl *c, const char *id, struct err *err);
int container_kill(struct ctl *c, const char *id, struct err *err); /* all of it, SIGKILL */
/* Kills first when the agent says that it still runs. */
int container_remove(struct ctl *c, const char *id, struct err *err);

struct exec_options {
	const char *user, *cwd;
	struct strlist env;
	bool terminal;
	char *const *argv;
	json_object *process; /* an OCI process to start from; NULL: none */
};

int container_exec(struct ctl *c, const char *id, const char *exec_id, const struct exec_options *o,
		   struct err *err);
int container_wait(struct ctl *c, const char *id, const char *exec_id, int *ret_status,
		   struct err *err);

/* "PREFIX-" and eight random hexadecimal digits; the caller's. */
char *random_id(const char *prefix);
/* 126, 127 or 125, from what the agent says about a command that it could not start. */
int start_failure_status(const struct err *err);

#endif
