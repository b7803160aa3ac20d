/* SPDX-License-Identifier: Apache-2.0 */
/* A queue of bytes that grows. */
#include "bytes.h"

#include <string.h>

void bytes_put(struct bytes *b, const void *data, size_t len)
{
	if (len == 0)
		return;
	if (b->tail + len > b->cap && b->head > 0) {
		memmove(b->p, b->p + b->head, bytes_len(b));
		b->tail -= b->head;
		b->head = 0;
	}
	if (b->tail + len > b->cap) {
		b->cap = (b->tail + len) * 2;
		b->p = xrealloc(b->p, b->cap);
	}
	memcpy(b->p + b->tail, data, len);
	b->tail += len;
}

void bytes_take(struct bytes *b, size_t len)
{
	b->head += len;
	if (b->head == b->tail)
		b->head = b->tail = 0;
}

void bytes_free(struct bytes *b)
{
	free(b->p);
	*b = (struct bytes){ 0 };
}
