/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Network interfaces through rtnetlink. 0 or -errno.
 */
#ifndef LINUX_LINK_H
#define LINUX_LINK_H

#include <linux/if_link.h>
#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "linux/netlink.h"

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
int links_get(struct nl *nl, struct link **ret, size_t *ret_n);
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
int link_set_flags(struct nl *nl, int index, unsigned int flags, unsigned int mask);
int link_set_name(struct nl *nl, int index, const char *name);
int link_set_mtu(struct nl *nl, int index, uint32_t mtu);
int link_set_addr(struct nl *nl, int index, const uint8_t *addr, size_t len);
/*
 * Renames links[i]. Who has the name already gets links[i]'s old one: two interfaces with crossed
 * names swap them through a temporary one. links is out of date afterwards.
 */
int link_take_name(struct nl *nl, const struct link *links, size_t n, const struct link *link,
		   const char *name);

/* The named interface of the current network namespace up, with a socket of its own: for "lo" after unshare. */
int link_up(const char *name, struct err *err);

#endif
