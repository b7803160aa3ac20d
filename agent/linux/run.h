/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One program of the guest, run to its end. It waits: for workers and other forked children, never
 * in the loop, whose reaper would take the program's end away.
 *
 * The program gets standard input, output and errors, and no other descriptor; its signals are as
 * they are by default, and the OOM killer doesn't spare it as it does the agent. What it says is
 * listened to up to a bound, whoever holds its pipes later is not waited for.
 */
#ifndef LINUX_RUN_H
#define LINUX_RUN_H

#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

#include "base/buf.h"
#include "base/err.h"

struct run {
	char *const *argv; /* ends with NULL */
	/* The file; NULL: argv[0]. Without a slash it is looked for where programs are. */
	const char *path;
	char *const *envp; /* NULL: PATH and nothing else */
	const char *cwd;   /* NULL: as it is. "/" where there is no such directory */
	const void *input; /* what it reads; nothing where input_len is 0 */
	size_t input_len;
	struct buf
		*out; /* gets its output, the caller frees it; NULL: that is kept with the errors */
	size_t max_out;
	/*
	 * With either of the two the program has a process group, which is killed as a whole; with
	 * neither it stays in the caller's.
	 */
	int64_t timeout_ms; /* 0: none */
	/* How many files it may open, where the caller has raised its own; NULL: as the caller. */
	const struct rlimit *nofile;
	const int *stop; /* an fd: it ends when that is readable; NULL: none */
};

/*
 * 0 when it exits with 0, else -errno with *err: ECHILD says how it ended and how its errors begin,
 * ETIMEDOUT and ECANCELED that it was killed for it, EFBIG that it said more than max_out, ENOENT
 * that there is none. A file with a slash that can't be executed is exit status 127.
 */
int run_program(const struct run *run, struct err *err);

#endif
