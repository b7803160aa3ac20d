/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device rules of cgroup v2: a little BPF program that the kernel runs at each open and mknod of
 * a device. State: the attached program's descriptor, needed to replace it in one step.
 *
 * Rules are a list of which the last match counts, for each kind of access on its own. So the
 * program goes through them backwards and keeps, in r2, the accesses nobody has decided yet:
 *
 *	a matching deny that touches r2:	refuse
 *	a matching allow:			take its accesses out of r2; nothing left: permit
 *	no rules left:				permit
 */
#include "oci/cgroup/impl.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"

#define INSNS_PER_RULE 12
#define INSNS_AROUND   4

#define ALL_ACCESS ((unsigned int)(BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE))

struct program {
	struct bpf_insn *insn;
	size_t count;
};

static void bpf_emit(struct program *p, unsigned int code, unsigned int dst, unsigned int src,
		     int off, int32_t imm)
{
	struct bpf_insn *i = &p->insn[p->count++];

	i->code = (uint8_t)code;
	i->dst_reg = dst & 0xf;
	i->src_reg = src & 0xf;
	i->off = (int16_t)off;
	i->imm = imm;
}

static void emit_return(struct program *p, int32_t value)
{
	bpf_emit(p, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, value);
	bpf_emit(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

static void emit_load(struct program *p, unsigned int reg, size_t field)
{
	bpf_emit(p, BPF_LDX | BPF_MEM | BPF_W, reg, BPF_REG_1, (int)field, 0);
}

/* r2: the accesses asked for, which are the upper half of access_type */
static void emit_head(struct program *p)
{
	emit_load(p, BPF_REG_2, offsetof(struct bpf_cgroup_dev_ctx, access_type));
	bpf_emit(p, BPF_ALU64 | BPF_RSH | BPF_K, BPF_REG_2, 0, 0, 16);
}

/*
 * The fields are loaded anew for each rule: the kernel's verifier then sees that nothing learnt in
 * one rule matters in the next, and its time grows with the number of rules, not with the square.
 */
static void emit_rule(struct program *p, const struct device_rule *r) /* 'a': always whole */
{
	const unsigned int differs = BPF_JMP32 | BPF_JNE | BPF_K;
	bool whole = r->access == ALL_ACCESS; /* decides whatever is undecided */
	size_t jumps[3], n = 0;

	if (r->type != 'a') {
		emit_load(p, BPF_REG_3, offsetof(struct bpf_cgroup_dev_ctx, access_type));
		bpf_emit(p, BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_3, 0, 0, 0xffff);
		jumps[n++] = p->count;
		bpf_emit(p, differs, BPF_REG_3, 0, 0,
			 r->type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
	}
	if (r->major >= 0) {
		emit_load(p, BPF_REG_3, offsetof(struct bpf_cgroup_dev_ctx, major));
		jumps[n++] = p->count;
		bpf_emit(p, differs, BPF_REG_3, 0, 0, (int32_t)(uint32_t)r->major);
	}
	if (r->minor >= 0) {
		emit_load(p, BPF_REG_3, offsetof(struct bpf_cgroup_dev_ctx, minor));
		jumps[n++] = p->count;
		bpf_emit(p, differs, BPF_REG_3, 0, 0, (int32_t)(uint32_t)r->minor);
	}
	if (!whole && r->allow) {
		bpf_emit(p, BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_2, 0, 0,
			 (int32_t)(ALL_ACCESS & ~r->access));
		bpf_emit(p, BPF_JMP | BPF_JNE | BPF_K, BPF_REG_2, 0, 2, 0);
	} else if (!whole) {
		bpf_emit(p, BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_3, BPF_REG_2, 0, 0);
		bpf_emit(p, BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_3, 0, 0, (int32_t)r->access);
		bpf_emit(p, BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_3, 0, 2, 0);
	}
	emit_return(p, r->allow);
	while (n-- > 0) /* what doesn't match goes on behind the rule */
		p->insn[jumps[n]].off = (int16_t)(p->count - jumps[n] - 1);
}

static int bpf(enum bpf_cmd cmd, union bpf_attr *attr)
{
	long r = syscall(SYS_bpf, cmd, attr, sizeof(*attr));

	return r < 0 ? -errno : (int)r;
}

static int load(const struct program *p)
{
	static const char license[] = "Proprietary"; /* no helper is called that minds */
	union bpf_attr attr;
	int fd;

	(void)memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
	attr.insns = (uint64_t)(uintptr_t)p->insn;
	attr.insn_cnt = (uint32_t)p->count;
	attr.license = (uint64_t)(uintptr_t)license;
	fd = bpf(BPF_PROG_LOAD, &attr);
	return fd; /* close-on-exec, as all of BPF's are */
}

int cgroup_bpf_attach(struct cgroup *cg, const struct device_rule *rules, size_t count,
		      struct err *err)
{
	AUTO_FREE struct bpf_insn *insn =
		calloc(count * INSNS_PER_RULE + INSNS_AROUND, sizeof(*insn));
	struct program p = { .insn = insn };
	AUTO_CLOSE int fd = FD_NONE;
	union bpf_attr attr;
	bool final = false;
	int r;

	if (!insn)
		return err_set(err, ENOMEM, "no memory for the device program");
	emit_head(&p);
	/* Nothing that comes before a rule for everything counts, and dead code is refused. */
	for (; count > 0 && !final; count--) {
		emit_rule(&p, &rules[count - 1]);
		final = rules[count - 1].type == 'a';
	}
	if (!final)
		emit_return(&p, 1);
	fd = load(&p);
	if (fd < 0)
		return err_sys(err, -fd, "load the device program (is CONFIG_CGROUP_BPF on?)");
	(void)memset(&attr, 0, sizeof(attr));
	attr.target_fd = (uint32_t)cg->dir_fd;
	attr.attach_bpf_fd = (uint32_t)fd;
	attr.attach_type = BPF_CGROUP_DEVICE;
	attr.attach_flags = BPF_F_ALLOW_MULTI;
	if (cg->program_fd >= 0) {
		attr.attach_flags |= BPF_F_REPLACE;
		attr.replace_bpf_fd = (uint32_t)cg->program_fd;
	}
	r = bpf(BPF_PROG_ATTACH, &attr);
	if (r < 0)
		return err_sys(err, -r, "attach the device program");
	auto_closep(&cg->program_fd);
	cg->program_fd = TAKE_FD(fd);
	return 0;
}
