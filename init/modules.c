/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Modules at boot. No state.
 */
#include "init.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "linux/run.h"

#define LIST_DIR "/etc/modules-load.d"

bool modules_wanted(void)
{
	return access(LIST_DIR, F_OK) == 0;
}

static void dashes_to_underscores(char *text)
{
	for (char *c = strchr(text, '-'); c; c = strchr(c, '-'))
		*c = '_';
}

/* What modprobe could not load may be in the kernel itself, which lists it as "dir/name.ko". */
static bool module_is_builtin(const char *name)
{
	AUTO_FREE char *list = NULL;
	struct utsname u;
	char path[sizeof(u.release) + 40], file[80];

	if (uname(&u) < 0 || snprintf(file, sizeof(file), "/%s.ko", name) >= (int)sizeof(file))
		return false;
	(void)snprintf(path, sizeof(path), "/lib/modules/%s/modules.builtin", u.release);
	if (fdio_slurp(AT_FDCWD, path, LIMIT_MODULE_LIST, &list) < 0)
		return false;
	dashes_to_underscores(list);
	dashes_to_underscores(file);
	return strstr(list, file) != NULL;
}

/* The names of all that failed, and why the first did. */
static void module_failed(const char *name, const struct err *why, struct err *failed)
{
	size_t n = strlen(failed->msg);

	if (!failed->code)
		err_set(failed, why->code, "%s (%s)", name, why->msg);
	else
		(void)snprintf(failed->msg + n, sizeof(failed->msg) - n, ", %s", name);
}

static void load_line(char *line, struct err *failed)
{
	static char modprobe[] = "modprobe";
	char *argv[LIMIT_MODULE_WORDS + 2] = { modprobe }, *save = NULL;
	struct err err = { 0 };
	size_t n = 1;

	for (char *w = strtok_r(line, " \t\r", &save); w && n < LIMIT_MODULE_WORDS + 1;
	     w = strtok_r(NULL, " \t\r", &save))
		argv[n++] = w;
	if (n == 1 || argv[1][0] == '#' || argv[1][0] == ';')
		return;
	if (run_program(&(struct run){ .argv = argv }, &err) < 0 && !module_is_builtin(argv[1]))
		module_failed(argv[1], &err, failed);
}

static void load_file(int dir, const char *name, struct err *failed)
{
	AUTO_FREE char *text = NULL;
	char *next;

	if (fdio_slurp(dir, name, LIMIT_MODULE_LIST, &text) < 0)
		return;
	next = text;
	while (next && *next) {
		char *line = next;

		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		load_line(line, failed);
	}
}

int modules_load(struct err *err)
{
	AUTO_DIR DIR *d = opendir(LIST_DIR);
	struct dirent *e;

	*err = (struct err){ 0 };
	if (!d)
		return 0;
	while ((e = readdir(d))) {
		size_t len = strlen(e->d_name);

		if (len > 5 && strcmp(e->d_name + len - 5, ".conf") == 0)
			load_file(dirfd(d), e->d_name, err);
	}
	return -err->code;
}
