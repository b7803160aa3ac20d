/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slow work in a forked child that shares our namespaces: mounts, hooks, sync. The job answers with
 * a struct err and, if it likes, some bytes; the loop goes on meanwhile.
 */
#ifndef BASE_WORKER_H
#define BASE_WORKER_H

#include <linux/capability.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/loop.h"
#include "base/reaper.h"

struct worker;

/*
 * Runs in the child. 0, or a negative errno with *err set. What it writes to out (a blocking pipe)
 * reaches the parent. It may block, allocate and exec; it must not touch the loop.
 */
typedef int worker_job(void *arg, int out, struct err *err);
/*
 * Runs in the parent, from the loop, when the child is dead and its answer has been read to its
 * end; never after worker_cancel. err->code is 0 for success; out holds the first max_out bytes of
 * what the job wrote. Both live only during the call. A child that doesn't die of its deadline's
 * SIGKILL (disk sleep, a frozen cgroup) is given LIMIT_WORKER_DEATH_MS, then it is disowned: the
 * one system call that it is in may yet take effect.
 */
typedef void worker_done(void *arg, const struct err *err, const struct buf *out);

struct worker_opts {
	int64_t timeout_ms; /* 0: none; after it the child is killed and err->code is ETIMEDOUT */
	size_t max_out;	    /* bytes of output kept; what follows is read and dropped */
	bool gentle;	    /* cancelled by SIGTERM: the job has processes to take along */
	/*
	 * The descriptors that the job uses, borrowed. It has these, out and the standard ones; all
	 * others are closed, lest a pipe's end or a hang-up wait for it.
	 */
	const int *keep;
	size_t keep_count;
	/*
	 * WORKER_CAPS, and a bit 1 << CAP_... for each capability that the job needs: what reads
	 * files or runs a program has no more than that, nor gets it by execve. 0: the agent's own,
	 * for mounts, hooks, modules, devices and shells.
	 */
	uint64_t caps;
};
#define WORKER_CAPS (UINT64_C(1) << 63)
/* To find, read and write files, whoever owns them. */
#define WORKER_READS (WORKER_CAPS | UINT64_C(1) << CAP_DAC_READ_SEARCH)
#define WORKER_WRITES                                                                 \
	(WORKER_READS | UINT64_C(1) << CAP_DAC_OVERRIDE | UINT64_C(1) << CAP_FOWNER | \
	 UINT64_C(1) << CAP_FSETID | UINT64_C(1) << CAP_CHOWN)

/*
 * Starts job(arg) in a child; done(arg) follows from the loop. 0 (and *ret, if asked for) or
 * -errno.
 */
int worker_start(struct loop *l, struct reaper *r, const struct worker_opts *opts, worker_job *job,
		 worker_done *done, void *arg, struct worker **ret);
/* Kills the child's process group, or asks it to end; done will not be called. */
void worker_cancel(struct worker *w);

#endif
