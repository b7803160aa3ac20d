/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/dispatch.h"

#include <criterion/criterion.h>
#include <string.h>

#include "agent.pb-c.h"

Test(describe, what_is_set_without_secrets)
{
	char text[700], one[] = "PASSWORD=geheim", two[] = "A=b", sh[] = "sh", c[] = "-c",
			id[] = "ctr1";
	char *env[] = { one, two }, *args[] = { sh, c };
	Grpc__Process process = GRPC__PROCESS__INIT;
	Grpc__ExecProcessRequest req = GRPC__EXEC_PROCESS_REQUEST__INIT;
	Grpc__WriteStreamRequest input = GRPC__WRITE_STREAM_REQUEST__INIT;

	process.env = env;
	process.n_env = 2;
	process.args = args;
	process.n_args = 2;
	process.oomscoreadj = -5;
	process.nonewprivileges = 1;
	req.container_id = id;
	req.process = &process;
	rpc_describe(&req.base, text, sizeof(text));
	cr_expect_str_eq(text,
			 "{ container_id='ctr1' process={ Args=['sh','-c'] Env=(2) "
			 "NoNewPrivileges=1 OOMScoreAdj=-5 } }",
			 "%s", text);
	input.data.data = (uint8_t *)one;
	input.data.len = sizeof(one);
	rpc_describe(&input.base, text, sizeof(text));
	cr_expect_str_eq(text, "{ data=16 bytes }", "%s", text);
}

Test(describe, is_cut_at_every_length)
{
	char text[64], id[] = "0123456789";
	Grpc__StartContainerRequest req = GRPC__START_CONTAINER_REQUEST__INIT;

	req.container_id = id;
	for (size_t size = 1; size <= sizeof(text); size++) {
		memset(text, 'x', sizeof(text));
		rpc_describe(&req.base, text, size);
		cr_assert_lt(strlen(text), size);
		cr_assert(size == sizeof(text) || text[size] == 'x');
	}
}
