/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The choice of protocol. No state: the first byte replaces this protocol by the one that it tells.
 */
#include "wire/detect.h"

#include <errno.h>

#include "base/auto.h"
#include "wire/h2.h"
#include "wire/ttrpc.h"

static int detect_input(struct conn *c, const uint8_t *data, size_t len)
{
	static const struct {
		uint8_t first;
		conn_start *start;
	} protocols[] = {
		{ 'P', h2_start }, { 0, ttrpc_start }, /* a frame's length, which is below 16 MiB */
	};

	for (size_t i = 0; i < ARRAY_LEN(protocols); i++) {
		if (data[0] == protocols[i].first) {
			int r = protocols[i].start(c);

			return r < 0 ? r : c->protocol->input(c, data, len);
		}
	}
	return -EPROTO;
}

static int detect_writable(struct conn *c)
{
	(void)c;
	return 0;
}

static void detect_closed(struct conn *c)
{
	(void)c;
}

int detect_start(struct conn *c)
{
	static const struct conn_protocol detect = { detect_input, detect_writable, detect_closed };

	c->protocol = &detect;
	return 0;
}
