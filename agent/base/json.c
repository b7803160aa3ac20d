/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON. No state of its own.
 */
#include "base/json.h"

#include <errno.h>
#include <string.h>

#include "base/str.h"

static void json_put(struct json *j, const void *bytes, size_t len)
{
	j->full |= len > j->left;
	if (j->full)
		return;
	j->left -= len;
	(void)fwrite(bytes, 1, len, j->f);
}

void json_text(struct json *j, const char *text)
{
	json_put(j, text, strlen(text));
}

/* How many bytes at s can go out as they are, as one character; 0: none. */
static size_t json_plain(const char *s)
{
	unsigned char c = (unsigned char)*s;
	size_t len = c < 0xc0 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;

	if (c < 0x20 || c == '"' || c == '\\')
		return 0;
	return c < 0x80 || (strnlen(s, len) == len && str_is_utf8(s, len)) ? len : 0;
}

static void json_put_escaped(struct json *j, unsigned char c)
{
	char text[8];

	if (c == '"' || c == '\\')
		(void)snprintf(text, sizeof(text), "\\%c", c);
	else
		(void)snprintf(text, sizeof(text), "\\u%04x", c < 0x20 ? c : 0xfffdu);
	json_text(j, text);
}

void json_string(struct json *j, const char *s)
{
	json_text(j, "\"");
	while (*s) {
		size_t run = 0, n;

		while (s[run] && (n = json_plain(s + run)) > 0)
			run += n;
		json_put(j, s, run);
		s += run;
		if (*s)
			json_put_escaped(j, (unsigned char)*s++);
	}
	json_text(j, "\"");
}

int json_end(const struct json *j)
{
	if (j->full)
		return -EFBIG;
	return fflush(j->f) != 0 || ferror(j->f) ? -EIO : 0;
}
