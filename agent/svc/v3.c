/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handlers that only 3.x has. State: how often metrics were asked for. A worker gets the call
 * itself as its argument, with the request in call->wait; it reads both in its own copy of memory.
 */
#include "svc/v3.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/swap.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "agent.pb-c.h"
#include "oci/cgroup/cgroup.h"
#include "oci/fs/mountopt.h"
#include "base/auto.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/str.h"
#include "base/worker.h"
#include "rpc/call.h"
#include "pod/agent.h"
#include "config.h"
#include "pod/container.h"
#include "svc/metrics.h"
#include "pod/sandbox.h"
#include "pod/storage_mount.h"
#include "linux/confine.h"
#include "linux/devfind.h"

#define SHARE_DIR	    "/run/kata-containers/shared/containers/"
#define TERMINATION_MESSAGE "io.kubernetes.container.terminationMessagePath"
#define TERMINATION_LOG_MAX 4096u
#define WORKER_MS	    50000 /* within the minute that the runtime gives a call */
#ifndef EXT4_IOC_RESIZE_FS
#define EXT4_IOC_RESIZE_FS _IOW('f', 16, uint64_t)
#endif

/* --- workers ------------------------------------------------------------------------------- */

static int start_worker(struct call *c, const void *req, worker_job *job, worker_done *done,
			struct err *err)
{
	static const struct worker_opts opts = { .timeout_ms = WORKER_MS, .max_out = 64u << 10 };
	struct agent *a = call_agent(c);
	int r;

	(void)call_park(c, NULL, call_go_on, (void *)(uintptr_t)req);
	r = worker_start(a->loop, a->reaper, &opts, job, done, c, NULL);
	return r < 0 ? err_sys(err, -r, "start a worker") : CALL_PENDING;
}

static void done_empty(void *arg, const struct err *err, const struct buf *out)
{
	(void)out;
	if (err->code)
		(void)call_fail(arg, err);
	else
		(void)call_reply_empty(arg);
}

/* O_PATH fd of what a request names below /run, no link followed. */
static int open_below_run(const char *path, struct err *err)
{
	AUTO_CLOSE int root = open(STORAGE_ROOT, O_PATH | O_DIRECTORY | O_CLOEXEC);
	char rel[CONFINE_MAX];
	int r;

	if (root < 0)
		return err_sys(err, errno, "open " STORAGE_ROOT);
	r = confine_clean(STORAGE_ROOT, path, rel);
	if (r < 0)
		return err_rpc(err, RPC_INVALID_ARGUMENT, "path '%s' is not below " STORAGE_ROOT,
			       path);
	r = confine_any(root, rel);
	return r < 0 ? err_rpc(err, r == -ENOENT ? RPC_NOT_FOUND : RPC_INTERNAL, "open '%s': %s",
			       path, strerror(-r))
		     : r;
}

/* --- metrics ------------------------------------------------------------------------------- */

/*
 * Of each container that has a cgroup. The values of one metric have to stand together: three
 * rounds.
 */
static void container_metrics(struct metrics_text *t, const struct sandbox *sb)
{
	static const struct {
		const char *name, *type, *help;
	} metrics[] = {
		{ "kata_container_cpu_seconds_total", "counter",
		  "CPU time of a container (in seconds)" },
		{ "kata_container_memory_bytes", "gauge",
		  "Memory usage of a container (in bytes)" },
		{ "kata_container_pids", "gauge", "Tasks in a container" },
	};
	struct arena mem;

	metrics_head(t, "kata_agent_containers", "gauge", "Containers in this sandbox");
	metrics_add(t, "kata_agent_containers %zu\n", sb->container_count);
	for (size_t i = 0; i < ARRAY_LEN(metrics) && sb->container_count > 0; i++) {
		metrics_head(t, metrics[i].name, metrics[i].type, metrics[i].help);
		list_for_each(struct container, ctr, &sb->containers, link) {
			Grpc__CgroupStats s = GRPC__CGROUP_STATS__INIT;

			arena_init(&mem, 1u << 20);
			if (ctr->cgroup && cgroup_stats(ctr->cgroup, &mem, &s, NULL) == 0) {
				metrics_add(t, "%s{container_id=\"%s\"} ", metrics[i].name,
					    ctr->id);
				if (i == 0)
					metrics_add(t, "%.6f\n",
						    (double)s.cpu_stats->cpu_usage->total_usage /
							    1e9);
				else
					metrics_add(
						t, "%llu\n",
						(unsigned long long)(i == 1 ? s.memory_stats->usage
										      ->usage
									    : s.pids_stats
										      ->current));
			}
			arena_free(&mem);
		}
	}
}

int svc_get_metrics(struct call *c, const void *req, struct err *err)
{
	static unsigned long scrapes;
	AUTO_CLOSE int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct metrics_text t = { 0 };
	Grpc__Metrics resp;
	int r;

	(void)req;
	grpc__metrics__init(&resp);
	if (proc < 0)
		return err_sys(err, errno, "open /proc");
	metrics_agent(&t, proc, ++scrapes);
	metrics_guest(&t, proc);
	container_metrics(&t, call_agent(c)->sandbox);
	if (buf_append(&t.buf, "", 1) < 0 || t.failed) {
		buf_free(&t.buf);
		return err_sys(err, ENOMEM, "metrics");
	}
	resp.metrics = (char *)buf_data(&t.buf);
	r = call_reply(c, &resp.base);
	buf_free(&t.buf);
	return r;
}

/* --- swap ---------------------------------------------------------------------------------- */

struct swap { /* in the call's arena */
	struct dev_find find;
	struct call *call;
	char device[8 + DEV_NAME_MAX];
};

static int swap_on(const char *path, struct err *err)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return err_rpc(err, RPC_INTERNAL, "swap device '%s': %s", path, strerror(errno));
	if (!S_ISBLK(st.st_mode))
		return err_rpc(err, RPC_INVALID_ARGUMENT, "swap device '%s' is no block device",
			       path);
	if (swapon(path, 0) < 0)
		return err_rpc(err, RPC_INTERNAL, "swapon '%s': %s", path, strerror(errno));
	return 0;
}

static int swap_device_job(void *arg, int out, struct err *err)
{
	const struct swap *s = arg;

	(void)out;
	return swap_on(s->device, err);
}

static int swap_path_job(void *arg, int out, struct err *err)
{
	const struct call *c = arg;
	const Grpc__AddSwapPathRequest *req = c->wait;

	(void)out;
	return swap_on(req->path, err);
}

static void swap_done(void *arg, const struct err *err, const struct buf *out)
{
	struct swap *s = arg;

	done_empty(s->call, err, out);
}

static void swap_found(struct dev_find *f, const char *name, const struct err *why)
{
	static const struct worker_opts opts = { .timeout_ms = WORKER_MS };
	struct swap *s = container_of(f, struct swap, find);
	struct agent *a = call_agent(s->call);
	struct err err = { 0 };
	int r;

	if (!name) {
		(void)call_fail(s->call, why);
		return;
	}
	(void)snprintf(s->device, sizeof(s->device), "/dev/%s", name);
	s->call->cancel = call_go_on; /* the device is there: what follows is short */
	r = worker_start(a->loop, a->reaper, &opts, swap_device_job, swap_done, s, NULL);
	if (r < 0) {
		err_sys(&err, -r, "start a worker");
		(void)call_fail(s->call, &err);
	}
}

static void swap_cancelled(struct call *c)
{
	struct swap *s = c->wait;

	dev_find_cancel(&s->find);
}

int svc_add_swap(struct call *c, const void *r, struct err *err)
{
	const Grpc__AddSwapRequest *req = r;
	struct agent *a = call_agent(c);
	char path[PCI_PATH_MAX * 3 + 1] = "";
	struct swap *s;
	size_t len = 0;

	if (req->n_pcipath == 0 || req->n_pcipath > PCI_PATH_MAX)
		return err_rpc(err, RPC_INVALID_ARGUMENT, "a PCI path of %zu elements",
			       req->n_pcipath);
	for (size_t i = 0; i < req->n_pcipath; i++) {
		if (req->pcipath[i] > 0xff)
			return err_rpc(err, RPC_INVALID_ARGUMENT, "PCI slot %u", req->pcipath[i]);
		len += (size_t)snprintf(path + len, sizeof(path) - len, "%s%02x", i ? "/" : "",
					req->pcipath[i]);
	}
	if (!a->uevents)
		return err_rpc(err, RPC_INTERNAL, "devices cannot be waited for here");
	s = arena_zalloc(&c->mem, sizeof(*s));
	if (!s)
		return err_sys(err, ENOMEM, "swap");
	s->call = c;
	if (dev_find(&s->find, a->uevents, DEV_PCI_BLOCK, path, a->config->hotplug_timeout_ms,
		     swap_found, err) < 0)
		return -err->code;
	return call_park(c, NULL, swap_cancelled, s);
}

int svc_add_swap_path(struct call *c, const void *req, struct err *err)
{
	return start_worker(c, req, swap_path_job, done_empty, err);
}

/* --- volumes ------------------------------------------------------------------------------- */

static int volume_stats_job(void *arg, int out, struct err *err)
{
	const struct call *c = arg;
	const Grpc__VolumeStatsRequest *req = c->wait;
	AUTO_CLOSE int fd = open_below_run(req->volume_guest_path, err);
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
	return start_worker(c, req, volume_stats_job, volume_stats_done, err);
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
	AUTO_CLOSE int any = open_below_run(req->volume_guest_path, err);
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
	return start_worker(c, req, resize_job, done_empty, err);
}

/* --- mounts -------------------------------------------------------------------------------- */

static int plan_ephemeral(struct call *c, const Grpc__Storage *s, struct mount_plan *p,
			  struct err *err)
{
	char **options = arena_alloc(&c->mem, (s->n_options + 1) * sizeof(*options));
	char *rel = arena_alloc(&c->mem, CONFINE_MAX);
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
	return mountopt_parse(options, n, &p->opt, &c->mem, err);
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
	return start_worker(c, req, ephemeral_job, done_empty, err);
}

/* The kernel writes blanks, tabs, newlines and backslashes of paths as three octal digits. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
		    s[3] >= '0' && s[3] <= '7') {
			*to++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/* A look at each mount of the share has virtiofsd drop inodes whose files have gone on the host. */
static int stale_job(void *arg, int out, struct err *err)
{
	AUTO_FREE char *text = NULL;
	char *save = NULL;

	(void)arg;
	(void)out;
	(void)err;
	if (fdio_slurp(AT_FDCWD, "/proc/self/mountinfo", 4u << 20, &text) < 0)
		return 0;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char point[CONFINE_MAX];
		struct stat st;

		if (sscanf(line, "%*u %*u %*s %*s %4095s", point) != 1)
			continue;
		unescape(point);
		if (str_starts(point, SHARE_DIR))
			(void)stat(point, &st);
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
	return start_worker(c, req, stale_job, stale_done, err);
}

/* --- diagnostics --------------------------------------------------------------------------- */

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
		root = open_below_run(f->root, err);
		any = root < 0 ? root : fdio_open_in(root, f->path, O_PATH, 0);
	} else {
		any = open_below_run(f->path, err);
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
	char text[TERMINATION_LOG_MAX];
	ssize_t n = fd < 0 ? 0 : fdio_read_all(fd, text, sizeof(text));

	if (n > 0 && fdio_write_all(out, text, (size_t)n) < 0)
		return err_rpc(err, RPC_INTERNAL, "hand over the log");
	return 0; /* a log that isn't there is empty */
}

static void log_done(void *arg, const struct err *err, const struct buf *out)
{
	Grpc__GetDiagnosticDataResponse resp;
	char text[3 * TERMINATION_LOG_MAX + 1];
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
		return start_worker(c, file, log_job, log_done, err);
	}
	return err_rpc(err, RPC_INTERNAL, "container '%s' has no annotation " TERMINATION_MESSAGE,
		       req->container_id);
}

/* --- not here ------------------------------------------------------------------------------ */

int svc_set_policy(struct call *c, const void *req, struct err *err)
{
	(void)c;
	(void)req;
	return err_rpc(err, RPC_UNIMPLEMENTED, "SetPolicy: this agent is built without policies");
}

int svc_mem_agent_set(struct call *c, const void *req, struct err *err)
{
	(void)req;
	return err_rpc(err, RPC_UNIMPLEMENTED, "%s: this agent has no mem-agent", c->method->name);
}
