/* SPDX-License-Identifier: Apache-2.0 */
/* JSON <-> protobuf-c. Owns no state. */
#include "pbjson.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <string.h>

#define MAX_DEPTH 32

struct reader {
	const struct pb_rules *rules;
	struct err *err;
	char path[256]; /* where in the JSON we are */
	int depth;
};

static const struct pb_rules no_rules;

static int read_message(struct reader *r, json_object *json, const ProtobufCMessageDescriptor *desc,
			ProtobufCMessage *msg);

/* Appends ".key" or "[i]" to the path; returns the old length for path_pop. */
static size_t path_push(struct reader *r, const char *key, size_t index)
{
	size_t old = strlen(r->path);

	if (key)
		(void)snprintf(r->path + old, sizeof(r->path) - old, "%s%s", old ? "." : "", key);
	else
		(void)snprintf(r->path + old, sizeof(r->path) - old, "[%zu]", index);
	return old;
}

static void path_pop(struct reader *r, size_t old)
{
	r->path[old] = '\0';
}

static const char *where(const struct reader *r)
{
	return r->path[0] ? r->path : "top level";
}

static int wrong_type(struct reader *r, const char *want, json_object *got)
{
	return err_set(r->err, EINVAL, "%s: expected %s, got %s", where(r), want,
		       json_type_to_name(json_object_get_type(got)));
}

/* mem_block_size, memBlockSize and MemBlockSize are one name. */
static bool same_name(const char *a, const char *b)
{
	for (;;) {
		while (*a == '_')
			a++;
		while (*b == '_')
			b++;
		if (tolower((unsigned char)*a) != tolower((unsigned char)*b))
			return false;
		if (!*a)
			return true;
		a++;
		b++;
	}
}

static const ProtobufCFieldDescriptor *find_field(const struct reader *r,
						  const ProtobufCMessageDescriptor *desc,
						  const char *key)
{
	const struct pb_rules *rules = r->rules;
	const ProtobufCFieldDescriptor *f =
		protobuf_c_message_descriptor_get_field_by_name(desc, key);

	if (f)
		return f;
	for (size_t i = 0; i < rules->n_renames; i++) {
		if (!strcmp(rules->renames[i].message, desc->short_name) &&
		    !strcmp(rules->renames[i].key, key))
			return protobuf_c_message_descriptor_get_field_by_name(
				desc, rules->renames[i].field);
	}
	for (unsigned int i = 0; i < desc->n_fields; i++) {
		if (same_name(desc->fields[i].name, key))
			return &desc->fields[i];
	}
	return NULL;
}

static void *member(const ProtobufCMessage *msg, unsigned int offset)
{
	return (char *)(uintptr_t)msg + offset;
}

/* ---- scalars ---- */

/* Numbers may also come as strings, as proto3's JSON writes 64-bit ones. */
static int read_integer(struct reader *r, json_object *json, bool is_signed, uint64_t max,
			void *ret)
{
	const char *text = json_object_get_string(json);
	bool minus = text && text[0] == '-';
	unsigned long long u = 0;
	long long s = 0;
	char *end;

	if (!json_object_is_type(json, json_type_int) &&
	    !json_object_is_type(json, json_type_string))
		return wrong_type(r, "an integer", json);
	errno = 0;
	if (minus)
		s = strtoll(text, &end, 10);
	else
		u = strtoull(text, &end, 0);
	if (end == text || *end || isspace((unsigned char)text[0]))
		return err_set(r->err, EINVAL, "%s: '%s' is not an integer", where(r), text);
	if (errno || (minus && (!is_signed || s < -(long long)(max >> 1) - 1)) ||
	    (!minus && u > (is_signed ? max >> 1 : max)))
		return err_set(r->err, ERANGE, "%s: %s is out of range (%s%llu)", where(r), text,
			       is_signed ? "at most " : "0 to ",
			       (unsigned long long)(is_signed ? max >> 1 : max));
	if (max == UINT32_MAX)
		*(uint32_t *)ret = minus ? (uint32_t)s : (uint32_t)u;
	else
		*(uint64_t *)ret = minus ? (uint64_t)s : (uint64_t)u;
	return 0;
}

static int read_string(struct reader *r, json_object *json, char **ret)
{
	if (!json_object_is_type(json, json_type_string))
		return wrong_type(r, "a string", json);
	if (strlen(json_object_get_string(json)) != (size_t)json_object_get_string_len(json))
		return err_set(r->err, EINVAL, "%s: a string with a NUL byte", where(r));
	*ret = xstrdup(json_object_get_string(json));
	return 0;
}

static int read_bytes(struct reader *r, json_object *json, ProtobufCBinaryData *ret)
{
	if (!json_object_is_type(json, json_type_string))
		return wrong_type(r, "a string of base64", json);
	if (base64_decode(json_object_get_string(json), (size_t)json_object_get_string_len(json),
			  &ret->data, &ret->len) < 0)
		return err_set(r->err, EINVAL, "%s: not base64", where(r));
	return 0;
}

static int read_enum(struct reader *r, json_object *json, const ProtobufCEnumDescriptor *desc,
		     int *ret)
{
	const ProtobufCEnumValue *v;

	if (!json_object_is_type(json, json_type_string))
		return read_integer(r, json, true, UINT32_MAX, ret);
	v = protobuf_c_enum_descriptor_get_value_by_name(desc, json_object_get_string(json));
	if (!v)
		return err_set(r->err, EINVAL, "%s: '%s' is no %s", where(r),
			       json_object_get_string(json), desc->short_name);
	*ret = v->value;
	return 0;
}

static int read_submessage(struct reader *r, json_object *json,
			   const ProtobufCMessageDescriptor *desc, ProtobufCMessage **ret)
{
	ProtobufCMessage *msg = xcalloc(1, desc->sizeof_message);
	int res;

	protobuf_c_message_init(desc, msg);
	res = read_message(r, json, desc, msg);
	if (res < 0)
		protobuf_c_message_free_unpacked(msg, NULL);
	else
		*ret = msg;
	return res;
}

/* One value into *to, which has the C type of the field. */
static int read_value(struct reader *r, json_object *json, const ProtobufCFieldDescriptor *f,
		      void *to)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		return read_integer(r, json, true, UINT32_MAX, to);
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		return read_integer(r, json, false, UINT32_MAX, to);
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		return read_integer(r, json, true, UINT64_MAX, to);
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		return read_integer(r, json, false, UINT64_MAX, to);
	case PROTOBUF_C_TYPE_BOOL:
		if (!json_object_is_type(json, json_type_boolean))
			return wrong_type(r, "true or false", json);
		*(protobuf_c_boolean *)to = json_object_get_boolean(json);
		return 0;
	case PROTOBUF_C_TYPE_FLOAT:
		*(float *)to = (float)json_object_get_double(json);
		return 0;
	case PROTOBUF_C_TYPE_DOUBLE:
		*(double *)to = json_object_get_double(json);
		return 0;
	case PROTOBUF_C_TYPE_ENUM:
		return read_enum(r, json, f->descriptor, to);
	case PROTOBUF_C_TYPE_STRING:
		return read_string(r, json, to);
	case PROTOBUF_C_TYPE_BYTES:
		return read_bytes(r, json, to);
	case PROTOBUF_C_TYPE_MESSAGE:
		return read_submessage(r, json, f->descriptor, to);
	}
	return err_set(r->err, ENOTSUP, "%s: unknown field type", where(r));
}

static size_t value_size(ProtobufCType type)
{
	switch (type) {
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return 8;
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
	case PROTOBUF_C_TYPE_FLOAT:
	case PROTOBUF_C_TYPE_ENUM:
		return 4;
	}
	return 0;
}

/* ---- lists and maps ---- */

/*
 * protobuf-c has no notion of maps: they are lists of FooEntry messages with key = 1 and value =
 * 2.
 */
static bool is_map(const ProtobufCFieldDescriptor *f)
{
	const ProtobufCMessageDescriptor *d = f->descriptor;
	size_t len;

	if (f->label != PROTOBUF_C_LABEL_REPEATED || f->type != PROTOBUF_C_TYPE_MESSAGE)
		return false;
	len = strlen(d->short_name);
	return d->n_fields == 2 && len > 5 && !strcmp(d->short_name + len - 5, "Entry") &&
	       !strcmp(d->fields[0].name, "key") && !strcmp(d->fields[1].name, "value");
}

static int read_map_entry(struct reader *r, const char *key, json_object *value,
			  const ProtobufCMessageDescriptor *entry, ProtobufCMessage **ret)
{
	AUTO_MSG ProtobufCMessage *msg = xcalloc(1, entry->sizeof_message);
	AUTO_JSON json_object *jkey = json_object_new_string(key);
	int res;

	protobuf_c_message_init(entry, msg);
	res = read_value(r, jkey, &entry->fields[0], member(msg, entry->fields[0].offset));
	if (res == 0)
		res = read_value(r, value, &entry->fields[1], member(msg, entry->fields[1].offset));
	if (res == 0)
		*ret = TAKE_PTR(msg);
	return res;
}

static int read_map(struct reader *r, json_object *json, const ProtobufCFieldDescriptor *f,
		    ProtobufCMessage *msg)
{
	size_t *n = member(msg, f->quantifier_offset);
	ProtobufCMessage **list;

	if (!json_object_is_type(json, json_type_object))
		return wrong_type(r, "an object", json);
	list = xcalloc((size_t)json_object_object_length(json), sizeof(*list));
	*(void **)member(msg, f->offset) = list;
	json_object_object_foreach(json, key, value)
	{
		size_t old = path_push(r, key, 0);
		int res = read_map_entry(r, key, value, f->descriptor, &list[*n]);

		if (res < 0)
			return res;
		path_pop(r, old);
		(*n)++;
	}
	return 0;
}

static int read_list(struct reader *r, json_object *json, const ProtobufCFieldDescriptor *f,
		     ProtobufCMessage *msg)
{
	size_t *n = member(msg, f->quantifier_offset);
	size_t size = value_size(f->type), count;
	char *list;

	if (!json_object_is_type(json, json_type_array))
		return wrong_type(r, "an array", json);
	count = json_object_array_length(json);
	if (count == 0)
		return 0;
	list = xcalloc(count, size);
	*(void **)member(msg, f->offset) = list;
	for (size_t i = 0; i < count; i++) {
		size_t old = path_push(r, NULL, i);
		int res = read_value(r, json_object_array_get_idx(json, i), f, list + i * size);

		if (res < 0)
			return res;
		path_pop(r, old);
		(*n)++;
	}
	return 0;
}

/* ---- messages ---- */

static int read_field(struct reader *r, json_object *json, const ProtobufCFieldDescriptor *f,
		      ProtobufCMessage *msg)
{
	int res;

	if (is_map(f))
		return read_map(r, json, f, msg);
	if (f->label == PROTOBUF_C_LABEL_REPEATED)
		return read_list(r, json, f, msg);
	res = read_value(r, json, f, member(msg, f->offset));
	if (res < 0)
		return res;
	if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
		*(uint32_t *)member(msg, f->quantifier_offset) = f->id;
	else if (f->label == PROTOBUF_C_LABEL_OPTIONAL && f->type != PROTOBUF_C_TYPE_MESSAGE &&
		 f->type != PROTOBUF_C_TYPE_STRING)
		*(protobuf_c_boolean *)member(msg, f->quantifier_offset) = 1;
	return 0;
}

static bool has_key(const struct reader *r, json_object *json,
		    const ProtobufCMessageDescriptor *desc, const char *field)
{
	json_object_object_foreach(json, key, value)
	{
		const ProtobufCFieldDescriptor *f = value ? find_field(r, desc, key) : NULL;

		if (f && !strcmp(f->name, field))
			return true;
	}
	return false;
}

static void apply_default(const struct pb_default *d, const ProtobufCFieldDescriptor *f,
			  ProtobufCMessage *msg)
{
	if (d->text)
		*(char **)member(msg, f->offset) = xstrdup(d->text);
	else if (value_size(f->type) == 8)
		*(int64_t *)member(msg, f->offset) = d->number;
	else
		*(int32_t *)member(msg, f->offset) = (int32_t)d->number;
}

static int apply_rules(struct reader *r, json_object *json, const ProtobufCMessageDescriptor *desc,
		       ProtobufCMessage *msg)
{
	const struct pb_rules *rules = r->rules;

	for (size_t i = 0; i < rules->n_required; i++) {
		const struct pb_required *q = &rules->required[i];

		if (!strcmp(q->message, desc->short_name) && !has_key(r, json, desc, q->field)) {
			(void)path_push(r, q->field, 0);
			for (char *c = r->path; *c; c++)
				*c = (char)(c == r->path || c[-1] == '.'
						    ? tolower((unsigned char)*c)
						    : *c);
			return err_set(r->err, EINVAL, "%s: missing, but required", where(r));
		}
	}
	for (size_t i = 0; i < rules->n_defaults; i++) {
		const struct pb_default *d = &rules->defaults[i];

		if (!strcmp(d->message, desc->short_name) && !has_key(r, json, desc, d->field))
			apply_default(
				d, protobuf_c_message_descriptor_get_field_by_name(desc, d->field),
				msg);
	}
	return 0;
}

/* Twice the same field, perhaps in two spellings: the first value would leak. */
static bool is_set(const ProtobufCMessage *msg, const ProtobufCFieldDescriptor *f)
{
	const ProtobufCBinaryData *b;

	if (f->label == PROTOBUF_C_LABEL_REPEATED)
		return *(void **)member(msg, f->offset) != NULL;
	if (f->type == PROTOBUF_C_TYPE_MESSAGE)
		return *(void **)member(msg, f->offset) != NULL;
	if (f->type == PROTOBUF_C_TYPE_STRING)
		return *(void **)member(msg, f->offset) != f->default_value &&
		       *(char **)member(msg, f->offset) != protobuf_c_empty_string;
	b = member(msg, f->offset);
	return f->type == PROTOBUF_C_TYPE_BYTES && b->data;
}

static int read_message(struct reader *r, json_object *json, const ProtobufCMessageDescriptor *desc,
			ProtobufCMessage *msg)
{
	if (!json_object_is_type(json, json_type_object))
		return wrong_type(r, "an object", json);
	if (++r->depth > MAX_DEPTH)
		return err_set(r->err, EINVAL, "%s: nested too deeply", where(r));
	json_object_object_foreach(json, key, value)
	{
		const ProtobufCFieldDescriptor *f = find_field(r, desc, key);
		size_t old = path_push(r, key, 0);
		int res = 0;

		if (!f && r->rules->unknown)
			r->rules->unknown(r->rules->arg, r->path);
		else if (!f)
			return err_set(r->err, EINVAL, "%s: %s has no such field", where(r),
				       desc->short_name);
		else if (is_set(msg, f))
			return err_set(r->err, EINVAL, "%s: given twice", where(r));
		else if (value) /* null is the same as absent */
			res = read_field(r, value, f, msg);
		if (res < 0)
			return res;
		path_pop(r, old);
	}
	r->depth--;
	return apply_rules(r, json, desc, msg);
}

int pb_from_json(json_object *json, const ProtobufCMessageDescriptor *desc,
		 const struct pb_rules *rules, ProtobufCMessage **ret, struct err *err)
{
	struct reader r = { .rules = rules ? rules : &no_rules, .err = err };

	return read_submessage(&r, json, desc, ret);
}

/* ---- the other way ---- */

static json_object *write_value(const ProtobufCFieldDescriptor *f, const void *from);

static json_object *write_list(const ProtobufCFieldDescriptor *f, const ProtobufCMessage *msg)
{
	size_t n = *(size_t *)member(msg, f->quantifier_offset), size = value_size(f->type);
	const char *list = *(char **)member(msg, f->offset);
	json_object *out = json_object_new_array();

	for (size_t i = 0; i < n; i++)
		(void)json_object_array_add(out, write_value(f, list + i * size));
	return out;
}

static json_object *write_map(const ProtobufCFieldDescriptor *f, const ProtobufCMessage *msg)
{
	size_t n = *(size_t *)member(msg, f->quantifier_offset);
	ProtobufCMessage **list = *(ProtobufCMessage ***)member(msg, f->offset);
	json_object *out = json_object_new_object();

	for (size_t i = 0; i < n; i++) {
		const ProtobufCFieldDescriptor *fields = list[i]->descriptor->fields;
		AUTO_JSON json_object *key =
			write_value(&fields[0], member(list[i], fields[0].offset));

		(void)json_object_object_add(
			out, json_object_get_string(key),
			write_value(&fields[1], member(list[i], fields[1].offset)));
	}
	return out;
}

static json_object *write_enum(const ProtobufCEnumDescriptor *desc, int value)
{
	const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(desc, value);

	return v ? json_object_new_string(v->name) : json_object_new_int(value);
}

static json_object *write_bytes(const ProtobufCBinaryData *b)
{
	AUTO_FREE char *text = base64_encode(b->data, b->len);

	return json_object_new_string(text);
}

static json_object *write_value(const ProtobufCFieldDescriptor *f, const void *from)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		return json_object_new_int(*(const int32_t *)from);
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		return json_object_new_int64(*(const uint32_t *)from);
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		return json_object_new_int64(*(const int64_t *)from);
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		return json_object_new_uint64(*(const uint64_t *)from);
	case PROTOBUF_C_TYPE_BOOL:
		return json_object_new_boolean(*(const protobuf_c_boolean *)from);
	case PROTOBUF_C_TYPE_FLOAT:
		return json_object_new_double((double)*(const float *)from);
	case PROTOBUF_C_TYPE_DOUBLE:
		return json_object_new_double(*(const double *)from);
	case PROTOBUF_C_TYPE_ENUM:
		return write_enum(f->descriptor, *(const int *)from);
	case PROTOBUF_C_TYPE_STRING:
		return json_object_new_string(*(char *const *)from ? *(char *const *)from : "");
	case PROTOBUF_C_TYPE_BYTES:
		return write_bytes(from);
	case PROTOBUF_C_TYPE_MESSAGE:
		return pb_to_json(*(ProtobufCMessage *const *)from);
	}
	return NULL;
}

static bool is_absent(const ProtobufCMessage *msg, const ProtobufCFieldDescriptor *f)
{
	if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
		return *(uint32_t *)member(msg, f->quantifier_offset) != f->id;
	if (f->type == PROTOBUF_C_TYPE_MESSAGE)
		return *(void **)member(msg, f->offset) == NULL;
	return f->label == PROTOBUF_C_LABEL_OPTIONAL && f->type != PROTOBUF_C_TYPE_STRING &&
	       !*(protobuf_c_boolean *)member(msg, f->quantifier_offset);
}

json_object *pb_to_json(const ProtobufCMessage *msg)
{
	json_object *out = json_object_new_object();

	for (unsigned int i = 0; i < msg->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &msg->descriptor->fields[i];
		json_object *value;

		if (is_map(f))
			value = write_map(f, msg);
		else if (f->label == PROTOBUF_C_LABEL_REPEATED)
			value = write_list(f, msg);
		else if (is_absent(msg, f))
			continue;
		else
			value = write_value(f, member(msg, f->offset));
		(void)json_object_object_add(out, f->name, value);
	}
	return out;
}

/* ---- text ---- */

int json_parse(const char *text, size_t len, const char *name, json_object **ret, struct err *err)
{
	json_tokener *tok = json_tokener_new();
	enum json_tokener_error e;
	json_object *json;
	size_t at, line = 1, column = 1;

	if (!tok || len > INT_MAX - 1)
		return json_tokener_free(tok), err_set(err, EFBIG, "%s: too large", name);
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	/* With the final NUL: a number at the end would otherwise wait for more digits. */
	json = json_tokener_parse_ex(tok, text, (int)len + 1);
	e = json_tokener_get_error(tok);
	at = json_tokener_get_parse_end(tok);
	json_tokener_free(tok);
	if (e == json_tokener_success) {
		while (at < len && isspace((unsigned char)text[at]))
			at++;
		if (at >= len) {
			*ret = json;
			return 0;
		}
	}
	(void)json_object_put(json);
	for (size_t i = 0; i < at && i < len; i++) {
		column = text[i] == '\n' ? 1 : column + 1;
		line += text[i] == '\n';
	}
	return err_set(err, EINVAL, "%s:%zu:%zu: not valid JSON: %s", name, line, column,
		       e == json_tokener_success		 ? "text after the value"
		       : e == json_tokener_continue || at >= len ? "it ends too early"
								 : json_tokener_error_desc(e));
}

int json_parse_arg(const char *arg, json_object **ret, struct err *err)
{
	AUTO_FREE char *text = NULL;
	size_t len;
	int r;

	if (strcmp(arg, "-") && arg[0] != '@')
		return json_parse(arg, strlen(arg), "argument", ret, err);
	r = read_file(arg[0] == '@' ? arg + 1 : arg, 16u << 20, &text, &len, err);
	return r < 0 ? r
		     : json_parse(text, len, arg[0] == '@' ? arg + 1 : "standard input", ret, err);
}

static const char b64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_encode(const uint8_t *data, size_t len)
{
	char *out = xmalloc((len + 2) / 3 * 4 + 1), *p = out;

	for (size_t i = 0; i < len; i += 3) {
		size_t have = len - i < 3 ? len - i : 3;
		uint32_t v = (uint32_t)data[i] << 16;

		v |= have > 1 ? (uint32_t)data[i + 1] << 8 : 0;
		v |= have > 2 ? data[i + 2] : 0;
		*p++ = b64[v >> 18];
		*p++ = b64[v >> 12 & 63];
		*p++ = have > 1 ? b64[v >> 6 & 63] : '=';
		*p++ = have > 2 ? b64[v & 63] : '=';
	}
	*p = '\0';
	return out;
}

int base64_decode(const char *text, size_t len, uint8_t **ret, size_t *ret_len)
{
	AUTO_FREE uint8_t *out = xmalloc(len / 4 * 3 + 3);
	uint32_t v = 0;
	size_t n = 0, bits = 0;

	while (len > 0 && text[len - 1] == '=')
		len--;
	for (size_t i = 0; i < len; i++) {
		const char *at = text[i] == '-'	  ? b64 + 62
				 : text[i] == '_' ? b64 + 63
				 : text[i]	  ? strchr(b64, text[i])
						  : NULL;

		if (!at)
			return -EINVAL;
		v = v << 6 | (uint32_t)(at - b64);
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			out[n++] = (uint8_t)(v >> bits);
		}
	}
	if (bits >= 6)
		return -EINVAL;
	*ret = TAKE_PTR(out);
	*ret_len = n;
	return 0;
}
