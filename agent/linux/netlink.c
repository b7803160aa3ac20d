/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Netlink. State: one socket per struct nl, and the number of its last request.
 */
#include "linux/netlink.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/auto.h"

#define RECV_SIZE  32768 /* what the kernel fills at most for one part of a dump */
#define DUMP_TRIES 16
#define TYPE_MASK  0x3fffu /* without the nested and byte order bits */
#define ATTR_HEAD  sizeof(struct nlattr)

static_assert(ATTR_HEAD % NLA_ALIGNTO == 0, "attribute headers are not padded");

static size_t align4(size_t len)
{
	return (len + NLA_ALIGNTO - 1) & ~(size_t)(NLA_ALIGNTO - 1);
}

int nl_open(struct nl *nl, int protocol)
{
	AUTO_CLOSE int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
	struct sockaddr_nl addr = { .nl_family = AF_NETLINK };
	struct timeval limit = { .tv_sec = 5 };
	socklen_t len = sizeof(addr);
	int on = 1;

	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
		return -errno;
	/*
	 * Answers are there when sendmsg returns; the limit is only against a kernel that is not as
	 * we know it.
	 */
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
	*nl = (struct nl){ .fd = TAKE_FD(fd), .port = addr.nl_pid };
	return 0;
}

void nl_close(struct nl *nl)
{
	auto_closep(&nl->fd);
}

/*
 * Room for len bytes at the aligned end, zeroed up to the next alignment; NULL marks the message
 * bad.
 */
static void *room(struct nl_msg *m, size_t len)
{
	size_t at = NLMSG_ALIGN(m->h.nlmsg_len);

	if (m->bad || len > sizeof(m->bytes) || NLMSG_ALIGN(len) > sizeof(m->bytes) - at) {
		m->bad = true;
		return NULL;
	}
	(void)memset(m->bytes + at, 0, NLMSG_ALIGN(len));
	m->h.nlmsg_len = (uint32_t)(at + len);
	return m->bytes + at;
}

void nl_begin(struct nl_msg *m, uint16_t type, uint16_t flags, const void *head, size_t head_len)
{
	void *p;

	m->bad = false;
	m->h = (struct nlmsghdr){ .nlmsg_len = NLMSG_HDRLEN,
				  .nlmsg_type = type,
				  .nlmsg_flags = (uint16_t)(flags | NLM_F_REQUEST) };
	p = room(m, head_len);
	if (p)
		(void)memcpy(p, head, head_len);
}

void nl_attr(struct nl_msg *m, uint16_t type, const void *data, size_t len)
{
	/*
	 * nla_len has 16 bits: a longer one would wrap and be read as attributes (CVE-2021-43784).
	 */
	struct nlattr *a = len > UINT16_MAX - ATTR_HEAD ? NULL : room(m, ATTR_HEAD + len);

	if (!a) {
		m->bad = true;
		return;
	}
	a->nla_type = type;
	a->nla_len = (uint16_t)(ATTR_HEAD + len);
	if (len)
		(void)memcpy((uint8_t *)a + ATTR_HEAD, data, len);
}

void nl_attr_u32(struct nl_msg *m, uint16_t type, uint32_t v)
{
	nl_attr(m, type, &v, sizeof(v));
}

void nl_attr_str(struct nl_msg *m, uint16_t type, const char *s)
{
	nl_attr(m, type, s, strlen(s) + 1);
}

size_t nl_nest(struct nl_msg *m, uint16_t type)
{
	size_t at = NLMSG_ALIGN(m->h.nlmsg_len);

	nl_attr(m, type | NLA_F_NESTED, NULL, 0);
	return at;
}

void nl_nest_end(struct nl_msg *m, size_t nest)
{
	struct nlattr *a = (struct nlattr *)(void *)(m->bytes + nest);

	if (m->bad)
		return;
	/* The padding of the last one inside is inside, too, and so part of the message. */
	m->h.nlmsg_len = NLMSG_ALIGN(m->h.nlmsg_len);
	a->nla_len = (uint16_t)(m->h.nlmsg_len - nest);
}

void nl_attrs_copy(struct nl_msg *m, const void *attrs, size_t len)
{
	void *p = room(m, len);

	if (p && len)
		(void)memcpy(p, attrs, len);
}

static int send_msg(struct nl *nl, struct nl_msg *m)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	ssize_t n;

	if (m->bad)
		return -EMSGSIZE;
	m->h.nlmsg_seq = ++nl->seq;
	m->h.nlmsg_pid = nl->port;
	do
		n = sendto(nl->fd, m->bytes, m->h.nlmsg_len, 0, (struct sockaddr *)&kernel,
			   sizeof(kernel));
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

/* One datagram of the kernel's into buf: its length, or -errno. */
static ssize_t receive(const struct nl *nl, uint8_t *buf, size_t size)
{
	for (;;) {
		struct sockaddr_nl from = { 0 };
		struct iovec iov = { buf, size };
		struct msghdr msg = { .msg_name = &from,
				      .msg_namelen = sizeof(from),
				      .msg_iov = &iov,
				      .msg_iovlen = 1 };
		ssize_t n = recvmsg(nl->fd, &msg, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		if (from.nl_pid != 0)
			continue; /* another process may send to us, too */
		return msg.msg_flags & MSG_TRUNC ? -EMSGSIZE : n;
	}
}

/* The message at p if it is whole within left bytes, else NULL. */
static const struct nlmsghdr *whole(const uint8_t *p, size_t left)
{
	const struct nlmsghdr *h = (const struct nlmsghdr *)(const void *)p;

	if (left < NLMSG_HDRLEN || h->nlmsg_len < NLMSG_HDRLEN || h->nlmsg_len > left)
		return NULL;
	return h;
}

static size_t step(const struct nlmsghdr *h, size_t left)
{
	size_t len = NLMSG_ALIGN((size_t)h->nlmsg_len);

	return len > left ? left : len;
}

/* What an NLMSG_ERROR or NLMSG_DONE says: 0 or -errno. */
static int verdict(const struct nlmsghdr *h)
{
	const int *code = nl_head(h, sizeof(*code));

	if (!code)
		return h->nlmsg_type == NLMSG_DONE ? 0 : -EBADMSG;
	return *code < 0 ? *code : 0;
}

int nl_request(struct nl *nl, struct nl_msg *m)
{
	uint8_t buf[RECV_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	int r;

	m->h.nlmsg_flags |= NLM_F_ACK;
	r = send_msg(nl, m);
	while (r == 0) {
		ssize_t n = receive(nl, buf, sizeof(buf));
		const struct nlmsghdr *h;
		size_t left = n > 0 ? (size_t)n : 0;

		if (n < 0)
			return (int)n;
		for (const uint8_t *p = buf; (h = whole(p, left));
		     p += step(h, left), left -= step(h, left)) {
			if (h->nlmsg_seq == nl->seq && h->nlmsg_type == NLMSG_ERROR)
				return verdict(h);
		}
	}
	return r;
}

/*
 * Takes over the messages of one datagram. 1: more will come, 0: complete, -errno (-EINTR:
 * inconsistent).
 */
static int collect(const struct nl *nl, const uint8_t *p, size_t left, struct buf *out, bool *torn)
{
	const struct nlmsghdr *h;

	while ((h = whole(p, left))) {
		size_t len = step(h, left);

		if (h->nlmsg_seq == nl->seq) {
			*torn |= (h->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
			if (h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR) {
				int r = verdict(h);

				return r < 0 ? r : *torn ? -EINTR : 0;
			}
			if (buf_len(out) + NLMSG_ALIGN(len) > NL_DUMP_MAX)
				return -EFBIG;
			if (buf_append(out, p, len) < 0)
				return -ENOMEM;
			for (; len % NLMSG_ALIGNTO; len++) {
				if (buf_append(out, "", 1) < 0)
					return -ENOMEM;
			}
		}
		len = step(h, left);
		p += len;
		left -= len;
	}
	return 1;
}

int nl_dump(struct nl *nl, struct nl_msg *m, struct buf *out)
{
	uint8_t buf[RECV_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
	int r = -EINTR;

	m->h.nlmsg_flags |= NLM_F_DUMP;
	for (int tries = 0; tries < DUMP_TRIES && r == -EINTR; tries++) {
		bool torn = false;

		buf_free(out);
		*out = (struct buf){ 0 };
		r = send_msg(nl, m);
		if (r == 0)
			r = 1;
		while (r == 1) {
			ssize_t n = receive(nl, buf, sizeof(buf));

			if (n == -ENOBUFS)
				torn = true; /* something was dropped, the dump goes on */
			else
				r = n < 0 ? (int)n : collect(nl, buf, (size_t)n, out, &torn);
		}
	}
	return r == -EINTR ? -EAGAIN : r;
}

const struct nlmsghdr *nl_next(const struct buf *dump, const struct nlmsghdr *prev)
{
	const uint8_t *end, *p;

	if (!dump->mem)
		return NULL;
	end = dump->mem + dump->end;
	p = prev ? (const uint8_t *)prev + NLMSG_ALIGN((size_t)prev->nlmsg_len)
		 : dump->mem + dump->start;
	return p >= end ? NULL : whole(p, (size_t)(end - p));
}

const void *nl_head(const struct nlmsghdr *h, size_t len)
{
	return h->nlmsg_len < NLMSG_HDRLEN + len ? NULL : (const uint8_t *)h + NLMSG_HDRLEN;
}

static void parse(const uint8_t *p, size_t left, const struct nlattr **tb, size_t max)
{
	(void)memset(tb, 0, (max + 1) * sizeof(*tb));
	while (left >= ATTR_HEAD) {
		const struct nlattr *a = (const struct nlattr *)(const void *)p;
		size_t type = a->nla_type & TYPE_MASK, len = align4(a->nla_len);

		if (a->nla_len < ATTR_HEAD || a->nla_len > left)
			return;
		if (type <= max)
			tb[type] = a;
		if (len >= left)
			return;
		p += len;
		left -= len;
	}
}

void nl_parse(const struct nlmsghdr *h, size_t head_len, const struct nlattr **tb, size_t max)
{
	size_t skip = NLMSG_HDRLEN + NLMSG_ALIGN(head_len);

	parse((const uint8_t *)h + skip, h->nlmsg_len > skip ? h->nlmsg_len - skip : 0, tb, max);
}

void nl_parse_nested(const struct nlattr *nest, const struct nlattr **tb, size_t max)
{
	parse(nl_data(nest), nl_len(nest), tb, max);
}

size_t nl_len(const struct nlattr *a)
{
	return (size_t)a->nla_len - ATTR_HEAD;
}

const void *nl_data(const struct nlattr *a)
{
	return (const uint8_t *)a + ATTR_HEAD;
}

uint32_t nl_u32(const struct nlattr *a, uint32_t fallback)
{
	uint32_t v;

	if (!a || nl_len(a) < sizeof(v))
		return fallback;
	(void)memcpy(&v, nl_data(a), sizeof(v));
	return v;
}

void nl_str(const struct nlattr *a, char *buf, size_t size)
{
	size_t len = a ? nl_len(a) : 0;

	if (len >= size)
		len = size - 1;
	if (len)
		(void)memcpy(buf, nl_data(a), len);
	buf[len] = '\0';
}
