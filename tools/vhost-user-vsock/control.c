/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket: one command a line, one answer a line that begins with "ok" or "error".
 * State: the clients and what they have written of their next line.
 */
#include "vsock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLIENTS_MAX = 16, LINE_LEN_MAX = 128, LIST_MAX = 256 };

struct client {
	struct source src;
	struct control *ctl;
	char line[LINE_LEN_MAX];
	size_t len;
};

struct control {
	struct source listener;
	struct vsock *vs;
	struct loop *loop;
	unsigned int n_clients;
};

/* ---- commands ---- */

struct args {
	const char *val; /* the word after the command */
	bool on;	 /* it, read as on or off */
	int64_t num;	 /* or as a number; "off" is -1 */
	/* host port of the one connection meant, 0: all and new ones */
	uint32_t port;
};

static void set_stall(struct conn *c, struct faults *f, const struct args *a)
{
	f->stall = a->on;
	if (c)
		conn_flush(c);
}

static void set_credit(struct conn *c, struct faults *f, const struct args *a)
{
	f->no_credit = !a->on;
	if (c && a->on && c->state == CONN_OPEN) {
		c->owed |= OWE_CREDIT;
		conn_update(c);
	}
}

static void set_refuse(struct conn *c, struct faults *f, const struct args *a)
{
	(void)c;
	f->refuse = a->on;
}

static void set_delay(struct conn *c, struct faults *f, const struct args *a)
{
	f->delay_ms = (uint32_t)a->num;
	if (!c || f->delay_ms)
		return;
	c->in_due = 0;
	c->out_due = 0;
	list_remove(&c->delayed);
	conn_flush(c);
	conn_update(c);
}

static void set_buf_alloc(struct conn *c, struct faults *f, const struct args *a)
{
	(void)c; /* Linux mistakes shrunk credit for endless credit: new ones only */
	f->buf_alloc = (uint32_t)a->num;
}

static void set_reset_after(struct conn *c, struct faults *f, const struct args *a)
{
	(void)c;
	f->reset_left = a->num;
}

static void reset_now(struct conn *c, struct faults *f, const struct args *a)
{
	(void)f;
	(void)a;
	if (c && c->state == CONN_HELLO)
		c->faults.reset_left = 0;
	else if (c)
		conn_end(c, true);
}

enum arg_kind { ARG_NONE, ARG_ON_OFF, ARG_NUMBER, ARG_NUMBER_OR_OFF };

static const struct command {
	const char *name;
	enum arg_kind kind;
	int64_t min, max;
	void (*fn)(struct conn *c, struct faults *f, const struct args *a);
	const char *usage, *help;
} commands[] = {
	{ "stall", ARG_ON_OFF, 0, 0, set_stall, "stall on|off [PORT]",
	  "take the guest's bytes, but pass none on and give no credit for them" },
	{ "credit", ARG_ON_OFF, 0, 0, set_credit, "credit on|off [PORT]",
	  "off: pass the guest's bytes on, but never give new credit" },
	{ "refuse", ARG_ON_OFF, 0, 0, set_refuse, "refuse on|off",
	  "turn every new connection away, either way" },
	{ "delay", ARG_NUMBER, 0, 60000, set_delay, "delay MS [PORT]",
	  "let every piece of data rest so long, either way" },
	{ "bufalloc", ARG_NUMBER, 1, BUF_ALLOC_MAX, set_buf_alloc, "bufalloc N",
	  "how many bytes the guest may have under way, of new connections" },
	{ "reset-after", ARG_NUMBER_OR_OFF, 0, INT64_MAX, set_reset_after,
	  "reset-after N|off [PORT]",
	  "reset each connection once N more bytes have passed, both ways together" },
	{ "reset", ARG_NONE, 0, 0, reset_now, "reset [PORT]", "reset connections now" },
};

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	}
	return NULL;
}

void control_help(FILE *out)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		fprintf(out, "  %-26s %s\n", commands[i].usage, commands[i].help);
	fprintf(out, "  %-26s %s\n", "list", "one line for each connection");
	fprintf(out, "  %-26s %s\n", "status", "counters");
}

static bool parse_number(const char *s, int64_t *ret)
{
	char *end;
	long long n;

	if (!s || *s < '0' || *s > '9')
		return false;
	errno = 0;
	n = strtoll(s, &end, 10);
	if (errno || *end)
		return false;
	*ret = n;
	return true;
}

static bool parse_value(const struct command *cmd, struct args *a)
{
	switch (cmd->kind) {
	case ARG_NONE:
		return true;
	case ARG_ON_OFF:
		if (!a->val)
			return false;
		a->on = strcmp(a->val, "on") == 0;
		return a->on || strcmp(a->val, "off") == 0;
	case ARG_NUMBER_OR_OFF:
		if (a->val && strcmp(a->val, "off") == 0) {
			a->num = -1;
			return true;
		}
		/* fall through */
	case ARG_NUMBER:
		return parse_number(a->val, &a->num) && a->num >= cmd->min && a->num <= cmd->max;
	}
	return false;
}

static void apply(struct vsock *vs, const struct command *cmd, const struct args *a, FILE *out)
{
	struct list *l, *tmp;
	unsigned int n = 0;

	if (!a->port)
		cmd->fn(NULL, &vs->faults, a);
	list_each_safe(l, tmp, &vs->conns)
	{
		struct conn *c = list_entry(l, struct conn, all);

		if (a->port && c->host_port != a->port)
			continue;
		cmd->fn(c, &c->faults, a);
		n++;
	}
	if (a->port && n == 0)
		fprintf(out, "error no connection with host port %u\n", a->port);
	else
		fprintf(out, "ok %u connections\n", n);
}

static void print_list(const struct vsock *vs, FILE *out)
{
	static const char *const states[] = {
		[CONN_HELLO] = "hello",
		[CONN_ASKED] = "asked",
		[CONN_OPEN] = "open",
		[CONN_OVER] = "over",
	};
	unsigned int n = vs->n_conns < LIST_MAX ? vs->n_conns : LIST_MAX;
	struct list *l = vs->conns.next;

	fprintf(out, "ok %u of %u connections follow\n", n, vs->n_conns);
	for (; n > 0; n--, l = l->next) {
		const struct conn *c = list_entry(l, struct conn, all);

		fprintf(out,
			"host_port=%u guest_port=%u by=%s state=%s to_guest=%u from_guest=%u "
			"kept=%u credit=%u%s%s%s\n",
			c->host_port, c->guest_port, c->by_guest ? "guest" : "host",
			states[c->state], c->sent, c->got, c->out.len, conn_credit(c),
			c->host_eof ? " host_eof" : "", c->guest_no_send ? " guest_eof" : "",
			c->faults.stall ? " stalled" : "");
	}
}

static void print_status(const struct vsock *vs, FILE *out)
{
	const struct vsock_stats *s = &vs->stats;

	fprintf(out,
		"ok running=%d connections=%u opened=%" PRIu64 " refused=%" PRIu64
		" resets=%" PRIu64 " to_guest=%" PRIu64 " from_guest=%" PRIu64
		" bad_packets=%" PRIu64 "\n",
		vhost_is_running(&vs->vhost), vs->n_conns, s->opened, s->refused, s->resets,
		s->to_guest, s->from_guest, s->bad_packets);
}

void control_command(struct vsock *vs, char *line, FILE *out)
{
	char *word[4] = { NULL }, *p = line;
	const struct command *cmd;
	struct args a = { 0 };
	unsigned int n = 0;
	int64_t port = 0;

	while (n < 4 && (word[n] = strsep(&p, " \t\r\n")))
		n += word[n][0] != '\0';
	for (unsigned int i = n; i < 4; i++)
		word[i] = NULL;
	if (n == 1 && strcmp(word[0], "list") == 0) {
		print_list(vs, out);
		return;
	}
	if (n == 1 && strcmp(word[0], "status") == 0) {
		print_status(vs, out);
		return;
	}
	cmd = n > 0 ? find_command(word[0]) : NULL;
	if (!cmd) {
		fprintf(out, "error unknown command; there are: list status");
		for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
			fprintf(out, " %s", commands[i].name);
		fprintf(out, "\n");
		return;
	}
	a.val = cmd->kind == ARG_NONE ? NULL : word[1];
	p = cmd->kind == ARG_NONE ? word[1] : word[2];
	if (n > (cmd->kind == ARG_NONE ? 2u : 3u) || !parse_value(cmd, &a) ||
	    (p && (!parse_number(p, &port) || port <= 0 || port > UINT32_MAX))) {
		fprintf(out, "error usage: %s\n", cmd->usage);
		return;
	}
	a.port = (uint32_t)port;
	apply(vs, cmd, &a, out);
}

/* ---- the socket ---- */

static void client_gone(struct source *s)
{
	struct client *cl = (struct client *)(void *)((char *)s - offsetof(struct client, src));

	free(cl);
}

/* Runs one command and writes its answer. Returns false if the client takes no more. */
static bool run_line(struct client *cl)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	bool ok;

	if (!out)
		return false;
	control_command(cl->ctl->vs, cl->line, out);
	ok = fclose(out) == 0 &&
	     send(cl->src.fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)len;
	free(text);
	return ok;
}

static void on_client(struct source *s, uint32_t events)
{
	struct client *cl = (struct client *)(void *)((char *)s - offsetof(struct client, src));
	bool ok = true;

	(void)events;
	while (ok) {
		ssize_t n = read(s->fd, cl->line + cl->len, sizeof(cl->line) - 1 - cl->len);
		char *nl;

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0)
			break;
		cl->len += (size_t)n;
		while (ok && (nl = memchr(cl->line, '\n', cl->len)) != NULL) {
			size_t used = (size_t)(nl - cl->line) + 1;

			*nl = '\0';
			ok = run_line(cl);
			cl->len -= used;
			memmove(cl->line, cl->line + used, cl->len);
		}
		ok = ok && cl->len < sizeof(cl->line) - 1;
	}
	cl->ctl->n_clients--;
	loop_del(cl->ctl->loop, &cl->src);
}

static void on_listener(struct source *s, uint32_t events)
{
	struct control *ctl =
		(struct control *)(void *)((char *)s - offsetof(struct control, listener));
	int fd;

	(void)events;
	while ((fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
		struct client *cl = ctl->n_clients < CLIENTS_MAX ? calloc(1, sizeof(*cl)) : NULL;

		if (!cl) {
			close(fd);
			continue;
		}
		*cl = (struct client){
			.ctl = ctl, .src = { .fd = FD_NONE, .fn = on_client, .gone = client_gone }
		};
		if (loop_add(ctl->loop, &cl->src, fd, EPOLLIN) < 0) {
			close(fd);
			free(cl);
			continue;
		}
		ctl->n_clients++;
	}
}

int control_open(struct control **ret, struct vsock *vs, struct loop *loop, int listen_fd)
{
	struct control *ctl = calloc(1, sizeof(*ctl));
	int err;

	if (!ctl)
		return -ENOMEM;
	*ctl = (struct control){ .vs = vs,
				 .loop = loop,
				 .listener = { .fd = FD_NONE, .fn = on_listener } };
	err = loop_add(loop, &ctl->listener, listen_fd, EPOLLIN);
	if (err) {
		free(ctl);
		return err;
	}
	*ret = ctl;
	return 0;
}

void control_close(struct control *ctl)
{
	if (!ctl)
		return;
	loop_del(ctl->loop, &ctl->listener);
	free(ctl); /* clients that are still there end with the process */
}
