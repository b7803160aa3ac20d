/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Modules at boot. No state.
 */
#include "modules.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
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

static int load_line(char *line, struct err *err)
{
	static char modprobe[] = "modprobe", quiet[] = "-q";
	char *argv[LIMIT_MODULE_WORDS + 3] = { modprobe, quiet }, *save = NULL;
	size_t n = 2;

	for (char *w = strtok_r(line, " \t\r", &save); w && n < LIMIT_MODULE_WORDS + 2;
	     w = strtok_r(NULL, " \t\r", &save))
		argv[n++] = w;
	if (n == 2 || argv[2][0] == '#' || argv[2][0] == ';')
		return 0;
	return run_program(&(struct run){ .argv = argv }, err) < 0
		       ? err_wrap(err, "module %s", argv[2])
		       : 0;
}

static void load_file(int dir, const char *name, struct err *first)
{
	AUTO_FREE char *text = NULL;
	char *next;

	if (fdio_slurp(dir, name, LIMIT_MODULE_LIST, &text) < 0)
		return;
	next = text;
	while (next && *next) {
		char *line = next;
		struct err err = { 0 };

		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		if (load_line(line, &err) < 0 && !first->code)
			*first = err;
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
