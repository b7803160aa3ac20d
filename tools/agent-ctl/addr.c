/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses of the agent: parsing and connecting. Owns no state. */
#include "addr.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define DEFAULT_PORT  1024
#define FULL_QUEUE_MS 10

static const struct scheme {
	const char *prefix;
	enum addr_kind kind;
	bool path, port;
} schemes[] = {
	{ "unix://", ADDR_UNIX, true, false },
	{ "hvsock://", ADDR_HVSOCK, true, true },
	{ "vsock://", ADDR_VSOCK, false, true },
	{ "serial://", ADDR_SERIAL, true, false },
};

/* Decimal 0..2^32-1; -1 is VMADDR_CID_ANY as the agent's own option spells it. */
static int parse_u32(const char *s, uint32_t *ret)
{
	unsigned long long v;
	char *end;

	if (!strcmp(s, "-1")) {
		*ret = UINT32_MAX;
		return 0;
	}
	if (*s < '0' || *s > '9')
		return -EINVAL;
	errno = 0;
	v = strtoull(s, &end, 10);
	if (errno || *end || v > UINT32_MAX)
		return -EINVAL;
	*ret = (uint32_t)v;
	return 0;
}

static int parse_port(const char *text, const char *s, uint32_t *ret, struct err *err)
{
	if (parse_u32(s, ret) < 0 || *ret == 0 || *ret == UINT32_MAX)
		return err_set(err, EINVAL, "address '%s': port '%s' is not a number from 1", text,
			       s);
	return 0;
}

int addr_parse(const char *text, struct addr *ret, struct err *err)
{
	struct addr a = { .port = DEFAULT_PORT };
	const struct scheme *sc = NULL;
	AUTO_FREE char *rest = NULL;
	char *colon;

	for (size_t i = 0; i < ARRAY_LEN(schemes) && !sc; i++) {
		if (!strncmp(text, schemes[i].prefix, strlen(schemes[i].prefix)))
			sc = &schemes[i];
	}
	if (!sc)
		return err_set(err, EINVAL,
			       "address '%s' is none of unix://PATH, unix://@NAME, "
			       "hvsock://PATH:PORT, vsock://CID:PORT, serial://PATH",
			       text);
	a.kind = sc->kind;
	rest = xstrdup(text + strlen(sc->prefix));
	colon = sc->port ? strrchr(rest, ':') : NULL;
	if (colon) {
		*colon = '\0';
		if (parse_port(text, colon + 1, &a.port, err) < 0)
			return -EINVAL;
	}
	if (sc->path) {
		if (!rest[0] || !strcmp(rest, "@"))
			return err_set(err, EINVAL, "address '%s' has no path", text);
		if (strlen(rest) >= sizeof(a.path))
			return err_set(err, ENAMETOOLONG,
				       "address '%s': a socket's path has at most %zu "
				       "bytes; use a shorter one or a relative one",
				       text, sizeof(a.path) - 1);
		memcpy(a.path, rest, strlen(rest) + 1);
	} else if (parse_u32(rest, &a.cid) < 0) {
		return err_set(err, EINVAL, "address '%s': CID '%s' is not a number", text, rest);
	}
	*ret = a;
	return 0;
}

bool addr_may_retry(int code)
{
	switch (code) {
	case ENOENT:
	case ECONNREFUSED:
	case ECONNRESET:
	case EPIPE:
	case ETIMEDOUT:
	case EAGAIN:
	case ENODEV:
	case ENOTCONN:
	case EHOSTUNREACH:
	case ENETUNREACH:
		return true;
	default:
		return false;
	}
}

static int wait_fd(int fd, short events, int64_t deadline_ms)
{
	struct pollfd p = { .fd = fd, .events = events };

	for (;;) {
		int64_t left = deadline_ms - now_ms();
		int r = poll(&p, 1, left < 0 ? 0 : left > 1000000 ? 1000000 : (int)left);

		if (r > 0)
			return 0;
		if (r == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
}

static socklen_t fill_sockaddr(const struct addr *a, struct sockaddr_storage *ss)
{
	struct sockaddr_vm vm = { .svm_family = AF_VSOCK, .svm_cid = a->cid, .svm_port = a->port };
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	size_t len = strlen(a->path);

	if (a->kind == ADDR_VSOCK) {
		memcpy(ss, &vm, sizeof(vm));
		return sizeof(vm);
	}
	memcpy(un.sun_path, a->path, len);
	memcpy(ss, &un, sizeof(un));
	if (a->path[0] == '@') {
		((struct sockaddr_un *)ss)->sun_path[0] = '\0';
		return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	}
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
}

/* Byte by byte: what follows the line already belongs to the agent. */
static int read_line(int fd, int64_t deadline_ms, char *line, size_t size)
{
	size_t n = 0;

	for (;;) {
		ssize_t r = read(fd, line + n, 1);

		if (r == 0)
			return -ECONNRESET;
		if (r < 0 && errno == EAGAIN) {
			int w = wait_fd(fd, POLLIN, deadline_ms);

			if (w < 0)
				return w;
			continue;
		}
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (line[n] == '\n') {
			line[n] = '\0';
			return 0;
		}
		if (++n + 1 >= size)
			return -EPROTO;
	}
}

static int hybrid_handshake(const struct addr *a, int fd, int64_t deadline_ms, struct err *err)
{
	char line[64];
	int n = snprintf(line, sizeof(line), "CONNECT %u\n", a->port);
	int r;

	if (send(fd, line, (size_t)n, MSG_NOSIGNAL) != n)
		return err_set(err, ECONNRESET, "'%s' took no CONNECT: %s", a->path,
			       strerror(errno));
	r = read_line(fd, deadline_ms, line, sizeof(line));
	if (r == -ECONNRESET)
		return err_set(err, ECONNRESET,
			       "nobody listens on port %u of the guest behind '%s' "
			       "(the connection was closed without an OK)",
			       a->port, a->path);
	if (r < 0)
		return err_set(err, -r, "no OK from '%s' to CONNECT %u: %s", a->path, a->port,
			       strerror(-r));
	if (strncmp(line, "OK ", 3))
		return err_set(err, EPROTO,
			       "'%s' answered CONNECT %u with '%s': not a hybrid vsock "
			       "socket?",
			       a->path, a->port, line);
	return 0;
}

/* 0 or -errno. A Unix socket whose queue is full is no reason to give up. */
static int start_connect(const struct addr *a, int fd, int64_t deadline_ms)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t len = fill_sockaddr(a, &ss), size = sizeof(int);
	int r, so_error = 0;

	while (connect(fd, (struct sockaddr *)&ss, len) < 0) {
		if (errno == EINPROGRESS) {
			r = wait_fd(fd, POLLOUT, deadline_ms);
			if (r == 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &so_error, &size) == 0)
				r = -so_error;
			return r;
		}
		if (errno != EINTR && (errno != EAGAIN || now_ms() >= deadline_ms))
			return -errno;
		(void)poll(NULL, 0, FULL_QUEUE_MS);
	}
	return 0;
}

int addr_connect(const struct addr *a, int64_t deadline_ms, int *ret_fd, struct err *err)
{
	int family = a->kind == ADDR_VSOCK ? AF_VSOCK : AF_UNIX;
	AUTO_CLOSE int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	char where[140];
	int r;

	if (a->kind == ADDR_VSOCK)
		(void)snprintf(where, sizeof(where), "vsock CID %d port %u", (int)a->cid, a->port);
	else
		(void)snprintf(where, sizeof(where), "'%s'", a->path);
	if (fd < 0)
		return err_set(err, errno, "socket for %s: %s%s", where, strerror(errno),
			       family == AF_VSOCK ? " (modprobe vsock vhost_vsock?)" : "");
	r = start_connect(a, fd, deadline_ms);
	if (r < 0)
		return err_set(err, -r, "connect to %s: %s", where, strerror(-r));
	if (a->kind == ADDR_HVSOCK) {
		r = hybrid_handshake(a, fd, deadline_ms, err);
		if (r < 0)
			return r;
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int addr_listen(const struct addr *a, int *ret_fd, struct err *err)
{
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	AUTO_CLOSE int other = FD_NONE;
	struct sockaddr_storage ss = { 0 };
	socklen_t len = fill_sockaddr(a, &ss);
	int r;

	if (fd < 0)
		return err_set(err, errno, "socket: %s", strerror(errno));
	r = bind(fd, (struct sockaddr *)&ss, len);
	if (r < 0 && errno == EADDRINUSE && a->path[0] != '@') {
		struct err why;

		if (addr_connect(a, now_ms() + 1000, &other, &why) == 0 || why.code != ECONNREFUSED)
			return err_set(err, EADDRINUSE, "listen at '%s': somebody does already",
				       a->path);
		r = unlink(a->path) < 0 ? -1 : bind(fd, (struct sockaddr *)&ss, len);
	}
	if (r < 0 || listen(fd, SOMAXCONN) < 0)
		return err_set(err, errno, "listen at '%s': %s", a->path, strerror(errno));
	*ret_fd = TAKE_FD(fd);
	return 0;
}
