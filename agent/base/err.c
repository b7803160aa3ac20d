/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Composing struct err. No state, no heap.
 */
#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int set(struct err *err, int code, int rpc, const char *fmt, va_list ap)
{
	if (err) {
		err->code = code;
		err->rpc = rpc;
		(void)vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	}
	return -code;
}

int err_set(struct err *err, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	set(err, code, 0, fmt, ap);
	va_end(ap);
	return -code;
}

int err_sys(struct err *err, int code, const char *fmt, ...)
{
	size_t len;
	va_list ap;

	va_start(ap, fmt);
	set(err, code, 0, fmt, ap);
	va_end(ap);
	if (err) {
		len = strlen(err->msg);
		(void)snprintf(err->msg + len, sizeof(err->msg) - len, ": %s", strerror(code));
	}
	return -code;
}

int err_rpc(struct err *err, int rpc, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	set(err, EINVAL, rpc, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

int err_wrap(struct err *err, const char *fmt, ...)
{
	char old[sizeof(err->msg)];
	size_t len;
	va_list ap;

	if (!err)
		return -EINVAL;
	(void)memcpy(old, err->msg, sizeof(old));
	old[sizeof(old) - 1] = '\0';
	va_start(ap, fmt);
	(void)vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	len = strlen(err->msg);
	(void)snprintf(err->msg + len, sizeof(err->msg) - len, ": %s", old);
	return -err->code;
}
