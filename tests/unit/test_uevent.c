/* SPDX-License-Identifier: Apache-2.0 */
// ldflags: -Wl,--wrap=recvmsg -Wl,--wrap=mnl_socket_get_fd
/*
 * Uevents and the search for devices, in a made-up sysfs: who is found, who is not, who waits, and
 * that every waiter is told exactly once.
 */
#include "linux/uevent.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <linux/netlink.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "linux/devfind.h"
#include "linux/hotplug.h"

/* The kernel's side of the socket, where a test wants to have it. */
static int kernel = FD_NONE, kernel_peer = FD_NONE;
static bool overrun; /* events are lost, once */
static unsigned int kernel_pid;

struct mnl_socket;
int __real_mnl_socket_get_fd(const struct mnl_socket *s);
int __wrap_mnl_socket_get_fd(const struct mnl_socket *s);
int __wrap_mnl_socket_get_fd(const struct mnl_socket *s)
{
	return kernel_peer >= 0 ? kernel_peer : __real_mnl_socket_get_fd(s);
}

ssize_t __real_recvmsg(int fd, struct msghdr *head, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *head, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *head, int flags)
{
	ssize_t n;

	if (overrun) {
		overrun = false;
		errno = ENOBUFS;
		return -1;
	}
	n = __real_recvmsg(fd, head, flags);
	if (fd == kernel_peer && head->msg_name)
		*(struct sockaddr_nl *)head->msg_name =
			(struct sockaddr_nl){ .nl_family = AF_NETLINK, .nl_pid = kernel_pid };
	return n;
}

static char dir[] = "/tmp/test_uevent.XXXXXX";
static struct loop *loop;
static struct reaper *reaper;
static struct uevents *u;

static const char *at(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static const char *at(const char *fmt, ...)
{
	static char whole[2][512];
	static int turn;
	char *p = whole[turn = !turn];
	int n = snprintf(p, 512, "%s/", dir);
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(p + n, 512 - (size_t)n, fmt, ap);
	va_end(ap);
	return p;
}

static void put(const char *path, const char *text)
{
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	cr_assert_geq(fd, 0, "%s", path);
	cr_assert_eq(fdio_write_all(fd, text, strlen(text)), 0);
}

/* A device below devices/<path>/<name>, with its entry in /sys/class. */
static void device(const char *class, const char *path, const char *name, const char *uevent)
{
	char link[512];

	cr_assert_eq(fdio_mkdirs(at("sys/devices/%s/%s", path, name), 0755), 0);
	put(at("sys/devices/%s/%s/uevent", path, name), uevent);
	(void)snprintf(link, sizeof(link), "../../devices/%s/%s", path, name);
	cr_assert_eq(symlink(link, at("sys/class/%s/%s", class, name)), 0);
}

/* With its node, which only root can make. */
static void disk(const char *path, const char *name, unsigned int minor, const char *type)
{
	char text[200];

	(void)snprintf(text, sizeof(text), "MAJOR=240\nMINOR=%u\nDEVNAME=%s\nDEVTYPE=%s\n", minor,
		       name, type);
	device("block", path, name, text);
	if (mknod(at("dev/%s", name), S_IFBLK | 0600, makedev(240, minor)) < 0)
		cr_skip_test("needs mknod");
}

static void setup(void)
{
	cr_assert_not_null(mkdtemp(dir));
	cr_assert_eq(fdio_mkdirs(at("sys/class/block"), 0755), 0);
	cr_assert_eq(fdio_mkdirs(at("sys/class/net"), 0755), 0);
	cr_assert_eq(fdio_mkdirs(at("dev"), 0755), 0);
	cr_assert_eq(loop_new(&loop), 0);
	cr_assert_eq(reaper_new(loop, &reaper), 0);
	cr_assert_eq(uevents_new_at(loop, reaper, at("sys"), at("dev"), &u), 0);
}

/* With a kernel of our own. */
static void setup_kernel(void)
{
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
	kernel = fds[0];
	kernel_peer = fds[1];
	setup();
}

static void teardown(void)
{
	uevents_free(u);
	reaper_free(reaper);
	loop_free(loop);
	(void)fdio_remove_tree(AT_FDCWD, dir);
}

TestSuite(uevent, .init = setup, .fini = teardown, .timeout = 20);

Test(uevent, parses)
{
	static const char add[] =
		"add@/devices/x/block/vda\0ACTION=add\0DEVPATH=/devices/x/block/vda\0"
		"SUBSYSTEM=block\0MAJOR=254\0DEVNAME=vda\0DEVTYPE=disk\0SEQNUM=12";
	struct uevent e;

	cr_assert(uevent_parse(add, sizeof(add), &e));
	cr_assert_str_eq(e.action, "add");
	cr_assert_str_eq(e.devpath, "/devices/x/block/vda");
	cr_assert_str_eq(e.subsystem, "block");
	cr_assert_str_eq(e.devname, "vda");
	cr_assert_str_eq(e.interface, "");
	cr_assert_not(uevent_parse(add, sizeof(add) - 1, &e), "not terminated");
	cr_assert_not(uevent_parse("libudev\0\xfe\xed", 11, &e), "udev's own messages");
	cr_assert_not(uevent_parse("", 0, &e));
	cr_assert_not(uevent_parse("add@/x", 7, &e), "no keys");
	for (size_t len = 0; len < sizeof(add); len++) { /* any cut, in memory of its size */
		char *copy = malloc(len + 1);

		cr_assert_not_null(copy);
		(void)memcpy(copy, add, len);
		copy[len] = '\0';
		(void)uevent_parse(copy, len + 1, &e);
		(void)uevent_parse(copy, len, &e);
		free(copy);
	}
}

Test(uevent, matches_paths)
{
	struct dev_match m = { .subsystem = "block", .path = "/0000:00:02.0/" };

	cr_assert(
		dev_match_path(&m, "block", "/devices/pci0000:00/0000:00:02.0/virtio3/block/vda"));
	cr_assert_not(
		dev_match_path(&m, "net", "/devices/pci0000:00/0000:00:02.0/virtio3/block/vda"));
	cr_assert_not(
		dev_match_path(&m, "block",
			       "/devices/pci0000:00/0000:00:02.0/0000:01:03.0/virtio3/block/vda"),
		"another device, behind the bridge in that slot");
	cr_assert_not(
		dev_match_path(&m, "block", "/devices/pci0000:00/0000:00:12.0/virtio3/block/vda"));
}

Test(uevent, prefers_the_disk)
{
	struct dev_match m = { .subsystem = "block", .path = "/0000:00:02.0/" };
	char name[DEV_NAME_MAX];

	cr_assert_not(uevents_lookup(u, &m, name));
	disk("pci0000:00/0000:00:02.0/virtio3/block/vdb", "vdb1", 17, "partition");
	cr_assert_not(uevents_lookup(u, &m, name));
	disk("pci0000:00/0000:00:02.0/virtio3/block", "vdb", 16, "disk");
	disk("pci0000:00/0000:00:03.0/virtio4/block", "vda", 0, "disk");
	cr_assert(uevents_lookup(u, &m, name));
	cr_assert_str_eq(name, "vdb");
	m = (struct dev_match){ .subsystem = "block", .name = "vdb1" };
	cr_assert(uevents_lookup(u, &m, name), "a partition by its name");
}

Test(uevent, needs_the_right_node)
{
	struct dev_match m = { .subsystem = "block", .name = "vdc" };
	char name[DEV_NAME_MAX];

	disk("x/block", "vdc", 5, "disk");
	cr_assert(uevents_lookup(u, &m, name));
	cr_assert_eq(unlink(at("dev/vdc")), 0);
	cr_assert_not(uevents_lookup(u, &m, name), "sysfs is earlier than /dev");
	put(at("dev/vdc"), "");
	cr_assert_not(uevents_lookup(u, &m, name), "a regular file");
	cr_assert_eq(unlink(at("dev/vdc")), 0);
	cr_assert_eq(mknod(at("dev/vdc"), S_IFBLK | 0600, makedev(240, 6)), 0);
	cr_assert_not(uevents_lookup(u, &m, name), "another device's numbers");
}

Test(uevent, does_not_leave_dev)
{
	struct dev_match m = { .subsystem = "block" };
	char name[DEV_NAME_MAX];

	device("block", "y/block", "vdd", "MAJOR=240\nMINOR=9\nDEVNAME=../dev/vdd\nDEVTYPE=disk\n");
	if (mknod(at("dev/vdd"), S_IFBLK | 0600, makedev(240, 9)) < 0)
		cr_skip_test("needs mknod");
	cr_assert_not(uevents_lookup(u, &m, name));
}

struct told {
	struct uevent_wait wait;
	int times;
	char name[DEV_NAME_MAX];
};

static int to_tell;

static void tell(struct uevent_wait *w, const char *name)
{
	struct told *t = container_of(w, struct told, wait);

	t->times++;
	(void)snprintf(t->name, sizeof(t->name), "%s", name ? name : "(none)");
	if (--to_tell == 0)
		loop_stop(loop);
}

Test(uevent, tells_all_waiters_later)
{
	struct dev_match m = { .subsystem = "net", .path = "/0000:00:04.0/" };
	struct told a = { .times = 0 }, b = { .times = 0 };

	device("net", "pci0000:00/0000:00:04.0/virtio1/net", "eth0", "INTERFACE=eth0\nIFINDEX=2\n");
	to_tell = 2;
	uevent_wait(u, &a.wait, &m, 1000, tell);
	uevent_wait(u, &b.wait, &m, 1000, tell);
	cr_assert_eq(a.times + b.times, 0, "not before it returns");
	cr_assert_eq(loop_run(loop), 0);
	cr_assert_eq(a.times, 1);
	cr_assert_eq(b.times, 1);
	cr_assert_str_eq(a.name, "eth0");
	cr_assert_str_eq(b.name, "eth0");
	cr_assert_null(a.wait.u);
}

static void plug(struct timer *t)
{
	(void)t;
	device("net", "pci0000:00/0000:00:05.0/virtio1/net", "eth1", "INTERFACE=eth1\nIFINDEX=3\n");
}

Test(uevent, looks_once_more_before_it_gives_up)
{
	struct dev_match m = { .subsystem = "net", .path = "/0000:00:05.0/" };
	struct told a = { .times = 0 }, b = { .times = 0 };
	struct timer t = { .loop = NULL };

	to_tell = 2;
	uevent_wait(u, &a.wait, &m, 40, tell);
	uevent_wait(u, &b.wait, &m, 5, tell);
	timer_set(loop, &t, 15, plug);
	cr_assert_eq(loop_run(loop), 0);
	cr_assert_str_eq(a.name, "eth1");
	cr_assert_str_eq(b.name, "(none)");
}

static void lose(struct timer *t)
{
	plug(t);
	overrun = true;
	cr_assert_eq(write(kernel, "x", 1), 1);
}

Test(uevent_kernel, looks_again_when_events_were_lost, .init = setup_kernel, .fini = teardown,
     .timeout = 20)
{
	struct dev_match m = { .subsystem = "net", .path = "/0000:00:05.0/" };
	struct told a = { .times = 0 };
	struct timer t = { .loop = NULL };
	int64_t began = loop_now_ms();

	to_tell = 1;
	uevent_wait(u, &a.wait, &m, 10000, tell);
	timer_set(loop, &t, 15, lose);
	cr_assert_eq(loop_run(loop), 0);
	cr_assert_str_eq(a.name, "eth1");
	cr_assert_lt(loop_now_ms() - began, 5000, "at once");
}

static void announce(struct timer *t)
{
	static const char event[] =
		"add@/devices/pci0000:00/0000:00:05.0/virtio1/net/eth1\0ACTION=add\0"
		"DEVPATH=/devices/pci0000:00/0000:00:05.0/virtio1/net/eth1\0SUBSYSTEM=net\0INTERFACE=eth1";

	plug(t);
	cr_assert_eq(write(kernel, event, sizeof(event)), (ssize_t)sizeof(event));
}

/* How long a waiter waits for a device whose event comes at once, from there. */
static int64_t heard_after(unsigned int from)
{
	struct dev_match m = { .subsystem = "net", .path = "/0000:00:05.0/" };
	struct told a = { .times = 0 };
	struct timer t = { .loop = NULL };
	int64_t began = loop_now_ms();

	to_tell = 1;
	kernel_pid = from;
	uevent_wait(u, &a.wait, &m, 1500, tell);
	timer_set(loop, &t, 5, announce);
	cr_assert_eq(loop_run(loop), 0);
	cr_assert_str_eq(a.name, "eth1");
	return loop_now_ms() - began;
}

Test(uevent_kernel, hears_the_kernel, .init = setup_kernel, .fini = teardown, .timeout = 20)
{
	cr_expect_lt(heard_after(0), 1400);
}

Test(uevent_kernel, hears_nobody_else, .init = setup_kernel, .fini = teardown, .timeout = 20)
{
	cr_expect_geq(heard_after(4711), 1400, "only the last look finds it");
}

Test(uevent, cancelled_is_silent)
{
	struct dev_match m = { .subsystem = "net", .path = "/0000:00:06.0/" };
	struct told a = { .times = 0 }, b = { .times = 0 };

	device("net", "pci0000:00/0000:00:06.0/virtio1/net", "eth2", "INTERFACE=eth2\nIFINDEX=4\n");
	to_tell = 1;
	uevent_wait(u, &a.wait, &m, 1000, tell);
	uevent_wait(u, &b.wait, &m, 1000, tell);
	uevent_wait_cancel(&a.wait);
	uevent_wait_cancel(&a.wait);
	cr_assert_eq(loop_run(loop), 0);
	cr_assert_eq(a.times, 0);
	cr_assert_eq(b.times, 1);
}

static char found[DEV_NAME_MAX];
static struct err found_err;

static void on_found(struct dev_find *f, const char *name, const struct err *err)
{
	cr_assert_null(f->u);
	(void)snprintf(found, sizeof(found), "%s", name ? name : "");
	found_err = *err;
	loop_stop(loop);
}

Test(devfind, finds_cold_plugged, .init = setup, .fini = teardown, .timeout = 20)
{
	struct dev_find f = { .u = NULL };
	struct err err = { 0 };

	cr_assert_eq(fdio_mkdirs(at("sys/devices/pci0000:00/0000:00:02.0/pci_bus/0000:01"), 0755),
		     0);
	disk("pci0000:00/0000:00:02.0/0000:01:03.0/virtio2/block", "vdx", 32, "disk");
	cr_assert_eq(dev_find(&f, u, DEV_PCI_BLOCK, "02/03", 1000, on_found, &err), 0);
	cr_assert_eq(loop_run(loop), 0);
	cr_assert_str_eq(found, "vdx");
}

Test(devfind, rescans_for_what_is_not_there, .init = setup, .fini = teardown, .timeout = 20)
{
	struct dev_find f = { .u = NULL };
	struct err err = { 0 };
	char text[8];

	cr_assert_eq(dev_find(&f, u, DEV_PCI_NET, "07", 300, on_found, &err), 0);
	cr_assert_eq(loop_run(loop), 0);
	cr_assert_eq(found_err.code, ENOENT, "the rescan failed: %s", found_err.msg);

	cr_assert_eq(fdio_mkdirs(at("sys/bus/pci"), 0755), 0);
	put(at("sys/bus/pci/rescan"), "");
	cr_assert_eq(dev_find(&f, u, DEV_PCI_NET, "07", 300, on_found, &err), 0);
	cr_assert_eq(loop_run(loop), 0);
	cr_assert_eq(found_err.code, ETIMEDOUT);
	cr_assert_str_eq(found_err.msg,
			 "Timeout reached after 300ms waiting for device /0000:00:07.0/");
	cr_assert_eq(fdio_read_file(AT_FDCWD, at("sys/bus/pci/rescan"), text, sizeof(text)), 1);
	cr_assert_str_eq(text, "1");
}

Test(devfind, scans_scsi_hosts, .init = setup, .fini = teardown, .timeout = 20)
{
	struct dev_find f = { .u = NULL };
	struct err err = { 0 };
	char text[32];

	cr_assert_eq(fdio_mkdirs(at("sys/class/scsi_host/host0"), 0755), 0);
	put(at("sys/class/scsi_host/host0/scan"), "");
	cr_assert_eq(dev_find(&f, u, DEV_SCSI, "1:2", 1200, on_found, &err), 0);
	cr_assert_eq(loop_run(loop), 0);
	cr_assert_str_eq(found_err.msg,
			 "Timeout reached after 1.2s waiting for device /0:0:1:2/block/");
	cr_assert_gt(
		fdio_read_file(AT_FDCWD, at("sys/class/scsi_host/host0/scan"), text, sizeof(text)),
		0);
	cr_assert_str_eq(text, "0 1 2");
	disk("pci0000:00/0000:00:03.0/virtio0/host0/target0:0:1/0:0:1:2/block", "sda", 48, "disk");
	cr_assert_eq(dev_find(&f, u, DEV_SCSI, "1:2", 1200, on_found, &err), 0);
	cr_assert_eq(loop_run(loop), 0);
	cr_assert_str_eq(found, "sda");
	cr_assert_eq(dev_find(&f, u, DEV_SCSI, "1", 1200, on_found, &err), -EINVAL);
}

Test(devfind, addresses)
{
	static const char *const ccw[] = { "0.0.0000", "0.3.abcd", "0.1.00FF" };
	static const char *const bad_ccw[] = { "",	    "0.0.0",	 "fe.0.0000",  "0.5.0000",
					       "0.1.fffff", "0.-1.0000", "0.0.0000.0", "0.0",
					       "0.0.00g0",  "1.0.0000" };
	static const char *const bad_scsi[] = { "",	 "1",	"1:",	":1",
						"1:2:3", "a:b", "-1:0", "99999999999:0" };
	unsigned int id, lun;
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(ccw); i++)
		cr_assert_eq(dev_ccw_check(ccw[i], &err), 0, "%s", ccw[i]);
	for (size_t i = 0; i < ARRAY_LEN(bad_ccw); i++)
		cr_assert_eq(dev_ccw_check(bad_ccw[i], &err), -EINVAL, "%s", bad_ccw[i]);
	for (size_t i = 0; i < ARRAY_LEN(bad_scsi); i++)
		cr_assert_eq(dev_scsi_parse(bad_scsi[i], &id, &lun, &err), -EINVAL, "%s",
			     bad_scsi[i]);
	cr_assert_eq(dev_scsi_parse("3:14", &id, &lun, &err), 0);
	cr_assert_eq(id, 3);
	cr_assert_eq(lun, 14);
}
