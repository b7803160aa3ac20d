/* SPDX-License-Identifier: Apache-2.0 */
// ldflags: -Wl,--wrap=malloc -Wl,--wrap=calloc -Wl,--wrap=accept4 -Wl,--wrap=clock_gettime
#include "wire/conn.h"

#include "wire_fake.h"

#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "wire/channel.h"
#include "wire/listen.h"
#include "wire/yamux.h"

static const uint8_t check_call[] = { 0,    0,	 0,   20,   0,	 0,   0,   1,	1,   0,
				      0x0a, 11,	 'g', 'r',  'p', 'c', '.', 'H', 'e', 'a',
				      'l',  't', 'h', 0x12, 5,	 'C', 'h', 'e', 'c', 'k' };

static time_t later; /* seconds that have passed besides */

int __real_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
	int r = __real_clock_gettime(clock, ts);

	ts->tv_sec += later;
	return r;
}

static void on_stop(struct timer *t)
{
	(void)t;
	loop_stop(fake_loop);
}

static void run(int64_t ms)
{
	struct timer stop = { 0 };

	timer_set(fake_loop, &stop, ms, on_stop);
	cr_assert_eq(loop_run(fake_loop), 0);
	timer_cancel(&stop);
}

/* Our end of a new connection. */
static int open_one(conn_start *start)
{
	struct timeval second = { .tv_sec = 1 };
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	cr_assert_eq(setsockopt(fds[0], SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second)), 0);
	cr_assert_eq(fdconn_start(fake_loop, &fake_rpc, fds[1], "test", start), 0);
	return fds[0];
}

static void end(void)
{
	fdconn_close_all();
	fake_end();
	fake_all_over();
}

TestSuite(conn, .init = fake_begin, .fini = end, .timeout = 20);

Test(conn, first_byte_tells)
{
	char buf[100];
	int fd = open_one(detect_start);

	cr_assert_eq(write(fd, check_call, sizeof(check_call)), (ssize_t)sizeof(check_call));
	run(20);
	cr_expect_eq(read(fd, buf, sizeof(buf)), 16);
	close(fd);
	fd = open_one(detect_start);
	cr_assert_eq(write(fd, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33), 33);
	run(20);
	cr_expect_gt(read(fd, buf, sizeof(buf)), 9);
	cr_expect_eq(buf[3], 4, "SETTINGS");
	close(fd);
	fd = open_one(detect_start);
	cr_assert_eq(write(fd, "SSH-2.0", 7), 7);
	run(20);
	cr_expect_eq(read(fd, buf, sizeof(buf)), 0);
	close(fd);
	run(20);
}

Test(conn, peer_goes_while_calls_wait)
{
	uint8_t wait[60] = { 0, 0, 0, 32, 0, 0, 0, 1, 1, 0, 0x0a, 17 };
	int fd = open_one(detect_start);

	memcpy(wait + 12, "grpc.AgentService\x12\x0bWaitProcess", 30);
	wait[3] = 32;
	cr_assert_eq(write(fd, wait, 42), 42);
	run(20);
	cr_assert_eq(fake_service.parked_now, 1);
	close(fd);
	run(20);
	cr_expect_eq(fake_service.cancelled, 1);
	cr_expect_eq(fake_rpc.calls, 0);
}

Test(conn, limit)
{
	static int fds[LIMIT_CONNS];
	int pair[2];

	for (unsigned int i = 0; i < LIMIT_CONNS; i++)
		fds[i] = open_one(detect_start);
	/* Those that say nothing make room, the oldest first. */
	for (unsigned int i = 0; i < 3; i++) {
		int fd = open_one(detect_start);

		cr_expect_eq(read(fds[i], pair, 1), 0, "it is closed");
		close(fds[i]);
		fds[i] = fd;
	}
	for (unsigned int i = 0; i < LIMIT_CONNS; i++)
		cr_assert_eq(write(fds[i], check_call, 1), 1);
	run(200);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	cr_expect_lt(fdconn_start(fake_loop, &fake_rpc, pair[1], "test", detect_start), 0);
	cr_expect_eq(read(pair[0], pair, 1), 0, "it is closed");
	for (unsigned int i = 0; i < LIMIT_CONNS; i++)
		close(fds[i]);
	run(50);
	fds[0] = open_one(detect_start);
	close(fds[0]);
	close(pair[0]);
}

Test(conn, a_spoken_connection_has_no_deadline)
{
	char buf[100];
	int fd = open_one(detect_start);

	cr_assert_eq(write(fd, check_call, 1), 1);
	run(20);
	cr_assert_eq(write(fd, check_call + 1, sizeof(check_call) - 1),
		     (ssize_t)sizeof(check_call) - 1);
	run(20);
	cr_expect_eq(read(fd, buf, sizeof(buf)), 16);
	later += LIMIT_FIRST_BYTE_MS / 1000 + 10;
	run(20);
	cr_expect_eq(recv(fd, buf, 1, MSG_DONTWAIT), -1);
	cr_expect_eq(errno, EAGAIN, "it lives");
	close(fd);
	run(20);
}

Test(conn, a_silent_connection_has_one)
{
	char c;
	int fd = open_one(detect_start);

	later += LIMIT_FIRST_BYTE_MS / 1000 - 10;
	run(20);
	cr_expect_eq(recv(fd, &c, 1, MSG_DONTWAIT), -1);
	cr_expect_eq(errno, EAGAIN, "not yet");
	later += 20;
	run(20);
	cr_expect_eq(recv(fd, &c, 1, MSG_DONTWAIT), 0);
	close(fd);
}

Test(conn, without_memory)
{
	for (int n = 0; n < 10; n++) {
		int fds[2];

		cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
		malloc_left = n;
		(void)!fdconn_start(fake_loop, &fake_rpc, fds[1], "test",
				    n % 2 ? yamux_start : detect_start);
		(void)!send(fds[0], check_call, sizeof(check_call), MSG_NOSIGNAL);
		run(5);
		malloc_left = -1;
		close(fds[0]);
		run(5);
	}
}

/* --- listeners and channels ---------------------------------------------------------------- */

static struct err why;

static void on_failed(void *arg, const struct err *err)
{
	(*(int *)arg)++;
	why = *err;
	loop_stop(fake_loop);
}

Test(conn, addresses)
{
	struct listener *ls;
	struct err err = { 0 };

	for (const char *const *a =
		     (const char *const[]){ "", "unix:/x", "tcp://1:2", "vsock://x", "vsock://1:x",
					    "vsock://1:99999999999", "unix://",
					    "unix:///no/such/dir/s", NULL };
	     *a; a++)
		cr_expect_lt(listen_start(fake_loop, &fake_rpc, *a, &ls, &err), 0, "'%s'", *a);
	cr_assert_eq(listen_start(fake_loop, &fake_rpc, "unix://@kata-test-conn", &ls, &err), 0,
		     "%s", err.msg);
	listen_stop(ls);
	listen_stop(NULL);
}

static struct {
	int error; /* what accept4 says instead; 0: the truth */
	int calls;
} accepts;

int __real_accept4(int fd, struct sockaddr *sa, socklen_t *len, int flags);
int __wrap_accept4(int fd, struct sockaddr *sa, socklen_t *len, int flags);

int __wrap_accept4(int fd, struct sockaddr *sa, socklen_t *len, int flags)
{
	accepts.calls++;
	if (!accepts.error)
		return __real_accept4(fd, sa, len, flags);
	errno = accepts.error;
	return -1;
}

/* The loop neither spins on errors nor is kept by a peer that comes and goes without end. */
Test(conn, accepting_gives_way)
{
	static const struct {
		int error, most;
	} rows[] = { { EMFILE, 3 }, { EPERM, 3 }, { EINVAL, 3 }, { ECONNABORTED, INT_MAX } };
	struct sockaddr_un sa = { .sun_family = AF_UNIX, .sun_path = "\0kata-test-accept" };
	socklen_t len = offsetof(struct sockaddr_un, sun_path) + 17;
	struct listener *ls;
	struct err err = { 0 };
	char buf[32];
	int fd;

	log_threshold = LOG_ERROR;
	cr_assert_eq(listen_start(fake_loop, &fake_rpc, "unix://@kata-test-accept", &ls, &err), 0,
		     "%s", err.msg);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		accepts.error = rows[i].error;
		accepts.calls = 0;
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		cr_assert_eq(connect(fd, (struct sockaddr *)&sa, len), 0);
		run(150);
		cr_expect_geq(accepts.calls, 2, "tried again");
		cr_expect_leq(accepts.calls, rows[i].most, "%s: %d", strerror(accepts.error),
			      accepts.calls);
		accepts.error = 0;
		cr_assert_eq(write(fd, check_call, sizeof(check_call)),
			     (ssize_t)sizeof(check_call));
		run(150);
		cr_expect_eq(read(fd, buf, sizeof(buf)), 16, "and served in the end");
		close(fd);
	}
	listen_stop(ls);
}

Test(conn, a_socket_in_the_file_system)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	char dir[] = "/tmp/conn-XXXXXX", address[100], buf[32];
	struct channel_opts opts = { .address = address };
	struct channel *c;
	int failed = 0;

	cr_assert_not_null(mkdtemp(dir));
	for (int again = 0; again < 2; again++) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		snprintf(address, sizeof(address), "unix://%s/s", dir);
		snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/s", dir);
		cr_assert_eq(
			channel_start(fake_loop, &fake_rpc, &opts, on_failed, &failed, &c, &why), 0,
			"%s", why.msg);
		cr_assert_eq(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
		cr_assert_eq(write(fd, check_call, sizeof(check_call)),
			     (ssize_t)sizeof(check_call));
		run(30);
		cr_expect_eq(read(fd, buf, sizeof(buf)), 16);
		close(fd);
		run(20);
		channel_stop(c);
		cr_expect_lt(access(sa.sun_path, F_OK), 0);
	}
	rmdir(dir);
}

Test(conn, nothing_found)
{
	char root[] = "/tmp/conn-XXXXXX";
	struct channel_opts opts = { .use_vsock = -1, .root = root, .give_up_ms = 80 };
	struct channel *c;
	int failed = 0;

	cr_assert_not_null(mkdtemp(root));
	cr_assert_eq(channel_start(fake_loop, &fake_rpc, &opts, on_failed, &failed, &c, &why), 0);
	run(1000);
	cr_expect_eq(failed, 1);
	cr_expect_not_null(strstr(why.msg, "Neither vsocks nor serial ports were found"), "%s",
			   why.msg);
	channel_stop(c);
	rmdir(root);
}

/* A port that appears late, in a sysfs of our own. Its device is a pty. */
Test(conn, serial_port_found_late)
{
	static const char *const dirs[] = { "/sys",
					    "/sys/class",
					    "/sys/class/virtio-ports",
					    "/sys/class/virtio-ports/vport0p1",
					    "/sys/class/virtio-ports/vport0p2",
					    "/dev" };
	char root[] = "/tmp/conn-XXXXXX", path[200], buf[200];
	struct channel_opts opts = { .use_vsock = -1, .root = root, .give_up_ms = 5000 };
	int failed = 0, master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	struct channel *c;
	ssize_t got = 0;
	FILE *f;

	if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
		cr_skip_test("no pty");
	cr_assert_not_null(mkdtemp(root));
	cr_assert_eq(channel_start(fake_loop, &fake_rpc, &opts, on_failed, &failed, &c, &why), 0);
	run(60);
	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		snprintf(path, sizeof(path), "%s%s", root, dirs[i]);
		cr_assert_eq(mkdir(path, 0755), 0);
	}
	snprintf(path, sizeof(path), "%s/dev/vport0p2", root);
	cr_assert_eq(symlink(ptsname(master), path), 0);
	snprintf(path, sizeof(path), "%s/sys/class/virtio-ports/vport0p1/name", root);
	f = fopen(path, "w");
	fputs("org.qemu.guest_agent.0\n", f);
	fclose(f);
	snprintf(path, sizeof(path), "%s/sys/class/virtio-ports/vport0p2/name", root);
	f = fopen(path, "w");
	fputs("agent.channel.0\n", f);
	fclose(f);
	run(150);
	/* The line discipline is still there: only bytes that it leaves alone. A wrong version ends the session. */
	cr_assert_eq(write(master, "xxxxxxxxxxxx\n", 13), 13);
	run(150);
	got = read(master, buf, sizeof(buf));
	cr_expect_gt(got, 0, "the port was opened");
	cr_expect_eq(failed, 0);
	channel_stop(c);
	close(master);
	cr_expect_eq(fdio_remove_tree(AT_FDCWD, root), 0);
}
