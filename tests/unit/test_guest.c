/* SPDX-License-Identifier: Apache-2.0 */
// libs: -lprotobuf-c
/*
 * The guest as a machine (T31, T33 to T35, T41): CPUs and memory in a made-up sysfs, resolv.conf and
 * shared namespaces in namespaces of the test's own.
 */
#include "svc/svc.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "init.h"
#include "linux/hotplug.h"
#include "linux/run.h"
#include "pod/guest.h"
#include "pod/sandbox.h"
#include "pod/pod.h"
#include "test_guest_harness.h"

/* What the sandbox provides. */
static char cpus_told[4096];
static int cpus_result;

const char *sandbox_lacks(const struct agent *a)
{
	(void)a;
	return "";
}

int sandbox_cpus_online(struct agent *a, const char *cpus, struct err *err)
{
	cr_assert_eq(a, &agent);
	(void)snprintf(cpus_told, sizeof(cpus_told), "%s", cpus);
	return cpus_result ? err_set(err, cpus_result, "no such cpuset") : 0;
}

const char *agent_version(void)
{
	return "1.2.3-test";
}

static char dir[] = "/tmp/test_guest.XXXXXX";

static void put(const char *file, const char *text)
{
	AUTO_CLOSE int fd = FD_NONE;
	char path[256];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, file);
	*strrchr(path, '/') = '\0';
	cr_assert_eq(fdio_mkdirs(path, 0755), 0);
	(void)snprintf(path, sizeof(path), "%s/%s", dir, file);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	cr_assert_geq(fd, 0, "%s", path);
	cr_assert_eq(fdio_write_all(fd, text, strlen(text)), 0);
}

static const char *get(const char *file)
{
	static char text[64];
	char path[256];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, file);
	return fdio_read_file(AT_FDCWD, path, text, sizeof(text)) < 0 ? "(none)" : text;
}

static struct sandbox sandbox; /* of which modprobe has its limit on open files */

static void setup(void)
{
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &sandbox.engine.nofile), 0);
	agent.sandbox = &sandbox;
	cr_assert_not_null(mkdtemp(dir));
	put("class/block/x", "");
	put("dev/x", "");
	cr_assert_eq(loop_new(&agent.loop), 0);
	cr_assert_eq(reaper_new(agent.loop, &agent.reaper), 0);
	cr_assert_eq(uevents_new_at(agent.loop, agent.reaper, dir, dir, &agent.uevents), 0);
	log_threshold = LOG_ERROR;
	agent.config = &config;
	agent.is_init = true;
	list_init(&agent.onlines);
	list_init(&agent.scrapes);
	agent.rpc.loop = agent.loop;
	agent.rpc.agent = &agent;
}

static void teardown(void)
{
	harness_stop();
	(void)fdio_remove_tree(AT_FDCWD, dir);
}

TestSuite(guest, .init = setup, .fini = teardown, .timeout = 30);

static int online(enum schema schema, bool wait, uint32_t cpus, bool cpu_only)
{
	Grpc__OnlineCPUMemRequest r = GRPC__ONLINE_CPUMEM_REQUEST__INIT;

	r.wait = wait;
	r.nb_cpus = cpus;
	r.cpu_only = cpu_only;
	cpus_told[0] = '\0';
	return ask(svc_online_cpu_mem, schema, &r);
}

#define CPU    "devices/system/cpu/"
#define MEMORY "devices/system/memory/"

Test(guest, onlines_cpus_and_memory)
{
	put(CPU "cpu0/online", "0");
	put(CPU "cpu1/online", "1\n");
	put(CPU "cpu2/online", "0\n");
	put(CPU "cpu3/topology", "no online file");
	put(CPU "cpufreq/online", "0");
	put(CPU "online", "0-2\n");
	put(MEMORY "memory0/online", "0");
	put(MEMORY "memory7/online", "1");
	put(MEMORY "block_size_bytes", "8000000");
	cr_assert_eq(online(SCHEMA_1X, true, 2, false), RPC_OK, "%s", message);
	cr_assert_str_eq(get(CPU "cpu0/online"), "1");
	cr_assert_str_eq(get(CPU "cpu2/online"), "1");
	cr_assert_str_eq(get(CPU "cpufreq/online"), "0");
	cr_assert_str_eq(get(MEMORY "memory0/online"), "1");
	cr_assert_str_eq(cpus_told, "0-2");
}

static void plug_cpu(struct timer *t)
{
	(void)t;
	put(CPU "cpu1/online", "0");
}

/* vCPUs come when they come; meanwhile the loop serves others. */
Test(guest, waits_for_cpus)
{
	struct timer t = { .loop = NULL };

	put(CPU "online", "0-1");
	put(MEMORY "block_size_bytes", "8000000");
	timer_set(agent.loop, &t, 150, plug_cpu);
	cr_assert_eq(online(SCHEMA_1X, true, 1, true), RPC_OK, "%s", message);
	cr_assert_str_eq(get(CPU "cpu1/online"), "1");
}

static size_t children(void)
{
	static char list[65536];
	char path[64];
	size_t n = 0;

	(void)snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	if (fdio_read_file(AT_FDCWD, path, list, sizeof(list)) < 0)
		return 0;
	for (const char *p = list; *p; p++)
		n += *p == ' ';
	return n;
}

/* Requests that nobody waits for are one worker's work, in turn: none counts another's CPU. */
Test(guest, online_one_at_a_time)
{
	char file[64];

	for (int i = 1; i <= 8; i++) {
		(void)snprintf(file, sizeof(file), CPU "cpu%d/online", i);
		put(file, "0");
	}
	put(CPU "online", "0-8");
	put(MEMORY "memory0/online", "0");
	for (int i = 0; i < 7; i++) {
		cr_assert_eq(online(SCHEMA_1X, false, 1, true), RPC_OK, "%s", message);
		cr_assert_leq(children(), 1, "a process for each request");
	}
	cr_assert_eq(online(SCHEMA_1X, true, 1, false), RPC_OK, "%s", message);
	for (int i = 1; i <= 8; i++) {
		(void)snprintf(file, sizeof(file), CPU "cpu%d/online", i);
		cr_assert_str_eq(get(file), "1", "%s", file);
	}
	cr_assert_str_eq(get(MEMORY "memory0/online"), "1");
	cr_assert(list_empty(&agent.onlines));
}

/* Memory that the host was told had come, and did not: the log has the numbers. */
Test(guest, online_that_adds_nothing_is_told)
{
	AUTO_CLOSE int fd = memfd_create("log", MFD_CLOEXEC), was = dup(STDERR_FILENO);
	char text[4096] = "";

	put(CPU "online", "0");
	put(CPU "cpu0/online", "1");
	put(MEMORY "memory0/online", "1");
	put(MEMORY "memory1/online", "1");
	put(MEMORY "block_size_bytes", "8000000");
	log_threshold = LOG_WARN;
	cr_assert_geq(dup2(fd, STDERR_FILENO), 0);
	cr_assert_eq(online(SCHEMA_3X, false, 0, false), RPC_OK);
	cr_assert_geq(pread(fd, text, sizeof(text) - 1, 0), 0);
	cr_expect_not_null(strstr(text, "none came: 2 of 134217728 bytes are online"), "%s", text);
	cr_expect_neq(online(SCHEMA_3X, false, 3, true), RPC_OK);
	cr_expect_str_eq(message, "only 1 of 3 CPUs are online");
	cr_assert_geq(pread(fd, text, sizeof(text) - 1, 0), 0);
	cr_expect_not_null(strstr(text, "3 in all wanted, 1 were there, 0 came"), "%s", text);
	/* Memory that does come is no warning. */
	cr_assert_eq(ftruncate(fd, 0), 0);
	put(MEMORY "memory2/online", "0");
	cr_assert_eq(online(SCHEMA_3X, false, 0, false), RPC_OK);
	(void)memset(text, 0, sizeof(text));
	cr_assert_geq(pread(fd, text, sizeof(text) - 1, 0), 0);
	cr_expect_null(strstr(text, "OnlineCPUMem"), "%s", text);
	cr_assert_geq(dup2(was, STDERR_FILENO), 0);
}

/* A worker reads for all that ask at once; the loop's thread asks no disk. */
Test(guest, metrics_for_many)
{
	struct rpc_method method = { .service = "grpc.Test",
				     .name = "Test",
				     .request = &grpc__get_metrics_request__descriptor,
				     .fn = svc_get_metrics };
	enum { N = 100 };
	Grpc__Metrics *m;

	answered = 0;
	for (int i = 0; i < N; i++) {
		struct call *c = call_new(&agent.rpc, &road, NULL, &method, SCHEMA_3X, -1);

		cr_assert_not_null(c);
		rpc_run(c, (uint8_t *)"", 0);
	}
	cr_assert_eq(answered, 0, "read by the loop's thread");
	cr_assert_leq(children(), 1, "a worker for each");
	while (answered < N) {
		cr_assert_eq(loop_run(agent.loop), 0);
		cr_assert_eq(status, RPC_OK, "%s", message);
	}
	cr_assert_eq(answered, N);
	m = answer_as(&grpc__metrics__descriptor);
	cr_expect_not_null(strstr(m->metrics, "kata_agent_scrape_count 1\n"));
	cr_expect_not_null(strstr(m->metrics, "kata_guest_meminfo{item=\"mem_total\"}"));
	cr_expect_not_null(strstr(m->metrics, "kata_agent_containers 0\n"));
	protobuf_c_message_free_unpacked(&m->base, NULL);
}

Test(guest, online_failures)
{
	struct err err = { 0 };
	uint32_t n = 99;
	int sys = uevents_sys(agent.uevents);

	cr_assert_eq(online(SCHEMA_1X, true, 0, true), RPC_UNKNOWN,
		     "no CPUs and no memory asked for");
	cr_assert_eq(online(SCHEMA_1X, false, 0, true), RPC_OK, "nobody waits for it");
	cr_assert_eq(online(SCHEMA_1X, true, 1, true), RPC_UNKNOWN, "no directory");
	put(CPU "cpu0/online", "1");
	cr_assert_eq(hotplug_cpus_online(sys, 2, 3, 1, &n, &err), -EAGAIN);
	cr_assert_eq(n, 0);
	cr_assert_str_eq(err.msg, "only 0 of 2 were connected");
	cr_assert_eq(online(SCHEMA_1X, true, 0, false), RPC_UNKNOWN, "no memory directory");
	put(MEMORY "memory0/online", "0");
	cr_assert_eq(online(SCHEMA_1X, true, 0, false), RPC_UNKNOWN, "no list of CPUs");
	put(CPU "online", "0");
	cr_assert_eq(online(SCHEMA_1X, true, 0, false), RPC_OK, "%s", message);
	cpus_result = ENOENT;
	cr_assert_eq(online(SCHEMA_1X, true, 0, false), RPC_UNKNOWN, "the containers' cpusets");
	cpus_result = 0;
}

Test(guest, online_3x_means_a_total)
{
	put(CPU "cpu0/online", "1");
	put(CPU "cpu1/online", "0");
	put(CPU "online", "0");
	put(MEMORY "memory0/online", "0");
	cr_assert_eq(online(SCHEMA_3X, false, 1, true), RPC_OK, "%s", message);
	cr_assert_str_eq(get(CPU "cpu1/online"), "0", "one is online already");
	cr_assert_eq(online(SCHEMA_3X, false, 2, true), RPC_OK, "%s", message);
	cr_assert_str_eq(get(CPU "cpu1/online"), "1");
	cr_assert_str_eq(get(MEMORY "memory0/online"), "0");
	cr_assert_eq(online(SCHEMA_3X, false, 0, false), RPC_OK, "%s", message);
	cr_assert_str_eq(get(MEMORY "memory0/online"), "1");
	cr_assert_str_eq(cpus_told, "", "no CPUs were asked for");
}

Test(guest, counts_cpus)
{
	static const char *const bad[] = { "a", "1-", "-1", "3-1", "0-3-5", "0x1", "99999999" };
	uint32_t n;

	cr_assert_eq(hotplug_count_cpus("", &n), 0);
	cr_assert_eq(n, 0);
	cr_assert_eq(hotplug_count_cpus("0-3,5,7-8", &n), 0);
	cr_assert_eq(n, 7);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		cr_assert_eq(hotplug_count_cpus(bad[i], &n), -EINVAL, "%s", bad[i]);
}

static bool lists(size_t n, char **names, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(names[i], name) == 0)
			return true;
	}
	return false;
}

Test(guest, details)
{
	static const char *const storages[] = { "9p",	"virtio-fs", "blk",   "blk-ccw", "mmioblk",
						"scsi", "ephemeral", "local", "nvdimm" };
	static const char *const devices[] = { "mmioblk", "blk", "blk-ccw", "scsi", "nvdimm" };
	Grpc__GuestDetailsRequest r = GRPC__GUEST_DETAILS_REQUEST__INIT;
	Grpc__GuestDetailsResponse *d;

	r.mem_block_size = true;
	r.mem_hotplug_probe = true;
	cr_assert_eq(ask(svc_get_guest_details, SCHEMA_1X, &r), RPC_OK, "%s", message);
	d = answer_as(&grpc__guest_details_response__descriptor);
	cr_assert_eq(d->mem_block_size_bytes, 0, "a kernel that cannot plug memory");
	cr_assert_not(d->support_mem_hotplug_probe);
	cr_assert_str_eq(d->agent_details->version, "1.2.3-test");
	cr_assert(d->agent_details->init_daemon);
	for (size_t i = 0; i < ARRAY_LEN(storages); i++)
		cr_assert(lists(d->agent_details->n_storage_handlers,
				d->agent_details->storage_handlers, storages[i]),
			  "%s", storages[i]);
	for (size_t i = 0; i < ARRAY_LEN(devices); i++)
		cr_assert(lists(d->agent_details->n_device_handlers,
				d->agent_details->device_handlers, devices[i]),
			  "%s", devices[i]);
	grpc__guest_details_response__free_unpacked(d, NULL);

	put(MEMORY "block_size_bytes", "8000000\n");
	put(MEMORY "probe", "");
	cr_assert_eq(ask(svc_get_guest_details, SCHEMA_1X, &r), RPC_OK, "%s", message);
	d = answer_as(&grpc__guest_details_response__descriptor);
	cr_assert_eq(d->mem_block_size_bytes, 0x8000000);
	cr_assert(d->support_mem_hotplug_probe);
	grpc__guest_details_response__free_unpacked(d, NULL);
	put("firmware/acpi/hotplug/memory/enabled", "1\n");
	cr_assert_not(hotplug_wants_probe(uevents_sys(agent.uevents)));
	put(MEMORY "block_size_bytes", "");
	cr_assert_eq(ask(svc_get_guest_details, SCHEMA_1X, &r), RPC_UNKNOWN);
	put(MEMORY "block_size_bytes", "zzz\n");
	cr_assert_eq(ask(svc_get_guest_details, SCHEMA_1X, &r), RPC_UNKNOWN);
	r.mem_block_size = false;
	cr_assert_eq(ask(svc_get_guest_details, SCHEMA_1X, &r), RPC_OK);
}

Test(guest, probes_memory)
{
	uint64_t addresses[] = { 0x100000000, 0x108000000 };
	Grpc__MemHotplugByProbeRequest r = GRPC__MEM_HOTPLUG_BY_PROBE_REQUEST__INIT;

	r.memhotplugprobeaddr = addresses;
	r.n_memhotplugprobeaddr = 2;
	cr_assert_eq(ask(svc_mem_hotplug_by_probe, SCHEMA_1X, &r), RPC_UNKNOWN, "no such file");
	put(MEMORY "probe", "");
	cr_assert_eq(ask(svc_mem_hotplug_by_probe, SCHEMA_1X, &r), RPC_OK, "%s", message);
	cr_assert_str_eq(get(MEMORY "probe"), "0x108000000");
}

Test(guest, reseeds_and_sets_time)
{
	Grpc__ReseedRandomDevRequest r = GRPC__RESEED_RANDOM_DEV_REQUEST__INIT;
	Grpc__SetGuestDateTimeRequest t = GRPC__SET_GUEST_DATE_TIME_REQUEST__INIT;

	cr_assert_eq(ask(svc_reseed_random_dev, SCHEMA_1X, &r), RPC_UNKNOWN);
	cr_assert_str_eq(message, "missing entropy data");
	r.data.data = (uint8_t *)(uintptr_t) "0123456789abcdef";
	r.data.len = 16;
	cr_assert_eq(ask(svc_reseed_random_dev, SCHEMA_1X, &r), RPC_OK, "%s", message);
	t.sec = 1;
	t.usec = 1000000;
	cr_assert_eq(ask(svc_set_guest_date_time, SCHEMA_1X, &t), RPC_INTERNAL);
	cr_assert_not_null(strstr(message, "Could not set guest time"));
}

static struct err outcome;
static int outcomes;

static void on_done(void *arg, const struct err *err)
{
	cr_assert_eq(arg, &agent);
	outcome = *err;
	outcomes++;
	loop_stop(agent.loop);
}

static int load(const char *name, const char *parameter)
{
	Grpc__KernelModule m = GRPC__KERNEL_MODULE__INIT, *list[] = { &m };
	char *parameters[] = { (char *)(uintptr_t)parameter };

	m.name = (char *)(uintptr_t)name;
	m.parameters = parameters;
	m.n_parameters = parameter ? 1 : 0;
	outcomes = 0;
	outcome = (struct err){ 0 };
	if (kmod_load(&agent, list, 1, on_done, &agent, &outcome) < 0)
		return outcome.code;
	cr_assert_eq(loop_run(agent.loop), 0);
	cr_assert_eq(outcomes, 1);
	return outcome.code;
}

Test(guest, kernel_modules)
{
	cr_assert_eq(load("", NULL), EINVAL);
	cr_assert_str_eq(outcome.msg, "Kernel module name is empty");
	cr_assert_eq(load("--config=/run/x", NULL), EINVAL, "not an option");
	cr_assert_neq(load("no-such-module-of-ours", "a=1"), 0);
	cr_assert_not_null(strstr(outcome.msg, "could not load module"), "%s", outcome.msg);
}

/* A modprobe of our own, bound over the real one, tells what it is called with. */
Test(guest, modprobe_arguments)
{
	char script[64], said[128] = "";
	int fd;

	harness_own_run();
	if (access("/sbin/modprobe", F_OK) < 0)
		cr_skip_test("no modprobe to cover");
	(void)snprintf(script, sizeof(script), "/run/modprobe");
	fd = open(script, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	cr_assert_geq(fd, 0);
	cr_assert_eq(
		dprintf(fd, "#!/bin/sh\necho \"$@\" >/run/said\nyes | head -c 100000\nexit 0\n") >
			0,
		1);
	(void)close(fd);
	cr_assert_eq(mount(script, "/sbin/modprobe", NULL, MS_BIND, NULL), 0);
	cr_assert_eq(load("dummy", "numdummies=2 x"), 0, "%s", outcome.msg);
	cr_assert_gt(fdio_read_file(AT_FDCWD, "/run/said", said, sizeof(said)), 0);
	cr_assert_str_eq(said, "-v dummy numdummies=2 x");
}

/* Of what the boot lists name, all that fail are named, and what is built in is no failure. */
Test(guest, modules_at_boot)
{
	static const char boot[] =
		"set -e; [ -d /lib/modules ] || { mkdir /run/u /run/w; mount -t overlay -o "
		"lowerdir=/usr/lib,upperdir=/run/u,workdir=/run/w o /usr/lib; mkdir /lib/modules; };"
		"[ -d /etc/modules-load.d ] || { mount -t tmpfs tmpfs /etc; mkdir /etc/modules-load.d; };"
		"mount -t tmpfs tmpfs /lib/modules; mount -t tmpfs tmpfs /etc/modules-load.d;"
		"mkdir /lib/modules/$(uname -r);"
		"echo kernel/x/in-side_one.ko >/lib/modules/$(uname -r)/modules.builtin;"
		"printf '# one\\nin_side-one\\nno-such-a x=1\\n\\nno_such_b\\n'"
		">/etc/modules-load.d/a.conf; echo no_such_c >/etc/modules-load.d/a.txt";
	static char sh[] = "/bin/sh", c[] = "-c";
	char *argv[] = { sh, c, (char *)(uintptr_t)boot, NULL };
	struct err err = { 0 };

	harness_own_run();
	if (run_program(&(struct run){ .argv = argv }, &err) < 0)
		cr_skip_test("no lists to cover: %s", err.msg);
	cr_assert(modules_wanted());
	cr_assert_lt(modules_load(&err), 0);
	cr_assert_not_null(strstr(err.msg, "no-such-a ("), "%s", err.msg);
	cr_assert_not_null(strstr(err.msg, ", no_such_b"), "%s", err.msg);
	cr_assert_null(strstr(err.msg, "side"), "%s", err.msg);
	cr_assert_null(strstr(err.msg, "no_such_c"), "%s", err.msg);
}

Test(guest, dns)
{
	char *lines[] = { (char *)(uintptr_t) "  nameserver 1.2.3.4 \n",
			  (char *)(uintptr_t) "options timeout:1" };
	struct err err = { 0 };
	char text[128];

	harness_own_run();
	cr_assert_eq(dns_set(NULL, 0, &err), 0);
	cr_assert_eq(access("/run/kata-containers", F_OK), -1);
	if (access("/etc/resolv.conf", F_OK) < 0)
		cr_skip_test("no /etc/resolv.conf");
	cr_assert_eq(dns_set(lines, 2, &err), 0, "%s", err.msg);
	cr_assert_gt(fdio_read_file(AT_FDCWD, "/etc/resolv.conf", text, sizeof(text)), 0);
	cr_assert_str_eq(text, "nameserver 1.2.3.4\noptions timeout:1");
	cr_assert_eq(dns_set(lines + 1, 1, &err), 0, "%s", err.msg);
	cr_assert_gt(fdio_read_file(AT_FDCWD, "/etc/resolv.conf", text, sizeof(text)), 0);
	cr_assert_str_eq(text, "options timeout:1");
	cr_assert_eq(dns_unset(), 0);
	(void)fdio_read_file(AT_FDCWD, "/etc/resolv.conf", text, sizeof(text));
	cr_assert_str_neq(text, "options timeout:1", "one mount, however often it was set");
	cr_assert_eq(dns_unset(), 0);
}

static ino_t inode(const char *path)
{
	struct stat st;

	cr_assert_eq(stat(path, &st), 0, "%s", path);
	return st.st_ino;
}

Test(guest, shared_namespaces)
{
	ino_t ipc = inode("/proc/self/ns/ipc"), uts = inode("/proc/self/ns/uts"), first;
	struct err err = { 0 };
	char name[65];
	int fd;

	harness_own_run();
	if (sharedns_create("pod", &err) < 0)
		cr_skip_test("%s", err.msg);
	cr_assert_eq(inode("/proc/self/ns/ipc"), ipc, "we stay where we were");
	cr_assert_eq(inode("/proc/self/ns/uts"), uts);
	first = inode(SHAREDNS_IPC);
	cr_assert_neq(first, ipc);
	fd = open(SHAREDNS_UTS, O_RDONLY | O_CLOEXEC);
	cr_assert_eq(setns(fd, CLONE_NEWUTS), 0);
	cr_assert_eq(gethostname(name, sizeof(name)), 0);
	cr_assert_str_eq(name, "pod");
	(void)close(fd);
	cr_assert_eq(sharedns_create(NULL, &err), 0, "%s", err.msg);
	cr_assert_eq(sharedns_destroy(), 0);
	cr_assert_eq(umount2(SHAREDNS_IPC, 0), -1, "nothing is stacked");
	cr_assert_eq(sharedns_destroy(), 0);
}
