/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel command line's agent.* words and the program's own arguments.
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
	uint32_t log_vport; /* 0: off */
	bool devmode, trace;
	enum tristate use_vsock;
	bool debug_console;
	uint32_t debug_console_vport; /* 0: on the console */
	int64_t hotplug_timeout_ms;
	bool unified_cgroup_hierarchy; /* cgroup v2, asked for by agent.* or systemd.* */
	bool cgroup_no_v1;	       /* v2 since the kernel was told to have no v1 */
	uint32_t container_pipe_size;  /* bytes; 0: the kernel's default */
	char server_addr[128];	       /* "": choose the channel as a guest does */
};

void config_defaults(struct config *c);
/* Reads all words of a command line; a bad value is warned about and keeps the default. */
void config_parse_cmdline(struct config *c, const char *cmdline);

#endif
