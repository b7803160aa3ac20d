/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process's standard streams: set up, read, written, ended by its death, taken down. The states
 * of a stream: pod.h.
 */
#ifndef POD_STDIO_H
#define POD_STDIO_H

#include "pod/pod.h"

void stdio_init(struct process *p);
/* Takes what has come of the process's pipes and of its terminal. */
void stdio_take(struct process *p);
/* The process is dead, or somebody has come for its status: its output may end with it, soon. */
void stdio_told(struct process *p);
bool stdio_has_readers(const struct process *p);
/* Both output streams have been read to their ends. */
bool stdio_drained(const struct process *p);
/* The end of all streams; answers the parked calls. */
void stdio_close(struct process *p);

/*
 * Answers the call, or parks it until there is output, at most want bytes of it. The end of the
 * stream is an error ("EOF"), in 3.x after an empty success. As a handler returns.
 */
int stdio_read(struct process *p, bool is_err, size_t want, struct call *c, struct err *err);
/* Answers the call, or parks it until all is written. data lives as long as the call. */
int stdio_write(struct process *p, const uint8_t *data, size_t len, struct call *c,
		struct err *err);
/* Behind the writes that wait. A terminal has no end of input but what is typed. */
void stdio_close_input(struct process *p);
/* 0, -ENOTTY when there is no terminal, -errno. */
int stdio_resize(struct process *p, uint32_t rows, uint32_t columns);

#endif
