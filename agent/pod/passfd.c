/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams of the host's: those that wait to be named by a request, the copies between them and
 * processes, and those shut down that the host is reading to the end: closing a vsock socket drops
 * what its peer has not read.
 */
#include "pod/passfd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
/* Older kernel headers want the first for the second. */
#include <sys/socket.h>
#include <linux/vm_sockets.h>

#include "base/auto.h"
#include "base/limits.h"
#include "base/log.h"
#include "pod/agent.h"
#include "pod/drain.h"
#include "pod/pod.h"
#include "pod/stdio.h"

#define COPY_PIECE	(1u << 20) /* what one splice may move */
#define COPY_TERMINAL	4096u	   /* a terminal's buffer: it can't be spliced */
#define COPY_TURNS	8	   /* pieces before others have their turn */
#define COPY_SILENCE_MS 500	   /* of those who hold the pipe of a process that is gone */
#define STREAMS_DROPPED 64	   /* bytes of a host that should not send any */

/* One connection, on one of two lists. */
struct passfd_stream {
	struct list link;
	struct passfd_streams *of;
	struct source source; /* of one that is leaving */
	int fd;
	uint32_t port;
};

struct passfd_streams {
	struct list waiting, leaving; /* oldest first */
	size_t waiting_count, leaving_count;
	bool (*accept)(void);
	struct log_limit dropped;
};

/* From the one to the other; both are its own. Its buffer is a terminal's. */
struct passfd_copy {
	struct process *process;
	struct stdio_stream *stream;
	struct source from_source, to_source;
	int from, to; /* the socket is there first, the other comes with passfd_begin */
	bool begun;
	char *buf;
	size_t start, len;
	struct timer silence;
};

struct passfd {
	struct passfd_copy in, out, err;
};

/* --- streams that wait, and that leave ------------------------------------------------------ */

int passfd_open(struct agent *a, bool (*accept)(void))
{
	struct passfd_streams *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	list_init(&s->waiting);
	list_init(&s->leaving);
	s->accept = accept;
	a->streams = s;
	return 0;
}

static void stream_drop(struct passfd_stream *w, size_t *count)
{
	loop_del(&w->source);
	auto_closep(&w->fd);
	list_del(&w->link);
	(*count)--;
	free(w);
}

void passfd_offer_port(struct agent *a, int fd, uint32_t port)
{
	struct passfd_streams *s = a->streams;
	struct passfd_stream *w = calloc(1, sizeof(*w));
	unsigned int more;

	if (!w) {
		(void)close(fd);
		return;
	}
	list_for_each(struct passfd_stream, old, &s->waiting, link) {
		if (old->port == port) { /* its other end is closed, or the port wasn't free */
			stream_drop(old, &s->waiting_count);
			break;
		}
	}
	if (s->waiting_count >= LIMIT_STREAMS) {
		if (log_due(&s->dropped, &more))
			log_warn("passfd", "%zu streams wait for their processes: the oldest goes",
				 s->waiting_count);
		stream_drop(list_first(&s->waiting, struct passfd_stream, link), &s->waiting_count);
	}
	w->of = s;
	w->fd = fd;
	w->port = port;
	list_add_tail(&s->waiting, &w->link);
	s->waiting_count++;
}

void passfd_offer(struct agent *a, int fd)
{
	struct sockaddr_vm peer = { 0 };
	socklen_t len = sizeof(peer);

	if (getpeername(fd, (struct sockaddr *)&peer, &len) < 0) {
		(void)close(fd);
		return;
	}
	passfd_offer_port(a, fd, peer.svm_port);
}

static int stream_claim(struct passfd_streams *s, uint32_t port)
{
	list_for_each(struct passfd_stream, w, &s->waiting, link) {
		if (w->port == port) {
			int fd = TAKE_FD(w->fd);

			stream_drop(w, &s->waiting_count);
			return fd;
		}
	}
	return FD_NONE;
}

static void stream_on_leaving(struct source *src, uint32_t events)
{
	struct passfd_stream *w = container_of(src, struct passfd_stream, source);
	char drop[STREAMS_DROPPED];
	ssize_t n = recv(w->fd, drop, sizeof(drop), MSG_DONTWAIT);

	(void)events;
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		stream_drop(w, &w->of->leaving_count);
}

/* All that was written is the host's to read, however long that takes it. */
static void stream_leave(struct agent *a, int *fd)
{
	struct passfd_streams *s = a->streams;
	struct passfd_stream *w;

	if (*fd < 0)
		return;
	if (s->leaving_count >= LIMIT_STREAMS)
		stream_drop(list_first(&s->leaving, struct passfd_stream, link), &s->leaving_count);
	w = calloc(1, sizeof(*w));
	if (!w || shutdown(*fd, SHUT_WR) < 0) {
		free(w);
		auto_closep(fd);
		return;
	}
	w->of = s;
	w->fd = TAKE_FD(*fd);
	list_add_tail(&s->leaving, &w->link);
	s->leaving_count++;
	if (loop_add(a->loop, &w->source, w->fd, EPOLLIN, stream_on_leaving) < 0)
		stream_drop(w, &s->leaving_count);
}

/* --- copies --------------------------------------------------------------------------------- */

static void copy_stop(struct passfd_copy *c)
{
	loop_del(&c->from_source);
	loop_del(&c->to_source);
	timer_cancel(&c->silence);
	free(TAKE_PTR(c->buf));
	c->begun = false;
}

/* How much was moved; 0 at the end, -errno. */
static ssize_t copy_piece(struct passfd_copy *c)
{
	ssize_t n;

	if (!c->buf) {
		n = splice(c->from, NULL, c->to, NULL, COPY_PIECE,
			   SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
		return n < 0 ? -errno : n;
	}
	if (c->len == 0) {
		n = read(c->from, c->buf, COPY_TERMINAL);
		if (n <= 0)
			return n < 0 ? -errno : 0;
		c->start = 0;
		c->len = (size_t)n;
	}
	n = write(c->to, c->buf + c->start, c->len);
	if (n < 0)
		return -errno;
	c->start += (size_t)n;
	c->len -= (size_t)n;
	return n;
}

static void copy_run(struct passfd_copy *c);

static void copy_on_from(struct source *s, uint32_t events)
{
	(void)events;
	copy_run(container_of(s, struct passfd_copy, from_source));
}

static void copy_on_to(struct source *s, uint32_t events)
{
	(void)events;
	copy_run(container_of(s, struct passfd_copy, to_source));
}

static int copy_watch(struct passfd_copy *c, bool to, uint32_t events)
{
	struct loop *l = c->process->ctr->agent->loop;
	struct source *s = to ? &c->to_source : &c->from_source;

	/* Only what is waited for: a hang-up of the other would wake us for nothing. */
	loop_del(to ? &c->from_source : &c->to_source);
	if (s->loop)
		return loop_mod(s, events);
	return loop_add(l, s, to ? c->to : c->from, events, to ? copy_on_to : copy_on_from);
}

/* For that of the two which isn't ready. A terminal that all have closed may be opened again. */
static int copy_wait(struct passfd_copy *c, bool hung)
{
	struct pollfd fds[2] = { { .fd = c->from, .events = POLLIN },
				 { .fd = c->to, .events = POLLOUT } };

	if (hung && c->from_source.loop && c->from_source.events & (uint32_t)EPOLLET)
		return 0; /* asked anew it would tell what it has told */
	if (hung)
		return copy_watch(c, false, EPOLLIN | (uint32_t)EPOLLET);
	(void)poll(fds, 2, 0);
	return copy_watch(c, c->len > 0 || (fds[0].revents && !fds[1].revents),
			  c->len > 0 || (fds[0].revents && !fds[1].revents) ? EPOLLOUT : EPOLLIN);
}

static void copy_end_input(struct passfd_copy *c)
{
	copy_stop(c);
	auto_closep(&c->to);
	if (c->from >= 0)
		(void)shutdown(c->from, SHUT_RDWR);
	auto_closep(&c->from);
	if (!c->process->terminal && c->stream->state != STREAM_ENDED)
		stream_enter(c->stream, STREAM_ENDED);
}

/* The pipe is read by nobody now: who still writes to it must not be killed by that. */
static void copy_end_output(struct passfd_copy *c)
{
	struct process *p = c->process;
	bool ended = c->stream->state == STREAM_ENDED;

	copy_stop(c);
	drain_add(p->ctr, &c->from);
	stream_leave(p->ctr->agent, &c->to);
	if (ended)
		return;
	stream_enter(c->stream, STREAM_ENDED);
	if (p->drained && stdio_drained(p))
		p->drained(p);
}

static void copy_end(struct passfd_copy *c)
{
	if (c == &c->process->passfd->in)
		copy_end_input(c);
	else
		copy_end_output(c);
}

static void copy_on_silence(struct timer *t)
{
	struct passfd_copy *c = container_of(t, struct passfd_copy, silence);
	int n = 0;

	/* A host that reads slowly has yet to take the rest. */
	if (c->len > 0 || (ioctl(c->from, FIONREAD, &n) == 0 && n > 0))
		timer_set(c->process->ctr->agent->loop, t, COPY_SILENCE_MS, copy_on_silence);
	else
		copy_end(c);
}

static void copy_run(struct passfd_copy *c)
{
	struct process *p = c->process;
	bool is_output = c != &p->passfd->in, moved = false;
	ssize_t n = 1;

	for (int i = 0; i < COPY_TURNS && (n > 0 || n == -EINTR); i++) {
		n = copy_piece(c);
		moved = moved || n > 0;
	}
	if (is_output && p->terminal && process_is_dead(p) && c->len == 0 &&
	    (n == -EAGAIN || n == -EIO))
		n = 0; /* a terminal ends with its process */
	if (is_output && !p->terminal && process_is_dead(p) && (moved || !c->silence.loop))
		timer_set(p->ctr->agent->loop, &c->silence, COPY_SILENCE_MS, copy_on_silence);
	if (n > 0 || n == -EAGAIN || n == -EINTR)
		n = copy_wait(c, false);
	else if (n == -EIO && is_output && p->terminal)
		n = copy_wait(c, true);
	else
		n = -EPIPE; /* the end of the one, or the other is gone */
	if (n < 0)
		copy_end(c);
}

static void copy_begin(struct passfd_copy *c, bool terminal)
{
	c->buf = terminal ? malloc(COPY_TERMINAL) : NULL;
	c->begun = true;
	if (terminal && !c->buf)
		copy_end(c);
	else
		copy_run(c);
}

/* --- processes ------------------------------------------------------------------------------ */

static int claim(struct agent *a, uint32_t port)
{
	bool more = a->streams->accept;
	int fd;

	if (port == 0)
		return FD_NONE;
	fd = stream_claim(a->streams, port);
	for (unsigned int i = 0; fd < 0 && more && i < LIMIT_STREAMS / LIMIT_ACCEPTS; i++) {
		more = a->streams->accept();
		fd = stream_claim(a->streams, port);
	}
	if (fd < 0)
		log_warn("passfd", "no stream has come from port %u", port);
	return fd;
}

int passfd_take(struct process *p, uint32_t in, uint32_t out, uint32_t err)
{
	struct agent *a = p->ctr->agent;
	struct passfd *f;

	if (!a->streams || (in | out | err) == 0)
		return 0;
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->in = (struct passfd_copy){
		.process = p, .stream = &p->in, .from = claim(a, in), .to = FD_NONE
	};
	f->out = (struct passfd_copy){
		.process = p, .stream = &p->out, .from = FD_NONE, .to = claim(a, out)
	};
	f->err = (struct passfd_copy){
		.process = p, .stream = &p->err, .from = FD_NONE, .to = claim(a, err)
	};
	p->passfd = f;
	return 0;
}

static void begin_terminal(struct process *p)
{
	struct passfd *f = p->passfd;

	/* epoll takes an fd once, and the master stays the process's for its size. */
	f->out.from = fcntl(p->out.fd, F_DUPFD_CLOEXEC, 3);
	if (f->in.from >= 0)
		f->in.to = fcntl(p->out.fd, F_DUPFD_CLOEXEC, 3);
	if (f->out.from < 0 || (f->in.from >= 0 && f->in.to < 0))
		log_error("passfd", "%s: no descriptor for a terminal", p->exec_id);
	if (f->in.to >= 0)
		copy_begin(&f->in, true);
	if (f->out.from >= 0 && f->out.to >= 0)
		copy_begin(&f->out, true);
	else
		copy_end(&f->out);
}

static void begin_pipes(struct process *p)
{
	struct passfd *f = p->passfd;
	struct passfd_copy *outputs[] = { &f->out, &f->err };

	f->in.to = TAKE_FD(p->in.fd);
	if (f->in.from >= 0)
		copy_begin(&f->in, false);
	else
		copy_end(&f->in);
	for (size_t i = 0; i < ARRAY_LEN(outputs); i++) {
		outputs[i]->from = TAKE_FD(outputs[i]->stream->fd);
		if (outputs[i]->to >= 0)
			copy_begin(outputs[i], false);
		else
			copy_end(outputs[i]);
	}
}

void passfd_begin(struct process *p)
{
	if (!p->passfd || p->passfd->out.begun || p->out.state == STREAM_ENDED || p->out.fd < 0)
		return;
	if (p->terminal)
		begin_terminal(p);
	else
		begin_pipes(p);
}

void passfd_died(struct process *p)
{
	struct passfd *f = p->passfd;

	if (!f)
		return;
	if (f->in.begun)
		copy_end(&f->in);
	if (f->out.begun)
		copy_run(&f->out);
	if (f->err.begun)
		copy_run(&f->err);
}

void passfd_close(struct process *p)
{
	struct passfd *f = p->passfd;

	if (!f)
		return;
	p->drained = NULL;
	if (f->out.begun)
		copy_run(&f->out);
	if (f->err.begun)
		copy_run(&f->err);
	copy_end(&f->in);
	copy_end(&f->out);
	copy_end(&f->err);
	free(TAKE_PTR(p->passfd));
}
