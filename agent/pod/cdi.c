/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CDI: which devices are wanted, the files that describe them, and their edits in the spec. State:
 * one operation for each container that waits.
 */
#include "pod/cdi.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/auto.h"
#include "base/fdio.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/str.h"
#include "base/worker.h"
#include "base/yaml.h"
#include "config.h"
#include "linux/path.h"
#include "pod/agent.h"
#include "pod/specedit.h"

#define ANNOTATION     "cdi.k8s.io/"
#define CONTAINER_TYPE "io.katacontainers.pkg.oci.container_type"
#define VISIBLE	       "VISIBLE_CDI_DEVICES="
#define AGAIN_MS       1000

static const char *const cdi_dirs[] = { "/var/run/cdi", "/etc/cdi" };

/* A device by its whole name, "vendor.com/class=name". */
struct cdi_name {
	char *kind, *name;
	const struct yaml *spec, *device; /* of the files read last; NULL: not there */
};

struct cdi_op {
	struct container *ctr;
	struct cdi_name *names;
	size_t n;
	int64_t end;
	struct timer again;
	struct arena files; /* what was read last */
	cdi_done *done;
};

/* --- which devices -------------------------------------------------------------------------- */

static int cdi_add_name(struct cdi_op *op, struct arena *mem, const char *kind, size_t kind_len,
			const char *name, size_t name_len, struct err *err)
{
	struct cdi_name *n;

	for (size_t i = 0; i < op->n; i++) {
		n = &op->names[i];
		if (strlen(n->kind) == kind_len && !strncmp(n->kind, kind, kind_len) &&
		    strlen(n->name) == name_len && !strncmp(n->name, name, name_len))
			return 0;
	}
	if (op->n >= LIMIT_CDI_DEVICES)
		return err_rpc(err, RPC_INVALID_ARGUMENT, "more than %u CDI devices",
			       LIMIT_CDI_DEVICES);
	if (!op->names)
		op->names = arena_zalloc(mem, LIMIT_CDI_DEVICES * sizeof(*op->names));
	if (!op->names)
		return err_sys(err, ENOMEM, "CDI devices");
	n = &op->names[op->n];
	n->kind = arena_printf(mem, "%.*s", (int)kind_len, kind);
	n->name = arena_printf(mem, "%.*s", (int)name_len, name);
	if (!n->kind || !n->name)
		return err_sys(err, ENOMEM, "CDI devices");
	op->n++;
	return 0;
}

static size_t trimmed(const char **s, size_t len)
{
	while (len > 0 && (**s == ' ' || **s == '\t')) {
		++*s;
		len--;
	}
	while (len > 0 && ((*s)[len - 1] == ' ' || (*s)[len - 1] == '\t'))
		len--;
	return len;
}

/* "kind=name,kind=name" */
static int cdi_from_annotation(struct cdi_op *op, struct arena *mem, const char *value,
			       struct err *err)
{
	while (*value) {
		size_t all = strcspn(value, ","), len;
		const char *name = value, *is;

		len = trimmed(&name, all);
		is = memchr(name, '=', len);
		if (!is || is == name || !memchr(name, '/', (size_t)(is - name)) ||
		    is + 1 == name + len)
			return err_rpc(err, RPC_INVALID_ARGUMENT,
				       "'%.*s' is no CDI device (vendor/class=name)", (int)len,
				       name);
		if (cdi_add_name(op, mem, name, (size_t)(is - name), is + 1,
				 len - (size_t)(is - name) - 1, err) < 0)
			return -err->code;
		value += all + (value[all] == ',');
	}
	return 0;
}

/* "all", or a number. */
static bool is_index(const char *name, size_t len)
{
	return len > 0 && ((len == 3 && !strncmp(name, "all", 3)) ||
			   (len < 10 && strspn(name, "0123456789") >= len));
}

/* "kind=all:kind=0,1"; nothing, "none" and "void" are none. */
static int cdi_from_variable(struct cdi_op *op, struct arena *mem, const char *value,
			     struct err *err)
{
	const char *list = value;
	size_t len = trimmed(&list, strlen(value));

	if (len == 0 || (len == 4 && (!strncmp(list, "none", 4) || !strncmp(list, "void", 4))))
		return 0;
	for (const char *end = list + len; list < end;) {
		size_t entry = strcspn(list, ":");
		const char *is = memchr(list, '=', entry), *stop = list + entry;
		const char *kind = list;
		size_t kind_len = is ? trimmed(&kind, (size_t)(is - list)) : 0;

		if (kind_len == 0)
			return err_rpc(err, RPC_INVALID_ARGUMENT, "invalid " VISIBLE "%s", value);
		for (const char *at = is + 1; at <= stop;) {
			size_t part = strcspn(at, ",:"), n;
			const char *name = at;

			if (at + part > stop)
				part = (size_t)(stop - at);
			n = trimmed(&name, part);
			if (!is_index(name, n))
				return err_rpc(err, RPC_INVALID_ARGUMENT, "invalid " VISIBLE "%s",
					       value);
			if (cdi_add_name(op, mem, kind, kind_len, name, n, err) < 0)
				return -err->code;
			at += part + 1;
		}
		list = stop + 1;
	}
	return 0;
}

static int cdi_find_names(struct cdi_op *op, const Grpc__Spec *spec, bool visible,
			  struct arena *mem, struct err *err)
{
	for (size_t i = 0; i < spec->n_annotations; i++) {
		const Grpc__Spec__AnnotationsEntry *a = spec->annotations[i];

		if (str_eq(a->key, CONTAINER_TYPE) && str_eq(a->value, "pod_sandbox")) {
			op->n = 0;
			return 0;
		}
	}
	for (size_t i = 0; i < spec->n_annotations; i++) {
		const Grpc__Spec__AnnotationsEntry *a = spec->annotations[i];

		if (str_starts(a->key, ANNOTATION) &&
		    cdi_from_annotation(op, mem, a->value, err) < 0)
			return -err->code;
	}
	for (size_t i = 0; visible && spec->process && i < spec->process->n_env; i++) {
		if (str_starts(spec->process->env[i], VISIBLE) &&
		    cdi_from_variable(op, mem, spec->process->env[i] + strlen(VISIBLE), err) < 0)
			return -err->code;
	}
	return 0;
}

/* --- the files ------------------------------------------------------------------------------ */

static int is_cdi_file(const struct dirent *e)
{
	static const char *const ends[] = { ".json", ".yaml", ".yml" };
	const char *dot = strrchr(e->d_name, '.');

	for (size_t i = 0; dot && i < ARRAY_LEN(ends); i++) {
		if (str_eq(dot, ends[i]))
			return 1;
	}
	return 0;
}

/* Each as its name and its text, both with their NUL. In a worker: who knows where links lead. */
static int cdi_read_job(void *arg, int out, struct err *err)
{
	(void)arg;
	for (size_t d = 0; d < ARRAY_LEN(cdi_dirs); d++) {
		struct dirent **list = NULL;
		int n = scandir(cdi_dirs[d], &list, is_cdi_file, alphasort), r = 0;

		for (int i = 0; i < n; i++) {
			AUTO_FREE char *text = NULL;
			char path[LIMIT_PATH];
			struct stat st;
			ssize_t len = -1;

			(void)snprintf(path, sizeof(path), "%s/%s", cdi_dirs[d], list[i]->d_name);
			free(list[i]);
			if (r == 0 && stat(path, &st) == 0 && S_ISREG(st.st_mode))
				len = fdio_slurp(AT_FDCWD, path, LIMIT_CDI_FILE, &text);
			if (len < 0 || strlen(text) != (size_t)len)
				continue;
			r = fdio_write_all(out, path, strlen(path) + 1);
			if (r == 0)
				r = fdio_write_all(out, text, (size_t)len + 1);
		}
		free(list);
		if (r < 0)
			return err_sys(err, -r, "CDI");
	}
	return 0;
}

static const struct yaml *cdi_device(const struct yaml *spec, const char *name)
{
	for (const struct yaml *d = yaml_list(spec, "devices"); d; d = d->next) {
		if (str_eq(yaml_text(d, "name"), name))
			return d;
	}
	return NULL;
}

/* Those of the folder that comes first win, and of two files in it that with the first name. */
static void cdi_look_up(struct cdi_op *op, const struct buf *texts)
{
	const char *at = (const char *)buf_data(texts), *end = at + buf_len(texts);

	arena_free(&op->files);
	arena_init(&op->files, LIMIT_ARENA);
	for (size_t i = 0; i < op->n; i++)
		op->names[i].spec = op->names[i].device = NULL;
	while (at < end && memchr(at, '\0', (size_t)(end - at))) {
		const char *path = at;
		struct err err = { 0 };
		struct yaml *spec;

		at += strlen(at) + 1;
		if (at >= end || !memchr(at, '\0', (size_t)(end - at)))
			break;
		if (yaml_parse(at, &op->files, &spec, &err) < 0)
			log_warn("cdi", "%s: %s", path, err.msg);
		at += strlen(at) + 1;
		for (size_t i = 0; spec && i < op->n; i++) {
			struct cdi_name *n = &op->names[i];

			if (n->device || !str_eq(yaml_text(spec, "kind"), n->kind))
				continue;
			n->spec = spec;
			n->device = cdi_device(spec, n->name);
		}
	}
}

/* --- edits ---------------------------------------------------------------------------------- */

static int no_memory(struct err *err)
{
	return err_sys(err, ENOMEM, "CDI");
}

/* A number that may be there; else fallback. */
static int cdi_number(const struct yaml *y, const char *key, int64_t fallback, int64_t *ret,
		      struct err *err)
{
	const char *text = yaml_text(y, key);
	char *end;

	*ret = fallback;
	if (!text)
		return 0;
	errno = 0;
	/* Modes may be octal, as YAML has them: 0o660, 0660. */
	*ret = strtoll(str_starts(text, "0o") ? text + 2 : text, &end,
		       str_starts(text, "0o") ? 8 : 0);
	return *end || errno || *ret < 0
		       ? err_rpc(err, RPC_INTERNAL, "CDI: %s: '%s' is no number", key, text)
		       : 0;
}

static int cdi_strings(const struct yaml *first, char ***list, size_t *n, struct arena *mem,
		       struct err *err)
{
	for (const struct yaml *y = first; y; y = y->next) {
		if (y->kind != YAML_SCALAR)
			return err_rpc(err, RPC_INTERNAL, "CDI: a text was expected");
		if (spec_append(list, n, arena_strdup(mem, y->text), mem, err) < 0)
			return -err->code;
	}
	return 0;
}

static int cdi_env(Grpc__Process *p, const struct yaml *edits, struct arena *mem, struct err *err)
{
	for (const struct yaml *e = yaml_list(edits, "env"); e; e = e->next) {
		const char *is = e->text ? strchr(e->text, '=') : NULL;
		size_t i = 0;

		if (!is || is == e->text)
			return err_rpc(err, RPC_INTERNAL, "CDI: '%s' sets no variable",
				       e->text ? e->text : "");
		while (i < p->n_env && strncmp(p->env[i], e->text, (size_t)(is + 1 - e->text)))
			i++;
		if (i == p->n_env && spec_append(&p->env, &p->n_env, e->text, mem, err) < 0)
			return -err->code;
		p->env[i] = arena_strdup(mem, e->text);
		if (!p->env[i])
			return no_memory(err);
	}
	return 0;
}

/* Its numbers, from the file or else from the node as it is in the guest. */
static int cdi_node_stat(const struct yaml *y, const char *path, struct stat *st, struct err *err)
{
	const char *type = yaml_text(y, "type"), *host = yaml_text(y, "hostPath");
	AUTO_CLOSE int fd = FD_NONE;
	int64_t maj, min, mode;

	*st = (struct stat){ 0 };
	host = host ? host : path;
	if (!type || !yaml_text(y, "major") || !yaml_text(y, "minor")) {
		fd = path_open_dev(host);
		if (fd < 0 || fstat(fd, st) < 0)
			return err_sys(err, fd < 0 ? -fd : errno, "CDI device '%s'", host);
		if (!S_ISBLK(st->st_mode) && !S_ISCHR(st->st_mode) && !S_ISFIFO(st->st_mode))
			return err_set(err, ENODEV, "CDI: '%s' is not a device", host);
	} else {
		st->st_mode = (str_eq(type, "b")   ? (mode_t)S_IFBLK
			       : str_eq(type, "p") ? (mode_t)S_IFIFO
						   : (mode_t)S_IFCHR) |
			      0666;
	}
	if (cdi_number(y, "major", major(st->st_rdev), &maj, err) < 0 ||
	    cdi_number(y, "minor", minor(st->st_rdev), &min, err) < 0 ||
	    cdi_number(y, "fileMode", st->st_mode & 07777, &mode, err) < 0)
		return -err->code;
	st->st_rdev = makedev((unsigned int)maj, (unsigned int)min);
	st->st_mode = (st->st_mode & S_IFMT) | ((mode_t)mode & 07777);
	return 0;
}

static void cdi_drop_device(Grpc__Linux *l, const char *path)
{
	size_t kept = 0;

	for (size_t i = 0; l && i < l->n_devices; i++) {
		if (!str_eq(l->devices[i]->path, path))
			l->devices[kept++] = l->devices[i];
	}
	if (l)
		l->n_devices = kept;
}

static int cdi_node(Grpc__Spec *spec, const struct yaml *y, struct arena *mem, struct err *err)
{
	const Grpc__User *user = spec->process->user;
	const char *path = yaml_text(y, "path"), *access = yaml_text(y, "permissions");
	int64_t uid, gid;
	struct stat st;

	if (!path || *path != '/')
		return err_rpc(err, RPC_INTERNAL, "CDI: a device node without a path");
	if (cdi_node_stat(y, path, &st, err) < 0 ||
	    cdi_number(y, "uid", user ? user->uid : 0, &uid, err) < 0 ||
	    cdi_number(y, "gid", user ? user->gid : 0, &gid, err) < 0)
		return -err->code;
	st.st_uid = (uid_t)uid;
	st.st_gid = (gid_t)gid;
	cdi_drop_device(spec->linux, path);
	return spec_add_device(spec, mem, arena_strdup(mem, path), &st, access ? access : "rwm",
			       err);
}

static int cdi_mount(Grpc__Spec *spec, const struct yaml *y, struct arena *mem, struct err *err)
{
	const char *from = yaml_text(y, "hostPath"), *to = yaml_text(y, "containerPath");
	const char *type = yaml_text(y, "type");
	Grpc__Mount *m = arena_alloc(mem, sizeof(*m));
	size_t kept = 0;

	if (!from || !to)
		return err_rpc(err, RPC_INTERNAL, "CDI: a mount without its paths");
	if (!m)
		return no_memory(err);
	grpc__mount__init(m);
	m->source = arena_strdup(mem, from);
	m->destination = arena_strdup(mem, to);
	m->type = arena_strdup(mem, type ? type : "bind");
	if (!m->source || !m->destination || !m->type)
		return no_memory(err);
	if (cdi_strings(yaml_list(y, "options"), &m->options, &m->n_options, mem, err) < 0)
		return -err->code;
	for (size_t i = 0; i < spec->n_mounts; i++) {
		if (!str_eq(spec->mounts[i]->destination, to))
			spec->mounts[kept++] = spec->mounts[i];
	}
	spec->n_mounts = kept;
	return spec_append(&spec->mounts, &spec->n_mounts, m, mem, err);
}

static int cdi_hook(Grpc__Spec *spec, const struct yaml *y, struct arena *mem, struct err *err)
{
	const char *name = yaml_text(y, "hookName"), *path = yaml_text(y, "path");
	Grpc__Hook *h = arena_alloc(mem, sizeof(*h));
	Grpc__Hooks *all;

	if (!spec->hooks) {
		spec->hooks = arena_alloc(mem, sizeof(*spec->hooks));
		if (spec->hooks)
			grpc__hooks__init(spec->hooks);
	}
	all = spec->hooks;
	if (!all || !h)
		return no_memory(err);
	grpc__hook__init(h);
	h->path = path ? arena_strdup(mem, path) : NULL;
	if (!h->path || cdi_number(y, "timeout", 0, &h->timeout, err) < 0 ||
	    cdi_strings(yaml_list(y, "args"), &h->args, &h->n_args, mem, err) < 0 ||
	    cdi_strings(yaml_list(y, "env"), &h->env, &h->n_env, mem, err) < 0)
		return err->code ? -err->code
				 : err_rpc(err, RPC_INTERNAL, "CDI: a hook without a path");
	const struct {
		const char *name;
		Grpc__Hook ***list;
		size_t *n;
	} kinds[] = {
		{ "prestart", &all->prestart, &all->n_prestart },
		{ "createRuntime", &all->createruntime, &all->n_createruntime },
		{ "createContainer", &all->createcontainer, &all->n_createcontainer },
		{ "startContainer", &all->startcontainer, &all->n_startcontainer },
		{ "poststart", &all->poststart, &all->n_poststart },
		{ "poststop", &all->poststop, &all->n_poststop },
	};

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (str_eq(kinds[i].name, name))
			return spec_append(kinds[i].list, kinds[i].n, h, mem, err);
	}
	return err_rpc(err, RPC_INTERNAL, "CDI: no hook is called '%s'", name ? name : "");
}

static int cdi_gids(Grpc__Process *p, const struct yaml *edits, struct arena *mem, struct err *err)
{
	for (const struct yaml *y = yaml_list(edits, "additionalGids"); y; y = y->next) {
		uint64_t gid;
		uint32_t *more;

		if (y->kind != YAML_SCALAR || str_u64(y->text, UINT32_MAX, &gid) < 0)
			return err_rpc(err, RPC_INTERNAL, "CDI: additionalGids has no number");
		if (!p->user) {
			p->user = arena_alloc(mem, sizeof(*p->user));
			if (!p->user)
				return no_memory(err);
			grpc__user__init(p->user);
		}
		more = arena_alloc(mem, (p->user->n_additionalgids + 1) * sizeof(*more));
		if (!more)
			return no_memory(err);
		if (p->user->n_additionalgids)
			(void)memcpy(more, p->user->additionalgids,
				     p->user->n_additionalgids * sizeof(*more));
		more[p->user->n_additionalgids++] = (uint32_t)gid;
		p->user->additionalgids = more;
	}
	return 0;
}

static int cdi_edit(Grpc__Spec *spec, const struct yaml *edits, struct arena *mem, struct err *err)
{
	if (cdi_env(spec->process, edits, mem, err) < 0 ||
	    cdi_gids(spec->process, edits, mem, err) < 0)
		return -err->code;
	for (const struct yaml *y = yaml_list(edits, "deviceNodes"); y; y = y->next) {
		if (cdi_node(spec, y, mem, err) < 0)
			return -err->code;
	}
	for (const struct yaml *y = yaml_list(edits, "mounts"); y; y = y->next) {
		if (cdi_mount(spec, y, mem, err) < 0)
			return -err->code;
	}
	for (const struct yaml *y = yaml_list(edits, "hooks"); y; y = y->next) {
		if (cdi_hook(spec, y, mem, err) < 0)
			return -err->code;
	}
	return 0;
}

/* What a file has for all of its devices comes once, before the first of them. */
static int cdi_apply(const struct cdi_op *op, Grpc__Spec *spec, struct arena *mem, struct err *err)
{
	for (size_t i = 0; i < op->n; i++) {
		const struct cdi_name *n = &op->names[i];
		bool first = true;

		for (size_t k = 0; k < i; k++)
			first = first && op->names[k].spec != n->spec;
		if ((first && cdi_edit(spec, yaml_get(n->spec, "containerEdits"), mem, err) < 0) ||
		    cdi_edit(spec, yaml_get(n->device, "containerEdits"), mem, err) < 0)
			return err_wrap(err, "CDI device %s=%s", n->kind, n->name);
	}
	return 0;
}

/* --- the operation -------------------------------------------------------------------------- */

static void cdi_free(struct cdi_op *op)
{
	timer_cancel(&op->again);
	arena_free(&op->files);
	free(op);
}

static void cdi_end(struct cdi_op *op, const struct err *e)
{
	struct container *ctr = op->ctr;
	cdi_done *done = op->done;
	struct err err = *e;

	cdi_free(op);
	done(ctr, &err);
}

static int cdi_read(struct cdi_op *op, struct err *err);

static void cdi_on_again(struct timer *t)
{
	struct cdi_op *op = container_of(t, struct cdi_op, again);
	struct err err = { 0 };

	if (op->ctr->state == CTR_ABANDONED || cdi_read(op, &err) < 0)
		cdi_end(op, &err);
}

/* A kind that is there without the device never gets it; one that isn't may come. */
static void cdi_on_read(void *arg, const struct err *e, const struct buf *out)
{
	struct container *ctr = arg;
	struct cdi_op *op = TAKE_PTR(ctr->cdi);
	const struct cdi_name *absent = NULL;
	struct err err = *e;

	ctr->worker = NULL;
	if (!err.code)
		cdi_look_up(op, out);
	for (size_t i = 0; !err.code && i < op->n; i++) {
		const struct cdi_name *n = &op->names[i];

		if (n->spec && !n->device)
			err_rpc(&err, RPC_INTERNAL,
				"CDI device %s=%s does not exist: its kind is described, without it",
				n->kind, n->name);
		else if (!n->spec)
			absent = n;
	}
	if (!err.code && absent && loop_now_ms() < op->end) {
		log_debug("cdi", "%s: waiting for %s=%s", ctr->id, absent->kind, absent->name);
		timer_set(ctr->agent->loop, &op->again, AGAIN_MS, cdi_on_again);
		return;
	}
	if (!err.code && absent)
		err_rpc(&err, RPC_INTERNAL,
			"failed to inject devices after CDI timeout of %u seconds: %s=%s",
			ctr->agent->config->cdi_timeout_s, absent->kind, absent->name);
	if (!err.code)
		(void)cdi_apply(op, ctr->request->oci, &ctr->until_created->mem, &err);
	cdi_end(op, &err);
}

static int cdi_read(struct cdi_op *op, struct err *err)
{
	static const struct worker_opts opts = { .timeout_ms = LIMIT_WORK_MS,
						 .max_out = LIMIT_CDI_TEXTS };
	struct container *ctr = op->ctr;
	int r = worker_start(ctr->agent->loop, ctr->agent->reaper, &opts, cdi_read_job, cdi_on_read,
			     ctr, &ctr->worker);

	if (r < 0)
		return err_sys(err, -r, "read CDI's files");
	ctr->cdi = op;
	return 0;
}

void cdi_forget(struct container *ctr)
{
	if (ctr->cdi)
		cdi_free(TAKE_PTR(ctr->cdi));
}

int cdi_start(struct container *ctr, cdi_done *done, struct err *err)
{
	const struct config *cfg = ctr->agent->config;
	struct cdi_op found = { .ctr = ctr, .done = done }, *op;

	if (ctr->schema != SCHEMA_3X)
		return 1;
	if (cdi_find_names(&found, ctr->request->oci, cfg->visible_cdi_devices,
			   &ctr->until_created->mem, err) < 0)
		return -err->code;
	if (found.n == 0)
		return 1;
	op = malloc(sizeof(*op));
	if (!op)
		return no_memory(err);
	*op = found;
	arena_init(&op->files, LIMIT_ARENA);
	op->end = loop_now_ms() + (int64_t)cfg->cdi_timeout_s * 1000;
	if (cdi_read(op, err) < 0) {
		cdi_free(op);
		return -err->code;
	}
	return 0;
}
