/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kernel modules that an image wants at boot.
 */
#ifndef INIT_MODULES_H
#define INIT_MODULES_H

#include <stdbool.h>

#include "base/err.h"

/* Is there a list at all? Most kernels of guests have everything built in. */
bool modules_wanted(void);
/*
 * Loads what the files /etc/modules-load.d/NAME.conf name, a module (with parameters) a line, by
 * modprobe. All are tried. *err names each that could not be loaded and is not built in, and says
 * why the first could not. It waits: for a worker.
 */
int modules_load(struct err *err);

#endif
