/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Write protection of the guest's image. No state.
 */
#include "rootdisk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include "base/auto.h"
#include "base/fdio.h"

/* The node of a block device that sysfs describes in dir; a device without one is passed over. */
static int protect(const char *dir, struct err *err)
{
	char path[320], text[512], *name, *end;
	AUTO_CLOSE int fd = FD_NONE;
	int on = 1;

	(void)snprintf(path, sizeof(path), "%s/uevent", dir);
	if (fdio_read_file(AT_FDCWD, path, text, sizeof(text)) < 0)
		return 0;
	name = strstr(text, "DEVNAME=");
	if (!name)
		return 0;
	name += strlen("DEVNAME=");
	end = strchr(name, '\n');
	if (end)
		*end = '\0';
	(void)snprintf(path, sizeof(path), "/dev/%.200s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, BLKROSET, &on) < 0)
		return err_sys(err, errno, "make '%s' read-only", path);
	return 0;
}

int rootdisk_protect(struct err *err)
{
	struct statvfs vfs;
	struct stat st;
	char disk[80], part[96];
	int r;

	if (statvfs("/", &vfs) < 0 || stat("/", &st) < 0)
		return err_sys(err, errno, "look at '/'");
	if (!(vfs.f_flag & ST_RDONLY) || major(st.st_dev) == 0)
		return 0;
	(void)snprintf(disk, sizeof(disk), "/sys/dev/block/%u:%u", major(st.st_dev),
		       minor(st.st_dev));
	r = protect(disk, err);
	(void)snprintf(part, sizeof(part), "%s/partition", disk);
	if (r < 0 || stat(part, &st) < 0)
		return r;
	(void)snprintf(part, sizeof(part), "%s/..",
		       disk); /* a partition lies in its disk's directory */
	return protect(part, err);
}
