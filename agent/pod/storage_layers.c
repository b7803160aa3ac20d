/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Groups of layers taken apart. Pure: no system calls, no state. X-kata.* are words between the
 * runtime and the agent; none of them reaches the kernel, and one that we don't know is refused.
 */
#include "pod/storage_layers.h"

#include <errno.h>
#include <string.h>

#include "base/arena.h"
#include "base/limits.h"
#include "base/str.h"
#include "rpc/call.h"

#define X      "X-kata."
#define MEMBER X "multi-layer=true"
#define UPPER  X "overlay-upper"
#define LOWER  X "overlay-lower"
#define MKDIR  X "mkdir.path="
#define GPT    X "gpt-partitioned="
#define PART   X "partition-number="
#define MOUNT  "{{ mount "

struct layers {
	struct arena *mem;
	struct err *err;
	Grpc__Storage *const *all;
	size_t n;
	Grpc__Storage **out;
	size_t n_out;
	/* Of the group that is being made. */
	const char *point, *base;	/* "DIR/NAME", "DIR/multi-layer" */
	const char *at[LIMIT_STORAGES]; /* where its members go, in the order sent */
	size_t n_at;
	char *dirs[LIMIT_STORAGES];
	size_t n_dirs;
	const char *lowers; /* joined by colons */
	bool upper;
};

static bool has_option(const Grpc__Storage *s, const char *word)
{
	for (size_t i = 0; i < s->n_options; i++) {
		if (str_eq(s->options[i], word))
			return true;
	}
	return false;
}

static const char *option_value(const Grpc__Storage *s, const char *key)
{
	for (size_t i = 0; i < s->n_options; i++) {
		if (str_starts(s->options[i], key))
			return s->options[i] + strlen(key);
	}
	return NULL;
}

static bool is_member(const Grpc__Storage *s)
{
	return str_eq(s->driver, LAYERS_DRIVER) || has_option(s, MEMBER);
}

static int layers_nomem(struct layers *l)
{
	return err_sys(l->err, ENOMEM, "layers");
}

static Grpc__Storage *layers_add(struct layers *l, const char *driver, const char *source,
				 const char *fstype, const char *point)
{
	Grpc__Storage *s = arena_alloc(l->mem, sizeof(*s));

	if (!s)
		return NULL;
	grpc__storage__init(s);
	s->driver = arena_strdup(l->mem, driver);
	s->source = arena_strdup(l->mem, source);
	s->fstype = arena_strdup(l->mem, fstype);
	s->mount_point = arena_strdup(l->mem, point);
	if (!s->driver || !s->source || !s->fstype || !s->mount_point)
		return NULL;
	l->out[l->n_out++] = s;
	return s;
}

/* The options but the runtime's own; what is said of the device goes to the driver. */
static int layers_options(struct layers *l, const Grpc__Storage *from, Grpc__Storage *to)
{
	char **options = arena_alloc(l->mem, (from->n_options + 1) * sizeof(*options));
	char **driver = arena_alloc(l->mem, (from->n_driver_options + from->n_options + 1) *
						    sizeof(*driver));

	if (!options || !driver)
		return layers_nomem(l);
	for (size_t i = 0; i < from->n_driver_options; i++)
		driver[to->n_driver_options++] = from->driver_options[i];
	for (size_t i = 0; i < from->n_options; i++) {
		char *word = from->options[i];

		if (str_starts(word, PART) || str_starts(word, LAYERS_VERITY))
			driver[to->n_driver_options++] = word;
		else if (!str_starts(word, X))
			options[to->n_options++] = word;
		else if (!str_eq(word, MEMBER) && !str_eq(word, UPPER) && !str_eq(word, LOWER) &&
			 !str_starts(word, MKDIR) && !str_starts(word, GPT))
			return err_rpc(l->err, RPC_INVALID_ARGUMENT,
				       "storage '%s': unknown option '%s'", from->mount_point,
				       word);
	}
	to->options = options;
	to->driver_options = driver;
	return 0;
}

static int layers_member(struct layers *l, const Grpc__Storage *from)
{
	bool upper = has_option(from, UPPER);
	const char *driver = str_eq(from->driver, LAYERS_DRIVER) ? "blk" : from->driver;
	const char *at = upper ? arena_printf(l->mem, "%s/upper", l->base)
			       : arena_printf(l->mem, "%s/lower-%zu", l->base, l->n_at);
	Grpc__Storage *to = at ? layers_add(l, driver, from->source, from->fstype, at) : NULL;

	if (!to)
		return layers_nomem(l);
	if (upper && l->upper)
		return err_rpc(l->err, RPC_INVALID_ARGUMENT, "'%s' has two upper layers", l->point);
	l->upper |= upper;
	if (!upper)
		l->lowers = l->lowers ? arena_printf(l->mem, "%s:%s", l->lowers, at) : at;
	l->at[l->n_at++] = at;
	return l->lowers || upper ? layers_options(l, from, to) : layers_nomem(l);
}

/* A folder that is wanted, with "{{ mount 0 }}" for where the first member is. */
static int layers_mkdir(struct layers *l, const char *path)
{
	const char *end = str_starts(path, MOUNT) ? strstr(path, " }}") : NULL;
	char number[8];
	uint64_t i;
	size_t len;

	if (end) {
		path += strlen(MOUNT);
		len = (size_t)(end - path);
		if (len == 0 || len >= sizeof(number))
			goto bad;
		(void)memcpy(number, path, len);
		number[len] = '\0';
		if (str_u64(number, LIMIT_STORAGES, &i) < 0 || i >= l->n_at)
			goto bad;
		path = arena_printf(l->mem, "%s%s", l->at[i], end + strlen(" }}"));
	}
	if (!path || l->n_dirs == LIMIT_STORAGES)
		return layers_nomem(l);
	l->dirs[l->n_dirs] = arena_printf(l->mem, OVERLAY_CREATE_DIR "%s", path);
	return l->dirs[l->n_dirs++] ? 0 : layers_nomem(l);
bad:
	return err_rpc(l->err, RPC_INVALID_ARGUMENT, "'%s': no such layer in '%s'", l->point, path);
}

/* The mkdirs that members ask for, and the two that an overlay needs. */
static int layers_dirs(struct layers *l, const char *upper, const char *work)
{
	int r = 0;

	for (size_t i = 0; i < l->n && r == 0; i++) {
		const Grpc__Storage *s = l->all[i];

		if (!is_member(s) || !str_eq(s->mount_point, l->point))
			continue;
		for (size_t k = 0; k < s->n_options && r == 0; k++) {
			if (str_starts(s->options[k], MKDIR))
				r = layers_mkdir(l, s->options[k] + strlen(MKDIR));
		}
	}
	if (r == 0)
		r = layers_mkdir(l, upper);
	return r < 0 ? r : layers_mkdir(l, work);
}

static int layers_overlay(struct layers *l)
{
	const char *upper = arena_printf(l->mem, "%s/upper/upper", l->base);
	const char *work = arena_printf(l->mem, "%s/upper/work", l->base);
	Grpc__Storage *s = layers_add(l, "overlayfs", "overlay", "overlay", l->point);
	char **options = arena_alloc(l->mem, 3 * sizeof(*options));

	if (!upper || !work || !s || !options)
		return layers_nomem(l);
	if (!l->lowers)
		return err_rpc(l->err, RPC_INVALID_ARGUMENT, "'%s' has no lower layer", l->point);
	options[0] = arena_printf(l->mem, "lowerdir=%s", l->lowers);
	options[1] = arena_printf(l->mem, "upperdir=%s", upper);
	options[2] = arena_printf(l->mem, "workdir=%s", work);
	if (!options[0] || !options[1] || !options[2])
		return layers_nomem(l);
	if (layers_dirs(l, upper, work) < 0)
		return -l->err->code;
	s->options = options;
	s->n_options = 3;
	s->driver_options = arena_alloc(l->mem, l->n_dirs * sizeof(*s->driver_options));
	if (!s->driver_options)
		return layers_nomem(l);
	(void)memcpy(s->driver_options, l->dirs, l->n_dirs * sizeof(*s->driver_options));
	s->n_driver_options = l->n_dirs;
	return 0;
}

/* Its next member, of all that are not before storage i in the order of their partitions. */
static const Grpc__Storage *layers_next(const struct layers *l, uint64_t *after, size_t *from)
{
	const Grpc__Storage *best = NULL;
	uint64_t best_part = UINT64_MAX;
	size_t best_at = 0;

	for (size_t i = 0; i < l->n; i++) {
		const Grpc__Storage *s = l->all[i];
		const char *text;
		uint64_t part;

		if (!is_member(s) || !str_eq(s->mount_point, l->point))
			continue;
		text = option_value(s, PART);
		/* Without a number: in the order sent, before those that have one. */
		if (!text || str_u64(text, 128, &part) < 0)
			part = 0;
		if (part < *after || (part == *after && i < *from) || part >= best_part)
			continue;
		best = s;
		best_part = part;
		best_at = i;
	}
	*after = best_part;
	*from = best_at + 1;
	return best;
}

static int layers_group(struct layers *l, const char *point)
{
	const char *slash = strrchr(point, '/');
	const Grpc__Storage *s;
	uint64_t after = 0;
	size_t from = 0;

	l->point = point;
	l->n_at = l->n_dirs = 0;
	l->lowers = NULL;
	l->upper = false;
	if (!slash || slash == point || !slash[1])
		return err_rpc(l->err, RPC_INVALID_ARGUMENT, "invalid mount point '%s' of layers",
			       point);
	l->base = arena_printf(l->mem, "%.*s/multi-layer", (int)(slash - point), point);
	if (!l->base || !layers_add(l, LAYERS_DRIVER, LAYERS_DRIVER, "", l->base))
		return layers_nomem(l);
	while ((s = layers_next(l, &after, &from))) {
		if (layers_member(l, s) < 0)
			return -l->err->code;
	}
	return layers_overlay(l);
}

int storage_layers(struct arena *mem, Grpc__Storage *const *storages, size_t n,
		   Grpc__Storage *const **ret, size_t *ret_n, struct err *err)
{
	struct layers *l = NULL;

	*ret = storages;
	*ret_n = n;
	for (size_t i = 0; i < n; i++) {
		bool first = true;

		if (!l && !is_member(storages[i]))
			continue;
		if (!l) {
			l = arena_zalloc(mem, sizeof(*l));
			if (l)
				l->out = arena_zalloc(mem, 3 * n * sizeof(Grpc__Storage *));
			if (!l || !l->out)
				return err_sys(err, ENOMEM, "layers");
			l->mem = mem;
			l->err = err;
			l->all = storages;
			l->n = n;
			for (size_t k = 0; k < i; k++)
				l->out[l->n_out++] = storages[k];
		}
		if (!is_member(storages[i])) {
			l->out[l->n_out++] = storages[i];
			continue;
		}
		for (size_t k = 0; k < i; k++)
			first &= !is_member(storages[k]) ||
				 !str_eq(storages[k]->mount_point, storages[i]->mount_point);
		if (first && layers_group(l, storages[i]->mount_point) < 0)
			return -err->code;
	}
	if (l) {
		*ret = l->out;
		*ret_n = l->n_out;
	}
	return 0;
}
