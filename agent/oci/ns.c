/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Namespaces. The agent has one thread, so it may step into a namespace, clone, and step back: the
 * child is born in it, as it must be where its user namespace would have no say.
 */
#include "oci/ns.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>

#include "base/auto.h"
#include "base/log.h"
#include "base/str.h"

static const struct {
	const char *name; /* as the runtime-spec calls it */
	const char *file; /* as /proc/PID/ns calls it, and runtime-rs */
	unsigned int flag;
	bool lent; /* the parent enters it for the child */
} types[NS_COUNT] = {
	[NS_USER] = { "user", "user", CLONE_NEWUSER, false },
	[NS_IPC] = { "ipc", "ipc", CLONE_NEWIPC, true },
	[NS_UTS] = { "uts", "uts", CLONE_NEWUTS, true },
	[NS_NET] = { "network", "net", CLONE_NEWNET, true },
	[NS_PID] = { "pid", "pid", CLONE_NEWPID, false },
	[NS_MNT] = { "mount", "mnt", CLONE_NEWNS, false },
	[NS_CGROUP] = { "cgroup", "cgroup", CLONE_NEWCGROUP, false },
};

int ns_home_open(struct ns_home *home)
{
	char path[32];

	for (int t = 0; t < NS_COUNT; t++) {
		(void)snprintf(path, sizeof(path), "/proc/self/ns/%s", types[t].file);
		home->fd[t] = open(path, O_RDONLY | O_CLOEXEC);
		/*
		 * A kernel without some kind cannot have containers that use it, and that is all.
		 */
		if (home->fd[t] < 0 && errno != ENOENT)
			return -errno;
	}
	return 0;
}

static int type_by_name(const char *name)
{
	for (int t = 0; t < NS_COUNT; t++) {
		if (str_eq(types[t].name, name) || str_eq(types[t].file, name))
			return t;
	}
	return -ENOENT;
}

bool ns_has(const Grpc__Linux *l, enum ns_type type)
{
	for (size_t i = 0; l && i < l->n_namespaces; i++) {
		if (type_by_name(l->namespaces[i]->type) == (int)type)
			return true;
	}
	return false;
}

static int join_fd(struct ns_plan *p, enum ns_type t, int fd, struct err *err)
{
	p->join[t] = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (p->join[t] < 0)
		return err_sys(err, errno, "%s namespace", types[t].name);
	p->own_flags |= types[t].flag;
	return 0;
}

/* Whatever else the path leads to is not waited for. */
static int open_path(const char *path)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct statfs fs;

	if (fd < 0 || fstatfs(fd, &fs) < 0)
		return -errno;
	return fs.f_type == NSFS_MAGIC ? TAKE_FD(fd) : -EINVAL;
}

void ns_open_paths(const Grpc__Linux *l, int ret[static NS_COUNT])
{
	for (int t = 0; t < NS_COUNT; t++)
		ret[t] = FD_NONE;
	for (size_t i = 0; l && i < l->n_namespaces; i++) {
		const Grpc__LinuxNamespace *n = l->namespaces[i];
		int t = type_by_name(n->type);

		if (t >= 0 && ret[t] == FD_NONE && !str_empty(n->path))
			ret[t] = open_path(n->path);
	}
}

static int take_entry(struct ns_plan *p, const Grpc__LinuxNamespace *n, const int *opened,
		      unsigned int *seen, struct err *err)
{
	int t = type_by_name(n->type);

	/* No schema of a host carries its offsets: there is nothing to set in a new one. */
	if (str_eq(n->type, "time"))
		return 0;
	if (t < 0)
		return err_set(err, EINVAL, "namespace \"%s\" does not exist", n->type);
	if (*seen & types[t].flag)
		return err_set(err, EINVAL, "malformed spec file: duplicated ns \"%s\"", n->type);
	*seen |= types[t].flag;
	if (t == NS_PID)
		return 0; /* the sandbox decides */
	p->own_flags |= types[t].flag;
	if (!str_empty(n->path)) {
		int fd = opened ? opened[t] : FD_NONE;

		if (fd < 0)
			return err_sys(err, -fd, "open %s namespace '%s'", n->type, n->path);
		return join_fd(p, (enum ns_type)t, fd, err);
	}
	if (t == NS_CGROUP)
		p->new_cgroup = true;
	else
		p->new_flags |= types[t].flag;
	return 0;
}

void ns_plan_init(struct ns_plan *p)
{
	*p = (struct ns_plan){ 0 };
	for (int t = 0; t < NS_COUNT; t++)
		p->join[t] = FD_NONE;
}

static int check_mappings(const Grpc__Linux *l, const struct ns_plan *p, struct err *err)
{
	bool mapped = l && (l->n_uidmappings || l->n_gidmappings);

	if (mapped && !(p->own_flags & CLONE_NEWUSER))
		return err_set(err, EINVAL, "id mappings need a user namespace");
	if (p->new_flags & CLONE_NEWUSER && (!l->n_uidmappings || !l->n_gidmappings))
		return err_set(err, EINVAL,
			       "a new user namespace needs mappings of user and group ids");
	return 0;
}

int ns_plan_build(const Grpc__Spec *spec, const struct ns_sandbox *sb, struct ns_plan *ret,
		  struct err *err)
{
	unsigned int seen = 0;
	int r;

	ns_plan_init(ret);
	for (size_t i = 0; spec->linux && i < spec->linux->n_namespaces; i++) {
		const Grpc__LinuxNamespace *n = spec->linux->namespaces[i];
		int t = type_by_name(n->type);

		/* The sandbox's ipc and uts namespaces are every container's, listed or not. */
		if ((t == NS_IPC && sb->ipc >= 0) || (t == NS_UTS && sb->uts >= 0))
			continue;
		r = take_entry(ret, n, sb->opened, &seen, err);
		if (r < 0)
			return r;
	}
	r = check_mappings(spec->linux, ret, err);
	if (r < 0)
		return r;
	if (sb->ipc >= 0 && (r = join_fd(ret, NS_IPC, sb->ipc, err)) < 0)
		return r;
	if (sb->uts >= 0 && (r = join_fd(ret, NS_UTS, sb->uts, err)) < 0)
		return r;
	if (sb->cgroup && !(ret->own_flags & CLONE_NEWCGROUP)) {
		ret->new_cgroup = true;
		ret->own_flags |= CLONE_NEWCGROUP;
	}
	if (sb->agent_pid)
		return 0;
	if (sb->pid >= 0)
		return join_fd(ret, NS_PID, sb->pid, err);
	ret->new_flags |= CLONE_NEWPID;
	ret->own_flags |= CLONE_NEWPID;
	return 0;
}

void ns_plan_release(struct ns_plan *p)
{
	for (int t = 0; t < NS_COUNT; t++)
		auto_closep(&p->join[t]);
}

int ns_enter(const struct ns_plan *p, struct err *err)
{
	for (int t = 0; t < NS_COUNT; t++) {
		if (types[t].lent && p->join[t] >= 0 && setns(p->join[t], (int)types[t].flag) < 0)
			return err_sys(err, errno, "join %s namespace", types[t].name);
	}
	return 0;
}

#define LEAVE_TRIES 100

void ns_leave(const struct ns_plan *p, const struct ns_home *home)
{
	for (int t = 0; t < NS_COUNT; t++) {
		int tries = 0;

		if (!types[t].lent || p->join[t] < 0)
			continue;
		/* Nothing but memory can be missing, and less than anything else needs. */
		while (setns(home->fd[t], (int)types[t].flag) < 0 && ++tries < LEAVE_TRIES)
			;
		if (tries == LEAVE_TRIES) {
			log_error("ns", "cannot go back to the agent's %s namespace: %s",
				  types[t].name, strerror(errno));
			abort();
		}
	}
}

int ns_join_pid(const struct ns_plan *p, struct err *err)
{
	if (setns(p->join[NS_PID], CLONE_NEWPID) < 0)
		return err_sys(err, errno, "join pid namespace");
	if (p->new_flags && unshare((int)p->new_flags) < 0)
		return err_sys(err, errno, "new namespaces");
	return 0;
}

int ns_join_rest(const struct ns_plan *p, struct err *err)
{
	for (int t = 0; t < NS_COUNT; t++) {
		if (types[t].lent || t == NS_PID || p->join[t] < 0)
			continue;
		if (setns(p->join[t], (int)types[t].flag) < 0)
			return err_sys(err, errno, "join %s namespace", types[t].name);
	}
	return 0;
}
