/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Uevents. State: the socket, the two directories, who waits, and whether memory is being onlined.
 */
#include "linux/uevent.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/str.h"
#include "base/worker.h"
#include "linux/hotplug.h"

#define POLL_MS	      100 /* without a socket */
#define NODE_MS	      10  /* an event came before its node */
#define KERNEL_EVENTS 1	  /* the multicast group; udev sends its own to another */

struct uevents {
	struct loop *loop;
	struct reaper *reaper;
	struct source source;
	struct timer poll;
	struct list waiters;
	struct mnl_socket *socket; /* NULL: none, and fd is the reason */
	int fd, sys, dev;
	struct worker *online; /* sets memory online; NULL: none runs */
	bool online_again;
	unsigned int blocks; /* of memory that came since somebody asked */
};

bool uevent_parse(const char *msg, size_t len, struct uevent *ret)
{
	struct uevent e = { "", "", "", "", "", "" };
	const struct {
		const char *key;
		const char **value;
	} keys[] = {
		{ "ACTION=", &e.action },	{ "DEVPATH=", &e.devpath },
		{ "SUBSYSTEM=", &e.subsystem }, { "DEVNAME=", &e.devname },
		{ "DEVTYPE=", &e.devtype },	{ "INTERFACE=", &e.interface },
	};

	if (len == 0 || msg[len - 1] != '\0' || !strchr(msg, '@'))
		return false;
	for (const char *p = msg + strlen(msg) + 1; p < msg + len; p += strlen(p) + 1) {
		for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
			if (str_starts(p, keys[i].key))
				*keys[i].value = p + strlen(keys[i].key);
		}
	}
	*ret = e;
	return *e.action && *e.devpath;
}

/* "0000:01:03.0/...": another function behind the one we look for. */
static bool is_pci_function(const char *s)
{
	static const char shape[] = "xxxx:xx:xx.x/";

	for (size_t i = 0; shape[i]; i++) {
		if (shape[i] == 'x' ? !isxdigit((unsigned char)s[i]) : s[i] != shape[i])
			return false;
	}
	return true;
}

bool dev_match_path(const struct dev_match *m, const char *subsystem, const char *devpath)
{
	const char *at;

	if (!str_eq(subsystem, m->subsystem))
		return false;
	if (!*m->path)
		return true;
	if (str_eq(subsystem, "pci")) { /* it ends there */
		size_t len = strlen(m->path) - 1, all = strlen(devpath);

		return all >= len && strncmp(devpath + all - len, m->path, len) == 0;
	}
	at = strstr(devpath, m->path);
	/* A bridge's path is the beginning of its devices': those are not what is looked for. */
	return at && !is_pci_function(at + strlen(m->path));
}

/* The value of a line KEY=value in the text of a sysfs uevent file, into buf; "" when absent. */
static void uevent_line_value(const char *text, const char *key, char *buf, size_t size)
{
	size_t len = 0;

	for (const char *p = text; p; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (str_starts(p, key)) {
			p += strlen(key);
			len = strcspn(p, "\n");
			if (len >= size)
				len = 0;
			(void)memcpy(buf, p, len);
			break;
		}
	}
	buf[len] = '\0';
}

/* The node is the device, not just anything of that name. */
static bool uevents_has_node(const struct uevents *u, const char *name, const char *text)
{
	char major_text[16], minor_text[16];
	uint64_t maj, min;
	struct stat st;

	uevent_line_value(text, "MAJOR=", major_text, sizeof(major_text));
	uevent_line_value(text, "MINOR=", minor_text, sizeof(minor_text));
	if (str_u64(major_text, UINT32_MAX, &maj) < 0 || str_u64(minor_text, UINT32_MAX, &min) < 0)
		return false;
	if (strstr(name, "..") || *name == '/' ||
	    fstatat(u->dev, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return false;
	return S_ISBLK(st.st_mode) && st.st_rdev == makedev((unsigned int)maj, (unsigned int)min);
}

/* Does the entry of /sys/class/<subsystem>, or of the bus, fit? Its name goes to name. */
static bool uevents_entry_fits(const struct uevents *u, const struct dev_match *m, int dir,
			       const char *entry, char name[DEV_NAME_MAX])
{
	char link[1024], path[NAME_MAX + 16], text[1024], type[16];
	ssize_t n = readlinkat(dir, entry, link, sizeof(link) - 1);
	bool is_net = str_eq(m->subsystem, "net");

	if (n <= 0)
		return false;
	link[n] = '\0';
	if (!dev_match_path(m, m->subsystem, link))
		return false;
	if (str_eq(m->subsystem, "pci")) {
		(void)snprintf(name, DEV_NAME_MAX, "%.*s", DEV_NAME_MAX - 1, entry);
		return true;
	}
	(void)snprintf(path, sizeof(path), "%s/uevent", entry);
	if (fdio_read_file(dir, path, text, sizeof(text)) < 0)
		return false;
	uevent_line_value(text, is_net ? "INTERFACE=" : "DEVNAME=", name, DEV_NAME_MAX);
	if (!*name || (*m->name && !str_eq(m->name, name)))
		return false;
	if (is_net)
		return true;
	uevent_line_value(text, "DEVTYPE=", type, sizeof(type));
	if (!*m->name && str_eq(type, "partition"))
		return false;
	return uevents_has_node(u, name, text);
}

bool uevents_lookup(const struct uevents *u, const struct dev_match *m, char name[DEV_NAME_MAX])
{
	AUTO_DIR DIR *d = NULL;
	char path[64], best[DEV_NAME_MAX] = "", found[DEV_NAME_MAX];
	struct dirent *e;
	int fd;

	if (str_eq(m->subsystem, "pci"))
		(void)snprintf(path, sizeof(path), "bus/pci/devices");
	else
		(void)snprintf(path, sizeof(path), "class/%s", m->subsystem);
	fd = openat(u->sys, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		if (fd >= 0)
			(void)close(fd);
		return false;
	}
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.' || !uevents_entry_fits(u, m, fd, e->d_name, found))
			continue;
		/*
		 * Several disks behind one function (NVMe namespaces, LUNs): always the first by
		 * name.
		 */
		if (!*best || strlen(found) < strlen(best) ||
		    (strlen(found) == strlen(best) && strcmp(found, best) < 0))
			(void)memcpy(best, found, sizeof(best));
	}
	if (*best)
		(void)memcpy(name, best, sizeof(best));
	return *best;
}

static void uevent_deliver(struct job *j)
{
	struct uevent_wait *w = container_of(j, struct uevent_wait, job);
	char name[DEV_NAME_MAX];

	(void)memcpy(name, w->name, sizeof(name));
	uevent_wait_cancel(w);
	w->fn(w, *name ? name : NULL);
}

/* Looks for what w waits for; found: it will be told by a job. */
static bool uevent_look(struct uevent_wait *w)
{
	if (w->job.queued)
		return true;
	if (!uevents_lookup(w->u, &w->match, w->name))
		return false;
	job_queue(w->u->loop, &w->job, uevent_deliver);
	return true;
}

static void uevents_set_poll(struct uevents *u);

static void uevents_look(struct uevents *u)
{
	list_for_each(struct uevent_wait, w, &u->waiters, link)
		(void)uevent_look(w);
	uevents_set_poll(u);
}

static void uevents_on_poll(struct timer *t)
{
	uevents_look(container_of(t, struct uevents, poll));
}

/* Looks again after a while where no event will tell. */
static void uevents_set_poll(struct uevents *u)
{
	bool want = false, seen = false;

	list_for_each(struct uevent_wait, w, &u->waiters, link) {
		want |= !w->job.queued && (u->fd < 0 || w->seen);
		seen |= w->seen;
	}
	if (want && !u->poll.loop)
		timer_set(u->loop, &u->poll, seen ? NODE_MS : POLL_MS, uevents_on_poll);
}

static void uevent_on_timeout(struct timer *t)
{
	struct uevent_wait *w = container_of(t, struct uevent_wait, timer);

	if (uevent_look(w))
		return;
	w->name[0] = '\0';
	job_queue(w->u->loop, &w->job, uevent_deliver);
}

void uevent_wait(struct uevents *u, struct uevent_wait *w, const struct dev_match *m,
		 int64_t timeout_ms, uevent_fn *fn)
{
	*w = (struct uevent_wait){ .u = u, .match = *m, .fn = fn };
	list_add_tail(&u->waiters, &w->link);
	if (uevent_look(w))
		return;
	timer_set(u->loop, &w->timer, timeout_ms < 0 ? 0 : timeout_ms, uevent_on_timeout);
	uevents_set_poll(u);
}

void uevent_wait_cancel(struct uevent_wait *w)
{
	if (!w->u)
		return;
	list_del(&w->link);
	timer_cancel(&w->timer);
	job_cancel(&w->job);
	w->u = NULL;
}

static int uevents_online_job(void *arg, int out, struct err *err)
{
	const struct uevents *u = arg;
	unsigned int done, online, failed = 0;

	(void)out;
	(void)hotplug_memory_online(u->sys, &done, &online, &failed);
	return failed ? err_set(err, EIO, "%u memory blocks refused to go online", failed) : 0;
}

static void uevents_start_online(struct uevents *u);

static void uevents_online_done(void *arg, const struct err *err, const struct buf *out)
{
	struct uevents *u = arg;

	(void)out;
	u->online = NULL;
	if (err->code)
		log_warn("hotplug", "memory: %s", err->msg);
	if (u->online_again)
		uevents_start_online(u);
}

/* All blocks that are offline, not just the one that was told of: a plug adds many. */
static void uevents_start_online(struct uevents *u)
{
	struct worker_opts opts = { .timeout_ms = LIMIT_ONLINE_MS,
				    .keep = &u->sys,
				    .keep_count = 1 };
	int r;

	u->online_again = u->online;
	if (u->online)
		return;
	r = worker_start(u->loop, u->reaper, &opts, uevents_online_job, uevents_online_done, u,
			 &u->online);
	if (r < 0)
		log_warn("hotplug", "memory cannot be set online: %s", strerror(-r));
}

static void uevents_on_event(struct uevents *u, const struct uevent *e)
{
	if (str_eq(e->action, "remove"))
		return;
	if (str_eq(e->subsystem, "memory") && str_eq(e->action, "add")) {
		u->blocks++;
		uevents_start_online(u);
		return;
	}
	list_for_each(struct uevent_wait, w, &u->waiters, link) {
		if (!dev_match_path(&w->match, e->subsystem, e->devpath))
			continue;
		if (!uevent_look(w))
			w->seen = true;
	}
	uevents_set_poll(u);
}

static void uevents_on_readable(struct source *s, uint32_t events)
{
	struct uevents *u = container_of(s, struct uevents, source);
	char msg[8192];

	(void)events;
	for (int i = 0; i < LIMIT_UEVENTS; i++) {
		struct sockaddr_nl from = { 0 };
		struct iovec iov = { msg, sizeof(msg) };
		struct msghdr head = { .msg_name = &from,
				       .msg_namelen = sizeof(from),
				       .msg_iov = &iov,
				       .msg_iovlen = 1 };
		ssize_t n = recvmsg(u->fd, &head, MSG_DONTWAIT);
		struct uevent e;

		if (n < 0 && errno == ENOBUFS) {
			log_warn("hotplug", "device events were lost, looking at all devices");
			u->blocks++; /* perhaps */
			uevents_start_online(u);
			uevents_look(u);
			continue;
		}
		if (n < 0)
			return; /* EAGAIN, EINTR: the loop comes back */
		/* Root in a container's user namespace may send here too; the kernel has port 0. */
		if (n > 0 && from.nl_pid == 0 && !(head.msg_flags & MSG_TRUNC) &&
		    uevent_parse(msg, (size_t)n, &e))
			uevents_on_event(u, &e);
	}
}

/* The socket's fd, or -errno. */
static int uevents_open(struct mnl_socket **ret)
{
	struct mnl_socket *s =
		mnl_socket_open2(NETLINK_KOBJECT_UEVENT, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int size = LIMIT_UEVENT_BUF, fd, r;

	if (!s)
		return -errno;
	fd = mnl_socket_get_fd(s);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (mnl_socket_bind(s, KERNEL_EVENTS, MNL_SOCKET_AUTOPID) < 0) {
		r = -errno;
		(void)mnl_socket_close(s);
		return r;
	}
	*ret = s;
	return fd;
}

int uevents_new_at(struct loop *l, struct reaper *r, const char *sys, const char *dev,
		   struct uevents **ret)
{
	struct uevents *u = calloc(1, sizeof(*u));
	int err;

	if (!u)
		return -ENOMEM;
	u->loop = l;
	u->reaper = r;
	list_init(&u->waiters);
	u->sys = open(sys, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	u->dev = u->sys < 0 ? FD_NONE : open(dev, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	err = u->dev < 0 ? -errno : 0;
	u->fd = uevents_open(&u->socket);
	if (u->fd >= 0 && err == 0)
		err = loop_add(l, &u->source, u->fd, EPOLLIN, uevents_on_readable);
	if (err < 0) {
		uevents_free(u);
		return err;
	}
	if (u->fd < 0)
		log_warn("hotplug", "no device events (%s), polling instead", strerror(-u->fd));
	*ret = u;
	return 0;
}

int uevents_new(struct loop *l, struct reaper *r, struct uevents **ret)
{
	return uevents_new_at(l, r, "/sys", "/dev", ret);
}

void uevents_free(struct uevents *u)
{
	if (!u)
		return;
	list_for_each_safe(struct uevent_wait, w, &u->waiters, link)
		uevent_wait_cancel(w);
	if (u->online)
		worker_cancel(u->online);
	loop_del(&u->source);
	timer_cancel(&u->poll);
	if (u->socket)
		(void)mnl_socket_close(u->socket);
	auto_closep(&u->sys);
	auto_closep(&u->dev);
	free(u);
}

unsigned int uevents_take_blocks(struct uevents *u)
{
	unsigned int n = u->blocks;

	u->blocks = 0;
	return n;
}

int uevents_sys(const struct uevents *u)
{
	return u->sys;
}

struct loop *uevents_loop(const struct uevents *u)
{
	return u->loop;
}

struct reaper *uevents_reaper(const struct uevents *u)
{
	return u->reaper;
}
