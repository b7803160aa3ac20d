/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Readers of self/mountinfo and self/cgroup. No state.
 */
#include "linux/mountinfo.h"

#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/str.h"

/* The kernel writes blanks, tabs, newlines and backslashes as three octal digits. */
static void mountinfo_unescape(char *s)
{
	char *to = s;

	while (*s) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
		    s[3] >= '0' && s[3] <= '7') {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 4;
		} else {
			*to++ = *s++;
		}
	}
	*to = '\0';
}

/* "major:minor" */
static bool mountinfo_dev(char *text, dev_t *ret)
{
	char *number = strsep(&text, ":");
	uint64_t maj, min;

	if (!text || str_u64(number, UINT32_MAX, &maj) < 0 || str_u64(text, UINT32_MAX, &min) < 0)
		return false;
	*ret = makedev((unsigned int)maj, (unsigned int)min);
	return true;
}

/* "id parent major:minor root point options [tags] - type source super" */
static bool mountinfo_cut(char *line, struct mountinfo *m)
{
	char *right = strstr(line, " - "), *dev;

	if (!right)
		return false;
	*right = '\0';
	right += strlen(" - ");
	(void)strsep(&line, " ");
	(void)strsep(&line, " ");
	dev = strsep(&line, " ");
	m->root = strsep(&line, " ");
	m->point = strsep(&line, " ");
	m->options = strsep(&line, " ");
	m->type = strsep(&right, " ");
	m->source = strsep(&right, " ");
	m->super = right;
	if (!m->options || !m->super || !mountinfo_dev(dev, &m->dev))
		return false;
	mountinfo_unescape(m->root);
	mountinfo_unescape(m->point);
	mountinfo_unescape(m->source);
	return true;
}

static ssize_t procfs_read(int proc, const char *absolute, char **ret)
{
	const char *path = proc == AT_FDCWD ? absolute : absolute + strlen("/proc/");

	return fdio_slurp(proc, path, LIMIT_MOUNTINFO, ret);
}

ssize_t mountinfo_read(int proc, char **ret)
{
	return procfs_read(proc, "/proc/self/mountinfo", ret);
}

bool mountinfo_next(char **text, struct mountinfo *ret)
{
	char *line;

	while ((line = strsep(text, "\n"))) {
		if (mountinfo_cut(line, ret))
			return true;
	}
	return false;
}

bool mountinfo_is(const char *point, const char *type)
{
	AUTO_FREE char *text = NULL;
	struct mountinfo m;
	bool is = false;
	char *at;

	if (mountinfo_read(AT_FDCWD, &text) < 0)
		return false;
	at = text;
	while (mountinfo_next(&at, &m)) {
		if (str_eq(m.point, point))
			is = str_eq(m.type, type);
	}
	return is;
}

ssize_t cgroup_line_read(int proc, char **ret)
{
	return procfs_read(proc, "/proc/self/cgroup", ret);
}

bool cgroup_line_next(char **text, struct cgroup_line *ret)
{
	char *line;

	while ((line = strsep(text, "\n"))) {
		ret->id = strsep(&line, ":");
		ret->controllers = strsep(&line, ":");
		ret->path = line;
		if (line)
			return true;
	}
	return false;
}
