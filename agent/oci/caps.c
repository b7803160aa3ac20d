/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Capability sets of a container's process, by capset(2) and prctl(2) directly: libcap's text
 * parser and allocations have no place between fork and exec. No state.
 */
#include "oci/caps.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/str.h"

static const char *const names[] = {
	[CAP_CHOWN] = "CAP_CHOWN",
	[CAP_DAC_OVERRIDE] = "CAP_DAC_OVERRIDE",
	[CAP_DAC_READ_SEARCH] = "CAP_DAC_READ_SEARCH",
	[CAP_FOWNER] = "CAP_FOWNER",
	[CAP_FSETID] = "CAP_FSETID",
	[CAP_KILL] = "CAP_KILL",
	[CAP_SETGID] = "CAP_SETGID",
	[CAP_SETUID] = "CAP_SETUID",
	[CAP_SETPCAP] = "CAP_SETPCAP",
	[CAP_LINUX_IMMUTABLE] = "CAP_LINUX_IMMUTABLE",
	[CAP_NET_BIND_SERVICE] = "CAP_NET_BIND_SERVICE",
	[CAP_NET_BROADCAST] = "CAP_NET_BROADCAST",
	[CAP_NET_ADMIN] = "CAP_NET_ADMIN",
	[CAP_NET_RAW] = "CAP_NET_RAW",
	[CAP_IPC_LOCK] = "CAP_IPC_LOCK",
	[CAP_IPC_OWNER] = "CAP_IPC_OWNER",
	[CAP_SYS_MODULE] = "CAP_SYS_MODULE",
	[CAP_SYS_RAWIO] = "CAP_SYS_RAWIO",
	[CAP_SYS_CHROOT] = "CAP_SYS_CHROOT",
	[CAP_SYS_PTRACE] = "CAP_SYS_PTRACE",
	[CAP_SYS_PACCT] = "CAP_SYS_PACCT",
	[CAP_SYS_ADMIN] = "CAP_SYS_ADMIN",
	[CAP_SYS_BOOT] = "CAP_SYS_BOOT",
	[CAP_SYS_NICE] = "CAP_SYS_NICE",
	[CAP_SYS_RESOURCE] = "CAP_SYS_RESOURCE",
	[CAP_SYS_TIME] = "CAP_SYS_TIME",
	[CAP_SYS_TTY_CONFIG] = "CAP_SYS_TTY_CONFIG",
	[CAP_MKNOD] = "CAP_MKNOD",
	[CAP_LEASE] = "CAP_LEASE",
	[CAP_AUDIT_WRITE] = "CAP_AUDIT_WRITE",
	[CAP_AUDIT_CONTROL] = "CAP_AUDIT_CONTROL",
	[CAP_SETFCAP] = "CAP_SETFCAP",
	[CAP_MAC_OVERRIDE] = "CAP_MAC_OVERRIDE",
	[CAP_MAC_ADMIN] = "CAP_MAC_ADMIN",
	[CAP_SYSLOG] = "CAP_SYSLOG",
	[CAP_WAKE_ALARM] = "CAP_WAKE_ALARM",
	[CAP_BLOCK_SUSPEND] = "CAP_BLOCK_SUSPEND",
	[CAP_AUDIT_READ] = "CAP_AUDIT_READ",
	[CAP_PERFMON] = "CAP_PERFMON",
	[CAP_BPF] = "CAP_BPF",
	[CAP_CHECKPOINT_RESTORE] = "CAP_CHECKPOINT_RESTORE",
};
static_assert(ARRAY_LEN(names) <= 64, "a set is one 64-bit mask");

/* The capabilities that this kernel has, as a mask. */
static uint64_t known_to_kernel(void)
{
	int cap = 63;

	while (cap >= 0 && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) < 0)
		cap--;
	return cap == 63 ? UINT64_MAX : ((uint64_t)1 << (cap + 1)) - 1;
}

static int parse_set(char *const *words, size_t count, uint64_t *ret, struct err *err)
{
	uint64_t set = 0;

	for (size_t i = 0; i < count; i++) {
		size_t cap = 0;

		while (cap < ARRAY_LEN(names) && !str_eq(words[i], names[cap]))
			cap++;
		if (cap == ARRAY_LEN(names))
			return err_set(err, EINVAL, "unknown capability \"%s\"", words[i]);
		set |= (uint64_t)1 << cap;
	}
	*ret = set;
	return 0;
}

int caps_parse(const Grpc__LinuxCapabilities *c, struct caps *ret, struct err *err)
{
	struct caps caps = { 0 };
	uint64_t known;
	int r;

	if (!c) {
		*ret = caps;
		return 0;
	}
	if ((r = parse_set(c->bounding, c->n_bounding, &caps.bounding, err)) < 0 ||
	    (r = parse_set(c->effective, c->n_effective, &caps.effective, err)) < 0 ||
	    (r = parse_set(c->permitted, c->n_permitted, &caps.permitted, err)) < 0 ||
	    (r = parse_set(c->inheritable, c->n_inheritable, &caps.inheritable, err)) < 0 ||
	    (r = parse_set(c->ambient, c->n_ambient, &caps.ambient, err)) < 0)
		return r;
	known = known_to_kernel();
	caps.bounding &= known;
	caps.effective &= known;
	caps.permitted &= known;
	caps.inheritable &= known;
	caps.ambient &= known;
	*ret = caps;
	return 0;
}

int caps_apply_bounding(const struct caps *caps, struct err *err)
{
	for (int cap = 0; cap < 64; cap++) {
		if (caps->bounding >> cap & 1)
			continue;
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0)
			continue;
		if (errno == EINVAL)
			break; /* above the kernel's last one */
		return err_sys(err, errno, "drop capability %d from the bounding set", cap);
	}
	return 0;
}

int caps_keep(struct err *err)
{
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return err_sys(err, errno, "keep capabilities");
	return 0;
}

static int apply_ambient(uint64_t set, struct err *err)
{
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return err_sys(err, errno, "clear the ambient capabilities");
	for (int cap = 0; set >> cap; cap++) {
		if ((set >> cap & 1) && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
			return err_sys(err, errno, "raise ambient capability %d", cap);
		if (cap == 63)
			break;
	}
	return 0;
}

int caps_apply(const struct caps *caps, struct err *err)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];
	uint64_t held, permitted, inheritable, effective;

	if (syscall(SYS_capget, &head, data) < 0)
		return err_sys(err, errno, "read capabilities");
	held = data[0].permitted | (uint64_t)data[1].permitted << 32;
	permitted = caps->permitted & held;
	inheritable = caps->inheritable & held;
	effective = caps->effective & permitted;
	for (int i = 0; i < 2; i++) {
		data[i].permitted = (uint32_t)(permitted >> (32 * i));
		data[i].inheritable = (uint32_t)(inheritable >> (32 * i));
		data[i].effective = (uint32_t)(effective >> (32 * i));
	}
	if (syscall(SYS_capset, &head, data) < 0)
		return err_sys(err, errno, "set capabilities");
	if (prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0)
		return err_sys(err, errno, "stop keeping capabilities");
	/* The kernel accepts as ambient only what is permitted and inheritable as well. */
	return apply_ambient(caps->ambient & permitted & inheritable, err);
}
