/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile neighbour: watches /proc of its container for processes that are still the agent's, and
 * tries to get at them.
 *
 *	snoop read SECONDS	opens what belongs to them, attaches to them; a line "GOT ..." for each success
 *	snoop write SECONDS	tries to write to their executable, also later through a kept descriptor
 *	snoop undressed SECONDS	with CAP_SYS_PTRACE, which opens everything: looks for what is the guest's. All
 *				containers have a file /marker
 *	snoop memory DROWSSAP SECONDS	with CAP_SYS_PTRACE, too: looks in their memory for the word, told from its end,
 *				so that telling it does not put it there
 *	snoop steal SECONDS	with CAP_SYS_PTRACE: takes copies of their descriptors and keeps them
 *	snoop swap A B SECONDS	exchanges two names as fast as it can
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int seen;

static bool is_called(const char *pid, const char *name)
{
	char path[64], comm[32] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (read(fd, comm, sizeof(comm) - 1) < 0)
		comm[0] = '\0';
	close(fd);
	return strncmp(comm, name, strlen(name)) == 0;
}

static bool is_agent(const char *pid)
{
	return is_called(pid, "kata-agent");
}

/* Said only of what was the agent's before and is after: else execve came between. */
static void got(const char *pid, const char *what, const char *detail)
{
	if (is_agent(pid)) {
		printf("GOT %s of %s: %s\n", what, pid, detail);
		fflush(stdout);
	}
}

static void try_file(const char *pid, const char *name, int flags)
{
	char path[300];
	int fd;

	snprintf(path, sizeof(path), "/proc/%s/%s", pid, name);
	fd = open(path, flags | O_CLOEXEC);
	if (fd < 0)
		return;
	/* The maps of who is dead already can be opened, and are empty. */
	if (strcmp(name, "maps") != 0 || read(fd, path, 1) > 0)
		got(pid, name, "opened");
	close(fd);
}

static void try_fds(const char *pid)
{
	char path[64], target[256];
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	d = opendir(path);
	while (d && (e = readdir(d))) {
		ssize_t n;

		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%s/fd/%.8s", pid, e->d_name);
		n = readlink(path, target, sizeof(target) - 1);
		if (n > 0) {
			target[n] = '\0';
			got(pid, path, target);
		}
	}
	if (d)
		closedir(d);
}

/* From a child, whose end lets go again: seizing does not stop anybody. */
static void try_ptrace(const char *pid)
{
	pid_t child = fork();

	if (child == 0) {
		if (ptrace(PTRACE_SEIZE, atoi(pid), NULL, NULL) == 0)
			got(pid, "ptrace", "seized");
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

static void try_all(const char *pid)
{
	try_file(pid, "mem", O_RDWR);
	try_file(pid, "exe", O_RDONLY);
	try_file(pid, "root", O_PATH | O_DIRECTORY);
	try_file(pid, "cwd", O_PATH | O_DIRECTORY);
	try_file(pid, "environ", O_RDONLY);
	try_file(pid, "maps", O_RDONLY);
	try_fds(pid);
	try_ptrace(pid);
}

static void try_write(const char *pid)
{
	char path[64];
	int kept, fd;

	snprintf(path, sizeof(path), "/proc/%s/exe", pid);
	kept = open(path, O_PATH | O_CLOEXEC);
	if (kept < 0 || !is_agent(pid))
		return;
	for (int i = 0; i < 2000; i++) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", kept);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd >= 0) {
			printf("GOT exe for writing\n");
			fflush(stdout);
			close(fd);
			break;
		}
	}
	close(kept);
}

/* The directory is of a container, or empty. */
static bool is_harmless(int dir)
{
	const char *up = "";
	char path[64];
	struct dirent *e;
	bool empty = true;
	int fd;
	DIR *d;

	for (up = "../../../../../../../../marker"; strlen(up) >= strlen("marker"); up += 3)
		if (faccessat(dir, up, F_OK, 0) == 0)
			return true;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", dir);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd < 0 ? NULL : fdopendir(fd);
	while (d && (e = readdir(d)))
		empty = empty && e->d_name[0] == '.';
	if (d)
		closedir(d);
	return empty && d;
}

/* Whatever it is called: the namespace's holder is no container's process either. */
static void undressed_got(const char *pid, const char *what, const char *detail)
{
	printf("GOT %s of %s: %s\n", what, pid, detail);
	fflush(stdout);
}

static void undressed_dir(const char *pid, const char *name)
{
	char path[300];
	int fd;

	snprintf(path, sizeof(path), "/proc/%s/%s", pid, name);
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (!is_harmless(fd))
		undressed_got(pid, name, "of the guest");
	close(fd);
}

/* Streams, the socket to the agent, and a file system's context that is the namespace's own. */
static void undressed_fds(const char *pid)
{
	static const char *const fine[] = {
		"pipe:[",  "/dev/pts/", "/dev/console", "/dev/null", "anon_inode:[fscontext]",
		"socket:["
	};
	char path[64], target[256];
	struct dirent *e;
	int sockets = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	d = opendir(path);
	while (d && (e = readdir(d))) {
		bool ok = false;
		ssize_t n;

		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%s/fd/%.8s", pid, e->d_name);
		n = readlink(path, target, sizeof(target) - 1);
		if (n <= 0)
			continue;
		target[n] = '\0';
		for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++)
			ok = ok || strncmp(target, fine[i], strlen(fine[i])) == 0;
		sockets += strncmp(target, "socket:[", 8) == 0;
		if (!ok || sockets > 1)
			undressed_got(pid, path, target);
	}
	if (d)
		closedir(d);
}

static void ns_of(const char *pid, const char *kind, char *ret)
{
	char path[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%s/ns/%s", pid, kind);
	n = readlink(path, ret, 63);
	ret[n < 0 ? 0 : n] = '\0';
}

/* More capabilities than we have in our own user namespace. */
static void undressed_caps(const char *pid)
{
	unsigned long long ours = 0, theirs = 0;
	char path[64], line[256], a[64], b[64];
	FILE *f;

	ns_of("self", "user", a);
	ns_of(pid, "user", b);
	if (strcmp(a, b) != 0)
		return;
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "/proc/%s/status", i ? pid : "self");
		f = fopen(path, "re");
		while (f && fgets(line, sizeof(line), f))
			sscanf(line, "CapPrm: %llx", i ? &theirs : &ours);
		if (f)
			fclose(f);
	}
	if (theirs & ~ours) {
		snprintf(line, sizeof(line), "%llx", theirs);
		undressed_got(pid, "capabilities", line);
	}
}

static char guest_mnt[64]; /* its mount namespace */

static void undressed(const char *pid)
{
	char mnt[64], path[64], env[8] = "";
	int fd;

	undressed_dir(pid, "root");
	undressed_dir(pid, "cwd");
	undressed_fds(pid);
	undressed_caps(pid);
	snprintf(path, sizeof(path), "/proc/%s/environ", pid);
	fd = is_called(pid, "pause") ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd >= 0 && read(fd, env, 7) > 0 && *env)
		undressed_got(pid, "environ", env);
	if (fd >= 0)
		close(fd);
	ns_of(pid, "mnt", mnt);
	if (*mnt && strcmp(mnt, guest_mnt) == 0)
		undressed_got(pid, "mount namespace", mnt);
}

static char password[64];

static void find_password(const char *pid, int mem, unsigned long at, unsigned long end)
{
	static char chunk[1 << 20];
	size_t len = strlen(password);

	while (at < end) {
		size_t want = end - at < sizeof(chunk) ? end - at : sizeof(chunk);
		ssize_t n = pread(mem, chunk, want, (off_t)at);
		char *hit;

		if (n <= 0)
			return;
		hit = memmem(chunk, (size_t)n, password, len);
		if (hit) {
			char line[64];

			snprintf(line, sizeof(line), "%lx", at + (unsigned long)(hit - chunk));
			undressed_got(pid, "memory", line);
			return;
		}
		at += (unsigned long)n;
	}
}

static void memory(const char *pid)
{
	char path[64], line[512];
	FILE *maps;
	int mem;

	snprintf(path, sizeof(path), "/proc/%s/mem", pid);
	mem = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%s/maps", pid);
	maps = mem < 0 ? NULL : fopen(path, "re");
	while (maps && fgets(line, sizeof(line), maps)) {
		unsigned long start, end;

		if (sscanf(line, "%lx-%lx rw", &start, &end) == 2 && strstr(line, " rw"))
			find_password(pid, mem, start, end);
	}
	if (maps)
		fclose(maps);
	if (mem >= 0)
		close(mem);
}

static int stolen;

/* Copies of its descriptors, kept to our end: whoever waits for theirs waits for us. */
static void steal(const char *pid)
{
	int fd, pidfd = (int)syscall(SYS_pidfd_open, atoi(pid), 0);

	for (int n = 3; pidfd >= 0 && n < 64; n++) {
		fd = (int)syscall(SYS_pidfd_getfd, pidfd, n, 0);
		stolen += fd >= 0;
	}
	if (pidfd >= 0)
		close(pidfd);
}

static void look(void (*fn)(const char *pid))
{
	DIR *d = opendir("/proc");
	struct dirent *e;

	while (d && (e = readdir(d))) {
		if (e->d_name[0] < '1' || e->d_name[0] > '9')
			continue;
		if (is_agent(e->d_name))
			seen++;
		else if (fn != undressed || atoi(e->d_name) == getpid())
			continue;
		fn(e->d_name);
	}
	if (d)
		closedir(d);
}

int main(int argc, char **argv)
{
	time_t end;

	if (argc < 3)
		return 2;
	if (argc == 4)
		snprintf(guest_mnt, sizeof(guest_mnt), "%s", argv[2]);
	for (size_t n = argc == 4 ? strlen(guest_mnt) : 0, i = 0; i < n; i++)
		password[i] = guest_mnt[n - 1 - i];
	end = time(NULL) + atoi(argv[argc - 1]);
	printf("up\n");
	fflush(stdout);
	while (time(NULL) < end) {
		if (strcmp(argv[1], "swap") == 0 && argc == 5) {
			for (int i = 0; i < 1000; i++)
				renameat2(AT_FDCWD, argv[2], AT_FDCWD, argv[3], RENAME_EXCHANGE);
		} else {
			look(strcmp(argv[1], "write") == 0	 ? try_write
			     : strcmp(argv[1], "undressed") == 0 ? undressed
			     : strcmp(argv[1], "memory") == 0	 ? memory
			     : strcmp(argv[1], "steal") == 0	 ? steal
								 : try_all);
		}
	}
	printf("stolen %d\nseen %d\n", stolen, seen);
	return 0;
}
