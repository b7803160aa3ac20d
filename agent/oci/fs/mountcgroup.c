/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cgroup view. No state; where we are comes from /proc/self/cgroup, where the hierarchies are
 * mounted in the guest from the customary names below /sys/fs/cgroup, so that no mount table has
 * to be read.
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
#include "linux/mountinfo.h"
#include "linux/path.h"
#include "base/auto.h"
#include "base/err.h"
#include "base/str.h"

#define CGROUP_ROOT "/sys/fs/cgroup"
#define TOP_FLAGS   ((unsigned long)(MS_NOSUID | MS_NODEV | MS_NOEXEC))

/* Below the hierarchy's root, and not outside of the namespace that we look from ("/../x"). */
static bool is_usable(const char *path)
{
	return path[0] == '/' && !path_has_dotdot(path);
}

static int read_list(const struct mount_env *env, char **ret, struct err *err)
{
	ssize_t n = cgroup_line_read(env->proc, ret);

	return n < 0 ? err_sys(err, (int)-n, "read /proc/self/cgroup") : 0;
}

static int attr(int tree, const struct mountopt *o, struct err *err)
{
	struct mount_attr a;

	mountopt_setattr(o, &a);
	return tree_attr(tree, a.attr_set, a.attr_clr, false, err);
}

/*
 * A new mount starts at the root of our cgroup namespace, a bind at our own cgroup. At the root
 * both are the same, unless the namespace hides where that root really is: never bind there.
 */
static bool wants_mount(const struct mount_env *env, const struct cgroup_line *h)
{
	return env->cgroupns || str_eq(h->path, "/");
}

/* ---- version 2 ---- */

static int unified_tree(const struct mount_env *env, const struct cgroup_line *h,
			const struct mountopt *o, struct err *err)
{
	struct tree_fs fs = {
		.type = "cgroup2", .source = "cgroup", .data = o->data, .flags = o->flags
	};
	AUTO_CLOSE int tree = FD_NONE;
	char path[LIMIT_PATH];
	int r;

	if (wants_mount(env, h))
		return tree_new(&fs, err);
	if (!is_usable(h->path) ||
	    snprintf(path, sizeof(path), "%s%s", CGROUP_ROOT, h->path) >= (int)sizeof(path))
		return err_set(err, EINVAL, "cgroup '%s' can't be bound", h->path);
	tree = tree_clone(path, true, err);
	r = tree < 0 ? tree : attr(tree, o, err);
	return r < 0 ? r : TAKE_FD(tree);
}

static int mount_unified(const struct mount_env *env, int target, const struct mountopt *o,
			 struct err *err)
{
	AUTO_CLOSE int tree = FD_NONE;
	AUTO_FREE char *list = NULL;
	struct cgroup_line h;
	char *pos;
	int r;

	r = read_list(env, &list, err);
	if (r < 0)
		return r;
	pos = list;
	do {
		if (!cgroup_line_next(&pos, &h))
			return err_set(err, ENOENT, "no cgroup v2 line in /proc/self/cgroup");
	} while (h.controllers[0] || !str_eq(h.id, "0"));
	tree = unified_tree(env, &h, o, err);
	if (tree < 0)
		return tree;
	r = tree_attach(tree, target, err);
	return r < 0 ? r : TAKE_FD(tree);
}

/* ---- version 1 ---- */

/* Where the hierarchy is mounted: its controllers as one name, or the first of them alone. */
static bool find_hierarchy(const struct cgroup_line *h, char *name, size_t size)
{
	const char *names = h->controllers;
	size_t lens[2];
	struct statfs fs;
	char path[LIMIT_PATH];

	if (str_starts(names, "name="))
		names += strlen("name=");
	lens[0] = strlen(names);
	lens[1] = strcspn(names, ",");
	for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
		if (lens[i] == 0 || lens[i] >= size || memchr(names, '/', lens[i]) ||
		    names[0] == '.')
			continue;
		memcpy(name, names, lens[i]);
		name[lens[i]] = '\0';
		(void)snprintf(path, sizeof(path), "%s/%s", CGROUP_ROOT, name);
		if (statfs(path, &fs) == 0 && fs.f_type == CGROUP_SUPER_MAGIC)
			return true;
	}
	return false;
}

static int own_tree(const struct mount_env *env, const struct cgroup_line *h, const char *name,
		    const struct mountopt *o, struct err *err)
{
	char text[LIMIT_PATH];

	if (wants_mount(env, h)) {
		struct tree_fs fs = { .type = "cgroup",
				      .source = "cgroup",
				      .data = text,
				      .flags = o->flags | TOP_FLAGS };

		(void)snprintf(text, sizeof(text), "%s%s",
			       str_starts(h->controllers, "name=") ? "none," : "", h->controllers);
		return tree_new(&fs, err);
	}
	if (!is_usable(h->path) || snprintf(text, sizeof(text), "%s/%s%s", CGROUP_ROOT, name,
					    h->path) >= (int)sizeof(text))
		return err_set(err, EINVAL, "cgroup '%s' of '%s' can't be bound", h->path, name);
	return tree_clone(text, false, err);
}

/* "cpu" and "cpuacct" lead to "cpu,cpuacct". */
static int link_controllers(int top, const char *controllers, const char *name, struct err *err)
{
	char one[64];

	while (*controllers) {
		size_t len = strcspn(controllers, ",");

		if (len > 0 && len < sizeof(one)) {
			memcpy(one, controllers, len);
			one[len] = '\0';
			if (!str_eq(one, name) && symlinkat(name, top, one) < 0 && errno != EEXIST)
				return err_sys(err, errno, "link cgroup '%s'", one);
		}
		controllers += len;
		controllers += *controllers == ',';
	}
	return 0;
}

static int mount_hierarchy(const struct mount_env *env, int top, const struct cgroup_line *h,
			   const struct mountopt *o, struct err *err)
{
	AUTO_CLOSE int tree = FD_NONE, dir = FD_NONE;
	char name[256];
	int r;

	if (!find_hierarchy(h, name, sizeof(name)))
		return 0; /* the kernel has it, the guest hasn't mounted it */
	tree = own_tree(env, h, name, o, err);
	if (tree < 0)
		return tree;
	if (mkdirat(top, name, 0755) < 0)
		return err_sys(err, errno, "mkdir for cgroup '%s'", name);
	dir = path_open_plain(top, name, O_PATH | O_DIRECTORY, 0);
	if (dir < 0)
		return err_sys(err, -dir, "open directory for cgroup '%s'", name);
	r = tree_attr(tree, mountopt_attrs(o->flags | TOP_FLAGS), 0, false, err);
	if (r == 0)
		r = tree_attach(tree, dir, err);
	if (r == 0 && !str_starts(h->controllers, "name="))
		r = link_controllers(top, h->controllers, name, err);
	return r;
}

static int mount_hierarchies(const struct mount_env *env, int target, const struct mountopt *o,
			     struct err *err)
{
	struct tree_fs fs = { .type = "tmpfs",
			      .source = "cgroup",
			      .mode = "755",
			      .context = env->label,
			      .flags = o->flags | TOP_FLAGS,
			      .writable = true };
	AUTO_CLOSE int top = tree_new(&fs, err);
	AUTO_FREE char *list = NULL;
	struct cgroup_line h;
	char *pos;
	int r;

	if (top < 0)
		return top;
	r = read_list(env, &list, err);
	if (r == 0)
		r = tree_attach(top, target, err);
	pos = list;
	while (r == 0 && cgroup_line_next(&pos, &h)) {
		if (h.controllers[0])
			r = mount_hierarchy(env, top, &h, o, err);
	}
	if (r == 0 && (o->flags & MS_RDONLY))
		r = tree_attr(top, MOUNT_ATTR_RDONLY, 0, false, err);
	return r < 0 ? r : TAKE_FD(top);
}

int mountcgroup(const struct mount_env *env, int target, const struct mountopt *o, struct err *err)
{
	struct statfs fs;

	if (statfs(CGROUP_ROOT, &fs) < 0)
		return err_sys(err, errno, "no cgroup file system in the guest");
	if (fs.f_type == CGROUP2_SUPER_MAGIC)
		return mount_unified(env, target, o, err);
	return mount_hierarchies(env, target, o, err);
}
