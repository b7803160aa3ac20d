/* SPDX-License-Identifier: Apache-2.0 */
/* Guest memory and split virtqueues; see vqueue.h. State: the mappings and the ring indices. */
#include "vqueue.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int mem_add(struct guest_mem *m, uint64_t gpa, uint64_t size, uint64_t uva, uint64_t offset, int fd)
{
	uint64_t len, end;
	struct stat st;
	void *map;

	if (m->n == MEM_REGIONS_MAX)
		return -E2BIG;
	if (size == 0 || __builtin_add_overflow(size, offset, &len) ||
	    __builtin_add_overflow(gpa, size, &end) || __builtin_add_overflow(uva, size, &end))
		return -EINVAL;
	if (fstat(fd, &st) < 0)
		return -errno;
	/* Reading a mapping beyond its file's end is SIGBUS. */
	if (S_ISREG(st.st_mode) && (uint64_t)st.st_size < len)
		return -EINVAL;
	/* From 0, not from offset: that need not be a multiple of the (huge) page size. */
	map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	m->r[m->n++] = (struct mem_region){
		.gpa = gpa,
		.uva = uva,
		.size = size,
		.base = (uint8_t *)map + offset,
		.map = map,
		.map_len = len,
	};
	return 0;
}

void mem_clear(struct guest_mem *m)
{
	for (unsigned int i = 0; i < m->n; i++)
		(void)munmap(m->r[i].map, m->r[i].map_len);
	m->n = 0;
}

/* QEMU's addresses, for the rings; they must lie within one region. */
static void *mem_at_uva(const struct guest_mem *m, uint64_t uva, uint64_t len)
{
	for (unsigned int i = 0; i < m->n; i++) {
		const struct mem_region *r = &m->r[i];

		if (uva >= r->uva && uva - r->uva < r->size)
			return len <= r->size - (uva - r->uva) ? r->base + (uva - r->uva) : NULL;
	}
	return NULL;
}

/* Guest addresses, for buffers. Sets *ret_len to how much of len lies there in one piece. */
static void *mem_at_gpa(const struct guest_mem *m, uint64_t gpa, uint64_t len, uint64_t *ret_len)
{
	for (unsigned int i = 0; i < m->n; i++) {
		const struct mem_region *r = &m->r[i];
		uint64_t room;

		if (gpa < r->gpa || gpa - r->gpa >= r->size)
			continue;
		room = r->size - (gpa - r->gpa);
		*ret_len = len < room ? len : room;
		return r->base + (gpa - r->gpa);
	}
	return NULL;
}

void vq_unmap(struct vqueue *r)
{
	r->desc = NULL;
	r->avail = NULL;
	r->used = NULL;
}

int vq_map(struct vqueue *r, const struct guest_mem *m)
{
	uint64_t num = r->num;

	vq_unmap(r);
	if (!r->has_addr || num == 0)
		return 0;
	if ((r->desc_uva & 15) || (r->avail_uva & 1) || (r->used_uva & 3))
		return -EINVAL;
	r->desc = mem_at_uva(m, r->desc_uva, num * sizeof(struct vring_desc));
	/* Each with its trailing event index; virtio 1 always has room for it. */
	r->avail = mem_at_uva(m, r->avail_uva, 4 + num * 2 + 2);
	r->used = mem_at_uva(m, r->used_uva, 4 + num * sizeof(struct vring_used_elem) + 2);
	if (r->desc && r->avail && r->used)
		return 0;
	vq_unmap(r);
	return -EFAULT;
}

bool vq_is_running(const struct vqueue *r)
{
	return r->desc && r->enabled && r->kick.fd >= 0 && !r->broken;
}

int vq_break(struct vqueue *r, const char *why)
{
	r->broken = true;
	fprintf(stderr, "vhost-user-vsock: %s queue: %s; ignored until the guest resets it\n",
		r->name, why);
	return -EPROTO;
}

static uint16_t *avail_event(const struct vqueue *r)
{
	return (uint16_t *)(void *)&r->used->ring[r->num];
}

static uint16_t used_event(const struct vqueue *r)
{
	return __atomic_load_n(&r->avail->ring[r->num], __ATOMIC_RELAXED);
}

/* How many buffers wait; -errno when the guest claims more than there can be. */
static int pending(struct vqueue *r)
{
	uint16_t n = (uint16_t)(__atomic_load_n(&r->avail->idx, __ATOMIC_ACQUIRE) - r->last_avail);

	if (n > r->num)
		return vq_break(r, "available index is ahead by more than the queue's size");
	return n;
}

static const char *add_piece(const struct guest_mem *m, struct chain *c, const struct vring_desc *d,
			     bool with_write)
{
	uint64_t addr = d->addr, left = d->len, len = 0;

	if (!!(d->flags & VRING_DESC_F_WRITE) != with_write)
		return "descriptor of the wrong direction";
	if (__builtin_add_overflow(addr, left, &len))
		return "descriptor wraps around the address space";
	while (left > 0) {
		void *p = mem_at_gpa(m, addr, left, &len);

		if (!p)
			return "descriptor outside the guest's memory";
		if (c->n == CHAIN_IOV_MAX)
			return "chain of too many pieces";
		c->iov[c->n++] = (struct iovec){ p, len };
		c->len += len;
		addr += len;
		left -= len;
	}
	return NULL;
}

/* Walks a table of num descriptors from entry i on. Returns NULL or what is wrong. */
static const char *walk(const struct guest_mem *m, struct chain *c, const uint8_t *table,
			unsigned int num, unsigned int i, bool with_write, bool in_indirect)
{
	for (unsigned int seen = 0; seen < num; seen++) {
		struct vring_desc d;
		const char *bad;

		if (i >= num)
			return "descriptor index out of range";
		/* One look, as the guest may be writing; an indirect table may lie anywhere. */
		memcpy(&d, table + i * sizeof(d), sizeof(d));
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
		if (d.flags & VRING_DESC_F_INDIRECT) {
			uint64_t len = 0;
			void *p = mem_at_gpa(m, d.addr, d.len, &len);

			if (in_indirect || (d.flags & VRING_DESC_F_NEXT))
				return "misplaced indirect descriptor";
			if (!p || len != d.len || d.len == 0 || d.len % sizeof(d) ||
			    d.len / sizeof(d) > VRING_SIZE_MAX)
				return "bad indirect descriptor table";
			return walk(m, c, p, d.len / (unsigned int)sizeof(d), 0, with_write, true);
		}
		bad = add_piece(m, c, &d, with_write);
		if (bad)
			return bad;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return NULL;
		i = d.next;
	}
	return "descriptor chain runs in a circle";
}

int vq_peek(struct vqueue *r, const struct guest_mem *m, bool with_write, struct chain *ret)
{
	const char *bad;
	int n = pending(r);

	if (n <= 0)
		return n;
	ret->head = __atomic_load_n(&r->avail->ring[r->last_avail % r->num], __ATOMIC_RELAXED);
	ret->n = 0;
	ret->len = 0;
	bad = walk(m, ret, (const uint8_t *)r->desc, r->num, ret->head, with_write, false);
	return bad ? vq_break(r, bad) : 1;
}

void vq_take(struct vqueue *r)
{
	r->last_avail++;
}

void vq_give(struct vqueue *r, uint16_t head, uint32_t len)
{
	r->used->ring[r->used_idx % r->num] = (struct vring_used_elem){ .id = head, .len = len };
	r->used_idx++;
	__atomic_store_n(&r->used->idx, r->used_idx, __ATOMIC_RELEASE);
}

static bool wants_interrupt(struct vqueue *r)
{
	uint16_t old = r->signalled;
	bool valid = r->signalled_valid;

	/* used index first, then look at the wish */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!r->event_idx)
		return !(__atomic_load_n(&r->avail->flags, __ATOMIC_RELAXED) &
			 VRING_AVAIL_F_NO_INTERRUPT);
	r->signalled = r->used_idx;
	r->signalled_valid = true;
	return !valid || vring_need_event(used_event(r), r->used_idx, old);
}

void vq_notify(struct vqueue *r)
{
	const uint64_t one = 1;

	if (wants_interrupt(r) && r->call_fd >= 0)
		(void)!write(r->call_fd, &one, sizeof(one));
}

bool vq_want_kicks(struct vqueue *r, bool on)
{
	if (!on) {
		/* With event indices a stale one is silence enough. */
		if (r->kicks_on && !r->event_idx)
			__atomic_store_n(&r->used->flags, VRING_USED_F_NO_NOTIFY, __ATOMIC_RELAXED);
		r->kicks_on = false;
		return false;
	}
	if (r->event_idx)
		__atomic_store_n(avail_event(r), r->last_avail, __ATOMIC_RELAXED);
	else
		__atomic_store_n(&r->used->flags, 0, __ATOMIC_RELAXED);
	r->kicks_on = true;
	__atomic_thread_fence(__ATOMIC_SEQ_CST); /* the wish first, then look again */
	return pending(r) > 0;
}

unsigned int chain_slice(const struct chain *c, size_t off, size_t len, struct iovec *ret)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < c->n && len > 0; i++) {
		size_t have = c->iov[i].iov_len;

		if (off >= have) {
			off -= have;
			continue;
		}
		have -= off;
		have = have < len ? have : len;
		ret[n++] = (struct iovec){ (uint8_t *)c->iov[i].iov_base + off, have };
		len -= have;
		off = 0;
	}
	return n;
}

size_t chain_read(const struct chain *c, size_t off, void *buf, size_t len)
{
	struct iovec v[CHAIN_IOV_MAX];
	unsigned int n = chain_slice(c, off, len, v);
	size_t done = 0;

	for (unsigned int i = 0; i < n; i++) {
		memcpy((uint8_t *)buf + done, v[i].iov_base, v[i].iov_len);
		done += v[i].iov_len;
	}
	return done;
}

size_t chain_write(const struct chain *c, size_t off, const void *buf, size_t len)
{
	struct iovec v[CHAIN_IOV_MAX];
	unsigned int n = chain_slice(c, off, len, v);
	size_t done = 0;

	for (unsigned int i = 0; i < n; i++) {
		memcpy(v[i].iov_base, (const uint8_t *)buf + done, v[i].iov_len);
		done += v[i].iov_len;
	}
	return done;
}
