/* SPDX-License-Identifier: Apache-2.0 */
// The runner of programs: how they end, what they say and read, when they are killed.
#include "linux/run.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/loop.h"

static struct err err;
static struct buf out;
static char sh[] = "/bin/sh", c[] = "-c";

static void clear(void)
{
	err = (struct err){ 0 };
	buf_free(&out);
}

TestSuite(run, .init = clear, .fini = clear, .timeout = 30);

/* Runs a line of shell with the rest of the wishes in how. */
static int script(const char *text, struct run how)
{
	char *argv[] = { sh, c, (char *)(uintptr_t)text, NULL };

	clear();
	how.argv = argv;
	return run_program(&how, &err);
}

static int said(const char *text)
{
	return buf_len(&out) == strlen(text) &&
	       (!*text || memcmp(buf_data(&out), text, buf_len(&out)) == 0);
}

Test(run, how_it_ends)
{
	cr_expect_eq(script("exit 0", (struct run){ 0 }), 0);
	cr_expect_eq(script("echo why >&2; exit 9", (struct run){ 0 }), -ECHILD);
	cr_expect_str_eq(err.msg, "exit status 9, output: why\n");
	cr_expect_eq(script("echo why; exit 9", (struct run){ 0 }), -ECHILD);
	cr_expect_str_eq(err.msg, "exit status 9, output: why\n", "its output is kept, too");
	cr_expect_eq(script("kill -9 $$", (struct run){ 0 }), -ECHILD);
	cr_expect_str_eq(err.msg, "signal 9");
	cr_expect_eq(script("head -c 1000000 /dev/zero | tr '\\0' x; exit 3", (struct run){ 0 }),
		     -ECHILD);
	cr_expect_lt(strlen(err.msg), 400);
}

Test(run, what_it_is)
{
	char echo[] = "echo", hi[] = "hi", none[] = "no-such-program-here",
	     passwd[] = "/etc/passwd";
	char *argv[] = { echo, hi, NULL };
	struct run how = { .argv = argv, .out = &out, .max_out = 100 };

	cr_expect_eq(run_program(&how, &err), 0, "%s", err.msg);
	cr_expect(said("hi\n"));
	argv[0] = none;
	cr_expect_eq(run_program(&how, &err), -ENOENT);
	cr_expect_not_null(strstr(err.msg, "no-such-program-here is not installed"), "%s", err.msg);
	argv[0] = passwd;
	cr_expect_eq(run_program(&how, &err), -ECHILD);
	cr_expect_not_null(strstr(err.msg, "127, output: Permission denied"), "%s", err.msg);
	how.path = sh;
	cr_expect_eq(
		script("echo $0; pwd", (struct run){ .out = &out, .max_out = 100, .cwd = "/tmp" }),
		0);
	cr_expect(said("/bin/sh\n/tmp\n"));
	cr_expect_eq(script("pwd", (struct run){ .out = &out, .max_out = 100, .cwd = "/no/such" }),
		     0);
	cr_expect(said("/\n"));
}

Test(run, what_it_has)
{
	struct run how = { .out = &out, .max_out = 4000 };
	char mine[] = "MINE=1", *env[] = { mine, NULL };
	AUTO_CLOSE int open_one = open("/", O_PATH); /* inherited, were it not closed */

	cr_assert_geq(open_one, 0);
	cr_assert_eq(setenv("SECRET", "1", 1), 0);
	cr_expect_eq(script("ls /proc/self/fd | tr '\\n' ' '", how), 0);
	cr_expect(said("0 1 2 3 "), "3 is of ls itself: %.*s", (int)buf_len(&out), buf_data(&out));
	cr_expect_eq(script("tr '\\0' ' ' </proc/$$/environ", how), 0);
	cr_expect(said("PATH=/usr/sbin:/sbin:/usr/bin:/bin "), "%.*s", (int)buf_len(&out),
		  buf_data(&out));
	how.envp = env;
	cr_expect_eq(script("/usr/bin/tr '\\0' ' ' </proc/$$/environ", how), 0);
	cr_expect(said("MINE=1 "));
	cr_expect_eq(script("grep SigBlk /proc/$$/status | /usr/bin/cut -f 2", how), 0);
	cr_expect(said("0000000000000000\n"));
}

Test(run, input)
{
	size_t len = 3000000;
	AUTO_FREE char *big = malloc(len);
	struct run how = { .out = &out, .max_out = len, .input = big, .input_len = len };

	cr_assert_not_null(big);
	(void)memset(big, 'x', len);
	cr_expect_eq(script("cat", how), 0, "%s", err.msg);
	cr_expect_eq(buf_len(&out), len);
	cr_expect_eq(memcmp(buf_data(&out), big, len), 0);
	cr_expect_eq(script("exec <&-; exit 0", how), 0, "it need not read");
	how.input_len = 0;
	cr_expect_eq(script("cat", how), 0, "nothing to read");
	cr_expect(said(""));
}

Test(run, bounds)
{
	struct run how = { .out = &out, .max_out = 10000 };
	int64_t began = loop_now_ms();

	cr_expect_eq(script("head -c 10000 /dev/zero", how), 0);
	cr_expect_eq(buf_len(&out), 10000);
	cr_expect_eq(script("yes", how), -EFBIG);
	cr_expect_leq(buf_len(&out), 10000);
	cr_expect_eq(script("head -c 3000000 /dev/zero >&2; echo done", how), 0);
	cr_expect(said("done\n"));
	cr_expect_eq(script("echo it; (sleep 20 &); exit 0", how), 0, "a daemon is left to itself");
	cr_expect(said("it\n"));
	cr_expect_lt(loop_now_ms() - began, 10000);
}

static bool lives(const char *file)
{
	AUTO_FILE FILE *f = fopen(file, "re");
	int pid = 0;

	cr_assert_not_null(f);
	cr_assert_eq(fscanf(f, "%d", &pid), 1);
	for (int i = 0; i < 100 && kill(pid, 0) == 0; i++) {
		char path[40], state = 0;
		AUTO_FILE FILE *stat = NULL;

		(void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
		stat = fopen(path, "re");
		if (!stat || fscanf(stat, "%*d %*s %c", &state) != 1 || state == 'Z')
			return false; /* gone, or waiting for its own parent */
		(void)poll(NULL, 0, 20);
	}
	return kill(pid, 0) == 0;
}

Test(run, killed_in_time)
{
	char file[] = "/tmp/test_run.XXXXXX", text[200];
	int fd = mkstemp(file), stop[2];
	int64_t began = loop_now_ms();

	cr_assert_geq(fd, 0);
	(void)close(fd);
	(void)snprintf(text, sizeof(text), "sleep 50 & echo $! >%s; wait", file);
	cr_expect_eq(script(text, (struct run){ .timeout_ms = 300 }), -ETIMEDOUT);
	cr_expect_not(lives(file), "what it had started");
	cr_assert_eq(pipe(stop), 0);
	(void)snprintf(text, sizeof(text), "sleep 50 & echo $! >%s; wait", file);
	cr_assert_eq(write(stop[1], "x", 1), 1);
	cr_expect_eq(script("sleep 50", (struct run){ .stop = &stop[0] }), -ECANCELED);
	cr_expect_lt(loop_now_ms() - began, 10000);
	cr_expect_eq(waitpid(-1, NULL, WNOHANG), -1, "nothing is left to reap");
	(void)unlink(file);
}
