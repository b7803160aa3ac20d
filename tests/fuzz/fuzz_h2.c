/* SPDX-License-Identifier: Apache-2.0 */
/* An HTTP/2 server with gRPC methods. The preface is given, so that mutations reach what is behind it. */
// objs: fake
#include "fake.h"

#include "wire/h2.h"

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fake_session(data, size, preface, sizeof(preface) - 1, NULL);
	return 0;
}
