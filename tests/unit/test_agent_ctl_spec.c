/* SPDX-License-Identifier: Apache-2.0 */
// libs: -ljson-c
/*
 * config.json to grpc.Spec: every field of the message is reached under its runtime-spec name, what
 * JSON leaves out gets the meaning the specification gives it, and errors name file and place.
 */
#include "../agent-ctl/spec.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static Grpc__Spec *convert(const char *text, struct err *err)
{
	AUTO_JSON json_object *json = NULL;
	ProtobufCMessage *spec = NULL;

	if (json_parse(text, strlen(text), "config.json", &json, err) < 0 ||
	    spec_from_json(json, "config.json", true, &grpc__spec__descriptor, &spec, err) < 0)
		return NULL;
	return (Grpc__Spec *)spec;
}

static Grpc__Spec *must(const char *text)
{
	struct err err = { 0 };
	Grpc__Spec *spec = convert(text, &err);

	cr_assert_not_null(spec, "%s", err.msg);
	return spec;
}

static void refused(const char *text, const char *want)
{
	struct err err = { 0 };
	Grpc__Spec *spec = convert(text, &err);

	cr_expect_null(spec, "taken: %s", text);
	cr_expect(strstr(err.msg, want), "'%s' does not say '%s'", err.msg, want);
	if (spec)
		grpc__spec__free_unpacked(spec, NULL);
}

#define MINIMUM(process, rest)                                  \
	"{\"process\":{\"args\":[\"sh\"],\"cwd\":\"/\"" process \
	"},\"root\":{\"path\":\"rootfs\"}" rest "}"

Test(agent_ctl_spec, minimum)
{
	Grpc__Spec *s = must(MINIMUM("", ",\"ociVersion\":\"1.0.2\""));

	cr_expect_str_eq(s->version, "1.0.2");
	cr_expect_str_eq(s->process->args[0], "sh");
	cr_expect_str_eq(s->root->path, "rootfs");
	cr_assert_not_null(s->process->user, "the agent wants a user");
	cr_assert_not_null(s->linux, "the reference agent dies without it");
	cr_assert_not_null(s->linux->resources, "likewise");
	grpc__spec__free_unpacked(s, NULL);
}

/*
 * A document with every member that has a field. The check below walks the descriptors: whoever
 * adds a field to the .proto is told here that nobody has tried it.
 */
static const char everything[] =
	"{\"ociVersion\":\"1.0.2\",\"hostname\":\"h\",\"annotations\":{\"a\":\"b\"},"
	"\"root\":{\"path\":\"rootfs\",\"readonly\":true},"
	"\"process\":{\"terminal\":true,\"consoleSize\":{\"height\":24,\"width\":80},"
	" \"user\":{\"uid\":1,\"gid\":2,\"additionalGids\":[3,4],\"username\":\"u\"},"
	" \"args\":[\"a\"],\"env\":[\"A=b\"],\"cwd\":\"/c\","
	" \"capabilities\":{\"bounding\":[\"B\"],\"effective\":[\"E\"],\"inheritable\":[\"I\"],"
	"  \"permitted\":[\"P\"],\"ambient\":[\"A\"]},"
	" \"rlimits\":[{\"type\":\"RLIMIT_NOFILE\",\"hard\":18446744073709551615,\"soft\":1024}],"
	" \"noNewPrivileges\":true,\"apparmorProfile\":\"ap\",\"oomScoreAdj\":-500,\"selinuxLabel\":\"se\"},"
	"\"mounts\":[{\"destination\":\"/d\",\"source\":\"s\",\"type\":\"t\",\"options\":[\"o\"]}],"
	"\"hooks\":{\"prestart\":[{\"path\":\"/p\",\"args\":[\"x\"],\"env\":[\"y\"],\"timeout\":5}],"
	" \"poststart\":[{\"path\":\"/q\",\"args\":[\"x\"],\"env\":[\"y\"],\"timeout\":5}],"
	" \"poststop\":[{\"path\":\"/r\",\"args\":[\"x\"],\"env\":[\"y\"],\"timeout\":5}],"
	" \"createRuntime\":[{\"path\":\"/s\",\"args\":[\"x\"],\"env\":[\"y\"],\"timeout\":5}],"
	" \"createContainer\":[{\"path\":\"/t\",\"args\":[\"x\"],\"env\":[\"y\"],\"timeout\":5}],"
	" \"startContainer\":[{\"path\":\"/u\",\"args\":[\"x\"],\"env\":[\"y\"],\"timeout\":5}]},"
	"\"solaris\":{\"dummy\":\"d\"},\"windows\":{\"dummy\":\"d\"},"
	"\"linux\":{\"uidMappings\":[{\"hostID\":1,\"containerID\":2,\"size\":3}],"
	" \"gidMappings\":[{\"hostID\":1,\"containerID\":2,\"size\":3}],"
	" \"sysctl\":{\"net.core.somaxconn\":\"256\"},\"cgroupsPath\":\"/cg\","
	" \"namespaces\":[{\"type\":\"pid\",\"path\":\"/n\"}],"
	" \"devices\":[{\"path\":\"/dev/x\",\"type\":\"c\",\"major\":10,\"minor\":229,\"fileMode\":438,"
	"  \"uid\":1,\"gid\":2}],"
	" \"seccomp\":{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"architectures\":[\"SCMP_ARCH_X86\"],"
	"  \"flags\":[\"SECCOMP_FILTER_FLAG_LOG\"],"
	"  \"syscalls\":[{\"names\":[\"read\"],\"action\":\"SCMP_ACT_ALLOW\","
	"   \"args\":[{\"index\":1,\"value\":2,\"valueTwo\":3,\"op\":\"SCMP_CMP_EQ\"}]}]},"
	" \"rootfsPropagation\":\"slave\",\"maskedPaths\":[\"/m\"],\"readonlyPaths\":[\"/r\"],"
	" \"mountLabel\":\"ml\",\"intelRdt\":{\"l3CacheSchema\":\"L3:0=f\"},"
	" \"resources\":{\"devices\":[{\"allow\":true,\"type\":\"c\",\"major\":1,\"minor\":3,\"access\":\"rw\"}],"
	"  \"memory\":{\"limit\":-1,\"reservation\":2,\"swap\":3,\"kernel\":4,\"kernelTCP\":5,"
	"   \"swappiness\":6,\"disableOOMKiller\":true},"
	"  \"cpu\":{\"shares\":1,\"quota\":-2,\"period\":3,\"realtimeRuntime\":4,\"realtimePeriod\":5,"
	"   \"cpus\":\"0-1\",\"mems\":\"0\"},"
	"  \"pids\":{\"limit\":100},"
	"  \"blockIO\":{\"weight\":10,\"leafWeight\":11,"
	"   \"weightDevice\":[{\"major\":8,\"minor\":1,\"weight\":12,\"leafWeight\":13}],"
	"   \"throttleReadBpsDevice\":[{\"major\":8,\"minor\":1,\"rate\":1}],"
	"   \"throttleWriteBpsDevice\":[{\"major\":8,\"minor\":1,\"rate\":1}],"
	"   \"throttleReadIOPSDevice\":[{\"major\":8,\"minor\":1,\"rate\":1}],"
	"   \"throttleWriteIOPSDevice\":[{\"major\":8,\"minor\":1,\"rate\":1}]},"
	"  \"hugepageLimits\":[{\"pageSize\":\"2MB\",\"limit\":9}],"
	"  \"network\":{\"classID\":7,\"priorities\":[{\"name\":\"eth0\",\"priority\":8}]}}}}";

static bool is_zero(const ProtobufCFieldDescriptor *f, const void *value)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_STRING:
		return !**(char *const *)value;
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_INT64:
		return *(const uint64_t *)value == 0;
	case PROTOBUF_C_TYPE_MESSAGE:
		return !*(void *const *)value;
	default:
		return *(const int32_t *)value == 0;
	}
}

static void expect_full(const ProtobufCMessage *m, const char *path)
{
	for (unsigned int i = 0; i < m->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
		const char *at = (const char *)m + f->offset;
		const size_t *n = (const void *)((const char *)m + f->quantifier_offset);
		char name[256];

		/* Another spelling of Syscalls on the wire of 3.x, which JSON does not have. */
		if (!strcmp(f->name, "Syscalls3x"))
			continue;
		(void)snprintf(name, sizeof(name), "%s.%s", path, f->name);
		if (f->label == PROTOBUF_C_LABEL_REPEATED) {
			cr_expect_gt(*n, 0, "%s is empty", name);
			if (*n > 0 && f->type == PROTOBUF_C_TYPE_MESSAGE)
				expect_full(**(ProtobufCMessage * *const *)(const void *)at, name);
			continue;
		}
		cr_expect(!is_zero(f, at), "%s was not carried over", name);
		if (f->type == PROTOBUF_C_TYPE_MESSAGE && *(void *const *)(const void *)at)
			expect_full(*(ProtobufCMessage *const *)(const void *)at, name);
	}
}

Test(agent_ctl_spec, every_field)
{
	Grpc__Spec *s = must(everything);

	expect_full(&s->base, "Spec");
	cr_expect_eq(s->process->rlimits[0]->hard, UINT64_MAX);
	cr_expect_eq(s->process->oomscoreadj, -500);
	cr_expect_eq(s->linux->resources->memory->limit, -1);
	cr_expect_eq(s->linux->devices[0]->filemode, 0666);
	cr_expect_eq(s->process->user->additionalgids[1], 4);
	cr_expect_str_eq(s->annotations[0]->key, "a");
	cr_expect_str_eq(s->linux->sysctl[0]->value, "256");
	cr_expect_eq(s->hooks->prestart[0]->timeout, 5);
	cr_expect_eq(s->linux->seccomp->syscalls[0]->args[0]->valuetwo, 3);
	grpc__spec__free_unpacked(s, NULL);
}

Test(agent_ctl_spec, survives_the_wire)
{
	Grpc__Spec *s = must(everything), *t;
	size_t len = grpc__spec__get_packed_size(s);
	uint8_t *buf = xmalloc(len);
	AUTO_JSON json_object *a = pb_to_json(&s->base), *b = NULL;

	(void)grpc__spec__pack(s, buf);
	t = grpc__spec__unpack(NULL, len, buf);
	cr_assert_not_null(t);
	b = pb_to_json(&t->base);
	cr_expect_str_eq(json_object_to_json_string(a), json_object_to_json_string(b));
	grpc__spec__free_unpacked(s, NULL);
	grpc__spec__free_unpacked(t, NULL);
	free(buf);
}

Test(agent_ctl_spec, what_json_leaves_out)
{
	Grpc__Spec *s = must(
		MINIMUM("", ",\"linux\":{\"devices\":[{\"path\":\"/dev/fuse\",\"type\":\"c\","
			    "\"major\":10,\"minor\":229}],\"resources\":{\"devices\":"
			    "[{\"allow\":false},{\"allow\":true,\"type\":\"c\",\"major\":1}]}},"
			    "\"hooks\":{\"poststop\":[{\"path\":\"/x\"}]}"));
	Grpc__LinuxDeviceCgroup **rules = s->linux->resources->devices;

	cr_expect_eq(rules[0]->major, -1, "no number is the wildcard");
	cr_expect_eq(rules[0]->minor, -1);
	cr_expect_str_eq(rules[0]->type, "a");
	cr_expect_str_eq(rules[0]->access, "rwm");
	cr_expect_eq(rules[1]->major, 1);
	cr_expect_eq(rules[1]->minor, -1);
	cr_expect_str_eq(rules[1]->type, "c");
	cr_expect_eq(s->linux->devices[0]->filemode, 0666, "not 0000");
	cr_expect_gt(s->hooks->poststop[0]->timeout, 0, "0 times out at once");
	grpc__spec__free_unpacked(s, NULL);
}

Test(agent_ctl_spec, refuses_with_the_place)
{
	refused("", "config.json:1:1");
	refused("{\n  \"process\": {\n    \"args\": [,]\n  }\n}", "config.json:3:");
	refused("{\"process\":", "too early");
	refused("{} x", "config.json:1:4");
	refused("[]", "expected an object");
	refused("{}", "config.json: process: missing");
	refused("{\"process\":{\"args\":[\"a\"],\"cwd\":\"/\"}}", "root: missing");
	refused("{\"process\":{\"cwd\":\"/\"},\"root\":{\"path\":\"r\"}}", "process.args: missing");
	refused("{\"process\":{\"args\":[],\"cwd\":\"/\"},\"root\":{\"path\":\"r\"}}",
		"process.args: empty");
	refused("{\"process\":{\"args\":[\"a\"],\"cwd\":\"c\"},\"root\":{\"path\":\"r\"}}",
		"not absolute");
	refused(MINIMUM(",\"user\":{\"uid\":-1}", ""), "process.user.uid: -1 is out of range");
	refused(MINIMUM(",\"user\":{\"uid\":4294967296}", ""), "out of range (0 to 4294967295)");
	refused(MINIMUM(",\"user\":{\"uid\":1.5}", ""),
		"process.user.uid: expected an integer, got double");
	refused(MINIMUM(",\"env\":[\"A=b\",7]", ""), "process.env[1]: expected a string, got int");
	refused(MINIMUM(",\"terminal\":\"yes\"", ""), "process.terminal: expected true or false");
	refused(MINIMUM(",\"env\":\"A=b\"", ""), "process.env: expected an array");
	refused(MINIMUM(",\"cwd\":\"/\\u0000x\"", ""), "NUL");
	refused(MINIMUM("", ",\"mounts\":[{\"type\":\"proc\"}]"), "mounts[0].destination: missing");
	refused(MINIMUM("", ",\"linux\":{\"sysctl\":[]}"), "linux.sysctl: expected an object");
	refused(MINIMUM("", ",\"linux\":{\"sysctl\":{\"a\":1}}"),
		"linux.sysctl.a: expected a string");
	refused(MINIMUM("", ",\"linux\":{\"namespaces\":[null]}"),
		"linux.namespaces[0]: expected an object");
}

Test(agent_ctl_spec, unknown_members_are_no_error)
{
	Grpc__Spec *s =
		must(MINIMUM(",\"umaskish\":7", ",\"vm\":{},\"linux\":{\"personality\":{}}"));

	grpc__spec__free_unpacked(s, NULL);
}

Test(agent_ctl_spec, null_is_absent)
{
	Grpc__Spec *s = must(MINIMUM(",\"user\":null,\"rlimits\":null", ",\"linux\":null"));

	cr_expect_eq(s->process->n_rlimits, 0);
	grpc__spec__free_unpacked(s, NULL);
}

static char *bundle(const char *config)
{
	char dir[] = "/tmp/test_agent_ctl_spec.XXXXXX", path[64];
	FILE *f;

	cr_assert_not_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/rootfs", dir);
	cr_assert_eq(mkdir(path, 0755), 0);
	(void)snprintf(path, sizeof(path), "%s/config.json", dir);
	f = fopen(path, "w");
	cr_assert_not_null(f);
	(void)fputs(config, f);
	(void)fclose(f);
	return xstrdup(dir);
}

static void drop_bundle(char *dir)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "%s/config.json", dir);
	(void)unlink(path);
	(void)snprintf(path, sizeof(path), "%s/rootfs", dir);
	(void)rmdir(path);
	(void)rmdir(dir);
	free(dir);
}

Test(agent_ctl_spec, root_as_the_guest_sees_it)
{
	char *dir = bundle(MINIMUM("", "")), want[128];
	char *words[] = { (char[]){ "ls" }, (char[]){ "-l" }, NULL };
	struct spec_options o = {
		.bundle = dir, .shared = "/tmp", .argv = words, .terminal = true
	};
	ProtobufCMessage *m = NULL;
	struct err err = { 0 };
	Grpc__Spec *s;

	cr_assert_eq(spec_load(&o, &grpc__spec__descriptor, &m, &err), 0, "%s", err.msg);
	s = (Grpc__Spec *)m;
	(void)snprintf(want, sizeof(want), "%s%s/rootfs", SHARED_MOUNT, dir + strlen("/tmp/"));
	cr_expect_str_eq(s->root->path, want);
	cr_expect_eq(s->process->n_args, 2);
	cr_expect_str_eq(s->process->args[1], "-l");
	cr_expect(s->process->terminal);
	grpc__spec__free_unpacked(s, NULL);

	o.shared = NULL;
	cr_assert_eq(spec_load(&o, &grpc__spec__descriptor, &m, &err), 0, "%s", err.msg);
	(void)snprintf(want, sizeof(want), "%s/rootfs", dir);
	cr_expect_str_eq(((Grpc__Spec *)m)->root->path, want);
	protobuf_c_message_free_unpacked(m, NULL);

	o.shared = "/usr";
	cr_expect_lt(spec_load(&o, &grpc__spec__descriptor, &m, &err), 0);
	cr_expect(strstr(err.msg, "does not lie below"), "%s", err.msg);
	drop_bundle(dir);
}

Test(agent_ctl_spec, no_bundle_says_where)
{
	struct spec_options o = { .bundle = "/nonexistent" };
	ProtobufCMessage *m = NULL;
	struct err err = { 0 };

	cr_expect_eq(spec_load(&o, &grpc__spec__descriptor, &m, &err), -ENOENT);
	cr_expect(strstr(err.msg, "/nonexistent/config.json"), "%s", err.msg);
}

Test(agent_ctl_spec, our_own_template_is_taken_without_a_warning)
{
	struct spec_template t = { 0 };
	AUTO_JSON json_object *json = spec_template(&t);
	ProtobufCMessage *m = NULL;
	struct err err = { 0 };

	cr_assert_eq(spec_from_json(json, "template", false, &grpc__spec__descriptor, &m, &err), 0,
		     "%s", err.msg);
	cr_expect_eq(((Grpc__Spec *)m)->n_mounts, 7);
	cr_expect_eq(((Grpc__Spec *)m)->process->capabilities->n_bounding, 14);
	protobuf_c_message_free_unpacked(m, NULL);
}

Test(agent_ctl_spec, base64_both_ways)
{
	uint8_t data[256];

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 37);
	for (size_t len = 0; len <= sizeof(data); len++) {
		AUTO_FREE char *text = base64_encode(data, len);
		AUTO_FREE uint8_t *back = NULL;
		size_t back_len = 0;

		cr_assert_eq(base64_decode(text, strlen(text), &back, &back_len), 0);
		cr_assert_eq(back_len, len);
		cr_expect(!memcmp(back, data, len));
	}
	cr_expect_lt(base64_decode("a", 1, &(uint8_t *){ NULL }, &(size_t){ 0 }), 0);
	cr_expect_lt(base64_decode("ab!c", 4, &(uint8_t *){ NULL }, &(size_t){ 0 }), 0);
}
