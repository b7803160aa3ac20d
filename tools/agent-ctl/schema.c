/* SPDX-License-Identifier: Apache-2.0 */
/* The generations of messages: 1.x from agent/proto, 3.x from agent3.proto beside this file. */
#include "proto.h"

#include "common.h"

#include <string.h>
#include <strings.h>

#if __has_include("agent3.pb-c.h")
#include "agent3.pb-c.h"

const struct schema schema_3x = {
	.name = "3.x",
	.agent = &agent3__agent_service__descriptor,
	.health = &agent3__health__descriptor,
};
#else /* built without protoc-c's output of agent3.proto */
const struct schema schema_3x = {
	.name = "3.x (with 1.x messages)",
	.agent = &grpc__agent_service__descriptor,
	.health = &grpc__health__descriptor,
};
#endif

const struct schema schema_1x = {
	.name = "1.x",
	.agent = &grpc__agent_service__descriptor,
	.health = &grpc__health__descriptor,
};

const ProtobufCMethodDescriptor *schema_method(const struct schema *s, const char *name,
					       const char **ret_service)
{
	const ProtobufCServiceDescriptor *services[] = { s->agent, s->health };
	const char *slash = strrchr(name, '/');
	const char *method = slash ? slash + 1 : name;

	for (size_t i = 0; i < ARRAY_LEN(services); i++) {
		for (unsigned int k = 0; k < services[i]->n_methods; k++) {
			if (strcasecmp(services[i]->methods[k].name, method))
				continue;
			*ret_service = i == 0 ? "grpc.AgentService" : "grpc.Health";
			return &services[i]->methods[k];
		}
	}
	return NULL;
}
