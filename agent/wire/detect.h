/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The protocol of a connection whose peer has not said yet which one it speaks.
 */
#ifndef WIRE_DETECT_H
#define WIRE_DETECT_H

#include "wire/conn.h"

/* Makes c wait for the first byte, which tells: 'P' HTTP/2's preface, 0 ttrpc. Always 0. */
int detect_start(struct conn *c);

#endif
