/* SPDX-License-Identifier: Apache-2.0 */
/* The lines of a batch: words as a shell has them, without expansion; # begins a comment. */
#ifndef CTL_BATCH_H
#define CTL_BATCH_H

#include "common.h"

#define BATCH_MAX_WORDS 256

/* Splits line in place; words has room for max pointers, the last of them NULL. How many. */
int batch_split(char *line, char **words, size_t max, struct err *err);

#endif
