/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A byte stream to one peer, whatever carries it (a socket, a yamux stream), and the protocol that
 * speaks on it (told by the first byte: HTTP/2 or ttrpc).
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
	/*
	 * The server goes: send what is ready, say good-bye where the protocol can, then hang up.
	 */
	void (*bye)(struct conn *c);
};

struct conn {
	struct rpc_server *rpc;
	const struct conn_carrier *carrier;
	const struct conn_protocol *protocol; /* NULL until the first byte */
	void *upper;
	const char *peer; /* for logs; static text */
};

/* For carriers: bytes came; room came; the peer left (after that the carrier may free c). */
int conn_input(struct conn *c, const uint8_t *data, size_t len);
int conn_writable(struct conn *c);
void conn_closed(struct conn *c);

/* Puts a protocol on a connection: h2_start, ttrpc_start, yamux_start. 0 or -errno. */
typedef int conn_start(struct conn *c);

/*
 * A connection over a socket (taken over on any result) that lives until the peer leaves. The first
 * byte tells the protocol, unless start does. 0 or -errno.
 */
int fdconn_start(struct loop *l, struct rpc_server *rpc, int fd, const char *peer,
		 conn_start *start);

/*
 * Before the end: every connection is told, its output flushed and its socket drained until the
 * peer closes, since what virtio-vsock has queued is lost with the guest. gone(arg) follows from
 * the loop when the last one has gone, or after ms. Listeners are the caller's to stop.
 */
typedef void conns_gone(void *arg);
void fdconn_leave_all(struct loop *l, int64_t ms, conns_gone *gone, void *arg);
/* Ends them all on the spot. */
void fdconn_close_all(void);

#endif
