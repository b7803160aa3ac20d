/*
 * Guest hooks: looked for when a container is made. No state.
 */
#include "svc/guesthook.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/arena.h"
#include "lib/auto.h"
#include "lib/log.h"
#include "lib/str.h"

#define HOOKS_MAX 64u /* of one folder */

struct folder {
	const char *path, *kind;
	struct arena *mem;
	Grpc__Hook **hooks; /* room for HOOKS_MAX more */
	size_t n, first;
};

static int add(struct folder *f, const char *name)
{
	Grpc__Hook *h = arena_alloc(f->mem, sizeof(*h));
	char **args = arena_alloc(f->mem, 2 * sizeof(*args));

	if (!h || !args)
		return -ENOMEM;
	grpc__hook__init(h);
	h->path = arena_printf(f->mem, "%s/%s/%s", f->path, f->kind, name);
	args[0] = arena_strdup(f->mem, name);
	args[1] = arena_strdup(f->mem, f->kind);
	if (!h->path || !args[0] || !args[1])
		return -ENOMEM;
	h->args = args;
	h->n_args = 2;
	f->hooks[f->n++] = h;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	const Grpc__Hook *const *x = a, *const *y = b;

	return strcmp((*x)->args[0], (*y)->args[0]);
}

static int scan(struct folder *f, DIR *d)
{
	const struct dirent *e;
	int r;

	while ((e = readdir(d))) {
		struct stat st;

		if (str_eq(e->d_name, ".") || str_eq(e->d_name, ".."))
			continue;
		if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    !S_ISREG(st.st_mode) || !(st.st_mode & 0111) || f->n - f->first == HOOKS_MAX) {
			log_warn("guesthook", "%s/%s/%s is no executable file: ignored", f->path,
				 f->kind, e->d_name);
			continue;
		}
		r = add(f, e->d_name);
		if (r < 0)
			return r;
	}
	if (f->n > f->first)
		qsort(f->hooks + f->first, f->n - f->first, sizeof(Grpc__Hook *), by_name);
	return 0;
}

static int merge(const char *path, const char *kind, struct arena *mem, Grpc__Hook ***hooks,
		 size_t *n)
{
	AUTO_FREE char *name = NULL;
	AUTO_DIR DIR *d = NULL;
	struct folder f = { .path = path, .kind = kind, .mem = mem, .n = *n, .first = *n };
	int r;

	name = malloc(strlen(path) + strlen(kind) + 2);
	f.hooks = arena_alloc(mem, (*n + HOOKS_MAX) * sizeof(Grpc__Hook *));
	if (!name || !f.hooks)
		return -ENOMEM;
	(void)stpcpy(stpcpy(stpcpy(name, path), "/"), kind);
	d = opendir(name);
	if (!d)
		return 0;
	if (*n)
		(void)memcpy(f.hooks, *hooks, *n * sizeof(Grpc__Hook *));
	r = scan(&f, d);
	if (r == 0) {
		*hooks = f.hooks;
		*n = f.n;
	}
	return r;
}

int guesthooks_merge(const char *path, const Grpc__Hooks *own, struct arena *mem, Grpc__Hooks *ret)
{
	Grpc__Hooks all = GRPC__HOOKS__INIT;
	int r = 0;

	if (own)
		all = *own;
	if (!str_empty(path)) {
		r = merge(path, "prestart", mem, &all.prestart, &all.n_prestart);
		if (r == 0)
			r = merge(path, "poststart", mem, &all.poststart, &all.n_poststart);
		if (r == 0)
			r = merge(path, "poststop", mem, &all.poststop, &all.n_poststop);
	}
	if (r == 0)
		*ret = all;
	return r;
}
