/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers of streams. No state of its own.
 */
#include "wire/ids.h"

#include <string.h>

void ids_init(struct ids *ids)
{
	*ids = (struct ids){ .newest = -1 };
}

bool ids_take(struct ids *ids, uint32_t id)
{
	int64_t n = id / 2;
	uint64_t *word = &ids->seen[n % IDS_RECENT / 64], bit = (uint64_t)1 << n % 64;

	if (ids->newest < 0 || n - ids->newest >= IDS_RECENT) {
		(void)memset(ids->seen, 0, sizeof(ids->seen));
		ids->newest = n;
	}
	for (; ids->newest < n; ids->newest++) {
		int64_t next = ids->newest + 1;

		ids->seen[next % IDS_RECENT / 64] &= ~((uint64_t)1 << next % 64);
	}
	if (ids->newest - n >= IDS_RECENT || *word & bit)
		return false;
	*word |= bit;
	return true;
}
