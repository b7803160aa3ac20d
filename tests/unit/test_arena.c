/* SPDX-License-Identifier: Apache-2.0 */
// ldflags: -Wl,--wrap=free
#include "base/arena.h"

#include <criterion/criterion.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

Test(arena, aligned_and_apart)
{
	struct arena a;
	unsigned char *p[200];

	arena_init(&a, 1u << 20);
	for (size_t i = 0; i < 200; i++) {
		p[i] = arena_alloc(&a, i + 1);
		cr_assert_not_null(p[i]);
		cr_assert_eq((uintptr_t)p[i] % alignof(max_align_t), 0);
		memset(p[i], (int)i, i + 1);
	}
	for (size_t i = 0; i < 200; i++) {
		for (size_t k = 0; k <= i; k++)
			cr_assert_eq(p[i][k], i);
	}
	arena_free(&a);
	cr_assert_eq(a.taken, 0);
	cr_assert_not_null(arena_alloc(&a, 1), "usable again");
	arena_free(&a);
}

Test(arena, ceiling)
{
	struct arena a;
	size_t n = 0;

	arena_init(&a, 100000);
	cr_assert_null(arena_alloc(&a, 100000));
	cr_assert_null(arena_alloc(&a, SIZE_MAX));
	cr_assert_null(arena_alloc(&a, SIZE_MAX / 2));
	cr_assert_null(arena_alloc(&a, SIZE_MAX / 2 + 1));
	while (arena_alloc(&a, 100))
		n++;
	cr_assert_gt(n, 700);
	cr_assert_leq(a.taken, 100000);
	cr_assert_null(arena_strdup(
		&a, "a text that is longer than what can be left over in the last chunk: "
		    "0123456789012345678901234567890123456789"));
	arena_free(&a);
}

Test(arena, big_ones_keep_the_open_chunk)
{
	struct arena a;
	char *first, *second;

	arena_init(&a, 1u << 20);
	first = arena_alloc(&a, 16);
	cr_assert_not_null(arena_alloc(&a, 50000));
	second = arena_alloc(&a, 16);
	cr_assert_eq(second - first, 16, "the first chunk goes on being filled");
	arena_free(&a);
}

Test(arena, a_big_one_first)
{
	struct arena a;

	arena_init(&a, 1u << 20);
	cr_assert_not_null(arena_zalloc(&a, 50000));
	cr_assert_not_null(arena_zalloc(&a, 50000));
	cr_assert_not_null(arena_zalloc(&a, 16));
	arena_free(&a);
}

Test(arena, texts)
{
	struct arena a;

	arena_init(&a, 1u << 20);
	cr_assert_str_eq(arena_strdup(&a, ""), "");
	cr_assert_str_eq(arena_printf(&a, "%s/%d", "x", 7), "x/7");
	(void)memset(arena_alloc(&a, 64), 7, 64);
	cr_assert_eq(*(char *)arena_zalloc(&a, 1), 0);
	arena_free(&a);
}

Test(arena, nothing_of_zero_bytes_is_shared)
{
	struct arena a;
	char *p, *q;

	arena_init(&a, 1u << 20);
	p = arena_alloc(&a, 0);
	q = arena_alloc(&a, 8);
	cr_assert_not_null(p);
	cr_assert_not_null(q);
	arena_free(&a);
}

static bool watched;
void __real_free(void *p);
void __wrap_free(void *p);

void __wrap_free(void *p)
{
	if (p && watched)
		cr_assert_null(memmem(p, 200, "secret", 6), "it is still there");
	__real_free(p);
}

Test(arena, what_was_in_it_is_wiped)
{
	struct arena a;

	arena_init(&a, 1u << 20);
	cr_assert_not_null(arena_strdup(&a, "first"));
	cr_assert_not_null(arena_strdup(&a, "secret"));
	(void)memset(arena_alloc(&a, 5000), 1, 5000);
	watched = true;
	arena_free(&a);
	watched = false;
}
