/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Capability sets of a container's process, by libcap; only what has no cheap call there is a
 * prctl of ours (cap_reset_ambient asks for each capability first). No state.
 */
#include "oci/creds.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>

#include "base/auto.h"
#include "base/log.h"
#include "base/str.h"

#define CAPS_MAX      64 /* bits of a set */
#define CAPS_NAME_MAX 64 /* bytes of a name; the longest has 22 */
#define CAPS_WARNINGS 8	 /* lines for one process */

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

/*
 * A name as the runtime-spec has it; runtime-rs and agent-ctl write CHOWN and "CAP_CHOWN" with its
 * JSON quotes as well. libcap would take numbers and any case, too. The number, or -1.
 */
static cap_value_t caps_find(const char *word)
{
	char name[CAPS_NAME_MAX] = "CAP_";
	size_t quote = word[0] == '"', len = strlen(word);
	cap_value_t cap;

	if (quote && (len < 2 || word[len - 1] != '"'))
		return -1;
	word += quote;
	len -= 2 * quote;
	if (len >= 4 && strncmp(word, "CAP_", 4) == 0) {
		word += 4;
		len -= 4;
	}
	if (len == 0 || len >= sizeof(name) - 4)
		return -1;
	(void)memcpy(name + 4, word, len);
	name[4 + len] = '\0';
	if (name[strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_")] || cap_from_name(name, &cap) < 0 ||
	    cap >= CAPS_MAX)
		return -1;
	return cap;
}

/* The runtime-spec wants a word in the log for what nobody knows, and no failure. */
static uint64_t caps_parse_set(char *const *words, size_t count, unsigned int *unknown)
{
	uint64_t set = 0;

	for (size_t i = 0; i < count; i++) {
		cap_value_t cap = caps_find(words[i]);

		if (cap >= 0)
			set |= (uint64_t)1 << cap;
		else if ((*unknown)++ < CAPS_WARNINGS)
			log_warn("caps", "unknown capability \"%s\" is ignored", words[i]);
	}
	return set;
}

int caps_parse(const Grpc__LinuxCapabilities *c, struct caps *ret, struct err *err)
{
	struct caps caps = { 0 };
	unsigned int unknown = 0;
	uint64_t known, beyond;

	if (!c) {
		*ret = caps;
		return 0;
	}
	caps.bounding = caps_parse_set(c->bounding, c->n_bounding, &unknown);
	caps.effective = caps_parse_set(c->effective, c->n_effective, &unknown);
	caps.permitted = caps_parse_set(c->permitted, c->n_permitted, &unknown);
	caps.inheritable = caps_parse_set(c->inheritable, c->n_inheritable, &unknown);
	caps.ambient = caps_parse_set(c->ambient, c->n_ambient, &unknown);
	beyond = caps.effective & ~caps.permitted;
	if (beyond)
		return err_set(err, EINVAL,
			       "capabilities 0x%" PRIx64 " are effective without being permitted",
			       beyond);
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

int caps_apply(const struct caps *caps, uint64_t extra, struct err *err)
{
	AUTO(caps_freep) cap_t held = cap_get_proc();
	/* not cap_init, which asks the kernel for its version once more */
	AUTO(caps_freep) cap_t wanted = held ? cap_dup(held) : NULL;
	uint64_t ambient = 0;

	if (!held || !wanted || cap_clear(wanted) < 0)
		return err_sys(err, errno, "read capabilities");
	for (cap_value_t cap = 0; cap < cap_max_bits(); cap++) {
		const uint64_t bit = (uint64_t)1 << cap;
		cap_flag_value_t has = CAP_CLEAR;

		if (cap_get_flag(held, cap, CAP_PERMITTED, &has) < 0 || has == CAP_CLEAR)
			continue;
		if ((caps->permitted | extra) & bit)
			(void)cap_set_flag(wanted, CAP_PERMITTED, 1, &cap, CAP_SET);
		if (((caps->permitted & caps->effective) | extra) & bit)
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
