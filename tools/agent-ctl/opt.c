/* SPDX-License-Identifier: Apache-2.0 */
/* Option tables. Owns no state. */
#include "opt.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

void strlist_add(struct strlist *l, char *s)
{
	l->v = xrealloc(l->v, (l->n + 2) * sizeof(*l->v));
	l->v[l->n++] = s;
	l->v[l->n] = NULL;
}

static const struct opt *find(const struct opt_table *tables, size_t n_tables, const char *name,
			      size_t len, char letter)
{
	for (size_t t = 0; t < n_tables; t++) {
		for (size_t i = 0; i < tables[t].n; i++) {
			const struct opt *o = &tables[t].opts[i];

			if (letter ? o->letter == letter
				   : strlen(o->name) == len && !strncmp(o->name, name, len))
				return o;
		}
	}
	return NULL;
}

static int store(const struct opt *o, char *value, struct err *err)
{
	unsigned long long u;
	double d;
	char *end;

	switch (o->kind) {
	case OPT_FLAG:
		*(bool *)o->to = true;
		return 0;
	case OPT_STR:
		*(const char **)o->to = value;
		return 0;
	case OPT_LIST:
		strlist_add(o->to, value);
		return 0;
	case OPT_UINT:
		errno = 0;
		u = strtoull(value, &end, 0);
		if (!isdigit((unsigned char)value[0]) || *end || errno || u > UINT32_MAX)
			return err_set(err, EINVAL, "--%s: '%s' is not a number", o->name, value);
		*(uint32_t *)o->to = (uint32_t)u;
		return 0;
	case OPT_SECONDS:
		d = strtod(value, &end);
		if (end == value || *end || !(d >= 0 && d < 1e9))
			return err_set(err, EINVAL, "--%s: '%s' is no number of seconds", o->name,
				       value);
		*(double *)o->to = d;
		return 0;
	}
	return 0;
}

/* One argument that begins with '-': --name, --name=value, -x, -x value, -xvalue. */
static int take(const struct opt_table *tables, size_t n_tables, char *word, char *next,
		bool *used_next, struct err *err)
{
	bool is_long = word[1] == '-';
	size_t len = is_long ? strcspn(word + 2, "=") : 1;
	const struct opt *o = is_long ? find(tables, n_tables, word + 2, len, 0)
				      : find(tables, n_tables, NULL, 0, word[1]);
	char *value = NULL;

	if (!o)
		return err_set(err, EINVAL, "unknown option '%s' (see --help)", word);
	if (is_long && word[2 + len] == '=')
		value = word + 2 + len + 1;
	else if (!is_long && word[2])
		value = word + 2;
	if (o->kind == OPT_FLAG && value)
		return err_set(err, EINVAL, "option '%s' takes no value", word);
	if (o->kind != OPT_FLAG && !value) {
		if (!next)
			return err_set(err, EINVAL, "option '%s' needs a value (%s)", word, o->arg);
		value = next;
		*used_next = true;
	}
	return store(o, value, err);
}

int opt_parse(const struct opt_table *tables, size_t n_tables, int stop, int *argc, char **argv,
	      struct err *err)
{
	bool ended = false;
	int n = 0;

	for (int i = 0; i < *argc; i++) {
		bool used_next = false;

		ended = ended || (stop >= 0 && n > stop);
		if (ended || argv[i][0] != '-' || !argv[i][1] ||
		    isdigit((unsigned char)argv[i][1])) {
			argv[n++] = argv[i];
			continue;
		}
		if (!strcmp(argv[i], "--")) {
			ended = true;
			continue;
		}
		if (take(tables, n_tables, argv[i], i + 1 < *argc ? argv[i + 1] : NULL, &used_next,
			 err) < 0)
			return -err->code;
		i += used_next;
	}
	*argc = n;
	argv[n] = NULL;
	return 0;
}

void opt_print(FILE *to, const char *title, const struct opt_table *table)
{
	if (table->n == 0)
		return;
	(void)fprintf(to, "\n%s:\n", title);
	for (size_t i = 0; i < table->n; i++) {
		const struct opt *o = &table->opts[i];
		char left[80], letter[8] = "    ";

		if (o->letter)
			(void)snprintf(letter, sizeof(letter), "-%c, ", o->letter);
		(void)snprintf(left, sizeof(left), "%s--%s%s%s", letter, o->name, o->arg ? " " : "",
			       o->arg ? o->arg : "");
		(void)fprintf(to, "  %-30s %s\n", left, o->help);
	}
}
