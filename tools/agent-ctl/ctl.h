/* SPDX-License-Identifier: Apache-2.0 */
/* What every command has: the global options and a connection to the agent. */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include "opt.h"
#include "pbjson.h"
#include "rpc.h"

#include <signal.h>

struct ctl {
	const char *addr_text, *protocol;
	double timeout_s, wait_s; /* -1: not given */
	bool verbose, help;
	bool chosen; /* the protocol, by the method: the agent may have no such */
	struct loop loop;
	struct addr addr;
	const struct rpc_ops *ops;
	const struct schema *schema;
	struct rpc *rpc;    /* NULL until ctl_connect */
	char *connected_to; /* its address */
	sigset_t signals;   /* as we were started */
};

struct command {
	const char *name, *usage, *summary;
	int (*run)(struct ctl *c, const struct command *self, int argc, char **argv);
	const struct thin *thin; /* a command that is one RPC */
};

/* What options may change while one command of several runs. */
struct ctl_settings {
	const char *addr_text, *protocol;
	double timeout_s, wait_s; /* -1: not given */
	bool verbose, help;
};

/* The whole program; the result is the exit status. */
int ctl_main(int argc, char **argv);
/* One command and its arguments (argv[argc] is NULL); its options are forgotten behind it. */
int ctl_run(struct ctl *c, int argc, char **argv);
/* Parses global and own options. True: go on. False: *ret is the exit status (help, bad usage). */
bool ctl_options(struct ctl *c, const struct command *self, const struct opt *own, size_t n_own,
		 int stop, int *argc, char **argv, int min_args, int max_args, int *ret);
/* The messages that --protocol speaks; for auto and unknown ones those of 3.x. */
const struct schema *ctl_schema(const struct ctl *c);
bool ctl_is_3x(const struct ctl *c);
/* With --protocol auto: a method that only one protocol has decides. Before ctl_connect. */
void ctl_wants(struct ctl *c, const char *method);
/*
 * Finds out what --addr and --protocol mean; the ones below do so themselves. With auto c->schema
 * is NULL until an agent has answered.
 */
int ctl_resolve(struct ctl *c, struct err *err);
/* Only a socket, for up to --wait seconds (or default_wait_s) until there is one. */
int ctl_connect_socket(struct ctl *c, double default_wait_s, int *ret_fd, struct err *err);
/*
 * Connects, for up to --wait seconds (or default_wait_s), until the agent answers a Check. A
 * connection that is there is used again.
 */
int ctl_connect(struct ctl *c, double default_wait_s, struct err *err);
void ctl_disconnect(struct ctl *c);
/* Reports err, returns the exit status for it. */
int ctl_fail(const struct err *err);

/* A call by name. json may be NULL: an empty request. ret may be NULL. */
int ctl_call_json(struct ctl *c, const char *method, json_object *json,
		  const struct pb_rules *rules, ProtobufCMessage **ret, struct err *err);
int ctl_call(struct ctl *c, const char *method, const ProtobufCMessage *req, ProtobufCMessage **ret,
	     struct err *err);
int64_t ctl_timeout(const struct ctl *c, const char *method);

/* json helpers */
static inline void json_put_str(json_object *o, const char *key, const char *value)
{
	(void)json_object_object_add(o, key, json_object_new_string(value));
}

extern const struct command commands[];
extern const size_t n_commands;

#endif
