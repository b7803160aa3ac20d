/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The logger. State: the level, the sandbox id, the version, where lines go, how many were dropped.
 */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/auto.h"

enum log_level log_threshold = LOG_INFO;

/* A reader of the log, and what of the last line it has not taken yet. */
struct log_port {
	int fd; /* 0: none */
	size_t start, len;
	char rest[2048];
};

static struct {
	char sandbox[128];
	const char *version;
	int terminal; /* 0: standard error */
	size_t ports_used;
	struct log_port ports[LOG_PORTS];
	unsigned long dropped;
} state;

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

/* A JSON string; bytes that are not ASCII, and may be no UTF-8, as if they were Latin-1. */
static void line_put_json(struct line *l, const char *s)
{
	char buf[8];

	line_put(l, "\"");
	for (; *s && l->len < sizeof(l->text) - 512; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			(void)snprintf(buf, sizeof(buf), "\\%c", c);
		else if (c < 0x20 || c > 0x7e)
			(void)snprintf(buf, sizeof(buf), "\\u%04x", c);
		else
			(void)snprintf(buf, sizeof(buf), "%c", c);
		line_put(l, buf);
	}
	line_put(l, *s ? "...\"" : "\"");
}

/*
 * The date of a day since 1970-01-01. By hand: strftime and gmtime_r bring locales and time zones
 * into a static program, 33 kB. A year begins in March here, so that a leap day is its last.
 */
static void date_of(int64_t day, char *out, size_t size)
{
	int64_t since = day + 719468, century4 = since / 146097; /* since 0000-03-01 */
	int64_t in_era = since % 146097;
	int64_t year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
	int64_t in_year = in_era - (365 * year + year / 4 - year / 100);
	int64_t month = (5 * in_year + 2) / 153; /* 0: March */

	(void)snprintf(out, size, "%04d-%02d-%02d",
		       (int)(year + century4 * 400 + (month >= 10 ? 1 : 0)),
		       (int)(month >= 10 ? month - 9 : month + 3),
		       (int)(in_year - (153 * month + 2) / 5 + 1));
}

void log_time(const struct timespec *t, char out[LOG_TIME_MAX])
{
	int64_t sec = t->tv_sec > 0 ? t->tv_sec : 0;
	char date[32];

	date_of(sec / 86400, date, sizeof(date));
	(void)snprintf(out, LOG_TIME_MAX, "%sT%02d:%02d:%02d.%09ldZ", date, (int)(sec / 3600 % 24),
		       (int)(sec / 60 % 60), (int)(sec % 60), t->tv_nsec);
}

static void line_put_time(struct line *l)
{
	struct timespec now;
	char buf[LOG_TIME_MAX];

	(void)clock_gettime(CLOCK_REALTIME, &now);
	log_time(&now, buf);
	line_put(l, "\"");
	line_put(l, buf);
	line_put(l, "\"");
}

static void line_make_text(struct line *l, enum log_level level, const char *subsystem,
			   const char *msg)
{
	char tail[64];

	line_put(l, "time=");
	line_put_time(l);
	line_put(l, " level=");
	line_put(l, level_names[level]);
	line_put(l, " msg=");
	line_put_quoted(l, msg);
	if (state.dropped) {
		(void)snprintf(tail, sizeof(tail), " dropped=%lu", state.dropped);
		line_put(l, tail);
	}
	(void)snprintf(tail, sizeof(tail), " name=kata-agent pid=%d", (int)getpid());
	line_put(l, tail);
	if (*state.sandbox) {
		line_put(l, " sandbox=");
		line_put_quoted(l, state.sandbox);
	}
	line_put(l, " source=agent subsystem=");
	line_put_quoted(l, subsystem);
	l->text[l->len++] = '\n';
}

/* The keys and the words for levels are those of the 3.x agent: runtimes read them. */
static void line_make_json(struct line *l, enum log_level level, const char *subsystem,
			   const char *msg)
{
	static const char *const names[] = {
		[LOG_ERROR] = "ERRO",
		[LOG_WARN] = "WARN",
		[LOG_INFO] = "INFO",
		[LOG_DEBUG] = "DEBG",
	};
	char tail[64];

	line_put(l, "{\"msg\":");
	line_put_json(l, msg);
	line_put(l, ",\"level\":\"");
	line_put(l, names[level]);
	line_put(l, "\",\"ts\":");
	line_put_time(l);
	if (state.dropped) {
		(void)snprintf(tail, sizeof(tail), ",\"dropped\":\"%lu\"", state.dropped);
		line_put(l, tail);
	}
	(void)snprintf(tail, sizeof(tail), ",\"name\":\"kata-agent\",\"pid\":\"%d\"",
		       (int)getpid());
	line_put(l, tail);
	if (*state.sandbox) {
		line_put(l, ",\"sandbox\":");
		line_put_json(l, state.sandbox);
	}
	line_put(l, ",\"source\":\"agent\",\"subsystem\":");
	line_put_json(l, subsystem);
	if (state.version) {
		line_put(l, ",\"version\":");
		line_put_json(l, state.version);
	}
	line_put(l, "}");
	l->text[l->len++] = '\n';
}

/* False if nothing of it was taken. */
static bool line_to_terminal(const struct line *l)
{
	struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };

	if (state.terminal)
		return write(state.terminal, l->text, l->len) > 0;
	/* O_NONBLOCK would leak to everybody who shares the open file: ask first instead. */
	return poll(&p, 1, 0) > 0 && p.revents & POLLOUT && write(p.fd, l->text, l->len) >= 0;
}

static bool port_flush(struct log_port *p)
{
	ssize_t n;

	if (!p->len)
		return true;
	n = send(p->fd, p->rest + p->start, p->len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n > 0) {
		p->start += (size_t)n;
		p->len -= (size_t)n;
	}
	return !p->len;
}

/* A line is taken whole or not at all: its reader parses it. */
static bool line_to_port(const struct line *l, struct log_port *p)
{
	if (!port_flush(p))
		return false;
	(void)memcpy(p->rest, l->text, l->len);
	p->start = 0;
	p->len = l->len;
	(void)port_flush(p);
	return true;
}

static bool line_to_ports(const struct line *l)
{
	bool taken = false;

	for (size_t i = 0; i < LOG_PORTS; i++)
		taken |= state.ports[i].fd && line_to_port(l, &state.ports[i]);
	return taken;
}

void log_line(enum log_level level, const char *subsystem, const char *fmt, ...)
{
	struct line l = { .len = 0 };
	int saved = errno;
	char msg[1024];
	bool taken;
	va_list ap;

	if (level > log_threshold)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	if (state.ports_used) {
		line_make_json(&l, level, subsystem, msg);
		taken = line_to_ports(&l);
	} else {
		line_make_text(&l, level, subsystem, msg);
		taken = line_to_terminal(&l);
	}
	state.dropped = taken ? 0 : state.dropped + 1;
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

void log_set_version(const char *text)
{
	state.version = text;
}

void log_open_terminal(void)
{
	int fd;

	if (!isatty(STDERR_FILENO))
		return;
	fd = open("/proc/self/fd/2", O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return;
	if (state.terminal)
		(void)close(state.terminal);
	state.terminal = fd;
}

int log_add_port(int fd)
{
	for (size_t i = 0; i < LOG_PORTS; i++) {
		if (!state.ports[i].fd) {
			state.ports[i] = (struct log_port){ .fd = fd };
			state.ports_used++;
			return 0;
		}
	}
	return -EMFILE;
}

void log_remove_port(int fd)
{
	for (size_t i = 0; i < LOG_PORTS; i++) {
		if (state.ports[i].fd == fd) {
			state.ports[i].fd = 0;
			state.ports_used--;
		}
	}
}

void log_forget_fds(void)
{
	(void)memset(state.ports, 0, sizeof(state.ports));
	state.ports_used = 0;
	state.terminal = 0;
}

int log_parse_level(const char *word, enum log_level *ret)
{
	static const struct {
		const char *word;
		enum log_level level;
	} words[] = {
		{ "critical", LOG_ERROR }, { "panic", LOG_ERROR }, { "fatal", LOG_ERROR },
		{ "error", LOG_ERROR },	   { "warn", LOG_WARN },   { "warning", LOG_WARN },
		{ "info", LOG_INFO },	   { "debug", LOG_DEBUG }, { "trace", LOG_DEBUG },
	};

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (strcasecmp(word, words[i].word) == 0) {
			*ret = words[i].level;
			return 0;
		}
	}
	return -EINVAL;
}
