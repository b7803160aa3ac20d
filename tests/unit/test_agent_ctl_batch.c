/* SPDX-License-Identifier: Apache-2.0 */
// libs: -lnghttp2 -ljson-c
/* Lines of a batch become words; what agents say becomes one line. */
#include "../agent-ctl/batch.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "../agent-ctl/rpc.h"

static const char *split(const char *line, size_t max)
{
	static char out[400];
	char text[400], *words[16];
	struct err err = { 0 };
	int n;

	(void)snprintf(text, sizeof(text), "%s", line);
	n = batch_split(text, words, max, &err);
	if (n < 0) {
		(void)snprintf(out, sizeof(out), "error %d", err.code);
		return out;
	}
	cr_expect_null(words[n]);
	out[0] = '\0';
	for (int i = 0; i < n; i++)
		(void)snprintf(out + strlen(out), sizeof(out) - strlen(out), "[%s]", words[i]);
	return out;
}

Test(agent_ctl_batch, words)
{
	static const struct {
		const char *line, *words;
	} rows[] = {
		{ "", "" },
		{ "  \t", "" },
		{ "# all of it", "" },
		{ "check # the rest", "[check]" },
		{ "a#b", "[a#b]" },
		{ " exec  c1\tls ", "[exec][c1][ls]" },
		{ "exec c1 sh -c 'echo \"a b\"; exit 3'",
		  "[exec][c1][sh][-c][echo \"a b\"; exit 3]" },
		{ "a \"b 'c'\" ''", "[a][b 'c'][]" },
		{ "a\\ b \\'c \"d\\\"e\" 'f\\g'", "[a b]['c][d\"e][f\\g]" },
		{ "x'y z'w", "[xy zw]" },
		{ "a\\", "[a\\]" },
		{ "a 'b", "error 22" },
		{ "a \"b", "error 22" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		cr_expect_str_eq(split(rows[i].line, 16), rows[i].words, "%s: %s", rows[i].line,
				 split(rows[i].line, 16));
	cr_expect_str_eq(split("a b c", 4), "[a][b][c]");
	cr_expect_str_eq(split("a b c d", 4), "error 7");
}

Test(agent_ctl_batch, messages_without_backtraces)
{
	static const struct {
		const char *said, *plain;
	} rows[] = {
		{ "", "" },
		{ "no such container", "no such container" },
		{ "failed\n", "failed" },
		{ "mount failed\n\nCaused by:\n    0: open\n    1: No such file\n",
		  "mount failed: Caused by: 0: open: 1: No such file" },
		{ "the file x was not found\n\nStack backtrace:\n   0: core::f\n   1: g",
		  "the file x was not found" },
		{ "\"bad\\n\\nStack backtrace:\\n  0\"", "\"bad" },
		{ "bad\n   0: anyhow::x\n   1: y", "bad" },
	};
	char out[80];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		rpc_plain_message(rows[i].said, out, sizeof(out));
		cr_expect_str_eq(out, rows[i].plain, "'%s'", out);
	}
	rpc_plain_message("0123456789", out, 6);
	cr_expect_lt(strlen(out), 6u);
	cr_expect(!strncmp(out, "0123456789", strlen(out)));
}
