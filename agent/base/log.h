/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line per event, in the shape that kata-log-parser reads:
 *   time="..." level=warning msg="..." name=kata-agent pid=1 source=agent subsystem=call
 * Nothing here allocates. A line is written only where poll says that something can be: else it is
 * dropped and counted, and the next one tells how many. A terminal that takes less than a line may
 * still make the write wait.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

extern enum log_level log_threshold; /* the one mutable global; set at start */

void log_line(enum log_level level, const char *subsystem, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Adds sandbox=ID to every line; "" takes it away. */
void log_set_sandbox(const char *id);
/* Where lines go: an fd that stays the caller's, its flags untouched. -1: standard error. */
void log_set_fd(int fd);
/*
 * "panic", "fatal", "error", "warn", "warning", "info", "debug", "trace", any case: 0 or -EINVAL.
 */
int log_parse_level(const char *word, enum log_level *ret);

/* Of what others can make happen as often as they like: one line a second. Zero at first. */
struct log_limit {
	int64_t next_ms;
	unsigned int skipped;
};

/* May it be told now? Then *ret_skipped is how often it has not been since the last time. */
bool log_due(struct log_limit *l, unsigned int *ret_skipped);

#define log_error(sub, ...) log_line(LOG_ERROR, sub, __VA_ARGS__)
#define log_warn(sub, ...)  log_line(LOG_WARN, sub, __VA_ARGS__)
#define log_info(sub, ...)  log_line(LOG_INFO, sub, __VA_ARGS__)
#define log_debug(sub, ...)                                    \
	do {                                                   \
		if (log_threshold >= LOG_DEBUG)                \
			log_line(LOG_DEBUG, sub, __VA_ARGS__); \
	} while (0)

#endif
