/* SPDX-License-Identifier: Apache-2.0 */
// libs: -lprotobuf-c
/*
 * The network handlers against the kernel, in a network namespace of the test's own with a cable between two links
 * (T27 to T30, and what a replacement does better). Skipped where namespaces are refused.
 */
#include "svc/svc.h"

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <time.h>

#include "linux/rtnl.h"
#include "test_guest_harness.h"

static struct rtnl nl;

#define MAC_A "02:00:ca:fe:00:01"
#define MAC_B "02:00:ca:fe:00:02"

static void set_mac(const char *name, const char *mac)
{
	AUTO_FREE struct link *links = NULL;
	uint8_t addr[LINK_ADDR_MAX];
	size_t n, len;

	cr_assert_eq(links_get(&nl, &links, &n), 0);
	cr_assert_eq(link_addr_parse(mac, addr, &len), 0);
	cr_assert_eq(link_set_addr(&nl, links_by_name(links, n, name)->index, addr, len), 0);
}

/* The two ends of a cable: more kernels have it than dummy links. */
static void add_cable(const char *name, const char *peer)
{
	struct ifinfomsg ifi = { .ifi_family = AF_UNSPEC };
	struct nlattr *info, *data, *end;
	struct nlmsghdr *h;
	int r;

	h = rtnl_begin(&nl, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &ifi, sizeof(ifi));
	rtnl_put(&nl, IFLA_IFNAME, name, strlen(name) + 1);
	info = mnl_attr_nest_start_check(h, RTNL_BUF, IFLA_LINKINFO);
	rtnl_put(&nl, IFLA_INFO_KIND, "veth", 5);
	data = mnl_attr_nest_start_check(h, RTNL_BUF, IFLA_INFO_DATA);
	end = mnl_attr_nest_start_check(h, RTNL_BUF, VETH_INFO_PEER);
	(void)mnl_nlmsg_put_extra_header(h, sizeof(ifi));
	rtnl_put(&nl, IFLA_IFNAME, peer, strlen(peer) + 1);
	mnl_attr_nest_end(h, end);
	mnl_attr_nest_end(h, data);
	mnl_attr_nest_end(h, info);
	r = rtnl_request(&nl);
	if (r == -EOPNOTSUPP)
		cr_skip_test("the kernel has no veth links");
	cr_assert_eq(r, 0, "%s", strerror(-r));
}

static void setup(void)
{
	struct err err;

	if (unshare(CLONE_NEWNET) < 0)
		cr_skip_test("needs a network namespace");
	harness_start();
	cr_assert_eq(rtnl_open(&nl), 0);
	cr_assert_eq(link_up("lo", &err), 0);
	add_cable("dum0", "dum1");
	set_mac("dum0", MAC_A);
	set_mac("dum1", MAC_B);
}

static void teardown(void)
{
	rtnl_close(&nl);
	harness_stop();
}

TestSuite(net, .init = setup, .fini = teardown, .timeout = 20);

static Types__IPAddress ip(const char *address, const char *mask)
{
	Types__IPAddress a = TYPES__IPADDRESS__INIT;

	a.address = (char *)(uintptr_t)address;
	a.mask = (char *)(uintptr_t)mask;
	return a;
}

static Types__Interface iface(const char *name, const char *mac, uint64_t mtu)
{
	Types__Interface i = TYPES__INTERFACE__INIT;

	i.device = (char *)(uintptr_t)name;
	i.name = (char *)(uintptr_t)name;
	i.hwaddr = (char *)(uintptr_t)mac;
	i.mtu = mtu;
	return i;
}

static int update(enum schema schema, Types__Interface *i)
{
	Grpc__UpdateInterfaceRequest req = GRPC__UPDATE_INTERFACE_REQUEST__INIT;

	req.interface = i;
	return ask(svc_update_interface, schema, &req);
}

static const struct link *find(struct link **links, const char *mac)
{
	size_t n;

	free(*links);
	cr_assert_eq(links_get(&nl, links, &n), 0);
	return links_by_addr(*links, n, mac);
}

static bool has_address(int index, const char *cidr)
{
	AUTO_FREE struct addr *a = NULL;
	char text[IP_TEXT];
	bool has = false;
	size_t n;

	cr_assert_eq(addrs_get(&nl, &a, &n), 0);
	for (size_t i = 0; i < n; i++)
		has |= a[i].index == index && strcmp(ip_cidr(&a[i].ip, text), cidr) == 0;
	return has;
}

Test(net, update_interface)
{
	Types__IPAddress v4 = ip("192.168.0.2", "16"), v6 = ip("fd00:1::2", "64"),
			 other = ip("10.9.9.9", "32");
	Types__IPAddress *first[] = { &v4, &v6 }, *second[] = { &other };
	Types__Interface i = iface("eth0", MAC_A, 1400), *same;
	AUTO_FREE struct link *links = NULL, *later = NULL;
	const struct link *link;

	i.ipaddresses = first;
	i.n_ipaddresses = access("/proc/net/if_inet6", F_OK) == 0 ? 2 : 1;
	cr_assert_eq(update(SCHEMA_1X, &i), RPC_OK, "%s", message);
	same = answer_as(&types__interface__descriptor);
	cr_assert_str_eq(same->name, "eth0");
	cr_assert_eq(same->n_ipaddresses, i.n_ipaddresses);
	types__interface__free_unpacked(same, NULL);
	link = find(&links, MAC_A);
	cr_assert_str_eq(link->name, "eth0");
	cr_assert_eq(link->mtu, 1400);
	cr_assert(link->flags & IFF_UP);
	cr_assert(has_address(link->index, "192.168.0.2/16"));
	if (i.n_ipaddresses == 2)
		cr_assert(has_address(link->index, "fd00:1::2/64"));

	/* Again, upper case, other addresses: the old ones are gone. */
	i.hwaddr = (char *)(uintptr_t) "02:00:CA:FE:00:01";
	i.ipaddresses = second;
	i.n_ipaddresses = 1;
	i.raw_flags = IFF_NOARP;
	cr_assert_eq(update(SCHEMA_1X, &i), RPC_OK, "%s", message);
	link = find(&later, MAC_A);
	cr_assert_not(has_address(link->index, "192.168.0.2/16"));
	cr_assert(has_address(link->index, "10.9.9.9/32"));
	cr_assert(link->flags & IFF_NOARP);
}

Test(net, update_interface_3x_keeps_addresses_and_sets_mac)
{
	Types__IPAddress a = ip("10.1.0.1", "24"), b = ip("10.2.0.1", "24");
	Types__IPAddress *one[] = { &a }, *two[] = { &a, &b };
	Types__Interface i = iface("dum0", MAC_A, 1500);
	AUTO_FREE struct link *links = NULL, *later = NULL;

	i.ipaddresses = one;
	i.n_ipaddresses = 1;
	cr_assert_eq(update(SCHEMA_3X, &i), RPC_OK, "%s", message);
	i.ipaddresses = two;
	i.n_ipaddresses = 2;
	cr_assert_eq(update(SCHEMA_3X, &i), RPC_OK, "%s", message);
	cr_assert(has_address(find(&links, MAC_A)->index, "10.1.0.1/24"));
	cr_assert(has_address(find(&later, MAC_A)->index, "10.2.0.1/24"));
	/* A guest from a template: the named card is unused, it gets the address. */
	i.name = (char *)(uintptr_t) "dum1";
	i.hwaddr = (char *)(uintptr_t) "02:00:00:00:00:99";
	cr_assert_eq(update(SCHEMA_3X, &i), RPC_OK, "%s", message);
	cr_assert_str_eq(find(&later, i.hwaddr)->name, "dum1");
}

/* What no card has: Go hosts since 3.23 call again when they read this, and only then. */
Test(net, link_not_found)
{
	Types__IPAddress a = ip("10.1.0.1", "24");
	Types__IPAddress *one[] = { &a };
	Types__Interface i = iface("dum0", MAC_A, 1500);
	AUTO_FREE struct link *links = NULL;

	i.ipaddresses = one;
	i.n_ipaddresses = 1;
	cr_assert_eq(update(SCHEMA_3X, &i), RPC_OK, "%s", message);
	i.hwaddr = (char *)(uintptr_t) "02:00:00:00:00:99";
	i.name = (char *)(uintptr_t) "eth7";
	cr_assert_eq(update(SCHEMA_3X, &i), RPC_INTERNAL);
	cr_assert_not_null(strstr(message, "Link not found"), "%s", message);
	/* The card of that name has been set up with its own address: it is another one. */
	i.name = (char *)(uintptr_t) "dum0";
	cr_assert_eq(update(SCHEMA_3X, &i), RPC_INTERNAL);
	cr_assert_not_null(strstr(message, "Link not found"), "%s", message);
	i.name = (char *)(uintptr_t) "lo";
	cr_assert_eq(update(SCHEMA_3X, &i), RPC_INTERNAL);
	cr_assert_not_null(strstr(message, "Link not found"), "%s", message);
	cr_assert_str_eq(find(&links, MAC_A)->name, "dum0");
	cr_assert_str_eq(find(&links, MAC_B)->name, "dum1");
}

/* A sysfs in which the card of that name sits in slot 5. */
static void slot_five(char dir[], const char *name)
{
	char path[128], link[128];
	FILE *f;

	cr_assert_not_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/devices/pci0000:00/0000:00:05.0/virtio0/net/%s", dir,
		       name);
	cr_assert_eq(fdio_mkdirs(path, 0755), 0);
	(void)strcat(path, "/uevent");
	f = fopen(path, "we");
	cr_assert_not_null(f);
	cr_assert_gt(fprintf(f, "INTERFACE=%s\nIFINDEX=9\n", name), 0);
	cr_assert_eq(fclose(f), 0);
	(void)snprintf(link, sizeof(link), "../../devices/pci0000:00/0000:00:05.0/virtio0/net/%s",
		       name);
	(void)snprintf(path, sizeof(path), "%s/class/net", dir);
	cr_assert_eq(fdio_mkdirs(path, 0755), 0);
	(void)snprintf(path, sizeof(path), "%s/class/net/%s", dir, name);
	cr_assert_eq(symlink(link, path), 0);
	uevents_free(agent.uevents);
	cr_assert_eq(uevents_new_at(agent.loop, agent.reaper, dir, dir, &agent.uevents), 0);
}

/* 3.x means the card at the path, whatever its name and address were, and even if it is in use. */
Test(net, the_card_at_the_path)
{
	char dir[] = "/tmp/test_netlink.XXXXXX";
	Types__Interface i = iface("dum0", "02:00:00:00:00:99", 1500);
	AUTO_FREE struct link *links = NULL, *later = NULL;
	int a, b;

	a = find(&links, MAC_A)->index;
	b = find(&links, MAC_B)->index;
	slot_five(dir, "dum1");
	i.pcipath = (char *)(uintptr_t) "05/00";
	cr_assert_neq(update(SCHEMA_3X, &i), RPC_OK, "nothing there");
	i.pcipath = (char *)(uintptr_t) "05";
	cr_assert_eq(update(SCHEMA_3X, &i), RPC_OK, "%s", message);
	cr_assert_eq(find(&links, i.hwaddr)->index, b, "dum1 is in slot 5");
	cr_assert_str_eq(find(&links, i.hwaddr)->name, "dum0");
	cr_assert_eq(find(&later, MAC_A)->index, a, "the other one keeps its address");
	cr_assert_str_eq(find(&later, MAC_A)->name, "dum1", "and gives its name");

	/* 1.x waits for the path and then goes by address. */
	(void)fdio_remove_tree(AT_FDCWD, dir);
	(void)snprintf(dir, sizeof(dir), "/tmp/test_netlink.XXXXXX");
	slot_five(dir, "dum0");
	i.hwaddr = (char *)(uintptr_t) "02:00:00:00:00:98";
	cr_assert_eq(update(SCHEMA_1X, &i), RPC_INTERNAL);
	cr_assert_not_null(
		strstr(message, "Could not find the link corresponding to HwAddr \"02:00"), "%s",
		message);
	i.hwaddr = (char *)(uintptr_t)MAC_A;
	cr_assert_eq(update(SCHEMA_1X, &i), RPC_OK, "%s", message);
	cr_assert_eq(find(&links, MAC_A)->index, a);

	/* It was there and has gone: that, too, is to be asked for again. */
	(void)fdio_remove_tree(AT_FDCWD, dir);
	(void)snprintf(dir, sizeof(dir), "/tmp/test_netlink.XXXXXX");
	slot_five(dir, "gone0");
	cr_assert_eq(update(SCHEMA_3X, &i), RPC_INTERNAL);
	cr_assert_not_null(strstr(message, "Link not found"), "%s", message);
	(void)fdio_remove_tree(AT_FDCWD, dir);
}

Test(net, crossed_names_are_swapped)
{
	Types__Interface a = iface("dum1", MAC_A, 1500), b = iface("dum0", MAC_B, 1500);
	AUTO_FREE struct link *links = NULL, *later = NULL;

	cr_assert_eq(update(SCHEMA_1X, &b), RPC_OK, "%s", message); /* the holder is down here, */
	cr_assert_str_eq(find(&links, MAC_A)->name, "dum1");
	a.name = (char *)(uintptr_t) "dum0";
	cr_assert_eq(update(SCHEMA_1X, &a), RPC_OK, "%s", message); /* and up here */
	cr_assert_str_eq(find(&later, MAC_B)->name, "dum1");
	cr_assert(find(&links, MAC_B)->flags & IFF_UP);
}

Test(net, update_interface_refuses)
{
	Grpc__UpdateInterfaceRequest none = GRPC__UPDATE_INTERFACE_REQUEST__INIT;
	Types__IPAddress bad = ip("10.0.0.1", "255.255.255.0");
	Types__IPAddress *addresses[] = { &bad };
	Types__Interface i = iface("eth0", "", 1500);
	AUTO_FREE struct link *links = NULL;

	cr_assert_eq(ask(svc_update_interface, SCHEMA_1X, &none), RPC_INVALID_ARGUMENT);
	cr_assert_eq(update(SCHEMA_1X, &i), RPC_INVALID_ARGUMENT);
	i.hwaddr = (char *)(uintptr_t) "02:00:00:00:00:77";
	cr_assert_eq(update(SCHEMA_1X, &i), RPC_INTERNAL);
	cr_assert_not_null(strstr(message, "Could not find the link corresponding to HwAddr"));
	i = iface("eth0", MAC_A, 10000000000000);
	cr_assert_eq(update(SCHEMA_1X, &i), RPC_INTERNAL);
	cr_assert_not_null(strstr(message, "MTU"), "%s", message);
	cr_assert(find(&links, MAC_A)->flags & IFF_UP, "up even after a failure");
	i = iface("", MAC_A, 1500);
	cr_assert_eq(update(SCHEMA_1X, &i), RPC_INTERNAL);
	i = iface("a-name-that-is-too-long", MAC_A, 1500);
	cr_assert_eq(update(SCHEMA_1X, &i), RPC_INTERNAL);
	i = iface("eth0", MAC_A, 1500);
	i.ipaddresses = addresses;
	i.n_ipaddresses = 1;
	cr_assert_eq(update(SCHEMA_1X, &i), RPC_INTERNAL);
	cr_assert_not_null(strstr(message, "Could not parse"), "%s", message);
}

Test(net, waits_for_a_pci_device)
{
	Types__Interface i = iface("eth0", MAC_A, 1500);

	i.pcipath = (char *)(uintptr_t) "1e/1e/1e/1g";
	cr_assert_eq(update(SCHEMA_1X, &i), RPC_UNKNOWN, "a bad path: %s", message);
	i.pcipath = (char *)(uintptr_t) "1e.5";
	cr_assert_neq(update(SCHEMA_1X, &i), RPC_OK, "no such slot");
	if (access("/sys/bus/pci/rescan", W_OK) == 0 && status == RPC_DEADLINE_EXCEEDED)
		cr_assert_not_null(
			strstr(message, "Timeout reached after 200ms waiting for device"));
}

/* ---- routes ---- */

static Types__Route route(const char *dest, const char *gateway, const char *source, uint32_t scope)
{
	Types__Route r = TYPES__ROUTE__INIT;

	r.dest = (char *)(uintptr_t)dest;
	r.gateway = (char *)(uintptr_t)gateway;
	r.source = (char *)(uintptr_t)source;
	r.device = (char *)(uintptr_t) "dum0";
	r.scope = scope;
	return r;
}

static int set_routes(enum schema schema, Types__Route **routes, size_t n)
{
	Grpc__UpdateRoutesRequest req = GRPC__UPDATE_ROUTES_REQUEST__INIT;
	Grpc__Routes list = GRPC__ROUTES__INIT;

	list.routes = routes;
	list.n_routes = n;
	req.routes = &list;
	return ask(svc_update_routes, schema, &req);
}

/* How many listed routes are so; "" fits only "". */
static int count(const char *dest, const char *gateway, const char *source, int scope)
{
	Grpc__ListRoutesRequest req = GRPC__LIST_ROUTES_REQUEST__INIT;
	Grpc__Routes *list;
	int n = 0;

	cr_assert_eq(ask(svc_list_routes, SCHEMA_1X, &req), RPC_OK, "%s", message);
	list = answer_as(&grpc__routes__descriptor);
	for (size_t i = 0; i < list->n_routes; i++) {
		const Types__Route *r = list->routes[i];

		n += strcmp(r->dest, dest) == 0 && strcmp(r->gateway, gateway) == 0 &&
		     strcmp(r->source, source) == 0 && (scope < 0 || r->scope == (uint32_t)scope) &&
		     strcmp(r->device, "dum0") == 0;
	}
	grpc__routes__free_unpacked(list, NULL);
	return n;
}

static void with_address(void)
{
	Types__IPAddress a = ip("192.168.0.2", "16");
	Types__IPAddress *addresses[] = { &a };
	Types__Interface i = iface("dum0", MAC_A, 1500);

	i.ipaddresses = addresses;
	i.n_ipaddresses = 1;
	cr_assert_eq(update(SCHEMA_1X, &i), RPC_OK, "%s", message);
}

Test(net, routes_a)
{
	Types__Route def = route("", "192.168.0.1", "", 0),
		     net = route("192.168.0.0/16", "", "192.168.0.2", 253);
	Types__Route *routes[] = { &def, &net };
	Grpc__Routes *same;

	with_address();
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(set_routes(SCHEMA_1X, routes, 2), RPC_OK, "%s", message);
		same = answer_as(&grpc__routes__descriptor);
		cr_assert_eq(same->n_routes, 2);
		cr_assert_str_eq(same->routes[0]->gateway, "192.168.0.1", "in the order given");
		grpc__routes__free_unpacked(same, NULL);
		cr_assert_eq(count("", "192.168.0.1", "", 0), 1);
		cr_assert_eq(count("192.168.0.0/16", "", "192.168.0.2", 253), 1);
	}
	cr_assert_eq(set_routes(SCHEMA_1X, NULL, 0), RPC_OK, "an empty list only flushes: %s",
		     message);
	cr_assert_eq(count("", "192.168.0.1", "", -1), 0);
}

Test(net, routes_point_to_point)
{
	Types__Route def = route("default", "192.168.0.1", "", 0);
	Types__Route net = route("192.168.0.144/16", "192.168.0.1", "192.168.0.2", 0);
	Types__Route host = route("192.168.0.1/32", "", "192.168.0.2", 254);
	Types__Route *routes[] = { &def, &net, &host };

	with_address();
	cr_assert_eq(set_routes(SCHEMA_1X, routes, 3), RPC_OK, "%s", message);
	cr_assert_eq(count("192.168.0.0/16", "192.168.0.1", "192.168.0.2", 0), 1,
		     "host bits masked");
	cr_assert_eq(count("192.168.0.1/32", "", "192.168.0.2", 254), 1);
}

Test(net, routes_scope_too_wide)
{
	Types__Route def = route("", "192.168.0.1", "", 0),
		     net = route("192.168.0.0/16", "", "192.168.0.2", 0);
	Types__Route *routes[] = { &def, &net };

	with_address();
	cr_assert_eq(set_routes(SCHEMA_1X, routes, 2), RPC_INTERNAL);
	cr_assert_not_null(strstr(message, "Could not add/replace route"), "%s", message);
	cr_assert_eq(count("192.168.0.0/16", "", "192.168.0.2", 0), 1, "the kernel's was replaced");
}

/* "default dev dum0": the reference cannot delete what it made there. */
Test(net, routes_ipvlan_twice)
{
	Types__Route def = route("", "", "", 253);
	Types__Route *routes[] = { &def };

	with_address();
	for (int i = 0; i < 3; i++)
		cr_assert_eq(set_routes(SCHEMA_1X, routes, 1), RPC_OK, "%s", message);
	cr_assert_eq(count("", "", "", 253), 1);
}

Test(net, routes_ipv6)
{
	Types__IPAddress a = ip("fd00:5::2", "64");
	Types__IPAddress *addresses[] = { &a };
	Types__Interface i = iface("dum0", MAC_A, 1500);
	Types__Route def = route("", "fd00:5::1", "", 0),
		     net = route("fd00:6::1/64", "fd00:5::1", "", 0);
	Types__Route *routes[] = { &net, &def };

	if (access("/proc/net/if_inet6", F_OK) < 0)
		cr_skip_test("no IPv6");
	i.ipaddresses = addresses;
	i.n_ipaddresses = 1;
	cr_assert_eq(update(SCHEMA_1X, &i), RPC_OK, "%s", message);
	for (int k = 0; k < 2; k++)
		cr_assert_eq(set_routes(SCHEMA_1X, routes, 2), RPC_OK, "%s", message);
	cr_assert_eq(count("fd00:6::/64", "fd00:5::1", "", -1), 1);
	cr_assert_eq(count("", "fd00:5::1", "", -1), 1);
}

Test(net, routes_refused)
{
	Grpc__UpdateRoutesRequest none = GRPC__UPDATE_ROUTES_REQUEST__INIT;
	Types__Route bad = route("10.0.0.0", "", "", 0),
		     mixed = route("10.0.0.0/8", "fd00::1", "", 0);
	Types__Route nowhere = route("10.0.0.0/8", "", "", 0);
	Types__Route *routes[] = { &bad };

	cr_assert_eq(ask(svc_update_routes, SCHEMA_1X, &none), RPC_INVALID_ARGUMENT);
	cr_assert_eq(set_routes(SCHEMA_1X, routes, 1), RPC_INTERNAL);
	cr_assert_not_null(strstr(message, "Could not parse route destination"), "%s", message);
	routes[0] = &mixed;
	cr_assert_eq(set_routes(SCHEMA_1X, routes, 1), RPC_INTERNAL);
	cr_assert_not_null(strstr(message, "not the same IP family"), "%s", message);
	nowhere.device = (char *)(uintptr_t) "nosuch";
	routes[0] = &nowhere;
	cr_assert_eq(set_routes(SCHEMA_1X, routes, 1), RPC_INTERNAL);
	cr_assert_not_null(strstr(message, "Could not find link from device"), "%s", message);
}

/* Blackhole and multipath routes crash the reference; other tables are not ours. */
Test(net, strange_routes_are_flushed)
{
	struct rtmsg rt = { .rtm_family = AF_INET,
			    .rtm_dst_len = 24,
			    .rtm_table = RT_TABLE_MAIN,
			    .rtm_protocol = RTPROT_STATIC,
			    .rtm_type = RTN_BLACKHOLE };
	AUTO_FREE struct link *links = NULL;
	AUTO_FREE struct route *have = NULL;
	struct buf dump = { 0 };
	size_t n;
	struct {
		struct rtnexthop hop;
		struct nlattr gw;
		uint8_t addr[4];
	} hops[2];
	const struct link *link;

	with_address();
	link = find(&links, MAC_A);
	(void)rtnl_begin(&nl, RTM_NEWROUTE, NLM_F_CREATE, &rt, sizeof(rt));
	rtnl_put(&nl, RTA_DST, "\x0a\x05\x05\x00", 4);
	cr_assert_eq(rtnl_request(&nl), 0);
	rt.rtm_type = RTN_UNICAST;
	(void)rtnl_begin(&nl, RTM_NEWROUTE, NLM_F_CREATE, &rt, sizeof(rt));
	rtnl_put(&nl, RTA_DST, "\x0a\x06\x06\x00", 4);
	for (uint8_t i = 0; i < 2; i++) {
		hops[i].hop = (struct rtnexthop){ .rtnh_len = sizeof(hops[i]),
						  .rtnh_ifindex = link->index };
		hops[i].gw = (struct nlattr){ .nla_len = 8, .nla_type = RTA_GATEWAY };
		(void)memcpy(hops[i].addr, (uint8_t[]){ 192, 168, 0, (uint8_t)(10 + i) }, 4);
	}
	rtnl_put(&nl, RTA_MULTIPATH, hops, sizeof(hops));
	cr_assert_eq(rtnl_request(&nl), 0);
	cr_assert_eq(set_routes(SCHEMA_1X, NULL, 0), RPC_OK, "%s", message);
	cr_assert_eq(routes_get(&nl, &dump, &have, &n), 0);
	for (size_t i = 0; i < n; i++)
		cr_assert_eq(have[i].protocol, RTPROT_KERNEL);
	buf_free(&dump);
}

Test(net, routes_3x_keep_and_list)
{
	Types__Route a = route("10.7.0.0/16", "", "192.168.0.2/0", 253),
		     b = route("10.8.0.0/16", "", "", 253);
	Types__Route *one[] = { &a }, *two[] = { &b };
	Grpc__Routes *now;

	with_address();
	cr_assert_eq(set_routes(SCHEMA_3X, one, 1), RPC_OK, "%s", message);
	cr_assert_eq(set_routes(SCHEMA_3X, two, 1), RPC_OK, "%s", message);
	cr_assert_eq(set_routes(SCHEMA_3X, two, 1), RPC_OK, "again: %s", message);
	now = answer_as(&grpc__routes__descriptor);
	cr_assert_geq(now->n_routes, 3);
	grpc__routes__free_unpacked(now, NULL);
	cr_assert_eq(count("10.7.0.0/16", "", "192.168.0.2", 253), 1);
	cr_assert_eq(count("10.8.0.0/16", "", "", 253), 1);
	/* The host alone; a gateway that is none would make it another route. */
	a.dest = (char *)(uintptr_t) "10.9.0.1";
	a.source = (char *)(uintptr_t) "";
	cr_assert_eq(set_routes(SCHEMA_3X, one, 1), RPC_OK, "%s", message);
	cr_assert_eq(count("10.9.0.1/32", "", "", 253), 1);
	a.gateway = (char *)(uintptr_t) "nobody";
	cr_assert_eq(set_routes(SCHEMA_3X, one, 1), RPC_INTERNAL);
	cr_assert_not_null(strstr(message, "Could not parse route gateway"), "%s", message);
	b.mtu = 1300;
	b.flags = RTNH_F_LINKDOWN; /* what the host saw is no wish */
	cr_assert_eq(set_routes(SCHEMA_3X, two, 1), RPC_OK, "%s", message);
	now = answer_as(&grpc__routes__descriptor);
	for (size_t i = 0; i < now->n_routes; i++) {
		if (strcmp(now->routes[i]->dest, "10.8.0.0/16") == 0)
			cr_assert_eq(now->routes[i]->mtu, 1300);
	}
	grpc__routes__free_unpacked(now, NULL);
}

/* ---- the rest ---- */

Test(net, list_interfaces)
{
	Grpc__ListInterfacesRequest req = GRPC__LIST_INTERFACES_REQUEST__INIT;
	Grpc__Interfaces *list;
	bool seen = false, lo = false;

	with_address();
	cr_assert_eq(ask(svc_list_interfaces, SCHEMA_1X, &req), RPC_OK, "%s", message);
	list = answer_as(&grpc__interfaces__descriptor);
	for (size_t i = 0; i < list->n_interfaces; i++) {
		const Types__Interface *it = list->interfaces[i];

		if (strcmp(it->name, "lo") == 0) {
			lo = true;
			cr_assert_str_eq(it->hwaddr, "");
		}
		if (strcmp(it->hwaddr, MAC_A) != 0)
			continue;
		seen = true;
		cr_assert_eq(it->mtu, 1500);
		cr_assert_geq(it->n_ipaddresses, 1);
		cr_assert_str_eq(it->ipaddresses[0]->address, "192.168.0.2");
		cr_assert_str_eq(it->ipaddresses[0]->mask, "16");
		cr_assert_eq(it->ipaddresses[0]->family, TYPES__IPFAMILY__v4);
	}
	grpc__interfaces__free_unpacked(list, NULL);
	cr_assert(seen && lo);
}

static int add_neighbor(enum schema schema, const char *device, const char *address,
			const char *lladdr, int state)
{
	Grpc__AddARPNeighborsRequest req = GRPC__ADD_ARPNEIGHBORS_REQUEST__INIT;
	Grpc__ARPNeighbors list = GRPC__ARPNEIGHBORS__INIT;
	Types__ARPNeighbor n = TYPES__ARPNEIGHBOR__INIT, *all[] = { &n };
	Types__IPAddress a = ip(address ? address : "", "");

	n.device = (char *)(uintptr_t)device;
	n.lladdr = (char *)(uintptr_t)lladdr;
	n.toipaddress = address ? &a : NULL;
	n.state = state;
	list.arpneighbors = all;
	list.n_arpneighbors = 1;
	req.neighbors = &list;
	return ask(svc_add_arp_neighbors, schema, &req);
}

Test(net, neighbors)
{
	Grpc__AddARPNeighborsRequest none = GRPC__ADD_ARPNEIGHBORS_REQUEST__INIT;
	char table[4096];
	FILE *f;

	with_address();
	cr_assert_eq(
		add_neighbor(SCHEMA_1X, "dum0", "192.168.0.9", "6a:92:3a:59:70:aa", NUD_PERMANENT),
		RPC_OK, "%s", message);
	f = fopen("/proc/net/arp", "re");
	cr_assert_not_null(f);
	table[fread(table, 1, sizeof(table) - 1, f)] = '\0';
	(void)fclose(f);
	cr_assert_not_null(strstr(table, "192.168.0.9"));
	cr_assert_not_null(strstr(table, "6a:92:3a:59:70:aa"));
	cr_assert_eq(
		add_neighbor(SCHEMA_1X, "dum0", "192.168.0.9", "6a:92:3a:59:70:aa", NUD_PERMANENT),
		RPC_INTERNAL, "exists");
	cr_assert_eq(add_neighbor(SCHEMA_3X, "dum0", "192.168.0.9", "6a:92:3a:59:70:ab", 0), RPC_OK,
		     "%s", message);
	cr_assert_eq(ask(svc_add_arp_neighbors, SCHEMA_1X, &none), RPC_INVALID_ARGUMENT);
	cr_assert_eq(add_neighbor(SCHEMA_1X, "dum0", NULL, "6a:92:3a:59:70:aa", 128),
		     RPC_INVALID_ARGUMENT);
	cr_assert_eq(add_neighbor(SCHEMA_1X, "nosuch", "192.168.0.8", "6a:92:3a:59:70:aa", 128),
		     RPC_INTERNAL);
	cr_assert_eq(add_neighbor(SCHEMA_1X, "dum0", "192.168.0", "6a:92:3a:59:70:aa", 128),
		     RPC_INTERNAL);
	cr_assert_eq(add_neighbor(SCHEMA_1X, "dum0", "192.168.0.8", "6a:92", 128), RPC_INTERNAL);
}

static char told[DEV_NAME_MAX];

static void tell(struct uevent_wait *w, const char *name)
{
	(void)w;
	(void)snprintf(told, sizeof(told), "%s", name ? name : "");
	loop_stop(agent.loop);
}

static void plug(struct timer *t)
{
	(void)t;
	add_cable("dum7", "dum8");
}

/* A link that appears is an event of the kernel's in this very namespace. */
Test(net, events_come_from_the_kernel)
{
	struct dev_match m = { .subsystem = "net", .name = "dum7" };
	struct uevent_wait w = { .u = NULL };
	struct timer t = { .loop = NULL };
	struct uevents *u;
	int64_t start;

	harness_own_run();
	cr_assert_eq(mkdir("/run/sys", 0700), 0);
	if (mount("sysfs", "/run/sys", "sysfs", 0, NULL) < 0)
		cr_skip_test("needs a sysfs of its own");
	cr_assert_eq(uevents_new_at(agent.loop, agent.reaper, "/run/sys", "/dev", &u), 0);
	uevent_wait(u, &w, &m, 5000, tell);
	timer_set(agent.loop, &t, 20, plug);
	start = loop_now_ms();
	cr_assert_eq(loop_run(agent.loop), 0);
	cr_assert_str_eq(told, "dum7");
	cr_assert_lt(loop_now_ms() - start, 1000, "told by the event, not by the last look");
	uevents_free(u);
}

/* Each of these routes is there already, the kernel's own: that was a dump for each. */
Test(net, many_routes_that_exist)
{
	enum { N = 1000 };
	static char text[N][2][24];
	static Types__IPAddress a[N];
	static Types__IPAddress *addresses[N + 25];
	static Types__Route r[N];
	static Types__Route *routes[N];
	Types__Interface i = iface("dum0", MAC_A, 1500);
	struct timespec from, to;
	double seconds;

	for (int k = 0; k < N; k++) {
		(void)snprintf(text[k][0], sizeof(text[k][0]), "10.%d.%d.1", k / 250, k % 250);
		(void)snprintf(text[k][1], sizeof(text[k][1]), "10.%d.%d.0/24", k / 250, k % 250);
		a[k] = ip(text[k][0], "24");
		addresses[k] = &a[k];
		r[k] = route(text[k][1], "", text[k][0], 253);
		routes[k] = &r[k];
	}
	i.ipaddresses = addresses;
	i.n_ipaddresses = N;
	cr_assert_eq(update(SCHEMA_1X, &i), RPC_OK, "%s", message);
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
	cr_assert_eq(set_routes(SCHEMA_1X, routes, N), RPC_OK, "%s", message);
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
	seconds = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
	cr_assert_lt(seconds, 1.0, "%.2f s of CPU time", seconds);
	cr_assert_eq(count(text[N - 1][1], "", text[N - 1][0], 253), 1);
	/* The same again, and each of one route several times: the last one stays. */
	routes[1] = routes[2] = routes[0];
	cr_assert_eq(set_routes(SCHEMA_1X, routes, 4), RPC_OK, "%s", message);
	cr_assert_eq(count(text[0][1], "", text[0][0], 253), 1);
	/* Above the bound nothing is touched. */
	for (int k = N; k < N + 25; k++)
		addresses[k] = &a[0];
	i.n_ipaddresses = N + 25;
	cr_assert_eq(update(SCHEMA_1X, &i), RPC_INVALID_ARGUMENT);
	cr_assert_str_eq(message, "1025 addresses, more than 1024");
}
