/* SPDX-License-Identifier: Apache-2.0 */
/*
 * errno to RPC status. No state.
 */
#include "rpc/status.h"

int rpc_status(const struct err *err)
{
	return err->rpc ? err->rpc : RPC_UNKNOWN;
}
