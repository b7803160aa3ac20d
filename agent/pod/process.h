/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes: made, waited for, signalled, and their streams.
 */
#ifndef POD_PROCESS_H
#define POD_PROCESS_H

#include "pod/container.h"

/* A process on ctr's list, not started; NULL without memory. */
struct process *process_new(struct container *ctr, const char *exec_id, bool terminal);
/* Parked calls are answered as the end of the process would; a living process is killed. */
void process_free(struct process *p);
/* After spawn_start: watches it and takes its pipes. */
void process_started(struct process *p);
/* The terminal's master may have come with an event. */
void process_take_terminal(struct process *p);
/* NULL with *err: NOT_FOUND "Process X not found (container Y)". "" is not a name. */
struct process *process_find(struct container *ctr, const char *exec_id, struct err *err);

/* Lets a process go, soon, whose status has been told and whose output has been read. */
void process_settle(struct process *p);

/* Streams (svc/stdio.c): set up, ended by the process's exit, and taken down. */
void stdio_init(struct process *p);
void stdio_exited(struct process *p);
void stdio_close(struct process *p);
/* Both output streams have been read to their ends. */
bool stdio_drained(const struct process *p);

int svc_exec_process(struct call *c, const void *req, struct err *err);
int svc_signal_process(struct call *c, const void *req, struct err *err);
int svc_wait_process(struct call *c, const void *req, struct err *err);
int svc_write_stdin(struct call *c, const void *req, struct err *err);
int svc_read_stdout(struct call *c, const void *req, struct err *err);
int svc_read_stderr(struct call *c, const void *req, struct err *err);
int svc_close_stdin(struct call *c, const void *req, struct err *err);
int svc_tty_win_resize(struct call *c, const void *req, struct err *err);

#endif
