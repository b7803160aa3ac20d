/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading and writing one container's cgroup files, and the journal that lets an update that
 * failed half-way be undone.
 */
#include "oci/cgroup/impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/str.h"

int cgroup_path(const struct cgroup *cg, const struct hierarchy *h, const char *file,
		struct cgroup_path *ret)
{
	bool own = cg->below_own && *h->own;
	int n = snprintf(ret->text, sizeof(ret->text), "%s%s%s%s%s", own ? h->own : "",
			 own ? "/" : "", cg->path, file ? "/" : "", file ? file : "");

	return n < 0 || (size_t)n >= sizeof(ret->text) ? -ENAMETOOLONG : 0;
}

bool cgroup_has(const struct cgroup *cg, enum ctl ctl)
{
	return cg->root->of[ctl] != CTL_NONE;
}

int cgroup_open(const struct cgroup *cg, enum ctl ctl, const char *file, int flags)
{
	const struct hierarchy *h;
	struct cgroup_path path;
	int fd, r;

	if (!cgroup_has(cg, ctl))
		return -ENOENT;
	h = &cg->root->h[cg->root->of[ctl]];
	r = cgroup_path(cg, h, file, &path);
	if (r < 0)
		return r;
	fd = openat(h->fd, path.text, flags | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

ssize_t cgroup_read(const struct cgroup *cg, enum ctl ctl, const char *file, char *buf, size_t size)
{
	AUTO_CLOSE int fd = cgroup_open(cg, ctl, file, O_RDONLY);

	return fd < 0 ? fd : fdio_read_text(fd, buf, size);
}

int cgroup_read_u64(const struct cgroup *cg, enum ctl ctl, const char *file, uint64_t *ret)
{
	char text[32];
	ssize_t n = cgroup_read(cg, ctl, file, text, sizeof(text));

	if (n < 0)
		return (int)n;
	if (str_eq(text, "max")) {
		*ret = UINT64_MAX;
		return 0;
	}
	return str_u64(text, UINT64_MAX, ret);
}

int cgroup_read_key(const struct cgroup *cg, enum ctl ctl, const char *file, const char *key,
		    uint64_t *ret)
{
	char text[4096], *rest = text, *line;
	ssize_t n = cgroup_read(cg, ctl, file, text, sizeof(text));

	if (n < 0)
		return (int)n;
	while ((line = strsep(&rest, "\n"))) {
		char *word = strsep(&line, " ");

		if (line && str_eq(word, key))
			return str_u64(line, UINT64_MAX, ret);
	}
	return -ENODATA;
}

/* Keeps the first line of what the file says now: for keyed files that is the default. */
static int journal_add(struct cgroup *cg, enum ctl ctl, const char *file, struct err *err)
{
	struct journal *j = cg->journal;
	char old[4096];
	ssize_t n = cgroup_read(cg, ctl, file, old, sizeof(old));
	int len;

	if (n < 0)
		return n == -ENOENT ? -ENOENT : err_sys(err, (int)-n, "read %s", file);
	old[strcspn(old, "\n")] = '\0';
	if (j->count == JOURNAL_ROWS)
		return err_set(err, E2BIG, "too many changes in one update");
	len = snprintf(j->row[j->count].file, sizeof(j->row[0].file), "%s", file);
	if (len < 0 || (size_t)len >= sizeof(j->row[0].file))
		return err_set(err, ENAMETOOLONG, "cgroup file %s", file);
	j->row[j->count].old = strdup(old);
	if (!j->row[j->count].old)
		return err_set(err, ENOMEM, "no memory for the old value of %s", file);
	j->row[j->count++].ctl = ctl;
	return 0;
}

/* One write(2) is one request to these files, so there is no continuing after a short one. */
static int write_text(const struct cgroup *cg, enum ctl ctl, const char *file, const char *text)
{
	AUTO_CLOSE int fd = cgroup_open(cg, ctl, file, O_WRONLY | O_TRUNC);
	ssize_t n;

	if (fd < 0)
		return fd;
	do
		n = write(fd, text, strlen(text));
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

int cgroup_write(struct cgroup *cg, enum ctl ctl, const char *file, struct err *err,
		 const char *fmt, ...)
{
	char text[4096];
	va_list ap;
	int n, r;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(text))
		return err_set(err, E2BIG, "value for %s is too long", file);
	r = cg->journal ? journal_add(cg, ctl, file, err) : 0;
	if (r == 0)
		r = write_text(cg, ctl, file, text);
	else if (r != -ENOENT)
		return r;
	return r < 0 ? err_sys(err, -r, "failed to write %s to %s", text, file) : 0;
}

void cgroup_undo(struct cgroup *cg)
{
	struct journal *j = cg->journal;

	while (j->count > 0) {
		j->count--;
		(void)write_text(cg, j->row[j->count].ctl, j->row[j->count].file,
				 j->row[j->count].old);
		free(j->row[j->count].old);
	}
}

void cgroup_journal_free(struct journal *j)
{
	while (j->count > 0)
		free(j->row[--j->count].old);
}
