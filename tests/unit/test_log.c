/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int fds[2];

static void open_pipe(void)
{
	cr_assert_eq(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
	cr_assert_eq(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
	log_threshold = LOG_INFO;
}

static const char *take(void)
{
	static char text[8192];
	ssize_t n = read(fds[0], text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

Test(log, shape, .init = open_pipe)
{
	const char *s;

	log_info("call", "hello world");
	s = take();
	cr_expect_eq(strncmp(s, "time=\"20", 8), 0, "%s", s);
	cr_expect_not_null(strstr(s, "Z\" level=info msg=\"hello world\" name=kata-agent pid="),
			   "%s", s);
	cr_expect_not_null(strstr(s, " source=agent subsystem=call\n"), "%s", s);
	log_set_sandbox("sb1");
	log_warn("x", "plain");
	cr_expect_not_null(strstr(take(), " level=warning msg=plain name=kata-agent pid="));
	log_error("x", "y");
	cr_expect_not_null(strstr(take(), " sandbox=sb1 source=agent"));
	log_set_sandbox("");
}

Test(log, threshold, .init = open_pipe)
{
	log_debug("x", "not seen");
	cr_expect_str_empty(take());
	log_threshold = LOG_DEBUG;
	log_debug("x", "seen");
	cr_expect_not_null(strstr(take(), "msg=seen"));
}

Test(log, foreign_bytes, .init = open_pipe)
{
	log_info("x", "a\"b\\c\nd\te\x01\xff level=error msg=forged");
	cr_expect_not_null(strstr(
		take(), "msg=\"a\\\"b\\\\c\\nd\\te\\x01\\xff level=error msg=forged\" name"));
}

Test(log, long_lines_are_cut, .init = open_pipe)
{
	char big[5000];
	const char *s;

	memset(big, '\x01', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	log_info("x", "%s", big);
	s = take();
	cr_expect_leq(strlen(s), 2048);
	cr_expect_eq(s[strlen(s) - 1], '\n');
	cr_expect_eq(strchr(s, '\n'), s + strlen(s) - 1, "one line");
}

Test(log, never_blocks_and_counts, .init = open_pipe, .timeout = 10)
{
	char junk[4096];
	const char *s;

	cr_assert_eq(fcntl(fds[1], F_SETFL, 0), 0, "a blocking fd, as a console is");
	for (int i = 0; i < 5000; i++)
		log_info("x", "line %d", i);
	errno = 77;
	log_info("x", "again");
	cr_expect_eq(errno, 77);
	while (read(fds[0], junk, sizeof(junk)) > 0)
		;
	log_info("x", "after");
	s = take();
	cr_expect_not_null(strstr(s, "msg=after dropped="), "%s", s);
	log_info("x", "later");
	cr_expect_null(strstr(take(), "dropped="));
}

Test(log, ports_get_objects, .init = open_pipe)
{
	int pair[2];
	char text[4096], *end;
	ssize_t n;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	cr_assert_eq(log_add_port(pair[0]), 0);
	log_set_version("1.2.3");
	log_warn("x", "a \"quoted\" and\n%s", "\xff");
	cr_expect_str_empty(take(), "not on the terminal as well");
	n = read(pair[1], text, sizeof(text) - 1);
	cr_assert_gt(n, 0);
	text[n] = '\0';
	cr_expect_eq(
		strncmp(text,
			"{\"msg\":\"a \\\"quoted\\\" and\\u000a\\u00ff\",\"level\":\"WARN\",\"ts\":\"20",
			60),
		0, "%s", text);
	cr_expect_not_null(strstr(text, "\"source\":\"agent\",\"subsystem\":\"x\""), "%s", text);
	cr_expect_not_null(strstr(text, ",\"version\":\"1.2.3\"}\n"), "%s", text);
	/* A reader that is slow gets whole lines, and hears how many it has missed. */
	for (int i = 0; i < 20000; i++)
		log_info("x", "line %d", i);
	while ((n = read(pair[1], text, sizeof(text))) > 0)
		end = text + n;
	log_info("x", "after");
	n = read(pair[1], text, sizeof(text) - 1);
	cr_assert_gt(n, 0);
	text[n] = '\0';
	end = strrchr(text, '{');
	cr_expect_not_null(strstr(end, "{\"msg\":\"after\""), "%s", text);
	cr_expect_not_null(strstr(end, ",\"dropped\":\""), "%s", text);
	log_remove_port(pair[0]);
	log_info("x", "back");
	cr_expect_not_null(strstr(take(), "msg=back"));
	for (int i = 0; i < LOG_PORTS; i++)
		cr_expect_eq(log_add_port(100 + i), 0);
	cr_expect_eq(log_add_port(99), -EMFILE);
	log_forget_fds();
}

Test(log, times_are_those_of_gmtime)
{
	static const int64_t days[] = { 0,     58,    59,    60,    364,    365,
					789,   790,   10956, 10957, 11015,  11016,
					11017, 20784, 47540, 47541, 146096, 2932896 };

	for (size_t i = 0; i < sizeof(days) / sizeof(days[0]); i++) {
		struct timespec t = { .tv_sec = days[i] * 86400 + 86399 - (time_t)i * 3601,
				      .tv_nsec = 7 };
		char got[LOG_TIME_MAX], want[64];

		log_time(&t, got);
		strftime(want, sizeof(want), "%Y-%m-%dT%H:%M:%S.000000007Z", gmtime(&t.tv_sec));
		cr_assert_str_eq(got, want);
	}
}

Test(log, every_day_of_four_centuries)
{
	for (time_t day = 0; day < 146097; day++) {
		struct timespec t = { .tv_sec = day * 86400 };
		char got[LOG_TIME_MAX], want[64];

		log_time(&t, got);
		strftime(want, sizeof(want), "%Y-%m-%dT00:00:00.000000000Z", gmtime(&t.tv_sec));
		cr_assert_str_eq(got, want);
	}
}

Test(log, levels)
{
	enum log_level l;

	cr_expect(log_parse_level("WARN", &l) == 0 && l == LOG_WARN);
	cr_expect(log_parse_level("trace", &l) == 0 && l == LOG_DEBUG);
	cr_expect(log_parse_level("Panic", &l) == 0 && l == LOG_ERROR);
	cr_expect_eq(log_parse_level("", &l), -EINVAL);
	cr_expect_eq(log_parse_level("infos", &l), -EINVAL);
}

Test(log, what_others_can_repeat_is_told_once_a_second)
{
	struct log_limit l = { 0 };
	unsigned int told = 0, skipped = 99;

	cr_expect(log_due(&l, &skipped));
	cr_expect_eq(skipped, 0);
	for (int i = 0; i < 1000; i++)
		told += log_due(&l, &skipped);
	cr_expect_eq(told, 0);
	l.next_ms -= 1001;
	cr_expect(log_due(&l, &skipped));
	cr_expect_eq(skipped, 1000);
}
