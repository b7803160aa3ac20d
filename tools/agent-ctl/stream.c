/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Standard streams. Output: one ReadStdout is always under way while the last chunk is written,
 * two chunks at most wait for a slow reader of ours. Input: one WriteStdin is under way (their
 * order on the agent's side is not defined otherwise) while the next chunk is collected.
 */
#include "stream.h"

#include "sink.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>

#define GIVE_UP_MS 2000 /* a second interrupt within this ends it */

enum { OUT, ERR };

struct stream;

struct output {
	struct stream *st;
	const char *method;
	struct sink sink;
	bool reading, eof;
};

struct input {
	struct io io;
	struct rpc_call *call;
	uint8_t *sent, *next; /* under way; being collected */
	size_t sent_len, sent_off, next_len;
	bool eof, closed;
};

struct stream {
	struct ctl *c;
	const struct stream_options *o;
	struct output out[2];
	struct input in;
	struct io signals;
	int64_t last_interrupt_ms;
	struct termios saved;
	bool raw;
	sigset_t old_mask;
	bool waited; /* WaitProcess has answered */
	int status;
	int stop; /* < 0: do not go on */
	struct err *err;
};

static const int forwarded[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2 };

static void stop(struct stream *st, int result)
{
	if (!st->stop)
		st->stop = result;
}

/* ---- output ---- */

bool stream_peek_data(const uint8_t *buf, size_t len, const uint8_t **ret, size_t *ret_len)
{
	size_t n = 0, i = 1;
	unsigned int shift = 0;

	*ret_len = 0;
	if (len == 0)
		return true;
	if (buf[0] != (1 << 3 | 2))
		return false;
	for (; i < len && shift < 35; i++, shift += 7) {
		n |= (size_t)(buf[i] & 0x7f) << shift;
		if (!(buf[i] & 0x80))
			break;
	}
	if (i >= len || len - i - 1 != n)
		return false;
	*ret = buf + i + 1;
	*ret_len = n;
	return true;
}

bool stream_is_eof(int status, const char *message, bool tty)
{
	if (status == RPC_NOT_FOUND)
		return true; /* somebody has waited for the process: its streams are gone */
	if (status != RPC_UNKNOWN && status != RPC_OUT_OF_RANGE && status != RPC_INTERNAL)
		return false;
	return !strcmp(message, "EOF") || strstr(message, "file already closed") ||
	       (tty && strcasestr(message, "input/output error"));
}

static void read_more(struct output *out);

static void take_output(struct output *out, const struct rpc_result *res)
{
	const uint8_t *data;
	size_t len;

	if (stream_peek_data(res->data, res->len, &data, &len)) {
		if (len == 0)
			out->eof = true;
		else
			read_more(out); /* the agent fetches the next while we write this */
		sink_write(&out->sink, data, len);
		return;
	}
	out->eof = true;
	stop(out->st, err_set(out->st->err, EBADMSG, "%s: the answer is no ReadStreamResponse",
			      out->method));
}

static void on_output(void *arg, const struct rpc_result *res)
{
	struct output *out = arg;
	struct stream *st = out->st;

	out->reading = false;
	if (res->status == RPC_OK) {
		take_output(out, res);
	} else {
		out->eof = true;
		if (res->status == RPC_UNAVAILABLE) {
			stop(st, err_set(st->err, ECONNRESET, "%s: %s", out->method, res->message));
			st->err->rpc = res->status;
		} else if (!stream_is_eof(res->status, res->message, st->o->tty)) {
			say("%s: %s: %s", out->method, rpc_status_name(res->status), res->message);
		}
	}
	if (out->sink.error == EPIPE)
		stop(st, -EPIPE);
	else if (out->sink.error)
		stop(st, err_set(st->err, out->sink.error, "write the process's output: %s",
				 strerror(out->sink.error)));
}

static void read_more(struct output *out)
{
	struct stream *st = out->st;
	PB_LOCAL(Grpc__ReadStreamRequest, grpc__read_stream_request, req);

	if (out->reading || out->eof || st->stop || !sink_idle(&out->sink))
		return;
	req.container_id = (char *)(uintptr_t)st->o->cid;
	req.exec_id = (char *)(uintptr_t)st->o->eid;
	req.len = STREAM_READ;
	out->reading = true;
	(void)rpc_start(st->c->rpc, "grpc.AgentService", out->method, &req.base, RPC_NO_TIMEOUT,
			on_output, out);
}

static void on_drained(void *arg)
{
	struct output *out = arg;

	if (out->sink.error)
		stop(out->st, -out->sink.error);
	read_more(out);
}

static bool output_done(const struct output *out)
{
	return out->eof && sink_idle(&out->sink);
}

/* ---- input ---- */

static void ignore_answer(void *arg, const struct rpc_result *res)
{
	const struct stream *st = arg;

	if (res->status != RPC_OK && st->c->verbose)
		say("%s: %s", rpc_status_name(res->status), res->message);
}

static void close_input(struct stream *st)
{
	PB_LOCAL(Grpc__CloseStdinRequest, grpc__close_stdin_request, req);

	st->in.closed = true;
	st->in.io.events = 0;
	req.container_id = (char *)(uintptr_t)st->o->cid;
	req.exec_id = (char *)(uintptr_t)st->o->eid;
	(void)rpc_start(st->c->rpc, "grpc.AgentService", "CloseStdin", &req.base, RPC_NO_TIMEOUT,
			ignore_answer, st);
}

static void on_written(void *arg, const struct rpc_result *res);

static void write_sent(struct stream *st)
{
	struct input *in = &st->in;
	PB_LOCAL(Grpc__WriteStreamRequest, grpc__write_stream_request, req);

	req.container_id = (char *)(uintptr_t)st->o->cid;
	req.exec_id = (char *)(uintptr_t)st->o->eid;
	req.data.data = in->sent + in->sent_off;
	req.data.len = in->sent_len - in->sent_off;
	in->call = rpc_start(st->c->rpc, "grpc.AgentService", "WriteStdin", &req.base,
			     RPC_NO_TIMEOUT, on_written, st);
}

/* Sends what has been collected, or the end, unless something is under way. */
static void push_input(struct stream *st)
{
	struct input *in = &st->in;

	if (in->call || in->closed || st->stop)
		return;
	if (in->eof && in->next_len == 0 && st->o->tty) {
		in->next[in->next_len++] = 0x04; /* a terminal's end of file */
		in->closed = true;
	}
	if (in->next_len > 0) {
		uint8_t *full = in->next;

		in->next = in->sent;
		in->sent = full;
		in->sent_len = in->next_len;
		in->sent_off = in->next_len = 0;
		write_sent(st);
	} else if (in->eof) {
		close_input(st);
	}
	if (!in->eof)
		in->io.events = POLLIN;
}

static void on_written(void *arg, const struct rpc_result *res)
{
	struct stream *st = arg;
	struct input *in = &st->in;
	Grpc__WriteStreamResponse *r;
	size_t n;

	in->call = NULL;
	r = res->status == RPC_OK ? grpc__write_stream_response__unpack(NULL, res->len, res->data)
				  : NULL;
	n = r ? r->len : 0;
	if (r)
		grpc__write_stream_response__free_unpacked(r, NULL);
	if (res->status != RPC_OK || n == 0) {
		/* Nobody reads it any more: that is the process's right, its output goes on. */
		if (st->c->verbose)
			say("standard input is no longer read (%s %s)",
			    rpc_status_name(res->status), res->message);
		in->closed = true;
		in->io.events = 0;
		return;
	}
	in->sent_off += n;
	if (in->sent_off < in->sent_len)
		write_sent(st);
	else
		push_input(st);
}

static void on_input(struct io *io, short revents)
{
	struct stream *st = io->arg;
	struct input *in = &st->in;
	ssize_t n;

	(void)revents;
	n = read(io->fd, in->next + in->next_len, STREAM_WRITE - in->next_len);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		in->eof = true;
		io->events = 0;
	} else {
		in->next_len += (size_t)n;
		if (in->next_len == STREAM_WRITE)
			io->events = 0;
	}
	push_input(st);
}

static void open_input(struct stream *st)
{
	struct input *in = &st->in;

	in->sent = xmalloc(STREAM_WRITE);
	in->next = xmalloc(STREAM_WRITE);
	in->io = (struct io){ .fd = STDIN_FILENO, .events = POLLIN, .fn = on_input, .arg = st };
	if (st->o->no_stdin) {
		/* A terminal is one thing: to the Rust agent its input's end is a hang-up. */
		if (!st->o->tty)
			close_input(st);
		return;
	}
	(void)fcntl(STDIN_FILENO, F_SETPIPE_SZ, 1 << 20); /* fewer, larger reads if it is a pipe */
	loop_add(&st->c->loop, &in->io);
}

/* ---- terminal and signals ---- */

static void resize(struct stream *st)
{
	PB_LOCAL(Grpc__TtyWinResizeRequest, grpc__tty_win_resize_request, req);
	struct winsize ws;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) < 0 && ioctl(STDIN_FILENO, TIOCGWINSZ, &ws) < 0)
		return;
	if (ws.ws_row == 0 || ws.ws_col == 0)
		return;
	req.container_id = (char *)(uintptr_t)st->o->cid;
	req.exec_id = (char *)(uintptr_t)st->o->eid;
	req.row = ws.ws_row;
	req.column = ws.ws_col;
	(void)rpc_start(st->c->rpc, "grpc.AgentService", "TtyWinResize", &req.base,
			ctl_timeout(st->c, "TtyWinResize"), ignore_answer, st);
}

static void raw_mode(struct stream *st)
{
	struct termios t;

	if (!st->o->tty || st->o->no_stdin || tcgetattr(STDIN_FILENO, &st->saved) < 0)
		return;
	t = st->saved;
	cfmakeraw(&t);
	st->raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &t) == 0;
}

static void forward(struct stream *st, uint32_t sig)
{
	PB_LOCAL(Grpc__SignalProcessRequest, grpc__signal_process_request, req);

	req.container_id = (char *)(uintptr_t)st->o->cid;
	req.exec_id = (char *)(uintptr_t)st->o->eid;
	req.signal = sig;
	(void)rpc_start(st->c->rpc, "grpc.AgentService", "SignalProcess", &req.base,
			ctl_timeout(st->c, "SignalProcess"), ignore_answer, st);
}

static void on_signal(struct io *io, short revents)
{
	struct stream *st = io->arg;
	struct signalfd_siginfo si;

	(void)revents;
	while (read(io->fd, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
		int64_t now = now_ms();

		if (si.ssi_signo == SIGWINCH) {
			if (st->o->tty)
				resize(st);
			continue;
		}
		if (si.ssi_signo == SIGINT && st->last_interrupt_ms &&
		    now - st->last_interrupt_ms < GIVE_UP_MS) {
			say("interrupted twice: giving up");
			stop(st, err_set(st->err, EINTR, "interrupted"));
			return;
		}
		if (si.ssi_signo == SIGINT)
			st->last_interrupt_ms = now;
		forward(st, si.ssi_signo);
	}
}

static void open_signals(struct stream *st)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGWINCH);
	for (size_t i = 0; i < ARRAY_LEN(forwarded); i++)
		(void)sigaddset(&set, forwarded[i]);
	(void)sigprocmask(SIG_BLOCK, &set, &st->old_mask);
	st->signals = (struct io){ .fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC),
				   .events = POLLIN,
				   .fn = on_signal,
				   .arg = st };
	loop_add(&st->c->loop, &st->signals);
}

/* ---- the whole ---- */

static void on_exited(void *arg, const struct rpc_result *res)
{
	struct stream *st = arg;
	Grpc__WaitProcessResponse *r;

	st->waited = true;
	if (res->status != RPC_OK) {
		stop(st, err_set(st->err, ECHILD, "WaitProcess: %s: %s",
				 rpc_status_name(res->status), res->message));
		st->err->rpc = res->status;
		return;
	}
	r = grpc__wait_process_response__unpack(NULL, res->len, res->data);
	if (!r) {
		stop(st, err_set(st->err, EBADMSG, "WaitProcess: the answer is not valid"));
		return;
	}
	st->status = r->status;
	grpc__wait_process_response__free_unpacked(r, NULL);
}

static void wait_process(struct stream *st)
{
	PB_LOCAL(Grpc__WaitProcessRequest, grpc__wait_process_request, req);

	req.container_id = (char *)(uintptr_t)st->o->cid;
	req.exec_id = (char *)(uintptr_t)st->o->eid;
	(void)rpc_start(st->c->rpc, "grpc.AgentService", "WaitProcess", &req.base, RPC_NO_TIMEOUT,
			on_exited, st);
	while (!st->waited && !st->stop)
		loop_turn(&st->c->loop);
}

static void copy_all(struct stream *st)
{
	read_more(&st->out[OUT]);
	if (st->o->tty)
		st->out[ERR].eof = true; /* one terminal, one stream: two readers would share it */
	else
		read_more(&st->out[ERR]);
	if (st->o->start && st->o->start(st->c, st->o->cid, st->err) < 0) {
		stop(st, -st->err->code);
		return;
	}
	raw_mode(st);
	open_input(st);
	while (!st->stop && (!output_done(&st->out[OUT]) || !output_done(&st->out[ERR])))
		loop_turn(&st->c->loop);
}

static bool is_ours(const struct stream *st, const struct rpc_call *c)
{
	return c->done && (c->arg == st || c->arg == &st->out[OUT] || c->arg == &st->out[ERR]);
}

/*
 * Calls that are still under way must not find us gone. Cancelling one may free others: start
 * over.
 */
static void forget_calls(struct stream *st)
{
	for (;;) {
		struct rpc_call *c = st->c->rpc->calls;

		while (c && !is_ours(st, c))
			c = c->next;
		if (!c)
			return;
		rpc_cancel(c);
	}
}

int stream_run(struct ctl *c, const struct stream_options *o, int *ret_status, struct err *err)
{
	struct stream st = { .c = c, .o = o, .err = err };

	st.out[OUT] = (struct output){ .st = &st, .method = "ReadStdout" };
	st.out[ERR] = (struct output){ .st = &st, .method = "ReadStderr" };
	sink_open(&st.out[OUT].sink, &c->loop, STDOUT_FILENO, on_drained, &st.out[OUT]);
	sink_open(&st.out[ERR].sink, &c->loop, STDERR_FILENO, on_drained, &st.out[ERR]);
	open_signals(&st);
	if (o->tty)
		resize(&st);
	copy_all(&st);
	if (!st.stop) {
		loop_del(&c->loop, &st.in.io);
		wait_process(&st);
	}
	if (st.raw)
		(void)tcsetattr(STDIN_FILENO, TCSADRAIN, &st.saved);
	forget_calls(&st);
	sink_close(&st.out[OUT].sink);
	sink_close(&st.out[ERR].sink);
	loop_del(&c->loop, &st.in.io);
	loop_del(&c->loop, &st.signals);
	(void)close(st.signals.fd);
	(void)sigprocmask(SIG_SETMASK, &st.old_mask, NULL);
	free(st.in.sent);
	free(st.in.next);
	if (st.stop == -EPIPE)
		err_set(err, EPIPE, "nobody reads our output any more");
	if (!st.stop)
		*ret_status = st.status;
	return st.stop;
}
