/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernel parameters. No state. Which values a write reaches is decided by the namespaces of the
 * writer, not by the procfs mount, so the guest's own procfs serves and nothing that the container
 * could have forged is opened.
 */

#include "oci/fs/impl.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "linux/path.h"
#include "base/auto.h"
#include "base/err.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/str.h"

/*
 * prefix: everything that begins so. The ipc and uts namespaces are always the sandbox's own. The
 * network is the guest's where the spec lists no namespace for it, which is what 1.x runtimes send,
 * and a guest has only this pod.
 */
static const struct {
	const char *name;
	bool prefix;
} allowed[] = {
	{ "kernel.msgmax", false },
	{ "kernel.msgmnb", false },
	{ "kernel.msgmni", false },
	{ "kernel.sem", false },
	{ "kernel.shmall", false },
	{ "kernel.shmmax", false },
	{ "kernel.shmmni", false },
	{ "kernel.shm_rmid_forced", false },
	{ "kernel.domainname", false },
	{ "fs.mqueue.", true },
	{ "net.", true },
};

/*
 * The name with dots between its parts, whichever of the two customary spellings it came in: the
 * first separator tells (net.ipv4.conf.lo, net/ipv4/conf/eth0.1 with the dot kept as a slash).
 */
static int swap_separators(const char *name, char ret[static LIMIT_SYSCTL_NAME])
{
	size_t len = strlen(name);
	bool slashes = name[strcspn(name, "./")] == '/';

	if (len == 0 || len >= LIMIT_SYSCTL_NAME)
		return -EINVAL;
	for (size_t i = 0; i <= len; i++) {
		char c = name[i];

		if (slashes && (c == '/' || c == '.'))
			c = c == '/' ? '.' : '/';
		ret[i] = c;
	}
	return 0;
}

static bool is_allowed(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(allowed); i++) {
		if (allowed[i].prefix ? str_starts(name, allowed[i].name)
				      : str_eq(name, allowed[i].name))
			return true;
	}
	return false;
}

/* "sys/net/ipv4/conf/eth0.1": dots separate, slashes are dots in a part's name. */
static void sysctl_path(const char *name, char *ret, size_t size)
{
	int len = snprintf(ret, size, "sys/%s", name);

	for (int i = 4; i < len; i++)
		ret[i] = ret[i] == '.' ? '/' : ret[i] == '/' ? '.' : ret[i];
}

int sysctl_check(const Grpc__Linux *linux, struct err *err)
{
	for (size_t i = 0; i < linux->n_sysctl; i++) {
		const char *key = linux->sysctl[i]->key;
		char name[LIMIT_SYSCTL_NAME], path[LIMIT_SYSCTL_NAME + 8];

		if (swap_separators(key, name) < 0)
			return err_set(err, EINVAL, "sysctl name is empty or too long");
		sysctl_path(name, path, sizeof(path));
		if (path_has_dotdot(path)) /* "net.//.kernel.x" would be kernel.x */
			return err_set(err, EINVAL, "sysctl \"%s\" is no valid name", key);
		if (str_eq(name, "kernel.hostname"))
			return err_set(err, EINVAL,
				       "sysctl \"%s\" is not allowed: use the hostname field", key);
		if (!is_allowed(name))
			return err_set(err, EINVAL,
				       "sysctl \"%s\" is not in a separate kernel namespace", key);
	}
	return 0;
}

static int write_one(int proc, const char *key, const char *value, struct err *err)
{
	struct open_how how = {
		.flags = O_WRONLY | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
	};
	char name[LIMIT_SYSCTL_NAME], path[LIMIT_SYSCTL_NAME + 8];
	AUTO_CLOSE int fd = FD_NONE;
	int r;

	if (swap_separators(key, name) < 0)
		return err_set(err, EINVAL, "sysctl name is empty or too long");
	sysctl_path(name, path, sizeof(path));
	fd = (int)syscall(SYS_openat2, proc, path, &how, sizeof(how));
	if (fd < 0)
		return err_sys(err, errno, "sysctl '%s'", key);
	r = fdio_write_all(fd, value, strlen(value));
	return r < 0 ? err_sys(err, -r, "sysctl '%s' = '%s'", key, value) : 0;
}

int sysctl_apply(int proc, const Grpc__Linux *linux, struct err *err)
{
	for (size_t i = 0; i < linux->n_sysctl; i++) {
		int r = write_one(proc, linux->sysctl[i]->key, linux->sysctl[i]->value, err);

		if (r < 0)
			return r;
	}
	return 0;
}
