/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop: epoll, edge-triggered, one callback per file descriptor.
 *
 * A callback may remove any source, even one that is ready in the same batch: a removed source is
 * skipped, and its gone() runs (and may free it) only after the batch.
 */
#ifndef VM_LOOP_H
#define VM_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct source {
	int fd; /* FD_NONE: not in the loop */
	bool dead;
	void (*fn)(struct source *s, uint32_t events);
	void (*gone)(struct source *s); /* may be NULL: somebody else owns the memory */
	struct source *next_dead;
};

struct loop {
	int epfd;
	bool stop;
	struct source *dead;
};

#define FD_NONE (-1)

int loop_open(struct loop *l);
void loop_close(struct loop *l);

/* Takes the fd over: loop_del() closes it. Returns 0, or -errno (the fd is then still yours). */
int loop_add(struct loop *l, struct source *s, int fd, uint32_t events);
void loop_del(struct loop *l, struct source *s);
/* Closes the fd but keeps the source; fn may still be called once, with s->fd FD_NONE. */
void loop_close_fd(struct loop *l, struct source *s);

/* Waits at most timeout_ms (-1: for ever) and runs one batch. Returns 0 or -errno. */
int loop_once(struct loop *l, int timeout_ms);

int64_t loop_now_ms(void);

#endif
