/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IP addresses as bytes and as text.
 */
#ifndef LINUX_IP_H
#define LINUX_IP_H

#include <arpa/inet.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ip {
	uint8_t family; /* AF_INET, AF_INET6; 0: none */
	uint8_t prefix; /* bits of the network: all of them where the text has none */
	uint8_t bytes[16];
};

#define IP_TEXT (INET6_ADDRSTRLEN + 4) /* "address/prefix" */

static inline size_t ip_len(const struct ip *ip)
{
	return ip->family == AF_INET6 ? 16 : ip->family == AF_INET ? 4 : 0;
}

/* "10.0.0.1", "fd00::1"; a v4 address in v6 clothes (::ffff:10.0.0.1) is v4. 0 or -EINVAL. */
int ip_parse(const char *text, struct ip *ret);
/* The same with a prefix length in decimal after it, as one text or as two. */
int ip_parse_cidr(const char *text, struct ip *ret);
int ip_parse_masked(const char *text, const char *prefix, struct ip *ret);
/* Clears the bits behind the prefix. */
void ip_mask(struct ip *ip);
/* The last address of its network, for v4: all host bits set. */
void ip_broadcast(const struct ip *ip, uint8_t ret[4]);
bool ip_equal(const struct ip *a, const struct ip *b); /* family, bytes and prefix */
/* Text without, or with, the prefix; "" for none. buf has IP_TEXT bytes and is returned. */
const char *ip_text(const struct ip *ip, char *buf);
const char *ip_cidr(const struct ip *ip, char *buf);

#endif
