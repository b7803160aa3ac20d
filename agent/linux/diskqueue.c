/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Schedulers of disks, in sysfs. No state.
 */
#include "linux/diskqueue.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/str.h"

void diskqueue_weigh(void)
{
	AUTO_DIR DIR *dir = opendir("/sys/block");
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		char path[NAME_MAX + 32], names[256]; /* "[none] mq-deadline bfq" */

		(void)snprintf(path, sizeof(path), "%s/queue/scheduler", e->d_name);
		if (*e->d_name != '.' &&
		    fdio_read_file(dirfd(dir), path, names, sizeof(names)) > 0 &&
		    strstr(names, "bfq") && !strstr(names, "[bfq]"))
			(void)fdio_write_file(dirfd(dir), path, "bfq");
	}
}
