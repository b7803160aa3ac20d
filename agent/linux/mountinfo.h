/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a process is told in procfs about where it is: its mounts (self/mountinfo) and its cgroups
 * (self/cgroup). Lines are cut in place: what the fields point to lives as long as the text.
 */
#ifndef LINUX_MOUNTINFO_H
#define LINUX_MOUNTINFO_H

#include <stdbool.h>
#include <sys/types.h>

struct mountinfo {
	dev_t dev;
	char *root, *point;  /* unescaped */
	char *options;	     /* of the mount: "rw,noatime" */
	char *type, *source; /* source unescaped */
	char *super;	     /* options of the file system */
};

/* The text of our own table; proc is the fd of a procfs, or AT_FDCWD for /proc. From malloc. */
ssize_t mountinfo_read(int proc, char **ret);
/* The next line that is one; *text moves on. False at the end. */
bool mountinfo_next(char **text, struct mountinfo *ret);

/* Whether what is mounted at that point, on top, is a file system of the type. */
bool mountinfo_is(const char *point, const char *type);

struct cgroup_line {
	char *id;	   /* "0" is v2's, or a number */
	char *controllers; /* "cpu,cpuacct", "name=systemd", "" for v2 */
	char *path;
};

/* As above; a kernel without cgroups is -ENOENT. */
ssize_t cgroup_line_read(int proc, char **ret);
bool cgroup_line_next(char **text, struct cgroup_line *ret);

#endif
