/* SPDX-License-Identifier: Apache-2.0 */
// YAML and JSON as programs write them: one tree for both; what isn't known is an error with a line.
#include "base/yaml.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"

static struct arena mem;
static char out[4096];

static void show(const struct yaml *y)
{
	size_t n = strlen(out);

	if (y->key)
		n += (size_t)snprintf(out + n, sizeof(out) - n, "%s=", y->key);
	if (y->kind == YAML_SCALAR) {
		(void)snprintf(out + n, sizeof(out) - n, "<%s>", y->text);
		return;
	}
	(void)snprintf(out + n, sizeof(out) - n, "%s", y->kind == YAML_MAP ? "{" : "[");
	for (const struct yaml *m = y->first; m; m = m->next)
		show(m);
	n = strlen(out);
	(void)snprintf(out + n, sizeof(out) - n, "%s", y->kind == YAML_MAP ? "}" : "]");
}

static const char *parsed(const char *text)
{
	struct err err = { 0 };
	struct yaml *y = NULL;
	int r;

	arena_free(&mem);
	arena_init(&mem, 1 << 20);
	out[0] = '\0';
	r = yaml_parse(text, &mem, &y, &err);
	if (r < 0)
		(void)snprintf(out, sizeof(out), "error: %s", err.msg);
	else if (y)
		show(y);
	return out;
}

Test(yaml, trees)
{
	static const struct {
		const char *text, *tree;
	} rows[] = {
		{ "", "" },
		{ "# nothing\n\n---\n", "" },
		{ "word", "<word>" },
		{ "a: b", "{a=<b>}" },
		{ "---\na: b\nc: 'd e'\n", "{a=<b>c=<d e>}" },
		{ "a:\n  b: 1\n  c:\n    d: 2\ne: 3\n", "{a={b=<1>c={d=<2>}}e=<3>}" },
		{ "a:\n- 1\n- 2\nb: 3", "{a=[<1><2>]b=<3>}" },
		{ "a:\n  - 1\n  - 2\n", "{a=[<1><2>]}" },
		{ "- a: 1\n  b: 2\n- a: 3\n", "[{a=<1>b=<2>}{a=<3>}]" },
		{ "- - 1\n  - 2\n- 3\n", "[[<1><2>]<3>]" },
		{ "-\n  a: 1\n-\n", "[{a=<1>}<>]" },
		{ "a:\nb: null\n", "{a=<>b=<null>}" },
		{ "a: x # comment\nb: y#no\n", "{a=<x>b=<y#no>}" },
		{ "a: http://x:1/y", "{a=<http://x:1/y>}" },
		{ "a: one\n  two\n  three\nb: 1", "{a=<one two three>b=<1>}" },
		{ "a: \"x\\n\\\"y\\\" \\u00e9\\u20ac\\ud83d\\ude00\\x41\"", "{a=<x\n\"y\" é€😀A>}" },
		{ "a: 'it''s'\n\"b c\": d", "{a=<it's>b c=<d>}" },
		{ "a: \"folded\n  here\"", "{a=<folded here>}" },
		{ "a: [1, 'two', {b: 3}]\nc: {}\nd: []", "{a=[<1><two>{b=<3>}]c={}d=[]}" },
		{ "{\"a\": [1, true,\n\t{\"b\": \"c\\/d\"}], \"e\": {}}",
		  "{a=[<1><true>{b=<c/d>}]e={}}" },
		{ "{\"a\":1,}", "{a=<1>}" },
		{ "{\n}\n", "{}" },
		{ "a: b\r\nc:\r\n- d\r\n", "{a=<b>c=[<d>]}" },
		{ "a: b\n...\nrest: [", "{a=<b>}" },
		{ "- path: /dev/x\n  type: c\n- {path: /dev/y}",
		  "[{path=</dev/x>type=<c>}{path=</dev/y>}]" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		cr_expect_str_eq(parsed(rows[i].text), rows[i].tree, "%s: %s", rows[i].text, out);
}

Test(yaml, errors)
{
	static const struct {
		const char *text, *words;
	} rows[] = {
		{ "a: &x 1", "line 1: anchors" },
		{ "a: 1\nb: !!str 2", "line 2: anchors" },
		{ "a: |\n  text\n", "line 1: anchors" },
		{ "a: \"x", "no end" },
		{ "a: \"\\q\"", "backslash" },
		{ "a: \"\\u0000\"", "backslash" },
		{ "{\"a\" 1}", "':' was expected" },
		{ "[1 2", "bracket" },
		{ "[1", "bracket" },
		{ "{\"a\":", "a value was expected" },
		{ "a: 1\n  b: 2", "a key within a value" },
		{ "a:\n    b: 1\n  c: 2", "line 3" },
		{ "a: 1\n- 2", "line 2" },
		{ "a: 'b' c", "behind a quote" },
		{ "a: [1] b", "behind a value" },
		{ "a: b: c", "a key within a value" },
	};
	char deep[400] = "";

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		cr_expect(strstr(parsed(rows[i].text), rows[i].words), "%s: %s", rows[i].text, out);
	(void)memset(deep, '[', sizeof(deep) - 1);
	cr_expect_not_null(strstr(parsed(deep), "too deep"));
	for (size_t i = 0; i + 2 < sizeof(deep); i += 2)
		(void)memcpy(deep + i, "- ", 2);
	cr_expect_not_null(strstr(parsed(deep), "too deep"));
}

Test(yaml, every_beginning_ends)
{
	static const char text[] =
		"a:\n- {b: [1, \"x\\u00e9\"], 'c': d}\n- e: f # g\n  h: \"i\n j\"\n";
	char part[sizeof(text)];

	for (size_t i = 0; i < sizeof(text); i++) {
		(void)memcpy(part, text, i);
		part[i] = '\0';
		(void)parsed(part);
	}
}

Test(yaml, lookups)
{
	struct err err = { 0 };
	struct yaml *y;

	arena_init(&mem, 1 << 20);
	cr_assert_eq(yaml_parse("a: {b: c}\nd: null\ne: [f]\n", &mem, &y, &err), 0);
	cr_expect_str_eq(yaml_text(yaml_get(y, "a"), "b"), "c");
	cr_expect_null(yaml_text(y, "d"));
	cr_expect_null(yaml_text(y, "a"));
	cr_expect_str_eq(yaml_list(y, "e")->text, "f");
	cr_expect_null(yaml_list(y, "a"));
	cr_expect_null(yaml_get(NULL, "a"));
	arena_free(&mem);
	arena_init(&mem, 40);
	cr_expect_eq(yaml_parse("a: {b: c}", &mem, &y, &err), -ENOMEM);
	arena_free(&mem);
}
