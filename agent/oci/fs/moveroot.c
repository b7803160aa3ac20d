/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MS_MOVE and chroot. No state.
 *
 * The initramfs stays below the container's root and can't be unmounted, so everything mounted on
 * it goes: a privileged process that finds its way down must not meet an unmasked /proc, and a
 * share or disk must not stay busy for as long as this container lives.
 */

#include "oci/fs/impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "oci/fs/tree.h"
#include "linux/mountinfo.h"
#include "linux/path.h"
#include "base/auto.h"
#include "base/err.h"
#include "base/str.h"

struct entry {
	const char *path;
	const char *type;
	bool gone;
};

/* The entries of a mount table but "/", cut up in place; the array is the caller's, or NULL. */
static struct entry *list_mounts(char *text, size_t *ret_n)
{
	struct entry *list;
	struct mountinfo m;
	size_t lines = 1, n = 0;

	for (const char *p = text; (p = strchr(p, '\n')); p++)
		lines++;
	list = calloc(lines, sizeof(*list));
	if (!list)
		return NULL;
	while (mountinfo_next(&text, &m)) {
		if (m.point[0] == '/' && m.point[1])
			list[n++] = (struct entry){ .path = m.point, .type = m.type };
	}
	*ret_n = n;
	return list;
}

static bool is_covered(const struct entry *list, size_t i)
{
	for (size_t k = 0; k < i; k++) {
		if (list[k].gone && !str_eq(list[k].path, list[i].path) &&
		    path_is_below(list[i].path, list[k].path))
			return true;
	}
	return false;
}

/* With the initramfs as current directory: relative paths, which our new root doesn't hide. */
static int drop_mounts(struct entry *list, size_t n, bool shared, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		const char *path = list[i].path + 1;

		if (is_covered(list, i))
			continue;
		/* Else an unmount of what lies below would reach the guest. */
		if (shared && mount(NULL, path, NULL, MS_SLAVE | MS_REC, NULL) < 0 &&
		    errno != EINVAL && errno != ENOENT)
			return err_sys(err, errno, "make '%s' a slave", list[i].path);
		if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0) {
			list[i].gone = true;
			continue;
		}
		if (errno == ENOENT ||
		    (!str_eq(list[i].type, "proc") && !str_eq(list[i].type, "sysfs")))
			continue;
		/* One that was ours has moved along; then there is nothing to cover. */
		if (access(path, F_OK) == 0 &&
		    mount("tmpfs", path, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
			  "mode=755") < 0)
			return err_sys(err, errno, "cover '%s' of the guest", list[i].path);
	}
	return 0;
}

int moveroot_enter(int root, int proc, bool shared, struct err *err)
{
	AUTO_CLOSE int old = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	AUTO_FREE struct entry *list = NULL;
	AUTO_FREE char *text = NULL;
	size_t n = 0;
	ssize_t len;
	int r;

	if (old < 0)
		return err_sys(err, errno, "open /");
	len = mountinfo_read(proc, &text);
	if (len < 0)
		return err_sys(err, (int)-len, "read mountinfo");
	list = list_mounts(text, &n);
	if (!list)
		return err_set(err, ENOMEM, "mountinfo");
	r = tree_attach(root, old, err);
	if (r < 0)
		return err_wrap(err, "move the root file system to /");
	if (fchdir(old) < 0)
		return err_sys(err, errno, "chdir to the old root");
	r = drop_mounts(list, n, shared, err);
	if (r < 0)
		return r;
	if (fchdir(root) < 0 || chroot(".") < 0 || chdir("/") < 0)
		return err_sys(err, errno, "chroot");
	return 0;
}
