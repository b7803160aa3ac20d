/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process that holds a sandbox's shared pid namespace. It is number 1 of all its containers and
 * whoever has CAP_SYS_PTRACE there may do with it what they like, so it has nothing: an empty root,
 * no descriptors, no environment, no capabilities, and system calls to wait and to reap. No state.
 */
#include "oci/pause.h"

#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "oci/creds.h"
#include "oci/fs/rootfs.h"
#include "base/auto.h"

static int pause_filter(struct err *err)
{
	static const int calls[] = {
		SCMP_SYS(rt_sigtimedwait), SCMP_SYS(wait4),	   SCMP_SYS(waitid),
		SCMP_SYS(restart_syscall), SCMP_SYS(rt_sigreturn), SCMP_SYS(exit_group),
	};
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int r = ctx ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(calls); i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, calls[i], 0);
	if (r == 0)
		r = seccomp_load(ctx); /* sets no_new_privs */
	return r < 0 ? err_sys(err, -r, "filter") : 0;
}

static int undress(struct err *err)
{
	const struct caps none = { 0 };
	int r = room_enter(err);

	(void)close_range(0, ~0U, 0);
	for (char **e = environ; *e; e++)
		explicit_bzero(*e, strlen(*e));
	(void)prctl(PR_SET_NAME, "pause", 0, 0, 0);
	if (r == 0)
		r = caps_apply_bounding(&none, err);
	if (r == 0)
		r = caps_apply(&none, 0, err);
	if (r == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		r = err_sys(err, errno, "prctl(PR_SET_DUMPABLE)");
	return r < 0 ? r : pause_filter(err);
}

static _Noreturn void pause_run(void)
{
	struct err err = { 0 };
	sigset_t set;
	int sig;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGCHLD);
	(void)sigprocmask(SIG_SETMASK, &set, NULL);
	(void)setsid();
	if (undress(&err) < 0)
		_exit(1);
	for (;;) {
		if (sigwait(&set, &sig) != 0)
			_exit(1);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
}

pid_t pause_start(struct err *err)
{
	struct clone_args args = { .flags = CLONE_NEWPID | CLONE_NEWNS, .exit_signal = SIGCHLD };
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));

	if (pid < 0)
		return err_sys(err, errno, "start the pause process");
	if (pid == 0)
		pause_run();
	return pid;
}
