/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's network. No state: each call opens a netlink socket, and the kernel answers at once.
 * Only UpdateInterface may wait, for a plugged interface.
 */
#include "svc/svc.h"

#include <errno.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/auto.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/str.h"
#include "pod/agent.h"
#include "config.h"
#include "linux/devfind.h"
#include "linux/ip.h"
#include "linux/rtnl.h"

/* The status that all failures of the kernel have here. */
static int net_err(struct err *err, int r, const char *what, const char *name)
{
	return err_rpc(err, RPC_INTERNAL, "%s %s: %s", what, name, strerror(-r));
}

static int open_route(struct rtnl *nl, struct err *err)
{
	int r = rtnl_open(nl);

	return r < 0 ? net_err(err, r, "Could not open", "rtnetlink") : 0;
}

static int get_links(struct rtnl *nl, struct link **links, size_t *n, struct err *err)
{
	int r = links_get(nl, links, n);

	return r < 0 ? net_err(err, r, "Could not list", "interfaces") : 0;
}

/*
 * Is IPv6 switched off for this link? Then its v6 addresses cannot be set, and 3.x leaves them out.
 */
static bool has_ipv6(const char *name)
{
	char path[64 + IFNAMSIZ], text[8] = "";
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
	f = fopen(path, "re");
	if (!f)
		return false;
	if (!fgets(text, sizeof(text), f))
		text[0] = '1';
	(void)fclose(f);
	return text[0] == '0';
}

static int set_addresses(struct rtnl *nl, enum schema schema, const struct link *link,
			 const Types__Interface *want, struct err *err)
{
	int r;

	/* 3.x adds to what is there. */
	if (schema == SCHEMA_1X) {
		r = addrs_flush(nl, link->index);
		if (r < 0)
			return net_err(err, r, "Could not delete existing addresses of",
				       link->name);
	}
	for (size_t i = 0; i < want->n_ipaddresses; i++) {
		const Types__IPAddress *ip = want->ipaddresses[i];
		struct addr a = { .index = link->index };
		char text[IP_TEXT];

		if (ip_parse_masked(ip->address, ip->mask, &a.ip) < 0)
			return err_rpc(err, RPC_INTERNAL, "Could not parse \"%s/%s\"", ip->address,
				       ip->mask);
		if (schema == SCHEMA_3X && a.ip.family == AF_INET6 && !has_ipv6(link->name))
			continue;
		r = addr_add(nl, &a, schema == SCHEMA_3X);
		if (r < 0)
			return err_rpc(err, RPC_INTERNAL, "Could not add %s to interface %s: %s",
				       ip_cidr(&a.ip, text), link->name, strerror(-r));
	}
	return 0;
}

/* All but taking the link up again. links[link] is what the kernel had before. */
static int configure(struct rtnl *nl, enum schema schema, const struct link *links, size_t n,
		     const struct link *link, const Types__Interface *want, struct err *err)
{
	int r = 0;

	if (link->flags & IFF_UP)
		r = link_set_flags(nl, link->index, 0, IFF_UP);
	if (r < 0)
		return net_err(err, r, "Could not set down", link->name);
	r = set_addresses(nl, schema, link, want, err);
	if (r < 0)
		return r;
	if (!str_eq(link->name, want->name))
		r = link_take_name(nl, links, n, link, want->name);
	if (r < 0)
		return err_rpc(err, RPC_INTERNAL, "Could not set name %s for interface %s: %s",
			       want->name, link->name, strerror(-r));
	r = want->mtu == 0 || want->mtu > INT32_MAX ? -EINVAL
	    : link->mtu == want->mtu		    ? 0
				     : link_set_mtu(nl, link->index, (uint32_t)want->mtu);
	if (r < 0)
		return err_rpc(err, RPC_INTERNAL, "Could not set MTU %llu for interface %s: %s",
			       (unsigned long long)want->mtu, want->name, strerror(-r));
	if (want->raw_flags & IFF_NOARP)
		r = link_set_flags(nl, link->index, IFF_NOARP, IFF_NOARP);
	return r < 0 ? net_err(err, r, "Could not set NOARP for", want->name) : 0;
}

/* Has somebody given the link addresses? Those that the kernel makes (fe80::) don't count. */
static int link_is_used(struct rtnl *nl, const struct link *link, bool *ret)
{
	AUTO_FREE struct addr *addrs = NULL;
	size_t n;
	int r = addrs_get(nl, &addrs, &n);

	if (r < 0)
		return r;
	*ret = false;
	for (size_t i = 0; i < n; i++) {
		const uint8_t *b = addrs[i].ip.bytes;

		if (addrs[i].index == link->index &&
		    !(addrs[i].ip.family == AF_INET6 && b[0] == 0xfe && (b[1] & 0xc0) == 0x80))
			*ret = true;
	}
	return 0;
}

static int link_give_addr(struct rtnl *nl, const struct link *link, const char *text,
			  struct err *err)
{
	uint8_t addr[LINK_ADDR_MAX];
	char now[LINK_ADDR_TEXT];
	size_t len;
	int r;

	if (strcasecmp(link_addr_text(link, now), text) == 0)
		return 0;
	r = link_addr_parse(text, addr, &len);
	if (r == 0 && link->flags & IFF_UP)
		r = link_set_flags(nl, link->index, 0, IFF_UP);
	if (r == 0)
		r = link_set_addr(nl, link->index, addr, len);
	return r < 0 ? net_err(err, r, "Could not set HwAddr of", link->name) : 0;
}

/*
 * The card that is meant. plugged, if any, is the name of the one at the path that the host gave:
 * 3.x means that very card, 1.x has only waited for it. Otherwise by hardware address; 3.x then
 * takes the named one (a guest made from a template, VFIO), but never one that is in use, for that
 * is another card of the pod. NULL: none, with the text on which Go hosts of 3.x call again.
 */
static const struct link *find_link(struct rtnl *nl, enum schema schema, const struct link *links,
				    size_t n, const Types__Interface *want, const char *plugged,
				    struct err *err)
{
	const struct link *link;
	bool used = false;
	int r = 0;

	if (schema == SCHEMA_3X && plugged) {
		link = links_by_name(links, n, plugged);
	} else {
		link = links_by_addr(links, n, want->hwaddr);
		if (link)
			return link;
		if (schema == SCHEMA_1X) {
			err_rpc(err, RPC_INTERNAL,
				"Could not find the link corresponding to HwAddr \"%s\"",
				want->hwaddr);
			return NULL;
		}
		link = links_by_name(links, n, want->name);
		if (link)
			r = link_is_used(nl, link, &used);
	}
	if (r < 0) {
		net_err(err, r, "Could not list addresses of", link->name);
		return NULL;
	}
	if (!link || used || link->flags & IFF_LOOPBACK) {
		err_rpc(err, RPC_INTERNAL, "Link not found (Address: %s, Name: %s%s%s)",
			want->hwaddr, plugged ? plugged : want->name, plugged ? ", Path: " : "",
			plugged ? want->pcipath : "");
		return NULL;
	}
	return link_give_addr(nl, link, want->hwaddr, err) < 0 ? NULL : link;
}

static int update_interface(enum schema schema, const Types__Interface *want, const char *plugged,
			    struct err *err)
{
	AUTO(rtnl_close) struct rtnl nl = { 0 };
	AUTO_FREE struct link *links = NULL;
	const struct link *link;
	size_t n;
	int r, up;

	if (str_empty(want->hwaddr))
		return err_rpc(err, RPC_INVALID_ARGUMENT, "Interface HwAddr empty");
	/* The kernel compares each address with all that the interface has. */
	if (want->n_ipaddresses > LIMIT_ADDRESSES)
		return err_rpc(err, RPC_INVALID_ARGUMENT, "%zu addresses, more than %u",
			       want->n_ipaddresses, LIMIT_ADDRESSES);
	if (open_route(&nl, err) < 0 || get_links(&nl, &links, &n, err) < 0)
		return -err->code;
	link = find_link(&nl, schema, links, n, want, plugged, err);
	if (!link)
		return -err->code;
	r = configure(&nl, schema, links, n, link, want, err);
	/* Up in any case: a half-configured interface is easier to repair than one that is down. */
	up = link_set_flags(&nl, link->index, IFF_UP, IFF_UP);
	if (r < 0)
		return r;
	return up < 0 ? net_err(err, up, "Could not set up", want->name) : 0;
}

int net_stats(struct arena *mem, Grpc__NetworkStats ***ret, size_t *ret_n, struct err *err)
{
	AUTO(rtnl_close) struct rtnl nl = { 0 };
	AUTO_FREE struct link *links = NULL;
	Grpc__NetworkStats **list;
	size_t n, count = 0;

	if (open_route(&nl, err) < 0 || get_links(&nl, &links, &n, err) < 0)
		return -err->code;
	list = arena_alloc(mem, (n + 1) * sizeof(Grpc__NetworkStats *));
	for (size_t i = 0; list && i < n; i++) {
		const struct rtnl_link_stats64 *from = &links[i].stats;
		Grpc__NetworkStats *s;

		if (links[i].flags & IFF_LOOPBACK)
			continue;
		s = arena_alloc(mem, sizeof(*s));
		if (!s)
			return err_sys(err, ENOMEM, "network statistics");
		grpc__network_stats__init(s);
		s->name = arena_strdup(mem, links[i].name);
		if (!s->name)
			return err_sys(err, ENOMEM, "network statistics");
		s->rx_bytes = from->rx_bytes;
		s->rx_packets = from->rx_packets;
		s->rx_errors = from->rx_errors;
		s->rx_dropped = from->rx_dropped;
		s->tx_bytes = from->tx_bytes;
		s->tx_packets = from->tx_packets;
		s->tx_errors = from->tx_errors;
		s->tx_dropped = from->tx_dropped;
		list[count++] = s;
	}
	if (!list)
		return err_sys(err, ENOMEM, "network statistics");
	*ret = list;
	*ret_n = count;
	return 0;
}

struct plug { /* an UpdateInterface that waits for its device; in the call's arena */
	struct dev_find find;
	struct call *call;
	const Types__Interface *want;
};

static void on_plugged(struct dev_find *f, const char *name, const struct err *why)
{
	struct plug *p = container_of(f, struct plug, find);
	struct call *c = p->call;
	struct err err = *why;

	if (name) {
		log_debug("net", "interface %s is there, for %s", name, p->want->pcipath);
		if (update_interface(c->schema, p->want, name, &err) == 0) {
			(void)call_reply(c, &p->want->base);
			return;
		}
	} else if (err.code == ETIMEDOUT) {
		err.rpc = RPC_DEADLINE_EXCEEDED;
	}
	(void)call_fail(c, &err);
}

static void cancel_plug(struct call *c)
{
	struct plug *p = c->wait;

	dev_find_cancel(&p->find);
}

int svc_update_interface(struct call *c, const void *req, struct err *err)
{
	const Types__Interface *want = ((const Grpc__UpdateInterfaceRequest *)req)->interface;
	struct agent *a = call_agent(c);
	struct plug *p;

	if (!want)
		return err_rpc(err, RPC_INVALID_ARGUMENT, "Need network interface");
	if (str_empty(want->pcipath)) {
		if (update_interface(c->schema, want, NULL, err) < 0)
			return -err->code;
		return call_reply(c, &want->base);
	}
	p = arena_zalloc(&c->mem, sizeof(*p));
	if (!p)
		return err_sys(err, ENOMEM, "UpdateInterface");
	p->call = c;
	p->want = want;
	if (dev_find(&p->find, a->uevents, DEV_PCI_NET, want->pcipath,
		     a->config->hotplug_timeout_ms, on_plugged, err) < 0)
		return -err->code;
	return call_park(c, NULL, cancel_plug, p);
}

/* ---- routes ---- */

static int same_family(const struct ip *ip, const char *what, struct route *r,
		       const char *route_text, struct err *err)
{
	if (!ip->family)
		return 0;
	if (r->family && r->family != ip->family)
		return err_rpc(err, RPC_INTERNAL,
			       "%s of route %s: addresses are not the same IP family", what,
			       route_text);
	r->family = ip->family;
	return 0;
}

/* 3.x: "10.0.0.0/24" selects packets by source, "10.0.0.5/0" and "10.0.0.5" prefer an address. */
static void net_route_source(enum schema schema, const char *text, struct route *r)
{
	struct ip ip;

	if (schema == SCHEMA_3X && strchr(text, '/')) {
		if (ip_parse_cidr(text, &ip) < 0)
			return;
		if (ip.prefix > 0) {
			r->from = ip;
			return;
		}
		ip.prefix = (uint8_t)(ip_len(&ip) * 8);
		r->source = ip;
		return;
	}
	(void)ip_parse(text,
		       &r->source); /* what is no address is left out, as the reference does */
}

/* 3.x: an address without a prefix is that host alone. */
static int net_host_route(const char *text, struct ip *ret)
{
	int r = ip_parse(text, ret);

	if (r == 0)
		ret->prefix = (uint8_t)(ip_len(ret) * 8);
	return r;
}

static int net_route(enum schema schema, const Types__Route *want, const struct link *links,
		     size_t n, struct route *ret, struct err *err)
{
	const struct link *link = links_by_name(links, n, want->device);
	struct route r = { .scope = (uint8_t)want->scope };

	if (!link)
		return err_rpc(err, RPC_INTERNAL, "Could not find link from device \"%s\"",
			       want->device);
	if (want->scope > UINT8_MAX)
		return err_rpc(err, RPC_INTERNAL, "Route scope %u is out of range", want->scope);
	r.index = link->index;
	if (!str_empty(want->dest) && !str_eq(want->dest, "default")) {
		if (ip_parse_cidr(want->dest, &r.dst) < 0 &&
		    (schema != SCHEMA_3X || net_host_route(want->dest, &r.dst) < 0))
			return err_rpc(err, RPC_INTERNAL, "Could not parse route destination %s",
				       want->dest);
		ip_mask(&r.dst);
	}
	net_route_source(schema, want->source, &r);
	if (ip_parse(want->gateway, &r.gateway) < 0 && schema == SCHEMA_3X &&
	    !str_empty(want->gateway))
		return err_rpc(err, RPC_INTERNAL, "Could not parse route gateway %s",
			       want->gateway);
	if (same_family(&r.dst, "destination", &r, want->dest, err) < 0 ||
	    same_family(&r.source, "source", &r, want->dest, err) < 0 ||
	    same_family(&r.from, "source", &r, want->dest, err) < 0 ||
	    same_family(&r.gateway, "gateway", &r, want->dest, err) < 0)
		return -err->code;
	if (!r.family) /* "default dev eth0", as ipvlan has it; only 3.x says of which family */
		r.family = want->family == TYPES__IPFAMILY__v6 ? AF_INET6 : AF_INET;
	if (schema == SCHEMA_3X) {
		r.flags =
			want->flags & (RTNH_F_ONLINK | RTNH_F_PERVASIVE); /* the others only tell */
		r.mtu = want->mtu;
	}
	*ret = r;
	return 0;
}

/* The route that keeps us from adding want; NULL: none that we would take for the same. */
static const struct route *find_duplicate(const struct route *have, size_t n,
					  const struct route *want)
{
	for (size_t i = 0; i < n; i++) {
		if (have[i].family != want->family)
			continue;
		if (!want->dst.family
			    ? !have[i].dst.family && ip_equal(&have[i].gateway, &want->gateway)
			    : ip_equal(&have[i].dst, &want->dst) &&
				      ip_equal(&have[i].source, &want->source))
			return &have[i];
	}
	return NULL;
}

/* The main table as it was when somebody last had to look; zero: nobody had to. */
struct route_table {
	struct buf dump;
	struct route *have;
	size_t n;
};

static void route_table_free(struct route_table *t)
{
	buf_free(&t->dump);
	free(t->have);
	*t = (struct route_table){ 0 };
}

static int route_table_read(struct rtnl *nl, struct route_table *t)
{
	route_table_free(t);
	return routes_get(nl, &t->dump, &t->have, &t->n);
}

/*
 * Not a dump for each route that exists: the table is read again only where what it says is no
 * longer so, since we have added or replaced the route ourselves.
 */
static int replace_duplicate(struct rtnl *nl, struct route_table *t, const struct route *want)
{
	bool is_new = !t->have;
	int r = is_new ? route_table_read(nl, t) : 0;

	for (int tries = 0; r == 0 && tries < 2; tries++) {
		const struct route *duplicate = find_duplicate(t->have, t->n, want);

		r = duplicate ? route_del(nl, duplicate) : -ESRCH;
		if (r == 0)
			return route_add(nl, want, false);
		if (r != -ESRCH || is_new)
			break;
		is_new = true;
		r = route_table_read(nl, t);
	}
	return r == -ESRCH ? -EEXIST : r;
}

static int add_route(struct rtnl *nl, enum schema schema, struct route_table *table,
		     const Types__Route *want, const struct link *links, size_t n, struct err *err)
{
	struct route route;
	int r;

	if (net_route(schema, want, links, n, &route, err) < 0)
		return -err->code;
	r = route_add(nl, &route, schema == SCHEMA_3X);
	if (r == -EEXIST && schema == SCHEMA_3X)
		r = 0;
	else if (r == -EEXIST)
		r = replace_duplicate(nl, table, &route);
	if (r < 0)
		return err_rpc(err, RPC_INTERNAL,
			       "Could not add/replace route dest(%s)/gw(%s)/dev(%s): %s",
			       want->dest, want->gateway, want->device, strerror(-r));
	return 0;
}

/* Deletes what others than the kernel put into the main table, but for the loopback's. */
static int flush_routes(struct rtnl *nl, const struct link *links, size_t n, struct err *err)
{
	AUTO(buf_free) struct buf dump = { 0 };
	AUTO_FREE struct route *have = NULL;
	size_t count;
	int r = routes_get(nl, &dump, &have, &count);

	if (r < 0)
		return net_err(err, r, "Could not list", "routes");
	for (size_t i = 0; i < count; i++) {
		const struct link *link = links_by_index(links, n, have[i].index);
		char text[IP_TEXT];

		if ((link && str_eq(link->name, "lo")) || have[i].protocol == RTPROT_KERNEL)
			continue;
		r = route_del(nl, &have[i]);
		/* ESRCH: it went with another one. */
		if (r < 0 && r != -ESRCH)
			return err_sys(err, -r, "delete route to '%s'",
				       ip_cidr(&have[i].dst, text));
	}
	return 0;
}

static int update_routes(enum schema schema, const Grpc__Routes *want, struct err *err)
{
	AUTO(rtnl_close) struct rtnl nl = { 0 };
	AUTO(route_table_free) struct route_table table = { 0 };
	AUTO_FREE struct link *links = NULL;
	size_t n;

	if (want->n_routes > LIMIT_ROUTES)
		return err_rpc(err, RPC_INVALID_ARGUMENT, "%zu routes, more than %u",
			       want->n_routes, LIMIT_ROUTES);
	if (open_route(&nl, err) < 0 || get_links(&nl, &links, &n, err) < 0)
		return -err->code;
	if (schema == SCHEMA_1X && flush_routes(&nl, links, n, err) < 0)
		return -err->code;
	/* Gateways must be reachable by the routes on the link: those come first. */
	for (int with_gateway = 0; with_gateway < 2; with_gateway++) {
		for (size_t i = 0; i < want->n_routes; i++) {
			if (!str_empty(want->routes[i]->gateway) != with_gateway)
				continue;
			if (add_route(&nl, schema, &table, want->routes[i], links, n, err) < 0)
				return -err->code;
		}
	}
	return 0;
}

/* The main table as the client wants to see it, in the call's arena. */
static int list_routes(enum schema schema, struct arena *mem, Grpc__Routes *ret, struct err *err)
{
	AUTO(rtnl_close) struct rtnl nl = { 0 };
	AUTO_FREE struct link *links = NULL;
	AUTO_FREE struct route *have = NULL;
	AUTO(buf_free) struct buf dump = { 0 };
	size_t n, count;
	int r;

	if (open_route(&nl, err) < 0 || get_links(&nl, &links, &n, err) < 0)
		return -err->code;
	r = routes_get(&nl, &dump, &have, &count);
	if (r < 0)
		return err_sys(err, -r, "list routes");
	ret->routes = arena_zalloc(mem, (count + 1) * sizeof(*ret->routes));
	for (size_t i = 0; ret->routes && i < count; i++) {
		Types__Route *route = arena_alloc(mem, sizeof(*route));
		const struct link *link = links_by_index(links, n, have[i].index);
		char text[IP_TEXT];

		if (!route)
			return err_sys(err, ENOMEM, "list of routes");
		types__route__init(route);
		route->dest = arena_strdup(mem, ip_cidr(&have[i].dst, text));
		route->gateway = arena_strdup(mem, ip_text(&have[i].gateway, text));
		route->source = arena_strdup(mem, ip_text(&have[i].source, text));
		route->device = arena_strdup(mem, link ? link->name : "");
		route->scope = have[i].scope;
		if (schema == SCHEMA_3X) {
			route->family = have[i].family == AF_INET6 ? TYPES__IPFAMILY__v6
								   : TYPES__IPFAMILY__v4;
			route->flags = have[i].flags;
			route->mtu = have[i].mtu;
		}
		if (!route->dest || !route->gateway || !route->source || !route->device)
			return err_sys(err, ENOMEM, "list of routes");
		ret->routes[ret->n_routes++] = route;
	}
	return ret->routes ? 0 : err_sys(err, ENOMEM, "list of routes");
}

int svc_update_routes(struct call *c, const void *req, struct err *err)
{
	const Grpc__Routes *want = ((const Grpc__UpdateRoutesRequest *)req)->routes;
	Grpc__Routes now = GRPC__ROUTES__INIT;

	if (!want)
		return err_rpc(err, RPC_INVALID_ARGUMENT, "Need network routes");
	if (update_routes(c->schema, want, err) < 0)
		return -err->code;
	if (c->schema == SCHEMA_1X)
		return call_reply(c, &want->base);
	return list_routes(c->schema, &c->mem, &now, err) < 0 ? -err->code
							      : call_reply(c, &now.base);
}

int svc_list_routes(struct call *c, const void *req, struct err *err)
{
	Grpc__Routes now = GRPC__ROUTES__INIT;

	(void)req;
	return list_routes(c->schema, &c->mem, &now, err) < 0 ? -err->code
							      : call_reply(c, &now.base);
}

/* ---- interfaces ---- */

static Types__IPAddress *make_address(struct arena *mem, const struct ip *ip)
{
	Types__IPAddress *a = arena_alloc(mem, sizeof(*a));
	char text[IP_TEXT];

	if (!a)
		return NULL;
	types__ipaddress__init(a);
	a->family = ip->family == AF_INET6 ? TYPES__IPFAMILY__v6 : TYPES__IPFAMILY__v4;
	a->address = arena_strdup(mem, ip_text(ip, text));
	a->mask = arena_printf(mem, "%u", (unsigned int)ip->prefix);
	return a->address && a->mask ? a : NULL;
}

static Types__Interface *make_interface(struct arena *mem, const struct link *link,
					const struct addr *addrs, size_t n_addrs)
{
	Types__Interface *i = arena_alloc(mem, sizeof(*i));
	char text[LINK_ADDR_TEXT];
	size_t n = 0;

	if (!i)
		return NULL;
	types__interface__init(i);
	i->name = arena_strdup(mem, link->name);
	i->hwaddr = arena_strdup(mem, link_addr_text(link, text));
	i->mtu = link->mtu;
	for (size_t k = 0; k < n_addrs; k++)
		n += addrs[k].index == link->index;
	i->ipaddresses = arena_zalloc(mem, (n + 1) * sizeof(*i->ipaddresses));
	if (!i->name || !i->hwaddr || !i->ipaddresses)
		return NULL;
	for (size_t k = 0; k < n_addrs; k++) {
		if (addrs[k].index != link->index)
			continue;
		i->ipaddresses[i->n_ipaddresses] = make_address(mem, &addrs[k].ip);
		if (!i->ipaddresses[i->n_ipaddresses++])
			return NULL;
	}
	return i;
}

int svc_list_interfaces(struct call *c, const void *req, struct err *err)
{
	AUTO(rtnl_close) struct rtnl nl = { 0 };
	Grpc__Interfaces list = GRPC__INTERFACES__INIT;
	AUTO_FREE struct link *links = NULL;
	AUTO_FREE struct addr *addrs = NULL;
	size_t n, n_addrs;
	int r;

	(void)req;
	if (open_route(&nl, err) < 0 || get_links(&nl, &links, &n, err) < 0)
		return -err->code;
	r = addrs_get(&nl, &addrs, &n_addrs);
	if (r < 0)
		return net_err(err, r, "Could not list", "addresses");
	list.interfaces = arena_zalloc(&c->mem, (n + 1) * sizeof(*list.interfaces));
	if (!list.interfaces)
		return err_sys(err, ENOMEM, "list of interfaces");
	for (size_t i = 0; i < n; i++) {
		list.interfaces[i] = make_interface(&c->mem, &links[i], addrs, n_addrs);
		if (!list.interfaces[i])
			return err_sys(err, ENOMEM, "list of interfaces");
		list.n_interfaces++;
	}
	return call_reply(c, &list.base);
}

/* ---- neighbours ---- */

static int add_neighbor(struct rtnl *nl, enum schema schema, const Types__ARPNeighbor *want,
			const struct link *links, size_t n, struct err *err)
{
	const struct link *link = links_by_name(links, n, want->device);
	uint8_t lladdr[LINK_ADDR_MAX];
	struct neigh neigh = { .state = (uint16_t)want->state, .flags = (uint8_t)want->flags };
	int r;

	if (!link)
		return err_rpc(err, RPC_INTERNAL, "Could not find link from device \"%s\"",
			       want->device);
	if (!want->toipaddress)
		return err_rpc(err, RPC_INVALID_ARGUMENT, "ARP neighbor without address");
	if (ip_parse(want->toipaddress->address, &neigh.ip) < 0)
		return err_rpc(err, RPC_INTERNAL, "Invalid To IP address \"%s\"",
			       want->toipaddress->address);
	if (!str_empty(want->lladdr)) {
		if (link_addr_parse(want->lladdr, lladdr, &neigh.lladdr_len) < 0)
			return err_rpc(err, RPC_INTERNAL, "Invalid hardware address \"%s\"",
				       want->lladdr);
		neigh.lladdr = lladdr;
	}
	if (want->state < 0 || want->state > UINT16_MAX || want->flags < 0 ||
	    want->flags > UINT8_MAX)
		return err_rpc(err, RPC_INTERNAL, "ARP neighbor state %d, flags %d out of range",
			       want->state, want->flags);
	if (schema == SCHEMA_3X && neigh.state == 0)
		neigh.state = NUD_PERMANENT;
	neigh.index = link->index;
	r = neigh_add(nl, &neigh, schema == SCHEMA_3X);
	if (r < 0)
		return err_rpc(err, RPC_INTERNAL, "Could not add ARP neighbor %s on %s: %s",
			       want->toipaddress->address, want->device, strerror(-r));
	return 0;
}

int svc_add_arp_neighbors(struct call *c, const void *req, struct err *err)
{
	const Grpc__ARPNeighbors *want = ((const Grpc__AddARPNeighborsRequest *)req)->neighbors;
	AUTO(rtnl_close) struct rtnl nl = { 0 };
	AUTO_FREE struct link *links = NULL;
	size_t n;

	if (!want)
		return err_rpc(err, RPC_INVALID_ARGUMENT, "Need ARP neighbors");
	if (want->n_arpneighbors > LIMIT_NEIGHBORS)
		return err_rpc(err, RPC_INVALID_ARGUMENT, "%zu neighbors, more than %u",
			       want->n_arpneighbors, LIMIT_NEIGHBORS);
	if (open_route(&nl, err) < 0 || get_links(&nl, &links, &n, err) < 0)
		return -err->code;
	for (size_t i = 0; i < want->n_arpneighbors; i++) {
		if (add_neighbor(&nl, c->schema, want->arpneighbors[i], links, n, err) < 0)
			return -err->code;
	}
	return call_reply_empty(c);
}
