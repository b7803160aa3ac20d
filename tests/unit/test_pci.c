/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI paths of both generations, resolved in a made-up sysfs (T21).
 */
#include "linux/pci.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/auto.h"
#include "base/fdio.h"

static char dir[] = "/tmp/test_pci.XXXXXX";
static int sys = FD_NONE;

static void make(const char *path)
{
	char whole[512];

	(void)snprintf(whole, sizeof(whole), "%s/%s", dir, path);
	cr_assert_eq(fdio_mkdirs(whole, 0755), 0);
}

static void setup(void)
{
	cr_assert_not_null(mkdtemp(dir));
	sys = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_geq(sys, 0);
}

static void teardown(void)
{
	(void)close(sys);
	(void)fdio_remove_tree(AT_FDCWD, dir);
}

TestSuite(pci, .init = setup, .fini = teardown);

static int resolve(const char *text, char *rel, struct err *err)
{
	struct pci_path p;

	*err = (struct err){ 0 };
	rel[0] = '\0';
	return pci_path_parse(text, &p, err) < 0 ? -err->code : pci_resolve(sys, &p, rel, err);
}

Test(pci, grammar)
{
	static const char *const bad[] = { "",
					   "/",
					   "02/",
					   "/02",
					   "2g",
					   "20",
					   "02.8",
					   "02.",
					   "002",
					   "02//03",
					   "0000:00:02.0",
					   "20/03",
					   "02/20/01",
					   "1/1/1/1/1/1/1/1/1/1/1/1/1/1/1/1/1" };
	struct pci_path p;
	struct err err;

	cr_assert_eq(pci_path_parse("02/1f.7", &p, &err), 0);
	cr_assert_eq(p.n, 2);
	cr_assert_eq(p.root, 0);
	cr_assert_eq(p.at[1].slot, 0x1f);
	cr_assert_eq(p.at[1].function, 7);
	cr_assert_eq(pci_path_parse("20/00/02", &p, &err), 0);
	cr_assert_eq(p.root, 0x20);
	cr_assert_eq(p.n, 2);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		cr_assert_eq(pci_path_parse(bad[i], &p, &err), -EINVAL, "%s", bad[i]);
}

Test(pci, one_element_needs_no_sysfs)
{
	char rel[PCI_REL_MAX];
	struct err err;

	cr_assert_eq(resolve("02", rel, &err), 0);
	cr_assert_str_eq(rel, "0000:00:02.0");
}

Test(pci, goes_through_bridges)
{
	char rel[PCI_REL_MAX];
	struct err err;

	make("devices/pci0000:00/0000:00:02.0/pci_bus/0000:01");
	make("devices/pci0000:00/0000:00:02.0/0000:01:03.0/pci_bus/0000:02");
	cr_assert_eq(resolve("02/03", rel, &err), 0, "%s", err.msg);
	cr_assert_str_eq(rel, "0000:00:02.0/0000:01:03.0");
	cr_assert_eq(resolve("02/03/04.1", rel, &err), 0, "%s", err.msg);
	cr_assert_str_eq(rel, "0000:00:02.0/0000:01:03.0/0000:02:04.1");
}

Test(pci, bridge_without_one_bus)
{
	char rel[PCI_REL_MAX];
	struct err err;

	cr_assert_eq(resolve("02/03", rel, &err), -ENOENT);
	make("devices/pci0000:00/0000:00:02.0/pci_bus");
	cr_assert_eq(resolve("02/03", rel, &err), -ENOENT);
	cr_assert_not_null(strstr(err.msg, "got 0 instead"), "%s", err.msg);
	make("devices/pci0000:00/0000:00:02.0/pci_bus/0000:01");
	make("devices/pci0000:00/0000:00:02.0/pci_bus/0000:02");
	cr_assert_eq(resolve("02/03", rel, &err), -EINVAL);
	cr_assert_not_null(strstr(err.msg, "Expected exactly one PCI bus"), "%s", err.msg);
}

Test(pci, other_roots)
{
	char rel[PCI_REL_MAX];
	struct err err;

	make("devices/pci0000:20/0000:20:00.0/pci_bus/0000:21");
	cr_assert_eq(resolve("20/00/02", rel, &err), 0, "%s", err.msg);
	cr_assert_str_eq(rel, "0000:20:00.0/0000:21:02.0");
	make("devices/platform/4010000000.pcie/pci0000:00/0000:00:05.0/pci_bus/0000:03");
	cr_assert_eq(resolve("05/01", rel, &err), 0, "%s", err.msg);
	cr_assert_str_eq(rel, "0000:00:05.0/0000:03:01.0");
}

Test(pci, rescan_is_written)
{
	struct err err = { 0 };
	char text[8], path[600];

	cr_assert_eq(pci_rescan(sys, &err), -ENOENT);
	make("bus/pci");
	(void)snprintf(path, sizeof(path), "%s/bus/pci/rescan", dir);
	cr_assert_eq(mknod(path, S_IFREG | 0600, 0), 0);
	cr_assert_eq(pci_rescan(sys, &err), 0);
	cr_assert_eq(fdio_read_file(AT_FDCWD, path, text, sizeof(text)), 1);
	cr_assert_str_eq(text, "1");
}
