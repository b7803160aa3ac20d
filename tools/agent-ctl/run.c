/* SPDX-License-Identifier: Apache-2.0 */
/* run, exec, attach, create-container: the commands with streams. */
#include "run.h"

#include "container.h"
#include "stream.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#define DEFAULT_WAIT_S	   30
#define LAST_WORD_WAIT_S   2  /* for cleaning up after a connection broke */
#define GIVEN_UP_TIMEOUT_S 10 /* who gave up does not wait for long */

struct run {
	struct ctl *c;
	const char *id;
	bool sandbox, container; /* ours to take away again */
};

/* The status for a stream that did not end by itself. */
static int failed_stream(int r, const struct err *err)
{
	if (r == -EINTR)
		return 128 + SIGINT;
	if (r == -EPIPE)
		return 128 + SIGPIPE;
	say("%s", err->msg);
	return start_failure_status(err);
}

/*
 * From the first thing that we make in the guest to its end, signals wait for the stream that
 * forwards them, or for the clean-up to be over: dying in between would leave a container behind.
 */
static void hold_signals(void)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGHUP);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
}

/* Takes away what we made, over a new connection if the old one broke. */
static void clean_up(struct run *run, bool quiet)
{
	struct ctl *c = run->c;
	struct err err;

	if (c->rpc && c->rpc->dead) {
		ctl_disconnect(c);
		c->wait_s = LAST_WORD_WAIT_S;
		if (ctl_connect(c, LAST_WORD_WAIT_S, &err) < 0)
			return;
	}
	if (run->container && container_remove(c, run->id, &err) < 0 && !quiet)
		say("container '%s' stays behind: %s", run->id, err.msg);
	if (run->sandbox && ctl_call_json(c, "DestroySandbox", NULL, NULL, NULL, &err) < 0 &&
	    !quiet)
		say("the sandbox stays behind: %s", err.msg);
}

static int enter_sandbox(struct run *run, const struct share_options *share, struct err *err)
{
	int r = sandbox_create(run->c, run->id, share, err);

	if (r < 0 && err->rpc == RPC_ALREADY_EXISTS) {
		if (run->c->verbose)
			say("using the sandbox that is there; it will stay");
		return 0;
	}
	/* In the reference agent a sandbox that failed half-way counts as running. */
	run->sandbox = true;
	return r;
}

static int start_in_stream(struct ctl *c, const char *id, struct err *err)
{
	return container_start(c, id, err);
}

static int run_container(struct run *run, const struct share_options *share,
			 const struct spec_options *so, bool detach, bool no_stdin)
{
	struct stream_options st = {
		.cid = run->id, .eid = run->id, .no_stdin = no_stdin, .start = start_in_stream
	};
	struct err err, ignored;
	int status = 0, r;

	hold_signals();
	if (enter_sandbox(run, share, &err) < 0) {
		say("%s", err.msg);
		clean_up(run, true);
		return EXIT_OWN;
	}
	if (container_create(run->c, run->id, share, so, &st.tty, &err) < 0) {
		say("%s", err.msg);
		clean_up(run, false);
		return start_failure_status(&err);
	}
	run->container = true;
	if (detach) {
		if (container_start(run->c, run->id, &err) == 0) {
			(void)puts(run->id);
			return 0;
		}
		say("%s", err.msg);
		clean_up(run, false);
		return start_failure_status(&err);
	}
	r = stream_run(run->c, &st, &status, &err);
	if (r < 0) {
		status = failed_stream(r, &err);
		run->c->timeout_s = GIVEN_UP_TIMEOUT_S;
		if (!run->c->rpc->dead)
			(void)container_kill(run->c, run->id, &ignored);
	}
	clean_up(run, r < 0 && r != -EINTR && r != -EPIPE);
	return status & 0xff;
}

int run_main(struct ctl *c, const struct command *self, int argc, char **argv)
{
	struct share_options share = { 0 };
	struct spec_options so = { 0 };
	bool detach = false, no_stdin = false;
	const char *id = NULL;
	const struct opt opts[] = {
		{ 't', "terminal", OPT_FLAG, &so.terminal, NULL,
		  "a terminal, whatever config.json says" },
		{ 0, "id", OPT_STR, &id, "ID", "the container's id (default: a random one)" },
		{ 'd', "keep", OPT_FLAG, &detach, NULL,
		  "start it, print its id and leave it running" },
		{ 'n', "no-stdin", OPT_FLAG, &no_stdin, NULL,
		  "close the process's standard input at once" },
		{ 'q', "quiet", OPT_FLAG, &so.quiet, NULL,
		  "no warnings about config.json members the protocol has no field for" },
		SHARE_OPTIONS(&share),
	};
	AUTO_FREE char *random = random_id("run");
	struct run run = { .c = c };
	struct err err;
	int status;

	if (!ctl_options(c, self, opts, ARRAY_LEN(opts), 1, &argc, argv, 1, -1, &status))
		return status;
	so.bundle = argv[0];
	so.argv = argc > 1 ? argv + 1 : NULL;
	run.id = id ? id : random;
	if (share_check(&share, &err) < 0 || ctl_connect(c, DEFAULT_WAIT_S, &err) < 0) {
		say("%s", err.msg);
		return EXIT_OWN;
	}
	return run_container(&run, &share, &so, detach, no_stdin);
}

int create_main(struct ctl *c, const struct command *self, int argc, char **argv)
{
	struct share_options share = { 0 };
	struct spec_options so = { 0 };
	const char *id = NULL;
	bool terminal;
	const struct opt opts[] = {
		{ 0, "id", OPT_STR, &id, "ID", "the container's id (default: a random one)" },
		{ 't', "terminal", OPT_FLAG, &so.terminal, NULL,
		  "a terminal, whatever config.json says" },
		{ 'q', "quiet", OPT_FLAG, &so.quiet, NULL, "no warnings about ignored members" },
		SHARE_OPTIONS(&share),
	};
	AUTO_FREE char *random = random_id("run");
	struct err err;
	int status;

	if (!ctl_options(c, self, opts, ARRAY_LEN(opts), -1, &argc, argv, 1, 1, &status))
		return status;
	so.bundle = argv[0];
	if (share_check(&share, &err) < 0 || ctl_connect(c, 0, &err) < 0 ||
	    container_create(c, id ? id : random, &share, &so, &terminal, &err) < 0)
		return ctl_fail(&err);
	(void)puts(id ? id : random);
	return 0;
}

/* ---- exec ---- */

static void kill_exec(struct ctl *c, const char *id, const char *exec_id)
{
	AUTO_JSON json_object *req = json_object_new_object();
	struct err ignored;

	json_put_str(req, "container_id", id);
	json_put_str(req, "exec_id", exec_id);
	(void)json_object_object_add(req, "signal", json_object_new_int(SIGKILL));
	if (ctl_call_json(c, "SignalProcess", req, NULL, NULL, &ignored) == 0)
		(void)container_wait(c, id, exec_id, &(int){ 0 }, &ignored);
}

static int exec_and_stream(struct ctl *c, const char *id, const char *exec_id,
			   const struct exec_options *o, bool no_stdin)
{
	struct stream_options st = {
		.cid = id, .eid = exec_id, .tty = o->terminal, .no_stdin = no_stdin
	};
	struct err err;
	int status = 0, r;

	if (ctl_connect(c, 0, &err) < 0 || container_exec(c, id, exec_id, o, &err) < 0) {
		say("%s", err.msg);
		return start_failure_status(&err);
	}
	r = stream_run(c, &st, &status, &err);
	if (r == 0)
		return status & 0xff;
	status = failed_stream(r, &err);
	if (!c->rpc->dead)
		kill_exec(c, id, exec_id);
	return status;
}

static int read_process(const char *path, struct exec_options *o, struct err *err)
{
	AUTO_FREE char *text = NULL;
	json_object *terminal;
	size_t len;

	if (read_file(path, 16u << 20, &text, &len, err) < 0 ||
	    json_parse(text, len, path, &o->process, err) < 0)
		return -err->code;
	if (!json_object_is_type(o->process, json_type_object))
		return err_set(err, EINVAL, "%s: an OCI process is a JSON object", path);
	if (json_object_object_get_ex(o->process, "terminal", &terminal))
		o->terminal = o->terminal || json_object_get_boolean(terminal);
	return 0;
}

int exec_main(struct ctl *c, const struct command *self, int argc, char **argv)
{
	struct exec_options o = { 0 };
	const char *exec_id = NULL, *process = NULL;
	bool no_stdin = false;
	const struct opt opts[] = {
		{ 't', "terminal", OPT_FLAG, &o.terminal, NULL, "give the process a terminal" },
		{ 'u', "user", OPT_STR, &o.user, "UID[:GID]", "run as this user (0:0)" },
		{ 'w', "cwd", OPT_STR, &o.cwd, "DIR", "working directory (/)" },
		{ 'e', "env", OPT_LIST, &o.env, "NAME=VALUE", "set a variable; may be repeated" },
		{ 'p', "process", OPT_STR, &process, "FILE",
		  "an OCI process as JSON to start from" },
		{ 0, "exec-id", OPT_STR, &exec_id, "ID",
		  "the process's id (default: a random one)" },
		{ 'n', "no-stdin", OPT_FLAG, &no_stdin, NULL,
		  "close the process's standard input at once" },
	};
	AUTO_FREE char *random = random_id("exec");
	struct err err;
	int status;

	if (!ctl_options(c, self, opts, ARRAY_LEN(opts), 1, &argc, argv, 1, -1, &status)) {
		free(o.env.v);
		return status;
	}
	if (argc < 2 && !process) {
		say("usage: agent-ctl exec %s", self->usage);
		status = EXIT_OWN;
	} else if (process && read_process(process, &o, &err) < 0) {
		say("%s", err.msg);
		status = EXIT_OWN;
	} else {
		o.argv = argc > 1 ? argv + 1 : NULL;
		status = exec_and_stream(c, argv[0], exec_id ? exec_id : random, &o, no_stdin);
	}
	(void)json_object_put(o.process);
	free(o.env.v);
	return status;
}

int attach_main(struct ctl *c, const struct command *self, int argc, char **argv)
{
	struct stream_options st = { 0 };
	const struct opt opts[] = {
		{ 't', "terminal", OPT_FLAG, &st.tty, NULL, "the process has a terminal" },
		{ 0, "exec", OPT_STR, &st.eid, "ID",
		  "exec id of the process (default: the container's)" },
		{ 'n', "no-stdin", OPT_FLAG, &st.no_stdin, NULL,
		  "close its standard input at once" },
	};
	struct err err;
	int status, r;

	if (!ctl_options(c, self, opts, ARRAY_LEN(opts), -1, &argc, argv, 1, 1, &status))
		return status;
	st.cid = argv[0];
	st.eid = st.eid ? st.eid : argv[0];
	if (ctl_connect(c, 0, &err) < 0) {
		say("%s", err.msg);
		return EXIT_OWN;
	}
	r = stream_run(c, &st, &status, &err);
	return r == 0 ? status & 0xff : failed_stream(r, &err);
}
