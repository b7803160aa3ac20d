/* SPDX-License-Identifier: Apache-2.0 */
// libs: -lprotobuf-c
/*
 * CopyFile (T32) in a mount namespace of the test's own: chunks, owners, modes, and no way out of
 * /run through links (CVE-2026-41326). Skipped where namespaces are refused.
 */
#include "svc/svc.h"

#include <stdlib.h>

#include "test_guest_harness.h"

static void setup(void)
{
	harness_own_run();
	harness_start();
}

TestSuite(copyfile, .init = setup, .fini = harness_stop, .timeout = 20);

static Grpc__CopyFileRequest file(const char *path, int64_t size, int64_t offset, const char *data)
{
	Grpc__CopyFileRequest r = GRPC__COPY_FILE_REQUEST__INIT;

	r.path = (char *)(uintptr_t)path;
	r.file_size = size;
	r.offset = offset;
	r.data.data = (uint8_t *)(uintptr_t)data;
	r.data.len = strlen(data);
	r.file_mode = 0100640;
	r.dir_mode = 0750;
	r.uid = -1;
	r.gid = -1;
	return r;
}

static int copy(const char *path, int64_t size, int64_t offset, const char *data)
{
	Grpc__CopyFileRequest r = file(path, size, offset, data);

	return ask(svc_copy_file, SCHEMA_1X, &r);
}

static const char *content(const char *path)
{
	static char buf[128];
	ssize_t n = fdio_read_file(AT_FDCWD, path, buf, sizeof(buf));

	return n < 0 ? strerror((int)-n) : buf;
}

Test(copyfile, two_halves)
{
	struct stat st;

	cr_assert_eq(copy("/run/kata-containers/shared/d/f", 10, 0, "hello"), RPC_OK, "%s",
		     message);
	cr_assert_eq(access("/run/kata-containers/shared/d/f", F_OK), -1);
	cr_assert_eq(copy("/run/kata-containers/shared/d/f", 10, 5, "world"), RPC_OK, "%s",
		     message);
	cr_assert_str_eq(content("/run/kata-containers/shared/d/f"), "helloworld");
	cr_assert_eq(access("/run/kata-containers/shared/d/f.tmp", F_OK), -1);
	cr_assert_eq(stat("/run/kata-containers/shared/d", &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0750);
	cr_assert_eq(stat("/run/kata-containers/shared/d/f", &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0640);
}

Test(copyfile, owner_and_special_bits)
{
	Grpc__CopyFileRequest r = file("/run/f", 1, 0, "x");
	struct stat st;

	r.file_mode = 0106755;
	r.uid = 1234;
	r.gid = 5678;
	if (ask(svc_copy_file, SCHEMA_1X, &r) != RPC_OK)
		cr_skip_test("needs chown");
	cr_assert_eq(stat("/run/f", &st), 0);
	cr_assert_eq(st.st_uid, 1234);
	cr_assert_eq(st.st_gid, 5678);
	cr_assert_eq(st.st_mode & 07777, 0755, "no setuid from the host");
}

Test(copyfile, empty_file)
{
	cr_assert_eq(copy("/run/empty", 0, 0, ""), RPC_OK, "%s", message);
	cr_assert_str_eq(content("/run/empty"), "");
}

Test(copyfile, overwrites)
{
	cr_assert_eq(copy("/run/f", 3, 0, "old"), RPC_OK);
	cr_assert_eq(copy("/run/f", 5, 0, "newer"), RPC_OK, "%s", message);
	cr_assert_str_eq(content("/run/f"), "newer");
}

/* The reference can never finish a copy when an earlier one left more than it has. */
Test(copyfile, stale_rest)
{
	cr_assert_eq(copy("/run/f", 100, 0, "a long one that was given up"), RPC_OK);
	cr_assert_eq(copy("/run/f", 6, 0, "abc"), RPC_OK);
	cr_assert_eq(access("/run/f", F_OK), -1, "not complete by what was left behind");
	cr_assert_eq(copy("/run/f", 6, 3, "def"), RPC_OK, "%s", message);
	cr_assert_str_eq(content("/run/f"), "abcdef");
}

Test(copyfile, refuses)
{
	static const char *const outside[] = { "",	     "/",
					       "/run",	     "/etc/f",
					       "/runaway/f", "/run/../etc/f",
					       "run/f",	     "/run/a/../../etc/f" };

	for (size_t i = 0; i < ARRAY_LEN(outside); i++)
		cr_assert_eq(copy(outside[i], 1, 0, "x"), RPC_UNKNOWN, "%s", outside[i]);
	cr_assert_eq(copy("/run/f", 1, -1, "x"), RPC_UNKNOWN);
	cr_assert_eq(copy("/run/f", -1, 0, "x"), RPC_UNKNOWN);
	cr_assert_eq(copy("/run/f", 1, INT64_MAX, "x"), RPC_UNKNOWN);
	cr_assert_eq(copy("/run/f", 2, 2, "x"), RPC_UNKNOWN, "past the end");
	cr_assert_eq(fdio_mkdirs("/run/dir", 0755), 0);
	cr_assert_eq(copy("/run/dir", 1, 0, "x"), RPC_UNKNOWN, "a directory stays one");
}

Test(copyfile, follows_no_link)
{
	char secret[] = "/tmp/test_copyfile.XXXXXX";
	int fd = mkstemp(secret);
	struct stat st;

	cr_assert_geq(fd, 0);
	(void)close(fd);
	cr_assert_eq(symlink("/tmp", "/run/link"), 0);
	cr_assert_eq(copy("/run/link/test_copyfile_out", 1, 0, "x"), RPC_UNKNOWN);
	cr_assert_eq(access("/tmp/test_copyfile_out", F_OK), -1);
	cr_assert_eq(symlink(secret, "/run/f.tmp"), 0);
	cr_assert_eq(copy("/run/f", 1, 0, "x"), RPC_UNKNOWN);
	cr_assert_eq(symlink(secret, "/run/g"), 0);
	cr_assert_eq(copy("/run/g", 1, 0, "x"), RPC_OK, "%s", message);
	cr_assert_eq(lstat("/run/g", &st), 0);
	cr_assert(S_ISREG(st.st_mode), "the link itself was replaced");
	cr_assert_eq(stat(secret, &st), 0);
	cr_assert_eq(st.st_size, 0);
	cr_assert_eq(link(secret, "/run/h.tmp"), -1, "another file system");
	cr_assert_eq(mkfifo("/run/p.tmp", 0600), 0);
	cr_assert_eq(copy("/run/p", 1, 0, "x"), RPC_UNKNOWN, "and does not hang");
	(void)unlink(secret);
}

/* Not memory: done by a worker. */
Test(copyfile, on_a_disk)
{
	char disk[] = "/tmp/test_copyfile_disk.XXXXXX";

	cr_assert_not_null(mkdtemp(disk));
	cr_assert_eq(fdio_mkdirs("/run/share", 0755), 0);
	cr_assert_eq(mount(disk, "/run/share", NULL, MS_BIND, NULL), 0);
	cr_assert_eq(copy("/run/share/sub/f", 4, 0, "data"), RPC_OK, "%s", message);
	cr_assert_str_eq(content("/run/share/sub/f"), "data");
	cr_assert_eq(copy("/run/share/sub", 4, 0, "data"), RPC_UNKNOWN);
	(void)fdio_remove_tree(AT_FDCWD, disk);
}

#define SHARE_3X "/run/kata-containers/shared/containers"

Test(copyfile, links_and_directories_of_3x)
{
	Grpc__CopyFileRequest r = file(SHARE_3X "/c/dir", 0, 0, "");
	char target[64] = "";
	struct stat st;

	r.file_mode = 040711;
	cr_assert_eq(ask(svc_copy_file, SCHEMA_3X, &r), RPC_OK, "%s", message);
	cr_assert_eq(ask(svc_copy_file, SCHEMA_3X, &r), RPC_OK, "again: %s", message);
	cr_assert_eq(stat(SHARE_3X "/c/dir", &st), 0);
	cr_assert(S_ISDIR(st.st_mode));
	cr_assert_eq(st.st_mode & 07777, 0711);
	r = file(SHARE_3X "/c/link", 11, 0, "../data/key");
	r.file_mode = 0120777;
	cr_assert_eq(ask(svc_copy_file, SCHEMA_3X, &r), RPC_OK, "%s", message);
	cr_assert_eq(ask(svc_copy_file, SCHEMA_3X, &r), RPC_OK, "again: %s", message);
	cr_assert_eq(readlink(SHARE_3X "/c/link", target, sizeof(target) - 1), 11);
	cr_assert_str_eq(target, "../data/key");
	r = file("/run/elsewhere", 1, 0, "x");
	cr_assert_neq(ask(svc_copy_file, SCHEMA_3X, &r), RPC_OK, "only below the share");
}

/* Where nothing is shared: CopyFile comes before anything has made the share's directory. */
Test(copyfile, makes_its_root)
{
	Grpc__CopyFileRequest r = file(SHARE_3X "/f", 1, 0, "x");
	struct stat st;

	cr_assert_eq(ask(svc_copy_file, SCHEMA_3X, &r), RPC_OK, "%s", message);
	cr_assert_str_eq(content(SHARE_3X "/f"), "x");
	cr_assert_eq(stat(SHARE_3X, &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0755);
}

static void replace(const char *path, mode_t mode, const char *data)
{
	Grpc__CopyFileRequest r = file(path, (int64_t)strlen(data), 0, data);

	r.file_mode = mode;
	cr_assert_eq(ask(svc_copy_file, SCHEMA_3X, &r), RPC_OK, "%o %s: %s", mode, path, message);
}

/* Whatever is there gives way to another kind, as in memory so on a disk. */
static void replaces(const char *x)
{
	char below[256], target[8] = "", tmp[256];
	struct stat st;

	(void)snprintf(below, sizeof(below), "%s/sub/f", x);
	(void)snprintf(tmp, sizeof(tmp), "%s.tmp", x);
	replace(x, 0100644, "file");
	replace(x, 040755, "");
	cr_assert(stat(x, &st) == 0 && S_ISDIR(st.st_mode), "file by directory");
	replace(below, 0100644, "a file in it");
	replace(x, 0120777, "to");
	cr_assert_eq(readlink(x, target, sizeof(target)), 2, "full directory by link");
	replace(x, 040755, "");
	cr_assert(lstat(x, &st) == 0 && S_ISDIR(st.st_mode), "link by directory");
	replace(below, 0100644, "a file in it");
	replace(x, 0100644, "file");
	cr_assert_str_eq(content(x), "file", "full directory by file");
	cr_assert_eq(access(tmp, F_OK), -1, "nothing is left");
}

Test(copyfile, kinds_replace_one_another)
{
	char disk[] = "/tmp/test_copyfile_disk.XXXXXX";

	replaces(SHARE_3X "/d/x");
	cr_assert_not_null(mkdtemp(disk));
	cr_assert_eq(fdio_mkdirs(SHARE_3X "/disk", 0755), 0);
	cr_assert_eq(mount(disk, SHARE_3X "/disk", NULL, MS_BIND, NULL), 0);
	replaces(SHARE_3X "/disk/x");
	replace(SHARE_3X "/disk", 040755, "");
	cr_assert_eq(umount(SHARE_3X "/disk"), 0);
	(void)fdio_remove_tree(AT_FDCWD, disk);
}

/* Chunks that the host sends without waiting for answers, onto what needs workers. */
Test(copyfile, chunks_have_turns)
{
	static const struct rpc_method method = { .service = "grpc.Test",
						  .name = "Test",
						  .request = &grpc__copy_file_request__descriptor,
						  .fn = svc_copy_file };
	static char data[30001];
	char disk[] = "/tmp/test_copyfile_disk.XXXXXX", got[30002];

	cr_assert_not_null(mkdtemp(disk));
	cr_assert_eq(fdio_mkdirs("/run/share", 0755), 0);
	cr_assert_eq(mount(disk, "/run/share", NULL, MS_BIND, NULL), 0);
	for (size_t i = 0; i < 30000; i++)
		data[i] = (char)('a' + i / 1000);
	answered = 0;
	for (int64_t at = 0; at < 30000; at += 1000) {
		Grpc__CopyFileRequest r = file("/run/share/f", 30000, at, data + at);
		size_t len;
		uint8_t body[2048];

		r.data.len = 1000;
		len = protobuf_c_message_pack(&r.base, body);
		rpc_run(call_new(&agent.rpc, &road, NULL, &method, SCHEMA_1X, -1), body, len);
		status = RPC_UNKNOWN;
	}
	while (answered < 30) {
		cr_assert_eq(loop_run(agent.loop), 0);
		cr_assert_eq(status, RPC_OK, "%s", message);
	}
	cr_assert_eq(fdio_read_file(AT_FDCWD, "/run/share/f", got, sizeof(got)), 30000);
	cr_assert_str_eq(got, data);
	cr_assert(list_empty(&agent.copies));
	cr_assert_eq(umount("/run/share"), 0);
	(void)fdio_remove_tree(AT_FDCWD, disk);
}
