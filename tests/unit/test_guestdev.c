/* SPDX-License-Identifier: Apache-2.0 */
#include "linux/guestdev.h"

#include <criterion/criterion.h>
#include <stdio.h>

Test(guestdev, majors)
{
	char text[] = "Character devices:\n  1 mem\n  5 /dev/console\n243 virtio-portsdev\n"
		      "x watchdog\n250 watchdog\n\nBlock devices:\n254 virtio-portsdev\n";
	char junk[] = "\n\n  \n7\nvirtio-portsdev";
	struct guestdev list = { 0 };

	guestdev_majors(text, &list);
	cr_assert_eq(list.n, 2);
	cr_expect_eq(list.dev[0].major, 243);
	cr_expect_eq(list.dev[0].minor, -1);
	cr_expect_eq(list.dev[1].major, 250);
	guestdev_majors(junk, &list);
	cr_expect_eq(list.n, 2);
}

Test(guestdev, of_this_machine)
{
	struct guestdev list;

	guestdev_find(&list);
	cr_assert(list.n >= 2);
	cr_expect_eq(list.dev[0].major, 5);
	cr_expect_eq(list.dev[0].minor, 1);
}
