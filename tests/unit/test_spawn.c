/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a process on its way to execve may say, at which stage, and how often: the socket of one that
 * others can see is theirs, too, if they have CAP_SYS_PTRACE.
 */
#include "oci/spawn.c"

#include <criterion/criterion.h>
#include <dirent.h>
#include <sys/socket.h>
#include <unistd.h>

static struct loop *l;
static struct spawn s;
static int peer;
static unsigned int count[SPAWN_HOOK_FAILED + 1];
static struct err last;

static void on_event(struct spawn *who, enum spawn_event event, const struct err *err)
{
	cr_assert_eq(who, &s);
	count[event]++;
	last = *err;
}

static void stop(struct timer *t)
{
	(void)t;
	loop_stop(l);
}

static void serve(void)
{
	struct timer t = { 0 };

	timer_set(l, &t, 4, stop);
	(void)loop_run(l);
	timer_cancel(&t);
}

static void begin(bool middle, bool seen, bool ready)
{
	int sv[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0);
	cr_assert_eq(loop_new(&l), 0);
	spawn_init(&s);
	s.sync = sv[0];
	peer = sv[1];
	s.fn = on_event;
	s.middle = middle;
	s.seen = seen;
	s.ready = ready;
	s.pid = 77;
	cr_assert_eq(loop_add(l, &s.source, s.sync, EPOLLIN, on_sync), 0);
	memset(count, 0, sizeof(count));
	memset(&last, 0, sizeof(last));
}

static void end(void)
{
	spawn_release(&s);
	auto_closep(&s.out);
	(void)close(peer);
	loop_free(l);
}

static void say(int kind, int fd)
{
	struct spawn_msg m = { .kind = kind, .pid = 1 };

	m.err.code = EACCES;
	(void)snprintf(m.err.msg, sizeof(m.err.msg), "said");
	cr_assert_eq(fd < 0 ? (int)(send(peer, &m, sizeof(m), 0) != sizeof(m))
			    : fdio_send_fd(peer, &m, sizeof(m), fd),
		     0);
	serve();
}

static unsigned int events(void)
{
	unsigned int n = 0;

	for (size_t i = 0; i < ARRAY_LEN(count); i++)
		n += count[i];
	return n;
}

static int open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* Others see it: nothing of a stage that is over, and no descriptor is taken or left. */
Test(spawn, heeds_failures_of_who_is_seen)
{
	static const int over[] = { MSG_UNSHARED, MSG_MOUNTED, MSG_TERMINAL, MSG_BORN,	MSG_READY,
				    MSG_WARNING,  8,	       -1,	     INT32_MAX, INT32_MIN };
	int before;

	begin(false, true, true);
	before = open_fds();
	for (size_t i = 0; i < ARRAY_LEN(over); i++) {
		say(over[i], -1);
		say(over[i], STDERR_FILENO);
	}
	cr_expect_eq(events(), 0);
	cr_expect_eq(s.out, FD_NONE);
	cr_expect_eq(s.pid, 77);
	cr_expect_eq(open_fds(), before);
	say(MSG_HOOK_FAILED, -1);
	cr_expect_eq(count[SPAWN_HOOK_FAILED], 1);
	say(MSG_FAILED, -1);
	cr_expect_eq(count[SPAWN_FAILED], 1);
	cr_expect_eq(last.code, EACCES);
	end();
}

Test(spawn, heeds_each_stage_once)
{
	begin(false, false, false);
	say(MSG_UNSHARED, -1);
	say(MSG_BORN, STDERR_FILENO); /* who is no middle bears nobody */
	cr_expect_eq(events(), 0);
	say(MSG_TERMINAL, STDERR_FILENO);
	cr_expect_geq(s.out, 0);
	say(MSG_MOUNTED, -1);
	cr_expect_eq(count[SPAWN_MOUNTED], 1);
	say(MSG_READY, -1);
	say(MSG_READY, -1);
	say(MSG_MOUNTED, -1);
	cr_expect_eq(count[SPAWN_READY], 1);
	cr_expect_eq(count[SPAWN_MOUNTED], 1);
	end();
	begin(true, false, false);
	say(MSG_READY, -1); /* the middle never is */
	cr_expect_eq(events(), 0);
	say(MSG_UNSHARED, -1);
	cr_expect_eq(count[SPAWN_UNSHARED], 1);
	end();
}

/* The agent had no room for the descriptor: a process that nobody can watch is none. */
Test(spawn, born_without_a_descriptor)
{
	begin(true, false, false);
	say(MSG_BORN, -1);
	cr_expect_eq(count[SPAWN_BORN], 0);
	cr_expect_eq(count[SPAWN_FAILED], 1);
	end();
}

/* Of many messages the first are heard; that it failed, always. */
Test(spawn, heeds_so_many)
{
	struct spawn_msg m = { .kind = MSG_HOOK_FAILED };

	begin(false, true, false);
	for (int i = 0; i < 3 * MESSAGES_MAX; i++) {
		cr_assert_eq(send(peer, &m, sizeof(m), 0), (ssize_t)sizeof(m));
		if (i % 8 == 7)
			serve();
	}
	cr_expect_eq(count[SPAWN_HOOK_FAILED], MESSAGES_MAX);
	say(MSG_READY, -1);
	cr_expect_eq(count[SPAWN_READY], 0);
	say(MSG_FAILED, -1);
	cr_expect_eq(count[SPAWN_FAILED], 1);
	end();
}

/* Somebody keeps a copy of its end: that the process is dead is enough, after what it said. */
Test(spawn, ends_with_its_process)
{
	struct spawn_msg m = { .kind = MSG_FAILED, .err = { .code = ENOENT, .msg = "said" } };

	begin(false, true, true);
	spawn_died(&s);
	serve();
	cr_expect_eq(count[SPAWN_RUNNING], 1);
	end();
	begin(false, false, false);
	spawn_died(&s);
	serve();
	cr_expect_eq(count[SPAWN_FAILED], 1);
	end();
	begin(false, true, true);
	cr_assert_eq(send(peer, &m, sizeof(m), 0), (ssize_t)sizeof(m));
	spawn_died(&s);
	cr_expect_lt(send(peer, &m, sizeof(m), MSG_NOSIGNAL), 0, "nobody says more");
	serve();
	cr_expect_eq(count[SPAWN_FAILED], 1);
	cr_expect_eq(last.code, ENOENT);
	end();
}

/* Whatever is in a message: a failure has an errno, and a text that ends. */
Test(spawn, believes_no_message)
{
	static const int codes[] = { 0, -1, INT32_MIN, INT32_MAX, 4096 };
	struct spawn_msg m;

	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		begin(false, true, true);
		memset(&m, 'x', sizeof(m));
		m.kind = MSG_FAILED;
		m.err.code = codes[i];
		m.err.rpc = -12345;
		cr_assert_eq(send(peer, &m, sizeof(m), 0), (ssize_t)sizeof(m));
		serve();
		cr_expect_eq(count[SPAWN_FAILED], 1);
		cr_expect_eq(last.code, EPROTO);
		cr_expect_eq(last.rpc, 0);
		cr_expect_eq(strnlen(last.msg, sizeof(last.msg)), sizeof(last.msg) - 1);
		end();
	}
	for (size_t len = 1; len < sizeof(m) + 100; len += 7) {
		char raw[sizeof(m) + 100] = { 0 }; /* MSG_FAILED, cut anywhere, or too long */

		begin(false, true, true);
		cr_assert_eq(send(peer, raw, len, 0), (ssize_t)len);
		serve();
		cr_expect_leq(events(), 1);
		cr_expect(count[SPAWN_FAILED] == 0 || last.code == EPROTO);
		end();
	}
}
