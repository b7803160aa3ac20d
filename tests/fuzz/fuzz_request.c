/* SPDX-License-Identifier: Apache-2.0 */
/* Unpacking of every request message, in an arena as dispatch does it. data[0] chooses the method. */
// objs: fake
#include "fake.h"

#include <stdlib.h>

#include "agent.pb-c.h"
#include "health.pb-c.h"
#include "base/arena.h"
#include "base/limits.h"

static void *alloc_in_arena(void *arena, size_t size)
{
	return arena_alloc(arena, size);
}

static void free_in_arena(void *arena, void *p)
{
	(void)arena;
	(void)p;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const ProtobufCServiceDescriptor *agent = &grpc__agent_service__descriptor;
	const ProtobufCMessageDescriptor *type;
	ProtobufCMessage *msg;
	struct arena mem;
	ProtobufCAllocator in_arena = { alloc_in_arena, free_in_arena, &mem };

	if (size == 0)
		return 0;
	type = data[0] < agent->n_methods ? agent->methods[data[0]].input
					  : &grpc__check_request__descriptor;
	arena_init(&mem, LIMIT_ARENA);
	msg = protobuf_c_message_unpack(type, &in_arena, size - 1, data + 1);
	if (msg && !protobuf_c_message_check(msg))
		abort();
	if (mem.taken > LIMIT_ARENA)
		abort();
	if (msg) {
		size_t len = protobuf_c_message_get_packed_size(msg);
		uint8_t *out = malloc(len + 1);

		if (out && protobuf_c_message_pack(msg, out) != len)
			abort();
		free(out);
	}
	arena_free(&mem);
	return 0;
}
