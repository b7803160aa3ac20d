/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPU and memory hot-plug through sysfs. No state.
 */
#include "linux/hotplug.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/str.h"

#define CPU_DIR	   "devices/system/cpu"
#define MEMORY_DIR "devices/system/memory"

struct pass {
	const char *dir, *prefix;
	uint32_t want; /* stop after so many */
	uint32_t done, failed;
	uint32_t were; /* online before, of those that were looked at */
};

/* Sets online what is offline in one directory of sysfs. */
static int online_pass(int sys, struct pass *p)
{
	AUTO_DIR DIR *d = NULL;
	int fd = openat(sys, p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *e;

	if (fd < 0)
		return -errno;
	d = fdopendir(fd);
	if (!d) {
		(void)close(fd);
		return -ENOMEM;
	}
	while (p->done < p->want && (e = readdir(d))) {
		char path[NAME_MAX + 16], state[16];
		size_t len = strlen(p->prefix);

		/* cpu0, memory12; not cpufreq. */
		if (!str_starts(e->d_name, p->prefix) || e->d_name[len] < '0' ||
		    e->d_name[len] > '9')
			continue;
		(void)snprintf(path, sizeof(path), "%s/online", e->d_name);
		if (fdio_read_file(fd, path, state, sizeof(state)) < 0)
			continue;
		p->were += str_eq(state, "1");
		if (!str_eq(state, "0"))
			continue;
		if (fdio_write_file(fd, path, "1") < 0)
			p->failed++;
		else
			p->done++;
	}
	return 0;
}

int hotplug_cpus_online(int sys, uint32_t want, unsigned int rounds, unsigned int pause_ms,
			uint32_t *ret_n, struct err *err)
{
	struct timespec pause = { .tv_sec = pause_ms / 1000,
				  .tv_nsec = pause_ms % 1000 * 1000000l };
	struct pass p = { .dir = CPU_DIR, .prefix = "cpu", .want = want };

	for (unsigned int i = 0; i < rounds; i++) {
		int r;

		if (i > 0)
			(void)nanosleep(&pause, NULL);
		r = online_pass(sys, &p);
		*ret_n = p.done;
		if (r < 0)
			return err_sys(err, -r, "open /sys/" CPU_DIR);
		if (p.done == want)
			return 0;
	}
	return err_set(err, EAGAIN, "only %u of %u were connected", p.done, want);
}

int hotplug_memory_online(int sys, unsigned int *ret_done, unsigned int *ret_online,
			  unsigned int *ret_failed)
{
	struct pass p = { .dir = MEMORY_DIR, .prefix = "memory", .want = UINT32_MAX };
	int r = online_pass(sys, &p);

	*ret_done = p.done;
	*ret_online = p.were + p.done;
	*ret_failed = p.failed;
	return r;
}

int hotplug_cpu_list(int sys, char *buf, size_t size, struct err *err)
{
	ssize_t n = fdio_read_file(sys, CPU_DIR "/online", buf, size);

	if (n < 0)
		return err_sys(err, (int)-n, "read /sys/" CPU_DIR "/online");
	return (int)n;
}

int hotplug_count_cpus(const char *list, uint32_t *ret_n)
{
	uint64_t total = 0;

	while (*list) {
		char part[32], *dash;
		size_t len = strcspn(list, ",");
		uint64_t first, last;

		if (len >= sizeof(part))
			return -EINVAL;
		(void)memcpy(part, list, len);
		part[len] = '\0';
		dash = strchr(part, '-');
		if (dash)
			*dash = '\0';
		if (str_u64(part, 65535, &first) < 0 ||
		    str_u64(dash ? dash + 1 : part, 65535, &last) < 0 || last < first)
			return -EINVAL;
		total += last - first + 1;
		list += len + (list[len] == ',');
	}
	*ret_n = total > UINT32_MAX ? UINT32_MAX : (uint32_t)total;
	return 0;
}

static int parse_hex(const char *s, uint64_t *ret)
{
	uint64_t v = 0;

	if (!*s || strlen(s) > 16)
		return -EINVAL;
	for (; *s; s++) {
		const char *digits = "0123456789abcdef",
			   *p = strchr(digits, *s | (*s >= 'A' ? 0x20 : 0));

		if (!p)
			return -EINVAL;
		v = v << 4 | (uint64_t)(p - digits);
	}
	*ret = v;
	return 0;
}

int hotplug_block_size(int sys, uint64_t *ret, struct err *err)
{
	static const char file[] = MEMORY_DIR "/block_size_bytes";
	char text[64];
	ssize_t n = fdio_read_file(sys, file, text, sizeof(text));

	if (n == -ENOENT) {
		*ret = 0;
		return 0;
	}
	if (n < 0)
		return err_sys(err, (int)-n, "read /sys/%s", file);
	if (n == 0)
		return err_set(err, ENODATA, "/sys/%s is empty", file);
	if (parse_hex(text, ret) < 0)
		return err_set(err, EINVAL, "/sys/%s: '%s' is no hexadecimal number", file, text);
	return 0;
}

bool hotplug_wants_probe(int sys)
{
	char enabled[16];
	struct stat st;

	if (fstatat(sys, MEMORY_DIR "/probe", &st, 0) < 0)
		return false;
	/* With both, the memory would be announced twice. */
	return fdio_read_file(sys, "firmware/acpi/hotplug/memory/enabled", enabled,
			      sizeof(enabled)) < 0 ||
	       !str_eq(enabled, "1");
}

int hotplug_probe(int sys, uint64_t address, struct err *err)
{
	char text[32];
	int r;

	(void)snprintf(text, sizeof(text), "0x%llx", (unsigned long long)address);
	r = fdio_write_file(sys, MEMORY_DIR "/probe", text);
	return r < 0 ? err_sys(err, -r, "write %s to /sys/" MEMORY_DIR "/probe", text) : 0;
}
