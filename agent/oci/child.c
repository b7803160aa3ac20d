/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The child's half: from clone3 to execve. It runs in a copy of the agent and never comes back;
 * what goes wrong goes up the socket in one message. The order is the one in which the steps need
 * each other:
 *
 *	spawn_start, the parent, in the namespaces that are lent (ipc, uts, net):
 *		clone3; v2: into the cgroup; with the new namespaces, but for a middle
 *	shed		not dumpable, standard streams, cgroup (v1), descriptors, signals,
 *			session, umask, OOM score; /proc is opened if a label will be written
 *	a middle of an init: a procfs of the pid namespace (room.c), which it joins for its
 *			children; the new namespaces; UNSHARED
 *	await		a new user namespace only: the parent has mapped its ids
 *	get_filter	seccomp: the init compiles it and leaves it for the execs
 *	enter_namespaces
 *			init: user, mount, cgroup joined, a new cgroup namespace, lo up, the
 *			directory of the root opened; exec: all at once through the init's pidfd;
 *			then root of the user namespace, and the container's session keyring
 *	build_container, init only
 *		rootfs_prepare		root, mounts, devices; the guest's root is still there
 *		MOUNTED -> go		the agent's prestart and createRuntime hooks, if any
 *		createContainer hooks	by the agent, too, where there is a middle
 *		rootfs_enter, hostname, terminal
 *		rootfs_seal		sysctls, masked and read-only paths, read-only mounts
 *	labels		while there is the guest's /proc
 *	drop_power	user looked up, environment, cwd, rlimits, no_new_privs, bounding set,
 *			ids, the other capability sets
 *	find_executable	with the process's own rights
 *	all descriptors closed but the streams and the socket
 *	filter		by a middle whose container, or another of the pod, has SYS_PTRACE
 *	be_born		a middle: clone3 with CLONE_PARENT; BORN -> go; the middle is killed
 *	session, controlling terminal, RLIMIT_NPROC
 *	READY -> go	init: device rules are set, CreateContainer answers; StartContainer says go
 *	startContainer hooks, init only
 *	filter, execve
 *
 * What stands in a pid namespace is seen by its processes, and one with CAP_SYS_PTRACE can take
 * from it what it has. In a new one nobody else is before READY. Into one that has processes only
 * what be_born makes comes: with the container's root, user and capabilities, and the socket.
 */
#include "oci/child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oci/env.h"
#include "oci/hooks.h"
#include "oci/fs/rootfs.h"
#include "oci/seccomp.h"
#include "linux/diskqueue.h"
#include "linux/rtnl.h"
#include "linux/path.h"
#include "base/auto.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/str.h"

/* security/keys of the kernel: which bits of a key's permissions mean what has no header. */
#define KEY_POSSESSOR_ALL 0x3f000000
#define KEY_USER_SEARCH	  0x00080000

struct child {
	const struct spawn_plan *plan;
	int sync;
	int mqueue;	       /* see child_io */
	int root;	       /* the directory that the container's root is made of */
	int procfs;	       /* of the pid namespace that is joined, detached */
	int proc;	       /* the guest's /proc, not what the container has there */
	bool middle;	       /* the process that the container sees is yet to be made */
	struct rootfs *rootfs; /* init only */
	struct user user;
	struct seccomp_prog filter;
	char **envp;
	char *exe; /* what argv[0] stands for */
	char **argv;
};

static void tell(const struct child *c, enum spawn_msg_kind kind, const struct err *err)
{
	struct spawn_msg m = { .kind = kind };

	if (err)
		m.err = *err;
	/* Who waits for a word that never comes waits for ever: the socket's end is one. */
	if (send(c->sync, &m, err ? sizeof(m) : offsetof(struct spawn_msg, err), MSG_NOSIGNAL) < 0)
		_exit(1);
}

static int tell_with(const struct child *c, enum spawn_msg_kind kind, pid_t pid, int fd)
{
	struct spawn_msg m = { .kind = kind, .pid = pid };

	return fdio_send_fd(c->sync, &m, offsetof(struct spawn_msg, err), fd);
}

/* Waits for the agent's word; without an agent there is nothing to go on for. */
static void await(const struct child *c)
{
	char go;
	ssize_t n;

	do
		n = recv(c->sync, &go, 1, 0);
	while (n < 0 && errno == EINTR);
	if (n != 1)
		_exit(1);
}

/* Its cpuset alone says where the process may run, whatever the agent is pinned to. */
static void plain_scheduling(void)
{
	static const struct sched_param none = { .sched_priority = 0 };
	unsigned char all[LIMIT_CPUS / 8];

	(void)memset(all, 0xff, sizeof(all));
	(void)syscall(SYS_sched_setaffinity, 0, sizeof(all), all);
	(void)sched_setscheduler(0, SCHED_OTHER, &none);
	(void)setpriority(PRIO_PROCESS, 0, 0);
}

/* Nothing of the agent's is inherited: descriptors, signals, session, its OOM protection. */
static int shed(struct child *c, const struct child_io *io, struct err *err)
{
	const struct spawn_plan *p = c->plan;
	int keep[NS_COUNT + 5], n = 0, std[3] = { io->in, io->out, io->err };
	char text[16];
	sigset_t none;
	int r;

	/* Before anything of the container can look at us: CVE-2016-9962. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_sys(err, errno, "prctl(PR_SET_DUMPABLE)");
	for (int i = 0; i < 3 && io->in >= 0; i++) {
		if (dup2(std[i], i) < 0)
			return err_sys(err, errno, "standard streams");
	}
	if (p->cgroup && cgroup_attach_fd(p->cgroup) < 0) {
		r = cgroup_join(p->cgroup, err);
		if (r < 0)
			return r;
	}
	keep[n++] = io->sync;
	keep[n++] = io->mqueue;
	keep[n++] = p->rules->seccomp_fd;
	keep[n++] = p->spec ? FD_NONE : p->init_pidfd;
	for (int t = 0; p->spec && t < NS_COUNT; t++)
		keep[n++] = p->ns->join[t];
	fdio_close_except(keep, (size_t)n);
	/* the one that the agent ignores; handlers clone3 has cleared */
	(void)signal(SIGPIPE, SIG_DFL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)setsid();
	(void)umask(022);
	plain_scheduling();
	(void)snprintf(text, sizeof(text), "%d", p->rules->oom_score_adj);
	r = fdio_write_file(AT_FDCWD, "/proc/self/oom_score_adj", text);
	/* Lowering it wants a right that the agent may lack outside a guest; 0 may be no wish. */
	if (r < 0 && (p->rules->oom_score_adj || (r != -EACCES && r != -EPERM)))
		return err_sys(err, -r, "set the OOM score adjustment to %s", text);
	if (!p->rules->apparmor && !p->rules->exec_label)
		return 0;
	/* A label written to a file that the image calls /proc is no label: CVE-2019-16884. */
	c->proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return c->proc < 0 ? err_sys(err, errno, "open /proc") : 0;
}

/*
 * Keys that a process finds or leaves are its container's: a new session keyring, which the execs
 * join by its name. A search is all that its owner's other processes may do with it, and joining
 * asks for no more. A kernel without keys has none to share.
 */
static int join_keyring(const struct spawn_plan *p, struct err *err)
{
	const long perm = KEY_POSSESSOR_ALL | KEY_USER_SEARCH;
	long key = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, p->rules->keyring);

	if (key < 0)
		return errno == ENOSYS ? 0 : err_sys(err, errno, "session keyring");
	if (p->spec && syscall(SYS_keyctl, KEYCTL_SETPERM, key, perm) < 0)
		return err_sys(err, errno, "session keyring: permissions");
	return 0;
}

static int enter_namespaces(struct child *c, struct err *err)
{
	const struct spawn_plan *p = c->plan;
	int r;

	if (!p->spec) {
		/*
		 * All of the container's at once, through its init: no path of /proc is believed.
		 */
		if (p->join_flags && setns(p->init_pidfd, (int)p->join_flags) < 0)
			return err_sys(err, errno, "join the container's namespaces");
	} else {
		r = ns_join_rest(p->ns, err);
		if (r < 0)
			return r;
		if (p->ns->new_cgroup && unshare(CLONE_NEWCGROUP) < 0)
			return err_sys(err, errno, "new cgroup namespace");
		if (p->ns->new_flags & CLONE_NEWNET && (r = link_up("lo", err)) < 0)
			return r;
		c->root = rootfs_open_dir(p->spec, err);
		if (c->root < 0)
			return c->root;
	}
	if ((p->spec ? p->ns->own_flags : p->join_flags) & CLONE_NEWUSER &&
	    (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0))
		return err_sys(err, errno, "become root of the user namespace");
	return join_keyring(p, err);
}

static int set_up_terminal(struct child *c, struct err *err)
{
	const Grpc__Box *box = c->plan->process->consolesize;
	AUTO_CLOSE int slave = FD_NONE;
	AUTO_CLOSE int master = FD_NONE;
	int r = rootfs_pty(&master, &slave, err);

	if (r < 0)
		return r;
	if (box && box->height && box->width) {
		struct winsize ws = { .ws_row = (unsigned short)box->height,
				      .ws_col = (unsigned short)box->width };

		(void)ioctl(master, TIOCSWINSZ, &ws);
	}
	if (c->rootfs && (r = rootfs_console(c->rootfs, slave, err)) < 0)
		return r;
	r = tell_with(c, MSG_TERMINAL, 0, master);
	if (r < 0)
		return err_sys(err, -r, "hand over the terminal");
	for (int i = 0; i < 3; i++) {
		if (dup2(slave, i) < 0)
			return err_sys(err, errno, "standard streams");
	}
	return 0;
}

/* In a joined namespace the agent has done it: a user namespace's root has no say there. */
static int set_names(const struct spawn_plan *p, struct err *err)
{
	const Grpc__Spec *spec = p->spec;

	if (p->ns->new_flags & CLONE_NEWUTS && !str_empty(spec->hostname) &&
	    sethostname(spec->hostname, strlen(spec->hostname)) < 0)
		return err_sys(err, errno, "set hostname '%s'", spec->hostname);
	return 0;
}

static void on_hook_failed(void *arg, const struct err *err)
{
	tell(arg, MSG_HOOK_FAILED, err);
}

/* In a pid namespace that others are in, only startContainer's: those have no more than they. */
static int child_run_hooks(struct child *c, enum hook_kind kind, struct err *err)
{
	struct hook_ctx ctx = *c->plan->hooks;

	ctx.pid = getpid();
	ctx.failed = on_hook_failed;
	ctx.arg = c;
	return hooks_run(&ctx, kind, err);
}

static const char *cwd_of(const struct child *c)
{
	return str_empty(c->plan->process->cwd) ? "/" : c->plan->process->cwd;
}

/* Many images lack theirs. Before the root is read-only; whether it is there is seen later. */
static void make_cwd(const struct child *c)
{
	AUTO_CLOSE int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	AUTO_CLOSE int fd = FD_NONE;

	if (root >= 0 && cwd_of(c)[0] == '/')
		fd = path_dir(root, cwd_of(c));
}

static bool is_weighed(const Grpc__Spec *spec)
{
	const Grpc__LinuxBlockIO *b =
		spec->linux && spec->linux->resources ? spec->linux->resources->blockio : NULL;

	return b && (b->weight || b->n_weightdevice);
}

static int build_container(struct child *c, struct err *err)
{
	const struct spawn_plan *p = c->plan;
	const struct rootfs_opts o = {
		.spec = p->spec,
		.dir = c->root,
		.new_mntns = p->ns->own_flags & CLONE_NEWNS,
		.userns = p->ns->own_flags & CLONE_NEWUSER,
		.cgroupns = p->ns->own_flags & CLONE_NEWCGROUP,
		.mqueue = c->mqueue,
		.procfs = c->procfs,
		.mount_label = p->spec->linux ? p->spec->linux->mountlabel : NULL,
	};
	int r;

	if (is_weighed(p->spec))
		diskqueue_weigh();
	r = rootfs_prepare(&o, &c->rootfs, err);
	if (r < 0)
		return r;
	if (p->parent_hooks) {
		tell(c, MSG_MOUNTED, NULL);
		await(c);
	}
	if (!(p->parent_hooks & 1u << HOOK_CREATE_CONTAINER))
		r = child_run_hooks(c, HOOK_CREATE_CONTAINER, err);
	if (r == 0)
		r = rootfs_enter(c->rootfs, err);
	if (r == 0)
		r = set_names(p, err);
	if (r == 0 && p->process->terminal)
		r = set_up_terminal(c, err);
	if (r == 0) {
		make_cwd(c);
		r = rootfs_seal(c->rootfs, err);
	}
	return r;
}

static int enter_cwd(const struct child *c, struct err *err)
{
	const char *cwd = cwd_of(c);
	char real[4096];

	if (cwd[0] != '/')
		return err_set(err, EINVAL, "cwd '%s' is not an absolute path", cwd);
	if (chdir(cwd) < 0)
		return err_sys(err, errno, "chdir to cwd (\"%s\") set in config.json failed", cwd);
	/* A directory that has no path from our root is outside of it: CVE-2024-21626. */
	if (!getcwd(real, sizeof(real)) || real[0] != '/')
		return err_set(err, EPERM, "cwd '%s' is outside the container", cwd);
	return 0;
}

/* 0 if the path can be executed by who we are now; else an errno. */
static int check_executable(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return errno;
	if (S_ISDIR(st.st_mode))
		return EISDIR;
	return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0 ? errno : 0;
}

/*
 * The words are Go's: docker and containerd look for them to choose between exit codes 126 and 127.
 */
static int find_executable(struct child *c, struct err *err)
{
	const char *name = c->plan->process->args[0], *path = env_get(c->envp, "PATH");
	int denied = 0, r;

	if (strchr(name, '/')) {
		r = check_executable(name);
		c->exe = strdup(name);
		if (r == ENOENT || r == ENOTDIR)
			return err_set(err, r, "exec: \"%s\": stat %s: no such file or directory",
				       name, name);
		if (r == EISDIR)
			return err_set(err, EACCES,
				       "exec: \"%s\": is a directory: permission denied", name);
		if (r)
			return err_set(err, r, "exec: \"%s\": permission denied", name);
		return 0;
	}
	while (path && *name) {
		size_t len = strcspn(path, ":");

		free(c->exe);
		if (asprintf(&c->exe, "%.*s/%s", (int)(len ? len : 1), len ? path : ".", name) < 0)
			return err_sys(err, ENOMEM, "path of '%s'", name);
		r = check_executable(c->exe);
		if (r == 0)
			return 0;
		denied |= r == EACCES;
		path = path[len] ? path + len + 1 : NULL;
	}
	if (denied)
		return err_set(err, EACCES, "exec: \"%s\": permission denied", name);
	return err_set(err, ENOENT, "exec: \"%s\": executable file not found in $PATH", name);
}

static int make_argv(struct child *c, struct err *err)
{
	const Grpc__Process *p = c->plan->process;

	c->argv = calloc(p->n_args + 1, sizeof(*c->argv));
	if (!c->argv)
		return err_sys(err, ENOMEM, "arguments");
	for (size_t i = 0; i < p->n_args; i++)
		c->argv[i] = p->args[i];
	return 0;
}

/*
 * The profile that a host names is the host's: every unprivileged container of a node with AppArmor
 * has one, and a guest has none of them. One that is loaded here counts.
 */
static int set_apparmor(const struct child *c, const char *profile, struct err *err)
{
	char text[512];
	struct err warning;
	int n = snprintf(text, sizeof(text), "exec %s", profile);
	int r = -ENAMETOOLONG;

	if (n > 0 && (size_t)n < sizeof(text))
		r = fdio_write_file(c->proc, "self/attr/apparmor/exec", text);
	if (r != -ENOENT && r != -EINVAL && r != -ENAMETOOLONG)
		return r < 0 ? err_sys(err, -r, "set AppArmor profile '%s'", profile) : 0;
	err_set(&warning, -r, "AppArmor profile '%.150s' is not loaded here, and ignored", profile);
	tell(c, MSG_WARNING, &warning);
	return 0;
}

static int set_labels(const struct child *c, struct err *err)
{
	const struct ctr_rules *rules = c->plan->rules;
	int r = rules->apparmor ? set_apparmor(c, rules->apparmor, err) : 0;

	if (r < 0 || !rules->exec_label)
		return r;
	r = fdio_write_file(c->proc, "self/attr/exec", rules->exec_label);
	return r < 0 ? err_sys(err, -r, "set SELinux label '%s' (does the guest's kernel have it?)",
			       rules->exec_label)
		     : 0;
}

/* From the agent's power to the process's own. */
static int drop_power(struct child *c, struct err *err)
{
	const struct ctr_rules *rules = c->plan->rules;
	const Grpc__Process *p = c->plan->process;
	/*
	 * Without no_new_privs loading the filter needs it. execve, which comes next, computes the
	 * sets anew from the bounding and ambient ones, whatever is permitted before it.
	 */
	bool filter_later = c->filter.count && !rules->no_new_privs;
	uint64_t extra = filter_later ? UINT64_C(1) << CAP_SYS_ADMIN : 0;
	bool cwd_later;
	int r;

	r = user_resolve(AT_FDCWD, p->user, &c->user, err);
	if (r == 0)
		r = env_make(p->env, p->n_env, c->user.home, &c->envp, err);
	if (r == 0)
		r = enter_cwd(c, err);
	/* On a share that squashes root only its user may. */
	cwd_later = r == -EACCES;
	if (r < 0 && !cwd_later)
		return r;
	if (setrlimit(RLIMIT_NOFILE, &c->plan->engine->nofile) < 0)
		return err_sys(err, errno, "RLIMIT_NOFILE");
	r = rlimit_apply(&rules->rlimits, err);
	if (r < 0)
		return r;
	if (rules->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(err, errno, "no_new_privs");
	r = caps_apply_bounding(&rules->caps, err);
	if (r == 0)
		r = caps_keep(err);
	if (r == 0)
		r = user_apply(&c->user, err);
	if (r == 0)
		r = caps_apply(&rules->caps, extra, err);
	if (r == 0 && cwd_later) {
		*err = (struct err){ 0 };
		r = enter_cwd(c, err);
	}
	/* A change of ids makes of it what fs.suid_dumpable says. */
	if (r == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		r = err_sys(err, errno, "prctl(PR_SET_DUMPABLE)");
	return r;
}

/* The init compiles the container's filter, and the execs after it take it as it is. */
static int get_filter(struct child *c, struct err *err)
{
	const struct spawn_plan *p = c->plan;
	int r, fd = p->rules->seccomp_fd;

	if (fd < 0)
		return 0;
	if (!p->spec)
		return seccomp_prog_restore(fd, &c->filter, err);
	r = seccomp_compile(p->spec->linux->seccomp, &c->filter, err);
	return r < 0 ? r : seccomp_prog_save(&c->filter, fd, err);
}

/* All that wants the guest's root or a descriptor of the agent's. */
static int set_up(struct child *c, const struct child_io *io, struct err *err)
{
	const struct spawn_plan *p = c->plan;
	bool userns = p->spec && p->ns->new_flags & CLONE_NEWUSER;
	int r;

	r = shed(c, io, err);
	if (r == 0 && p->spec && c->middle) {
		c->procfs = room_procfs(p->ns->join[NS_PID], err);
		r = c->procfs < 0 ? c->procfs : ns_join_pid(p->ns, err);
	}
	if (r < 0)
		return r;
	if (userns && c->middle)
		tell(c, MSG_UNSHARED, NULL);
	if (userns)
		await(c); /* until the parent has mapped our ids */
	r = get_filter(c, err);
	if (r == 0)
		r = enter_namespaces(c, err);
	if (r == 0 && p->spec)
		r = build_container(c, err);
	else if (r == 0 && p->process->terminal)
		r = set_up_terminal(c, err);
	if (r == 0)
		r = set_labels(c, err);
	if (r == 0)
		r = drop_power(c, err);
	if (r == 0)
		r = find_executable(c, err);
	if (r == 0)
		r = make_argv(c, err);
	return r;
}

static long clone_sibling(int *pidfd)
{
	struct clone_args args = {
		.flags = CLONE_PARENT | CLONE_PIDFD,
		.pidfd = (uint64_t)(uintptr_t)pidfd,
	};
	long pid = syscall(SYS_clone3, &args, sizeof(args));

	/* Filters can't look into its arguments, and say that it isn't there or is forbidden. */
	return pid < 0 && (errno == ENOSYS || errno == EPERM)
		       ? syscall(SYS_clone, (unsigned long)args.flags, NULL, pidfd, NULL, NULL)
		       : pid;
}

/*
 * A process without its filter, or with what loading it takes, is a way out for who may trace it:
 * the middle, which nobody sees, loads it then. The profile must know what we call from here on.
 */
static int shut_before_birth(struct child *c, struct err *err)
{
	int r;

	if (!c->plan->spied || !c->filter.count)
		return 0;
	r = seccomp_prog_load(&c->filter, err);
	c->filter.count = 0;
	return r < 0 ? r : caps_apply(&c->plan->rules->caps, 0, err);
}

/*
 * The middle makes the process that the container sees, which has the container's root, its
 * standard streams and the socket; and whose parent is the agent. Only that one returns: when the
 * agent knows it. The middle waits to be killed, lest its end be taken for the process's.
 */
static int be_born(struct child *c, struct err *err)
{
	struct pollfd closed = { .fd = c->sync };
	int pidfd = FD_NONE, r = shut_before_birth(c, err);
	long pid;

	if (r < 0)
		return r;
	pid = clone_sibling(&pidfd);
	if (pid < 0)
		return err_sys(err, errno, "clone3");
	if (pid == 0) {
		c->middle = false;
		await(c);
		return 0;
	}
	r = tell_with(c, MSG_BORN, (pid_t)pid, pidfd);
	while (r == 0 && poll(&closed, 1, -1) < 0)
		;
	_exit(1);
}

/* By the process itself, as the container may see it from its first moment on. */
static int exec_process(struct child *c, struct err *err)
{
	const Grpc__Process *p = c->plan->process;
	int r = 0;

	(void)setsid();
	if (p->terminal && ioctl(STDIN_FILENO, TIOCSCTTY, 0) < 0)
		return err_sys(err, errno, "controlling terminal");
	r = rlimit_apply_nproc(&c->plan->rules->rlimits, err);
	if (r < 0)
		return r;
	tell(c, MSG_READY, NULL);
	if (c->plan->spec) {
		await(c);
		/* With no more power than the container's process, whose files they are. */
		r = child_run_hooks(c, HOOK_START_CONTAINER, err);
	}
	/* Nothing but execve comes after it: a profile need not know what else we call. */
	if (r == 0)
		r = seccomp_prog_load(&c->filter, err);
	if (r < 0)
		return r;
	(void)execve(c->exe, c->argv, c->envp);
	return err_set(err, errno, "exec: \"%s\": %s", p->args[0], strerror(errno));
}

_Noreturn void child_run(const struct spawn_plan *plan, const struct child_io *io)
{
	struct child c = {
		.plan = plan,
		.sync = io->sync,
		.mqueue = io->mqueue,
		.root = FD_NONE,
		.procfs = FD_NONE,
		.proc = FD_NONE,
		.middle = plan_has_middle(plan),
	};
	struct err err = { 0 };
	int keep[] = { io->sync };
	int r = set_up(&c, io, &err);

	if (r == 0) {
		fdio_close_except(keep, ARRAY_LEN(keep));
		if (c.middle)
			r = be_born(&c, &err);
	}
	if (r == 0)
		(void)exec_process(&c, &err);
	tell(&c, MSG_FAILED, &err);
	_exit(err.code == ENOENT || err.code == ENOTDIR ? 127 : 126);
}
