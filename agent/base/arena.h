/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of one call: many small allocations, one end. The ceiling bounds what a hostile message
 * can make us take; reaching it is an ordinary allocation failure.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>

struct arena_chunk;

struct arena {
	struct arena_chunk *chunks; /* newest first; all freed by arena_free */
	size_t taken, ceiling;	    /* bytes asked of malloc, and how many may be */
};

void arena_init(struct arena *a, size_t ceiling);
void arena_free(struct arena *a); /* all at once; the arena can be used again */
/* Aligned for any type, not cleared; NULL at the ceiling or when memory is out. */
void *arena_alloc(struct arena *a, size_t size);
void *arena_zalloc(struct arena *a, size_t size);
char *arena_strdup(struct arena *a, const char *s);
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
