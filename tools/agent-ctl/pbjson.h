/* SPDX-License-Identifier: Apache-2.0 */
/* JSON <-> protobuf-c messages, by descriptors, so that no message needs code of its own. */
#ifndef CTL_PBJSON_H
#define CTL_PBJSON_H

#include "common.h"

#include <json-c/json.h>
#include <protobuf-c/protobuf-c.h>

/*
 * Extra knowledge about a JSON dialect. A key is matched with the field of the same name, ignoring
 * case and underscores; rows are found by the message's short name. All members may be NULL.
 */
struct pb_rename {
	const char *message, *key, *field;
};

struct pb_default { /* where JSON leaves it out and zero would say something else */
	const char *message, *field;
	const char *text; /* for string fields */
	int64_t number;
};

struct pb_required {
	const char *message, *field;
};

struct pb_rules {
	const struct pb_rename *renames;
	size_t n_renames;
	const struct pb_default *defaults;
	size_t n_defaults;
	const struct pb_required *required;
	size_t n_required;
	/* A key without a field: NULL makes it an error. path is like "process.user.umask". */
	void (*unknown)(void *arg, const char *path);
	void *arg;
};

/*
 * ret is freed with protobuf_c_message_free_unpacked(*ret, NULL). Errors name the path in the
 * JSON.
 */
int pb_from_json(json_object *json, const ProtobufCMessageDescriptor *desc,
		 const struct pb_rules *rules, ProtobufCMessage **ret, struct err *err);
/* Every field, zeros included; bytes as base64, as proto3's JSON has it. The caller's reference. */
json_object *pb_to_json(const ProtobufCMessage *msg);

/* Parses text; errors carry line and column. *ret may be NULL for the JSON value null. */
int json_parse(const char *text, size_t len, const char *name, json_object **ret, struct err *err);
/* Same for a literal argument, "@FILE" or "-". */
int json_parse_arg(const char *arg, json_object **ret, struct err *err);

char *base64_encode(const uint8_t *data, size_t len);
int base64_decode(const char *text, size_t len, uint8_t **ret, size_t *ret_len);

static inline void auto_json_put(json_object **j)
{
	(void)json_object_put(*j);
}
#define AUTO_JSON __attribute__((cleanup(auto_json_put)))

static inline void auto_msg_free(ProtobufCMessage **m)
{
	if (*m)
		protobuf_c_message_free_unpacked(*m, NULL);
}
#define AUTO_MSG __attribute__((cleanup(auto_msg_free)))

#endif
