/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Netlink messages: what is built never overflows, what is read never leaves its message.
 */
#include "linux/netlink.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "linux/ip.h"
#include "linux/link.h"

Test(netlink, builds_aligned_attributes)
{
	struct ifinfomsg ifi = { .ifi_index = 7 };
	const struct nlattr *tb[IFLA_MTU + 1];
	char name[IFNAMSIZ];
	struct nl_msg m;

	nl_begin(&m, RTM_NEWLINK, NLM_F_CREATE, &ifi, sizeof(ifi));
	nl_attr_str(&m, IFLA_IFNAME, "eth0"); /* 5 bytes: padding follows */
	nl_attr_u32(&m, IFLA_MTU, 1400);
	cr_assert_not(m.bad);
	cr_assert_eq(m.h.nlmsg_flags, NLM_F_REQUEST | NLM_F_CREATE);
	cr_assert_eq(m.h.nlmsg_len, 16 + 16 + 12 + 8);
	nl_parse(&m.h, sizeof(ifi), tb, IFLA_MTU);
	nl_str(tb[IFLA_IFNAME], name, sizeof(name));
	cr_assert_str_eq(name, "eth0");
	cr_assert_eq(nl_u32(tb[IFLA_MTU], 0), 1400);
	cr_assert_null(tb[IFLA_ADDRESS]);
}

Test(netlink, nests)
{
	struct rtmsg rt = { 0 };
	const struct nlattr *tb[RTA_TABLE + 1], *in[RTAX_MTU + 1];
	struct nl_msg m;
	size_t nest;

	nl_begin(&m, RTM_NEWROUTE, 0, &rt, sizeof(rt));
	nest = nl_nest(&m, RTA_METRICS);
	nl_attr_u32(&m, RTAX_MTU, 1280);
	nl_nest_end(&m, nest);
	nl_attr_u32(&m, RTA_OIF, 3);
	nl_parse(&m.h, sizeof(rt), tb, RTA_TABLE);
	cr_assert_not_null(tb[RTA_METRICS]);
	cr_assert_eq(nl_len(tb[RTA_METRICS]), 8);
	nl_parse_nested(tb[RTA_METRICS], in, RTAX_MTU);
	cr_assert_eq(nl_u32(in[RTAX_MTU], 0), 1280);
	cr_assert_eq(nl_u32(tb[RTA_OIF], 0), 3);
}

/* A nest that ends in padding must not claim more than the message has. */
Test(netlink, nest_with_padding)
{
	const struct nlattr *tb[2];
	struct nl_msg m;
	size_t nest;

	nl_begin(&m, 1, 0, "", 0);
	nest = nl_nest(&m, 1);
	nl_attr_str(&m, 1, "veth");
	nl_nest_end(&m, nest);
	cr_assert_eq(m.h.nlmsg_len % 4, 0);
	nl_parse(&m.h, 0, tb, 1);
	cr_assert_not_null(tb[1]);
}

/* CVE-2021-43784: a length that wraps turns payload into attributes. */
Test(netlink, refuses_what_does_not_fit)
{
	size_t size = UINT16_MAX + 1u;
	char *big = calloc(1, size);
	struct nl nl = { .fd = -1 };
	struct nl_msg m;

	cr_assert_not_null(big);
	nl_begin(&m, RTM_NEWLINK, 0, "", 0);
	nl_attr(&m, 1, big, size);
	cr_assert(m.bad);
	cr_assert_eq(nl_request(&nl, &m), -EMSGSIZE);
	nl_begin(&m, RTM_NEWLINK, 0, "", 0);
	for (int i = 0; i < 1000; i++)
		nl_attr(&m, 1, big, 100);
	cr_assert(m.bad);
	cr_assert_leq(m.h.nlmsg_len, NL_MSG_MAX);
	nl_attr_u32(&m, 1, 1);
	cr_assert(m.bad, "once bad, always bad");
	nl_begin(&m, RTM_NEWLINK, 0, "", 0);
	nl_attrs_copy(&m, big, NL_MSG_MAX);
	cr_assert(m.bad);
	free(big);
}

/* A message in memory of exactly its size, so that ASan sees one byte too far. */
static struct nlmsghdr *message(const void *attrs, size_t len, uint32_t claimed)
{
	struct nlmsghdr *h = malloc(NLMSG_HDRLEN + len);

	cr_assert_not_null(h);
	*h = (struct nlmsghdr){ .nlmsg_len = claimed };
	if (len)
		(void)memcpy(h + 1, attrs, len);
	return h;
}

Test(netlink, stays_inside_hostile_messages)
{
	const struct nlattr *tb[8];
	struct nlattr lies[2] = { { .nla_len = 4, .nla_type = 1 },
				  { .nla_len = 200, .nla_type = 2 } };
	struct nlmsghdr *h = message(lies, sizeof(lies), NLMSG_HDRLEN + sizeof(lies));

	nl_parse(h, 0, tb, 7);
	cr_assert_not_null(tb[1]);
	cr_assert_eq(nl_len(tb[1]), 0);
	cr_assert_eq(nl_u32(tb[1], 42), 42, "too short for a number");
	cr_assert_null(tb[2], "longer than its message");
	nl_parse(h, 4096, tb, 7);
	cr_assert_null(tb[1], "header longer than the message");
	cr_assert_null(nl_head(h, 64));
	free(h);

	lies[0].nla_len = 0; /* would never advance */
	h = message(lies, sizeof(lies), NLMSG_HDRLEN + sizeof(lies));
	nl_parse(h, 0, tb, 7);
	cr_assert_null(tb[1]);
	free(h);

	lies[0] = (struct nlattr){ .nla_len = 4, .nla_type = 0x3fff };
	h = message(lies, sizeof(lies[0]), NLMSG_HDRLEN + sizeof(lies[0]));
	nl_parse(h, 0, tb, 7);
	for (size_t i = 0; i < 8; i++)
		cr_assert_null(tb[i]);
	free(h);
}

Test(netlink, walks_only_whole_messages)
{
	struct nlmsghdr two[2] = { { .nlmsg_len = NLMSG_HDRLEN },
				   { .nlmsg_len = NLMSG_HDRLEN + 1 } };
	struct buf dump = { 0 };
	const struct nlmsghdr *h;

	cr_assert_null(nl_next(&dump, NULL));
	cr_assert_eq(buf_append(&dump, two, sizeof(two)), 0);
	h = nl_next(&dump, NULL);
	cr_assert_not_null(h);
	cr_assert_null(nl_next(&dump, h), "the second claims a byte too many");
	buf_free(&dump);
	two[0].nlmsg_len = 3;
	dump = (struct buf){ 0 };
	cr_assert_eq(buf_append(&dump, two, sizeof(two)), 0);
	cr_assert_null(nl_next(&dump, NULL));
	buf_free(&dump);
}

Test(netlink, cuts_long_names)
{
	struct nl_msg m;
	const struct nlattr *tb[2];
	char name[4];

	nl_begin(&m, 1, 0, "", 0);
	nl_attr_str(&m, 1, "longer");
	nl_parse(&m.h, 0, tb, 1);
	nl_str(tb[1], name, sizeof(name));
	cr_assert_str_eq(name, "lon");
	nl_str(NULL, name, sizeof(name));
	cr_assert_str_eq(name, "");
}

Test(netlink, lists_the_loopback)
{
	struct nl nl = { .fd = FD_NONE };
	struct link *links;
	const struct link *lo;
	char text[LINK_ADDR_TEXT];
	size_t n;

	cr_assert_eq(nl_open(&nl, NETLINK_ROUTE), 0);
	cr_assert_eq(links_get(&nl, &links, &n), 0);
	lo = links_by_name(links, n, "lo");
	cr_assert_not_null(lo);
	cr_assert_str_eq(link_addr_text(lo, text), "", "all zero");
	cr_assert_null(links_by_addr(links, n, ""), "no address is no key");
	cr_assert_eq(links_by_index(links, n, lo->index), lo);
	free(links);
	nl_close(&nl);
}

Test(netlink, hardware_addresses)
{
	static const char *const bad[] = { "",
					   "aa",
					   "aa:bb:cc:dd:ee",
					   "aa:bb:cc:dd:ee:f",
					   "aa:bb:cc:dd:ee:ff:",
					   "aa-bb-cc-dd-ee-ff",
					   "gg:bb:cc:dd:ee:ff",
					   "aa:bb:cc:dd:ee:ff:00" };
	char endless[200];
	uint8_t addr[LINK_ADDR_MAX];
	size_t len;

	cr_assert_eq(link_addr_parse("02:00:CA:fe:00:01", addr, &len), 0);
	cr_assert_eq(len, 6);
	cr_assert_eq(memcmp(addr, "\x02\x00\xca\xfe\x00\x01", 6), 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		cr_assert_eq(link_addr_parse(bad[i], addr, &len), -EINVAL, "%s", bad[i]);
	for (size_t i = 0; i < sizeof(endless); i++)
		endless[i] = i % 3 == 2 ? ':' : 'a';
	endless[sizeof(endless) - 1] = '\0';
	cr_assert_eq(link_addr_parse(endless, addr, &len), -EINVAL);
}

Test(ip, parses)
{
	static const char *const bad[] = { "",
					   "10.0.0",
					   "10.0.0.1/33",
					   "10.0.0.1/",
					   "10.0.0.1/-1",
					   "fd00::1/129",
					   "10.0.0.1/255.255.255.0",
					   "x/24",
					   "10.0.0.1/0024" };
	struct ip ip;
	char text[IP_TEXT];

	cr_assert_eq(ip_parse_cidr("192.168.0.144/16", &ip), 0);
	ip_mask(&ip);
	cr_assert_str_eq(ip_cidr(&ip, text), "192.168.0.0/16");
	cr_assert_eq(ip_parse("::ffff:10.1.2.3", &ip), 0);
	cr_assert_eq(ip.family, AF_INET);
	cr_assert_str_eq(ip_cidr(&ip, text), "10.1.2.3/32");
	cr_assert_eq(ip_parse_masked("fd00:0::1", "64", &ip), 0);
	cr_assert_str_eq(ip_cidr(&ip, text), "fd00::1/64");
	ip_mask(&ip);
	cr_assert_str_eq(ip_text(&ip, text), "fd00::");
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		cr_assert_eq(ip_parse_cidr(bad[i], &ip), -EINVAL, "%s", bad[i]);
	ip = (struct ip){ 0 };
	cr_assert_str_eq(ip_cidr(&ip, text), "");
}

Test(ip, broadcasts)
{
	struct ip ip;
	uint8_t b[4];

	cr_assert_eq(ip_parse_cidr("10.1.2.3/20", &ip), 0);
	ip_broadcast(&ip, b);
	cr_assert_eq(memcmp(b, "\x0a\x01\x0f\xff", 4), 0);
	cr_assert_eq(ip_parse_cidr("10.1.2.3/32", &ip), 0);
	ip_broadcast(&ip, b);
	cr_assert_eq(memcmp(b, "\x0a\x01\x02\x03", 4), 0);
}
