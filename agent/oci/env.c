/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Environments: names are found by a hash, since hosts send tens of thousands. No state.
 */
#include "oci/env.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/str.h"

/* Open addressing, at most half full: the entry's place in envp plus one, 0 is free. */
struct env_index {
	uint32_t *slot;
	size_t mask;
};

const char *env_get(char *const *envp, const char *name)
{
	size_t len = strlen(name);

	for (; *envp; envp++) {
		if (strncmp(*envp, name, len) == 0 && (*envp)[len] == '=')
			return *envp + len + 1;
	}
	return NULL;
}

static uint64_t env_hash(const char *name, size_t len)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)name[i]) * UINT64_C(0x100000001b3);
	return h ^ h >> 32;
}

/* The place of an entry of that name (with its "="), or n, where it is to go. */
static size_t env_find(const struct env_index *x, char *const *envp, size_t n, const char *name,
		       size_t len)
{
	size_t i = env_hash(name, len) & x->mask;

	for (; x->slot[i]; i = (i + 1) & x->mask) {
		if (strncmp(envp[x->slot[i] - 1], name, len) == 0)
			return x->slot[i] - 1;
	}
	x->slot[i] = (uint32_t)n + 1;
	return n;
}

int env_make(char *const *list, size_t n, const char *home, char ***ret, struct err *err)
{
	AUTO_FREE char **envp = calloc(n + 2, sizeof(*envp));
	AUTO_FREE uint32_t *slot = NULL;
	struct env_index x = { .mask = 15 };
	size_t count = 0, at;

	while (x.mask < 2 * n + 2)
		x.mask = 2 * x.mask + 1;
	x.slot = slot = calloc(x.mask + 1, sizeof(*slot));
	if (!envp || !slot)
		return err_sys(err, ENOMEM, "environment");
	for (size_t i = 0; i < n; i++) {
		const char *eq = strchr(list[i], '=');

		if (!eq)
			return err_set(err, EINVAL, "invalid environment '%s'", list[i]);
		at = env_find(&x, envp, count, list[i], (size_t)(eq - list[i]) + 1);
		envp[at] = list[i];
		count += at == count;
	}
	at = env_find(&x, envp, count, "HOME=", strlen("HOME="));
	if (at == count || str_eq(envp[at], "HOME=")) {
		if (asprintf(&envp[at], "HOME=%s", home) < 0) {
			envp[at] = NULL;
			return err_sys(err, ENOMEM, "environment");
		}
	}
	*ret = TAKE_PTR(envp);
	return 0;
}
