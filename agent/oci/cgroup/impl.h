/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of oci/cgroup share; for nobody else.
 */
#ifndef OCI_CGROUP_IMPL_H
#define OCI_CGROUP_IMPL_H

#include <limits.h>
#include <stdint.h>

#include "oci/cgroup/cgroup.h"
#include "base/limits.h"
#include "base/list.h"
#include "linux/rootdisk.h"

/* The controllers of v1, each of which may have its own hierarchy; v2 has one for all. */
enum ctl {
	CTL_CPUSET,
	CTL_DEVICES,
	CTL_MEMORY,
	CTL_CPU,
	CTL_CPUACCT,
	CTL_PIDS,
	CTL_BLKIO,
	CTL_HUGETLB,
	CTL_NET_CLS,
	CTL_NET_PRIO,
	CTL_PERF_EVENT,
	CTL_FREEZER,
	CTL_SYSTEMD,
	CTL_COUNT,
};

enum cgroup_mode { CGROUP_NONE, CGROUP_V1, CGROUP_V2 };

#define SHARES_MIN 2u /* cpu.shares; the kernel clamps silently */
#define SHARES_MAX 262144u

#define CTL_NONE (-1)

struct hierarchy {
	int fd;	       /* its mount point, O_PATH */
	uint32_t ctls; /* bit n: enum ctl n */
	char *name;    /* last component of the mount point */
	char *top;     /* the cgroup that is mounted there, mostly "/" */
	char *own;     /* the agent's cgroup below the mount point, "" for the top */
};

struct made_dir { /* a directory above containers that we made */
	struct list link;
	char path[];
};

struct cgroup_root {
	enum cgroup_mode mode;
	size_t count; /* of hierarchies */
	struct hierarchy h[CTL_COUNT];
	int of[CTL_COUNT];     /* index into h, or CTL_NONE where the guest has no such thing */
	char enable[128];      /* v2: "+cpu +io ..." for cgroup.subtree_control */
	char lacks[256];       /* what a guest should have and this one has not */
	struct list made;      /* struct made_dir */
	struct rootdisk disks; /* what no container may open */
};

/* Old values of what an update wrote, to write them back when it fails half-way. */
#define JOURNAL_ROWS 40u
struct journal {
	size_t count;
	struct {
		enum ctl ctl;
		char file[64], *old; /* from malloc */
	} row[JOURNAL_ROWS];
};

struct cgroup {
	struct cgroup_root *root;
	char *path; /* below the mount point, or below the agent's own cgroup */
	bool below_own;
	bool own_cpus;	/* its CPUs were asked for */
	uint32_t made;	/* bit n: we made the leaf in hierarchy n */
	int dir_fd;	/* v2 only */
	int program_fd; /* v2: the attached device program */
	int oom_fd;
	uint64_t oom_seen;	 /* kills counted when last looked */
	struct journal *journal; /* set while an update runs */
};

/* layout.c: from the texts of /proc/self/mountinfo and /proc/self/cgroup, cut in place. */
int cgroup_root_parse(char *mountinfo, char *self, struct cgroup_root **ret, struct err *err);
extern const char *const cgroup_ctl_names[CTL_COUNT];
/*
 * A path as /proc/PID/cgroup has it is relative to the hierarchy's top, what we can reach begins
 * at the mount's root, top: a container runtime may have mounted only a part. "": out of reach.
 */
const char *cgroup_below_top(const char *path, const char *top);

/* file.c: files of a container's cgroup. -ENOENT also when the controller isn't there. */
struct cgroup_path {
	char text[PATH_MAX];
};
/* "path/file" below the hierarchy's mount point (file NULL: the directory); 0 or -ENAMETOOLONG. */
int cgroup_path(const struct cgroup *cg, const struct hierarchy *h, const char *file,
		struct cgroup_path *ret);
bool cgroup_has(const struct cgroup *cg, enum ctl ctl);
int cgroup_open(const struct cgroup *cg, enum ctl ctl, const char *file, int flags);
/* As fdio_read_file: the length or -errno. */
ssize_t cgroup_read(const struct cgroup *cg, enum ctl ctl, const char *file, char *buf,
		    size_t size);
/* A number; "max" is UINT64_MAX. */
int cgroup_read_u64(const struct cgroup *cg, enum ctl ctl, const char *file, uint64_t *ret);
/* The number behind "key " at the start of a line. */
int cgroup_read_key(const struct cgroup *cg, enum ctl ctl, const char *file, const char *key,
		    uint64_t *ret);
int cgroup_write(struct cgroup *cg, enum ctl ctl, const char *file, struct err *err,
		 const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* Writes back what the journal holds, newest first; forgets it. */
void cgroup_undo(struct cgroup *cg);
void cgroup_journal_free(struct journal *j);

/* cpuset.c: lists of CPU numbers as the kernel writes them: "0-3,8" */
struct cpuset {
	uint64_t bits[LIMIT_CPUS / 64];
};

/* Numbers and rising ranges separated by commas, "" for the empty set; else -EINVAL. */
int cpuset_parse(const char *list, struct cpuset *ret);
bool cpuset_contains(const struct cpuset *set, const struct cpuset *subset);
/*
 * What to write for a container that asks for requested in a guest with these CPUs online: one of
 * the two strings. -EINVAL when either can't be parsed.
 */
int cpuset_clamp(const char *requested, const char *online, const char **ret);

/* The CPUs that are online, as text; 0 or -errno. */
int cgroup_online_cpus(char *buf, size_t size, struct err *err);
/* wanted, or what is online where wanted has more; the text may live in buf. */
int cgroup_clamp_cpus(const char *wanted, char *buf, size_t size, const char **ret,
		      struct err *err);

/* cpuset.mems, cut to the nodes that the guest has. */
int cgroup_write_mems(struct cgroup *cg, const char *wanted, struct err *err);

/* limits.c: what both versions do */
/* What no version takes, or no controller of the guest can give: before anything is written. */
int cgroup_check_limits(const struct cgroup *cg, const Grpc__LinuxResources *res, bool update,
			struct err *err);
int cgroup_write_pids(struct cgroup *cg, const Grpc__LinuxResources *res, struct err *err);
bool cgroup_is_page_size(const char *s);
/* The error for weights where no scheduler of block I/O has them. */
int cgroup_no_weights(struct err *err);
/* Writes the huge page limits to "hugetlb.<size>.<suffix>" and, of reservations, ".rsvd.<suffix>". */
int cgroup_write_hugepages(struct cgroup *cg, const Grpc__LinuxResources *res, const char *suffix,
			   struct err *err);

/* v1.c, v2.c */
int cgroup_v1_prepare(struct cgroup *cg, const Grpc__LinuxResources *res, struct err *err);
int cgroup_v1_limits(struct cgroup *cg, const Grpc__LinuxResources *res, bool update,
		     struct err *err);
int cgroup_v1_widen(struct cgroup *cg, const char *online, struct err *err);
int cgroup_v2_enable(struct cgroup *cg, struct err *err);
/* cpu.weight for v1's cpu.shares, 2..262144 */
uint64_t cgroup_v2_weight(uint64_t shares);
int cgroup_v2_limits(struct cgroup *cg, const Grpc__LinuxResources *res, bool update,
		     struct err *err);

/* devices.c, bpf.c */
struct device_rule {
	bool allow;
	char type;	      /* 'a', 'b' or 'c' */
	int64_t major, minor; /* -1: any */
	unsigned int access;  /* BPF_DEVCG_ACC_* */
};
int cgroup_device_rule(const Grpc__LinuxDeviceCgroup *d, size_t number, struct device_rule *ret,
		       struct err *err);
int cgroup_bpf_attach(struct cgroup *cg, const struct device_rule *rules, size_t count,
		      struct err *err);

#endif
