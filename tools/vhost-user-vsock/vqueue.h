/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's memory and the split virtqueues that lie in it.
 *
 * Everything read from here was written by the guest, perhaps while we look: each field is read
 * once, and every address, length and index is checked before it is used. A queue that breaks the
 * rules is marked broken and left alone until the device is reset; nothing else suffers.
 */
#ifndef VM_VQUEUE_H
#define VM_VQUEUE_H

#include "loop.h"

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

enum {
	MEM_REGIONS_MAX = 8, /* what vhost-user allows without its memory slots extension */
	VRING_SIZE_MAX = 32768,
	CHAIN_IOV_MAX = 256, /* pieces of one buffer; a longer chain is refused */
};

struct mem_region {
	uint64_t gpa, uva, size; /* guest address, QEMU's address, length */
	uint8_t *base;		 /* where gpa lies in our own address space */
	void *map;
	size_t map_len;
};

struct guest_mem {
	unsigned int n;
	struct mem_region r[MEM_REGIONS_MAX];
};

struct vqueue {
	const char *name;
	void *owner;
	unsigned int index; /* which of the owner's queues this is */
	unsigned int num;
	bool has_addr, enabled, broken, event_idx;
	bool kicks_on; /* the guest is asked to kick */
	uint64_t desc_uva, avail_uva, used_uva;
	struct vring_desc *desc; /* all NULL while not mapped */
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t last_avail; /* next entry of avail to look at */
	uint16_t used_idx;   /* next entry of used to fill */
	uint16_t signalled;  /* used_idx at the last interrupt */
	bool signalled_valid;
	int call_fd;
	struct source kick;
};

/* One buffer of the guest, as pieces of our address space. */
struct chain {
	uint16_t head;
	unsigned int n;
	size_t len;
	struct iovec iov[CHAIN_IOV_MAX];
};

/* Maps one region from fd, which stays the caller's. Returns 0 or -errno. */
int mem_add(struct guest_mem *m, uint64_t gpa, uint64_t size, uint64_t uva, uint64_t offset,
	    int fd);
void mem_clear(struct guest_mem *m);

/* Finds the ring's three parts in m. Returns 0 or -errno (then the ring is unmapped). */
int vq_map(struct vqueue *r, const struct guest_mem *m);
void vq_unmap(struct vqueue *r);
/* The guest broke the rules; the ring rests until it is set up again. Returns -EPROTO. */
int vq_break(struct vqueue *r, const char *why);
bool vq_is_running(const struct vqueue *r);

/*
 * Looks at the next buffer without taking it. with_write: its pieces must be for us to write,
 * otherwise for us to read. Returns 1, 0 if there is none, or -errno (the ring is then broken).
 */
int vq_peek(struct vqueue *r, const struct guest_mem *m, bool with_write, struct chain *ret);
/* Takes the buffer peeked at, and gives it back to the guest with len bytes written. */
void vq_take(struct vqueue *r);
void vq_give(struct vqueue *r, uint16_t head, uint32_t len);
/* Interrupts the guest if it wants that for what was given back. */
void vq_notify(struct vqueue *r);
/* Asks for kicks, or not. Returns true if buffers came meanwhile, which no kick will announce. */
bool vq_want_kicks(struct vqueue *r, bool on);

size_t chain_read(const struct chain *c, size_t off, void *buf, size_t len);
size_t chain_write(const struct chain *c, size_t off, const void *buf, size_t len);
/* The pieces from off on, at most len bytes: for readv and writev. Returns their number. */
unsigned int chain_slice(const struct chain *c, size_t off, size_t len, struct iovec *ret);

#endif
