/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that are one RPC: a row of words and options, and the request's fields they fill. */
#ifndef CTL_THIN_H
#define CTL_THIN_H

#include "ctl.h"

enum param_kind {
	P_STR, /* also for numbers: the conversion reads them and says what is wrong */
	P_FLAG,
	P_JSON,	     /* an object or list as JSON, @FILE or - */
	P_LIST,	     /* strings; as an option it is repeated, as a word it takes the rest */
	P_JSON_LIST, /* the same with JSON */
	P_SIGNAL,    /* name or number */
	P_EXEC,	     /* option --exec: the exec id, without it the container's own */
};

struct param {
	const char *name; /* "ID": a word, "[ID]": one that may be left out, "--id": an option */
	const char *field;
	enum param_kind kind;
	const char *help; /* options only */
};

#define THIN_MAX_PARAMS 8

struct thin {
	const char *method;
	struct param params[THIN_MAX_PARAMS];
	/* Fills what needs more than copying; may be NULL. */
	int (*fill)(struct ctl *c, json_object *request, struct err *err);
	bool oci;    /* names in the JSON are the runtime-spec's */
	bool guests; /* what follows the words is a command line of the guest's, options and all */
	bool text;   /* the answer's one string is printed as it is */
};

int thin_run(struct ctl *c, const struct command *self, int argc, char **argv);
/* 1..64 for 9, KILL, SIGKILL, RTMIN+1; 0: no signal. */
int signal_number(const char *text);

#endif
