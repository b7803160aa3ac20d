/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device nodes. No state. /dev must be a real directory, nodes are made by name in the fd of their
 * directory, and what a name already stands for is only looked at, never followed.
 */

#include "oci/fs/impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "oci/fs/tree.h"
#include "linux/path.h"
#include "linux/rootdisk.h"
#include "base/auto.h"
#include "base/err.h"
#include "base/str.h"

#define MAJOR_MAX 0xfff /* the kernel's 12 and 20 bits */
#define MINOR_MAX 0xfffff

struct node {
	const char *path;
	mode_t mode; /* S_IFMT bits included */
	dev_t dev;
	uid_t uid;
	gid_t gid;
};

static const struct {
	const char *path;
	unsigned int minor; /* of major 1 or 5 */
	unsigned int major;
} default_nodes[] = {
	{ "/dev/null", 3, 1 }, { "/dev/zero", 5, 1 },	{ "/dev/full", 7, 1 },
	{ "/dev/tty", 0, 5 },  { "/dev/random", 8, 1 }, { "/dev/urandom", 9, 1 },
};

static const struct {
	const char *name, *target;
	const char *needs; /* only if the guest has this */
} links[] = {
	{ "fd", "/proc/self/fd", NULL },	  { "stdin", "/proc/self/fd/0", NULL },
	{ "stdout", "/proc/self/fd/1", NULL },	  { "stderr", "/proc/self/fd/2", NULL },
	{ "core", "/proc/kcore", "/proc/kcore" },
};

/* S_IFMT bits of a device type of the specification; 0: no such type. */
static mode_t node_type(const char *type)
{
	if (str_eq(type, "c") || str_eq(type, "u"))
		return S_IFCHR;
	if (str_eq(type, "b"))
		return S_IFBLK;
	return str_eq(type, "p") ? S_IFIFO : 0;
}

int devnode_check(const Grpc__LinuxDevice *dev, struct err *err)
{
	char clean[LIMIT_PATH];

	if (!node_type(dev->type))
		return err_set(err, EINVAL, "device '%s': invalid type '%s', not one of c, u, b, p",
			       dev->path, dev->type);
	if (dev->path[0] != '/' || path_has_dotdot(dev->path) || path_clean(dev->path, clean) < 0 ||
	    str_eq(clean, "/"))
		return err_set(err, EINVAL, "device path '%s' is not a plain absolute path",
			       dev->path);
	if (!str_eq(dev->type, "p") &&
	    (dev->major < 0 || dev->major > MAJOR_MAX || dev->minor < 0 || dev->minor > MINOR_MAX))
		return err_set(err, EINVAL, "device '%s': invalid number %lld:%lld", dev->path,
			       (long long)dev->major, (long long)dev->minor);
	return 0;
}

int devnode_open_dev(int root, struct err *err)
{
	int fd = path_real_dir(root, "/dev");

	return fd < 0 ? err_sys(err, -fd, "/dev of the image is not a directory") : fd;
}

static bool is_node(const struct stat *st, const struct node *n)
{
	if ((st->st_mode & S_IFMT) != (n->mode & S_IFMT))
		return false;
	return S_ISFIFO(n->mode) || st->st_rdev == n->dev;
}

bool devnode_is_char(int fd, unsigned int major, unsigned int minor)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(major, minor);
}

/* The guest's node of the same path, bound on an empty file. */
static int bind_node(int dir, const char *name, const struct node *n, struct err *err)
{
	AUTO_CLOSE int tree = tree_clone(n->path, false, err);
	AUTO_CLOSE int target = FD_NONE;
	struct stat st;
	int r;

	if (tree < 0)
		return tree;
	if (fstat(tree, &st) < 0 || !is_node(&st, n))
		return err_set(err, ENODEV, "the guest's '%s' is another device", n->path);
	/* Read-only is the node, not the device: no chmod from inside reaches the guest's. */
	r = tree_attr(tree, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, 0, false,
		      err);
	if (r < 0)
		return r;
	target = openat(dir, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0);
	if (target < 0 && errno == EEXIST) {
		target = path_open_plain(dir, name, O_PATH | O_NOFOLLOW, 0);
		if (target < 0)
			return err_sys(err, -target, "open '%s'", n->path);
		if (fstat(target, &st) < 0 || S_ISLNK(st.st_mode) || S_ISDIR(st.st_mode))
			return err_set(err, EEXIST, "'%s' of the image is no file", n->path);
		if (is_node(&st, n))
			return 0;
	}
	if (target < 0)
		return err_sys(err, errno, "create '%s'", n->path);
	return tree_attach(tree, target, err);
}

/* What a mount of the spec has put there is what is wanted there. */
static bool is_mounted_on(int dir, const char *name)
{
	struct statx stx;

	return statx(dir, name, AT_SYMLINK_NOFOLLOW, 0, &stx) == 0 &&
	       stx.stx_attributes & STATX_ATTR_MOUNT_ROOT;
}

static int make_node(int dir, const char *name, const struct node *n, bool userns, struct err *err)
{
	struct stat st;

	if (userns && !S_ISFIFO(n->mode))
		return bind_node(dir, name, n, err);
	if (mknodat(dir, name, n->mode, n->dev) < 0) {
		if (errno == EPERM && !S_ISFIFO(n->mode))
			return bind_node(dir, name, n, err);
		if (errno != EEXIST)
			return err_sys(err, errno, "mknod '%s'", n->path);
		if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return err_sys(err, errno, "stat '%s'", n->path);
		if (!is_node(&st, n) && !is_mounted_on(dir, name))
			return err_set(err, EEXIST, "'%s' of the image is not the device", n->path);
		return 0;
	}
	if ((n->uid || n->gid) && fchownat(dir, name, n->uid, n->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(err, errno, "chown '%s'", n->path);
	return 0;
}

/* The entry before the n-th that stands for that path. */
static const Grpc__LinuxDevice *find_listed(const Grpc__Linux *linux, size_t n, const char *path)
{
	char clean[LIMIT_PATH];

	for (size_t i = 0; linux && i < n; i++) {
		if (path_clean(linux->devices[i]->path, clean) == 0 && str_eq(clean, path))
			return linux->devices[i];
	}
	return NULL;
}

/* Those that the spec lists are as it has them. */
static int make_defaults(int devdir, const Grpc__Linux *linux, bool userns, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(default_nodes); i++) {
		const struct node n = {
			.path = default_nodes[i].path,
			.mode = S_IFCHR | 0666,
			.dev = makedev(default_nodes[i].major, default_nodes[i].minor),
		};
		int r = 0;

		if (find_listed(linux, linux ? linux->n_devices : 0, n.path))
			continue;
		r = make_node(devdir, n.path + strlen("/dev/"), &n, userns, err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int make_listed(int root, const Grpc__LinuxDevice *dev, bool userns, struct err *err)
{
	struct node n = {
		/* Nobody wants 0: a host that has none leaves it out. */
		.mode = node_type(dev->type) | (dev->filemode ? dev->filemode & 07777 : 0666),
		.dev = makedev((unsigned int)dev->major, (unsigned int)dev->minor),
		.uid = dev->uid,
		.gid = dev->gid,
	};
	AUTO_CLOSE int dir = FD_NONE;
	char path[LIMIT_PATH];
	const char *name;

	if (path_clean(dev->path, path) < 0)
		return err_set(err, ENAMETOOLONG, "device path too long");
	n.path = path;
	if (S_ISFIFO(n.mode))
		n.dev = 0;
	dir = path_parent(root, path, &name);
	if (dir < 0)
		return err_sys(err, -dir, "directory of device '%s'", path);
	return make_node(dir, name, &n, userns, err);
}

/* The same node twice is one. */
static int check_twice(const Grpc__Linux *linux, size_t n, struct err *err)
{
	const Grpc__LinuxDevice *dev = linux->devices[n], *other;
	char path[LIMIT_PATH];

	if (path_clean(dev->path, path) < 0)
		return 0;
	other = find_listed(linux, n, path);
	if (!other || (node_type(other->type) == node_type(dev->type) &&
		       other->major == dev->major && other->minor == dev->minor))
		return 0;
	return err_set(err, EINVAL, "device '%s' is listed as %s %lld:%lld and as %s %lld:%lld",
		       path, other->type, (long long)other->major, (long long)other->minor,
		       dev->type, (long long)dev->major, (long long)dev->minor);
}

static int make_devices(int root, const Grpc__Linux *linux, bool userns, struct err *err)
{
	struct rootdisk own; /* a write there rewrites the guest: no node for them */
	bool looked = false;

	for (size_t i = 0; i < linux->n_devices; i++) {
		const Grpc__LinuxDevice *dev = linux->devices[i];
		dev_t number = makedev((unsigned int)dev->major, (unsigned int)dev->minor);
		int r;

		r = check_twice(linux, i, err);
		if (r < 0)
			return r;
		if (str_eq(dev->path, "/dev/ptmx"))
			continue; /* a privileged container lists it; ours is a link */
		if (str_eq(dev->type, "b")) {
			if (!looked)
				rootdisk_find(&own);
			looked = true;
			if (rootdisk_has(&own, number))
				continue;
		}
		r = make_listed(root, dev, userns, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int make_links(int devdir, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(links); i++) {
		if (links[i].needs && access(links[i].needs, F_OK) < 0)
			continue;
		if (symlinkat(links[i].target, devdir, links[i].name) < 0 && errno != EEXIST)
			return err_sys(err, errno, "link /dev/%s", links[i].name);
	}
	/* Must lead to the container's own devpts, whatever the image had there. */
	if (unlinkat(devdir, "ptmx", 0) < 0 && errno != ENOENT)
		return err_sys(err, errno, "remove /dev/ptmx");
	if (symlinkat("pts/ptmx", devdir, "ptmx") < 0)
		return err_sys(err, errno, "link /dev/ptmx");
	return 0;
}

int devnode_setup(int root, const Grpc__Linux *linux, bool userns, struct err *err)
{
	AUTO_CLOSE int devdir = devnode_open_dev(root, err);
	int r;

	if (devdir < 0)
		return devdir;
	r = make_defaults(devdir, linux, userns, err);
	if (r == 0 && linux)
		r = make_devices(root, linux, userns, err);
	return r < 0 ? r : make_links(devdir, err);
}
