/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Standard streams. Output is read only when somebody asks for it: the pipe is the back-pressure
 * and the agent's memory stays flat. A reader that leaves takes no bytes along, since bytes are
 * read only at the moment they are answered with.
 *
 * The end of output: a pipe's own end, or, when others still hold it, the process's exit, some
 * grace and then what the pipe held at that moment. A terminal ends with its process once it is
 * empty.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/limits.h"
#include "base/str.h"
#include "rpc/call.h"
#include "pod/agent.h"
#include "pod/process.h"
#include "pod/sandbox.h"

#define GRACE_MS 500 /* for those who inherited the pipe of a process that is gone */

/* The wire head of ReadStreamResponse: tag, then the length as a varint of up to four bytes. */
#define READ_HEAD 5u

static void on_readable(struct source *s, uint32_t events);
static void on_stdin(struct source *s, uint32_t events);

static struct stream_end *output_of(struct process *p, bool is_err)
{
	return is_err && !p->terminal ? &p->err : &p->out;
}

static size_t *left_of(struct process *p, const struct stream_end *e)
{
	return e == &p->out ? &p->out_left : &p->err_left;
}

void stdio_init(struct process *p)
{
	struct stream_end *ends[] = { &p->in, &p->out, &p->err };

	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		*ends[i] = (struct stream_end){ .process = p, .fd = FD_NONE };
		list_init(&ends[i]->calls);
	}
}

static void end_close(struct stream_end *e)
{
	loop_del(&e->source);
	auto_closep(&e->fd);
}

bool stdio_drained(const struct process *p)
{
	return p->out.eof && (p->terminal || p->err.eof);
}

/*
 * Waits for an event only while somebody wants it: a hung-up pipe would otherwise wake us forever.
 */
static int end_watch(struct stream_end *e, uint32_t events, source_fn *fn)
{
	struct loop *l = e->process->ctr->agent->loop;

	if (e->source.loop)
		return loop_mod(&e->source, events);
	return loop_add(l, &e->source, e->fd, events, fn);
}

static void end_of_output(struct stream_end *e)
{
	e->eof = true;
	end_close(e);
	process_settle(e->process);
}

static int eof_error(struct err *err)
{
	return err_rpc(err, RPC_UNKNOWN, "EOF");
}

/*
 * The varint of a length below 2^28, always in four bytes: then its place is known before the
 * length.
 */
static void put_length(uint8_t *at, size_t len)
{
	at[0] = (uint8_t)(len | 0x80);
	at[1] = (uint8_t)(len >> 7 | 0x80);
	at[2] = (uint8_t)(len >> 14 | 0x80);
	at[3] = (uint8_t)(len >> 21 & 0x7f);
}

/*
 * One read for one call: 1 answered, 0 nothing there yet, -errno with *err. The bytes go from the
 * pipe to where the socket takes them.
 */
static int read_for(struct stream_end *e, struct call *c, size_t want, struct err *err)
{
	struct process *p = e->process;
	size_t *left = left_of(p, e);
	int available = 0;
	struct buf body;
	ssize_t n;

	if (e->fd < 0 || (p->draining && *left == 0)) {
		end_of_output(e);
		return eof_error(err);
	}
	/* What is there decides how much memory is taken: most reads are short. */
	if (ioctl(e->fd, FIONREAD, &available) == 0 && available > 0 && (size_t)available < want)
		want = (size_t)available;
	else if (available <= 0 && want > 4096)
		want = 4096;
	if (p->draining && want > *left)
		want = *left;
	body = call_body(READ_HEAD + want);
	if (!body.mem)
		return err_sys(err, ENOMEM, "read");
	do
		n = read(e->fd, buf_data(&body) + READ_HEAD, want);
	while (n < 0 && errno == EINTR);
	if (n > 0) {
		if (p->draining)
			*left -= (size_t)n;
		buf_data(&body)[0] = 0x0a; /* field 1, length-delimited */
		put_length(buf_data(&body) + 1, (size_t)n);
		body.end += READ_HEAD + (size_t)n;
		(void)call_reply_body(c, &body);
		return 1;
	}
	buf_free(&body);
	/* An empty terminal has ended with its process, whoever else keeps it open. */
	if (n < 0 && errno == EAGAIN && !(p->terminal && p->exited) && !p->draining)
		return 0;
	end_of_output(e);
	return eof_error(err);
}

/* 3.x says the end with an empty success, 1.x with an error. */
static int answer_failure(struct call *c, struct err *err)
{
	if (c->schema == SCHEMA_3X && err->rpc == RPC_UNKNOWN && str_eq(err->msg, "EOF"))
		return call_reply_empty(c);
	return call_fail(c, err);
}

static size_t wanted(struct call *c)
{
	return (size_t)(uintptr_t)c->wait;
}

static void serve_readers(struct stream_end *e)
{
	struct call *c;
	int r;

	while ((c = list_first(&e->calls, struct call, parked))) {
		struct err err = { 0 };

		r = read_for(e, c, wanted(c), &err);
		if (r == 0)
			break;
		if (r < 0)
			(void)answer_failure(c, &err);
	}
	/* Nobody waits: even a hang-up, which epoll reports unasked, must not wake the loop. */
	if (list_empty(&e->calls))
		loop_del(&e->source);
}

static void on_readable(struct source *s, uint32_t events)
{
	(void)events;
	serve_readers(container_of(s, struct stream_end, source));
}

static void on_grace(struct timer *t)
{
	struct process *p = container_of(t, struct process, grace);
	int n = 0;

	p->draining = true;
	if (p->out.fd >= 0 && ioctl(p->out.fd, FIONREAD, &n) == 0)
		p->out_left = (size_t)n;
	n = 0;
	if (p->err.fd >= 0 && ioctl(p->err.fd, FIONREAD, &n) == 0)
		p->err_left = (size_t)n;
	serve_readers(&p->out);
	serve_readers(&p->err);
}

void stdio_exited(struct process *p)
{
	if (p->terminal)
		serve_readers(&p->out);
	else if (!stdio_drained(p))
		timer_set(p->ctr->agent->loop, &p->grace, GRACE_MS, on_grace);
}

static void fail_all(struct list *calls, const struct err *why)
{
	struct call *c;

	while ((c = list_first(calls, struct call, parked))) {
		struct err err = *why;

		(void)answer_failure(c, &err);
	}
}

void stdio_close(struct process *p)
{
	struct err gone = { 0 };

	timer_cancel(&p->grace);
	eof_error(&gone);
	end_close(&p->out);
	end_close(&p->err);
	fail_all(&p->out.calls, &gone);
	fail_all(&p->err.calls, &gone);
	err_rpc(&gone, RPC_UNKNOWN, "write |1: broken pipe");
	loop_del(&p->in.source);
	if (!p->terminal)
		auto_closep(&p->in.fd);
	fail_all(&p->in.calls, &gone);
}

/* --- RPCs ---------------------------------------------------------------------------------- */

static struct process *find(struct call *c, const char *cid, const char *exec_id, struct err *err)
{
	struct container *ctr = container_find(c, cid, err);

	return ctr ? process_find(ctr, exec_id, err) : NULL;
}

static int read_stream(struct call *c, const Grpc__ReadStreamRequest *req, bool is_err,
		       struct err *err)
{
	struct process *p = find(c, req->container_id, req->exec_id, err);
	size_t want = req->len < LIMIT_READ ? req->len : LIMIT_READ;
	struct stream_end *e;
	int r;

	if (!p)
		return -ENOENT;
	if (want == 0)
		return call_reply_empty(c);
	e = output_of(p, is_err);
	/* Those who came first are served first. */
	r = list_empty(&e->calls) ? read_for(e, c, want, err) : 0;
	if (r > 0)
		return 0;
	if (r < 0)
		return c->schema == SCHEMA_3X && str_eq(err->msg, "EOF") ? call_reply_empty(c) : r;
	r = end_watch(e, EPOLLIN, on_readable);
	if (r < 0)
		return err_sys(err, -r, "wait for output");
	return call_park(c, &e->calls, NULL, (void *)(uintptr_t)want);
}

int svc_read_stdout(struct call *c, const void *req, struct err *err)
{
	return read_stream(c, req, false, err);
}

int svc_read_stderr(struct call *c, const void *req, struct err *err)
{
	return read_stream(c, req, true, err);
}

/* What of a parked WriteStdin has not been written; lives in the call's arena, as its data does. */
struct pending_write {
	const uint8_t *data;
	size_t len, total;
};

static int stdin_fd(const struct process *p)
{
	return p->terminal ? p->out.fd : p->in.fd;
}

/* 1 all written, 0 the pipe is full, -errno. */
static int write_some(struct process *p, struct pending_write *w)
{
	while (w->len > 0) {
		ssize_t n = write(stdin_fd(p), w->data, w->len);

		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			w->data += n;
			w->len -= (size_t)n;
		}
	}
	return 1;
}

static int reply_written(struct call *c, size_t len)
{
	Grpc__WriteStreamResponse resp = GRPC__WRITE_STREAM_RESPONSE__INIT;

	resp.len = (uint32_t)len;
	return call_reply(c, &resp.base);
}

static int write_failed(struct err *err, int r)
{
	return r == -EPIPE ? err_rpc(err, RPC_UNKNOWN, "write |1: broken pipe")
			   : err_sys(err, -r, "write stdin");
}

static void close_stdin(struct process *p)
{
	end_close(&p->in);
	p->in.eof = true;
}

static void on_stdin(struct source *s, uint32_t events)
{
	struct stream_end *e = container_of(s, struct stream_end, source);
	struct process *p = e->process;
	struct call *c;
	int r;

	(void)events;
	while ((c = list_first(&e->calls, struct call, parked))) {
		struct pending_write *w = c->wait;
		struct err err = { 0 };

		r = write_some(p, w);
		if (r == 0)
			return;
		if (r > 0) {
			(void)reply_written(c, w->total);
		} else {
			write_failed(&err, r);
			(void)call_fail(c, &err);
		}
	}
	loop_del(&e->source);
	if (p->close_stdin)
		close_stdin(p);
}

/*
 * A terminal's stdin shares the master with its output, and epoll takes an fd once: so it gets a
 * copy.
 */
static int watch_stdin(struct process *p)
{
	if (p->terminal && p->in.fd < 0) {
		p->in.fd = fcntl(p->out.fd, F_DUPFD_CLOEXEC, 3);
		if (p->in.fd < 0)
			return -errno;
	}
	return end_watch(&p->in, EPOLLOUT, on_stdin);
}

int svc_write_stdin(struct call *c, const void *request, struct err *err)
{
	const Grpc__WriteStreamRequest *req = request;
	struct process *p = find(c, req->container_id, req->exec_id, err);
	struct pending_write *w;
	int r = 0;

	if (!p)
		return -ENOENT;
	if (p->close_stdin || p->in.eof)
		return reply_written(c, 0);
	if (req->data.len == 0) {
		if (c->schema == SCHEMA_3X && !p->terminal) /* there it means CloseStdin */
			p->close_stdin = true;
		if (p->close_stdin && list_empty(&p->in.calls))
			close_stdin(p);
		return reply_written(c, 0);
	}
	if (stdin_fd(p) < 0)
		return write_failed(err, -EPIPE);
	w = arena_alloc(&c->mem, sizeof(*w));
	if (!w)
		return err_sys(err, ENOMEM, "write stdin");
	*w = (struct pending_write){ req->data.data, req->data.len, req->data.len };
	if (list_empty(&p->in.calls))
		r = write_some(p, w);
	if (r > 0)
		return reply_written(c, w->total);
	if (r == 0)
		r = watch_stdin(p);
	return r < 0 ? write_failed(err, r) : call_park(c, &p->in.calls, NULL, w);
}

int svc_close_stdin(struct call *c, const void *request, struct err *err)
{
	const Grpc__CloseStdinRequest *req = request;
	struct process *p = find(c, req->container_id, req->exec_id, err);

	if (!p)
		return -ENOENT;
	if (!p->terminal && !p->in.eof) {
		p->close_stdin = true;
		if (list_empty(&p->in.calls))
			close_stdin(p);
	}
	return call_reply_empty(c);
}

int svc_tty_win_resize(struct call *c, const void *request, struct err *err)
{
	const Grpc__TtyWinResizeRequest *req = request;
	struct winsize ws = { .ws_row = (unsigned short)req->row,
			      .ws_col = (unsigned short)req->column };
	struct process *p = find(c, req->container_id, req->exec_id, err);

	if (!p)
		return -ENOENT;
	if (!p->terminal || (p->out.fd < 0 && !p->exited))
		return err_rpc(err,
			       c->schema == SCHEMA_3X ? RPC_UNAVAILABLE : RPC_FAILED_PRECONDITION,
			       "Terminal is not set, impossible to resize it");
	if (p->out.fd >= 0 && ioctl(p->out.fd, TIOCSWINSZ, &ws) < 0)
		return err_sys(err, errno, "resize terminal");
	return call_reply_empty(c);
}
