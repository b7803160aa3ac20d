/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Strict readers of small texts. No state.
 */
#include "base/str.h"

#include <errno.h>

#include "base/auto.h"
#include "base/limits.h"

int str_u64(const char *s, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;

	if (!*s)
		return -EINVAL;
	for (; *s; s++) {
		uint64_t digit = (uint64_t)(*s - '0');

		if (*s < '0' || *s > '9')
			return -EINVAL;
		if (v > (UINT64_MAX - digit) / 10)
			return -ERANGE;
		v = v * 10 + digit;
	}
	if (v > max)
		return -ERANGE;
	*ret = v;
	return 0;
}

int str_bool(const char *s, bool *ret)
{
	static const char *const words[][6] = {
		{ "0", "f", "F", "FALSE", "false", "False" },
		{ "1", "t", "T", "TRUE", "true", "True" },
	};

	for (size_t v = 0; v < ARRAY_LEN(words); v++) {
		for (size_t i = 0; i < ARRAY_LEN(words[v]); i++) {
			if (str_eq(s, words[v][i])) {
				*ret = v;
				return 0;
			}
		}
	}
	return -EINVAL;
}

static const struct unit {
	const char *name;
	int64_t ns;
} units[] = {
	{ "ns", 1 },	       { "us", 1000 },	    { "\xc2\xb5s", 1000 }, /* micro sign */
	{ "\xce\xbcs", 1000 },						   /* Greek mu */
	{ "ms", 1000000 },     { "s", 1000000000 }, { "m", 60000000000 },  { "h", 3600000000000 },
};

static const struct unit *find_unit(const char *s)
{
	const struct unit *best = NULL;

	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		if (str_starts(s, units[i].name) &&
		    (!best || strlen(units[i].name) > strlen(best->name)))
			best = &units[i];
	}
	return best;
}

int str_duration_ms(const char *s, int64_t *ret)
{
	const char *p = s;
	bool negative = false;
	int64_t total = 0;

	if (*p == '+' || *p == '-')
		negative = *p++ == '-';
	if (str_eq(p, "0")) {
		*ret = 0;
		return 0;
	}
	if (!*p)
		return -EINVAL;
	while (*p) {
		const struct unit *u;
		int64_t whole = 0, fraction = 0, scale = 1, ns;
		bool digits = false;

		for (; *p >= '0' && *p <= '9'; p++, digits = true) {
			if (whole > INT64_MAX / 100)
				return -EINVAL;
			whole = whole * 10 + (*p - '0');
		}
		if (*p == '.') {
			for (p++; *p >= '0' && *p <= '9'; p++, digits = true) {
				if (scale < 1000000000) {
					fraction = fraction * 10 + (*p - '0');
					scale *= 10;
				}
			}
		}
		u = find_unit(p);
		if (!digits || !u)
			return -EINVAL;
		if (__builtin_mul_overflow(whole, u->ns, &ns) ||
		    __builtin_add_overflow(ns, (int64_t)((__int128)fraction * u->ns / scale),
					   &ns) ||
		    __builtin_add_overflow(total, ns, &total))
			return -EINVAL;
		p += strlen(u->name);
	}
	*ret = (negative ? -total : total) / 1000000;
	return 0;
}

bool str_is_id(const char *s)
{
	static const char first[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_";
	static const char rest[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.+,-";
	size_t len = strlen(s);

	return len > 0 && len <= LIMIT_ID && strspn(s, first) > 0 && strspn(s, rest) == len;
}

bool str_is_utf8(const void *text, size_t len)
{
	const unsigned char *s = text;

	for (size_t i = 0; i < len;) {
		size_t more = s[i] < 0x80		    ? 0
			      : s[i] >= 0xc2 && s[i] < 0xe0 ? 1
			      : (s[i] & 0xf0) == 0xe0	    ? 2
			      : s[i] >= 0xf0 && s[i] < 0xf5 ? 3
							    : 4;

		if (s[i] == 0 || more == 4 || len - i <= more)
			return false;
		if ((s[i] == 0xe0 && s[i + 1] < 0xa0) || (s[i] == 0xed && s[i + 1] > 0x9f) ||
		    (s[i] == 0xf0 && s[i + 1] < 0x90) || (s[i] == 0xf4 && s[i + 1] > 0x8f))
			return false;
		for (size_t k = 1; k <= more; k++) {
			if ((s[i + k] & 0xc0) != 0x80)
				return false;
		}
		i += more + 1;
	}
	return true;
}
