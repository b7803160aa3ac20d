/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order of things: which step comes when, and what one step keeps for a later one.
 * State: struct rootfs, fds mostly.
 */
#include "oci/fs/rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <termios.h>

#include "oci/fs/impl.h"
#include "oci/fs/tree.h"
#include "oci/ns.h"
#include "linux/path.h"
#include "base/auto.h"
#include "base/err.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/str.h"

#define DEFAULT_PROPAGATION ((unsigned long)(MS_SLAVE | MS_REC))

/* A mount that something remains to be done to. */
struct kept {
	struct mount_done done;
};

struct rootfs {
	struct rootfs_opts opts;
	int root; /* top of the container's root mount, O_PATH */
	int proc;
	unsigned long propagation; /* of the specification; 0: not given */
	struct mask mask;
	struct kept *kept;
	size_t n_kept;
	char path[LIMIT_PATH]; /* of the root in the guest, cleaned */
};

void rootfs_free(struct rootfs *rf)
{
	if (!rf)
		return;
	for (size_t i = 0; i < rf->n_kept; i++)
		auto_closep(&rf->kept[i].done.fd);
	free(rf->kept);
	mask_free(&rf->mask);
	auto_closep(&rf->proc);
	auto_closep(&rf->root);
	free(rf);
}

/* ---- checks in the parent ---- */

static int check_root(const Grpc__Spec *spec, struct err *err)
{
	char clean[LIMIT_PATH];
	const char *path;

	if (!spec->root || str_empty(spec->root->path))
		return err_set(err, EINVAL, "Root must be specified");
	path = spec->root->path;
	if (path[0] != '/' || path_clean(path, clean) < 0 || str_eq(clean, "/"))
		return err_set(err, EINVAL, "invalid rootfs: '%s' is not an absolute path", path);
	return 0;
}

static int check_propagation(const Grpc__Linux *l, struct err *err)
{
	unsigned long flags;

	if (str_empty(l->rootfspropagation))
		return 0;
	flags = mountopt_propagation(l->rootfspropagation);
	if (!flags)
		return err_set(err, EINVAL, "rootfsPropagation '%s' is not known",
			       l->rootfspropagation);
	return 0;
}

static int check_paths(const Grpc__Linux *l, struct err *err)
{
	int r = 0;

	if (l->n_maskedpaths > LIMIT_MOUNTS || l->n_readonlypaths > LIMIT_MOUNTS ||
	    l->n_devices > LIMIT_DEVICES)
		return err_set(err, EINVAL, "more than %u masked paths, readonly paths or devices",
			       LIMIT_MOUNTS);
	for (size_t i = 0; r == 0 && i < l->n_maskedpaths; i++)
		r = mask_check_path(l->maskedpaths[i], "masked", err);
	for (size_t i = 0; r == 0 && i < l->n_readonlypaths; i++)
		r = mask_check_path(l->readonlypaths[i], "readonly", err);
	for (size_t i = 0; r == 0 && i < l->n_devices; i++)
		r = devnode_check(l->devices[i], err);
	return r;
}

static int check_linux(const Grpc__Linux *l, struct err *err)
{
	int r;

	if (!ns_has(l, NS_MNT) && (l->n_maskedpaths || l->n_readonlypaths))
		return err_set(err, EINVAL,
			       "masked and readonly paths need a mount namespace of their own");
	r = check_propagation(l, err);
	if (r == 0)
		r = check_paths(l, err);
	return r < 0 ? r : sysctl_check(l, err);
}

int rootfs_check(const Grpc__Spec *spec, struct err *err)
{
	int r = check_root(spec, err);

	if (r < 0)
		return r;
	if (!ns_has(spec->linux, NS_MNT) && (spec->n_mounts || spec->root->readonly))
		return err_set(err, EINVAL,
			       "mounts and a readonly root need a mount namespace of their own");
	if (spec->n_mounts > LIMIT_MOUNTS)
		return err_set(err, EINVAL, "more than %u mounts", LIMIT_MOUNTS);
	for (size_t i = 0; i < spec->n_mounts; i++) {
		r = mount_check(spec->mounts[i], err);
		if (r < 0)
			return r;
	}
	return spec->linux ? check_linux(spec->linux, err) : 0;
}

/* ---- prepare ---- */

/*
 * In a copy of the agent's own mount namespace its /proc is as good as ever. A namespace joined by
 * path may be a container's: there a new instance is made, attached nowhere.
 */
static int open_proc(struct rootfs *rf, struct err *err)
{
	const struct tree_fs fs = { .type = "proc", .source = "proc" };
	AUTO_CLOSE int fd = FD_NONE;
	struct statfs sfs;
	struct stat st;

	fd = rf->opts.new_mntns ? open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC)
				: tree_new(&fs, err);
	if (fd < 0)
		return rf->opts.new_mntns ? err_sys(err, errno, "open /proc") : fd;
	if (fstatfs(fd, &sfs) < 0 || fstat(fd, &st) < 0)
		return err_sys(err, errno, "stat /proc");
	if (sfs.f_type != PROC_SUPER_MAGIC || st.st_ino != PROC_ROOT_INO)
		return err_set(err, EINVAL, "/proc is not a proc file system");
	rf->proc = TAKE_FD(fd);
	return 0;
}

/* The mount that dir lies on gets a propagation of its own: pivot_root wants no shared parent. */
static int unshare_parent(int dir, unsigned long flags, struct err *err)
{
	AUTO_CLOSE int at = FD_NONE;
	struct fd_path path;
	struct statx stx;

	at = fcntl(dir, F_DUPFD_CLOEXEC, 0);
	for (;;) {
		int up;

		if (at < 0 || statx(at, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &stx) < 0)
			return err_sys(err, errno, "find the mount of the rootfs");
		if (stx.stx_attributes & STATX_ATTR_MOUNT_ROOT)
			break;
		up = openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		auto_closep(&at);
		at = up;
	}
	/* mount(2), since mount_setattr() of older kernels refuses the mount at the very root. */
	if (mount(NULL, fdio_path(&path, at), NULL, flags, NULL) < 0)
		return err_sys(err, errno, "set propagation of the mount of the rootfs");
	return 0;
}

/*
 * The guest's mounts must not see ours. Shared and unbindable can only come true at the end, on
 * the container's own root: pivot_root refuses the first, a bind the second.
 */
static int set_propagation(struct rootfs *rf, int dir, struct err *err)
{
	unsigned long flags = rf->propagation ? rf->propagation : DEFAULT_PROPAGATION;

	if (flags & MS_UNBINDABLE)
		flags = MS_PRIVATE | (flags & MS_REC);
	if (mount(NULL, "/", NULL, flags, NULL) < 0)
		return err_sys(err, errno, "set propagation of /");
	if ((flags & MS_REC) && !(flags & MS_SHARED))
		return 0; /* nothing is shared any more */
	return unshare_parent(dir, flags & MS_SLAVE ? MS_SLAVE : MS_PRIVATE, err);
}

/* The root becomes a mount of its own, as pivot_root needs it. */
static int bind_root(struct rootfs *rf, int dir, struct err *err)
{
	AUTO_CLOSE int tree = tree_clone_fd(dir, true, err);
	int r;

	if (tree < 0)
		return err_wrap(err, "rootfs");
	r = tree_attach(tree, dir, err);
	if (r < 0)
		return err_wrap(err, "rootfs");
	rf->root = TAKE_FD(tree);
	return 0;
}

int rootfs_open_dir(const Grpc__Spec *spec, struct err *err)
{
	char path[LIMIT_PATH];
	int dir;

	if (!spec->root || path_clean(spec->root->path, path) < 0)
		return err_set(err, EINVAL, "Root must be specified");
	dir = path_open_real(path);
	if (dir == -ENOENT)
		return err_set(err, ENOENT, "rootfs (%s) does not exist", spec->root->path);
	if (dir == -ELOOP)
		return err_set(err, EINVAL, "invalid rootfs: '%s' is or contains a symbolic link",
			       spec->root->path);
	return dir < 0 ? err_sys(err, -dir, "rootfs (%s)", path) : dir;
}

static int rootfs_take_root(struct rootfs *rf, struct err *err)
{
	AUTO_CLOSE int dir = rf->opts.dir;
	int r;

	(void)path_clean(rf->opts.spec->root->path, rf->path);
	if (!rf->opts.new_mntns) {
		rf->root = TAKE_FD(dir);
		return 0;
	}
	r = set_propagation(rf, dir, err);
	return r < 0 ? r : bind_root(rf, dir, err);
}

/* A recursive propagation of the root comes last and must not undo what a mount asked for. */
static bool is_needed_later(const struct rootfs *rf, const struct mount_done *d)
{
	bool overruled =
		(rf->propagation & MS_REC) && (rf->propagation & (MS_SHARED | MS_UNBINDABLE));

	return d->seal || (overruled && d->n_propagation > 0);
}

/* The label for new file systems: none where the kernel doesn't enforce any. */
static const char *label_of(const struct rootfs *rf)
{
	struct statfs fs;

	if (str_empty(rf->opts.mount_label) || statfs("/sys/fs/selinux", &fs) < 0 ||
	    fs.f_type != SELINUX_MAGIC)
		return "";
	return rf->opts.mount_label;
}

static int make_mounts(struct rootfs *rf, struct err *err)
{
	const Grpc__Spec *spec = rf->opts.spec;
	const struct mount_env env = {
		.root = rf->root,
		.proc = rf->proc,
		.path = rf->path,
		.label = label_of(rf),
		.userns = rf->opts.userns,
		.mqueue = rf->opts.mqueue,
		.procfs = rf->opts.procfs,
		.cgroupns = rf->opts.cgroupns || ns_has(spec->linux, NS_CGROUP),
	};

	rf->kept = calloc(spec->n_mounts + 1, sizeof(*rf->kept));
	if (!rf->kept)
		return err_set(err, ENOMEM, "mounts");
	for (size_t i = 0; i < spec->n_mounts; i++) {
		struct mount_done d = { .fd = FD_NONE };
		int r = mount_make(&env, spec->mounts[i], &d, err);

		if (r < 0)
			return r;
		if (is_needed_later(rf, &d))
			rf->kept[rf->n_kept++].done = d;
		else
			auto_closep(&d.fd);
	}
	return 0;
}

/* Who binds a /dev of their own gets it as it is. */
static bool brings_own_dev(const Grpc__Spec *spec)
{
	char dest[LIMIT_PATH];

	for (size_t i = 0; i < spec->n_mounts; i++) {
		if (mount_is_bind(spec->mounts[i]) &&
		    path_clean(spec->mounts[i]->destination, dest) == 0 && str_eq(dest, "/dev"))
			return true;
	}
	return false;
}

static int rootfs_fill(struct rootfs *rf, struct err *err)
{
	const Grpc__Spec *spec = rf->opts.spec;
	const Grpc__Linux *l = spec->linux;
	int r = make_mounts(rf, err);

	if (r == 0 && !brings_own_dev(spec))
		r = devnode_setup(rf->root, l, rf->opts.userns, err);
	if (r == 0 && l && l->n_maskedpaths)
		r = mask_init(&rf->mask, err);
	return r;
}

int rootfs_prepare(const struct rootfs_opts *o, struct rootfs **ret, struct err *err)
{
	AUTO(rootfs_freep) struct rootfs *rf = calloc(1, sizeof(*rf));
	const Grpc__Linux *l = o->spec->linux;
	mode_t mask;
	int r;

	if (!rf)
		return err_set(err, ENOMEM, "rootfs");
	rf->opts = *o;
	rf->root = rf->proc = rf->mask.null = rf->mask.empty = FD_NONE;
	if (l && !str_empty(l->rootfspropagation))
		rf->propagation = mountopt_propagation(l->rootfspropagation);
	r = open_proc(rf, err);
	if (r == 0)
		r = rootfs_take_root(rf, err);
	if (r == 0 && o->new_mntns) {
		mask = umask(0); /* nodes and directories get exactly their modes */
		r = rootfs_fill(rf, err);
		(void)umask(mask);
	}
	if (r < 0)
		return r;
	*ret = TAKE_PTR(rf);
	return 0;
}

/* ---- enter ---- */

static int enter_pivot(struct rootfs *rf, struct err *err)
{
	AUTO_CLOSE int old = FD_NONE;
	int r;

	if (rf->propagation) {
		old = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (old < 0)
			return err_sys(err, errno, "open /");
	}
	if (fchdir(rf->root) < 0)
		return err_sys(err, errno, "chdir to the rootfs");
	/*
	 * The old root ends up on top of the new one, where the unmount finds it. An unmount in a
	 * shared tree would reach the guest.
	 */
	if (syscall(SYS_pivot_root, ".", ".") < 0)
		return err_sys(err, errno, "pivot_root");
	/* Without a propagation of the specification's, all is slave already. */
	if (old >= 0) {
		r = tree_propagation(old, MS_SLAVE | MS_REC, err);
		if (r < 0)
			return err_wrap(err, "old root");
	}
	if (umount2(".", MNT_DETACH) < 0)
		return err_sys(err, errno, "unmount the old root");
	return chdir("/") < 0 ? err_sys(err, errno, "chdir to /") : 0;
}

static int enter_chroot(struct rootfs *rf, struct err *err)
{
	if (fchdir(rf->root) < 0 || chroot(".") < 0 || chdir("/") < 0)
		return err_sys(err, errno, "chroot");
	return 0;
}

int rootfs_enter(struct rootfs *rf, struct err *err)
{
	if (!rf->opts.new_mntns)
		return enter_chroot(rf, err);
	return enter_pivot(rf, err);
}

/* ---- terminal ---- */

int rootfs_pty(int *ret_master, int *ret_slave, struct err *err)
{
	AUTO_CLOSE int pts = open("/dev/pts", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	AUTO_CLOSE int master = FD_NONE;
	struct statfs fs;
	int slave, unlock = 0;

	if (pts < 0)
		return err_sys(err, errno, "terminal: open /dev/pts");
	if (fstatfs(pts, &fs) < 0 || fs.f_type != DEVPTS_SUPER_MAGIC)
		return err_set(err, ENODEV,
			       "terminal: /dev/pts is not a devpts file system (is one mounted?)");
	master = openat(pts, "ptmx", O_RDWR | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC);
	if (master < 0)
		return err_sys(err, errno, "terminal: open /dev/pts/ptmx");
	if (!devnode_is_char(master, 5, 2))
		return err_set(err, ENODEV, "terminal: /dev/pts/ptmx is not the pty device");
	if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
		return err_sys(err, errno, "terminal: unlock pty");
	slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return err_sys(err, errno, "terminal: open the pty's other side");
	*ret_master = TAKE_FD(master);
	*ret_slave = slave;
	return 0;
}

/* The file to mount the console on: created, or whatever plain thing the name stands for. */
static int open_console(int root, struct err *err)
{
	AUTO_CLOSE int dev = devnode_open_dev(root, err);
	AUTO_CLOSE int fd = FD_NONE;
	struct stat st;
	mode_t mask;

	if (dev < 0)
		return dev;
	mask = umask(0);
	fd = openat(dev, "console", O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0666);
	(void)umask(mask);
	if (fd >= 0)
		return TAKE_FD(fd);
	if (errno != EEXIST)
		return err_sys(err, errno, "create /dev/console");
	fd = path_open_plain(dev, "console", O_PATH | O_NOFOLLOW, 0);
	if (fd < 0)
		return err_sys(err, -fd, "open /dev/console");
	if (fstat(fd, &st) < 0 || (!S_ISREG(st.st_mode) && !S_ISCHR(st.st_mode)))
		return err_set(err, EEXIST, "/dev/console of the image is no file and no device");
	return TAKE_FD(fd);
}

int rootfs_console(struct rootfs *rf, int slave, struct err *err)
{
	AUTO_CLOSE int target = FD_NONE, tree = FD_NONE;
	int r;

	if (!rf->opts.new_mntns)
		return 0; /* a mount would be seen by others */
	tree = tree_clone_fd(slave, false, err);
	if (tree < 0)
		return err_wrap(err, "console");
	target = open_console(rf->root, err);
	if (target < 0)
		return target;
	r = tree_attach(tree, target, err);
	return r < 0 ? err_wrap(err, "console") : 0;
}

/* ---- seal ---- */

static int cover_paths(struct rootfs *rf, const Grpc__Linux *l, struct err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < l->n_readonlypaths; i++) {
		if (!mask_is_root(l->readonlypaths[i]))
			r = mask_readonly(rf->root, l->readonlypaths[i], err);
	}
	for (size_t i = 0; r == 0 && i < l->n_maskedpaths; i++) {
		if (!mask_is_root(l->maskedpaths[i]))
			r = mask_hide(&rf->mask, rf->root, l->maskedpaths[i], err);
	}
	return r;
}

static bool root_is_readonly(const Grpc__Spec *spec)
{
	for (size_t i = 0; spec->linux && i < spec->linux->n_readonlypaths; i++) {
		if (mask_is_root(spec->linux->readonlypaths[i]))
			return true;
	}
	return spec->root->readonly;
}

/*
 * The agent starts us with the guest's /dev/null where there is no stream; through that fd a
 * fchmod would change the guest's node.
 */
static int reopen_null(struct rootfs *rf, struct err *err)
{
	for (int fd = 0; fd <= 2; fd++) {
		AUTO_CLOSE int node = FD_NONE, null = FD_NONE;
		char path[32];

		if (!devnode_is_char(fd, 1, 3))
			continue;
		node = path_open_in(rf->root, "/dev/null", O_PATH | O_NOFOLLOW, 0);
		if (node == -ENOENT)
			continue;
		if (node < 0)
			return err_sys(err, -node, "/dev/null of the container");
		if (!devnode_is_char(node, 1, 3))
			return err_set(err, ENODEV,
				       "/dev/null of the container is not the null device");
		(void)snprintf(path, sizeof(path), "self/fd/%d", node);
		null = openat(rf->proc, path, O_RDWR | O_CLOEXEC);
		if (null < 0 || dup3(null, fd, 0) < 0)
			return err_sys(err, errno, "replace standard stream %d", fd);
	}
	return 0;
}

/* After the last bind: an unbindable root refuses them. */
static int restore_propagation(struct rootfs *rf, struct err *err)
{
	int r;

	if (!(rf->propagation & (MS_SHARED | MS_UNBINDABLE)))
		return 0; /* the others hold since set_propagation */
	r = tree_propagation(rf->root, rf->propagation, err);
	for (size_t i = 0; r == 0 && i < rf->n_kept; i++) {
		const struct mount_done *d = &rf->kept[i].done;

		for (size_t k = 0; r == 0 && k < d->n_propagation; k++)
			r = tree_propagation(d->fd, d->propagation[k], err);
	}
	return r;
}

int rootfs_seal(struct rootfs *rf, struct err *err)
{
	const Grpc__Spec *spec = rf->opts.spec;
	int r = 0;

	if (spec->linux)
		r = sysctl_apply(rf->proc, spec->linux, err);
	if (r == 0 && rf->opts.new_mntns && spec->linux)
		r = cover_paths(rf, spec->linux, err);
	if (r == 0 && rf->opts.new_mntns)
		r = restore_propagation(rf, err);
	for (size_t i = 0; r == 0 && i < rf->n_kept; i++) {
		if (rf->kept[i].done.seal)
			r = tree_attr(rf->kept[i].done.fd, MOUNT_ATTR_RDONLY, 0, false, err);
	}
	if (r == 0)
		r = reopen_null(rf, err);
	if (r == 0 && rf->opts.new_mntns && root_is_readonly(spec))
		r = tree_attr(rf->root, MOUNT_ATTR_RDONLY, 0, false, err);
	return r;
}
