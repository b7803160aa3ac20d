/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a container may try against its guest without any capability of its own, and a bit more.
 *
 *	attack bind SECONDS PORT...	tries to become the listener of these vsock ports: "bound N"
 *	attack flood SECONDS PORT...	dials them from inside as fast as it can: "served N", of those
 *					connections that anybody wrote to or kept open
 *	attack uevents N		forges as many messages of the kernel's about devices: "sent N"
 */
#include <errno.h>
#include <linux/netlink.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static unsigned int own_cid(void)
{
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
	struct sockaddr_vm sa = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY };
	socklen_t len = sizeof(sa);

	sa.svm_port = VMADDR_PORT_ANY;
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return 3;
	getsockname(fd, (struct sockaddr *)&sa, &len);
	close(fd);
	return sa.svm_cid == VMADDR_CID_ANY ? 3 : sa.svm_cid;
}

static int try_bind(unsigned int cid, unsigned int port)
{
	struct sockaddr_vm sa = { .svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port };
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0), on = 1, got;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	got = fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 && listen(fd, 1) == 0;
	if (fd >= 0)
		close(fd);
	return got;
}

static int try_dial(unsigned int cid, unsigned int port)
{
	struct sockaddr_vm sa = { .svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port };
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK, 0), served = 0;
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLOUT };
	char c;

	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 || errno == EINPROGRESS) {
		poll(&p, 1, 5);
		p.events = POLLIN;
		if (p.revents & POLLOUT && !(p.revents & (POLLERR | POLLHUP)))
			served = poll(&p, 1, 100) == 0 || recv(fd, &c, 1, 0) > 0;
	}
	close(fd);
	return served;
}

static int uevents(int n)
{
	static const char text[] =
		"add@/devices/virtual/block/forged\0ACTION=add\0DEVPATH=/devices/virtual/block/forged\0"
		"SUBSYSTEM=block\0DEVNAME=forged\0MAJOR=7\0MINOR=0\0SEQNUM=99999999";
	struct sockaddr_nl sa = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT), sent = 0;

	for (int i = 0; i < n; i++)
		sent += sendto(fd, text, sizeof(text), 0, (struct sockaddr *)&sa, sizeof(sa)) > 0;
	sa.nl_groups = 0;
	sa.nl_pid = 1; /* straight to the agent's own address */
	for (int i = 0; i < n; i++)
		sent += sendto(fd, text, sizeof(text), 0, (struct sockaddr *)&sa, sizeof(sa)) > 0;
	return sent;
}

int main(int argc, char **argv)
{
	unsigned int cids[3] = { VMADDR_CID_ANY, VMADDR_CID_LOCAL, own_cid() };
	time_t end;
	int got = 0;

	if (argc < 3)
		return 2;
	if (strcmp(argv[1], "uevents") == 0) {
		printf("sent %d\n", uevents(atoi(argv[2])));
		return 0;
	}
	printf("up\n");
	fflush(stdout);
	end = time(NULL) + atoi(argv[2]);
	while (time(NULL) < end) {
		for (int i = 3; i < argc; i++) {
			for (int c = 0; c < 3; c++) {
				unsigned int port = (unsigned int)atoi(argv[i]);

				if (strcmp(argv[1], "bind") == 0)
					got += try_bind(cids[c], port);
				else if (c > 0)
					got += try_dial(cids[c], port);
			}
		}
	}
	printf("%s %d\n", strcmp(argv[1], "bind") == 0 ? "bound" : "served", got);
	return 0;
}
