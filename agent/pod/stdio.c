/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Standard streams. Output is read only when somebody asks for it: the pipe is the back-pressure
 * and the agent's memory stays flat. A reader that leaves takes no bytes along, since bytes are
 * read only at the moment they are answered with.
 *
 * The end of output is a pipe's own end. When others still hold it after the process's death, a
 * host that reads first and waits then gets what they write, as from any other runtime; where a
 * WaitProcess has come, the silence after the process ends the stream, lest a daemon hang the exec.
 * A terminal ends with its process once it is empty.
 */
#include "pod/stdio.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/limits.h"
#include "base/str.h"
#include "pod/agent.h"
#include "pod/drain.h"

#define SILENCE_MS 500 /* of those who inherited the pipe of a process that is gone */

/* The wire head of ReadStreamResponse: tag, then the length as a varint of up to four bytes. */
#define READ_HEAD    5u
#define READ_UNASKED (64u << 10) /* bytes for which memory is taken whatever is there: a pipe's */

static struct stdio_stream *output_of(struct process *p, bool is_err)
{
	return is_err && !p->terminal ? &p->err : &p->out;
}

void stdio_init(struct process *p)
{
	struct stdio_stream *streams[] = { &p->in, &p->out, &p->err };

	for (size_t i = 0; i < ARRAY_LEN(streams); i++) {
		*streams[i] = (struct stdio_stream){ .process = p, .fd = FD_NONE };
		list_init(&streams[i]->until_ready);
	}
}

static void take_fd(int *to, int *from)
{
	if (*to < 0)
		*to = TAKE_FD(*from);
}

void stdio_take(struct process *p)
{
	take_fd(&p->in.fd, &p->spawn.in);
	take_fd(&p->out.fd, &p->spawn.out);
	take_fd(&p->err.fd, &p->spawn.err);
}

static void stream_close(struct stdio_stream *e)
{
	loop_del(&e->source);
	timer_cancel(&e->silence);
	auto_closep(&e->fd);
}

/* As far as the readers go. Who still writes must not be killed by it. */
static void stream_abandon(struct stdio_stream *e)
{
	loop_del(&e->source);
	timer_cancel(&e->silence);
	if (e->process->terminal)
		auto_closep(&e->fd);
	else
		drain_add(e->process->ctr, &e->fd);
}

bool stdio_drained(const struct process *p)
{
	return p->out.state == STREAM_ENDED && (p->terminal || p->err.state == STREAM_ENDED);
}

bool stdio_has_readers(const struct process *p)
{
	return !list_empty(&p->out.until_ready) || !list_empty(&p->err.until_ready);
}

/*
 * Waits for an event only while somebody wants it: a hung-up pipe would otherwise wake us forever.
 * A terminal that all have closed hangs, and may be opened again: its changes alone wake us.
 */
static int stream_watch(struct stdio_stream *e, uint32_t events, source_fn *fn)
{
	struct loop *l = e->process->ctr->agent->loop;

	if (e->process->terminal)
		events |= (uint32_t)EPOLLET;
	if (e->source.loop)
		return loop_mod(&e->source, events);
	return loop_add(l, &e->source, e->fd, events, fn);
}

static void end_of_output(struct stdio_stream *e)
{
	struct process *p = e->process;

	stream_enter(e, STREAM_ENDED);
	stream_close(e);
	if (p->drained && stdio_drained(p))
		p->drained(p);
}

/* What a call that reads wants, and of which output: a terminal is both. In c->wait. */
static void *reader_wants(size_t want, bool is_err)
{
	return (void *)(uintptr_t)(want << 1 | is_err);
}

static size_t wanted_bytes(const struct call *c)
{
	return (uintptr_t)c->wait >> 1;
}

static bool wanted_stderr(const struct call *c)
{
	return (uintptr_t)c->wait & 1;
}

/*
 * The end: an error in 1.x. In 3.x an empty success, once for each output, and then the error: the
 * hosts of one half of its releases stop at the one only, those of the other half at the other.
 */
static void answer_end(struct process *p, bool is_err, struct call *c)
{
	struct stdio_stream *named = is_err ? &p->err : &p->out;
	struct err err = { 0 };

	if (c->schema == SCHEMA_3X && !named->end_told) {
		named->end_told = true;
		(void)call_reply_empty(c);
		return;
	}
	err_rpc(&err, RPC_UNKNOWN, "EOF");
	(void)call_fail(c, &err);
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

static void serve_readers(struct stdio_stream *e);

static void on_silence(struct timer *t)
{
	struct stdio_stream *e = container_of(t, struct stdio_stream, silence);
	int n;

	/* A slow reader has yet to come for the rest, and begins a new silence. */
	if (e->fd >= 0 && ioctl(e->fd, FIONREAD, &n) == 0 && n > 0)
		return;
	stream_abandon(e);
	serve_readers(e);
}

/* Begins when the process is dead and a WaitProcess has come, and with each byte anew. */
static void await_silence(struct stdio_stream *e)
{
	struct process *p = e->process;

	if (p->waited && process_is_dead(p) && !p->terminal && e->fd >= 0)
		timer_set(p->ctr->agent->loop, &e->silence, SILENCE_MS, on_silence);
}

/* Nothing to read: nothing yet? errno is the read's, 0 for a pipe's end. */
static bool may_come(const struct process *p, int error)
{
	if (p->terminal)
		return (error == EAGAIN || error == EIO) && !process_is_dead(p);
	return error == EAGAIN;
}

/*
 * One read for one call: whether it is answered; if not, there is nothing yet. The bytes go from
 * the pipe to where the socket takes them.
 */
static bool read_for(struct stdio_stream *e, struct call *c, size_t want, bool is_err)
{
	struct process *p = e->process;
	int available = 0;
	struct err err = { 0 };
	struct buf body;
	ssize_t n;

	if (e->fd < 0) {
		answer_end(p, is_err, c);
		end_of_output(e);
		return true;
	}
	/* Memory that nothing is written to costs nothing; above that, what is there decides. */
	if (want > READ_UNASKED) {
		if (ioctl(e->fd, FIONREAD, &available) < 0 || available < (int)READ_UNASKED)
			want = READ_UNASKED;
		else if ((size_t)available < want)
			want = (size_t)available;
	}
	body = call_body(READ_HEAD + want);
	if (!body.mem) {
		err_sys(&err, ENOMEM, "read");
		(void)call_fail(c, &err);
		return true;
	}
	do
		n = read(e->fd, buf_data(&body) + READ_HEAD, want);
	while (n < 0 && errno == EINTR);
	if (n > 0) {
		await_silence(e);
		buf_data(&body)[0] = 0x0a; /* field 1, length-delimited */
		put_length(buf_data(&body) + 1, (size_t)n);
		body.end += READ_HEAD + (size_t)n;
		buf_shrink(&body);
		(void)call_reply_body(c, &body);
		return true;
	}
	n = n < 0 ? errno : 0;
	buf_free(&body);
	if (may_come(p, (int)n))
		return false;
	answer_end(p, is_err, c);
	end_of_output(e);
	return true;
}

static void serve_readers(struct stdio_stream *e)
{
	struct call *c;

	while ((c = list_first(&e->until_ready, struct call, parked))) {
		if (!read_for(e, c, wanted_bytes(c), wanted_stderr(c)))
			break;
	}
	/* Nobody waits: even a hang-up, which epoll reports unasked, must not wake the loop. */
	if (list_empty(&e->until_ready))
		loop_del(&e->source);
}

static void on_output(struct source *s, uint32_t events)
{
	(void)events;
	serve_readers(container_of(s, struct stdio_stream, source));
}

void stdio_told(struct process *p)
{
	if (p->terminal)
		serve_readers(&p->out);
	if (!p->out.silence.loop)
		await_silence(&p->out);
	if (!p->err.silence.loop)
		await_silence(&p->err);
}

int stdio_read(struct process *p, bool is_err, size_t want, struct call *c, struct err *err)
{
	struct stdio_stream *e = output_of(p, is_err);
	int r;

	if (want == 0)
		return call_reply_empty(c);
	if (p->passfd) { /* it goes to the host by itself */
		answer_end(p, is_err, c);
		return 0;
	}
	if (want > LIMIT_READ)
		want = LIMIT_READ;
	p->read_at = loop_now_ms();
	/* Those who came first are served first. */
	if (list_empty(&e->until_ready) && read_for(e, c, want, is_err))
		return 0;
	r = stream_watch(e, EPOLLIN, on_output);
	if (r < 0)
		return err_sys(err, -r, "wait for output");
	return call_park(c, &e->until_ready, NULL, reader_wants(want, is_err));
}

/* --- input --------------------------------------------------------------------------------- */

/* What of a WriteStdin has not been written. */
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

static void end_of_input(struct process *p)
{
	stream_close(&p->in);
	stream_enter(&p->in, STREAM_ENDED);
}

static void on_stdin(struct source *s, uint32_t events)
{
	struct stdio_stream *e = container_of(s, struct stdio_stream, source);
	struct process *p = e->process;
	struct call *c;
	int r;

	(void)events;
	while ((c = list_first(&e->until_ready, struct call, parked))) {
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
	if (p->in.state == STREAM_CLOSING)
		end_of_input(p);
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
	return stream_watch(&p->in, EPOLLOUT, on_stdin);
}

/* The request's bytes end with its handler (M_IN_PLACE): the rest goes into the call's arena. */
static int park_write(struct process *p, const struct pending_write *w, struct call *c,
		      struct err *err)
{
	struct pending_write *kept = arena_alloc(&c->mem, sizeof(*kept));
	uint8_t *rest = kept ? arena_alloc(&c->mem, w->len) : NULL;

	if (!rest)
		return err_sys(err, ENOMEM, "write stdin");
	(void)memcpy(rest, w->data, w->len);
	*kept = (struct pending_write){ rest, w->len, w->total };
	return call_park(c, &p->in.until_ready, NULL, kept);
}

int stdio_write(struct process *p, const uint8_t *data, size_t len, struct call *c, struct err *err)
{
	struct pending_write w = { data, len, len };
	int r = 0;

	if (len > 0 && p->in.state != STREAM_OPEN && c->schema == SCHEMA_3X)
		return err_rpc(err, RPC_INTERNAL, "stdin is closed");
	if (p->in.state != STREAM_OPEN || len == 0)
		return reply_written(c, 0);
	if (stdin_fd(p) < 0)
		return write_failed(err, -EPIPE);
	if (list_empty(&p->in.until_ready))
		r = write_some(p, &w);
	if (r > 0)
		return reply_written(c, w.total);
	if (r == 0)
		r = watch_stdin(p);
	return r < 0 ? write_failed(err, r) : park_write(p, &w, c, err);
}

void stdio_close_input(struct process *p)
{
	if (p->terminal || p->in.state != STREAM_OPEN)
		return;
	if (list_empty(&p->in.until_ready))
		end_of_input(p);
	else
		stream_enter(&p->in, STREAM_CLOSING);
}

/* --- both ---------------------------------------------------------------------------------- */

int stdio_resize(struct process *p, uint32_t rows, uint32_t columns)
{
	struct winsize ws = { .ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns };

	if (!p->terminal || (p->out.fd < 0 && !process_is_dead(p)))
		return -ENOTTY;
	return p->out.fd >= 0 && ioctl(p->out.fd, TIOCSWINSZ, &ws) < 0 ? -errno : 0;
}

static void end_readers(struct stdio_stream *e)
{
	struct call *c;

	if (container_is_removing(e->process->ctr))
		stream_close(e);
	else
		stream_abandon(e);
	while ((c = list_first(&e->until_ready, struct call, parked)))
		answer_end(e->process, wanted_stderr(c), c);
}

void stdio_close(struct process *p)
{
	struct call *c;
	struct err gone = { 0 };

	end_readers(&p->out);
	end_readers(&p->err);
	loop_del(&p->in.source);
	if (!p->terminal)
		auto_closep(&p->in.fd);
	write_failed(&gone, -EPIPE);
	while ((c = list_first(&p->in.until_ready, struct call, parked)))
		(void)call_fail(c, &gone);
}
