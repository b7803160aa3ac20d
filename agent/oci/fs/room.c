/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An empty room for those of our processes that a container's processes may see: a mount namespace
 * that has nothing but an empty root.
 *
 * One of them opens the procfs of a pid namespace, since a procfs is that of the process that opens
 * it. It is born in the room, without descriptors but its socket, without power outside of a user
 * namespace in which nobody is, and opens the file system; who asked for it makes the mount.
 * No state.
 */
#include "oci/fs/rootfs.h"

#include <errno.h>
#include <linux/magic.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/err.h"
#include "base/fdio.h"

int room_enter(struct err *err)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return err_sys(err, errno, "make / private");
	if (mount("room", "/proc", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY,
		  "mode=555") < 0)
		return err_sys(err, errno, "mount an empty root");
	if (chdir("/proc") < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
	    umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return err_sys(err, errno, "enter an empty root");
	return 0;
}

static _Noreturn void open_procfs(int sock)
{
	struct err err = { 0 };
	int fd = fsopen("proc", FSOPEN_CLOEXEC);

	if (fd < 0)
		err_sys(&err, errno, "file system type 'proc'");
	_exit(fdio_send_fd(sock, &err, sizeof(err), fd) < 0);
}

/* Enters the room and makes the one whom the namespace sees. */
static _Noreturn void make_opener(int pidns, int sock)
{
	struct err err = { 0 };
	int keep[] = { sock }, r = 0;
	pid_t pid = -1;

	if (setns(pidns, CLONE_NEWPID) < 0)
		r = err_sys(&err, errno, "join pid namespace");
	/* A kernel without user namespaces keeps it as powerful as we are. */
	else if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0 && unshare(CLONE_NEWNS) < 0)
		r = err_sys(&err, errno, "new mount namespace");
	if (r == 0)
		r = room_enter(&err);
	fdio_close_except(keep, ARRAY_LEN(keep));
	(void)close_range(0, 2, 0);
	if (r == 0 && (pid = fork()) == 0)
		open_procfs(sock);
	if (r == 0 && pid < 0)
		r = err_sys(&err, errno, "fork");
	if (r < 0)
		(void)fdio_send_fd(sock, &err, sizeof(err), FD_NONE);
	else
		(void)waitpid(pid, NULL, 0);
	_exit(0);
}

int room_procfs(int pidns, struct err *err)
{
	AUTO_CLOSE int ours = FD_NONE;
	AUTO_CLOSE int theirs = FD_NONE;
	AUTO_CLOSE int ctx = FD_NONE;
	struct err said = { 0 };
	struct statfs fs;
	int sv[2], fd;
	ssize_t n;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
		return err_sys(err, errno, "socketpair");
	ours = sv[0];
	theirs = sv[1];
	pid = fork();
	if (pid == 0)
		make_opener(pidns, theirs);
	if (pid < 0)
		return err_sys(err, errno, "fork");
	auto_closep(&theirs);
	n = fdio_recv_fd(ours, &said, sizeof(said), 0, &ctx);
	(void)waitpid(pid, NULL, 0);
	if (ctx < 0) {
		if (n == sizeof(said))
			*err = said;
		else
			err_set(err, ECHILD, "the process that opens it died");
		return err_wrap(err, "procfs");
	}
	if (fsconfig(ctx, FSCONFIG_SET_STRING, "source", "proc", 0) < 0 ||
	    fsconfig(ctx, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return err_sys(err, errno, "procfs: create");
	fd = fsmount(ctx, FSMOUNT_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(err, errno, "procfs: mount");
	/* Who sees the opener may have answered in its place. */
	if (fstatfs(fd, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC)
		return fd;
	(void)close(fd);
	return err_set(err, EPERM, "procfs: what was opened is another file system");
}
