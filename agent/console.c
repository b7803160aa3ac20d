/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Debug console and log port. State: one of each at most, for the life of the agent (PID 1 has no
 * use for their end).
 */
#include "console.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
/* Older kernel headers want the first for the second. */
#include <sys/socket.h>
#include <linux/vm_sockets.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/log.h"
#include "base/worker.h"
#include "pod/agent.h"
#include "config.h"
#include "wire/listen.h"

#define RESTART_MS 1000

/* A vsock port that serves one client at a time. */
struct port {
	struct agent *agent;
	uint32_t number;
	int listener, client;
	struct source listener_source, client_source;
	struct timer again;
	struct log_limit refused;
	void (*serve)(struct port *p);
	const char *what;
};

static struct port log_port = { .listener = FD_NONE, .client = FD_NONE };
static struct port console_port = { .listener = FD_NONE, .client = FD_NONE };

static void port_open(struct port *p);

static void on_again(struct timer *t)
{
	port_open(container_of(t, struct port, again));
}

/* The client has gone: the next one is welcome. */
static void port_next(struct port *p)
{
	loop_del(&p->client_source);
	auto_closep(&p->client);
	timer_set(p->agent->loop, &p->again, RESTART_MS / 2, on_again);
}

static void on_client(struct source *s, uint32_t events)
{
	struct port *p = container_of(s, struct port, listener_source);

	(void)events;
	p->client = listen_accept_host(p->listener, &p->refused);
	if (p->client < 0)
		return;
	loop_del(&p->listener_source);
	auto_closep(&p->listener);
	p->serve(p);
}

static void port_open(struct port *p)
{
	int r;

	p->listener = listen_vsock(VMADDR_CID_ANY, p->number);
	r = p->listener < 0 ? p->listener
			    : loop_add(p->agent->loop, &p->listener_source, p->listener, EPOLLIN,
				       on_client);
	if (r < 0) {
		log_debug("console", "%s on vsock port %u: %s", p->what, p->number, strerror(-r));
		auto_closep(&p->listener);
		timer_set(p->agent->loop, &p->again, RESTART_MS, on_again);
	}
}

/* --- the log port -------------------------------------------------------------------------- */

static void on_log_client(struct source *s, uint32_t events)
{
	struct port *p = container_of(s, struct port, client_source);
	char drop[256];
	ssize_t n = recv(p->client, drop, sizeof(drop), MSG_DONTWAIT);

	if (n > 0 || (n < 0 && errno == EAGAIN && !(events & (EPOLLHUP | EPOLLERR))))
		return;
	log_set_fd(-1);
	port_next(p);
}

static void serve_log(struct port *p)
{
	if (loop_add(p->agent->loop, &p->client_source, p->client, EPOLLIN, on_log_client) < 0)
		port_next(p);
	else
		log_set_fd(p->client);
}

/* --- the debug console --------------------------------------------------------------------- */

/*
 * Becomes the shell, so that the worker ends when it does; only failures come back. On the console
 * if no client.
 */
static int run_shell(void *arg, int out, struct err *err)
{
	static char bash[] = "/bin/bash", sh[] = "/bin/sh", interactive[] = "-i";
	char *const shells[] = { bash, sh };
	const struct port *p = arg;
	bool terminal = p->client < 0;
	AUTO_CLOSE int fd = terminal ? open("/dev/console", O_RDWR | O_NOCTTY) : p->client;

	(void)out;
	if (fd < 0)
		return err_sys(err, errno, "open /dev/console");
	if (terminal)
		(void)ioctl(fd, TIOCSCTTY, 1);
	(void)fdio_nonblock(fd, false);
	for (int i = 0; i < 3; i++) {
		if (dup2(fd, i) < 0)
			return err_sys(err, errno, "console");
	}
	for (size_t i = 0; i < ARRAY_LEN(shells); i++) {
		char *argv[] = { shells[i], terminal ? NULL : interactive, NULL };

		(void)execv(argv[0], argv);
	}
	return err_sys(err, errno, "neither /bin/bash nor /bin/sh can be run");
}

static void on_restart(struct timer *t);

static void on_shell_end(void *arg, const struct err *err, const struct buf *out)
{
	struct port *p = arg;

	(void)out;
	if (err->code != EPIPE) /* that is: it became a shell, which has ended */
		log_error("console", "debug console: %s", err->msg);
	if (p->client >= 0) {
		(void)shutdown(p->client, SHUT_RDWR);
		port_next(p);
	} else {
		timer_set(p->agent->loop, &p->again, RESTART_MS, on_restart);
	}
}

static void start_shell(struct port *p)
{
	static const struct worker_opts opts = { .timeout_ms = 0 };
	struct agent *a = p->agent;
	struct err err = { 0 };
	int r = worker_start(a->loop, a->reaper, &opts, run_shell, on_shell_end, p, NULL);

	if (r < 0) {
		err_sys(&err, -r, "start a shell");
		on_shell_end(p, &err, NULL);
	}
}

static void on_restart(struct timer *t)
{
	start_shell(container_of(t, struct port, again));
}

void console_start(struct agent *a)
{
	const struct config *cfg = a->config;

	log_port.agent = console_port.agent = a;
	if (cfg->log_vport) {
		log_port.number = cfg->log_vport;
		log_port.serve = serve_log;
		log_port.what = "log";
		port_open(&log_port);
	}
	if (cfg->debug_console && cfg->debug_console_vport) {
		console_port.number = cfg->debug_console_vport;
		console_port.serve = start_shell;
		console_port.what = "debug console";
		port_open(&console_port);
	} else if (cfg->debug_console) {
		start_shell(&console_port);
	}
}
