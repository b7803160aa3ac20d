/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Storages: the drivers, what is mounted for whom, and the operations under way.
 *
 * An operation first waits for its devices, alone; then it queues for its turn, claims or sweeps
 * entries, and a worker mounts or unmounts. Entries change only during an operation's turn, so that
 * nobody ever sees one that is half mounted. Lifetimes: an entry lives while it has users, a use
 * while its set has it, an operation until its done has been called.
 */
#include "pod/storage.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/auto.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/str.h"
#include "base/worker.h"
#include "rpc/call.h"
#include "pod/agent.h"
#include "config.h"
#include "pod/storage_layers.h"
#include "pod/storage_mount.h"
#include "linux/confine.h"
#include "linux/path.h"
#include "linux/devfind.h"

#define FSGID	   "fsgid="
#define OVERLAY_RW "io.katacontainers.fs-opt.overlay-rw"

enum source_kind { SOURCE_ASIS, SOURCE_BLK, SOURCE_CCW, SOURCE_SCSI, SOURCE_PMEM, SOURCE_MMIO };

struct storage_driver {
	const char *name;
	enum source_kind source;
	bool kept;	/* the sandbox is a user, too */
	bool directory; /* never mounted */
	bool bind;
	bool only_3x;
	bool copied; /* if it is small, and below a folder "watchable" */
};

static const struct storage_driver storage_drivers[] = {
	{ "9p", SOURCE_ASIS, false, false, false, false, false },
	{ "virtio-fs", SOURCE_ASIS, false, false, false, false, false },
	{ "blk", SOURCE_BLK, false, false, false, false, false },
	{ "blk-ccw", SOURCE_CCW, false, false, false, false, false },
	{ "mmioblk", SOURCE_MMIO, false, false, false, false, false },
	{ "scsi", SOURCE_SCSI, false, false, false, false, false },
	{ "ephemeral", SOURCE_ASIS, true, false, false, false, false },
	{ "local", SOURCE_ASIS, true, true, false, false, false },
	{ "nvdimm", SOURCE_PMEM, false, false, false, false, false },
	{ "bind", SOURCE_ASIS, false, false, true, false, false },
	{ "overlayfs", SOURCE_ASIS, false, false, false, true, false },
	{ "watchable-bind", SOURCE_ASIS, false, false, true, true, true },
	/* The folder of the layers, once they are taken apart. */
	{ LAYERS_DRIVER, SOURCE_ASIS, false, true, false, true, false },
};

/* File systems whose source is a name; all others have a path there. */
static const char *const by_name[] = { "9p", "virtiofs", "tmpfs", "hugetlbfs", "overlay" };

/* Below /run, but the agent's own. */
static const char *const own_dirs[] = { "sandbox-ns", "libcontainer", "kata-agent" };

struct storage_entry {
	struct list link; /* in refs->entries, oldest first */
	unsigned int users;
	bool kept, directory, made;
	bool stuck; /* could not be unmounted: nobody's, tried again by each operation */
	bool maybe; /* a worker died: nobody knows whether it was made */
	struct mount_record mount;   /* what a worker has done for it */
	char *rel, *source, *fstype; /* behind the struct, in its memory */
	struct watched watched;	     /* on a list if it is copied */
	char **dirs;		     /* folders made for it; they and their texts are one block */
	size_t n_dirs;
};

struct storage_use {
	struct list link; /* in set->uses, newest first */
	struct storage_entry *entry;
};

struct storage_item {
	const struct storage_driver *driver;
	bool shared;	     /* 3.x: stays when its last container leaves */
	const char *address; /* of the device to find; NULL: none */
	struct mount_plan plan;
	struct storage_entry *entry; /* made for it, or the one it shares; NULL: not claimed */
	struct storage_entry *spare;
	struct storage_use *use;
	bool fresh;		/* this operation makes the entry */
	unsigned int partition; /* of the device; 0: the whole of it */
};

struct storage_op {
	struct list queue; /* in refs->queue */
	struct agent *agent;
	struct storage_refs *refs;
	struct storage_set *set;
	struct arena mem;
	struct storage_item *items;
	size_t n, at;		  /* at: whose device is being found */
	struct mount_plan *plans; /* of the fresh items, for the worker, with their numbers: */
	size_t *plan_items, n_plans;
	struct unmount_plan *unmounts;
	struct storage_entry **doomed; /* the entries of unmounts */
	size_t n_doomed;
	bool sweep, all;   /* release; release_all */
	bool mounts_after; /* the sweep was of what others have left */
	struct dev_find find;
	struct job job;
	storages_done *done;
	void *arg;
	struct err err;
};

void storage_refs_init(struct storage_refs *refs)
{
	list_init(&refs->entries);
	list_init(&refs->queue);
	watcher_init(&refs->watcher);
}

void storage_set_init(struct storage_set *set)
{
	list_init(&set->uses);
}

const char *storage_driver_name(size_t i)
{
	return i < ARRAY_LEN(storage_drivers) ? storage_drivers[i].name : NULL;
}

bool storage_driver_is_3x(size_t i)
{
	return storage_drivers[i].only_3x;
}

/* An entry that is on no list. */
static void storage_dispose(struct storage_entry *e)
{
	if (e)
		free(e->dirs);
	free(e);
}

static void storage_op_free(struct storage_op *op)
{
	for (size_t i = 0; i < op->n; i++) {
		storage_dispose(op->items[i].spare);
		free(op->items[i].use);
	}
	arena_free(&op->mem);
	free(op);
}

/* ---- reading a request ---- */

static const struct storage_driver *storage_driver_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(storage_drivers); i++) {
		if (str_eq(storage_drivers[i].name, name))
			return &storage_drivers[i];
	}
	return NULL;
}

static bool is_by_name(const char *fstype)
{
	for (size_t i = 0; i < ARRAY_LEN(by_name); i++) {
		if (str_eq(by_name[i], fstype))
			return true;
	}
	return false;
}

static int storage_mount_point(struct storage_op *op, const char *text, const char **ret,
			       struct err *err)
{
	char rel[LIMIT_PATH];

	if (str_empty(text))
		return err_set(err, EINVAL, "need mount destination");
	if (confine_clean(STORAGE_ROOT, text, rel) < 0)
		return err_set(err, EPERM, "mount point '%s' is not below " STORAGE_ROOT, text);
	for (size_t i = 0; i < ARRAY_LEN(own_dirs); i++) {
		if (path_is_below(rel, own_dirs[i]))
			return err_set(err, EPERM, "mount point '%s' belongs to the agent", text);
	}
	*ret = arena_strdup(&op->mem, rel);
	return *ret ? 0 : err_sys(err, ENOMEM, "storage");
}

/* The last of "mode=0755" among the options of a local directory. */
static int storage_mode(const Grpc__Storage *s, mode_t *ret, struct err *err)
{
	*ret = 0777;
	for (size_t i = 0; i < s->n_options; i++) {
		const char *digits;
		mode_t mode = 0;

		if (!str_starts(s->options[i], "mode="))
			continue;
		digits = s->options[i] + strlen("mode=");
		if (!*digits || strlen(digits) > 5 || strspn(digits, "01234567") != strlen(digits))
			return err_set(err, EINVAL, "invalid mode '%s' of local storage '%s'",
				       digits, s->mount_point);
		for (; *digits; digits++)
			mode = mode * 8 + (mode_t)(*digits - '0');
		*ret = mode & 07777;
	}
	return 0;
}

/* Which device the source stands for, if one has to be found. */
static int storage_source(struct storage_op *op, struct storage_item *it, const char *source,
			  struct err *err)
{
	const char *base = strrchr(source, '/');

	switch (it->driver->source) {
	case SOURCE_ASIS:
		return 0;
	case SOURCE_BLK:
		it->plan.device = str_starts(source, "/dev");
		if (!it->plan.device)
			it->address = it->plan.source;
		return 0;
	case SOURCE_CCW:
	case SOURCE_SCSI:
		it->address = it->plan.source;
		return 0;
	case SOURCE_PMEM:
		if (!str_starts(source, "/dev/") || !str_starts(base + 1, "pmem"))
			return err_set(err, EINVAL, "invalid nvdimm source path '%s'", source);
		it->address = arena_strdup(&op->mem, base + 1);
		return it->address ? 0 : err_sys(err, ENOMEM, "storage");
	case SOURCE_MMIO: /* a name to be waited for, or a path that is there */
		it->address = dev_missing(it->plan.source);
		return 0;
	}
	return 0;
}

static int storage_keep_dirs(struct storage_entry *e, const struct mount_plan *p)
{
	size_t size = p->n_dirs * sizeof(*e->dirs);
	char *text;

	for (size_t i = 0; i < p->n_dirs; i++)
		size += strlen(p->dirs[i]) + 1;
	e->dirs = malloc(size);
	if (!e->dirs)
		return -ENOMEM;
	text = (char *)(e->dirs + p->n_dirs);
	for (; e->n_dirs < p->n_dirs; e->n_dirs++) {
		size_t len = strlen(p->dirs[e->n_dirs]) + 1;

		e->dirs[e->n_dirs] = memcpy(text, p->dirs[e->n_dirs], len);
		text += len;
	}
	return 0;
}

/* What an item needs to be kept after the call, so that success cannot fail for want of memory. */
static int storage_reserve(struct storage_item *it, struct err *err)
{
	const struct mount_plan *p = &it->plan;
	size_t rel = strlen(p->rel) + 1, source = strlen(p->source) + 1,
	       fstype = strlen(p->fstype) + 1;
	AUTO_FREE struct storage_entry *e = calloc(1, sizeof(*e) + rel + source + fstype);
	AUTO_FREE struct storage_use *use = calloc(1, sizeof(*use));

	if (!e || !use)
		return err_sys(err, ENOMEM, "storage");
	list_init(&e->link);
	list_init(&e->watched.link);
	list_init(&use->link);
	e->rel = memcpy(e + 1, p->rel, rel);
	e->source = memcpy(e->rel + rel, p->source, source);
	e->fstype = memcpy(e->source + source, p->fstype, fstype);
	e->kept = it->driver->kept || it->shared;
	e->directory = it->driver->directory;
	if (p->n_dirs && storage_keep_dirs(e, p) < 0)
		return err_sys(err, ENOMEM, "storage");
	it->spare = TAKE_PTR(e);
	it->use = TAKE_PTR(use);
	return 0;
}

/* 3.x: what is written to an overlay goes beside its mount point, and with it. */
static int storage_overlay_rw(struct storage_op *op, struct mount_plan *p, char *options[static 2],
			      struct err *err)
{
	static const char *const names[] = { "upper", "work" };
	const char *slash = strrchr(p->rel, '/');

	if (!slash || p->n_dirs + 2 > p->max_dirs)
		return err_rpc(err, RPC_INVALID_ARGUMENT, "no place for %s of " STORAGE_ROOT "/%s",
			       OVERLAY_RW, p->rel);
	for (size_t i = 0; i < 2; i++) {
		const char *rel =
			arena_printf(&op->mem, "%.*s/%s", (int)(slash - p->rel), p->rel, names[i]);

		options[i] =
			rel ? arena_printf(&op->mem, "%sdir=" STORAGE_ROOT "/%s", names[i], rel)
			    : NULL;
		if (!options[i])
			return err_sys(err, ENOMEM, "storage options");
		p->dirs[p->n_dirs++] = rel;
	}
	return 0;
}

/* The option words, but those of 3.x that are not for the kernel. */
static int storage_options(struct storage_op *op, struct mount_plan *p, enum schema schema,
			   const Grpc__Storage *s, struct err *err)
{
	char **options = arena_zalloc(&op->mem, (2 * s->n_options + 1) * sizeof(*options));
	size_t n = 0;

	for (size_t i = 0; options && i < s->n_options; i++) {
		if (schema == SCHEMA_3X && str_starts(s->options[i], FSGID))
			continue;
		if (schema == SCHEMA_3X && str_eq(s->options[i], OVERLAY_RW)) {
			if (storage_overlay_rw(op, p, options + n, err) < 0)
				return -err->code;
			n += 2;
			continue;
		}
		/* The parser leaves pointers into the words: those must stay. */
		options[n] = arena_strdup(&op->mem, s->options[i]);
		if (!options[n++])
			return err_sys(err, ENOMEM, "storage options");
	}
	if (!options)
		return err_sys(err, ENOMEM, "storage options");
	if (mountopt_parse(options, n, &p->opt, &op->mem, err) < 0)
		return err_wrap(err, "storage '%s'", s->mount_point);
	return 0;
}

/* 3.x: whose the content shall be. */
static int storage_group(struct storage_item *it, const Grpc__Storage *s, struct err *err)
{
	struct mount_plan *p = &it->plan;
	uint64_t gid;

	if (s->fs_group) {
		p->has_group = true;
		p->group = s->fs_group->group_id;
		p->group_tree = true;
		p->group_on_mismatch = s->fs_group->group_change_policy ==
				       TYPES__FSGROUP_CHANGE_POLICY__OnRootMismatch;
		return 0;
	}
	for (size_t i = 0; it->driver->kept && i < s->n_options; i++) {
		if (!str_starts(s->options[i], FSGID))
			continue;
		if (str_u64(s->options[i] + strlen(FSGID), UINT32_MAX - 1, &gid) < 0)
			return err_set(err, EINVAL, "invalid option '%s' of storage '%s'",
				       s->options[i], s->mount_point);
		p->has_group = true;
		p->group = (gid_t)gid;
	}
	return 0;
}

/* The tmpfs that a copied storage is to be in: an item of its own, before the storage's. */
static int storage_folder(struct storage_op *op, const char *rel, size_t len, struct err *err)
{
	static const struct storage_driver folder = { .name = "tmpfs", .kept = true };
	struct storage_item *it = &op->items[op->n++];

	it->driver = &folder;
	it->plan = (struct mount_plan){
		.kind = MOUNT_TAG,
		.source = "watchable",
		.fstype = "tmpfs",
		.rel = arena_printf(&op->mem, "%.*s", (int)len, rel),
		.opt = { .flags = MS_NOSUID | MS_NODEV, .data = "mode=0755" },
		.mode = 0755,
	};
	return it->plan.rel ? storage_reserve(it, err) : err_sys(err, ENOMEM, "storage");
}

/* "/dev/vda" and 1: "/dev/vda1"; "/dev/nvme0n1" and 1: "/dev/nvme0n1p1". */
static const char *storage_partition(struct storage_op *op, const char *disk, unsigned int n)
{
	char last = *disk ? disk[strlen(disk) - 1] : '\0';

	return arena_printf(&op->mem, "%s%s%u", disk, last >= '0' && last <= '9' ? "p" : "", n);
}

static int storage_refused(const Grpc__Storage *s, struct err *err)
{
	err->rpc = RPC_INVALID_ARGUMENT;
	return err_wrap(err, "storage '%s'", s->mount_point);
}

/* 3.x: what the driver is to do besides. One that we don't know is not passed over. */
static int storage_driver_option(struct storage_op *op, struct storage_item *it,
				 const Grpc__Storage *s, const char *word, struct err *err)
{
	struct mount_plan *p = &it->plan;
	bool disk = it->driver->source != SOURCE_ASIS;
	char rel[LIMIT_PATH];
	uint64_t n;

	if (disk && (str_eq(word, "create_filesystem") || str_eq(word, "create_filesystem=true"))) {
		if (!str_eq(s->fstype, "ext4"))
			return err_rpc(err, RPC_INVALID_ARGUMENT,
				       "storage '%s': create_filesystem makes ext4, not '%s'",
				       s->mount_point, s->fstype);
		p->make_ext4 = p->device = true;
		return 0;
	}
	if (disk && str_starts(word, LAYERS_PARTITION) &&
	    str_u64(word + strlen(LAYERS_PARTITION), 128, &n) == 0 && n > 0) {
		it->partition = (unsigned int)n;
		p->wait = p->device = true;
		return 0;
	}
	if (disk && str_starts(word, LAYERS_VERITY)) {
		word = arena_strdup(&op->mem, word + strlen(LAYERS_VERITY));
		p->device = true;
		if (!word)
			return err_sys(err, ENOMEM, "storage");
		return dmverity_option(&p->verity, word, err) < 0 ? storage_refused(s, err) : 0;
	}
	if (str_eq(it->driver->name, "overlayfs") && str_starts(word, OVERLAY_CREATE_DIR)) {
		word += strlen(OVERLAY_CREATE_DIR);
		if (confine_clean(STORAGE_ROOT, word, rel) < 0)
			return err_rpc(err, RPC_PERMISSION_DENIED,
				       "folder '%s' is not below " STORAGE_ROOT, word);
		p->dirs[p->n_dirs] = arena_strdup(&op->mem, rel);
		return p->dirs[p->n_dirs++] ? 0 : err_sys(err, ENOMEM, "storage");
	}
	return err_rpc(err, RPC_INVALID_ARGUMENT, "storage '%s': unknown driver option '%s' of %s",
		       s->mount_point, word, it->driver->name);
}

static int storage_driver_options(struct storage_op *op, struct storage_item *it,
				  const Grpc__Storage *s, struct err *err)
{
	if (s->n_driver_options > LIMIT_STORAGE_DIRS)
		return err_rpc(err, RPC_INVALID_ARGUMENT,
			       "storage '%s' has %zu driver options, at most %u are served",
			       s->mount_point, s->n_driver_options, LIMIT_STORAGE_DIRS);
	it->plan.max_dirs = s->n_driver_options + 2;
	it->plan.dirs = arena_zalloc(&op->mem, it->plan.max_dirs * sizeof(*it->plan.dirs));
	if (!it->plan.dirs)
		return err_sys(err, ENOMEM, "storage");
	dmverity_defaults(&it->plan.verity);
	for (size_t i = 0; i < s->n_driver_options; i++) {
		if (storage_driver_option(op, it, s, s->driver_options[i], err) < 0)
			return -err->code;
	}
	if (it->plan.verity.enabled && dmverity_check(&it->plan.verity, err) < 0)
		return storage_refused(s, err);
	return 0;
}

static int storage_read(struct storage_op *op, struct storage_item *it, enum schema schema,
			const Grpc__Storage *s, struct err *err)
{
	struct mount_plan *p = &it->plan;

	if (schema == SCHEMA_3X && str_eq(s->driver, "image_guest_pull"))
		return err_rpc(err, RPC_UNIMPLEMENTED,
			       "storage driver image_guest_pull: this guest does not pull images");
	it->driver = storage_driver_find(s->driver);
	if (!it->driver || (it->driver->only_3x && schema != SCHEMA_3X))
		return err_rpc(err, RPC_INVALID_ARGUMENT, "Unknown storage driver \"%s\"",
			       s->driver);
	if (storage_mount_point(op, s->mount_point, &p->rel, err) < 0)
		return -err->code;
	p->source = arena_strdup(&op->mem, s->source);
	p->fstype = arena_strdup(&op->mem, s->fstype);
	if (!p->source || !p->fstype)
		return err_sys(err, ENOMEM, "storage");
	it->shared = schema == SCHEMA_3X && s->shared;
	if (schema == SCHEMA_3X &&
	    (storage_group(it, s, err) < 0 || storage_driver_options(op, it, s, err) < 0))
		return -err->code;
	if (it->driver->directory) {
		p->kind = MOUNT_NONE;
		return storage_mode(s, &p->mode, err) < 0 ? -err->code : storage_reserve(it, err);
	}
	if (str_empty(s->source))
		return err_set(err, EINVAL, "need mount source");
	if (str_empty(s->fstype) && !it->driver->bind)
		return err_set(err, EINVAL, "need mount FS type");
	p->kind = is_by_name(s->fstype) ? MOUNT_TAG : MOUNT_PATH;
	p->mode = it->driver->kept ? 0777 : 0755;
	p->keep_mounted = schema == SCHEMA_3X && str_eq(s->source, "kataShared");
	if (storage_options(op, p, schema, s, err) < 0)
		return -err->code;
	if (it->driver->bind || str_eq(s->fstype, "bind"))
		p->opt.flags |= MS_BIND;
	if (p->opt.flags & MS_BIND)
		p->kind = MOUNT_PATH; /* whatever the type is called */
	p->keep_same = schema == SCHEMA_3X && !(p->opt.flags & (MS_BIND | MS_REMOUNT));
	if (it->driver->copied && watch_folder(p->rel))
		p->kind = MOUNT_COPY;
	if (storage_source(op, it, p->source, err) < 0)
		return -err->code;
	if (it->partition && !it->address)
		p->source = storage_partition(op, p->source, it->partition);
	return p->source ? storage_reserve(it, err) : err_sys(err, ENOMEM, "storage");
}

/* One storage of the request, and what it needs before it. */
static int storage_take(struct storage_op *op, enum schema schema, const Grpc__Storage *s,
			struct err *err)
{
	struct storage_item it = { 0 };
	size_t folder;

	if (storage_read(op, &it, schema, s, err) < 0)
		goto fail;
	folder = it.plan.kind == MOUNT_COPY ? watch_folder(it.plan.rel) : 0;
	if (folder && storage_folder(op, it.plan.rel, folder, err) < 0)
		goto fail;
	op->items[op->n++] = it;
	return 0;
fail:
	storage_dispose(it.spare);
	free(it.use);
	return -err->code;
}

/* ---- the queue ---- */

static void storage_turn(struct job *j);

static void storage_next_turn(struct storage_refs *refs)
{
	struct storage_op *first = list_first(&refs->queue, struct storage_op, queue);

	if (first)
		job_queue(first->agent->loop, &first->job, storage_turn);
}

static void storage_enqueue(struct storage_op *op)
{
	bool idle = list_empty(&op->refs->queue);

	list_add_tail(&op->refs->queue, &op->queue);
	if (idle)
		storage_next_turn(op->refs);
}

/* The end of every operation. */
static void storage_op_end(struct storage_op *op)
{
	storages_done *done = op->done;
	void *arg = op->arg;
	struct err err = op->err;

	if (!list_empty(&op->queue)) {
		list_del(&op->queue);
		storage_next_turn(op->refs);
	}
	storage_op_free(op);
	if (done)
		done(arg, &err);
}

/* ---- unmounting ---- */

static void storage_entry_free(struct storage_entry *e)
{
	list_del(&e->link);
	storage_dispose(e);
}

static void storage_start_mounts(struct storage_op *op);

static int storage_unmount_job(void *arg, int out, struct err *err)
{
	const struct storage_op *op = arg;

	return storage_unmount_all(op->unmounts, op->n_doomed, out, err);
}

static void storage_unmounted(void *arg, const struct err *err, const struct buf *out)
{
	struct storage_op *op = arg;
	size_t i;

	/* Those that are not told of stay: the next operation begins with them. */
	for (size_t at = 0; buf_len(out) - at >= sizeof(i); at += sizeof(i)) {
		(void)memcpy(&i, buf_data(out) + at, sizeof(i));
		if (i >= op->n_doomed || !op->doomed[i])
			break;
		storage_entry_free(op->doomed[i]);
		op->doomed[i] = NULL;
	}
	for (i = 0; i < op->n_doomed; i++) {
		if (op->doomed[i])
			op->doomed[i]->stuck = true;
	}
	if (err->code)
		log_warn("storage", "%s", err->msg);
	if (op->mounts_after) {
		op->mounts_after = false;
		storage_start_mounts(op);
		return;
	}
	if (op->err.code == 0)
		op->err = *err;
	storage_op_end(op);
}

/*
 * Unmounts the entries without users, newest first, and forgets those that went; then the operation
 * is over.
 */
static void storage_sweep(struct storage_op *op)
{
	struct worker_opts opts = { .timeout_ms = LIMIT_UNMOUNT_MS };
	size_t n = 0, i = 0;
	int r;

	list_for_each(struct storage_entry, e, &op->refs->entries, link)
		n += e->users == 0;
	if (n == 0) {
		storage_op_end(op);
		return;
	}
	op->unmounts = arena_zalloc(&op->mem, n * sizeof(*op->unmounts));
	op->doomed = arena_zalloc(&op->mem, n * sizeof(*op->doomed));
	if (op->unmounts && op->doomed) {
		list_for_each(struct storage_entry, e, &op->refs->entries, link) {
			if (e->users)
				continue;
			watch_remove(&op->refs->watcher, &e->watched);
			op->doomed[n - ++i] = e;
			op->unmounts[n - i] = (struct unmount_plan){
				.rel = e->rel,
				.mounted = e->mount.mounted || e->mount.copied,
				.below = e->mount.below,
				.page = e->mount.page,
				.pool = e->mount.pool,
				.made = e->made,
				.maybe = e->maybe,
				.again = e->stuck,
				.dirs = e->dirs,
				.n_dirs = e->n_dirs,
				.tree = (e->directory || e->mount.copied) && e->made
			};
		}
		op->n_doomed = n;
		opts.max_out = n * sizeof(n);
	}
	r = op->n_doomed ? worker_start(op->agent->loop, op->agent->reaper, &opts,
					storage_unmount_job, storage_unmounted, op, NULL)
			 : -ENOMEM;
	if (r < 0) {
		/* They stay, without users: the next operation sweeps first, whatever it is. */
		if (op->err.code == 0)
			err_sys(&op->err, -r, "start unmounting");
		storage_op_end(op);
	}
}

/* ---- mounting ---- */

/* Gives back what a failed operation has claimed. */
static void storage_undo(struct storage_op *op)
{
	for (size_t i = 0; i < op->n; i++) {
		struct storage_item *it = &op->items[i];

		if (!it->entry)
			continue;
		if (it->fresh)
			it->entry->users = 0;
		else if (it->entry->users > 0)
			it->entry->users--;
	}
	storage_sweep(op);
}

static void storage_succeed(struct storage_op *op)
{
	for (size_t i = 0; i < op->n; i++) {
		struct storage_item *it = &op->items[i];

		it->use->entry = it->entry;
		if (it->fresh && it->entry->mount.copied) {
			it->entry->watched.plan = it->plan;
			it->entry->watched.plan.source = it->entry->source;
			it->entry->watched.plan.rel = it->entry->rel;
			it->entry->watched.plan.fstype = it->entry->fstype;
			it->entry->watched.plan.opt.data = ""; /* a bind has none */
			watch_add(op->agent, &op->refs->watcher, &it->entry->watched);
		}
		list_add(&op->set->uses, &it->use->link);
		it->use = NULL;
	}
	storage_op_end(op);
}

static int storage_mount_job(void *arg, int out, struct err *err)
{
	const struct storage_op *op = arg;

	return storage_mount_all(op->plans, op->n_plans, out, err);
}

static void storage_mounted(void *arg, const struct err *err, const struct buf *out)
{
	struct storage_op *op = arg;
	struct mount_record rec;

	/* Who died has done something that he has not told of, perhaps. */
	for (size_t i = 0; i < op->n_plans; i++)
		op->items[op->plan_items[i]].entry->maybe =
			err->code == EPIPE || err->code == ETIMEDOUT;
	for (size_t at = 0; buf_len(out) - at >= sizeof(rec); at += sizeof(rec)) {
		struct storage_entry *e;

		(void)memcpy(&rec, buf_data(out) + at, sizeof(rec));
		if (rec.index >= op->n_plans)
			break;
		e = op->items[op->plan_items[rec.index]].entry;
		e->made = rec.made;
		e->maybe = false;
		e->mount = rec;
		for (size_t i = 0; i < e->n_dirs; i++) {
			if (!(rec.dirs[i / 8] & 1u << i % 8))
				e->dirs[i] = NULL;
		}
	}
	op->err = *err;
	if (err->code)
		storage_undo(op);
	else
		storage_succeed(op);
}

static struct storage_entry *storage_entry_find(const struct storage_refs *refs, const char *rel)
{
	list_for_each(struct storage_entry, e, &refs->entries, link) {
		if (str_eq(e->rel, rel))
			return e;
	}
	return NULL;
}

/* Takes the entry of the item's mount point, or makes it. */
static int storage_claim(struct storage_op *op, struct storage_item *it)
{
	struct storage_entry *e = storage_entry_find(op->refs, it->plan.rel);

	if (e && (e->stuck || e->users == 0))
		return err_set(&op->err, EBUSY,
			       "mount point '" STORAGE_ROOT
			       "/%s' has a storage yet that could not be unmounted (%s)",
			       e->rel, e->source);
	if (e && !e->kept &&
	    (!str_eq(e->source, it->spare->source) || !str_eq(e->fstype, it->spare->fstype)))
		return err_set(&op->err, EBUSY,
			       "mount point '" STORAGE_ROOT
			       "/%s' is in use by another storage (%s)",
			       e->rel, e->source);
	if (e) {
		e->users++;
		it->entry = e;
		return 0;
	}
	it->entry = TAKE_PTR(it->spare);
	it->fresh = true;
	it->entry->users = it->entry->kept ? 2 : 1;
	list_add_tail(&op->refs->entries, &it->entry->link);
	op->plan_items[op->n_plans] = (size_t)(it - op->items);
	op->plans[op->n_plans++] = it->plan;
	return 0;
}

static void storage_start_mounts(struct storage_op *op)
{
	struct worker_opts opts = { .timeout_ms = LIMIT_WORK_MS };
	int r;

	op->mounts_after = false;
	for (size_t i = 0; i < op->n; i++) {
		if (storage_claim(op, &op->items[i]) < 0) {
			storage_undo(op);
			return;
		}
	}
	if (op->n_plans == 0) {
		storage_succeed(op);
		return;
	}
	opts.max_out = 2 * op->n_plans * sizeof(struct mount_record);
	r = worker_start(op->agent->loop, op->agent->reaper, &opts, storage_mount_job,
			 storage_mounted, op, NULL);
	if (r < 0) {
		err_sys(&op->err, -r, "start mounting");
		storage_undo(op);
	}
}

/* What another operation could not unmount must be nobody's by chance. */
static bool storage_has_rest(const struct storage_refs *refs)
{
	list_for_each(struct storage_entry, e, &refs->entries, link) {
		if (e->users == 0)
			return true;
	}
	return false;
}

static void storage_turn(struct job *j)
{
	struct storage_op *op = container_of(j, struct storage_op, job);

	if (op->all) {
		list_for_each(struct storage_entry, e, &op->refs->entries, link)
			e->users = 0;
	}
	op->mounts_after = !op->sweep;
	if (op->sweep || storage_has_rest(op->refs))
		storage_sweep(op);
	else
		storage_start_mounts(op);
}

/* ---- finding the devices ---- */

static void storage_find_next(struct storage_op *op);

static void storage_found(struct dev_find *f, const char *name, const struct err *err)
{
	struct storage_op *op = container_of(f, struct storage_op, find);
	struct storage_item *it = &op->items[op->at];

	op->err = *err;
	if (name) {
		it->plan.source = arena_printf(&op->mem, "/dev/%s", name);
		if (it->partition && it->plan.source)
			it->plan.source = storage_partition(op, it->plan.source, it->partition);
		if (!it->plan.source)
			err_sys(&op->err, ENOMEM, "storage");
	} else if (op->err.code == ETIMEDOUT) {
		op->err.rpc = RPC_DEADLINE_EXCEEDED;
	}
	if (op->err.code) {
		storage_op_end(op);
		return;
	}
	op->at++;
	storage_find_next(op);
}

static void storage_bad_address(struct job *j)
{
	storage_op_end(container_of(j, struct storage_op, job));
}

/* Continues with the next device; when all are there, with the mounts. */
static void storage_find_next(struct storage_op *op)
{
	static const enum dev_bus buses[] = {
		[SOURCE_BLK] = DEV_PCI_BLOCK, [SOURCE_CCW] = DEV_CCW,	[SOURCE_SCSI] = DEV_SCSI,
		[SOURCE_PMEM] = DEV_PMEM,     [SOURCE_MMIO] = DEV_PMEM,
	};

	for (; op->at < op->n; op->at++) {
		const struct storage_item *it = &op->items[op->at];

		if (!it->address)
			continue;
		if (dev_find(&op->find, op->agent->uevents, buses[it->driver->source], it->address,
			     op->agent->config->hotplug_timeout_ms, storage_found, &op->err) < 0) {
			if (it->driver->source == SOURCE_SCSI)
				op->err.rpc = RPC_INTERNAL;
			job_queue(op->agent->loop, &op->job, storage_bad_address);
		}
		return;
	}
	storage_enqueue(op);
}

/* ---- entry points ---- */

static struct storage_op *storage_op_new(struct agent *a, struct storage_refs *refs,
					 storages_done *done, void *arg, struct err *err)
{
	struct storage_op *op = calloc(1, sizeof(*op));

	if (!op) {
		err_sys(err, ENOMEM, "storage operation");
		return NULL;
	}
	arena_init(&op->mem, LIMIT_ARENA);
	list_init(&op->queue);
	op->agent = a;
	op->refs = refs;
	op->done = done;
	op->arg = arg;
	return op;
}

int storages_add(struct agent *a, struct storage_refs *refs, struct storage_set *set,
		 enum schema schema, Grpc__Storage *const *storages, size_t n, storages_done *done,
		 void *arg, struct err *err)
{
	struct storage_op *op;

	if (n > LIMIT_STORAGES)
		return err_rpc(err, RPC_RESOURCE_EXHAUSTED, "%zu storages, at most %u are served",
			       n, LIMIT_STORAGES);
	op = storage_op_new(a, refs, done, arg, err);
	if (!op)
		return -err->code;
	op->set = set;
	if (schema == SCHEMA_3X && storage_layers(&op->mem, storages, n, &storages, &n, err) < 0) {
		storage_op_free(op);
		return -err->code;
	}
	/* Each may need a folder besides. */
	op->items = arena_zalloc(&op->mem, (2 * n + 1) * sizeof(*op->items));
	op->plans = arena_zalloc(&op->mem, (2 * n + 1) * sizeof(*op->plans));
	op->plan_items = arena_zalloc(&op->mem, (2 * n + 1) * sizeof(*op->plan_items));
	if (!op->items || !op->plans || !op->plan_items) {
		err_sys(err, ENOMEM, "storage operation");
		storage_op_free(op);
		return -err->code;
	}
	for (size_t i = 0; i < n; i++) {
		if (storage_take(op, schema, storages[i], err) < 0) {
			storage_op_free(op);
			return -err->code;
		}
	}
	storage_find_next(op);
	return 0;
}

int storages_release(struct agent *a, struct storage_refs *refs, struct storage_set *set,
		     storages_done *done, void *arg, struct err *err)
{
	struct storage_op *op;

	list_for_each_safe(struct storage_use, u, &set->uses, link) {
		u->entry->users--;
		list_del(&u->link);
		free(u);
	}
	op = storage_op_new(a, refs, done, arg, err);
	if (!op)
		return -err->code;
	op->sweep = true;
	storage_enqueue(op);
	return 0;
}

int storages_release_all(struct agent *a, struct storage_refs *refs, storages_done *done, void *arg,
			 struct err *err)
{
	struct storage_op *op = storage_op_new(a, refs, done, arg, err);

	if (!op) {
		list_for_each(struct storage_entry, e, &refs->entries, link)
			e->users = 0;
		return -err->code;
	}
	op->sweep = true;
	op->all = true;
	storage_enqueue(op);
	return 0;
}
