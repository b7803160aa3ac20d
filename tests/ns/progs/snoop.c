/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile neighbour: watches /proc of its container for processes that are still the agent's, and
 * tries to get at them.
 *
 *	snoop read SECONDS	opens what belongs to them, attaches to them; a line "GOT ..." for each success
 *	snoop write SECONDS	tries to write to their executable, also later through a kept descriptor
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
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int seen;

static bool is_agent(const char *pid)
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
	return strncmp(comm, "kata-agent", 10) == 0;
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

static void look(void (*fn)(const char *pid))
{
	DIR *d = opendir("/proc");
	struct dirent *e;

	while (d && (e = readdir(d))) {
		if (e->d_name[0] < '1' || e->d_name[0] > '9' || !is_agent(e->d_name))
			continue;
		seen++;
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
	end = time(NULL) + atoi(argv[argc - 1]);
	printf("up\n");
	fflush(stdout);
	while (time(NULL) < end) {
		if (strcmp(argv[1], "swap") == 0 && argc == 5) {
			for (int i = 0; i < 1000; i++)
				renameat2(AT_FDCWD, argv[2], AT_FDCWD, argv[3], RENAME_EXCHANGE);
		} else {
			look(strcmp(argv[1], "write") == 0 ? try_write : try_all);
		}
	}
	printf("seen %d\n", seen);
	return 0;
}
