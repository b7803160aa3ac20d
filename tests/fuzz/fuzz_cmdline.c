/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's command line. */
// objs: agent/config.c
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = calloc(1, size + 1);
	struct config c;
	int64_t ms;

	if (!text)
		return 0;
	(void)memcpy(text, data, size);
	log_threshold = LOG_ERROR;
	config_defaults(&c);
	config_parse_cmdline(&c, text);
	if (strnlen(c.server_addr, sizeof(c.server_addr)) == sizeof(c.server_addr))
		abort();
	if (c.hotplug_timeout_ms <= 0)
		abort();
	(void)str_duration_ms(text, &ms);
	free(text);
	return 0;
}
