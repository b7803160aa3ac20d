/* SPDX-License-Identifier: Apache-2.0 */
/* moved DIR: prints the name of each entry that is moved or made there. */
#include <limits.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char buf[4096] __attribute__((aligned(8)));
	int fd = inotify_init1(IN_CLOEXEC);

	if (argc != 2 || inotify_add_watch(fd, argv[1], IN_MOVED_TO | IN_CREATE) < 0) {
		perror("watch");
		return 1;
	}
	printf("watching\n");
	fflush(stdout);
	for (;;) {
		ssize_t n = read(fd, buf, sizeof(buf));

		if (n <= 0)
			return 1;
		for (char *p = buf; p < buf + n;) {
			const struct inotify_event *e = (const struct inotify_event *)p;

			printf("%s\n", e->len ? e->name : "");
			p += sizeof(*e) + e->len;
		}
		fflush(stdout);
	}
}
