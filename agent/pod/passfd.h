/* SPDX-License-Identifier: Apache-2.0 */
/*
 * passfd: standard streams that the host carries itself (runtime-rs with Dragonball). It dials a
 * vsock port of ours, once for each stream, and names the connections in CreateContainer and
 * ExecProcess by the ports that they come from. Between them and the process's pipes or terminal
 * the bytes go without calls; the process's end is told once its output is with the host.
 */
#ifndef POD_PASSFD_H
#define POD_PASSFD_H

#include <stdbool.h>
#include <stdint.h>

struct agent;
struct process;

/*
 * From now on streams are taken. accept lets in some of those who wait at the port (passfd_offer),
 * and is true if there may be more: a request may be served before the connection that it names. 0
 * or -ENOMEM.
 */
int passfd_open(struct agent *a, bool (*accept)(void));
/* A connection of the host's on vsock; fd is taken. */
void passfd_offer(struct agent *a, int fd);
/* The same for one that comes from that port. */
void passfd_offer_port(struct agent *a, int fd, uint32_t port);

/*
 * Gives p the streams of those ports. With 0 for all of them, and without passfd_open, it is a
 * process as any other; else what has no stream is dropped, and its input is empty. 0 or -ENOMEM.
 */
int passfd_take(struct process *p, uint32_t in, uint32_t out, uint32_t err);
/* What of p's pipes and terminal has come since is joined with its streams. */
void passfd_begin(struct process *p);
/* p is dead: its input ends, its output when it is through or others that hold it are silent. */
void passfd_died(struct process *p);
/* The end of all; what the pipes have goes to the host as far as it takes it at once. */
void passfd_close(struct process *p);

#endif
