/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which roads lead in: an address that was given, or, in a guest, vsock port 1024 and the
 * virtio-serial port, whichever is there. Devices may be plugged in late, so that they are looked
 * for a while.
 */
#ifndef WIRE_CHANNEL_H
#define WIRE_CHANNEL_H

#include "base/err.h"
#include "base/loop.h"
#include "rpc/call.h"

struct channel;

struct channel_opts {
	/* vsock://CID:PORT, unix://PATH, yamux+unix://PATH, serial://DEVICE; NULL or "": look */
	const char *address;
	int use_vsock;	    /* 1: vsock only, 0: serial only, -1: what is found */
	const char *root;   /* put before /sys and /dev; NULL: nothing */
	int64_t give_up_ms; /* how long to look; 0: the 10 s of the specification */
};

/* Nothing was found in time. Called once, from the loop. */
typedef void channel_failed(void *arg, const struct err *err);

/*
 * Opens what is there at once. An address has to work now. Otherwise the first attempt is made now,
 * and failed(arg) follows if none succeeds in time. 0 or -errno with *err.
 */
int channel_start(struct loop *l, struct rpc_server *rpc, const struct channel_opts *opts,
		  channel_failed *failed, void *arg, struct channel **ret, struct err *err);
void channel_stop(struct channel *c);

#endif
