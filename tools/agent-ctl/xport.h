/* SPDX-License-Identifier: Apache-2.0 */
/* A byte stream to the agent over a connected socket, plain or as a stream of a serial port's. */
#ifndef CTL_XPORT_H
#define CTL_XPORT_H

#include "port.h"

struct xport {
	bool mux_on;
	struct sock sock; /* plain */
	/* yamux: */
	struct port port;
	struct yamux_stream stream;
	struct bytes staged; /* not framed yet, for want of window */

	bool dead;
	struct err why; /* once dead */

	void *user;
	void (*on_data)(void *user, const uint8_t *data, size_t len);
	void (*on_end)(void *user, const struct err *why); /* once */
	void (*on_room)(void *user);			   /* there is room again */
};

/* Takes fd. The callbacks are called from the loop only, except that none is after xport_close. */
void xport_open(struct xport *x, struct loop *loop, int fd, bool yamux);
/* Bytes that may be sent now; 0: wait for on_room. */
size_t xport_room(struct xport *x);
/* Takes all of it; who does not ask for room first makes the buffer grow. */
void xport_send(struct xport *x, const void *data, size_t len);
void xport_flush(struct xport *x);
void xport_close(struct xport *x);

#endif
