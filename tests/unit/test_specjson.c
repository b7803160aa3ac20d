/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/specjson.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static char *text_of(const Grpc__Spec *spec, size_t max, int *ret_r)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	*ret_r = specjson_write(spec, f, max);
	fclose(f);
	return text;
}

static void expect_json(const Grpc__Spec *spec, const char *want)
{
	int r;
	char *text = text_of(spec, 1 << 20, &r);

	cr_expect_eq(r, 0);
	cr_expect_str_eq(text, want, "%s", text);
	free(text);
}

static void *zalloc(size_t size)
{
	void *p = calloc(1, size);

	cr_assert_not_null(p);
	return p;
}

static ProtobufCMessage *filled(const ProtobufCMessageDescriptor *d);

static void fill_one(const ProtobufCFieldDescriptor *f, void *at)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_STRING:
		*(char **)at = strdup("s");
		break;
	case PROTOBUF_C_TYPE_MESSAGE:
		*(ProtobufCMessage **)at = filled(f->descriptor);
		break;
	case PROTOBUF_C_TYPE_BOOL:
		*(protobuf_c_boolean *)at = 1;
		break;
	case PROTOBUF_C_TYPE_INT64:
		*(int64_t *)at = INT64_MIN;
		break;
	case PROTOBUF_C_TYPE_UINT64:
		*(uint64_t *)at = UINT64_MAX;
		break;
	case PROTOBUF_C_TYPE_UINT32:
		*(uint32_t *)at = UINT32_MAX;
		break;
	default:
		cr_assert_fail("%s: specjson.c does not know its type %d", f->name, f->type);
	}
}

/* A message with every field set, each list of one element; freed as an unpacked one. */
static ProtobufCMessage *filled(const ProtobufCMessageDescriptor *d)
{
	ProtobufCMessage *m = zalloc(d->sizeof_message);

	protobuf_c_message_init(d, m);
	for (unsigned int i = 0; i < d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];
		char *base = (char *)m;

		if (f->label == PROTOBUF_C_LABEL_REPEATED) {
			*(size_t *)(void *)(base + f->quantifier_offset) = 1;
			*(void **)(void *)(base + f->offset) = zalloc(sizeof(uint64_t));
			fill_one(f, *(void **)(void *)(base + f->offset));
		} else {
			if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
				*(uint32_t *)(void *)(base + f->quantifier_offset) = f->id;
			fill_one(f, base + f->offset);
		}
	}
	return m;
}

#define HOOK   "[{\"path\":\"s\",\"args\":[\"s\"],\"env\":[\"s\"],\"timeout\":" MIN "}]"
#define IDMAP  "[{\"hostID\":4294967295,\"containerID\":4294967295,\"size\":4294967295}]"
#define MIN    "-9223372036854775808"
#define MAX    "18446744073709551615"
#define NUMBER "\"major\":" MIN ",\"minor\":" MIN
#define RATE   "[{" NUMBER ",\"rate\":" MAX "}]"
#define ARGS   "\"args\":[{\"index\":" MAX ",\"value\":" MAX ",\"valueTwo\":" MAX ",\"op\":\"s\"}]"

/* Every field of the schema, by the runtime-spec's name: whoever adds one is told here. */
Test(specjson, everything)
{
	ProtobufCMessage *m = filled(&grpc__spec__descriptor);

	expect_json(
		(Grpc__Spec *)m,
		"{\"ociVersion\":\"s\",\"process\":{\"terminal\":true,"
		"\"consoleSize\":{\"height\":4294967295,\"width\":4294967295},"
		"\"user\":{\"uid\":4294967295,\"gid\":4294967295,\"additionalGids\":[4294967295],"
		"\"username\":\"s\"},\"args\":[\"s\"],\"env\":[\"s\"],\"cwd\":\"s\","
		"\"capabilities\":{\"bounding\":[\"s\"],\"effective\":[\"s\"],\"inheritable\":[\"s\"],"
		"\"permitted\":[\"s\"],\"ambient\":[\"s\"]},"
		"\"rlimits\":[{\"type\":\"s\",\"hard\":" MAX ",\"soft\":" MAX "}],"
		"\"noNewPrivileges\":true,\"apparmorProfile\":\"s\",\"oomScoreAdj\":" MIN ","
		"\"selinuxLabel\":\"s\"},\"root\":{\"path\":\"s\",\"readonly\":true},"
		"\"hostname\":\"s\",\"mounts\":[{\"destination\":\"s\",\"source\":\"s\","
		"\"type\":\"s\",\"options\":[\"s\"]}],\"hooks\":{\"prestart\":" HOOK
		",\"poststart\":" HOOK ",\"poststop\":" HOOK ",\"createRuntime\":" HOOK
		",\"createContainer\":" HOOK ",\"startContainer\":" HOOK "},"
		"\"annotations\":{\"s\":\"s\"},\"linux\":{\"uidMappings\":" IDMAP
		",\"gidMappings\":" IDMAP ",\"sysctl\":{\"s\":\"s\"},"
		"\"resources\":{\"devices\":[{\"allow\":true,\"type\":\"s\"," NUMBER
		",\"access\":\"s\"}],\"memory\":{\"limit\":" MIN ",\"reservation\":" MIN
		",\"swap\":" MIN ",\"kernel\":" MIN ",\"kernelTCP\":" MIN ",\"swappiness\":" MAX
		",\"disableOOMKiller\":true},\"cpu\":{\"shares\":" MAX ",\"quota\":" MIN
		",\"period\":" MAX ",\"realtimeRuntime\":" MIN ",\"realtimePeriod\":" MAX
		",\"cpus\":\"s\",\"mems\":\"s\"},\"pids\":{\"limit\":" MIN "},"
		"\"blockIO\":{\"weight\":4294967295,\"leafWeight\":4294967295,"
		"\"weightDevice\":[{" NUMBER ",\"weight\":4294967295,\"leafWeight\":4294967295}],"
		"\"throttleReadBpsDevice\":" RATE ",\"throttleWriteBpsDevice\":" RATE
		",\"throttleReadIOPSDevice\":" RATE ",\"throttleWriteIOPSDevice\":" RATE "},"
		"\"hugepageLimits\":[{\"pageSize\":\"s\",\"limit\":" MAX "}],"
		"\"network\":{\"classID\":4294967295,"
		"\"priorities\":[{\"name\":\"s\",\"priority\":4294967295}]}},"
		"\"cgroupsPath\":\"s\",\"namespaces\":[{\"type\":\"s\",\"path\":\"s\"}],"
		"\"devices\":[{\"path\":\"s\",\"type\":\"s\"," NUMBER ",\"fileMode\":4294967295,"
		"\"uid\":4294967295,\"gid\":4294967295}],\"seccomp\":{\"defaultAction\":\"s\","
		"\"architectures\":[\"s\"],\"syscalls\":[{\"names\":[\"s\"],\"action\":\"s\"," ARGS
		"}],\"syscalls\":[{\"names\":[\"s\"],\"action\":\"s\",\"errnoRet\":4294967295," ARGS
		"}],\"flags\":[\"s\"]},\"rootfsPropagation\":\"s\",\"maskedPaths\":[\"s\"],"
		"\"readonlyPaths\":[\"s\"],\"mountLabel\":\"s\","
		"\"intelRdt\":{\"l3CacheSchema\":\"s\"}}}");
	protobuf_c_message_free_unpacked(m, NULL);
}

/* What is not given is not there, but for what the runtime-spec requires. */
Test(specjson, zeros)
{
	Grpc__Spec spec = GRPC__SPEC__INIT;
	Grpc__Process p = GRPC__PROCESS__INIT;
	Grpc__User u = GRPC__USER__INIT;
	Grpc__Linux l = GRPC__LINUX__INIT;
	Grpc__LinuxResources res = GRPC__LINUX_RESOURCES__INIT;
	Grpc__LinuxMemory mem = GRPC__LINUX_MEMORY__INIT;
	Grpc__LinuxDevice dev = GRPC__LINUX_DEVICE__INIT, *devs[] = { &dev };
	Grpc__LinuxDeviceCgroup rule = GRPC__LINUX_DEVICE_CGROUP__INIT, *rules[] = { &rule };
	Grpc__LinuxSeccomp sec = GRPC__LINUX_SECCOMP__INIT;
	Grpc__LinuxSyscall3x call = GRPC__LINUX_SYSCALL3X__INIT, *calls[] = { &call };

	expect_json(&spec, "{\"ociVersion\":\"\"}");
	spec.process = &p;
	p.user = &u;
	spec.linux = &l;
	l.resources = &res;
	res.memory = &mem;
	res.devices = rules;
	res.n_devices = 1;
	l.devices = devs;
	l.n_devices = 1;
	l.seccomp = &sec;
	sec.syscalls3x = calls;
	sec.n_syscalls3x = 1;
	/* Zero by name is something else than none. */
	call.has_errnoret_case = GRPC__LINUX_SYSCALL3X__HAS_ERRNORET_ERRNORET;
	expect_json(&spec,
		    "{\"ociVersion\":\"\",\"process\":{\"user\":{\"uid\":0,\"gid\":0},\"args\":[],"
		    "\"cwd\":\"\"},\"linux\":{\"resources\":{"
		    "\"devices\":[{\"allow\":false,\"major\":0,\"minor\":0}],\"memory\":{}},"
		    "\"devices\":[{\"path\":\"\",\"type\":\"\",\"major\":0,\"minor\":0}],"
		    "\"seccomp\":{\"defaultAction\":\"\",\"syscalls\":[{\"names\":[],"
		    "\"action\":\"\",\"errnoRet\":0}]}}}");
}

Test(specjson, strings)
{
	static const char *const rows[][2] = {
		{ "", "\"\"" },
		{ "a\"b\\c/d", "\"a\\\"b\\\\c/d\"" },
		{ "\n\t\x01\x7f", "\"\\u000a\\u0009\\u0001\x7f\"" },
		{ "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80",
		  "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"" },
		{ "a\xff"
		  "b\xc3",
		  "\"a\\ufffdb\\ufffd\"" },
		{ "\xc0\xaf\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\"" },
		{ "\xe2\x82", "\"\\ufffd\\ufffd\"" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *copy = strdup(rows[i][0]), *text = NULL; /* its end is watched */
		size_t len;
		struct json j = { .f = open_memstream(&text, &len), .left = 100 };

		json_string(&j, copy);
		cr_expect_eq(json_end(&j), 0);
		fclose(j.f);
		cr_expect_str_eq(text, rows[i][1], "%zu: %s", i, text);
		free(text);
		free(copy);
	}
}

Test(specjson, bounds)
{
	Grpc__Spec spec = GRPC__SPEC__INIT;
	FILE *full = fopen("/dev/full", "w");
	int r;

	for (size_t max = 0; max <= strlen("{\"ociVersion\":\"\"}"); max++) {
		char *text = text_of(&spec, max, &r);

		cr_expect_eq(r, max < strlen("{\"ociVersion\":\"\"}") ? -EFBIG : 0);
		cr_expect_leq(strlen(text), max);
		free(text);
	}
	cr_assert_not_null(full);
	cr_expect_eq(specjson_write(&spec, full, 100), -EIO);
	fclose(full);
}
