/* SPDX-License-Identifier: Apache-2.0 */
// libs: -lprotobuf-c
/*
 * Devices of a CreateContainer (T19, T20): what is refused, and which numbers of the spec change.
 * Works with nodes in a /dev of its own; skipped where that or mknod is refused.
 */
#include "pod/device.h"

#include <stdlib.h>
#include <sys/sysmacros.h>

#include "base/limits.h"
#include "test_guest_harness.h"
#include "pod/pcimap.h"

static struct arena mem;
static struct err outcome;
static int outcomes;

static Grpc__LinuxDevice devs[3];
static Grpc__LinuxDevice *dev_list[3] = { &devs[0], &devs[1], &devs[2] };
static Grpc__LinuxDeviceCgroup rules[4];
static Grpc__LinuxDeviceCgroup *rule_list[4] = { &rules[0], &rules[1], &rules[2], &rules[3] };
static Grpc__LinuxResources resources;
static Grpc__Linux lx;
static Grpc__Spec spec;

static void set_device(size_t i, const char *path, const char *type, int64_t maj, int64_t min)
{
	grpc__linux_device__init(&devs[i]);
	devs[i].path = (char *)(uintptr_t)path;
	devs[i].type = (char *)(uintptr_t)type;
	devs[i].major = maj;
	devs[i].minor = min;
}

static void set_rule(size_t i, const char *type, int64_t maj, int64_t min)
{
	grpc__linux_device_cgroup__init(&rules[i]);
	rules[i].allow = true;
	rules[i].type = (char *)(uintptr_t)type;
	rules[i].access = (char *)(uintptr_t) "rwm";
	rules[i].major = maj;
	rules[i].minor = min;
}

static void setup(void)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", "/dev", "tmpfs", 0, "mode=0755") < 0)
		cr_skip_test("needs a mount namespace");
	if (mknod("/dev/null", S_IFCHR | 0666, makedev(1, 3)) < 0)
		cr_skip_test("needs mknod");
	harness_start();
	arena_init(&mem, LIMIT_ARENA);
	grpc__spec__init(&spec);
	grpc__linux__init(&lx);
	grpc__linux_resources__init(&resources);
	spec.linux = &lx;
	lx.resources = &resources;
	lx.devices = dev_list;
	resources.devices = rule_list;
}

static void teardown(void)
{
	arena_free(&mem);
	harness_stop();
}

TestSuite(device, .init = setup, .fini = teardown, .timeout = 20);

static const char *node(const char *name, mode_t type, unsigned int maj, unsigned int min)
{
	static char path[4][128];
	static int turn;
	char *p = path[turn++ % 4];

	(void)snprintf(p, 128, "/dev/%s", name);
	if (mknod(p, type | 0600, makedev(maj, min)) < 0)
		cr_skip_test("needs mknod");
	return p;
}

static Grpc__Device device(const char *type, const char *id, const char *vm_path,
			   const char *container_path)
{
	Grpc__Device d = GRPC__DEVICE__INIT;

	d.type = (char *)(uintptr_t)type;
	d.id = (char *)(uintptr_t)id;
	d.vm_path = (char *)(uintptr_t)vm_path;
	d.container_path = (char *)(uintptr_t)container_path;
	return d;
}

static void on_done(void *arg, const struct err *err)
{
	cr_assert_eq(arg, &spec);
	outcome = *err;
	outcomes++;
	loop_stop(agent.loop);
}

static struct pci_map map;

static int add(enum schema schema, Grpc__Spec *to, Grpc__Device *list, size_t n)
{
	Grpc__Device *pointers[4] = { NULL };

	for (size_t i = 0; i < n; i++)
		pointers[i] = &list[i];
	outcomes = 0;
	outcome = (struct err){ 0 };
	if (devices_add(&agent, schema, pointers, n, to, &map, &mem, on_done, &spec, &outcome) < 0)
		return outcome.rpc ? outcome.rpc : RPC_UNKNOWN;
	cr_assert_eq(outcomes, 0);
	cr_assert_eq(loop_run(agent.loop), 0);
	cr_assert_eq(outcomes, 1);
	return outcome.code ? rpc_status(&outcome) : RPC_OK;
}

Test(device, refuses)
{
	Grpc__Device d = device("", "id", "/x", "/c");

	cr_assert_eq(add(SCHEMA_1X, &spec, &d, 1), RPC_INVALID_ARGUMENT);
	d = device("blk", "", "", "/c");
	cr_assert_eq(add(SCHEMA_1X, &spec, &d, 1), RPC_INVALID_ARGUMENT);
	d = device("blk", "02", "", "");
	cr_assert_eq(add(SCHEMA_1X, &spec, &d, 1), RPC_INVALID_ARGUMENT);
	d = device("floppy", "02", "", "/c");
	cr_assert_eq(add(SCHEMA_1X, &spec, &d, 1), RPC_INVALID_ARGUMENT);
	cr_assert_str_eq(outcome.msg, "Unknown device type \"floppy\"");
	d = device("nvdimm", "", "/dev/null", "/c");
	cr_assert_eq(add(SCHEMA_1X, NULL, &d, 1), RPC_INVALID_ARGUMENT);
	d = device("mmioblk", "x", "", "/c");
	cr_assert_eq(add(SCHEMA_1X, &spec, &d, 1), RPC_UNKNOWN);
	d = device("scsi", "1-2", "", "/c");
	cr_assert_eq(add(SCHEMA_1X, &spec, &d, 1), RPC_INTERNAL);
	d = device("blk-ccw", "0.5.0000", "", "/c");
	cr_assert_eq(add(SCHEMA_1X, &spec, &d, 1), RPC_UNKNOWN);
	cr_assert_eq(add(SCHEMA_1X, NULL, NULL, 0), RPC_OK);
}

Test(device, needs_a_match)
{
	Grpc__Device d = device("nvdimm", "", "/dev/null", "/dev/c");

	cr_assert_eq(add(SCHEMA_1X, &spec, &d, 1), RPC_INTERNAL);
	cr_assert_str_eq(outcome.msg, "No devices found from the spec, cannot update");
	set_device(0, "/dev/other", "c", 1, 3);
	lx.n_devices = 1;
	cr_assert_eq(add(SCHEMA_1X, &spec, &d, 1), RPC_INTERNAL);
	cr_assert_str_eq(outcome.msg, "Should have found a matching device /dev/c in the spec");
	d.vm_path = (char *)(uintptr_t) "/nosuch";
	cr_assert_eq(add(SCHEMA_1X, &spec, &d, 1), RPC_UNKNOWN);
	d.vm_path = (char *)(uintptr_t) "/etc";
	cr_assert_eq(add(SCHEMA_1X, &spec, &d, 1), RPC_UNKNOWN);
	/* What leads out of /dev is not gone after: it might not answer. */
	cr_assert_eq(symlink("/proc/self/fd/0", "/dev/link"), 0);
	d.vm_path = (char *)(uintptr_t) "/dev/link";
	cr_assert_eq(add(SCHEMA_1X, &spec, &d, 1), RPC_UNKNOWN);
	cr_assert_not_null(strstr(outcome.msg, "cross-device"), "%s", outcome.msg);
	spec.linux = NULL;
	cr_assert_eq(add(SCHEMA_1X, &spec, &d, 1), RPC_INTERNAL, "no Linux message at all");
}

Test(device, swapped_numbers)
{
	Grpc__Device d[2] = {
		device("mmioblk", "", node("a", S_IFBLK, 240, 20), "/dev/c1"),
		device("blk", "", node("b", S_IFBLK, 240, 10), "/dev/c2"),
	};

	set_device(0, "/dev/c1", "b", 240, 10); /* the host's numbers, crossed */
	set_device(1, "/dev/c2", "b", 240, 20);
	set_device(2, "/dev/c3", "c", 240, 10);
	lx.n_devices = 3;
	set_rule(0, "b", 240, 10);
	set_rule(1, "b", 240, 20);
	set_rule(2, "c", 240, 10); /* a character device of the same numbers */
	set_rule(3, "b", 240, -1);
	resources.n_devices = 4;
	cr_assert_eq(add(SCHEMA_1X, &spec, d, 2), RPC_OK, "%s", outcome.msg);
	cr_assert_eq(devs[0].minor, 20);
	cr_assert_eq(devs[1].minor, 10);
	cr_assert_eq(devs[2].minor, 10);
	cr_assert_eq(rules[0].minor, 20);
	cr_assert_eq(rules[1].minor, 10);
	cr_assert_eq(rules[2].minor, 10);
	cr_assert_eq(rules[3].minor, -1);
	cr_assert_eq(resources.n_devices, 4);
}

Test(device, without_resources_or_with_3x_rule)
{
	Grpc__Device d = device("nvdimm", "", node("p", S_IFBLK, 241, 7), "/dev/c1");

	set_device(0, "/dev/c1", "b", 8, 0);
	lx.n_devices = 1;
	lx.resources = NULL;
	cr_assert_eq(add(SCHEMA_1X, &spec, &d, 1), RPC_OK, "%s", outcome.msg);
	cr_assert_eq(devs[0].major, 241);
	cr_assert_null(lx.resources);
	cr_assert_eq(add(SCHEMA_3X, &spec, &d, 1), RPC_OK, "%s", outcome.msg);
	cr_assert_not_null(lx.resources);
	cr_assert_eq(lx.resources->n_devices, 1);
	cr_assert_eq(lx.resources->devices[0]->minor, 7);
	cr_assert_str_eq(lx.resources->devices[0]->access, "rwm");
	cr_assert(lx.resources->devices[0]->allow);
}

/* CVE-2020-2023, CVE-2026-24834 */
Test(device, the_root_disk_is_not_to_be_had)
{
	struct stat st;
	Grpc__Device d;

	cr_assert_eq(stat("/", &st), 0);
	d = device("nvdimm", "", node("root", S_IFBLK, major(st.st_dev), minor(st.st_dev)),
		   "/dev/c1");
	set_device(0, "/dev/c1", "b", 8, 0);
	lx.n_devices = 1;
	cr_assert_eq(add(SCHEMA_1X, &spec, &d, 1), RPC_PERMISSION_DENIED);
	cr_assert_eq(devs[0].major, 8);
}

Test(device, times_out)
{
	Grpc__Device d = device("blk", "1e.5", "", "/dev/c1");

	if (access("/sys/bus/pci/rescan", W_OK) < 0)
		cr_skip_test("no PCI here");
	cr_assert_eq(add(SCHEMA_1X, &spec, &d, 1), RPC_DEADLINE_EXCEEDED, "%s", outcome.msg);
}

/* 1.x: the bus is scanned before each container, also when no device is asked for; 3.x: never. */
Test(device, a_rescan_for_1x)
{
	char dir[] = "/tmp/test_device.XXXXXX", file[64], text[8];

	cr_assert_not_null(mkdtemp(dir));
	uevents_free(agent.uevents);
	cr_assert_eq(uevents_new_at(agent.loop, agent.reaper, dir, dir, &agent.uevents), 0);
	cr_assert_eq(add(SCHEMA_1X, &spec, NULL, 0), RPC_OK, "a guest without PCI");
	(void)snprintf(file, sizeof(file), "%s/bus/pci", dir);
	cr_assert_eq(fdio_mkdirs(file, 0755), 0);
	(void)snprintf(file, sizeof(file), "%s/bus/pci/rescan", dir);
	cr_assert_eq(mknod(file, S_IFREG | 0600, 0), 0);
	cr_assert_eq(add(SCHEMA_3X, &spec, NULL, 0), RPC_OK);
	cr_assert_eq(fdio_read_file(AT_FDCWD, file, text, sizeof(text)), 0, "3.x");
	cr_assert_eq(add(SCHEMA_1X, &spec, NULL, 0), RPC_OK);
	cr_assert_eq(fdio_read_file(AT_FDCWD, file, text, sizeof(text)), 1, "1.x");
	cr_assert_str_eq(text, "1");
	(void)fdio_remove_tree(AT_FDCWD, dir);
}
