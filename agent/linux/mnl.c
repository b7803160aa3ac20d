/* SPDX-License-Identifier: Apache-2.0 */
/*
 * As much of libmnl's interface as the agent uses, for static builds where no libmnl.a is to be had
 * (Debian has none). Written from the library's documentation; the tests of rtnl run against both.
 * State: one socket per struct mnl_socket.
 */
#include <libmnl/libmnl.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"

#define ATTR_HEAD sizeof(struct nlattr)

static_assert(ATTR_HEAD % MNL_ALIGNTO == 0, "attribute headers are not padded");

struct mnl_socket {
	int fd;
	struct sockaddr_nl self;
};

/* ---- sockets: NULL or -1 with errno ---- */

struct mnl_socket *mnl_socket_open2(int bus, int flags)
{
	AUTO_FREE struct mnl_socket *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->fd = socket(AF_NETLINK, SOCK_RAW | flags, bus);
	return s->fd < 0 ? NULL : TAKE_PTR(s);
}

int mnl_socket_bind(struct mnl_socket *s, unsigned int groups, pid_t pid)
{
	struct sockaddr_nl self = { .nl_family = AF_NETLINK,
				    .nl_groups = groups,
				    .nl_pid = (uint32_t)pid };
	socklen_t len = sizeof(self);

	if (bind(s->fd, (struct sockaddr *)&self, sizeof(self)) < 0 ||
	    getsockname(s->fd, (struct sockaddr *)&self, &len) < 0)
		return -1;
	s->self = self;
	return 0;
}

int mnl_socket_close(struct mnl_socket *s)
{
	int r = close(s->fd);

	free(s);
	return r;
}

int mnl_socket_get_fd(const struct mnl_socket *s)
{
	return s->fd;
}

ssize_t mnl_socket_sendto(const struct mnl_socket *s, const void *req, size_t len)
{
	static const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };

	return sendto(s->fd, req, len, 0, (const struct sockaddr *)&kernel, sizeof(kernel));
}

int mnl_socket_setsockopt(const struct mnl_socket *s, int type, void *value, socklen_t len)
{
	return setsockopt(s->fd, SOL_NETLINK, type, value, len);
}

/* ---- messages: a header, the family's own header, attributes, each padded to four bytes ---- */

static size_t mnl_padded(size_t len)
{
	return (len + MNL_ALIGNTO - 1) / MNL_ALIGNTO * MNL_ALIGNTO;
}

static void *mnl_at(const void *base, size_t offset)
{
	return (uint8_t *)(uintptr_t)base + offset;
}

struct nlmsghdr *mnl_nlmsg_put_header(void *buf)
{
	struct nlmsghdr *h = memset(buf, 0, NLMSG_HDRLEN);

	h->nlmsg_len = NLMSG_HDRLEN;
	return h;
}

void *mnl_nlmsg_put_extra_header(struct nlmsghdr *h, size_t size)
{
	void *extra = mnl_nlmsg_get_payload_tail(h);

	h->nlmsg_len += (uint32_t)mnl_padded(size);
	return memset(extra, 0, mnl_padded(size));
}

bool mnl_nlmsg_ok(const struct nlmsghdr *h, int left)
{
	return left >= (int)sizeof(*h) && h->nlmsg_len >= sizeof(*h) &&
	       h->nlmsg_len <= (unsigned int)left;
}

struct nlmsghdr *mnl_nlmsg_next(const struct nlmsghdr *h, int *left)
{
	size_t len = mnl_padded(h->nlmsg_len);

	*left -= (int)len; /* below 0 where the last one isn't padded */
	return mnl_at(h, len);
}

void *mnl_nlmsg_get_payload(const struct nlmsghdr *h)
{
	return mnl_at(h, NLMSG_HDRLEN);
}

void *mnl_nlmsg_get_payload_tail(const struct nlmsghdr *h)
{
	return mnl_at(h, mnl_padded(h->nlmsg_len));
}

size_t mnl_nlmsg_get_payload_len(const struct nlmsghdr *h)
{
	return h->nlmsg_len - NLMSG_HDRLEN;
}

/* ---- attributes ---- */

bool mnl_attr_ok(const struct nlattr *a, int left)
{
	return left >= (int)sizeof(*a) && a->nla_len >= sizeof(*a) && a->nla_len <= left;
}

uint16_t mnl_attr_get_type(const struct nlattr *a)
{
	return a->nla_type & (uint16_t)NLA_TYPE_MASK;
}

uint16_t mnl_attr_get_payload_len(const struct nlattr *a)
{
	return (uint16_t)(a->nla_len - ATTR_HEAD);
}

void *mnl_attr_get_payload(const struct nlattr *a)
{
	return mnl_at(a, ATTR_HEAD);
}

uint32_t mnl_attr_get_u32(const struct nlattr *a)
{
	uint32_t v;

	(void)memcpy(&v, mnl_attr_get_payload(a), sizeof(v));
	return v;
}

/* Runs cb over attributes until it says stop or fails; its last word. */
static int mnl_walk(const uint8_t *p, size_t left, mnl_attr_cb_t cb, void *data)
{
	int r = MNL_CB_OK;

	while (r > MNL_CB_STOP && mnl_attr_ok((const void *)p, (int)left)) {
		size_t len = mnl_padded(((const struct nlattr *)(const void *)p)->nla_len);

		r = cb((const void *)p, data);
		p += len;
		left -= len < left ? len : left;
	}
	return r;
}

int mnl_attr_parse(const struct nlmsghdr *h, unsigned int offset, mnl_attr_cb_t cb, void *data)
{
	size_t skip = mnl_padded(offset), len = mnl_nlmsg_get_payload_len(h);

	return mnl_walk(mnl_at(mnl_nlmsg_get_payload(h), skip), len > skip ? len - skip : 0, cb,
			data);
}

int mnl_attr_parse_nested(const struct nlattr *nest, mnl_attr_cb_t cb, void *data)
{
	return mnl_walk(mnl_attr_get_payload(nest), mnl_attr_get_payload_len(nest), cb, data);
}

bool mnl_attr_put_check(struct nlmsghdr *h, size_t size, uint16_t type, size_t len,
			const void *data)
{
	struct nlattr *a = mnl_nlmsg_get_payload_tail(h);
	size_t used = mnl_padded(h->nlmsg_len), padded = ATTR_HEAD + mnl_padded(len);

	if (used > size || padded > size - used)
		return false;
	(void)memset(a, 0, padded);
	a->nla_type = type;
	a->nla_len = (uint16_t)(ATTR_HEAD + len);
	if (len)
		(void)memcpy(mnl_attr_get_payload(a), data, len);
	h->nlmsg_len = (uint32_t)(used + padded);
	return true;
}

/* What follows is inside, until mnl_attr_nest_end. */
struct nlattr *mnl_attr_nest_start_check(struct nlmsghdr *h, size_t size, uint16_t type)
{
	struct nlattr *nest = mnl_nlmsg_get_payload_tail(h);

	return mnl_attr_put_check(h, size, NLA_F_NESTED | type, 0, NULL) ? nest : NULL;
}

void mnl_attr_nest_end(struct nlmsghdr *h, struct nlattr *nest)
{
	nest->nla_len = (uint16_t)((uint8_t *)mnl_nlmsg_get_payload_tail(h) - (uint8_t *)nest);
}
