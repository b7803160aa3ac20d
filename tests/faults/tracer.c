// SPDX-License-Identifier: Apache-2.0
/*
 * Makes one system call of an agent, or of its children before their execve, go wrong.
 *
 *	fault-tracer PID FILE
 *
 * FILE is struct orders, mapped by the test too, which writes what is to happen, sends SIGUSR1, and
 * reads what did. It attaches to PID and follows all that it forks; what has executed a program is
 * let go, and all are when it has happened. A call has a name: the process (0: the agent, 1: its
 * first child since the orders came, ...) and its number in that process.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROCESSES 64
#define TRACEES	  256

enum mode { MODE_ERROR = 1, MODE_SHORT, MODE_KILL };

/* tests/faults/faultlib.py has the same. */
struct orders {
	int32_t mode;	 /* 0: only count; with MODE_SHORT only what can be short is counted */
	int32_t process; /* of the call that goes wrong */
	int32_t number;	 /* from 1 */
	int32_t error;	 /* which of its likely ones, from 0 */
	int32_t hit;	 /* it has happened */
	int32_t hit_nr;
	int32_t hit_arg0;
	int32_t births;
	int32_t attached;
	int32_t wanted; /* 0: let all go */
	int32_t ready;	/* for orders */
	int32_t only;	/* count calls with this number only; 0: all (read is none of those) */
	int32_t counts[PROCESSES];
	char hit_path[64];
};

struct tracee {
	pid_t pid;
	int process; /* -1: not told yet whose child it is */
	int waits;   /* it has stopped and waits for that */
	int last;    /* it is let go at its next stop */
	int fail;    /* at the exit of this call: its result, negative */
	int really;  /* the call is made all the same */
};

/* The errors that come to mind first; of calls that aren't here, those of 0. */
static const struct {
	long nr;
	int errors[3];
} likely[] = {
	{ SYS_read, { EIO, EINTR, ENOMEM } },
	{ SYS_write, { EIO, ENOSPC, EINTR } },
	{ SYS_pwrite64, { EIO, ENOSPC, EINTR } },
	{ SYS_writev, { EIO, EPIPE, EINTR } },
	{ SYS_sendmsg, { ECONNRESET, ENOBUFS, EINTR } },
	{ SYS_sendto, { ECONNRESET, ENOBUFS, EINTR } },
	{ SYS_recvfrom, { ECONNRESET, ENOBUFS, EINTR } },
	{ SYS_recvmsg, { ECONNRESET, ENOBUFS, EINTR } },
	{ SYS_accept4, { EMFILE, ECONNABORTED, ENOMEM } },
	{ SYS_openat, { EMFILE, ENOENT, ENOMEM } },
	{ SYS_openat2, { EMFILE, EAGAIN, ENOMEM } },
	{ SYS_open, { EMFILE, ENOENT, ENOMEM } },
	{ SYS_socket, { EMFILE, EAFNOSUPPORT, ENOBUFS } },
	{ SYS_socketpair, { EMFILE, ENFILE, ENOBUFS } },
	{ SYS_pipe2, { EMFILE, ENFILE, ENOMEM } },
	{ SYS_clone, { EAGAIN, ENOMEM, EPERM } },
	{ SYS_clone3, { EAGAIN, ENOMEM, EPERM } },
	{ SYS_fork, { EAGAIN, ENOMEM, EPERM } },
	{ SYS_vfork, { EAGAIN, ENOMEM, EPERM } },
	{ SYS_waitid, { EINTR, EINTR, EINTR } },
	{ SYS_mount, { ENOMEM, EBUSY, EINVAL } },
	{ SYS_umount2, { EBUSY, EINVAL, ENOMEM } },
	{ SYS_mkdir, { ENOSPC, EROFS, EEXIST } },
	{ SYS_mkdirat, { ENOSPC, EROFS, EEXIST } },
	{ SYS_rmdir, { EBUSY, EROFS, ENOMEM } },
	{ SYS_unlinkat, { EBUSY, EROFS, ENOMEM } },
	{ SYS_unlink, { EBUSY, EROFS, ENOMEM } },
	{ SYS_execve, { ENOMEM, ENOENT, EAGAIN } },
	{ SYS_epoll_ctl, { ENOMEM, ENOSPC, ENOMEM } },
	{ SYS_close, { EIO, EINTR, EIO } },
	{ SYS_epoll_wait, { EINTR, EINTR, EINTR } }, /* these are only ever interrupted */
	{ SYS_epoll_pwait, { EINTR, EINTR, EINTR } },
	{ SYS_poll, { EINTR, EINTR, ENOMEM } },
	{ SYS_ppoll, { EINTR, EINTR, ENOMEM } },
	{ -1, { EIO, ENOMEM, EPERM } },
};

static struct orders *orders;
static struct tracee tracees[TRACEES];

static struct tracee *find(pid_t pid)
{
	for (int i = 0; i < TRACEES; i++) {
		if (tracees[i].pid == pid)
			return &tracees[i];
	}
	for (int i = 0; i < TRACEES; i++) {
		if (!tracees[i].pid) {
			tracees[i] = (struct tracee){ .pid = pid, .process = -1 };
			return &tracees[i];
		}
	}
	fprintf(stderr, "fault-tracer: too many processes\n");
	exit(1);
}

static void go(pid_t pid, int sig)
{
	(void)ptrace(PTRACE_SYSCALL, pid, 0, (long)sig);
}

/*
 * What can't fail, or what nobody may expect to be looked at: the process's end, its memory's return,
 * root's signals to children that it has not waited for, its own mask and numbers.
 */
static int spared(uint64_t nr)
{
	switch (nr) {
	case SYS_exit:
	case SYS_exit_group:
	case SYS_rt_sigreturn:
	case SYS_restart_syscall:
	case SYS_brk:
	case SYS_munmap:
	case SYS_getpid:
	case SYS_gettid:
	case SYS_getppid:
	case SYS_getuid:
	case SYS_geteuid:
	case SYS_getgid:
	case SYS_getegid:
	case SYS_rt_sigprocmask:
	case SYS_rt_sigaction:
	case SYS_sched_yield:
	case SYS_futex:
	case SYS_set_robust_list:
	case SYS_set_tid_address:
	case SYS_rseq:
	case SYS_umask:
	case SYS_clock_gettime:
	case SYS_madvise:
	case SYS_kill:
	case SYS_pidfd_send_signal:
		return 1;
	}
	return 0;
}

static void path_of(pid_t pid, uint64_t fd, char *buf, size_t size)
{
	char link[64];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/%d/fd/%u", pid, (unsigned int)fd);
	n = readlink(link, buf, size - 1);
	buf[n < 0 ? 0 : n] = '\0';
}

static void text_of(pid_t pid, uint64_t at, char *buf, size_t size)
{
	char mem[32];
	ssize_t n;
	int fd;

	snprintf(mem, sizeof(mem), "/proc/%d/mem", pid);
	fd = open(mem, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : pread(fd, buf, size - 1, (off_t)at);
	buf[n < 0 ? 0 : n] = '\0';
	if (fd >= 0)
		close(fd);
}

/* For the reader: the file that it was about. */
static void note_path(pid_t pid, const struct __ptrace_syscall_info *info)
{
	char *to = orders->hit_path;
	size_t size = sizeof(orders->hit_path);

	switch (info->entry.nr) {
	case SYS_openat:
	case SYS_openat2:
	case SYS_newfstatat:
	case SYS_mkdirat:
	case SYS_unlinkat:
	case SYS_readlinkat:
	case SYS_move_mount:
		text_of(pid, info->entry.args[1], to, size);
		break;
	case SYS_mkdir:
	case SYS_rmdir:
	case SYS_unlink:
	case SYS_open:
	case SYS_stat:
	case SYS_access:
	case SYS_umount2:
	case SYS_mount:
	case SYS_execve:
	case SYS_statfs:
		text_of(pid, info->entry.args[0], to, size);
		break;
	default:
		path_of(pid, info->entry.args[0], to, size);
	}
}

/* A short read or write, where the kernel would make one: of streams and files, not of datagrams and /proc. */
static int can_be_short(pid_t pid, const struct __ptrace_syscall_info *info)
{
	uint64_t nr = info->entry.nr, size = info->entry.args[2];
	int writes = nr == SYS_write || nr == SYS_pwrite64 || nr == SYS_writev;
	char path[128];

	if (nr == SYS_writev || nr == SYS_readv)
		return size > 1;
	if ((nr != SYS_read && nr != SYS_pread64 && !writes) || size < 2)
		return 0;
	path_of(pid, info->entry.args[0], path, sizeof(path));
	if (strncmp(path, "anon_inode", 10) == 0)
		return 0;
	if (strncmp(path, "socket", 6) == 0)
		return size > PIPE_BUF; /* not the small messages of spawn */
	if (!writes)
		return 1;
	if (strncmp(path, "pipe", 4) == 0)
		return size > PIPE_BUF;
	return strncmp(path, "/proc", 5) != 0 && strncmp(path, "/sys", 4) != 0;
}

/* Pipes and the kernel's own objects give no other error to who uses them rightly than that one was interrupted. */
static int only_interrupted(pid_t pid, const struct __ptrace_syscall_info *info)
{
	uint64_t nr = info->entry.nr;
	char path[64];

	if (nr != SYS_read && nr != SYS_write && nr != SYS_writev)
		return 0;
	path_of(pid, info->entry.args[0], path, sizeof(path));
	return strncmp(path, "pipe", 4) == 0 || strncmp(path, "anon_inode", 10) == 0;
}

static int error_of(uint64_t nr, int which)
{
	size_t i = 0;

	while (likely[i].nr >= 0 && likely[i].nr != (long)nr)
		i++;
	return likely[i].errors[which % 3];
}

static void on_entry(struct tracee *t, const struct __ptrace_syscall_info *info)
{
	uint64_t nr = info->entry.nr;

	if (t->process < 0 || t->process >= PROCESSES || spared(nr))
		return;
	if (orders->only && (int)nr != orders->only)
		return;
	if (orders->mode == MODE_SHORT && !can_be_short(t->pid, info))
		return;
	orders->counts[t->process]++;
	if (!orders->mode || orders->hit || t->process != orders->process ||
	    orders->counts[t->process] != orders->number)
		return;
	orders->hit_nr = (int)nr;
	orders->hit_arg0 = (int)info->entry.args[0];
	note_path(t->pid, info);
	if (orders->mode == MODE_KILL) {
		if (t->process) /* the agent's own death is no fault to live through */
			kill(t->pid, SIGKILL);
		orders->hit = 1;
	} else if (orders->mode == MODE_SHORT) {
		(void)ptrace(PTRACE_POKEUSER, t->pid, offsetof(struct user_regs_struct, rdx), 1L);
		orders->hit = 1;
	} else {
		t->fail = only_interrupted(t->pid, info) ? -EINTR : -error_of(nr, orders->error);
		orders->error = -t->fail;
		t->really = nr == SYS_close; /* as the kernel does it */
		if (!t->really)
			(void)ptrace(PTRACE_POKEUSER, t->pid,
				     offsetof(struct user_regs_struct, orig_rax), -1L);
		orders->hit = 1;
	}
}

/* Nothing is left to be done with it. */
static void let_go(struct tracee *t)
{
	(void)ptrace(PTRACE_DETACH, t->pid, 0, 0L);
	if (t->process == 0)
		orders->attached = 0;
	t->pid = 0;
}

static void let_all_go(void)
{
	for (int i = 0; i < TRACEES; i++) {
		if (tracees[i].pid && !tracees[i].last) {
			tracees[i].last = 1;
			if (tracees[i].waits)
				let_go(&tracees[i]);
			else
				(void)ptrace(PTRACE_INTERRUPT, tracees[i].pid, 0, 0L);
		}
	}
}

static void on_syscall(struct tracee *t)
{
	struct __ptrace_syscall_info info;

	if (ptrace(PTRACE_GET_SYSCALL_INFO, t->pid, sizeof(info), &info) < 0)
		return;
	if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
		on_entry(t, &info);
	} else if (info.op == PTRACE_SYSCALL_INFO_EXIT && t->fail) {
		(void)ptrace(PTRACE_POKEUSER, t->pid, offsetof(struct user_regs_struct, rax),
			     (long)t->fail);
		t->fail = 0;
	}
}

static void on_birth(struct tracee *t)
{
	unsigned long child;
	struct tracee *c;

	if (ptrace(PTRACE_GETEVENTMSG, t->pid, 0, &child) < 0)
		return;
	c = find((pid_t)child);
	c->process = ++orders->births;
	if (c->waits) {
		c->waits = 0;
		go(c->pid, 0);
	}
}

static void on_stop(struct tracee *t, int status)
{
	int sig = WSTOPSIG(status), event = status >> 16;

	switch (event) {
	case PTRACE_EVENT_CLONE:
	case PTRACE_EVENT_FORK:
	case PTRACE_EVENT_VFORK:
		on_birth(t);
		sig = 0;
		break;
	case PTRACE_EVENT_EXEC:
		let_go(t);
		return;
	case PTRACE_EVENT_STOP:
		if (sig != SIGTRAP && !t->last) {
			(void)ptrace(PTRACE_LISTEN, t->pid, 0, 0L);
			return;
		}
		sig = 0;
		if (t->process < 0 && !t->last) {
			t->waits = 1;
			return;
		}
		break;
	default:
		if (sig == (SIGTRAP | 0x80)) {
			on_syscall(t);
			sig = 0;
		}
	}
	if (t->last && !t->fail && !sig)
		let_go(t);
	else
		go(t->pid, sig);
}

static void nothing(int sig)
{
	(void)sig;
}

/* Orders may have come, or been carried out. */
static void look(pid_t pid)
{
	const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK |
			     PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC;

	if (orders->attached && (!orders->wanted || orders->hit)) {
		let_all_go();
	} else if (!orders->attached && orders->wanted && !orders->hit) {
		if (ptrace(PTRACE_SEIZE, pid, 0, options) < 0) {
			perror("fault-tracer: attach");
			exit(1);
		}
		find(pid)->process = 0;
		(void)ptrace(PTRACE_INTERRUPT, pid, 0, 0L);
		orders->attached = 1;
	}
}

int main(int argc, char **argv)
{
	const struct sigaction wake = { .sa_handler = nothing };
	pid_t pid = argc == 3 ? (pid_t)strtol(argv[1], NULL, 10) : 0;
	int fd = pid > 0 ? open(argv[2], O_RDWR | O_CLOEXEC) : -1;
	sigset_t usr1, none;
	int status;

	if (fd < 0) {
		fprintf(stderr, "Usage: fault-tracer PID FILE\n");
		return 2;
	}
	orders = mmap(NULL, sizeof(*orders), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (orders == MAP_FAILED) {
		perror("fault-tracer");
		return 1;
	}
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	sigaddset(&usr1, SIGCHLD);
	sigprocmask(SIG_BLOCK, &usr1, NULL);
	sigemptyset(&none);
	sigaction(SIGUSR1, &wake, NULL);
	sigaction(SIGCHLD, &wake, NULL);
	orders->ready = 1;
	for (;;) {
		pid_t who = waitpid(-1, &status, __WALL | WNOHANG);

		if (who <= 0) {
			look(pid);
			sigsuspend(&none);
			look(pid);
		} else if (WIFSTOPPED(status)) {
			on_stop(find(who), status);
			if (orders->hit)
				look(pid);
		} else {
			find(who)->pid = 0;
			if (who == pid)
				return 0; /* with it go all: the kernel lets them run */
		}
	}
}
