/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The virtio-serial port that Kata 1.x talks through, carrying yamux: found, opened, and served for
 * as long as the agent lives, whether a host is there or not.
 */
#ifndef WIRE_SERIAL_H
#define WIRE_SERIAL_H

#include "base/err.h"
#include "base/loop.h"
#include "rpc/call.h"

#define SERIAL_PORT_NAME "agent.channel.0"

struct serial;

/*
 * Serves a port: the device at path, or, where path is NULL, the virtio-serial port whose name
 * contains SERIAL_PORT_NAME. root is put before /sys and /dev (""; tests have another). The port
 * has to be there now (-ENOENT); later losses are overcome. 0 or -errno with *err.
 */
int serial_start(struct loop *l, struct rpc_server *rpc, const char *root, const char *path,
		 struct serial **ret, struct err *err);
void serial_stop(struct serial *s);

#endif
