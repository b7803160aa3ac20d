/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel command line's agent.* words, a configuration file, the environment.
 */
#ifndef CONFIG_H
#define CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"

enum tristate { UNSET = -1, NO = 0, YES = 1 };

struct config {
	enum log_level log_level;
	uint32_t log_vport;   /* 0: off */
	uint32_t passfd_port; /* 0: off */
	bool devmode, trace;
	enum tristate use_vsock;
	bool debug_console;
	uint32_t debug_console_vport; /* 0: on the console */
	int64_t hotplug_timeout_ms;
	bool unified_cgroup_hierarchy; /* cgroup v2, asked for by agent.* or systemd.* */
	bool cgroup_no_v1;	       /* v2 since the kernel was told to have no v1 */
	uint32_t container_pipe_size;  /* bytes; 0: the kernel's default */
	uint32_t cdi_timeout_s;
	bool visible_cdi_devices;
	char server_addr[128]; /* "": choose the channel as a guest does */
	char file[128];	       /* agent.config_file; "": none */
};

void config_defaults(struct config *c);
/*
 * Reads all words of a command line; a bad value is warned about and keeps the default. Of
 * agent.config_file the first counts, and is the caller's to read.
 */
void config_parse_cmdline(struct config *c, const char *cmdline);
/*
 * Reads a configuration file of 3.x: lines of TOML, key = value, after the defaults. Keys that are
 * not known are passed over, a bad value keeps the default. 0, or -errno where it can't be read.
 */
int config_parse_file(struct config *c, const char *path);
/* What KATA_AGENT_SERVER_ADDR, KATA_AGENT_LOG_LEVEL and KATA_AGENT_TRACING say. */
void config_parse_environment(struct config *c);

#endif
