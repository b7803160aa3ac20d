/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices of dm-verity, by the ioctls of device-mapper. No state: the kernel removes a device when
 * its last user has gone.
 */
#include "linux/dmverity.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/str.h"

#define SECTOR	   512u
#define SUPERBLOCK 512u /* its size; the hashes begin with the next block of theirs */

void dmverity_defaults(struct dmverity *v)
{
	*v = (struct dmverity){ .block_size = 4096, .hash_size = 4096, .version = 1 };
}

static int bool_option(const char *text, bool *ret)
{
	*ret = str_eq(text, "true");
	return *ret || str_eq(text, "false") ? 0 : -EINVAL;
}

int dmverity_option(struct dmverity *v, const char *word, struct err *err)
{
	const struct {
		const char *key;
		const char **text;
		uint64_t *number;
		bool *flag;
	} options[] = {
		{ "-enabled=", .flag = &v->enabled },
		{ ".roothash=", .text = &v->root_hash },
		{ ".hashoffset=", .number = &v->hash_offset },
		{ ".blocksize=", .number = &v->block_size },
		{ ".hashsize=", .number = &v->hash_size },
		{ ".algorithm=", .text = &v->algorithm },
		{ ".salt=", .text = &v->salt },
		{ ".hashtype=", .number = &v->version },
		{ ".no-superblock=", .flag = &v->no_superblock },
	};

	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		const char *value = word + strlen(options[i].key);
		int r = 0;

		if (!str_starts(word, options[i].key))
			continue;
		if (options[i].text)
			*options[i].text = value;
		else if (options[i].number)
			r = str_u64(value, INT64_MAX, options[i].number);
		else
			r = bool_option(value, options[i].flag);
		return r < 0 ? err_set(err, EINVAL, "invalid option of dm-verity '%s'", word) : 0;
	}
	return err_set(err, EINVAL, "unknown option of dm-verity '%s'", word);
}

/* The kernel takes them as words of one line. */
static bool is_word(const char *text, const char *of, size_t max)
{
	size_t len = strlen(text);

	return len > 0 && len <= max && strspn(text, of) == len;
}

static bool has_salt(const struct dmverity *v)
{
	return !str_empty(v->salt) && !str_eq(v->salt, "-");
}

int dmverity_check(const struct dmverity *v, struct err *err)
{
	static const char hex[] = "0123456789abcdefABCDEF";

	if (str_empty(v->root_hash) || !is_word(v->root_hash, hex, 128))
		return err_set(err, EINVAL, "dm-verity: a root hash is needed, in hexadecimal");
	if (has_salt(v) && !is_word(v->salt, hex, 512))
		return err_set(err, EINVAL, "dm-verity: the salt is not hexadecimal");
	if (v->algorithm && !is_word(v->algorithm, "abcdefghijklmnopqrstuvwxyz0123456789-_()", 64))
		return err_set(err, EINVAL, "dm-verity: no such algorithm '%s'", v->algorithm);
	if (v->block_size < SECTOR || v->hash_size < SECTOR || v->hash_offset == 0 ||
	    v->hash_offset % v->block_size != 0 || v->hash_offset % v->hash_size != 0)
		return err_set(err, EINVAL,
			       "dm-verity: hashes at %llu do not begin with a block of %llu and "
			       "%llu bytes",
			       (unsigned long long)v->hash_offset,
			       (unsigned long long)v->block_size, (unsigned long long)v->hash_size);
	return 0;
}

struct request {
	struct dm_ioctl io;
	struct dm_target_spec target;
	char table[1024];
};

static int request_send(int control, unsigned long number, const char *name, uint32_t flags,
			struct request *r)
{
	r->io = (struct dm_ioctl){
		.version = { DM_VERSION_MAJOR, 0, 0 },
		.data_size = sizeof(*r),
		.data_start = offsetof(struct request, target),
		.flags = flags,
		.target_count = number == DM_TABLE_LOAD ? 1 : 0,
	};
	(void)snprintf(r->io.name, sizeof(r->io.name), "%s", name);
	return ioctl(control, number, r) < 0 ? -errno : 0;
}

static int load_table(int control, const char *name, dev_t disk, const struct dmverity *v)
{
	struct request r = { .target = { .length = v->hash_offset / SECTOR } };
	uint64_t start = v->hash_offset / v->hash_size;
	char dev[24];
	int n;

	if (!v->no_superblock)
		start += (SUPERBLOCK + v->hash_size - 1) / v->hash_size;
	(void)snprintf(r.target.target_type, sizeof(r.target.target_type), "verity");
	(void)snprintf(dev, sizeof(dev), "%u:%u", major(disk), minor(disk));
	n = snprintf(r.table, sizeof(r.table), "%llu %s %s %llu %llu %llu %llu %s %s %s",
		     (unsigned long long)v->version, dev, dev, (unsigned long long)v->block_size,
		     (unsigned long long)v->hash_size,
		     (unsigned long long)(v->hash_offset / v->block_size),
		     (unsigned long long)start, v->algorithm ? v->algorithm : "sha256",
		     v->root_hash, has_salt(v) ? v->salt : "-");
	if (n >= (int)sizeof(r.table))
		return -E2BIG;
	r.target.next = sizeof(r.target) + (((uint32_t)n + 8) & ~7u);
	return request_send(control, DM_TABLE_LOAD, name, DM_READONLY_FLAG, &r);
}

/* It goes with its last user: nobody has to come back for it. */
static int open_node(int control, const char *name, struct request *r,
		     char node[static DMVERITY_NODE])
{
	int fd, n = request_send(control, DM_DEV_SUSPEND, name, 0, r);

	if (n < 0)
		return n;
	/* The kernel's numbers: 12 bits of major between 8 and 12 of minor. */
	(void)snprintf(node, DMVERITY_NODE, "/dev/dm-%u",
		       (unsigned int)((r->io.dev & 0xff) | (r->io.dev >> 12 & 0xfff00)));
	fd = open(node, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int dmverity_open(dev_t disk, const struct dmverity *v, char node[static DMVERITY_NODE],
		  struct err *err)
{
	AUTO_CLOSE int control = open("/dev/" DM_DIR "/" DM_CONTROL_NODE, O_RDWR | O_CLOEXEC);
	AUTO_CLOSE int fd = FD_NONE;
	struct request r = { .table = "" };
	struct timespec now;
	char name[64];
	int n;

	if (control < 0)
		return err_sys(err, errno, "device-mapper");
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	(void)snprintf(name, sizeof(name), "kata-verity-%d-%lld.%09ld", (int)getpid(),
		       (long long)now.tv_sec, now.tv_nsec);
	n = request_send(control, DM_DEV_CREATE, name, DM_READONLY_FLAG, &r);
	if (n < 0)
		return err_sys(err, -n, "device-mapper");
	n = load_table(control, name, disk, v);
	if (n == 0)
		n = fd = open_node(control, name, &r, node);
	(void)request_send(control, DM_DEV_REMOVE, name, DM_DEFERRED_REMOVE, &r);
	return n < 0 ? err_sys(err, -n, "dm-verity") : TAKE_FD(fd);
}
