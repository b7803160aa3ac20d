/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interfaces. No state.
 */
#include "linux/link.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/auto.h"
#include "base/str.h"

static bool read_link(const struct nlmsghdr *h, struct link *link)
{
	const struct ifinfomsg *ifi = nl_head(h, sizeof(*ifi));
	const struct nlattr *tb[IFLA_STATS64 + 1];
	size_t len;

	if (!ifi || h->nlmsg_type != RTM_NEWLINK)
		return false;
	nl_parse(h, sizeof(*ifi), tb, IFLA_STATS64);
	*link = (struct link){ .index = ifi->ifi_index,
			       .flags = ifi->ifi_flags,
			       .mtu = nl_u32(tb[IFLA_MTU], 0) };
	nl_str(tb[IFLA_IFNAME], link->name, sizeof(link->name));
	if (tb[IFLA_ADDRESS] && nl_len(tb[IFLA_ADDRESS]) <= sizeof(link->addr)) {
		link->addr_len = nl_len(tb[IFLA_ADDRESS]);
		(void)memcpy(link->addr, nl_data(tb[IFLA_ADDRESS]), link->addr_len);
	}
	if (tb[IFLA_STATS64]) { /* the kernel's may be longer or shorter than ours */
		len = nl_len(tb[IFLA_STATS64]);
		(void)memcpy(&link->stats, nl_data(tb[IFLA_STATS64]),
			     len < sizeof(link->stats) ? len : sizeof(link->stats));
	}
	return true;
}

int links_get(struct nl *nl, struct link **ret, size_t *ret_n)
{
	struct ifinfomsg ifi = { .ifi_family = AF_UNSPEC };
	AUTO(buf_free) struct buf dump = { 0 };
	AUTO_FREE struct link *links = NULL;
	size_t n = 0, i = 0;
	struct nl_msg m;
	int r;

	nl_begin(&m, RTM_GETLINK, 0, &ifi, sizeof(ifi));
	r = nl_dump(nl, &m, &dump);
	if (r < 0)
		return r;
	for (const struct nlmsghdr *h = nl_next(&dump, NULL); h; h = nl_next(&dump, h))
		n++;
	links = calloc(n ? n : 1, sizeof(*links));
	if (!links)
		return -ENOMEM;
	for (const struct nlmsghdr *h = nl_next(&dump, NULL); h; h = nl_next(&dump, h)) {
		if (read_link(h, &links[i]))
			i++;
	}
	*ret_n = i;
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

static int hex(char c)
{
	const char *digits = "0123456789abcdef";
	const char *p = c ? strchr(digits, c | (c >= 'A' ? 0x20 : 0)) : NULL;

	return p ? (int)(p - digits) : -1;
}

int link_addr_parse(const char *text, uint8_t addr[LINK_ADDR_MAX], size_t *len)
{
	size_t n = 0;

	for (;; text += 3) {
		int high = hex(text[0]), low = high < 0 ? -1 : hex(text[1]);

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

static void begin_set(struct nl_msg *m, int index, unsigned int flags, unsigned int mask)
{
	struct ifinfomsg ifi = {
		.ifi_family = AF_UNSPEC, .ifi_index = index, .ifi_flags = flags, .ifi_change = mask
	};

	nl_begin(m, RTM_NEWLINK, 0, &ifi, sizeof(ifi));
}

int link_set_flags(struct nl *nl, int index, unsigned int flags, unsigned int mask)
{
	struct nl_msg m;

	begin_set(&m, index, flags & mask, mask);
	return nl_request(nl, &m);
}

int link_set_name(struct nl *nl, int index, const char *name)
{
	struct nl_msg m;

	if (!*name || strlen(name) >= IFNAMSIZ)
		return *name ? -ERANGE : -EINVAL;
	begin_set(&m, index, 0, 0);
	nl_attr_str(&m, IFLA_IFNAME, name);
	return nl_request(nl, &m);
}

int link_set_mtu(struct nl *nl, int index, uint32_t mtu)
{
	struct nl_msg m;

	begin_set(&m, index, 0, 0);
	nl_attr_u32(&m, IFLA_MTU, mtu);
	return nl_request(nl, &m);
}

int link_set_addr(struct nl *nl, int index, const uint8_t *addr, size_t len)
{
	struct nl_msg m;

	begin_set(&m, index, 0, 0);
	nl_attr(&m, IFLA_ADDRESS, addr, len);
	return nl_request(nl, &m);
}

/* Renames a link that may be up: kernels before 6.2 want it down for that. */
static int rename_any(struct nl *nl, const struct link *link, const char *name)
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

int link_take_name(struct nl *nl, const struct link *links, size_t n, const struct link *link,
		   const char *name)
{
	const struct link *holder = links_by_name(links, n, name);
	char temporary[IFNAMSIZ];
	int r;

	if (!holder || holder == link)
		return rename_any(nl, link, name);
	if (strlen(name) >= IFNAMSIZ)
		return -ERANGE;
	(void)snprintf(temporary, sizeof(temporary), "swap%d", holder->index);
	r = rename_any(nl, holder, temporary);
	if (r < 0)
		return r;
	r = rename_any(nl, link, name);
	if (r < 0) {
		(void)rename_any(nl, holder, name); /* as it was */
		return r;
	}
	return rename_any(nl, holder, link->name);
}

int link_up(const char *name, struct err *err)
{
	AUTO(nl_close) struct nl nl = { .fd = FD_NONE };
	struct ifinfomsg ifi = { .ifi_family = AF_UNSPEC,
				 .ifi_flags = IFF_UP,
				 .ifi_change = IFF_UP };
	struct nl_msg m;
	int r = nl_open(&nl, NETLINK_ROUTE);

	if (r == 0) {
		nl_begin(&m, RTM_NEWLINK, 0, &ifi, sizeof(ifi));
		nl_attr_str(&m, IFLA_IFNAME, name);
		r = nl_request(&nl, &m);
	}
	return r < 0 ? err_sys(err, -r, "set interface '%s' up", name) : 0;
}
