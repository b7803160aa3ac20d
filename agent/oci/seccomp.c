/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compiling and loading seccomp filters. No state.
 */
#include "oci/seccomp.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/str.h"

#define ARGS_MAX  6u /* of a system call */
#define X32_CALLS 0x40000000u

/* The kernel's name for what we run on. */
static uint32_t seccomp_arch_native_audit(void)
{
#if defined(__x86_64__)
	return AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
	return AUDIT_ARCH_AARCH64;
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
	return AUDIT_ARCH_PPC64LE;
#elif defined(__s390x__)
	return AUDIT_ARCH_S390X;
#else
#error "which AUDIT_ARCH_... is it?"
#endif
}

struct seccomp_word {
	const char *name;
	uint32_t value;
};

/* Where the action carries a number, it is added to the value. */
static const struct seccomp_word actions[] = {
	{ "SCMP_ACT_KILL", SCMP_ACT_KILL_THREAD },
	{ "SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD },
	{ "SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS },
	{ "SCMP_ACT_TRAP", SCMP_ACT_TRAP },
	{ "SCMP_ACT_ERRNO", SCMP_ACT_ERRNO(0) },
	{ "SCMP_ACT_TRACE", SCMP_ACT_TRACE(0) },
	{ "SCMP_ACT_LOG", SCMP_ACT_LOG },
	{ "SCMP_ACT_ALLOW", SCMP_ACT_ALLOW },
	{ "SCMP_ACT_NOTIFY", SCMP_ACT_NOTIFY },
};

static const struct seccomp_word operators[] = {
	{ "SCMP_CMP_NE", SCMP_CMP_NE },
	{ "SCMP_CMP_LT", SCMP_CMP_LT },
	{ "SCMP_CMP_LE", SCMP_CMP_LE },
	{ "SCMP_CMP_EQ", SCMP_CMP_EQ },
	{ "SCMP_CMP_GE", SCMP_CMP_GE },
	{ "SCMP_CMP_GT", SCMP_CMP_GT },
	{ "SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ },
};

static const struct seccomp_word flag_words[] = {
	{ "SECCOMP_FILTER_FLAG_TSYNC", SECCOMP_FILTER_FLAG_TSYNC },
	{ "SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG },
	{ "SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW },
};

/* One rule of either schema. */
struct rule {
	char *const *names;
	size_t n_names;
	const char *action;
	bool has_errno;
	uint32_t errno_value;
	Grpc__LinuxSeccompArg *const *args;
	size_t n_args;
};

struct compiler {
	scmp_filter_ctx ctx;
	uint32_t default_action;
	size_t rules;
	int newest; /* system call that a rule names */
};

static void filter_releasep(scmp_filter_ctx *ctx)
{
	if (*ctx)
		seccomp_release(*ctx);
}

static int seccomp_find_word(const struct seccomp_word *table, size_t count, const char *kind,
			     const char *name, uint32_t *ret, struct err *err)
{
	for (size_t i = 0; i < count; i++) {
		if (str_eq(table[i].name, name)) {
			*ret = table[i].value;
			return 0;
		}
	}
	return err_set(err, EINVAL, "string %s is not a valid %s for seccomp", name, kind);
}

static int parse_action(const char *name, uint32_t number, uint32_t *ret, struct err *err)
{
	uint32_t action = 0;
	int r = seccomp_find_word(actions, ARRAY_LEN(actions), "action", name, &action, err);

	if (r < 0)
		return r;
	if (action == SCMP_ACT_NOTIFY)
		return err_set(err, EOPNOTSUPP,
			       "seccomp action SCMP_ACT_NOTIFY: a guest has no listener for it");
	if (action == SCMP_ACT_ERRNO(0) || action == SCMP_ACT_TRACE(0)) {
		if (number > 0xffff)
			return err_set(err, EINVAL, "seccomp errnoRet %u is above 65535", number);
		action |= number;
	}
	*ret = action;
	return 0;
}

static int parse_arg(const Grpc__LinuxSeccompArg *a, struct scmp_arg_cmp *ret, struct err *err)
{
	uint32_t op = 0;
	int r = seccomp_find_word(operators, ARRAY_LEN(operators), "operator", a->op, &op, err);

	if (r < 0)
		return r;
	if (a->index >= ARGS_MAX)
		return err_set(err, EINVAL, "seccomp argument index %" PRIu64 " is above 5",
			       a->index);
	*ret = (struct scmp_arg_cmp){ .arg = (unsigned int)a->index,
				      .op = (enum scmp_compare)op,
				      .datum_a = a->value,
				      .datum_b = a->valuetwo };
	return 0;
}

static int add_rule(struct compiler *c, uint32_t action, int nr, const char *name, unsigned int n,
		    const struct scmp_arg_cmp *args, struct err *err)
{
	int r;

	if (++c->rules > LIMIT_SECCOMP_RULES)
		return err_set(err, E2BIG, "more than %u seccomp rules", LIMIT_SECCOMP_RULES);
	r = seccomp_rule_add_array(c->ctx, action, nr, n, args);
	if (r < 0 && r != -EEXIST)
		return err_sys(err, -r, "seccomp rule for %s", name);
	return 0;
}

/* Conditions on different arguments must all hold; two on the same one are alternatives. */
static int add_name(struct compiler *c, uint32_t action, const char *name,
		    const struct scmp_arg_cmp *args, size_t n_args, bool alternatives,
		    struct err *err)
{
	int nr = seccomp_syscall_resolve_name(name), r = 0;

	if (nr == __NR_SCMP_ERROR)
		return 0;
	if (nr > c->newest)
		c->newest = nr;
	if (!alternatives)
		return add_rule(c, action, nr, name, (unsigned int)n_args, args, err);
	for (size_t i = 0; r == 0 && i < n_args; i++)
		r = add_rule(c, action, nr, name, 1, &args[i], err);
	return r;
}

static int compile_rule(struct compiler *c, const struct rule *rule, struct err *err)
{
	AUTO_FREE struct scmp_arg_cmp *args = NULL;
	unsigned int seen = 0;
	bool alternatives = false;
	uint32_t action = 0;
	/* 0 is what runtime-rs makes of none; a call that does nothing and says OK is no rule. */
	uint32_t number = rule->has_errno && rule->errno_value ? rule->errno_value : EPERM;
	int r = parse_action(rule->action, number, &action, err);

	if (r < 0 || action == c->default_action)
		return r;
	if (rule->n_args > LIMIT_SECCOMP_RULES)
		return err_set(err, E2BIG, "more than %u seccomp arguments", LIMIT_SECCOMP_RULES);
	args = calloc(rule->n_args + 1, sizeof(*args));
	if (!args)
		return err_set(err, ENOMEM, "no memory for seccomp arguments");
	for (size_t i = 0; i < rule->n_args; i++) {
		r = parse_arg(rule->args[i], &args[i], err);
		if (r < 0)
			return r;
		alternatives = alternatives || (seen >> args[i].arg & 1);
		seen |= 1u << args[i].arg;
	}
	for (size_t i = 0; r == 0 && i < rule->n_names; i++)
		r = add_name(c, action, rule->names[i], args, rule->n_args, alternatives, err);
	return r;
}

static int compile_rules(struct compiler *c, const Grpc__LinuxSeccomp *s, struct err *err)
{
	int r = 0;

	if (s->n_syscalls3x > 0) {
		for (size_t i = 0; r == 0 && i < s->n_syscalls3x; i++) {
			const Grpc__LinuxSyscall3x *y = s->syscalls3x[i];
			const struct rule rule = {
				.names = y->names,
				.n_names = y->n_names,
				.action = y->action,
				.has_errno = y->has_errnoret_case ==
					     GRPC__LINUX_SYSCALL3X__HAS_ERRNORET_ERRNORET,
				.errno_value = y->errnoret,
				.args = y->args,
				.n_args = y->n_args,
			};

			r = compile_rule(c, &rule, err);
		}
		return r;
	}
	for (size_t i = 0; r == 0 && i < s->n_syscalls; i++) {
		const Grpc__LinuxSyscall *y = s->syscalls[i];
		const struct rule rule = {
			.names = y->names,
			.n_names = y->n_names,
			.action = y->action,
			.args = y->args,
			.n_args = y->n_args,
		};

		r = compile_rule(c, &rule, err);
	}
	return r;
}

/* "SCMP_ARCH_X86_64": libseccomp knows it as "x86_64". 0 for the native one. */
static int find_architecture(const char *word, uint32_t *ret, struct err *err)
{
	static const char prefix[] = "SCMP_ARCH_";
	char name[32];
	size_t n = 0;

	if (str_starts(word, prefix)) {
		for (const char *p = word + strlen(prefix); *p && n < sizeof(name) - 1; p++)
			name[n++] = *p >= 'A' && *p <= 'Z'   ? (char)(*p - 'A' + 'a')
				    : *p >= 'a' && *p <= 'z' ? '?'
							     : *p;
	}
	name[n] = '\0';
	*ret = str_eq(name, "native") ? SCMP_ARCH_NATIVE : seccomp_arch_resolve_name(name);
	if (*ret == 0 && !str_eq(name, "native"))
		return err_set(err, EINVAL, "string %s is not a valid arch for seccomp", word);
	return 0;
}

static int add_architectures(struct compiler *c, const Grpc__LinuxSeccomp *s, struct err *err)
{
	for (size_t i = 0; i < s->n_architectures; i++) {
		uint32_t arch = 0;
		int r = find_architecture(s->architectures[i], &arch, err);

		if (r < 0)
			return r;
		r = seccomp_arch_add(c->ctx, arch);
		if (r < 0 && r != -EEXIST)
			return err_sys(err, -r, "seccomp architecture %s", s->architectures[i]);
	}
	return 0;
}

/*
 * libseccomp 2.5 exports to descriptors only.
 *
 * newest: the last system call that the profile knows, or -1. Whoever wrote it could not have meant
 * those that came later: they don't exist (ENOSYS), and libc falls back on older ones, as it would
 * not for EPERM.
 */
static int export(scmp_filter_ctx ctx, int newest, struct seccomp_prog *p, struct err *err)
{
	const struct sock_filter head[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, seccomp_arch_native_audit(), 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_CALLS, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, (uint32_t)newest, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
	};
	size_t n = 0;
	AUTO_CLOSE int fd = memfd_create("seccomp", MFD_CLOEXEC);
	struct stat st;
	int r;

	if (fd < 0)
		return err_sys(err, errno, "memory file for the seccomp filter");
	r = seccomp_export_bpf(ctx, fd);
	if (r < 0)
		return err_sys(err, -r, "compile the seccomp filter");
	if (fstat(fd, &st) < 0 || lseek(fd, 0, SEEK_SET) < 0)
		return err_sys(err, errno, "memory file for the seccomp filter");
	if (st.st_size / (off_t)sizeof(*p->filter) + (off_t)ARRAY_LEN(head) > BPF_MAXINSNS)
		return err_set(err, E2BIG, "the seccomp filter has more than %d instructions",
			       BPF_MAXINSNS);
	p->filter = malloc((size_t)st.st_size + sizeof(head));
	if (!p->filter)
		return err_set(err, ENOMEM, "no memory for the seccomp filter");
	if (newest >= 0) {
		(void)memcpy(p->filter, head, sizeof(head));
		n = ARRAY_LEN(head);
	}
	if (fdio_read_all(fd, p->filter + n, (size_t)st.st_size) != st.st_size)
		return err_set(err, EIO, "short read of the seccomp filter");
	p->count = (unsigned short)((size_t)st.st_size / sizeof(*p->filter) + n);
	return 0;
}

int seccomp_compile(const Grpc__LinuxSeccomp *s, struct seccomp_prog *ret, struct err *err)
{
	AUTO(filter_releasep) scmp_filter_ctx ctx = NULL;
	AUTO(seccomp_prog_release) struct seccomp_prog prog = { 0 };
	struct compiler c = { .newest = -1 };
	bool knows_newest;
	int r = 0;

	*ret = prog;
	if (!s || (str_empty(s->defaultaction) && !s->n_syscalls && !s->n_syscalls3x))
		return 0;
	r = parse_action(s->defaultaction, EPERM, &c.default_action, err);
	for (size_t i = 0; r == 0 && i < s->n_flags; i++) {
		uint32_t flag = 0;

		r = seccomp_find_word(flag_words, ARRAY_LEN(flag_words), "flag", s->flags[i], &flag,
				      err);
		prog.flags |= flag;
	}
	if (r < 0)
		return r;
	/* One that allows what it doesn't name has an opinion of the newer ones as well. */
	knows_newest = c.default_action != SCMP_ACT_ALLOW && c.default_action != SCMP_ACT_LOG;
	c.ctx = ctx = seccomp_init(c.default_action);
	if (!ctx)
		return err_set(err, EINVAL, "seccomp: the kernel lacks action %s",
			       s->defaultaction);
	r = add_architectures(&c, s, err);
	if (r == 0)
		r = compile_rules(&c, s, err);
	if (r == 0)
		r = export(ctx, knows_newest ? c.newest : -1, &prog, err);
	if (r < 0)
		return r;
	*ret = prog;
	prog = (struct seccomp_prog){ 0 };
	return 0;
}

void seccomp_prog_release(struct seccomp_prog *p)
{
	free(p->filter);
	*p = (struct seccomp_prog){ 0 };
}

int seccomp_prog_load(const struct seccomp_prog *p, struct err *err)
{
	struct sock_fprog fprog = { .len = p->count, .filter = p->filter };

	if (!p->count)
		return 0;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, p->flags, &fprog) < 0)
		return err_sys(err, errno, "load the seccomp filter");
	return 0;
}

/* The file: count, flags, instructions. */
struct saved {
	unsigned int count, flags;
};

int seccomp_prog_save(const struct seccomp_prog *p, int fd, struct err *err)
{
	struct saved head = { p->count, p->flags };
	int r = fdio_write_all(fd, &head, sizeof(head));

	if (r == 0)
		r = fdio_write_all(fd, p->filter, p->count * sizeof(*p->filter));
	return r < 0 ? err_sys(err, -r, "keep the seccomp filter") : 0;
}

int seccomp_prog_restore(int fd, struct seccomp_prog *ret, struct err *err)
{
	AUTO(seccomp_prog_release) struct seccomp_prog prog = { 0 };
	struct saved head = { 0 };
	size_t size;

	*ret = prog;
	if (pread(fd, &head, sizeof(head), 0) != sizeof(head) || head.count > USHRT_MAX)
		return err_set(err, EIO, "the seccomp filter was not kept");
	if (head.count == 0)
		return 0;
	size = head.count * sizeof(*prog.filter);
	prog.filter = malloc(size);
	if (!prog.filter)
		return err_sys(err, ENOMEM, "seccomp filter");
	if (pread(fd, prog.filter, size, sizeof(head)) != (ssize_t)size)
		return err_set(err, EIO, "the seccomp filter was not kept");
	prog.count = (unsigned short)head.count;
	prog.flags = head.flags;
	*ret = prog;
	prog = (struct seccomp_prog){ 0 };
	return 0;
}
