/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gRPC over HTTP/2: the session (nghttp2) and its streams, each of which carries one call.
 */
#ifndef WIRE_H2_H
#define WIRE_H2_H

#include "wire/conn.h"

/* Makes c speak HTTP/2. 0 or -errno. */
int h2_start(struct conn *c);

#endif
