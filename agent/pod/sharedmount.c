/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared mounts: a worker steps into the source's mount namespace, takes a copy of the mount there,
 * steps into the destination's, and puts it in place. Paths are resolved where they belong: below
 * the root of the one container and of the other.
 */
#include "pod/sharedmount.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>

#include "linux/path.h"
#include "base/auto.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/str.h"
#include "rpc/call.h"
#include "oci/fs/tree.h"
#include "pod/agent.h"

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

/* A detached copy of what is at path in the container; its fd. */
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

/* Runs in the worker, which sees the container as it was when the worker was forked. */
static int sharedmount_run(void *arg, int out, struct err *err)
{
	const struct container *ctr = arg;

	(void)out;
	for (size_t i = 0; i < ctr->request->n_shared_mounts; i++) {
		const Grpc__SharedMount *m = ctr->request->shared_mounts[i];
		const struct container *src = sharedmount_source(ctr->sandbox, m->src_ctr);
		AUTO_CLOSE int tree = FD_NONE;
		int r;

		if (!is_named(ctr, m->dst_ctr))
			continue;
		if (!src)
			return err_set(err, ENOENT, "shared mount '%s': no container '%s' runs",
				       m->name, m->src_ctr);
		tree = sharedmount_take(src, m->src_path, err);
		r = tree < 0 ? tree : sharedmount_put(ctr, tree, m->dst_path, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int sharedmounts_start(struct container *ctr, Grpc__SharedMount *const *mounts, size_t n,
		       worker_done *done, struct err *err)
{
	static const struct worker_opts opts = { .timeout_ms = LIMIT_UNMOUNT_MS };
	struct agent *a = ctr->agent;
	bool wanted = false;
	int r;

	for (size_t i = 0; i < n; i++)
		wanted |= is_named(ctr, mounts[i]->dst_ctr);
	if (!wanted)
		return 1;
	if (process_is_dead(ctr->init))
		return err_set(err, ECHILD, "shared mounts: the container died");
	r = worker_start(a->loop, a->reaper, &opts, sharedmount_run, done, ctr, &ctr->worker);
	return r < 0 ? err_sys(err, -r, "shared mounts") : 0;
}
