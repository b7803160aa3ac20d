/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The logger. State: the level, the sandbox id, the fd and the count of lines that were dropped.
 */
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "base/auto.h"

enum log_level log_threshold = LOG_INFO;

static struct {
	char sandbox[128];
	int fd;
	unsigned long dropped;
} state = { .fd = -1 };

static const char *const level_names[] = {
	[LOG_ERROR] = "error",
	[LOG_WARN] = "warning",
	[LOG_INFO] = "info",
	[LOG_DEBUG] = "debug",
};

struct line {
	char text[2048];
	size_t len;
};

static void line_put(struct line *l, const char *s)
{
	size_t n = strlen(s);
	size_t room = sizeof(l->text) - 2 - l->len; /* the newline always has a place */

	if (n > room)
		n = room;
	(void)memcpy(l->text + l->len, s, n);
	l->len += n;
}

static bool line_is_plain(const char *s)
{
	return *s &&
	       strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._/@^+") ==
		       strlen(s);
}

/* Go's %q, near enough for the parser: control bytes and foreign ones as \xNN. */
static void line_put_quoted(struct line *l, const char *s)
{
	char buf[8];

	if (line_is_plain(s)) {
		line_put(l, s);
		return;
	}
	line_put(l, "\"");
	for (; *s && l->len < sizeof(l->text) - 256; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			(void)snprintf(buf, sizeof(buf), "\\%c", c);
		else if (c == '\n')
			(void)snprintf(buf, sizeof(buf), "\\n");
		else if (c == '\t')
			(void)snprintf(buf, sizeof(buf), "\\t");
		else if (c < 0x20 || c > 0x7e)
			(void)snprintf(buf, sizeof(buf), "\\x%02x", c);
		else
			(void)snprintf(buf, sizeof(buf), "%c", c);
		line_put(l, buf);
	}
	line_put(l, *s ? "...\"" : "\"");
}

static void line_put_time(struct line *l)
{
	struct timespec now;
	struct tm tm;
	char buf[64];
	size_t n;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	(void)gmtime_r(&now.tv_sec, &tm);
	n = strftime(buf, sizeof(buf), "time=\"%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(buf + n, sizeof(buf) - n, ".%09ldZ\"", now.tv_nsec);
	line_put(l, buf);
}

static void line_write(const struct line *l)
{
	int fd = state.fd >= 0 ? state.fd : STDERR_FILENO;
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	/* O_NONBLOCK would leak to everybody who shares the open file: ask first instead. */
	if (poll(&p, 1, 0) <= 0 || !(p.revents & POLLOUT) || write(fd, l->text, l->len) < 0)
		state.dropped++;
}

void log_line(enum log_level level, const char *subsystem, const char *fmt, ...)
{
	struct line l = { .len = 0 };
	int saved = errno;
	char msg[1024], tail[160];
	va_list ap;

	if (level > log_threshold)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	line_put_time(&l);
	line_put(&l, " level=");
	line_put(&l, level_names[level]);
	line_put(&l, " msg=");
	line_put_quoted(&l, msg);
	if (state.dropped) {
		(void)snprintf(tail, sizeof(tail), " dropped=%lu", state.dropped);
		state.dropped = 0;
		line_put(&l, tail);
	}
	(void)snprintf(tail, sizeof(tail), " name=kata-agent pid=%d", (int)getpid());
	line_put(&l, tail);
	if (*state.sandbox) {
		line_put(&l, " sandbox=");
		line_put_quoted(&l, state.sandbox);
	}
	line_put(&l, " source=agent subsystem=");
	line_put_quoted(&l, subsystem);
	l.text[l.len++] = '\n';
	line_write(&l);
	errno = saved;
}

bool log_due(struct log_limit *l, unsigned int *ret_skipped)
{
	struct timespec now;
	int64_t ms;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
	if (ms < l->next_ms) {
		l->skipped++;
		return false;
	}
	*ret_skipped = l->skipped;
	*l = (struct log_limit){ .next_ms = ms + 1000 };
	return true;
}

void log_set_sandbox(const char *id)
{
	(void)snprintf(state.sandbox, sizeof(state.sandbox), "%s", id);
}

void log_set_fd(int fd)
{
	state.fd = fd;
}

int log_parse_level(const char *word, enum log_level *ret)
{
	static const struct {
		const char *word;
		enum log_level level;
	} words[] = {
		{ "panic", LOG_ERROR }, { "fatal", LOG_ERROR },	 { "error", LOG_ERROR },
		{ "warn", LOG_WARN },	{ "warning", LOG_WARN }, { "info", LOG_INFO },
		{ "debug", LOG_DEBUG }, { "trace", LOG_DEBUG },
	};

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (strcasecmp(word, words[i].word) == 0) {
			*ret = words[i].level;
			return 0;
		}
	}
	return -EINVAL;
}
