/* SPDX-License-Identifier: Apache-2.0 */
// ldflags: -Wl,--wrap=kill
#include "base/loop.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/reaper.h"
#include "base/worker.h"

static struct loop *l;
static struct reaper *reaper;
static char trace[256];

static void make(void)
{
	cr_assert_eq(loop_new(&l), 0);
	cr_assert_eq(reaper_new(l, &reaper), 0);
	trace[0] = '\0';
}

static void clean(void)
{
	reaper_free(reaper);
	loop_free(l);
}

static void on_stop(struct timer *t)
{
	(void)t;
	strcat(trace, "!");
	loop_stop(l);
}

/* Runs for so long; "!" in the trace means that nobody stopped it before. */
static void run(int64_t ms)
{
	struct timer stop = { 0 };

	timer_set(l, &stop, ms, on_stop);
	cr_assert_eq(loop_run(l), 0);
	timer_cancel(&stop);
}

TestSuite(loop, .init = make, .fini = clean, .timeout = 20);

struct named_timer {
	struct timer t;
	const char *name;
	struct named_timer *cancel, *again;
};

static void on_named(struct timer *t)
{
	struct named_timer *n = container_of(t, struct named_timer, t);

	strcat(trace, n->name);
	if (n->cancel)
		timer_cancel(&n->cancel->t);
	if (n->again) {
		timer_set(l, &n->again->t, 10, on_named);
		n->again = NULL;
	}
}

Test(loop, timers_in_order)
{
	struct named_timer a = { .name = "a" }, b = { .name = "b" }, c = { .name = "c" },
			   d = { .name = "d" };

	timer_set(l, &c.t, 30, on_named);
	timer_set(l, &a.t, 10, on_named);
	timer_set(l, &b.t, 20, on_named);
	timer_set(l, &d.t, 20, on_named);
	timer_set(l, &d.t, 40, on_named); /* set again: only the later one counts */
	run(100);
	cr_expect_str_eq(trace, "abcd!");
}

Test(loop, timers_that_cancel_and_set)
{
	struct named_timer a = { .name = "a" }, b = { .name = "b" }, c = { .name = "c" };

	a.cancel = &b;
	a.again = &a;
	timer_set(l, &a.t, 0, on_named);
	timer_set(l, &b.t, 0, on_named);
	timer_set(l, &c.t, -5, on_named);
	run(60);
	cr_expect_str_eq(trace, "caa!");
	timer_cancel(&a.t);
	timer_cancel(&a.t);
}

struct named_job {
	struct job j;
	const char *name;
	struct named_job *queue, *cancel;
};

static void on_job(struct job *j)
{
	struct named_job *n = container_of(j, struct named_job, j);

	strcat(trace, n->name);
	if (n->queue)
		job_queue(l, &n->queue->j, on_job);
	if (n->cancel)
		job_cancel(&n->cancel->j);
	n->queue = NULL;
}

Test(loop, jobs)
{
	struct named_job a = { .name = "a" }, b = { .name = "b" }, c = { .name = "c" };

	a.queue = &a;
	a.cancel = &b;
	job_queue(l, &a.j, on_job);
	job_queue(l, &a.j, on_job);
	job_queue(l, &b.j, on_job);
	job_queue(l, &c.j, on_job);
	run(20);
	cr_expect_str_eq(trace, "aca!");
	job_cancel(&a.j);
}

struct end {
	struct source s;
	int fd;
	struct end *victim;
	int count;
};

static void on_end(struct source *s, uint32_t events)
{
	struct end *e = container_of(s, struct end, s);
	char c;

	(void)events;
	e->count++;
	if (read(e->fd, &c, 1) < 0)
		cr_expect_eq(errno, EAGAIN);
	if (e->victim) {
		loop_del(&e->victim->s);
		close(e->victim->fd);
		free(e->victim);
		e->victim = NULL;
	}
}

/* Both are ready in one batch, and whichever comes first frees the other. */
Test(loop, a_callback_may_free_another_ready_source)
{
	for (int i = 0; i < 50; i++) {
		struct end *e[2];
		int fds[2][2];

		for (int k = 0; k < 2; k++) {
			e[k] = calloc(1, sizeof(**e));
			cr_assert_eq(pipe2(fds[k], O_CLOEXEC | O_NONBLOCK), 0);
			cr_assert_eq(write(fds[k][1], "x", 1), 1);
			e[k]->fd = fds[k][0];
			cr_assert_eq(loop_add(l, &e[k]->s, e[k]->fd, EPOLLIN, on_end), 0);
		}
		e[0]->victim = e[1];
		e[1]->victim = NULL;
		run(5);
		cr_expect_eq(e[0]->count, 1);
		loop_del(&e[0]->s);
		loop_del(&e[0]->s);
		for (int k = 0; k < 2; k++)
			close(fds[k][1]);
		close(e[0]->fd);
		free(e[0]);
	}
}

Test(loop, waiting_for_nothing)
{
	struct end e = { 0 };
	int fds[2];

	cr_assert_eq(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	cr_assert_eq(write(fds[1], "xy", 2), 2);
	e.fd = fds[0];
	cr_assert_eq(loop_add(l, &e.s, e.fd, EPOLLIN, on_end), 0);
	cr_assert_eq(loop_mod(&e.s, 0), 0);
	run(20);
	cr_expect_eq(e.count, 0);
	cr_assert_eq(loop_mod(&e.s, EPOLLIN), 0);
	run(20);
	cr_expect_eq(e.count, 2);
	loop_del(&e.s);
	cr_expect_eq(loop_add(l, &e.s, open("/etc/passwd", O_RDONLY | O_CLOEXEC), EPOLLIN, on_end),
		     -EPERM);
	close(fds[0]);
	close(fds[1]);
}

/* --- reaper -------------------------------------------------------------------------------- */

struct child {
	struct reap r;
	int status;
};

static unsigned int reaped;

static void on_reap(struct reap *r, int status)
{
	container_of(r, struct child, r)->status = status;
	reaped++;
}

static void stop_when_reaped(struct reap *r, int status)
{
	on_reap(r, status);
	loop_stop(l);
}

Test(loop, reaper_statuses)
{
	struct child c[3] = { { .status = -1 }, { .status = -1 }, { .status = -1 } };

	for (int i = 0; i < 3; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			if (i == 1)
				raise(SIGKILL);
			_exit(i == 0 ? 42 : 0);
		}
		reaper_watch(reaper, &c[i].r, pid, on_reap);
	}
	run(300);
	cr_expect_eq(c[0].status, 42);
	cr_expect_eq(c[1].status, 128 + SIGKILL);
	cr_expect_eq(c[2].status, 0);
}

Test(loop, reaper_storm)
{
	static struct child c[300];

	reaped = 0;
	for (int i = 0; i < 300; i++) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(i % 100);
		c[i].status = -1;
		reaper_watch(reaper, &c[i].r, pid, on_reap);
	}
	for (int i = 0; i < 20 && reaped < 300; i++)
		run(100);
	for (int i = 0; i < 300; i++)
		cr_assert_eq(c[i].status, i % 100, "child %d: %d", i, c[i].status);
}

/* A grandchild whose parent has gone comes to us, and is dropped without a word. */
Test(loop, reaper_orphans)
{
	struct child c = { .status = -1 };
	pid_t pid = fork();

	if (pid == 0) {
		if (fork() == 0)
			_exit(7);
		_exit(3);
	}
	reaper_watch(reaper, &c.r, pid, on_reap);
	run(300);
	cr_expect_eq(c.status, 3);
	cr_expect_eq(waitpid(-1, NULL, WNOHANG), -1, "nobody is left");
}

Test(loop, reaper_forget)
{
	struct child c = { .status = -1 };
	pid_t pid = fork();

	if (pid == 0)
		_exit(1);
	reaper_watch(reaper, &c.r, pid, stop_when_reaped);
	reaper_forget(&c.r);
	reaper_forget(&c.r);
	run(100);
	cr_expect_eq(c.status, -1);
}

/* --- jobs ---------------------------------------------------------------------------------- */

static struct job endless;

static void on_endless(struct job *j)
{
	job_queue(l, j, on_endless);
}

/* A job that queues itself leaves the others their turn. */
Test(loop, jobs_do_not_starve_the_rest)
{
	job_queue(l, &endless, on_endless);
	run(50);
	cr_expect_str_eq(trace, "!");
	job_cancel(&endless);
}

/* --- workers ------------------------------------------------------------------------------- */

static struct {
	struct err err;
	size_t out_len;
	char out[64];
	int calls;
} seen;

static void on_done(void *arg, const struct err *err, const struct buf *out)
{
	cr_expect_eq(arg, &seen);
	seen.err = *err;
	seen.out_len = buf_len(out);
	if (seen.out_len)
		memcpy(seen.out, buf_data(out), seen.out_len < 64 ? seen.out_len : 64);
	seen.calls++;
	loop_stop(l);
}

static int job_ok(void *arg, int out, struct err *err)
{
	(void)arg;
	(void)err;
	return fdio_write_all(out, "result", 6);
}

static int job_fails(void *arg, int out, struct err *err)
{
	(void)arg;
	(void)out;
	return err_set(err, ENOENT, "no such thing");
}

static int job_silent(void *arg, int out, struct err *err)
{
	(void)arg;
	(void)out;
	(void)err;
	return -EACCES;
}

static int job_dies(void *arg, int out, struct err *err)
{
	(void)arg;
	(void)out;
	(void)err;
	_exit(9);
}

static int job_hangs(void *arg, int out, struct err *err)
{
	(void)arg;
	(void)out;
	(void)err;
	if (fork() == 0)
		pause(); /* a grandchild that holds the pipes */
	pause();
	return 0;
}

static int job_floods(void *arg, int out, struct err *err)
{
	char big[4096];

	(void)arg;
	(void)err;
	memset(big, 'x', sizeof(big));
	for (int i = 0; i < 1000; i++)
		(void)fdio_write_all(out, big, sizeof(big));
	return 0;
}

/* A program of its own says which capabilities it has, and whether it could get any. */
static int job_tells_its_power(void *arg, int out, struct err *err)
{
	(void)arg;
	(void)dup2(out, STDOUT_FILENO);
	(void)execlp("sed", "sed", "-n", "s/^Cap[EP][fr][fm]:.//p; s/^NoNewPrivs:.//p",
		     "/proc/self/status", NULL);
	return err_sys(err, errno, "sed");
}

static void work(worker_job *job, const struct worker_opts *opts)
{
	memset(&seen, 0, sizeof(seen));
	cr_assert_eq(worker_start(l, reaper, opts, job, on_done, &seen, NULL), 0);
	run(5000);
	cr_assert_eq(seen.calls, 1);
}

Test(loop, worker_answers)
{
	static const struct worker_opts opts = { .timeout_ms = 4000, .max_out = 1000 };

	work(job_ok, &opts);
	cr_expect_eq(seen.err.code, 0);
	cr_expect_eq(seen.out_len, 6);
	cr_expect_eq(memcmp(seen.out, "result", 6), 0);
	work(job_fails, &opts);
	cr_expect_eq(seen.err.code, ENOENT);
	cr_expect_str_eq(seen.err.msg, "no such thing");
	work(job_silent, &opts);
	cr_expect_eq(seen.err.code, EACCES);
	work(job_dies, &opts);
	cr_expect_eq(seen.err.code, EPIPE);
}

/* How many descriptors it has. */
static int job_counts_descriptors(void *arg, int out, struct err *err)
{
	char text[32];
	int n = 0;

	(void)err;
	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	(void)arg;
	return fdio_write_all(out, text, (size_t)snprintf(text, sizeof(text), "%d", n));
}

Test(loop, worker_sheds_descriptors)
{
	static const struct worker_opts opts = { .timeout_ms = 4000, .max_out = 100 };
	int before, after, pair[2];

	work(job_counts_descriptors, &opts);
	seen.out[seen.out_len] = '\0';
	before = atoi(seen.out);
	cr_expect_leq(before, 5, "the standard ones and its two pipes");
	cr_assert_eq(pipe(pair), 0); /* not close-on-exec: it would be inherited */
	work(job_counts_descriptors, &opts);
	seen.out[seen.out_len] = '\0';
	after = atoi(seen.out);
	cr_expect_eq(after, before);
	(void)close(pair[0]);
	(void)close(pair[1]);
}

Test(loop, worker_has_what_it_needs)
{
	static const struct worker_opts opts[] = {
		{ .timeout_ms = 4000, .max_out = 1000 },
		{ .timeout_ms = 4000, .max_out = 1000, .caps = WORKER_READS },
		{ .timeout_ms = 4000, .max_out = 1000, .caps = WORKER_CAPS },
	};
	unsigned long long eff[3], prm[3];
	int no_new[3];

	for (size_t i = 0; i < 3; i++) {
		work(job_tells_its_power, &opts[i]);
		cr_assert(seen.out_len < sizeof(seen.out));
		seen.out[seen.out_len] = '\0';
		cr_assert_eq(sscanf(seen.out, "%llx %llx %d", &prm[i], &eff[i], &no_new[i]), 3,
			     "%s", seen.out);
	}
	cr_expect_eq(no_new[0], 0);
	cr_expect_eq(prm[1], prm[0] & 1ULL << CAP_DAC_READ_SEARCH);
	cr_expect_eq(eff[1], prm[1]);
	cr_expect_eq(no_new[1], 1);
	cr_expect_eq(prm[2] | eff[2], 0);
}

Test(loop, worker_output_is_bounded)
{
	static const struct worker_opts opts = { .timeout_ms = 4000, .max_out = 10000 };

	work(job_floods, &opts);
	cr_expect_eq(seen.err.code, 0);
	cr_expect_eq(seen.out_len, 10000, "the first of it");
}

Test(loop, worker_is_killed_at_its_deadline)
{
	static const struct worker_opts opts = { .timeout_ms = 100 };
	int64_t before = loop_now_ms();

	work(job_hangs, &opts);
	cr_expect_eq(seen.err.code, ETIMEDOUT);
	cr_expect_lt(loop_now_ms() - before, 2000);
}

static bool immortal; /* what no signal kills, as in disk sleep or a frozen cgroup */

int __real_kill(pid_t pid, int sig);
int __wrap_kill(pid_t pid, int sig);

int __wrap_kill(pid_t pid, int sig)
{
	return immortal ? 0 : __real_kill(pid, sig);
}

static int job_sleeps(void *arg, int out, struct err *err)
{
	(void)arg;
	(void)err;
	(void)fdio_write_all(out, "some", 4);
	(void)poll(NULL, 0, 4000);
	return 0;
}

Test(loop, worker_that_does_not_die_is_disowned)
{
	static const struct worker_opts opts = { .timeout_ms = 100, .max_out = 100 };
	int64_t before = loop_now_ms();

	immortal = true;
	work(job_sleeps, &opts);
	cr_expect_eq(seen.err.code, ETIMEDOUT);
	cr_expect_eq(seen.out_len, 4, "what it said counts");
	cr_expect_lt(loop_now_ms() - before, 3500);
	run(2500); /* it ends, and nobody cares */
	cr_expect_eq(seen.calls, 1);
	cr_expect_eq(waitpid(-1, NULL, WNOHANG), -1, "it was reaped");
}

Test(loop, worker_cancelled)
{
	static const struct worker_opts opts = { 0 };
	struct worker *w;

	memset(&seen, 0, sizeof(seen));
	cr_assert_eq(worker_start(l, reaper, &opts, job_hangs, on_done, &seen, &w), 0);
	run(50);
	worker_cancel(w);
	run(200);
	cr_expect_eq(seen.calls, 0);
	cr_expect_eq(waitpid(-1, NULL, WNOHANG), -1, "its processes are gone");
}

Test(loop, workers_at_once)
{
	static const struct worker_opts opts = { .timeout_ms = 4000, .max_out = 1000 };

	memset(&seen, 0, sizeof(seen));
	for (int i = 0; i < 30; i++)
		cr_assert_eq(worker_start(l, reaper, &opts, job_ok, on_done, &seen, NULL), 0);
	for (int i = 0; i < 100 && seen.calls < 30; i++)
		run(100);
	cr_expect_eq(seen.calls, 30);
}
