/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PID 1 of the little guest of test_cgroup_guest.sh: mounts cgroups as the agent does, runs the
 * cgroup unit tests that need real ones, and powers off. Results are lines "RESULT number name".
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "init.h"

static int run(const char *path)
{
	pid_t pid = fork();
	int status = -1;

	if (pid == 0) {
		(void)execl(path, path, "-j1", "--tap=-", (char *)NULL);
		_exit(127);
	}
	while (waitpid(pid, &status, 0) != pid)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void mount_on(const char *type, const char *dir)
{
	(void)mkdir(dir, 0755);
	if (mount(type, dir, type, 0, NULL) < 0)
		perror(dir);
}

int main(void)
{
	struct err err = { 0 };
	char cmdline[4096] = "";
	bool unified;
	int fd;

	mount_on("proc", "/proc");
	mount_on("sysfs", "/sys");
	mount_on("devtmpfs", "/dev");
	mount_on("tmpfs", "/dev/shm");
	mount_on("tmpfs", "/tmp");
	fd = open("/dev/console", O_RDWR);
	for (int i = 0; i < 3 && fd >= 0; i++)
		(void)dup2(fd, i);
	fd = open("/proc/cmdline", O_RDONLY);
	(void)!read(fd, cmdline, sizeof(cmdline) - 1);
	unified = strstr(cmdline, " unified");
	printf("RESULT %d mounting %s\n", -cgroups_mount(unified, &err), err.msg);
	printf("RESULT %d mounted again %s\n", -cgroups_mount(unified, &err), err.msg);
	(void)fflush(stdout);
	unified = access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0;
	printf("RESULT %d is_%s\n", 0, unified ? "v2" : "v1");
	printf("RESULT %d tests\n", run(unified ? "/test_cgroup_v2" : "/test_cgroup_v1"));
	(void)fflush(stdout);
	(void)reboot(RB_POWER_OFF);
	return 1;
}
