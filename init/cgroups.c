/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mounting cgroups. No state.
 */
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/log.h"
#include "base/str.h"

#define TOP   "/sys/fs/cgroup"
#define FLAGS (MS_NOSUID | MS_NODEV | MS_NOEXEC)

/* Lines "name<TAB>hierarchy<TAB>number<TAB>enabled". */
size_t cgroups_parse(char *text, const char *names[CGROUPS_MAX])
{
	bool devices = false;
	size_t count = 0;
	char *line;

	while ((line = strsep(&text, "\n"))) {
		char *field[4] = { NULL };

		for (size_t i = 0; i < ARRAY_LEN(field); i++)
			field[i] = strsep(&line, "\t");
		if (str_empty(field[0]) || *field[0] == '#' || !field[3] || str_eq(field[3], "0") ||
		    strchr(field[0], '/') || count == CGROUPS_MAX)
			continue;
		devices = devices || str_eq(field[0], "devices");
		names[count++] = field[0];
	}
	return devices ? count : 0;
}

/*
 * "devices" comes first: without it a container's rules for devices would be empty words, and as
 * long as nothing else is mounted as v1, v2 has all controllers.
 */
static void devices_first(const char *names[], size_t count)
{
	for (size_t i = 1; i < count; i++) {
		const char *name = names[i];

		if (!str_eq(name, "devices"))
			continue;
		names[i] = names[0];
		names[0] = name;
		return;
	}
}

static int mount_controller(const char *name)
{
	char path[300];

	(void)snprintf(path, sizeof(path), TOP "/%s", name);
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return -errno;
	return mount("cgroup", path, "cgroup", FLAGS | MS_RELATIME, name) < 0 ? -errno : 0;
}

/* -ENODEV: there is no v1 here (with the devices controller). */
static int mount_v1(struct err *err)
{
	char text[4096];
	const char *names[CGROUPS_MAX];
	size_t count;
	ssize_t n = fdio_read_file(AT_FDCWD, "/proc/cgroups", text, sizeof(text));

	if (access(TOP "/devices/tasks", F_OK) == 0)
		return 0; /* somebody has been here */
	count = n < 0 ? 0 : cgroups_parse(text, names);
	if (count == 0 || access(TOP "/cgroup.controllers", F_OK) == 0)
		return -ENODEV;
	devices_first(names, count);
	if (mount("tmpfs", TOP, "tmpfs", FLAGS, "mode=755") < 0)
		return err_sys(err, errno, "mount tmpfs on " TOP);
	for (size_t i = 0; i < count; i++) {
		int r = mount_controller(names[i]);

		if (r < 0 && i == 0) {
			(void)umount2(TOP, MNT_DETACH);
			return -ENODEV;
		}
		if (r < 0) /* cgroup_no_v1=memory, say: who needs it will be told */
			log_warn("cgroups", "no v1 controller '%s': %s", names[i], strerror(-r));
	}
	if (mount("tmpfs", TOP, "tmpfs", FLAGS | MS_REMOUNT | MS_RDONLY, "mode=755") < 0)
		return err_sys(err, errno, "remount " TOP " read-only");
	/* Limits of a level count for all below it; kernels from 5.11 on know nothing else. */
	(void)fdio_write_file(AT_FDCWD, TOP "/memory/memory.use_hierarchy", "1");
	return 0;
}

static int mount_v2(struct err *err)
{
	char text[512], words[1024] = "", *rest = text, *word;
	size_t len = 0;
	ssize_t n;

	if (access(TOP "/cgroup.controllers", F_OK) < 0 &&
	    mount("cgroup2", TOP, "cgroup2", FLAGS | MS_RELATIME, "nsdelegate") < 0)
		return err_sys(err, errno, "mount cgroup2 on " TOP);
	n = fdio_read_file(AT_FDCWD, TOP "/cgroup.controllers", text, sizeof(text));
	if (n < 0)
		return err_sys(err, (int)-n, "read the cgroup controllers");
	while ((word = strsep(&rest, " "))) {
		if (*word)
			len += (size_t)snprintf(words + len, sizeof(words) - len, "%s+%s",
						len ? " " : "", word);
	}
	if (!len || fdio_write_file(AT_FDCWD, TOP "/cgroup.subtree_control", words) == 0)
		return 0;
	/* One that can't be enabled fails all: so each alone. */
	for (rest = words; (word = strsep(&rest, " "));) {
		int r = fdio_write_file(AT_FDCWD, TOP "/cgroup.subtree_control", word);

		if (r < 0)
			log_warn("cgroups", "controller '%s' can't be enabled: %s", word + 1,
				 strerror(-r));
	}
	return 0;
}

int cgroups_mount(bool unified, struct err *err)
{
	int r = unified ? -ENODEV : mount_v1(err);

	return r == -ENODEV ? mount_v2(err) : r;
}
