/*
 * Early duties of PID 1. No state.
 */
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/auto.h"
#include "lib/fdio.h"

enum mount_policy {
	MNT_FATAL = 1,		/* without it there is no guest */
	MNT_BUSY_OK = 2,	/* the kernel may have been there first */
};

static const struct base_mount {
	const char *source, *target, *type, *data;
	unsigned long flags;
	unsigned int policy;
} base_mounts[] = {
	{ "proc", "/proc", "proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, MNT_FATAL | MNT_BUSY_OK },
	{ "sysfs", "/sys", "sysfs", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, MNT_FATAL | MNT_BUSY_OK },
	{ "dev", "/dev", "devtmpfs", NULL, MS_NOSUID, MNT_BUSY_OK },
	{ "tmpfs", "/dev/shm", "tmpfs", "mode=1777", MS_NOSUID | MS_NODEV, MNT_FATAL },
	{ "devpts", "/dev/pts", "devpts", "mode=0620,gid=5,ptmxmode=0666", MS_NOSUID | MS_NOEXEC, MNT_FATAL },
	{ "tmpfs", "/run", "tmpfs", "mode=0755", MS_NOSUID | MS_NODEV, MNT_FATAL },
	/* Programs that the agent calls expect it to be writable, and an image's root is not. */
	{ "tmpfs", "/tmp", "tmpfs", "mode=1777", MS_NOSUID | MS_NODEV, 0 },
};

int init_mounts(struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(base_mounts); i++) {
		const struct base_mount *m = &base_mounts[i];
		int r = 0;

		if (mkdir(m->target, 0755) < 0 && errno != EEXIST)
			r = errno;
		else if (mount(m->source, m->target, m->type, m->flags, m->data) < 0)
			r = errno;
		if (r == EBUSY && m->policy & MNT_BUSY_OK)
			r = 0;
		if (r && m->policy & MNT_FATAL)
			return err_sys(err, r, "mount %s on %s", m->type, m->target);
	}
	/* devtmpfs has a node of its own here, which would open the wrong devpts. */
	(void)unlink("/dev/ptmx");
	if (symlink("/dev/pts/ptmx", "/dev/ptmx") < 0)
		return err_sys(err, errno, "link /dev/ptmx");
	return 0;
}

void init_console(void)
{
	(void)setsid();
	(void)ioctl(STDIN_FILENO, TIOCSCTTY, 1);
	(void)setenv("PATH", "/bin:/sbin:/usr/bin:/usr/sbin", 1);
}

_Noreturn void init_die(const char *why)
{
	AUTO_CLOSE int kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	char line[600];

	(void)snprintf(line, sizeof(line), "<2>kata-agent: %s\n", why);
	if (kmsg >= 0)
		(void)fdio_write_all(kmsg, line, strlen(line));
	(void)fdio_write_all(STDERR_FILENO, line + 3, strlen(line + 3));
	sync();
	(void)reboot(RB_POWER_OFF);
	_exit(1);	/* the kernel panics, and with panic=1 that ends the guest, too */
}
