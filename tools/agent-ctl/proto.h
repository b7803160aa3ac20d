/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The generated messages. The field `Linux` becomes a C member called linux, which gnu11 defines
 * as 1.
 */
#ifndef CTL_PROTO_H
#define CTL_PROTO_H

#undef linux

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wundef"
#include "agent.pb-c.h"
#include "health.pb-c.h"
#include "oci.pb-c.h"
#include "types.pb-c.h"
#pragma GCC diagnostic pop

/* A message on the stack: the generated INIT macros cast const away, the functions do not. */
#define PB_LOCAL(type, sym, var)     \
	type var = ({                \
		type init_;          \
		sym##__init(&init_); \
		init_;               \
	})

/* Which set of messages is spoken; the names of services and methods are the same in all. */
struct schema {
	const char *name;
	const ProtobufCServiceDescriptor *agent, *health;
};

extern const struct schema schema_1x, schema_3x;

/* NULL: no such method. Takes "WaitProcess", "grpc.Health/Check", any case. */
const ProtobufCMethodDescriptor *schema_method(const struct schema *s, const char *name,
					       const char **ret_service);

#endif
