/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An initramfs is the one mount that nothing can be done about: pivot_root can't leave it, and what
 * is mounted on it can be unmounted by a container with all capabilities, which then stands in the
 * guest's files. So these move to a tmpfs, file by file, lest a large one be there twice; the
 * tmpfs goes over the empty initramfs, and init starts anew there, lest its old program stay in
 * memory. State: an environment variable tells that it has been done. Where another init runs from
 * the initramfs, the agent covers it with itself for its own namespace: containers can leave that.
 */
#include "init.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/limits.h"
#include "base/str.h"
#include "linux/mountinfo.h"

#define NEW_ROOT      ".root"
#define MOVED	      "KATA_AGENT_ROOT"
#define SBIN_INIT     "/sbin/init"
#define COVER	      "/usr" /* a folder of the root itself, and no mount point */
#define NAMES_AT_ONCE 64     /* of one file, remembered while the others are looked for */

/* A file with several names that has moved under one of them. */
struct moved {
	ino_t ino;
	char *path; /* below the new root; from malloc */
};

struct mover {
	int from, to; /* the two roots */
	dev_t dev;
	struct moved *moved;
	size_t n_moved;
	char path[LIMIT_PATH]; /* of what is being moved, for messages and links */
};

static int move_entry(struct mover *m, int from, int to, const char *name, unsigned int depth,
		      struct err *err);

static int move_failed(const struct mover *m, const char *what, struct err *err)
{
	return err_sys(err, errno, "move the root: %s '%s'", what, m->path);
}

static int move_data(int in, int out, off_t size)
{
	while (size > 0) {
		ssize_t n = sendfile(out, in, NULL, (size_t)size);

		if (n <= 0)
			return n < 0 ? -1 : 0;
		size -= n;
	}
	return 0;
}

/* True if one of the file's other names is there already, and this one is now, too. */
static bool move_link(struct mover *m, int to, const char *name, const struct stat *st)
{
	for (size_t i = 0; i < m->n_moved; i++) {
		if (m->moved[i].ino == st->st_ino)
			return linkat(m->to, m->moved[i].path, to, name, 0) == 0;
	}
	return false;
}

static int remember(struct mover *m, ino_t ino)
{
	struct moved *more;

	if (m->n_moved % NAMES_AT_ONCE == 0) {
		more = realloc(m->moved, (m->n_moved + NAMES_AT_ONCE) * sizeof(*more));
		if (!more)
			return -1;
		m->moved = more;
	}
	m->moved[m->n_moved].ino = ino;
	m->moved[m->n_moved].path = strdup(m->path);
	return m->moved[m->n_moved++].path ? 0 : -1;
}

static int move_file(struct mover *m, int from, int to, const char *name, const struct stat *st,
		     struct err *err)
{
	AUTO_CLOSE int in = FD_NONE;
	AUTO_CLOSE int out = FD_NONE;

	if (st->st_nlink > 1 && move_link(m, to, name, st))
		return 0;
	in = openat(from, name, O_RDONLY | O_CLOEXEC);
	out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (in < 0 || out < 0 || move_data(in, out, st->st_size) < 0)
		return move_failed(m, "copy", err);
	if (fchown(out, st->st_uid, st->st_gid) < 0 || fchmod(out, st->st_mode & 07777) < 0)
		return move_failed(m, "own", err);
	if (st->st_nlink > 1 && remember(m, st->st_ino) < 0)
		return move_failed(m, "remember", err);
	return 0;
}

static int move_symlink(struct mover *m, int from, int to, const char *name, struct err *err)
{
	char target[LIMIT_PATH];
	ssize_t n = readlinkat(from, name, target, sizeof(target) - 1);

	if (n < 0)
		return move_failed(m, "read link", err);
	target[n] = '\0';
	return symlinkat(target, to, name) < 0 ? move_failed(m, "link", err) : 0;
}

static int move_dir(struct mover *m, int from, int to, unsigned int depth, struct err *err)
{
	int fd = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	int r = 0;

	if (!d)
		return move_failed(m, "read", err);
	while (r == 0 && (e = readdir(d))) {
		if (!str_eq(e->d_name, ".") && !str_eq(e->d_name, ".."))
			r = move_entry(m, from, to, e->d_name, depth, err);
	}
	(void)closedir(d);
	return r;
}

static int move_subdir(struct mover *m, int from, int to, const char *name, const struct stat *st,
		       unsigned int depth, struct err *err)
{
	AUTO_CLOSE int in = openat(from, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	AUTO_CLOSE int out = FD_NONE;
	int r;

	if (in < 0 || depth >= LIMIT_DEPTH || mkdirat(to, name, 0700) < 0)
		return move_failed(m, "make", err);
	out = openat(to, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (out < 0)
		return move_failed(m, "open", err);
	r = move_dir(m, in, out, depth + 1, err);
	if (r < 0)
		return r;
	if (fchownat(to, name, st->st_uid, st->st_gid, 0) < 0 ||
	    fchmodat(to, name, st->st_mode & 07777, 0) < 0)
		return move_failed(m, "own", err);
	return 0;
}

static int move_entry(struct mover *m, int from, int to, const char *name, unsigned int depth,
		      struct err *err)
{
	size_t len = strlen(m->path);
	struct stat st;
	int r = 0;

	if (snprintf(m->path + len, sizeof(m->path) - len, "%s%s", len ? "/" : "", name) >=
	    (int)(sizeof(m->path) - len))
		return move_failed(m, "name", err);
	if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return move_failed(m, "stat", err);
	if (st.st_dev != m->dev) { /* the new root itself */
		m->path[len] = '\0';
		return 0;
	}
	switch (st.st_mode & S_IFMT) {
	case S_IFREG:
		r = move_file(m, from, to, name, &st, err);
		break;
	case S_IFDIR:
		r = move_subdir(m, from, to, name, &st, depth, err);
		break;
	case S_IFLNK:
		r = move_symlink(m, from, to, name, err);
		break;
	default:
		if (mknodat(to, name, st.st_mode, st.st_rdev) < 0 ||
		    fchownat(to, name, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) < 0)
			r = move_failed(m, "make", err);
	}
	if (r == 0 && unlinkat(from, name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0) < 0)
		r = move_failed(m, "remove", err);
	if (r == 0)
		m->path[len] = '\0';
	return r;
}

/* Over the initramfs, as its root is where every path begins. */
static int enter_new_root(int from, int to, struct err *err)
{
	if (fchdir(to) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
	    chdir("/") < 0)
		return err_sys(err, errno, "enter the new root");
	(void)unlinkat(from, NEW_ROOT, AT_REMOVEDIR);
	return 0;
}

static bool is_initramfs(void)
{
	struct statfs fs;

	return statfs("/", &fs) == 0 && (fs.f_type == RAMFS_MAGIC || fs.f_type == TMPFS_MAGIC);
}

int root_move(char **argv, struct err *err)
{
	static char sbin_init[] = SBIN_INIT;
	struct mover m = { .n_moved = 0 };
	AUTO_CLOSE int from = FD_NONE;
	AUTO_CLOSE int to = FD_NONE;
	struct stat st;
	int r;

	if (getenv(MOVED)) {
		(void)unsetenv(MOVED);
		return 0;
	}
	if (!is_initramfs())
		return 0;
	/* As much as an initramfs may have; it is counted as memory wherever it is. */
	if (mkdir("/" NEW_ROOT, 0755) < 0 ||
	    mount("rootfs", "/" NEW_ROOT, "tmpfs", 0, "mode=0755,size=90%,nr_inodes=0") < 0)
		return err_sys(err, errno, "a new root");
	m.from = from = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	m.to = to = open("/" NEW_ROOT, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (from < 0 || to < 0 || fstat(from, &st) < 0)
		return err_sys(err, errno, "a new root");
	m.dev = st.st_dev;
	r = move_dir(&m, from, to, 0, err);
	if (r == 0)
		r = enter_new_root(from, to, err);
	if (r < 0)
		return r;
	if (setenv(MOVED, "moved", 1) < 0)
		return err_sys(err, ENOMEM, "environment");
	/* What the kernel starts as /init has done its work: here begins the guest's own init. */
	if (str_eq(argv[0], "/init") && access(SBIN_INIT, X_OK) == 0)
		argv[0] = sbin_init;
	(void)execv(argv[0], argv);
	return err_sys(err, errno, "execute '%s'", argv[0]);
}

int root_cover(struct err *err)
{
	/* The mount that the kernel began with, and nothing over it. */
	if (!mountinfo_is("/", "rootfs"))
		return 0;
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_PRIVATE, NULL) < 0 ||
	    mount("/", COVER, NULL, MS_BIND | MS_REC, NULL) < 0 || chdir(COVER) < 0 ||
	    mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
		return err_sys(err, errno, "cover the initramfs");
	return 0;
}
