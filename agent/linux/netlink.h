/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small netlink: messages are built into a fixed buffer that cannot overflow, answers are read
 * with every length checked. rtnetlink answers inside sendmsg(), so requests may be made in the
 * loop.
 *
 * All functions return 0 or -errno. The kernel chooses the port id: as PID 1 our pid would clash.
 */
#ifndef LINUX_NETLINK_H
#define LINUX_NETLINK_H

#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define NL_MSG_MAX  8192	/* one request of ours */
#define NL_DUMP_MAX (16u << 20) /* all answers to one dump */

struct nl {
	int fd;
	uint32_t seq, port;
};

/* A request. What does not fit sets bad, and sending it fails with -EMSGSIZE. */
struct nl_msg {
	union {
		struct nlmsghdr h;
		uint8_t bytes[NL_MSG_MAX];
	};
	bool bad;
};

int nl_open(struct nl *nl, int protocol);
void nl_close(struct nl *nl);

/* Starts a message: type, NLM_F_* beyond REQUEST, and the family's header. */
void nl_begin(struct nl_msg *m, uint16_t type, uint16_t flags, const void *head, size_t head_len);
void nl_attr(struct nl_msg *m, uint16_t type, const void *data, size_t len);
void nl_attr_u32(struct nl_msg *m, uint16_t type, uint32_t v);
void nl_attr_str(struct nl_msg *m, uint16_t type, const char *s); /* with its NUL */
/* Attributes between the two are inside the nest. */
size_t nl_nest(struct nl_msg *m, uint16_t type);
void nl_nest_end(struct nl_msg *m, size_t nest);
/* Appends attributes as they came in a message of the kernel. */
void nl_attrs_copy(struct nl_msg *m, const void *attrs, size_t len);

/* Sends and waits for the kernel's word: 0, or the errno it answered. */
int nl_request(struct nl *nl, struct nl_msg *m);
/*
 * Sends with NLM_F_DUMP and collects the answers, all of one consistent state: a dump that the
 * kernel says was interrupted is started again. out must be zero or freed; the caller frees it.
 */
int nl_dump(struct nl *nl, struct nl_msg *m, struct buf *out);

/* Walks a dump: the first message for prev NULL, NULL after the last. Lengths are sound. */
const struct nlmsghdr *nl_next(const struct buf *dump, const struct nlmsghdr *prev);
/* The family's header of len bytes, or NULL where the message is too short for it. */
const void *nl_head(const struct nlmsghdr *h, size_t len);
/*
 * Sorts the attributes behind a header of head_len bytes by type, into tb[0..max]; absent ones and
 * types above max are NULL, of several the last one counts.
 */
void nl_parse(const struct nlmsghdr *h, size_t head_len, const struct nlattr **tb, size_t max);
/* The same for the attributes inside one (nested). */
void nl_parse_nested(const struct nlattr *nest, const struct nlattr **tb, size_t max);

size_t nl_len(const struct nlattr *a); /* of the payload */
const void *nl_data(const struct nlattr *a);
/* The number, or fallback where the attribute is absent or too short. */
uint32_t nl_u32(const struct nlattr *a, uint32_t fallback);
/* Copies a text, always terminated and cut to size; "" when absent. */
void nl_str(const struct nlattr *a, char *buf, size_t size);

#endif
