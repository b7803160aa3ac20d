/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Control groups of containers, cgroup v1 and v2.
 *
 * A struct cgroup_root is the guest's layout, read once. A struct cgroup is one container's
 * directory in every hierarchy. What takes time (freezing, killing, removal, an OOM kill being
 * counted) is a question that the caller repeats from a timer; nothing here waits.
 *
 * The life of a container:
 *
 *	cgroup_create()			directories, cpuset and limits; nobody inside yet
 *	child: cgroup_join()		by itself (v1), or clone3 with cgroup_attach_fd() (v2)
 *	cgroup_set_devices()		when the child has done its mounts and device nodes
 *	cgroup_oom_watch(), _update(), _freeze(), _stats(), _kill() ...
 *	cgroup_remove(), repeated while -EBUSY; cgroup_free()
 *
 * A guest without any cgroup file system can run containers that ask for no limits: creating,
 * joining and removal do nothing there, statistics are zeros. Whatever a container asks for and the
 * guest's controllers can't give is -EOPNOTSUPP with the controller's name; a limit is never
 * dropped in silence.
 */
#ifndef OCI_CGROUP_CGROUP_H
#define OCI_CGROUP_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/arena.h"
#include "base/err.h"
#include "oci.pb-c.h"

struct cgroup_root;
struct cgroup;

enum cgroup_frozen { CGROUP_THAWED, CGROUP_FREEZING, CGROUP_FROZEN };

/*
 * Finds what is mounted (after init has mounted it) and the disks that hold the guest's own "/".
 * No cgroups at all are no error here: why, if not "", then says why there are none. Fails only
 * without memory.
 */
int cgroup_root_open(const char *why, struct cgroup_root **ret, struct err *err);
/* What the guest should have and has not, as a sentence, with the reason; "" when all is there. */
const char *cgroup_root_lacks(const struct cgroup_root *root);
/* Whether it is cgroup v2 that containers are limited by. */
bool cgroup_root_is_unified(const struct cgroup_root *root);
void cgroup_root_free(struct cgroup_root *root); /* after all its cgroups */

/*
 * cgroups_path as in the spec: a path from the root of each hierarchy ("..", ".", "//" are
 * cleaned and can't leave it), "slice:prefix:name", or "" for cid (v1: below the agent's own
 * cgroup). cid must be one safe path component. The limits of res (may be NULL) are written,
 * its cpuset cut to the CPUs that are online; device rules are not, see below. On failure what
 * was made is removed. root must outlive the cgroup.
 */
int cgroup_create(struct cgroup_root *root, const char *cgroups_path, const char *cid,
		  const Grpc__LinuxResources *res, struct cgroup **ret, struct err *err);

struct cgroup_devices {
	const Grpc__LinuxResources *res;  /* whose rules; may be NULL */
	Grpc__LinuxDevice *const *device; /* the spec's devices, in the guest's numbers */
	size_t count;
	bool privileged;
};
/*
 * Which devices a container may use: what the rules say, in their order, and what every container
 * needs. Where no rule denies anything and none allows everything (hosts leave the rules out), a
 * privileged container may use all, any other only what every container needs, what the rules
 * allow, and the spec's character devices. What is the guest's own is denied to all, but for a
 * character device that the spec names; the guest's disks have no such exception. Called again it
 * replaces the rules: atomically on v2, by the kernel's own additive logic on v1.
 */
int cgroup_set_devices(struct cgroup *cg, const struct cgroup_devices *d, struct err *err);

/* For clone3's CLONE_INTO_CGROUP on v2, the cgroup's own; -1 on v1 and without cgroups. */
int cgroup_attach_fd(const struct cgroup *cg);
/*
 * On v2 the same of the cgroup in which the container's init is, at or below its own; the caller's,
 * or -errno. For when clone3 says -EBUSY: a container that gives limits to groups below its own
 * (docker, systemd) can have no processes there.
 */
int cgroup_attach_beside(const struct cgroup *cg, int init_pidfd);
/*
 * The caller itself moves in: for a forked, single-threaded child as its first act. On v1 this is
 * the cheap way: moving another process costs an RCU grace period, moving oneself does not.
 */
int cgroup_join(const struct cgroup *cg, struct err *err);

/*
 * As UpdateContainer: fields that are zero keep the kernel's value; of BlockIO only the weight,
 * of Memory neither swappiness nor the OOM killer, no devices, no network. When a write fails all
 * earlier ones are undone.
 */
int cgroup_update(struct cgroup *cg, const Grpc__LinuxResources *res, struct err *err);
/*
 * Whether it may have to wait: a lower memory limit writes pages to disk first. Then it is for a
 * worker, which needs these descriptors; when it has succeeded the parent takes note.
 */
bool cgroup_update_waits(const Grpc__LinuxResources *res);
#define CGROUP_FDS 16
size_t cgroup_fds(const struct cgroup *cg, int ret[static CGROUP_FDS]);
void cgroup_updated(struct cgroup *cg, const Grpc__LinuxResources *res);

/*
 * After a CPU came online: online (as the kernel writes it, "0-3") goes to every level above the
 * container and, unless the container has CPUs of its own choice, to the container. Nothing to do
 * on v2, where an empty set means the parent's.
 */
int cgroup_cpuset_online(struct cgroup *cg, const char *online, struct err *err);

/* Writes the wish and doesn't wait; the state tells when it has come true (or -errno). */
int cgroup_freeze(struct cgroup *cg, bool frozen, struct err *err);
int cgroup_freeze_state(const struct cgroup *cg);

/* Whether the guest has none at all: then nobody can tell from it who is inside. */
bool cgroup_is_none(const struct cgroup *cg);
/* All processes in the cgroup and below, as numbers of the agent's PID namespace. */
int cgroup_pids(const struct cgroup *cg, struct arena *mem, pid_t **ret, size_t *ret_count);
/*
 * Sends the signal to all of them, frozen meanwhile so that none escapes by forking; a frozen
 * cgroup is thawed by it, by SIGKILL with all below. One that stands inside fork() may still
 * escape: who must be sure repeats it. Signal 0 only counts. The number of processes found, or
 * -errno.
 */
int cgroup_kill(struct cgroup *cg, int signal);
/* SIGKILL to all, for a cgroup that is to be removed; repeated while cgroup_remove says -EBUSY. */
int cgroup_end(struct cgroup *cg);

/* Numbers of I/O, by device and kind of operation. */
struct cgroup_io {
	size_t n;
	struct cgroup_io_entry {
		uint64_t major, minor, value;
		const char *op; /* "Read"; "" where the kernel names none */
	} * entry;
};

/* In v1's terms, whatever the version; times in nanoseconds, amounts in bytes. */
struct cgroup_stats {
	struct {
		uint64_t total, user, kernel;
		uint64_t *percpu; /* v1 only */
		size_t n_percpu;
		uint64_t periods, throttled_periods, throttled_time;
	} cpu;
	struct cgroup_memory {
		uint64_t usage, peak, failures, limit;
	} memory, swap, kernel; /* swap: on v1 of memory and swap together, on v2 of swap */
	uint64_t cache;
	bool use_hierarchy;
	struct cgroup_number {
		const char *key;
		uint64_t value;
	} * memory_stat; /* all of memory.stat */
	size_t n_memory_stat;
	uint64_t pids, pids_limit; /* limit 0: none */
	struct {
		/* the last five are CFQ's, of kernels before 5.0 */
		struct cgroup_io bytes, ops, service_time, wait_time, merged, time, sectors;
	} io;
	struct cgroup_hugetlb {
		const char *size; /* "2MB" */
		uint64_t usage, peak, failures;
	} * hugetlb;
	size_t n_hugetlb;
};
/* Memory is mem's; a controller that isn't there leaves zeros. */
int cgroup_stats(const struct cgroup *cg, struct arena *mem, struct cgroup_stats *ret,
		 struct err *err);

/*
 * One try: removes the container's directories with all below them, and then those above that
 * cgroup_create made and nobody uses any more. -EBUSY while a process is left.
 */
int cgroup_remove(struct cgroup *cg, struct err *err);
/* Closes what is open, removes nothing. NULL is fine. */
void cgroup_free(struct cgroup *cg);

/*
 * OOM kills. The fd (the cgroup's own, non-blocking; take it off the loop before cgroup_free)
 * becomes readable when something may have happened; cgroup_oom_check empties it and compares the
 * kernel's counter of kills: the number of new ones (0: none), or -ENOENT when the cgroup is gone.
 * On v1 the fd fires before the kill is counted, and not at all when the whole guest ran out of
 * memory: check again 100 ms after it fired, and when a process died of SIGKILL.
 */
int cgroup_oom_watch(struct cgroup *cg, struct err *err);
int cgroup_oom_check(struct cgroup *cg);

#endif
