/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A container's spec as the JSON that it was before it became protobuf: for hooks, which read it.
 */
#ifndef OCI_SPECJSON_H
#define OCI_SPECJSON_H

#include <stdio.h>

#include "oci.pb-c.h"

/*
 * Writes config.json as the runtime-spec has it. A zero is left out, since it may mean that nothing
 * was given, but where the runtime-spec wants the member or proto3 senders always mean it.
 * 0, -EFBIG above max bytes, -EIO. The stream stays open.
 */
int specjson_write(const Grpc__Spec *spec, FILE *f, size_t max);

#endif
