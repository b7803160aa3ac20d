/* SPDX-License-Identifier: Apache-2.0 */
/* Global options, connecting, calling, the command table's driver. */
#include "ctl.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>

#define RETRY_MS   25
#define ATTEMPT_MS 10000
#define TTRPC_MS   3000 /* for the first answer, where it may be an agent that knows only gRPC */

#define USUAL_S 60 /* of a call, where nobody says how long it may take */

/* They answer when something happens in the guest: they may take as long as they like. */
static const char *const endless[] = {
	"WaitProcess", "ReadStdout", "ReadStderr", "WriteStdin", "GetOOMEvent",
};

int64_t ctl_timeout(const struct ctl *c, const char *method)
{
	for (size_t i = 0; c->timeout_s < 0 && i < ARRAY_LEN(endless); i++) {
		if (!strcmp(endless[i], method))
			return RPC_NO_TIMEOUT;
	}
	if (c->timeout_s < 0)
		return USUAL_S * 1000;
	return c->timeout_s > 0.001 ? (int64_t)(c->timeout_s * 1000) : RPC_NO_TIMEOUT;
}

static const struct protocol {
	const char *name;
	const struct rpc_ops *ops;
	const struct schema *schema;
} protocols[] = {
	{ "grpc", &rpc_grpc, &schema_1x },
	{ "ttrpc", &rpc_ttrpc, &schema_3x },
};

/* ttrpc first: a gRPC server closes at once, while the Rust agent keeps waiting for the rest. */
static bool is_auto(const struct ctl *c)
{
	return !strcmp(c->protocol, "auto");
}

static const struct protocol *find_protocol(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(protocols); i++) {
		if (!strcmp(protocols[i].name, name))
			return &protocols[i];
	}
	return NULL;
}

const struct schema *ctl_schema(const struct ctl *c)
{
	const struct protocol *p = find_protocol(c->protocol);

	return p ? p->schema : &schema_3x;
}

bool ctl_is_3x(const struct ctl *c)
{
	return c->schema == &schema_3x;
}

void ctl_wants(struct ctl *c, const char *method)
{
	const char *service;
	bool in_1x = schema_method(&schema_1x, method, &service) != NULL;
	bool in_3x = schema_method(&schema_3x, method, &service) != NULL;

	if (is_auto(c) && in_1x != in_3x) {
		c->protocol = in_1x ? "grpc" : "ttrpc";
		c->chosen = true;
	}
}

static const char *address_text(const struct ctl *c)
{
	return c->addr_text ? c->addr_text : getenv("AGENT_CTL_ADDR");
}

int ctl_resolve(struct ctl *c, struct err *err)
{
	const struct protocol *p;

	c->addr_text = address_text(c);
	if (!c->addr_text || !*c->addr_text)
		return err_set(
			err, EINVAL,
			"where is the agent? Give --addr or set AGENT_CTL_ADDR "
			"(unix://PATH, hvsock://PATH:PORT, vsock://CID:PORT, serial://PATH)");
	if (addr_parse(c->addr_text, &c->addr, err) < 0)
		return -err->code;
	if (is_auto(c) && c->addr.kind == ADDR_SERIAL)
		c->protocol = "grpc"; /* 3.x has no serial port */
	p = find_protocol(c->protocol);
	if (!p && !is_auto(c))
		return err_set(err, EINVAL, "unknown protocol '%s' (auto, grpc, ttrpc)",
			       c->protocol);
	c->ops = p ? p->ops : NULL;
	c->schema = p ? p->schema : NULL;
	return 0;
}

/* ---- connecting ---- */

static int try_protocol(struct ctl *c, bool check, int64_t attempt, struct err *err)
{
	PB_LOCAL(Grpc__CheckRequest, grpc__check_request, req);
	const char *service;
	int64_t left;
	int fd, r;

	r = addr_connect(&c->addr, attempt, &fd, err);
	if (r < 0)
		return r;
	c->rpc = rpc_open(&c->loop, fd, c->addr.kind == ADDR_SERIAL, c->ops);
	c->connected_to = xstrdup(c->addr_text);
	if (!check)
		return 0;
	left = attempt - now_ms();
	r = rpc_sync(c->rpc, "grpc.Health", schema_method(c->schema, "Check", &service), &req.base,
		     left > 0 ? left : 1, NULL, err);
	if (r < 0 && (err->rpc == RPC_UNAVAILABLE || err->rpc == RPC_DEADLINE_EXCEEDED)) {
		ctl_disconnect(c);
		err->code = ETIMEDOUT;
		err->rpc = 0;
		return -ETIMEDOUT;
	}
	return 0; /* any other answer is an answer */
}

static int try_connect(struct ctl *c, bool check, int64_t deadline_ms, struct err *err)
{
	int64_t now = now_ms();
	int64_t attempt = now + ATTEMPT_MS < deadline_ms ? now + ATTEMPT_MS : deadline_ms;
	int64_t first = now + TTRPC_MS < attempt ? now + TTRPC_MS : attempt;
	int r;

	if (!is_auto(c))
		return try_protocol(c, check, attempt, err);
	c->ops = &rpc_ttrpc;
	c->schema = &schema_3x;
	r = try_protocol(c, true, first, err);
	if (r == -ETIMEDOUT) { /* somebody is there, and doesn't answer to that */
		c->ops = &rpc_grpc;
		c->schema = &schema_1x;
		r = try_protocol(c, true, attempt, err);
	}
	if (r == 0 && c->verbose)
		say("the agent speaks %s", c->ops->name);
	return r;
}

static void say_waiting(const struct ctl *c, const struct err *err, bool *said)
{
	if (!*said && c->verbose)
		say("waiting for the agent at %s (%s)", c->addr_text, err->msg);
	*said = true;
}

int ctl_connect_socket(struct ctl *c, double default_wait_s, int *ret_fd, struct err *err)
{
	double wait_s = c->wait_s >= 0 ? c->wait_s : default_wait_s;
	int64_t deadline = now_ms() + (int64_t)(wait_s * 1000);
	bool said = false;
	int r;

	if (ctl_resolve(c, err) < 0)
		return -err->code;
	for (;;) {
		r = addr_connect(&c->addr, now_ms() + ATTEMPT_MS, ret_fd, err);
		if (r == 0 || !addr_may_retry(-r) || now_ms() + RETRY_MS >= deadline)
			return r;
		say_waiting(c, err, &said);
		(void)poll(NULL, 0, RETRY_MS);
	}
}

/* To whom the next command wants to talk, and as it wants to. */
static bool is_connected(const struct ctl *c)
{
	const char *addr = address_text(c);

	return c->rpc && !c->rpc->dead && addr && !strcmp(addr, c->connected_to) &&
	       (is_auto(c) || !strcmp(c->protocol, c->ops->name));
}

int ctl_connect(struct ctl *c, double default_wait_s, struct err *err)
{
	double wait_s = c->wait_s >= 0 ? c->wait_s : default_wait_s;
	int64_t start = now_ms(), deadline = start + (int64_t)(wait_s * 1000);
	bool said = false;
	int r;

	if (is_connected(c))
		return 0;
	ctl_disconnect(c);
	if (ctl_resolve(c, err) < 0)
		return -err->code;
	if (wait_s <= 0 && c->chosen)
		return try_connect(c, true, start + TTRPC_MS, err) < 0
			       ? err_wrap(err, "%s, which alone has that method, is not spoken",
					  c->protocol)
			       : 0;
	if (wait_s <= 0)
		return try_connect(c, false, start + ATTEMPT_MS, err);
	for (;;) {
		r = try_connect(c, true, deadline, err);
		if (r == 0 || !addr_may_retry(-r))
			return r;
		if (now_ms() + RETRY_MS >= deadline)
			return err_wrap(err, "no agent within %g s", wait_s);
		say_waiting(c, err, &said);
		(void)poll(NULL, 0, RETRY_MS);
	}
}

void ctl_disconnect(struct ctl *c)
{
	rpc_close(c->rpc);
	c->rpc = NULL;
	free(TAKE_PTR(c->connected_to));
}

/* ---- calling ---- */

int ctl_call(struct ctl *c, const char *method, const ProtobufCMessage *req, ProtobufCMessage **ret,
	     struct err *err)
{
	const char *service;
	const ProtobufCMethodDescriptor *m = schema_method(c->schema, method, &service);

	if (!m)
		return err_set(err, EINVAL, "no RPC is called '%s' in the %s protocol", method,
			       c->schema->name);
	return rpc_sync(c->rpc, service, m, req, ctl_timeout(c, m->name), ret, err);
}

int ctl_call_json(struct ctl *c, const char *method, json_object *json,
		  const struct pb_rules *rules, ProtobufCMessage **ret, struct err *err)
{
	const char *service;
	const ProtobufCMethodDescriptor *m = schema_method(c->schema, method, &service);
	AUTO_JSON json_object *empty = json ? NULL : json_object_new_object();
	AUTO_MSG ProtobufCMessage *req = NULL;

	if (!m)
		return err_set(err, EINVAL, "no RPC is called '%s' in the %s protocol", method,
			       c->schema->name);
	if (pb_from_json(json ? json : empty, m->input, rules, &req, err) < 0)
		return err_wrap(err, "%s", m->input->short_name);
	return rpc_sync(c->rpc, service, m, req, ctl_timeout(c, m->name), ret, err);
}

int ctl_fail(const struct err *err)
{
	say("%s", err->msg);
	return err->rpc && err->code != ECONNRESET ? EXIT_RPC : EXIT_OWN;
}

/* ---- options and commands ---- */

#define N_GLOBALS 6

static void global_options(struct ctl *c, struct opt out[N_GLOBALS])
{
	const struct opt opts[N_GLOBALS] = {
		{ 'a', "addr", OPT_STR, &c->addr_text, "ADDRESS",
		  "the agent's address (AGENT_CTL_ADDR)" },
		{ 0, "protocol", OPT_STR, &c->protocol, "NAME",
		  "grpc (1.x), ttrpc (3.x) or auto: what the agent answers to (AGENT_CTL_PROTOCOL; auto)" },
		{ 0, "timeout", OPT_SECONDS, &c->timeout_s, "SECONDS",
		  "deadline of each call, 0: none (60, waits and reads: none)" },
		{ 0, "wait", OPT_SECONDS, &c->wait_s, "SECONDS",
		  "keep trying to reach the agent (AGENT_CTL_WAIT; 0, for run and bench 30)" },
		{ 'v', "verbose", OPT_FLAG, &c->verbose, NULL, "say what happens" },
		{ 'h', "help", OPT_FLAG, &c->help, NULL, "this text" },
	};

	memcpy(out, opts, sizeof(opts));
}

static const char help_end[] =
	"\naddresses:\n"
	"  unix://PATH         a Unix socket; unix://@NAME an abstract one\n"
	"  hvsock://PATH:PORT  a VMM's socket that takes CONNECT PORT (hybrid vsock)\n"
	"  vsock://CID:PORT    a guest's vsock through the kernel (vhost)\n"
	"  serial://PATH       a virtio-serial port's socket: yamux, as kata-proxy speaks it; for\n"
	"                      one client at a time, see 'agent-ctl proxy'\n"
	"\nexit status: that of the process for run and exec (128+N if signal N ended it),\n"
	"126 or 127 if it could not be started; 1 if the agent answered a single RPC with\n"
	"an error; 125 if agent-ctl itself failed (usage, files, no connection).\n";

static void print_help(struct ctl *c)
{
	struct opt globals[N_GLOBALS];

	global_options(c, globals);
	(void)printf("agent-ctl: run containers in a guest and talk to its kata-agent\n\n"
		     "usage: agent-ctl [OPTIONS] COMMAND [ARGUMENTS]\n\ncommands:\n");
	for (size_t i = 0; i < n_commands; i++)
		(void)printf("  %-18s %s\n", commands[i].name, commands[i].summary);
	opt_print(stdout, "options (also after the command)",
		  &(struct opt_table){ globals, N_GLOBALS });
	(void)fputs(help_end, stdout);
}

bool ctl_options(struct ctl *c, const struct command *self, const struct opt *own, size_t n_own,
		 int stop, int *argc, char **argv, int min_args, int max_args, int *ret)
{
	struct opt globals[N_GLOBALS];
	struct opt_table tables[2] = { { own, n_own }, { globals, N_GLOBALS } };
	struct err err;

	global_options(c, globals);
	*ret = EXIT_OWN;
	if (opt_parse(tables, 2, stop, argc, argv, &err) < 0) {
		say("%s: %s", self->name, err.msg);
		return false;
	}
	if (c->help) {
		(void)printf("usage: agent-ctl [OPTIONS] %s %s\n\n%s\n", self->name, self->usage,
			     self->summary);
		opt_print(stdout, "options", &tables[0]);
		opt_print(stdout, "global options", &tables[1]);
		*ret = 0;
		return false;
	}
	if (*argc < min_args || (max_args >= 0 && *argc > max_args)) {
		say("usage: agent-ctl %s %s", self->name, self->usage);
		return false;
	}
	return true;
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < n_commands; i++) {
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	}
	return NULL;
}

int ctl_run(struct ctl *c, int argc, char **argv)
{
	const struct command *cmd = argc > 0 ? find_command(argv[0]) : NULL;
	const struct ctl_settings old = { c->addr_text, c->protocol, c->timeout_s,
					  c->wait_s,	c->verbose,  c->help };
	int status;

	if (!cmd) {
		say("unknown command '%s' (see agent-ctl --help)", argc > 0 ? argv[0] : "");
		return EXIT_OWN;
	}
	status = cmd->run(c, cmd, argc - 1, argv + 1);
	c->addr_text = old.addr_text;
	c->protocol = old.protocol;
	c->chosen = false;
	c->timeout_s = old.timeout_s;
	c->wait_s = old.wait_s;
	c->verbose = old.verbose;
	c->help = old.help;
	(void)sigprocmask(SIG_SETMASK, &c->signals, NULL);
	return status;
}

int ctl_main(int argc, char **argv)
{
	struct ctl c = { .protocol = "auto", .timeout_s = -1, .wait_s = -1 };
	const char *wait_env = getenv("AGENT_CTL_WAIT"), *proto_env = getenv("AGENT_CTL_PROTOCOL");
	struct opt globals[N_GLOBALS];
	struct err err;
	int status;

	(void)sigprocmask(SIG_SETMASK, NULL, &c.signals);
	(void)signal(SIGPIPE, SIG_IGN);
	if (wait_env && *wait_env)
		c.wait_s = strtod(wait_env, NULL);
	if (proto_env && *proto_env)
		c.protocol = proto_env;
	global_options(&c, globals);
	argc--;
	argv++;
	if (opt_parse(&(struct opt_table){ globals, N_GLOBALS }, 1, 0, &argc, argv, &err) < 0) {
		say("%s", err.msg);
		return EXIT_OWN;
	}
	if (argc == 0 || !strcmp(argv[0], "help")) {
		print_help(&c);
		return c.help || argc > 0 ? 0 : EXIT_OWN;
	}
	status = ctl_run(&c, argc, argv);
	ctl_disconnect(&c);
	if (fflush(stdout) != 0 && status == 0) {
		say("write to standard output: %s", strerror(errno));
		status = EXIT_OWN;
	}
	return status;
}
