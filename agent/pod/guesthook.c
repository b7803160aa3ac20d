/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest hooks: looked for once for each sandbox, added to the spec of each container.
 */
#include "pod/guesthook.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/str.h"

struct guest_hooks {
	struct arena mem;
	Grpc__Hooks *hooks; /* in mem; only prestart, poststart and poststop */
};

static Grpc__Hook *make_hook(struct arena *mem, const char *dir, const char *kind, const char *name)
{
	Grpc__Hook *h = arena_alloc(mem, sizeof(*h));
	char **args = arena_alloc(mem, 2 * sizeof(*args));

	if (!h || !args)
		return NULL;
	grpc__hook__init(h);
	h->path = arena_printf(mem, "%s/%s", dir, name);
	h->args = args;
	h->n_args = 2;
	args[0] = arena_strdup(mem, name);
	args[1] = arena_strdup(mem, kind);
	return h->path && args[0] && args[1] ? h : NULL;
}

static bool is_hook(const char *path)
{
	const char *why = NULL;
	struct stat st;

	if (lstat(path, &st) < 0)
		why = strerror(errno);
	else if (!S_ISREG(st.st_mode))
		why = "not a regular file";
	else if (!(st.st_mode & 0111))
		why = "not executable";
	if (why)
		log_warn("hook", "guest hook '%s' is skipped: %s", path, why);
	return !why;
}

static int not_dots(const struct dirent *e)
{
	return !str_eq(e->d_name, ".") && !str_eq(e->d_name, "..");
}

static int scan_kind(struct arena *mem, const char *base, const char *kind, Grpc__Hook ***ret,
		     size_t *ret_n)
{
	const char *dir = arena_printf(mem, "%s/%s", base, kind);
	struct dirent **entries;
	Grpc__Hook **hooks;
	size_t n = 0;
	int found, r = 0;

	if (!dir)
		return -ENOMEM;
	found = scandir(dir, &entries, not_dots, alphasort);
	if (found < 0)
		return errno == ENOMEM ? -ENOMEM : 0;
	hooks = arena_alloc(mem, ((size_t)found + 1) * sizeof(*hooks));
	for (int i = 0; i < found; i++) {
		if (hooks && r == 0) {
			hooks[n] = make_hook(mem, dir, kind, entries[i]->d_name);
			r = hooks[n] ? 0 : -ENOMEM;
			n += r == 0 && is_hook(hooks[n]->path);
		}
		free(entries[i]);
	}
	free(entries);
	if (!hooks || r < 0)
		return -ENOMEM;
	if (n > 0)
		log_info("hook", "%zu guest hooks in '%s'", n, dir);
	*ret = hooks;
	*ret_n = n;
	return 0;
}

static int scan_kinds(struct arena *mem, const char *dir, int out)
{
	size_t len = strlen(dir);
	Grpc__Hooks h;
	uint8_t *bytes;
	int r;

	while (len > 0 && dir[len - 1] == '/')
		len--;
	dir = arena_printf(mem, "%.*s", (int)len, dir);
	if (!dir)
		return -ENOMEM;
	grpc__hooks__init(&h);
	r = scan_kind(mem, dir, "prestart", &h.prestart, &h.n_prestart);
	if (r == 0)
		r = scan_kind(mem, dir, "poststart", &h.poststart, &h.n_poststart);
	if (r == 0)
		r = scan_kind(mem, dir, "poststop", &h.poststop, &h.n_poststop);
	if (r < 0)
		return r;
	len = grpc__hooks__get_packed_size(&h);
	bytes = arena_alloc(mem, len + 1);
	return bytes ? fdio_write_all(out, bytes, grpc__hooks__pack(&h, bytes)) : -ENOMEM;
}

int guest_hooks_scan(const char *dir, int out, struct err *err)
{
	struct arena mem;
	int r = 0;

	arena_init(&mem, LIMIT_GUEST_HOOKS);
	if (*dir == '/')
		r = scan_kinds(&mem, dir, out);
	else
		log_warn("hook", "no guest hooks: '%s' is not an absolute path", dir);
	arena_free(&mem);
	return r < 0 ? err_sys(err, -r, "guest hooks") : 0;
}

static void *hooks_alloc(void *arena, size_t size)
{
	return arena_alloc(arena, size);
}

static void hooks_keep(void *arena, void *p)
{
	(void)arena; /* all at once */
	(void)p;
}

int guest_hooks_take(const struct buf *found, struct guest_hooks **ret)
{
	struct guest_hooks *g = calloc(1, sizeof(*g));
	ProtobufCAllocator in_arena = { hooks_alloc, hooks_keep, NULL };
	const Grpc__Hooks *h;

	*ret = NULL;
	if (!g)
		return -ENOMEM;
	arena_init(&g->mem, 2 * LIMIT_GUEST_HOOKS);
	in_arena.allocator_data = &g->mem;
	h = g->hooks = grpc__hooks__unpack(&in_arena, buf_len(found), buf_data(found));
	if (h && h->n_prestart + h->n_poststart + h->n_poststop)
		*ret = g;
	else
		guest_hooks_free(g);
	return h ? 0 : -ENOMEM;
}

void guest_hooks_free(struct guest_hooks *g)
{
	if (!g)
		return;
	arena_free(&g->mem);
	free(g);
}

static bool append(struct arena *mem, Grpc__Hook ***list, size_t *n, Grpc__Hook **more,
		   size_t n_more)
{
	Grpc__Hook **all = arena_alloc(mem, (*n + n_more + 1) * sizeof(*all));

	if (!all)
		return false;
	if (*n)
		(void)memcpy(all, *list, *n * sizeof(*all));
	if (n_more)
		(void)memcpy(all + *n, more, n_more * sizeof(*all));
	*list = all;
	*n += n_more;
	return true;
}

int guest_hooks_add(const struct guest_hooks *guest, Grpc__Spec *spec, struct arena *mem)
{
	const Grpc__Hooks *g = guest->hooks;
	Grpc__Hooks *h = spec->hooks;

	if (!h) {
		h = arena_alloc(mem, sizeof(*h));
		if (!h)
			return -ENOMEM;
		grpc__hooks__init(h);
		spec->hooks = h;
	}
	if (append(mem, &h->prestart, &h->n_prestart, g->prestart, g->n_prestart) &&
	    append(mem, &h->poststart, &h->n_poststart, g->poststart, g->n_poststart) &&
	    append(mem, &h->poststop, &h->n_poststop, g->poststop, g->n_poststop))
		return 0;
	return -ENOMEM;
}
