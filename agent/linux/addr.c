/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses and neighbours. No state.
 */
#include "linux/addr.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "base/auto.h"

static bool read_addr(const struct nlmsghdr *h, struct addr *a)
{
	const struct ifaddrmsg *ifa = nl_head(h, sizeof(*ifa));
	const struct nlattr *tb[IFA_LOCAL + 1], *ip;

	if (!ifa || h->nlmsg_type != RTM_NEWADDR)
		return false;
	nl_parse(h, sizeof(*ifa), tb, IFA_LOCAL);
	/* On a point-to-point link IFA_ADDRESS is the peer's. */
	ip = tb[IFA_LOCAL] ? tb[IFA_LOCAL] : tb[IFA_ADDRESS];
	*a = (struct addr){ .index = (int)ifa->ifa_index,
			    .ip = { .family = ifa->ifa_family, .prefix = ifa->ifa_prefixlen } };
	if (!ip || ip_len(&a->ip) == 0 || nl_len(ip) != ip_len(&a->ip))
		return false;
	(void)memcpy(a->ip.bytes, nl_data(ip), nl_len(ip));
	return true;
}

static int dump_addrs(struct nl *nl, struct buf *dump)
{
	struct ifaddrmsg ifa = { .ifa_family = AF_UNSPEC };
	struct nl_msg m;

	nl_begin(&m, RTM_GETADDR, 0, &ifa, sizeof(ifa));
	return nl_dump(nl, &m, dump);
}

int addrs_get(struct nl *nl, struct addr **ret, size_t *ret_n)
{
	AUTO(buf_free) struct buf dump = { 0 };
	AUTO_FREE struct addr *addrs = NULL;
	size_t n = 0, i = 0;
	int r = dump_addrs(nl, &dump);

	if (r < 0)
		return r;
	for (const struct nlmsghdr *h = nl_next(&dump, NULL); h; h = nl_next(&dump, h))
		n++;
	addrs = calloc(n ? n : 1, sizeof(*addrs));
	if (!addrs)
		return -ENOMEM;
	for (const struct nlmsghdr *h = nl_next(&dump, NULL); h; h = nl_next(&dump, h)) {
		if (read_addr(h, &addrs[i]))
			i++;
	}
	*ret_n = i;
	*ret = TAKE_PTR(addrs);
	return 0;
}

int addr_add(struct nl *nl, const struct addr *a, bool replace)
{
	struct ifaddrmsg ifa = { .ifa_family = a->ip.family,
				 .ifa_prefixlen = a->ip.prefix,
				 .ifa_index = (uint32_t)a->index };
	uint8_t broadcast[4];
	struct nl_msg m;

	if (a->ip.family == AF_INET6)
		ifa.ifa_flags = IFA_F_NODAD;
	nl_begin(&m, RTM_NEWADDR, (uint16_t)(NLM_F_CREATE | (replace ? NLM_F_REPLACE : NLM_F_EXCL)),
		 &ifa, sizeof(ifa));
	nl_attr(&m, IFA_LOCAL, a->ip.bytes, ip_len(&a->ip));
	nl_attr(&m, IFA_ADDRESS, a->ip.bytes, ip_len(&a->ip));
	if (a->ip.family == AF_INET) {
		ip_broadcast(&a->ip, broadcast);
		nl_attr(&m, IFA_BROADCAST, broadcast, sizeof(broadcast));
	}
	return nl_request(nl, &m);
}

/* Takes the message of a dump back to the kernel as a deletion. */
static int delete_as_dumped(struct nl *nl, const struct nlmsghdr *h, const struct ifaddrmsg *ifa)
{
	struct nl_msg m;
	size_t skip = NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(*ifa));

	nl_begin(&m, RTM_DELADDR, 0, ifa, sizeof(*ifa));
	if (h->nlmsg_len > skip)
		nl_attrs_copy(&m, (const uint8_t *)h + skip, h->nlmsg_len - skip);
	return nl_request(nl, &m);
}

int addrs_flush(struct nl *nl, int index)
{
	AUTO(buf_free) struct buf dump = { 0 };
	int r = dump_addrs(nl, &dump);

	if (r < 0)
		return r;
	for (const struct nlmsghdr *h = nl_next(&dump, NULL); h; h = nl_next(&dump, h)) {
		const struct ifaddrmsg *ifa = nl_head(h, sizeof(*ifa));

		if (!ifa || h->nlmsg_type != RTM_NEWADDR || (int)ifa->ifa_index != index)
			continue;
		r = delete_as_dumped(nl, h, ifa);
		/* A secondary address goes together with its primary one. */
		if (r < 0 && r != -EADDRNOTAVAIL)
			return r;
	}
	return 0;
}

int neigh_add(struct nl *nl, const struct neigh *n, bool replace)
{
	struct ndmsg nd = { .ndm_family = n->ip.family,
			    .ndm_ifindex = n->index,
			    .ndm_state = n->state,
			    .ndm_flags = n->flags };
	struct nl_msg m;

	nl_begin(&m, RTM_NEWNEIGH,
		 (uint16_t)(NLM_F_CREATE | (replace ? NLM_F_REPLACE : NLM_F_EXCL)), &nd,
		 sizeof(nd));
	nl_attr(&m, NDA_DST, n->ip.bytes, ip_len(&n->ip));
	if (n->lladdr)
		nl_attr(&m, NDA_LLADDR, n->lladdr, n->lladdr_len);
	return nl_request(nl, &m);
}
