/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared mounts: a worker steps into the source's mount namespace, takes a copy of the mount there,
 * steps into the destination's, and puts it in place. Paths are resolved where they belong: below
 * the root of the one container and of the other. Where the source isn't there yet the worker ends,
 * and another one tries again, up to ten seconds in all. State: in the container, which of its
 * mounts are through, and how long it is waited.
 */
#include "pod/sharedmount.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "linux/path.h"
#include "base/auto.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/str.h"
#include "rpc/call.h"
#include "oci/fs/tree.h"
#include "pod/agent.h"

#define SHARING_TRY_MS 100

static bool is_named(const struct container *ctr, const char *name)
{
	static const char *const keys[] = { "io.kubernetes.cri.container-name",
					    "io.kubernetes.container.name" };

	if (str_eq(ctr->id, name))
		return true;
	for (size_t i = 0; ctr->kept && i < ctr->kept->n_annotations; i++) {
		const Grpc__Spec__AnnotationsEntry *a = ctr->kept->annotations[i];

		for (size_t k = 0; k < ARRAY_LEN(keys); k++) {
			if (str_eq(a->key, keys[k]) && str_eq(a->value, name))
				return true;
		}
	}
	return false;
}

static const struct container *sharedmount_source(const struct sandbox *sb, const char *name)
{
	list_for_each(struct container, ctr, &sb->containers, link) {
		if (is_named(ctr, name) && ctr->init && !process_is_dead(ctr->init))
			return ctr;
	}
	return NULL;
}

/* A detached copy of the mount at path in the container; its fd. */
static int sharedmount_take(const struct container *ctr, const char *path, struct err *err)
{
	AUTO_CLOSE int root = FD_NONE;
	AUTO_CLOSE int at = FD_NONE;
	int tree;

	if (setns(ctr->init->spawn.pidfd, CLONE_NEWNS) < 0)
		return err_sys(err, errno, "join container %s", ctr->id);
	root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	at = root < 0 ? -errno : path_open_in(root, path, O_PATH, 0);
	if (at < 0)
		return err_sys(err, -at, "shared mount: '%s' of container %s", path, ctr->id);
	if (path_is_mount_top(at) <= 0)
		return err_set(err, ENOENT, "shared mount: '%s' of container %s is no mount", path,
			       ctr->id);
	tree = tree_clone_fd(at, true, err);
	return tree < 0 ? err_wrap(err, "shared mount: '%s' of container %s", path, ctr->id) : tree;
}

static int sharedmount_put(const struct container *ctr, int tree, const char *path, struct err *err)
{
	AUTO_CLOSE int root = FD_NONE;
	AUTO_CLOSE int at = FD_NONE;

	if (setns(ctr->init->spawn.pidfd, CLONE_NEWNS) < 0)
		return err_sys(err, errno, "join container %s", ctr->id);
	root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	at = root < 0 ? -errno : path_dir(root, path);
	if (at < 0)
		return err_sys(err, -at, "shared mount: '%s' of container %s", path, ctr->id);
	if (tree_attach(tree, at, err) < 0)
		return err_wrap(err, "shared mount: '%s' of container %s", path, ctr->id);
	return 0;
}

/* One mount; -EAGAIN: its source isn't there yet. */
static int sharedmount_make(const struct container *ctr, const Grpc__SharedMount *m,
			    struct err *err)
{
	const struct container *src = sharedmount_source(ctr->sandbox, m->src_ctr);
	AUTO_CLOSE int tree = FD_NONE;

	if (!src)
		err_set(err, ENOENT, "shared mount '%s': no container '%s' runs", m->name,
			m->src_ctr);
	else
		tree = sharedmount_take(src, m->src_path, err);
	return tree < 0 ? -EAGAIN : sharedmount_put(ctr, tree, m->dst_path, err);
}

/*
 * Runs in the worker, which sees the containers as they were when it was forked. A byte for each
 * mount that is through.
 */
static int sharedmount_run(void *arg, int out, struct err *err)
{
	const struct container *ctr = arg;
	bool last = loop_now_ms() >= ctr->sharing_end;

	for (size_t i = ctr->shared; i < ctr->request->n_shared_mounts; i++) {
		const Grpc__SharedMount *m = ctr->request->shared_mounts[i];
		int r = is_named(ctr, m->dst_ctr) ? sharedmount_make(ctr, m, err) : 0;

		if (r == -EAGAIN && last) {
			log_warn("container", "%s goes without %s", ctr->id, err->msg);
			*err = (struct err){ 0 };
			r = 0;
		}
		if (r == -EAGAIN)
			return err_set(err, EAGAIN, "not yet");
		if (r < 0)
			return r;
		(void)fdio_write_all(out, "", 1);
	}
	return 0;
}

static void sharedmount_try(struct timer *t);

static void sharedmount_tried(void *arg, const struct err *err, const struct buf *out)
{
	struct container *ctr = arg;

	ctr->worker = NULL;
	ctr->shared += buf_len(out);
	if (err->code == EAGAIN)
		timer_set(ctr->agent->loop, &ctr->sharing, SHARING_TRY_MS, sharedmount_try);
	else
		ctr->sharing_done(ctr, err, out);
}

static int sharedmount_start(struct container *ctr)
{
	size_t n = ctr->request->n_shared_mounts;
	AUTO_FREE int *inits = calloc(n + 1, sizeof(*inits));
	struct worker_opts opts = { .timeout_ms = LIMIT_UNMOUNT_MS, .max_out = n, .keep = inits };

	if (!inits)
		return -ENOMEM;
	inits[opts.keep_count++] = ctr->init->spawn.pidfd;
	for (size_t i = 0; i < n; i++) {
		const char *name = ctr->request->shared_mounts[i]->src_ctr;
		const struct container *src = sharedmount_source(ctr->sandbox, name);

		if (src)
			inits[opts.keep_count++] = src->init->spawn.pidfd;
	}
	return worker_start(ctr->agent->loop, ctr->agent->reaper, &opts, sharedmount_run,
			    sharedmount_tried, ctr, &ctr->worker);
}

static void sharedmount_try(struct timer *t)
{
	struct container *ctr = container_of(t, struct container, sharing);
	struct err err = { 0 };
	int r = process_is_dead(ctr->init) ? -ECHILD : sharedmount_start(ctr);

	if (r < 0) {
		err_sys(&err, -r, "shared mounts");
		ctr->sharing_done(ctr, &err, NULL);
	}
}

int sharedmounts_start(struct container *ctr, Grpc__SharedMount *const *mounts, size_t n,
		       worker_done *done, struct err *err)
{
	bool wanted = false;
	int r;

	for (size_t i = 0; i < n; i++)
		wanted |= is_named(ctr, mounts[i]->dst_ctr);
	if (!wanted)
		return 1;
	if (process_is_dead(ctr->init))
		return err_set(err, ECHILD, "shared mounts: the container died");
	ctr->shared = 0;
	ctr->sharing_done = done;
	ctr->sharing_end = loop_now_ms() + LIMIT_SHARING_MS;
	r = sharedmount_start(ctr);
	return r < 0 ? err_sys(err, -r, "shared mounts") : 0;
}
