/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost-user, back-end half; see vhost.h. State: the connection to QEMU, what has been received of
 * its current message, the mapped memory and the rings.
 */
#include "vhost.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_vsock.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define BIT64(n)     (1ULL << (n))

enum { F_PROTOCOL_FEATURES = 30 };	  /* among the device's features */
enum { PF_REPLY_ACK = 3, PF_CONFIG = 9 }; /* among the protocol's */
enum { FLAG_VERSION = 1, FLAG_VERSION_MASK = 3, FLAG_REPLY = 4, FLAG_NEED_REPLY = 8 };
enum { VRING_INDEX_MASK = 0xff, VRING_NO_FD = 0x100 };

#define DEVICE_FEATURES                                                   \
	(BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_RING_F_INDIRECT_DESC) | \
	 BIT64(VIRTIO_RING_F_EVENT_IDX) | BIT64(F_PROTOCOL_FEATURES))
#define PROTOCOL_FEATURES (BIT64(PF_REPLY_ACK) | BIT64(PF_CONFIG))

struct wire_mem_table {
	uint32_t n, padding;
	struct {
		uint64_t gpa, size, uva, offset;
	} r[MEM_REGIONS_MAX];
};

struct wire_vring_addr {
	uint32_t index, flags;
	uint64_t desc, used, avail, log;
};

struct wire_config {
	uint32_t offset, size, flags;
	uint8_t data[256];
};

/* What a handler says: an answer follows, it has been handled, or -errno. */
enum { DONE = 0, ANSWERED = 1 };

static int answer(struct vhost *v, const void *data, size_t len)
{
	struct vhost_header h = {
		.request = v->hdr.request,
		.flags = FLAG_VERSION | FLAG_REPLY,
		.size = (uint32_t)len,
	};
	struct iovec iov[2] = { { &h, sizeof(h) }, { (void *)(uintptr_t)data, len } };
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2 };
	ssize_t n = sendmsg(v->front.fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0)
		return -errno;
	/* An answer is some tens of bytes: a front end that has no room for it is not reading. */
	return (size_t)n == sizeof(h) + len ? ANSWERED : -EPIPE;
}

static int answer_u64(struct vhost *v, uint64_t val)
{
	return answer(v, &val, sizeof(val));
}

/* Hands out the message's n-th fd; it is the caller's from then on. */
static int take_fd(struct vhost *v, unsigned int n)
{
	int fd = FD_NONE;

	if (n < v->n_fds) {
		fd = v->fds[n];
		v->fds[n] = FD_NONE;
	}
	return fd;
}

static struct vqueue *ring_at(struct vhost *v, uint64_t index)
{
	return index < VQ_COUNT ? &v->ring[index] : NULL;
}

static void ring_stop(struct vhost *v, struct vqueue *r)
{
	loop_del(v->loop, &r->kick);
	vq_unmap(r);
	r->has_addr = false;
	r->broken = false;
	r->signalled_valid = false;
}

static int ring_map(struct vhost *v, struct vqueue *r)
{
	int err = vq_map(r, &v->mem);

	if (err == 0 && r->used)
		r->used_idx = __atomic_load_n(&r->used->idx, __ATOMIC_RELAXED);
	return err;
}

static void on_kick(struct source *s, uint32_t events)
{
	struct vqueue *r = (struct vqueue *)(void *)((char *)s - offsetof(struct vqueue, kick));
	struct vhost *v = r->owner;
	uint64_t n;

	(void)events;
	(void)!read(s->fd, &n, sizeof(n));
	v->ops->kicked(v->arg, r->index);
}

static int on_get_features(struct vhost *v)
{
	return answer_u64(v, DEVICE_FEATURES);
}

static int on_set_features(struct vhost *v)
{
	uint64_t val;

	memcpy(&val, v->payload, sizeof(val));
	if (val & ~DEVICE_FEATURES)
		return -EINVAL;
	v->features = val;
	for (unsigned int i = 0; i < VQ_COUNT; i++)
		v->ring[i].event_idx = val & BIT64(VIRTIO_RING_F_EVENT_IDX);
	return DONE;
}

static int on_nothing(struct vhost *v)
{
	(void)v;
	return DONE;
}

static int on_get_protocol_features(struct vhost *v)
{
	return answer_u64(v, PROTOCOL_FEATURES);
}

static int on_set_protocol_features(struct vhost *v)
{
	memcpy(&v->protocol_features, v->payload, sizeof(v->protocol_features));
	return DONE;
}

static int on_get_queue_num(struct vhost *v)
{
	return answer_u64(v, VQ_COUNT);
}

static int on_set_mem_table(struct vhost *v)
{
	struct wire_mem_table t = { 0 };
	size_t size = v->hdr.size < sizeof(t) ? v->hdr.size : sizeof(t);
	int err = 0;

	memcpy(&t, v->payload, size);
	if (t.n > MEM_REGIONS_MAX || t.n != v->n_fds || size < 8 + t.n * sizeof(t.r[0]))
		return -EINVAL;
	mem_clear(&v->mem);
	for (unsigned int i = 0; i < t.n && !err; i++)
		err = mem_add(&v->mem, t.r[i].gpa, t.r[i].size, t.r[i].uva, t.r[i].offset,
			      v->fds[i]);
	/* Memory may be plugged in while the queues run: find them again in the new mappings. */
	for (unsigned int i = 0; i < VQ_COUNT; i++) {
		if (err)
			vq_unmap(&v->ring[i]);
		else
			err = vq_map(&v->ring[i], &v->mem);
	}
	return err;
}

static int on_set_vring_num(struct vhost *v)
{
	uint32_t arg[2];
	struct vqueue *r;

	memcpy(arg, v->payload, sizeof(arg));
	r = ring_at(v, arg[0]);
	if (!r || arg[1] == 0 || arg[1] > VRING_SIZE_MAX || (arg[1] & (arg[1] - 1)))
		return -EINVAL;
	if (r->has_addr)
		return -EBUSY;
	r->num = arg[1];
	return DONE;
}

static int on_set_vring_addr(struct vhost *v)
{
	struct wire_vring_addr a;
	struct vqueue *r;

	memcpy(&a, v->payload, sizeof(a));
	r = ring_at(v, a.index);
	if (!r || r->num == 0)
		return -EINVAL;
	r->desc_uva = a.desc;
	r->avail_uva = a.avail;
	r->used_uva = a.used;
	r->has_addr = true;
	return ring_map(v, r);
}

static int on_set_vring_base(struct vhost *v)
{
	uint32_t arg[2];
	struct vqueue *r;

	memcpy(arg, v->payload, sizeof(arg));
	r = ring_at(v, arg[0]);
	if (!r)
		return -EINVAL;
	/*
	 * A queue that goes on where it stopped was only paused. Anything else is a guest that
	 * began afresh, and it knows none of our connections.
	 */
	if (r->last_avail != (uint16_t)arg[1])
		v->ops->was_reset(v->arg);
	r->last_avail = (uint16_t)arg[1];
	return DONE;
}

static int on_get_vring_base(struct vhost *v)
{
	uint32_t arg[2];
	struct vqueue *r;

	memcpy(arg, v->payload, sizeof(arg));
	r = ring_at(v, arg[0]);
	if (!r)
		return -EINVAL;
	ring_stop(v, r);
	arg[1] = r->last_avail;
	return answer(v, arg, sizeof(arg));
}

static int on_set_vring_kick(struct vhost *v)
{
	struct vqueue *r;
	uint64_t arg;
	int fd, err;

	memcpy(&arg, v->payload, sizeof(arg));
	r = ring_at(v, arg & VRING_INDEX_MASK);
	fd = arg & VRING_NO_FD ? FD_NONE : take_fd(v, 0);
	if (!r || fd < 0) {
		if (fd >= 0)
			close(fd);
		return -EINVAL; /* a queue to be polled: nobody asks us for that */
	}
	loop_del(v->loop, &r->kick);
	err = loop_add(v->loop, &r->kick, fd, EPOLLIN);
	if (err) {
		close(fd);
		return err;
	}
	/*
	 * With protocol features a queue should wait for SET_VRING_ENABLE, but QEMU before 7.2
	 * never sends that to a vsock device. Nothing is lost by starting at the kick fd.
	 */
	r->enabled = true;
	r->kicks_on = true;
	v->ops->kicked(v->arg, r->index);
	return DONE;
}

static int on_set_vring_call(struct vhost *v)
{
	struct vqueue *r;
	uint64_t arg;

	memcpy(&arg, v->payload, sizeof(arg));
	r = ring_at(v, arg & VRING_INDEX_MASK);
	if (!r)
		return -EINVAL;
	if (r->call_fd >= 0)
		close(r->call_fd);
	r->call_fd = arg & VRING_NO_FD ? FD_NONE : take_fd(v, 0);
	/* What was given back before the guest could be told of it must not be forgotten. */
	if (vq_is_running(r))
		vq_notify(r);
	return DONE;
}

static int on_set_vring_enable(struct vhost *v)
{
	uint32_t arg[2];
	struct vqueue *r;

	memcpy(arg, v->payload, sizeof(arg));
	r = ring_at(v, arg[0]);
	if (!r || arg[1] > 1)
		return -EINVAL;
	r->enabled = arg[1];
	if (r->enabled)
		v->ops->kicked(v->arg, r->index);
	return DONE;
}

static int on_get_config(struct vhost *v)
{
	const struct virtio_vsock_config cfg = { .guest_cid = v->guest_cid };
	struct wire_config c = { 0 };
	size_t n;

	memcpy(&c, v->payload, v->hdr.size < sizeof(c) ? v->hdr.size : sizeof(c));
	if (c.size > sizeof(c.data) || c.offset > sizeof(cfg))
		return -EINVAL;
	memset(c.data, 0, sizeof(c.data));
	n = sizeof(cfg) - c.offset;
	memcpy(c.data, (const uint8_t *)&cfg + c.offset, n < c.size ? n : c.size);
	return answer(v, &c, offsetof(struct wire_config, data) + c.size);
}

/* The requests of the protocol that a device with our features can get. */
static const struct request {
	uint32_t nr;
	const char *name;
	uint32_t size; /* least size of its payload */
	int (*fn)(struct vhost *v);
} requests[] = {
	{ 1, "GET_FEATURES", 0, on_get_features },
	{ 2, "SET_FEATURES", 8, on_set_features },
	{ 3, "SET_OWNER", 0, on_nothing },
	{ 4, "RESET_OWNER", 0, on_nothing },
	{ 5, "SET_MEM_TABLE", 8, on_set_mem_table },
	{ 8, "SET_VRING_NUM", 8, on_set_vring_num },
	{ 9, "SET_VRING_ADDR", sizeof(struct wire_vring_addr), on_set_vring_addr },
	{ 10, "SET_VRING_BASE", 8, on_set_vring_base },
	{ 11, "GET_VRING_BASE", 8, on_get_vring_base },
	{ 12, "SET_VRING_KICK", 8, on_set_vring_kick },
	{ 13, "SET_VRING_CALL", 8, on_set_vring_call },
	{ 14, "SET_VRING_ERR", 8, on_nothing },
	{ 15, "GET_PROTOCOL_FEATURES", 0, on_get_protocol_features },
	{ 16, "SET_PROTOCOL_FEATURES", 8, on_set_protocol_features },
	{ 17, "GET_QUEUE_NUM", 0, on_get_queue_num },
	{ 18, "SET_VRING_ENABLE", 8, on_set_vring_enable },
	{ 24, "GET_CONFIG", 12, on_get_config },
};

static const struct request *find_request(uint32_t nr)
{
	for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
		if (requests[i].nr == nr)
			return &requests[i];
	}
	return NULL;
}

static void close_fds(struct vhost *v)
{
	for (unsigned int i = 0; i < v->n_fds; i++) {
		if (v->fds[i] >= 0)
			close(v->fds[i]);
	}
	v->n_fds = 0;
}

/* Returns 0, or -errno when the connection is of no more use. */
static int handle(struct vhost *v)
{
	const struct request *q = find_request(v->hdr.request);
	int err;

	if (v->verbose)
		fprintf(stderr, "vhost-user-vsock: request %u (%s), %u bytes, %u fds\n",
			v->hdr.request, q ? q->name : "unknown", v->hdr.size, v->n_fds);
	if (!q)
		err = -EOPNOTSUPP;
	else
		err = v->hdr.size < q->size ? -EINVAL : q->fn(v);
	close_fds(v);
	if (err < 0)
		fprintf(stderr, "vhost-user-vsock: request %u (%s) refused: %s\n", v->hdr.request,
			q ? q->name : "unknown", strerror(-err));
	if (err != ANSWERED && (v->hdr.flags & FLAG_NEED_REPLY))
		err = answer_u64(v, err < 0); /* the front end decides what follows */
	else if (err == -EOPNOTSUPP)
		err = DONE;
	return err < 0 ? err : 0;
}

/* Receives what is missing of the current message. Returns bytes, 0 at the end, or -errno. */
static ssize_t receive(struct vhost *v)
{
	union {
		char buf[CMSG_SPACE(sizeof(int) * VHOST_FDS_MAX)];
		struct cmsghdr align;
	} ctl;
	struct iovec iov;
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = ctl.buf,
			    .msg_controllen = sizeof(ctl.buf) };
	ssize_t n;

	if (v->have < sizeof(v->hdr))
		iov = (struct iovec){ (uint8_t *)&v->hdr + v->have, sizeof(v->hdr) - v->have };
	else
		iov = (struct iovec){ v->payload + (v->have - sizeof(v->hdr)),
				      v->hdr.size - (v->have - sizeof(v->hdr)) };
	n = recvmsg(v->front.fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
		size_t len = c->cmsg_len - CMSG_LEN(0);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < len / sizeof(int); i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (v->n_fds < VHOST_FDS_MAX)
				v->fds[v->n_fds++] = fd;
			else
				close(fd);
		}
	}
	v->have += (size_t)n;
	return n;
}

static void disconnect(struct vhost *v)
{
	for (unsigned int i = 0; i < VQ_COUNT; i++) {
		struct vqueue *r = &v->ring[i];

		ring_stop(v, r);
		if (r->call_fd >= 0)
			close(r->call_fd);
		r->call_fd = FD_NONE;
		r->last_avail = 0;
		r->num = 0;
	}
	close_fds(v);
	mem_clear(&v->mem);
	loop_del(v->loop, &v->front);
	v->have = 0;
}

static void on_front(struct source *s, uint32_t events)
{
	struct vhost *v = (struct vhost *)(void *)((char *)s - offsetof(struct vhost, front));
	const char *why = "closed the connection";
	ssize_t n;
	int err = 0;

	(void)events;
	while ((n = receive(v)) > 0) {
		if (v->have < sizeof(v->hdr))
			continue;
		if ((v->hdr.flags & FLAG_VERSION_MASK) != FLAG_VERSION ||
		    v->hdr.size > sizeof(v->payload)) {
			err = -EPROTO;
			break;
		}
		if (v->have < sizeof(v->hdr) + v->hdr.size)
			continue;
		v->have = 0;
		err = handle(v);
		if (err < 0)
			break;
	}
	if (err == 0 && (n == -EAGAIN || n == -EINTR))
		return;
	if (err < 0 || n < 0)
		why = strerror(err < 0 ? -err : (int)-n);
	if (v->verbose || err < 0)
		fprintf(stderr, "vhost-user-vsock: front end: %s\n", why);
	disconnect(v);
	v->ops->disconnected(v->arg);
}

static void on_listener(struct source *s, uint32_t events)
{
	struct vhost *v = (struct vhost *)(void *)((char *)s - offsetof(struct vhost, listener));
	int fd;

	(void)events;
	while ((fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
		/* One front end at a time; the memory of a second would be another guest's. */
		if (vhost_is_connected(v) || loop_add(v->loop, &v->front, fd, EPOLLIN) < 0)
			close(fd);
	}
}

int vhost_open(struct vhost *v, struct loop *loop, int listen_fd, uint64_t guest_cid,
	       const struct vhost_ops *ops, void *arg)
{
	static const char *const names[VQ_COUNT] = { [VQ_RX] = "receive", [VQ_TX] = "transmit" };

	*v = (struct vhost){ .loop = loop, .guest_cid = guest_cid, .ops = ops, .arg = arg };
	for (unsigned int i = 0; i < VQ_COUNT; i++) {
		v->ring[i] = (struct vqueue){
			.name = names[i], .owner = v, .index = i, .call_fd = FD_NONE
		};
		v->ring[i].kick = (struct source){ .fd = FD_NONE, .fn = on_kick };
	}
	v->front = (struct source){ .fd = FD_NONE, .fn = on_front };
	v->listener = (struct source){ .fd = FD_NONE, .fn = on_listener };
	return loop_add(loop, &v->listener, listen_fd, EPOLLIN);
}

void vhost_close(struct vhost *v)
{
	disconnect(v);
	loop_del(v->loop, &v->listener);
}

bool vhost_is_connected(const struct vhost *v)
{
	return v->front.fd >= 0;
}

bool vhost_is_running(const struct vhost *v)
{
	return vq_is_running(&v->ring[VQ_RX]) && vq_is_running(&v->ring[VQ_TX]);
}
