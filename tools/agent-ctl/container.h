/* SPDX-License-Identifier: Apache-2.0 */
/* Sandboxes and containers: the requests that take more than their fields. */
#ifndef CTL_CONTAINER_H
#define CTL_CONTAINER_H

#include "ctl.h"
#include "spec.h"

struct share_options {
	const char *dir; /* host directory that the VM exports as kataShared */
	bool none;	 /* the agent sees our own file system */
};

/* --shared, --no-share and AGENT_CTL_SHARED. */
#define SHARE_OPTIONS(s)                                                                      \
	{ 0,	     "shared",                                                                \
	  OPT_STR,   &(s)->dir,                                                               \
	  "HOSTDIR", "host directory that the guest sees as kataShared (AGENT_CTL_SHARED)" }, \
	{                                                                                     \
		0, "no-share", OPT_FLAG, &(s)->none, NULL,                                    \
			"no share: the agent sees root.path as it is"                         \
	}

int share_check(struct share_options *s, struct err *err);

/* Adds what a 1.x runtime sends for the share to request->storages, with 9p over virtio. */
void sandbox_add_share(json_object *request);
/* RPC status ALREADY_EXISTS is an error like others; see err->rpc. */
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
