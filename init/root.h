/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's root, where it is an initramfs.
 */
#ifndef INIT_ROOT_H
#define INIT_ROOT_H

#include "base/err.h"

/*
 * On an initramfs: moves all of it to a root of its own and executes argv[0] from there, with argv
 * and the environment; does not return then. Elsewhere, and the second time: 0. -errno with *err:
 * the root may be in pieces, and the caller's only way is to end the guest.
 */
int root_move(char **argv, struct err *err);

#endif
