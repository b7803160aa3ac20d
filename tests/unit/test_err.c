/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "rpc/call.h"

Test(err, set_sys_rpc)
{
	struct err e;

	cr_expect_eq(err_set(&e, ENOENT, "no %s", "file"), -ENOENT);
	cr_expect_str_eq(e.msg, "no file");
	cr_expect_eq(e.code, ENOENT);
	cr_expect_eq(rpc_status(&e), RPC_UNKNOWN);
	cr_expect_eq(err_sys(&e, EACCES, "open"), -EACCES);
	cr_expect_str_eq(e.msg, "open: Permission denied");
	cr_expect_lt(err_rpc(&e, RPC_NOT_FOUND, "x"), 0);
	cr_expect_eq(rpc_status(&e), RPC_NOT_FOUND);
	cr_expect_gt(e.code, 0);
}

Test(err, wrap_keeps_the_numbers)
{
	struct err e;

	(void)err_rpc(&e, RPC_NOT_FOUND, "inner");
	cr_expect_lt(err_wrap(&e, "outer %d", 1), 0);
	cr_expect_str_eq(e.msg, "outer 1: inner");
	cr_expect_eq(e.rpc, RPC_NOT_FOUND);
}

Test(err, cut_not_overrun)
{
	char big[2000];
	struct err e;

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	cr_expect_eq(err_sys(&e, EIO, "%s", big), -EIO);
	cr_expect_eq(strlen(e.msg), sizeof(e.msg) - 1);
	cr_expect_lt(err_wrap(&e, "%s", big), 0);
	cr_expect_eq(strlen(e.msg), sizeof(e.msg) - 1);
}

Test(err, null_is_harmless)
{
	cr_expect_eq(err_set(NULL, EIO, "x"), -EIO);
	cr_expect_eq(err_sys(NULL, EIO, "x"), -EIO);
	cr_expect_lt(err_wrap(NULL, "x"), 0);
}
