/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RPC statuses: the numbers that gRPC and ttrpc share, and which errno means which.
 */
#ifndef RPC_STATUS_H
#define RPC_STATUS_H

#include "base/err.h"

enum rpc_status {
	RPC_OK = 0,
	RPC_CANCELLED = 1,
	RPC_UNKNOWN = 2,
	RPC_INVALID_ARGUMENT = 3,
	RPC_DEADLINE_EXCEEDED = 4,
	RPC_NOT_FOUND = 5,
	RPC_ALREADY_EXISTS = 6,
	RPC_PERMISSION_DENIED = 7,
	RPC_RESOURCE_EXHAUSTED = 8,
	RPC_FAILED_PRECONDITION = 9,
	RPC_ABORTED = 10,
	RPC_OUT_OF_RANGE = 11,
	RPC_UNIMPLEMENTED = 12,
	RPC_INTERNAL = 13,
	RPC_UNAVAILABLE = 14,
};

/*
 * What the peer is told: err->rpc where it is set, else UNKNOWN, as the reference does for any
 * plain error.
 */
int rpc_status(const struct err *err);

#endif
