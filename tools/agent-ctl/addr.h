/* SPDX-License-Identifier: Apache-2.0 */
/* Where the agent is: the address text, and a connected socket from it. */
#ifndef CTL_ADDR_H
#define CTL_ADDR_H

#include "common.h"

enum addr_kind {
	ADDR_UNIX,   /* unix://PATH, unix://@NAME */
	ADDR_HVSOCK, /* hvsock://PATH:PORT, a VMM's socket that takes "CONNECT PORT" */
	ADDR_VSOCK,  /* vsock://CID:PORT */
	ADDR_SERIAL, /* serial://PATH, a virtio-serial port: yamux on it */
};

struct addr {
	enum addr_kind kind;
	char path[108]; /* as in sun_path; an abstract name keeps its leading '@' here */
	uint32_t cid, port;
};

int addr_parse(const char *text, struct addr *ret, struct err *err);
/*
 * A connected, non-blocking, close-on-exec socket, past the hybrid handshake where there is one.
 * Gives up at deadline_ms (of now_ms). err->code tells whether trying again makes sense.
 */
int addr_connect(const struct addr *a, int64_t deadline_ms, int *ret_fd, struct err *err);
/*
 * A listening socket, non-blocking and close-on-exec, at a unix:// address. A file that a socket's
 * last owner has left there is replaced, one where somebody listens is not.
 */
int addr_listen(const struct addr *a, int *ret_fd, struct err *err);
/* Nobody listens yet, or a VMM has closed the door because its guest does not: try again. */
bool addr_may_retry(int code);

#endif
