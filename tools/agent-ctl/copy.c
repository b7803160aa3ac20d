/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy-file: files chunk by chunk; in 3.x folders and links as what they are. 1.x has no message
 * for these: links are followed there, and folders are made for the files in them.
 */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <string.h>
#include <sys/stat.h>

#define COPY_CHUNK (1u << 20)

struct copy {
	struct ctl *c;
	const char *mode, *dir_mode, *uid, *gid;
};

static int number(const char *text, int base, const char *what, int64_t fallback, int64_t *ret,
		  struct err *err)
{
	char *end;

	*ret = fallback;
	if (!text)
		return 0;
	errno = 0;
	*ret = strtoll(text, &end, base);
	if (end == text || *end || errno || *ret < -1 || *ret > INT32_MAX)
		return err_set(err, EINVAL, "--%s: '%s' is not valid", what, text);
	return 0;
}

static int fill_copy(const struct copy *o, const char *to, const struct stat *st,
		     Grpc__CopyFileRequest *req, struct err *err)
{
	int64_t mode, dir_mode, uid, gid;

	if (number(o->mode, 8, "mode", st->st_mode & 07777, &mode, err) < 0 ||
	    number(o->dir_mode, 8, "dir-mode", 0755, &dir_mode, err) < 0 ||
	    number(o->uid, 10, "uid", st->st_uid, &uid, err) < 0 ||
	    number(o->gid, 10, "gid", st->st_gid, &gid, err) < 0)
		return -err->code;
	if (!S_ISREG(st->st_mode)) /* --mode is for files */
		mode = st->st_mode & 07777;
	req->path = (char *)(uintptr_t)to;
	req->file_size = S_ISREG(st->st_mode) ? st->st_size : 0;
	req->file_mode = (uint32_t)mode | (ctl_is_3x(o->c) ? st->st_mode & S_IFMT : 0);
	req->dir_mode = (uint32_t)dir_mode;
	req->uid = (int32_t)uid;
	req->gid = (int32_t)gid;
	return 0;
}

static int read_chunk(int fd, uint8_t *buf, size_t want, const char *path, struct err *err)
{
	size_t have = 0;

	while (have < want) {
		ssize_t n = read(fd, buf + have, want - have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(err, errno, "read '%s': %s", path, strerror(errno));
		if (n == 0)
			return err_set(err, EIO, "'%s' became shorter while it was copied", path);
		have += (size_t)n;
	}
	return 0;
}

static int copy_file(const struct copy *o, const char *from, const char *to, struct err *err)
{
	AUTO_CLOSE int fd = open(from, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	AUTO_FREE uint8_t *buf = xmalloc(COPY_CHUNK);
	PB_LOCAL(Grpc__CopyFileRequest, grpc__copy_file_request, req);
	struct stat st;
	int64_t off = 0;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, errno, "open '%s': %s", from, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(err, EINVAL, "'%s' is no regular file", from);
	if (fill_copy(o, to, &st, &req, err) < 0)
		return -err->code;
	do { /* an empty file takes one call, too */
		int64_t left = st.st_size - off;
		size_t n = left < (int64_t)COPY_CHUNK ? (size_t)left : COPY_CHUNK;

		if (read_chunk(fd, buf, n, from, err) < 0)
			return -err->code;
		req.offset = off;
		req.data = (ProtobufCBinaryData){ n, buf };
		if (ctl_call(o->c, "CopyFile", &req.base, NULL, err) < 0)
			return -err->code;
		off += (int64_t)n;
	} while (off < st.st_size);
	return 0;
}

/* A folder, or a link with its target for data. */
static int copy_other(const struct copy *o, const FTSENT *e, const char *to, struct err *err)
{
	PB_LOCAL(Grpc__CopyFileRequest, grpc__copy_file_request, req);
	char target[4096];
	ssize_t n;

	if (fill_copy(o, to, e->fts_statp, &req, err) < 0)
		return -err->code;
	if (e->fts_info == FTS_SL || e->fts_info == FTS_SLNONE) {
		n = readlink(e->fts_accpath, target, sizeof(target));
		if (n < 0)
			return err_set(err, errno, "read link '%s': %s", e->fts_path,
				       strerror(errno));
		req.data = (ProtobufCBinaryData){ (size_t)n, (uint8_t *)target };
		req.file_size = n;
	}
	return ctl_call(o->c, "CopyFile", &req.base, NULL, err);
}

static int copy_entry(const struct copy *o, const FTSENT *e, const char *to, struct err *err)
{
	switch (e->fts_info) {
	case FTS_DP: /* was copied when it was entered */
		return 0;
	case FTS_D:
		return ctl_is_3x(o->c) ? copy_other(o, e, to, err) : 0;
	case FTS_SL:
	case FTS_SLNONE:
		return copy_other(o, e, to, err);
	case FTS_F:
		return copy_file(o, e->fts_accpath, to, err);
	case FTS_DEFAULT:
		return err_set(err, EINVAL, "'%s' is no file, link or folder", e->fts_path);
	default:
		return err_set(err, e->fts_errno ? e->fts_errno : ELOOP, "'%s': %s", e->fts_path,
			       strerror(e->fts_errno ? e->fts_errno : ELOOP));
	}
}

static int copy_tree(const struct copy *o, char *from, const char *to, struct err *err)
{
	char *roots[] = { from, NULL };
	size_t len = strlen(from);
	FTS *tree =
		fts_open(roots, FTS_NOCHDIR | (ctl_is_3x(o->c) ? FTS_PHYSICAL : FTS_LOGICAL), NULL);
	FTSENT *e;
	int r = 0;

	if (!tree)
		return err_set(err, errno, "open '%s': %s", from, strerror(errno));
	while (r == 0 && (errno = 0, e = fts_read(tree))) {
		AUTO_FREE char *there = xasprintf("%s%s", to, e->fts_path + len);

		r = copy_entry(o, e, there, err);
	}
	if (r == 0 && errno)
		r = err_set(err, errno, "read '%s': %s", from, strerror(errno));
	(void)fts_close(tree);
	return r;
}

int copy_main(struct ctl *c, const struct command *self, int argc, char **argv)
{
	struct copy o = { .c = c };
	const struct opt opts[] = {
		{ 'm', "mode", OPT_STR, &o.mode, "OCTAL", "permissions of files (the source's)" },
		{ 0, "dir-mode", OPT_STR, &o.dir_mode, "OCTAL",
		  "permissions of new folders above (755)" },
		{ 0, "uid", OPT_STR, &o.uid, "NUMBER", "owner (the source's)" },
		{ 0, "gid", OPT_STR, &o.gid, "NUMBER", "group (the source's)" },
	};
	struct err err;
	int status;
	size_t len;

	if (!ctl_options(c, self, opts, ARRAY_LEN(opts), -1, &argc, argv, 2, 2, &status))
		return status;
	len = strlen(argv[0]);
	while (len > 1 && argv[0][len - 1] == '/')
		argv[0][--len] = '\0';
	if (ctl_connect(c, 0, &err) < 0 || copy_tree(&o, argv[0], argv[1], &err) < 0)
		return ctl_fail(&err);
	return 0;
}
