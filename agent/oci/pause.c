/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process that holds a sandbox's shared pid namespace. It is number 1 of all its containers and
 * whoever has CAP_SYS_PTRACE there may do with it what they like, so it has nothing: an empty root,
 * no descriptors, no environment, no capabilities, none of the agent's memory, and one system call,
 * to wait. The kernel reaps for who ignores SIGCHLD.
 *
 * For that it is a program of its own, of a few instructions, in a memfd. No state.
 */
#include "oci/pause.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "oci/creds.h"
#include "oci/fs/rootfs.h"
#include "base/auto.h"
#include "base/fdio.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

/* Where the program lies in memory; it is read from a file, and nothing of it is written to. */
#define PAUSE_BASE 0x400000
#define PAUSE_NAME 0x4000b0
#define PAUSE_PROG 0x4000b8

/* The system calls after prctl(PR_SET_NAME) are for good: not dumpable, the filter, the wait. */
#if defined(__x86_64__)
#define PAUSE_MACHINE EM_X86_64
#define PAUSE_ARCH    AUDIT_ARCH_X86_64
__asm__(".pushsection .rodata.pause, \"a\"\n"
	"pause_code:\n"
	"	mov	$157, %eax\n" /* prctl(PR_SET_NAME, "pause") */
	"	mov	$15, %edi\n"
	"	mov	$0x4000b0, %esi\n"
	"	syscall\n"
	"	mov	$157, %eax\n" /* prctl(PR_SET_DUMPABLE, 0) */
	"	mov	$4, %edi\n"
	"	xor	%esi, %esi\n"
	"	syscall\n"
	"	mov	$157, %eax\n" /* prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) */
	"	mov	$22, %edi\n"
	"	mov	$2, %esi\n"
	"	mov	$0x4000b8, %edx\n"
	"	syscall\n"
	"	test	%eax, %eax\n"
	"	jnz	2f\n"
	"1:	mov	$271, %eax\n" /* ppoll(NULL, 0, NULL, NULL) */
	"	xor	%edi, %edi\n"
	"	xor	%esi, %esi\n"
	"	xor	%edx, %edx\n"
	"	xor	%r10d, %r10d\n"
	"	syscall\n"
	"	jmp	1b\n"
	"2:	mov	$231, %eax\n" /* exit_group(1) */
	"	mov	$1, %edi\n"
	"	syscall\n"
	"pause_code_end:\n"
	".popsection\n");
#elif defined(__aarch64__)
#define PAUSE_MACHINE EM_AARCH64
#define PAUSE_ARCH    AUDIT_ARCH_AARCH64
__asm__(".pushsection .rodata.pause, \"a\"\n"
	".balign 4\n"
	"pause_code:\n"
	"	mov	x8, #167\n" /* prctl(PR_SET_NAME, "pause") */
	"	mov	x0, #15\n"
	"	mov	x1, #0xb0\n"
	"	movk	x1, #0x40, lsl #16\n"
	"	svc	#0\n"
	"	mov	x0, #4\n" /* prctl(PR_SET_DUMPABLE, 0) */
	"	mov	x1, #0\n"
	"	svc	#0\n"
	"	mov	x0, #22\n" /* prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) */
	"	mov	x1, #2\n"
	"	mov	x2, #0xb8\n"
	"	movk	x2, #0x40, lsl #16\n"
	"	svc	#0\n"
	"	cbnz	x0, 2f\n"
	"1:	mov	x8, #73\n" /* ppoll(NULL, 0, NULL, NULL) */
	"	mov	x0, #0\n"
	"	mov	x1, #0\n"
	"	mov	x2, #0\n"
	"	mov	x3, #0\n"
	"	svc	#0\n"
	"	b	1b\n"
	"2:	mov	x8, #94\n" /* exit_group(1) */
	"	mov	x0, #1\n"
	"	svc	#0\n"
	"pause_code_end:\n"
	".popsection\n");
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
#define PAUSE_MACHINE EM_PPC64
#define PAUSE_ARCH    AUDIT_ARCH_PPC64LE
#define PAUSE_FLAGS   2 /* the second ABI: the entry is the code's address */
__asm__(".pushsection .rodata.pause, \"a\"\n"
	".balign 4\n"
	"pause_code:\n"
	"	li	0, 171\n" /* prctl(PR_SET_NAME, "pause") */
	"	li	3, 15\n"
	"	lis	4, 0x40\n"
	"	ori	4, 4, 0xb0\n"
	"	sc\n"
	"	li	0, 171\n" /* prctl(PR_SET_DUMPABLE, 0) */
	"	li	3, 4\n"
	"	li	4, 0\n"
	"	sc\n"
	"	li	0, 171\n" /* prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) */
	"	li	3, 22\n"
	"	li	4, 2\n"
	"	lis	5, 0x40\n"
	"	ori	5, 5, 0xb8\n"
	"	sc\n"
	"	bso	2f\n"
	"1:	li	0, 281\n" /* ppoll(NULL, 0, NULL, NULL) */
	"	li	3, 0\n"
	"	li	4, 0\n"
	"	li	5, 0\n"
	"	li	6, 0\n"
	"	sc\n"
	"	b	1b\n"
	"2:	li	0, 234\n" /* exit_group(1) */
	"	li	3, 1\n"
	"	sc\n"
	"pause_code_end:\n"
	".popsection\n");
#elif defined(__s390x__)
#define PAUSE_MACHINE EM_S390
#define PAUSE_ARCH    AUDIT_ARCH_S390X
#define PAUSE_DATA    ELFDATA2MSB
__asm__(".pushsection .rodata.pause, \"a\"\n"
	".balign 4\n"
	"pause_code:\n"
	"	lghi	%r2, 15\n" /* prctl(PR_SET_NAME, "pause") */
	"	llilf	%r3, 0x4000b0\n"
	"	svc	172\n"
	"	lghi	%r2, 4\n" /* prctl(PR_SET_DUMPABLE, 0) */
	"	lghi	%r3, 0\n"
	"	svc	172\n"
	"	lghi	%r2, 22\n" /* prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) */
	"	lghi	%r3, 2\n"
	"	llilf	%r4, 0x4000b8\n"
	"	svc	172\n"
	"	ltgr	%r2, %r2\n"
	"	jne	2f\n"
	"1:	lghi	%r1, 302\n" /* ppoll(NULL, 0, NULL, NULL) */
	"	lghi	%r2, 0\n"
	"	lghi	%r3, 0\n"
	"	lghi	%r4, 0\n"
	"	lghi	%r5, 0\n"
	"	svc	0\n"
	"	j	1b\n"
	"2:	lghi	%r2, 1\n" /* exit_group(1) */
	"	svc	248\n"
	"pause_code_end:\n"
	".popsection\n");
#else
#error "no pause program for this architecture"
#endif

#ifndef PAUSE_FLAGS
#define PAUSE_FLAGS 0
#endif
#ifndef PAUSE_DATA
#define PAUSE_DATA ELFDATA2LSB
#endif

extern const char pause_code[] __attribute__((visibility("hidden")));
extern const char pause_code_end[] __attribute__((visibility("hidden")));

/* The file in front of the code. */
struct pause_image {
	Elf64_Ehdr elf;
	Elf64_Phdr load, stack;
	char name[8];
	struct {
		uint16_t len;
		uint64_t filter;
	} prog; /* struct sock_fprog of the program */
	struct sock_filter filter[6];
};
static_assert(offsetof(struct pause_image, name) == PAUSE_NAME - PAUSE_BASE, "asm has it so");
static_assert(offsetof(struct pause_image, prog) == PAUSE_PROG - PAUSE_BASE, "asm has it so");

static const struct pause_image image = {
	.elf = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3,
			     ELFCLASS64, PAUSE_DATA, EV_CURRENT },
		.e_type = ET_EXEC,
		.e_machine = PAUSE_MACHINE,
		.e_version = EV_CURRENT,
		.e_entry = PAUSE_BASE + sizeof(struct pause_image),
		.e_phoff = offsetof(struct pause_image, load),
		.e_flags = PAUSE_FLAGS,
		.e_ehsize = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 2,
	},
	.load = {
		.p_type = PT_LOAD,
		.p_flags = PF_R | PF_X,
		.p_vaddr = PAUSE_BASE,
		.p_paddr = PAUSE_BASE,
		.p_filesz = 4096, /* the rest of the page is zeroes, in the file, too */
		.p_memsz = 4096,
		.p_align = 65536,
	},
	.stack = { .p_type = PT_GNU_STACK, .p_flags = PF_R | PF_W },
	.name = "pause",
	.prog = {
		.len = ARRAY_LEN(image.filter),
		.filter = PAUSE_BASE + offsetof(struct pause_image, filter),
	},
	.filter = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PAUSE_ARCH, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ppoll, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
	},
};

/* The program as a file that nobody can change. */
static int pause_program(struct err *err)
{
	size_t code = (size_t)(pause_code_end - pause_code);
	AUTO_CLOSE int fd = memfd_create("pause", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
	int r;

	if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
		fd = memfd_create("pause", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return err_sys(err, errno, "pause program");
	r = fdio_write_all(fd, &image, sizeof(image));
	if (r == 0)
		r = fdio_write_all(fd, pause_code, code);
	if (r == 0 &&
	    (ftruncate(fd, 4096) < 0 ||
	     fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0))
		r = -errno;
	return r < 0 ? err_sys(err, -r, "pause program") : TAKE_FD(fd);
}

static int undress(int program, struct err *err)
{
	const struct caps none = { 0 };
	int keep[] = { program };
	int r = room_enter(err);

	fdio_close_except(keep, ARRAY_LEN(keep));
	(void)close_range(0, 2, 0);
	if (r == 0)
		r = caps_apply_bounding(&none, err);
	if (r == 0)
		r = caps_apply(&none, 0, err);
	if (r == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		r = err_sys(err, errno, "prctl(PR_SET_DUMPABLE)");
	if (r == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		r = err_sys(err, errno, "no_new_privs");
	return r;
}

static _Noreturn void pause_run(int program)
{
	char *argv[] = { (char *)(uintptr_t) "pause", NULL }, *envp[] = { NULL };
	struct err err = { 0 };
	sigset_t none;

	(void)signal(SIGPIPE, SIG_DFL);
	(void)signal(SIGCHLD, SIG_IGN);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)setsid();
	if (undress(program, &err) == 0)
		(void)syscall(SYS_execveat, program, "", argv, envp, AT_EMPTY_PATH);
	_exit(1);
}

pid_t pause_start(struct err *err)
{
	AUTO_CLOSE int program = pause_program(err);
	AUTO_CLOSE int pidfd = FD_NONE;
	struct pollfd end = { .events = POLLIN };
	/* Until it is undressed nobody may join it: vfork waits for the execve. */
	struct clone_args args = {
		.flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_VFORK | CLONE_CLEAR_SIGHAND |
			 CLONE_PIDFD,
		.pidfd = (uint64_t)(uintptr_t)&pidfd,
		.exit_signal = SIGCHLD,
	};
	pid_t pid;

	if (program < 0)
		return program;
	pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (pid == 0)
		pause_run(program);
	if (pid < 0)
		return err_sys(err, errno, "start the pause process");
	end.fd = pidfd;
	if (poll(&end, 1, 0) > 0) /* dead: the reaper drops it */
		return err_set(err, ECHILD, "the pause process died at its start");
	return pid;
}
