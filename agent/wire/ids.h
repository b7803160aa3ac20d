/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The numbers of streams that a client has opened on one connection: odd or even, none twice.
 */
#ifndef WIRE_IDS_H
#define WIRE_IDS_H

#include <stdbool.h>
#include <stdint.h>

#define IDS_RECENT 512 /* numbers that are remembered */

struct ids {
	int64_t newest;			/* id / 2 of the newest stream; -1: none has been */
	uint64_t seen[IDS_RECENT / 64]; /* which of the numbers up to newest have been, in a ring */
};

void ids_init(struct ids *ids);
/*
 * Notes that a stream is opened: false if it has been before. A client counts upwards, but those
 * that it opens at once come in any order (hashicorp's yamux has up to 256 on their way, an async
 * client of ttrpc a few): what is older than IDS_RECENT counts as having been.
 */
bool ids_take(struct ids *ids, uint32_t id);

#endif
