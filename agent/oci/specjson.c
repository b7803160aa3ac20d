/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The spec as JSON: the messages' descriptors tell what there is, two tables what they don't. No
 * message contains itself, so the depth is the schema's. No state.
 */
#include "oci/specjson.h"

#include <inttypes.h>
#include <stddef.h>

#include "base/auto.h"
#include "base/json.h"
#include "base/str.h"

/*
 * Fields that the runtime-spec does not call by their name with a small first letter; NULL: not at
 * all.
 */
static const struct {
	const char *field, *json;
} names[] = {
	{ "Version", "ociVersion" },
	{ "OOMScoreAdj", "oomScoreAdj" },
	{ "UIDMappings", "uidMappings" },
	{ "GIDMappings", "gidMappings" },
	{ "UID", "uid" },
	{ "GID", "gid" },
	{ "CPU", "cpu" },
	{ "Pagesize", "pageSize" },
	{ "Syscalls3x", "syscalls" }, /* a spec has one kind or the other */
	{ "errnoret", "errnoRet" },
	{ "Solaris", NULL },
	{ "Windows", NULL },
};

/* Members that are there even when they are zero or empty; NULL: all numbers and texts. */
static const struct {
	const char *message, *field;
} always[] = {
	{ "Spec", "Version" },
	{ "Process", "Cwd" },
	{ "Process", "Args" },
	{ "User", "UID" },
	{ "User", "GID" },
	{ "Box", NULL },
	{ "Root", "Path" },
	{ "Mount", "destination" },
	{ "POSIXRlimit", NULL },
	{ "Hook", "Path" },
	{ "LinuxIDMapping", NULL },
	{ "LinuxNamespace", "Type" },
	{ "LinuxDevice", "Path" },
	{ "LinuxDevice", "Type" },
	{ "LinuxDevice", "Major" },
	{ "LinuxDevice", "Minor" },
	{ "LinuxDeviceCgroup", "Allow" },
	{ "LinuxDeviceCgroup", "Major" }, /* 0 is a number, -1 the wildcard */
	{ "LinuxDeviceCgroup", "Minor" },
	{ "LinuxHugepageLimit", NULL },
	{ "LinuxInterfacePriority", NULL },
	{ "LinuxWeightDevice", "Major" },
	{ "LinuxWeightDevice", "Minor" },
	{ "LinuxThrottleDevice", NULL },
	{ "LinuxSeccomp", "DefaultAction" },
	{ "LinuxSyscall", "Names" },
	{ "LinuxSyscall", "Action" },
	{ "LinuxSyscall3x", "Names" },
	{ "LinuxSyscall3x", "Action" },
	{ "LinuxSeccompArg", NULL },
};

static bool is_always(const ProtobufCMessageDescriptor *d, const ProtobufCFieldDescriptor *f)
{
	for (size_t i = 0; i < ARRAY_LEN(always); i++) {
		if (str_eq(always[i].message, d->short_name) &&
		    (!always[i].field || str_eq(always[i].field, f->name)))
			return true;
	}
	return false;
}

/* The member's name, in buf or elsewhere; NULL when it is none of the runtime-spec's. */
static const char *json_name(const ProtobufCFieldDescriptor *f, char *buf, size_t size)
{
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (str_eq(names[i].field, f->name))
			return names[i].json;
	}
	(void)snprintf(buf, size, "%s", f->name);
	if (buf[0] >= 'A' && buf[0] <= 'Z')
		buf[0] = (char)(buf[0] - 'A' + 'a');
	return buf;
}

/* A field's bytes, and how many elements they are. */
struct value {
	const ProtobufCFieldDescriptor *f;
	const void *at;
	size_t n;
};

static bool is_zero(const struct value *v)
{
	switch (v->f->type) {
	case PROTOBUF_C_TYPE_STRING:
		return str_empty(*(char *const *)v->at);
	case PROTOBUF_C_TYPE_MESSAGE:
		return !*(void *const *)v->at;
	case PROTOBUF_C_TYPE_BOOL:
		return !*(const protobuf_c_boolean *)v->at;
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_UINT64:
		return *(const uint64_t *)v->at == 0;
	default:
		return *(const uint32_t *)v->at == 0;
	}
}

static struct value value_of(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
	const char *base = (const char *)m;
	struct value v = { f, base + f->offset, 1 };

	if (f->label == PROTOBUF_C_LABEL_REPEATED) {
		v.at = *(const void *const *)v.at;
		v.n = *(const size_t *)(const void *)(base + f->quantifier_offset);
	} else if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
		v.n = *(const uint32_t *)(const void *)(base + f->quantifier_offset) == f->id;
	}
	return v;
}

static bool is_wanted(const ProtobufCMessage *m, const struct value *v)
{
	const ProtobufCFieldDescriptor *f = v->f;
	bool told = f->label == PROTOBUF_C_LABEL_REPEATED ||
		    f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF; /* by n alone */

	if (told ? v->n > 0 : !is_zero(v))
		return true;
	return f->type != PROTOBUF_C_TYPE_MESSAGE && is_always(m->descriptor, f);
}

static size_t size_of(ProtobufCType type)
{
	switch (type) {
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_UINT64:
		return sizeof(uint64_t);
	default:
		return sizeof(uint32_t);
	}
}

static void put_message(struct json *j, const ProtobufCMessage *m);

static void put_one(struct json *j, ProtobufCType type, const void *at)
{
	const char *text;
	char number[24];

	switch (type) {
	case PROTOBUF_C_TYPE_STRING:
		text = *(const char *const *)at;
		json_string(j, text ? text : "");
		return;
	case PROTOBUF_C_TYPE_MESSAGE:
		put_message(j, *(const ProtobufCMessage *const *)at);
		return;
	case PROTOBUF_C_TYPE_BOOL:
		json_text(j, *(const protobuf_c_boolean *)at ? "true" : "false");
		return;
	case PROTOBUF_C_TYPE_INT64:
		(void)snprintf(number, sizeof(number), "%" PRId64, *(const int64_t *)at);
		break;
	case PROTOBUF_C_TYPE_UINT64:
		(void)snprintf(number, sizeof(number), "%" PRIu64, *(const uint64_t *)at);
		break;
	case PROTOBUF_C_TYPE_INT32:
		(void)snprintf(number, sizeof(number), "%" PRId32, *(const int32_t *)at);
		break;
	default:
		(void)snprintf(number, sizeof(number), "%" PRIu32, *(const uint32_t *)at);
		break;
	}
	json_text(j, number);
}

static bool is_map(const ProtobufCFieldDescriptor *f)
{
	const ProtobufCMessageDescriptor *d = f->descriptor;

	return f->label == PROTOBUF_C_LABEL_REPEATED && f->type == PROTOBUF_C_TYPE_MESSAGE &&
	       d->n_fields == 2 && str_eq(d->fields[0].name, "key") &&
	       str_eq(d->fields[1].name, "value");
}

/* A map is an object; its entries are messages of a key and a value, both texts. */
static void put_map(struct json *j, const struct value *v)
{
	const ProtobufCMessage *const *entries = v->at;

	json_text(j, "{");
	for (size_t i = 0; i < v->n && !j->full; i++) {
		const ProtobufCFieldDescriptor *f = entries[i]->descriptor->fields;
		const char *base = (const char *)entries[i];

		json_text(j, i ? "," : "");
		put_one(j, f[0].type, base + f[0].offset);
		json_text(j, ":");
		put_one(j, f[1].type, base + f[1].offset);
	}
	json_text(j, "}");
}

static void put_value(struct json *j, const struct value *v)
{
	const char *at = v->at;

	if (is_map(v->f)) {
		put_map(j, v);
		return;
	}
	if (v->f->label != PROTOBUF_C_LABEL_REPEATED) {
		put_one(j, v->f->type, at);
		return;
	}
	json_text(j, "[");
	for (size_t i = 0; i < v->n && !j->full; i++) {
		json_text(j, i ? "," : "");
		put_one(j, v->f->type, at + i * size_of(v->f->type));
	}
	json_text(j, "]");
}

static void put_message(struct json *j, const ProtobufCMessage *m)
{
	const char *comma = "";

	json_text(j, "{");
	for (unsigned int i = 0; i < m->descriptor->n_fields && !j->full; i++) {
		const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
		struct value v = value_of(m, f);
		char buf[64];
		const char *name = json_name(f, buf, sizeof(buf));

		if (!name || !is_wanted(m, &v))
			continue;
		json_text(j, comma);
		json_string(j, name);
		json_text(j, ":");
		put_value(j, &v);
		comma = ",";
	}
	json_text(j, "}");
}

int specjson_write(const Grpc__Spec *spec, FILE *f, size_t max)
{
	struct json j = { .f = f, .left = max };

	put_message(&j, &spec->base);
	return json_end(&j);
}
