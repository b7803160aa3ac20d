/* SPDX-License-Identifier: Apache-2.0 */
/* Command line options from tables, wherever they stand among the other arguments. */
#ifndef CTL_OPT_H
#define CTL_OPT_H

#include "common.h"

enum opt_kind {
	OPT_FLAG,    /* bool */
	OPT_STR,     /* const char * */
	OPT_UINT,    /* uint32_t */
	OPT_SECONDS, /* double, from 0 */
	OPT_LIST,    /* struct strlist, each use appends */
};

struct strlist {
	char **v;
	size_t n;
};

struct opt {
	char letter;	  /* or 0 */
	const char *name; /* without the dashes */
	enum opt_kind kind;
	void *to;
	const char *arg, *help;
};

struct opt_table {
	const struct opt *opts;
	size_t n;
};

/*
 * Takes the options out of argv; what remains is *argc, argv. After more than `stop` words that
 * are no options the rest is left alone (a command line of the guest's); "--" ends them too. -1:
 * never stop.
 */
int opt_parse(const struct opt_table *tables, size_t n_tables, int stop, int *argc, char **argv,
	      struct err *err);
void opt_print(FILE *to, const char *title, const struct opt_table *table);
void strlist_add(struct strlist *l, char *s);

static inline void auto_strlist(struct strlist *l)
{
	free(l->v);
}
#define AUTO_STRLIST __attribute__((cleanup(auto_strlist)))

#endif
