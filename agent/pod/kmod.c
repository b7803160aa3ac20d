/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading kernel modules with the guest's own modprobe, in a worker. No state of its own.
 */
#include "pod/guest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/limits.h"
#include "base/str.h"
#include "base/worker.h"
#include "linux/run.h"
#include "pod/agent.h"
#include "pod/pod.h"

struct modules {
	Grpc__KernelModule *const *modules;
	size_t n;
	const struct rlimit *nofile;
	kmod_loaded *done;
	void *arg;
};

static int modprobe(const Grpc__KernelModule *m, const struct rlimit *nofile, struct err *err)
{
	static char program[] = "/sbin/modprobe", verbose[] = "-v";
	AUTO_FREE char **argv = calloc(m->n_parameters + 4, sizeof(*argv));

	if (!argv)
		return err_sys(err, ENOMEM, "could not load module '%s'", m->name);
	argv[0] = program;
	argv[1] = verbose;
	argv[2] = m->name;
	for (size_t i = 0; i < m->n_parameters; i++)
		argv[3 + i] = m->parameters[i];
	if (run_program(&(struct run){ .argv = argv, .nofile = nofile }, err) < 0)
		return err_wrap(err, "could not load module '%s'", m->name);
	return 0;
}

static int kmod_job(void *arg, int out, struct err *err)
{
	const struct modules *m = arg;

	(void)out;
	for (size_t i = 0; i < m->n; i++) {
		if (modprobe(m->modules[i], m->nofile, err) < 0)
			return -err->code;
	}
	return 0;
}

static void kmod_done(void *arg, const struct err *err, const struct buf *out)
{
	struct modules m = *(struct modules *)arg;

	(void)out;
	free(arg);
	m.done(m.arg, err);
}

int kmod_load(struct agent *a, Grpc__KernelModule *const *modules, size_t n, kmod_loaded *done,
	      void *arg, struct err *err)
{
	struct worker_opts opts = { .timeout_ms = LIMIT_WORK_MS };
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
	*m = (struct modules){ modules, n, &a->sandbox->engine.nofile, done, arg };
	r = worker_start(a->loop, a->reaper, &opts, kmod_job, kmod_done, m, NULL);
	if (r < 0)
		return err_sys(err, -r, "start modprobe");
	m = NULL;
	return 0;
}
