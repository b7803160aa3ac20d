/* SPDX-License-Identifier: Apache-2.0 */
// The table of methods against the services' descriptors: every method has a row, with its input.
#include <criterion/criterion.h>
#include <string.h>

#include "agent.pb-c.h"
#include "health.pb-c.h"
#include "rpc/dispatch.h"
#include "svc/svc.h"

static void compare(const ProtobufCServiceDescriptor *s)
{
	const struct rpc_server server = { .methods = svc_methods,
					   .method_count = svc_method_count };

	for (unsigned int i = 0; i < s->n_methods; i++) {
		const ProtobufCMethodDescriptor *m = &s->methods[i];
		bool known;
		const struct rpc_method *row = rpc_find(&server, s->name, strlen(s->name), m->name,
							strlen(m->name), &known);

		cr_assert(row, "%s/%s has no row", s->name, m->name);
		cr_expect(row->request == m->input, "%s/%s takes %s, not %s", s->name, m->name,
			  m->input->short_name, row->request->short_name);
		cr_expect(row->fn);
	}
}

Test(methods, every_method_has_its_row)
{
	compare(&grpc__agent_service__descriptor);
	compare(&grpc__health__descriptor);
}

Test(methods, no_row_without_a_method)
{
	for (size_t i = 0; i < svc_method_count; i++) {
		const ProtobufCServiceDescriptor *s = !strcmp(svc_methods[i].service, "grpc.Health")
							      ? &grpc__health__descriptor
							      : &grpc__agent_service__descriptor;

		cr_expect_str_eq(svc_methods[i].service, s->name);
		cr_expect(protobuf_c_service_descriptor_get_method_by_name(s, svc_methods[i].name),
			  "%s", svc_methods[i].name);
		for (size_t k = 0; k < i; k++)
			cr_expect(strcmp(svc_methods[i].name, svc_methods[k].name) != 0, "%s twice",
				  svc_methods[i].name);
	}
}
