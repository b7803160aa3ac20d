/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parent's half of starting a process. Errors of the child come back as one message each; the
 * end of the socket, which is close-on-exec in the child, means that execve has succeeded.
 */
#include "oci/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oci/child.h"
#include "oci/fs/tree.h"
#include "base/auto.h"
#include "base/fdio.h"
#include "base/log.h"
#include "base/str.h"

#define MESSAGES_MAX 1024 /* of one process on its way */
#define ERRNO_MAX    4095 /* in the kernel */

void spawn_init(struct spawn *s)
{
	*s = (struct spawn){
		.sync = FD_NONE, .pidfd = FD_NONE, .in = FD_NONE, .out = FD_NONE, .err = FD_NONE
	};
}

void spawn_release(struct spawn *s)
{
	loop_del(&s->source);
	auto_closep(&s->sync);
}

static void spawn_finish(struct spawn *s, enum spawn_event event, const struct err *err)
{
	spawn_release(s);
	s->fn(s, event, err);
}

int spawn_continue(struct spawn *s)
{
	if (s->sync < 0 || send(s->sync, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1)
		return -EPIPE;
	return 0;
}

/*
 * The container's process waits for us to watch it, which the middle's death must not be taken
 * for: it waits to be killed.
 */
static void spawn_born(struct spawn *s, pid_t pid, int fd)
{
	AUTO_CLOSE int middle = s->pidfd;
	struct err err = { 0 };

	s->middle = false;
	s->seen = true;
	s->pidfd = fd;
	s->pid = pid;
	/* Killed and reaped before anybody knew whose it was: nobody is left to be watched. */
	if (syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0) < 0)
		s->pid = 0;
	(void)syscall(SYS_pidfd_send_signal, middle, SIGKILL, NULL, 0);
	s->fn(s, SPAWN_BORN, &err);
	if (spawn_continue(s) < 0) {
		err_set(&err, ECHILD, "the process could not be told to go on");
		spawn_finish(s, SPAWN_FAILED, &err);
	}
}

/*
 * A process that others with CAP_SYS_PTRACE can see may say anything on its socket, as often as it
 * likes; what it could say itself at that stage is all that is heard.
 */
static bool spawn_heeds(struct spawn *s, int kind)
{
	if (++s->messages > MESSAGES_MAX)
		return kind == MSG_FAILED;
	switch (kind) {
	case MSG_FAILED:
	case MSG_HOOK_FAILED:
		return true;
	case MSG_READY:
		return !s->ready && !s->middle;
	case MSG_UNSHARED:
	case MSG_BORN:
		return s->middle;
	default:
		return !s->seen;
	}
}

/* A failure is one, and its text a text, whoever wrote the message. */
static void spawn_check_err(struct err *err)
{
	err->msg[sizeof(err->msg) - 1] = '\0';
	err->rpc = 0; /* for who asked to say */
	if (err->code <= 0 || err->code > ERRNO_MAX)
		err->code = EPROTO;
}

static void on_sync(struct source *src, uint32_t events)
{
	struct spawn *s = container_of(src, struct spawn, source);
	struct spawn_msg m = { .kind = -1 };
	AUTO_CLOSE int fd = FD_NONE;
	struct err err = { 0 };
	ssize_t n = fdio_recv_fd(s->sync, &m, sizeof(m), MSG_DONTWAIT, &fd);

	(void)events;
	if (n == -EAGAIN || n == -EINTR)
		return;
	if (n <= 0) {
		/* Ready, then the end: execve, or a death whose status the reaper brings. */
		if (!s->ready)
			err_set(&err, ECHILD, "the process died while it was being set up");
		spawn_finish(s, s->ready ? SPAWN_RUNNING : SPAWN_FAILED, &err);
		return;
	}
	spawn_check_err(&m.err);
	if (!spawn_heeds(s, m.kind))
		return;
	switch (m.kind) {
	case MSG_FAILED:
		spawn_finish(s, SPAWN_FAILED, &m.err);
		return;
	case MSG_HOOK_FAILED:
		s->fn(s, SPAWN_HOOK_FAILED, &m.err);
		return;
	case MSG_WARNING:
		log_warn("spawn", "pid=%d %s", (int)s->pid, m.err.msg);
		return;
	case MSG_TERMINAL:
		if (s->out < 0) {
			s->out = TAKE_FD(fd);
			(void)fdio_nonblock(s->out, true);
		}
		return;
	case MSG_UNSHARED:
		s->fn(s, SPAWN_UNSHARED, &err);
		return;
	case MSG_BORN:
		if (fd < 0) { /* no room for it */
			err_set(&err, EMFILE, "no descriptor for the process");
			spawn_finish(s, SPAWN_FAILED, &err);
			return;
		}
		spawn_born(s, m.pid, TAKE_FD(fd));
		return;
	case MSG_MOUNTED:
		s->fn(s, SPAWN_MOUNTED, &err);
		return;
	case MSG_READY:
		s->ready = s->seen = true;
		s->fn(s, SPAWN_READY, &err);
		return;
	default:
		return;
	}
}

struct pipes {
	int child[3], ours[3]; /* stdin, stdout, stderr */
};

static void pipes_release(struct pipes *p)
{
	for (int i = 0; i < 3; i++) {
		auto_closep(&p->child[i]);
		auto_closep(&p->ours[i]);
	}
}

static int pipes_open(struct pipes *p, uint32_t size)
{
	for (int i = 0; i < 3; i++) {
		int fds[2];

		if (pipe2(fds, O_CLOEXEC) < 0)
			return -errno;
		p->child[i] = fds[i == 0 ? 0 : 1];
		p->ours[i] = fds[i == 0 ? 1 : 0];
		(void)fdio_nonblock(p->ours[i], true);
		/* A wish: beyond fs.pipe-max-size it is refused, and the default does as well. */
		if (size && i > 0)
			(void)fcntl(p->child[i], F_SETPIPE_SZ, (int)size);
	}
	return 0;
}

static int write_map(pid_t pid, const char *file, Grpc__LinuxIDMapping **maps, size_t n,
		     struct err *err)
{
	char text[4096], path[64];
	size_t len = 0;
	int r;

	if (n == 0)
		return 0;
	for (size_t i = 0; i < n; i++) {
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%u %u %u\n",
					maps[i]->containerid, maps[i]->hostid, maps[i]->size);
		if (len >= sizeof(text))
			return err_set(err, E2BIG, "too many id mappings: %zu", n);
	}
	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	r = fdio_write_file(AT_FDCWD, path, text);
	return r < 0 ? err_sys(err, -r, "write %s", file) : 0;
}

int spawn_map_ids(struct spawn *s, const Grpc__Spec *spec, int oom_score_adj, struct err *err)
{
	const Grpc__Linux *l = spec->linux;
	char path[64], text[16];
	int r;

	(void)snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int)s->pid);
	(void)snprintf(text, sizeof(text), "%d", oom_score_adj);
	(void)fdio_write_file(AT_FDCWD, path, text);
	r = write_map(s->pid, "uid_map", l->uidmappings, l->n_uidmappings, err);
	if (r == 0)
		r = write_map(s->pid, "gid_map", l->gidmappings, l->n_gidmappings, err);
	return r == 0 && spawn_continue(s) < 0 ? err_set(err, ECHILD, "the process died at once")
					       : r;
}

/*
 * While the agent stands in the sandbox's namespaces: what a child in a user namespace of its own
 * may not do to namespaces of others. *ret_mqueue: an fd, or FD_NONE where the kernel has none.
 */
static int act_for_child(const struct spawn_plan *plan, int *ret_mqueue, struct err *err)
{
	const struct tree_fs mqueue = { .type = "mqueue", .source = "mqueue" };
	const char *name = plan->spec ? plan->spec->hostname : "";
	struct err ignored;

	if (!plan->spec)
		return 0;
	if (plan->ns->join[NS_UTS] >= 0 && !str_empty(name) && sethostname(name, strlen(name)) < 0)
		return err_sys(err, errno, "set hostname '%s'", name);
	if (plan->ns->own_flags & CLONE_NEWUSER && plan->ns->join[NS_IPC] >= 0)
		*ret_mqueue = tree_new(&mqueue, &ignored);
	return 0;
}

void spawn_died(struct spawn *s)
{
	/* Who has CAP_SYS_PTRACE may have taken a copy of its end: it ends with the process. */
	if (s->sync >= 0)
		(void)shutdown(s->sync, s->middle ? SHUT_WR : SHUT_RDWR);
}

static pid_t clone_into(const struct spawn_plan *plan, bool middle, int cgroup_fd, int *pidfd)
{
	struct clone_args args = {
		.flags = CLONE_PIDFD | (plan->spec && !middle ? plan->ns->new_flags : 0U),
		.pidfd = (uint64_t)(uintptr_t)pidfd,
		.exit_signal = SIGCHLD,
	};

	args.flags |= CLONE_CLEAR_SIGHAND;
	if (cgroup_fd >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (unsigned int)cgroup_fd;
	}
	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

static pid_t clone_child(const struct spawn_plan *plan, bool middle, int *pidfd)
{
	int cgroup_fd = plan->cgroup ? cgroup_attach_fd(plan->cgroup) : FD_NONE;
	pid_t pid = clone_into(plan, middle, cgroup_fd, pidfd);
	AUTO_CLOSE int beside = FD_NONE;

	if (pid >= 0 || errno != EBUSY || cgroup_fd < 0 || plan->spec)
		return pid;
	beside = cgroup_attach_beside(plan->cgroup, plan->init_pidfd);
	if (beside < 0) {
		errno = -beside;
		return -1;
	}
	return clone_into(plan, middle, beside, pidfd);
}

int spawn_start(const struct spawn_plan *plan, struct spawn *s, spawn_fn *fn, struct err *err)
{
	AUTO(pipes_release)
	struct pipes p = { { FD_NONE, FD_NONE, FD_NONE }, { FD_NONE, FD_NONE, FD_NONE } };
	AUTO_CLOSE int ours = FD_NONE;
	AUTO_CLOSE int childs = FD_NONE;
	AUTO_CLOSE int pidfd = FD_NONE;
	AUTO_CLOSE int mqueue = FD_NONE;
	bool middle = plan_has_middle(plan);
	int sv[2], r = 0;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		return err_sys(err, errno, "socketpair");
	ours = sv[0];
	childs = sv[1];
	if (!plan->process->terminal) {
		r = pipes_open(&p, plan->engine->pipe_size);
		if (r < 0)
			return err_sys(err, -r, "pipes");
	}
	if (plan->spec)
		r = ns_enter(plan->ns, err);
	if (r == 0)
		r = act_for_child(plan, &mqueue, err);
	if (r < 0) {
		ns_leave(plan->ns, &plan->engine->home);
		return r;
	}
	pid = clone_child(plan, middle, &pidfd);
	if (pid == 0) {
		const struct child_io io = { childs, p.child[0], p.child[1], p.child[2], mqueue };

		child_run(plan, &io);
	}
	r = errno;
	if (plan->spec)
		ns_leave(plan->ns, &plan->engine->home);
	if (pid < 0)
		return err_sys(err, r, "clone3");
	r = loop_add(plan->engine->loop, &s->source, ours, EPOLLIN, on_sync);
	if (r < 0)
		err_sys(err, -r, "epoll");
	s->sync = TAKE_FD(ours);
	s->pid = pid;
	if (r == 0 && !middle && plan->spec && plan->ns->new_flags & CLONE_NEWUSER)
		r = spawn_map_ids(s, plan->spec, plan->rules->oom_score_adj, err);
	if (r < 0) {
		(void)kill(pid, SIGKILL); /* nobody watches it: the reaper drops it */
		spawn_release(s);
		s->pid = 0;
		return r;
	}
	s->fn = fn;
	s->middle = middle;
	s->ready = s->seen = false;
	s->messages = 0;
	s->pidfd = TAKE_FD(pidfd);
	s->in = TAKE_FD(p.ours[0]);
	s->out = TAKE_FD(p.ours[1]);
	s->err = TAKE_FD(p.ours[2]);
	return 0;
}
