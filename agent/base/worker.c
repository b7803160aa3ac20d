/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workers. State of each: the child's pid, the two pipes, what it has said so far.
 */
#include "base/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/log.h"

#define OUT_RESERVED (64u << 10) /* so much output has its memory before the worker starts */

struct worker {
	struct loop *loop;
	struct source err_source, out_source;
	struct reap reap;
	struct timer timer;
	struct worker_opts opts;
	worker_done *done;
	void *arg;
	int err_fd, out_fd; /* read ends */
	bool dead, timed_out, undead;
	bool lost; /* there was no memory for some of its output */
	struct err err;
	size_t err_len;
	struct buf out;
};

static void worker_free(struct worker *w)
{
	loop_del(&w->err_source);
	loop_del(&w->out_source);
	timer_cancel(&w->timer);
	reaper_forget(&w->reap);
	auto_closep(&w->err_fd);
	auto_closep(&w->out_fd);
	buf_free(&w->out);
	free(w);
}

/*
 * Finished when the child is reaped and its answer read to the end; its output may be held open by
 * others. One that does not die of SIGKILL is nobody's any more: the reaper drops its status.
 */
static void worker_finish_if_done(struct worker *w)
{
	if (!w->undead && (!w->dead || w->err_fd >= 0))
		return;
	if (w->timed_out)
		err_set(&w->err, ETIMEDOUT, "timed out after %lld ms%s",
			(long long)w->opts.timeout_ms, w->undead ? ", and does not die" : "");
	else if (w->lost)
		err_set(&w->err, ENOMEM, "no memory for a worker's answer");
	else if (w->err_len != sizeof(w->err))
		err_set(&w->err, EPIPE, "worker died before it could answer");
	w->err.msg[sizeof(w->err.msg) - 1] = '\0';
	w->done(w->arg, &w->err, &w->out);
	worker_free(w);
}

static void worker_on_out(struct source *s, uint32_t events)
{
	struct worker *w = container_of(s, struct worker, out_source);
	char chunk[4096];
	size_t left;
	ssize_t n = 0;

	(void)events;
	for (int i = 0; i < 64; i++) {
		n = read(w->out_fd, chunk, sizeof(chunk));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		left = w->opts.max_out - buf_len(&w->out);
		if (buf_append(&w->out, chunk, (size_t)n < left ? (size_t)n : left) < 0)
			w->lost = true;
	}
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
		loop_del(&w->out_source);
		auto_closep(&w->out_fd);
	}
}

static void worker_on_err(struct source *s, uint32_t events)
{
	struct worker *w = container_of(s, struct worker, err_source);
	ssize_t n;

	(void)events;
	n = read(w->err_fd, (char *)&w->err + w->err_len, sizeof(w->err) - w->err_len);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		w->err_len += (size_t)n;
	if (n > 0 && w->err_len < sizeof(w->err))
		return;
	loop_del(&w->err_source);
	auto_closep(&w->err_fd);
	worker_finish_if_done(w);
}

static void worker_on_death(struct reap *r, int status)
{
	struct worker *w = container_of(r, struct worker, reap);

	(void)status;
	w->dead = true;
	timer_cancel(&w->timer);
	if (w->out_fd >= 0)
		worker_on_out(&w->out_source, 0); /* what it left in the pipe */
	/* A grandchild may hold the pipe; or it could not be watched, and is read now. */
	if (w->err_fd >= 0 && (w->timed_out || !w->err_source.loop)) {
		ssize_t n = read(w->err_fd, &w->err, sizeof(w->err));

		w->err_len = n > 0 ? (size_t)n : w->err_len;
		loop_del(&w->err_source);
		auto_closep(&w->err_fd);
	}
	worker_finish_if_done(w);
}

static void worker_on_undead(struct timer *t)
{
	struct worker *w = container_of(t, struct worker, timer);

	log_warn("worker", "process %d was killed and does not die", (int)w->reap.pid);
	w->undead = true;
	if (w->out_fd >= 0)
		worker_on_out(&w->out_source, 0);
	worker_finish_if_done(w);
}

static void worker_on_timeout(struct timer *t)
{
	struct worker *w = container_of(t, struct worker, timer);

	w->timed_out = true;
	(void)kill(-w->reap.pid, SIGKILL);
	(void)kill(w->reap.pid, SIGKILL);
	timer_set(w->loop, t, LIMIT_WORKER_DEATH_MS, worker_on_undead);
}

/* What the job has been promised, with room for the two pipes; NULL without memory. */
static int *worker_keep(const struct worker_opts *opts)
{
	int *keep = calloc(opts->keep_count + 2, sizeof(*keep));

	for (size_t i = 0; keep && i < opts->keep_count; i++)
		keep[i] = opts->keep[i];
	return keep;
}

static int worker_cut_caps(uint64_t caps, struct err *err)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[2];

	if (!caps)
		return 0;
	if (syscall(SYS_capget, &head, sets) < 0)
		return err_sys(err, errno, "capabilities");
	for (int i = 0; i < 2; i++) {
		sets[i].permitted &= (uint32_t)(caps >> (32 * i));
		sets[i].effective = sets[i].permitted;
		sets[i].inheritable = 0;
	}
	if (syscall(SYS_capset, &head, sets) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_sys(err, errno, "drop capabilities");
	return 0;
}

/* keep: the count that opts say, and room for two. */
static _Noreturn void worker_child(const struct worker_opts *opts, int *keep, worker_job *job,
				   void *arg, int err_fd, int out_fd)
{
	struct err err = { 0 };
	size_t n = opts->keep_count;
	sigset_t none;
	int r;

	log_forget_fds();
	keep[n++] = err_fd;
	keep[n++] = out_fd;
	fdio_close_except(keep, n);
	(void)setsid(); /* a group to kill, and no terminal of the agent's to stop for */
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
	r = worker_cut_caps(opts->caps, &err);
	if (r == 0)
		r = job(arg, out_fd, &err);
	if (r < 0 && err.code == 0)
		err_sys(&err, -r, "worker");
	(void)fdio_write_all(err_fd, &err, sizeof(err));
	_exit(0);
}

int worker_start(struct loop *l, struct reaper *reaper, const struct worker_opts *opts,
		 worker_job *job, worker_done *done, void *arg, struct worker **ret)
{
	AUTO_FREE struct worker *w = calloc(1, sizeof(*w));
	AUTO_FREE int *keep = worker_keep(opts);
	AUTO(buf_free) struct buf out = { 0 };
	AUTO_CLOSE int err_w = FD_NONE;
	AUTO_CLOSE int out_w = FD_NONE;
	AUTO_CLOSE int err_r = FD_NONE;
	AUTO_CLOSE int out_r = FD_NONE;
	int fds[2];
	pid_t pid;

	if (!w || !keep ||
	    (opts->max_out && opts->max_out <= OUT_RESERVED && !buf_reserve(&out, opts->max_out)))
		return -ENOMEM;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	err_r = fds[0];
	err_w = fds[1];
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	out_r = fds[0];
	out_w = fds[1];
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		worker_child(opts, keep, job, arg, err_w, out_w);
	w->loop = l;
	w->opts = *opts;
	w->done = done;
	w->arg = arg;
	w->out = out;
	out = (struct buf){ 0 };
	w->err_fd = TAKE_FD(err_r);
	w->out_fd = TAKE_FD(out_r);
	(void)fdio_nonblock(w->err_fd, true);
	(void)fdio_nonblock(w->out_fd, true);
	reaper_watch(reaper, &w->reap, pid, worker_on_death);
	/*
	 * Pipes can always be watched; only memory can fail here, and then they are read when the
	 * death comes.
	 */
	(void)loop_add(l, &w->err_source, w->err_fd, EPOLLIN, worker_on_err);
	(void)loop_add(l, &w->out_source, w->out_fd, EPOLLIN, worker_on_out);
	if (opts->timeout_ms > 0)
		timer_set(l, &w->timer, opts->timeout_ms, worker_on_timeout);
	if (ret)
		*ret = w;
	w = NULL;
	return 0;
}

void worker_cancel(struct worker *w)
{
	int sig = w->opts.gentle ? SIGTERM : SIGKILL;

	if (w->reap.pid) {
		(void)kill(-w->reap.pid, sig);
		(void)kill(w->reap.pid, sig);
	}
	worker_free(w);
}
