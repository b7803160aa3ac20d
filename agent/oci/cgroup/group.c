/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One container's cgroup: made, entered, removed, in v1's many hierarchies or v2's one. State: the
 * path, a few descriptors on v2, and in the root the list of directories above containers that are
 * ours to remove.
 */
#include "oci/cgroup/impl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "linux/mountinfo.h"
#include "linux/path.h"
#include "base/auto.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/str.h"

#define ATTACH_TRIES 5

static void cgroup_freep(struct cgroup **cg)
{
	cgroup_free(*cg);
}

void cgroup_free(struct cgroup *cg)
{
	if (!cg)
		return;
	auto_closep(&cg->dir_fd);
	auto_closep(&cg->program_fd);
	auto_closep(&cg->oom_fd);
	free(cg->path);
	free(cg);
}

/* --- paths --------------------------------------------------------------------------- */

/* "slice:prefix:name", as systemd's driver sends it: we are no systemd, so these become levels. */
static bool is_systemd_form(const char *s)
{
	const char *first = strchr(s, ':');
	const char *second = first ? strchr(first + 1, ':') : NULL;

	return second && !strchr(second + 1, ':') && !strchr(s, '/');
}

static int choose_path(struct cgroup *cg, const char *wanted, const char *cid, struct err *err)
{
	AUTO_FREE char *path = strdup(str_empty(wanted) ? cid : wanted);
	char clean[LIMIT_PATH];

	if (!path)
		return err_set(err, ENOMEM, "no memory for cgroup path");
	for (char *p = is_systemd_form(path) ? path : NULL; p && (p = strchr(p, ':'));)
		*p = '/';
	/* Lexically: nothing below a cgroup mount is a symbolic link. */
	if (path_clean(path, clean) < 0)
		return err_sys(err, ENAMETOOLONG, "cgroup path '%.64s...'", wanted);
	free(TAKE_PTR(path));
	/* "/" or "..": never the top itself, where the agent may live */
	path = strdup(clean[1] ? clean + 1 : cid);
	if (!path)
		return err_set(err, ENOMEM, "no memory for cgroup path");
	cg->below_own = str_empty(wanted) && cg->root->mode == CGROUP_V1;
	/* Freezing or killing a container must never reach the agent. */
	for (size_t i = 0; i < cg->root->count && !cg->below_own; i++) {
		const char *own = cg->root->h[i].own;
		size_t len = strlen(path);

		if (strncmp(own, path, len) == 0 && (own[len] == '/' || own[len] == '\0'))
			return err_set(err, EINVAL,
				       "cgroup path '%s' is the agent's own or above it", wanted);
	}
	cg->path = TAKE_PTR(path);
	return 0;
}

/* --- making and removing ------------------------------------------------------------- */

static struct made_dir *find_made(struct cgroup_root *root, const char *path)
{
	list_for_each(struct made_dir, d, &root->made, link) {
		if (str_eq(d->path, path))
			return d;
	}
	return NULL;
}

static int remember_made(struct cgroup_root *root, const char *path)
{
	struct made_dir *d;

	if (find_made(root, path))
		return 0;
	d = malloc(sizeof(*d) + strlen(path) + 1);
	if (!d)
		return -ENOMEM;
	(void)memcpy(d->path, path, strlen(path) + 1);
	list_add_tail(&root->made, &d->link);
	return 0;
}

static int make_parents(struct cgroup_root *root, const struct hierarchy *h, char *path)
{
	for (char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
		int r = 0;

		*slash = '\0';
		if (mkdirat(h->fd, path, 0755) == 0)
			r = remember_made(root, path);
		else if (errno != EEXIST)
			r = -errno;
		*slash = '/';
		if (r < 0)
			return r;
	}
	return 0;
}

static int make_dirs(struct cgroup *cg, struct err *err)
{
	struct cgroup_root *root = cg->root;
	struct cgroup_path path;

	for (size_t i = 0; i < root->count; i++) {
		struct hierarchy *h = &root->h[i];
		int r = cgroup_path(cg, h, NULL, &path);

		if (r == 0) {
			r = mkdirat(h->fd, path.text, 0755) < 0 ? -errno : 0;
			if (r == -ENOENT && (r = make_parents(root, h, path.text)) == 0)
				r = mkdirat(h->fd, path.text, 0755) < 0 ? -errno : 0;
		}
		if (r == 0)
			cg->made |= 1u << i;
		else if (r != -EEXIST)
			return err_sys(err, -r, "make cgroup '%s' in %s", cg->path, h->name);
	}
	return 0;
}

/* rmdir of a cgroup and of those that were made below it. 0 also when it isn't there. */
static int remove_dir(int top, const char *name, int depth, unsigned int *left)
{
	AUTO_CLOSE int fd = FD_NONE;
	AUTO_DIR DIR *d = NULL;
	struct dirent *e;
	int r = 0;

	if (unlinkat(top, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return 0;
	if ((errno != EBUSY && errno != ENOTEMPTY) || depth == LIMIT_CGROUP_DEPTH)
		return -errno;
	if (*left == 0) /* others have their turn; the next try finds fewer */
		return -EBUSY;
	--*left;
	fd = openat(top, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	d = fdopendir(fd);
	if (!d)
		return -errno;
	(void)TAKE_FD(fd); /* the stream's now */
	while (r == 0 && (e = readdir(d))) {
		if (e->d_type == DT_DIR && !str_eq(e->d_name, ".") && !str_eq(e->d_name, ".."))
			r = remove_dir(dirfd(d), e->d_name, depth + 1, left);
	}
	if (r == 0 && unlinkat(top, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		r = -errno;
	return r;
}

/* Upwards, while a level is one that we made and is empty in every hierarchy. */
static void remove_parents(struct cgroup *cg)
{
	struct cgroup_root *root = cg->root;
	char path[PATH_MAX];
	char *slash;

	(void)snprintf(path, sizeof(path), "%s", cg->path);
	while ((slash = strrchr(path, '/'))) {
		struct made_dir *made;
		bool gone = true;

		*slash = '\0';
		made = find_made(root, path);
		if (!made)
			return;
		for (size_t i = 0; i < root->count; i++) {
			if (unlinkat(root->h[i].fd, path, AT_REMOVEDIR) < 0 && errno != ENOENT)
				gone = false;
		}
		if (!gone)
			return;
		list_del(&made->link);
		free(made);
	}
}

static int remove_from(struct cgroup *cg, uint32_t hierarchies, struct err *err)
{
	struct cgroup_root *root = cg->root;
	unsigned int left = LIMIT_CGROUP_GROUPS;
	struct cgroup_path path;
	int failed = 0;

	for (size_t i = 0; i < root->count; i++) {
		int r;

		if (!(hierarchies >> i & 1))
			continue;
		r = cgroup_path(cg, &root->h[i], NULL, &path);
		if (r == 0)
			r = remove_dir(root->h[i].fd, path.text, 0, &left);
		if (r < 0 && !failed)
			failed = err_sys(err, -r, "remove cgroup '%s' from %s", cg->path,
					 root->h[i].name);
	}
	if (!failed && !cg->below_own)
		remove_parents(cg);
	return failed;
}

int cgroup_remove(struct cgroup *cg, struct err *err)
{
	return remove_from(cg, UINT32_MAX, err);
}

static int cgroup_fill(struct cgroup *cg, const Grpc__LinuxResources *res, struct err *err)
{
	int r;

	if (res) {
		r = cgroup_check_limits(cg, res, false, err);
		if (r < 0)
			return r;
	}
	if (cg->root->mode == CGROUP_NONE)
		return 0;
	r = make_dirs(cg, err);
	if (r < 0)
		return r;
	if (cg->root->mode == CGROUP_V1) {
		r = cgroup_v1_prepare(cg, res, err);
		return r == 0 && res ? cgroup_v1_limits(cg, res, false, err) : r;
	}
	cg->dir_fd = cgroup_open(cg, CTL_DEVICES, NULL, O_PATH | O_DIRECTORY);
	if (cg->dir_fd < 0)
		return err_sys(err, -cg->dir_fd, "open cgroup '%s'", cg->path);
	/* What a container makes below its own, we walk through. */
	(void)cgroup_write(cg, CTL_DEVICES, "cgroup.max.depth", NULL, "%d", LIMIT_CGROUP_DEPTH);
	(void)cgroup_write(cg, CTL_DEVICES, "cgroup.max.descendants", NULL, "%u",
			   LIMIT_CGROUP_GROUPS);
	r = cgroup_v2_enable(cg, err);
	return r == 0 && res ? cgroup_v2_limits(cg, res, false, err) : r;
}

int cgroup_create(struct cgroup_root *root, const char *cgroups_path, const char *cid,
		  const Grpc__LinuxResources *res, struct cgroup **ret, struct err *err)
{
	AUTO(cgroup_freep) struct cgroup *cg = calloc(1, sizeof(*cg));
	int r;

	if (!root)
		return err_set(err, EIO, "the guest's cgroups could not be read when it started");
	if (!cg)
		return err_set(err, ENOMEM, "no memory for a cgroup");
	cg->root = root;
	cg->dir_fd = cg->program_fd = cg->oom_fd = FD_NONE;
	r = choose_path(cg, cgroups_path, cid, err);
	if (r < 0)
		return r;
	r = cgroup_fill(cg, res, err);
	if (r < 0) {
		(void)remove_from(cg, cg->made, NULL);
		return r;
	}
	*ret = TAKE_PTR(cg);
	return 0;
}

/* --- entering ------------------------------------------------------------------------ */

int cgroup_attach_fd(const struct cgroup *cg)
{
	return cg->root->mode == CGROUP_V2 ? cg->dir_fd : -1;
}

/* The number of the process, in the terms of our /proc; 0: it is dead. */
static pid_t pid_of(int pidfd)
{
	char path[64], text[512], *line;
	uint64_t pid = 0;

	(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	if (fdio_read_file(AT_FDCWD, path, text, sizeof(text)) < 0)
		return 0;
	line = strstr(text, "\nPid:\t");
	if (!line)
		return 0;
	line += strlen("\nPid:\t");
	line[strcspn(line, "\n")] = '\0';
	return str_u64(line, INT_MAX, &pid) < 0 ? 0 : (pid_t)pid; /* "-1": dead */
}

int cgroup_attach_beside(const struct cgroup *cg, int init_pidfd)
{
	const struct hierarchy *h = &cg->root->h[0];
	AUTO_FREE char *text = NULL;
	struct cgroup_line line = { .path = NULL };
	size_t len = strlen(cg->path);
	pid_t pid = pid_of(init_pidfd);
	const char *path;
	char proc[32], *rest;
	ssize_t n;
	int fd;

	if (pid <= 0)
		return -ESRCH;
	(void)snprintf(proc, sizeof(proc), "/proc/%d/cgroup", (int)pid);
	n = fdio_slurp(AT_FDCWD, proc, LIMIT_CGROUP_FILE, &text);
	if (n < 0)
		return (int)n;
	for (rest = text; cgroup_line_next(&rest, &line) && *line.controllers;)
		line.path = NULL;
	path = line.path ? cgroup_below_top(line.path, h->top) : "";
	/* Wherever a privileged one has gone: never out of the container's own. */
	if (strncmp(path, cg->path, len) != 0 || (path[len] != '/' && path[len] != '\0'))
		return -EBUSY;
	fd = openat(h->fd, path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int cgroup_enter(const struct cgroup *cg, const struct hierarchy *h, const char *file,
			struct err *err)
{
	struct cgroup_path path;
	int r = cgroup_path(cg, h, file, &path), fd = FD_NONE;

	if (r == 0) {
		/* Not closed here: the child sheds all that it doesn't keep, at once. */
		fd = openat(h->fd, path.text, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
		r = fd < 0 ? -errno : 0;
	}
	/* A task that has only just been forked may not be movable for an instant. */
	for (int try = 0; r == 0 && write(fd, "0", 1) < 0; try++) {
		if (errno != EINVAL || try == ATTACH_TRIES)
			r = -errno;
		(void)sched_yield();
	}
	return r < 0 ? err_sys(err, -r, "move into cgroup '%s' of %s", cg->path, h->name) : 0;
}

int cgroup_join(const struct cgroup *cg, struct err *err)
{
	/* "0" in v1's tasks moves the calling thread and takes no lock that waits for RCU. */
	const char *file = cg->root->mode == CGROUP_V1 ? "tasks" : "cgroup.procs";
	int r = 0;

	for (size_t i = 0; r == 0 && i < cg->root->count; i++)
		r = cgroup_enter(cg, &cg->root->h[i], file, err);
	return r;
}
