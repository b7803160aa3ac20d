/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line per event, in the shape that kata-log-parser reads:
 *   time="..." level=warning msg="..." name=kata-agent pid=1 source=agent subsystem=call
 * and on the log port, whose readers are runtimes of 3.x:
 *   {"msg":"...","level":"WARN","ts":"...","name":"kata-agent","source":"agent", ...}
 * Nothing here allocates, and nothing waits: what doesn't fit is dropped and counted, and the next
 * line tells how many. Standard error that is a pipe is asked by poll first.
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
/* What objects on ports carry as "version"; the text is kept, not copied. */
void log_set_version(const char *text);
/*
 * Lines go to standard error. Where that is a terminal, a description of our own is opened, which
 * never waits: to be called again once there is a console.
 */
void log_open_terminal(void);
/*
 * While there are any ports, lines go there instead, as JSON objects. fd: a non-blocking socket,
 * stays the caller's. 0, or -EMFILE with LOG_PORTS of them.
 */
#define LOG_PORTS 4
int log_add_port(int fd);
void log_remove_port(int fd);
/* In a child, which may have closed them: what it says goes to standard error as it is. */
void log_forget_fds(void);
/*
 * "critical", "panic", "fatal", "error", "warn", "warning", "info", "debug", "trace", any case: 0 or -EINVAL.
 */
int log_parse_level(const char *word, enum log_level *ret);

/* Of what others can make happen as often as they like: one line a second. Zero at first. */
struct log_limit {
	int64_t next_ms;
	unsigned int skipped;
};

/* May it be told now? Then *ret_skipped is how often it has not been since the last time. */
bool log_due(struct log_limit *l, unsigned int *ret_skipped);

/* A time of CLOCK_REALTIME as lines have it: "2026-11-27T18:30:00.000000000Z". */
#define LOG_TIME_MAX 80
struct timespec;
void log_time(const struct timespec *t, char out[LOG_TIME_MAX]);

#define log_error(sub, ...) log_line(LOG_ERROR, sub, __VA_ARGS__)
#define log_warn(sub, ...)  log_line(LOG_WARN, sub, __VA_ARGS__)
#define log_info(sub, ...)  log_line(LOG_INFO, sub, __VA_ARGS__)
#define log_debug(sub, ...)                                    \
	do {                                                   \
		if (log_threshold >= LOG_DEBUG)                \
			log_line(LOG_DEBUG, sub, __VA_ARGS__); \
	} while (0)

#endif
