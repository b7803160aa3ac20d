/* SPDX-License-Identifier: Apache-2.0 */
/* spec, call, methods, copy-file: the debugging side. */
#include "run.h"
#include "spec.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define COPY_CHUNK (1u << 20)
#define JSON_STYLE \
	(JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE)

/* ---- spec ---- */

int spec_main(struct ctl *c, const struct command *self, int argc, char **argv)
{
	struct spec_template t = { 0 };
	const char *cmd = NULL;
	AUTO_STRLIST struct strlist words = { 0 };
	const struct opt opts[] = {
		{ 'c', "cmd", OPT_STR, &cmd, "COMMAND", "a shell command line, run by sh -c" },
		{ 0, "arg", OPT_LIST, &words, "WORD",
		  "a word of the command itself; repeat for each" },
		{ 't', "terminal", OPT_FLAG, &t.terminal, NULL, "with a terminal" },
		{ 'w', "cwd", OPT_STR, &t.cwd, "DIR", "working directory (/)" },
		{ 0, "hostname", OPT_STR, &t.hostname, "NAME", "host name (kata)" },
		{ 0, "rootfs", OPT_STR, &t.rootfs, "PATH",
		  "root file system, relative to the bundle (rootfs)" },
		{ 'r', "readonly", OPT_FLAG, &t.readonly, NULL, "read-only root" },
	};
	char *shell[] = { (char[]){ "sh" }, (char[]){ "-c" }, NULL, NULL };
	AUTO_JSON json_object *spec = NULL;
	int status;

	if (!ctl_options(c, self, opts, ARRAY_LEN(opts), 0, &argc, argv, 0, -1, &status))
		return status;
	shell[2] = (char *)(uintptr_t)cmd;
	t.argv = cmd ? shell : words.n ? words.v : argc ? argv : NULL;
	spec = spec_template(&t);
	(void)puts(json_object_to_json_string_ext(spec, JSON_STYLE));
	return 0;
}

/* ---- call, methods ---- */

int call_main(struct ctl *c, const struct command *self, int argc, char **argv)
{
	AUTO_JSON json_object *req = NULL, *out = NULL;
	AUTO_MSG ProtobufCMessage *res = NULL;
	struct err err;
	int status;

	if (!ctl_options(c, self, NULL, 0, -1, &argc, argv, 1, 2, &status))
		return status;
	if (argc > 1 && json_parse_arg(argv[1], &req, &err) < 0)
		return ctl_fail(&err);
	if (ctl_connect(c, 0, &err) < 0 || ctl_call_json(c, argv[0], req, NULL, &res, &err) < 0)
		return ctl_fail(&err);
	out = pb_to_json(res);
	(void)puts(json_object_to_json_string_ext(out, JSON_STYLE));
	return 0;
}

static void print_fields(const ProtobufCMessageDescriptor *d)
{
	for (unsigned int i = 0; i < d->n_fields; i++)
		(void)printf("%s%s", i ? ", " : "", d->fields[i].name);
}

int methods_main(struct ctl *c, const struct command *self, int argc, char **argv)
{
	const ProtobufCServiceDescriptor *services[2];
	int status;

	if (!ctl_options(c, self, NULL, 0, -1, &argc, argv, 0, 0, &status))
		return status;
	services[0] = ctl_schema(c)->agent;
	services[1] = ctl_schema(c)->health;
	for (size_t s = 0; s < ARRAY_LEN(services); s++) {
		for (unsigned int i = 0; i < services[s]->n_methods; i++) {
			const ProtobufCMethodDescriptor *m = &services[s]->methods[i];

			(void)printf("%s(", m->name);
			print_fields(m->input);
			(void)printf(") -> (");
			print_fields(m->output);
			(void)puts(")");
		}
	}
	return 0;
}

/* ---- copy-file ---- */

struct copy {
	const char *source, *destination;
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

static int fill_copy(const struct copy *o, const struct stat *st, Grpc__CopyFileRequest *req,
		     struct err *err)
{
	int64_t mode, dir_mode, uid, gid;

	if (number(o->mode, 8, "mode", st->st_mode & 07777, &mode, err) < 0 ||
	    number(o->dir_mode, 8, "dir-mode", 0755, &dir_mode, err) < 0 ||
	    number(o->uid, 10, "uid", st->st_uid, &uid, err) < 0 ||
	    number(o->gid, 10, "gid", st->st_gid, &gid, err) < 0)
		return -err->code;
	req->path = (char *)(uintptr_t)o->destination;
	req->file_size = st->st_size;
	req->file_mode = (uint32_t)mode;
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

static int copy_file(struct ctl *c, const struct copy *o, struct err *err)
{
	AUTO_CLOSE int fd = open(o->source, O_RDONLY | O_CLOEXEC);
	AUTO_FREE uint8_t *buf = xmalloc(COPY_CHUNK);
	PB_LOCAL(Grpc__CopyFileRequest, grpc__copy_file_request, req);
	struct stat st;
	int64_t off = 0;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, errno, "open '%s': %s", o->source, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(err, EINVAL, "'%s' is no regular file", o->source);
	if (fill_copy(o, &st, &req, err) < 0)
		return -err->code;
	do { /* an empty file takes one call, too */
		int64_t left = st.st_size - off;
		size_t n = left < (int64_t)COPY_CHUNK ? (size_t)left : COPY_CHUNK;

		if (read_chunk(fd, buf, n, o->source, err) < 0)
			return -err->code;
		req.offset = off;
		req.data = (ProtobufCBinaryData){ n, buf };
		if (ctl_call(c, "CopyFile", &req.base, NULL, err) < 0)
			return -err->code;
		off += (int64_t)n;
	} while (off < st.st_size);
	return 0;
}

int copy_main(struct ctl *c, const struct command *self, int argc, char **argv)
{
	struct copy o = { 0 };
	const struct opt opts[] = {
		{ 'm', "mode", OPT_STR, &o.mode, "OCTAL", "permissions (the source's)" },
		{ 0, "dir-mode", OPT_STR, &o.dir_mode, "OCTAL",
		  "permissions of new directories (755)" },
		{ 0, "uid", OPT_STR, &o.uid, "NUMBER", "owner (the source's)" },
		{ 0, "gid", OPT_STR, &o.gid, "NUMBER", "group (the source's)" },
	};
	struct err err;
	int status;

	if (!ctl_options(c, self, opts, ARRAY_LEN(opts), -1, &argc, argv, 2, 2, &status))
		return status;
	o.source = argv[0];
	o.destination = argv[1];
	if (ctl_connect(c, 0, &err) < 0 || copy_file(c, &o, &err) < 0)
		return ctl_fail(&err);
	return 0;
}
