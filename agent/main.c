/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kata-agent: arguments, kernel command line, PID 1 or not, start and stop.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "init.h"
#include "linux/rootdisk.h"
#include "base/auto.h"
#include "base/crash.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/str.h"
#include "base/worker.h"
#include "pod/agent.h"
#include "config.h"
#include "console.h"
#include "pod/device.h"
#include "svc/svc.h"
#include "pod/sandbox.h"
#include "pod/storage.h"
#include "linux/rtnl.h"
#include "linux/uevent.h"
#include "wire/channel.h"
#include "wire/conn.h"

#define OOM_SCORE_AGENT \
	"-997" /* the guest's memory runs out for others first; children set their own */

static const char usage[] =
	"Usage: kata-agent [--server-addr ADDRESS] [--config FILE] [--version] [--help]\n"
	"\n"
	"The agent of a Kata Containers guest. As PID 1 it is the guest's init; under systemd, or as an\n"
	"ordinary process, it only serves. Without an address it listens on vsock port 1024 and on the\n"
	"virtio-serial port agent.channel.0, as agent.use_vsock on the kernel command line says.\n"
	"\n"
	"  --server-addr ADDRESS  vsock://CID:PORT (CID -1: any), unix://PATH, unix://@NAME,\n"
	"                         yamux+unix://PATH, serial://DEVICE\n"
	"                         (also: environment KATA_AGENT_SERVER_ADDR, kernel option agent.server_addr)\n"
	"  -c, --config FILE      read this, and not the kernel command line (also: agent.config_file there)\n"
	"  --version              print the version and exit\n"
	"  --help                 print this and exit\n";

/* What the command line says is for the end, when all else has been read. */
struct arguments {
	const char *server_addr, *config; /* NULL: not given */
};

static struct arguments parse_arguments(int argc, char **argv)
{
	static const struct option options[] = {
		{ "server-addr", required_argument, NULL, 'a' },
		{ "config", required_argument, NULL, 'c' },
		{ "version", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct arguments args = { NULL, NULL };
	int opt;

	while ((opt = getopt_long_only(argc, argv, "c:v", options, NULL)) != -1) {
		switch (opt) {
		case 'a':
			args.server_addr = optarg;
			break;
		case 'c':
			args.config = optarg;
			break;
		case 'v':
			(void)puts(agent_version_line());
			exit(0);
		case 'h':
			(void)fputs(usage, stdout);
			exit(0);
		default:
			(void)fputs(usage, stderr);
			exit(2);
		}
	}
	return args;
}

static _Noreturn void die(const struct agent *a, const struct err *err)
{
	log_error("main", "%s", err->msg);
	if (a->is_init)
		init_die(err->msg);
	exit(1);
}

static void read_cmdline(struct config *cfg)
{
	char text[8192];

	if (fdio_read_file(AT_FDCWD, "/proc/cmdline", text, sizeof(text)) >= 0)
		config_parse_cmdline(cfg, text);
	else
		log_warn("main", "cannot read /proc/cmdline: kernel options have no effect");
}

/* A file named on the kernel's line stands for all of the line, but for what chooses cgroups. */
static void read_config_file(struct config *cfg, const char *path)
{
	const struct config line = *cfg;
	int r;

	config_defaults(cfg);
	cfg->unified_cgroup_hierarchy = line.unified_cgroup_hierarchy;
	cfg->cgroup_no_v1 = line.cgroup_no_v1;
	r = config_parse_file(cfg, path);
	if (r < 0)
		log_error("main", "read '%s': %s; defaults are used", path, strerror(-r));
}

static void read_configuration(struct agent *a, struct config *cfg, const struct arguments *args)
{
	char path[sizeof(cfg->file)];

	if (!a->is_init && !args->config)
		read_cmdline(cfg);
	(void)snprintf(path, sizeof(path), "%s", cfg->file);
	if (args->config || *path)
		read_config_file(cfg, args->config ? args->config : path);
	config_parse_environment(cfg);
	if (args->server_addr)
		(void)snprintf(cfg->server_addr, sizeof(cfg->server_addr), "%s", args->server_addr);
	log_threshold = cfg->log_level;
}

static int load_boot_modules_job(void *arg, int out, struct err *err)
{
	(void)arg;
	(void)out;
	return modules_load(err);
}

static void boot_modules_loaded(void *arg, const struct err *err, const struct buf *out)
{
	(void)arg;
	(void)out;
	if (err->code)
		log_error("main", "modules at boot: %s", err->msg);
}

/* In a worker: the first answer does not wait for it. */
static void load_modules(struct agent *a)
{
	static const struct worker_opts opts = { .timeout_ms = LIMIT_MODULES_MS };

	if (a->is_init && modules_wanted() &&
	    worker_start(a->loop, a->reaper, &opts, load_boot_modules_job, boot_modules_loaded, a,
			 NULL) < 0)
		log_error("main", "modules at boot: no worker");
}

static int64_t since_boot_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_BOOTTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* Where the milliseconds of a boot go: agent.log=debug tells. */
static void step_done(const char *step)
{
	log_debug("main", "%s done at boot_us=%lld", step, (long long)since_boot_us());
}

/* True if there is a console. */
static bool become_init(struct agent *a, char **argv, struct config *cfg)
{
	struct err err = { 0 };
	bool has_console;

	if (root_move(argv, &err) < 0 || init_mounts(&err) < 0)
		die(a, &err);
	read_cmdline(cfg);
	log_threshold = cfg->log_level;
	step_done("mounts");
	if (rootdisk_protect(&err) < 0) {
		log_warn("main", "%s", err.msg);
		err = (struct err){ 0 };
	}
	init_hostname();
	has_console = init_console();
	step_done("console");
	return has_console;
}

/*
 * Most of the milliseconds that init takes, and nothing that a Check needs: put off until the agent
 * listens. Done by the first call that needs it, or by the loop's first turn.
 */
static void finish_start(struct agent *a)
{
	struct err err = { 0 };

	a->finish_start = NULL;
	if (a->is_init)
		init_lock_down();
	if (a->is_init)
		(void)cgroups_mount(a->config->unified_cgroup_hierarchy || a->config->cgroup_no_v1,
				    &err);
	step_done("cgroups");
	if (sandbox_find_cgroups(a->sandbox, err.msg, &err) < 0)
		log_error("main", "%s: no container can be made", err.msg);
	err = (struct err){ 0 };
	if (a->is_init && link_up("lo", &err) < 0)
		log_error("main", "loopback interface: %s", err.msg);
	step_done("loopback");
}

static void on_first_turn(struct timer *t)
{
	struct agent *a = container_of(t, struct agent, finish_start_timer);

	if (a->finish_start)
		a->finish_start(a);
}

static void announce(const struct agent *a)
{
	char devices[256] = "", storages[256] = "", text[2048], *mem = NULL, *end;
	const char *name;
	size_t len = 0;

	for (size_t i = 0; (name = device_driver_name(i)); i++)
		len += (size_t)snprintf(devices + len, sizeof(devices) - len, "%s%s", i ? "," : "",
					name);
	len = 0;
	for (size_t i = 0; (name = storage_driver_name(i)); i++)
		len += (size_t)snprintf(storages + len, sizeof(storages) - len, "%s%s",
					i ? "," : "", name);
	if (fdio_read_file(AT_FDCWD, "/proc/meminfo", text, sizeof(text)) == -EFBIG)
		text[sizeof(text) - 1] = '\0';
	mem = strstr(text, "MemTotal:");
	mem = mem ? mem + strlen("MemTotal:") : text + strlen(text);
	mem += strspn(mem, " ");
	end = strchr(mem, '\n');
	if (end)
		*end = '\0';
	log_info("announce",
		 "version=%s init=%d device-handlers=%s storage-handlers=%s system-memory=%s",
		 agent_version(), a->is_init, devices, storages, mem);
}

/*
 * Only what shares our pid namespace can signal us. Of a sender that is gone already we know that
 * it was no container's, unless there is one that has been given our namespace.
 */
static bool sent_by_guest(const struct agent *a, pid_t sender)
{
	char path[32], ours[64] = "", theirs[64] = "";

	if (sender == 0)
		return true; /* the kernel: ctrl-alt-del */
	(void)snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)sender);
	if (readlink("/proc/self/ns/mnt", ours, sizeof(ours) - 1) < 0 ||
	    readlink(path, theirs, sizeof(theirs) - 1) < 0)
		return !a->shares_pid_ns;
	return str_eq(ours, theirs);
}

static void on_signal(struct source *s, uint32_t events)
{
	struct agent *a = container_of(s, struct agent, signals);
	struct signalfd_siginfo info;

	(void)events;
	while (read(s->fd, &info, sizeof(info)) == sizeof(info)) {
		bool end = info.ssi_signo == SIGTERM || (a->is_init && info.ssi_signo == SIGINT);

		if (end && (!a->is_init || sent_by_guest(a, (pid_t)info.ssi_pid)))
			loop_stop(s->loop);
		else
			log_info("main", "ignoring signal %u from process %u", info.ssi_signo,
				 info.ssi_pid);
	}
}

/* As the kernel has it: glibc's own hides the two signals that it keeps for threads. */
struct kernel_sigaction {
	void (*handler)(int);
	unsigned long flags;
	void (*restorer)(void);
	unsigned long mask;
};

static void stop_ignoring(void)
{
	static const struct kernel_sigaction dfl = { .handler = SIG_DFL };

	for (int sig = 1; sig <= 64; sig++) {
		struct kernel_sigaction now = { .handler = SIG_DFL };

		if (syscall(SYS_rt_sigaction, sig, NULL, &now, sizeof(now.mask)) == 0 &&
		    now.handler == SIG_IGN)
			(void)syscall(SYS_rt_sigaction, sig, &dfl, NULL, sizeof(now.mask));
	}
}

/*
 * SIGTERM ends the agent, and with it the guest whose init it is, as SIGINT (ctrl-alt-del) does;
 * other signals end no agent in a guest.
 */
static int watch_signals(struct agent *a)
{
	bool by_hand = !a->is_init && isatty(STDIN_FILENO);
	sigset_t set;
	int fd;

	/* What our starter ignores (nohup, say) is not for containers to inherit. */
	stop_ignoring();
	(void)signal(SIGPIPE, SIG_IGN);
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGUSR1);
	(void)sigaddset(&set, SIGTERM);
	if (!by_hand) {
		(void)sigaddset(&set, SIGINT);
		(void)sigaddset(&set, SIGQUIT);
	}
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : loop_add(a->loop, &a->signals, fd, EPOLLIN, on_signal);
}

static void on_channel_failed(void *arg, const struct err *err)
{
	die(arg, err);
}

/* Pipes of a thousand processes want more descriptors than a process is born with. */
static void raise_nofile(struct rlimit *ret_old)
{
	struct rlimit more = { .rlim_cur = LIMIT_FDS, .rlim_max = LIMIT_FDS };

	if (getrlimit(RLIMIT_NOFILE, ret_old) < 0 || ret_old->rlim_cur >= LIMIT_FDS)
		return;
	if (more.rlim_max < ret_old->rlim_max)
		more.rlim_max = ret_old->rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &more) < 0) {
		more = *ret_old; /* not root: what the hard limit allows */
		more.rlim_cur = more.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &more);
	}
}

static int agent_start(struct agent *a, const struct config *cfg, struct channel **channel,
		       struct err *err)
{
	const struct channel_opts opts = { .address = cfg->server_addr,
					   .use_vsock = cfg->use_vsock };
	int r;

	r = loop_new(&a->loop);
	if (r == 0)
		r = watch_signals(a);
	if (r == 0)
		r = reaper_new(a->loop, &a->reaper);
	if (r < 0)
		return err_sys(err, -r, "event loop");
	step_done("loop");
	r = uevents_new(a->loop, a->reaper, &a->uevents);
	if (r < 0)
		log_warn("main", "no device events: %s", strerror(-r));
	r = sandbox_new(a, &a->sandbox, err);
	if (r < 0)
		return r;
	step_done("sandbox");
	a->sandbox->engine.pipe_size = cfg->container_pipe_size;
	raise_nofile(&a->sandbox->engine.nofile);
	a->rpc = (struct rpc_server){ .loop = a->loop,
				      .agent = a,
				      .methods = svc_methods,
				      .method_count = svc_method_count,
				      .gate = svc_gate,
				      .trace = cfg->trace };
	return channel_start(a->loop, &a->rpc, &opts, on_channel_failed, a, channel, err);
}

#define CONSOLE_RETRY_MS 20

/* The guest's console may come after us. */
struct late_console {
	struct timer timer;
	struct loop *loop;
	int tries;
};

static void try_console(struct timer *t)
{
	struct late_console *late = container_of(t, struct late_console, timer);

	if (init_console())
		log_open_terminal();
	else if (++late->tries < 250)
		timer_set(late->loop, t, CONSOLE_RETRY_MS, try_console);
}

int main(int argc, char **argv)
{
	int64_t began = since_boot_us();
	/* The kernel gives init no options: with some we are a process like any other. */
	struct agent a = { .is_init = getpid() == 1 && (argc < 2 || argv[1][0] != '-') };
	struct arguments args = { NULL, NULL };
	struct channel *channel = NULL;
	struct late_console late = { .tries = 0 };
	struct config cfg;
	struct err err = { 0 };
	bool has_console = true;

	/* In a burst memory stays at hand; when it is over rpc/call.c gives all of it back. */
	(void)mallopt(M_TRIM_THRESHOLD, 4 << 20);
	(void)mallopt(M_MMAP_THRESHOLD, 1 << 20);
	(void)mallopt(M_TOP_PAD, 16 << 10);
	/*
	 * So are children, from their first moment in a container's pid namespace: CVE-2016-9962.
	 */
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	crash_handlers();
	list_init(&a.until_oom);
	list_init(&a.oom_events);
	list_init(&a.copies);
	list_init(&a.onlines);
	list_init(&a.scrapes);
	config_defaults(&cfg);
	a.config = &cfg;
	a.finish_start = finish_start;
	if (a.is_init)
		has_console = become_init(&a, argv, &cfg);
	else
		args = parse_arguments(argc, argv);
	if (!a.is_init && root_cover(&err) < 0)
		die(&a, &err);
	read_configuration(&a, &cfg, &args);
	log_open_terminal();
	log_set_version(agent_version());
	(void)umask(022);
	(void)fdio_write_file(AT_FDCWD, "/proc/self/oom_score_adj", OOM_SCORE_AGENT);
	if (agent_start(&a, &cfg, &channel, &err) < 0)
		die(&a, &err);
	/* make bench reads this line. */
	log_info("main", "ready init_us=%lld boot_us=%lld", (long long)(since_boot_us() - began),
		 (long long)since_boot_us());
	announce(&a);
	console_start(&a);
	load_modules(&a);
	timer_set(a.loop, &a.finish_start_timer, 0, on_first_turn);
	late.loop = a.loop;
	if (!has_console)
		timer_set(a.loop, &late.timer, CONSOLE_RETRY_MS, try_console);
	if (loop_run(a.loop) < 0) {
		err_set(&err, EIO, "the event loop failed");
		die(&a, &err);
	}
	channel_stop(channel);
	fdconn_close_all();
	sandbox_free(a.sandbox);
	uevents_free(a.uevents);
	reaper_free(a.reaper);
	loop_free(a.loop);
	if (a.is_init)
		crash_power_off();
	return 0;
}
