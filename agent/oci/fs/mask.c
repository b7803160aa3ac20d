/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Covering paths. State: the two covers in struct mask. They come from the guest, never from the
 * container's own /dev, which it could have forged (CVE-2025-31133), and are read-only so that a
 * chmod from inside doesn't reach the guest's null device.
 */

#include "oci/fs/impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "oci/fs/tree.h"
#include "linux/path.h"
#include "base/auto.h"
#include "base/err.h"
#include "base/fdio.h"
#include "base/str.h"

#define COVER_FLAGS (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)

int mask_check_path(const char *path, const char *what, struct err *err)
{
	char clean[LIMIT_PATH];

	if (path[0] != '/' || path_has_dotdot(path) || path_clean(path, clean) < 0)
		return err_set(err, EINVAL, "%s path '%s' is not a plain absolute path", what,
			       path);
	return 0;
}

bool mask_is_root(const char *path)
{
	char clean[LIMIT_PATH];

	return path_clean(path, clean) == 0 && str_eq(clean, "/");
}

int mask_init(struct mask *m, struct err *err)
{
	AUTO_CLOSE int null = tree_clone("/dev/null", false, err);
	int r;

	if (null < 0)
		return null;
	if (!devnode_is_char(null, 1, 3))
		return err_set(err, ENODEV, "the guest's /dev/null is not the null device");
	r = tree_attr(null, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, 0, false,
		      err);
	if (r == 0)
		m->null = TAKE_FD(null);
	return r;
}

void mask_free(struct mask *m)
{
	auto_closep(&m->null);
	auto_closep(&m->empty);
}

/* Attaches the cover itself the first time, a clone of it later. */
static int mask_cover(int tree, int *used, int target, struct err *err)
{
	AUTO_CLOSE int copy = FD_NONE;
	int r;

	if (!*used) {
		r = tree_attach(tree, target, err);
		if (r == 0)
			*used = 1;
		return r;
	}
	copy = tree_clone_fd(tree, false, err);
	return copy < 0 ? copy : tree_attach(copy, target, err);
}

static int mask_cover_dir(struct mask *m, int target, struct err *err)
{
	if (m->empty < 0) {
		const struct tree_fs fs = { .type = "tmpfs",
					    .source = "tmpfs",
					    .mode = "755",
					    .data = "nr_inodes=1,size=4k",
					    .flags = COVER_FLAGS };
		int tree = tree_new(&fs, err);

		if (tree < 0)
			return tree;
		m->empty = tree;
	}
	return mask_cover(m->empty, &m->empty_used, target, err);
}

/*
 * The fd, or -errno; *ret_gone: nothing is there, which is no error. A link of the image's, which
 * may lead anywhere in its root, is followed once: what the fd is of is what is covered.
 */
static int mask_open(int root, const char *path, bool *ret_gone, struct stat *st, struct err *err)
{
	AUTO_CLOSE int fd = path_open_in(root, path, O_PATH, 0);

	*ret_gone = fd == -ENOENT || fd == -ENOTDIR;
	if (*ret_gone)
		return fd;
	if (fd < 0)
		return err_sys(err, -fd, "open '%s'", path);
	if (fstat(fd, st) < 0)
		return err_sys(err, errno, "stat '%s'", path);
	return TAKE_FD(fd);
}

int mask_hide(struct mask *m, int root, const char *path, struct err *err)
{
	AUTO_CLOSE int fd = FD_NONE;
	struct stat st;
	bool gone;
	int r;

	fd = mask_open(root, path, &gone, &st, err);
	if (gone)
		return 0;
	if (fd < 0)
		return err_wrap(err, "masked path");
	r = S_ISDIR(st.st_mode) ? mask_cover_dir(m, fd, err)
				: mask_cover(m->null, &m->null_used, fd, err);
	return r < 0 ? err_wrap(err, "masked path '%s'", path) : 0;
}

int mask_readonly(int root, const char *path, struct err *err)
{
	AUTO_CLOSE int fd = FD_NONE, tree = FD_NONE;
	struct stat st;
	bool gone;
	int r;

	fd = mask_open(root, path, &gone, &st, err);
	if (gone)
		return 0;
	if (fd < 0)
		return err_wrap(err, "readonly path");
	tree = tree_clone_fd(fd, true, err);
	if (tree < 0)
		return err_wrap(err, "readonly path '%s'", path);
	r = tree_attr(tree, MOUNT_ATTR_RDONLY, 0, false, err);
	if (r == 0)
		r = tree_attach(tree, fd, err);
	return r < 0 ? err_wrap(err, "readonly path '%s'", path) : 0;
}
