/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker that opens namespaces, and the socket between it and the agent. State: struct nspath,
 * from the start until the container's init is cloned.
 */
#include "pod/nspath.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/auto.h"
#include "base/limits.h"
#include "base/str.h"
#include "pod/agent.h"
#include "pod/pod.h"

struct nspath {
	int ours, workers; /* the two ends */
	int fds[NS_COUNT]; /* -errno where it could not be opened */
};

/* Room for all descriptors that one message can bring. */
union nspath_control {
	struct cmsghdr head;
	char buf[CMSG_SPACE(NS_COUNT * sizeof(int))];
};

void nspath_free(struct nspath *p)
{
	if (!p)
		return;
	auto_closep(&p->ours);
	auto_closep(&p->workers);
	for (int t = 0; t < NS_COUNT; t++)
		auto_closep(&p->fds[t]);
	free(p);
}

static struct nspath *nspath_new(struct err *err)
{
	struct nspath *p = calloc(1, sizeof(*p));
	int ends[2];

	if (!p || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
		err_sys(err, p ? errno : ENOMEM, "open namespaces");
		free(p);
		return NULL;
	}
	p->ours = ends[0];
	p->workers = ends[1];
	for (int t = 0; t < NS_COUNT; t++)
		p->fds[t] = FD_NONE;
	return p;
}

/* In the worker: which could be opened, and the descriptors of those. */
static int nspath_job(void *arg, int out, struct err *err)
{
	const struct container *ctr = arg;
	int fds[NS_COUNT], sent[NS_COUNT];
	union nspath_control control = { .buf = { 0 } };
	struct iovec iov = { fds, sizeof(fds) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	size_t n = 0;

	(void)out;
	ns_open_paths(ctr->request->oci->linux, fds);
	for (int t = 0; t < NS_COUNT; t++) {
		if (fds[t] >= 0)
			sent[n++] = fds[t];
	}
	if (n > 0) {
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(n * sizeof(int));
		(void)memcpy(CMSG_DATA(&control.head), sent, n * sizeof(int));
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
	}
	return sendmsg(ctr->ns_paths->workers, &msg, MSG_NOSIGNAL) < 0
		       ? err_sys(err, errno, "hand over namespaces")
		       : 0;
}

int nspath_start(struct container *ctr, worker_done *done, struct err *err)
{
	struct worker_opts opts = { .timeout_ms = LIMIT_WORK_MS };
	const Grpc__Linux *l = ctr->request->oci->linux;
	struct agent *a = ctr->agent;
	bool any = false;
	int r;

	for (size_t i = 0; l && i < l->n_namespaces; i++)
		any |= !str_empty(l->namespaces[i]->path);
	if (!any)
		return 1;
	ctr->ns_paths = nspath_new(err);
	if (!ctr->ns_paths)
		return -err->code;
	opts.keep = &ctr->ns_paths->workers;
	opts.keep_count = 1;
	r = worker_start(a->loop, a->reaper, &opts, nspath_job, done, ctr, &ctr->worker);
	auto_closep(&ctr->ns_paths->workers);
	return r < 0 ? err_sys(err, -r, "open namespaces") : 0;
}

int nspath_take(struct container *ctr, struct err *err)
{
	struct nspath *p = ctr->ns_paths;
	union nspath_control control = { .buf = { 0 } };
	int fds[NS_COUNT], got[NS_COUNT];
	struct iovec iov = { fds, sizeof(fds) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	ssize_t len = recvmsg(p->ours, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	const struct cmsghdr *c = len > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
	size_t n = c && c->cmsg_type == SCM_RIGHTS ? (c->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;
	size_t at = 0;

	if (n)
		(void)memcpy(got, CMSG_DATA(c), n * sizeof(int));
	for (int t = 0; len == sizeof(fds) && t < NS_COUNT; t++)
		p->fds[t] = fds[t] < 0 ? fds[t] : at < n ? got[at++] : -EBADF;
	for (; at < n; at++)
		auto_closep(&got[at]);
	return len == sizeof(fds) ? 0 : err_set(err, EPIPE, "open namespaces: no answer");
}

const int *nspath_fds(const struct container *ctr)
{
	return ctr->ns_paths ? ctr->ns_paths->fds : NULL;
}
