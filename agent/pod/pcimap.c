/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PCI addresses of host and guest, and the environment that has them. No state of its own.
 */
#include "pod/pcimap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/str.h"

#define PREFIX "PCIDEVICE_"
#define INFO   "_INFO"

int pci_map_add(struct pci_map *map, const char *host, const char *guest, struct err *err)
{
	struct pci_pair *pairs;

	for (size_t i = 0; i < map->n; i++) {
		if (!str_eq(map->pairs[i].host, host))
			continue;
		if (str_eq(map->pairs[i].guest, guest))
			return 0;
		return err_set(err, EINVAL, "host device %s is both %s and %s here", host,
			       map->pairs[i].guest, guest);
	}
	if (map->n >= LIMIT_DEVICES)
		return err_set(err, E2BIG, "%zu PCI devices", map->n);
	pairs = reallocarray(map->pairs, map->n + 1, sizeof(*pairs));
	if (!pairs)
		return err_sys(err, ENOMEM, "PCI devices");
	map->pairs = pairs;
	(void)memcpy(pairs[map->n].host, host, strlen(host) + 1);
	(void)memcpy(pairs[map->n].guest, guest, strlen(guest) + 1);
	map->n++;
	return 0;
}

void pci_map_free(struct pci_map *map)
{
	free(TAKE_PTR(map->pairs));
	map->n = 0;
}

static const char *pci_map_find(const struct pci_map *map, const char *text, size_t len)
{
	char host[PCI_ADDRESS_MAX];

	if (pci_address(text, len, host) < 0)
		return NULL;
	for (size_t i = 0; i < map->n; i++) {
		if (str_eq(map->pairs[i].host, host))
			return map->pairs[i].guest;
	}
	return NULL;
}

/* Lists only: INFO is the other's. */
static bool is_list(const char *env, size_t name_len)
{
	return str_starts(env, PREFIX) &&
	       !(name_len >= strlen(INFO) &&
		 strncmp(env + name_len - strlen(INFO), INFO, strlen(INFO)) == 0);
}

/* The list in the guest's addresses; NULL: it is left as it is, or *ret is -ENOMEM. */
static char *translate_list(const struct pci_map *map, const char *id, const char *env,
			    size_t name_len, struct arena *mem, int *ret)
{
	const char *list = env + name_len + 1;
	size_t most = name_len + 1 + PCI_ADDRESS_MAX;
	char *out, *to;

	for (const char *p = list; *p; p++)
		most += *p == ',' ? PCI_ADDRESS_MAX : 0;
	out = to = arena_alloc(mem, most);
	*ret = out ? 0 : -ENOMEM;
	if (!out)
		return NULL;
	(void)memcpy(to, env, name_len + 1);
	to += name_len + 1;
	for (;; list++) {
		size_t len = strcspn(list, ",");
		char any[PCI_ADDRESS_MAX];
		const char *guest = pci_map_find(map, list, len);

		if (!guest) {
			if (pci_address(list, len, any) == 0)
				log_warn("pcimap", "%s: %.*s in %.*s is no device given to it", id,
					 (int)len, list, (int)name_len, env);
			return NULL;
		}
		(void)memcpy(to, guest, strlen(guest));
		to += strlen(guest);
		list += len;
		if (!*list)
			break;
		*to++ = ',';
	}
	*to = '\0';
	return out;
}

/* text with each address of the list, as it stands there, replaced. NULL without memory. */
static char *translate_info(const struct pci_map *map, const char *list, const char *text,
			    struct arena *mem)
{
	char *out = arena_alloc(mem, 2 * strlen(text) + PCI_ADDRESS_MAX), *to = out;

	while (out && *text) {
		const char *guest = NULL, *at = list;
		size_t len = 0;

		for (; !guest && *at; at += at[len] == ',' ? len + 1 : len) {
			len = strcspn(at, ",");
			if (len >= 7 && strncmp(text, at, len) == 0)
				guest = pci_map_find(map, at, len);
			if (guest)
				break;
		}
		if (guest) {
			(void)memcpy(to, guest, strlen(guest));
			to += strlen(guest);
			text += len;
		} else {
			*to++ = *text++;
		}
	}
	if (out)
		*to = '\0';
	return out;
}

static int translate_infos(const struct pci_map *map, const char *was, size_t name_len,
			   Grpc__Process *process, struct arena *mem)
{
	for (size_t i = 0; i < process->n_env; i++) {
		char *env = process->env[i];

		if (strncmp(env, was, name_len) != 0 || !str_starts(env + name_len, INFO "="))
			continue;
		process->env[i] = translate_info(map, was + name_len + 1, env, mem);
		if (!process->env[i]) {
			process->env[i] = env;
			return -ENOMEM;
		}
	}
	return 0;
}

int pci_map_translate(const struct pci_map *map, const char *id, Grpc__Process *process,
		      struct arena *mem, struct err *err)
{
	for (size_t i = 0; process && i < process->n_env; i++) {
		const char *env = process->env[i], *is = strchr(env, '=');
		size_t name_len = is ? (size_t)(is - env) : 0;
		char *now;
		int r = 0;

		if (!is || !is_list(env, name_len))
			continue;
		now = translate_list(map, id, env, name_len, mem, &r);
		if (now) {
			process->env[i] = now;
			r = translate_infos(map, env, name_len, process, mem);
		}
		if (r < 0)
			return err_sys(err, ENOMEM, "environment");
	}
	return 0;
}
