/* SPDX-License-Identifier: Apache-2.0 */
/* What every command has: the global options and a connection to the agent. */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include "opt.h"
#include "pbjson.h"
#include "rpc.h"

struct ctl {
	const char *addr_text, *protocol;
	double timeout_s, wait_s;
	bool wait_given, verbose, help;
	struct loop loop;
	struct addr addr;
	const struct rpc_ops *ops;
	const struct schema *schema;
	struct rpc *rpc; /* NULL until ctl_connect */
};

struct command {
	const char *name, *usage, *summary;
	int (*run)(struct ctl *c, const struct command *self, int argc, char **argv);
	const struct thin *thin; /* a command that is one RPC */
};

/* The whole program; the result is the exit status. */
int ctl_main(int argc, char **argv);
/* Parses global and own options. True: go on. False: *ret is the exit status (help, bad usage). */
bool ctl_options(struct ctl *c, const struct command *self, const struct opt *own, size_t n_own,
		 int stop, int *argc, char **argv, int min_args, int max_args, int *ret);
/* The messages that --protocol speaks; grpc's for an unknown one. */
const struct schema *ctl_schema(const struct ctl *c);
/* Finds out what --addr and --protocol mean; the ones below do so themselves. */
int ctl_resolve(struct ctl *c, struct err *err);
/* Only a socket, for up to --wait seconds (or default_wait_s) until there is one. */
int ctl_connect_socket(struct ctl *c, double default_wait_s, int *ret_fd, struct err *err);
/* Connects, for up to --wait seconds (or default_wait_s), until the agent answers a Check. */
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
