/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The back end's half of the vhost-user protocol: one front end (QEMU) at a time on a Unix socket.
 * It sets up guest memory and the two queues; what runs on them is the vsock device's business.
 */
#ifndef VM_VHOST_H
#define VM_VHOST_H

#include "loop.h"
#include "vqueue.h"

enum {
	VQ_RX,	  /* to the guest */
	VQ_TX,	  /* from the guest */
	VQ_COUNT, /* the event queue stays in QEMU */
};

enum {
	VHOST_FDS_MAX = 8,
	VHOST_PAYLOAD_MAX = 4096,
};

struct vhost_ops {
	void (*kicked)(void *arg, unsigned int queue);
	void (*was_reset)(void *arg);	 /* the guest's driver started afresh */
	void (*disconnected)(void *arg); /* the front end went away */
};

struct vhost_header {
	uint32_t request, flags, size;
};

struct vhost {
	struct loop *loop;
	struct source listener, front;
	const struct vhost_ops *ops;
	void *arg;
	uint64_t guest_cid;
	bool verbose;

	uint64_t features, protocol_features;
	struct guest_mem mem;
	struct vqueue ring[VQ_COUNT];

	struct vhost_header hdr; /* the message that is being received */
	uint8_t payload[VHOST_PAYLOAD_MAX];
	size_t have; /* of header and payload together */
	int fds[VHOST_FDS_MAX];
	unsigned int n_fds;
};

/* Takes listen_fd over. Returns 0 or -errno. */
int vhost_open(struct vhost *v, struct loop *loop, int listen_fd, uint64_t guest_cid,
	       const struct vhost_ops *ops, void *arg);
void vhost_close(struct vhost *v);
bool vhost_is_connected(const struct vhost *v);
bool vhost_is_running(const struct vhost *v);

#endif
