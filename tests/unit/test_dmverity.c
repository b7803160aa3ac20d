/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options of dm-verity; the devices themselves are made in a guest, by tests/vm/test_pod3x.py.
 */
#include "linux/dmverity.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

static int check(const char *const *words, struct dmverity *v, struct err *err)
{
	dmverity_defaults(v);
	for (; *words; words++) {
		int r = dmverity_option(v, *words, err);

		if (r < 0)
			return r;
	}
	return dmverity_check(v, err);
}

Test(dmverity, options)
{
	const char *words[] = { "-enabled=true",    ".roothash=00ff",
				".hashoffset=8192", ".blocksize=512",
				".hashsize=1024",   ".algorithm=sha512",
				".salt=-",	    ".no-superblock=true",
				".hashtype=0",	    NULL };
	struct err err = { 0 };
	struct dmverity v;

	cr_assert_eq(check(words, &v, &err), 0, "%s", err.msg);
	cr_assert(v.enabled && v.no_superblock);
	cr_assert_str_eq(v.root_hash, "00ff");
	cr_assert_str_eq(v.algorithm, "sha512");
	cr_assert_eq(v.hash_offset, 8192);
	cr_assert_eq(v.block_size, 512);
	cr_assert_eq(v.hash_size, 1024);
	cr_assert_eq(v.version, 0);
}

Test(dmverity, what_the_kernel_would_read_as_more_words)
{
	static const char *const bad[] = {
		".roothash=00 1 ignore_corruption",
		".roothash=",
		".salt=0 0",
		".algorithm=sha256 x",
		".hashoffset=1",
		".hashoffset=-4096",
		".hashsize=0",
		".blocksize=4294",
		".no-superblock=yes",
		".hashofset=8192",
		"-enabled=1",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		const char *words[] = { "-enabled=true", ".roothash=00", ".hashoffset=4096", bad[i],
					NULL };
		struct err err = { 0 };
		struct dmverity v;

		cr_assert_eq(check(words, &v, &err), -EINVAL, "%s", bad[i]);
		cr_assert_neq(strlen(err.msg), 0);
	}
}
