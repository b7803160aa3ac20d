/* SPDX-License-Identifier: Apache-2.0 */
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
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/crash.h"
#include "base/fdio.h"

enum mount_policy {
	MNT_FATAL = 1,	 /* without it there is no guest */
	MNT_BUSY_OK = 2, /* the kernel may have been there first */
};

static const struct base_mount {
	const char *source, *target, *type, *data;
	unsigned long flags;
	unsigned int policy;
} base_mounts[] = {
	{ "proc", "/proc", "proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC,
	  MNT_FATAL | MNT_BUSY_OK },
	{ "sysfs", "/sys", "sysfs", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC,
	  MNT_FATAL | MNT_BUSY_OK },
	{ "dev", "/dev", "devtmpfs", NULL, MS_NOSUID, MNT_BUSY_OK },
	{ "tmpfs", "/dev/shm", "tmpfs", "mode=1777", MS_NOSUID | MS_NODEV, MNT_FATAL },
	{ "devpts", "/dev/pts", "devpts", "mode=0620,gid=5,ptmxmode=0666", MS_NOSUID | MS_NOEXEC,
	  MNT_FATAL },
	{ "tmpfs", "/run", "tmpfs", "mode=0755", MS_NOSUID | MS_NODEV, MNT_FATAL },
	/* Programs that the agent calls expect it to be writable, and an image's root is not. */
	{ "tmpfs", "/tmp", "tmpfs", "mode=1777", MS_NOSUID | MS_NODEV, 0 },
};

/*
 * The kernel gives init no standard streams when its console is not ready yet (virtio's comes a
 * little late): numbers 0 to 2 must not go to anything else meanwhile.
 */
static void reserve_streams(void)
{
	int fd;

	do
		fd = open("/", O_PATH | O_CLOEXEC);
	while (fd >= 0 && fd <= STDERR_FILENO);
	auto_closep(&fd);
}

int init_mounts(struct err *err)
{
	reserve_streams();
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
	/* What one container mounts in a shared volume, another one is to see. */
	if (mount(NULL, "/", NULL, MS_REC | MS_SHARED, NULL) < 0)
		return err_sys(err, errno, "share the mounts");
	/* devtmpfs has a node of its own here, which would open the wrong devpts. */
	(void)unlink("/dev/ptmx");
	if (symlink("/dev/pts/ptmx", "/dev/ptmx") < 0)
		return err_sys(err, errno, "link /dev/ptmx");
	return 0;
}

void init_lock_down(void)
{
	/* Loading modules is all that such a program is left with; these two can only shrink. */
	static const char helpers[] = "65536 0"; /* CAP_SYS_MODULE, as two words of 32 bits */
	static const struct {
		const char *file, *value;
	} rows[] = {
		{ "/proc/sys/kernel/sysrq", "0" },
		{ "/proc/sys/kernel/kptr_restrict", "2" },
		{ "/proc/sys/kernel/unprivileged_bpf_disabled", "1" },
		{ "/proc/sys/kernel/usermodehelper/bset", helpers },
		{ "/proc/sys/kernel/usermodehelper/inheritable", helpers },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		(void)fdio_write_file(AT_FDCWD, rows[i].file, rows[i].value);
}

static bool streams_from(const char *path, int flags)
{
	int fd = open(path, flags | O_NOCTTY);

	for (int i = 0; i < 3 && fd >= 0; i++)
		(void)dup2(fd, i);
	if (fd > STDERR_FILENO)
		(void)close(fd);
	return fd >= 0;
}

bool init_console(void)
{
	struct stat st;

	(void)setsid();
	(void)setenv("PATH", "/bin:/sbin:/usr/bin:/usr/sbin", 1);
	if (streams_from("/dev/console", O_RDWR)) {
		(void)ioctl(STDIN_FILENO, TIOCSCTTY, 1);
		return true;
	}
	/* Until then the kernel's log keeps our lines. */
	if (fstat(STDERR_FILENO, &st) < 0 || !S_ISCHR(st.st_mode))
		(void)(streams_from("/dev/kmsg", O_WRONLY) || streams_from("/dev/null", O_RDWR));
	return false;
}

void init_hostname(void)
{
	char text[256], *name;

	if (fdio_read_file(AT_FDCWD, "/etc/hostname", text, sizeof(text)) < 0)
		*text = '\0';
	name = text + strspn(text, " \t\r\n");
	name[strcspn(name, " \t\r\n")] = '\0';
	if (!*name || sethostname(name, strlen(name)) < 0)
		(void)!sethostname("localhost", strlen("localhost"));
}

_Noreturn void init_die(const char *why)
{
	AUTO_CLOSE int kmsg = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	char line[600];

	(void)snprintf(line, sizeof(line), "<2>kata-agent: %s\n", why);
	if (kmsg >= 0)
		(void)fdio_write_all(kmsg, line, strlen(line));
	(void)fdio_write_all(STDERR_FILENO, line + 3, strlen(line + 3));
	crash_power_off();
}
