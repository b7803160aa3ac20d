/* SPDX-License-Identifier: Apache-2.0 */
/* A ttrpc session. */
// objs: fake
#include "fake.h"

#include "wire/ttrpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fake_session(data, size, NULL, 0, ttrpc_start);
	return 0;
}
