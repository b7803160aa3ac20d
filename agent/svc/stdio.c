/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Standard streams. No state.
 */
#include "svc/svc.h"

#include <errno.h>

#include "pod/container.h"
#include "pod/process.h"
#include "pod/stdio.h"

static struct process *stdio_process(struct call *c, const char *cid, const char *exec_id,
				     struct err *err)
{
	struct container *ctr = container_find(c, cid, err);

	return ctr ? process_find(ctr, exec_id, err) : NULL;
}

int svc_read_stdout(struct call *c, const void *request, struct err *err)
{
	const Grpc__ReadStreamRequest *req = request;
	struct process *p = stdio_process(c, req->container_id, req->exec_id, err);

	return p ? stdio_read(p, false, req->len, c, err) : -ENOENT;
}

int svc_read_stderr(struct call *c, const void *request, struct err *err)
{
	const Grpc__ReadStreamRequest *req = request;
	struct process *p = stdio_process(c, req->container_id, req->exec_id, err);

	return p ? stdio_read(p, true, req->len, c, err) : -ENOENT;
}

int svc_write_stdin(struct call *c, const void *request, struct err *err)
{
	const Grpc__WriteStreamRequest *req = request;
	struct process *p = stdio_process(c, req->container_id, req->exec_id, err);

	if (!p)
		return -ENOENT;
	if (req->data.len == 0 && c->schema == SCHEMA_3X) /* there it means CloseStdin */
		stdio_close_input(p);
	return stdio_write(p, req->data.data, req->data.len, c, err);
}

int svc_close_stdin(struct call *c, const void *request, struct err *err)
{
	const Grpc__CloseStdinRequest *req = request;
	struct process *p = stdio_process(c, req->container_id, req->exec_id, err);

	if (!p)
		return -ENOENT;
	stdio_close_input(p);
	return call_reply_empty(c);
}

int svc_tty_win_resize(struct call *c, const void *request, struct err *err)
{
	const Grpc__TtyWinResizeRequest *req = request;
	struct process *p = stdio_process(c, req->container_id, req->exec_id, err);
	int r = p ? stdio_resize(p, req->row, req->column) : -ENOENT;

	if (!p)
		return r;
	if (r == -ENOTTY)
		return err_rpc(err,
			       c->schema == SCHEMA_3X ? RPC_UNAVAILABLE : RPC_FAILED_PRECONDITION,
			       "Terminal is not set, impossible to resize it");
	return r < 0 ? err_sys(err, -r, "resize terminal") : call_reply_empty(c);
}
