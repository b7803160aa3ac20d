/* SPDX-License-Identifier: Apache-2.0 */
// ldflags: -Wl,--wrap=recvmsg
/*
 * rtnetlink against a kernel that says what the test wants, and the functions of libmnl that it is
 * built with: what is built never overflows, what is read never leaves its message. The Makefile
 * links this twice, with mnl.c and (WITH_LIBMNL) with the library.
 */
#include "linux/rtnl.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "linux/ip.h"

#define NAMES_MAX 8

Test(mnl, is_the_one_to_be_tested)
{
	bool library = false;
	Dl_info info;

#ifdef WITH_LIBMNL
	library = true;
#endif
	cr_assert(dladdr((void *)mnl_nlmsg_put_header, &info));
	cr_assert_eq(strstr(info.dli_fname, "libmnl.so") != NULL, library, "%s", info.dli_fname);
}

/* ---- messages ---- */

struct seen {
	const struct nlattr *tb[64];
	int n;
};

static int note(const struct nlattr *a, void *data)
{
	struct seen *s = data;

	s->n++;
	if (mnl_attr_get_type(a) < ARRAY_LEN(s->tb))
		s->tb[mnl_attr_get_type(a)] = a;
	return MNL_CB_OK;
}

static struct seen parse(const struct nlmsghdr *h, unsigned int head_len)
{
	struct seen s = { .n = 0 };

	(void)mnl_attr_parse(h, head_len, note, &s);
	return s;
}

Test(mnl, builds_aligned_attributes)
{
	static uint8_t buf[256] __attribute__((aligned(4)));
	struct nlmsghdr *h;
	struct nlattr *nest;
	struct seen s;
	uint32_t mtu = 1400;

	(void)memset(buf, 0xff, sizeof(buf));
	h = mnl_nlmsg_put_header(buf);
	cr_assert_eq(h->nlmsg_len, 16);
	cr_assert_eq(h->nlmsg_flags, 0);
	(void)mnl_nlmsg_put_extra_header(h, 5);
	cr_assert_eq(h->nlmsg_len, 16 + 8);
	cr_assert_eq(memcmp(buf + 16, "\0\0\0\0\0\0\0\0", 8), 0);
	cr_assert(mnl_attr_put_check(h, sizeof(buf), IFLA_IFNAME, 5, "eth0")); /* padding follows */
	nest = mnl_attr_nest_start_check(h, sizeof(buf), 7);
	cr_assert_not_null(nest);
	cr_assert(mnl_attr_put_check(h, sizeof(buf), IFLA_MTU, sizeof(mtu), &mtu));
	mnl_attr_nest_end(h, nest);
	cr_assert_eq(h->nlmsg_len, 16 + 8 + 12 + 4 + 8);
	cr_assert_eq(nest->nla_len, 12);
	s = parse(h, 5);
	cr_assert_eq(s.n, 2);
	cr_assert_str_eq(mnl_attr_get_payload(s.tb[IFLA_IFNAME]), "eth0");
	cr_assert_eq(mnl_attr_get_payload_len(s.tb[IFLA_IFNAME]), 5);
	cr_assert_eq(s.tb[7], nest, "the bit of a nest is no part of the type");
	s = (struct seen){ .n = 0 };
	(void)mnl_attr_parse_nested(nest, note, &s);
	cr_assert_eq(s.n, 1);
	cr_assert_eq(mnl_attr_get_u32(s.tb[IFLA_MTU]), 1400);
}

Test(mnl, refuses_what_does_not_fit)
{
	static uint8_t big[64];
	uint8_t buf[64] __attribute__((aligned(4)));
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);

	cr_assert_not(mnl_attr_put_check(h, sizeof(buf), 1, 45, big));
	cr_assert_eq(h->nlmsg_len, 16);
	cr_assert(mnl_attr_put_check(h, sizeof(buf), 1, 43, big));
	cr_assert_eq(h->nlmsg_len, 64);
	cr_assert_not(mnl_attr_put_check(h, sizeof(buf), 1, 0, NULL));
	cr_assert_null(mnl_attr_nest_start_check(h, sizeof(buf), 1));
	cr_assert_eq(h->nlmsg_len, 64);
}

/* A message in memory of exactly its size, so that ASan sees one byte too far. */
static struct nlmsghdr *message(const void *attrs, size_t len)
{
	struct nlmsghdr *h = malloc(NLMSG_HDRLEN + len);

	cr_assert_not_null(h);
	*h = (struct nlmsghdr){ .nlmsg_len = (uint32_t)(NLMSG_HDRLEN + len) };
	if (len)
		(void)memcpy(h + 1, attrs, len);
	return h;
}

Test(mnl, stays_inside_hostile_messages)
{
	struct nlattr lies[2] = { { .nla_len = 4, .nla_type = 1 },
				  { .nla_len = 200, .nla_type = 2 } };
	struct nlmsghdr *h = message(lies, sizeof(lies));
	struct seen s = parse(h, 0);

	cr_assert_eq(s.n, 1);
	cr_assert_eq(mnl_attr_get_payload_len(s.tb[1]), 0);
	cr_assert_eq(parse(h, 4096).n, 0, "header longer than the message");
	free(h);

	lies[0].nla_len = 0; /* would never advance */
	h = message(lies, sizeof(lies));
	cr_assert_eq(parse(h, 0).n, 0);
	free(h);

	lies[0] = (struct nlattr){ .nla_len = 5, .nla_type = 1 };
	h = message(lies, 5); /* its padding is missing */
	cr_assert_eq(parse(h, 0).n, 1);
	free(h);
}

Test(mnl, walks_only_whole_messages)
{
	struct nlmsghdr two[2] = { { .nlmsg_len = NLMSG_HDRLEN },
				   { .nlmsg_len = NLMSG_HDRLEN + 1 } };
	const struct nlmsghdr *h = two;
	int left = sizeof(two);

	cr_assert(mnl_nlmsg_ok(h, left));
	h = mnl_nlmsg_next(h, &left);
	cr_assert_eq(left, NLMSG_HDRLEN);
	cr_assert_not(mnl_nlmsg_ok(h, left), "the second claims a byte too many");
	two[0].nlmsg_len = 3;
	cr_assert_not(mnl_nlmsg_ok(two, sizeof(two)));
	cr_assert_not(mnl_nlmsg_ok(NULL, 0));
}

/* ---- a kernel ---- */

/* What recvmsg has next: a message, or an error. seq 0: that of the request. */
struct datagram {
	uint16_t type, flags;
	const char *name; /* of a link; NULL: an errno as NLMSG_ERROR and NLMSG_DONE have it */
	int code, error;
	uint32_t from, seq;
	bool cut;
};

static struct rtnl nl;
static struct {
	const struct datagram *next; /* NULL: the real kernel answers */
	size_t n, at, again;	     /* after the n-th it begins again, so many times */
	size_t extra;		     /* bytes of one more attribute */
	uint32_t claimed;	     /* message length, 0: the true one */
} kernel;

ssize_t __real_recvmsg(int fd, struct msghdr *msg, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags);

ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags)
{
	uint8_t *buf = msg->msg_iov->iov_base;
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	const struct datagram *d;

	if (!kernel.next)
		return __real_recvmsg(fd, msg, flags);
	cr_assert_lt(kernel.at, kernel.n, "nothing more is to be read");
	d = &kernel.next[kernel.at++];
	if (kernel.at == kernel.n && kernel.again) {
		kernel.at = 0;
		kernel.again--;
	}
	if (d->error) {
		errno = d->error;
		return -1;
	}
	h->nlmsg_type = d->type;
	h->nlmsg_flags = d->flags;
	h->nlmsg_seq = d->seq ? d->seq : nl.seq;
	if (d->name) {
		(void)mnl_nlmsg_put_extra_header(h, sizeof(struct ifinfomsg));
		cr_assert(
			mnl_attr_put_check(h, RTNL_BUF, IFLA_IFNAME, strlen(d->name) + 1, d->name));
		if (kernel.extra)
			cr_assert(
				mnl_attr_put_check(h, RTNL_BUF, IFLA_ADDRESS, kernel.extra,
						   memset(alloca(kernel.extra), 1, kernel.extra)));
	} else {
		(void)memcpy(mnl_nlmsg_put_extra_header(h, sizeof(d->code)), &d->code,
			     sizeof(d->code));
	}
	((struct sockaddr_nl *)msg->msg_name)->nl_pid = d->from;
	msg->msg_flags = d->cut ? MSG_TRUNC : 0;
	if (kernel.claimed) {
		size_t len = h->nlmsg_len;

		h->nlmsg_len = kernel.claimed;
		return (ssize_t)len;
	}
	return h->nlmsg_len;
}

#define SAYS(...)                                                       \
	do {                                                            \
		static const struct datagram says_[] = { __VA_ARGS__ }; \
		kernel.next = says_;                                    \
		kernel.n = ARRAY_LEN(says_);                            \
		kernel.at = 0;                                          \
	} while (0)
#define LINK(text, ...)                                        \
	{                                                      \
		.type = RTM_NEWLINK, .name = text, __VA_ARGS__ \
	}
#define DONE(...)                               \
	{                                       \
		.type = NLMSG_DONE, __VA_ARGS__ \
	}
#define ACK(...)                                 \
	{                                        \
		.type = NLMSG_ERROR, __VA_ARGS__ \
	}

static void open_nl(void)
{
	cr_assert_eq(rtnl_open(&nl), 0);
}

static void close_nl(void)
{
	rtnl_close(&nl);
	rtnl_close(&nl); /* harmless */
}

TestSuite(rtnl, .init = open_nl, .fini = close_nl);

/* The names that a dump of links brings, in one text; or its error. */
static const char *dump(int expect)
{
	static char names[NAMES_MAX * IFNAMSIZ];
	AUTO_FREE struct link *links = NULL;
	size_t n = 0;
	int r = links_get(&nl, &links, &n);

	cr_assert_eq(r, expect, "%d", r);
	names[0] = '\0';
	for (size_t i = 0; i < n && i < NAMES_MAX; i++)
		(void)strcat(strcat(names, links[i].name), " ");
	return names;
}

Test(rtnl, collects_a_dump)
{
	SAYS(LINK("a"), LINK("b"), DONE());
	cr_assert_str_eq(dump(0), "a b ");
	cr_assert_eq(nl.seq, 1);
	SAYS(DONE());
	cr_assert_str_eq(dump(0), "");
	SAYS(LINK("a"), DONE(.code = -EPERM));
	(void)dump(-EPERM);
}

Test(rtnl, torn_dump_is_read_to_its_end_and_made_again)
{
	SAYS(LINK("old", .flags = NLM_F_DUMP_INTR), LINK("older"), DONE(), LINK("new"), DONE());
	cr_assert_str_eq(dump(0), "new ");
	cr_assert_eq(nl.seq, 2);
	SAYS(LINK("old"), DONE(.flags = NLM_F_DUMP_INTR), LINK("new"), DONE());
	cr_assert_str_eq(dump(0), "new ");
	SAYS(LINK("old"), { .error = ENOBUFS }, DONE(), LINK("new"), DONE());
	cr_assert_str_eq(dump(0), "new ");
	nl.seq = 0;
	kernel.again = 15;
	SAYS(LINK("a", .flags = NLM_F_DUMP_INTR), DONE());
	(void)dump(-EAGAIN);
	cr_assert_eq(nl.seq, 16);
}

Test(rtnl, dump_without_end)
{
	kernel.again = 100000;
	kernel.extra = 30000;
	SAYS(LINK("a"));
	(void)dump(-EFBIG);
}

Test(rtnl, only_the_kernel_answers)
{
	SAYS(ACK(.from = 7, .code = -EPERM), ACK(.seq = 77, .code = -EPERM), ACK());
	cr_assert_eq(link_set_mtu(&nl, 1, 1400), 0);
	SAYS(LINK("forged", .from = 7), LINK("late", .seq = 77), LINK("a"), DONE(.from = 7),
	     DONE());
	cr_assert_str_eq(dump(0), "a ");
}

Test(rtnl, failures)
{
	SAYS({ .error = EINTR }, ACK(.code = -ENODEV));
	cr_assert_eq(link_set_mtu(&nl, 1, 1400), -ENODEV);
	SAYS({ .error = EAGAIN });
	cr_assert_eq(link_set_mtu(&nl, 1, 1400), -ETIMEDOUT);
	SAYS(ACK(.cut = true));
	cr_assert_eq(link_set_mtu(&nl, 1, 1400), -EMSGSIZE);
	kernel.claimed = NLMSG_HDRLEN;
	SAYS(ACK());
	cr_assert_eq(link_set_mtu(&nl, 1, 1400), -EBADMSG);
	kernel.claimed = NLMSG_HDRLEN + sizeof(int) + 1;
	SAYS(ACK(), { .error = EAGAIN });
	cr_assert_eq(link_set_mtu(&nl, 1, 1400), -ETIMEDOUT, "not whole");
}

Test(rtnl, hostile_links)
{
	AUTO_FREE struct link *links = NULL;
	size_t n;

	SAYS(LINK("a name that is far too long"), DONE());
	cr_assert_str_eq(dump(0), "a name that is  ");
	kernel.extra = LINK_ADDR_MAX + 1;
	SAYS(LINK("a"), DONE());
	cr_assert_eq(links_get(&nl, &links, &n), 0);
	cr_assert_eq(links[0].addr_len, 0);
	kernel.claimed = NLMSG_HDRLEN + 4; /* shorter than the family's header */
	SAYS(LINK("a"), DONE());
	cr_assert_str_eq(dump(0), "");
}

/* CVE-2021-43784: a length that wraps turns payload into attributes. */
Test(rtnl, refuses_what_does_not_fit)
{
	size_t size = UINT16_MAX + 1u;
	AUTO_FREE char *big = calloc(1, size);

	cr_assert_not_null(big);
	(void)rtnl_begin(&nl, RTM_NEWLINK, 0, "", 0);
	rtnl_put(&nl, 1, big, size);
	cr_assert_eq(rtnl_request(&nl), -EMSGSIZE);
	(void)rtnl_begin(&nl, RTM_NEWLINK, 0, "", 0);
	for (int i = 0; i < 1000; i++)
		rtnl_put(&nl, 1, big, 100);
	rtnl_put(&nl, 1, big, 1);
	cr_assert_eq(rtnl_request(&nl), -EMSGSIZE, "once full, always full");
	cr_assert_eq(nl.seq, 0, "nothing was sent");
}

Test(rtnl, lists_the_loopback)
{
	AUTO_FREE struct link *links = NULL;
	const struct link *lo;
	char text[LINK_ADDR_TEXT];
	size_t n;

	cr_assert_eq(links_get(&nl, &links, &n), 0);
	lo = links_by_name(links, n, "lo");
	cr_assert_not_null(lo);
	cr_assert_str_eq(link_addr_text(lo, text), "", "all zero");
	cr_assert_null(links_by_addr(links, n, ""), "no address is no key");
	cr_assert_eq(links_by_index(links, n, lo->index), lo);
}

Test(rtnl, hardware_addresses)
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
