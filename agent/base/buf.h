/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growing run of bytes: appended at the end, consumed from the front. It grows with what is
 * appended; a bound is the caller's to keep.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

struct buf {
	uint8_t *mem; /* from malloc; NULL when empty */
	size_t start, end, size;
};

static inline size_t buf_len(const struct buf *b)
{
	return b->end - b->start;
}

static inline uint8_t *buf_data(const struct buf *b)
{
	return b->mem ? b->mem + b->start : NULL; /* NULL + 0 is not C */
}

/* Room for len more bytes at the end; where they go, or NULL when memory is out. */
uint8_t *buf_reserve(struct buf *b, size_t len);
/* 0 or -ENOMEM. */
int buf_append(struct buf *b, const void *data, size_t len);
/* Drops len bytes from the front; an emptied buffer gives its memory back. */
void buf_consume(struct buf *b, size_t len);
/* Gives back what is free behind its end, where that is much. */
void buf_shrink(struct buf *b);
void buf_free(struct buf *b);

/* Numbers as they stand on the wire: four bytes, big-endian. */
static inline uint32_t be32_get(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void be32_put(uint8_t *p, uint32_t v)
{
	for (unsigned int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (24 - 8 * i));
}

#endif
