/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The choice of channels. State: what has been opened, and while nothing has, the timer of the next
 * look.
 */
#include "wire/channel.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/log.h"
#include "base/str.h"
#include "wire/listen.h"
#include "wire/serial.h"

#define GIVE_UP_MS 10000
#define LOOK_MS	   50 /* the longest pause between two looks; the first ones are closer */

struct channel {
	struct loop *loop;
	struct rpc_server *rpc;
	struct listener *listener;
	struct serial *serial;
	struct timer look;
	int use_vsock;
	char root[64];
	int64_t deadline_ms, pause_ms;
	channel_failed *failed;
	void *arg;
};

/*
 * Is there a vsock device of the virtio transport? /dev/vsock alone may belong to a loopback, and a
 * listener on that would be no road.
 */
static int channel_have_vsock(const char *root)
{
	char path[160], target[512];
	AUTO_DIR DIR *d = NULL;
	struct dirent *e;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "%s/dev/vsock", root);
	if (access(path, F_OK) < 0)
		return -errno;
	(void)snprintf(path, sizeof(path), "%s/sys/bus/virtio/drivers/vmw_vsock_virtio_transport",
		       root);
	d = opendir(path);
	if (!d)
		return -errno;
	while ((e = readdir(d))) {
		n = readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);
		if (n < 0)
			continue;
		target[n] = '\0';
		if (strstr(target, "devices"))
			return 0;
	}
	return -ENODEV;
}

static int channel_try_vsock(struct channel *c, struct err *err)
{
	char address[32];
	int r = channel_have_vsock(c->root);

	if (r < 0)
		return err_sys(err, -r, "look for a vsock device");
	(void)snprintf(address, sizeof(address), "vsock://-1:%u", AGENT_VSOCK_PORT);
	r = listen_start(c->loop, c->rpc, address, &c->listener, err);
	if (r == 0)
		log_info("channel", "listening on vsock port %u", AGENT_VSOCK_PORT);
	return r;
}

/*
 * One look at everything that is allowed: 0 if a road is open, else -errno with both reasons in
 * *err.
 */
static int channel_look(struct channel *c, struct err *err)
{
	struct err vsock = { .msg = "not wanted" }, serial = { .msg = "not wanted" };

	if (c->use_vsock != 0)
		(void)channel_try_vsock(c, &vsock);
	if (c->use_vsock != 1)
		(void)serial_start(c->loop, c->rpc, c->root, NULL, &c->serial, &serial);
	if (c->listener || c->serial)
		return 0;
	return err_set(err, ENODEV,
		       "Neither vsocks nor serial ports were found (vsock: %.200s; serial: %.200s)",
		       vsock.msg, serial.msg);
}

static void channel_on_look(struct timer *t)
{
	struct channel *c = container_of(t, struct channel, look);
	struct err err = { 0 };

	if (channel_look(c, &err) == 0)
		return;
	if (loop_now_ms() >= c->deadline_ms) {
		c->failed(c->arg, &err);
		return;
	}
	c->pause_ms = c->pause_ms * 2 < LOOK_MS ? c->pause_ms * 2 : LOOK_MS;
	timer_set(c->loop, t, c->pause_ms, channel_on_look);
}

static int channel_open(struct channel *c, const char *address, struct err *err)
{
	if (str_starts(address, "serial://"))
		return serial_start(c->loop, c->rpc, c->root, address + strlen("serial://"),
				    &c->serial, err);
	return listen_start(c->loop, c->rpc, address, &c->listener, err);
}

int channel_start(struct loop *l, struct rpc_server *rpc, const struct channel_opts *opts,
		  channel_failed *failed, void *arg, struct channel **ret, struct err *err)
{
	const char *root = opts->root ? opts->root : "";
	AUTO_FREE struct channel *c = calloc(1, sizeof(*c));
	struct err not_yet;
	int r;

	if (!c)
		return err_sys(err, ENOMEM, "channel");
	if (strlen(root) >= sizeof(c->root))
		return err_sys(err, ENAMETOOLONG, "root '%s'", root);
	(void)memcpy(c->root, root, strlen(root));
	c->loop = l;
	c->rpc = rpc;
	c->use_vsock = opts->use_vsock;
	c->failed = failed;
	c->arg = arg;
	if (!str_empty(opts->address)) {
		r = channel_open(c, opts->address, err);
		if (r < 0)
			return r;
	} else if (channel_look(c, &not_yet) < 0) {
		c->pause_ms = 1;
		c->deadline_ms = loop_now_ms() + (opts->give_up_ms ? opts->give_up_ms : GIVE_UP_MS);
		timer_set(l, &c->look, c->pause_ms, channel_on_look);
	}
	*ret = TAKE_PTR(c);
	return 0;
}

void channel_stop(struct channel *c)
{
	if (!c)
		return;
	timer_cancel(&c->look);
	listen_stop(c->listener);
	serial_stop(c->serial);
	free(c);
}
