/* SPDX-License-Identifier: Apache-2.0 */
/* A yamux session, with whatever its streams carry. */
// objs: fake
#include "fake.h"

#include "wire/yamux.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fake_session(data, size, NULL, 0, yamux_start);
	return 0;
}
