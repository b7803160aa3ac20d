/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CopyFile: a file of the host, chunk by chunk, to a place below /run. Between the chunks there is
 * the file "<path>.tmp"; calls for one path have their turns in the order in which they came
 * (agent->copies). Paths are walked without following a link (CVE-2026-41326). On /run's own mount,
 * which is memory, the work is done at once; what leads onto any other, in a worker.
 */
#include "svc/svc.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/str.h"
#include "linux/confine.h"
#include "linux/path.h"
#include "pod/agent.h"

#define RUN	  "/run"
#define SHARE_3X  "kata-containers/shared/containers" /* below RUN; made by who comes first */
#define ROOT_MODE 0755
#define DIR_MODE  0750 /* where a request has none: what the runtime sends */
#define SUFFIX	  ".tmp"

struct copy {
	struct list link; /* in agent->copies */
	struct call *call;
	const Grpc__CopyFileRequest *req;
	const char *root; /* below RUN; rel is below it */
	char rel[LIMIT_PATH];
	mode_t mode; /* of the file */
};

static int copyfile_err(struct err *err, const struct copy *cp, const char *what)
{
	return err_sys(err, errno, "%s %s", what, cp->req->path);
}

static uid_t owner(int32_t id)
{
	return (uid_t)id; /* -1 keeps */
}

/*
 * The file that the chunks go to. A chunk at offset 0 begins a copy: what an earlier one left
 * behind is not part of it. A file that is larger than the copy will be is such a rest, too.
 */
static int open_tmp(int dir, const char *name, const struct copy *cp, struct err *err)
{
	AUTO_CLOSE int fd =
		openat(dir, name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return copyfile_err(err, cp, "open temporary file of");
	if (!S_ISREG(st.st_mode) || st.st_nlink != 1)
		return err_set(err, EPERM, "temporary file of %s is not a file of ours",
			       cp->req->path);
	if (cp->req->offset == 0 || st.st_size > cp->req->file_size) {
		if (ftruncate(fd, 0) < 0)
			return copyfile_err(err, cp, "truncate temporary file of");
	}
	return TAKE_FD(fd);
}

static int write_chunk(int fd, const struct copy *cp, struct err *err)
{
	const uint8_t *p = cp->req->data.data;
	size_t left = cp->req->data.len;
	off_t at = cp->req->offset;

	while (left > 0) {
		ssize_t n = pwrite(fd, p, left, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return copyfile_err(err, cp, "write");
		p += n;
		at += n;
		left -= (size_t)n;
	}
	return 0;
}

/* 3.x: whatever is there gives way, a directory with all that is in it. */
static int copyfile_place(int dir, const char *tmp, const char *name, const struct copy *cp,
			  struct err *err)
{
	int r = renameat(dir, tmp, dir, name) < 0 ? -errno : 0;

	if (cp->call->schema == SCHEMA_3X && (r == -EISDIR || r == -ENOTDIR)) {
		if (renameat2(dir, tmp, dir, name, RENAME_EXCHANGE) == 0) {
			r = fdio_remove_tree(dir, tmp);
		} else {
			r = fdio_remove_tree(dir, name);
			if (r == 0 && renameat(dir, tmp, dir, name) < 0)
				r = -errno;
		}
	}
	return r < 0 ? err_sys(err, -r, "put in place %s", cp->req->path) : 0;
}

static int copy_chunk(int dir, const char *name, const struct copy *cp, struct err *err)
{
	char tmp[NAME_MAX + 1];
	AUTO_CLOSE int fd = FD_NONE;
	struct stat st;

	if (strlen(name) + strlen(SUFFIX) >= sizeof(tmp))
		return err_sys(err, ENAMETOOLONG, "%s" SUFFIX, cp->req->path);
	(void)snprintf(tmp, sizeof(tmp), "%s" SUFFIX, name);
	fd = open_tmp(dir, tmp, cp, err);
	if (fd < 0)
		return fd;
	if (write_chunk(fd, cp, err) < 0)
		return -err->code;
	if (fstat(fd, &st) < 0)
		return copyfile_err(err, cp, "stat");
	if (st.st_size != cp->req->file_size)
		return 0; /* more will come */
	/* The owner first: changing it takes setuid bits away. */
	if (fchown(fd, owner(cp->req->uid), owner(cp->req->gid)) < 0 || fchmod(fd, cp->mode) < 0)
		return copyfile_err(err, cp, "set owner and mode of");
	return copyfile_place(dir, tmp, name, cp, err);
}

static int copy_directory(int dir, const char *name, const struct copy *cp, struct err *err)
{
	char tmp[NAME_MAX + 1];
	AUTO_CLOSE int fd = FD_NONE;
	struct stat st;

	if (mkdirat(dir, name, cp->mode) < 0 && errno != EEXIST)
		return copyfile_err(err, cp, "make directory");
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(st.st_mode)) {
		if (strlen(name) + strlen(SUFFIX) >= sizeof(tmp))
			return err_sys(err, ENAMETOOLONG, "%s" SUFFIX, cp->req->path);
		(void)snprintf(tmp, sizeof(tmp), "%s" SUFFIX, name);
		(void)unlinkat(dir, tmp, 0);
		if (mkdirat(dir, tmp, cp->mode) < 0 && errno != EEXIST)
			return copyfile_err(err, cp, "make directory");
		if (copyfile_place(dir, tmp, name, cp, err) < 0)
			return -err->code;
	}
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fchown(fd, owner(cp->req->uid), owner(cp->req->gid)) < 0 ||
	    fchmod(fd, cp->mode) < 0)
		return copyfile_err(err, cp, "set owner and mode of");
	return 0;
}

/* The link itself may point anywhere: nothing of ours follows it. */
static int copyfile_link(int dir, const char *name, const struct copy *cp, struct err *err)
{
	char target[PATH_MAX], tmp[NAME_MAX + 1];
	size_t len = cp->req->data.len;

	if (len == 0 || len >= sizeof(target) || memchr(cp->req->data.data, '\0', len) ||
	    strlen(name) + strlen(SUFFIX) >= sizeof(tmp))
		return err_set(err, EINVAL, "bad target or name of symbolic link %s",
			       cp->req->path);
	(void)memcpy(target, cp->req->data.data, len);
	target[len] = '\0';
	(void)snprintf(tmp, sizeof(tmp), "%s" SUFFIX, name);
	(void)unlinkat(dir, tmp, 0);
	if (symlinkat(target, dir, tmp) < 0 ||
	    fchownat(dir, tmp, owner(cp->req->uid), owner(cp->req->gid), AT_SYMLINK_NOFOLLOW) < 0)
		return copyfile_err(err, cp, "make symbolic link");
	return copyfile_place(dir, tmp, name, cp, err);
}

/* Fd of the directory that the file goes to, made where missing; or -errno. */
typedef int copyfile_walk(int root, const char *path, mode_t mode);

static int copyfile_any_mount(int root, const char *path, mode_t mode)
{
	return confine_dir(root, path, mode, NULL);
}

static int copyfile_parent(const struct copy *cp, copyfile_walk *walk, const char **name)
{
	AUTO_CLOSE int run = open(RUN, O_PATH | O_DIRECTORY | O_CLOEXEC);
	AUTO_CLOSE int root = run < 0 ? -errno : walk(run, cp->root, ROOT_MODE);
	const char *slash = strrchr(cp->rel, '/');
	mode_t mode = cp->req->dir_mode & 0777;
	char dir[LIMIT_PATH] = "";

	*name = slash ? slash + 1 : cp->rel;
	if (slash)
		(void)memcpy(dir, cp->rel, (size_t)(slash - cp->rel));
	return root < 0 ? root : walk(root, dir, mode ? mode : DIR_MODE);
}

static int copy_in(int dir, const char *name, const struct copy *cp, struct err *err)
{
	bool any_type = cp->call->schema == SCHEMA_3X;

	/* 3.x: who gets the file gets its directory. */
	if (any_type &&
	    fchownat(dir, "", owner(cp->req->uid), owner(cp->req->gid), AT_EMPTY_PATH) < 0)
		return copyfile_err(err, cp, "set owner of the parent of");
	if (any_type && S_ISDIR(cp->req->file_mode))
		return copy_directory(dir, name, cp, err);
	if (any_type && S_ISLNK(cp->req->file_mode))
		return copyfile_link(dir, name, cp, err);
	return copy_chunk(dir, name, cp, err);
}

/* ---- at once, or in a worker; one at a time for each path ---- */

/*
 * The directory, if nothing of the work can wait: it is on /run's own mount, that is memory, and no
 * tree has to give way. Else -errno.
 */
static int copyfile_at_once(const struct copy *cp, const char **name)
{
	AUTO_CLOSE int dir = copyfile_parent(cp, path_mount_dir, name);
	char tmp[LIMIT_PATH + sizeof(SUFFIX)];
	struct statfs fs;
	int there;

	if (dir < 0)
		return dir;
	if (fstatfs(dir, &fs) < 0 || (fs.f_type != TMPFS_MAGIC && fs.f_type != RAMFS_MAGIC))
		return -EXDEV;
	(void)snprintf(tmp, sizeof(tmp), "%s" SUFFIX, *name);
	there = path_mount_dir(dir, tmp, 0);
	if (there >= 0)
		(void)close(there);
	if (there == -EXDEV)
		return -EXDEV;
	there = path_mount_dir(dir, *name, 0);
	if (there >= 0)
		(void)close(there);
	return there == -EXDEV || (there >= 0 && !S_ISDIR(cp->req->file_mode)) ? -EXDEV
									       : TAKE_FD(dir);
}

static int copy_job(void *arg, int out, struct err *err)
{
	const struct copy *cp = ((const struct call *)arg)->wait;
	const char *name;
	AUTO_CLOSE int dir = copyfile_parent(cp, copyfile_any_mount, &name);

	(void)out;
	return dir < 0 ? err_sys(err, -dir, "open or make parent of %s", cp->req->path)
		       : copy_in(dir, name, cp, err);
}

static struct copy *copyfile_same_path(struct agent *a, const struct copy *cp)
{
	list_for_each(struct copy, other, &a->copies, link) {
		if (other->root == cp->root && str_eq(other->rel, cp->rel))
			return other;
	}
	return NULL;
}

/* The next in turn for the path of cp, which has had its own. */
static void copyfile_next(struct agent *a, struct copy *cp);

static void copyfile_done(void *arg, const struct err *err, const struct buf *out)
{
	struct call *c = arg;

	copyfile_next(call_agent(c), c->wait);
	work_done_empty(c, err, out);
}

static int copyfile_work(struct copy *cp, struct err *err)
{
	return work_start(cp->call, &work_writes, cp, copy_job, copyfile_done, err);
}

static void copyfile_next(struct agent *a, struct copy *cp)
{
	struct err err = { 0 };
	struct copy *next;

	list_del(&cp->link);
	while ((next = copyfile_same_path(a, cp)) && copyfile_work(next, &err) < 0) {
		list_del(&next->link);
		(void)call_fail(next->call, &err);
	}
}

static int read_request(struct copy *cp, struct err *err)
{
	const Grpc__CopyFileRequest *req = cp->req;
	bool old = cp->call->schema == SCHEMA_1X;
	int64_t end;

	cp->root = old ? "" : SHARE_3X;
	if (confine_clean(old ? RUN : RUN "/" SHARE_3X, req->path, cp->rel) < 0)
		return err_set(err, EPERM, "Only is possible to copy files into the %s directory",
			       old ? RUN : RUN "/" SHARE_3X);
	if (req->offset < 0 || req->file_size < 0 ||
	    __builtin_add_overflow(req->offset, (int64_t)req->data.len, &end) ||
	    (end > req->file_size && (old || !S_ISLNK(req->file_mode))))
		return err_set(err, EINVAL,
			       "chunk of %zu bytes at %lld is outside a file of %lld bytes",
			       req->data.len, (long long)req->offset, (long long)req->file_size);
	cp->mode = req->file_mode & (old ? 0777 : 07777);
	return 0;
}

int svc_copy_file(struct call *c, const void *req, struct err *err)
{
	struct copy *cp = arena_zalloc(&c->mem, sizeof(*cp));
	struct agent *a = call_agent(c);
	AUTO_CLOSE int dir = FD_NONE;
	const char *name;
	bool wait;
	int r;

	if (!cp)
		return err_sys(err, ENOMEM, "CopyFile");
	cp->call = c;
	cp->req = req;
	if (read_request(cp, err) < 0)
		return -err->code;
	wait = copyfile_same_path(a, cp);
	if (!wait)
		dir = copyfile_at_once(cp, &name);
	if (dir >= 0)
		return copy_in(dir, name, cp, err) < 0 ? -err->code : call_reply_empty(c);
	list_add_tail(&a->copies, &cp->link);
	if (wait)
		return call_park(c, NULL, call_go_on, cp);
	r = copyfile_work(cp, err);
	if (r < 0)
		list_del(&cp->link);
	return r;
}
