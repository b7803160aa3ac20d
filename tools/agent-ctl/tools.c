/* SPDX-License-Identifier: Apache-2.0 */
/* spec, call, methods: the debugging side. */
#include "run.h"
#include "spec.h"

#include <string.h>

#define JSON_STYLE \
	(JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE)

/* ---- spec ---- */

int spec_main(struct ctl *c, const struct command *self, int argc, char **argv)
{
	struct spec_template t = { 0 };
	const char *cmd = NULL;
	AUTO_STRLIST struct strlist words = { 0 };
	const struct opt opts[] = {
		{ 'c', "cmd", OPT_STR, &cmd, "COMMAND", "a shell command line, run by sh -c" },
		{ 0, "arg", OPT_LIST, &words, "WORD",
		  "a word of the command itself; repeat for each" },
		{ 't', "terminal", OPT_FLAG, &t.terminal, NULL, "with a terminal" },
		{ 'w', "cwd", OPT_STR, &t.cwd, "DIR", "working directory (/)" },
		{ 0, "hostname", OPT_STR, &t.hostname, "NAME", "host name (kata)" },
		{ 0, "rootfs", OPT_STR, &t.rootfs, "PATH",
		  "root file system, relative to the bundle (rootfs)" },
		{ 'r', "readonly", OPT_FLAG, &t.readonly, NULL, "read-only root" },
	};
	char *shell[] = { (char[]){ "sh" }, (char[]){ "-c" }, NULL, NULL };
	AUTO_JSON json_object *spec = NULL;
	int status;

	if (!ctl_options(c, self, opts, ARRAY_LEN(opts), 0, &argc, argv, 0, -1, &status))
		return status;
	shell[2] = (char *)(uintptr_t)cmd;
	t.argv = cmd ? shell : words.n ? words.v : argc ? argv : NULL;
	spec = spec_template(&t);
	(void)puts(json_object_to_json_string_ext(spec, JSON_STYLE));
	return 0;
}

/* ---- call, methods ---- */

int call_main(struct ctl *c, const struct command *self, int argc, char **argv)
{
	AUTO_JSON json_object *req = NULL, *out = NULL;
	AUTO_MSG ProtobufCMessage *res = NULL;
	struct err err;
	int status;

	if (!ctl_options(c, self, NULL, 0, -1, &argc, argv, 1, 2, &status))
		return status;
	if (argc > 1 && json_parse_arg(argv[1], &req, &err) < 0)
		return ctl_fail(&err);
	ctl_wants(c, argv[0]);
	if (ctl_connect(c, 0, &err) < 0 || ctl_call_json(c, argv[0], req, NULL, &res, &err) < 0)
		return ctl_fail(&err);
	out = pb_to_json(res);
	(void)puts(json_object_to_json_string_ext(out, JSON_STYLE));
	return 0;
}

static void print_fields(const ProtobufCMessageDescriptor *d)
{
	for (unsigned int i = 0; i < d->n_fields; i++)
		(void)printf("%s%s", i ? ", " : "", d->fields[i].name);
}

int methods_main(struct ctl *c, const struct command *self, int argc, char **argv)
{
	const ProtobufCServiceDescriptor *services[2];
	int status;

	if (!ctl_options(c, self, NULL, 0, -1, &argc, argv, 0, 0, &status))
		return status;
	services[0] = ctl_schema(c)->agent;
	services[1] = ctl_schema(c)->health;
	for (size_t s = 0; s < ARRAY_LEN(services); s++) {
		for (unsigned int i = 0; i < services[s]->n_methods; i++) {
			const ProtobufCMethodDescriptor *m = &services[s]->methods[i];

			(void)printf("%s(", m->name);
			print_fields(m->input);
			(void)printf(") -> (");
			print_fields(m->output);
			(void)puts(")");
		}
	}
	return 0;
}
