/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Capability sets of a container's process, by libcap; only what has no cheap call there is a
 * prctl of ours (cap_reset_ambient asks for each capability first). No state.
 */
#include "oci/creds.h"

#include <errno.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>

#include "base/auto.h"
#include "base/str.h"

#define CAPS_MAX 64 /* bits of a set */

static void caps_freep(cap_t *c)
{
	if (*c)
		(void)cap_free(*c);
}

/* The capabilities that this kernel has, as a mask. */
static uint64_t caps_known(void)
{
	cap_value_t bits = cap_max_bits();

	return bits >= CAPS_MAX ? UINT64_MAX : ((uint64_t)1 << bits) - 1;
}

/* libcap also takes numbers and any case; the spec has names. */
static bool caps_is_name(const char *word)
{
	return str_starts(word, "CAP_") && !word[strspn(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_")];
}

static int caps_parse_set(char *const *words, size_t count, uint64_t *ret, struct err *err)
{
	uint64_t set = 0;

	for (size_t i = 0; i < count; i++) {
		cap_value_t cap;

		if (!caps_is_name(words[i]) || cap_from_name(words[i], &cap) < 0 || cap >= CAPS_MAX)
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
	if ((r = caps_parse_set(c->bounding, c->n_bounding, &caps.bounding, err)) < 0 ||
	    (r = caps_parse_set(c->effective, c->n_effective, &caps.effective, err)) < 0 ||
	    (r = caps_parse_set(c->permitted, c->n_permitted, &caps.permitted, err)) < 0 ||
	    (r = caps_parse_set(c->inheritable, c->n_inheritable, &caps.inheritable, err)) < 0 ||
	    (r = caps_parse_set(c->ambient, c->n_ambient, &caps.ambient, err)) < 0)
		return r;
	known = caps_known();
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
	for (cap_value_t cap = 0; cap < cap_max_bits(); cap++) {
		if (!(caps->bounding >> cap & 1) && cap_drop_bound(cap) < 0)
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

static int caps_apply_ambient(uint64_t set, struct err *err)
{
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return err_sys(err, errno, "clear the ambient capabilities");
	for (cap_value_t cap = 0; cap < cap_max_bits(); cap++) {
		if ((set >> cap & 1) && cap_set_ambient(cap, CAP_SET) < 0)
			return err_sys(err, errno, "raise ambient capability %d", cap);
	}
	return 0;
}

int caps_apply(const struct caps *caps, struct err *err)
{
	AUTO(caps_freep) cap_t held = cap_get_proc();
	AUTO(caps_freep) cap_t wanted = cap_init();
	uint64_t ambient = 0;

	if (!held || !wanted)
		return err_sys(err, errno, "read capabilities");
	for (cap_value_t cap = 0; cap < cap_max_bits(); cap++) {
		const uint64_t bit = (uint64_t)1 << cap;
		cap_flag_value_t has = CAP_CLEAR;

		if (cap_get_flag(held, cap, CAP_PERMITTED, &has) < 0 || has == CAP_CLEAR)
			continue;
		if (caps->permitted & bit)
			(void)cap_set_flag(wanted, CAP_PERMITTED, 1, &cap, CAP_SET);
		if (caps->permitted & caps->effective & bit)
			(void)cap_set_flag(wanted, CAP_EFFECTIVE, 1, &cap, CAP_SET);
		if (caps->inheritable & bit)
			(void)cap_set_flag(wanted, CAP_INHERITABLE, 1, &cap, CAP_SET);
		/* The kernel accepts as ambient only what is permitted and inheritable as well. */
		ambient |= caps->ambient & caps->permitted & caps->inheritable & bit;
	}
	if (cap_set_proc(wanted) < 0)
		return err_sys(err, errno, "set capabilities");
	if (prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0)
		return err_sys(err, errno, "stop keeping capabilities");
	return caps_apply_ambient(ambient, err);
}
