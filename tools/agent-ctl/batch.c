/* SPDX-License-Identifier: Apache-2.0 */
/* batch, repeat, sleep: several commands over one connection. */
#include "batch.h"

#include "run.h"

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <string.h>

#define MAX_BATCH  (4u << 20)
#define MAX_REPEAT 1000000000

/* One word, with quotes and backslashes taken off in place. False: a quote has no end. */
static bool split_word(char **at, char **ret)
{
	char *from = *at, *to = *at, quote = 0;

	*ret = to;
	for (; *from && (quote || !isspace((unsigned char)*from)); from++) {
		if (!quote && (*from == '\'' || *from == '"'))
			quote = *from;
		else if (quote && *from == quote)
			quote = 0;
		else if (*from == '\\' && quote != '\'' && from[1])
			*to++ = *++from;
		else
			*to++ = *from;
	}
	*at = *from ? from + 1 : from;
	*to = '\0';
	return !quote;
}

int batch_split(char *line, char **words, size_t max, struct err *err)
{
	size_t n = 0;

	for (;;) {
		line += strspn(line, " \t\r\n\v\f");
		if (!*line || *line == '#')
			break;
		if (n + 1 >= max)
			return err_set(err, E2BIG, "more than %zu words", max - 1);
		if (!split_word(&line, &words[n++]))
			return err_set(err, EINVAL, "a quote has no end");
	}
	words[n] = NULL;
	return (int)n;
}

static int run_line(struct ctl *c, char *line)
{
	char *words[BATCH_MAX_WORDS];
	AUTO_FREE char *text = xstrdup(line);
	struct err err;
	int n = batch_split(text, words, ARRAY_LEN(words), &err), status;

	if (n < 0) {
		say("'%s': %s", line, err.msg);
		return EXIT_OWN;
	}
	if (n == 0)
		return 0;
	status = ctl_run(c, n, words);
	(void)fflush(stdout);
	return status;
}

int batch_main(struct ctl *c, const struct command *self, int argc, char **argv)
{
	bool keep_going = false;
	const struct opt opts[] = {
		{ 'k', "keep-going", OPT_FLAG, &keep_going, NULL,
		  "go on after a command that failed" },
	};
	AUTO_FREE char *text = NULL;
	char *rest = NULL;
	struct err err;
	int status, first = 0;
	size_t len;

	if (!ctl_options(c, self, opts, ARRAY_LEN(opts), -1, &argc, argv, 0, -1, &status))
		return status;
	if (argc == 0) {
		if (read_file("-", MAX_BATCH, &text, &len, &err) < 0)
			return ctl_fail(&err);
		rest = text;
	}
	for (int i = 0; (rest || i < argc) && (first == 0 || keep_going); i++) {
		char *line = rest ? strsep(&rest, "\n") : argv[i];

		status = run_line(c, line);
		first = first ? first : status;
	}
	return first;
}

int repeat_main(struct ctl *c, const struct command *self, int argc, char **argv)
{
	AUTO_FREE char **words = NULL;
	char *end;
	long count;
	int status = 0;

	if (!ctl_options(c, self, NULL, 0, 1, &argc, argv, 2, -1, &status))
		return status;
	errno = 0;
	count = strtol(argv[0], &end, 10);
	if (end == argv[0] || *end || errno || count < 0 || count > MAX_REPEAT) {
		say("repeat: '%s' is no count", argv[0]);
		return EXIT_OWN;
	}
	words = xcalloc((size_t)argc, sizeof(*words));
	for (status = 0; count > 0 && status == 0; count--) {
		/* options are taken out of the list that a command gets */
		memcpy(words, argv + 1, (size_t)argc * sizeof(*words));
		status = ctl_run(c, argc - 1, words);
	}
	return status;
}

int sleep_main(struct ctl *c, const struct command *self, int argc, char **argv)
{
	char *end;
	double seconds;
	int status;

	if (!ctl_options(c, self, NULL, 0, -1, &argc, argv, 1, 1, &status))
		return status;
	seconds = strtod(argv[0], &end);
	if (end == argv[0] || *end || !(seconds >= 0 && seconds < 1e6)) {
		say("sleep: '%s' is no number of seconds", argv[0]);
		return EXIT_OWN;
	}
	(void)fflush(stdout);
	(void)poll(NULL, 0, (int)(seconds * 1000));
	return 0;
}
