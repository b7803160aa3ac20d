/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rtnetlink. State: a socket, its buffer and the number of its last request per struct rtnl.
 *
 * libmnl builds messages and takes them apart, each step within bounds. Receiving is done here,
 * since libmnl doesn't look at who has sent: with CAP_NET_ADMIN a container could answer in the
 * kernel's stead.
 */
#include "linux/rtnl.h"

#include <assert.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/auto.h"
#include "base/limits.h"
#include "base/str.h"

/* ---- the socket ---- */

int rtnl_open(struct rtnl *nl)
{
	struct timeval limit = { .tv_sec = 5 };
	struct rtnl new = { .socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC) };
	int on = 1, r;

	if (!new.socket)
		return -errno;
	new.buf = malloc(RTNL_BUF);
	/* The kernel chooses the port id: as PID 1 our pid would clash. */
	if (!new.buf || mnl_socket_bind(new.socket, 0, MNL_SOCKET_AUTOPID) < 0) {
		r = new.buf ? -errno : -ENOMEM;
		rtnl_close(&new);
		return r;
	}
	/*
	 * Answers are there when sendto returns; the limit is only against a kernel that is not as
	 * we know it.
	 */
	(void)setsockopt(mnl_socket_get_fd(new.socket), SOL_SOCKET, SO_RCVTIMEO, &limit,
			 sizeof(limit));
	(void)mnl_socket_setsockopt(new.socket, NETLINK_CAP_ACK, &on, sizeof(on));
	*nl = new;
	return 0;
}

void rtnl_close(struct rtnl *nl)
{
	if (nl->socket)
		(void)mnl_socket_close(nl->socket);
	free(nl->buf);
	*nl = (struct rtnl){ 0 };
}

struct nlmsghdr *rtnl_begin(struct rtnl *nl, uint16_t type, uint16_t flags, const void *head,
			    size_t head_len)
{
	struct nlmsghdr *h = mnl_nlmsg_put_header(nl->buf);

	h->nlmsg_type = type;
	h->nlmsg_flags = (uint16_t)(flags | NLM_F_REQUEST);
	if (head_len)
		(void)memcpy(mnl_nlmsg_put_extra_header(h, head_len), head, head_len);
	nl->full = false;
	return h;
}

static struct nlmsghdr *rtnl_message(const struct rtnl *nl)
{
	return (struct nlmsghdr *)(void *)nl->buf;
}

void rtnl_put(struct rtnl *nl, uint16_t type, const void *data, size_t len)
{
	/* nla_len has 16 bits, which the buffer's size keeps from wrapping (CVE-2021-43784). */
	static_assert(RTNL_BUF <= UINT16_MAX, "an attribute's length has 16 bits");
	nl->full |=
		len > RTNL_BUF || !mnl_attr_put_check(rtnl_message(nl), RTNL_BUF, type, len, data);
}

static void rtnl_put_u32(struct rtnl *nl, uint16_t type, uint32_t v)
{
	rtnl_put(nl, type, &v, sizeof(v));
}

static void rtnl_put_ip(struct rtnl *nl, uint16_t type, const struct ip *ip)
{
	if (ip->family)
		rtnl_put(nl, type, ip->bytes, ip_len(ip));
}

static int rtnl_send(struct rtnl *nl)
{
	struct nlmsghdr *h = rtnl_message(nl);
	ssize_t n;

	if (nl->full)
		return -EMSGSIZE;
	h->nlmsg_seq = ++nl->seq;
	do
		n = mnl_socket_sendto(nl->socket, h, h->nlmsg_len);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

/* One datagram of the kernel's into nl->buf: its length, or -errno. */
static ssize_t rtnl_receive(struct rtnl *nl)
{
	for (;;) {
		struct sockaddr_nl from = { 0 };
		struct iovec iov = { nl->buf, RTNL_BUF };
		struct msghdr msg = { .msg_name = &from,
				      .msg_namelen = sizeof(from),
				      .msg_iov = &iov,
				      .msg_iovlen = 1 };
		ssize_t n = recvmsg(mnl_socket_get_fd(nl->socket), &msg, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		if (from.nl_pid != 0)
			continue; /* another process may send to us, too */
		return msg.msg_flags & MSG_TRUNC ? -EMSGSIZE : n;
	}
}

/* The family's header of len bytes, or NULL where the message is too short for it. */
static const void *rtnl_head(const struct nlmsghdr *h, size_t len)
{
	return mnl_nlmsg_get_payload_len(h) < len ? NULL : mnl_nlmsg_get_payload(h);
}

/* What an NLMSG_ERROR or NLMSG_DONE says: 0 or -errno. */
static int rtnl_verdict(const struct nlmsghdr *h)
{
	const int *code = rtnl_head(h, sizeof(*code));

	if (!code)
		return h->nlmsg_type == NLMSG_DONE ? 0 : -EBADMSG;
	return *code < 0 ? *code : 0;
}

int rtnl_request(struct rtnl *nl)
{
	int r;

	rtnl_message(nl)->nlmsg_flags |= NLM_F_ACK;
	r = rtnl_send(nl);
	while (r == 0) {
		ssize_t n = rtnl_receive(nl);
		const struct nlmsghdr *h = rtnl_message(nl);

		if (n < 0)
			return (int)n;
		for (int left = (int)n; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
			if (h->nlmsg_seq == nl->seq && h->nlmsg_type == NLMSG_ERROR)
				return rtnl_verdict(h);
		}
	}
	return r;
}

/*
 * Takes over the messages of one datagram. 1: more will come, 0: complete, -errno (-EINTR:
 * inconsistent).
 */
static int rtnl_collect(const struct rtnl *nl, int left, struct buf *out, bool *torn)
{
	for (const struct nlmsghdr *h = rtnl_message(nl); mnl_nlmsg_ok(h, left);
	     h = mnl_nlmsg_next(h, &left)) {
		static const uint8_t padding[NLMSG_ALIGNTO];
		size_t len = h->nlmsg_len;

		if (h->nlmsg_seq != nl->seq)
			continue;
		*torn |= (h->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
		if (h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR) {
			int r = rtnl_verdict(h);

			return r < 0 ? r : *torn ? -EINTR : 0;
		}
		if (buf_len(out) + len > LIMIT_NETLINK_DUMP)
			return -EFBIG;
		if (buf_append(out, h, len) < 0 ||
		    buf_append(out, padding, NLMSG_ALIGN(len) - len) < 0)
			return -ENOMEM;
	}
	return 1;
}

/*
 * Asks for a dump and collects the answers, all of one consistent state: a dump that the kernel
 * says was interrupted is started again, once it has been read to its end. out must be zero or
 * freed; the caller frees it.
 */
static int rtnl_dump(struct rtnl *nl, uint16_t type, const void *head, size_t head_len,
		     struct buf *out)
{
	int r = -EINTR;

	for (int tries = 0; tries < LIMIT_NETLINK_TRIES && r == -EINTR; tries++) {
		bool torn = false;

		buf_free(out);
		(void)rtnl_begin(nl, type, NLM_F_DUMP, head, head_len);
		r = rtnl_send(nl);
		if (r == 0)
			r = 1;
		while (r == 1) {
			ssize_t n = rtnl_receive(nl);

			if (n == -ENOBUFS)
				torn = true; /* something was dropped, the dump goes on */
			else
				r = n < 0 ? (int)n : rtnl_collect(nl, (int)n, out, &torn);
		}
	}
	return r == -EINTR ? -EAGAIN : r;
}

/* A walk over a dump: left counts down what is left of it. */
#define dump_for_each(h, left, dump)                                          \
	for (int left = (int)buf_len(dump), once_ = 1; once_; once_ = 0)      \
		for (const struct nlmsghdr *h = (const void *)buf_data(dump); \
		     mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left))

static size_t dump_count(const struct buf *dump)
{
	size_t n = 0;

	dump_for_each(h, left, dump) n++;
	return n;
}

/* Attributes by type, 0 to max; NULL: absent. */
struct attrs {
	const struct nlattr **by_type;
	uint16_t max;
};

static int attrs_sort(const struct nlattr *a, void *data)
{
	const struct attrs *t = data;

	if (mnl_attr_get_type(a) <= t->max)
		t->by_type[mnl_attr_get_type(a)] = a;
	return MNL_CB_OK;
}

/*
 * Sorts the attributes behind a header of head_len bytes into tb[0..max], which is all NULL; of
 * several of a type the last one counts.
 */
static void attrs_get(const struct nlmsghdr *h, unsigned int head_len, const struct nlattr **tb,
		      uint16_t max)
{
	struct attrs t = { tb, max };

	(void)mnl_attr_parse(h, head_len, attrs_sort, &t);
}

/* The number, or fallback where the attribute is absent or too short. */
static uint32_t rtnl_u32(const struct nlattr *a, uint32_t fallback)
{
	return a && mnl_attr_get_payload_len(a) >= sizeof(uint32_t) ? mnl_attr_get_u32(a)
								    : fallback;
}

/* Copies the attribute's bytes, as many as fit; how many. */
static size_t rtnl_bytes(const struct nlattr *a, void *buf, size_t size)
{
	size_t len = a ? mnl_attr_get_payload_len(a) : 0;

	if (len > size)
		len = size;
	if (len)
		(void)memcpy(buf, mnl_attr_get_payload(a), len);
	return len;
}

/* An address attribute; absent or of the wrong length: none. */
static struct ip rtnl_ip(const struct nlattr *a, uint8_t family, uint8_t prefix)
{
	struct ip ip = { .family = family, .prefix = prefix };

	if (!a || ip_len(&ip) == 0 || mnl_attr_get_payload_len(a) != ip_len(&ip) ||
	    prefix > ip_len(&ip) * 8)
		return (struct ip){ 0 };
	(void)rtnl_bytes(a, ip.bytes, sizeof(ip.bytes));
	return ip;
}

/* Takes a message of a dump back to the kernel, all of it, as a deletion of that very thing. */
static int rtnl_delete(struct rtnl *nl, uint16_t type, const struct nlmsghdr *dumped)
{
	struct nlmsghdr *h = rtnl_message(nl);

	if (dumped->nlmsg_len > RTNL_BUF)
		return -EMSGSIZE;
	(void)memcpy(h, dumped, dumped->nlmsg_len);
	h->nlmsg_type = type;
	h->nlmsg_flags = NLM_F_REQUEST;
	h->nlmsg_pid = 0;
	nl->full = false;
	return rtnl_request(nl);
}

/* ---- interfaces ---- */

static bool link_read(const struct nlmsghdr *h, struct link *link)
{
	const struct ifinfomsg *ifi = rtnl_head(h, sizeof(*ifi));
	const struct nlattr *tb[IFLA_STATS64 + 1] = { NULL };

	if (!ifi || h->nlmsg_type != RTM_NEWLINK)
		return false;
	attrs_get(h, sizeof(*ifi), tb, IFLA_STATS64);
	*link = (struct link){ .index = ifi->ifi_index,
			       .flags = ifi->ifi_flags,
			       .mtu = rtnl_u32(tb[IFLA_MTU], 0) };
	(void)rtnl_bytes(tb[IFLA_IFNAME], link->name, sizeof(link->name) - 1);
	if (tb[IFLA_ADDRESS] && mnl_attr_get_payload_len(tb[IFLA_ADDRESS]) <= sizeof(link->addr))
		link->addr_len = rtnl_bytes(tb[IFLA_ADDRESS], link->addr, sizeof(link->addr));
	/* The kernel's may be longer or shorter than ours. */
	(void)rtnl_bytes(tb[IFLA_STATS64], &link->stats, sizeof(link->stats));
	return true;
}

int links_get(struct rtnl *nl, struct link **ret, size_t *ret_n)
{
	struct ifinfomsg ifi = { .ifi_family = AF_UNSPEC };
	AUTO(buf_free) struct buf dump = { 0 };
	AUTO_FREE struct link *links = NULL;
	size_t n = 0;
	int r = rtnl_dump(nl, RTM_GETLINK, &ifi, sizeof(ifi), &dump);

	if (r < 0)
		return r;
	links = calloc(dump_count(&dump) + 1, sizeof(*links));
	if (!links)
		return -ENOMEM;
	dump_for_each(h, left, &dump) n += link_read(h, &links[n]);
	*ret_n = n;
	*ret = TAKE_PTR(links);
	return 0;
}

const struct link *links_by_name(const struct link *links, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		if (str_eq(links[i].name, name))
			return &links[i];
	}
	return NULL;
}

const struct link *links_by_index(const struct link *links, size_t n, int index)
{
	for (size_t i = 0; i < n; i++) {
		if (links[i].index == index)
			return &links[i];
	}
	return NULL;
}

const struct link *links_by_addr(const struct link *links, size_t n, const char *addr)
{
	char text[LINK_ADDR_TEXT];

	for (size_t i = 0; i < n; i++) {
		if (*link_addr_text(&links[i], text) && strcasecmp(text, addr) == 0)
			return &links[i];
	}
	return NULL;
}

const char *link_addr_text(const struct link *link, char *buf)
{
	bool any = false;
	size_t at = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < link->addr_len; i++) {
		any |= link->addr[i] != 0;
		at += (size_t)snprintf(buf + at, LINK_ADDR_TEXT - at, "%s%02x", i ? ":" : "",
				       link->addr[i]);
	}
	if (!any)
		buf[0] = '\0';
	return buf;
}

static int link_hex(char c)
{
	const char *digits = "0123456789abcdef";
	const char *p = c ? strchr(digits, c | (c >= 'A' ? 0x20 : 0)) : NULL;

	return p ? (int)(p - digits) : -1;
}

int link_addr_parse(const char *text, uint8_t addr[LINK_ADDR_MAX], size_t *len)
{
	size_t n = 0;

	for (;; text += 3) {
		int high = link_hex(text[0]), low = high < 0 ? -1 : link_hex(text[1]);

		if (low < 0 || n == LINK_ADDR_MAX)
			return -EINVAL;
		addr[n++] = (uint8_t)(high * 16 + low);
		if (text[2] == '\0')
			break;
		if (text[2] != ':')
			return -EINVAL;
	}
	/* The lengths that exist: EUI-48, EUI-64, InfiniBand. */
	if (n != 6 && n != 8 && n != 20)
		return -EINVAL;
	*len = n;
	return 0;
}

static void link_begin(struct rtnl *nl, int index, unsigned int flags, unsigned int mask)
{
	struct ifinfomsg ifi = {
		.ifi_family = AF_UNSPEC, .ifi_index = index, .ifi_flags = flags, .ifi_change = mask
	};

	(void)rtnl_begin(nl, RTM_NEWLINK, 0, &ifi, sizeof(ifi));
}

int link_set_flags(struct rtnl *nl, int index, unsigned int flags, unsigned int mask)
{
	link_begin(nl, index, flags & mask, mask);
	return rtnl_request(nl);
}

int link_set_name(struct rtnl *nl, int index, const char *name)
{
	if (!*name || strlen(name) >= IFNAMSIZ)
		return *name ? -ERANGE : -EINVAL;
	link_begin(nl, index, 0, 0);
	rtnl_put(nl, IFLA_IFNAME, name, strlen(name) + 1);
	return rtnl_request(nl);
}

int link_set_mtu(struct rtnl *nl, int index, uint32_t mtu)
{
	link_begin(nl, index, 0, 0);
	rtnl_put_u32(nl, IFLA_MTU, mtu);
	return rtnl_request(nl);
}

int link_set_addr(struct rtnl *nl, int index, const uint8_t *addr, size_t len)
{
	link_begin(nl, index, 0, 0);
	rtnl_put(nl, IFLA_ADDRESS, addr, len);
	return rtnl_request(nl);
}

/* Renames a link that may be up: kernels before 6.2 want it down for that. */
static int link_rename(struct rtnl *nl, const struct link *link, const char *name)
{
	int r = link_set_name(nl, link->index, name), up;

	if (r != -EBUSY || !(link->flags & IFF_UP))
		return r;
	r = link_set_flags(nl, link->index, 0, IFF_UP);
	if (r < 0)
		return r;
	r = link_set_name(nl, link->index, name);
	up = link_set_flags(nl, link->index, IFF_UP, IFF_UP);
	return r < 0 ? r : up;
}

int link_take_name(struct rtnl *nl, const struct link *links, size_t n, const struct link *link,
		   const char *name)
{
	const struct link *holder = links_by_name(links, n, name);
	char temporary[IFNAMSIZ];
	int r;

	if (!holder || holder == link)
		return link_rename(nl, link, name);
	if (strlen(name) >= IFNAMSIZ)
		return -ERANGE;
	(void)snprintf(temporary, sizeof(temporary), "swap%d", holder->index);
	r = link_rename(nl, holder, temporary);
	if (r < 0)
		return r;
	r = link_rename(nl, link, name);
	if (r < 0) {
		(void)link_rename(nl, holder, name); /* as it was */
		return r;
	}
	return link_rename(nl, holder, link->name);
}

int link_up(const char *name, struct err *err)
{
	AUTO(rtnl_close) struct rtnl nl = { 0 };
	int r = rtnl_open(&nl);

	if (r == 0) {
		link_begin(&nl, 0, IFF_UP, IFF_UP);
		rtnl_put(&nl, IFLA_IFNAME, name, strlen(name) + 1);
		r = rtnl_request(&nl);
	}
	return r < 0 ? err_sys(err, -r, "set interface '%s' up", name) : 0;
}

/* ---- addresses, neighbours ---- */

static bool addr_read(const struct nlmsghdr *h, struct addr *a)
{
	const struct ifaddrmsg *ifa = rtnl_head(h, sizeof(*ifa));
	const struct nlattr *tb[IFA_LOCAL + 1] = { NULL };

	if (!ifa || h->nlmsg_type != RTM_NEWADDR)
		return false;
	attrs_get(h, sizeof(*ifa), tb, IFA_LOCAL);
	/* On a point-to-point link IFA_ADDRESS is the peer's. */
	*a = (struct addr){ .index = (int)ifa->ifa_index,
			    .ip = rtnl_ip(tb[IFA_LOCAL] ? tb[IFA_LOCAL] : tb[IFA_ADDRESS],
					  ifa->ifa_family, ifa->ifa_prefixlen) };
	return a->ip.family;
}

static int addrs_dump(struct rtnl *nl, struct buf *dump)
{
	struct ifaddrmsg ifa = { .ifa_family = AF_UNSPEC };

	return rtnl_dump(nl, RTM_GETADDR, &ifa, sizeof(ifa), dump);
}

int addrs_get(struct rtnl *nl, struct addr **ret, size_t *ret_n)
{
	AUTO(buf_free) struct buf dump = { 0 };
	AUTO_FREE struct addr *addrs = NULL;
	size_t n = 0;
	int r = addrs_dump(nl, &dump);

	if (r < 0)
		return r;
	addrs = calloc(dump_count(&dump) + 1, sizeof(*addrs));
	if (!addrs)
		return -ENOMEM;
	dump_for_each(h, left, &dump) n += addr_read(h, &addrs[n]);
	*ret_n = n;
	*ret = TAKE_PTR(addrs);
	return 0;
}

int addr_add(struct rtnl *nl, const struct addr *a, bool replace)
{
	struct ifaddrmsg ifa = { .ifa_family = a->ip.family,
				 .ifa_prefixlen = a->ip.prefix,
				 .ifa_flags = a->ip.family == AF_INET6 ? IFA_F_NODAD : 0,
				 .ifa_index = (uint32_t)a->index };
	uint8_t broadcast[4];

	(void)rtnl_begin(nl, RTM_NEWADDR,
			 (uint16_t)(NLM_F_CREATE | (replace ? NLM_F_REPLACE : NLM_F_EXCL)), &ifa,
			 sizeof(ifa));
	rtnl_put_ip(nl, IFA_LOCAL, &a->ip);
	rtnl_put_ip(nl, IFA_ADDRESS, &a->ip);
	if (a->ip.family == AF_INET) {
		ip_broadcast(&a->ip, broadcast);
		rtnl_put(nl, IFA_BROADCAST, broadcast, sizeof(broadcast));
	}
	return rtnl_request(nl);
}

int addrs_flush(struct rtnl *nl, int index)
{
	AUTO(buf_free) struct buf dump = { 0 };
	int r = addrs_dump(nl, &dump);

	if (r < 0)
		return r;
	dump_for_each(h, left, &dump)
	{
		const struct ifaddrmsg *ifa = rtnl_head(h, sizeof(*ifa));

		if (!ifa || h->nlmsg_type != RTM_NEWADDR || (int)ifa->ifa_index != index)
			continue;
		r = rtnl_delete(nl, RTM_DELADDR, h);
		/* A secondary address goes together with its primary one. */
		if (r < 0 && r != -EADDRNOTAVAIL)
			return r;
	}
	return 0;
}

int neigh_add(struct rtnl *nl, const struct neigh *n, bool replace)
{
	struct ndmsg nd = { .ndm_family = n->ip.family,
			    .ndm_ifindex = n->index,
			    .ndm_state = n->state,
			    .ndm_flags = n->flags };

	(void)rtnl_begin(nl, RTM_NEWNEIGH,
			 (uint16_t)(NLM_F_CREATE | (replace ? NLM_F_REPLACE : NLM_F_EXCL)), &nd,
			 sizeof(nd));
	rtnl_put_ip(nl, NDA_DST, &n->ip);
	if (n->lladdr)
		rtnl_put(nl, NDA_LLADDR, n->lladdr, n->lladdr_len);
	return rtnl_request(nl);
}

/* ---- routes ---- */

/* The route's MTU, from the nest of its metrics. */
static uint32_t route_mtu(const struct nlattr *metrics)
{
	const struct nlattr *tb[RTAX_MTU + 1] = { NULL };
	struct attrs t = { tb, RTAX_MTU };

	if (metrics)
		(void)mnl_attr_parse_nested(metrics, attrs_sort, &t);
	return rtnl_u32(tb[RTAX_MTU], 0);
}

static bool route_read(const struct nlmsghdr *h, struct route *r)
{
	const struct rtmsg *rt = rtnl_head(h, sizeof(*rt));
	const struct nlattr *tb[RTA_TABLE + 1] = { NULL };
	uint8_t bits;

	if (!rt || h->nlmsg_type != RTM_NEWROUTE ||
	    (rt->rtm_family != AF_INET && rt->rtm_family != AF_INET6))
		return false;
	attrs_get(h, sizeof(*rt), tb, RTA_TABLE);
	if (rtnl_u32(tb[RTA_TABLE], rt->rtm_table) != RT_TABLE_MAIN || rt->rtm_flags & RTM_F_CLONED)
		return false;
	bits = rt->rtm_family == AF_INET ? 32 : 128;
	*r = (struct route){
		.family = rt->rtm_family,
		.index = (int)rtnl_u32(tb[RTA_OIF], 0),
		.scope = rt->rtm_scope,
		.protocol = rt->rtm_protocol,
		.raw = h,
		.mtu = route_mtu(tb[RTA_METRICS]),
		.flags = rt->rtm_flags & RTNH_F_ONLINK,
		.dst = rtnl_ip(tb[RTA_DST], rt->rtm_family, rt->rtm_dst_len),
		.from = rtnl_ip(tb[RTA_SRC], rt->rtm_family, rt->rtm_src_len),
		.gateway = rtnl_ip(tb[RTA_GATEWAY], rt->rtm_family, bits),
		.source = rtnl_ip(tb[RTA_PREFSRC], rt->rtm_family, bits),
	};
	return true;
}

int routes_get(struct rtnl *nl, struct buf *dump, struct route **ret, size_t *ret_n)
{
	static const uint8_t families[] = { AF_INET, AF_INET6 };
	struct rtmsg rt = { .rtm_family = AF_UNSPEC };
	AUTO_FREE struct route *routes = NULL;
	size_t n = 0;
	int r = rtnl_dump(nl, RTM_GETROUTE, &rt, sizeof(rt), dump);

	if (r < 0)
		return r;
	routes = calloc(dump_count(dump) + 1, sizeof(*routes));
	if (!routes)
		return -ENOMEM;
	for (size_t f = 0; f < ARRAY_LEN(families); f++) {
		dump_for_each(h, left, dump) n +=
			route_read(h, &routes[n]) && routes[n].family == families[f];
	}
	*ret_n = n;
	*ret = TAKE_PTR(routes);
	return 0;
}

int route_del(struct rtnl *nl, const struct route *r)
{
	return rtnl_delete(nl, RTM_DELROUTE, r->raw);
}

int route_add(struct rtnl *nl, const struct route *r, bool replace)
{
	struct rtmsg rt = { .rtm_family = r->family,
			    .rtm_dst_len = r->dst.family ? r->dst.prefix : 0,
			    .rtm_src_len = r->from.family ? r->from.prefix : 0,
			    .rtm_table = RT_TABLE_MAIN,
			    .rtm_protocol = RTPROT_BOOT,
			    .rtm_scope = r->scope,
			    .rtm_type = RTN_UNICAST,
			    .rtm_flags = r->flags };
	struct nlmsghdr *h;
	struct nlattr *metrics;

	h = rtnl_begin(nl, RTM_NEWROUTE,
		       (uint16_t)(NLM_F_CREATE | (replace ? NLM_F_REPLACE : NLM_F_EXCL)), &rt,
		       sizeof(rt));
	rtnl_put_ip(nl, RTA_DST, &r->dst);
	rtnl_put_ip(nl, RTA_SRC, &r->from);
	rtnl_put_ip(nl, RTA_PREFSRC, &r->source);
	rtnl_put_ip(nl, RTA_GATEWAY, &r->gateway);
	rtnl_put_u32(nl, RTA_OIF, (uint32_t)r->index);
	if (r->mtu) {
		metrics = mnl_attr_nest_start_check(h, RTNL_BUF, RTA_METRICS);
		if (!metrics)
			return -EMSGSIZE;
		rtnl_put_u32(nl, RTAX_MTU, r->mtu);
		mnl_attr_nest_end(h, metrics);
	}
	return rtnl_request(nl);
}
