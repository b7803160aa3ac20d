/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent.* words of the kernel command line, and the kernel's and systemd's own that choose the
 * version of cgroups: one row each.
 */
#include "config.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/str.h"

void config_defaults(struct config *c)
{
	*c = (struct config){ .log_level = LOG_INFO,
			      .use_vsock = UNSET,
			      .hotplug_timeout_ms = 3000 };
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

static int set_console_vport(struct config *c, const char *v)
{
	int r = set_u32(&c->debug_console_vport, v);

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

/* Zero and less are understood, and mean nothing. */
static int set_hotplug_timeout(struct config *c, const char *v)
{
	int64_t ms;
	int r = str_duration_ms(v, &ms);

	if (r == 0 && ms > 0)
		c->hotplug_timeout_ms = ms;
	return r;
}

static int set_server_addr(struct config *c, const char *v)
{
	if (strlen(v) >= sizeof(c->server_addr))
		return -ENAMETOOLONG;
	(void)snprintf(c->server_addr, sizeof(c->server_addr), "%s", v);
	return 0;
}

/* Any other word than the two modes is passed over, as ever. */
static int set_trace(struct config *c, const char *v)
{
	if (str_eq(v, "isolated") || str_eq(v, "collated"))
		c->trace = true;
	return 0;
}

static const struct {
	const char *key;
	int (*set)(struct config *c, const char *value);
} keys[] = {
	{ "agent.log", set_log },
	{ "agent.log_vport", set_log_vport },
	{ "agent.debug_console_vport", set_console_vport },
	{ "agent.use_vsock", set_use_vsock },
	{ "agent.hotplug_timeout", set_hotplug_timeout },
	{ "agent.unified_cgroup_hierarchy", set_unified },
	{ "systemd.unified_cgroup_hierarchy", set_unified },
	{ "cgroup_no_v1", set_no_v1 },
	{ "agent.container_pipe_size", set_pipe_size },
	{ "agent.server_addr", set_server_addr },
	{ "agent.trace", set_trace },
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

static void take_word(struct config *c, char *word)
{
	char *value, *end;

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (str_eq(word, words[i].word)) {
			*(bool *)(void *)((char *)c + words[i].offset) = true;
			return;
		}
	}
	value = strchr(word, '=');
	if (!value)
		return;
	*value++ = '\0';
	end = strchr(value, '='); /* the value ends at a second '=', as in the reference */
	if (end)
		*end = '\0';
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		if (!str_eq(word, keys[i].key))
			continue;
		if (keys[i].set(c, value) < 0)
			log_warn("config", "Failed to parse kernel option %s='%s'", word, value);
		return;
	}
	if (str_starts(word, "agent."))
		log_warn("config", "Failed to parse kernel option: Unknown option %s", word);
}

void config_parse_cmdline(struct config *c, const char *cmdline)
{
	static const char blanks[] = " \t\n\v\f\r";
	char word[512];

	while (*(cmdline += strspn(cmdline, blanks))) {
		size_t len = strcspn(cmdline, blanks);

		if (len < sizeof(word)) {
			(void)memcpy(word, cmdline, len);
			word[len] = '\0';
			take_word(c, word);
		} else if (str_starts(cmdline, "agent.")) {
			log_warn("config", "a kernel option of %zu characters was passed over",
				 len);
		}
		cmdline += len;
	}
}
