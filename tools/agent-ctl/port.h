/* SPDX-License-Identifier: Apache-2.0 */
/* The host's side of a virtio-serial port: a socket, the yamux session on it, and its heartbeat. */
#ifndef CTL_PORT_H
#define CTL_PORT_H

#include "sock.h"
#include "yamux.h"

struct port_ops {
	void (*ready)(void *user); /* streams may be opened */
	/* Once. What was sent and received until then is all there will be. */
	void (*end)(void *user, const struct err *why);
	/*
	 * The agent's bytes make no sense: its session is over, all streams are to be dropped, and
	 * a new one begins (ready). NULL: the port ends.
	 */
	void (*lost)(void *user, const struct err *why);
	void (*turn)(void *user); /* after something has come or gone: maybe there is room */
	void (*data)(struct yamux_stream *s, const uint8_t *data, size_t len);
	void (*stream_end)(struct yamux_stream *s, bool reset);
};

struct port {
	struct sock sock;
	struct yamux mux;
	struct timer timer;
	const struct port_ops *ops;
	void *user;
	struct yamux_ops mux_ops;
	int64_t give_up_ms; /* when; 0: never */
	unsigned int unanswered;
};

/* Takes fd. patience_ms: how long the agent may take to answer; 0: for ever. */
void port_open(struct port *p, struct loop *loop, int fd, int64_t patience_ms,
	       const struct port_ops *ops, void *user);
/* Bytes that should be sent now; 0: wait for turn. */
size_t port_room(const struct port *p);
void port_close(struct port *p);

#endif
