/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arena: chunks from malloc, each at least ARENA_CHUNK bytes, filled from the front. What was in
 * one does not stay in memory, see buf.c.
 */
#include "base/arena.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_CHUNK 4000u /* with malloc's header still below a page */

struct arena_chunk {
	struct arena_chunk *next;
	size_t used, size;
	alignas(max_align_t) unsigned char data[];
};

void arena_init(struct arena *a, size_t ceiling)
{
	a->chunks = NULL;
	a->taken = 0;
	a->ceiling = ceiling;
}

void arena_free(struct arena *a)
{
	while (a->chunks) {
		struct arena_chunk *c = a->chunks;

		a->chunks = c->next;
		explicit_bzero(c->data, c->used);
		free(c);
	}
	a->taken = 0;
}

void *arena_alloc(struct arena *a, size_t size)
{
	const size_t align = alignof(max_align_t);
	struct arena_chunk *c = a->chunks;
	size_t room;

	if (size > SIZE_MAX / 2)
		return NULL;
	size = (size + align - 1) & ~(align - 1);
	if (!c || c->size - c->used < size) {
		room = size > ARENA_CHUNK / 2 ? size : ARENA_CHUNK - sizeof(*c);
		if (room + sizeof(*c) > a->ceiling - a->taken)
			return NULL;
		c = malloc(sizeof(*c) + room);
		if (!c)
			return NULL;
		a->taken += room + sizeof(*c);
		c->used = 0;
		c->size = room;
		if (a->chunks && room == size) { /* a big one: the open chunk stays in front */
			c->next = a->chunks->next;
			a->chunks->next = c;
		} else {
			c->next = a->chunks;
			a->chunks = c;
		}
	}
	c->used += size;
	return c->data + c->used - size;
}

void *arena_zalloc(struct arena *a, size_t size)
{
	void *p = arena_alloc(a, size);

	return p ? memset(p, 0, size) : NULL;
}

char *arena_strdup(struct arena *a, const char *s)
{
	size_t len = strlen(s) + 1;
	char *p = arena_alloc(a, len);

	return p ? memcpy(p, s, len) : NULL;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list ap;
	char *p;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (len < 0)
		return NULL;
	p = arena_alloc(a, (size_t)len + 1);
	if (!p)
		return NULL;
	va_start(ap, fmt);
	(void)vsnprintf(p, (size_t)len + 1, fmt, ap);
	va_end(ap);
	return p;
}
