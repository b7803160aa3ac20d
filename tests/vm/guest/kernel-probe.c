// SPDX-License-Identifier: Apache-2.0
/*
 * Asks the kernel below it for what pods may want of it, with nothing but system calls, and prints a
 * line of TAP for each: "ok - NAME" or "not ok - NAME: why". What it makes goes with its network
 * namespace.
 *
 *	kernel-probe network|process|vsock...
 *
 * These can be asked in a container (network in one that has all capabilities). As /init of a guest it asks
 * for all, and for what the word probe=numa,iommu,virtio-mem,selinux of the command line says there is.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <linux/dm-ioctl.h>
#include <linux/genetlink.h>
#include <linux/if_link.h>
#include <linux/io_uring.h>
#include <linux/ip_vs.h>
#include <linux/landlock.h>
#include <linux/loop.h>
#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <linux/vm_sockets.h>
#include <linux/xfrm.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* <net/if.h> and <linux/if.h> exclude each other. */
unsigned int if_nametoindex(const char *name);

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

static void verdict(bool good, const char *why, const char *fmt, ...)
{
	va_list ap;

	printf("%sok - ", good ? "" : "not ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("%s%s\n", good ? "" : ": ", good ? "" : why);
	fflush(stdout);
}

static bool read_file(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n, len = 0;

	buf[0] = '\0';
	if (fd < 0)
		return false;
	while (len < (ssize_t)size - 1 && (n = read(fd, buf + len, size - 1 - (size_t)len)) > 0)
		len += n;
	buf[len] = '\0';
	close(fd);
	return true;
}

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	int saved = errno;

	close(fd);
	errno = saved;
	return good;
}

/* ---- netlink: a message is built in a buffer, sent, and its errors gathered ---- */

struct msg {
	union {
		struct nlmsghdr h;
		char bytes[8192];
	};
	char *at;	      /* where the next byte goes */
	struct nlmsghdr *cur; /* the message being built */
};

static void msg_open(struct msg *m, int type, int flags, const void *head, size_t size)
{
	static uint32_t seq;

	m->cur = (struct nlmsghdr *)(void *)m->at;
	memset(m->cur, 0, sizeof(*m->cur));
	m->cur->nlmsg_type = (uint16_t)type;
	m->cur->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	m->cur->nlmsg_seq = ++seq;
	memcpy(NLMSG_DATA(m->cur), head, size);
	m->at += NLMSG_SPACE(size);
	m->cur->nlmsg_len = (uint32_t)NLMSG_SPACE(size);
}

static void msg_start(struct msg *m, int type, int flags, const void *head, size_t size)
{
	memset(m, 0, sizeof(*m));
	m->at = m->bytes;
	msg_open(m, type, flags, head, size);
}

static struct nlattr *attr(struct msg *m, int type, const void *data, size_t size)
{
	struct nlattr *a = (struct nlattr *)(void *)m->at;

	a->nla_type = (uint16_t)type;
	a->nla_len = (uint16_t)(NLA_HDRLEN + size);
	if (size)
		memcpy(m->at + NLA_HDRLEN, data, size);
	m->at += NLA_HDRLEN + NLA_ALIGN(size);
	m->cur->nlmsg_len = (uint32_t)(m->at - (char *)m->cur);
	return a;
}

static void attr_str(struct msg *m, int type, const char *s)
{
	attr(m, type, s, strlen(s) + 1);
}

static struct nlattr *attr_nest(struct msg *m, int type)
{
	return attr(m, type | NLA_F_NESTED, NULL, 0);
}

static void attr_end(struct msg *m, struct nlattr *a)
{
	a->nla_len = (uint16_t)(m->at - (char *)a);
}

/* Returns the first error that is answered, 0 for none. With a reply buffer, the answer's bytes. */
static int msg_send(struct msg *m, int protocol, char *reply, size_t size)
{
	char buf[8192];
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol), err = 0;
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	struct nlmsghdr *h;
	ssize_t n;

	if (fd < 0)
		return -errno;
	if (sendto(fd, m->bytes, (size_t)(m->at - m->bytes), 0, (void *)&kernel, sizeof(kernel)) <
	    0)
		err = -errno;
	/* The kernel has answered before sendto returns. */
	while (!err && (n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
		for (h = (void *)buf; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
			if (h->nlmsg_type == NLMSG_ERROR && !err)
				err = ((struct nlmsgerr *)NLMSG_DATA(h))->error;
			else if (reply && h->nlmsg_type != NLMSG_ERROR && h->nlmsg_len < size)
				memcpy(reply, h, h->nlmsg_len);
		}
	}
	close(fd);
	return err;
}

/* ---- links, queues, classifiers ---- */

static int link_new(const char *kind, const char *name, int below, int id)
{
	struct ifinfomsg head = { .ifi_family = AF_UNSPEC };
	struct nlattr *info, *data, *peer;
	struct msg m;

	msg_start(&m, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, &head, sizeof(head));
	attr_str(&m, IFLA_IFNAME, name);
	if (below)
		attr(&m, IFLA_LINK, &below, sizeof(below));
	info = attr_nest(&m, IFLA_LINKINFO);
	attr_str(&m, IFLA_INFO_KIND, kind);
	if (strcmp(kind, "veth") == 0) {
		data = attr_nest(&m, IFLA_INFO_DATA);
		peer = attr(&m, VETH_INFO_PEER | NLA_F_NESTED, &head, sizeof(head));
		attr_str(&m, IFLA_IFNAME, "probe-peer");
		attr_end(&m, peer);
		attr_end(&m, data);
	} else if (id) {
		data = attr_nest(&m, IFLA_INFO_DATA);
		if (strcmp(kind, "vlan") == 0)
			attr(&m, IFLA_VLAN_ID, &(uint16_t){ (uint16_t)id }, 2);
		else
			attr(&m, IFLA_VXLAN_ID, &id, sizeof(id));
		attr_end(&m, data);
	}
	attr_end(&m, info);
	return msg_send(&m, NETLINK_ROUTE, NULL, 0);
}

static int tc_new(int type, const char *kind, int ifindex, uint32_t parent, uint32_t handle)
{
	struct tcmsg head = { .tcm_family = AF_UNSPEC,
			      .tcm_ifindex = ifindex,
			      .tcm_parent = parent,
			      .tcm_handle = handle,
			      .tcm_info = type == RTM_NEWTFILTER ? (1 << 16 | htons(0x0003)) : 0 };
	struct msg m;

	msg_start(&m, type, NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK, &head, sizeof(head));
	attr_str(&m, TCA_KIND, kind);
	return msg_send(&m, NETLINK_ROUTE, NULL, 0);
}

static void probe_links(void)
{
	static const struct {
		const char *kind;
		int id;
	} kinds[] = {
		{ "bridge", 0 }, { "vlan", 7 }, { "macvlan", 0 }, { "macvtap", 0 }, { "vxlan", 9 },
	};
	int veth, err = link_new("veth", "probe0", 0, 0);

	verdict(err == 0, strerror(-err), "link veth");
	veth = (int)if_nametoindex("probe0");
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		char name[IFNAMSIZ];

		snprintf(name, sizeof(name), "p-%s", kinds[i].kind);
		err = link_new(kinds[i].kind, name, kinds[i].kind[0] == 'b' ? 0 : veth,
			       kinds[i].id);
		verdict(err == 0, strerror(-err), "link %s", kinds[i].kind);
		/* macvlan and macvtap share no card. */
		if (kinds[i].kind[0] == 'm') {
			struct ifinfomsg head = { .ifi_index = (int)if_nametoindex(name) };
			struct msg m;

			msg_start(&m, RTM_DELLINK, NLM_F_ACK, &head, sizeof(head));
			msg_send(&m, NETLINK_ROUTE, NULL, 0);
		}
	}
	verdict(if_nametoindex("dummy0") == 0, "it is there", "no link dummy0");
	err = tc_new(RTM_NEWQDISC, "fq", veth, TC_H_ROOT, 0x10000);
	verdict(err == 0, strerror(-err), "queue fq");
	tc_new(RTM_NEWQDISC, "fq_codel", veth, TC_H_ROOT, 0x20000);
	/* Without its options it is refused, but not as something unknown. */
	err = tc_new(RTM_NEWTFILTER, "cgroup", veth, 0x20000, 0);
	verdict(err != -ENOENT && err != -EOPNOTSUPP, strerror(-err), "classifier cgroup");
}

/* ---- packet filters ---- */

struct extension {
	const char *name;
	uint8_t revision;
	bool is_target;
	bool only4;
};

static const struct extension extensions[] = {
	{ "MARK", 2, true, false },	  { "CONNMARK", 1, true, false },
	{ "TPROXY", 1, true, false },	  { "CT", 2, true, false },
	{ "CHECKSUM", 0, true, false },	  { "REDIRECT", 0, true, true },
	{ "MASQUERADE", 0, true, true },  { "SET", 3, true, false },
	{ "TCPMSS", 0, true, false },	  { "mark", 1, false, false },
	{ "connmark", 1, false, false },  { "mac", 0, false, false },
	{ "length", 0, false, false },	  { "recent", 1, false, false },
	{ "hashlimit", 3, false, false }, { "iprange", 1, false, false },
	{ "socket", 3, false, false },	  { "physdev", 0, false, false },
	{ "set", 4, false, false },	  { "ipvs", 0, false, false },
	{ "policy", 0, false, false },	  { "rpfilter", 0, false, false },
	{ "owner", 1, false, false },	  { "multiport", 1, false, false },
	{ "statistic", 0, false, false }, { "addrtype", 1, false, false },
	{ "comment", 0, false, false },	  { "conntrack", 3, false, false },
};

static void probe_xtables(void)
{
	int s4 = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	int s6 = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);

	for (size_t i = 0; i < ARRAY_LEN(extensions); i++) {
		const struct extension *e = &extensions[i];
		struct xt_get_revision rev = { .revision = e->revision };
		socklen_t len = sizeof(rev);
		int r;

		strcpy(rev.name, e->name);
		r = getsockopt(s4, SOL_IP,
			       e->is_target ? IPT_SO_GET_REVISION_TARGET
					    : IPT_SO_GET_REVISION_MATCH,
			       &rev, &len);
		verdict(r == 0, strerror(errno), "iptables %s", e->name);
		if (e->only4)
			continue;
		r = getsockopt(s6, SOL_IPV6,
			       e->is_target ? IP6T_SO_GET_REVISION_TARGET
					    : IP6T_SO_GET_REVISION_MATCH,
			       &rev, &len);
		verdict(r == 0, strerror(errno), "ip6tables %s", e->name);
	}
	close(s4);
	close(s6);
}

static void nft_open(struct msg *m, int type, int flags, int family)
{
	struct nfgenmsg head = { .nfgen_family = (uint8_t)family, .version = NFNETLINK_V0 };

	msg_open(m, type < NFNL_MSG_BATCH_BEGIN ? (NFNL_SUBSYS_NFTABLES << 8 | type) : type, flags,
		 &head, sizeof(head));
	if (type >= NFNL_MSG_BATCH_BEGIN)
		((struct nfgenmsg *)NLMSG_DATA(m->cur))->res_id = htons(NFNL_SUBSYS_NFTABLES);
}

/* A table, a chain and a rule with this expression, without options, in one batch that then fails as a whole. */
static int nft_rule(const char *expression)
{
	struct nlattr *list, *element;
	struct msg m = { .at = m.bytes };

	nft_open(&m, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC);
	nft_open(&m, NFT_MSG_NEWTABLE, NLM_F_CREATE, NFPROTO_INET);
	attr_str(&m, NFTA_TABLE_NAME, "probe");
	nft_open(&m, NFT_MSG_NEWCHAIN, NLM_F_CREATE, NFPROTO_INET);
	attr_str(&m, NFTA_CHAIN_TABLE, "probe");
	attr_str(&m, NFTA_CHAIN_NAME, "probe");
	nft_open(&m, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND | NLM_F_ACK, NFPROTO_INET);
	attr_str(&m, NFTA_RULE_TABLE, "probe");
	attr_str(&m, NFTA_RULE_CHAIN, "probe");
	list = attr_nest(&m, NFTA_RULE_EXPRESSIONS);
	element = attr_nest(&m, NFTA_LIST_ELEM);
	attr_str(&m, NFTA_EXPR_NAME, expression);
	attr_end(&m, attr_nest(&m, NFTA_EXPR_DATA));
	attr_end(&m, element);
	attr_end(&m, list);
	m.cur->nlmsg_len = (uint32_t)(m.at - (char *)m.cur);
	nft_open(&m, NFNL_MSG_BATCH_END, 0, AF_UNSPEC);
	return msg_send(&m, NETLINK_NETFILTER, NULL, 0);
}

static void probe_nftables(void)
{
	static const char *const expressions[] = {
		"ct",	"limit",  "log",   "masq",   "redir",  "nat",	 "reject",  "fib",
		"hash", "numgen", "quota", "tproxy", "socket", "objref", "counter",
	};

	verdict(nft_rule("no-such") == -ENOENT, "it is taken", "nftables refuses what it hasn't");
	for (size_t i = 0; i < ARRAY_LEN(expressions); i++) {
		int err = nft_rule(expressions[i]);

		verdict(err != -ENOENT && err != -EPERM, strerror(-err), "nftables %s",
			expressions[i]);
	}
}

static void probe_ipset(void)
{
	static const char *const types[] = {
		"hash:ip",	    "hash:net",	   "hash:ip,port", "hash:ip,port,ip",
		"hash:ip,port,net", "bitmap:port", "list:set",
	};
	struct nfgenmsg head = { .nfgen_family = AF_INET, .version = NFNETLINK_V0 };
	char reply[8192];
	struct msg m;
	int err;

	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		/* Sets without addresses belong to no family. */
		bool either = types[i][0] == 'l' || strstr(types[i], ":mac") ||
			      strstr(types[i], ":port") == types[i] + 6;

		msg_start(&m, NFNL_SUBSYS_IPSET << 8 | IPSET_CMD_TYPE, NLM_F_ACK, &head,
			  sizeof(head));
		attr(&m, IPSET_ATTR_PROTOCOL, &(uint8_t){ IPSET_PROTOCOL }, 1);
		attr_str(&m, IPSET_ATTR_TYPENAME, types[i]);
		attr(&m, IPSET_ATTR_FAMILY, &(uint8_t){ either ? NFPROTO_UNSPEC : NFPROTO_IPV4 },
		     1);
		err = msg_send(&m, NETLINK_NETFILTER, reply, sizeof(reply));
		verdict(err == 0, strerror(-err), "ipset %s", types[i]);
	}
	for (int i = 0; i < 2; i++) {
		msg_start(&m, NFNL_SUBSYS_IPSET << 8 | (i ? IPSET_CMD_DESTROY : IPSET_CMD_CREATE),
			  NLM_F_ACK, &head, sizeof(head));
		attr(&m, IPSET_ATTR_PROTOCOL, &(uint8_t){ IPSET_PROTOCOL }, 1);
		attr_str(&m, IPSET_ATTR_SETNAME, "probe");
		if (!i) {
			attr_str(&m, IPSET_ATTR_TYPENAME, "hash:ip");
			attr(&m, IPSET_ATTR_REVISION, &(uint8_t){ 0 }, 1);
			attr(&m, IPSET_ATTR_FAMILY, &(uint8_t){ NFPROTO_IPV4 }, 1);
			attr_end(&m, attr_nest(&m, IPSET_ATTR_DATA));
		}
		err = msg_send(&m, NETLINK_NETFILTER, NULL, 0);
		verdict(err == 0, strerror(-err), "ipset %s", i ? "removed" : "made");
	}
}

static void probe_ipvs(void)
{
	static const char *const schedulers[] = { "rr", "wrr", "lc", "wlc", "sh" };
	int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	struct genlmsghdr head = { .cmd = CTRL_CMD_GETFAMILY, .version = 1 };
	struct msg m;
	int err;

	msg_start(&m, GENL_ID_CTRL, NLM_F_ACK, &head, sizeof(head));
	attr_str(&m, CTRL_ATTR_FAMILY_NAME, IPVS_GENL_NAME);
	err = msg_send(&m, NETLINK_GENERIC, NULL, 0);
	verdict(err == 0, strerror(-err), "IPVS by netlink");
	for (size_t i = 0; i < ARRAY_LEN(schedulers); i++) {
		struct ip_vs_service_user u = { .protocol = IPPROTO_TCP,
						.addr = htonl(0x0a090909),
						.port = htons((uint16_t)(1000 + i)),
						.netmask = 0xffffffff };

		strcpy(u.sched_name, schedulers[i]);
		err = setsockopt(fd, SOL_IP, IP_VS_SO_SET_ADD, &u, sizeof(u));
		verdict(err == 0, strerror(errno), "IPVS service by %s", schedulers[i]);
		if (err == 0)
			setsockopt(fd, SOL_IP, IP_VS_SO_SET_DEL, &u, sizeof(u));
	}
	close(fd);
}

/* ---- IPsec ---- */

static int sa_new(bool aead, uint32_t spi, int family)
{
	struct xfrm_usersa_info sa = {
		.sel.family = (uint16_t)family,
		.id.spi = htonl(spi),
		.id.proto = IPPROTO_ESP,
		.family = (uint16_t)family,
		.mode = XFRM_MODE_TUNNEL,
		.replay_window = 32,
		.lft = { ~0ULL, ~0ULL, ~0ULL, ~0ULL, 0, 0, 0, 0 },
	};
	struct {
		struct xfrm_algo_aead a;
		char key[36];
	} gcm = {
		.a = { .alg_name = "rfc4106(gcm(aes))", .alg_key_len = 160, .alg_icv_len = 128 }
	};
	struct {
		struct xfrm_algo a;
		char key[32];
	} cbc = { .a = { .alg_name = "cbc(aes)", .alg_key_len = 128 } },
	  hmac = { .a = { .alg_name = "hmac(sha256)", .alg_key_len = 256 } };
	struct msg m;

	sa.id.daddr.a6[0] = htonl(0x0a090901);
	sa.saddr.a6[0] = htonl(0x0a090902);
	msg_start(&m, XFRM_MSG_NEWSA, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, &sa, sizeof(sa));
	if (aead) {
		attr(&m, XFRMA_ALG_AEAD, &gcm, sizeof(gcm.a) + 20);
	} else {
		attr(&m, XFRMA_ALG_CRYPT, &cbc, sizeof(cbc.a) + 16);
		attr(&m, XFRMA_ALG_AUTH, &hmac, sizeof(hmac.a) + 32);
	}
	return msg_send(&m, NETLINK_XFRM, NULL, 0);
}

static void probe_ipsec(void)
{
	static const struct {
		const char *name;
		bool aead;
		uint32_t spi;
		int family;
	} sas[] = {
		{ "AES-GCM", true, 0x1000, AF_INET },
		{ "AES-CBC and SHA-256", false, 0x1001, AF_INET },
		{ "AES-GCM, IPv6", true, 0x1002, AF_INET6 },
	};

	for (size_t i = 0; i < ARRAY_LEN(sas); i++) {
		int err = sa_new(sas[i].aead, sas[i].spi, sas[i].family);

		verdict(err == 0, strerror(-err), "IPsec %s", sas[i].name);
	}
}

/* ---- sockets ---- */

static void probe_sockets(void)
{
	char text[256];
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	verdict(setsockopt(fd, SOL_IP, IP_TRANSPARENT, &one, sizeof(one)) == 0, strerror(errno),
		"transparent sockets");
	verdict(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "bbr", 3) == 0, strerror(errno),
		"TCP with BBR");
	close(fd);
	verdict(read_file("/proc/sys/net/ipv4/tcp_congestion_control", text, sizeof(text)) &&
			strcmp(text, "cubic\n") == 0,
		text, "TCP by CUBIC unless asked");
	verdict(access("/proc/sys/net/netfilter/nf_conntrack_sctp_timeout_established", F_OK) == 0,
		strerror(errno), "connections of SCTP are tracked");
}

/* Nobody in this guest is reached through vsock, whatever the address. */
static void probe_vsock(void)
{
	unsigned int own = 0;
	int dev = open("/dev/vsock", O_RDONLY | O_CLOEXEC);
	int server = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_vm a = { .svm_family = AF_VSOCK,
				 .svm_port = 7777,
				 .svm_cid = VMADDR_CID_ANY };

	if (dev >= 0)
		ioctl(dev, IOCTL_VM_SOCKETS_GET_LOCAL_CID, &own);
	if (bind(server, (void *)&a, sizeof(a)) < 0 || listen(server, 1) < 0)
		verdict(false, strerror(errno), "vsock port");
	for (unsigned int cid = 1; cid; cid = cid == 1 && own > 2 ? own : 0) {
		int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
		struct timeval limit = { 2, 0 };

		a.svm_cid = cid;
		setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &limit, sizeof(limit));
		verdict(connect(fd, (void *)&a, sizeof(a)) < 0, "connected",
			"no loopback over vsock, %s", cid == 1 ? "CID 1" : "own CID");
		close(fd);
	}
	close(server);
	close(dev);
}

static void probe_network(void)
{
	if (unshare(CLONE_NEWNET) < 0)
		verdict(false, strerror(errno), "network namespace");
	probe_links();
	probe_xtables();
	probe_nftables();
	probe_ipset();
	probe_ipvs();
	probe_ipsec();
	probe_sockets();
}

/* ---- what a process may want ---- */

static void probe_io_uring(void)
{
	struct io_uring_params p = { 0 };
	int fd = (int)syscall(SYS_io_uring_setup, 4, &p);
	struct io_uring_sqe *sqes;
	char *sq, *cq;
	int done;

	if (fd < 0) {
		verdict(false, strerror(errno), "io_uring");
		return;
	}
	sq = mmap(NULL, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		  IORING_OFF_SQ_RING);
	cq = mmap(NULL, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe),
		  PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_CQ_RING);
	sqes = mmap(NULL, p.sq_entries * sizeof(*sqes), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		    IORING_OFF_SQES);
	if (sq == MAP_FAILED || cq == MAP_FAILED || sqes == MAP_FAILED) {
		verdict(false, strerror(errno), "io_uring's rings");
		return;
	}
	memset(sqes, 0, sizeof(*sqes));
	sqes[0].opcode = IORING_OP_NOP;
	sqes[0].user_data = 4711;
	*(uint32_t *)(void *)(sq + p.sq_off.array) = 0;
	*(uint32_t *)(void *)(sq + p.sq_off.tail) += 1;
	done = (int)syscall(SYS_io_uring_enter, fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0);
	verdict(done == 1 &&
			((struct io_uring_cqe *)(void *)(cq + p.cq_off.cqes))->user_data == 4711,
		strerror(errno), "io_uring");
	close(fd);
}

static void probe_process(void)
{
	char text[1 << 12];

	probe_io_uring();
	verdict(syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) > 0,
		strerror(errno), "Landlock");
#ifdef SYS_modify_ldt
	verdict(syscall(SYS_modify_ldt, 0, text, sizeof(text)) >= 0, strerror(errno), "modify_ldt");
#endif
	read_file("/proc/sys/kernel/pid_max", text, sizeof(text));
	verdict(atoi(text) >= 32768, text, "32,768 processes");
	read_file("/proc/filesystems", text, sizeof(text));
	for (const char *const *fs = (const char *const[]){ "erofs", "overlay", "ext4", "xfs",
							    "virtiofs", "9p", NULL };
	     *fs; fs++)
		verdict(strstr(text, *fs) != NULL, "not in /proc/filesystems", "file system %s",
			*fs);
}

/* ---- what only the guest's own init can try ---- */

static void probe_core_pattern(void)
{
	struct rlimit core = { RLIM_INFINITY, RLIM_INFINITY };
	int status;
	pid_t pid;

	verdict(write_file("/proc/sys/kernel/core_pattern", "|/init core"), strerror(errno),
		"core_pattern");
	pid = fork();
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &core);
		abort();
	}
	waitpid(pid, &status, 0);
	usleep(200000);
	verdict(access("/helper-ran", F_OK) < 0, "it ran",
		"the kernel starts no program for a crash");
}

static bool loop_mount(const char *file, const char *dir, const char *type, int number)
{
	char loop[32];
	int fd = open(file, O_RDONLY | O_CLOEXEC), dev;

	snprintf(loop, sizeof(loop), "/dev/loop%d", number);
	dev = open(loop, O_RDONLY | O_CLOEXEC);
	mkdir(dir, 0755);
	return ioctl(dev, LOOP_SET_FD, fd) == 0 && mount(loop, dir, type, MS_RDONLY, NULL) == 0;
}

/* Two layers of erofs below a tmpfs: what a multi-layer root is. */
static void probe_layers(void)
{
	char text[64];

	if (access("/layer0.erofs", F_OK) < 0)
		return;
	verdict(loop_mount("/layer0.erofs", "/layer0", "erofs", 0), strerror(errno),
		"erofs, first layer");
	verdict(loop_mount("/layer1.erofs", "/layer1", "erofs", 1), strerror(errno),
		"erofs, second layer");
	mkdir("/upper", 0755);
	mkdir("/merged", 0755);
	mount("tmpfs", "/upper", "tmpfs", 0, NULL);
	mkdir("/upper/u", 0755);
	mkdir("/upper/w", 0755);
	verdict(mount("overlay", "/merged", "overlay", 0,
		      "lowerdir=/layer1:/layer0,upperdir=/upper/u,workdir=/upper/w") == 0,
		strerror(errno), "overlay over both");
	read_file("/merged/word", text, sizeof(text));
	verdict(strcmp(text, "1\n") == 0 && access("/merged/only0", F_OK) == 0, text,
		"the upper layer wins");
}

static void probe_device_mapper(void)
{
	char buf[16384] = { 0 };
	struct dm_ioctl *d = (void *)buf;
	bool verity = false;
	int fd = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);

	d->version[0] = DM_VERSION_MAJOR;
	d->data_size = sizeof(buf);
	d->data_start = sizeof(*d);
	if (ioctl(fd, DM_LIST_VERSIONS, d) == 0) {
		struct dm_target_versions *v = (void *)(buf + d->data_start);

		for (;; v = (void *)((char *)v + v->next)) {
			verity = verity || strcmp(v->name, "verity") == 0;
			if (!v->next)
				break;
		}
	}
	verdict(verity, strerror(errno), "device-mapper with verity");
	close(fd);
}

static void probe_cgroups(void)
{
	char text[256];

	mkdir("/cg", 0755);
	verdict(mount("cgroup2", "/cg", "cgroup2", 0, NULL) == 0, strerror(errno), "cgroup v2");
	write_file("/cg/cgroup.subtree_control", "+memory +io +cpu +pids +hugetlb +cpuset");
	mkdir("/cg/a", 0755);
	verdict(write_file("/cg/a/memory.reclaim", "4096") || errno == EAGAIN, strerror(errno),
		"memory.reclaim");
	verdict(write_file("/sys/kernel/mm/lru_gen/enabled", "y"), strerror(errno),
		"multi-generational LRU");
	if (access("/sys/block/vda", F_OK) < 0)
		return;
	verdict(write_file("/sys/block/vda/queue/scheduler", "bfq"), strerror(errno),
		"BFQ for a disk");
	verdict(write_file("/cg/a/io.bfq.weight", "250"), strerror(errno), "io.bfq.weight");
	read_file("/cg/a/io.bfq.weight", text, sizeof(text));
	verdict(strstr(text, "default 250") != NULL, text, "io.bfq.weight is kept");
}

static long mem_total_kb(void)
{
	char text[4096];
	const char *p;

	read_file("/proc/meminfo", text, sizeof(text));
	p = strstr(text, "MemTotal:");
	return p ? atol(p + 9) : 0;
}

/* The words of the command line say what this machine has: probe=numa,iommu,virtio-mem,selinux */
static void probe_machine(const char *words)
{
	char text[4096];

	read_file("/sys/kernel/security/lsm", text, sizeof(text));
	verdict(strstr(text, "landlock") &&
			strstr(text, strstr(words, "selinux") ? "selinux" : "apparmor"),
		text, "security modules");
	verdict(!strstr(text, strstr(words, "selinux") ? "apparmor" : "selinux"), text,
		"one of the two great ones");
	if (!strstr(words, "selinux")) {
		read_file("/sys/module/apparmor/parameters/enabled", text, sizeof(text));
		verdict(text[0] == 'Y', text, "AppArmor is on");
	}
	verdict(access("/dev/vfio/vfio", F_OK) == 0, strerror(errno), "/dev/vfio/vfio");
	if (strstr(words, "numa"))
		verdict(access("/sys/devices/system/node/node1/meminfo", F_OK) == 0,
			strerror(errno), "two NUMA nodes");
	if (strstr(words, "iommu"))
		verdict(access("/sys/kernel/iommu_groups/0", F_OK) == 0, strerror(errno),
			"IOMMU groups");
	if (strstr(words, "virtio-mem")) {
		long kb = 0;

		for (int i = 0; i < 100 && (kb = mem_total_kb()) < 320 << 10; i++)
			usleep(100000);
		snprintf(text, sizeof(text), "MemTotal is %ld kB", kb);
		verdict(kb >= 320 << 10, text, "memory by virtio-mem");
	}
	probe_core_pattern();
	probe_layers();
	probe_device_mapper();
	probe_cgroups();
}

static void init(void)
{
	char line[4096];
	const char *words;

	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mkdir("/dev", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	mount("securityfs", "/sys/kernel/security", "securityfs", 0, NULL);
	read_file("/proc/cmdline", line, sizeof(line));
	words = strstr(line, "probe=");
	probe_process();
	probe_machine(words ? words : "");
	probe_network();
	puts("kernel-probe: end");
	fflush(stdout);
	reboot(RB_POWER_OFF);
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "core") == 0)
		return creat("/helper-ran", 0644) < 0;
	if (getpid() == 1 && argc == 1)
		init();
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "network") == 0)
			probe_network();
		else if (strcmp(argv[i], "process") == 0)
			probe_process();
		else if (strcmp(argv[i], "vsock") == 0)
			probe_vsock();
		else
			return 2;
	}
	return 0;
}
