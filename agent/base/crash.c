/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fatal signals. Without a word the death of PID 1 is a kernel panic that names no reason. The
 * handler only makes system calls, then lets the signal do what it does by default.
 */
#include "base/crash.h"

#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/reboot.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/auto.h"

static char *put_hex(char *p, uint64_t v)
{
	for (int shift = 60; shift >= 0; shift -= 4)
		*p++ = "0123456789abcdef"[v >> shift & 15];
	return p;
}

_Noreturn void crash_power_off(void)
{
	sync();
#if defined(__x86_64__)
	/* A microvm without ACPI would only stand still: a reset ends it, as panic=1 does. */
	if (access("/sys/firmware/acpi", F_OK) < 0)
		(void)reboot(RB_AUTOBOOT);
#endif
	(void)reboot(RB_POWER_OFF);
	_exit(1); /* the kernel panics, and with panic=1 that ends the guest, too */
}

static void on_fatal(int sig, siginfo_t *info, void *context)
{
	char line[160] = "<2>kata-agent: fatal signal ", *p = line + strlen(line);
	const ucontext_t *uc = context;
	uint64_t pc = 0;
	int kmsg;

	/* kill(2) by a container that shares the pid namespace: PID 1 has not crashed. */
	if (info->si_code <= 0 && info->si_pid != getpid() && getpid() == 1)
		return;
#if defined(__x86_64__)
	pc = (uint64_t)uc->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
	pc = uc->uc_mcontext.pc;
#elif defined(__powerpc64__)
	pc = uc->uc_mcontext.gp_regs[PT_NIP];
#elif defined(__s390x__)
	pc = uc->uc_mcontext.psw.addr;
#else
	(void)uc;
#endif
	*p++ = (char)('0' + sig / 10);
	*p++ = (char)('0' + sig % 10);
	p = put_hex(stpcpy(p, " at 0x"), pc);
	p = put_hex(stpcpy(p, ", address 0x"), (uint64_t)(uintptr_t)info->si_addr);
	/* What the program counter means depends on where the program was loaded. */
	p = put_hex(stpcpy(p, ", crash_handlers at 0x"), (uint64_t)(uintptr_t)crash_handlers);
	*p++ = '\n';
	kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	if (kmsg >= 0)
		(void)!write(kmsg, line, (size_t)(p - line));
	(void)!write(STDERR_FILENO, line + 3, (size_t)(p - line) - 3);
	if (getpid() == 1)
		crash_power_off(); /* PID 1 is deaf to its own SIG_DFL */
	(void)signal(sig, SIG_DFL);
	(void)raise(sig);
}

void crash_handlers(void)
{
	static const int signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGTRAP };
	struct sigaction sa = { .sa_sigaction = on_fatal, .sa_flags = SA_SIGINFO };

	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		(void)sigaction(signals[i], &sa, NULL);
}
