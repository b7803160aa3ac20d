/* SPDX-License-Identifier: Apache-2.0 */
// PCI addresses of the host's in a container's environment become the guest's, and what isn't known
// stays as it is.
#include "pod/pcimap.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "base/auto.h"
#include "base/log.h"

static struct arena mem;
static struct pci_map map;

static void setup(void)
{
	struct err err = { 0 };

	log_threshold = LOG_ERROR;
	arena_init(&mem, 1 << 20);
	cr_assert_eq(pci_map_add(&map, "0000:65:00.0", "0000:01:00.0", &err), 0);
	cr_assert_eq(pci_map_add(&map, "0000:65:00.1", "0000:02:00.0", &err), 0);
	cr_assert_eq(pci_map_add(&map, "0000:08:00.0", "0000:03:00.0", &err), 0);
}

static void teardown(void)
{
	arena_free(&mem);
	pci_map_free(&map);
}

Test(pcimap, addresses)
{
	static const struct {
		const char *text, *normal;
	} rows[] = {
		{ "0000:65:00.1", "0000:65:00.1" },
		{ "0000:AF:1f.7", "0000:af:1f.7" },
		{ "0:1:2.3", "0000:01:02.3" },
		{ "10000:01:00.0", NULL },
		{ "0000:65:00", "0000:65:00.0" },
		{ "0000:65:20.0", NULL },
		{ "0000:65:00.8", NULL },
		{ "65:00.0", NULL },
		{ "0000:65:00.0x", NULL },
		{ "0000:65:00.0.0", NULL },
		{ "0000:65:00.", NULL },
		{ "", NULL },
		{ "gpu-0", NULL },
		{ "0000:65:00.00000000000000000", NULL },
	};
	char out[PCI_ADDRESS_MAX];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int r = pci_address(rows[i].text, strlen(rows[i].text), out);

		cr_expect_eq(r, rows[i].normal ? 0 : -EINVAL, "%s: %d", rows[i].text, r);
		if (r == 0 && rows[i].normal)
			cr_expect_str_eq(out, rows[i].normal);
	}
	cr_expect_eq(pci_address("0000:65:00.1,rest", 12, out), 0, "a part of a text");
	cr_expect_str_eq(out, "0000:65:00.1");
}

Test(pcimap, one_guest_for_a_host, .init = setup, .fini = teardown)
{
	struct err err = { 0 };

	cr_expect_eq(pci_map_add(&map, "0000:65:00.0", "0000:01:00.0", &err), 0);
	cr_expect_eq(map.n, 3u);
	cr_expect_eq(pci_map_add(&map, "0000:65:00.0", "0000:03:00.0", &err), -EINVAL);
	cr_expect_not_null(strstr(err.msg, "0000:65:00.0"));
}

Test(pcimap, environment, .init = setup, .fini = teardown)
{
	static const struct {
		const char *before, *after; /* NULL: as before */
	} rows[] = {
		{ "PATH=/bin", NULL },
		{ "PCIDEVICE_A=0000:65:00.0", "PCIDEVICE_A=0000:01:00.0" },
		{ "PCIDEVICE_A_INFO={\"0000:65:00.0\":{\"x\":\"0000:65:00.0\"},\"0000:65:00.1\":1}",
		  "PCIDEVICE_A_INFO={\"0000:01:00.0\":{\"x\":\"0000:01:00.0\"},\"0000:65:00.1\":1}" },
		{ "PCIDEVICE_BOTH=0000:65:00.1,0000:65:00.0",
		  "PCIDEVICE_BOTH=0000:02:00.0,0000:01:00.0" },
		{ "PCIDEVICE_BOTH_INFO=0000:65:00.00000:65:00.1",
		  "PCIDEVICE_BOTH_INFO=0000:01:00.00000:02:00.0" },
		{ "PCIDEVICE_UNKNOWN=0000:65:00.0,0000:77:00.0", NULL },
		{ "PCIDEVICE_UNKNOWN_INFO={\"0000:65:00.0\":1}", NULL },
		{ "PCIDEVICE_OTHER=uverbs0", NULL },
		{ "PCIDEVICE_OTHER_INFO={\"0000:65:00.0\":1}", NULL },
		{ "PCIDEVICE_EMPTY=", NULL },
		{ "PCIDEVICE_", NULL },
		{ "PCIDEVICE_ALONE_INFO={\"0000:65:00.0\":1}", NULL },
	};
	Grpc__Process p = GRPC__PROCESS__INIT;
	char *env[ARRAY_LEN(rows)];
	struct err err = { 0 };

	p.env = env;
	p.n_env = ARRAY_LEN(rows);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		env[i] = (char *)(uintptr_t)rows[i].before;
	cr_assert_eq(pci_map_translate(&map, "ctr", &p, &mem, &err), 0);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		cr_expect_str_eq(env[i], rows[i].after ? rows[i].after : rows[i].before);
	cr_expect_eq(pci_map_translate(&map, "ctr", NULL, &mem, &err), 0);
}

/* Written as short as they may be: what comes of them is longer, and has room. */
Test(pcimap, short_addresses, .init = setup, .fini = teardown)
{
	Grpc__Process p = GRPC__PROCESS__INIT;
	char list[1024] = "PCIDEVICE_A=0:8:0", want[1024] = "PCIDEVICE_A=0000:03:00.0";
	char *env[] = { list }, *after;
	struct err err = { 0 };

	for (int i = 0; i < 60; i++) {
		(void)memcpy(list + strlen(list), ",0:8:0", 7);
		(void)memcpy(want + strlen(want), ",0000:03:00.0", 14);
	}
	p.env = env;
	p.n_env = 1;
	cr_assert_eq(pci_map_translate(&map, "ctr", &p, &mem, &err), 0);
	after = arena_alloc(&mem, 256);
	(void)memset(after, 'x', 256);
	cr_expect_str_eq(env[0], want);
}

Test(pcimap, without_memory, .init = setup, .fini = teardown)
{
	Grpc__Process p = GRPC__PROCESS__INIT;
	char *env[] = { (char *)"PCIDEVICE_A=0000:65:00.0" };
	struct arena none;
	struct err err = { 0 };

	arena_init(&none, 1);
	p.env = env;
	p.n_env = 1;
	cr_expect_eq(pci_map_translate(&map, "ctr", &p, &none, &err), -ENOMEM);
	cr_expect_str_eq(env[0], "PCIDEVICE_A=0000:65:00.0");
	arena_free(&none);
}
