/* SPDX-License-Identifier: Apache-2.0 */
/* A process's standard streams joined with ours, until it has ended. */
#ifndef CTL_STREAM_H
#define CTL_STREAM_H

#include "ctl.h"

/*
 * What one call carries. A read takes what is there. A write beyond the 64 KiB that a pipe holds
 * waits in the agent for the process to read: measured in a guest, larger ones are slower.
 */
#define STREAM_READ  (256u * 1024)
#define STREAM_WRITE (64u * 1024)

struct stream_options {
	const char *cid, *eid;
	bool tty;
	bool no_stdin; /* close the process's standard input at once */
	/* Called when the first reads are on their way, as the runtime does it. May be NULL. */
	int (*start)(struct ctl *c, const char *cid, struct err *err);
};

/*
 * Copies until the process has closed its output, then waits for it. *ret_status is its exit
 * status. -EINTR: the user gave up (second interrupt); -EPIPE: nobody takes our output any more.
 * In both cases the process goes on; its end is the caller's business.
 */
int stream_run(struct ctl *c, const struct stream_options *o, int *ret_status, struct err *err);

/* The data of a ReadStreamResponse, pointing into buf; false: not to be decoded in place. */
bool stream_peek_data(const uint8_t *buf, size_t len, const uint8_t **ret, size_t *ret_len);
/* End of output, as any agent says it. */
bool stream_is_eof(int status, const char *message, bool tty);

#endif
