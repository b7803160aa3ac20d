/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handlers whose work may wait. A worker reads the call, and its request in the call's arena, in
 * its own copy of memory.
 */
#include "svc/svc.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/auto.h"
#include "base/limits.h"
#include "linux/confine.h"
#include "linux/uevent.h"
#include "pod/agent.h"
#include "pod/storage_mount.h"

const struct worker_opts work_reads = { .timeout_ms = LIMIT_WORK_MS,
					.max_out = LIMIT_WORK_OUT,
					.caps = WORKER_READS };
const struct worker_opts work_writes = { .timeout_ms = LIMIT_WORK_MS,
					 .max_out = LIMIT_WORK_OUT,
					 .caps = WORKER_WRITES };

int work_start(struct call *c, const struct worker_opts *opts, void *wait, worker_job *job,
	       worker_done *done, struct err *err)
{
	static const struct worker_opts usual = { .timeout_ms = LIMIT_WORK_MS,
						  .max_out = LIMIT_WORK_OUT };
	struct agent *a = call_agent(c);
	int r;

	(void)call_park(c, NULL, call_go_on, wait);
	r = worker_start(a->loop, a->reaper, opts ? opts : &usual, job, done, c, NULL);
	return r < 0 ? err_sys(err, -r, "start a worker") : CALL_PENDING;
}

void work_done_empty(void *arg, const struct err *err, const struct buf *out)
{
	(void)out;
	if (err->code)
		(void)call_fail(arg, err);
	else
		(void)call_reply_empty(arg);
}

int work_open(const char *path, struct err *err)
{
	AUTO_CLOSE int root = open(STORAGE_ROOT, O_PATH | O_DIRECTORY | O_CLOEXEC);
	char rel[LIMIT_PATH];
	int r;

	if (root < 0)
		return err_sys(err, errno, "open " STORAGE_ROOT);
	r = confine_clean(STORAGE_ROOT, path, rel);
	if (r < 0)
		return err_rpc(err, RPC_INVALID_ARGUMENT, "path '%s' is not below " STORAGE_ROOT,
			       path);
	r = confine_any(root, rel);
	return r < 0 ? err_rpc(err, r == -ENOENT ? RPC_NOT_FOUND : RPC_INTERNAL, "open '%s': %s",
			       path, strerror(-r))
		     : r;
}

int work_sys(const struct call *c, struct err *err)
{
	const struct agent *a = call_agent(c);

	return a->uevents ? uevents_sys(a->uevents)
			  : err_set(err, ENODEV, "/sys could not be opened");
}
