/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Carrying out mount entries. No state beyond what mount_done hands back.
 */

#include "oci/fs/impl.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "oci/fs/tree.h"
#include "linux/path.h"
#include "base/arena.h"
#include "base/auto.h"
#include "base/err.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/str.h"

#define FILE_MODE 0755

/* What may be covered inside a procfs, by files that imitate it (lxcfs). */
static const char *const proc_files[] = {
	"/proc/cpuinfo",
	"/proc/diskstats",
	"/proc/meminfo",
	"/proc/stat",
	"/proc/swaps",
	"/proc/uptime",
	"/proc/loadavg",
	"/proc/slabinfo",
	"/proc/net/dev",
	"/proc/sys/kernel/ns_last_pid",
	"/proc/sys/crypto/fips_enabled",
};

/*
 * File systems that a user namespace may not mount where another one owns the network or IPC
 * namespace: it gets the guest's, unable to change anything.
 */
static const struct {
	const char *type, *path;
} guest_mounts[] = {
	{ "sysfs", "/sys" },
	{ "mqueue", "/dev/mqueue" },
};

/* The kernel takes no SELinux context for these. */
static const char *const unlabelled[] = { "proc", "sysfs", "mqueue", "cgroup", "cgroup2" };

/* An entry being carried out. */
struct mount_job {
	const struct mount_env *env;
	const Grpc__Mount *m;
	struct mountopt opt;
	char dest[LIMIT_PATH]; /* cleaned: absolute, no dots */
	bool bind;
};

static bool in_list(const char *const *list, size_t n, const char *s)
{
	for (size_t i = 0; i < n; i++) {
		if (str_eq(list[i], s))
			return true;
	}
	return false;
}

bool mount_is_bind(const Grpc__Mount *m)
{
	if (str_eq(m->type, "bind"))
		return true;
	for (size_t i = 0; i < m->n_options; i++) {
		if (str_eq(m->options[i], "bind") || str_eq(m->options[i], "rbind"))
			return true;
	}
	return false;
}

/* ---- checks ---- */

static int check_proc_destination(const char *dest, const Grpc__Mount *m, bool bind,
				  struct err *err)
{
	if (!path_is_below(dest, "/proc"))
		return 0;
	if (str_eq(dest, "/proc")) {
		if (bind || str_eq(m->type, "proc"))
			return 0;
		return err_set(err, EINVAL,
			       "'%s' of type '%s': only a proc file system belongs there", dest,
			       m->type);
	}
	if (bind && in_list(proc_files, ARRAY_LEN(proc_files), dest))
		return 0;
	return err_set(err, EINVAL, "'%s' cannot be mounted because it is inside /proc", dest);
}

int mount_check(const Grpc__Mount *m, struct err *err)
{
	bool bind = mount_is_bind(m);
	char dest[LIMIT_PATH];
	struct arena arena;
	struct mountopt o;
	int r;

	/* A relative one is "to be interpreted as relative to /", as runtime-spec 1.1 has it. */
	if (path_clean(m->destination, dest) < 0 || strlen(m->source) >= LIMIT_PATH)
		return err_set(err, ENAMETOOLONG, "mount destination or source too long");
	if (str_eq(dest, "/"))
		return err_set(err, EINVAL, "a mount on '/' would hide the root file system");
	if (bind && str_empty(m->source))
		return err_set(err, EINVAL, "bind mount on '%s' without a source", dest);
	if (!bind && (str_empty(m->type) || str_eq(m->type, "none")))
		return err_set(err, EINVAL, "mount on '%s' without a type", dest);
	r = check_proc_destination(dest, m, bind, err);
	if (r < 0)
		return r;
	arena_init(&arena, LIMIT_MOUNT_OPTIONS);
	r = mountopt_parse(m->options, m->n_options, &o, &arena, err);
	arena_free(&arena);
	if (r < 0)
		return err_wrap(err, "mount on '%s'", dest);
	if (o.tmpcopyup && (bind || !str_eq(m->type, "tmpfs")))
		return err_set(err, EINVAL, "mount on '%s': tmpcopyup is for tmpfs only", dest);
	return 0;
}

/* The container's root itself, reached through a link, must stay uncovered. */
static int refuse_root(const struct mount_job *j, int target, struct err *err)
{
	const unsigned int mask = STATX_INO | STATX_MNT_ID;
	struct statx a, b;

	if (statx(target, "", AT_EMPTY_PATH, mask, &a) < 0 ||
	    statx(j->env->root, "", AT_EMPTY_PATH, mask, &b) < 0)
		return err_sys(err, errno, "stat '%s'", j->dest);
	if (a.stx_mnt_id == b.stx_mnt_id && a.stx_ino == b.stx_ino)
		return err_set(err, EINVAL, "'%s' leads to the root itself", j->dest);
	return 0;
}

/*
 * A link in the image may have led a harmless destination into a procfs that is already mounted;
 * what counts is the file system that the target lies on.
 */
static int refuse_proc(const struct mount_job *j, int target, struct err *err)
{
	struct statfs fs;
	struct stat st;

	if (fstatfs(target, &fs) < 0 || fstat(target, &st) < 0)
		return err_sys(err, errno, "stat '%s'", j->dest);
	if (fs.f_type != PROC_SUPER_MAGIC)
		return 0;
	if (str_eq(j->dest, "/proc") && st.st_ino == PROC_ROOT_INO)
		return 0;
	if (j->bind && S_ISREG(st.st_mode) && in_list(proc_files, ARRAY_LEN(proc_files), j->dest))
		return 0;
	return err_set(err, EPERM, "'%s' cannot be mounted because it is inside /proc", j->dest);
}

static int check_target(const struct mount_job *j, int target, struct err *err)
{
	int r = refuse_root(j, target, err);

	return r < 0 ? r : refuse_proc(j, target, err);
}

/* ---- the steps that all kinds share ---- */

/* "/dev" and tmpfs get their content and mount points first, and turn read-only at the end. */
static bool is_sealed_later(const struct mount_job *j)
{
	return (j->opt.flags & MS_RDONLY) &&
	       (str_eq(j->dest, "/dev") || (!j->bind && str_eq(j->m->type, "tmpfs")));
}

/* All that remains to be done to a tree that is attached or (target) is to be; takes it over. */
static int attach(const struct mount_job *j, int *tree, int target, struct mount_done *ret,
		  struct err *err)
{
	int r = tree_options(*tree, &j->opt, err);

	if (r == 0 && target >= 0)
		r = tree_attach(*tree, target, err);
	if (r < 0)
		return r;
	ret->fd = TAKE_FD(*tree);
	ret->seal = is_sealed_later(j);
	ret->n_propagation = j->opt.n_propagation;
	memcpy(ret->propagation, j->opt.propagation, sizeof(ret->propagation));
	return 0;
}

/* ---- binds ---- */

static int clone_source(const struct mount_job *j, struct err *err)
{
	bool recursive = j->opt.flags & MS_REC;
	char path[2 * LIMIT_PATH], clean[LIMIT_PATH];
	const char *source = j->m->source, *inside;
	AUTO_CLOSE int fd = FD_NONE;

	if (source[0] != '/') { /* it starts beside the root: at the bundle */
		(void)snprintf(path, sizeof(path), "%.*s%s",
			       (int)(strrchr(j->env->path, '/') + 1 - j->env->path), j->env->path,
			       source);
		source = path;
	}
	if (path_clean(source, clean) < 0 || !path_is_below(clean, j->env->path))
		return tree_clone(source, recursive, err);
	/* Inside the image: its links must not lead out. */
	inside = clean + strlen(j->env->path);
	fd = path_open_in(j->env->root, *inside ? inside : "/", O_PATH, 0);
	if (fd < 0)
		return err_sys(err, -fd, "bind from '%s'", source);
	return tree_clone_fd(fd, recursive, err);
}

static int check_bind_source(const struct mount_job *j, int tree, const struct stat *st,
			     struct err *err)
{
	struct statfs fs;

	if (S_ISLNK(st->st_mode))
		return err_set(err, ELOOP, "the source is a symbolic link");
	if (!str_eq(j->dest, "/proc"))
		return 0;
	if (fstatfs(tree, &fs) < 0)
		return err_sys(err, errno, "stat the source");
	if (fs.f_type != PROC_SUPER_MAGIC || st->st_ino != PROC_ROOT_INO)
		return err_set(err, EINVAL, "only a proc file system belongs there");
	return 0;
}

static int make_bind(const struct mount_job *j, struct mount_done *ret, struct err *err)
{
	AUTO_CLOSE int tree = clone_source(j, err);
	AUTO_CLOSE int target = FD_NONE;
	struct stat st;
	int r;

	if (tree < 0)
		return tree;
	if (fstat(tree, &st) < 0)
		return err_sys(err, errno, "stat the source");
	r = check_bind_source(j, tree, &st, err);
	if (r < 0)
		return r;
	target = S_ISDIR(st.st_mode) ? path_dir(j->env->root, j->dest)
				     : path_file(j->env->root, j->dest, FILE_MODE);
	if (target < 0)
		return err_sys(err, -target, "mount point");
	r = check_target(j, target, err);
	if (r == 0)
		r = tree_bind_options(tree, &j->opt, is_sealed_later(j), err);
	return r < 0 ? r : attach(j, &tree, target, ret, err);
}

/* ---- file systems ---- */

/* The fd of the directory to mount on; *ret_mode: its mode if it was there before, else empty. */
static int open_mount_point(const struct mount_job *j, char ret_mode[static 8], struct err *err)
{
	bool real = str_eq(j->m->type, "proc") || str_eq(j->m->type, "sysfs");
	AUTO_CLOSE int fd = path_open_in(j->env->root, j->dest,
					 O_PATH | O_DIRECTORY | (real ? O_NOFOLLOW : 0), 0);
	struct stat st;
	int r;

	ret_mode[0] = '\0';
	if (fd >= 0) {
		if (fstat(fd, &st) < 0)
			return err_sys(err, errno, "stat mount point");
		(void)snprintf(ret_mode, 8, "%o", st.st_mode & 07777);
	} else if (fd == -ENOENT) {
		fd = real ? path_real_dir(j->env->root, j->dest) : path_dir(j->env->root, j->dest);
	}
	if (real && (fd == -ENOTDIR || fd == -ELOOP))
		return err_set(err, -fd, "filesystem \"%s\" must be mounted on ordinary directory",
			       j->m->type);
	if (fd < 0)
		return err_sys(err, -fd, "mount point");
	r = check_target(j, fd, err);
	return r < 0 ? r : TAKE_FD(fd);
}

/* A second entry of the same type gets a clone of the first one's, which is attached by then. */
static int lent_tree(const struct mount_job *j, int lent, struct err *err)
{
	AUTO_CLOSE int tree = tree_clone_fd(lent, false, err);
	int r;

	if (tree < 0)
		tree = fcntl(lent, F_DUPFD_CLOEXEC, 3);
	if (tree < 0)
		return err_sys(err, errno, "%s", j->m->type);
	r = tree_attr(tree, mountopt_attrs(j->opt.flags), 0, false, err);
	return r < 0 ? r : TAKE_FD(tree);
}

static int lent_procfs(const struct mount_job *j, struct err *err)
{
	struct tree_fs fs = { .type = j->m->type, .data = j->opt.data };
	AUTO_CLOSE int tree = lent_tree(j, j->env->procfs, err);
	int r = 0;

	if (tree >= 0 && !str_empty(j->opt.data))
		r = tree_reconfigure(tree, &fs, err);
	return r < 0 ? r : TAKE_FD(tree);
}

static int guest_tree(const struct mount_job *j, struct err *err)
{
	if (j->env->mqueue >= 0 && str_eq(j->m->type, "mqueue"))
		return lent_tree(j, j->env->mqueue, err);
	for (size_t i = 0; i < ARRAY_LEN(guest_mounts); i++) {
		AUTO_CLOSE int tree = FD_NONE;
		int r;

		if (!str_eq(guest_mounts[i].type, j->m->type))
			continue;
		tree = tree_clone(guest_mounts[i].path, true, err);
		if (tree < 0)
			return tree;
		r = tree_attr(tree, MOUNT_ATTR_RDONLY | mountopt_attrs(j->opt.flags), 0, true, err);
		return r < 0 ? r : TAKE_FD(tree);
	}
	return -EPERM;
}

static int new_tree(const struct mount_job *j, const char *mode, struct err *err)
{
	bool labelled = !in_list(unlabelled, ARRAY_LEN(unlabelled), j->m->type);
	bool tmpfs = str_eq(j->m->type, "tmpfs");
	struct tree_fs fs = {
		.type = j->m->type,
		.source = j->m->source,
		.data = j->opt.data,
		.mode = tmpfs && *mode && !mountopt_has(j->opt.data, "mode") ? mode : NULL,
		.context = labelled ? j->env->label : NULL,
		.flags = j->opt.flags,
		.writable = is_sealed_later(j),
	};
	int tree;

	if (j->env->procfs >= 0 && str_eq(j->m->type, "proc"))
		return lent_procfs(j, err);
	tree = tree_new(&fs, err);
	if (tree == -EPERM && j->env->userns)
		tree = guest_tree(j, err);
	return tree;
}

/*
 * Option values that only mount(2) can take (long overlay layer lists). It attaches at once, so
 * the mount's fd is found again by name; a mount that isn't there then means that someone moved
 * the directories about.
 */
static int mount_long(const struct mount_job *j, int target, struct mount_done *ret,
		      struct err *err)
{
	const unsigned long not_now = (unsigned long)(MS_BIND | MS_REC | MS_REMOUNT);
	AUTO_CLOSE int fd = FD_NONE;
	struct fd_path path;
	int r;

	if (mount(*j->m->source ? j->m->source : NULL, fdio_path(&path, target), j->m->type,
		  j->opt.flags & ~not_now, j->opt.data) < 0)
		return err_sys(err, errno, "file system '%s'", j->m->type);
	fd = path_open_in(j->env->root, j->dest, O_PATH | O_DIRECTORY, 0);
	if (fd < 0)
		return err_sys(err, -fd, "open the mount");
	r = path_is_mount_top(fd);
	if (r < 0)
		return err_sys(err, -r, "stat the mount");
	if (r == 0)
		return err_set(err, EAGAIN, "the mount point changed meanwhile");
	r = attach(j, &fd, FD_NONE, ret, err);
	if (r == 0)
		ret->seal = false;
	return r;
}

static int make_fs(const struct mount_job *j, struct mount_done *ret, struct err *err)
{
	AUTO_CLOSE int target = FD_NONE, tree = FD_NONE;
	char mode[8];
	int r;

	target = open_mount_point(j, mode, err);
	if (target < 0)
		return target;
	if (str_eq(j->m->type, "cgroup") || str_eq(j->m->type, "cgroup2")) {
		tree = mountcgroup(j->env, target, &j->opt, err);
		if (tree < 0)
			return tree;
		return attach(j, &tree, FD_NONE, ret, err);
	}
	if (!tree_fits(j->m->source, j->opt.data))
		return mount_long(j, target, ret, err);
	tree = new_tree(j, mode, err);
	if (tree < 0)
		return tree;
	r = j->opt.tmpcopyup ? copyup(target, tree, err) : 0;
	return r < 0 ? r : attach(j, &tree, target, ret, err);
}

/* ---- remount: new flags for what an earlier entry or the image's storage mounted there ---- */

static int reconfigure(const struct mount_job *j, int fd, struct err *err)
{
	struct tree_fs fs = { .type = j->m->type, .data = j->opt.data, .flags = j->opt.flags };

	return tree_reconfigure(fd, &fs, err);
}

static int make_remount(const struct mount_job *j, struct mount_done *ret, struct err *err)
{
	AUTO_CLOSE int fd = path_open_in(j->env->root, j->dest, O_PATH, 0);
	int r;

	if (fd < 0)
		return err_sys(err, -fd, "open the mount");
	r = refuse_root(j, fd, err);
	if (r < 0)
		return r;
	r = path_is_mount_top(fd);
	if (r < 0)
		return err_sys(err, -r, "stat the mount");
	if (r == 0)
		return err_set(err, EINVAL, "remount: nothing is mounted there");
	r = j->bind ? 0 : reconfigure(j, fd, err);
	if (r == 0)
		r = tree_bind_options(fd, &j->opt, is_sealed_later(j), err);
	return r < 0 ? r : attach(j, &fd, FD_NONE, ret, err);
}

int mount_make(const struct mount_env *env, const Grpc__Mount *m, struct mount_done *ret,
	       struct err *err)
{
	struct mount_job j = { .env = env, .m = m, .bind = mount_is_bind(m) };
	struct arena arena;
	int r;

	if (path_clean(m->destination, j.dest) < 0)
		return err_set(err, ENAMETOOLONG, "mount destination too long");
	arena_init(&arena, LIMIT_MOUNT_OPTIONS);
	r = mountopt_parse(m->options, m->n_options, &j.opt, &arena, err);
	if (r == 0 && (j.opt.flags & MS_REMOUNT))
		r = make_remount(&j, ret, err);
	else if (r == 0 && j.bind)
		r = make_bind(&j, ret, err);
	else if (r == 0)
		r = make_fs(&j, ret, err);
	arena_free(&arena);
	return r < 0 ? err_wrap(err, "mount '%s' on '%s'", *m->source ? m->source : m->type, j.dest)
		     : 0;
}
