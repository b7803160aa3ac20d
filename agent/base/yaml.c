/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A parser by descent. State: where it is, and where its line began, which gives the column.
 */
#include "base/yaml.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/str.h"

#define YAML_DEPTH 64 /* of lists and maps in one another */

struct yaml_parser {
	const char *at, *line;
	unsigned int number, depth;
	struct arena *mem;
	struct err *err;
};

static struct yaml *yaml_fail(struct yaml_parser *p, const char *what)
{
	if (!p->err->code)
		err_set(p->err, EINVAL, "line %u: %s", p->number, what);
	return NULL;
}

static struct yaml *yaml_new(struct yaml_parser *p, enum yaml_kind kind)
{
	struct yaml *y = arena_zalloc(p->mem, sizeof(*y));

	if (y)
		y->kind = kind;
	else
		err_sys(p->err, ENOMEM, "YAML");
	return y;
}

static void yaml_step(struct yaml_parser *p)
{
	if (*p->at++ == '\n') {
		p->line = p->at;
		p->number++;
	}
}

static void skip_blanks(struct yaml_parser *p)
{
	while (*p->at == ' ' || *p->at == '\t' || *p->at == '\r')
		p->at++;
}

/* A comment is only one behind a blank. */
static bool at_comment(const struct yaml_parser *p)
{
	return *p->at == '#' && (p->at == p->line || p->at[-1] == ' ' || p->at[-1] == '\t');
}

static bool at_line_end(const struct yaml_parser *p)
{
	return !*p->at || *p->at == '\n' || at_comment(p);
}

/* To the next thing that says something, across lines. */
static void skip_empty(struct yaml_parser *p)
{
	for (;;) {
		skip_blanks(p);
		if (at_comment(p))
			p->at += strcspn(p->at, "\n");
		if (*p->at != '\n')
			break;
		yaml_step(p);
	}
}

static size_t column(const struct yaml_parser *p)
{
	return (size_t)(p->at - p->line);
}

static bool ends_document(const struct yaml_parser *p)
{
	return !*p->at ||
	       (p->at == p->line && (str_starts(p->at, "---") || str_starts(p->at, "...")));
}

/* --- scalars -------------------------------------------------------------------------------- */

static int hex(const char *s, size_t n, uint32_t *ret)
{
	*ret = 0;
	for (size_t i = 0; i < n; i++) {
		const char *digits = "0123456789abcdef";
		const char *d =
			s[i] ? strchr(digits, s[i] | (s[i] >= 'A' && s[i] <= 'F' ? 0x20 : 0))
			     : NULL;

		if (!d)
			return -EINVAL;
		*ret = *ret << 4 | (uint32_t)(d - digits);
	}
	return 0;
}

static char *put_utf8(char *to, uint32_t c)
{
	if (c < 0x80) {
		*to++ = (char)c;
		return to;
	}
	if (c < 0x800) {
		*to++ = (char)(0xc0 | c >> 6);
	} else {
		if (c < 0x10000) {
			*to++ = (char)(0xe0 | c >> 12);
		} else {
			*to++ = (char)(0xf0 | (c >> 18 & 7));
			*to++ = (char)(0x80 | (c >> 12 & 0x3f));
		}
		*to++ = (char)(0x80 | (c >> 6 & 0x3f));
	}
	*to++ = (char)(0x80 | (c & 0x3f));
	return to;
}

/* What stands behind a backslash; at stands on it. NULL: it means nothing. */
static char *take_escape(struct yaml_parser *p, char *to)
{
	static const char plain[] = "\"\\/nrtbf0e ", meaning[] = "\"\\/\n\r\t\b\f\0\033 ";
	const char *known = *p->at ? strchr(plain, *p->at) : NULL;
	size_t digits = *p->at == 'u' ? 4 : *p->at == 'x' ? 2 : 0;
	uint32_t c, low;

	if (*p->at == '\n') { /* the line goes on */
		yaml_step(p);
		skip_blanks(p);
		return to;
	}
	if (known && *known) {
		if (meaning[known - plain] == '\0')
			return NULL;
		*to++ = meaning[known - plain];
		p->at++;
		return to;
	}
	if (digits == 0 || hex(p->at + 1, digits, &c) < 0 || c == 0)
		return NULL;
	p->at += 1 + digits;
	if (c >= 0xd800 && c < 0xdc00 && p->at[0] == '\\' && p->at[1] == 'u' &&
	    hex(p->at + 2, 4, &low) == 0 && low >= 0xdc00 && low < 0xe000) {
		c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
		p->at += 6;
	}
	return put_utf8(to, c);
}

/* How far the quoted text goes, with its quotes. */
static size_t quoted_length(const char *s)
{
	const char quote = *s;
	size_t n = 1;

	for (; s[n]; n++) {
		if (quote == '"' && s[n] == '\\' && s[n + 1])
			n++;
		else if (quote == '\'' && s[n] == quote && s[n + 1] == quote)
			n++;
		else if (s[n] == quote)
			return n + 1;
	}
	return n + 1;
}

static char *take_quoted(struct yaml_parser *p)
{
	const char quote = *p->at;
	char *out = arena_alloc(p->mem, quoted_length(p->at) + 1), *to = out;

	if (!out) {
		err_sys(p->err, ENOMEM, "YAML");
		return NULL;
	}
	p->at++;
	while (*p->at && (*p->at != quote || (quote == '\'' && p->at[1] == quote))) {
		if (*p->at == '\n') { /* folded */
			while (to > out && to[-1] == ' ')
				to--;
			yaml_step(p);
			skip_blanks(p);
			*to++ = ' ';
		} else if (quote == '"' && *p->at == '\\') {
			p->at++;
			to = take_escape(p, to);
			if (!to) {
				(void)yaml_fail(p, "a backslash before something unknown");
				return NULL;
			}
		} else {
			p->at += *p->at == '\'' && quote == '\'';
			*to++ = *p->at++;
		}
	}
	if (!*p->at) {
		(void)yaml_fail(p, "a quote has no end");
		return NULL;
	}
	p->at++;
	*to = '\0';
	return out;
}

/* The end of a plain scalar that begins at s, on its line; in brackets these end it, too. */
static size_t plain_length(const char *s, bool flow)
{
	size_t n = 0, end = 0;

	for (; s[n] && s[n] != '\n'; n++) {
		if (s[n] == '#' && n > 0 && (s[n - 1] == ' ' || s[n - 1] == '\t'))
			break;
		if (s[n] == ':' &&
		    (strchr(" \t\r\n", s[n + 1]) || (flow && strchr(",[]{}", s[n + 1]))))
			break;
		if (flow && strchr(",[]{}", s[n]))
			break;
		if (s[n] != ' ' && s[n] != '\t' && s[n] != '\r')
			end = n + 1;
	}
	return end;
}

static char *copy_text(struct yaml_parser *p, const char *s, size_t n)
{
	char *out = arena_alloc(p->mem, n + 1);

	if (!out) {
		err_sys(p->err, ENOMEM, "YAML");
		return NULL;
	}
	(void)memcpy(out, s, n);
	out[n] = '\0';
	return out;
}

static bool is_unknown(char c)
{
	return c && strchr("&*!|>%@`", c);
}

/* --- in brackets ---------------------------------------------------------------------------- */

static struct yaml *parse_flow(struct yaml_parser *p);

static char *take_flow_scalar(struct yaml_parser *p)
{
	size_t n;
	char *text;

	if (*p->at == '"' || *p->at == '\'')
		return take_quoted(p);
	n = plain_length(p->at, true);
	if (n == 0 || is_unknown(*p->at)) {
		(void)yaml_fail(p, "a value was expected");
		return NULL;
	}
	text = copy_text(p, p->at, n);
	p->at += n;
	return text;
}

static struct yaml *parse_flow_member(struct yaml_parser *p, bool map)
{
	char *key = map ? take_flow_scalar(p) : NULL;
	struct yaml *y;

	if (map && !key)
		return NULL;
	if (map) {
		skip_empty(p);
		if (*p->at != ':')
			return yaml_fail(p, "':' was expected");
		p->at++;
		skip_empty(p);
	}
	y = parse_flow(p);
	if (y)
		y->key = key;
	return y;
}

static struct yaml *parse_flow_items(struct yaml_parser *p, bool map)
{
	const char close = map ? '}' : ']';
	struct yaml *y = yaml_new(p, map ? YAML_MAP : YAML_LIST), **end = y ? &y->first : NULL;

	p->at++;
	for (;;) {
		skip_empty(p);
		if (!y || *p->at == close)
			break;
		*end = parse_flow_member(p, map);
		if (!*end)
			return NULL;
		end = &(*end)->next;
		skip_empty(p);
		if (*p->at != ',' && *p->at != close)
			return yaml_fail(p, "',' or a closing bracket was expected");
		p->at += *p->at == ',';
	}
	p->at += y != NULL;
	return y;
}

static struct yaml *parse_flow(struct yaml_parser *p)
{
	struct yaml *y;

	if (*p->at == '{' || *p->at == '[') {
		if (++p->depth > YAML_DEPTH)
			return yaml_fail(p, "too deep");
		y = parse_flow_items(p, *p->at == '{');
		p->depth--;
		return y;
	}
	y = yaml_new(p, YAML_SCALAR);
	if (y)
		y->text = take_flow_scalar(p);
	return y && y->text ? y : NULL;
}

/* --- in lines ------------------------------------------------------------------------------- */

static struct yaml *parse_block(struct yaml_parser *p, size_t min);

static bool at_dash(const struct yaml_parser *p)
{
	return p->at[0] == '-' && (!p->at[1] || strchr(" \t\r\n", p->at[1]));
}

/* Is there a key at p, with its colon? */
static bool at_key(const struct yaml_parser *p)
{
	const char *s = p->at;

	if (*s == '"' || *s == '\'') {
		s += quoted_length(s);
		if (s > p->at + strlen(p->at))
			return false;
		s += strspn(s, " \t");
	} else {
		s += plain_length(s, false);
		s += strspn(s, " \t");
	}
	return *s == ':' && (!s[1] || strchr(" \t\r\n", s[1]));
}

/* A scalar in the lines of something at column parent: what is further right belongs to it. */
static struct yaml *parse_block_scalar(struct yaml_parser *p, size_t parent, bool has_parent)
{
	struct yaml *y = yaml_new(p, YAML_SCALAR);
	size_t n;

	if (!y)
		return NULL;
	if (*p->at == '"' || *p->at == '\'') {
		y->text = take_quoted(p);
		skip_blanks(p);
		if (y->text && !at_line_end(p))
			return yaml_fail(p, "something stands behind a quote");
		return y->text ? y : NULL;
	}
	if (is_unknown(*p->at))
		return yaml_fail(p, "anchors, tags and block scalars are not known here");
	n = plain_length(p->at, false);
	y->text = copy_text(p, p->at, n);
	p->at += n;
	skip_blanks(p);
	if (y->text && !at_line_end(p))
		return yaml_fail(p, "a key within a value");
	while (y->text) {
		struct yaml_parser ahead = *p;

		skip_empty(&ahead);
		if (ends_document(&ahead) || ahead.number == p->number || !has_parent ||
		    column(&ahead) <= parent)
			break;
		*p = ahead;
		n = plain_length(p->at, false);
		y->text = arena_printf(p->mem, "%s %.*s", y->text, (int)n, p->at);
		if (!y->text)
			err_sys(p->err, ENOMEM, "YAML");
		p->at += n;
		skip_blanks(p);
		if (!at_line_end(p))
			return yaml_fail(p, "a key within a value");
	}
	return y->text ? y : NULL;
}

/* What a key or a dash at that column has: on its line, or on the next ones. */
static struct yaml *parse_value(struct yaml_parser *p, size_t at, bool dash)
{
	struct yaml_parser ahead;
	struct yaml *y;

	skip_blanks(p);
	if (!at_line_end(p)) {
		if (dash)
			return parse_block(p, at + 1);
		if (*p->at == '{' || *p->at == '[')
			y = parse_flow(p);
		else
			y = parse_block_scalar(p, at, true);
		return y;
	}
	ahead = *p;
	skip_empty(&ahead);
	if (ends_document(&ahead) || column(&ahead) < at ||
	    (column(&ahead) == at && (dash || !at_dash(&ahead)))) {
		y = yaml_new(p, YAML_SCALAR);
		if (y)
			y->text = copy_text(p, "", 0);
		return y && y->text ? y : NULL;
	}
	*p = ahead;
	return parse_block(p, column(p));
}

static struct yaml *parse_block_items(struct yaml_parser *p, bool map)
{
	const size_t at = column(p);
	struct yaml *y = yaml_new(p, map ? YAML_MAP : YAML_LIST), **end = y ? &y->first : NULL;

	while (y && !ends_document(p) && column(p) == at &&
	       (map ? at_key(p) && !at_dash(p) : at_dash(p))) {
		char *key = NULL;

		if (map && (*p->at == '"' || *p->at == '\'')) {
			key = take_quoted(p);
		} else if (map) {
			size_t n = plain_length(p->at, false);

			key = is_unknown(*p->at) ? NULL : copy_text(p, p->at, n);
			p->at += n;
		}
		if (map && !key)
			return yaml_fail(p, "this key is not known here");
		skip_blanks(p);
		p->at++; /* the colon or the dash */
		*end = parse_value(p, at, !map);
		if (!*end)
			return NULL;
		(*end)->key = key;
		end = &(*end)->next;
		skip_blanks(p);
		/* A list or a map has ended where the next line begins. */
		if (!at_line_end(p) && strspn(p->line, " \t") != column(p))
			return yaml_fail(p, "something stands behind a value");
		skip_empty(p);
	}
	if (y && !ends_document(p) && column(p) > at)
		return yaml_fail(p, "a line is too far to the right");
	return y;
}

static struct yaml *parse_block(struct yaml_parser *p, size_t min)
{
	struct yaml *y;

	if (++p->depth > YAML_DEPTH)
		return yaml_fail(p, "too deep");
	if (at_dash(p))
		y = parse_block_items(p, false);
	else if (*p->at == '{' || *p->at == '[')
		y = parse_flow(p);
	else if (at_key(p))
		y = parse_block_items(p, true);
	else
		y = parse_block_scalar(p, min ? min - 1 : 0, min > 0);
	p->depth--;
	return y;
}

int yaml_parse(const char *text, struct arena *mem, struct yaml **ret, struct err *err)
{
	struct yaml_parser p = { .at = text, .line = text, .number = 1, .mem = mem, .err = err };

	*ret = NULL;
	skip_empty(&p);
	if (str_starts(p.at, "---")) {
		p.at += 3;
		skip_empty(&p);
	}
	if (ends_document(&p))
		return 0;
	*ret = parse_block(&p, 0);
	if (*ret) {
		skip_empty(&p);
		if (!ends_document(&p))
			(void)yaml_fail(&p, "a line belongs to nothing");
	}
	if (!*ret && !err->code)
		(void)yaml_fail(&p, "not understood");
	return err->code ? -err->code : 0;
}

const struct yaml *yaml_get(const struct yaml *y, const char *key)
{
	for (const struct yaml *m = y && y->kind == YAML_MAP ? y->first : NULL; m; m = m->next) {
		if (str_eq(m->key, key))
			return m;
	}
	return NULL;
}

const char *yaml_text(const struct yaml *y, const char *key)
{
	const struct yaml *m = yaml_get(y, key);

	if (!m || m->kind != YAML_SCALAR || !*m->text || str_eq(m->text, "null") ||
	    str_eq(m->text, "~"))
		return NULL;
	return m->text;
}

const struct yaml *yaml_list(const struct yaml *y, const char *key)
{
	const struct yaml *m = yaml_get(y, key);

	return m && m->kind == YAML_LIST ? m->first : NULL;
}
