/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Figures of the agent and the guest, out of /proc, as Prometheus text (format 0.0.4).
 */
#ifndef LINUX_PROCMETRICS_H
#define LINUX_PROCMETRICS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

/* Text that grows; failed once memory was out, and then the rest is dropped. */
struct metrics_text {
	struct buf buf;
	bool failed;
};

/* One line; nothing is added when it is longer than 500 bytes. */
void metrics_add(struct metrics_text *t, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* What comes before the values of one metric. */
void metrics_head(struct metrics_text *t, const char *name, const char *type, const char *help);

/*
 * What proc (a directory fd of /proc) tells about this process and the machine. What can't be read
 * is left out.
 */
void metrics_agent(struct metrics_text *t, int proc, unsigned long scrapes);
void metrics_guest(struct metrics_text *t, int proc);
/* Asks the file systems themselves, so that it may wait for a disk. */
void metrics_filesystems(struct metrics_text *t, int proc);

/*
 * "SReclaimable" to "s_reclaimable", "Active(anon)" to "active_anon": the names that 3.x gives
 * fields of /proc.
 */
void metrics_item_name(const char *field, size_t len, char *out, size_t size);

#endif
