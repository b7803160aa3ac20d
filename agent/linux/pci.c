/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI paths. No state.
 */
#include "linux/pci.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/str.h"

#define NUMA_ROOT_MIN 0x20
#define SLOT_MAX      0x1f
#define FUNCTION_MAX  7
#define ROOT_MAX      192

static int hex_digit(char c)
{
	const char *digits = "0123456789abcdef";
	const char *p = c ? strchr(digits, c | (c >= 'A' ? 0x20 : 0)) : NULL;

	return p ? (int)(p - digits) : -1;
}

/* One or two digits; *s moves behind them. */
static int hex_byte(const char **s)
{
	int v = hex_digit(**s), low;

	if (v < 0)
		return -1;
	low = hex_digit(*++*s);
	if (low >= 0) {
		v = v * 16 + low;
		++*s;
	}
	return v;
}

int pci_path_parse(const char *text, struct pci_path *ret, struct err *err)
{
	struct pci_path p = { 0 };
	size_t elements = 1;

	for (const char *s = text; *s; s++)
		elements += *s == '/';
	for (const char *s = text;; s++) {
		int slot = hex_byte(&s), function = 0;

		if (slot >= 0 && *s == '.') {
			s++;
			function = hex_byte(&s);
		}
		if (p.n == 0 && p.root == 0 && elements >= 3 && slot >= NUMA_ROOT_MIN &&
		    *s == '/') {
			p.root = (unsigned int)slot;
			continue;
		}
		if (slot < 0 || slot > SLOT_MAX || function < 0 || function > FUNCTION_MAX ||
		    (*s && *s != '/') || p.n == LIMIT_PCI_PATH)
			return err_set(err, EINVAL, "'%s' is not a PCI path", text);
		p.at[p.n].slot = (uint8_t)slot;
		p.at[p.n++].function = (uint8_t)function;
		if (!*s)
			break;
	}
	*ret = p;
	return 0;
}

/* Where the root bus is: on arm64 perhaps below a platform device. */
static void find_root(int sys, unsigned int number, char root[ROOT_MAX])
{
	AUTO_DIR DIR *d = NULL;
	struct dirent *e;
	struct stat st;
	int fd;

	(void)snprintf(root, ROOT_MAX, "devices/pci0000:%02x", number);
	if (fstatat(sys, root, &st, 0) == 0)
		return;
	fd = openat(sys, "devices/platform", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		if (fd >= 0)
			(void)close(fd);
		return;
	}
	while ((e = readdir(d))) {
		size_t len = strlen(e->d_name);
		char path[ROOT_MAX];

		if (len < 5 || len > 128 || !str_eq(e->d_name + len - 5, ".pcie"))
			continue;
		(void)snprintf(path, sizeof(path), "devices/platform/%.128s/pci0000:%02x",
			       e->d_name, number);
		if (fstatat(sys, path, &st, 0) == 0) {
			(void)memcpy(root, path, sizeof(path));
			return;
		}
	}
}

/* The name of the one bus behind a bridge. */
static int next_bus(int sys, const char *bridge, char bus[16], struct err *err)
{
	char path[ROOT_MAX + PCI_REL_MAX + 16];
	AUTO_DIR DIR *d = NULL;
	struct dirent *e;
	unsigned int n = 0;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/pci_bus", bridge);
	fd = openat(sys, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(err, errno, "Error reading /sys/%s", path);
	d = fdopendir(fd);
	if (!d) {
		(void)close(fd);
		return err_sys(err, ENOMEM, "Error reading /sys/%s", path);
	}
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		n++;
		(void)snprintf(bus, 16, "%.15s", e->d_name);
	}
	if (n != 1)
		return err_set(err, n ? EINVAL : ENOENT,
			       "Expected exactly one PCI bus in /sys/%s, got %u instead", path, n);
	return 0;
}

int pci_resolve(int sys, const struct pci_path *path, char rel[PCI_REL_MAX], struct err *err)
{
	char root[ROOT_MAX], bus[16], bridge[ROOT_MAX + PCI_REL_MAX + 2], done[PCI_REL_MAX] = "";
	size_t len = 0;

	find_root(sys, path->root, root);
	(void)snprintf(bus, sizeof(bus), "0000:%02x", path->root & 0xff);
	for (size_t i = 0; i < path->n; i++) {
		int r;

		len += (size_t)snprintf(done + len, sizeof(done) - len, "%s%s:%02x.%x",
					i ? "/" : "", bus, path->at[i].slot, path->at[i].function);
		if (len >= sizeof(done))
			return err_set(err, ENAMETOOLONG, "PCI path of %zu elements", path->n);
		if (i + 1 == path->n)
			break;
		(void)snprintf(bridge, sizeof(bridge), "%s/%s", root, done);
		r = next_bus(sys, bridge, bus, err);
		if (r < 0)
			return r;
	}
	(void)memcpy(rel, done, sizeof(done));
	return 0;
}

int pci_rescan(int sys, struct err *err)
{
	int r = fdio_write_file(sys, PCI_RESCAN, "1");

	return r < 0 ? err_sys(err, -r, "write /sys/" PCI_RESCAN) : 0;
}

/* So many hexadecimal digits at most, and what ends them; sscanf would be 120 kB of the program. */
static bool pci_digits(const char **at, size_t max, char end, unsigned int *ret)
{
	size_t n = strspn(*at, "0123456789abcdefABCDEF");

	if (n == 0 || n > max || (*at)[n] != end)
		return false;
	*ret = (unsigned int)strtoul(*at, NULL, 16);
	*at += n + (end != '\0');
	return true;
}

int pci_address(const char *text, size_t len, char ret[PCI_ADDRESS_MAX])
{
	unsigned int domain, bus, slot, function = 0;
	char buf[PCI_ADDRESS_MAX];
	const char *at = buf;
	bool whole;

	if (len >= sizeof(buf) || strspn(text, "0123456789abcdefABCDEF:.") < len)
		return -EINVAL;
	(void)memcpy(buf, text, len);
	buf[len] = '\0';
	whole = strchr(buf, '.');
	if (!pci_digits(&at, 4, ':', &domain) || !pci_digits(&at, 2, ':', &bus) ||
	    !pci_digits(&at, 2, whole ? '.' : '\0', &slot) ||
	    (whole && !pci_digits(&at, 1, '\0', &function)))
		return -EINVAL;
	if (slot > SLOT_MAX || function > FUNCTION_MAX)
		return -EINVAL;
	(void)snprintf(ret, PCI_ADDRESS_MAX, "%04x:%02x:%02x.%x", domain & 0xffff, bus & 0xff, slot,
		       function);
	return 0;
}

static int pci_iommu_group(int sys, const char *address, unsigned int *ret, struct err *err)
{
	char path[64], link[256];
	const char *base;
	uint64_t group;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "bus/pci/devices/%s/iommu_group", address);
	n = readlinkat(sys, path, link, sizeof(link) - 1);
	if (n <= 0)
		return err_set(err, ENODEV, "%s has no IOMMU group", address);
	link[n] = '\0';
	base = strrchr(link, '/');
	if (str_u64(base ? base + 1 : link, UINT32_MAX, &group) < 0)
		return err_set(err, EINVAL, "IOMMU group '%s' of %s", link, address);
	*ret = (unsigned int)group;
	return 0;
}

int pci_give_to_vfio(int sys, const char *address, unsigned int *ret_group, struct err *err)
{
	static const char ours[] = "vfio-pci";
	char path[80], driver[256];
	ssize_t n;
	int r = pci_iommu_group(sys, address, ret_group, err);

	if (r < 0)
		return r;
	(void)snprintf(path, sizeof(path), "bus/pci/devices/%s/driver", address);
	n = readlinkat(sys, path, driver, sizeof(driver) - 1);
	driver[n > 0 ? n : 0] = '\0';
	if (str_eq(strrchr(driver, '/') ? strrchr(driver, '/') + 1 : driver, ours))
		return 0;
	(void)snprintf(path, sizeof(path), "bus/pci/devices/%s/driver_override", address);
	r = fdio_write_file(sys, path, ours);
	if (r < 0)
		return err_sys(err, -r, "write '%s' to /sys/%s", ours, path);
	(void)snprintf(path, sizeof(path), "bus/pci/devices/%s/driver/unbind", address);
	r = *driver ? fdio_write_file(sys, path, address) : 0;
	if (r < 0)
		return err_sys(err, -r, "write '%s' to /sys/%s", address, path);
	r = fdio_write_file(sys, "bus/pci/drivers_probe", address);
	return r < 0 ? err_sys(err, -r, "%s: no driver vfio-pci takes it", address) : 0;
}
