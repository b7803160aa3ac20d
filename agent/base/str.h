/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Strings and numbers from outside, read strictly.
 */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline bool str_eq(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

static inline bool str_starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* protobuf-c gives "" for a string that was not sent; NULL counts as empty too. */
static inline bool str_empty(const char *s)
{
	return !s || !*s;
}

/* A whole decimal number without sign or blanks: 0, or -EINVAL, or -ERANGE above max. */
int str_u64(const char *s, uint64_t max, uint64_t *ret);
/* One of Go's spellings: 1 t T TRUE true True, 0 f F FALSE false False; else -EINVAL. */
int str_bool(const char *s, bool *ret);
/*
 * Go's duration text ("1m30s", "1.5s", "300ms", "0") in milliseconds, rounded down; else -EINVAL.
 */
int str_duration_ms(const char *s, int64_t *ret);
/* [A-Za-z0-9_][A-Za-z0-9_.+,-]*, up to LIMIT_ID bytes: safe as one path component. */
bool str_is_id(const char *s);
/* True if the whole text is well-formed UTF-8 without NUL; len bytes are looked at. */
bool str_is_utf8(const void *s, size_t len);

#endif
