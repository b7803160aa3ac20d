/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disks below "/", from sysfs. No state: users keep the list.
 */
#include "linux/rootdisk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/str.h"

#define ROOTDISK_DEPTH 8 /* device-mapper on device-mapper on ... */

bool rootdisk_has(const struct rootdisk *list, dev_t dev)
{
	for (size_t i = 0; i < list->n; i++) {
		if (list->dev[i] == dev)
			return true;
	}
	return false;
}

static void rootdisk_put(struct rootdisk *list, dev_t dev)
{
	if (list->n < LIMIT_ROOT_DISKS && !rootdisk_has(list, dev))
		list->dev[list->n++] = dev;
}

static bool rootdisk_number(int dir, const char *file, dev_t *ret)
{
	char text[32], *minor_text = text;
	uint64_t maj, min;

	if (fdio_read_file(dir, file, text, sizeof(text)) < 0)
		return false;
	(void)strsep(&minor_text, ":");
	if (!minor_text || str_u64(text, UINT32_MAX, &maj) < 0 ||
	    str_u64(minor_text, UINT32_MAX, &min) < 0)
		return false;
	*ret = makedev((unsigned int)maj, (unsigned int)min);
	return true;
}

static void rootdisk_add_below(struct rootdisk *list, dev_t dev, int depth);

/* Each entry of a directory that is a device: partitions of a disk, or what a mapping stands on. */
static void rootdisk_add_children(struct rootdisk *list, int parent, const char *dir,
				  bool partitions, int depth)
{
	int fd = openat(parent, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	AUTO_DIR DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d && fd >= 0)
		(void)close(fd);
	while (d && (e = readdir(d))) {
		char file[300];
		dev_t dev;

		if (e->d_name[0] == '.')
			continue;
		(void)snprintf(file, sizeof(file), "%s/partition", e->d_name);
		if (partitions && faccessat(fd, file, F_OK, 0) < 0)
			continue;
		(void)snprintf(file, sizeof(file), "%s/dev", e->d_name);
		if (!rootdisk_number(fd, file, &dev))
			continue;
		if (partitions)
			rootdisk_put(list, dev);
		else
			rootdisk_add_below(list, dev, depth + 1);
	}
}

static int rootdisk_open(dev_t dev)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major(dev), minor(dev));
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/*
 * The device, the whole disk and the other partitions if it is a partition (writing to the disk
 * is writing to the partition), and everything below a device-mapper one (dm-verity's data).
 */
static void rootdisk_add_below(struct rootdisk *list, dev_t dev, int depth)
{
	AUTO_CLOSE int fd = rootdisk_open(dev);
	AUTO_CLOSE int disk = FD_NONE;
	dev_t whole;

	rootdisk_put(list, dev);
	if (fd < 0 || depth == ROOTDISK_DEPTH)
		return;
	rootdisk_add_children(list, fd, "slaves", false, depth);
	if (faccessat(fd, "partition", F_OK, 0) == 0)
		disk = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (disk >= 0 && rootdisk_number(disk, "dev", &whole)) {
		rootdisk_put(list, whole);
		rootdisk_add_children(list, disk, "slaves", false, depth);
	}
	rootdisk_add_children(list, disk >= 0 ? disk : fd, ".", true, depth);
}

void rootdisk_add(struct rootdisk *list, dev_t dev)
{
	if (major(dev) != 0) /* 0 is no device: an initramfs, an overlay */
		rootdisk_add_below(list, dev, 0);
}

void rootdisk_find(struct rootdisk *ret)
{
	struct stat st;

	ret->n = 0;
	if (stat("/", &st) == 0)
		rootdisk_add(ret, st.st_dev);
}

/* By the node that sysfs names; a device without one is passed over. */
static int rootdisk_protect_one(dev_t dev, struct err *err)
{
	AUTO_CLOSE int dir = rootdisk_open(dev);
	AUTO_CLOSE int fd = FD_NONE;
	char path[320], text[512], *name;
	int on = 1;

	if (dir < 0 || fdio_read_file(dir, "uevent", text, sizeof(text)) < 0)
		return 0;
	name = strstr(text, "DEVNAME=");
	if (!name)
		return 0;
	name += strlen("DEVNAME=");
	name[strcspn(name, "\n")] = '\0';
	(void)snprintf(path, sizeof(path), "/dev/%.200s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, BLKROSET, &on) < 0)
		return err_sys(err, errno, "make '%s' read-only", path);
	return 0;
}

int rootdisk_protect(struct err *err)
{
	struct rootdisk list;
	struct statvfs vfs;
	int r = 0;

	if (statvfs("/", &vfs) < 0)
		return err_sys(err, errno, "look at '/'");
	if (!(vfs.f_flag & ST_RDONLY))
		return 0;
	rootdisk_find(&list);
	for (size_t i = 0; r == 0 && i < list.n; i++)
		r = rootdisk_protect_one(list.dev[i], err);
	return r;
}
