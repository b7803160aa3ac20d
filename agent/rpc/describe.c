/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request as text, for the log at debug level. No state.
 */
#include "rpc/dispatch.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/auto.h"
#include "base/str.h"

struct description {
	char *text;
	size_t len, size; /* len < size; the NUL has a place */
};

static void __attribute__((format(printf, 2, 3)))
description_put(struct description *d, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(d->text + d->len, d->size - d->len, fmt, ap);
	va_end(ap);
	d->len = n < 0 || (size_t)n >= d->size - d->len ? d->size - 1 : d->len + (size_t)n;
}

static void describe_message(struct description *d, const ProtobufCMessage *m);

static void describe_value(struct description *d, const ProtobufCFieldDescriptor *f, const void *at)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_MESSAGE:
		describe_message(d, *(const ProtobufCMessage *const *)at);
		break;
	case PROTOBUF_C_TYPE_STRING:
		description_put(d, "'%.200s'", *(const char *const *)at);
		break;
	case PROTOBUF_C_TYPE_BYTES:
		description_put(d, "%zu bytes", ((const ProtobufCBinaryData *)at)->len);
		break;
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		description_put(d, "%" PRId64, *(const int64_t *)at);
		break;
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
	case PROTOBUF_C_TYPE_ENUM:
	case PROTOBUF_C_TYPE_BOOL:
		description_put(d, "%" PRId32, *(const int32_t *)at);
		break;
	case PROTOBUF_C_TYPE_FLOAT:
	case PROTOBUF_C_TYPE_DOUBLE:
	default:
		description_put(d, "?");
	}
}

static size_t size_of_element(ProtobufCType type)
{
	switch (type) {
	case PROTOBUF_C_TYPE_MESSAGE:
	case PROTOBUF_C_TYPE_STRING:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return sizeof(uint64_t);
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
	case PROTOBUF_C_TYPE_ENUM:
	case PROTOBUF_C_TYPE_BOOL:
	case PROTOBUF_C_TYPE_FLOAT:
	default:
		return sizeof(uint32_t);
	}
}

/* proto3 leaves out what is zero or empty, and so do we. */
static bool field_is_empty(const ProtobufCFieldDescriptor *f, const char *at)
{
	static const char zeros[sizeof(uint64_t)];

	if (f->type == PROTOBUF_C_TYPE_MESSAGE)
		return !*(const void *const *)(const void *)at;
	if (f->type == PROTOBUF_C_TYPE_STRING)
		return str_empty(*(const char *const *)(const void *)at);
	if (f->type == PROTOBUF_C_TYPE_BYTES)
		return !((const ProtobufCBinaryData *)(const void *)at)->len;
	return memcmp(at, zeros, size_of_element(f->type)) == 0;
}

static void describe_repeated(struct description *d, const ProtobufCFieldDescriptor *f,
			      const char *elements, size_t n)
{
	description_put(d, " %s=", f->name);
	/* Passwords and tokens travel in environments. */
	if (str_eq(f->name, "Env") || str_eq(f->name, "env")) {
		description_put(d, "(%zu)", n);
		return;
	}
	for (size_t i = 0; i < n && d->len < d->size - 1; i++) {
		description_put(d, i ? "," : "[");
		describe_value(d, f, elements + i * size_of_element(f->type));
	}
	description_put(d, "]");
}

static void describe_message(struct description *d, const ProtobufCMessage *m)
{
	const ProtobufCMessageDescriptor *desc = m->descriptor;

	description_put(d, "{");
	for (unsigned int i = 0; i < desc->n_fields && d->len < d->size - 1; i++) {
		const ProtobufCFieldDescriptor *f = &desc->fields[i];
		const char *at = (const char *)m + f->offset;
		const size_t *n = (const void *)((const char *)m + f->quantifier_offset);

		if (f->label == PROTOBUF_C_LABEL_REPEATED) {
			if (*n)
				describe_repeated(d, f, *(const char *const *)(const void *)at, *n);
		} else if (!field_is_empty(f, at)) {
			description_put(d, " %s=", f->name);
			describe_value(d, f, at);
		}
	}
	description_put(d, " }");
}

const char *rpc_describe(const ProtobufCMessage *m, char *text, size_t size)
{
	struct description d = { .text = text, .size = size };

	*text = '\0';
	describe_message(&d, m);
	return text;
}
