/* SPDX-License-Identifier: Apache-2.0 */
#include "base/str.h"

#include <criterion/criterion.h>
#include <errno.h>

#include "base/limits.h"

Test(str, u64)
{
	uint64_t v = 7;

	cr_expect_eq(str_u64("0", 10, &v), 0);
	cr_expect_eq(v, 0);
	cr_expect_eq(str_u64("18446744073709551615", UINT64_MAX, &v), 0);
	cr_expect_eq(v, UINT64_MAX);
	cr_expect_eq(str_u64("18446744073709551616", UINT64_MAX, &v), -ERANGE);
	cr_expect_eq(str_u64("99999999999999999999999", UINT64_MAX, &v), -ERANGE);
	cr_expect_eq(str_u64("11", 10, &v), -ERANGE);
	cr_expect_eq(v, UINT64_MAX, "written on success only");
	for (const char *const *s =
		     (const char *const[]){ "", "-1", "+1", " 1", "1 ", "0x1", "1.0", NULL };
	     *s; s++)
		cr_expect_eq(str_u64(*s, 100, &v), -EINVAL, "'%s'", *s);
}

Test(str, boolean)
{
	bool b;

	for (const char *const *s =
		     (const char *const[]){ "1", "t", "T", "TRUE", "true", "True", NULL };
	     *s; s++)
		cr_expect(str_bool(*s, &b) == 0 && b, "'%s'", *s);
	for (const char *const *s =
		     (const char *const[]){ "0", "f", "F", "FALSE", "false", "False", NULL };
	     *s; s++)
		cr_expect(str_bool(*s, &b) == 0 && !b, "'%s'", *s);
	for (const char *const *s = (const char *const[]){ "", "yes", "tRUE", "2", " 1", NULL }; *s;
	     s++)
		cr_expect_eq(str_bool(*s, &b), -EINVAL, "'%s'", *s);
}

Test(str, duration)
{
	static const struct {
		const char *text;
		int64_t ms;
	} good[] = {
		{ "0", 0 },	     { "3s", 3000 },
		{ "1m30s", 90000 },  { "1.5s", 1500 },
		{ "300ms", 300 },    { "1h", 3600000 },
		{ ".5s", 500 },	     { "1.s", 1000 },
		{ "-1s", -1000 },    { "+1s", 1000 },
		{ "999us", 0 },	     { "1500us", 1 },
		{ "2\xc2\xb5s", 0 }, { "2000\xce\xbcs", 2 },
		{ "1000000ns", 1 },  { "0.1234567891s", 123 },
		{ "-0", 0 },
	};
	int64_t ms;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		cr_expect_eq(str_duration_ms(good[i].text, &ms), 0, "'%s'", good[i].text);
		cr_expect_eq(ms, good[i].ms, "'%s' is %lld", good[i].text, (long long)ms);
	}
	for (const char *const *s = (const char *const[]){ "", "5", "-", "s", ".s", "1x", "1s2",
							   "1 s", "1s ", "99999999999999999999h",
							   "9223372036854775807h", "-1", NULL };
	     *s; s++)
		cr_expect_eq(str_duration_ms(*s, &ms), -EINVAL, "'%s'", *s);
}

Test(str, ids)
{
	char longest[LIMIT_ID + 2];

	for (const char *const *s = (const char *const[]){ "a", "A0", "a.b", "a-b_c", "0123",
							   "a..b", "_a+b", NULL };
	     *s; s++)
		cr_expect(str_is_id(*s), "'%s'", *s);
	for (const char *const *s = (const char *const[]){ "", ".", "..", "-a", ".a", "a/b", "+a",
							   "a b", "a\n", "\xc3\xa4", "/", NULL };
	     *s; s++)
		cr_expect(!str_is_id(*s), "'%s'", *s);
	memset(longest, 'a', sizeof(longest));
	longest[LIMIT_ID] = '\0';
	cr_expect(str_is_id(longest));
	longest[LIMIT_ID] = 'a';
	longest[LIMIT_ID + 1] = '\0';
	cr_expect(!str_is_id(longest));
}

Test(str, utf8)
{
	static const struct {
		const char *text;
		size_t len;
		bool ok;
	} rows[] = {
		{ "", 0, true },
		{ "abc", 3, true },
		{ "gr\xc3\xbcn", 5, true },
		{ "\xe2\x82\xac", 3, true },
		{ "\xf0\x9f\x98\x80", 4, true },
		{ "\xf4\x8f\xbf\xbf", 4, true },
		{ "\xf4\x90\x80\x80", 4, false },
		{ "a\0b", 3, false },
		{ "\xff", 1, false },
		{ "\xc3", 1, false },
		{ "\xc3\xc3", 2, false },
		{ "\xe2\x82\xe2", 3, false },
		{ "\xc0\x80", 2, false },
		{ "\xe0\x80\x80", 3, false },
		{ "\xed\xa0\x80", 3, false },
		{ "\xe2\x82", 2, false },
		{ "\x80", 1, false },
		{ "\xf5\x80\x80\x80", 4, false },
		{ "\xc3\x28", 2, false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *exact = malloc(rows[i].len + 1); /* ASan sees a look beyond */

		memcpy(exact, rows[i].text, rows[i].len);
		exact = realloc(exact, rows[i].len ? rows[i].len : 1);
		cr_expect_eq(str_is_utf8(exact, rows[i].len), rows[i].ok, "row %zu", i);
		free(exact);
	}
}
