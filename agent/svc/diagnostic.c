/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GetDiagnosticData: the message that a container leaves when it ends. No state.
 */
#include "svc/svc.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/str.h"
#include "linux/path.h"
#include "pod/agent.h"
#include "pod/container.h"

#define TERMINATION_MESSAGE "io.kubernetes.container.terminationMessagePath"

struct log_file {	  /* in the call's arena: what the worker reads */
	const char *root; /* "" or the container's root: path stays inside */
	const char *path;
};

/* Where in the guest a container's file is: in one of its mounts, or in its root. */
static int locate(struct call *c, const struct container *ctr, const char *path,
		  struct log_file *ret)
{
	const Grpc__Spec *spec = ctr->kept;
	const Grpc__Mount *best = NULL;
	size_t best_len = 0;

	for (size_t i = 0; i < spec->n_mounts; i++) {
		const Grpc__Mount *m = spec->mounts[i];
		size_t len = strlen(m->destination);

		while (len > 1 && m->destination[len - 1] == '/')
			len--;
		if (len > best_len && strncmp(path, m->destination, len) == 0 &&
		    (path[len] == '/' || path[len] == '\0')) {
			best = m;
			best_len = len;
		}
	}
	ret->root = best ? "" : spec->root ? spec->root->path : "";
	ret->path = best ? arena_printf(&c->mem, "%s%s", best->source, path + best_len)
			 : arena_strdup(&c->mem, path);
	return ret->path ? 0 : -ENOMEM;
}

static int open_log(const struct log_file *f, struct err *err)
{
	AUTO_CLOSE int any = FD_NONE;
	AUTO_CLOSE int root = FD_NONE;
	struct fd_path path;
	struct stat st;

	if (*f->root) {
		root = work_open(f->root, err);
		any = root < 0 ? root : path_open_in(root, f->path, O_PATH, 0);
	} else {
		any = work_open(f->path, err);
	}
	if (any < 0)
		return any;
	/* Not a pipe or a device: opening one may wait, or do something. */
	if (fstat(any, &st) < 0 || !S_ISREG(st.st_mode))
		return -EINVAL;
	return open(fdio_path(&path, any), O_RDONLY | O_CLOEXEC);
}

static int log_job(void *arg, int out, struct err *err)
{
	const struct call *c = arg;
	struct err not_there = { 0 };
	AUTO_CLOSE int fd = open_log(c->wait, &not_there);
	char text[LIMIT_TERM_LOG];
	ssize_t n = fd < 0 ? 0 : fdio_read_all(fd, text, sizeof(text));

	if (n > 0 && fdio_write_all(out, text, (size_t)n) < 0)
		return err_rpc(err, RPC_INTERNAL, "hand over the log");
	return 0; /* a log that isn't there is empty */
}

static void log_done(void *arg, const struct err *err, const struct buf *out)
{
	Grpc__GetDiagnosticDataResponse resp;
	char text[3 * LIMIT_TERM_LOG + 1];
	size_t n = 0;

	if (err->code) {
		(void)call_fail(arg, err);
		return;
	}
	/* A protobuf string is UTF-8; each byte that is not becomes U+FFFD. */
	for (size_t i = 0; i < buf_len(out) && n + 4 < sizeof(text);) {
		const uint8_t *p = buf_data(out) + i;
		size_t left = buf_len(out) - i, len = *p < 0x80	  ? 1
						      : *p < 0xe0 ? 2
						      : *p < 0xf0 ? 3
								  : 4;

		if (*p && len <= left && str_is_utf8(p, len)) {
			(void)memcpy(text + n, p, len);
			i += len;
			n += len;
		} else {
			(void)memcpy(text + n, "\xef\xbf\xbd", 3);
			i++;
			n += 3;
		}
	}
	text[n] = '\0';
	grpc__get_diagnostic_data_response__init(&resp);
	resp.data = text;
	(void)call_reply(arg, &resp.base);
}

int svc_get_diagnostic_data(struct call *c, const void *r, struct err *err)
{
	const Grpc__GetDiagnosticDataRequest *req = r;
	struct container *ctr;
	struct log_file *file;

	if (!str_eq(req->log_type, "termination_log"))
		return err_rpc(err, RPC_INVALID_ARGUMENT, "unknown log type '%s'", req->log_type);
	ctr = container_find_any(call_agent(c)->sandbox, req->container_id);
	if (!ctr || !ctr->kept)
		return err_rpc(err, RPC_INVALID_ARGUMENT, "invalid container id '%s'",
			       req->container_id);
	file = arena_zalloc(&c->mem, sizeof(*file));
	if (!file)
		return err_sys(err, ENOMEM, "diagnostic data");
	for (size_t i = 0; i < ctr->kept->n_annotations; i++) {
		const Grpc__Spec__AnnotationsEntry *a = ctr->kept->annotations[i];

		if (!str_eq(a->key, TERMINATION_MESSAGE))
			continue;
		if (locate(c, ctr, a->value, file) < 0)
			return err_sys(err, ENOMEM, "diagnostic data");
		return work_start(c, &work_reads, file, log_job, log_done, err);
	}
	return err_rpc(err, RPC_INTERNAL, "container '%s' has no annotation " TERMINATION_MESSAGE,
		       req->container_id);
}
