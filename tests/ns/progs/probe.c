/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a process finds itself with, told as JSON from inside a container, without trusting what the
 * container's files say: as much as can be is asked of the kernel by system calls.
 *
 *	probe				everything, as one JSON object
 *	probe call NAME [NUMBER...]	one system call; prints "ok RESULT" or the errno's name
 *	probe open PATH r|w|rw		opens; prints "ok" or the errno's name
 *	probe node b|c MAJOR MINOR PATH	mknod, then open for reading and writing; prints both outcomes
 *	probe eat MIB			touches so much memory, then prints "ate"
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

extern char **environ;

static const struct {
	const char *name;
	long nr;
} calls[] = {
	{ "getpid", SYS_getpid },
	{ "mkdirat", SYS_mkdirat },
	{ "socket", SYS_socket },
	{ "personality", SYS_personality },
	{ "unshare", SYS_unshare },
	{ "keyctl", SYS_keyctl },
	{ "getpriority", SYS_getpriority },
	{ "setpriority", SYS_setpriority },
	{ "kill", SYS_kill },
	{ "getppid", SYS_getppid },
	{ "sched_yield", SYS_sched_yield },
	{ "sethostname", SYS_sethostname },
	{ "dup", SYS_dup },
	{ "umask", SYS_umask },
	{ "getuid", SYS_getuid },
	{ "setgid", SYS_setgid },
	{ "setuid", SYS_setuid },
	{ "chroot", SYS_chroot },
	{ "sync", SYS_sync },
	{ "ioctl", SYS_ioctl },
};

static const char *first = "";

static void key(const char *name)
{
	printf("%s\"%s\":", first, name);
	first = ",";
}

static void text(const char *s)
{
	putchar('"');
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < 0x20 || c >= 0x7f)
			printf("\\u%04x", c);
		else
			putchar(c);
	}
	putchar('"');
}

static void list(const char *name, char **v)
{
	key(name);
	putchar('[');
	for (int i = 0; v[i]; i++) {
		if (i)
			putchar(',');
		text(v[i]);
	}
	putchar(']');
}

static void number(const char *name, long long v)
{
	key(name);
	printf("%lld", v);
}

static void file(const char *name, const char *path)
{
	char buf[4096];
	FILE *f = fopen(path, "re");
	size_t n;

	key(name);
	if (!f) {
		printf("null");
		return;
	}
	n = fread(buf, 1, sizeof(buf) - 1, f);
	fclose(f);
	buf[n] = '\0';
	if (n && buf[n - 1] == '\n')
		buf[n - 1] = '\0';
	text(buf);
}

static void ids(void)
{
	gid_t groups[65536 / 4];
	uid_t r, e, s;
	int n;

	getresuid(&r, &e, &s);
	key("uid");
	printf("[%u,%u,%u]", r, e, s);
	getresgid(&r, &e, &s);
	key("gid");
	printf("[%u,%u,%u]", r, e, s);
	n = getgroups((int)(sizeof(groups) / sizeof(groups[0])), groups);
	key("groups");
	putchar('[');
	for (int i = 0; i < n; i++)
		printf("%s%u", i ? "," : "", groups[i]);
	putchar(']');
}

static void caps(void)
{
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct d[2] = { { 0, 0, 0 } };
	unsigned long long bnd = 0, amb = 0;

	syscall(SYS_capget, &h, d);
	for (int i = 0; i < 64; i++) {
		if (prctl(PR_CAPBSET_READ, i, 0, 0, 0) == 1)
			bnd |= 1ULL << i;
		if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, i, 0, 0) == 1)
			amb |= 1ULL << i;
	}
	key("caps");
	printf("{\"effective\":%llu,\"permitted\":%llu,\"inheritable\":%llu,\"bounding\":%llu,\"ambient\":%llu}",
	       d[0].effective | (unsigned long long)d[1].effective << 32,
	       d[0].permitted | (unsigned long long)d[1].permitted << 32,
	       d[0].inheritable | (unsigned long long)d[1].inheritable << 32, bnd, amb);
}

static void signals(void)
{
	sigset_t mask;

	sigprocmask(SIG_SETMASK, NULL, &mask);
	key("blocked");
	putchar('[');
	for (int s = 1, n = 0; s < 65; s++) {
		if (sigismember(&mask, s) == 1)
			printf("%s%d", n++ ? "," : "", s);
	}
	putchar(']');
	key("not_default");
	putchar('[');
	for (int s = 1, n = 0; s < 65; s++) {
		struct sigaction sa;

		if (sigaction(s, NULL, &sa) == 0 && sa.sa_handler != SIG_DFL)
			printf("%s%d", n++ ? "," : "", s);
	}
	putchar(']');
}

static void fds(void)
{
	key("fds");
	putchar('{');
	for (int fd = 0, n = 0; fd < 4096; fd++) {
		char path[64], target[4096];
		struct stat st;
		ssize_t len;

		if (fcntl(fd, F_GETFD) < 0)
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		len = readlink(path, target, sizeof(target) - 1);
		target[len < 0 ? 0 : len] = '\0';
		fstat(fd, &st);
		printf("%s\"%d\":{\"link\":", n++ ? "," : "", fd);
		text(target);
		printf(",\"type\":\"%c\",\"uid\":%u,\"gid\":%u,\"flags\":%d}",
		       S_ISFIFO(st.st_mode)   ? 'p'
		       : S_ISCHR(st.st_mode)  ? 'c'
		       : S_ISSOCK(st.st_mode) ? 's'
		       : S_ISDIR(st.st_mode)  ? 'd'
					      : 'f',
		       st.st_uid, st.st_gid, fcntl(fd, F_GETFL));
	}
	putchar('}');
}

static void limits(void)
{
	key("rlimits");
	putchar('[');
	for (int i = 0; i < RLIM_NLIMITS; i++) {
		struct rlimit r = { 0, 0 };

		getrlimit((__rlimit_resource_t)i, &r);
		printf("%s[%llu,%llu]", i ? "," : "", (unsigned long long)r.rlim_cur,
		       (unsigned long long)r.rlim_max);
	}
	putchar(']');
}

static void namespaces(void)
{
	static const char *const kinds[] = { "mnt", "pid", "ipc", "uts", "net", "user", "cgroup" };

	key("ns");
	putchar('{');
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		char path[64], target[64];
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/self/ns/%s", kinds[i]);
		n = readlink(path, target, sizeof(target) - 1);
		target[n < 0 ? 0 : n] = '\0';
		printf("%s\"%s\":\"%s\"", i ? "," : "", kinds[i], target);
	}
	putchar('}');
}

static int dump(char **argv)
{
	mode_t mask = umask(0);
	char cwd[8192];
	struct winsize ws = { 0, 0, 0, 0 };
	struct utsname un;
	int sig = -1, reaper = -1;

	(void)umask(mask);
	putchar('{');
	list("args", argv);
	list("env", environ);
	key("cwd");
	text(getcwd(cwd, sizeof(cwd)) ? cwd : "");
	ids();
	caps();
	signals();
	fds();
	limits();
	namespaces();
	number("umask", mask);
	number("pid", getpid());
	number("ppid", getppid());
	number("sid", getsid(0));
	number("pgid", getpgid(0));
	number("nnp", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	number("seccomp", prctl(PR_GET_SECCOMP, 0, 0, 0, 0));
	number("securebits", prctl(PR_GET_SECUREBITS, 0, 0, 0, 0));
	number("dumpable", prctl(PR_GET_DUMPABLE, 0, 0, 0, 0));
	number("keepcaps", prctl(PR_GET_KEEPCAPS, 0, 0, 0, 0));
	prctl(PR_GET_PDEATHSIG, &sig);
	number("pdeathsig", sig);
	prctl(PR_GET_CHILD_SUBREAPER, &reaper);
	number("subreaper", reaper);
	number("timerslack", prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0));
	number("personality", personality(0xffffffff));
	number("nice", getpriority(PRIO_PROCESS, 0));
	number("policy", sched_getscheduler(0));
	number("tty", isatty(0) && isatty(1) && isatty(2));
	ioctl(0, TIOCGWINSZ, &ws);
	key("winsize");
	printf("[%u,%u]", ws.ws_row, ws.ws_col);
	uname(&un);
	key("hostname");
	text(un.nodename);
	file("oom_score_adj", "/proc/self/oom_score_adj");
	file("cgroup", "/proc/self/cgroup");
	file("uid_map", "/proc/self/uid_map");
	file("gid_map", "/proc/self/gid_map");
	file("loginuid", "/proc/self/loginuid");
	printf("}\n");
	return 0;
}

static int say(long r)
{
	if (r < 0)
		printf("%s\n", strerrorname_np(errno));
	else
		printf("ok %ld\n", r);
	return 0;
}

static int call(int argc, char **argv)
{
	long a[6] = { 0 };

	for (int i = 1; i < argc && i < 7; i++)
		a[i - 1] = strtol(argv[i], NULL, 0);
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		if (strcmp(calls[i].name, argv[0]) == 0)
			return say(syscall(calls[i].nr, a[0], a[1], a[2], a[3], a[4], a[5]));
	}
	fprintf(stderr, "probe: no call '%s'\n", argv[0]);
	return 2;
}

static int try_open(const char *path, const char *how)
{
	int flags = strcmp(how, "r") == 0 ? O_RDONLY : strcmp(how, "w") == 0 ? O_WRONLY : O_RDWR;

	return say(open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC) < 0 ? -1 : 0);
}

static int node(char **argv)
{
	dev_t dev = makedev((unsigned)atoi(argv[1]), (unsigned)atoi(argv[2]));

	say(mknod(argv[3], (argv[0][0] == 'b' ? S_IFBLK : S_IFCHR) | 0600, dev));
	say(open(argv[3], O_RDONLY | O_NONBLOCK | O_CLOEXEC) < 0 ? -1 : 0);
	return say(open(argv[3], O_WRONLY | O_NONBLOCK | O_CLOEXEC) < 0 ? -1 : 0);
}

static int eat(const char *mib)
{
	size_t len = (size_t)atoi(mib) << 20;
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return say(-1);
	memset(p, 1, len);
	printf("ate\n");
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 2 && strcmp(argv[1], "call") == 0)
		return call(argc - 2, argv + 2);
	if (argc > 3 && strcmp(argv[1], "open") == 0)
		return try_open(argv[2], argv[3]);
	if (argc > 5 && strcmp(argv[1], "node") == 0)
		return node(argv + 2);
	if (argc > 2 && strcmp(argv[1], "eat") == 0)
		return eat(argv[2]);
	return dump(argv);
}
