/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mounting, giving to a group, and unmounting below /run. Runs in a forked worker; no state. Mount
 * points are opened without following links, and mounted on through the opened fd.
 */
#include "pod/storage_mount.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/str.h"
#include "rpc/call.h"
#include "linux/confine.h"
#include "linux/mountinfo.h"
#include "linux/path.h"
#include "linux/run.h"
#include "oci/fs/tree.h"
#include "pod/watchcopy.h"

#define HUGEPAGES	"/sys/kernel/mm/hugepages"
#define PARTITION_MS	20 /* between two looks for a partition's node */
#define PARTITION_TRIES 150

static int storage_open_run(struct err *err)
{
	int fd = open(STORAGE_ROOT, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? err_sys(err, errno, "open " STORAGE_ROOT) : fd;
}

/* ---- the pool of huge pages: each volume adds its own to it, and takes them away again ---- */

/* The number behind key in data ("pagesize=2097152,size=..."). */
static int hugepages_option(const char *data, const char *key, uint64_t *ret)
{
	size_t len = strlen(key);

	while (*data) {
		size_t n = strcspn(data, ",");
		char text[24];

		if (n > len && strncmp(data, key, len) == 0 && data[len] == '=') {
			if (n - len - 1 >= sizeof(text))
				return -EINVAL;
			(void)memcpy(text, data + len + 1, n - len - 1);
			text[n - len - 1] = '\0';
			return str_u64(text, UINT64_MAX, ret);
		}
		data += n + (data[n] == ',');
	}
	return -ENOENT;
}

/* How many pages of which size a volume's options ask for. */
static int hugepages_wanted(const struct mount_plan *p, uint64_t *page, int64_t *n, struct err *err)
{
	uint64_t size;

	if (hugepages_option(p->opt.data, "pagesize", page) < 0 ||
	    hugepages_option(p->opt.data, "size", &size) < 0 || *page < 1024)
		return err_rpc(
			err, RPC_INTERNAL,
			"Could not mount hugepages: options '%s' need pagesize and size in bytes",
			p->opt.data);
	*n = (int64_t)(size / *page);
	return 0;
}

/* How many the file system that fd is on may hand out, and their size; 0 for any other kind. */
static int64_t hugepages_of(int fd, uint64_t *page)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0 || fs.f_type != HUGETLBFS_MAGIC)
		return 0;
	*page = (uint64_t)fs.f_bsize;
	return (int64_t)fs.f_blocks;
}

static int hugepages_read(const char *path, int64_t *ret)
{
	char text[24];
	uint64_t n;
	ssize_t r = fdio_read_file(AT_FDCWD, path, text, sizeof(text));

	if (r >= 0)
		r = str_u64(text, INT64_MAX, &n);
	if (r < 0)
		return (int)r;
	*ret = (int64_t)n;
	return 0;
}

static int hugepages_write(const char *path, int64_t n)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%lld", (long long)n);
	return fdio_write_file(AT_FDCWD, path, text);
}

static void hugepages_path(char path[static 96], uint64_t page)
{
	(void)snprintf(path, 96, HUGEPAGES "/hugepages-%llukB/nr_hugepages",
		       (unsigned long long)(page / 1024));
}

/* Has the kernel put aside so many pages more, or less. All or none. */
static int hugepages_add(uint64_t page, int64_t n, struct err *err)
{
	int64_t before, now;
	char path[96];
	int r;

	if (n == 0)
		return 0;
	hugepages_path(path, page);
	r = hugepages_read(path, &before);
	if (r == 0 && (n > INT64_MAX - before || before + n < 0))
		n = n > 0 ? INT64_MAX - before : -before;
	if (r == 0)
		r = hugepages_write(path, before + n);
	if (r == 0)
		r = hugepages_read(path, &now);
	if (r < 0)
		return err_rpc(err, RPC_INTERNAL, "Could not mount hugepages: set %s: %s", path,
			       strerror(-r));
	if (n < 0 || now >= before + n)
		return 0;
	(void)hugepages_write(path, before);
	return err_rpc(err, RPC_INTERNAL, "Only allocated %lld of %lld hugepages of size %llu",
		       (long long)(now - before), (long long)n, (unsigned long long)page);
}

/* ---- what is mounted, and on what ---- */

/*
 * Opens what a path source names. Devices may be anywhere and behind links (/dev/disk/by-id); a
 * file or directory that is bound must itself be below /run, or any request could lay bare the
 * guest.
 */
static int storage_open_source(int root, const struct mount_plan *p, struct stat *st,
			       char real[PATH_MAX], struct err *err)
{
	AUTO_CLOSE int fd = FD_NONE;
	char rel[LIMIT_PATH];

	for (int tries = 0; !realpath(p->source, real); tries++) {
		if (errno == ENOENT && p->wait && tries < PARTITION_TRIES &&
		    poll(NULL, 0, PARTITION_MS) == 0)
			continue;
		return err_rpc(err, RPC_INTERNAL, "Could not resolve symlink for source %s: %s",
			       p->source, strerror(errno));
	}
	fd = open(real, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, st) < 0)
		return err_rpc(err, RPC_INTERNAL, "Could not open source %s: %s", real,
			       strerror(errno));
	if (p->device && !S_ISBLK(st->st_mode) && !S_ISCHR(st->st_mode))
		return err_set(err, EINVAL, "invalid device %s", p->source);
	if (S_ISBLK(st->st_mode) || !(p->opt.flags & MS_BIND))
		return TAKE_FD(fd);
	auto_closep(&fd);
	fd = confine_clean(STORAGE_ROOT, real, rel) < 0 ? -EPERM : confine_any(root, rel);
	if (fd < 0 || fstat(fd, st) < 0)
		return err_rpc(err, RPC_INTERNAL,
			       "Could not bind %s: not below " STORAGE_ROOT " (%s)", real,
			       strerror(fd < 0 ? -fd : errno));
	return TAKE_FD(fd);
}

/* The mount point's fd, made where missing; of the type that the source has. */
static int storage_open_point(int root, const struct mount_plan *p, bool file, bool *made,
			      struct err *err)
{
	int fd = file ? confine_file(root, p->rel, 0644, made)
		      : confine_dir(root, p->rel, p->mode, made);

	if (fd < 0)
		return err_rpc(err, RPC_INTERNAL,
			       "Could not create mount point " STORAGE_ROOT "/%s: %s", p->rel,
			       strerror(-fd));
	return fd;
}

static bool is_mounted_as(const char *rel, const char *fstype)
{
	char point[LIMIT_PATH + sizeof(STORAGE_ROOT)];

	(void)snprintf(point, sizeof(point), STORAGE_ROOT "/%s", rel);
	return mountinfo_is(point, fstype);
}

/* ---- Kubernetes' fsGroup: a volume's content given to a group ---- */

struct fsgroup {
	gid_t gid;
	mode_t mode; /* bits that files get; directories S_ISGID and x as well */
	dev_t dev;
};

static mode_t fsgroup_bits(const struct stat *st, const struct fsgroup *w)
{
	return w->mode | (S_ISDIR(st->st_mode) ? 0110u | S_ISGID : 0);
}

/* One file or directory, by an O_PATH fd that is no link. */
static int fsgroup_set_one(int fd, const struct stat *st, const struct fsgroup *w)
{
	struct fd_path path;

	if (fchownat(fd, "", (uid_t)-1, w->gid, AT_EMPTY_PATH) < 0)
		return -errno;
	if (chmod(fdio_path(&path, fd), (st->st_mode | fsgroup_bits(st, w)) & 07777) < 0)
		return -errno;
	return 0;
}

static int fsgroup_set_below(int fd, const struct fsgroup *w, int depth)
{
	AUTO_DIR DIR *d = NULL;
	struct dirent *e;
	int list = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;

	d = list < 0 ? NULL : fdopendir(list);
	if (!d) {
		r = -errno;
		auto_closep(&list);
		return r;
	}
	if (depth > LIMIT_DEPTH)
		return -ELOOP;
	while (r == 0 && (e = readdir(d))) {
		AUTO_CLOSE int sub = FD_NONE;
		struct stat st;

		if (str_eq(e->d_name, ".") || str_eq(e->d_name, ".."))
			continue;
		sub = openat(list, e->d_name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
		if (sub < 0 && errno == ENOENT)
			continue;
		if (sub < 0 || fstat(sub, &st) < 0)
			return -errno;
		if (S_ISLNK(st.st_mode) || st.st_dev != w->dev)
			continue;
		r = fsgroup_set_one(sub, &st, w);
		if (r == 0 && S_ISDIR(st.st_mode))
			r = fsgroup_set_below(sub, w, depth + 1);
	}
	return r;
}

/*
 * Everything at and below fd (O_PATH) becomes the group's, readable and (unless read_only) writable
 * to it; directories hand the group on. Links are left alone, other file systems not entered. With
 * on_mismatch nothing is done when the top looks so already. 0 or -errno.
 */
static int fsgroup_set_tree(int fd, gid_t gid, bool read_only, bool on_mismatch)
{
	struct fsgroup w = { .gid = gid, .mode = read_only ? 0440 : 0660 };
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return -errno;
	w.dev = st.st_dev;
	if (on_mismatch && st.st_gid == gid &&
	    (st.st_mode & fsgroup_bits(&st, &w)) == fsgroup_bits(&st, &w))
		return 0;
	r = S_ISDIR(st.st_mode) ? fsgroup_set_below(fd, &w, 0) : 0;
	/* The top last: an interrupted change shows as a mismatch. */
	if (r == 0)
		r = fsgroup_set_one(fd, &st, &w);
	return r == -EROFS ? 0 : r; /* a volume that nobody can change */
}

/* Only the top: its group, and that what is made in it has the same. */
static int fsgroup_set_top(int fd, gid_t gid)
{
	struct fd_path path;
	struct stat st;

	if (fstat(fd, &st) < 0 || fchownat(fd, "", (uid_t)-1, gid, AT_EMPTY_PATH) < 0)
		return -errno;
	return chmod(fdio_path(&path, fd), (st.st_mode & 07777) | S_ISGID) < 0 ? -errno : 0;
}

/* Gives what is at the mount point now to its group. */
static int set_group(int root, const struct mount_plan *p, struct err *err)
{
	AUTO_CLOSE int fd = FD_NONE;
	int r;

	if (!p->has_group)
		return 0;
	fd = confine_any(root, p->rel);
	r = fd < 0 ? fd
	    : p->group_tree
		    ? fsgroup_set_tree(fd, p->group, p->opt.flags & MS_RDONLY, p->group_on_mismatch)
		    : fsgroup_set_top(fd, p->group);
	if (r < 0)
		return err_sys(err, -r, "give " STORAGE_ROOT "/%s to group %u", p->rel, p->group);
	return 0;
}

/* ---- mounting ---- */

static int make_directory(int root, const struct mount_plan *p, bool *made, struct err *err)
{
	AUTO_CLOSE int fd = storage_open_point(root, p, false, made, err);
	struct fd_path path;

	if (fd < 0)
		return fd;
	/* mkdir is subject to the umask. */
	if (chmod(fdio_path(&path, fd), p->mode) < 0)
		return err_sys(err, errno, "set mode %o of " STORAGE_ROOT "/%s", p->mode, p->rel);
	return 0;
}

/*
 * Only mount(2) takes long values (layers of an overlay), and there a remount replaces all flags.
 * It works by name: the mount's fd is found again.
 */
static int mount_old(int root, const struct mount_plan *p, const char *source, int target,
		     bool *mounted, struct err *err)
{
	struct fd_path path;
	int fd;

	if (mount(source, fdio_path(&path, target), p->fstype, p->opt.flags, p->opt.data) < 0)
		return err_sys(err, errno, "file system '%s'", p->fstype);
	*mounted = !(p->opt.flags & MS_REMOUNT);
	fd = confine_any(root, p->rel);
	return fd < 0 ? err_sys(err, -fd, "open the mount") : fd;
}

/* Mounts on target, attributes first; the mount's fd, or -errno. source: what is bound. */
static int mount_new(int root, const struct mount_plan *p, const char *name, int source, int target,
		     bool *mounted, struct err *err)
{
	struct tree_fs fs = {
		.type = p->fstype, .source = name, .data = p->opt.data, .flags = p->opt.flags
	};
	bool bind = p->opt.flags & MS_BIND;
	AUTO_CLOSE int tree = FD_NONE;
	int r = 0;

	if (!bind && (p->opt.flags & MS_REMOUNT || !tree_fits(name, p->opt.data)))
		return mount_old(root, p, name, target, mounted, err);
	tree = bind ? tree_clone_fd(source, p->opt.flags & MS_REC, err) : tree_new(&fs, err);
	if (tree < 0)
		return tree;
	if (bind)
		r = tree_bind_options(tree, &p->opt, false, err);
	if (r == 0)
		r = tree_attach(tree, target, err);
	if (r < 0)
		return r;
	*mounted = true;
	return TAKE_FD(tree);
}

/* Bytes 56 and 57 of the superblock, which is 1 KiB into the device. */
static bool is_ext4(const char *device)
{
	AUTO_CLOSE int fd = open(device, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	uint8_t magic[2];

	return fd >= 0 && pread(fd, magic, sizeof(magic), 1024 + 56) == sizeof(magic) &&
	       magic[0] == 0x53 && magic[1] == 0xef;
}

/* As the reference makes it; its tables are written later, however large the disk is. */
static int make_ext4(const char *device, const struct stat *st, struct err *err)
{
	static const char *const words[] = { "mkfs.ext4", "-F", "-O",	  "^has_journal", "-m",
					     "0",	  "-i", "163840", "-I",		  "128" };
	char *argv[ARRAY_LEN(words) + 2] = { NULL }, dev[PATH_MAX];

	if (!S_ISBLK(st->st_mode))
		return err_rpc(err, RPC_INVALID_ARGUMENT,
			       "Could not create a file system on %s: no block device", device);
	if (is_ext4(device))
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		argv[i] = (char *)(uintptr_t)words[i];
	(void)snprintf(dev, sizeof(dev), "%s", device);
	argv[ARRAY_LEN(words)] = dev;
	if (run_program(&(struct run){ .argv = argv, .path = words[0] }, err) < 0) {
		err->rpc = RPC_INTERNAL;
		return err_wrap(err, "Could not create a file system on %s", device);
	}
	return 0;
}

static int mount_make_dirs(int root, const struct mount_plan *p, struct mount_record *rec,
			   struct err *err)
{
	for (size_t i = 0; i < p->n_dirs; i++) {
		bool made = false;
		AUTO_CLOSE int fd = confine_dir(root, p->dirs[i], 0755, &made);

		if (fd < 0)
			return err_rpc(err, RPC_INTERNAL,
				       "Could not create " STORAGE_ROOT "/%s: %s", p->dirs[i],
				       strerror(-fd));
		if (made)
			rec->dirs[i / 8] |= (uint8_t)(1u << i % 8);
	}
	return 0;
}

/* The worker may be killed at any time from here on: what it would leave is told before. */
static void mount_announce(int out, struct mount_record *rec, int target, uint64_t page)
{
	struct statx stx;
	char path[96];

	rec->mounted = 1;
	rec->below = statx(target, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &stx) == 0
			     ? stx.stx_mnt_id
			     : 0;
	if (page) {
		hugepages_path(path, page);
		if (hugepages_read(path, &rec->pool) == 0)
			rec->page = page;
	}
	if (out >= 0)
		(void)fdio_write_all(out, rec, sizeof(*rec));
}

/* 1 if the source was copied; 0: it is too large. times: see watchcopy_sync. */
static int mount_copy(const struct mount_plan *p, int source, int target, unsigned int times,
		      struct err *err)
{
	int r = watchcopy_sync(source, target, times);

	if (r == -ENOSPC)
		r = WATCHCOPY_LARGE;
	return r < 0 ? err_rpc(err, RPC_INTERNAL, "Could not copy %s to " STORAGE_ROOT "/%s: %s",
			       p->source, p->rel, strerror(-r))
		     : r != WATCHCOPY_LARGE;
}

static int mount_one(int root, const struct mount_plan *p, unsigned int times, int out,
		     struct mount_record *rec, struct err *err)
{
	AUTO_CLOSE int source = FD_NONE;
	AUTO_CLOSE int target = FD_NONE;
	AUTO_CLOSE int fd = FD_NONE;
	AUTO_CLOSE int verity = FD_NONE; /* until the mount holds the device */
	char real[PATH_MAX];
	struct stat st = { .st_mode = S_IFDIR };
	bool made = false, mounted = false, file;
	uint64_t page = 0;
	int64_t pages = 0;

	if (p->kind != MOUNT_TAG) {
		source = storage_open_source(root, p, &st, real, err);
		if (source < 0)
			return source;
	}
	if (mount_make_dirs(root, p, rec, err) < 0 ||
	    (p->make_ext4 && make_ext4(real, &st, err) < 0))
		return -err->code;
	file = p->opt.flags & MS_BIND && !S_ISDIR(st.st_mode);
	target = storage_open_point(root, p, file, &made, err);
	rec->made = made;
	if (target < 0)
		return target;
	if ((p->keep_mounted || p->keep_same) && path_is_mount_top(target) > 0 &&
	    (p->keep_mounted || is_mounted_as(p->rel, p->fstype)))
		return 0;
	if (p->kind == MOUNT_COPY) {
		int copied;

		rec->copied = 1;
		mount_announce(out, rec, target, 0);
		copied = mount_copy(p, source, target, times, err);
		rec->copied = copied > 0;
		rec->mounted = 0;
		if (copied)
			return copied < 0 ? copied : 0;
	}
	/* A remount cannot change the size of a hugetlbfs. */
	if (str_eq(p->fstype, "hugetlbfs") && !(p->opt.flags & (MS_REMOUNT | MS_BIND)) &&
	    hugepages_wanted(p, &page, &pages, err) < 0)
		return -err->code;
	if (p->verity.enabled) {
		verity = dmverity_open(st.st_rdev, &p->verity, real, err);
		if (verity < 0)
			return err_wrap(err, "Could not mount %s", p->source);
	}
	mount_announce(out, rec, target, page);
	if (hugepages_add(page, pages, err) < 0) {
		rec->mounted = 0;
		return -err->code;
	}
	fd = mount_new(root, p, p->kind != MOUNT_TAG ? real : p->source, source, target, &mounted,
		       err);
	rec->mounted = mounted;
	if (fd < 0)
		(void)hugepages_add(page, -pages, NULL);
	/* Propagation last: a mount that joins a shared one becomes shared. */
	if (fd < 0 || tree_options(fd, &p->opt, err) < 0) {
		err->rpc = RPC_INTERNAL;
		return err_wrap(err, "Could not mount %s to " STORAGE_ROOT "/%s", p->source,
				p->rel);
	}
	return 0;
}

int storage_mount_all(const struct mount_plan *plans, size_t n, int out, struct err *err)
{
	AUTO_CLOSE int root = storage_open_run(err);
	int r = root < 0 ? root : 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		struct mount_record rec = { .index = (uint32_t)i };
		bool made = false;

		if (plans[i].kind == MOUNT_NONE) {
			r = make_directory(root, &plans[i], &made, err);
			rec.made = made;
		} else {
			r = mount_one(root, &plans[i], 1, out, &rec, err);
		}
		if (r == 0)
			r = set_group(root, &plans[i], err);
		(void)fdio_write_all(out, &rec, sizeof(rec));
	}
	return r;
}

int storage_copy_again(const struct mount_plan *p, bool *ret_copied, struct err *err)
{
	AUTO_CLOSE int root = storage_open_run(err);
	struct mount_record rec = { 0 };
	/* Twice: while it is changed there are the old and the new version. */
	int r = root < 0 ? root : mount_one(root, p, 2, FD_NONE, &rec, err);

	*ret_copied = rec.copied;
	return r;
}

/* ---- unmounting ---- */

static int64_t unmount_pages(int root, const struct unmount_plan *p, uint64_t *page)
{
	AUTO_CLOSE int fd = confine_any(root, p->rel);

	return fd < 0 ? 0 : hugepages_of(fd, page);
}

/* Nothing of ours is mounted there: it was never come to, or somebody has unmounted it. */
static bool is_unmounted(const char *path, uint64_t below)
{
	struct statx stx;

	return below &&
	       statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC, STATX_MNT_ID,
		     &stx) == 0 &&
	       stx.stx_mnt_id == below;
}

/* The pool as it was before a volume that did not come to be. */
static void hugepages_restore(uint64_t page, int64_t pool)
{
	char path[96];
	int64_t now;

	hugepages_path(path, page);
	if (hugepages_read(path, &now) == 0 && now > pool)
		(void)hugepages_write(path, pool);
}

/* A worker died, and nobody knows whether it was made: what has something in it was not. */
static void unmount_remove_empty(int dir, const char *name)
{
	struct stat st;

	if (unlinkat(dir, name, AT_REMOVEDIR) < 0 && errno == ENOTDIR &&
	    fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
	    st.st_size == 0)
		(void)unlinkat(dir, name, 0);
}

/* What was made for it, below root or in dir; what others have put into an empty one may stay. */
static int unmount_remove(int root, const struct unmount_plan *p, int dir, const char *name)
{
	int r = 0, sub;

	if (p->tree)
		r = fdio_remove_tree(dir, name);
	else if (p->made && unlinkat(dir, name, AT_REMOVEDIR) < 0 &&
		 (errno != ENOTDIR || unlinkat(dir, name, 0) < 0))
		r = -errno;
	else if (p->maybe)
		unmount_remove_empty(dir, name);
	if (r == -ENOENT || r == -ENOTEMPTY || r == -EEXIST)
		r = 0;
	for (size_t i = 0; i < p->n_dirs; i++) {
		AUTO_CLOSE int parent =
			p->dirs[i] ? confine_parent(root, p->dirs[i], 0, &name) : FD_NONE;

		sub = p->dirs[i] ? parent : -ENOENT;
		if (parent >= 0)
			sub = fdio_remove_tree(parent, name);
		if (sub < 0 && sub != -ENOENT && r == 0)
			r = sub;
	}
	return r;
}

/* *stays is set where it is to be tried again: a mount each time, what is empty or small once. */
static int unmount_one(int root, const struct unmount_plan *p, bool *stays, struct err *err)
{
	const char *name;
	AUTO_CLOSE int dir = confine_parent(root, p->rel, 0, &name);
	struct fd_path at;
	char path[sizeof(at.text) + NAME_MAX + 2];
	uint64_t page = 0;
	int64_t pages = 0;
	int r = 0;

	/* It may have failed for that very parent: then there is nothing of it. */
	if (dir == -ENOENT ||
	    (dir < 0 && !p->mounted && !p->made && !p->maybe && !p->tree && !p->n_dirs))
		return 0;
	if (dir < 0) {
		*stays = p->mounted || !p->again;
		return err_sys(err, -dir, "open parent of " STORAGE_ROOT "/%s", p->rel);
	}
	(void)snprintf(path, sizeof(path), "%s/%s", fdio_path(&at, dir), name);
	if (p->mounted && is_unmounted(path, p->below)) {
		if (p->page)
			hugepages_restore(p->page, p->pool);
	} else if (p->mounted) {
		pages = unmount_pages(root, p, &page);
		r = umount2(path, UMOUNT_NOFOLLOW);
		/*
		 * Whatever holds it: it leaves the tree now, and is gone for good with its last
		 * user.
		 */
		if (r < 0 && errno == EBUSY)
			r = umount2(path, UMOUNT_NOFOLLOW | MNT_DETACH);
		if (r < 0 && errno != EINVAL && errno != ENOENT) {
			*stays = true;
			return err_sys(err, errno, "unmount " STORAGE_ROOT "/%s", p->rel);
		}
	}
	r = unmount_remove(root, p, dir, name);
	if (r < 0)
		*stays = !p->again;
	/* Pages still in use stay so, and are no part of the pool any more. */
	if (hugepages_add(page, -pages, err) < 0)
		return -err->code;
	return r < 0 ? err_sys(err, -r, "remove " STORAGE_ROOT "/%s", p->rel) : 0;
}

int storage_unmount_all(const struct unmount_plan *plans, size_t n, int out, struct err *err)
{
	AUTO_CLOSE int root = storage_open_run(err);
	struct err later;

	if (root < 0)
		return root;
	for (size_t i = 0; i < n; i++) {
		bool stays = false;

		(void)unmount_one(root, &plans[i], &stays, err->code ? &later : err);
		if (!stays)
			(void)fdio_write_all(out, &i, sizeof(i));
	}
	return -err->code;
}
