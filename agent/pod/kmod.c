/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading kernel modules with the guest's own modprobe, in a worker. No state of its own.
 */
#include "pod/kmod.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/str.h"
#include "base/worker.h"
#include "pod/agent.h"

#define MODPROBE	    "/sbin/modprobe"
#define MODPROBE_TIMEOUT_MS 50000

struct modules {
	Grpc__KernelModule *const *modules;
	size_t n;
	guest_done *done;
	void *arg;
};

/* Reads to the end and keeps the beginning as a text. */
static void read_output(int fd, char *buf, size_t size)
{
	char rest[4096];
	ssize_t n = fdio_read_all(fd, buf, size - 1);

	buf[n > 0 ? n : 0] = '\0';
	while (fdio_read_all(fd, rest, sizeof(rest)) > 0)
		;
}

/* Runs modprobe for one module and puts what it says into *err when it fails. In the worker. */
static int modprobe(const Grpc__KernelModule *m, struct err *err)
{
	AUTO_FREE char **argv = calloc(m->n_parameters + 4, sizeof(*argv));
	char *envp[] = { (char *)(uintptr_t) "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL };
	char output[400];
	posix_spawn_file_actions_t actions;
	int fds[2], r, status = 0;
	pid_t pid;

	if (!argv || pipe2(fds, O_CLOEXEC) < 0)
		return err_sys(err, errno, "could not load module '%s'", m->name);
	argv[0] = (char *)(uintptr_t)MODPROBE;
	argv[1] = (char *)(uintptr_t) "-v";
	argv[2] = m->name;
	for (size_t i = 0; i < m->n_parameters; i++)
		argv[3 + i] = m->parameters[i];
	(void)posix_spawn_file_actions_init(&actions);
	(void)posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
	(void)posix_spawn_file_actions_adddup2(&actions, fds[1], STDERR_FILENO);
	r = posix_spawn(&pid, MODPROBE, &actions, NULL, argv, envp);
	(void)close(fds[1]);
	if (r != 0)
		return err_sys(err, r, "could not load module '%s': run " MODPROBE,
			       m->name); /* fds go with us */
	(void)posix_spawn_file_actions_destroy(&actions);
	read_output(fds[0], output, sizeof(output));
	(void)close(fds[0]);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return err_set(err, EIO, "could not load module: %s %d: %s",
		       WIFEXITED(status) ? "exit status" : "signal",
		       WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status), output);
}

static int modules_job(void *arg, int out, struct err *err)
{
	const struct modules *m = arg;

	(void)out;
	for (size_t i = 0; i < m->n; i++) {
		if (modprobe(m->modules[i], err) < 0)
			return -err->code;
	}
	return 0;
}

static void modules_done(void *arg, const struct err *err, const struct buf *out)
{
	struct modules m = *(struct modules *)arg;

	(void)out;
	free(arg);
	m.done(m.arg, err);
}

int guest_load_modules(struct agent *a, Grpc__KernelModule *const *modules, size_t n,
		       guest_done *done, void *arg, struct err *err)
{
	struct worker_opts opts = { .timeout_ms = MODPROBE_TIMEOUT_MS };
	AUTO_FREE struct modules *m = malloc(sizeof(*m));
	int r;

	if (!m)
		return err_sys(err, ENOMEM, "kernel modules");
	for (size_t i = 0; i < n; i++) {
		if (str_empty(modules[i]->name))
			return err_set(err, EINVAL, "Kernel module name is empty");
		if (modules[i]->name[0] == '-')
			return err_set(err, EINVAL, "could not load module: '%s' is no name",
				       modules[i]->name);
	}
	*m = (struct modules){ modules, n, done, arg };
	r = worker_start(a->loop, a->reaper, &opts, modules_job, modules_done, m, NULL);
	if (r < 0)
		return err_sys(err, -r, "start " MODPROBE);
	m = NULL;
	return 0;
}
