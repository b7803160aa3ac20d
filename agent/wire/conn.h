/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A byte stream to one peer, whatever carries it (a socket, a yamux stream), and the protocol that
 * speaks on it.
 *
 * The carrier embeds struct conn and owns it; the protocol hangs off conn->upper.
 */
#ifndef WIRE_CONN_H
#define WIRE_CONN_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/loop.h"
#include "rpc/call.h"

struct conn;

/* What carries the bytes. */
struct conn_carrier {
	/*
	 * Takes what it can without blocking: the count, maybe 0 (then conn_writable follows), or
	 * -errno: dead.
	 */
	ssize_t (*writev)(struct conn *c, const struct iovec *iov, int count);
	/* The protocol is through with the peer: flush, close, free, all from the loop, later. */
	void (*hang_up)(struct conn *c);
	/* Reads no more from the peer until it is called again with off: too much output waits. */
	void (*pause)(struct conn *c, bool on);
};

/* What speaks on it. Its functions return 0, or -errno to end the connection. */
struct conn_protocol {
	/* Consumes all of data. */
	int (*input)(struct conn *c, const uint8_t *data, size_t len);
	int (*writable)(struct conn *c);
	/* The peer is gone: cancel calls, free upper. No answer can be sent any more. */
	void (*closed)(struct conn *c);
};

struct conn {
	struct rpc_server *rpc;
	const struct conn_carrier *carrier;
	const struct conn_protocol *protocol; /* NULL: not started, or closed */
	void *upper;
	const char *peer; /* for logs; static text */
};

/*
 * For carriers, once a protocol has been started: bytes came (len > 0); room came; the peer left
 * (after that the carrier may free c).
 */
int conn_input(struct conn *c, const uint8_t *data, size_t len);
int conn_writable(struct conn *c);
void conn_closed(struct conn *c);

/* Puts a protocol on a connection: detect_start, h2_start, ttrpc_start, yamux_start; -errno. */
typedef int conn_start(struct conn *c);

/*
 * A connection over a socket (taken over on any result) that lives until the peer leaves, with the
 * protocol that start puts on it. 0 or -errno.
 */
int fdconn_start(struct loop *l, struct rpc_server *rpc, int fd, const char *peer,
		 conn_start *start);

/* Ends them all on the spot. */
void fdconn_close_all(void);

#endif
