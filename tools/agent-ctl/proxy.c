/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxy: what kata-proxy is on a real host. It holds the serial port for the guest's whole life and
 * offers a Unix socket; each connection to that is one yamux stream, bytes as they are.
 *
 * State: one struct proxy, one struct client a connection. A client is read only while all that it
 * has sent before is on its way, and the agent gets back its window only for what a client has
 * taken: so a slow one keeps at most a window and one read here, and stalls nobody else.
 */
#include "run.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

#define MAX_CLIENTS    1000 /* the agent refuses stream 1025; further clients wait in the backlog */
#define CLIENT_READ    (64u * 1024)
#define EXIT_PORT_GONE 3
#define DEFAULT_WAIT_S 30
#define GOODBYE_MS     200

struct proxy;

struct client {
	struct proxy *proxy;
	struct client *next;
	struct sock sock;
	struct yamux_stream stream; /* not open: waits for the agent, or is over */
	struct bytes staged;	    /* from the client, waits for the stream or the port */
	unsigned long number;
	uint64_t up, down; /* bytes to the agent, to the client */
	int64_t since_ms;
	bool over; /* the agent has closed it: it goes when it has taken what waits */
	bool gone; /* to be freed after this turn of the loop */
};

struct proxy {
	struct loop *loop;
	struct port port;
	struct io listener, signals;
	struct client *clients; /* the first one is served first; see serve_all */
	size_t n_clients;
	unsigned long count; /* of all clients so far */
	bool verbose, burials, full;
	bool done;
	int status;
};

/* ---- clients ---- */

static struct client *of_stream(struct yamux_stream *s)
{
	return (struct client *)((char *)s - offsetof(struct client, stream));
}

/* Ends a client, and its stream unless the agent has done so; freed after this turn. */
static void client_end(struct client *cl, const char *why)
{
	struct proxy *p = cl->proxy;

	if (cl->gone)
		return;
	cl->gone = true;
	p->burials = true;
	p->n_clients--;
	if (cl->stream.y && bytes_len(&cl->staged) > 0) {
		yamux_reset(&cl->stream); /* what it has sent is not complete */
	} else {
		yamux_fin(&cl->stream);
		yamux_drop(&cl->stream);
	}
	if (p->verbose)
		say("client %lu: %s; %llu bytes to the agent, %llu back, %.3f s, %zu left",
		    cl->number, why, (unsigned long long)cl->up, (unsigned long long)cl->down,
		    (double)(now_ms() - cl->since_ms) / 1000, p->n_clients);
	sock_close(&cl->sock);
	bytes_free(&cl->staged);
}

static void bury(struct proxy *p)
{
	struct client **at = &p->clients;

	p->burials = false;
	while (*at) {
		struct client *cl = *at;

		if (cl->gone) {
			*at = cl->next;
			free(cl);
		} else {
			at = &cl->next;
		}
	}
}

/* Passes on what the stream's window and the port have room for. */
static void client_serve(struct client *cl)
{
	size_t n = bytes_len(&cl->staged), room = port_room(&cl->proxy->port);

	if (cl->gone || cl->over || n == 0)
		return;
	if (cl->stream.y && room > 0) {
		n = yamux_send(&cl->stream, bytes_data(&cl->staged), n < room ? n : room);
		bytes_take(&cl->staged, n);
		cl->up += n;
	}
	sock_pause(&cl->sock, bytes_len(&cl->staged) > 0);
}

/* The list begins with another client each time, so that none is always the last. */
static void serve_all(struct proxy *p)
{
	struct client *first = p->clients, **end = &p->clients;

	for (struct client *cl = p->clients; cl; cl = cl->next)
		client_serve(cl);
	if (!first || !first->next || port_room(&p->port) > 0)
		return;
	p->clients = first->next;
	while (*end)
		end = &(*end)->next;
	first->next = NULL;
	*end = first;
}

static int on_client_input(void *user, const uint8_t *data, size_t len, struct err *err)
{
	struct client *cl = user;

	(void)err;
	if (cl->over)
		return 0;
	bytes_put(&cl->staged, data, len);
	client_serve(cl);
	sock_flush(&cl->proxy->port.sock);
	return 0;
}

static void on_client_end(void *user, const struct err *why)
{
	struct client *cl = user;

	client_end(cl, why->code == ECONNRESET ? "it left" : why->msg);
	sock_flush(&cl->proxy->port.sock);
}

static void on_client_sent(void *user, size_t len)
{
	struct client *cl = user;

	cl->down += len;
	yamux_took(&cl->stream, len);
	if (cl->over && bytes_len(&cl->sock.out) == 0)
		client_end(cl, "the agent closed its stream");
}

static void on_client_turn(void *user)
{
	struct client *cl = user;

	sock_flush(&cl->proxy->port.sock); /* window that was given back */
}

static const struct sock_ops client_ops = { .input = on_client_input,
					    .end = on_client_end,
					    .sent = on_client_sent,
					    .turn = on_client_turn };

static void client_open_stream(struct client *cl)
{
	yamux_open(&cl->proxy->port.mux, &cl->stream, YAMUX_INITIAL_WINDOW);
	if (cl->proxy->verbose)
		say("client %lu: stream %x", cl->number, cl->stream.id);
}

static void client_new(struct proxy *p, int fd)
{
	struct client *cl = xcalloc(1, sizeof(*cl));

	cl->proxy = p;
	cl->number = ++p->count;
	cl->since_ms = now_ms();
	cl->next = p->clients;
	p->clients = cl;
	p->n_clients++;
	sock_open(&cl->sock, p->loop, fd, &client_ops, cl);
	cl->sock.read_max = CLIENT_READ;
	if (p->port.mux.ready)
		client_open_stream(cl);
	else if (p->verbose)
		say("client %lu: waits for the agent", cl->number);
}

/* ---- the port ---- */

static void on_ready(void *user)
{
	struct proxy *p = user;

	say("the agent answers");
	for (struct client *cl = p->clients; cl; cl = cl->next) {
		if (!cl->gone && !cl->over)
			client_open_stream(cl);
	}
}

/* A session that makes no sense any more ends with its clients. */
static void on_lost(void *user, const struct err *why)
{
	struct proxy *p = user;

	say("%s; starting anew", why->msg);
	for (struct client *cl = p->clients; cl; cl = cl->next) {
		yamux_drop(&cl->stream);
		client_end(cl, "the session is lost");
	}
}

static void on_port_end(void *user, const struct err *why)
{
	struct proxy *p = user;

	say("the serial port is gone: %s", why->msg);
	p->done = true;
	p->status = EXIT_PORT_GONE;
}

static void on_port_turn(void *user)
{
	struct proxy *p = user;

	serve_all(p);
	sock_flush(&p->port.sock);
}

static void on_stream_data(struct yamux_stream *s, const uint8_t *data, size_t len)
{
	struct client *cl = of_stream(s);

	sock_put(&cl->sock, data, len);
	sock_flush(&cl->sock);
}

static void on_stream_end(struct yamux_stream *s, bool reset)
{
	struct client *cl = of_stream(s);

	if (reset || bytes_len(&cl->sock.out) == 0) {
		if (reset)
			yamux_drop(s);
		bytes_free(&cl->staged);
		client_end(cl,
			   reset ? "the agent reset its stream" : "the agent closed its stream");
		return;
	}
	yamux_fin(s); /* the agent does not listen any more */
	yamux_drop(s);
	cl->over = true;
	bytes_free(&cl->staged);
	sock_pause(&cl->sock, false);
}

static const struct port_ops port_ops = { .ready = on_ready,
					  .end = on_port_end,
					  .lost = on_lost,
					  .turn = on_port_turn,
					  .data = on_stream_data,
					  .stream_end = on_stream_end };

/* ---- the rest ---- */

/* Whoever comes while there are too many waits in the socket's backlog. */
static void on_listener(struct io *io, short revents)
{
	struct proxy *p = io->arg;

	(void)revents;
	while (p->n_clients < MAX_CLIENTS) {
		int fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			client_new(p, fd);
			continue;
		}
		if (errno == EINTR || errno == ECONNABORTED)
			continue;
		if (errno == EAGAIN)
			break;
		say("accept: %s; waiting for a client to leave", strerror(errno));
		io->events = 0;
		p->full = true;
		break;
	}
	sock_flush(&p->port.sock);
}

static void on_signal(struct io *io, short revents)
{
	struct signalfd_siginfo si;
	struct proxy *p = io->arg;

	(void)revents;
	if (read(io->fd, &si, sizeof(si)) != sizeof(si))
		return;
	if (p->verbose)
		say("signal %u: going, with %zu clients", si.ssi_signo, p->n_clients);
	p->done = true;
	p->status = 0;
}

static int catch_signals(struct err *err)
{
	sigset_t set;
	int fd;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? err_set(err, errno, "signalfd: %s", strerror(errno)) : fd;
}

static void more_files(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur < rl.rlim_max) {
		rl.rlim_cur = rl.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &rl);
	}
}

static void serve(struct proxy *p)
{
	while (!p->done) {
		p->listener.events = p->n_clients < MAX_CLIENTS && !p->full ? POLLIN : 0;
		loop_turn(p->loop);
		if (p->burials) {
			p->full = false;
			bury(p);
		}
	}
}

/* Clients are told by the end of their connections, the agent by that of their streams. */
static void close_all(struct proxy *p)
{
	int64_t end = now_ms() + GOODBYE_MS, left;

	loop_del(p->loop, &p->listener);
	for (struct client *cl = p->clients; cl; cl = cl->next)
		client_end(cl, "the proxy ends");
	bury(p);
	while (!p->port.sock.dead && bytes_len(&p->port.sock.out) > 0 &&
	       (left = end - now_ms()) > 0)
		sock_step(&p->port.sock, (int)left);
	port_close(&p->port);
}

static int proxy_run(struct ctl *c, const struct addr *at, struct err *err)
{
	AUTO_CLOSE int listener = FD_NONE, signals = FD_NONE;
	struct proxy p = { .loop = &c->loop, .verbose = c->verbose };
	int port;

	more_files();
	signals = catch_signals(err);
	if (signals < 0 || addr_listen(at, &listener, err) < 0)
		return -err->code;
	if (ctl_connect_socket(c, DEFAULT_WAIT_S, &port, err) < 0) {
		(void)(at->path[0] != '@' && unlink(at->path));
		return -err->code;
	}
	p.listener = (struct io){ .fd = listener, .events = POLLIN, .fn = on_listener, .arg = &p };
	p.signals = (struct io){ .fd = signals, .events = POLLIN, .fn = on_signal, .arg = &p };
	loop_add(p.loop, &p.listener);
	loop_add(p.loop, &p.signals);
	port_open(&p.port, p.loop, port, 0, &port_ops, &p);
	say("proxy: %s for the agent at %s", at->path, c->addr_text);
	serve(&p);
	close_all(&p);
	loop_del(p.loop, &p.signals);
	(void)(at->path[0] != '@' && unlink(at->path));
	return p.status;
}

int proxy_main(struct ctl *c, const struct command *self, int argc, char **argv)
{
	const char *listen_text = NULL;
	const struct opt opts[] = {
		{ 'l', "listen", OPT_STR, &listen_text, "ADDRESS",
		  "where clients connect to: unix://PATH or unix://@NAME" },
	};
	struct addr at;
	struct err err;
	int status;

	if (!ctl_options(c, self, opts, ARRAY_LEN(opts), -1, &argc, argv, 0, 0, &status))
		return status;
	if (!listen_text)
		err_set(&err, EINVAL, "proxy: where to listen? Give --listen unix://PATH");
	else if (addr_parse(listen_text, &at, &err) < 0 || ctl_resolve(c, &err) < 0)
		; /* err says it */
	else if (at.kind != ADDR_UNIX)
		err_set(&err, EINVAL, "proxy: --listen '%s' is no unix:// address", listen_text);
	else if (c->addr.kind != ADDR_SERIAL)
		err_set(&err, EINVAL, "proxy: --addr '%s' is no serial:// address", c->addr_text);
	else
		return (status = proxy_run(c, &at, &err)) < 0 ? ctl_fail(&err) : status;
	return ctl_fail(&err);
}
