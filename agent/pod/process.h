/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes: made, found, waited for, signalled. The states: pod.h.
 */
#ifndef POD_PROCESS_H
#define POD_PROCESS_H

#include "pod/pod.h"

/* A process on ctr's list, in PROC_NEW; NULL without memory. */
struct process *process_new(struct container *ctr, const char *exec_id, bool terminal);
/* It is killed if it lives, its streams end, all its parked calls are answered. */
void process_free(struct process *p);
/* SPAWN_BORN: what is watched is the process itself. */
void process_born(struct process *p);
/* After spawn_start: watches it and takes its pipes; in PROC_STARTING or PROC_RUNNING. */
void process_started(struct process *p, enum process_state state);
/* "" is the init. NULL with *err: NOT_FOUND. One in PROC_STARTING is nobody's yet. */
struct process *process_find(struct container *ctr, const char *exec_id, struct err *err);

/* ExecProcess: parks the call until execve, or fails. As a handler returns. */
int process_exec(struct container *ctr, const Grpc__ExecProcessRequest *req, struct call *c,
		 struct err *err);
/* WaitProcess: answered with the status, or parked until there is one. */
int process_wait(struct process *p, struct call *c);
/* To the one process; where 1.x and 3.x disagree, as in schema. 0 or -errno with *err. */
int process_signal(struct process *p, int sig, enum schema schema, struct err *err);
/* To all processes of the container, which thaws it unless sig is 0. 0 or -errno with *err. */
int process_signal_all(struct container *ctr, int sig, struct err *err);

#endif
