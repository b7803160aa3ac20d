/* SPDX-License-Identifier: Apache-2.0 */
/* Against the disk of whatever machine this is; on one without, only what holds there. */
#include "linux/rootdisk.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/auto.h"

Test(rootdisk, none)
{
	struct rootdisk list = { 0 };

	rootdisk_add(&list, makedev(0, 42));
	cr_expect_eq(list.n, 0);
	cr_expect_not(rootdisk_has(&list, 0));
}

Test(rootdisk, of_root)
{
	struct rootdisk list;
	struct stat st;

	cr_assert_eq(stat("/", &st), 0);
	rootdisk_find(&list);
	cr_expect_eq(rootdisk_has(&list, st.st_dev), major(st.st_dev) != 0);
}

/* From any partition of this machine: the disk that sysfs has it in, and from the disk back. */
Test(rootdisk, partition_and_disk)
{
	AUTO_DIR DIR *d = opendir("/sys/class/block");
	struct dirent *e;

	while (d && (e = readdir(d))) {
		unsigned int maj, min, wmaj, wmin;
		struct rootdisk list = { 0 };
		char path[400];
		FILE *f;

		(void)snprintf(path, sizeof(path), "/sys/class/block/%s/partition", e->d_name);
		if (access(path, F_OK) < 0)
			continue;
		(void)snprintf(path, sizeof(path), "cd /sys/class/block/%s/ && cat dev ../dev",
			       e->d_name);
		f = popen(path, "re");
		cr_assert_eq(fscanf(f, "%u:%u %u:%u", &maj, &min, &wmaj, &wmin), 4);
		pclose(f);
		rootdisk_add(&list, makedev(maj, min));
		cr_expect(rootdisk_has(&list, makedev(wmaj, wmin)));
		list.n = 0;
		rootdisk_add(&list, makedev(wmaj, wmin));
		cr_expect(rootdisk_has(&list, makedev(maj, min)));
	}
}
