/* SPDX-License-Identifier: Apache-2.0 */
// ldflags: -Wl,--wrap=free
#include "base/buf.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

Test(buf, append_and_consume)
{
	struct buf b = { 0 };

	cr_assert_eq(buf_append(&b, "", 0), 0);
	cr_assert_null(b.mem);
	cr_assert_eq(buf_append(&b, "hello ", 6), 0);
	cr_assert_eq(buf_append(&b, "world", 5), 0);
	cr_assert_eq(buf_len(&b), 11);
	cr_assert_eq(memcmp(buf_data(&b), "hello world", 11), 0);
	buf_consume(&b, 6);
	cr_assert_eq(memcmp(buf_data(&b), "world", 5), 0);
	buf_consume(&b, 5);
	cr_assert_null(b.mem, "an emptied buffer holds no memory");
	buf_consume(&b, 0);
	buf_free(&b);
}

/* A queue that is filled at one end and emptied at the other, compared with a plain array. */
Test(buf, random_walk)
{
	static unsigned char model[1u << 20];
	size_t start = 0, end = 0;
	struct buf b = { 0 };

	srandom(1);
	for (int step = 0; step < 20000; step++) {
		size_t n = (size_t)random() % 300;

		if (random() & 1 && end + n <= sizeof(model)) {
			for (size_t i = 0; i < n; i++)
				model[end + i] = (unsigned char)random();
			cr_assert_eq(buf_append(&b, model + end, n), 0);
			end += n;
		} else {
			n = n < end - start ? n : end - start;
			if (n > 0)
				buf_consume(&b, n);
			start += n;
		}
		cr_assert_eq(buf_len(&b), end - start);
		if (end > start)
			cr_assert_eq(memcmp(buf_data(&b), model + start, end - start), 0);
	}
	buf_free(&b);
}

Test(buf, absurd_sizes)
{
	struct buf b = { 0 };

	cr_assert_null(buf_reserve(&b, SIZE_MAX));
	cr_assert_null(buf_reserve(&b, SIZE_MAX / 4 + 1));
	cr_assert_eq(buf_append(&b, "x", 1), 0);
	cr_assert_null(buf_reserve(&b, SIZE_MAX));
	cr_assert_eq(buf_len(&b), 1);
	buf_free(&b);
	buf_free(&b);
}

/* What is given back must be empty as far as it was written to. */
static const char *watched;
static unsigned int watched_frees;
void __real_free(void *p);
void __wrap_free(void *p);

void __wrap_free(void *p)
{
	if (p && watched) {
		watched_frees++;
		cr_assert_null(memmem(p, 64, watched, strlen(watched)), "it is still there");
	}
	__real_free(p);
}

Test(buf, what_was_in_it_is_wiped)
{
	struct buf b = { 0 };

	cr_assert_not_null(buf_reserve(&b, 100));
	cr_assert_eq(buf_append(&b, "0123456789 secret", 17), 0);
	watched = "secret";
	cr_assert_not_null(buf_reserve(&b, 1000));
	cr_assert_eq(watched_frees, 1, "grown");
	buf_consume(&b, 10);
	cr_assert_not_null(buf_reserve(&b, b.size - buf_len(&b)), "moved to the front");
	cr_assert_eq(b.start, 0);
	cr_assert_null(memmem(b.mem + b.end, 64, "ret", 3), "the place that it left");
	buf_free(&b);
	cr_assert_eq(watched_frees, 2);
	watched = NULL;
}

Test(buf, shrinks)
{
	struct buf b = { 0 };

	cr_assert_not_null(buf_reserve(&b, 100000));
	cr_assert_eq(buf_append(&b, "abc", 3), 0);
	buf_shrink(&b);
	cr_assert_eq(b.size, 3);
	cr_assert_eq(memcmp(buf_data(&b), "abc", 3), 0);
	cr_assert_not_null(buf_reserve(&b, 100));
	buf_shrink(&b);
	cr_assert_geq(b.size, 103, "so little is left");
	buf_free(&b);
}
