/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The environment of a container's process.
 */
#ifndef OCI_ENV_H
#define OCI_ENV_H

#include <stddef.h>

#include "base/err.h"

/*
 * The entries as they are, later ones of a name winning in the place of the first, and HOME where
 * it is missing or empty. *ret is NULL-terminated, from malloc; its strings are the list's.
 */
int env_make(char *const *list, size_t n, const char *home, char ***ret, struct err *err);
/* The value of a name, or NULL. */
const char *env_get(char *const *envp, const char *name);

#endif
