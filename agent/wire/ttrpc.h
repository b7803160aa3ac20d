/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ttrpc: unary calls in frames of ten bytes and a body, as runtimes of 2.x and 3.x speak it.
 */
#ifndef WIRE_TTRPC_H
#define WIRE_TTRPC_H

#include "wire/conn.h"

/* Makes c speak ttrpc. 0 or -errno. */
int ttrpc_start(struct conn *c);

#endif
