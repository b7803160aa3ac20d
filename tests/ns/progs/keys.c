/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The session keyring, by system calls alone (busybox has no keyctl).
 *
 *	keys add NAME VALUE	prints the new key's number
 *	keys read NAME		what the key of that name in the session's keyring says
 *	keys number N		what the key of that number says
 *	keys join NAME		joins the keyring of that name and looks for a key "secret" in it
 *	keys names		the names of all keyrings that /proc/keys shows
 */
#include <errno.h>
#include <linux/keyctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int say(long key)
{
	char text[256];
	long n = key < 0 ? -1 : syscall(SYS_keyctl, KEYCTL_READ, key, text, sizeof(text));

	if (n < 0) {
		printf("error: %s\n", strerror(errno));
		return 1;
	}
	printf("%.*s\n", (int)n, text);
	return 0;
}

static long find(const char *name)
{
	return syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "user", name, 0);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "", *arg = argc > 2 ? argv[2] : "";
	char line[512];
	FILE *f;

	if (!strcmp(what, "add") && argc > 3) {
		long key = syscall(SYS_add_key, "user", arg, argv[3], strlen(argv[3]),
				   KEY_SPEC_SESSION_KEYRING);

		if (key < 0)
			return say(-1);
		printf("%ld\n", key);
		return 0;
	}
	if (!strcmp(what, "read"))
		return say(find(arg));
	if (!strcmp(what, "number"))
		return say(atol(arg));
	if (!strcmp(what, "join")) {
		if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, arg) < 0)
			return say(-1);
		return say(find("secret"));
	}
	f = fopen("/proc/keys", "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (strstr(line, " keyring "))
			fputs(line, stdout);
	}
	return 0;
}
