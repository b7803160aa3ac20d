/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/fs/mountopt.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "base/arena.h"
#include "base/auto.h"
#include "base/err.h"

static struct arena arena;
static struct err err;

static void setup(void)
{
	arena_init(&arena, 1u << 20);
}

static void teardown(void)
{
	arena_free(&arena);
}

TestSuite(mountopt, .init = setup, .fini = teardown);

/* Words separated by blanks. */
static int parse(const char *text, struct mountopt *ret)
{
	char copy[1024], *words[64], *save = NULL;
	size_t n = 0;

	(void)snprintf(copy, sizeof(copy), "%s", text);
	for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
		words[n++] = w;
	return mountopt_parse(words, n, ret, &arena, &err);
}

static struct mountopt parsed(const char *text)
{
	struct mountopt o;

	cr_assert_eq(parse(text, &o), 0, "%s: %s", text, err.msg);
	return o;
}

Test(mountopt, every_setting_word)
{
	static const struct {
		const char *word;
		unsigned long flags;
	} rows[] = {
		{ "acl", MS_POSIXACL },
		{ "bind", MS_BIND },
		{ "defaults", 0 },
		{ "dirsync", MS_DIRSYNC },
		{ "iversion", MS_I_VERSION },
		{ "lazytime", MS_LAZYTIME },
		{ "mand", MS_MANDLOCK },
		{ "noatime", MS_NOATIME },
		{ "nodev", MS_NODEV },
		{ "nodiratime", MS_NODIRATIME },
		{ "noexec", MS_NOEXEC },
		{ "nosuid", MS_NOSUID },
		{ "nosymfollow", MS_NOSYMFOLLOW },
		{ "rbind", MS_BIND | MS_REC },
		{ "relatime", MS_RELATIME },
		{ "remount", MS_REMOUNT },
		{ "ro", MS_RDONLY },
		{ "silent", MS_SILENT },
		{ "strictatime", MS_STRICTATIME },
		{ "sync", MS_SYNCHRONOUS },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct mountopt o = parsed(rows[i].word);

		cr_expect_eq(o.flags, rows[i].flags, "%s", rows[i].word);
		cr_expect_eq(o.clear, 0, "%s", rows[i].word);
		cr_expect_str_empty(o.data, "%s", rows[i].word);
	}
}

Test(mountopt, every_clearing_word)
{
	static const struct {
		const char *set, *clear;
		unsigned long flag;
	} rows[] = {
		{ "acl", "noacl", MS_POSIXACL },
		{ "iversion", "noiversion", MS_I_VERSION },
		{ "lazytime", "nolazytime", MS_LAZYTIME },
		{ "mand", "nomand", MS_MANDLOCK },
		{ "noatime", "atime", MS_NOATIME },
		{ "nodev", "dev", MS_NODEV },
		{ "nodiratime", "diratime", MS_NODIRATIME },
		{ "noexec", "exec", MS_NOEXEC },
		{ "nosuid", "suid", MS_NOSUID },
		{ "nosymfollow", "symfollow", MS_NOSYMFOLLOW },
		{ "relatime", "norelatime", MS_RELATIME },
		{ "ro", "rw", MS_RDONLY },
		{ "silent", "loud", MS_SILENT },
		{ "strictatime", "nostrictatime", MS_STRICTATIME },
		{ "sync", "async", MS_SYNCHRONOUS },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char text[64];
		struct mountopt o;

		(void)snprintf(text, sizeof(text), "%s %s", rows[i].set, rows[i].clear);
		o = parsed(text);
		cr_expect_eq(o.flags, 0, "%s", text);
		cr_expect_eq(o.clear, rows[i].flag, "%s", text);
		cr_expect_str_empty(o.data, "%s", text);
		(void)snprintf(text, sizeof(text), "%s %s", rows[i].clear, rows[i].set);
		o = parsed(text);
		cr_expect_eq(o.flags, rows[i].flag, "%s", text);
		cr_expect_eq(o.clear, 0, "%s", text);
	}
}

Test(mountopt, access_times_exclude_each_other)
{
	cr_expect_eq(parsed("noatime strictatime").flags, MS_STRICTATIME);
	cr_expect_eq(parsed("strictatime relatime").flags, MS_RELATIME);
	cr_expect_eq(parsed("relatime nodiratime noatime").flags, MS_NOATIME | MS_NODIRATIME);
}

Test(mountopt, propagation_in_order)
{
	struct mountopt o =
		parsed("rprivate bind shared rslave unbindable runbindable rshared slave private");

	cr_assert_eq(o.n_propagation, 8);
	cr_expect_eq(o.propagation[0], MS_PRIVATE | MS_REC);
	cr_expect_eq(o.propagation[1], MS_SHARED);
	cr_expect_eq(o.propagation[2], MS_SLAVE | MS_REC);
	cr_expect_eq(o.propagation[3], MS_UNBINDABLE);
	cr_expect_eq(o.propagation[4], MS_UNBINDABLE | MS_REC);
	cr_expect_eq(o.propagation[5], MS_SHARED | MS_REC);
	cr_expect_eq(o.propagation[6], MS_SLAVE);
	cr_expect_eq(o.propagation[7], MS_PRIVATE);
	cr_expect_eq(o.flags, MS_BIND);
	cr_expect_eq(mountopt_propagation("slaves"), 0);
	cr_expect_eq(parse("shared shared shared shared shared shared shared shared shared", &o),
		     -EINVAL);
}

Test(mountopt, the_rest_is_data)
{
	cr_expect_str_eq(parsed("mode=755 ro size=64k nr_inodes=5").data,
			 "mode=755,size=64k,nr_inodes=5");
	cr_expect_str_eq(parsed("trans=virtio,version=9p2000.L,cache=mmap nodev msize=8192").data,
			 "trans=virtio,version=9p2000.L,cache=mmap,msize=8192");
	cr_expect_str_eq(parsed("dax").data, "dax");
	cr_expect_str_eq(parsed("").data, "");
	/* No words of ours, however much they look like some. */
	cr_expect_str_eq(parsed("rsync rasync rdefaults rrbind RO ro=1 nosuid,nodev r rr").data,
			 "rsync,rasync,rdefaults,rrbind,RO,ro=1,nosuid,nodev,r,rr");
}

Test(mountopt, empty_words_are_skipped)
{
	char none[] = "", ro[] = "ro", x[] = "x";
	char *words[] = { none, ro, none, x, none };
	struct mountopt o;

	cr_assert_eq(mountopt_parse(words, 5, &o, &arena, &err), 0);
	cr_expect_eq(o.flags, MS_RDONLY);
	cr_expect_str_eq(o.data, "x");
	cr_assert_eq(mountopt_parse(NULL, 0, &o, &arena, &err), 0);
	cr_expect_str_eq(o.data, "");
}

Test(mountopt, tree_wide_words)
{
	static const struct {
		const char *set, *clear;
		uint64_t attr, clr;
	} rows[] = {
		{ "rro", "rrw", MOUNT_ATTR_RDONLY, MOUNT_ATTR_RDONLY },
		{ "rnosuid", "rsuid", MOUNT_ATTR_NOSUID, MOUNT_ATTR_NOSUID },
		{ "rnodev", "rdev", MOUNT_ATTR_NODEV, MOUNT_ATTR_NODEV },
		{ "rnoexec", "rexec", MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOEXEC },
		{ "rnodiratime", "rdiratime", MOUNT_ATTR_NODIRATIME, MOUNT_ATTR_NODIRATIME },
		{ "rnosymfollow", "rsymfollow", MOUNT_ATTR_NOSYMFOLLOW, MOUNT_ATTR_NOSYMFOLLOW },
		{ "rnoatime", "ratime", MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME },
		{ "rstrictatime", "rnostrictatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME },
		{ "rrelatime", "rnorelatime", 0, MOUNT_ATTR__ATIME },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char text[64];
		struct mountopt o = parsed(rows[i].set);

		cr_expect_eq(o.rec_set, rows[i].attr, "%s", rows[i].set);
		cr_expect_eq(o.flags, 0, "%s", rows[i].set);
		/* The kernel wants the whole access time field cleared when it is set. */
		if (rows[i].clr == MOUNT_ATTR__ATIME)
			cr_expect_eq(o.rec_clr, MOUNT_ATTR__ATIME, "%s", rows[i].set);
		(void)snprintf(text, sizeof(text), "%s %s", rows[i].set, rows[i].clear);
		o = parsed(text);
		cr_expect_eq(o.rec_set, 0, "%s", text);
		cr_expect_eq(o.rec_clr, rows[i].clr, "%s", text);
		(void)snprintf(text, sizeof(text), "%s %s", rows[i].clear, rows[i].set);
		o = parsed(text);
		cr_expect_eq(o.rec_set, rows[i].attr, "%s", text);
		cr_expect_str_empty(o.data, "%s", text);
	}
}

Test(mountopt, attributes_of_a_bind)
{
	struct mountopt o = parsed("bind ro nosuid dev noatime");
	struct mount_attr a;

	mountopt_setattr(&o, &a);
	cr_expect_eq(a.attr_set, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOATIME);
	cr_expect_eq(a.attr_clr, MOUNT_ATTR_NODEV | MOUNT_ATTR__ATIME);
	o = parsed("rbind sync size=5 rprivate");
	mountopt_setattr(&o, &a);
	cr_expect_eq(a.attr_set | a.attr_clr, 0);
	o = parsed("bind relatime");
	mountopt_setattr(&o, &a);
	cr_expect_eq(a.attr_set, 0);
	cr_expect_eq(a.attr_clr, MOUNT_ATTR__ATIME);
	o = parsed("bind atime");
	mountopt_setattr(&o, &a);
	cr_expect_eq(a.attr_clr, MOUNT_ATTR__ATIME);
}

Test(mountopt, refused)
{
	static const char *const texts[] = { "idmap",	      "ridmap", "idmap=uids=0-1-1",
					     "bind ridmap=x", "loop",	"loop=/dev/loop0" };
	struct mountopt o;

	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		cr_expect_eq(parse(texts[i], &o), -EINVAL, "%s", texts[i]);
		cr_expect_not_null(strstr(err.msg, "not "), "%s: %s", texts[i], err.msg);
	}
}

Test(mountopt, tmpcopyup)
{
	cr_expect(parsed("tmpcopyup ro").tmpcopyup);
	cr_expect_not(parsed("ro").tmpcopyup);
	cr_expect_str_eq(parsed("tmpcopyup=1").data, "tmpcopyup=1");
}

Test(mountopt, has)
{
	cr_expect(mountopt_has("mode=755,size=5", "mode"));
	cr_expect(mountopt_has("size=5,mode=755", "mode"));
	cr_expect(mountopt_has("size=5,mode", "mode"));
	cr_expect_not(mountopt_has("ptmxmode=666,modes=5,umode", "mode"));
	cr_expect_not(mountopt_has("", "mode"));
	cr_expect_not(mountopt_has(",,", "mode"));
}

Test(mountopt, data_is_bounded)
{
	char word[MOUNTOPT_DATA + 2], half[MOUNTOPT_DATA / 2 + 2];
	char *one[] = { word }, *two[] = { half, half };
	struct mountopt o;

	memset(word, 'a', sizeof(word));
	word[MOUNTOPT_DATA] = '\0';
	cr_expect_eq(mountopt_parse(one, 1, &o, &arena, &err), 0);
	cr_expect_eq(strlen(o.data), MOUNTOPT_DATA);
	word[MOUNTOPT_DATA] = 'a';
	word[MOUNTOPT_DATA + 1] = '\0';
	cr_expect_eq(mountopt_parse(one, 1, &o, &arena, &err), -EINVAL);
	memset(half, 'b', sizeof(half));
	half[MOUNTOPT_DATA / 2] = '\0';
	cr_expect_eq(mountopt_parse(two, 2, &o, &arena, &err), 0);
	cr_expect_eq(strlen(o.data), MOUNTOPT_DATA);
	half[MOUNTOPT_DATA / 2] = 'b';
	half[MOUNTOPT_DATA / 2 + 1] = '\0';
	cr_expect_eq(mountopt_parse(two, 2, &o, &arena, &err), -EINVAL);
}

Test(mountopt, a_full_arena_is_an_error)
{
	char word[64] = "some-option-that-is-data";
	char *words[] = { word };
	struct arena small;
	struct mountopt o;

	arena_init(&small, 1);
	cr_expect_eq(mountopt_parse(words, 1, &o, &small, &err), -ENOMEM);
	arena_free(&small);
}
