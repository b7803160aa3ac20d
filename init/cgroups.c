/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mounting cgroups. No state.
 */
#include "cgroups.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/auto.h"
#include "base/fdio.h"
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

static int mount_v1(struct err *err)
{
	char text[4096], path[300];
	const char *names[CGROUPS_MAX];
	size_t count;
	ssize_t n = fdio_read_file(AT_FDCWD, "/proc/cgroups", text, sizeof(text));

	if (access(TOP "/devices/tasks", F_OK) == 0)
		return 0; /* somebody has been here */
	if (n < 0)
		return 0; /* no cgroups in this kernel */
	count = cgroups_parse(text, names);
	if (count == 0)
		return 0;
	if (mount("tmpfs", TOP, "tmpfs", FLAGS, "mode=755") < 0)
		return err_sys(err, errno, "mount tmpfs on " TOP);
	for (size_t i = 0; i < count; i++) {
		(void)snprintf(path, sizeof(path), TOP "/%s", names[i]);
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return err_sys(err, errno, "make '%s'", path);
		if (mount("cgroup", path, "cgroup", FLAGS | MS_RELATIME, names[i]) < 0)
			return err_sys(err, errno, "mount cgroup controller '%s'", names[i]);
	}
	if (mount("tmpfs", TOP, "tmpfs", FLAGS | MS_REMOUNT | MS_RDONLY, "mode=755") < 0)
		return err_sys(err, errno, "remount " TOP " read-only");
	/* Limits of a level count for all below it; kernels from 5.11 on know nothing else. */
	(void)fdio_write_file(AT_FDCWD, TOP "/memory/memory.use_hierarchy", "1");
	return 0;
}

static int mount_v2(struct err *err)
{
	char text[512], words[1024], *rest = text, *word;
	size_t len = 0;
	ssize_t n;
	int r;

	if (mount("cgroup2", TOP, "cgroup2", FLAGS | MS_RELATIME, "nsdelegate") < 0 &&
	    errno != EBUSY) {
		if (errno == ENODEV)
			return 0; /* no cgroups in this kernel */
		return err_sys(err, errno, "mount cgroup2 on " TOP);
	}
	n = fdio_read_file(AT_FDCWD, TOP "/cgroup.controllers", text, sizeof(text));
	if (n < 0)
		return err_sys(err, (int)-n, "read the cgroup controllers");
	while ((word = strsep(&rest, " "))) {
		if (*word)
			len += (size_t)snprintf(words + len, sizeof(words) - len, "%s+%s",
						len ? " " : "", word);
	}
	r = len ? fdio_write_file(AT_FDCWD, TOP "/cgroup.subtree_control", words) : 0;
	return r < 0 ? err_sys(err, -r, "enable cgroup controllers %s", words) : 0;
}

int cgroups_mount(bool unified, struct err *err)
{
	return unified ? mount_v2(err) : mount_v1(err);
}
