/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Routes of the main table through rtnetlink. 0 or -errno.
 */
#ifndef LINUX_ROUTE_H
#define LINUX_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "linux/ip.h"
#include "linux/netlink.h"

struct route {
	struct ip dst;	   /* none: the default route */
	struct ip gateway; /* none: on the link */
	struct ip source;  /* the preferred source address; none: the kernel chooses */
	struct ip from;	   /* only for packets from there; v6 only */
	uint8_t family;	   /* of those above */
	int index;	   /* output interface; 0: none (blackhole) or several (multipath) */
	uint8_t scope, protocol;
	uint32_t flags;		    /* RTNH_F_*, to set */
	uint32_t mtu;		    /* 0: the interface's */
	const struct nlmsghdr *raw; /* as dumped; for route_del */
};

/*
 * The main table's routes, v4 before v6, without clones of the cache, into memory from malloc that
 * the caller frees; dump (zero, freed by the caller) keeps what raw points to.
 */
int routes_get(struct nl *nl, struct buf *dump, struct route **ret, size_t *ret_n);
/* Deletes exactly the route that was dumped, whatever kind it is. */
int route_del(struct nl *nl, const struct route *r);
/* Adds a unicast route of protocol boot; -EEXIST unless replace. */
int route_add(struct nl *nl, const struct route *r, bool replace);

#endif
