/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which cgroup hierarchies the guest has and where the agent itself lives in them. Owns struct
 * cgroup_root: a handful of O_PATH descriptors, kept for the agent's life so that no request has
 * to look at the mount table again.
 */
#include "oci/cgroup/impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "linux/mountinfo.h"
#include "base/auto.h"
#include "base/fdio.h"
#include "base/str.h"

/* What v2 has whether or not a controller is on. */
#define V2_ALWAYS (1u << CTL_DEVICES | 1u << CTL_FREEZER | 1u << CTL_CPUACCT)

const char *const cgroup_ctl_names[CTL_COUNT] = {
	[CTL_CPUSET] = "cpuset",	 [CTL_DEVICES] = "devices",
	[CTL_MEMORY] = "memory",	 [CTL_CPU] = "cpu",
	[CTL_CPUACCT] = "cpuacct",	 [CTL_PIDS] = "pids",
	[CTL_BLKIO] = "blkio",		 [CTL_HUGETLB] = "hugetlb",
	[CTL_NET_CLS] = "net_cls",	 [CTL_NET_PRIO] = "net_prio",
	[CTL_PERF_EVENT] = "perf_event", [CTL_FREEZER] = "freezer",
	[CTL_SYSTEMD] = "name=systemd",
};

static void cgroup_root_freep(struct cgroup_root **root)
{
	cgroup_root_free(*root);
}

static void cgroup_root_empty(struct cgroup_root *root)
{
	for (size_t i = 0; i < root->count; i++) {
		auto_closep(&root->h[i].fd);
		free(root->h[i].name);
		free(root->h[i].top);
		free(root->h[i].own);
	}
	root->count = 0;
	for (size_t c = 0; c < CTL_COUNT; c++)
		root->of[c] = CTL_NONE;
}

void cgroup_root_free(struct cgroup_root *root)
{
	if (!root)
		return;
	cgroup_root_empty(root);
	list_for_each_safe(struct made_dir, d, &root->made, link) {
		list_del(&d->link);
		free(d);
	}
	free(root);
}

static uint32_t controllers_of(char *options)
{
	uint32_t ctls = 0;
	char *word;

	while ((word = strsep(&options, ","))) {
		for (unsigned int c = 0; c < CTL_COUNT; c++) {
			if (str_eq(word, cgroup_ctl_names[c]))
				ctls |= 1u << c;
		}
	}
	return ctls;
}

const char *cgroup_below_top(const char *path, const char *top)
{
	size_t len = strlen(top);

	if (str_eq(top, "/"))
		len = 0;
	if (strncmp(path, top, len) != 0 || (path[len] != '/' && path[len] != '\0') ||
	    str_starts(path, "/.."))
		return "";
	path += len;
	while (*path == '/')
		path++;
	return path;
}

/*
 * self is the untouched text of /proc/self/cgroup: "number:controllers:path" a line. From malloc;
 * NULL only without memory.
 */
static char *find_own(const char *self, uint32_t ctls, const char *top)
{
	AUTO_FREE char *text = strdup(self);
	struct cgroup_line line;
	char *rest = text;

	if (!text)
		return NULL;
	while (cgroup_line_next(&rest, &line)) {
		if (ctls ? controllers_of(line.controllers) & ctls : !*line.controllers)
			return strdup(cgroup_below_top(line.path, top));
	}
	return strdup("");
}

static int add_hierarchy(struct cgroup_root *root, const struct mountinfo *m, uint32_t ctls,
			 const char *self, struct err *err)
{
	struct hierarchy *h = &root->h[root->count];
	const char *slash = strrchr(m->point, '/');

	h->fd = open(m->point, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (h->fd < 0)
		return err_sys(err, errno, "open cgroup file system '%s'", m->point);
	root->count++;
	h->ctls = ctls;
	h->name = strdup(slash ? slash + 1 : m->point);
	h->top = strdup(m->root);
	h->own = find_own(self, ctls, m->root);
	if (!h->name || !h->top || !h->own)
		return err_set(err, ENOMEM, "no memory for the cgroup layout");
	for (unsigned int c = 0; c < CTL_COUNT; c++) {
		if (ctls >> c & 1)
			root->of[c] = (int)root->count - 1;
	}
	return 0;
}

/* "cpu io memory" -> "+cpu +io +memory", only what we use. */
static int read_v2_controllers(struct cgroup_root *root, struct err *err)
{
	static const struct {
		const char *name;
		enum ctl ctl;
	} used[] = {
		{ "cpuset", CTL_CPUSET }, { "cpu", CTL_CPU },	      { "io", CTL_BLKIO },
		{ "memory", CTL_MEMORY }, { "hugetlb", CTL_HUGETLB }, { "pids", CTL_PIDS },
	};
	char text[256], *rest = text, *word;
	size_t len = 0;
	ssize_t n = fdio_read_file(root->h[0].fd, "cgroup.controllers", text, sizeof(text));

	if (n < 0)
		return err_sys(err, (int)-n, "read cgroup.controllers");
	while ((word = strsep(&rest, " "))) {
		for (size_t i = 0; i < ARRAY_LEN(used); i++) {
			if (!str_eq(word, used[i].name))
				continue;
			root->of[used[i].ctl] = 0;
			len += (size_t)snprintf(root->enable + len, sizeof(root->enable) - len,
						"%s+%s", len ? " " : "", word);
		}
	}
	return 0;
}

/* What every guest needs to hold containers apart; others are a matter of the kernel's size. */
static void find_lacking(struct cgroup_root *root)
{
	static const enum ctl wanted[] = { CTL_CPUSET, CTL_DEVICES, CTL_MEMORY,
					   CTL_CPU,    CTL_PIDS,    CTL_FREEZER };
	char *text = root->lacks;
	size_t len = 0;

	for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
		if (root->of[wanted[i]] == CTL_NONE)
			len += (size_t)snprintf(text + len, sizeof(root->lacks) - len, "%s%s",
						len ? ", " : "the guest has no cgroup controllers ",
						cgroup_ctl_names[wanted[i]]);
	}
}

int cgroup_root_parse(char *mountinfo, char *self, struct cgroup_root **ret, struct err *err)
{
	AUTO(cgroup_root_freep) struct cgroup_root *root = calloc(1, sizeof(*root));
	struct mountinfo m, unified = { 0 };
	uint32_t seen = 0;
	int r;

	if (!root)
		return err_set(err, ENOMEM, "no memory for the cgroup layout");
	list_init(&root->made);
	cgroup_root_empty(root);
	while (mountinfo_next(&mountinfo, &m)) {
		uint32_t ctls;

		if (str_eq(m.type, "cgroup2") && !unified.point)
			unified = m;
		if (!str_eq(m.type, "cgroup"))
			continue;
		ctls = controllers_of(m.super);
		if (!ctls || (ctls & seen))
			continue; /* nothing for us, or the same one mounted again */
		seen |= ctls;
		root->mode = CGROUP_V1;
		r = add_hierarchy(root, &m, ctls, self, err);
		if (r < 0)
			return r;
	}
	/*
	 * Hybrid: with v1 controllers mounted, the unified tree only serves systemd. With none of
	 * them (cgroup_no_v1=all and an old systemd) it is the other way round.
	 */
	if (unified.point && !(seen & ~(1u << CTL_SYSTEMD))) {
		cgroup_root_empty(root);
		root->mode = CGROUP_V2;
		r = add_hierarchy(root, &unified, V2_ALWAYS, self, err);
		if (r < 0 || (r = read_v2_controllers(root, err)) < 0)
			return r;
	}
	find_lacking(root);
	*ret = TAKE_PTR(root);
	return 0;
}

bool cgroup_root_is_unified(const struct cgroup_root *root)
{
	return root->mode == CGROUP_V2;
}

const char *cgroup_root_lacks(const struct cgroup_root *root)
{
	return root ? root->lacks : "the guest's cgroups could not be read";
}

/* From what is mounted now. */
static int cgroup_root_read(struct cgroup_root **ret, struct err *err)
{
	AUTO_FREE char *mountinfo = NULL;
	AUTO_FREE char *self = NULL;
	ssize_t n;

	n = mountinfo_read(AT_FDCWD, &mountinfo);
	if (n < 0)
		return err_sys(err, (int)-n, "read /proc/self/mountinfo");
	n = cgroup_line_read(AT_FDCWD, &self);
	if (n == -ENOENT) { /* a kernel without cgroups */
		self = strdup("");
		n = self ? 0 : -ENOMEM;
	}
	if (n < 0)
		return err_sys(err, (int)-n, "read /proc/self/cgroup");
	return cgroup_root_parse(mountinfo, self, ret, err);
}

int cgroup_root_open(const char *why, struct cgroup_root **ret, struct err *err)
{
	char empty[] = "", none[] = "";
	struct err e = { 0 };
	int r = cgroup_root_read(ret, &e);

	if (r < 0) {
		why = e.msg;
		r = cgroup_root_parse(empty, none, ret, err);
	}
	if (r < 0)
		return r;
	if ((*ret)->mode == CGROUP_NONE)
		(void)snprintf((*ret)->lacks, sizeof((*ret)->lacks),
			       "the guest has no cgroups (%.200s)",
			       *why ? why : "none are mounted");
	rootdisk_find(&(*ret)->disks);
	return 0;
}
