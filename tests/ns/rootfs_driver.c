/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a program in a root made by agent/oci/fs/rootfs.c, from a specification in a small text:
 *
 *   rootfs_driver run SPEC [PROGRAM ARG...]	exit status: the program's, 70 + step on an error,
 *						99 for a mount below $CANARY
 *   rootfs_driver race SPEC SECONDS PATH OTHER	again and again while PATH and OTHER change places
 *   rootfs_driver time SPEC COUNT		microseconds per step, median and worst
 *   rootfs_driver check SPEC			only rootfs_check
 *
 * Lines of SPEC: root PATH | readonly | nomnt | userns | netns | cgroupns | terminal |
 * prop WORD | mount DEST,TYPE,SOURCE,OPTIONS (separated by '|', options by ',') | mask PATH |
 * rdonly PATH | dev TYPE PATH MAJOR MINOR MODE UID GID | sysctl KEY VALUE | ns TYPE | hook COMMAND |
 * label CONTEXT
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "oci/fs/rootfs.h"
#include "base/err.h"

#define MANY  256
#define STEPS 3

enum { FAIL_CHECK = 70, FAIL_PREPARE, FAIL_ENTER, FAIL_SEAL, FAIL_DRIVER, ESCAPED = 99 };

struct setup {
	Grpc__Spec spec;
	Grpc__Root root;
	Grpc__Linux linux_;
	Grpc__Mount *mounts[MANY];
	Grpc__LinuxDevice *devices[MANY];
	Grpc__LinuxNamespace *namespaces[MANY];
	Grpc__Linux__SysctlEntry *sysctl[MANY];
	char *masked[MANY], *rdonly[MANY];
	const char *hook, *label;
	bool no_mntns, userns, netns, cgroupns, terminal;
};

static void die(const char *what)
{
	perror(what);
	exit(FAIL_DRIVER);
}

static void *must(void *p)
{
	if (!p)
		die("memory");
	return p;
}

static void add_mount(struct setup *s, char *text)
{
	Grpc__Mount *m = must(calloc(1, sizeof(*m)));
	char *options, *word;

	grpc__mount__init(m);
	m->destination = must(strdup(strsep(&text, "|")));
	m->type = must(strdup(text ? strsep(&text, "|") : ""));
	m->source = must(strdup(text ? strsep(&text, "|") : ""));
	options = must(strdup(text ? text : ""));
	m->options = must(calloc(MANY, sizeof(char *)));
	while ((word = strsep(&options, ",")) && *word)
		m->options[m->n_options++] = word;
	s->mounts[s->spec.n_mounts++] = m;
}

static void add_device(struct setup *s, char *text)
{
	Grpc__LinuxDevice *d = must(calloc(1, sizeof(*d)));
	char type[8], path[256];
	long long major, minor;

	grpc__linux_device__init(d);
	if (sscanf(text, "%7s %255s %lld %lld %o %u %u", type, path, &major, &minor, &d->filemode,
		   &d->uid, &d->gid) != 7)
		die("dev line");
	d->type = must(strdup(type));
	d->path = must(strdup(path));
	d->major = major;
	d->minor = minor;
	s->devices[s->linux_.n_devices++] = d;
}

static void add_namespace(struct setup *s, const char *type)
{
	Grpc__LinuxNamespace *n = must(calloc(1, sizeof(*n)));

	grpc__linux_namespace__init(n);
	n->type = must(strdup(type));
	s->namespaces[s->linux_.n_namespaces++] = n;
}

static void add_sysctl(struct setup *s, char *text)
{
	Grpc__Linux__SysctlEntry *e = must(calloc(1, sizeof(*e)));

	grpc__linux__sysctl_entry__init(e);
	e->key = must(strdup(strsep(&text, " ")));
	e->value = must(strdup(text ? text : ""));
	s->sysctl[s->linux_.n_sysctl++] = e;
}

static void add_line(struct setup *s, char *line)
{
	char *word = strsep(&line, " ");
	char *rest = line ? line : (char[]){ "" };

	if (!strcmp(word, "root"))
		s->root.path = must(strdup(rest));
	else if (!strcmp(word, "readonly"))
		s->root.readonly = 1;
	else if (!strcmp(word, "nomnt"))
		s->no_mntns = true;
	else if (!strcmp(word, "userns"))
		s->userns = true;
	else if (!strcmp(word, "netns"))
		s->netns = true;
	else if (!strcmp(word, "cgroupns"))
		s->cgroupns = true;
	else if (!strcmp(word, "terminal"))
		s->terminal = true;
	else if (!strcmp(word, "prop"))
		s->linux_.rootfspropagation = must(strdup(rest));
	else if (!strcmp(word, "mount"))
		add_mount(s, rest);
	else if (!strcmp(word, "mask"))
		s->masked[s->linux_.n_maskedpaths++] = must(strdup(rest));
	else if (!strcmp(word, "rdonly"))
		s->rdonly[s->linux_.n_readonlypaths++] = must(strdup(rest));
	else if (!strcmp(word, "dev"))
		add_device(s, rest);
	else if (!strcmp(word, "sysctl"))
		add_sysctl(s, rest);
	else if (!strcmp(word, "ns"))
		add_namespace(s, rest);
	else if (!strcmp(word, "label"))
		s->label = must(strdup(rest));
	else if (!strcmp(word, "hook"))
		s->hook = must(strdup(rest));
	else if (*word)
		die(word);
}

static void load(struct setup *s, const char *path)
{
	FILE *f = fopen(path, "re");
	char line[8192];

	if (!f)
		die(path);
	grpc__spec__init(&s->spec);
	grpc__root__init(&s->root);
	grpc__linux__init(&s->linux_);
	s->spec.root = &s->root;
	s->spec.linux = &s->linux_;
	s->spec.mounts = s->mounts;
	s->linux_.devices = s->devices;
	s->linux_.namespaces = s->namespaces;
	s->linux_.sysctl = s->sysctl;
	s->linux_.maskedpaths = s->masked;
	s->linux_.readonlypaths = s->rdonly;
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		add_line(s, line);
	}
	fclose(f);
	if (!s->no_mntns)
		add_namespace(s, "mount");
	if (s->netns)
		add_namespace(s, "network");
}

static int fail(int step, const struct err *err)
{
	fprintf(stderr, "%s\n", err->msg);
	return step;
}

static void run_hook(const char *command)
{
	if (system(command) != 0)
		die("hook");
}

/*
 * A mount that went to the place that stands for the guest ($CANARY): only to be seen in our own
 * namespace, and only before the guest's root is gone.
 */
static bool has_escaped(void)
{
	const char *canary = getenv("CANARY");
	FILE *f = canary ? fopen("/proc/self/mountinfo", "re") : NULL;
	char line[8192], where[4096];
	bool found = false;

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%*s %*s %*s %*s %4095s", where) == 1 &&
		    !strncmp(where, canary, strlen(canary)))
			found = true;
	}
	if (f)
		fclose(f);
	return found;
}

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* The terminal's two ends: the child shows which device its console is. */
static int terminal(struct rootfs *rf, struct err *err)
{
	int master, slave;
	int r = rootfs_pty(&master, &slave, err);

	if (r < 0)
		return r;
	fcntl(master, F_SETFD, 0); /* held by the program: the pty lives as long */
	return rootfs_console(rf, slave, err);
}

static int enter(const struct setup *s, double *us)
{
	struct rootfs_opts o = {
		.mqueue = -1,
		.procfs = -1,
		.spec = &s->spec,
		.new_mntns = !s->no_mntns,
		.userns = s->userns,
		.cgroupns = s->cgroupns,
		.mount_label = s->label,
	};
	struct err err = { 0 };
	struct rootfs *rf;
	double t[STEPS + 1];

	t[0] = now_us();
	o.dir = rootfs_open_dir(&s->spec, &err);
	if (o.dir < 0 || rootfs_prepare(&o, &rf, &err) < 0)
		return has_escaped() ? ESCAPED : fail(FAIL_PREPARE, &err);
	if (s->hook)
		run_hook(s->hook);
	if (has_escaped())
		return ESCAPED;
	t[1] = now_us();
	if (rootfs_enter(rf, &err) < 0)
		return fail(FAIL_ENTER, &err);
	t[2] = now_us();
	if (s->terminal && terminal(rf, &err) < 0)
		return fail(FAIL_ENTER, &err);
	if (rootfs_seal(rf, &err) < 0)
		return fail(FAIL_SEAL, &err);
	t[3] = now_us();
	for (int i = 0; us && i < STEPS; i++)
		us[i] = t[i + 1] - t[i];
	return 0;
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die(path);
	close(fd);
}

static int wait_for(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) < 0)
		die("waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void new_namespaces(const struct setup *s)
{
	int flags = CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWPID;

	if (!s->no_mntns)
		flags |= CLONE_NEWNS;
	if (s->netns)
		flags |= CLONE_NEWNET;
	if (s->cgroupns)
		flags |= CLONE_NEWCGROUP;
	if (s->userns) {
		if (unshare(CLONE_NEWUSER) < 0)
			die("unshare user");
		/* The same ids inside, so that files keep their owners. */
		write_file("/proc/self/setgroups", "deny");
		write_file("/proc/self/gid_map", "0 0 1");
		write_file("/proc/self/uid_map", "0 0 1");
	}
	if (unshare(flags) < 0)
		die("unshare");
}

/* In a child of a child, for the pid namespace. argv NULL: only the steps, their times in us. */
static int contain(const struct setup *s, char **argv, double *us)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid == 0) {
		new_namespaces(s);
		pid = fork();
		if (pid < 0)
			die("fork");
		if (pid == 0) {
			int r = enter(s, us);

			if (r || !argv)
				_exit(r);
			execv(argv[0], argv);
			die(argv[0]);
		}
		_exit(wait_for(pid));
	}
	return wait_for(pid);
}

static void flip(const char *a, const char *b)
{
	for (;;) {
		if (renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) < 0)
			die("flip");
	}
}

static int race(const struct setup *s, double seconds, const char *a, const char *b)
{
	double end = now_us() + seconds * 1e6;
	int made = 0, refused = 0, escaped = 0;
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid == 0)
		flip(a, b);
	if (!freopen("/dev/null", "w", stderr))
		die("/dev/null");
	while (now_us() < end) {
		int r = contain(s, NULL, NULL);

		made += r == 0;
		refused += r >= FAIL_PREPARE && r <= FAIL_SEAL;
		escaped += r == ESCAPED;
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	printf("made %d refused %d escaped %d\n", made, refused, escaped);
	return made + refused > 0 && escaped == 0 ? 0 : 1;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static int measure(const struct setup *s, int count)
{
	static const char *const names[STEPS] = { "prepare", "enter", "seal" };
	double *us = mmap(NULL, sizeof(double) * STEPS, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	double *all = must(calloc((size_t)count * STEPS, sizeof(double)));

	if (us == MAP_FAILED)
		die("mmap");
	for (int i = 0; i < count; i++) {
		if (contain(s, NULL, us) != 0)
			return FAIL_DRIVER;
		for (int k = 0; k < STEPS; k++)
			all[k * count + i] = us[k];
	}
	for (int k = 0; k < STEPS; k++) {
		double *v = all + k * count;

		qsort(v, (size_t)count, sizeof(*v), by_value);
		printf("%-8s median %7.1f us, worst %7.1f us\n", names[k], v[count / 2],
		       v[count - 1]);
	}
	return 0;
}

int main(int argc, char **argv)
{
	static struct setup s;
	struct err err = { 0 };

	if (argc < 3) {
		fprintf(stderr, "usage: %s run|race|time|check SPEC ...\n", argv[0]);
		return FAIL_DRIVER;
	}
	load(&s, argv[2]);
	if (rootfs_check(&s.spec, &err) < 0)
		return fail(FAIL_CHECK, &err);
	if (!strcmp(argv[1], "check"))
		return 0;
	if (!strcmp(argv[1], "race") && argc == 6)
		return race(&s, atof(argv[3]), argv[4], argv[5]);
	if (!strcmp(argv[1], "time") && argc == 4)
		return measure(&s, atoi(argv[3]));
	return contain(&s, argc > 3 ? argv + 3 : NULL, NULL);
}
