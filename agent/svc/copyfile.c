/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CopyFile: a file of the host, chunk by chunk, to a place below /run. No state between the chunks
 * but the file "<path>.tmp" itself. Paths are walked without following a link (CVE-2026-41326). Into
 * memory it writes at once; onto anything else in a worker.
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

#define ROOT_1X	 "/run"
#define ROOT_3X	 "/run/kata-containers/shared/containers"
#define DIR_MODE 0750 /* where a request has none: what the runtime sends */
#define SUFFIX	 ".tmp"

struct copy {
	struct call *call;
	const Grpc__CopyFileRequest *req;
	const char *root; /* rel is below it */
	char rel[LIMIT_PATH];
	mode_t mode; /* of the file */
};

static int copyfile_err(struct err *err, const struct copy *cp, const char *what)
{
	return err_sys(err, errno, "%s %s/%s", what, cp->root, cp->rel);
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
		return err_set(err, EPERM, "temporary file of %s/%s is not a file of ours",
			       cp->root, cp->rel);
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

static int copy_chunk(int dir, const char *name, const struct copy *cp, struct err *err)
{
	char tmp[NAME_MAX + 1];
	AUTO_CLOSE int fd = FD_NONE;
	struct stat st;

	if (strlen(name) + strlen(SUFFIX) >= sizeof(tmp))
		return err_sys(err, ENAMETOOLONG, "%s/%s" SUFFIX, cp->root, cp->rel);
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
	if (renameat(dir, tmp, dir, name) < 0)
		return copyfile_err(err, cp, "rename temporary file to");
	return 0;
}

static int copy_directory(int dir, const char *name, const struct copy *cp, struct err *err)
{
	AUTO_CLOSE int fd = FD_NONE;

	if (mkdirat(dir, name, cp->mode) < 0 && errno != EEXIST)
		return copyfile_err(err, cp, "make directory");
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
		return err_set(err, EINVAL, "bad target or name of symbolic link %s/%s", cp->root,
			       cp->rel);
	(void)memcpy(target, cp->req->data.data, len);
	target[len] = '\0';
	(void)snprintf(tmp, sizeof(tmp), "%s" SUFFIX, name);
	(void)unlinkat(dir, tmp, 0);
	if (symlinkat(target, dir, tmp) < 0 ||
	    fchownat(dir, tmp, owner(cp->req->uid), owner(cp->req->gid), AT_SYMLINK_NOFOLLOW) < 0 ||
	    renameat(dir, tmp, dir, name) < 0)
		return copyfile_err(err, cp, "make symbolic link");
	return 0;
}

static int open_parent(const struct copy *cp, const char **name, struct err *err)
{
	AUTO_CLOSE int root = open(cp->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	mode_t mode = cp->req->dir_mode & 0777;
	int fd;

	if (root < 0)
		return err_sys(err, errno, "open %s", cp->root);
	fd = confine_parent(root, cp->rel, mode ? mode : DIR_MODE, name);
	return fd < 0 ? err_sys(err, -fd, "open or make parent of %s/%s", cp->root, cp->rel) : fd;
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

static int copy_job(void *arg, int out, struct err *err)
{
	const struct copy *cp = ((const struct call *)arg)->wait;
	const char *name;
	AUTO_CLOSE int dir = open_parent(cp, &name, err);

	(void)out;
	return dir < 0 ? dir : copy_in(dir, name, cp, err);
}

/* Memory only: then a write cannot wait for anybody. */
static bool is_memory(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

static int read_request(struct copy *cp, struct err *err)
{
	const Grpc__CopyFileRequest *req = cp->req;
	bool old = cp->call->schema == SCHEMA_1X;
	int64_t end;

	cp->root = old ? ROOT_1X : ROOT_3X;
	if (confine_clean(cp->root, req->path, cp->rel) < 0)
		return err_set(err, EPERM, "Only is possible to copy files into the %s directory",
			       cp->root);
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
	AUTO_CLOSE int dir = FD_NONE;
	const char *name;

	if (!cp)
		return err_sys(err, ENOMEM, "CopyFile");
	cp->call = c;
	cp->req = req;
	if (read_request(cp, err) < 0)
		return -err->code;
	dir = open_parent(cp, &name, err);
	if (dir < 0)
		return dir;
	if (is_memory(dir))
		return copy_in(dir, name, cp, err) < 0 ? -err->code : call_reply_empty(c);
	return work_start(c, NULL, cp, copy_job, work_done_empty, err);
}
