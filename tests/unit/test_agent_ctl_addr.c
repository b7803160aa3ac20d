/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's addresses: what is taken, what is refused with words, and the hybrid handshake.
 */
#include "../agent-ctl/addr.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

static const struct {
	const char *text;
	enum addr_kind kind;
	const char *path;
	uint32_t cid, port;
} good[] = {
	{ "unix:///run/agent.sock", ADDR_UNIX, "/run/agent.sock", 0, 1024 },
	{ "unix://rel/agent.sock", ADDR_UNIX, "rel/agent.sock", 0, 1024 },
	{ "unix://@name", ADDR_UNIX, "@name", 0, 1024 },
	{ "unix:///a:b", ADDR_UNIX, "/a:b", 0, 1024 },
	{ "hvsock:///tmp/x.sock:1025", ADDR_HVSOCK, "/tmp/x.sock", 0, 1025 },
	{ "hvsock:///tmp/x.sock", ADDR_HVSOCK, "/tmp/x.sock", 0, 1024 },
	{ "vsock://3:1024", ADDR_VSOCK, "", 3, 1024 },
	{ "vsock://-1:1024", ADDR_VSOCK, "", UINT32_MAX, 1024 },
	{ "vsock://3", ADDR_VSOCK, "", 3, 1024 },
	{ "serial:///tmp/kata.sock", ADDR_SERIAL, "/tmp/kata.sock", 0, 1024 },
};

Test(agent_ctl_addr, takes)
{
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		struct addr a = { 0 };
		struct err err = { 0 };

		cr_assert_eq(addr_parse(good[i].text, &a, &err), 0, "%s: %s", good[i].text,
			     err.msg);
		cr_expect_eq(a.kind, good[i].kind, "%s", good[i].text);
		cr_expect_str_eq(a.path, good[i].path);
		cr_expect_eq(a.cid, good[i].cid, "%s", good[i].text);
		cr_expect_eq(a.port, good[i].port, "%s", good[i].text);
	}
}

Test(agent_ctl_addr, refuses)
{
	static const char *const bad[] = {
		"",
		"unix://",
		"unix://@",
		"unix:/x",
		"/run/x",
		"tcp://1.2.3.4:5",
		"vsock://",
		"vsock://x:1",
		"vsock://3:",
		"vsock://3:0",
		"vsock://3:-1",
		"vsock://3:99999999999",
		"vsock:// 3:1",
		"hvsock://:1024",
		"hvsock:///x:abc",
		"serial://",
		"unix:///0123456789012345678901234567890123456789012345678901234567890123456789"
		"0123456789012345678901234567890123456789",
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct addr a;
		struct err err = { 0 };

		cr_expect_lt(addr_parse(bad[i], &a, &err), 0, "'%s' was taken", bad[i]);
		cr_expect_neq(err.msg[0], '\0', "'%s' was refused without a word", bad[i]);
	}
}

/* A VMM for one client: reads the CONNECT line and gives this answer. */
static pid_t vmm(const char *path, const char *answer)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int l = socket(AF_UNIX, SOCK_STREAM, 0), c;
	char buf[64];
	ssize_t n;
	pid_t pid;

	(void)snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	(void)unlink(path);
	cr_assert_eq(bind(l, (struct sockaddr *)&un, sizeof(un)), 0);
	cr_assert_eq(listen(l, 1), 0);
	pid = fork();
	if (pid != 0) {
		(void)close(l);
		return pid;
	}
	c = accept(l, NULL, NULL);
	n = read(c, buf, sizeof(buf));
	if (n == 13 && !memcmp(buf, "CONNECT 1024\n", 13))
		(void)!write(c, answer, strlen(answer));
	_exit(0);
}

static int handshake(const char *answer, char *rest, size_t rest_size, struct err *err)
{
	char path[64], text[100];
	struct addr a;
	int fd = FD_NONE, r;
	ssize_t n;
	pid_t pid;

	(void)snprintf(path, sizeof(path), "/tmp/test_agent_ctl_addr.%d", getpid());
	(void)snprintf(text, sizeof(text), "hvsock://%s:1024", path);
	pid = vmm(path, answer);
	cr_assert_eq(addr_parse(text, &a, err), 0);
	r = addr_connect(&a, now_ms() + 5000, &fd, err);
	(void)waitpid(pid, NULL, 0);
	(void)unlink(path);
	if (r == 0) {
		n = read(fd, rest, rest_size - 1);
		rest[n > 0 ? n : 0] = '\0';
		(void)close(fd);
	}
	return r;
}

Test(agent_ctl_addr, hybrid_handshake_leaves_what_follows)
{
	struct err err = { 0 };
	char rest[32];

	cr_assert_eq(handshake("OK 1073741824\nagent", rest, sizeof(rest), &err), 0, "%s", err.msg);
	cr_expect_str_eq(rest, "agent");
}

Test(agent_ctl_addr, hybrid_handshake_refused)
{
	struct err err = { 0 };
	char rest[32];

	cr_expect_eq(handshake("", rest, sizeof(rest), &err), -ECONNRESET);
	cr_expect(addr_may_retry(err.code),
		  "a guest that does not listen yet is worth another try");
	cr_expect_eq(handshake("HTTP/1.1 400 Bad Request\n", rest, sizeof(rest), &err), -EPROTO);
	cr_expect(!addr_may_retry(err.code));
}

Test(agent_ctl_addr, nobody_there)
{
	struct addr a;
	struct err err = { 0 };
	int fd;

	cr_assert_eq(addr_parse("unix:///nonexistent/agent.sock", &a, &err), 0);
	cr_expect_eq(addr_connect(&a, now_ms() + 1000, &fd, &err), -ENOENT);
	cr_expect(strstr(err.msg, "/nonexistent/agent.sock"));
	cr_expect(addr_may_retry(err.code));
}
