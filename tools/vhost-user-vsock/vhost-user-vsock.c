/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vhost-user-vsock: gives a QEMU guest a vsock device where the host kernel has no vhost_vsock,
 * and spoils its connections when a test asks for it. This file: arguments, sockets, the loop.
 */
#include "vsock.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static void usage(FILE *out)
{
	fputs("Usage: vhost-user-vsock --socket VHOST_SOCKET --uds PATH [OPTION]...\n"
	      "\n"
	      "A vsock device for QEMU without kernel modules on the host. QEMU needs shared memory:\n"
	      "  -object memory-backend-memfd,id=mem0,size=256M,share=on -machine q35,memory-backend=mem0\n"
	      "  -chardev socket,id=vs,path=VHOST_SOCKET -device vhost-user-vsock-pci,chardev=vs\n"
	      "\n"
	      "To reach port N of the guest, connect to the Unix socket PATH, write 'CONNECT N\\n' and read\n"
	      "'OK <host port>\\n'; all that follows is the stream. Without a listener, or before the guest's\n"
	      "driver is up, the socket is closed. A guest that connects to CID 2, port N reaches the Unix\n"
	      "socket PATH_N. When QEMU goes away, so does this program, unless --keep is given.\n"
	      "\n"
	      "  -s, --socket VHOST_SOCKET  where QEMU connects\n"
	      "  -u, --uds PATH             where clients connect\n"
	      "  -c, --cid N                the guest's CID (default 3)\n"
	      "  -C, --control PATH         a Unix socket that takes the commands below, one a line; each is\n"
	      "                             answered by a line that begins with 'ok' or 'error'\n"
	      "  -f, --fault NAME[=ARG]     a command to begin with, such as --fault stall=on or\n"
	      "                             --fault reset-after=4096; may be given several times\n"
	      "  -k, --keep                 wait for the next QEMU when one goes away\n"
	      "  -v, --verbose              show every message and packet on standard error\n"
	      "  -h, --help                 this text\n"
	      "\n"
	      "Commands (PORT is the host port of one connection; without it all and new ones are meant):\n",
	      out);
	control_help(out);
}

static _Noreturn void die(const char *what, const char *arg, int err)
{
	fprintf(stderr, "vhost-user-vsock: %s '%s': %s\n", what, arg, strerror(err));
	exit(1);
}

/* A socket left behind by an earlier run is removed; anything else at that path is not. */
static int listen_at(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct stat st;
	int fd;

	if (strlen(path) >= sizeof(a.sun_path))
		die("cannot listen on", path, ENAMETOOLONG);
	memcpy(a.sun_path, path, strlen(path) + 1);
	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
		(void)unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 1024) < 0)
		die("cannot listen on", path, errno);
	return fd;
}

struct options {
	const char *vhost, *uds, *control;
	uint64_t cid;
};

static void start_fault(struct vsock *vs, const char *arg)
{
	char line[128], *eq, *text = NULL;
	size_t len = 0;
	FILE *out;

	if (strlen(arg) >= sizeof(line))
		die("cannot set up fault", arg, E2BIG);
	memcpy(line, arg, strlen(arg) + 1);
	eq = strchr(line, '=');
	if (eq)
		*eq = ' ';
	out = open_memstream(&text, &len);
	if (!out)
		die("cannot set up fault", arg, errno);
	control_command(vs, line, out);
	if (fclose(out) != 0 || strncmp(text, "ok", 2) != 0) {
		fprintf(stderr, "vhost-user-vsock: --fault %s: %s", arg, text);
		exit(2);
	}
	free(text);
}

static void parse(int argc, char **argv, struct vsock *vs, struct options *o)
{
	static const struct option longs[] = {
		{ "socket", required_argument, NULL, 's' },
		{ "uds", required_argument, NULL, 'u' },
		{ "cid", required_argument, NULL, 'c' },
		{ "control", required_argument, NULL, 'C' },
		{ "fault", required_argument, NULL, 'f' },
		{ "keep", no_argument, NULL, 'k' },
		{ "verbose", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "s:u:c:C:f:kvh", longs, NULL)) != -1) {
		char *end = NULL;

		switch (opt) {
		case 's':
			o->vhost = optarg;
			break;
		case 'u':
			o->uds = optarg;
			break;
		case 'C':
			o->control = optarg;
			break;
		case 'f':
			start_fault(vs, optarg);
			break;
		case 'k':
			vs->keep = true;
			break;
		case 'v':
			vs->verbose = true;
			break;
		case 'c':
			o->cid = strtoull(optarg, &end, 10);
			if (*end || o->cid <= HOST_CID || o->cid >= UINT32_MAX)
				die("--cid takes a number from 3 on, not", optarg, EINVAL);
			break;
		case 'h':
			usage(stdout);
			exit(0);
		default:
			fputs("Try 'vhost-user-vsock --help'.\n", stderr);
			exit(2);
		}
	}
	if (!o->vhost || !o->uds || optind < argc) {
		usage(stderr);
		exit(2);
	}
	/* The guest's ports are appended: PATH_4294967295. */
	if (strlen(o->uds) + sizeof("_4294967295") > sizeof(vs->uds))
		die("cannot listen on", o->uds, ENAMETOOLONG);
	memcpy(vs->uds, o->uds, strlen(o->uds) + 1);
}

static void raise_fd_limit(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &r);
	}
}

struct signals {
	struct source src;
	struct loop *loop;
};

static void on_signal(struct source *s, uint32_t events)
{
	(void)events;
	((struct signals *)(void *)((char *)s - offsetof(struct signals, src)))->loop->stop = true;
}

static void watch_signals(struct loop *loop, struct signals *sig)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	*sig = (struct signals){ .loop = loop, .src = { .fd = FD_NONE, .fn = on_signal } };
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0 || loop_add(loop, &sig->src, fd, EPOLLIN) < 0)
		die("cannot watch", "signals", errno);
}

int main(int argc, char **argv)
{
	static struct vsock vs = {
		.faults = { .reset_left = -1, .buf_alloc = BUF_ALLOC_DEFAULT },
	};
	struct options o = { .cid = 3 };
	struct control *ctl = NULL;
	struct signals sig;
	struct loop loop;
	int err;

	list_init(&vs.conns); /* --fault looks through it */
	parse(argc, argv, &vs, &o);
	raise_fd_limit();
	err = loop_open(&loop);
	if (err)
		die("cannot set up", "epoll", -err);
	watch_signals(&loop, &sig);
	/* QEMU's socket last: once it is there, so is everything else. */
	if (o.control) {
		err = control_open(&ctl, &vs, &loop, listen_at(o.control));
		if (err)
			die("cannot serve", o.control, -err);
	}
	int uds = listen_at(o.uds);

	err = vsock_open(&vs, &loop, listen_at(o.vhost), uds, o.cid);
	if (err)
		die("cannot serve", o.vhost, -err);
	while (!loop.stop && !err)
		err = loop_once(&loop, vsock_run(&vs));
	vsock_close(&vs);
	control_close(ctl);
	loop_close(&loop);
	(void)unlink(o.vhost);
	(void)unlink(o.uds);
	if (o.control)
		(void)unlink(o.control);
	return err ? 1 : 0;
}
