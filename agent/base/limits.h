/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every bound on something that comes from outside, by name.
 */
#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

#define LIMIT_MESSAGE	   (4u << 20)  /* one request, as gRPC and ttrpc have it */
#define LIMIT_ARENA	   (24u << 20) /* memory of one call, its decoded request included */
#define LIMIT_CALLS	   1024u       /* calls open on one connection */
#define LIMIT_CALLS_TOTAL  8192u       /* calls open in the agent */
#define LIMIT_BODIES	   (64u << 20) /* request bodies held by all connections together */
#define LIMIT_CONNS	   1024u       /* connections open at once */
#define LIMIT_HEADERS	   8192u       /* header list of one request, in bytes */
#define LIMIT_FDS	   65536u      /* descriptors that the agent asks for */
#define LIMIT_CONTAINERS   256u
#define LIMIT_PROCESSES	   1024u /* processes of one container */
#define LIMIT_MOUNTS	   1024u
#define LIMIT_STORAGES	   256u
#define LIMIT_ID	   256u	       /* container and exec ids, in bytes */
#define LIMIT_MOUNTINFO	   (4u << 20)  /* text of a mount table */
#define LIMIT_PATH	   4096u       /* a path with its NUL: the kernel's PATH_MAX */
#define LIMIT_SPEC_JSON	   (16u << 20) /* config.json that hooks read */
#define LIMIT_NETLINK_DUMP (16u << 20) /* answers to one rtnetlink dump */
#define LIMIT_READ	   (1u << 20)  /* bytes that one ReadStdout may return */

/* What has taken so long is given up, and its caller told (in ms). */
#define LIMIT_WORK_MS	 50000 /* a worker: within the minute that runtimes give a call */
#define LIMIT_UNMOUNT_MS 30000 /* unmounting storages, mounting between containers */
#define LIMIT_ONLINE_MS	 60000 /* CPUs and memory that the host has plugged */
#define LIMIT_RULES_MS	 20000 /* a program of iptables */

#define LIMIT_WORK_OUT	  (64u << 10)  /* bytes that a worker may hand over for an answer */
#define LIMIT_RULES	  (3u << 20)   /* bytes that iptables-save may say: fits into an answer */
#define LIMIT_TERM_LOG	  4096u	       /* bytes of a container's last message */
#define LIMIT_DNS	  (256u << 10) /* bytes of resolv.conf */
#define LIMIT_DEPTH	  128	       /* directories one in another, of a volume or a tree */
#define LIMIT_FILESYSTEMS 64	       /* that metrics tell of */

#endif
