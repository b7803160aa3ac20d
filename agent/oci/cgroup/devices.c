/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which devices a container may open: the request's rules, the disks of the guest's own "/" taken
 * away, and a fixed list that every container needs. No state.
 */
#include "oci/cgroup/impl.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/auto.h"
#include "base/limits.h"
#include "base/str.h"

#define MKNOD BPF_DEVCG_ACC_MKNOD
#define READ  BPF_DEVCG_ACC_READ
#define WRITE BPF_DEVCG_ACC_WRITE
#define ALL   (MKNOD | READ | WRITE)

static const struct device_rule always[] = {
	{ true, 'c', -1, -1, MKNOD }, /* a node may be made, opening it is another matter */
	{ true, 'b', -1, -1, MKNOD }, { true, 'c', 1, 3, ALL }, /* null */
	{ true, 'c', 1, 8, ALL },				/* random */
	{ true, 'c', 1, 7, ALL },				/* full */
	{ true, 'c', 5, 0, ALL },				/* tty */
	{ true, 'c', 1, 5, ALL },				/* zero */
	{ true, 'c', 1, 9, ALL },				/* urandom */
	{ true, 'c', 5, 1, ALL },				/* console */
	{ true, 'c', 136, -1, ALL },				/* pts */
	{ true, 'c', 5, 2, ALL },				/* ptmx */
	{ true, 'c', 10, 200, ALL },				/* net/tun */
};

/* --- rules --------------------------------------------------------------------------- */

int cgroup_device_rule(const Grpc__LinuxDeviceCgroup *d, size_t number, struct device_rule *ret,
		       struct err *err)
{
	struct device_rule rule = { .allow = d->allow, .type = 'a', .major = -1, .minor = -1 };

	if (str_empty(d->access))
		return err_set(err, EINVAL, "device access at %zu field cannot be empty", number);
	for (const char *p = d->access; *p; p++) {
		if (!strchr("rwm", *p))
			return err_set(err, EINVAL, "device access '%s' at %zu is not of r, w, m",
				       d->access, number);
		rule.access |= *p == 'r' ? READ : *p == 'w' ? WRITE : MKNOD;
	}
	if (!str_empty(d->type) && !str_eq(d->type, "a") && !str_eq(d->type, "b") &&
	    !str_eq(d->type, "c"))
		return err_set(err, EINVAL, "device type '%s' at %zu is not a, b or c", d->type,
			       number);
	if (d->major < -1 || d->major > UINT32_MAX || d->minor < -1 || d->minor > UINT32_MAX)
		return err_set(err, EINVAL,
			       "device number %" PRId64 ":%" PRId64 " at %zu is invalid", d->major,
			       d->minor, number);
	if (str_empty(d->type) || *d->type == 'a') {
		/* As v1 in the kernel has it: everything, whatever else the rule says. */
		rule.access = ALL;
	} else {
		rule.type = *d->type;
		rule.major = d->major;
		rule.minor = d->minor;
	}
	*ret = rule;
	return 0;
}

static void format_number(char *buf, size_t size, int64_t n)
{
	if (n < 0)
		(void)snprintf(buf, size, "*");
	else
		(void)snprintf(buf, size, "%" PRId64, n);
}

static int write_v1(struct cgroup *cg, const struct device_rule *r, struct err *err)
{
	const char *file = r->allow ? "devices.allow" : "devices.deny";
	char maj[24], min[24];

	if (r->type == 'a')
		return cgroup_write(cg, CTL_DEVICES, file, err, "a");
	format_number(maj, sizeof(maj), r->major);
	format_number(min, sizeof(min), r->minor);
	return cgroup_write(cg, CTL_DEVICES, file, err, "%c %s:%s %s%s%s", r->type, maj, min,
			    r->access & READ ? "r" : "", r->access & WRITE ? "w" : "",
			    r->access & MKNOD ? "m" : "");
}

int cgroup_set_devices(struct cgroup *cg, const Grpc__LinuxResources *res, struct err *err)
{
	size_t asked = res ? res->n_devices : 0, count = 0;
	struct device_rule rules[LIMIT_DEVICE_RULES + LIMIT_ROOT_DISKS + ARRAY_LEN(always)];
	const struct rootdisk *own = &cg->root->disks;
	bool asked_denies = false;
	int r = 0;

	if (asked > LIMIT_DEVICE_RULES)
		return err_set(err, E2BIG, "more than %u device rules", LIMIT_DEVICE_RULES);
	for (; r == 0 && count < asked; count++) {
		r = cgroup_device_rule(res->devices[count], count, &rules[count], err);
		asked_denies = asked_denies || !res->devices[count]->allow;
	}
	for (size_t i = 0; i < own->n; i++)
		rules[count++] = (struct device_rule){ false, 'b', major(own->dev[i]),
						       minor(own->dev[i]), READ | WRITE };
	for (size_t i = 0; asked && i < ARRAY_LEN(always); i++)
		rules[count++] = always[i]; /* without rules all is allowed anyway */
	if (r < 0 || (!asked_denies && own->n == 0))
		return r;
	if (cg->root->mode == CGROUP_NONE) /* the guest's own disks have other guards */
		return asked_denies
			       ? err_set(err, EOPNOTSUPP, "can't deny devices: %s", cg->root->lacks)
			       : 0;
	if (cg->root->mode == CGROUP_V2)
		return cgroup_bpf_attach(cg, rules, count, err);
	if (!cgroup_has(cg, CTL_DEVICES))
		return err_set(err, EOPNOTSUPP, "the guest has no devices cgroup");
	for (size_t i = 0; r == 0 && i < count; i++)
		r = write_v1(cg, &rules[i], err);
	return r;
}
