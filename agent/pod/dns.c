/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's resolv.conf: a file of ours bound over the image's. State: that file and the binding.
 */
#include "pod/guest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/log.h"
#include "linux/confine.h"

#define RUN_DIR	   "/run"
#define DNS_DIR	   "kata-containers/sandbox" /* below RUN_DIR */
#define DNS_FILE   "resolv.conf"
#define DNS_PATH   RUN_DIR "/" DNS_DIR "/" DNS_FILE
#define DNS_TARGET "/etc/resolv.conf"

/* 1, 0, also where one of them is missing, or -errno: nobody knows. */
static int same_file(const char *a, const char *b)
{
	struct stat sa, sb;

	if (stat(a, &sa) < 0 || stat(b, &sb) < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
	return sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

/* A line without the blanks around it. */
static const char *trim(const char *line, size_t *len)
{
	static const char blank[] = " \t\r\n\v\f";

	line += strspn(line, blank);
	*len = strlen(line);
	while (*len > 0 && strchr(blank, line[*len - 1]))
		--*len;
	return line;
}

static int write_lines(int fd, char *const *lines, size_t n)
{
	size_t total = 0;

	for (size_t i = 0; i < n; i++) {
		size_t len;
		const char *text = trim(lines[i], &len);
		int r = i > 0 ? fdio_write_all(fd, "\n", 1) : 0;

		total += len + 1;
		if (total > LIMIT_DNS)
			return -EFBIG;
		if (r == 0)
			r = fdio_write_all(fd, text, len);
		if (r < 0)
			return r;
	}
	return 0;
}

int dns_set(char *const *lines, size_t n, struct err *err)
{
	AUTO_CLOSE int run = open(RUN_DIR, O_PATH | O_DIRECTORY | O_CLOEXEC);
	AUTO_CLOSE int dir = FD_NONE;
	AUTO_CLOSE int fd = FD_NONE;
	int r;

	if (n == 0)
		return 0;
	if (access(DNS_TARGET, F_OK) < 0) {
		log_warn("dns", "no " DNS_TARGET " to put the name servers in");
		return 0;
	}
	dir = run < 0 ? -errno : confine_dir(run, DNS_DIR, 0700, NULL);
	if (dir < 0)
		return err_sys(err, -dir, "make directory of " DNS_PATH);
	/* In place: a file that is bound already shows the new lines. */
	fd = openat(dir, DNS_FILE, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
	r = fd < 0 ? -errno : write_lines(fd, lines, n);
	if (r < 0)
		return err_sys(err, -r, "write " DNS_PATH);
	if (same_file(DNS_PATH, DNS_TARGET) <= 0 &&
	    mount(DNS_PATH, DNS_TARGET, NULL, MS_BIND, NULL) < 0)
		return err_sys(err, errno, "bind " DNS_PATH " to " DNS_TARGET);
	return 0;
}

int dns_unset(void)
{
	int r = same_file(DNS_PATH, DNS_TARGET);

	return r > 0 && umount2(DNS_TARGET, MNT_DETACH) < 0 ? -errno : r < 0 ? r : 0;
}
