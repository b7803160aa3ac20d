/* SPDX-License-Identifier: Apache-2.0 */
/*
 * YAML as programs write it, and JSON, which is part of it: maps, lists and scalars, in lines or in
 * brackets. Of one document; without anchors, tags, block scalars and keys of several words in
 * brackets, which are errors.
 */
#ifndef BASE_YAML_H
#define BASE_YAML_H

#include <stddef.h>

#include "base/arena.h"
#include "base/err.h"

enum yaml_kind { YAML_SCALAR, YAML_LIST, YAML_MAP };

struct yaml {
	enum yaml_kind kind;
	char *text;	    /* of a scalar */
	struct yaml *first; /* of a list, of a map: in their order */
	struct yaml *next;
	char *key; /* in a map */
};

/* text[len] is NUL. *ret lives in mem; NULL for an empty document. 0, -EINVAL, -ENOMEM. */
int yaml_parse(const char *text, struct arena *mem, struct yaml **ret, struct err *err);
/* A map's member; NULL: it has none, or y is no map, or NULL. */
const struct yaml *yaml_get(const struct yaml *y, const char *key);
/* The same of a scalar's text; NULL also for null and "". */
const char *yaml_text(const struct yaml *y, const char *key);
/* The first item of a list that is a member. */
const struct yaml *yaml_list(const struct yaml *y, const char *key);

#endif
