/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes that are mounted: their figures, their growth, their options, a look at the share's. No
 * state.
 */
#include "svc/svc.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/str.h"
#include "linux/confine.h"
#include "linux/mountinfo.h"
#include "oci/fs/mountopt.h"
#include "pod/storage_mount.h"

#define SHARE_DIR "/run/kata-containers/shared/containers/"
#ifndef EXT4_IOC_RESIZE_FS
#define EXT4_IOC_RESIZE_FS _IOW('f', 16, uint64_t)
#endif

static int volume_stats_job(void *arg, int out, struct err *err)
{
	const struct call *c = arg;
	const Grpc__VolumeStatsRequest *req = c->wait;
	AUTO_CLOSE int fd = work_open(req->volume_guest_path, err);
	struct statfs st;

	if (fd < 0)
		return fd;
	if (fstatfs(fd, &st) < 0)
		return err_rpc(err, RPC_INTERNAL, "statfs '%s': %s", req->volume_guest_path,
			       strerror(errno));
	return fdio_write_all(out, &st, sizeof(st));
}

static void volume_stats_done(void *arg, const struct err *err, const struct buf *out)
{
	Grpc__VolumeUsage bytes = GRPC__VOLUME_USAGE__INIT, inodes = GRPC__VOLUME_USAGE__INIT;
	Grpc__VolumeUsage *usage[] = { &bytes, &inodes };
	Grpc__VolumeCondition condition;
	Grpc__VolumeStatsResponse resp = GRPC__VOLUME_STATS_RESPONSE__INIT;
	char ok[] = "OK";
	struct statfs st;

	if (err->code || buf_len(out) != sizeof(st)) {
		struct err lost = { .code = EIO,
				    .rpc = RPC_INTERNAL,
				    .msg = "no answer from the worker" };

		(void)call_fail(arg, err->code ? err : &lost);
		return;
	}
	(void)memcpy(&st, buf_data(out), sizeof(st));
	bytes.unit = GRPC__VOLUME_USAGE__UNIT__BYTES;
	bytes.total = st.f_blocks * (uint64_t)st.f_bsize;
	bytes.available =
		st.f_bfree * (uint64_t)st.f_bsize; /* as 3.x has it: root's reserve is counted in */
	bytes.used = bytes.total - bytes.available;
	inodes.unit = GRPC__VOLUME_USAGE__UNIT__INODES;
	inodes.total = st.f_files;
	inodes.available = st.f_ffree;
	inodes.used = st.f_files - st.f_ffree;
	grpc__volume_condition__init(&condition);
	condition.message = ok;
	resp.usage = usage;
	resp.n_usage = ARRAY_LEN(usage);
	resp.volume_condition = &condition;
	(void)call_reply(arg, &resp.base);
}

int svc_get_volume_stats(struct call *c, const void *req, struct err *err)
{
	return work_start(c, &work_reads, (void *)(uintptr_t)req, volume_stats_job,
			  volume_stats_done, err);
}

/* Bytes of the disk that holds a file. */
static int disk_size(dev_t dev, uint64_t *ret, struct err *err)
{
	char path[64], text[32];
	uint64_t sectors;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/size", major(dev), minor(dev));
	n = fdio_read_file(AT_FDCWD, path, text, sizeof(text));
	if (n < 0 || str_u64(text, UINT64_MAX / 512, &sectors) < 0)
		return err_rpc(err, RPC_INTERNAL, "size of the volume's disk: read %s: %s", path,
			       strerror(n < 0 ? (int)-n : EINVAL));
	*ret = sectors * 512;
	return 0;
}

/* The file system grows while it is mounted, by the kernel itself: only ext4 (and ext3) does. */
static int resize_job(void *arg, int out, struct err *err)
{
	const struct call *c = arg;
	const Grpc__ResizeVolumeRequest *req = c->wait;
	AUTO_CLOSE int any = work_open(req->volume_guest_path, err);
	AUTO_CLOSE int dir = FD_NONE;
	uint64_t disk = 0, size, blocks;
	struct fd_path path;
	struct statfs fs;
	struct stat st;

	(void)out;
	if (any < 0)
		return any;
	dir = open(fdio_path(&path, any), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || fstatfs(dir, &fs) < 0 || fstat(dir, &st) < 0)
		return err_rpc(err, RPC_INTERNAL, "open volume '%s': %s", req->volume_guest_path,
			       strerror(errno));
	if (fs.f_type != EXT4_SUPER_MAGIC)
		return err_rpc(err, RPC_UNIMPLEMENTED,
			       "resize_volume is implemented for ext4, and '%s' is of type 0x%lx",
			       req->volume_guest_path, (unsigned long)fs.f_type);
	if (disk_size(st.st_dev, &disk, err) < 0)
		return -err->code;
	size = req->size ? req->size : disk;
	blocks = size / (uint64_t)fs.f_bsize;
	if (size > disk || blocks < fs.f_blocks)
		return err_rpc(err, RPC_INVALID_ARGUMENT,
			       "volume '%s' cannot have %llu bytes: its disk has %llu, "
			       "its file system %llu",
			       req->volume_guest_path, (unsigned long long)size,
			       (unsigned long long)disk,
			       (unsigned long long)(fs.f_blocks * (uint64_t)fs.f_bsize));
	if (ioctl(dir, EXT4_IOC_RESIZE_FS, &blocks) < 0)
		return err_rpc(err, RPC_INTERNAL, "resize volume '%s': %s", req->volume_guest_path,
			       strerror(errno));
	return 0;
}

int svc_resize_volume(struct call *c, const void *req, struct err *err)
{
	return work_start(c, NULL, (void *)(uintptr_t)req, resize_job, work_done_empty, err);
}

/* ---- mounts ---- */

static int plan_ephemeral(struct call *c, const Grpc__Storage *s, struct mount_plan *p,
			  struct err *err)
{
	char **options = arena_alloc(&c->mem, (s->n_options + 1) * sizeof(*options));
	char *rel = arena_alloc(&c->mem, LIMIT_PATH);
	size_t n = 0;

	if (!options || !rel)
		return err_sys(err, ENOMEM, "storage");
	if (!str_eq(s->driver, "ephemeral"))
		return err_rpc(err, RPC_INVALID_ARGUMENT,
			       "Unsupported storage type %s for updating ephemeral mounts",
			       s->driver);
	if (confine_clean(STORAGE_ROOT, s->mount_point, rel) < 0)
		return err_rpc(err, RPC_INVALID_ARGUMENT,
			       "mount point '%s' is not below " STORAGE_ROOT, s->mount_point);
	for (size_t i = 0; i < s->n_options; i++) {
		if (!str_starts(s->options[i], "fsgid="))
			options[n++] = s->options[i];
	}
	*p = (struct mount_plan){ .kind = n ? MOUNT_TAG : MOUNT_NONE,
				  .source = s->source,
				  .fstype = s->fstype,
				  .rel = rel,
				  .mode = 0777 };
	if (mountopt_parse(options, n, &p->opt, &c->mem, err) < 0)
		return -err->code;
	/* What there is is changed, whatever the words are: a new mount would be nobody's. */
	p->opt.flags |= MS_REMOUNT;
	return 0;
}

/* Without options there is nothing to update. */
static int ephemeral_job(void *arg, int out, struct err *err)
{
	struct call *c = arg;
	const Grpc__UpdateEphemeralMountsRequest *req = c->wait;

	for (size_t i = 0; i < req->n_storages; i++) {
		struct mount_plan plan;

		if (plan_ephemeral(c, req->storages[i], &plan, err) < 0 ||
		    (plan.kind != MOUNT_NONE && storage_mount_all(&plan, 1, out, err) < 0))
			return -err->code;
	}
	return 0;
}

int svc_update_ephemeral_mounts(struct call *c, const void *r, struct err *err)
{
	const Grpc__UpdateEphemeralMountsRequest *req = r;

	if (req->n_storages > LIMIT_STORAGES)
		return err_rpc(err, RPC_INVALID_ARGUMENT, "%zu storages are too many",
			       req->n_storages);
	return work_start(c, NULL, (void *)(uintptr_t)req, ephemeral_job, work_done_empty, err);
}

/* A look at each mount of the share has virtiofsd drop inodes whose files have gone on the host. */
static int stale_job(void *arg, int out, struct err *err)
{
	AUTO_FREE char *text = NULL;
	struct mountinfo m;
	struct stat st;
	char *at;

	(void)arg;
	(void)out;
	(void)err;
	if (mountinfo_read(AT_FDCWD, &text) < 0)
		return 0;
	at = text;
	while (mountinfo_next(&at, &m)) {
		if (str_starts(m.point, SHARE_DIR))
			(void)stat(m.point, &st);
	}
	return 0;
}

static void stale_done(void *arg, const struct err *err, const struct buf *out)
{
	(void)err; /* it was only a hint */
	(void)out;
	(void)call_reply_empty(arg);
}

int svc_remove_stale_virtiofs_share_mounts(struct call *c, const void *req, struct err *err)
{
	return work_start(c, NULL, (void *)(uintptr_t)req, stale_job, stale_done, err);
}
