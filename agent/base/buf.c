/* SPDX-License-Identifier: Apache-2.0 */
/*
 * struct buf. What was in one does not stay in memory: each child that is to become a container's
 * process has a copy of ours, which that container may read.
 */
#include "base/buf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SHRINK_MIN 4096u /* free bytes that are worth a realloc */

uint8_t *buf_reserve(struct buf *b, size_t len)
{
	size_t have = buf_len(b), want;
	uint8_t *mem;

	if (b->mem && b->size - b->end >= len)
		return b->mem + b->end;
	if (len > SIZE_MAX / 4 || have > SIZE_MAX / 4)
		return NULL;
	if (b->mem && b->size - have >= len && b->start > have) { /* cheap: no overlap, no growth */
		(void)memcpy(b->mem, b->mem + b->start, have);
		explicit_bzero(b->mem + have, b->end - have);
		b->start = 0;
		b->end = have;
		return b->mem + b->end;
	}
	want = have + len;
	if (b->mem && want < b->size * 2)
		want = b->size * 2;
	mem = malloc(want);
	if (!mem)
		return NULL;
	if (have)
		(void)memcpy(mem, b->mem + b->start, have);
	buf_free(b);
	*b = (struct buf){ .mem = mem, .end = have, .size = want };
	return mem + have;
}

int buf_append(struct buf *b, const void *data, size_t len)
{
	uint8_t *p;

	if (len == 0)
		return 0;
	p = buf_reserve(b, len);
	if (!p)
		return -ENOMEM;
	(void)memcpy(p, data, len);
	b->end += len;
	return 0;
}

void buf_consume(struct buf *b, size_t len)
{
	b->start += len;
	if (b->start == b->end)
		buf_free(b);
}

void buf_shrink(struct buf *b)
{
	uint8_t *mem;

	if (b->size - b->end < SHRINK_MIN)
		return;
	mem = realloc(b->mem, b->end);
	if (!mem)
		return;
	b->mem = mem;
	b->size = b->end;
}

void buf_free(struct buf *b)
{
	if (b->mem)
		explicit_bzero(b->mem, b->end);
	free(b->mem);
	*b = (struct buf){ 0 };
}
