/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Additions to a spec. No state.
 */
#include "pod/specedit.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/sysmacros.h>

int spec_append(void *list, size_t *n, void *item, struct arena *mem, struct err *err)
{
	void ***items = list, **more = item ? arena_alloc(mem, (*n + 1) * sizeof(*more)) : NULL;

	if (!more)
		return err_sys(err, ENOMEM, "spec");
	if (*n)
		(void)memcpy(more, *items, *n * sizeof(*more));
	more[*n] = item;
	*items = more;
	++*n;
	return 0;
}

static Grpc__Linux *spec_linux(Grpc__Spec *spec, struct arena *mem)
{
	if (!spec->linux) {
		spec->linux = arena_alloc(mem, sizeof(*spec->linux));
		if (spec->linux)
			grpc__linux__init(spec->linux);
	}
	return spec->linux;
}

int spec_add_rule(Grpc__Spec *spec, struct arena *mem, char type, int64_t major, int64_t minor,
		  const char *access, struct err *err)
{
	Grpc__Linux *l = spec_linux(spec, mem);
	Grpc__LinuxDeviceCgroup *rule = arena_alloc(mem, sizeof(*rule));

	if (l && !l->resources) {
		l->resources = arena_alloc(mem, sizeof(*l->resources));
		if (l->resources)
			grpc__linux_resources__init(l->resources);
	}
	if (!l || !l->resources || !rule)
		return err_sys(err, ENOMEM, "device rule");
	grpc__linux_device_cgroup__init(rule);
	rule->allow = true;
	rule->type = arena_printf(mem, "%c", type);
	rule->access = arena_strdup(mem, access);
	rule->major = major;
	rule->minor = minor;
	if (!rule->type || !rule->access)
		return err_sys(err, ENOMEM, "device rule");
	return spec_append(&l->resources->devices, &l->resources->n_devices, rule, mem, err);
}

int spec_add_device(Grpc__Spec *spec, struct arena *mem, char *path, const struct stat *st,
		    const char *access, struct err *err)
{
	Grpc__Linux *l = spec_linux(spec, mem);
	Grpc__LinuxDevice *d = arena_alloc(mem, sizeof(*d));
	char type = S_ISBLK(st->st_mode) ? 'b' : S_ISFIFO(st->st_mode) ? 'p' : 'c';

	if (!l || !d || !path)
		return err_sys(err, ENOMEM, "device");
	grpc__linux_device__init(d);
	d->path = path;
	d->type = arena_printf(mem, "%c", type);
	d->major = type == 'p' ? 0 : (int64_t)major(st->st_rdev);
	d->minor = type == 'p' ? 0 : (int64_t)minor(st->st_rdev);
	d->filemode = st->st_mode & 07777;
	d->uid = st->st_uid;
	d->gid = st->st_gid;
	if (!d->type)
		return err_sys(err, ENOMEM, "device");
	if (spec_append(&l->devices, &l->n_devices, d, mem, err) < 0)
		return -err->code;
	return type == 'p' ? 0 : spec_add_rule(spec, mem, type, d->major, d->minor, access, err);
}
