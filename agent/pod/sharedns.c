/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The namespaces that the containers of a pod share and that outlive each of them. State: two files
 * that hold them.
 */
#include "pod/guest.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/str.h"

static const struct shared_ns {
	const char *path, *self;
	int flag;
} shared_ns[] = {
	{ SHAREDNS_IPC, "/proc/self/ns/ipc", CLONE_NEWIPC },
	{ SHAREDNS_UTS, "/proc/self/ns/uts", CLONE_NEWUTS },
};

/* Binds the namespace that we are in to its file. */
static int hold(const struct shared_ns *ns, struct err *err)
{
	AUTO_CLOSE int fd = FD_NONE;

	(void)umount2(ns->path, MNT_DETACH | UMOUNT_NOFOLLOW); /* an earlier sandbox's */
	fd = open(ns->path, O_RDONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return err_sys(err, errno, "create %s", ns->path);
	if (mount(ns->self, ns->path, NULL, MS_BIND, NULL) < 0)
		return err_sys(err, errno, "bind %s to %s", ns->self, ns->path);
	return 0;
}

static int make_and_hold(const struct shared_ns *ns, const char *hostname, struct err *err)
{
	AUTO_CLOSE int own = open(ns->self, O_RDONLY | O_CLOEXEC);
	int r;

	if (own < 0)
		return err_sys(err, errno, "open %s", ns->self);
	if (unshare(ns->flag) < 0)
		return err_sys(err, errno, "unshare for %s", ns->path);
	r = hold(ns, err);
	if (r == 0 && ns->flag == CLONE_NEWUTS && !str_empty(hostname) &&
	    sethostname(hostname, strlen(hostname)) < 0)
		r = err_sys(err, errno, "set hostname '%s'", hostname);
	/*
	 * With an fd of what we were in a moment ago this cannot fail; if it did, we would only be
	 * in the pod's.
	 */
	if (setns(own, ns->flag) < 0)
		r = err_sys(err, errno, "return to the agent's namespace");
	return r;
}

int sharedns_create(const char *hostname, struct err *err)
{
	int r = fdio_mkdirs(SHAREDNS_DIR, 0755);

	if (r < 0)
		return err_sys(err, -r, "make " SHAREDNS_DIR);
	for (size_t i = 0; i < ARRAY_LEN(shared_ns); i++) {
		r = make_and_hold(&shared_ns[i], hostname, err);
		if (r < 0) {
			(void)sharedns_destroy();
			return r;
		}
	}
	return 0;
}

int sharedns_destroy(void)
{
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(shared_ns); i++) {
		if (umount2(shared_ns[i].path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 &&
		    errno != EINVAL && errno != ENOENT)
			r = -errno;
		/* A file that is there says that a sandbox is (agent-ctl asks so). */
		(void)unlink(shared_ns[i].path);
	}
	return r;
}
