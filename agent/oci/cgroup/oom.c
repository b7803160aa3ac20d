/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OOM kills of a container, told by a descriptor and proven by the kernel's counter: the
 * descriptors also fire for other reasons, the removal of the cgroup among them.
 */
#include "oci/cgroup/impl.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>

#include "base/auto.h"

static const char *counter_file(const struct cgroup *cg)
{
	return cg->root->mode == CGROUP_V2 ? "memory.events" : "memory.oom_control";
}

/* v1: an eventfd is tied to the file by a line of two descriptor numbers. */
static int watch_v1(struct cgroup *cg, struct err *err)
{
	AUTO_CLOSE int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	AUTO_CLOSE int file = cgroup_open(cg, CTL_MEMORY, counter_file(cg), O_RDONLY);
	int r;

	if (event < 0)
		return err_sys(err, errno, "eventfd");
	if (file < 0)
		return err_sys(err, -file, "open memory.oom_control");
	r = cgroup_write(cg, CTL_MEMORY, "cgroup.event_control", err, "%d %d", event, file);
	if (r < 0)
		return r;
	cg->oom_fd = TAKE_FD(event);
	return cg->oom_fd;
}

static int watch_v2(struct cgroup *cg, struct err *err)
{
	AUTO_CLOSE int notify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	char path[64];

	if (notify < 0)
		return err_sys(err, errno, "inotify");
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d/memory.events", cg->dir_fd);
	if (inotify_add_watch(notify, path, IN_MODIFY) < 0)
		return err_sys(err, errno, "watch memory.events");
	cg->oom_fd = TAKE_FD(notify);
	return cg->oom_fd;
}

int cgroup_oom_watch(struct cgroup *cg, struct err *err)
{
	if (cg->oom_fd >= 0)
		return cg->oom_fd;
	if (!cgroup_has(cg, CTL_MEMORY))
		return err_set(err, EOPNOTSUPP, "the guest has no memory cgroup");
	return cg->root->mode == CGROUP_V2 ? watch_v2(cg, err) : watch_v1(cg, err);
}

int cgroup_oom_check(struct cgroup *cg)
{
	char drop[4096];
	uint64_t now, fresh;
	int r;

	while (cg->oom_fd >= 0 && read(cg->oom_fd, drop, sizeof(drop)) > 0)
		;
	r = cgroup_read_key(cg, CTL_MEMORY, counter_file(cg), "oom_kill", &now);
	if (r < 0) /* -ENODEV: removed while we had it open */
		return r == -ENODEV ? -ENOENT : r;
	fresh = now > cg->oom_seen ? now - cg->oom_seen : 0;
	cg->oom_seen = now;
	return fresh > INT_MAX ? INT_MAX : (int)fresh;
}
