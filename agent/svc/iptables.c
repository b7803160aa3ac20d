/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GetIPTables and SetIPTables. No state: a worker runs the program, with files in memory as its
 * standard input and output, so that neither side can block the other.
 */
#include "svc/svc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/limits.h"

#define TIMEOUT_MS 20000

/* Where distributions have them; PATH is of no use in an agent that is PID 1. */
static const char *const dirs[] = { "/usr/sbin", "/sbin", "/usr/bin", "/bin" };

static int find_program(const char *name, char *path, size_t size, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
		(void)snprintf(path, size, "%s/%s", dirs[i], name);
		if (access(path, X_OK) == 0)
			return 0;
	}
	return err_rpc(err, RPC_INTERNAL,
		       "%s is not installed in this guest (looked in /usr/sbin, /sbin, /usr/bin, "
		       "/bin): build the image with the package iptables",
		       name);
}

static _Noreturn void program(char *const argv[], int in, int out, int errors)
{
	static char *const env[] = { (char *)(uintptr_t) "PATH=/usr/sbin:/sbin:/usr/bin:/bin",
				     NULL };

	if (dup2(in, STDIN_FILENO) >= 0 && dup2(out, STDOUT_FILENO) >= 0 &&
	    dup2(errors, STDERR_FILENO) >= 0)
		(void)execve(argv[0], argv, env);
	_exit(127);
}

/* Runs it to its end; what it complained about goes into *err. */
static int run(char *const argv[], int in, int out, struct err *err)
{
	AUTO_CLOSE int errors = memfd_create("stderr", MFD_CLOEXEC);
	char text[400];
	ssize_t n;
	int status;
	pid_t pid;

	if (errors < 0)
		return err_sys(err, errno, "memfd");
	pid = fork();
	if (pid < 0)
		return err_sys(err, errno, "run %s", argv[0]);
	if (pid == 0)
		program(argv, in, out, errors);
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return err_sys(err, errno, "wait for %s", argv[0]);
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	n = pread(errors, text, sizeof(text) - 1, 0);
	text[n > 0 ? n : 0] = '\0';
	return err_rpc(err, RPC_INTERNAL, "%s ended with %s %d: %s", argv[0],
		       WIFEXITED(status) ? "status" : "signal",
		       WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status), text);
}

/* Copies the whole of a memory file to the parent. */
static int hand_over(int file, int out, struct err *err)
{
	off_t size = lseek(file, 0, SEEK_END);
	char chunk[16384];
	int r = 0;

	if (size > (off_t)LIMIT_RULES)
		return err_rpc(err, RPC_RESOURCE_EXHAUSTED,
			       "%lld bytes of rules are more than an answer can carry",
			       (long long)size);
	for (off_t at = 0; at < size && r == 0;) {
		ssize_t n = pread(file, chunk, sizeof(chunk), at);

		if (n <= 0)
			return err_sys(err, n < 0 ? errno : EIO, "read rules");
		r = fdio_write_all(out, chunk, (size_t)n);
		at += n;
	}
	return r < 0 ? err_sys(err, -r, "hand over rules") : 0;
}

static int save(void *arg, int out, struct err *err)
{
	const struct call *c = arg;
	const Grpc__GetIPTablesRequest *req = c->wait;
	AUTO_CLOSE int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
	AUTO_CLOSE int rules = memfd_create("rules", MFD_CLOEXEC);
	char path[64];
	char *argv[] = { path, NULL };

	if (in < 0 || rules < 0)
		return err_sys(err, errno, "save rules");
	if (find_program(req->is_ipv6 ? "ip6tables-save" : "iptables-save", path, sizeof(path),
			 err) < 0 ||
	    run(argv, in, rules, err) < 0)
		return -err->code;
	return hand_over(rules, out, err);
}

static int restore(void *arg, int out, struct err *err)
{
	const struct call *c = arg;
	const Grpc__SetIPTablesRequest *req = c->wait;
	AUTO_CLOSE int rules = memfd_create("rules", MFD_CLOEXEC);
	AUTO_CLOSE int told = memfd_create("stdout", MFD_CLOEXEC);
	char path[64], wait[] = "--wait", seconds[] = "5";
	char *argv[] = { path, wait, seconds, NULL };
	int r;

	if (rules < 0 || told < 0)
		return err_sys(err, errno, "restore rules");
	r = fdio_write_all(rules, req->data.data, req->data.len);
	if (r < 0 || lseek(rules, 0, SEEK_SET) < 0)
		return err_sys(err, r < 0 ? -r : errno, "restore rules");
	if (find_program(req->is_ipv6 ? "ip6tables-restore" : "iptables-restore", path,
			 sizeof(path), err) < 0 ||
	    run(argv, rules, told, err) < 0)
		return -err->code;
	return hand_over(told, out, err);
}

static void saved(void *arg, const struct err *err, const struct buf *out)
{
	Grpc__GetIPTablesResponse resp = GRPC__GET_IPTABLES_RESPONSE__INIT;

	if (err->code) {
		(void)call_fail(arg, err);
		return;
	}
	resp.data = (ProtobufCBinaryData){ buf_len(out), buf_data(out) };
	(void)call_reply(arg, &resp.base);
}

static void restored(void *arg, const struct err *err, const struct buf *out)
{
	Grpc__SetIPTablesResponse resp = GRPC__SET_IPTABLES_RESPONSE__INIT;

	if (err->code) {
		(void)call_fail(arg, err);
		return;
	}
	resp.data = (ProtobufCBinaryData){ buf_len(out), buf_data(out) };
	(void)call_reply(arg, &resp.base);
}

static const struct worker_opts iptables_opts = { .timeout_ms = TIMEOUT_MS,
						  .max_out = LIMIT_RULES };

int svc_get_iptables(struct call *c, const void *req, struct err *err)
{
	return work_start(c, &iptables_opts, (void *)(uintptr_t)req, save, saved, err);
}

int svc_set_iptables(struct call *c, const void *req, struct err *err)
{
	return work_start(c, &iptables_opts, (void *)(uintptr_t)req, restore, restored, err);
}
