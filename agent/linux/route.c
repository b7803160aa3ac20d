/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Routes. No state.
 */
#include "linux/route.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "base/auto.h"

/* An address attribute; absent or of the wrong length: none. */
static struct ip read_ip(const struct nlattr *a, uint8_t family, uint8_t prefix)
{
	struct ip ip = { .family = family, .prefix = prefix };

	if (!a || nl_len(a) != ip_len(&ip) || prefix > ip_len(&ip) * 8)
		return (struct ip){ 0 };
	(void)memcpy(ip.bytes, nl_data(a), nl_len(a));
	return ip;
}

static bool read_route(const struct nlmsghdr *h, struct route *r)
{
	const struct rtmsg *rt = nl_head(h, sizeof(*rt));
	const struct nlattr *tb[RTA_TABLE + 1], *metrics[RTAX_MTU + 1] = { NULL };
	uint8_t bits;

	if (!rt || h->nlmsg_type != RTM_NEWROUTE ||
	    (rt->rtm_family != AF_INET && rt->rtm_family != AF_INET6))
		return false;
	nl_parse(h, sizeof(*rt), tb, RTA_TABLE);
	if (nl_u32(tb[RTA_TABLE], rt->rtm_table) != RT_TABLE_MAIN || rt->rtm_flags & RTM_F_CLONED)
		return false;
	if (tb[RTA_METRICS])
		nl_parse_nested(tb[RTA_METRICS], metrics, RTAX_MTU);
	bits = rt->rtm_family == AF_INET ? 32 : 128;
	*r = (struct route){
		.family = rt->rtm_family,
		.index = (int)nl_u32(tb[RTA_OIF], 0),
		.scope = rt->rtm_scope,
		.protocol = rt->rtm_protocol,
		.raw = h,
		.mtu = nl_u32(metrics[RTAX_MTU], 0),
		.flags = rt->rtm_flags & RTNH_F_ONLINK,
		.dst = read_ip(tb[RTA_DST], rt->rtm_family, rt->rtm_dst_len),
		.from = read_ip(tb[RTA_SRC], rt->rtm_family, rt->rtm_src_len),
		.gateway = read_ip(tb[RTA_GATEWAY], rt->rtm_family, bits),
		.source = read_ip(tb[RTA_PREFSRC], rt->rtm_family, bits),
	};
	return true;
}

int routes_get(struct nl *nl, struct buf *dump, struct route **ret, size_t *ret_n)
{
	struct rtmsg rt = { .rtm_family = AF_UNSPEC };
	AUTO_FREE struct route *routes = NULL;
	static const uint8_t families[] = { AF_INET, AF_INET6 };
	size_t n = 0, i = 0;
	struct nl_msg m;
	int r;

	nl_begin(&m, RTM_GETROUTE, 0, &rt, sizeof(rt));
	r = nl_dump(nl, &m, dump);
	if (r < 0)
		return r;
	for (const struct nlmsghdr *h = nl_next(dump, NULL); h; h = nl_next(dump, h))
		n++;
	routes = calloc(n ? n : 1, sizeof(*routes));
	if (!routes)
		return -ENOMEM;
	for (size_t f = 0; f < ARRAY_LEN(families); f++) {
		for (const struct nlmsghdr *h = nl_next(dump, NULL); h && i < n;
		     h = nl_next(dump, h)) {
			if (read_route(h, &routes[i]) && routes[i].family == families[f])
				i++;
		}
	}
	*ret_n = i;
	*ret = TAKE_PTR(routes);
	return 0;
}

int route_del(struct nl *nl, const struct route *r)
{
	const struct rtmsg *rt = nl_head(r->raw, sizeof(*rt));
	size_t skip = NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(*rt));
	struct nl_msg m;

	if (!rt)
		return -EINVAL;
	/* The kernel compares what the message has: all of it, and only that very route goes. */
	nl_begin(&m, RTM_DELROUTE, 0, rt, sizeof(*rt));
	if (r->raw->nlmsg_len > skip)
		nl_attrs_copy(&m, (const uint8_t *)r->raw + skip, r->raw->nlmsg_len - skip);
	return nl_request(nl, &m);
}

int route_add(struct nl *nl, const struct route *r, bool replace)
{
	struct rtmsg rt = { .rtm_family = r->family,
			    .rtm_dst_len = r->dst.family ? r->dst.prefix : 0,
			    .rtm_src_len = r->from.family ? r->from.prefix : 0,
			    .rtm_table = RT_TABLE_MAIN,
			    .rtm_protocol = RTPROT_BOOT,
			    .rtm_scope = r->scope,
			    .rtm_type = RTN_UNICAST,
			    .rtm_flags = r->flags };
	struct nl_msg m;
	size_t nest;

	nl_begin(&m, RTM_NEWROUTE,
		 (uint16_t)(NLM_F_CREATE | (replace ? NLM_F_REPLACE : NLM_F_EXCL)), &rt,
		 sizeof(rt));
	if (r->dst.family)
		nl_attr(&m, RTA_DST, r->dst.bytes, ip_len(&r->dst));
	if (r->from.family)
		nl_attr(&m, RTA_SRC, r->from.bytes, ip_len(&r->from));
	if (r->source.family)
		nl_attr(&m, RTA_PREFSRC, r->source.bytes, ip_len(&r->source));
	if (r->gateway.family)
		nl_attr(&m, RTA_GATEWAY, r->gateway.bytes, ip_len(&r->gateway));
	nl_attr_u32(&m, RTA_OIF, (uint32_t)r->index);
	if (r->mtu) {
		nest = nl_nest(&m, RTA_METRICS);
		nl_attr_u32(&m, RTAX_MTU, r->mtu);
		nl_nest_end(&m, nest);
	}
	return nl_request(nl, &m);
}
