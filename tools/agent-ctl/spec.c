/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The OCI runtime spec as JSON has it, and as the agent's protocol has it: same tree, other names
 * and no way to leave a number out. The tables below are all the difference. Owns no state.
 */
#include "spec.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

#define MAX_CONFIG (16u << 20)

/* Keys whose field is not the same word in other letters. */
static const struct pb_rename renames[] = {
	{ "Spec", "ociVersion", "Version" },
};

/*
 * What the specification means by leaving a member out, where a proto3 zero means something else:
 * in a device rule 0 is a device number and -1 the wildcard; a node without a mode would get mode
 * 0000; a hook with timeout 0 times out at once in the reference agent, so "none" becomes an hour.
 */
static const struct pb_default defaults[] = {
	{ "LinuxDeviceCgroup", "Type", "a", 0 },    { "LinuxDeviceCgroup", "Major", NULL, -1 },
	{ "LinuxDeviceCgroup", "Minor", NULL, -1 }, { "LinuxDeviceCgroup", "Access", "rwm", 0 },
	{ "LinuxDevice", "FileMode", NULL, 0666 },  { "Hook", "Timeout", NULL, 3600 },
};

static const struct pb_required required[] = {
	{ "Spec", "Process" },
	{ "Spec", "Root" },
	{ "Process", "Args" },
	{ "Process", "Cwd" },
	{ "Root", "Path" },
	{ "Mount", "destination" },
	{ "POSIXRlimit", "Type" },
	{ "POSIXRlimit", "Hard" },
	{ "POSIXRlimit", "Soft" },
	{ "LinuxNamespace", "Type" },
	{ "LinuxIDMapping", "HostID" },
	{ "LinuxIDMapping", "ContainerID" },
	{ "LinuxIDMapping", "Size" },
	{ "LinuxDevice", "Path" },
	{ "LinuxDevice", "Type" },
	{ "LinuxHugepageLimit", "Pagesize" },
	{ "LinuxHugepageLimit", "Limit" },
	{ "LinuxThrottleDevice", "Major" },
	{ "LinuxThrottleDevice", "Minor" },
	{ "LinuxSeccomp", "DefaultAction" },
	{ "LinuxSyscall", "Names" },
	{ "LinuxSyscall", "Action" },
	{ "LinuxSeccompArg", "Op" },
	{ "Hook", "Path" },
};

struct unknown_ctx {
	const char *name;
	bool quiet;
};

static void warn_unknown(void *arg, const char *path)
{
	const struct unknown_ctx *u = arg;

	if (!u->quiet)
		say("%s: %s: the agent's protocol has no field for it, ignored", u->name, path);
}

static struct pb_rules oci_rules(struct unknown_ctx *u)
{
	return (struct pb_rules){ renames,  ARRAY_LEN(renames),	 defaults,     ARRAY_LEN(defaults),
				  required, ARRAY_LEN(required), warn_unknown, u };
}

/* ---- checks that hold for every Spec ---- */

static ProtobufCMessage **sub(ProtobufCMessage *msg, const char *field)
{
	const ProtobufCFieldDescriptor *f =
		protobuf_c_message_descriptor_get_field_by_name(msg->descriptor, field);

	return (ProtobufCMessage **)((char *)msg + f->offset);
}

static char **str(ProtobufCMessage *msg, const char *field)
{
	return (char **)sub(msg, field);
}

static void set_str(ProtobufCMessage *msg, const char *field, char *value)
{
	char **p = str(msg, field);
	const ProtobufCFieldDescriptor *f =
		protobuf_c_message_descriptor_get_field_by_name(msg->descriptor, field);

	if (*p != f->default_value && *p != protobuf_c_empty_string)
		free(*p);
	*p = value;
}

/* The reference agent dies of a Spec without Linux or Resources; the runtime always sends both. */
static void add_submessage(ProtobufCMessage *msg, const char *field)
{
	const ProtobufCFieldDescriptor *f =
		protobuf_c_message_descriptor_get_field_by_name(msg->descriptor, field);
	ProtobufCMessage **p = sub(msg, field);

	if (*p)
		return;
	*p = xcalloc(1, ((const ProtobufCMessageDescriptor *)f->descriptor)->sizeof_message);
	protobuf_c_message_init(f->descriptor, *p);
}

static int check_spec(ProtobufCMessage *spec, const char *name, struct err *err)
{
	ProtobufCMessage *process = *sub(spec, "Process");
	const ProtobufCFieldDescriptor *args =
		protobuf_c_message_descriptor_get_field_by_name(process->descriptor, "Args");
	size_t n_args = *(size_t *)((char *)process + args->quantifier_offset);
	const char *cwd = *str(process, "Cwd");

	if (n_args == 0)
		return err_set(err, EINVAL, "%s: process.args: empty, nothing to run", name);
	if (cwd[0] != '/')
		return err_set(err, EINVAL, "%s: process.cwd: '%s' is not absolute", name, cwd);
	if (!(*str(*sub(spec, "Root"), "Path"))[0])
		return err_set(err, EINVAL, "%s: root.path: empty", name);
	add_submessage(process, "User");
	add_submessage(spec, "Linux");
	add_submessage(*sub(spec, "Linux"), "Resources");
	return 0;
}

int spec_from_json(json_object *json, const char *name, bool quiet,
		   const ProtobufCMessageDescriptor *desc, ProtobufCMessage **ret, struct err *err)
{
	struct unknown_ctx u = { name, quiet };
	struct pb_rules rules = oci_rules(&u);
	AUTO_MSG ProtobufCMessage *spec = NULL;
	int r;

	if (pb_from_json(json, desc, &rules, &spec, err) < 0)
		return err_wrap(err, "%s", name);
	assert(spec);
	r = check_spec(spec, name, err);
	if (r == 0)
		*ret = TAKE_PTR(spec);
	return r;
}

int spec_part_from_json(json_object *json, const ProtobufCMessageDescriptor *desc,
			ProtobufCMessage **ret, struct err *err)
{
	struct unknown_ctx u = { desc->short_name, false };
	struct pb_rules rules = oci_rules(&u);

	return pb_from_json(json, desc, &rules, ret, err);
}

/* ---- bundles ---- */

int spec_guest_path(const char *shared, const char *host_path, char **ret, struct err *err)
{
	AUTO_FREE char *share = realpath(shared, NULL), *host = NULL;
	size_t len;

	if (!share)
		return err_set(err, errno, "shared directory '%s': %s", shared, strerror(errno));
	host = realpath(host_path, NULL);
	if (!host)
		return err_set(err, errno, "root file system '%s': %s", host_path, strerror(errno));
	len = strcmp(share, "/") ? strlen(share) : 0;
	if (strncmp(host, share, len) || (host[len] != '/' && host[len] != '\0'))
		return err_set(err, EINVAL,
			       "'%s' does not lie below the shared directory '%s', so the "
			       "guest cannot see it: copy or bind-mount it there",
			       host, share);
	*ret = xasprintf("%s%s", SHARED_MOUNT, host[len] ? host + len + 1 : "");
	return 0;
}

/* Root.Path as the guest sees it. */
static int resolve_root(const struct spec_options *opt, ProtobufCMessage *spec, const char *name,
			struct err *err)
{
	ProtobufCMessage *root = *sub(spec, "Root");
	const char *path = *str(root, "Path");
	AUTO_FREE char *host = NULL;
	char *guest = NULL;
	int r;

	if (!strncmp(path, SHARED_MOUNT, strlen(SHARED_MOUNT)))
		return 0;
	host = path[0] == '/' ? xstrdup(path) : xasprintf("%s/%s", opt->bundle, path);
	if (!opt->shared) {
		guest = realpath(host, NULL);
		if (!guest && path[0] == '/')
			return 0; /* absolute: may exist only where the agent is */
		if (!guest)
			return err_set(err, errno, "%s: root.path: '%s': %s", name, host,
				       strerror(errno));
	} else {
		r = spec_guest_path(opt->shared, host, &guest, err);
		if (r < 0)
			return err_wrap(err, "%s: root.path", name);
	}
	set_str(root, "Path", guest);
	return 0;
}

static json_object *member_of(json_object *json, const char *key)
{
	json_object *value = NULL;

	return json_object_object_get_ex(json, key, &value) ? value : NULL;
}

static void override_process(const struct spec_options *opt, json_object *json)
{
	json_object *process = member_of(json, "process"), *args;

	if (!json_object_is_type(process, json_type_object))
		return; /* the conversion says what is wrong with it */
	if (opt->terminal)
		(void)json_object_object_add(process, "terminal", json_object_new_boolean(true));
	if (!opt->argv)
		return;
	args = json_object_new_array();
	for (char *const *a = opt->argv; *a; a++)
		(void)json_object_array_add(args, json_object_new_string(*a));
	(void)json_object_object_add(process, "args", args);
}

/* The Rust agent adds one itself, and with two of them fails each exec. */
static void drop_own_pid(json_object *json)
{
	json_object *list = member_of(member_of(json, "linux"), "namespaces"), *kept;

	if (!json_object_is_type(list, json_type_array))
		return;
	kept = json_object_new_array();
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		json_object *ns = json_object_array_get_idx(list, i);
		const char *type = json_object_get_string(member_of(ns, "type"));

		if (!type || strcmp(type, "pid") || member_of(ns, "path"))
			(void)json_object_array_add(kept, json_object_get(ns));
	}
	(void)json_object_object_add(member_of(json, "linux"), "namespaces", kept);
}

int spec_load(const struct spec_options *opt, const ProtobufCMessageDescriptor *desc,
	      ProtobufCMessage **ret, struct err *err)
{
	AUTO_FREE char *file = xasprintf("%s/config.json", opt->bundle), *text = NULL;
	AUTO_JSON json_object *json = NULL;
	AUTO_MSG ProtobufCMessage *spec = NULL;
	size_t len;
	int r;

	r = read_file(file, MAX_CONFIG, &text, &len, err);
	if (r == -ENOENT)
		return err_wrap(err, "no bundle in '%s' (`agent-ctl spec` prints a config.json)",
				opt->bundle);
	if (r == 0)
		r = json_parse(text, len, file, &json, err);
	if (r == 0) {
		override_process(opt, json);
		if (opt->no_own_pid)
			drop_own_pid(json);
		r = spec_from_json(json, file, opt->quiet, desc, &spec, err);
	}
	if (r < 0)
		return r;
	assert(spec);
	r = resolve_root(opt, spec, file, err);
	if (r == 0)
		*ret = TAKE_PTR(spec);
	return r;
}

/* ---- the config.json we hand out ---- */

/* The capabilities that Docker gives a container by default. */
static const char *const default_caps[] = {
	"CAP_CHOWN",   "CAP_DAC_OVERRIDE", "CAP_FSETID",	   "CAP_FOWNER",
	"CAP_MKNOD",   "CAP_NET_RAW",	   "CAP_SETGID",	   "CAP_SETUID",
	"CAP_SETFCAP", "CAP_SETPCAP",	   "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT",
	"CAP_KILL",    "CAP_AUDIT_WRITE",
};

static const char *const default_env[] = {
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
};

static const char *const masked_paths[] = {
	"/proc/acpi",	       "/proc/asound",	   "/proc/kcore",	"/proc/keys",
	"/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
	"/proc/scsi",	       "/sys/firmware",
};

static const char *const readonly_paths[] = {
	"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
};

static const char *const default_namespaces[] = { "pid", "ipc", "uts", "mount" };

static const struct default_mount {
	const char *destination, *type, *source, *options;
} default_mounts[] = {
	{ "/proc", "proc", "proc", "nosuid,noexec,nodev" },
	{ "/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k" },
	{ "/dev/pts", "devpts", "devpts",
	  "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5" },
	{ "/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=65536k" },
	{ "/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev" },
	{ "/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro" },
	{ "/sys/fs/cgroup", "cgroup", "cgroup", "nosuid,noexec,nodev,relatime,ro" },
};

static json_object *string_list(const char *const *list, size_t n)
{
	json_object *out = json_object_new_array();

	for (size_t i = 0; i < n; i++)
		(void)json_object_array_add(out, json_object_new_string(list[i]));
	return out;
}

static json_object *split_list(const char *text)
{
	json_object *out = json_object_new_array();

	while (*text) {
		size_t len = strcspn(text, ",");

		(void)json_object_array_add(out, json_object_new_string_len(text, (int)len));
		text += len + (text[len] == ',');
	}
	return out;
}

static void put_str(json_object *o, const char *key, const char *value)
{
	(void)json_object_object_add(o, key, json_object_new_string(value));
}

static json_object *template_process(const struct spec_template *t)
{
	static const char *const sets[] = { "bounding", "effective", "permitted" };
	json_object *p = json_object_new_object(), *user = json_object_new_object();
	json_object *args = json_object_new_array(), *caps = json_object_new_object();
	json_object *env = string_list(default_env, ARRAY_LEN(default_env));

	for (char *const *a = t->argv; a && *a; a++)
		(void)json_object_array_add(args, json_object_new_string(*a));
	if (!t->argv)
		(void)json_object_array_add(args, json_object_new_string("sh"));
	if (t->terminal)
		(void)json_object_array_add(env, json_object_new_string("TERM=xterm"));
	(void)json_object_object_add(user, "uid", json_object_new_int(0));
	(void)json_object_object_add(user, "gid", json_object_new_int(0));
	for (size_t i = 0; i < ARRAY_LEN(sets); i++)
		(void)json_object_object_add(caps, sets[i],
					     string_list(default_caps, ARRAY_LEN(default_caps)));
	(void)json_object_object_add(p, "terminal", json_object_new_boolean(t->terminal));
	(void)json_object_object_add(p, "user", user);
	(void)json_object_object_add(p, "args", args);
	(void)json_object_object_add(p, "env", env);
	put_str(p, "cwd", t->cwd ? t->cwd : "/");
	(void)json_object_object_add(p, "capabilities", caps);
	(void)json_object_object_add(p, "noNewPrivileges", json_object_new_boolean(true));
	return p;
}

static json_object *template_mounts(void)
{
	json_object *list = json_object_new_array();

	for (size_t i = 0; i < ARRAY_LEN(default_mounts); i++) {
		json_object *m = json_object_new_object();

		put_str(m, "destination", default_mounts[i].destination);
		put_str(m, "type", default_mounts[i].type);
		put_str(m, "source", default_mounts[i].source);
		(void)json_object_object_add(m, "options", split_list(default_mounts[i].options));
		(void)json_object_array_add(list, m);
	}
	return list;
}

static json_object *template_linux(void)
{
	json_object *lx = json_object_new_object(), *ns = json_object_new_array();
	json_object *res = json_object_new_object(), *rules = json_object_new_array();
	json_object *deny = json_object_new_object();

	for (size_t i = 0; i < ARRAY_LEN(default_namespaces); i++) {
		json_object *n = json_object_new_object();

		put_str(n, "type", default_namespaces[i]);
		(void)json_object_array_add(ns, n);
	}
	(void)json_object_object_add(deny, "allow", json_object_new_boolean(false));
	put_str(deny, "access", "rwm");
	(void)json_object_array_add(rules, deny);
	(void)json_object_object_add(res, "devices", rules);
	(void)json_object_object_add(lx, "resources", res);
	(void)json_object_object_add(lx, "namespaces", ns);
	(void)json_object_object_add(lx, "maskedPaths",
				     string_list(masked_paths, ARRAY_LEN(masked_paths)));
	(void)json_object_object_add(lx, "readonlyPaths",
				     string_list(readonly_paths, ARRAY_LEN(readonly_paths)));
	return lx;
}

json_object *spec_template(const struct spec_template *t)
{
	json_object *spec = json_object_new_object(), *root = json_object_new_object();

	put_str(root, "path", t->rootfs ? t->rootfs : "rootfs");
	(void)json_object_object_add(root, "readonly", json_object_new_boolean(t->readonly));
	put_str(spec, "ociVersion", "1.0.2");
	(void)json_object_object_add(spec, "process", template_process(t));
	(void)json_object_object_add(spec, "root", root);
	put_str(spec, "hostname", t->hostname ? t->hostname : "kata");
	(void)json_object_object_add(spec, "mounts", template_mounts());
	(void)json_object_object_add(spec, "linux", template_linux());
	return spec;
}
