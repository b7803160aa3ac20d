/* SPDX-License-Identifier: Apache-2.0 */
/*
 * yamux, the server's side: many streams, each a connection of its own, in one byte stream. Kata
 * 1.x runs it on the virtio-serial port, where the host's proxy is the client.
 */
#ifndef WIRE_YAMUX_H
#define WIRE_YAMUX_H

#include "wire/conn.h"

/* Makes c carry yamux; its streams choose their protocol by their first byte. 0 or -errno. */
int yamux_start(struct conn *c);

#endif
