/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vocabulary of mount options. State: none but the table.
 */
#include "oci/fs/mountopt.h"

#include <errno.h>
#include <string.h>
#include <sys/mount.h>

#include "base/arena.h"
#include "base/auto.h"
#include "base/err.h"
#include "base/str.h"

#define ATIME_FLAGS ((unsigned long)(MS_NOATIME | MS_RELATIME | MS_STRICTATIME))
#define TREE_WIDE   1u /* the word also exists with an "r" before it, for the whole tree */

struct option_word {
	const char *name;
	unsigned long set, clear; /* MS_* */
	unsigned int how;
};

static const struct option_word words[] = {
	{ "acl", MS_POSIXACL, 0, 0 },
	{ "async", 0, MS_SYNCHRONOUS, 0 },
	{ "atime", 0, MS_NOATIME, TREE_WIDE },
	{ "bind", MS_BIND, 0, 0 },
	{ "defaults", 0, 0, 0 },
	{ "dev", 0, MS_NODEV, TREE_WIDE },
	{ "diratime", 0, MS_NODIRATIME, TREE_WIDE },
	{ "dirsync", MS_DIRSYNC, 0, 0 },
	{ "exec", 0, MS_NOEXEC, TREE_WIDE },
	{ "iversion", MS_I_VERSION, 0, 0 },
	{ "lazytime", MS_LAZYTIME, 0, 0 },
	{ "loud", 0, MS_SILENT, 0 },
	{ "mand", MS_MANDLOCK, 0, 0 },
	{ "noacl", 0, MS_POSIXACL, 0 },
	{ "noatime", MS_NOATIME, 0, TREE_WIDE },
	{ "nodev", MS_NODEV, 0, TREE_WIDE },
	{ "nodiratime", MS_NODIRATIME, 0, TREE_WIDE },
	{ "noexec", MS_NOEXEC, 0, TREE_WIDE },
	{ "noiversion", 0, MS_I_VERSION, 0 },
	{ "nolazytime", 0, MS_LAZYTIME, 0 },
	{ "nomand", 0, MS_MANDLOCK, 0 },
	{ "norelatime", 0, MS_RELATIME, TREE_WIDE },
	{ "nostrictatime", 0, MS_STRICTATIME, TREE_WIDE },
	{ "nosuid", MS_NOSUID, 0, TREE_WIDE },
	{ "nosymfollow", MS_NOSYMFOLLOW, 0, TREE_WIDE },
	{ "rbind", MS_BIND | MS_REC, 0, 0 },
	{ "relatime", MS_RELATIME, 0, TREE_WIDE },
	{ "remount", MS_REMOUNT, 0, 0 },
	{ "ro", MS_RDONLY, 0, TREE_WIDE },
	{ "rw", 0, MS_RDONLY, TREE_WIDE },
	{ "silent", MS_SILENT, 0, 0 },
	{ "strictatime", MS_STRICTATIME, 0, TREE_WIDE },
	{ "suid", 0, MS_NOSUID, TREE_WIDE },
	{ "symfollow", 0, MS_NOSYMFOLLOW, TREE_WIDE },
	{ "sync", MS_SYNCHRONOUS, 0, 0 },
};

static const struct {
	const char *name;
	unsigned long flag;
} propagations[] = {
	{ "private", MS_PRIVATE },	 { "rprivate", MS_PRIVATE | MS_REC },
	{ "shared", MS_SHARED },	 { "rshared", MS_SHARED | MS_REC },
	{ "slave", MS_SLAVE },		 { "rslave", MS_SLAVE | MS_REC },
	{ "unbindable", MS_UNBINDABLE }, { "runbindable", MS_UNBINDABLE | MS_REC },
};

static const struct {
	unsigned long flag;
	uint64_t attr;
} attrs[] = {
	{ MS_RDONLY, MOUNT_ATTR_RDONLY },	  { MS_NOSUID, MOUNT_ATTR_NOSUID },
	{ MS_NODEV, MOUNT_ATTR_NODEV },		  { MS_NOEXEC, MOUNT_ATTR_NOEXEC },
	{ MS_NOATIME, MOUNT_ATTR_NOATIME },	  { MS_STRICTATIME, MOUNT_ATTR_STRICTATIME },
	{ MS_NODIRATIME, MOUNT_ATTR_NODIRATIME }, { MS_NOSYMFOLLOW, MOUNT_ATTR_NOSYMFOLLOW },
};

static const struct option_word *find_option(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (str_eq(words[i].name, name))
			return &words[i];
	}
	return NULL;
}

unsigned long mountopt_propagation(const char *word)
{
	for (size_t i = 0; i < ARRAY_LEN(propagations); i++) {
		if (str_eq(propagations[i].name, word))
			return propagations[i].flag;
	}
	return 0;
}

uint64_t mountopt_attrs(unsigned long flags)
{
	uint64_t set = 0;

	for (size_t i = 0; i < ARRAY_LEN(attrs); i++) {
		if (flags & attrs[i].flag)
			set |= attrs[i].attr;
	}
	return set;
}

/*
 * The access time setting is a number inside the flags (0: relatime), so whoever names any of its
 * words clears the field first; "atime" and "norelatime" go back to the default.
 */
static void to_attr(unsigned long set, unsigned long clear, uint64_t *ret_set, uint64_t *ret_clr)
{
	uint64_t clr = mountopt_attrs(clear & ~ATIME_FLAGS);

	if ((set | clear) & ATIME_FLAGS)
		clr |= MOUNT_ATTR__ATIME;
	*ret_set = mountopt_attrs(set);
	*ret_clr = clr;
}

void mountopt_setattr(const struct mountopt *o, struct mount_attr *ret)
{
	uint64_t set, clr;

	to_attr(o->flags, o->clear, &set, &clr);
	memset(ret, 0, sizeof(*ret));
	ret->attr_set = set;
	ret->attr_clr = clr;
}

bool mountopt_has(const char *data, const char *key)
{
	size_t len = strlen(key);

	while (*data) {
		size_t end = strcspn(data, ",");

		if (end >= len && memcmp(data, key, len) == 0 && (end == len || data[len] == '='))
			return true;
		data += end;
		data += *data == ',';
	}
	return false;
}

static void apply_word(struct mountopt *o, const struct option_word *w)
{
	unsigned long set = w->set, clear = w->clear;

	if (set & ATIME_FLAGS) { /* they exclude each other: the last one wins */
		o->flags &= ~ATIME_FLAGS;
		o->clear &= ~ATIME_FLAGS;
	}
	o->flags = (o->flags | set) & ~clear;
	o->clear = (o->clear | clear) & ~set;
}

static void apply_tree_word(struct mountopt *o, const struct option_word *w)
{
	uint64_t set, clr;

	to_attr(w->set, w->clear, &set, &clr);
	o->rec_set = (o->rec_set & ~clr) | set;
	o->rec_clr = (o->rec_clr & ~(set & ~(uint64_t)MOUNT_ATTR__ATIME)) | clr;
}

/* 1: the word was understood, 0: it is data, or -EINVAL. */
static int sort_word(struct mountopt *o, const char *name, struct err *err)
{
	unsigned long propagation = mountopt_propagation(name);
	const struct option_word *w;

	if (propagation) {
		if (o->n_propagation == MOUNTOPT_PROPAGATION)
			return err_set(err, EINVAL, "more than %u propagation options",
				       MOUNTOPT_PROPAGATION);
		o->propagation[o->n_propagation++] = propagation;
		return 1;
	}
	w = find_option(name);
	if (w) {
		apply_word(o, w);
		return 1;
	}
	if (name[0] == 'r') {
		w = find_option(name + 1);
		if (w && (w->how & TREE_WIDE)) {
			apply_tree_word(o, w);
			return 1;
		}
	}
	if (str_eq(name, "tmpcopyup")) {
		o->tmpcopyup = true;
		return 1;
	}
	if (str_eq(name, "idmap") || str_eq(name, "ridmap") || str_starts(name, "idmap=") ||
	    str_starts(name, "ridmap="))
		return err_set(err, EINVAL, "mount option '%s': id-mapped mounts are not supported",
			       name);
	if (str_eq(name, "loop") || str_starts(name, "loop="))
		return err_set(err, EINVAL, "mount option '%s': loop devices are not set up here",
			       name);
	return 0;
}

int mountopt_parse(char **options, size_t n, struct mountopt *ret, struct arena *arena,
		   struct err *err)
{
	struct mountopt o = { .data = "" };
	size_t len = 0, cap = 1;
	char *data = NULL;
	int r;

	for (size_t i = 0; i < n; i++)
		cap += strnlen(options[i], MOUNTOPT_DATA + 1) + 1;
	for (size_t i = 0; i < n; i++) {
		size_t add = strlen(options[i]);

		if (add == 0)
			continue;
		r = sort_word(&o, options[i], err);
		if (r < 0)
			return r;
		if (r > 0)
			continue;
		if (add > MOUNTOPT_DATA || len + (len > 0) + add > MOUNTOPT_DATA)
			return err_set(err, EINVAL, "mount options longer than %u bytes",
				       MOUNTOPT_DATA);
		if (!data)
			data = arena_alloc(arena, cap < MOUNTOPT_DATA ? cap : MOUNTOPT_DATA + 1);
		if (!data)
			return err_set(err, ENOMEM, "mount options");
		if (len > 0)
			data[len++] = ',';
		memcpy(data + len, options[i], add);
		len += add;
		data[len] = '\0';
	}
	if (data)
		o.data = data;
	*ret = o;
	return 0;
}
