/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bounds on what comes from outside, by name. What a format itself sets (the ten bytes of a
 * varint) stands with the format, and how long it is until the next try with what is tried.
 */
#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

#define LIMIT_MESSAGE	   (4u << 20)  /* one request, as gRPC and ttrpc have it */
#define LIMIT_ARENA	   (24u << 20) /* memory of one call, its decoded request included */
#define LIMIT_CALLS	   1024u       /* calls open on one connection */
#define LIMIT_CALLS_TOTAL  8192u       /* calls open in the agent */
#define LIMIT_BODIES	   (64u << 20) /* request bodies held by all connections together */
#define LIMIT_BODY_ANYTIME 64u	  /* but a request that is no longer is always taken: a Check */
#define LIMIT_CONNS	   1024u  /* connections open at once */
#define LIMIT_HEADERS	   8192u  /* header list of one request, in bytes */
#define LIMIT_FDS	   65536u /* descriptors that the agent asks for */
#define LIMIT_CONTAINERS   256u
#define LIMIT_PROCESSES	   1024u /* processes of one container */
#define LIMIT_DRAINS	   1024u /* pipes of a container's background processes that nobody reads */
#define LIMIT_STREAMS	   3072u /* passfd: waiting for a process; not read out by the host */
#define LIMIT_CDI_DEVICES  256u	 /* of one container */
#define LIMIT_CDI_FILE	   (1u << 20) /* that describes devices */
#define LIMIT_CDI_TEXTS	   (4u << 20) /* of all such files */
#define LIMIT_OOM_EVENTS   100u	      /* that nobody has asked for; later ones are dropped */
#define LIMIT_MOUNTS	   4096u
#define LIMIT_STORAGES	   256u
#define LIMIT_STORAGE_DIRS 512u /* driver options, and so folders to be made, of one storage */
#define LIMIT_ID	   256u /* container and exec ids, in bytes */
#define LIMIT_MOUNTINFO	   (4u << 20)  /* text of a mount table */
#define LIMIT_PATH	   4096u       /* a path with its NUL: the kernel's PATH_MAX */
#define LIMIT_SPEC_JSON	   (16u << 20) /* config.json that hooks read */
#define LIMIT_READ	   (1u << 20)  /* bytes that one ReadStdout may return */

/* What waits for a peer to read it; above that nothing more of the peer's is read or run. */
#define LIMIT_UNSENT	   (64u << 20) /* of all together: then one answer waits for each peer */
#define LIMIT_H2_UNSENT	   (16u << 20)
#define LIMIT_TTRPC_UNSENT (1u << 20)
#define LIMIT_YAMUX_UNSENT (64u << 10)
/* What a peer may send before we have taken note. */
#define LIMIT_H2_WINDOW		(1u << 20) /* on a stream */
#define LIMIT_H2_SESSION_WINDOW (4u << 20)
/* ttrpc's clients can't be told a limit, so that it is generous: three calls for every process. */
#define LIMIT_TTRPC_CALLS   (4 * LIMIT_CALLS)
#define LIMIT_YAMUX_STREAMS 1024u  /* of one session; the next one is reset */
#define LIMIT_CONSOLES	    32	   /* shells on the debug console's port at once */
#define LIMIT_ACCEPTS	    16	   /* connections accepted before others have their turn */
#define LIMIT_FIRST_BYTE_MS 120000 /* what gRPC-Go gives a client for its preface, too */
#define LIMIT_LINGER_MS	    2000  /* of a socket that we have shut down, for the peer to close it */
#define LIMIT_YAMUX_FIN_MS  10000 /* the same of a yamux stream */

/* From the kernel, and what is asked of it. */
#define LIMIT_NETLINK_DUMP  (16u << 20) /* answers to one rtnetlink dump */
#define LIMIT_NETLINK_TRIES 16		/* of a dump that is torn by changes each time */
#define LIMIT_ADDRESSES	    1024u /* of one request; the kernel compares each with all others */
#define LIMIT_ROUTES	    4096u /* the same */
#define LIMIT_NEIGHBORS	    4096u /* the same */
#define LIMIT_UEVENT_BUF    (16 << 20) /* a plugged 128 GB are a thousand events at once */
#define LIMIT_UEVENTS	    256	       /* read before others have their turn */
#define LIMIT_PCI_PATH	    16u	       /* bridges, and the device behind them */
#define LIMIT_SCSI_ID	    0xffffffu

/* What has taken so long is given up, and its caller told (in ms). */
#define LIMIT_WORK_MS	      50000 /* a worker: within the minute that runtimes give a call */
#define LIMIT_WORKER_DEATH_MS 2000  /* a worker that was killed: it may hang in the kernel */
#define LIMIT_REMOVAL_MS      10000 /* of processes that do not die; they are tried again then */
#define LIMIT_DESTROY_MS      50000 /* the whole DestroySandbox */
#define LIMIT_FREEZER_MS      50000 /* pausing, resuming: runtimes wait a minute for it */
#define LIMIT_UNMOUNT_MS      30000 /* unmounting storages, mounting between containers */
#define LIMIT_SHARING_MS      10000 /* a container's shared mounts: for their sources to come */
#define LIMIT_ONLINE_MS	      60000 /* CPUs and memory that the host has plugged */
#define LIMIT_SCRAPE_MS	      5000  /* the guest's figures for GetMetrics */
#define LIMIT_MODULES_MS      60000 /* modules of the image at boot */
#define LIMIT_PS_MS	      10000 /* ps, for ListProcesses */
#define LIMIT_RULES_MS	      20000 /* a program of iptables */

/* A container's spec and image. */
#define LIMIT_DEVICES	    4096u  /* of one container; a privileged one gets the whole host's */
#define LIMIT_DEVICE_RULES  512u   /* of one cgroup; each is some BPF instructions */
#define LIMIT_SECCOMP_RULES 16384u /* names times separate arguments; Docker's has 450 */
#define LIMIT_MOUNT_OPTIONS (64u << 10) /* memory for one entry's option texts */
#define LIMIT_SYSCTL_NAME   256u
#define LIMIT_HOOK_SECONDS  1000000	/* a longer timeout is none */
#define LIMIT_USER_DATABASE (4u << 20)	/* bytes of the image's passwd, of its group */
#define LIMIT_COPYUP_DEPTH  64		/* directories one in another */
#define LIMIT_CGROUP_GROUPS 2048u	/* that a container made below its own cgroup */
#define LIMIT_CGROUP_DEPTH  64		/* levels that a container made below its own */
#define LIMIT_CGROUP_FILE   65536u	/* cpuacct.usage_percpu and io.stat grow with the machine */
#define LIMIT_CPUS	    8192u	/* the largest NR_CPUS of any Linux */
#define LIMIT_ROOT_DISKS    32u		/* block devices that "/" may stand on */
#define LIMIT_MAJORS	    512		/* of devices, in the kernel */
#define LIMIT_MINORS	    512		/* of a major: what a wildcard means in v1 */
#define LIMIT_DEVICE_WRITES 16384u	/* to a v1 cgroup, where wildcards are said by numbers */
#define LIMIT_GUEST_DEVICES 32u		/* other devices of the guest itself, by number */
#define LIMIT_MODULE_LIST   (64u << 10) /* bytes of a file of modules-load.d */
#define LIMIT_MODULE_WORDS  32u		/* parameters of one module */

#define LIMIT_WORK_OUT	    (64u << 10)	 /* bytes that a worker may hand over for an answer */
#define LIMIT_RULES	    (3u << 20)	 /* bytes that iptables-save may say: fits into an answer */
#define LIMIT_PS	    (1u << 20)	 /* bytes that ps may say */
#define LIMIT_HOOK_FAILURES (16u << 10)	 /* bytes of text about failed hooks */
#define LIMIT_TERM_LOG	    4096u	 /* bytes of a container's last message */
#define LIMIT_GUEST_HOOKS   (1u << 20)	 /* of a sandbox's guest hooks, as a message */
#define LIMIT_DNS	    (256u << 10) /* bytes of resolv.conf */
#define LIMIT_WATCH_FILES   16u		 /* of a watchable bind that is copied; else it is bound */
#define LIMIT_WATCH_DEPTH   8		 /* directories one in another */
#define LIMIT_WATCH_BYTES   (1u << 20)	 /* of these together */
#define LIMIT_DEPTH	    128		 /* directories one in another, of a volume or a tree */
#define LIMIT_SCRAPE_OUT    (1u << 20)	 /* bytes of the guest's metrics */
#define LIMIT_FILESYSTEMS   64		 /* that metrics tell of */

#endif
