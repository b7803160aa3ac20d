/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The serial port. State: its fd and whether a host is connected to its other end.
 *
 * Without a host the port shows EPOLLHUP, always, and nobody can mask it: so the waiting is
 * edge-triggered, for the EPOLLOUT that comes with the host. With one it is an ordinary stream,
 * until it reads 0. Then the session ends, and the port stays open: what a new host sends between a
 * close and an open the kernel would throw away, and a container that may make the node could open
 * it first and be the agent for the host. After a protocol error what is in it is thrown away until
 * it is quiet. Only a port that has gone itself is looked for and opened again.
 */
#include "wire/serial.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/log.h"
#include "base/str.h"
#include "wire/conn.h"
#include "wire/yamux.h"

#define CHUNK	  (32u << 10) /* what the port takes or gives in one call */
#define REOPEN_MS 50	      /* of a port that has gone */
#define STILL_MS  50 /* between two looks whether a host that broke the protocol still sends */

struct serial {
	struct conn conn;
	struct loop *loop;
	struct source source;
	struct timer again; /* the next try to open it, or the next look whether it is quiet */
	struct job hang_up;
	char root[64], path[108]; /* path "": to be looked for */
	int fd;
	bool connected; /* a session runs */
	bool blocked, paused;
	bool noisy;	 /* bytes have been thrown away since the last look */
	bool complained; /* the reason why it can't be opened has been logged */
};

/* --- finding and opening ------------------------------------------------------------------- */

/* The first port with our name goes to path: 0, -ENOENT, or another -errno. */
static int serial_find(const char *root, char *path, size_t size)
{
	char dir[128], name[128];
	AUTO_DIR DIR *d = NULL;
	struct dirent *e;
	ssize_t n;

	(void)snprintf(dir, sizeof(dir), "%s/sys/class/virtio-ports", root);
	d = opendir(dir);
	if (!d)
		return -errno;
	while ((e = readdir(d))) {
		char file[300];

		if (e->d_name[0] == '.')
			continue;
		(void)snprintf(file, sizeof(file), "%s/name", e->d_name);
		n = fdio_read_file(dirfd(d), file, name, sizeof(name));
		if (n == -ENOENT)
			continue;
		if (n < 0)
			return (int)n;
		if (!strstr(name, SERIAL_PORT_NAME))
			continue;
		n = snprintf(path, size, "%s/dev/%s", root, e->d_name);
		return n < (ssize_t)size ? 0 : -ENAMETOOLONG;
	}
	return -ENOENT;
}

static void serial_on_event(struct source *src, uint32_t events);

/* Opens the port and waits for the host. 0 or -errno with *err. */
static int serial_open(struct serial *s, struct err *err)
{
	AUTO_CLOSE int fd = FD_NONE;
	char path[108];
	int r;

	(void)memcpy(path, s->path, sizeof(path));
	if (!*path) {
		r = serial_find(s->root, path, sizeof(path));
		if (r < 0)
			return err_sys(err, -r, "look for the virtio-serial port '%s'",
				       SERIAL_PORT_NAME);
	}
	fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return err_sys(err, errno, "open serial port '%s'", path);
	r = loop_add(s->loop, &s->source, fd, EPOLLOUT | EPOLLET, serial_on_event);
	if (r < 0)
		return err_sys(err, -r, "wait for serial port '%s'", path);
	s->fd = TAKE_FD(fd);
	log_info("serial", "port %s is open", path);
	return 0;
}

/* --- sessions ------------------------------------------------------------------------------ */

static void serial_wait_for_host(struct serial *s)
{
	s->blocked = s->paused = false;
	s->connected = false;
	job_cancel(&s->hang_up);
	(void)loop_mod(&s->source, EPOLLOUT | EPOLLET);
}

static void serial_end_session(struct serial *s)
{
	if (!s->connected)
		return;
	conn_closed(&s->conn);
	serial_wait_for_host(s);
}

static void serial_on_reopen(struct timer *t)
{
	struct serial *s = container_of(t, struct serial, again);
	struct err err = { 0 };

	if (serial_open(s, &err) == 0) {
		s->complained = false;
		return;
	}
	if (!s->complained)
		log_warn("serial", "%s; trying again", err.msg);
	s->complained = true;
	timer_set(s->loop, t, REOPEN_MS, serial_on_reopen);
}

/* The port has gone: open it anew. */
static void serial_reopen(struct serial *s)
{
	serial_end_session(s);
	loop_del(&s->source);
	auto_closep(&s->fd);
	timer_set(s->loop, &s->again, REOPEN_MS, serial_on_reopen);
}

static void serial_on_quiet(struct timer *t);

/* Reads on and throws away, a bounded share each time, until nothing has come for STILL_MS. */
static void serial_discard(struct serial *s)
{
	static uint8_t chunk[CHUNK];
	ssize_t n;

	for (int i = 0; i < 16; i++) {
		n = read(s->fd, chunk, sizeof(chunk));
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			serial_reopen(s);
			return;
		}
		if (n <= 0)
			break;
		s->noisy = true;
	}
	timer_set(s->loop, &s->again, STILL_MS, serial_on_quiet);
}

static void serial_on_quiet(struct timer *t)
{
	struct serial *s = container_of(t, struct serial, again);
	bool was_noisy = s->noisy;

	s->noisy = false;
	if (was_noisy)
		serial_discard(s);
	else
		serial_wait_for_host(s);
}

/* The port's bytes make no sense any more. */
static void serial_restart(struct serial *s)
{
	serial_end_session(s);
	(void)loop_mod(&s->source, EPOLLET); /* nothing for now; a hang-up is told once */
	s->noisy = true;
	serial_discard(s);
}

static void serial_on_hang_up(struct job *j)
{
	serial_restart(container_of(j, struct serial, hang_up));
}

static void serial_hang_up(struct conn *c)
{
	struct serial *s = container_of(c, struct serial, conn);

	if (s->connected)
		job_queue(s->loop, &s->hang_up, serial_on_hang_up);
}

static void serial_wait_for_more(struct serial *s)
{
	(void)loop_mod(&s->source, (s->paused ? 0 : EPOLLIN) | (s->blocked ? EPOLLOUT : 0));
}

static void serial_pause(struct conn *c, bool on)
{
	struct serial *s = container_of(c, struct serial, conn);

	s->paused = on;
	serial_wait_for_more(s);
}

/*
 * One write(2) a piece of 32 KiB: the driver has no writev, so that each part of a vector would be
 * a buffer and an exit to the host of its own. It copies anyway; gathering costs less than a second
 * exit.
 */
static ssize_t serial_writev(struct conn *c, const struct iovec *iov, int count)
{
	static uint8_t chunk[CHUNK]; /* one for all: it is empty again when this returns */
	struct serial *s = container_of(c, struct serial, conn);
	size_t done = 0, skip = 0;
	ssize_t n;

	for (int i = 0; i < count;) {
		size_t len = 0;

		for (int k = i; k < count && len < sizeof(chunk); k++) {
			size_t from = k == i ? skip : 0, part = iov[k].iov_len - from;

			if (part > sizeof(chunk) - len)
				part = sizeof(chunk) - len;
			(void)memcpy(chunk + len, (uint8_t *)iov[k].iov_base + from, part);
			len += part;
		}
		do
			n = write(s->fd, chunk, len);
		while (n < 0 && errno == EINTR);
		explicit_bzero(chunk, len); /* which leaves errno alone; see base/buf.c */
		if (n < 0 && errno != EAGAIN)
			return -errno;
		if (n > 0)
			done += (size_t)n;
		if (n < (ssize_t)len) {
			s->blocked = true;
			serial_wait_for_more(s);
			break;
		}
		for (skip += len; i < count && skip >= iov[i].iov_len; i++)
			skip -= iov[i].iov_len;
	}
	return (ssize_t)done;
}

static const struct conn_carrier serial_carrier = { serial_writev, serial_hang_up, serial_pause };

static void serial_host_came(struct serial *s)
{
	s->connected = true;
	if (yamux_start(&s->conn) < 0) {
		log_error("serial", "out of memory");
		serial_restart(s);
		return;
	}
	log_info("serial", "the host is connected");
	(void)loop_mod(&s->source, EPOLLIN);
}

static void serial_on_event(struct source *src, uint32_t events)
{
	static uint8_t chunk[CHUNK];
	struct serial *s = container_of(src, struct serial, source);
	ssize_t n;
	int r = 0;

	if (s->again.loop)
		return; /* see serial_discard */
	if (!s->connected) {
		if (events & EPOLLOUT)
			serial_host_came(s);
		return; /* EPOLLHUP: nobody is there, and once is all that we hear of it */
	}
	if (events & EPOLLOUT) {
		s->blocked = false;
		r = conn_writable(&s->conn);
		serial_wait_for_more(s);
	}
	if (r == 0 && events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		n = read(s->fd, chunk, sizeof(chunk));
		if (n == 0) {
			log_info("serial", "the host has left");
			serial_end_session(s);
			return;
		}
		if (n > 0) {
			r = conn_input(&s->conn, chunk, (size_t)n);
			explicit_bzero(chunk, (size_t)n); /* see base/buf.c */
		} else if (errno != EAGAIN && errno != EINTR) {
			log_warn("serial", "read: %s; opening the port anew", strerror(errno));
			serial_reopen(s);
			return;
		}
	}
	if (r < 0) {
		log_warn("serial", "session ended: %s", strerror(-r));
		serial_restart(s);
	}
}

int serial_start(struct loop *l, struct rpc_server *rpc, const char *root, const char *path,
		 struct serial **ret, struct err *err)
{
	AUTO_FREE struct serial *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return err_sys(err, ENOMEM, "serial port");
	if (strlen(root) >= sizeof(s->root) || strlen(path ? path : "") >= sizeof(s->path))
		return err_sys(err, ENAMETOOLONG, "serial port '%s'", path ? path : root);
	(void)memcpy(s->root, root, strlen(root));
	if (path)
		(void)memcpy(s->path, path, strlen(path));
	s->conn = (struct conn){ .rpc = rpc, .carrier = &serial_carrier, .peer = "serial" };
	s->loop = l;
	s->fd = FD_NONE;
	r = serial_open(s, err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(s);
	return 0;
}

void serial_stop(struct serial *s)
{
	if (!s)
		return;
	serial_end_session(s);
	loop_del(&s->source);
	timer_cancel(&s->again);
	job_cancel(&s->hang_up);
	auto_closep(&s->fd);
	free(s);
}
