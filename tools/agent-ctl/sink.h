/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A descriptor to write to that never blocks the loop, whatever it is, and is left as it was
 * found.
 */
#ifndef CTL_SINK_H
#define CTL_SINK_H

#include "loop.h"

enum sink_kind {
	SINK_FILE,     /* takes all, at once */
	SINK_NONBLOCK, /* a pipe or terminal, opened once more with O_NONBLOCK */
	SINK_SOCKET,   /* send(MSG_DONTWAIT) */
	SINK_PIPE_BUF, /* cannot be reopened: PIPE_BUF bytes whenever poll says so */
};

struct sink {
	struct loop *loop;
	struct io io;
	enum sink_kind kind;
	bool own_fd;
	uint8_t *buf;
	size_t head, tail, cap;
	int error; /* errno of the write that failed; all later bytes are dropped */
	void (*on_drained)(void *arg);
	void *arg;
};

void sink_open(struct sink *s, struct loop *loop, int fd, void (*on_drained)(void *arg), void *arg);
void sink_write(struct sink *s, const uint8_t *data, size_t len);
static inline bool sink_idle(const struct sink *s)
{
	return s->head == s->tail;
}
void sink_close(struct sink *s);

#endif
