/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Filters: what compiles, what is refused, and what a process under them can still do. Loading
 * happens in children with no_new_privs, so no root is needed.
 */
#include "oci/seccomp.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"

TestSuite(seccomp, .timeout = 20);

#define WORD(s) ((char[]){ s }) /* protobuf-c wants char * */

struct profile {
	Grpc__LinuxSeccomp s;
	Grpc__LinuxSyscall rule[4], *rules[4];
	Grpc__LinuxSyscall3x rule3[4], *rules3[4];
	char *names[4][4];
	Grpc__LinuxSeccompArg arg[4][4], *args[4][4];
};

static void init(struct profile *p, char *default_action)
{
	(void)memset(p, 0, sizeof(*p));
	grpc__linux_seccomp__init(&p->s);
	p->s.defaultaction = default_action;
	p->s.syscalls = p->rules;
	p->s.syscalls3x = p->rules3;
}

static size_t add(struct profile *p, char *action, char *name)
{
	size_t n = p->s.n_syscalls++;

	grpc__linux_syscall__init(&p->rule[n]);
	p->names[n][0] = name;
	p->rule[n].names = p->names[n];
	p->rule[n].n_names = 1;
	p->rule[n].action = action;
	p->rule[n].args = p->args[n];
	p->rules[n] = &p->rule[n];
	return n;
}

static void add_arg(struct profile *p, size_t n, uint64_t index, char *op, uint64_t v, uint64_t w)
{
	size_t i = p->rule[n].n_args++;

	grpc__linux_seccomp_arg__init(&p->arg[n][i]);
	p->arg[n][i].index = index;
	p->arg[n][i].op = op;
	p->arg[n][i].value = v;
	p->arg[n][i].valuetwo = w;
	p->args[n][i] = &p->arg[n][i];
}

/* The wait status of a child that loads the filter and runs fn. */
static int run(const struct profile *p, int (*fn)(void))
{
	struct seccomp_prog prog;
	struct err err = { 0 };
	int status = -1;
	pid_t pid;

	cr_assert_eq(seccomp_compile(&p->s, &prog, &err), 0, "%s", err.msg);
	cr_assert(prog.count > 0);
	pid = fork();
	if (pid == 0) {
		(void)signal(SIGSYS, SIG_DFL);
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		    seccomp_prog_load(&prog, &err) < 0)
			_exit(200);
		_exit(fn());
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	seccomp_prog_release(&prog);
	return status;
}

static int call_getppid(void)
{
	return syscall(SYS_getppid) < 0 ? errno : 0;
}

Test(seccomp, nothing_is_no_filter)
{
	Grpc__LinuxSeccomp empty = GRPC__LINUX_SECCOMP__INIT;
	struct seccomp_prog prog = { .count = 1 };
	struct err err = { 0 };

	cr_expect_eq(seccomp_compile(NULL, &prog, &err), 0);
	cr_expect_eq(prog.count, 0);
	cr_expect_eq(seccomp_compile(&empty, &prog, &err), 0);
	cr_expect_eq(prog.count, 0);
	cr_expect_eq(seccomp_prog_load(&prog, &err), 0);
	seccomp_prog_release(&prog);
}

Test(seccomp, actions)
{
	struct profile p;
	int status;

	init(&p, WORD("SCMP_ACT_ALLOW"));
	(void)add(&p, WORD("SCMP_ACT_ERRNO"), WORD("getppid"));
	(void)add(&p, WORD("SCMP_ACT_KILL"), WORD("no_such_call_in_any_kernel"));
	cr_expect_eq(WEXITSTATUS(run(&p, call_getppid)), EPERM);
	p.rule[0].action = WORD("SCMP_ACT_ALLOW"); /* the default: left out */
	cr_expect_eq(WEXITSTATUS(run(&p, call_getppid)), 0);
	p.rule[0].action = WORD("SCMP_ACT_LOG");
	cr_expect_eq(WEXITSTATUS(run(&p, call_getppid)), 0);
	p.rule[0].action = WORD("SCMP_ACT_TRACE");
	cr_expect_eq(WEXITSTATUS(run(&p, call_getppid)), ENOSYS, "without a tracer");
	p.rule[0].action = WORD("SCMP_ACT_KILL");
	status = run(&p, call_getppid);
	cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
	p.rule[0].action = WORD("SCMP_ACT_KILL_THREAD");
	status = run(&p, call_getppid);
	cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
	p.rule[0].action = WORD("SCMP_ACT_KILL_PROCESS");
	status = run(&p, call_getppid);
	cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
	p.rule[0].action = WORD("SCMP_ACT_TRAP");
	status = run(&p, call_getppid);
	cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}

Test(seccomp, errno_of_3x)
{
	struct seccomp_prog prog;
	struct err err = { 0 };
	struct profile p;

	init(&p, WORD("SCMP_ACT_ALLOW"));
	grpc__linux_syscall3x__init(&p.rule3[0]);
	p.names[0][0] = WORD("getppid");
	p.rule3[0].names = p.names[0];
	p.rule3[0].n_names = 1;
	p.rule3[0].action = WORD("SCMP_ACT_ERRNO");
	p.rules3[0] = &p.rule3[0];
	p.s.n_syscalls3x = 1;
	cr_expect_eq(WEXITSTATUS(run(&p, call_getppid)), EPERM);
	p.rule3[0].has_errnoret_case = GRPC__LINUX_SYSCALL3X__HAS_ERRNORET_ERRNORET;
	p.rule3[0].errnoret = ENOTTY;
	cr_expect_eq(WEXITSTATUS(run(&p, call_getppid)), ENOTTY);
	p.rule3[0].errnoret = 0x10000 | ENOTTY; /* no other action is smuggled in */
	cr_expect_eq(seccomp_compile(&p.s, &prog, &err), -EINVAL);
	p.rule3[0].errnoret = 0; /* how runtime-rs says nothing */
	cr_expect_eq(WEXITSTATUS(run(&p, call_getppid)), EPERM);
	/* A 2.0 runtime speaks 3.x's road with 1.x's list. */
	p.s.n_syscalls3x = 0;
	(void)add(&p, WORD("SCMP_ACT_ERRNO"), WORD("getppid"));
	cr_expect_eq(WEXITSTATUS(run(&p, call_getppid)), EPERM);
}

/* A bit for each personality(2) argument that got through. */
static int call_personality(void)
{
	static const unsigned long values[] = { 0, 8, 0x20000, 0x20008, 5 };
	int passed = 0;

	for (size_t i = 0; i < ARRAY_LEN(values); i++)
		passed |= (syscall(SYS_personality, values[i]) >= 0) << i;
	return passed;
}

static int with_op(char *op, uint64_t value, uint64_t two)
{
	struct profile p;

	init(&p, WORD("SCMP_ACT_ALLOW"));
	(void)add(&p, WORD("SCMP_ACT_ERRNO"), WORD("personality"));
	add_arg(&p, 0, 0, op, value, two);
	return WEXITSTATUS(run(&p, call_personality));
}

Test(seccomp, operators)
{
	cr_expect_eq(with_op(WORD("SCMP_CMP_EQ"), 8, 0), 0x1d);
	cr_expect_eq(with_op(WORD("SCMP_CMP_NE"), 8, 0), 0x02);
	cr_expect_eq(with_op(WORD("SCMP_CMP_LT"), 8, 0), 0x0e);
	cr_expect_eq(with_op(WORD("SCMP_CMP_LE"), 8, 0), 0x0c);
	cr_expect_eq(with_op(WORD("SCMP_CMP_GT"), 8, 0), 0x13);
	cr_expect_eq(with_op(WORD("SCMP_CMP_GE"), 8, 0), 0x11);
	cr_expect_eq(with_op(WORD("SCMP_CMP_MASKED_EQ"), 0x20000, 0x20000), 0x13);
}

Test(seccomp, same_argument_twice_is_or)
{
	struct profile p;

	init(&p, WORD("SCMP_ACT_ALLOW"));
	(void)add(&p, WORD("SCMP_ACT_ERRNO"), WORD("personality"));
	add_arg(&p, 0, 0, WORD("SCMP_CMP_EQ"), 8, 0);
	add_arg(&p, 0, 0, WORD("SCMP_CMP_EQ"), 5, 0);
	cr_expect_eq(WEXITSTATUS(run(&p, call_personality)), 0x0d);
}

static int call_socket(void)
{
	return (socket(AF_UNIX, SOCK_STREAM, 0) >= 0) | (socket(AF_UNIX, SOCK_DGRAM, 0) >= 0) << 1;
}

Test(seccomp, two_arguments_are_and)
{
	struct profile p;

	init(&p, WORD("SCMP_ACT_ALLOW"));
	(void)add(&p, WORD("SCMP_ACT_ERRNO"), WORD("socket"));
	add_arg(&p, 0, 0, WORD("SCMP_CMP_EQ"), AF_UNIX, 0);
	add_arg(&p, 0, 1, WORD("SCMP_CMP_EQ"), SOCK_DGRAM, 0);
	cr_expect_eq(WEXITSTATUS(run(&p, call_socket)), 1);
}

Test(seccomp, deny_by_default)
{
	struct profile p;

	init(&p, WORD("SCMP_ACT_ERRNO"));
	(void)add(&p, WORD("SCMP_ACT_ALLOW"), WORD("exit_group"));
	cr_expect_eq(WEXITSTATUS(run(&p, call_getppid)), EPERM);
}

static int call_newer(void)
{
	/* At once: what the sanitizer does at a process's end no filter here allows. */
	return (int)syscall(SYS_exit_group, syscall(SYS_faccessat2, -1, "x", 0, 0) < 0 ? errno : 0);
}

static int call_older(void)
{
	return (int)syscall(SYS_exit_group, syscall(SYS_getppid) < 0 ? errno : 0);
}

/* As runc has it: what came after the profile doesn't exist, so that libc falls back. */
Test(seccomp, newer_than_the_profile)
{
	struct profile p;

	init(&p, WORD("SCMP_ACT_ERRNO"));
	(void)add(&p, WORD("SCMP_ACT_ALLOW"), WORD("exit_group"));
	cr_expect_eq(WEXITSTATUS(run(&p, call_newer)), ENOSYS);
	cr_expect_eq(WEXITSTATUS(run(&p, call_older)), EPERM);
	p.s.defaultaction = WORD("SCMP_ACT_KILL_PROCESS");
	cr_expect_eq(WEXITSTATUS(run(&p, call_newer)), ENOSYS);
	cr_expect(WIFSIGNALED(run(&p, call_older)));
	(void)add(&p, WORD("SCMP_ACT_ALLOW"), WORD("close_range")); /* 436, before it */
	cr_expect_eq(WEXITSTATUS(run(&p, call_newer)), ENOSYS);
	(void)add(&p, WORD("SCMP_ACT_ERRNO"), WORD("epoll_pwait2")); /* 441, after it */
	cr_expect(WIFSIGNALED(run(&p, call_newer)));
	init(&p, WORD("SCMP_ACT_ALLOW"));
	(void)add(&p, WORD("SCMP_ACT_ERRNO"), WORD("getppid"));
	cr_expect_eq(WEXITSTATUS(run(&p, call_newer)), EBADF);
}

Test(seccomp, architectures_and_flags)
{
	char *arches[] = { WORD("SCMP_ARCH_X86_64"), WORD("SCMP_ARCH_X86"), WORD("SCMP_ARCH_X32") };
	char *flags[] = { WORD("SECCOMP_FILTER_FLAG_LOG"), WORD("SECCOMP_FILTER_FLAG_TSYNC"),
			  WORD("SECCOMP_FILTER_FLAG_SPEC_ALLOW") };
	struct profile p;
	struct seccomp_prog prog;
	struct err err = { 0 };

	init(&p, WORD("SCMP_ACT_ALLOW"));
	(void)add(&p, WORD("SCMP_ACT_ERRNO"), WORD("getppid"));
	p.s.architectures = arches;
	p.s.n_architectures = 3;
	p.s.flags = flags;
	p.s.n_flags = 3;
	cr_expect_eq(WEXITSTATUS(run(&p, call_getppid)), EPERM);
	cr_assert_eq(seccomp_compile(&p.s, &prog, &err), 0);
	cr_expect_eq(prog.flags, SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_TSYNC |
					 SECCOMP_FILTER_FLAG_SPEC_ALLOW);
	seccomp_prog_release(&prog);
}

static void refused(struct profile *p, int code, const char *text)
{
	struct seccomp_prog prog;
	struct err err = { 0 };

	cr_expect_eq(seccomp_compile(&p->s, &prog, &err), -code, "%s: %s", text, err.msg);
	cr_expect(strstr(err.msg, text), "%s", err.msg);
	cr_expect_null(prog.filter);
}

Test(seccomp, refused)
{
	char *list[] = { WORD("SCMP_ARCH_VAX") }, *flags[] = { WORD("SECCOMP_FILTER_FLAG_X") };
	struct profile p;

	init(&p, WORD("SCMP_ACT_NONE"));
	refused(&p, EINVAL, "string SCMP_ACT_NONE is not a valid action for seccomp");
	init(&p, WORD("SCMP_ACT_NOTIFY"));
	refused(&p, EOPNOTSUPP, "SCMP_ACT_NOTIFY");
	init(&p, WORD("SCMP_ACT_ALLOW"));
	p.s.architectures = list;
	p.s.n_architectures = 1;
	refused(&p, EINVAL, "string SCMP_ARCH_VAX is not a valid arch for seccomp");
	init(&p, WORD("SCMP_ACT_ALLOW"));
	p.s.flags = flags;
	p.s.n_flags = 1;
	refused(&p, EINVAL, "string SECCOMP_FILTER_FLAG_X is not a valid flag for seccomp");
	init(&p, WORD("SCMP_ACT_ALLOW"));
	(void)add(&p, WORD("SCMP_ACT_ERRNO"), WORD("getppid"));
	add_arg(&p, 0, 0, WORD("SCMP_CMP_XX"), 0, 0);
	refused(&p, EINVAL, "string SCMP_CMP_XX is not a valid operator for seccomp");
	p.arg[0][0].op = WORD("SCMP_CMP_EQ");
	p.arg[0][0].index = 6;
	refused(&p, EINVAL, "above 5");
	init(&p, WORD(""));
	(void)add(&p, WORD("SCMP_ACT_ERRNO"), WORD("getppid"));
	refused(&p, EINVAL, "not a valid action");
}

/* --- the wire ------------------------------------------------------------------------------- */
