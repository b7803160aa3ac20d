/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GetIPTables and SetIPTables. No state: a worker runs the guest's own programs, where it has
 * them.
 */
#include "svc/svc.h"

#include <errno.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "linux/run.h"

/* Runs the program in the worker, and hands over what it says. */
static int iptables_run(char *const *argv, const void *input, size_t len, int out, struct err *err)
{
	AUTO(buf_free) struct buf text = { 0 };
	struct run run = {
		.argv = argv, .input = input, .input_len = len, .out = &text, .max_out = LIMIT_RULES
	};
	int r = run_program(&run, err);

	if (r < 0) {
		err->rpc = r == -EFBIG ? RPC_RESOURCE_EXHAUSTED : RPC_INTERNAL;
		return r == -ENOENT ? err_wrap(err, "build the image with the package iptables")
				    : err_wrap(err, "%s", argv[0]);
	}
	r = fdio_write_all(out, buf_data(&text), buf_len(&text));
	return r < 0 ? err_sys(err, -r, "hand over rules") : 0;
}

static int iptables_save(void *arg, int out, struct err *err)
{
	const Grpc__GetIPTablesRequest *req = ((const struct call *)arg)->wait;
	char v4[] = "iptables-save", v6[] = "ip6tables-save";
	char *argv[] = { req->is_ipv6 ? v6 : v4, NULL };

	return iptables_run(argv, NULL, 0, out, err);
}

static int iptables_restore(void *arg, int out, struct err *err)
{
	const Grpc__SetIPTablesRequest *req = ((const struct call *)arg)->wait;
	char v4[] = "iptables-restore", v6[] = "ip6tables-restore", wait[] = "--wait",
	     seconds[] = "5";
	char *argv[] = { req->is_ipv6 ? v6 : v4, wait, seconds, NULL };

	return iptables_run(argv, req->data.data, req->data.len, out, err);
}

static void iptables_saved(void *arg, const struct err *err, const struct buf *out)
{
	Grpc__GetIPTablesResponse resp = GRPC__GET_IPTABLES_RESPONSE__INIT;

	if (err->code) {
		(void)call_fail(arg, err);
		return;
	}
	resp.data = (ProtobufCBinaryData){ buf_len(out), buf_data(out) };
	(void)call_reply(arg, &resp.base);
}

static void iptables_restored(void *arg, const struct err *err, const struct buf *out)
{
	Grpc__SetIPTablesResponse resp = GRPC__SET_IPTABLES_RESPONSE__INIT;

	if (err->code) {
		(void)call_fail(arg, err);
		return;
	}
	resp.data = (ProtobufCBinaryData){ buf_len(out), buf_data(out) };
	(void)call_reply(arg, &resp.base);
}

static const struct worker_opts iptables_opts = { .timeout_ms = LIMIT_RULES_MS,
						  .max_out = LIMIT_RULES,
						  .caps = WORKER_WRITES |
							  UINT64_C(1) << CAP_NET_ADMIN |
							  UINT64_C(1) << CAP_NET_RAW |
							  UINT64_C(1) << CAP_SYS_MODULE };

int svc_get_iptables(struct call *c, const void *req, struct err *err)
{
	return work_start(c, &iptables_opts, (void *)(uintptr_t)req, iptables_save, iptables_saved,
			  err);
}

int svc_set_iptables(struct call *c, const void *req, struct err *err)
{
	return work_start(c, &iptables_opts, (void *)(uintptr_t)req, iptables_restore,
			  iptables_restored, err);
}
