/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's own character devices. No state.
 */
#include "linux/guestdev.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/str.h"

static void guestdev_put(struct guestdev *list, int64_t major, int64_t minor)
{
	if (list->n < LIMIT_GUEST_DEVICES)
		list->dev[list->n++] = (struct guestdev_number){ major, minor };
}

/* Lines "243 virtio-portsdev" below "Character devices:", as far as the block devices. */
void guestdev_majors(char *text, struct guestdev *ret)
{
	static const char *const drivers[] = { "virtio-portsdev", "watchdog" };
	char *line;

	while ((line = strsep(&text, "\n")) && !str_starts(line, "Block")) {
		char *name = line + strspn(line, " "), *number = strsep(&name, " ");
		uint64_t major;

		for (size_t i = 0; name && i < ARRAY_LEN(drivers); i++) {
			if (str_eq(name, drivers[i]) && str_u64(number, UINT32_MAX, &major) == 0)
				guestdev_put(ret, (int64_t)major, -1);
		}
	}
}

/* "229:0", of a terminal that the kernel's console writes to. */
static void guestdev_terminal(struct guestdev *list, const char *name)
{
	char path[128], text[32], *minor_text = text;
	uint64_t major, minor;

	(void)snprintf(path, sizeof(path), "/sys/class/tty/%.64s/dev", name);
	if (fdio_read_file(AT_FDCWD, path, text, sizeof(text)) < 0)
		return;
	(void)strsep(&minor_text, ":");
	if (minor_text && str_u64(text, UINT32_MAX, &major) == 0 &&
	    str_u64(minor_text, UINT32_MAX, &minor) == 0)
		guestdev_put(list, (int64_t)major, (int64_t)minor);
}

void guestdev_find(struct guestdev *ret)
{
	char text[8192], *rest = text, *name;

	*ret = (struct guestdev){ 0 };
	guestdev_put(ret, 5, 1);    /* console */
	guestdev_put(ret, 10, 130); /* watchdog */
	if (fdio_read_file(AT_FDCWD, "/sys/class/tty/console/active", text, sizeof(text)) >= 0) {
		while ((name = strsep(&rest, " ")))
			guestdev_terminal(ret, name);
	}
	if (fdio_read_file(AT_FDCWD, "/proc/devices", text, sizeof(text)) >= 0)
		guestdev_majors(text, ret);
}
