/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The user database of an image: who is found, who isn't, and what a hostile image can't do.
 */
#include "oci/creds.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/auto.h"
#include "base/fdio.h"

static char dir[64];
static int root;

static void put(const char *path, const char *text)
{
	int fd = openat(root, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	cr_assert(fd >= 0);
	cr_assert_eq(fdio_write_all(fd, text, strlen(text)), 0);
	(void)close(fd);
}

static void setup(void)
{
	(void)snprintf(dir, sizeof(dir), "/tmp/test_user.XXXXXX");
	cr_assert(mkdtemp(dir));
	root = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	cr_assert_eq(mkdirat(root, "etc", 0755), 0);
	put("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"
			  "bad:x:notanumber:0::/:/bin/sh\n"
			  "worse:x::\n"
			  "short\n"
			  "# comment:x:5:5::/c:\n"
			  "minus:x:-1:0::/:\n"
			  "huge:x:4294967295:0::/:\n"
			  "alice:x:1000:1001:Alice:/home/alice:/bin/sh\n"
			  "homeless:x:1002:1002:::/bin/sh\n"
			  "alice:x:0:0:second:/evil:/bin/sh");
	put("etc/group", "root:x:0:\n"
			 "wheel:x:10:bob,alice\n"
			 "alice:x:1001:\n"
			 "broken:x:zz:alice\n"
			 "audio:x:29:alice\n"
			 "short:x:77\n"
			 "video:x:44:alicea,xalice");
}

static void teardown(void)
{
	(void)close(root);
	cr_assert_eq(fdio_remove_tree(AT_FDCWD, dir), 0);
}

TestSuite(user, .init = setup, .fini = teardown, .timeout = 10);

static int resolve(const char *name, struct user *ret, struct err *err)
{
	Grpc__User u = GRPC__USER__INIT;
	char text[128];

	(void)snprintf(text, sizeof(text), "%s", name);
	u.username = text;
	return user_resolve(root, &u, ret, err);
}

Test(user, table)
{
	static const struct {
		const char *spec;
		uid_t uid;
		gid_t gid;
		size_t ngids;
		const char *home;
	} rows[] = {
		{ "root", 0, 0, 0, "/root" },
		{ "alice", 1000, 1001, 2, "/home/alice" }, /* the first of two entries */
		{ "1000", 1000, 1001, 2, "/home/alice" },
		{ "alice:audio", 1000, 29, 0, "/home/alice" },
		{ "alice:", 1000, 1001, 2, "/home/alice" },
		{ "alice:77", 1000, 77, 0, "/home/alice" },
		{ "4000", 4000, 0, 0, "/" },
		{ "4000:5000", 4000, 5000, 0, "/" },
		{ "4000:wheel", 4000, 10, 0, "/" },
		{ ":wheel", 0, 10, 0, "/root" },
		{ "homeless", 1002, 1002, 0, "/" },
		{ "4294967294:4294967294", 4294967294u, 4294967294u, 0, "/" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err err = { 0 };
		struct user u;

		cr_assert_eq(resolve(rows[i].spec, &u, &err), 0, "%s: %s", rows[i].spec, err.msg);
		cr_expect_eq(u.uid, rows[i].uid, "%s: uid %u", rows[i].spec, u.uid);
		cr_expect_eq(u.gid, rows[i].gid, "%s: gid %u", rows[i].spec, u.gid);
		cr_expect_eq(u.ngids, rows[i].ngids, "%s: %zu groups", rows[i].spec, u.ngids);
		cr_expect_str_eq(u.home, rows[i].home);
		user_free(&u);
	}
}

Test(user, refused)
{
	static const struct {
		const char *spec;
		int code;
		const char *text;
	} rows[] = {
		{ "nobody", ENOENT,
		  "unable to find user nobody: no matching entries in passwd file" },
		{ "bad", ENOENT, "no matching entries" },
		{ "worse", ENOENT, "no matching entries" },
		{ "short", ENOENT, "no matching entries" },
		{ "minus", ENOENT, "no matching entries" },
		{ "huge", ENOENT, "no matching entries" },
		{ "-1", ENOENT, "no matching entries" },
		{ "+5", ENOENT, "no matching entries" },
		{ "0x0", ENOENT, "no matching entries" },
		{ "alice:none", ENOENT,
		  "unable to find group none: no matching entries in group file" },
		{ "alice:broken", ENOENT, "no matching entries" },
		{ "4294967295", ERANGE, "out of range" },
		{ "1:4294967295", ERANGE, "out of range" },
		{ "99999999999999999999999", ERANGE, "out of range" },
		{ "1:2:3", EINVAL, "more than one colon" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err err = { 0 };
		struct user u;

		cr_expect_eq(resolve(rows[i].spec, &u, &err), -rows[i].code, "%s: %d %s",
			     rows[i].spec, err.code, err.msg);
		cr_expect(strstr(err.msg, rows[i].text), "%s: %s", rows[i].spec, err.msg);
	}
}

Test(user, numbers_of_the_message)
{
	uint32_t more[] = { 7, 8, 9 };
	Grpc__User u = GRPC__USER__INIT;
	struct err err = { 0 };
	struct user user;

	u.uid = 1000;
	u.additionalgids = more;
	u.n_additionalgids = ARRAY_LEN(more);
	cr_assert_eq(user_resolve(root, &u, &user, &err), 0);
	cr_expect_eq(user.uid, 1000);
	cr_expect_eq(user.gid, 0, "an explicit gid, even 0, beats the database");
	cr_expect_eq(user.ngids, 3);
	cr_expect_eq(user.gids[2], 9);
	cr_expect_str_eq(user.home, "/home/alice");
	user_free(&user);
	u.uid = UINT32_MAX;
	cr_expect_eq(user_resolve(root, &u, &user, &err), -ERANGE);
	cr_assert_eq(user_resolve(root, NULL, &user, &err), 0);
	cr_expect_eq(user.uid, 0);
	user_free(&user);
}

Test(user, name_and_additional_groups)
{
	uint32_t more[] = { 7 };
	Grpc__User u = GRPC__USER__INIT;
	char name[] = "alice";
	struct err err = { 0 };
	struct user user;

	u.username = name;
	u.additionalgids = more;
	u.n_additionalgids = 1;
	cr_assert_eq(user_resolve(root, &u, &user, &err), 0);
	cr_assert_eq(user.ngids, 3);
	cr_expect_eq(user.gids[0], 10);
	cr_expect_eq(user.gids[1], 29);
	cr_expect_eq(user.gids[2], 7);
	user_free(&user);
}

Test(user, no_files)
{
	struct err err = { 0 };
	struct user u;

	cr_assert_eq(fdio_remove_tree(root, "etc"), 0);
	cr_assert_eq(resolve("5:6", &u, &err), 0);
	cr_expect_eq(u.uid, 5);
	cr_expect_eq(u.gid, 6);
	user_free(&u);
	cr_expect_eq(resolve("alice", &u, &err), -ENOENT);
}

Test(user, fifo_and_device_and_directory)
{
	struct err err = { 0 };
	struct user u;

	cr_assert_eq(unlinkat(root, "etc/passwd", 0), 0);
	cr_assert_eq(mkfifoat(root, "etc/passwd", 0644), 0);
	cr_assert_eq(unlinkat(root, "etc/group", 0), 0);
	cr_assert_eq(mkdirat(root, "etc/group", 0755), 0);
	cr_assert_eq(resolve("5:6", &u, &err), 0, "%s", err.msg);
	user_free(&u);
	cr_expect_eq(resolve("alice", &u, &err), -ENOENT);
	cr_expect_eq(resolve("5:alice", &u, &err), -ENOENT);
}

Test(user, link_out_of_the_root)
{
	struct err err = { 0 };
	struct user u;

	cr_assert_eq(unlinkat(root, "etc/passwd", 0), 0);
	cr_assert_eq(symlinkat("../../../../../../../etc/passwd", root, "etc/passwd"), 0);
	cr_expect_eq(resolve("daemon", &u, &err), -ENOENT, "the host's own file was read");
	cr_assert_eq(unlinkat(root, "etc/passwd", 0), 0);
	put("real", "daemon:x:3:3::/inside:\n");
	cr_assert_eq(symlinkat("/real", root, "etc/passwd"), 0);
	cr_assert_eq(resolve("daemon", &u, &err), 0, "absolute links stay inside the root");
	cr_expect_str_eq(u.home, "/inside");
	user_free(&u);
}

Test(user, huge_file)
{
	int fd = openat(root, "etc/passwd", O_WRONLY | O_CLOEXEC);
	struct err err = { 0 };
	struct user u;

	cr_assert_eq(ftruncate(fd, (off_t)1 << 40), 0);
	(void)close(fd);
	cr_expect_eq(resolve("alice", &u, &err), -EFBIG);
}

Test(user, too_many_groups)
{
	FILE *f;
	char path[128];
	struct err err = { 0 };
	struct user u;

	(void)snprintf(path, sizeof(path), "%s/etc/group", dir);
	f = fopen(path, "we");
	for (int i = 0; i < 65537; i++)
		(void)fprintf(f, "g%d:x:%d:alice\n", i, i);
	(void)fclose(f);
	cr_expect_eq(resolve("alice", &u, &err), -EINVAL);
	cr_expect_eq(resolve("alice:5", &u, &err), 0);
	user_free(&u);
}

Test(user, apply_without_change)
{
	struct user u = { .uid = getuid(), .gid = getgid() };
	struct err err = { 0 };

	if (getuid() == 0)
		cr_expect_eq(user_apply(&u, &err), 0, "%s", err.msg);
	else
		cr_expect_eq(user_apply(&u, &err), -EPERM, "setgroups needs root");
}
