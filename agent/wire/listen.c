/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listening sockets. State of each: the fd and its source. On vsock only the host may come in, so
 * that no container dials its own agent through a loopback transport.
 */
#include "wire/listen.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
/* Older kernel headers want the first for the second. */
#include <sys/socket.h>
#include <linux/vm_sockets.h>

#include "base/auto.h"
#include "base/limits.h"
#include "base/str.h"
#include "wire/conn.h"
#include "wire/detect.h"
#include "wire/yamux.h"

struct listener {
	struct loop *loop;
	struct rpc_server *rpc;
	struct source source;
	struct timer retry;
	struct log_limit refused, full,
		failed; /* what is told of peers: not for us; one too many; errors */
	int fd;
	bool vsock;
	conn_start *start;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* to unlink; "": nothing */
};

int listen_vsock(uint32_t cid, uint32_t port)
{
	struct sockaddr_vm sa = { .svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port };
	AUTO_CLOSE int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fd, SOMAXCONN) < 0)
		return -errno;
	return TAKE_FD(fd);
}

/* A peer that left before it was accepted, or an error of its network: the next one may be fine. */
static bool listen_is_passing(int error)
{
	static const int passing[] = { EINTR,	    ECONNABORTED, EPROTO, ENETDOWN,
				       ENOPROTOOPT, EHOSTDOWN,	  ENONET, EHOSTUNREACH,
				       ENETUNREACH, ECONNRESET };

	for (size_t i = 0; i < ARRAY_LEN(passing); i++) {
		if (passing[i] == error)
			return true;
	}
	return false;
}

int listen_accept_host(int fd, struct log_limit *refused)
{
	struct sockaddr_vm peer = { 0 };
	socklen_t len = sizeof(peer);
	unsigned int more;
	int conn = accept4(fd, (struct sockaddr *)&peer, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (conn < 0)
		return listen_is_passing(errno) ? -ECONNABORTED : -errno;
	if (peer.svm_cid == VMADDR_CID_HOST)
		return conn;
	if (log_due(refused, &more))
		log_warn(
			"listen",
			"refused a connection from vsock CID %u (and %u since the last one told of)",
			peer.svm_cid, more);
	(void)close(conn);
	return -ECONNABORTED;
}

static int listen_unix(struct listener *ls, const char *name)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct stat st;
	size_t len = strlen(name);
	AUTO_CLOSE int fd = FD_NONE;

	if (len == 0 || len >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	(void)memcpy(sa.sun_path, name, len);
	if (*name == '@')
		sa.sun_path[0] = '\0';
	else if (lstat(name, &st) == 0 && S_ISSOCK(st.st_mode))
		(void)unlink(name); /* of an agent that was killed */
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&sa,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0 ||
	    listen(fd, SOMAXCONN) < 0)
		return -errno;
	if (*name != '@')
		(void)memcpy(ls->path, name, len + 1);
	return TAKE_FD(fd);
}

/* "CID:PORT"; a CID of -1 is any. */
static int listen_vsock_text(const char *text)
{
	const char *colon = strchr(text, ':');
	char cid_text[16];
	uint64_t cid = UINT32_MAX, port; /* VMADDR_CID_ANY */

	if (!colon || (size_t)(colon - text) >= sizeof(cid_text))
		return -EINVAL;
	(void)memcpy(cid_text, text, (size_t)(colon - text));
	cid_text[colon - text] = '\0';
	if (!str_eq(cid_text, "-1") && str_u64(cid_text, UINT32_MAX, &cid) < 0)
		return -EINVAL;
	if (str_u64(colon + 1, UINT32_MAX, &port) < 0)
		return -EINVAL;
	return listen_vsock((uint32_t)cid, (uint32_t)port);
}

static void listen_on_retry(struct timer *t)
{
	struct listener *ls = container_of(t, struct listener, retry);

	(void)loop_mod(&ls->source, EPOLLIN);
}

static int listen_accept(struct listener *ls)
{
	int fd;

	if (ls->vsock)
		return listen_accept_host(ls->fd, &ls->refused);
	fd = accept4(ls->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

/* Only so many at a time: a flood of connections must not keep the loop from what it serves. */
static void listen_on_incoming(struct source *s, uint32_t events)
{
	struct listener *ls = container_of(s, struct listener, source);
	unsigned int more;

	(void)events;
	for (int i = 0; i < LIMIT_ACCEPTS; i++) {
		int fd = listen_accept(ls);

		if (fd == -EAGAIN)
			return;
		if (fd < 0 && listen_is_passing(-fd))
			continue;
		if (fd < 0) {
			/* Nothing can be accepted now, and the loop must not spin on it. */
			if (log_due(&ls->failed, &more))
				log_error("listen", "accept: %s; trying again in 100 ms",
					  strerror(-fd));
			(void)loop_mod(s, 0);
			timer_set(ls->loop, &ls->retry, 100, listen_on_retry);
			return;
		}
		if (fdconn_start(ls->loop, ls->rpc, fd, ls->vsock ? "vsock" : "unix", ls->start) <
			    0 &&
		    log_due(&ls->full, &more))
			log_warn(
				"listen",
				"too many connections: one refused (and %u since the last one told of)",
				more);
	}
}

int listen_start(struct loop *l, struct rpc_server *rpc, const char *address, struct listener **ret,
		 struct err *err)
{
	AUTO_FREE struct listener *ls = calloc(1, sizeof(*ls));
	int r;

	if (!ls)
		return err_sys(err, ENOMEM, "listen on '%s'", address);
	ls->loop = l;
	ls->rpc = rpc;
	ls->start = detect_start;
	if (str_starts(address, "vsock://")) {
		ls->vsock = true;
		ls->fd = listen_vsock_text(address + strlen("vsock://"));
	} else if (str_starts(address, "unix://")) {
		ls->fd = listen_unix(ls, address + strlen("unix://"));
	} else if (str_starts(address, "yamux+unix://")) {
		ls->start = yamux_start;
		ls->fd = listen_unix(ls, address + strlen("yamux+unix://"));
	} else {
		return err_set(
			err, EINVAL,
			"address '%s' is none of vsock://CID:PORT, unix://PATH, unix://@NAME, "
			"yamux+unix://PATH",
			address);
	}
	if (ls->fd < 0)
		return err_sys(err, -ls->fd, "listen on '%s'", address);
	r = loop_add(l, &ls->source, ls->fd, EPOLLIN, listen_on_incoming);
	if (r < 0) {
		(void)close(ls->fd);
		return err_sys(err, -r, "listen on '%s'", address);
	}
	*ret = TAKE_PTR(ls);
	return 0;
}

void listen_stop(struct listener *ls)
{
	if (!ls)
		return;
	loop_del(&ls->source);
	timer_cancel(&ls->retry);
	(void)close(ls->fd);
	if (*ls->path)
		(void)unlink(ls->path);
	free(ls);
}
