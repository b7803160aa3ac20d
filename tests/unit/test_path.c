/* SPDX-License-Identifier: Apache-2.0 */
#include "linux/path.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/auto.h"
#include "base/fdio.h"

static char dir[64];
static int root;

static void setup(void)
{
	(void)snprintf(dir, sizeof(dir), "/tmp/path.XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	root = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	cr_assert_geq(root, 0);
	cr_assert_eq(mkdirat(root, "a", 0755), 0);
	cr_assert_eq(mkdirat(root, "a/b", 0755), 0);
}

static void teardown(void)
{
	(void)close(root);
	(void)fdio_remove_tree(AT_FDCWD, dir);
}

TestSuite(path, .init = setup, .fini = teardown);

static void link_to(const char *target, const char *name)
{
	cr_assert_eq(symlinkat(target, root, name), 0, "%s", name);
}

/* The fd's path relative to the root, to say where an fd ended up. */
static void expect_at(int fd, const char *want)
{
	char path[4096];
	struct fd_path link;
	ssize_t n;

	cr_assert_geq(fd, 0, "%s: %s", want, strerror(-fd));
	n = readlink(fdio_path(&link, fd), path, sizeof(path) - 1);
	cr_assert_gt(n, 0);
	path[n] = '\0';
	cr_assert_eq(strncmp(path, dir, strlen(dir)), 0, "%s is outside", path);
	cr_expect_str_eq(path + strlen(dir), want);
	(void)close(fd);
}

Test(path, clean)
{
	static const char *const rows[][2] = {
		{ "", "/" },
		{ "/", "/" },
		{ "a", "/a" },
		{ "//a///b/", "/a/b" },
		{ "/a/./b/.", "/a/b" },
		{ "/a/../b", "/b" },
		{ "/../../a", "/a" },
		{ "/a/b/../../..", "/" },
		{ "/a/b/..", "/a" },
		{ "/...", "/..." },
		{ "/..a/b..", "/..a/b.." },
		{ "/.a", "/.a" },
	};
	char out[LIMIT_PATH], *big;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		cr_assert_eq(path_clean(rows[i][0], out), 0);
		cr_expect_str_eq(out, rows[i][1], "'%s': '%s'", rows[i][0], out);
	}
	big = malloc(LIMIT_PATH + 10);
	cr_assert_not_null(big);
	memset(big, 'x', LIMIT_PATH + 9);
	big[LIMIT_PATH + 9] = '\0';
	cr_expect_eq(path_clean(big, out), -ENAMETOOLONG);
	big[LIMIT_PATH - 2] = '\0';
	cr_expect_eq(path_clean(big, out), 0); /* with a slash before it: just fits */
	cr_expect_eq(strlen(out), LIMIT_PATH - 1);
	free(big);
}

Test(path, dotdot)
{
	cr_expect(path_has_dotdot(".."));
	cr_expect(path_has_dotdot("/a/../b"));
	cr_expect(path_has_dotdot("a/.."));
	cr_expect_not(path_has_dotdot("/a/..b/c.."));
	cr_expect_not(path_has_dotdot("/..."));
	cr_expect_not(path_has_dotdot(""));
}

Test(path, below)
{
	cr_expect(path_is_below("/proc", "/proc"));
	cr_expect(path_is_below("/proc/sys", "/proc"));
	cr_expect(path_is_below("/x", "/"));
	cr_expect_not(path_is_below("/process", "/proc"));
	cr_expect_not(path_is_below("/pro", "/proc"));
}

Test(path, resolve)
{
	static const char *const rows[][2] = {
		{ "/", "" },
		{ "/a/b", "a/b" },
		{ "/a/b/../c/d", "a/c/d" },
		{ "/../..", "" },
		{ "/abs/x", "a/b/x" },
		{ "/rel/x", "a/x" },
		{ "/up/x", "x" },
		{ "/dangling/x", "no/where/x" },
		{ "/a/dots", "gone" },
		{ "/twice/x", "a/b/x" },
		{ "/no/such/../thing", "no/thing" },
		{ "/no/../abs", "a/b" },
		{ "/self", "self" },
	};
	char out[LIMIT_PATH];

	link_to("/a/b", "abs");
	link_to("a", "rel");
	link_to("../../../../..", "up");
	link_to("/no/where", "dangling");
	link_to("../../../gone", "a/dots");
	link_to("rel/../abs", "twice");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		cr_assert_eq(path_resolve(root, rows[i][0], out), 0, "%s", rows[i][0]);
		cr_expect_str_eq(out, rows[i][1], "'%s': '%s'", rows[i][0], out);
	}
}

Test(path, resolve_refuses)
{
	char out[LIMIT_PATH], big[LIMIT_PATH + 1];

	link_to("loop2", "loop1");
	link_to("loop1", "loop2");
	cr_expect_eq(path_resolve(root, "/loop1/x", out), -ELOOP);
	memset(big, '/', sizeof(big));
	big[LIMIT_PATH] = '\0';
	cr_expect_eq(path_resolve(root, big, out), -ENAMETOOLONG);
	memset(big, 'x', LIMIT_PATH - 1);
	big[LIMIT_PATH - 1] = '\0';
	link_to(dir, "long");
	memcpy(big, "long/", 5);
	cr_expect_eq(path_resolve(root, big, out), -ENAMETOOLONG); /* with the link's target */
}

Test(path, dir)
{
	link_to("/", "out");
	link_to("../../../../made", "a/dangling");
	expect_at(path_dir(root, "/a/b"), "/a/b");
	expect_at(path_dir(root, "/new/er/est"), "/new/er/est");
	expect_at(path_dir(root, "/out/a/x"), "/a/x");
	expect_at(path_dir(root, "/a/dangling/deep"), "/made/deep");
	expect_at(path_dir(root, ""), "");
	cr_assert_eq(mknodat(root, "file", S_IFREG | 0644, 0), 0);
	cr_expect_eq(path_dir(root, "/file"), -ENOTDIR);
	cr_expect_eq(path_dir(root, "/file/x"), -ENOTDIR);
}

Test(path, real_dir)
{
	link_to("a", "link");
	link_to("/nowhere", "dangling");
	expect_at(path_real_dir(root, "/a"), "/a");
	expect_at(path_real_dir(root, "/link/b"), "/a/b");
	expect_at(path_real_dir(root, "/x/y"), "/x/y");
	cr_expect_lt(path_real_dir(root, "/link"), 0);
	cr_expect_lt(path_real_dir(root, "/dangling"), 0);
	cr_expect_eq(faccessat(root, "nowhere", F_OK, 0), -1);
}

Test(path, file)
{
	struct stat st;

	link_to("../run/resolv.conf", "a/resolv.conf");
	expect_at(path_file(root, "/a/resolv.conf", 0640), "/run/resolv.conf");
	cr_assert_eq(fstatat(root, "run/resolv.conf", &st, 0), 0);
	cr_expect(S_ISREG(st.st_mode));
	expect_at(path_file(root, "/a/resolv.conf", 0640), "/run/resolv.conf");
	expect_at(path_file(root, "/a/b/c/d", 0640), "/a/b/c/d");
	expect_at(path_file(root, "/a/b", 0640),
		  "/a/b"); /* a directory: for the caller to refuse */
}

Test(path, parent)
{
	const char *name;

	link_to("/a/b", "link");
	expect_at(path_parent(root, "/link/dir/node", &name), "/a/b/dir");
	cr_expect_str_eq(name, "node");
	expect_at(path_parent(root, "node", &name), "");
	cr_expect_str_eq(name, "node");
	cr_expect_eq(path_parent(root, "/a/", &name), -EINVAL);
	cr_expect_eq(path_parent(root, "/a/..", &name), -EINVAL);
	cr_expect_eq(path_parent(root, "", &name), -EINVAL);
}

Test(path, plain_refuses_links)
{
	link_to("a", "link");
	expect_at(path_open_plain(root, "a/b", O_PATH, 0), "/a/b");
	cr_expect_eq(path_open_plain(root, "link", O_PATH, 0), -ELOOP);
	cr_expect_eq(path_open_plain(root, "link/b", O_PATH, 0), -ELOOP);
	cr_expect_eq(path_open_plain(root, "../x", O_PATH, 0), -EXDEV);
	cr_expect_eq(path_open_plain(root, "/a", O_PATH, 0), -EXDEV);
}

Test(path, real)
{
	char path[128];

	link_to("a", "link");
	expect_at(path_open_real(dir), "");
	(void)snprintf(path, sizeof(path), "%s/link", dir);
	cr_expect_eq(path_open_real(path), -ELOOP);
	(void)snprintf(path, sizeof(path), "%s/link/b", dir);
	cr_expect_eq(path_open_real(path), -ELOOP);
	(void)snprintf(path, sizeof(path), "%s/nothing", dir);
	cr_expect_eq(path_open_real(path), -ENOENT);
}

Test(path, open_in_stays_inside)
{
	int fd;

	close(openat(root, "inside", O_CREAT | O_WRONLY, 0600));
	cr_assert_eq(symlinkat("/inside", root, "absolute"), 0);
	cr_assert_eq(symlinkat("../../../../inside", root, "up"), 0);
	cr_assert_eq(symlinkat("/etc/passwd", root, "out"), 0);
	cr_assert_eq(symlinkat("/proc/self/root", root, "magic"), 0);
	for (const char *const *p = (const char *const[]){ "inside", "/inside", "absolute", "up",
							   "../../inside", NULL };
	     *p; p++) {
		fd = path_open_in(root, *p, O_RDONLY, 0);
		cr_expect_geq(fd, 0, "%s: %s", *p, strerror(-fd));
		close(fd);
	}
	cr_expect_eq(path_open_in(root, "out", O_RDONLY, 0), -ENOENT);
	cr_expect_lt(path_open_in(root, "magic/etc/passwd", O_RDONLY, 0), 0);
	cr_expect_lt(path_open_in(root, "../etc/passwd", O_RDONLY, 0), 0);
}

Test(path, plain_dir)
{
	struct stat st;
	bool made;

	expect_at(path_plain_dir(root, "", 0, &made), "");
	cr_expect_not(made);
	cr_expect_eq(path_plain_dir(root, "a/x", 0, &made), -ENOENT);
	expect_at(path_plain_dir(root, "a/x/y", 0700, &made), "/a/x/y");
	cr_expect(made);
	cr_assert_eq(fstatat(root, "a/x", &st, 0), 0);
	cr_expect_eq(st.st_mode & 07777, 0700);
	expect_at(path_plain_dir(root, "a/x", 0700, &made), "/a/x");
	cr_expect_not(made);
	link_to("/a", "link");
	cr_expect_eq(path_plain_dir(root, "link/new", 0700, &made), -ELOOP);
	cr_expect_lt(fstatat(root, "a/new", &st, 0), 0);
	cr_expect_eq(path_plain_dir(root, "a/../b", 0700, &made), -EINVAL);
}
