/* SPDX-License-Identifier: Apache-2.0 */
/* Errors, messages and allocation of agent-ctl. */
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>

int err_set(struct err *err, int code, const char *fmt, ...)
{
	va_list ap;

	err->code = code;
	err->rpc = 0;
	va_start(ap, fmt);
	(void)vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	return -code;
}

int err_wrap(struct err *err, const char *fmt, ...)
{
	char text[2 * sizeof(err->msg)];
	va_list ap;
	size_t n;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(err->msg), fmt, ap);
	va_end(ap);
	n = strlen(text);
	(void)snprintf(text + n, sizeof(text) - n, ": %.*s", (int)sizeof(err->msg) - 3, err->msg);
	memcpy(err->msg, text, sizeof(err->msg) - 1);
	err->msg[sizeof(err->msg) - 1] = '\0';
	return -err->code;
}

void say(const char *fmt, ...)
{
	char line[1200];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (n > 0)
		(void)fprintf(stderr, "agent-ctl: %s%s\n", line, isatty(2) ? "\r" : "");
}

static void *no_memory(void)
{
	(void)!write(2, "agent-ctl: out of memory\n", 25);
	abort();
}

void *xcalloc(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size ? size : 1);

	return p ? p : no_memory();
}

void *xmalloc(size_t size)
{
	void *p = malloc(size ? size : 1);

	return p ? p : no_memory();
}

void *xrealloc(void *old, size_t size)
{
	void *p = realloc(old, size ? size : 1);

	return p ? p : no_memory();
}

char *xstrdup(const char *s)
{
	char *p = strdup(s);

	return p ? p : no_memory();
}

char *xasprintf(const char *fmt, ...)
{
	va_list ap;
	char *p = NULL;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&p, fmt, ap);
	va_end(ap);
	return n < 0 ? no_memory() : p;
}

int64_t now_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int read_file(const char *path, size_t max, char **ret, size_t *ret_len, struct err *err)
{
	bool std_in = !strcmp(path, "-");
	AUTO_CLOSE int opened = FD_NONE;
	AUTO_FREE char *buf = NULL;
	size_t len = 0, cap = 0;
	int fd = STDIN_FILENO;

	if (!std_in) {
		opened = fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return err_set(err, errno, "open '%s': %s", path, strerror(errno));
	}
	for (;;) {
		ssize_t n;

		if (len + 4096 > cap) {
			cap = cap ? cap * 2 : 65536;
			buf = xrealloc(buf, cap + 1);
		}
		n = read(fd, buf + len, cap - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(err, errno, "read '%s': %s", path, strerror(errno));
		if (n == 0)
			break;
		len += (size_t)n;
		if (len > max)
			return err_set(err, EFBIG, "'%s' is larger than %zu bytes", path, max);
	}
	buf[len] = '\0';
	*ret = TAKE_PTR(buf);
	*ret_len = len;
	return 0;
}
