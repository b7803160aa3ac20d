/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Debug console, log port, and the port for processes' streams (pod/passfd.h). State: the three
 * ports, whose listeners are bound from boot to end (a
 * container that found one free could bind it and play the shell), and a session for each client of
 * the console, which has a terminal of its own.
 */
#include "console.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>
/* Older kernel headers want the first for the second. */
#include <sys/socket.h>
#include <linux/vm_sockets.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/worker.h"
#include "pod/agent.h"
#include "pod/passfd.h"
#include "config.h"
#include "wire/listen.h"

#define CONSOLE_RESTART_MS 1000 /* of a listener that can't be had yet, of the console's shell */
#define CONSOLE_LAST_TURNS 64 /* buffers of output that are fetched at once after the shell's end */

/* A vsock port of the host's. */
struct port {
	struct agent *agent;
	uint32_t number;
	int listener;
	struct source source;
	struct timer again;
	struct log_limit refused;
	void (*serve)(struct agent *a, int client); /* owns client from then on */
	const char *what;
};

/* True if more may be waiting. */
static bool port_accept(struct port *p)
{
	int client;

	for (int i = 0; i < LIMIT_ACCEPTS; i++) {
		client = listen_accept_host(p->listener, &p->refused);
		if (client >= 0)
			p->serve(p->agent, client);
		else if (client != -ECONNABORTED)
			break;
	}
	if (client < 0 && client != -EAGAIN && client != -ECONNABORTED) {
		/* Out of descriptors, say: the loop must not spin on it. */
		(void)loop_mod(&p->source, 0);
		timer_set(p->agent->loop, &p->again, CONSOLE_RESTART_MS, p->again.fn);
	}
	return client >= 0 || client == -ECONNABORTED;
}

static void port_on_client(struct source *s, uint32_t events)
{
	(void)events;
	(void)port_accept(container_of(s, struct port, source));
}

static void port_open(struct timer *t)
{
	struct port *p = container_of(t, struct port, again);
	int r = 0;

	if (p->listener < 0)
		p->listener = listen_vsock(VMADDR_CID_ANY, p->number);
	if (p->listener < 0)
		r = p->listener;
	else if (p->source.loop)
		r = loop_mod(&p->source, EPOLLIN);
	else
		r = loop_add(p->agent->loop, &p->source, p->listener, EPOLLIN, port_on_client);
	if (r < 0) {
		log_debug("console", "%s on vsock port %u: %s", p->what, p->number, strerror(-r));
		timer_set(p->agent->loop, t, CONSOLE_RESTART_MS, port_open);
	}
}

static void port_start(struct port *p, struct agent *a, uint32_t number)
{
	p->agent = a;
	p->number = number;
	p->again.fn = port_open;
	port_open(&p->again);
}

/* --- the log port -------------------------------------------------------------------------- */

struct log_client {
	struct source source;
	int fd;
};

static void log_client_gone(struct log_client *lc)
{
	log_remove_port(lc->fd);
	loop_del(&lc->source);
	(void)close(lc->fd);
	free(lc);
}

static void log_client_on_event(struct source *s, uint32_t events)
{
	struct log_client *lc = container_of(s, struct log_client, source);
	char drop[256];
	ssize_t n = recv(lc->fd, drop, sizeof(drop), MSG_DONTWAIT);

	if (n > 0 || (n < 0 && errno == EAGAIN && !(events & (EPOLLHUP | EPOLLERR))))
		return;
	log_client_gone(lc);
}

static void log_client_new(struct agent *a, int fd)
{
	struct log_client *lc = calloc(1, sizeof(*lc));
	int r = lc ? log_add_port(fd) : -ENOMEM;

	if (r == 0) {
		lc->fd = fd;
		r = loop_add(a->loop, &lc->source, fd, EPOLLIN, log_client_on_event);
		if (r == 0)
			return;
		log_remove_port(fd);
	}
	log_warn("console", "a reader of the log was refused: %s", strerror(-r));
	(void)close(fd);
	free(lc);
}

static struct port log_port = { .listener = FD_NONE, .serve = log_client_new, .what = "log" };

/* --- the processes' streams ----------------------------------------------------------------- */

static struct port passfd_port = { .listener = FD_NONE, .serve = passfd_offer, .what = "passfd" };

static bool passfd_accept(void)
{
	return passfd_port.source.loop && port_accept(&passfd_port);
}

static void passfd_start(struct agent *a, uint32_t number)
{
	if (passfd_open(a, passfd_accept) < 0)
		log_error("console", "no memory for streams");
	else
		port_start(&passfd_port, a, number);
}

/* --- shells -------------------------------------------------------------------------------- */

/* Becomes the shell on the terminal fd, so that the worker ends when it does. */
static int become_shell(int fd, struct err *err)
{
	static char bash[] = "/bin/bash", sh[] = "/bin/sh";
	char *const shells[] = { bash, sh };

	if (ioctl(fd, TIOCSCTTY, 1) < 0)
		return err_sys(err, errno, "the console as controlling terminal");
	for (int i = 0; i < 3; i++) {
		if (dup2(fd, i) < 0)
			return err_sys(err, errno, "console");
	}
	(void)fdio_write_file(AT_FDCWD, "/proc/self/oom_score_adj", "0");
	(void)setenv("TERM", "linux", 0);
	(void)setenv("HOME", "/root", 0);
	(void)!chdir("/");
	for (size_t i = 0; i < ARRAY_LEN(shells); i++) {
		char *argv[] = { shells[i], NULL };

		(void)execv(argv[0], argv);
	}
	return err_sys(err, errno, "neither /bin/bash nor /bin/sh can be run");
}

static void shell_told(const struct err *err)
{
	if (err->code != EPIPE) /* that is: it became a shell, which has ended */
		log_error("console", "debug console: %s", err->msg);
}

/* Bytes on their way between a client and its terminal: read only when there are none. */
struct relay {
	char data[4096];
	size_t start, len;
};

struct console_session {
	struct agent *agent;
	struct worker *shell;
	int client, master, slave; /* slave: the worker's, FD_NONE once it has started */
	struct source client_source, master_source;
	struct relay in, out; /* towards the shell, towards the client */
	bool client_ended;    /* it writes no more; output goes on */
	bool shell_ended;
};

static size_t console_sessions; /* that there are */

static void session_free(struct console_session *s)
{
	if (s->shell)
		worker_cancel(s->shell);
	loop_del(&s->client_source);
	loop_del(&s->master_source);
	auto_closep(&s->client);
	auto_closep(&s->master);
	auto_closep(&s->slave);
	free(s);
	console_sessions--;
}

/* 1 all written, 0 later, -errno. */
static int relay_flush(struct relay *r, int fd)
{
	while (r->len) {
		ssize_t n = write(fd, r->data + r->start, r->len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		r->start += (size_t)n;
		r->len -= (size_t)n;
	}
	return 1;
}

/* 1 something was read, 0 nothing is there yet, -EPIPE at the end, or another -errno. */
static int relay_fill(struct relay *r, int fd)
{
	ssize_t n = read(fd, r->data, sizeof(r->data));

	if (n == 0)
		return -EPIPE;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	r->start = 0;
	r->len = (size_t)n;
	return 1;
}

/* A client that half-closes has typed its last: the shell reads the end of its terminal. */
static void session_end_input(struct console_session *s)
{
	s->client_ended = true;
	s->in.data[0] = 4; /* VEOF */
	s->in.start = 0;
	s->in.len = 1;
}

/* False: the session is over. Each direction moves one buffer a turn. */
static bool session_move(struct console_session *s)
{
	int r;

	if (relay_flush(&s->in, s->master) < 0)
		s->in.len = 0; /* nobody reads it: the output's end tells when it is over */
	if (!s->in.len && !s->client_ended) {
		r = relay_fill(&s->in, s->client);
		if (r == -EPIPE)
			session_end_input(s);
		else if (r < 0)
			return false;
		if (relay_flush(&s->in, s->master) < 0)
			s->in.len = 0;
	}
	if (!s->out.len) {
		r = relay_fill(&s->out, s->master);
		/* The shell has gone, or all that had the terminal have. */
		if (r < 0 || (r == 0 && s->shell_ended))
			return false;
	}
	return relay_flush(&s->out, s->client) >= 0;
}

static void session_on_event(struct source *source, uint32_t events);

static void session_go_on(struct console_session *s)
{
	uint32_t client, master;
	bool alive = session_move(s);

	/* No event tells that a terminal is empty which others than the shell keep open. */
	for (int i = 0; i < CONSOLE_LAST_TURNS && alive && s->shell_ended && !s->out.len; i++)
		alive = session_move(s);
	if (!alive) {
		(void)shutdown(s->client, SHUT_RDWR);
		session_free(s);
		return;
	}
	client = (s->out.len ? EPOLLOUT : 0u) | (s->in.len || s->client_ended ? 0u : EPOLLIN);
	master = (s->in.len ? EPOLLOUT : 0u) | (s->out.len ? 0u : EPOLLIN);
	(void)loop_mod(&s->client_source, client);
	(void)loop_mod(&s->master_source, master);
}

static void session_on_client(struct source *source, uint32_t events)
{
	struct console_session *s = container_of(source, struct console_session, client_source);

	if (events & (EPOLLERR | EPOLLHUP)) {
		session_free(s); /* nobody is there any more */
		return;
	}
	session_go_on(s);
}

static void session_on_event(struct source *source, uint32_t events)
{
	(void)events;
	session_go_on(container_of(source, struct console_session, master_source));
}

static int session_job(void *arg, int out, struct err *err)
{
	const struct console_session *s = arg;

	(void)out;
	return become_shell(s->slave, err);
}

static void session_shell_ended(void *arg, const struct err *err, const struct buf *out)
{
	struct console_session *s = arg;

	(void)out;
	shell_told(err);
	s->shell = NULL;
	s->shell_ended = true;
	session_go_on(s);
}

/* A fresh terminal has the line discipline that a person expects; only its size is missing. */
static int session_open_terminal(struct console_session *s)
{
	const struct winsize size = { .ws_row = 24, .ws_col = 80 };
	int unlock = 0;

	s->master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (s->master < 0 || ioctl(s->master, TIOCSPTLCK, &unlock) < 0)
		return -errno;
	s->slave = ioctl(s->master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (s->slave < 0 || ioctl(s->master, TIOCSWINSZ, &size) < 0)
		return -errno;
	return 0;
}

static int session_start(struct console_session *s)
{
	const struct worker_opts opts = { .keep = &s->slave, .keep_count = 1 };
	struct agent *a = s->agent;
	int r = session_open_terminal(s);

	if (r == 0)
		r = worker_start(a->loop, a->reaper, &opts, session_job, session_shell_ended, s,
				 &s->shell);
	auto_closep(&s->slave);
	if (r == 0)
		r = loop_add(a->loop, &s->client_source, s->client, EPOLLIN, session_on_client);
	if (r == 0)
		r = loop_add(a->loop, &s->master_source, s->master, EPOLLIN, session_on_event);
	return r;
}

static void session_new(struct agent *a, int client)
{
	struct console_session *s = NULL;
	int r = -EAGAIN;

	if (console_sessions < LIMIT_CONSOLES) {
		s = calloc(1, sizeof(*s));
		r = -ENOMEM;
	}
	if (!s) {
		log_warn("console", "debug console: a client was refused: %s", strerror(-r));
		(void)close(client);
		return;
	}
	console_sessions++;
	s->agent = a;
	s->client = client;
	s->master = s->slave = FD_NONE;
	r = session_start(s);
	if (r < 0) {
		log_error("console", "debug console: %s", strerror(-r));
		session_free(s);
	}
}

static struct port console_port = { .listener = FD_NONE,
				    .serve = session_new,
				    .what = "debug console" };

/* --- the console itself -------------------------------------------------------------------- */

static struct {
	struct agent *agent;
	struct timer again;
} own_console;

/* What whoever had it before has left: a raw terminal shows a staircase and hears no ^C. */
static void make_sane(int fd)
{
	struct termios t;

	if (tcgetattr(fd, &t) < 0)
		return;
	t.c_iflag = BRKINT | ICRNL | IXON | IUTF8;
	t.c_oflag = OPOST | ONLCR;
	t.c_lflag = ISIG | ICANON | IEXTEN | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE;
	(void)tcsetattr(fd, TCSANOW, &t);
}

static int console_job(void *arg, int out, struct err *err)
{
	struct winsize size = { 0 };
	int fd = open("/dev/console", O_RDWR | O_NOCTTY | O_CLOEXEC);

	(void)arg;
	(void)out;
	if (fd < 0)
		return err_sys(err, errno, "open /dev/console");
	make_sane(fd);
	if (ioctl(fd, TIOCGWINSZ, &size) == 0 && (!size.ws_row || !size.ws_col)) {
		size = (struct winsize){ .ws_row = 24, .ws_col = 80 };
		(void)ioctl(fd, TIOCSWINSZ, &size);
	}
	return become_shell(fd, err);
}

static void console_start_shell(struct timer *t);

static void console_shell_ended(void *arg, const struct err *err, const struct buf *out)
{
	(void)arg;
	(void)out;
	shell_told(err);
	timer_set(own_console.agent->loop, &own_console.again, CONSOLE_RESTART_MS,
		  console_start_shell);
}

static void console_start_shell(struct timer *t)
{
	static const struct worker_opts opts = { .timeout_ms = 0 };
	struct agent *a = own_console.agent;
	struct err err = { 0 };
	int r;

	(void)t;
	r = worker_start(a->loop, a->reaper, &opts, console_job, console_shell_ended, a, NULL);
	if (r < 0) {
		err_sys(&err, -r, "start a shell");
		console_shell_ended(a, &err, NULL);
	}
}

void console_start(struct agent *a)
{
	const struct config *cfg = a->config;

	if (cfg->log_vport)
		port_start(&log_port, a, cfg->log_vport);
	if (cfg->passfd_port)
		passfd_start(a, cfg->passfd_port);
	if (cfg->debug_console && cfg->debug_console_vport) {
		port_start(&console_port, a, cfg->debug_console_vport);
	} else if (cfg->debug_console) {
		own_console.agent = a;
		console_start_shell(&own_console.again);
	}
}
