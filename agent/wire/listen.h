/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where clients come in: vsock://CID:PORT, unix://PATH, unix://@NAME; for tests yamux+unix://PATH,
 * where every connection carries yamux as the serial port does.
 */
#ifndef WIRE_LISTEN_H
#define WIRE_LISTEN_H

#include <stdint.h>

#include "base/err.h"
#include "base/log.h"
#include "base/loop.h"
#include "rpc/call.h"

#define AGENT_VSOCK_PORT 1024u

struct listener;

/* Listens on an address; every accepted connection serves rpc. 0 or -errno with *err. */
int listen_start(struct loop *l, struct rpc_server *rpc, const char *address, struct listener **ret,
		 struct err *err);
void listen_stop(struct listener *ls);

/* A bound and listening vsock socket (VMADDR_CID_ANY), non-blocking: the fd or -errno. */
int listen_vsock(uint32_t cid, uint32_t port);
/*
 * Accepts from a vsock listener, the host only: the fd, -EAGAIN when nobody waits, -ECONNABORTED
 * when it was another, which is logged within its limit, or nobody any more, or another -errno.
 */
int listen_accept_host(int fd, struct log_limit *refused);

#endif
