/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mount API that works on fds (fsopen, open_tree, mount_setattr, move_mount). No state.
 */
#include "oci/fs/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "oci/fs/mountopt.h"
#include "base/auto.h"
#include "base/err.h"
#include "base/str.h"

#define VALUE_MAX    255u /* fsconfig() takes no longer keys and values */
#define PROPAGATIONS ((unsigned long)(MS_SHARED | MS_SLAVE | MS_PRIVATE | MS_UNBINDABLE))

/* Flags of the file system, not of the mount. must: the kernel knows the word for any type. */
static const struct {
	unsigned long flag;
	const char *word;
	bool must;
} fs_flags[] = {
	{ MS_RDONLY, "ro", true },
	{ MS_SYNCHRONOUS, "sync", true },
	{ MS_DIRSYNC, "dirsync", true },
	{ MS_LAZYTIME, "lazytime", true },
	{ MS_MANDLOCK, "mand", false },
	{ MS_POSIXACL, "acl", false },
	{ MS_I_VERSION, "i_version", false },
};

/* The kernel says more than an errno on the context's fd: "e tmpfs: Bad value for 'mode'". */
static int context_failed(int ctx, const char *type, const char *what, struct err *err)
{
	int code = errno;
	char text[160];
	ssize_t n = read(ctx, text, sizeof(text) - 1);

	while (n > 0 && text[n - 1] == '\n')
		n--;
	if (n <= 2)
		return err_sys(err, code, "file system '%s': %s", type, what);
	text[n] = '\0';
	return err_set(err, code, "file system '%s': %s: %s (%s)", type, what, strerror(code),
		       text + 2);
}

static int set_string(int ctx, const char *type, const char *key, const char *value,
		      struct err *err)
{
	if (fsconfig(ctx, FSCONFIG_SET_STRING, key, value, 0) < 0)
		return context_failed(ctx, type, key, err);
	return 0;
}

bool tree_fits(const char *source, const char *data)
{
	/* Only the file system itself knows a comma that is none of ours. */
	if (strlen(source) > VALUE_MAX || strstr(data, "\\,") || strchr(data, '"'))
		return false;
	while (*data) {
		size_t len = strcspn(data, ",");
		size_t key = strcspn(data, "=,");

		if (key > VALUE_MAX || (len > key && len - key - 1 > VALUE_MAX))
			return false;
		data += len;
		data += *data == ',';
	}
	return true;
}

static int set_data(int ctx, const char *type, const char *data, struct err *err)
{
	char word[2 * VALUE_MAX + 2];

	while (*data) {
		size_t len = strcspn(data, ",");
		char *value;

		if (len >= sizeof(word))
			return err_set(err, EINVAL, "file system '%s': option too long", type);
		memcpy(word, data, len);
		word[len] = '\0';
		data += len;
		data += *data == ',';
		if (len == 0)
			continue;
		value = strchr(word, '=');
		if (value)
			*value++ = '\0';
		if (fsconfig(ctx, value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, word, value, 0) <
		    0)
			return context_failed(ctx, type, word, err);
	}
	return 0;
}

static int set_flags(int ctx, const struct tree_fs *fs, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(fs_flags); i++) {
		if (!(fs->flags & fs_flags[i].flag))
			continue;
		if (fs_flags[i].flag == MS_RDONLY && fs->writable)
			continue;
		if (fsconfig(ctx, FSCONFIG_SET_FLAG, fs_flags[i].word, NULL, 0) < 0 &&
		    fs_flags[i].must)
			return context_failed(ctx, fs->type, fs_flags[i].word, err);
	}
	return 0;
}

int tree_new(const struct tree_fs *fs, struct err *err)
{
	AUTO_CLOSE int ctx = fsopen(fs->type, FSOPEN_CLOEXEC);
	uint64_t attrs = mountopt_attrs(fs->flags);
	int fd, r;

	if (ctx < 0)
		return err_sys(err, errno, "file system type '%s'", fs->type);
	if (!str_empty(fs->source)) {
		r = set_string(ctx, fs->type, "source", fs->source, err);
		if (r < 0)
			return r;
	}
	r = set_flags(ctx, fs, err);
	if (r == 0 && !str_empty(fs->data))
		r = set_data(ctx, fs->type, fs->data, err);
	if (r == 0 && fs->mode)
		r = set_string(ctx, fs->type, "mode", fs->mode, err);
	if (r == 0 && !str_empty(fs->context))
		r = set_string(ctx, fs->type, "context", fs->context, err);
	if (r < 0)
		return r;
	if (fsconfig(ctx, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return context_failed(ctx, fs->type, "create", err);
	if (fs->writable)
		attrs &= ~(uint64_t)MOUNT_ATTR_RDONLY;
	fd = fsmount(ctx, FSMOUNT_CLOEXEC, (unsigned int)attrs);
	return fd < 0 ? context_failed(ctx, fs->type, "mount", err) : fd;
}

int tree_reconfigure(int fd, const struct tree_fs *fs, struct err *err)
{
	AUTO_CLOSE int ctx = fspick(fd, "", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH);
	int r;

	if (ctx < 0)
		return err_sys(err, errno, "pick the file system");
	r = set_flags(ctx, fs, err);
	if (r == 0 && !str_empty(fs->data))
		r = set_data(ctx, fs->type, fs->data, err);
	if (r < 0)
		return r;
	if (fsconfig(ctx, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0) < 0)
		return context_failed(ctx, fs->type, "reconfigure", err);
	return 0;
}

int tree_clone(const char *path, bool recursive, struct err *err)
{
	int fd = open_tree(AT_FDCWD, path,
			   (unsigned int)(OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC |
					  (recursive ? AT_RECURSIVE : 0)));

	return fd < 0 ? err_sys(err, errno, "bind from '%s'", path) : fd;
}

int tree_clone_fd(int fd, bool recursive, struct err *err)
{
	int tree = open_tree(fd, "",
			     (unsigned int)(OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH |
					    (recursive ? AT_RECURSIVE : 0)));

	return tree < 0 ? err_sys(err, errno, "bind") : tree;
}

static int setattr(int tree, struct mount_attr *attr, bool recursive)
{
	return mount_setattr(tree, "",
			     (unsigned int)(AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0)), attr,
			     sizeof(*attr)) < 0
		       ? -errno
		       : 0;
}

int tree_attr(int tree, uint64_t set, uint64_t clr, bool recursive, struct err *err)
{
	struct mount_attr attr = { .attr_set = set, .attr_clr = clr };
	int r;

	if (!set && !clr)
		return 0;
	r = setattr(tree, &attr, recursive);
	return r < 0 ? err_sys(err, -r, "set mount flags") : 0;
}

int tree_propagation(int tree, unsigned long flags, struct err *err)
{
	struct mount_attr attr = { .propagation = flags & PROPAGATIONS };
	int r = setattr(tree, &attr, flags & MS_REC);

	return r < 0 ? err_sys(err, -r, "set mount propagation") : 0;
}

int tree_bind_options(int tree, const struct mountopt *o, bool writable, struct err *err)
{
	struct mount_attr a;

	mountopt_setattr(o, &a);
	if (writable)
		a.attr_set &= ~(uint64_t)MOUNT_ATTR_RDONLY;
	return tree_attr(tree, a.attr_set, a.attr_clr, false, err);
}

int tree_options(int tree, const struct mountopt *o, struct err *err)
{
	int r = tree_attr(tree, o->rec_set, o->rec_clr, true, err);

	for (size_t i = 0; r == 0 && i < o->n_propagation; i++)
		r = tree_propagation(tree, o->propagation[i], err);
	return r;
}

int tree_attach(int tree, int target, struct err *err)
{
	if (move_mount(tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return err_sys(err, errno, "attach mount");
	return 0;
}
