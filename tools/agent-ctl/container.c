/* SPDX-License-Identifier: Apache-2.0 */
/* Requests about sandboxes and containers. Owns no state. */
#include "container.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

char *random_id(const char *prefix)
{
	uint32_t v = (uint32_t)now_us();

	(void)!getrandom(&v, sizeof(v), 0);
	return xasprintf("%s-%08x", prefix, v);
}

int share_check(struct share_options *s, struct err *err)
{
	if (!s->dir && !s->none)
		s->dir = getenv("AGENT_CTL_SHARED");
	if (s->none)
		s->dir = NULL;
	if (s->fs && strcmp(s->fs, "9p") && strcmp(s->fs, "virtio-fs"))
		return err_set(err, EINVAL, "--fs: '%s' is neither 9p nor virtio-fs", s->fs);
	if (!s->none && (!s->dir || !*s->dir))
		return err_set(err, EINVAL,
			       "which host directory does the VM export as %s? Give --shared "
			       "DIR, or --no-share if the agent runs outside a VM",
			       SHARED_TAG);
	return 0;
}

static json_object *list_of(const char *const *strings, size_t n)
{
	json_object *out = json_object_new_array();

	for (size_t i = 0; i < n; i++)
		(void)json_object_array_add(out, json_object_new_string(strings[i]));
	return out;
}

static bool has_9p(json_object *details)
{
	json_object *agent, *list;

	if (!json_object_object_get_ex(details, "agent_details", &agent) ||
	    !json_object_object_get_ex(agent, "storage_handlers", &list))
		return false;
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		if (!strcmp(json_object_get_string(json_object_array_get_idx(list, i)), "9p"))
			return true;
	}
	return false;
}

/* Agents of 1.x always have 9p; of those of 3.x one says whether it does. */
static int choose_fs(struct ctl *c, const char **ret, struct err *err)
{
	AUTO_MSG ProtobufCMessage *res = NULL;
	AUTO_JSON json_object *details = NULL;

	*ret = "9p";
	if (!ctl_is_3x(c))
		return 0;
	if (ctl_call_json(c, "GetGuestDetails", NULL, NULL, &res, err) < 0)
		return -err->code;
	details = pb_to_json(res);
	if (!has_9p(details))
		*ret = "virtio-fs";
	return 0;
}

int sandbox_add_share(struct ctl *c, json_object *request, const char *fs, struct err *err)
{
	/* The first is one string with three options, as the runtime sends it. */
	static const char *const options[] = {
		"trans=virtio,version=9p2000.L,cache=mmap",
		"nodev",
		"msize=8192",
	};
	json_object *storage, *list = NULL;
	bool is_9p;

	if (!fs && choose_fs(c, &fs, err) < 0)
		return -err->code;
	is_9p = !strcmp(fs, "9p");
	storage = json_object_new_object();
	json_put_str(storage, "driver", fs);
	json_put_str(storage, "source", SHARED_TAG);
	json_put_str(storage, "fstype", is_9p ? "9p" : "virtiofs");
	json_put_str(storage, "mount_point", SHARED_MOUNT);
	if (is_9p)
		(void)json_object_object_add(storage, "options",
					     list_of(options, ARRAY_LEN(options)));
	if (!json_object_object_get_ex(request, "storages", &list)) {
		list = json_object_new_array();
		(void)json_object_object_add(request, "storages", list);
	}
	(void)json_object_array_add(list, storage);
	return 0;
}

/* The Rust agent makes these with the sandbox, and takes a second CreateSandbox as the first. */
static bool sandbox_exists(struct ctl *c)
{
	AUTO_JSON json_object *req = json_object_new_object();
	struct err ignored;

	json_put_str(req, "volume_guest_path", "/run/sandbox-ns/uts");
	return ctl_call_json(c, "GetVolumeStats", req, NULL, NULL, &ignored) == 0;
}

int sandbox_create(struct ctl *c, const char *id, const struct share_options *share,
		   struct err *err)
{
	AUTO_JSON json_object *req = json_object_new_object();

	json_put_str(req, "hostname", "kata");
	json_put_str(req, "sandbox_id", id);
	if (ctl_is_3x(c) && sandbox_exists(c)) {
		err_set(err, EEXIST, "there is a sandbox already");
		err->rpc = RPC_ALREADY_EXISTS;
		return -EEXIST;
	}
	if (share->dir && sandbox_add_share(c, req, share->fs, err) < 0)
		return -err->code;
	return ctl_call_json(c, "CreateSandbox", req, NULL, NULL, err);
}

static const ProtobufCFieldDescriptor *field(const ProtobufCMessageDescriptor *desc,
					     const char *name)
{
	return protobuf_c_message_descriptor_get_field_by_name(desc, name);
}

static void *at(ProtobufCMessage *msg, const char *name)
{
	return (char *)msg + field(msg->descriptor, name)->offset;
}

/* The Spec is built apart from the rest of the request, whose JSON it is not. */
int container_create(struct ctl *c, const char *id, const struct share_options *share,
		     const struct spec_options *opt, bool *ret_terminal, struct err *err)
{
	const char *service;
	const ProtobufCMethodDescriptor *m = schema_method(c->schema, "CreateContainer", &service);
	struct spec_options so = *opt;
	AUTO_JSON json_object *json = json_object_new_object();
	AUTO_MSG ProtobufCMessage *req = NULL, *spec = NULL;

	so.shared = share->dir;
	so.no_own_pid = ctl_is_3x(c);
	if (spec_load(&so, field(m->input, "OCI")->descriptor, &spec, err) < 0)
		return -err->code;
	json_put_str(json, "container_id", id);
	json_put_str(json, "exec_id", id);
	if (pb_from_json(json, m->input, NULL, &req, err) < 0)
		return -err->code;
	*ret_terminal =
		*(protobuf_c_boolean *)at(*(ProtobufCMessage **)at(spec, "Process"), "Terminal");
	*(ProtobufCMessage **)at(req, "OCI") = TAKE_PTR(spec);
	return ctl_call(c, "CreateContainer", req, NULL, err);
}

static int call_with_id(struct ctl *c, const char *method, const char *id, struct err *err)
{
	AUTO_JSON json_object *req = json_object_new_object();

	json_put_str(req, "container_id", id);
	return ctl_call_json(c, method, req, NULL, NULL, err);
}

int container_start(struct ctl *c, const char *id, struct err *err)
{
	return call_with_id(c, "StartContainer", id, err);
}

int container_kill(struct ctl *c, const char *id, struct err *err)
{
	AUTO_JSON json_object *req = json_object_new_object();

	json_put_str(req, "container_id", id);
	(void)json_object_object_add(req, "signal", json_object_new_int(9));
	return ctl_call_json(c, "SignalProcess", req, NULL, NULL, err);
}

int container_remove(struct ctl *c, const char *id, struct err *err)
{
	struct err ignored;
	int r = call_with_id(c, "RemoveContainer", id, err);

	if (r == 0 || err->rpc == RPC_NOT_FOUND || err->rpc == RPC_UNAVAILABLE)
		return r;
	(void)container_kill(c, id, &ignored);
	(void)container_wait(c, id, id, &(int){ 0 }, &ignored);
	return call_with_id(c, "RemoveContainer", id, err);
}

int container_wait(struct ctl *c, const char *id, const char *exec_id, int *ret_status,
		   struct err *err)
{
	PB_LOCAL(Grpc__WaitProcessRequest, grpc__wait_process_request, req);
	AUTO_MSG ProtobufCMessage *res = NULL;
	int r;

	req.container_id = (char *)(uintptr_t)id;
	req.exec_id = (char *)(uintptr_t)exec_id;
	r = ctl_call(c, "WaitProcess", &req.base, &res, err);
	if (r == 0)
		*ret_status = ((Grpc__WaitProcessResponse *)res)->status;
	return r;
}

/* ---- exec ---- */

static json_object *own_member(json_object *o, const char *key, json_object *(*make)(void))
{
	json_object *v = NULL;

	if (json_object_object_get_ex(o, key, &v) && v)
		return v;
	v = make();
	(void)json_object_object_add(o, key, v);
	return v;
}

static int set_user(json_object *process, const char *text, struct err *err)
{
	json_object *user = own_member(process, "user", json_object_new_object);
	AUTO_FREE char *uid = xstrdup(text);
	char *gid = strchr(uid, ':');

	if (gid)
		*gid++ = '\0';
	if (!uid[0] || strspn(uid, "0123456789") != strlen(uid) ||
	    (gid && (!gid[0] || strspn(gid, "0123456789") != strlen(gid))))
		return err_set(err, EINVAL,
			       "--user: '%s' is not UID or UID:GID in numbers (names are the "
			       "guest image's, which agent-ctl does not read)",
			       text);
	json_put_str(user, "uid", uid);
	if (gid)
		json_put_str(user, "gid", gid);
	return 0;
}

static void add_env(json_object *process, const char *const *list, size_t n)
{
	json_object *env = own_member(process, "env", json_object_new_array);

	for (size_t i = 0; i < n; i++)
		(void)json_object_array_add(env, json_object_new_string(list[i]));
}

static int build_process(const struct exec_options *o, json_object *process, struct err *err)
{
	static const char *const path[] = {
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	};
	const char *term = getenv("TERM");
	AUTO_FREE char *term_env = xasprintf("TERM=%s", term && *term ? term : "xterm");
	json_object *args;

	if (o->user && set_user(process, o->user, err) < 0)
		return -err->code;
	(void)own_member(process, "user", json_object_new_object);
	if (!o->process)
		add_env(process, path, ARRAY_LEN(path));
	if (o->terminal) {
		add_env(process, (const char *const[]){ term_env }, 1);
		(void)json_object_object_add(process, "terminal", json_object_new_boolean(true));
	}
	add_env(process, (const char *const *)o->env.v, o->env.n);
	if (o->cwd)
		json_put_str(process, "cwd", o->cwd);
	else if (!o->process)
		json_put_str(process, "cwd", "/");
	if (!o->argv || !*o->argv)
		return 0;
	args = json_object_new_array();
	for (char *const *a = o->argv; *a; a++)
		(void)json_object_array_add(args, json_object_new_string(*a));
	(void)json_object_object_add(process, "args", args);
	return 0;
}

int container_exec(struct ctl *c, const char *id, const char *exec_id, const struct exec_options *o,
		   struct err *err)
{
	const char *service;
	const ProtobufCMethodDescriptor *m = schema_method(c->schema, "ExecProcess", &service);
	AUTO_JSON json_object *json = json_object_new_object();
	AUTO_JSON json_object *process =
		o->process ? json_object_get(o->process) : json_object_new_object();
	AUTO_MSG ProtobufCMessage *req = NULL, *proc = NULL;

	if (build_process(o, process, err) < 0)
		return -err->code;
	if (spec_part_from_json(process, field(m->input, "process")->descriptor, &proc, err) < 0)
		return err_wrap(err, "process");
	json_put_str(json, "container_id", id);
	json_put_str(json, "exec_id", exec_id);
	if (pb_from_json(json, m->input, NULL, &req, err) < 0)
		return -err->code;
	*(ProtobufCMessage **)at(req, "process") = TAKE_PTR(proc);
	return ctl_call(c, "ExecProcess", req, NULL, err);
}

int start_failure_status(const struct err *err)
{
	static const struct {
		const char *word, *also;
		int status;
	} rows[] = {
		{ "executable file not found", "", EXIT_NOT_FOUND },
		{ "was not found", "the file", EXIT_NOT_FOUND }, /* the Rust agent's */
		{ "no such file or directory", "exec", EXIT_NOT_FOUND },
		{ "permission denied", "exec", EXIT_CANNOT_RUN },
		{ "exec format error", "", EXIT_CANNOT_RUN },
		{ "is a directory", "exec", EXIT_CANNOT_RUN },
	};
	const char *text = err->msg;

	if (!err->rpc || err->rpc == RPC_UNAVAILABLE || err->rpc == RPC_DEADLINE_EXCEEDED)
		return EXIT_OWN;
	/* The method's name in front has an "exec" of its own. */
	text = strchr(text, ':') ? strchr(text, ':') : text;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (strcasestr(text, rows[i].word) && strcasestr(text, rows[i].also))
			return rows[i].status;
	}
	return EXIT_OWN;
}
