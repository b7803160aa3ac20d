/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IP addresses. No state.
 */
#include "linux/ip.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

int ip_parse(const char *text, struct ip *ret)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	struct ip ip = { 0 };

	if (inet_pton(AF_INET, text, ip.bytes) == 1) {
		ip.family = AF_INET;
	} else if (inet_pton(AF_INET6, text, ip.bytes) == 1) {
		ip.family = AF_INET6;
		if (memcmp(ip.bytes, mapped, sizeof(mapped)) == 0) {
			ip.family = AF_INET;
			(void)memmove(ip.bytes, ip.bytes + sizeof(mapped), 4);
			(void)memset(ip.bytes + 4, 0, 12);
		}
	} else {
		return -EINVAL;
	}
	ip.prefix = (uint8_t)(ip_len(&ip) * 8);
	*ret = ip;
	return 0;
}

int ip_parse_masked(const char *text, const char *prefix, struct ip *ret)
{
	struct ip ip;
	uint64_t bits;
	int r = ip_parse(text, &ip);

	if (r < 0)
		return r;
	if (strlen(prefix) > 3 || str_u64(prefix, ip.prefix, &bits) < 0)
		return -EINVAL;
	ip.prefix = (uint8_t)bits;
	*ret = ip;
	return 0;
}

int ip_parse_cidr(const char *text, struct ip *ret)
{
	const char *slash = strchr(text, '/');
	char addr[INET6_ADDRSTRLEN];

	if (!slash || (size_t)(slash - text) >= sizeof(addr))
		return -EINVAL;
	(void)memcpy(addr, text, (size_t)(slash - text));
	addr[slash - text] = '\0';
	return ip_parse_masked(addr, slash + 1, ret);
}

void ip_mask(struct ip *ip)
{
	for (size_t bit = ip->prefix; bit < ip_len(ip) * 8; bit++)
		ip->bytes[bit / 8] &= (uint8_t) ~(0x80u >> bit % 8);
}

void ip_broadcast(const struct ip *ip, uint8_t ret[4])
{
	(void)memcpy(ret, ip->bytes, 4);
	for (size_t bit = ip->prefix; bit < 32; bit++)
		ret[bit / 8] |= (uint8_t)(0x80u >> bit % 8);
}

bool ip_equal(const struct ip *a, const struct ip *b)
{
	return a->family == b->family && a->prefix == b->prefix &&
	       memcmp(a->bytes, b->bytes, ip_len(a)) == 0;
}

const char *ip_text(const struct ip *ip, char *buf)
{
	if (!ip->family || !inet_ntop(ip->family, ip->bytes, buf, INET6_ADDRSTRLEN))
		buf[0] = '\0';
	return buf;
}

const char *ip_cidr(const struct ip *ip, char *buf)
{
	char text[IP_TEXT];

	if (ip->family)
		(void)snprintf(buf, IP_TEXT, "%.45s/%u", ip_text(ip, text),
			       (unsigned int)ip->prefix);
	else
		buf[0] = '\0';
	return buf;
}
