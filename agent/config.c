/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent.* words of the kernel command line, the kernel's and systemd's own that choose the
 * version of cgroups, and the keys of 3.x's configuration file: one row each.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/str.h"

void config_defaults(struct config *c)
{
	*c = (struct config){ .log_level = LOG_INFO,
			      .use_vsock = UNSET,
			      .hotplug_timeout_ms = 3000,
			      .cdi_timeout_s = 100 };
}

static int set_log(struct config *c, const char *v)
{
	return log_parse_level(v, &c->log_level);
}

static int set_u32(uint32_t *field, const char *v)
{
	uint64_t n;
	int r = str_u64(v, UINT32_MAX, &n);

	if (r == 0)
		*field = (uint32_t)n;
	return r;
}

static int set_log_vport(struct config *c, const char *v)
{
	return set_u32(&c->log_vport, v);
}

static int set_passfd_port(struct config *c, const char *v)
{
	return set_u32(&c->passfd_port, v);
}

static int set_console_port(struct config *c, const char *v)
{
	return set_u32(&c->debug_console_vport, v);
}

/* The kernel line's opens the console, too, as in 1.x; a file has debug_console for that. */
static int set_console_vport(struct config *c, const char *v)
{
	int r = set_console_port(c, v);

	if (r == 0)
		c->debug_console = true;
	return r;
}

static int set_pipe_size(struct config *c, const char *v)
{
	return set_u32(&c->container_pipe_size, v);
}

static int set_use_vsock(struct config *c, const char *v)
{
	bool yes;
	int r = str_bool(v, &yes);

	if (r == 0)
		c->use_vsock = yes ? YES : NO;
	return r;
}

/* As 3.x has its booleans: "true", or any number but zero. Never an error. */
static bool is_true(const char *v)
{
	uint64_t n;
	bool yes = false;

	if (str_u64(v, UINT64_MAX, &n) == 0)
		return n != 0;
	(void)str_bool(v, &yes);
	return yes;
}

static int set_debug_console(struct config *c, const char *v)
{
	c->debug_console = is_true(v);
	return 0;
}

static int set_visible_cdi(struct config *c, const char *v)
{
	c->visible_cdi_devices = is_true(v);
	return 0;
}

static int set_devmode(struct config *c, const char *v)
{
	c->devmode = is_true(v);
	return 0;
}

static int set_unified(struct config *c, const char *v)
{
	if (str_eq(v, "yes") || str_eq(v, "on")) /* systemd's words */
		v = "1";
	else if (str_eq(v, "no") || str_eq(v, "off"))
		v = "0";
	return str_bool(v, &c->unified_cgroup_hierarchy);
}

/* A list of controllers: with "all" in it the kernel mounts none of them as v1. */
static int set_no_v1(struct config *c, const char *v)
{
	for (; *v; v += strcspn(v, ","), v += *v == ',') {
		if (strcspn(v, ",") == strlen("all") && str_starts(v, "all"))
			c->cgroup_no_v1 = true;
	}
	return 0;
}

/* A number of an inline table of a file. */
static int table_number(const char *table, const char *name, uint64_t max, uint64_t *ret)
{
	const char *at = strstr(table, name);
	char digits[24];
	size_t n;

	if (!at)
		return -EINVAL;
	at += strlen(name);
	at += strspn(at, " \t=");
	n = strspn(at, "0123456789");
	if (n == 0 || n >= sizeof(digits))
		return -EINVAL;
	(void)memcpy(digits, at, n);
	digits[n] = '\0';
	return str_u64(digits, max, ret);
}

/*
 * A time in ms: 3.x sends whole seconds, and has { secs = 7, nanos = 0 } in its file; 1.x Go's
 * durations. Zero and less are understood, and mean nothing: *ret stays.
 */
static int set_ms(int64_t *ret, const char *v)
{
	uint64_t seconds, nanos = 0;
	int64_t ms;
	int r = str_u64(v, INT32_MAX, &seconds);

	if (*v == '{') {
		r = table_number(v, "secs", INT32_MAX, &seconds);
		if (r == 0 && strstr(v, "nanos"))
			r = table_number(v, "nanos", 999999999, &nanos);
		ms = r == 0 ? (int64_t)(seconds * 1000 + nanos / 1000000) : 0;
	} else if (r == 0) {
		ms = (int64_t)seconds * 1000;
	} else {
		r = str_duration_ms(v, &ms);
	}
	if (r == 0 && ms > 0)
		*ret = ms;
	return r;
}

static int set_hotplug_timeout(struct config *c, const char *v)
{
	return set_ms(&c->hotplug_timeout_ms, v);
}

static int set_cdi_timeout(struct config *c, const char *v)
{
	int64_t ms = (int64_t)c->cdi_timeout_s * 1000;
	int r = set_ms(&ms, v);

	c->cdi_timeout_s = (uint32_t)((ms + 999) / 1000);
	return r;
}

static int set_server_addr(struct config *c, const char *v)
{
	if (strlen(v) >= sizeof(c->server_addr))
		return -ENAMETOOLONG;
	(void)snprintf(c->server_addr, sizeof(c->server_addr), "%s", v);
	return 0;
}

/* 1.x has two modes, 3.x any boolean. */
static int set_trace(struct config *c, const char *v)
{
	c->trace = str_eq(v, "isolated") || str_eq(v, "collated") || is_true(v);
	return 0;
}

static int set_file(struct config *c, const char *v)
{
	if (strlen(v) >= sizeof(c->file))
		return -ENAMETOOLONG;
	if (!*c->file)
		(void)snprintf(c->file, sizeof(c->file), "%s", v);
	return 0;
}

/* What hosts say for parts of the reference that are not here, and that nothing depends on. */
static int set_nothing(struct config *c, const char *v)
{
	(void)c;
	(void)v;
	return 0;
}

/* What the host relies on, and we don't have: it shall be read somewhere. */
static int set_missing(struct config *c, const char *v)
{
	(void)c;
	if (!str_eq(v, "0") && !str_eq(v, "false"))
		log_warn("config", "the kernel line asks for what this agent does not serve: %s",
			 v);
	return 0;
}

static const struct config_key {
	const char *key, *file_key; /* NULL: not there */
	int (*set)(struct config *c, const char *value);
} config_keys[] = {
	{ "agent.config_file", NULL, set_file },
	{ "agent.log", "log_level", set_log },
	{ "agent.log_vport", "log_vport", set_log_vport },
	{ NULL, "debug_console", set_debug_console },
	{ "agent.debug_console_vport", NULL, set_console_vport },
	{ NULL, "debug_console_vport", set_console_port },
	{ NULL, "dev_mode", set_devmode },
	{ "agent.use_vsock", NULL, set_use_vsock },
	{ "agent.hotplug_timeout", "hotplug_timeout", set_hotplug_timeout },
	{ "agent.unified_cgroup_hierarchy", "unified_cgroup_hierarchy", set_unified },
	{ "systemd.unified_cgroup_hierarchy", NULL, set_unified },
	{ "cgroup_no_v1", NULL, set_no_v1 },
	{ "agent.container_pipe_size", "container_pipe_size", set_pipe_size },
	{ "agent.server_addr", "server_addr", set_server_addr },
	{ "agent.trace", "tracing", set_trace },
	{ "agent.passfd_listener_port", "passfd_listener_port", set_passfd_port },
	{ "agent.mem_agent_enable", "mem_agent_enable", set_missing },
	{ "agent.visible_cdi_devices", "visible_cdi_devices", set_visible_cdi },
	{ "agent.cdi_timeout", "cdi_timeout", set_cdi_timeout },
	{ "agent.cdh_api_timeout", "cdh_api_timeout", set_nothing },
	{ "agent.image_pull_timeout", "image_pull_timeout", set_nothing },
	{ "agent.launch_process_timeout", "launch_process_timeout", set_nothing },
	{ "agent.https_proxy", "https_proxy", set_nothing },
	{ "agent.no_proxy", "no_proxy", set_nothing },
	{ "agent.sandbox", NULL, set_nothing },
	{ "agent.guest_components_rest_api", "guest_components_rest_api", set_nothing },
	{ "agent.guest_components_procs", "guest_components_procs", set_nothing },
	{ "agent.secure_storage_integrity", "secure_storage_integrity", set_nothing },
	{ "agent.secure_image_storage_integrity", NULL, set_nothing },
};

static const struct {
	const char *word;
	size_t offset; /* of a bool */
} words[] = {
	{ "agent.devmode", offsetof(struct config, devmode) },
	{ "agent.debug_console", offsetof(struct config, debug_console) },
	{ "agent.trace", offsetof(struct config, trace) },
	{ "systemd.unified_cgroup_hierarchy", offsetof(struct config, unified_cgroup_hierarchy) },
};

static void take_value(struct config *c, const struct config_key *k, const char *name,
		       const char *value)
{
	if (k->set(c, value) < 0)
		log_warn("config", "Failed to parse kernel option %s='%s'", name, value);
}

static void take_word(struct config *c, char *word, bool *extensions)
{
	char *value, *end;

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (str_eq(word, words[i].word)) {
			*(bool *)(void *)((char *)c + words[i].offset) = true;
			return;
		}
	}
	*extensions |= str_starts(word, "kata.extension.");
	value = strchr(word, '=');
	if (!value)
		return;
	*value++ = '\0';
	end = strchr(value, '='); /* the value ends at a second '=', as in the reference */
	if (end)
		*end = '\0';
	for (size_t i = 0; i < ARRAY_LEN(config_keys); i++) {
		if (config_keys[i].key && str_eq(word, config_keys[i].key)) {
			take_value(c, &config_keys[i], word, value);
			return;
		}
	}
	if (str_starts(word, "agent."))
		log_debug("config", "unknown kernel option %s", word);
}

void config_parse_cmdline(struct config *c, const char *cmdline)
{
	static const char blanks[] = " \t\n\v\f\r";
	char word[512];
	bool extensions = false;

	while (*(cmdline += strspn(cmdline, blanks))) {
		size_t len = strcspn(cmdline, blanks);

		if (len < sizeof(word)) {
			(void)memcpy(word, cmdline, len);
			word[len] = '\0';
			take_word(c, word, &extensions);
		} else if (str_starts(cmdline, "agent.")) {
			log_warn("config", "a kernel option of %zu characters was passed over",
				 len);
		}
		cmdline += len;
	}
	if (extensions)
		log_warn("config", "guest extensions (kata.extension.*) are not served");
}

/* "key = value", the value with or without quotes or an inline table, a comment behind it. False: none of that. */
static bool config_split(char *line, char **ret_key, char **ret_value)
{
	static const char blanks[] = " \t\r\n";
	char *eq = strchr(line, '='), *end;

	if (!eq)
		return false;
	*eq = '\0';
	*ret_key = line + strspn(line, blanks);
	(*ret_key)[strcspn(*ret_key, blanks)] = '\0';
	*ret_value = eq + 1 + strspn(eq + 1, blanks);
	if (**ret_value == '"' || **ret_value == '\'') {
		end = strchr(*ret_value + 1, **ret_value);
		(*ret_value)++;
	} else if (**ret_value == '{') {
		end = strchr(*ret_value, '}');
	} else {
		end = *ret_value + strcspn(*ret_value, " \t\r\n#");
	}
	if (end)
		*end = '\0';
	return end && **ret_key != '#' && **ret_key;
}

int config_parse_file(struct config *c, const char *path)
{
	char text[16384], *rest = text, *line, *key, *value;
	int r = (int)fdio_read_file(AT_FDCWD, path, text, sizeof(text));

	if (r < 0)
		return r;
	while ((line = strsep(&rest, "\n"))) {
		if (line[strspn(line, " \t")] == '[') /* a table: none has keys of ours */
			break;
		if (!config_split(line, &key, &value))
			continue;
		for (size_t i = 0; i < ARRAY_LEN(config_keys); i++) {
			if (config_keys[i].file_key && str_eq(key, config_keys[i].file_key))
				take_value(c, &config_keys[i], key, value);
		}
	}
	return 0;
}

void config_parse_environment(struct config *c)
{
	static const struct {
		const char *name, *key;
	} variables[] = {
		{ "KATA_AGENT_SERVER_ADDR", "server_addr" },
		{ "KATA_AGENT_LOG_LEVEL", "log_level" },
		{ "KATA_AGENT_TRACING", "tracing" },
	};

	for (size_t v = 0; v < ARRAY_LEN(variables); v++) {
		const char *value = getenv(variables[v].name);

		for (size_t i = 0; value && i < ARRAY_LEN(config_keys); i++) {
			const char *key = config_keys[i].file_key;

			if (key && str_eq(variables[v].key, key))
				take_value(c, &config_keys[i], variables[v].name, value);
		}
	}
}
