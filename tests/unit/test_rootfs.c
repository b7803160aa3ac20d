/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/fs/rootfs.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oci/fs/impl.h"
#include "base/auto.h"
#include "base/err.h"
#include "base/limits.h"

/* Making roots needs privileges: tests/ns/test_rootfs.sh. */

static struct {
	Grpc__Spec spec;
	Grpc__Root root;
	Grpc__Linux linux_;
	Grpc__LinuxNamespace mnt, net;
	Grpc__LinuxNamespace *namespaces[2];
	Grpc__Linux__SysctlEntry sysctl;
	Grpc__Linux__SysctlEntry *sysctls[1];
	Grpc__LinuxDevice device;
	Grpc__LinuxDevice *devices[1];
	char *paths[1];
	char dir[64], mount[8], network[8], path[256], text[256];
} t;
static struct err err;

static void setup(void)
{
	(void)snprintf(t.dir, sizeof(t.dir), "/tmp/rootfs.XXXXXX");
	cr_assert_not_null(mkdtemp(t.dir));
	t.spec = (Grpc__Spec)GRPC__SPEC__INIT;
	t.root = (Grpc__Root)GRPC__ROOT__INIT;
	t.linux_ = (Grpc__Linux)GRPC__LINUX__INIT;
	t.mnt = t.net = (Grpc__LinuxNamespace)GRPC__LINUX_NAMESPACE__INIT;
	t.sysctl = (Grpc__Linux__SysctlEntry)GRPC__LINUX__SYSCTL_ENTRY__INIT;
	t.device = (Grpc__LinuxDevice)GRPC__LINUX_DEVICE__INIT;
	t.spec.root = &t.root;
	t.spec.linux = &t.linux_;
	t.root.path = t.dir;
	t.mnt.type = strcpy(t.mount, "mount");
	t.net.type = strcpy(t.network, "network");
	t.namespaces[0] = &t.mnt;
	t.namespaces[1] = &t.net;
	t.linux_.namespaces = t.namespaces;
	t.linux_.n_namespaces = 1;
	t.sysctls[0] = &t.sysctl;
	t.linux_.sysctl = t.sysctls;
	t.devices[0] = &t.device;
	t.linux_.devices = t.devices;
	t.paths[0] = t.path;
	t.linux_.maskedpaths = t.linux_.readonlypaths = t.paths;
}

static void teardown(void)
{
	(void)rmdir(t.dir);
}

TestSuite(rootfs, .init = setup, .fini = teardown);

static void expect(int want, const char *text)
{
	cr_expect_eq(rootfs_check(&t.spec, &err), want, "%s", err.msg);
	if (text)
		cr_expect_not_null(strstr(err.msg, text), "%s: %s", text, err.msg);
}

Test(rootfs, root)
{
	char bad[128];

	expect(0, NULL);
	t.spec.root = NULL;
	expect(-EINVAL, "Root must be specified");
	t.spec.root = &t.root;
	t.root.path = bad;
	(void)snprintf(bad, sizeof(bad), "%s/", t.dir);
	expect(0, NULL);
	(void)snprintf(bad, sizeof(bad), "%.60s", t.dir + 1);
	expect(-EINVAL, "not an absolute path");
	bad[0] = '\0';
	expect(-EINVAL, "Root must be specified");
}

Test(rootfs, without_a_mount_namespace)
{
	t.linux_.n_namespaces = 0;
	expect(0, NULL);
	t.root.readonly = 1;
	expect(-EINVAL, "need a mount namespace");
	t.root.readonly = 0;
	(void)snprintf(t.path, sizeof(t.path), "/proc/kcore");
	t.linux_.n_maskedpaths = 1;
	expect(-EINVAL, "need a mount namespace");
	t.spec.linux = NULL;
	expect(0, NULL);
}

Test(rootfs, counts_are_bounded)
{
	t.spec.n_mounts = LIMIT_MOUNTS + 1;
	expect(-EINVAL, "more than");
	t.spec.n_mounts = 0;
	t.linux_.n_maskedpaths = LIMIT_MOUNTS + 1;
	expect(-EINVAL, "more than");
	t.linux_.n_maskedpaths = 0;
	t.linux_.n_devices = LIMIT_MOUNTS + 1;
	expect(-EINVAL, "more than");
}

Test(rootfs, propagation)
{
	static const char *const good[] = { "",	       "private",    "rprivate",
					    "slave",   "rslave",     "shared",
					    "rshared", "unbindable", "runbindable" };

	t.linux_.rootfspropagation = t.text;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		(void)snprintf(t.text, sizeof(t.text), "%s", good[i]);
		expect(0, NULL);
	}
	(void)snprintf(t.text, sizeof(t.text), "public");
	expect(-EINVAL, "not known");
}

Test(rootfs, paths)
{
	static const char *const bad[] = { "", "proc", "/..", "/a/../b" };

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		(void)snprintf(t.path, sizeof(t.path), "%s", bad[i]);
		t.linux_.n_maskedpaths = 1;
		expect(-EINVAL, "masked path");
		t.linux_.n_maskedpaths = 0;
		t.linux_.n_readonlypaths = 1;
		expect(-EINVAL, "readonly path");
		t.linux_.n_readonlypaths = 0;
	}
	(void)snprintf(t.path, sizeof(t.path), "//."); /* the root: read-only, but never covered */
	t.linux_.n_maskedpaths = t.linux_.n_readonlypaths = 1;
	expect(0, NULL);
	(void)snprintf(t.path, sizeof(t.path), "/proc/sys/");
	t.linux_.n_maskedpaths = t.linux_.n_readonlypaths = 1;
	expect(0, NULL);
}

Test(rootfs, devices)
{
	static const struct {
		const char *path, *type;
		int64_t major, minor;
		const char *text; /* NULL: fine */
	} rows[] = {
		{ "/dev/x", "c", 1, 3, NULL },
		{ "/dev/x", "u", 1, 3, NULL },
		{ "/dev/x", "b", 4095, 1048575, NULL },
		{ "/dev/x", "p", -1, -1, NULL },
		{ "/opt/x", "c", 0, 0, NULL },
		{ "/dev/x", "a", 1, 3, "invalid type" },
		{ "/dev/x", "", 1, 3, "invalid type" },
		{ "/dev/x", "c", -1, 3, "invalid number" },
		{ "/dev/x", "b", 4096, 3, "invalid number" },
		{ "/dev/x", "b", 1, 1048576, "invalid number" },
		{ "dev/x", "c", 1, 3, "plain absolute" },
		{ "/dev/../x", "c", 1, 3, "plain absolute" },
		{ "/", "c", 1, 3, "plain absolute" },
		{ "", "c", 1, 3, "plain absolute" },
	};

	t.linux_.n_devices = 1;
	t.device.path = t.path;
	t.device.type = t.text;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		(void)snprintf(t.path, sizeof(t.path), "%s", rows[i].path);
		(void)snprintf(t.text, sizeof(t.text), "%s", rows[i].type);
		t.device.major = rows[i].major;
		t.device.minor = rows[i].minor;
		expect(rows[i].text ? -EINVAL : 0, rows[i].text);
	}
}

Test(rootfs, sysctls)
{
	static const struct {
		const char *key;
		bool net;	  /* with a network namespace */
		const char *text; /* NULL: fine */
	} rows[] = {
		{ "kernel.msgmax", false, NULL },
		{ "kernel.msgmnb", false, NULL },
		{ "kernel.msgmni", false, NULL },
		{ "kernel.sem", false, NULL },
		{ "kernel.shmall", false, NULL },
		{ "kernel.shmmax", false, NULL },
		{ "kernel.shmmni", false, NULL },
		{ "kernel.shm_rmid_forced", false, NULL },
		{ "kernel.domainname", false, NULL },
		{ "fs.mqueue.msg_max", false, NULL },
		{ "kernel/shmmax", false, NULL },
		{ "net.ipv4.ip_forward", true, NULL },
		{ "net/ipv4/conf/eth0.1/forwarding", true, NULL },
		{ "net.ipv4.conf.eth0/1.forwarding", true, NULL },
		{ "net.ipv4.ip_forward", false, NULL }, /* the guest's: a guest has one pod */
		{ "kernel.hostname", false, "hostname field" },
		{ "kernel/hostname", false, "hostname field" },
		{ "kernel.core_pattern", false, "not in a separate" },
		{ "kernel.shmmaxx", false, "not in a separate" },
		{ "kernel", false, "not in a separate" },
		{ "fs.file-max", false, "not in a separate" },
		{ "fs.mqueue", false, "not in a separate" },
		{ "vm.swappiness", true, "not in a separate" },
		{ "net.//.kernel.core_pattern", true, "no valid name" },
		{ "fs.mqueue.//.//.kernel.core_pattern", true, "no valid name" },
		{ "net/../kernel/core_pattern", true, "no valid name" },
		{ "", true, "empty" },
	};

	t.linux_.n_sysctl = 1;
	t.sysctl.key = t.text;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		(void)snprintf(t.text, sizeof(t.text), "%s", rows[i].key);
		t.linux_.n_namespaces = rows[i].net ? 2 : 1;
		expect(rows[i].text ? -EINVAL : 0, rows[i].text);
	}
	memset(t.text, 'k', sizeof(t.text) - 1);
	t.text[sizeof(t.text) - 1] = '\0';
	expect(-EINVAL, NULL);
}

/* Even if an unchecked name came through: openat2 keeps the write below proc/sys' links and mounts. */
Test(rootfs, sysctl_paths_stay_in_proc)
{
	char value[] = "1";

	t.linux_.n_sysctl = 1;
	t.sysctl.key = t.text;
	t.sysctl.value = value;
	(void)snprintf(t.text, sizeof(t.text), "net.//.//.//.tmp.x");
	{
		AUTO_CLOSE int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);

		cr_assert_geq(proc, 0);
		cr_expect_lt(sysctl_apply(proc, &t.linux_, &err), 0);
	}
}
