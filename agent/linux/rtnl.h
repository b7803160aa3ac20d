/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rtnetlink: the interfaces, addresses, neighbours and routes of the network namespace that the
 * socket was opened in. The kernel answers inside sendmsg(), so that requests may be made in the
 * loop. All functions return 0 or -errno.
 *
 * Messages are built and read with libmnl (Debian's, or mnl.c where it can't be linked).
 */
#ifndef LINUX_RTNL_H
#define LINUX_RTNL_H

#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "linux/ip.h"

#define RTNL_BUF 32768 /* a message: what the kernel fills at most for one part of a dump */

struct rtnl { /* zero: closed */
	struct mnl_socket *socket;
	uint32_t seq; /* of the last request */
	uint8_t *buf; /* RTNL_BUF bytes: the request that is being made, then what comes back */
	bool full;    /* not all of the request found room in it */
};

int rtnl_open(struct rtnl *nl);
void rtnl_close(struct rtnl *nl);

/*
 * Starts a request in nl->buf: its type, NLM_F_* beyond REQUEST, and the family's header.
 * Attributes are added with libmnl; rtnl_put notes one that finds no room, and the request fails
 * (EMSGSIZE).
 */
struct nlmsghdr *rtnl_begin(struct rtnl *nl, uint16_t type, uint16_t flags, const void *head,
			    size_t head_len);
void rtnl_put(struct rtnl *nl, uint16_t type, const void *data, size_t len);
/* Sends what is in nl->buf and waits for the kernel's word: 0, or the errno it answered. */
int rtnl_request(struct rtnl *nl);

/* ---- interfaces ---- */

#define LINK_ADDR_MAX  32 /* the kernel's MAX_ADDR_LEN */
#define LINK_ADDR_TEXT (LINK_ADDR_MAX * 3)

struct link {
	int index;
	unsigned int flags; /* IFF_* */
	uint32_t mtu;
	char name[IFNAMSIZ];
	uint8_t addr[LINK_ADDR_MAX];
	size_t addr_len;
	struct rtnl_link_stats64 stats; /* zeros where the kernel has none */
};

/* All links in the kernel's order, in memory from malloc that the caller frees. */
int links_get(struct rtnl *nl, struct link **ret, size_t *ret_n);
/* NULL: none such. */
const struct link *links_by_name(const struct link *links, size_t n, const char *name);
const struct link *links_by_index(const struct link *links, size_t n, int index);
/* By hardware address as text, upper or lower case. */
const struct link *links_by_addr(const struct link *links, size_t n, const char *addr);

/* "aa:bb:cc:dd:ee:ff"; "" for none and for all zero. buf has LINK_ADDR_TEXT bytes and is returned. */
const char *link_addr_text(const struct link *link, char *buf);
/* 0, with the bytes in addr and their number in len, or -EINVAL. */
int link_addr_parse(const char *text, uint8_t addr[LINK_ADDR_MAX], size_t *len);

/* Sets those of flags that are in mask. */
int link_set_flags(struct rtnl *nl, int index, unsigned int flags, unsigned int mask);
int link_set_name(struct rtnl *nl, int index, const char *name);
int link_set_mtu(struct rtnl *nl, int index, uint32_t mtu);
int link_set_addr(struct rtnl *nl, int index, const uint8_t *addr, size_t len);
/*
 * Renames links[i]. Who has the name already gets links[i]'s old one: two interfaces with crossed
 * names swap them through a temporary one. links is out of date afterwards.
 */
int link_take_name(struct rtnl *nl, const struct link *links, size_t n, const struct link *link,
		   const char *name);

/* The named interface of the current network namespace up, with a socket of its own: for "lo" after unshare. */
int link_up(const char *name, struct err *err);

/* ---- addresses, neighbours ---- */

struct addr {
	int index;    /* of the interface */
	struct ip ip; /* with the prefix length */
};

/* All addresses of all interfaces, in memory from malloc that the caller frees. */
int addrs_get(struct rtnl *nl, struct addr **ret, size_t *ret_n);
/*
 * v4: with a broadcast address; v6: without duplicate address detection. replace: an existing one
 * is fine.
 */
int addr_add(struct rtnl *nl, const struct addr *a, bool replace);
/* Deletes every address of an interface, v4 and v6. */
int addrs_flush(struct rtnl *nl, int index);

struct neigh {
	int index;
	struct ip ip;
	const uint8_t *lladdr; /* NULL: none */
	size_t lladdr_len;
	uint16_t state; /* NUD_* */
	uint8_t flags;	/* NTF_* */
};

int neigh_add(struct rtnl *nl, const struct neigh *n, bool replace);

/* ---- routes of the main table ---- */

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
int routes_get(struct rtnl *nl, struct buf *dump, struct route **ret, size_t *ret_n);
/* Deletes exactly the route that was dumped, whatever kind it is. */
int route_del(struct rtnl *nl, const struct route *r);
/* Adds a unicast route of protocol boot; -EEXIST unless replace. */
int route_add(struct rtnl *nl, const struct route *r, bool replace);

#endif
