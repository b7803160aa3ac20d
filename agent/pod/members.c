/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The processes of a container. Without cgroups one belongs to it that stands in its mount or pid
 * namespace, or whose parent belongs to it, which finds those that have made namespaces of their
 * own. State: the numbers of the two namespaces, in the container.
 */
#include "pod/members.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/str.h"
#include "pod/pod.h"

struct member {
	pid_t pid, parent;
	bool belongs;
};

struct census {
	const struct container *ctr;
	struct arena *mem;
	struct member *m; /* by pid, as /proc lists them */
	size_t count, room;
};

/* The number of a process's namespace, 0: it has gone. */
static uint64_t namespace_of(const char *process, const char *kind)
{
	char path[64];
	struct stat st;

	(void)snprintf(path, sizeof(path), "/proc/%s/ns/%s", process, kind);
	return stat(path, &st) < 0 ? 0 : st.st_ino;
}

void members_know(struct container *ctr)
{
	char init[16];
	uint64_t mount;

	if (!cgroup_is_none(ctr->cgroup))
		return;
	(void)snprintf(init, sizeof(init), "%d", (int)ctr->init->spawn.pid);
	mount = namespace_of(init, "mnt");
	if (mount != namespace_of("self", "mnt"))
		ctr->mount_ns = mount;
	if (ctr->own_pid_ns)
		ctr->pid_ns = namespace_of(init, "pid");
}

static int census_add(struct census *s, const struct member *m)
{
	if (s->count == s->room) {
		size_t room = s->room ? s->room * 2 : 64;
		struct member *more = arena_alloc(s->mem, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		if (s->count)
			(void)memcpy(more, s->m, s->count * sizeof(*more));
		s->m = more;
		s->room = room;
	}
	s->m[s->count++] = *m;
	return 0;
}

/* 0 for one that is dead or going. */
static pid_t parent_of(const char *process)
{
	char path[32], text[512], *rest;

	(void)snprintf(path, sizeof(path), "/proc/%s/stat", process);
	if (fdio_read_file(AT_FDCWD, path, text, sizeof(text)) < 0)
		return 0;
	rest = strrchr(text, ')'); /* its name may hold anything */
	if (!rest || strlen(rest) < 5 || rest[2] == 'Z' || rest[2] == 'X')
		return 0;
	return (pid_t)strtol(rest + 4, NULL, 10);
}

static int census_look(struct census *s, const char *process)
{
	const struct container *ctr = s->ctr;
	struct member m = { .pid = (pid_t)strtol(process, NULL, 10) };

	if (m.pid <= 1 || m.pid == getpid())
		return 0;
	m.parent = parent_of(process);
	if (m.parent == 0)
		return 0;
	m.belongs = (ctr->mount_ns && namespace_of(process, "mnt") == ctr->mount_ns) ||
		    (ctr->pid_ns && namespace_of(process, "pid") == ctr->pid_ns);
	list_for_each(struct process, p, &ctr->processes, link)
		m.belongs |= p->spawn.pid == m.pid && !process_is_dead(p);
	return census_add(s, &m);
}

static int by_pid(const void *a, const void *b)
{
	const struct member *x = a, *y = b;

	return (x->pid > y->pid) - (x->pid < y->pid);
}

/* Children of those that belong, until there are no more; mostly they come after their parents. */
static void census_spread(struct census *s)
{
	for (bool changed = true; changed;) {
		changed = false;
		for (size_t i = 0; i < s->count; i++) {
			const struct member key = { .pid = s->m[i].parent };
			const struct member *parent;

			if (s->m[i].belongs)
				continue;
			parent = bsearch(&key, s->m, s->count, sizeof(key), by_pid);
			changed |= s->m[i].belongs = parent && parent->belongs;
		}
	}
}

static int census_take(struct census *s)
{
	AUTO_DIR DIR *proc = opendir("/proc");
	struct dirent *e;
	int r = 0;

	if (!proc)
		return -errno;
	while (r == 0 && (e = readdir(proc))) {
		if (*e->d_name >= '0' && *e->d_name <= '9')
			r = census_look(s, e->d_name);
	}
	if (r == 0 && s->count)
		census_spread(s);
	return r;
}

int members_pids(const struct container *ctr, struct arena *mem, pid_t **ret, size_t *ret_count)
{
	struct census s = { .ctr = ctr, .mem = mem };
	size_t n = 0;
	pid_t *pids;
	int r;

	if (!cgroup_is_none(ctr->cgroup))
		return cgroup_pids(ctr->cgroup, mem, ret, ret_count);
	r = census_take(&s);
	if (r < 0)
		return r;
	pids = arena_alloc(mem, (s.count + 1) * sizeof(*pids));
	if (!pids)
		return -ENOMEM;
	for (size_t i = 0; i < s.count; i++) {
		if (s.m[i].belongs)
			pids[n++] = s.m[i].pid;
	}
	*ret = pids;
	*ret_count = n;
	return 0;
}

int members_signal(struct container *ctr, int sig)
{
	struct arena mem;
	pid_t *pids;
	size_t count;
	int r;

	if (!cgroup_is_none(ctr->cgroup))
		return sig == SIGKILL && container_is_removing(ctr) ? cgroup_end(ctr->cgroup)
								    : cgroup_kill(ctr->cgroup, sig);
	arena_init(&mem, LIMIT_ARENA);
	r = members_pids(ctr, &mem, &pids, &count);
	for (size_t i = 0; r == 0 && sig && i < count; i++)
		(void)kill(pids[i], sig); /* gone already: as good */
	arena_free(&mem);
	return r < 0 ? r : (int)count;
}
