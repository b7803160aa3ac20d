/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The processes of a container's cgroup: frozen, listed, signalled, killed, with those of the
 * groups that it has made below its own. No state.
 */
#include "oci/cgroup/impl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/str.h"

/* --- freezing ------------------------------------------------------------------------ */

static int write_frozen(struct cgroup *cg, bool frozen, struct err *err)
{
	if (cg->root->mode == CGROUP_V2)
		return cgroup_write(cg, CTL_FREEZER, "cgroup.freeze", err, "%d", frozen);
	return cgroup_write(cg, CTL_FREEZER, "freezer.state", err, "%s",
			    frozen ? "FROZEN" : "THAWED");
}

int cgroup_freeze(struct cgroup *cg, bool frozen, struct err *err)
{
	if (!cgroup_has(cg, CTL_FREEZER))
		return err_set(err, EOPNOTSUPP, "the guest has no freezer cgroup");
	return write_frozen(cg, frozen, err);
}

int cgroup_freeze_state(const struct cgroup *cg)
{
	char text[32];
	uint64_t wish, frozen;
	ssize_t n;
	int r;

	if (cg->root->mode == CGROUP_NONE)
		return CGROUP_THAWED;
	if (cg->root->mode == CGROUP_V2) {
		r = cgroup_read_u64(cg, CTL_FREEZER, "cgroup.freeze", &wish);
		if (r == 0)
			r = cgroup_read_key(cg, CTL_FREEZER, "cgroup.events", "frozen", &frozen);
		if (r < 0)
			return r;
		if (wish)
			return frozen ? CGROUP_FROZEN : CGROUP_FREEZING;
		return CGROUP_THAWED;
	}
	n = cgroup_read(cg, CTL_FREEZER, "freezer.state", text, sizeof(text));
	if (n < 0)
		return (int)n;
	return str_eq(text, "FROZEN")	  ? CGROUP_FROZEN
	       : str_eq(text, "FREEZING") ? CGROUP_FREEZING
					  : CGROUP_THAWED;
}

/* --- processes ----------------------------------------------------------------------- */

struct visitor {
	int (*visit)(struct visitor *v, pid_t pid); /* negative: stop */
	int signal;
	unsigned int left; /* groups that may still be entered */
	struct arena *mem;
	pid_t *pids;
	size_t count, room;
};

/* The file can be long, so it is read in pieces; a number may span two of them. */
static int visit_procs(int dir, struct visitor *v)
{
	AUTO_CLOSE int fd = openat(dir, "cgroup.procs", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	char buf[4096];
	pid_t pid = 0;
	ssize_t n;

	if (fd < 0)
		return -errno;
	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		for (ssize_t i = 0; i < n; i++) {
			int r = 0;

			if (buf[i] >= '0' && buf[i] <= '9' && pid < INT_MAX / 10) {
				pid = pid * 10 + (buf[i] - '0');
				continue;
			}
			if (pid > 0) /* 0: lives in a namespace that we don't see */
				r = v->visit(v, pid);
			if (r < 0)
				return r;
			pid = 0;
		}
	}
	/* A threaded cgroup has no processes of its own; its domain has listed them. */
	return n < 0 && errno != EOPNOTSUPP ? -errno : 0;
}

/* Takes fd over. */
static int visit_tree(int fd, struct visitor *v, int depth)
{
	AUTO_DIR DIR *d = fdopendir(fd);
	struct dirent *e;
	int r;

	if (!d) {
		(void)close(fd);
		return -errno;
	}
	r = visit_procs(fd, v);
	if (r == -ENODEV || r == -ENOENT)
		return 0; /* removed meanwhile */
	while (r == 0 && (e = readdir(d))) {
		int sub;

		if (e->d_type != DT_DIR || str_eq(e->d_name, ".") || str_eq(e->d_name, ".."))
			continue;
		if (depth == LIMIT_CGROUP_DEPTH || v->left == 0)
			return -E2BIG;
		v->left--;
		sub = openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (sub >= 0)
			r = visit_tree(sub, v, depth + 1);
		else if (errno != ENOENT)
			r = -errno;
	}
	return r;
}

/*
 * Any hierarchy knows all processes; these are tried first since every guest has them. -E2BIG: a
 * container with v1 to write to has made more groups than we go through (v2's are bounded).
 */
static int visit_all(const struct cgroup *cg, struct visitor *v)
{
	static const enum ctl order[] = { CTL_DEVICES, CTL_FREEZER, CTL_PIDS, CTL_MEMORY, CTL_CPU };

	v->left = LIMIT_CGROUP_GROUPS;
	for (size_t i = 0; i < ARRAY_LEN(order); i++) {
		int fd;

		if (!cgroup_has(cg, order[i]))
			continue;
		fd = cgroup_open(cg, order[i], NULL, O_RDONLY | O_DIRECTORY);
		if (fd == -ENOENT)
			return 0;
		return fd < 0 ? fd : visit_tree(fd, v, 0);
	}
	return 0;
}

bool cgroup_is_none(const struct cgroup *cg)
{
	return cg->root->mode == CGROUP_NONE;
}

static int collect_pid(struct visitor *v, pid_t pid)
{
	if (v->count == v->room) {
		size_t room = v->room ? v->room * 2 : 32;
		pid_t *more = arena_alloc(v->mem, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		if (v->count)
			(void)memcpy(more, v->pids, v->count * sizeof(*more));
		v->pids = more;
		v->room = room;
	}
	v->pids[v->count++] = pid;
	return 0;
}

int cgroup_pids(const struct cgroup *cg, struct arena *mem, pid_t **ret, size_t *ret_count)
{
	struct visitor v = { .visit = collect_pid, .mem = mem };
	int r = visit_all(cg, &v);

	if (r < 0)
		return r;
	*ret = v.pids;
	*ret_count = v.count;
	return 0;
}

static int send_signal(struct visitor *v, pid_t pid)
{
	if (pid == 1 || pid == getpid())
		return 0; /* whatever put us there */
	if (v->count < INT_MAX)
		v->count++;
	if (v->signal)
		(void)kill(pid, v->signal); /* gone already: as good */
	return 0;
}

/* v1: a group below that froze itself stays so when ours is thawed, and nothing in it can die. */
static void thaw_below(int fd, int depth, unsigned int *left)
{
	AUTO_DIR DIR *d = fdopendir(fd);
	struct dirent *e;

	if (!d) {
		(void)close(fd);
		return;
	}
	if (depth > 0)
		(void)fdio_write_file(fd, "freezer.state", "THAWED");
	while (depth < LIMIT_CGROUP_DEPTH && (e = readdir(d))) {
		int sub;

		if (e->d_type != DT_DIR || str_eq(e->d_name, ".") || str_eq(e->d_name, ".."))
			continue;
		if (*left == 0)
			return;
		--*left;
		sub = openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (sub >= 0)
			thaw_below(sub, depth + 1, left);
	}
}

static void thaw_all(struct cgroup *cg)
{
	unsigned int left = LIMIT_CGROUP_GROUPS;
	int fd;

	(void)write_frozen(cg, false, NULL);
	if (cg->root->mode != CGROUP_V1)
		return; /* v2's frozen processes die as others do */
	fd = cgroup_open(cg, CTL_FREEZER, NULL, O_RDONLY | O_DIRECTORY);
	if (fd >= 0)
		thaw_below(fd, 0, &left);
}

/*
 * A freeze is asked for first: whoever is inside fork() then has a child that is frozen before its
 * first step, and the second look finds it. One turn for others in between and no more: a process
 * may be stuck in the kernel, and who must be sure repeats it.
 */
int cgroup_kill(struct cgroup *cg, int signal)
{
	struct visitor v = { .visit = send_signal, .signal = signal };
	bool freezes = signal && cgroup_has(cg, CTL_FREEZER);
	size_t count;
	int r;

	freezes = freezes && write_frozen(cg, true, NULL) == 0;
	r = visit_all(cg, &v);
	count = v.count;
	if (freezes && signal == SIGKILL && count > 0 &&
	    cgroup_freeze_state(cg) == CGROUP_FREEZING) {
		(void)sched_yield(); /* with one CPU, they can't stop while we run */
		(void)visit_all(cg, &v);
	}
	if (freezes && signal == SIGKILL)
		thaw_all(cg);
	else if (freezes)
		(void)write_frozen(cg, false, NULL);
	if (r == -E2BIG && count > 0)
		r = 0; /* what was reached */
	return r < 0 ? r : (int)count;
}

int cgroup_end(struct cgroup *cg)
{
	/*
	 * At once and at any depth. No way to send a signal to what is to live on: from Linux 6.10
	 * on, what is cloned into the cgroup afterwards is killed as well (seen with 6.18).
	 */
	if (cg->root->mode == CGROUP_V2 &&
	    cgroup_write(cg, CTL_FREEZER, "cgroup.kill", NULL, "1") == 0)
		return cgroup_kill(cg, 0);
	return cgroup_kill(cg, SIGKILL);
}
