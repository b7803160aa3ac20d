/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock-guest: PID 1 of a guest that only tests the vsock device. Each connection gets a child.
 *
 *   port 5000  echo: what comes in goes out, end of stream included
 *   port 5001  sink: reads to the end, answers "<bytes> <fnv1a hash in hex>\n"
 *   port 5002  source: reads "<bytes>\n", writes so many bytes of the pattern below, closes
 *   port 5003  commands, one a line: "dial PORT" (connects to CID 2, sends "hello from the
 *              guest\n", half-closes, answers what it read until the end), "poweroff"
 *   port 5004  closes at once
 *   port 5005  writes 64 KiB of the pattern, then resets (closes without reading)
 *   port 5006  accepts and never reads
 *
 * The pattern is byte i = i * 31 + (i >> 8), so that lost and doubled blocks show.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FIRST_PORT = 5000, BUF_LEN = 65536 };

static uint8_t buf[BUF_LEN];

static bool write_all(int fd, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

/* Reads up to and without the newline, one byte at a time. */
static bool read_line(int fd, char *line, size_t size)
{
	for (size_t n = 0; n + 1 < size; n++) {
		if (read(fd, &line[n], 1) != 1)
			return false;
		if (line[n] == '\n') {
			line[n] = '\0';
			return true;
		}
	}
	return false;
}

static void echo(int fd)
{
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		if (!write_all(fd, buf, (size_t)n))
			return;
	}
	(void)shutdown(fd, SHUT_WR);
	/* A client that only half-closed decides when the connection ends. */
	while (read(fd, buf, sizeof(buf)) > 0)
		;
}

static void sink(int fd)
{
	uint64_t total = 0, hash = 14695981039346656037u;
	char line[64];
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		for (ssize_t i = 0; i < n; i++)
			hash = (hash ^ buf[i]) * 1099511628211u;
		total += (uint64_t)n;
	}
	(void)snprintf(line, sizeof(line), "%" PRIu64 " %016" PRIx64 "\n", total, hash);
	(void)write_all(fd, line, strlen(line));
}

static bool write_pattern(int fd, uint64_t len)
{
	for (uint64_t i = 0; i < len; i += BUF_LEN) {
		uint64_t n = len - i < BUF_LEN ? len - i : BUF_LEN;

		for (uint64_t j = 0; j < n; j++)
			buf[j] = (uint8_t)((i + j) * 31 + ((i + j) >> 8));
		if (!write_all(fd, buf, n))
			return false;
	}
	return true;
}

static void source(int fd)
{
	char line[32];

	if (read_line(fd, line, sizeof(line)))
		(void)write_pattern(fd, strtoull(line, NULL, 10));
}

static void dial(int fd, unsigned int port)
{
	struct sockaddr_vm a = { .svm_family = AF_VSOCK,
				 .svm_cid = VMADDR_CID_HOST,
				 .svm_port = port };
	static const char hello[] = "hello from the guest\n";
	int s = socket(AF_VSOCK, SOCK_STREAM, 0);
	ssize_t n;

	if (s < 0 || connect(s, (const struct sockaddr *)&a, sizeof(a)) < 0) {
		char line[96];

		(void)snprintf(line, sizeof(line), "error %s\n", strerror(errno));
		(void)write_all(fd, line, strlen(line));
	} else {
		(void)write_all(s, hello, sizeof(hello) - 1);
		(void)shutdown(s, SHUT_WR);
		while ((n = read(s, buf, sizeof(buf))) > 0)
			(void)write_all(fd, buf, (size_t)n);
	}
	if (s >= 0)
		close(s);
}

static void commands(int fd)
{
	char line[64];

	while (read_line(fd, line, sizeof(line))) {
		if (strncmp(line, "dial ", 5) == 0) {
			dial(fd, (unsigned int)strtoul(line + 5, NULL, 10));
			(void)write_all(fd, ".\n", 2);
		} else if (strcmp(line, "poweroff") == 0) {
			reboot(RB_POWER_OFF);
		} else if (strcmp(line, "reboot") == 0) {
			reboot(RB_AUTOBOOT);
		}
	}
}

static void close_at_once(int fd)
{
	(void)fd;
}

static void write_and_reset(int fd)
{
	(void)write_pattern(fd, BUF_LEN);
}

static void never_read(int fd)
{
	(void)fd;
	for (;;)
		pause();
}

static void (*const services[])(int fd) = {
	echo, sink, source, commands, close_at_once, write_and_reset, never_read,
};

enum { SERVICES = sizeof(services) / sizeof(services[0]) };

static int listen_on(unsigned int port)
{
	struct sockaddr_vm a = { .svm_family = AF_VSOCK,
				 .svm_cid = VMADDR_CID_ANY,
				 .svm_port = port };
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (const struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 128) < 0) {
		printf("vsock-guest: port %u: %s\n", port, strerror(errno));
		return -1;
	}
	return fd;
}

static void serve(const struct pollfd *p, unsigned int service)
{
	int fd = accept(p[service].fd, NULL, NULL);
	pid_t pid;

	if (fd < 0)
		return;
	pid = fork();
	if (pid == 0) {
		signal(SIGCHLD, SIG_DFL);
		for (unsigned int i = 0; i < SERVICES; i++)
			close(p[i].fd);
		services[service](fd);
		close(fd);
		_exit(0);
	}
	close(fd);
}

int main(void)
{
	struct pollfd p[SERVICES];
	int console;

	(void)mount("proc", "/proc", "proc", 0, NULL);
	(void)mount("dev", "/dev", "devtmpfs", 0, NULL);
	console = open("/dev/console", O_RDWR);
	for (int i = 0; console >= 0 && i < 3; i++)
		(void)dup2(console, i);
	setvbuf(stdout, NULL, _IONBF, 0);
	signal(SIGCHLD, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	for (unsigned int i = 0; i < SERVICES; i++)
		p[i] = (struct pollfd){ .fd = listen_on(FIRST_PORT + i), .events = POLLIN };
	printf("vsock-guest: ready\n");
	for (;;) {
		if (poll(p, SERVICES, -1) <= 0)
			continue;
		for (unsigned int i = 0; i < SERVICES; i++) {
			if (p[i].revents)
				serve(p, i);
		}
	}
}
