/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses of interfaces, and neighbours, through rtnetlink. 0 or -errno.
 */
#ifndef LINUX_ADDR_H
#define LINUX_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "linux/ip.h"
#include "linux/netlink.h"

struct addr {
	int index;    /* of the interface */
	struct ip ip; /* with the prefix length */
};

/* All addresses of all interfaces, in memory from malloc that the caller frees. */
int addrs_get(struct nl *nl, struct addr **ret, size_t *ret_n);
/*
 * v4: with a broadcast address; v6: without duplicate address detection. replace: an existing one
 * is fine.
 */
int addr_add(struct nl *nl, const struct addr *a, bool replace);
/* Deletes every address of an interface, v4 and v6. */
int addrs_flush(struct nl *nl, int index);

struct neigh {
	int index;
	struct ip ip;
	const uint8_t *lladdr; /* NULL: none */
	size_t lladdr_len;
	uint16_t state; /* NUD_* */
	uint8_t flags;	/* NTF_* */
};

int neigh_add(struct nl *nl, const struct neigh *n, bool replace);

#endif
