/* SPDX-License-Identifier: Apache-2.0 */
/* A queue of bytes that grows. */
#ifndef CTL_BYTES_H
#define CTL_BYTES_H

#include "common.h"

struct bytes {
	uint8_t *p;
	size_t head, tail, cap; /* [head, tail) is what is there */
};

static inline size_t bytes_len(const struct bytes *b)
{
	return b->tail - b->head;
}

static inline const uint8_t *bytes_data(const struct bytes *b)
{
	return b->p + b->head;
}

void bytes_put(struct bytes *b, const void *data, size_t len);
void bytes_take(struct bytes *b, size_t len);
void bytes_free(struct bytes *b);

#endif
