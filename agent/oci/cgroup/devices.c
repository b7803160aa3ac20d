/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which devices a container may open: the request's rules or a list of what is harmless, and what
 * is the guest's own taken away. No state.
 */
#include "oci/cgroup/impl.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/auto.h"
#include "base/limits.h"
#include "base/str.h"
#include "linux/guestdev.h"

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

/* --- the list ------------------------------------------------------------------------ */

struct rule_list {
	struct device_rule *rule;
	size_t count;
	bool asked_denies, asked_all;
	unsigned int writes; /* v1 */
};

static void rule_put(struct rule_list *l, bool allow, char type, int64_t major, int64_t minor,
		     unsigned int access)
{
	l->rule[l->count++] = (struct device_rule){ allow, type, major, minor, access };
}

static bool rule_matches(const struct device_rule *r, char type, int64_t major, int64_t minor)
{
	return r->type == 'a' || (r->type == type && (r->major < 0 || r->major == major) &&
				  (r->minor < 0 || r->minor == minor));
}

/* What the list as it is now lets a container do with one device. */
static unsigned int rules_allow(const struct rule_list *l, char type, int64_t major, int64_t minor)
{
	unsigned int access = ALL;

	for (size_t i = 0; i < l->count; i++) {
		if (rule_matches(&l->rule[i], type, major, minor))
			access = l->rule[i].allow ? access | l->rule[i].access
						  : access & ~l->rule[i].access;
	}
	return access;
}

static bool is_char(const Grpc__LinuxDevice *d)
{
	return str_eq(d->type, "c") || str_eq(d->type, "u");
}

static int add_asked(struct rule_list *l, const Grpc__LinuxResources *res, struct err *err)
{
	for (size_t i = 0; res && i < res->n_devices; i++) {
		struct device_rule *rule = &l->rule[l->count];
		int r = cgroup_device_rule(res->devices[i], i, rule, err);

		if (r < 0)
			return r;
		l->count++;
		l->asked_denies = l->asked_denies || !rule->allow;
		l->asked_all = l->asked_all || (rule->allow && rule->type == 'a');
	}
	return 0;
}

/* Host's numbers of a disk mean another disk here: of the spec's devices only these are taken. */
static void add_named(struct rule_list *l, const struct cgroup_devices *d)
{
	for (size_t i = 0; i < d->count; i++) {
		if (is_char(d->device[i]))
			rule_put(l, true, 'c', d->device[i]->major, d->device[i]->minor, ALL);
	}
}

/* Denies what is the guest's own, and gives back of that what the spec names and had. */
static void deny_own(struct rule_list *l, const struct cgroup_devices *d,
		     const struct rootdisk *disks)
{
	struct guestdev own;
	struct rule_list had = *l;

	for (size_t i = 0; i < disks->n; i++)
		rule_put(l, false, 'b', major(disks->dev[i]), minor(disks->dev[i]), READ | WRITE);
	guestdev_find(&own);
	for (size_t i = 0; i < own.n; i++)
		rule_put(l, false, 'c', own.dev[i].major, own.dev[i].minor, READ | WRITE);
	for (size_t i = 0; i < d->count; i++) {
		const Grpc__LinuxDevice *n = d->device[i];
		unsigned int access;

		if (!is_char(n) || rules_allow(l, 'c', n->major, n->minor) & READ)
			continue;
		access = rules_allow(&had, 'c', n->major, n->minor);
		if (access)
			rule_put(l, true, 'c', n->major, n->minor, access);
	}
}

static int rules_build(struct rule_list *l, const struct cgroup_devices *d,
		       const struct rootdisk *disks, struct err *err)
{
	struct rule_list asked = *l;
	bool listed;
	int r = add_asked(&asked, d->res, err);

	if (r < 0)
		return r;
	listed = !d->privileged && !asked.asked_denies && !asked.asked_all;
	if (listed)
		rule_put(l, false, 'a', -1, -1, ALL);
	r = add_asked(l, d->res, err);
	for (size_t i = 0; (listed || l->asked_denies) && i < ARRAY_LEN(always); i++)
		l->rule[l->count++] = always[i];
	if (listed)
		add_named(l, d);
	deny_own(l, d, disks);
	return r;
}

/* --- v1 ------------------------------------------------------------------------------ */

static bool numbers_meet(int64_t a, int64_t b)
{
	return a < 0 || b < 0 || a == b;
}

static bool number_covers(int64_t outer, int64_t inner)
{
	return outer < 0 || outer == inner;
}

/* What is denied of the rule's devices after it: of all of them, and of some. */
static void rules_denied(const struct rule_list *l, const struct device_rule *rule, size_t after,
			 unsigned int *ret_all, unsigned int *ret_some)
{
	*ret_all = *ret_some = 0;
	for (size_t i = after; i < l->count; i++) {
		const struct device_rule *d = &l->rule[i];

		if (d->allow || d->type != rule->type || !numbers_meet(d->major, rule->major) ||
		    !numbers_meet(d->minor, rule->minor))
			continue;
		if (number_covers(d->major, rule->major) && number_covers(d->minor, rule->minor))
			*ret_all |= d->access;
		else
			*ret_some |= d->access;
	}
}

/*
 * Where all is denied, v1 takes what is allowed back in the very words that allowed it, and else
 * not at all: of "c *:*" it takes no "c 5:1". So what is denied of some of a rule's devices is never
 * allowed in one word, but number by number around them.
 */
static int allow_around(struct cgroup *cg, struct rule_list *l, struct device_rule rule,
			size_t after, struct err *err)
{
	int64_t *number = rule.major < 0 ? &rule.major : &rule.minor;
	int64_t end = rule.major < 0 ? LIMIT_MAJORS : LIMIT_MINORS;
	unsigned int all, some, access;
	int r = 0;

	rules_denied(l, &rule, after, &all, &some);
	access = rule.access & ~all;
	rule.access = access & ~some;
	if (rule.access) {
		if (l->writes++ == LIMIT_DEVICE_WRITES)
			return err_set(err, E2BIG, "more than %u device rules, said one by one",
				       LIMIT_DEVICE_WRITES);
		r = write_v1(cg, &rule, err);
	}
	rule.access = access & some;
	if (!rule.access)
		return r;
	for (*number = 0; r == 0 && *number < end; ++*number)
		r = allow_around(cg, l, rule, after, err);
	return r;
}

static int write_rules_v1(struct cgroup *cg, struct rule_list *l, struct err *err)
{
	bool all_denied = false;
	int r = 0;

	for (size_t i = 0; r == 0 && i < l->count; i++) {
		const struct device_rule *rule = &l->rule[i];

		if (rule->type == 'a')
			all_denied = !rule->allow;
		if (!all_denied || rule->type == 'a')
			r = write_v1(cg, rule, err);
		else if (rule->allow)
			r = allow_around(cg, l, *rule, i + 1, err);
	}
	return r;
}

int cgroup_set_devices(struct cgroup *cg, const struct cgroup_devices *d, struct err *err)
{
	const struct rootdisk *disks = &cg->root->disks;
	size_t asked = d->res ? d->res->n_devices : 0;
	AUTO_FREE struct device_rule *rules = NULL;
	struct rule_list l = { 0 };
	int r;

	if (asked > LIMIT_DEVICE_RULES || d->count > LIMIT_DEVICES)
		return err_set(err, E2BIG, "more than %u device rules or %u devices",
			       LIMIT_DEVICE_RULES, LIMIT_DEVICES);
	rules = calloc(1 + asked + ARRAY_LEN(always) + 2 * d->count + disks->n +
			       LIMIT_GUEST_DEVICES,
		       sizeof(*rules));
	if (!rules)
		return err_set(err, ENOMEM, "no memory for the device rules");
	l.rule = rules;
	r = rules_build(&l, d, disks, err);
	if (r < 0)
		return r;
	if (cg->root->mode == CGROUP_V2)
		return cgroup_bpf_attach(cg, rules, l.count, err);
	if (!cgroup_has(cg, CTL_DEVICES)) /* what nobody asked for is no reason to refuse */
		return l.asked_denies
			       ? err_set(err, EOPNOTSUPP, "can't deny devices: %s", cg->root->lacks)
			       : 0;
	return write_rules_v1(cg, &l, err);
}
