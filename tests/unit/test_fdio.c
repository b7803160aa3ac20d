/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fdio.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[64];
static int root;

static void make(void)
{
	strcpy(dir, "/tmp/fdio-XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	root = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	cr_assert_geq(root, 0);
}

static void clean(void)
{
	close(root);
	cr_assert_eq(fdio_remove_tree(AT_FDCWD, dir), 0);
	cr_assert_lt(access(dir, F_OK), 0);
}

static void put(const char *name, const char *text)
{
	int fd = openat(root, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);

	cr_assert_geq(fd, 0, "%s: %s", name, strerror(errno));
	cr_assert_eq(fdio_write_all(fd, text, strlen(text)), 0);
	close(fd);
}

TestSuite(fdio, .init = make, .fini = clean);

Test(fdio, read_file)
{
	char buf[8];
	char *text;

	put("f", "hello\n\n");
	cr_expect_eq(fdio_read_file(root, "f", buf, sizeof(buf)), 5);
	cr_expect_str_eq(buf, "hello");
	put("g", "12345678");
	cr_expect_eq(fdio_read_file(root, "g", buf, sizeof(buf)), -EFBIG);
	put("h", "1234567");
	cr_expect_eq(fdio_read_file(root, "h", buf, sizeof(buf)), 7);
	cr_expect_eq(fdio_read_file(root, "none", buf, sizeof(buf)), -ENOENT);
	put("e", "\n");
	cr_expect_eq(fdio_read_file(root, "e", buf, sizeof(buf)), 0);
	cr_expect_str_eq(buf, "");
	cr_expect_eq(fdio_slurp(root, "f", 100, &text), 7);
	cr_expect_str_eq(text, "hello\n\n");
	free(text);
	cr_expect_eq(fdio_slurp(root, "f", 6, &text), -EFBIG);
}

Test(fdio, slurp_at_the_edge)
{
	static char big[8193];
	char *text;

	for (size_t n = 4095; n <= 4097; n++) {
		memset(big, 'x', n);
		big[n] = '\0';
		(void)unlinkat(root, "b", 0);
		put("b", big);
		cr_expect_eq(fdio_slurp(root, "b", 10000, &text), (ssize_t)n);
		cr_expect_eq(strlen(text), n);
		free(text);
	}
}

Test(fdio, write_file_is_for_what_exists)
{
	char buf[16], path[128];

	snprintf(path, sizeof(path), "%s/w", dir);
	cr_expect_eq(fdio_write_file(AT_FDCWD, path, "x"), -ENOENT);
	put("w", "long old text");
	cr_expect_eq(fdio_write_file(AT_FDCWD, path, "new"), 0);
	cr_expect_eq(fdio_read_file(root, "w", buf, sizeof(buf)), 3);
}

Test(fdio, remove_tree_follows_no_links)
{
	char other[] = "/tmp/fdio-o-XXXXXX", file[64];

	cr_assert_not_null(mkdtemp(other));
	snprintf(file, sizeof(file), "%s/keep", other);
	close(open(file, O_CREAT | O_WRONLY, 0600));
	cr_assert_eq(mkdirat(root, "t", 0700), 0);
	cr_assert_eq(mkdirat(root, "t/u", 0700), 0);
	cr_assert_eq(mkdirat(root, "t/u/v", 0700), 0);
	cr_assert_eq(symlinkat(other, root, "t/u/link"), 0);
	put("t/u/v/f", "x");
	cr_expect_eq(fdio_remove_tree(root, "t"), 0);
	cr_expect_eq(access(file, F_OK), 0);
	cr_assert_eq(symlinkat(other, root, "l"), 0);
	cr_expect_eq(fdio_remove_tree(root, "l"), 0);
	cr_expect_eq(access(file, F_OK), 0);
	put("single", "x");
	cr_expect_eq(fdio_remove_tree(root, "single"), 0);
	cr_expect_eq(fdio_remove_tree(root, "single"), -ENOENT);
	cr_assert_eq(fdio_remove_tree(AT_FDCWD, other), 0);
}

/* What is mounted in it belongs to others, though it be a bind of the same file system. */
Test(fdio, remove_tree_enters_no_mount)
{
	struct stat st;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		cr_skip_test("needs a mount namespace");
	(void)close(root);
	root = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC); /* of the new namespace */
	cr_assert_eq(fchdir(root), 0);
	cr_assert_eq(mkdir("share", 0700), 0);
	put("share/keep", "x");
	put("file", "x");
	cr_assert_eq(mkdir("t", 0700), 0);
	cr_assert_eq(mkdir("t/a", 0700), 0);
	cr_assert_eq(mkdir("t/a/bind", 0700), 0);
	put("t/a/file", "");
	put("t/a/goes", "");
	put("t/z", "");
	cr_assert_eq(mount("share", "t/a/bind", NULL, MS_BIND, NULL), 0);
	cr_assert_eq(mount("file", "t/a/file", NULL, MS_BIND, NULL), 0);
	cr_expect_lt(fdio_remove_tree(root, "t"), 0);
	cr_expect_eq(access("share/keep", F_OK), 0);
	cr_expect_eq(stat("file", &st), 0);
	cr_expect_eq(st.st_size, 1);
	cr_expect_eq(access("t/a/goes", F_OK), -1, "the rest goes");
	cr_expect_eq(access("t/z", F_OK), -1, "the rest goes");
	cr_expect_eq(fdio_remove_tree(root, "t/a/bind"), -EXDEV, "nor a mount itself");
	cr_assert_eq(umount("t/a/bind"), 0);
	cr_assert_eq(umount("t/a/file"), 0);
	cr_expect_eq(fdio_remove_tree(root, "t"), 0);
}

Test(fdio, remove_tree_however_deep)
{
	int at = dup(root);

	for (int i = 0; i < 3000; i++) {
		int sub;

		cr_assert_eq(mkdirat(at, "a-name-of-some-length", 0700), 0);
		sub = openat(at, "a-name-of-some-length", O_PATH | O_DIRECTORY | O_CLOEXEC);
		cr_assert_geq(sub, 0);
		(void)close(at);
		at = sub;
	}
	cr_assert_eq(mkdirat(at, ".removed-0", 0700), 0);
	(void)close(at);
	cr_expect_eq(fdio_remove_tree(root, "a-name-of-some-length"), 0);
}

Test(fdio, close_except)
{
	pid_t pid = fork();

	if (pid == 0) {
		int a = open("/dev/null", O_RDONLY), b = open("/dev/null", O_RDONLY),
		    c = open("/dev/null", O_RDONLY);
		int keep[] = { c, -9, a };
		int bad;

		fdio_close_except(keep, 3);
		bad = fcntl(a, F_GETFD) < 0 || fcntl(c, F_GETFD) < 0 || fcntl(b, F_GETFD) >= 0 ||
		      fcntl(root, F_GETFD) >= 0 || fcntl(0, F_GETFD) < 0;
		_exit(bad);
	}
	int status;

	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect_eq(status, 0);
}

static int open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d))
		n++;
	(void)closedir(d);
	return n;
}

/* Who sends two has one of them received, and the other closed by the kernel. */
Test(fdio, one_descriptor_a_message)
{
	union {
		struct cmsghdr head;
		char buf[CMSG_SPACE(2 * sizeof(int))];
	} control = { .buf = { 0 } };
	struct iovec iov = { (char[]){ "x" }, 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	const int two[] = { STDIN_FILENO, STDERR_FILENO };
	int sv[2], fd, before;
	char byte;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv), 0);
	control.head.cmsg_level = SOL_SOCKET;
	control.head.cmsg_type = SCM_RIGHTS;
	control.head.cmsg_len = CMSG_LEN(sizeof(two));
	(void)memcpy(CMSG_DATA(&control.head), two, sizeof(two));
	cr_assert_eq(sendmsg(sv[0], &msg, 0), 1);
	before = open_fds();
	cr_assert_eq(fdio_recv_fd(sv[1], &byte, 1, 0, &fd), 1);
	cr_expect_geq(fd, 0);
	cr_expect_eq(open_fds(), before + 1, "nothing else came");
	(void)close(fd);
	(void)close(sv[0]);
	(void)close(sv[1]);
}

Test(fdio, nonblock_leaves_other_flags)
{
	int p[2];

	cr_assert_eq(pipe2(p, O_CLOEXEC | O_DIRECT), 0);
	cr_expect_eq(fdio_nonblock(p[1], true), 0);
	cr_expect_eq(fcntl(p[1], F_GETFL), O_WRONLY | O_NONBLOCK | O_DIRECT);
	cr_expect_eq(fdio_nonblock(p[1], false), 0);
	cr_expect_eq(fcntl(p[1], F_GETFL), O_WRONLY | O_DIRECT);
	close(p[0]);
	cr_expect_eq(fdio_nonblock(p[0], true), -EBADF);
	close(p[1]);
}
