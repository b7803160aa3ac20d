/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"

static struct config parsed(const char *cmdline)
{
	struct config c;

	config_defaults(&c);
	config_parse_cmdline(&c, cmdline);
	return c;
}

/* Each of the names that hosts have had for it, alone: a guest with one of them has cgroup v2. */
Test(config, names_of_cgroup_v2)
{
	static const struct {
		const char *cmdline;
		bool unified, no_v1;
	} rows[] = {
		{ "", false, false },
		{ "cgroup_no_v1=all", false, true },
		{ "quiet cgroup_no_v1=all systemd.unified_cgroup_hierarchy=1 panic=1", true, true },
		{ "systemd.unified_cgroup_hierarchy=1", true, false },
		{ "systemd.unified_cgroup_hierarchy=true", true, false },
		{ "systemd.unified_cgroup_hierarchy=yes", true, false },
		{ "systemd.unified_cgroup_hierarchy", true, false },
		{ "systemd.unified_cgroup_hierarchy=0", false, false },
		{ "systemd.unified_cgroup_hierarchy=1 systemd.unified_cgroup_hierarchy=no", false,
		  false },
		{ "agent.unified_cgroup_hierarchy=1", true, false },
		{ "agent.unified_cgroup_hierarchy=true", true, false },
		{ "agent.unified_cgroup_hierarchy=maybe", false, false },
		{ "cgroup_no_v1=memory,cpu", false, false },
		{ "cgroup_no_v1=allegro", false, false },
		{ "cgroup_no_v1=named,all", false, true },
		{ "cgroup_no_v1=", false, false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct config c = parsed(rows[i].cmdline);

		cr_expect_eq(c.unified_cgroup_hierarchy, rows[i].unified, "%s", rows[i].cmdline);
		cr_expect_eq(c.cgroup_no_v1, rows[i].no_v1, "%s", rows[i].cmdline);
	}
}

Test(config, both_notations_of_time)
{
	cr_expect_eq(parsed("").hotplug_timeout_ms, 3000);
	cr_expect_eq(parsed("agent.hotplug_timeout=20").hotplug_timeout_ms, 20000, "3.x: seconds");
	cr_expect_eq(parsed("agent.hotplug_timeout=20s").hotplug_timeout_ms, 20000, "1.x: Go's");
	cr_expect_eq(parsed("agent.hotplug_timeout=1m1s").hotplug_timeout_ms, 61000);
	cr_expect_eq(parsed("agent.hotplug_timeout=0").hotplug_timeout_ms, 3000, "means nothing");
	cr_expect_eq(parsed("agent.hotplug_timeout=-5s").hotplug_timeout_ms, 3000);
	cr_expect_eq(parsed("agent.hotplug_timeout=soon").hotplug_timeout_ms, 3000);
}

Test(config, what_asks_for_tracing)
{
	static const char *const yes[] = { "agent.trace", "agent.trace=true", "agent.trace=1",
					   "agent.trace=isolated", "agent.trace=collated" };

	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
		cr_expect(parsed(yes[i]).trace, "%s", yes[i]);
	cr_expect_not(parsed("agent.trace=false").trace);
	cr_expect_not(parsed("agent.trace=0").trace);
	cr_expect_not(parsed("agent.trace=nonsense").trace);
}

/* Standard error into a file, whose text is returned. */
static const char *warnings(const char *cmdline)
{
	static char text[16384];
	FILE *f = tmpfile();
	size_t n;

	cr_assert_not_null(f);
	cr_assert_eq(dup2(fileno(f), STDERR_FILENO), STDERR_FILENO);
	(void)parsed(cmdline);
	rewind(f);
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = '\0';
	(void)fclose(f);
	return text;
}

/* What hosts pass for parts that are not here is nobody's worry; what they rely on is told. */
Test(config, words_without_a_meaning)
{
	static const char *const quiet[] = {
		"agent.cdh_api_timeout=50",
		"agent.image_pull_timeout=1200",
		"agent.launch_process_timeout=6",
		"agent.cdi_timeout=100",
		"agent.visible_cdi_devices=true",
		"agent.https_proxy=http://p:3128",
		"agent.no_proxy=10.0.0.0/8",
		"agent.guest_components_rest_api=all",
		"agent.guest_components_procs=none",
		"agent.secure_storage_integrity=true",
		"agent.sandbox=1",
		"agent.mem_agent_enable=false",
		"agent.passfd_listener_port=0",
		"agent.unknown_to_all=1",
		"quiet",
		"panic=1",
		"root=/dev/pmem0p1",
	};
	const char *text;

	for (size_t i = 0; i < sizeof(quiet) / sizeof(quiet[0]); i++) {
		text = warnings(quiet[i]);
		cr_expect_str_empty(text, "%s: %s", quiet[i], text);
	}
	text = warnings("kata.extension.a.verity_params=x kata.extension.b kata.extension.c=1");
	cr_expect_not_null(strstr(text, "extensions (kata.extension.*) are not served"));
	cr_expect_eq(strchr(text, '\n'), text + strlen(text) - 1, "one line: %s", text);
	cr_expect_not_null(strstr(warnings("agent.mem_agent_enable=1"), "does not serve"));
	cr_expect_not_null(strstr(warnings("agent.log=loud"), "agent.log='loud'"));
}

Test(config, file)
{
	char path[] = "/tmp/test_config.XXXXXX";
	int fd = mkstemp(path);
	struct config c;
	static const char text[] = "# ours\n"
				   "log_level = \"debug\"  # loud\n"
				   "debug_console = true\n"
				   "debug_console_vport = 1026\n"
				   "hotplug_timeout=7\n"
				   "cdi_timeout = { secs = 8, nanos = 1000000 }\n"
				   "server_addr = 'vsock://-1:1024'\n"
				   "container_pipe_size = many\n"
				   "no_such_key = 1\n"
				   "not a line\n"
				   "unified_cgroup_hierarchy = true\n"
				   "[endpoints]\n"
				   "log_level = \"error\"\n";

	cr_assert_eq(write(fd, text, sizeof(text) - 1), (ssize_t)sizeof(text) - 1);
	(void)close(fd);
	config_defaults(&c);
	cr_expect_eq(config_parse_file(&c, path), 0);
	(void)unlink(path);
	cr_expect_eq(c.log_level, LOG_DEBUG, "a table's keys are not ours");
	cr_expect(c.debug_console && c.debug_console_vport == 1026);
	cr_expect_eq(c.hotplug_timeout_ms, 7000);
	cr_expect_str_eq(c.server_addr, "vsock://-1:1024");
	cr_expect_eq(c.container_pipe_size, 0);
	cr_expect(c.unified_cgroup_hierarchy);
	cr_expect_eq(c.cdi_timeout_s, 9);
	cr_expect_eq(config_parse_file(&c, path), -ENOENT);
	cr_expect_str_eq(parsed("agent.config_file=/a agent.config_file=/b").file, "/a");
}

/* The kernel line's port opens the console, as in 1.x; a file has a word of its own for that. */
Test(config, console_port_of_a_file)
{
	static const char text[] = "debug_console = false\ndebug_console_vport = 1026\n";
	char path[] = "/tmp/test_config.XXXXXX";
	int fd = mkstemp(path);
	struct config c;

	cr_assert_eq(write(fd, text, sizeof(text) - 1), (ssize_t)sizeof(text) - 1);
	(void)close(fd);
	config_defaults(&c);
	cr_expect_eq(config_parse_file(&c, path), 0);
	(void)unlink(path);
	cr_expect(!c.debug_console && c.debug_console_vport == 1026);
	cr_expect(parsed("agent.debug_console_vport=1026").debug_console);
}

/* As serde writes a Duration. */
Test(config, times_of_a_file)
{
	static const struct {
		const char *text;
		int64_t ms;
	} rows[] = {
		{ "hotplug_timeout = { secs = 7, nanos = 500000000 }\n", 7500 },
		{ "hotplug_timeout = {secs=20}\n", 20000 },
		{ "hotplug_timeout = \"5s\"\n", 5000 },
		{ "hotplug_timeout = { nanos = 5 }\n", 3000 },
		{ "hotplug_timeout = { secs = x }\n", 3000 },
		{ "hotplug_timeout = { secs = 1, nanos = 1000000000 }\n", 3000 },
		{ "hotplug_timeout = { secs = 99999999999999999999999999 }\n", 3000 },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char path[] = "/tmp/test_config.XXXXXX";
		int fd = mkstemp(path);
		struct config c;

		cr_assert_eq(write(fd, rows[i].text, strlen(rows[i].text)),
			     (ssize_t)strlen(rows[i].text));
		(void)close(fd);
		config_defaults(&c);
		cr_expect_eq(config_parse_file(&c, path), 0);
		(void)unlink(path);
		cr_expect_eq(c.hotplug_timeout_ms, rows[i].ms, "%s", rows[i].text);
	}
}

Test(config, environment)
{
	struct config c;

	config_defaults(&c);
	(void)setenv("KATA_AGENT_SERVER_ADDR", "unix:///x", 1);
	(void)setenv("KATA_AGENT_LOG_LEVEL", "warn", 1);
	(void)setenv("KATA_AGENT_TRACING", "true", 1);
	config_parse_environment(&c);
	cr_expect_str_eq(c.server_addr, "unix:///x");
	cr_expect_eq(c.log_level, LOG_WARN);
	cr_expect(c.trace);
	(void)setenv("KATA_AGENT_TRACING", "false", 1);
	config_parse_environment(&c);
	cr_expect_not(c.trace);
}
