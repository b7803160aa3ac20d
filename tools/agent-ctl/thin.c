/* SPDX-License-Identifier: Apache-2.0 */
/* The driver of one-RPC commands. */
#include "thin.h"

#include "spec.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <strings.h>

/* Where one parameter's value lands before it becomes JSON. */
struct slot {
	const struct param *p;
	bool flag;
	const char *str;
	struct strlist list;
};

static bool is_option(const struct param *p)
{
	return p->name[0] == '-';
}

static bool is_listy(const struct param *p)
{
	return p->kind == P_LIST || p->kind == P_JSON_LIST;
}

int signal_number(const char *text)
{
	char *end;
	long n;

	if (isdigit((unsigned char)*text)) {
		n = strtol(text, &end, 10);
		return *end || n > 64 ? 0 : (int)n;
	}
	if (!strncasecmp(text, "SIG", 3))
		text += 3;
	for (int i = 1; i < 32; i++) {
		if (sigabbrev_np(i) && !strcasecmp(sigabbrev_np(i), text))
			return i;
	}
	if (strncasecmp(text, "RTMIN", 5))
		return 0;
	n = text[5] == '+' ? strtol(text + 6, &end, 10) : 0;
	/* The guest's numbers, not those that this libc leaves free. */
	return n < 0 || n > 30 ? 0 : 34 + (int)n;
}

static int add_json_list(const struct slot *s, json_object *list, struct err *err)
{
	for (size_t i = 0; i < s->list.n; i++) {
		json_object *item = NULL;

		if (s->p->kind == P_LIST)
			item = json_object_new_string(s->list.v[i]);
		else if (json_parse_arg(s->list.v[i], &item, err) < 0)
			return err_wrap(err, "%s", s->p->name);
		(void)json_object_array_add(list, item);
	}
	return 0;
}

static int to_json(const struct slot *s, const char *container_id, json_object **ret,
		   struct err *err)
{
	int n;

	*ret = NULL;
	switch (s->p->kind) {
	case P_FLAG:
		*ret = s->flag ? json_object_new_boolean(true) : NULL;
		return 0;
	case P_LIST:
	case P_JSON_LIST:
		*ret = s->list.n ? json_object_new_array() : NULL;
		return add_json_list(s, *ret, err);
	case P_EXEC:
		*ret = json_object_new_string(s->str ? s->str : container_id);
		return 0;
	case P_JSON:
		return s->str ? json_parse_arg(s->str, ret, err) : 0;
	case P_SIGNAL:
		n = signal_number(s->str);
		if (n == 0 && strcmp(s->str, "0"))
			return err_set(err, EINVAL, "'%s' is no signal", s->str);
		*ret = json_object_new_int(n);
		return 0;
	case P_STR:
		*ret = s->str ? json_object_new_string(s->str) : NULL;
		return 0;
	}
	return 0;
}

/* Words go to the parameters that are no options, in their order. */
static void assign_words(struct slot *slots, size_t n, int argc, char **argv)
{
	int next = 0;

	for (size_t i = 0; i < n; i++) {
		if (is_option(slots[i].p))
			continue;
		if (is_listy(slots[i].p)) {
			while (next < argc)
				strlist_add(&slots[i].list, argv[next++]);
		} else if (next < argc) {
			slots[i].str = argv[next++];
		}
	}
}

static int build_request(struct slot *slots, size_t n, json_object *req, struct err *err)
{
	const char *id = n && slots[0].str ? slots[0].str : "";

	for (size_t i = 0; i < n; i++) {
		json_object *value;

		if (to_json(&slots[i], id, &value, err) < 0) {
			(void)json_object_put(value);
			return -err->code;
		}
		/* A JSON word without a field is the whole request. */
		if (value && slots[i].p->field[0] == '\0') {
			json_object_object_foreach(value, key, v)
			{
				(void)json_object_object_add(req, key, json_object_get(v));
			}
			(void)json_object_put(value);
		} else if (value) {
			(void)json_object_object_add(req, slots[i].p->field, value);
		}
	}
	return 0;
}

/* A response that is nothing but bytes is printed as it is, all others as JSON. */
static const ProtobufCBinaryData *only_bytes(const ProtobufCMessage *res)
{
	const ProtobufCFieldDescriptor *f = res->descriptor->fields;

	if (res->descriptor->n_fields != 1 || f->type != PROTOBUF_C_TYPE_BYTES)
		return NULL;
	return (const void *)((const char *)res + f->offset);
}

static void print_text(const ProtobufCMessage *res)
{
	const ProtobufCFieldDescriptor *f = res->descriptor->fields;
	const char *text = *(const char *const *)(const void *)((const char *)res + f->offset);

	assert(f->type == PROTOBUF_C_TYPE_STRING);
	(void)fputs(text, stdout);
}

static void print_response(const ProtobufCMessage *res)
{
	const ProtobufCBinaryData *b = only_bytes(res);
	AUTO_JSON json_object *json = NULL;

	if (b) {
		if (b->len > 0)
			(void)fwrite(b->data, 1, b->len, stdout);
		if (b->len > 0 && b->data[b->len - 1] != '\n' && isatty(STDOUT_FILENO))
			(void)putchar('\n');
	} else if (res->descriptor->n_fields > 0) {
		json = pb_to_json(res);
		(void)puts(json_object_to_json_string_ext(
			json, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
				      JSON_C_TO_STRING_NOSLASHESCAPE));
	}
}

static int convert(struct ctl *c, const struct thin *t, json_object *json,
		   const ProtobufCMethodDescriptor *m, ProtobufCMessage **ret, struct err *err)
{
	int r = t->fill ? t->fill(c, json, err) : 0;

	if (r < 0)
		return r;
	return t->oci ? spec_part_from_json(json, m->input, ret, err)
		      : pb_from_json(json, m->input, NULL, ret, err);
}

static int call_and_print(struct ctl *c, const struct thin *t, json_object *json)
{
	const char *service;
	const ProtobufCMethodDescriptor *m;
	AUTO_MSG ProtobufCMessage *req = NULL, *res = NULL;
	struct err err;

	ctl_wants(c, t->method);
	if (ctl_connect(c, 0, &err) < 0)
		return ctl_fail(&err);
	m = schema_method(c->schema, t->method, &service);
	if (!m) {
		say("the %s protocol has no %s", c->schema->name, t->method);
		return EXIT_OWN;
	}
	if (convert(c, t, json, m, &req, &err) < 0 || ctl_call(c, t->method, req, &res, &err) < 0)
		return ctl_fail(&err);
	if (t->text)
		print_text(res);
	else
		print_response(res);
	return 0;
}

int thin_run(struct ctl *c, const struct command *self, int argc, char **argv)
{
	const struct thin *t = self->thin;
	struct slot slots[THIN_MAX_PARAMS] = { 0 };
	struct opt opts[THIN_MAX_PARAMS];
	size_t n = 0, n_opts = 0;
	int min_args = 0, max_args = 0, status;
	AUTO_JSON json_object *req = json_object_new_object();
	struct err err;

	for (; n < THIN_MAX_PARAMS && t->params[n].name; n++) {
		const struct param *p = &t->params[n];

		slots[n].p = p;
		if (!is_option(p)) {
			min_args += p->name[0] != '[';
			max_args = is_listy(p) ? -1 : max_args + 1;
			continue;
		}
		opts[n_opts++] = (struct opt){
			0,
			p->name + 2,
			p->kind == P_FLAG ? OPT_FLAG
			: is_listy(p)	  ? OPT_LIST
					  : OPT_STR,
			p->kind == P_FLAG ? (void *)&slots[n].flag
			: is_listy(p)	  ? (void *)&slots[n].list
					  : (void *)&slots[n].str,
			p->kind == P_FLAG			      ? NULL
			: p->kind == P_JSON || p->kind == P_JSON_LIST ? "JSON"
								      : "VALUE",
			p->help,
		};
	}
	if (!ctl_options(c, self, opts, n_opts, t->guests ? min_args - 1 : -1, &argc, argv,
			 min_args, max_args, &status))
		return status;
	assign_words(slots, n, argc, argv);
	if (build_request(slots, n, req, &err) < 0) {
		say("%s: %s", self->name, err.msg);
		status = EXIT_OWN;
	} else {
		status = call_and_print(c, t, req);
	}
	for (size_t i = 0; i < n; i++)
		free(slots[i].list.v);
	return status;
}
