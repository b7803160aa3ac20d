/* SPDX-License-Identifier: Apache-2.0 */
/* The table of commands: what a newcomer reads first. */
#include "run.h"
#include "thin.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <sys/time.h>

#include "container.h"

/* ---- what some one-RPC commands need beyond their words ---- */

static void put_bytes(json_object *req, const char *field, const void *data, size_t len)
{
	AUTO_FREE char *text = base64_encode(data, len);

	json_put_str(req, field, text);
}

static bool has(json_object *req, const char *field)
{
	return json_object_object_get_ex(req, field, NULL);
}

static int fill_time(struct ctl *c, json_object *req, struct err *err)
{
	struct timeval tv;

	(void)c;
	(void)err;
	if (has(req, "Sec"))
		return 0;
	(void)gettimeofday(&tv, NULL);
	(void)json_object_object_add(req, "Sec", json_object_new_int64(tv.tv_sec));
	(void)json_object_object_add(req, "Usec", json_object_new_int64(tv.tv_usec));
	return 0;
}

/* Without data: as much entropy as the runtime sends. */
static int fill_entropy(struct ctl *c, json_object *req, struct err *err)
{
	uint8_t data[512];

	(void)c;
	if (has(req, "data"))
		return 0;
	if (getrandom(data, sizeof(data), 0) != sizeof(data))
		return err_set(err, EIO, "getrandom: %s", strerror(errno));
	put_bytes(req, "data", data, sizeof(data));
	return 0;
}

/* One WriteStdin of what standard input or --data has. */
static int fill_stdin(struct ctl *c, json_object *req, struct err *err)
{
	AUTO_FREE char *text = NULL;
	json_object *given;
	size_t len;

	(void)c;
	if (json_object_object_get_ex(req, "data", &given)) {
		text = xstrdup(json_object_get_string(given));
		put_bytes(req, "data", text, strlen(text));
		return 0;
	}
	if (read_file("-", 4u << 20, &text, &len, err) < 0)
		return -err->code;
	put_bytes(req, "data", text, len);
	return 0;
}

static int fill_len(struct ctl *c, json_object *req, struct err *err)
{
	(void)c;
	(void)err;
	if (!has(req, "len"))
		(void)json_object_object_add(req, "len", json_object_new_int(32768));
	return 0;
}

static int fill_details(struct ctl *c, json_object *req, struct err *err)
{
	(void)c;
	(void)err;
	(void)json_object_object_add(req, "mem_block_size", json_object_new_boolean(true));
	(void)json_object_object_add(req, "mem_hotplug_probe", json_object_new_boolean(true));
	return 0;
}

static int fill_ps(struct ctl *c, json_object *req, struct err *err)
{
	(void)c;
	(void)err;
	if (!has(req, "format"))
		json_put_str(req, "format", "table");
	return 0;
}

/* --share is no field of the request. */
static int fill_share(struct ctl *c, json_object *req, struct err *err)
{
	if (!has(req, "share"))
		return 0;
	json_object_object_del(req, "share");
	return sandbox_add_share(c, req, NULL, err);
}

/* A field that is a file's content: as text, or as bytes. */
static int fill_file(json_object *req, const char *field, bool as_bytes, struct err *err)
{
	AUTO_FREE char *text = NULL;
	json_object *name;
	size_t len;

	if (!json_object_object_get_ex(req, field, &name))
		return 0;
	if (read_file(json_object_get_string(name), 4u << 20, &text, &len, err) < 0)
		return -err->code;
	if (as_bytes)
		put_bytes(req, field, text, len);
	else
		json_put_str(req, field, text);
	return 0;
}

static int fill_rules(struct ctl *c, json_object *req, struct err *err)
{
	(void)c;
	return fill_file(req, "data", true, err);
}

static int fill_policy(struct ctl *c, json_object *req, struct err *err)
{
	(void)c;
	return fill_file(req, "policy", false, err);
}

static int fill_termination_log(struct ctl *c, json_object *req, struct err *err)
{
	(void)c;
	(void)err;
	json_put_str(req, "log_type", "termination_log");
	return 0;
}

static int fill_signal(struct ctl *c, json_object *req, struct err *err)
{
	(void)c;
	(void)err;
	if (has(req, "all")) {
		json_object_object_del(req, "all");
		json_object_object_del(req, "exec_id");
	}
	return 0;
}

/* The one-RPC commands: which words and options fill which fields. */
/* clang-format off */
#define ID { "ID", "container_id", P_STR, NULL }
#define EXEC { "--exec", "exec_id", P_EXEC, "exec id of the process (default: the container's)" }
#define LEN { "--len", "len", P_STR, "at most so many bytes (32768)" }
#define RPC(rpc, ...) { .method = rpc, .params = { __VA_ARGS__ } }
#define RPC_WITH(rpc, with, ...) { .method = rpc, .params = { __VA_ARGS__ }, with }

static const struct thin
check = { .method = "Check" },
version = { .method = "Version" },
create_sandbox = RPC_WITH("CreateSandbox", .fill = fill_share,
	{ "--id", "sandbox_id", P_STR, "the sandbox's id" },
	{ "--hostname", "hostname", P_STR, "the sandbox's host name" },
	{ "--dns", "dns", P_LIST, "a line of resolv.conf; may be repeated" },
	{ "--share", "share", P_FLAG, "mount the share kataShared, as run does" },
	{ "--storage", "storages", P_JSON_LIST, "a Storage message; may be repeated" },
	{ "--pidns", "sandbox_pidns", P_FLAG, "one PID namespace for all containers" },
	{ "--hooks", "guest_hook_path", P_STR, "directory of guest hooks" },
	{ "--module", "kernel_modules", P_JSON_LIST, "{\"name\", \"parameters\"}; repeatable" }),
destroy_sandbox = { .method = "DestroySandbox" },
start = RPC("StartContainer", ID),
remove_ = RPC("RemoveContainer", ID,
	{ "--within", "timeout", P_STR, "let the agent give up after so many seconds" }),
signal_ = RPC_WITH("SignalProcess", .fill = fill_signal, ID,
	{ "SIGNAL", "signal", P_SIGNAL, NULL }, EXEC,
	{ "--all", "all", P_FLAG, "every process of the container" }),
wait_ = RPC("WaitProcess", ID, EXEC),
ps = { .method = "ListProcesses", .fill = fill_ps, .guests = true, .params = { ID,
	{ "--format", "format", P_STR, "json or table (default)" },
	{ "[PS-ARGUMENT...]", "args", P_LIST, NULL } } },
update = RPC_WITH("UpdateContainer", .oci = true, ID, { "RESOURCES", "resources", P_JSON, NULL }),
stats = RPC("StatsContainer", ID),
pause_ = RPC("PauseContainer", ID),
resume = RPC("ResumeContainer", ID),
write_stdin = RPC_WITH("WriteStdin", .fill = fill_stdin, ID, EXEC,
	{ "--data", "data", P_STR, "text to write (default: all of standard input)" }),
read_stdout = RPC_WITH("ReadStdout", .fill = fill_len, ID, EXEC, LEN),
read_stderr = RPC_WITH("ReadStderr", .fill = fill_len, ID, EXEC, LEN),
close_stdin = RPC("CloseStdin", ID, EXEC),
resize = RPC("TtyWinResize", ID, { "ROWS", "row", P_STR, NULL },
	{ "COLUMNS", "column", P_STR, NULL }, EXEC),
update_interface = RPC("UpdateInterface", { "INTERFACE", "interface", P_JSON, NULL }),
update_routes = RPC("UpdateRoutes", { "ROUTES", "routes", P_JSON, NULL }),
list_interfaces = { .method = "ListInterfaces" },
list_routes = { .method = "ListRoutes" },
add_arp = RPC("AddARPNeighbors", { "NEIGHBORS", "neighbors", P_JSON, NULL }),
online_cpu_mem = RPC("OnlineCPUMem",
	{ "--now", "wait", P_FLAG, "answer only when it is done" },
	{ "--cpus", "nb_cpus", P_STR, "how many CPUs to bring online" },
	{ "--cpu-only", "cpu_only", P_FLAG, "leave memory alone" }),
reseed = RPC_WITH("ReseedRandomDev", .fill = fill_entropy,
	{ "--data", "data", P_STR, "entropy as base64 (default: 512 random bytes)" }),
guest_details = { .method = "GetGuestDetails", .fill = fill_details },
mem_probe = RPC("MemHotplugByProbe", { "ADDRESS...", "memHotplugProbeAddr", P_LIST, NULL }),
set_time = RPC_WITH("SetGuestDateTime", .fill = fill_time, { "[SECONDS]", "Sec", P_STR, NULL },
	{ "[MICROSECONDS]", "Usec", P_STR, NULL }),
oom_event = { .method = "GetOOMEvent" },
start_tracing = { .method = "StartTracing" },
stop_tracing = { .method = "StopTracing" },
metrics = { .method = "GetMetrics", .text = true },
get_iptables = RPC("GetIPTables", { "--ipv6", "is_ipv6", P_FLAG, "of IPv6" }),
set_iptables = RPC_WITH("SetIPTables", .fill = fill_rules, { "FILE", "data", P_STR, NULL },
	{ "--ipv6", "is_ipv6", P_FLAG, "of IPv6" }),
volume_stats = RPC("GetVolumeStats", { "PATH", "volume_guest_path", P_STR, NULL }),
resize_volume = RPC("ResizeVolume", { "PATH", "volume_guest_path", P_STR, NULL },
	{ "BYTES", "size", P_STR, NULL }),
set_policy = RPC_WITH("SetPolicy", .fill = fill_policy, { "FILE", "policy", P_STR, NULL }),
termination_log = { .method = "GetDiagnosticData", .params = { ID },
	.fill = fill_termination_log, .text = true },
swap_on = RPC("AddSwapPath", { "PATH", "path", P_STR, NULL }),
ephemeral = RPC("UpdateEphemeralMounts", { "STORAGE...", "storages", P_JSON_LIST, NULL }),
stale_mounts = { .method = "RemoveStaleVirtiofsShareMounts" },
memcg = RPC("MemAgentMemcgSet", { "SETTINGS", "", P_JSON, NULL }),
compact = RPC("MemAgentCompactSet", { "SETTINGS", "", P_JSON, NULL });
/* clang-format on */

const struct command commands[] = {
	{ "run", "[OPTIONS] BUNDLE [-- COMMAND...]",
	  "run a container from an OCI bundle, start to end", run_main, NULL },
	{ "exec", "[OPTIONS] ID COMMAND [ARGUMENTS...]", "run a command in a running container",
	  exec_main, NULL },
	{ "attach", "[OPTIONS] ID", "join a container's streams, pass its exit status on",
	  attach_main, NULL },
	{ "spec", "[OPTIONS]", "print a config.json for a bundle", spec_main, NULL },
	{ "proxy", "[OPTIONS] --listen unix://PATH",
	  "offer a serial port's agent at a socket: a stream for each client", proxy_main, NULL },
	{ "bench", "[OPTIONS] BUNDLE", "measure calls, starts and streams", bench_main, NULL },
	{ "call", "METHOD [JSON|@FILE|-]", "any RPC, request and response as JSON", call_main,
	  NULL },
	{ "methods", "", "list the RPCs with their requests' fields", methods_main, NULL },
	{ "check", "", "ask whether the agent serves", thin_run, &check },
	{ "version", "", "the agent's versions", thin_run, &version },
	{ "create-sandbox", "[OPTIONS]", "create the sandbox", thin_run, &create_sandbox },
	{ "destroy-sandbox", "", "destroy the sandbox", thin_run, &destroy_sandbox },
	{ "create-container", "[OPTIONS] BUNDLE", "create a container, not started", create_main,
	  NULL },
	{ "start", "ID", "start a created container", thin_run, &start },
	{ "remove", "[OPTIONS] ID", "remove a container", thin_run, &remove_ },
	{ "signal", "[OPTIONS] ID SIGNAL", "send a signal", thin_run, &signal_ },
	{ "wait", "[OPTIONS] ID", "wait for a process, print its status", thin_run, &wait_ },
	{ "ps", "[OPTIONS] ID [PS-ARGUMENT...]", "list a container's processes", thin_run, &ps },
	{ "update", "ID RESOURCES", "set linux.resources (runtime-spec JSON, @FILE or -)", thin_run,
	  &update },
	{ "stats", "ID", "a container's cgroup figures", thin_run, &stats },
	{ "pause", "ID", "freeze a container", thin_run, &pause_ },
	{ "resume", "ID", "thaw a container", thin_run, &resume },
	{ "write-stdin", "[OPTIONS] ID", "one write to a process's standard input", thin_run,
	  &write_stdin },
	{ "read-stdout", "[OPTIONS] ID", "one read of a process's standard output", thin_run,
	  &read_stdout },
	{ "read-stderr", "[OPTIONS] ID", "one read of a process's standard error", thin_run,
	  &read_stderr },
	{ "close-stdin", "[OPTIONS] ID", "close a process's standard input", thin_run,
	  &close_stdin },
	{ "resize", "[OPTIONS] ID ROWS COLUMNS", "set a terminal's size", thin_run, &resize },
	{ "update-interface", "INTERFACE", "configure an interface (JSON, @FILE or -)", thin_run,
	  &update_interface },
	{ "update-routes", "ROUTES", "replace the routes ({\"Routes\": [...]})", thin_run,
	  &update_routes },
	{ "list-interfaces", "", "the guest's interfaces", thin_run, &list_interfaces },
	{ "list-routes", "", "the guest's routes", thin_run, &list_routes },
	{ "add-arp", "NEIGHBORS", "add neighbours ({\"ARPNeighbors\": [...]})", thin_run,
	  &add_arp },
	{ "online-cpu-mem", "[OPTIONS]", "bring hot-plugged CPUs and memory online", thin_run,
	  &online_cpu_mem },
	{ "reseed", "[OPTIONS]", "feed the guest's random device", thin_run, &reseed },
	{ "guest-details", "", "memory block size, agent and its abilities", thin_run,
	  &guest_details },
	{ "mem-hotplug-probe", "ADDRESS...", "tell the kernel of plugged memory", thin_run,
	  &mem_probe },
	{ "set-time", "[SECONDS [MICROSECONDS]]", "set the guest's clock (default: to ours)",
	  thin_run, &set_time },
	{ "copy-file", "[OPTIONS] SOURCE DESTINATION", "copy a file, link or folder into the guest",
	  copy_main, NULL },
	{ "oom-event", "", "wait for an out-of-memory event", thin_run, &oom_event },
	{ "start-tracing", "", "start tracing", thin_run, &start_tracing },
	{ "stop-tracing", "", "stop tracing", thin_run, &stop_tracing },
	{ "metrics", "", "the guest's and the agent's figures, in Prometheus' text", thin_run,
	  &metrics },
	{ "iptables", "[OPTIONS]", "the guest's packet filter, as iptables-save has it", thin_run,
	  &get_iptables },
	{ "set-iptables", "[OPTIONS] FILE", "load what iptables-save wrote (FILE or -)", thin_run,
	  &set_iptables },
	{ "volume-stats", "PATH", "space and inodes of a volume in the guest", thin_run,
	  &volume_stats },
	{ "resize-volume", "PATH BYTES", "let a volume's file system grow", thin_run,
	  &resize_volume },
	{ "set-policy", "FILE", "give the agent a policy (FILE or -)", thin_run, &set_policy },
	{ "termination-log", "ID", "what a container left in its termination log", thin_run,
	  &termination_log },
	{ "swap-on", "PATH", "use a device or file of the guest as swap", thin_run, &swap_on },
	{ "update-ephemeral", "STORAGE...", "mount ephemeral storages anew (JSON)", thin_run,
	  &ephemeral },
	{ "remove-stale-mounts", "", "make the guest forget removed mounts of the share", thin_run,
	  &stale_mounts },
	{ "mem-agent-memcg", "SETTINGS", "when idle memory is reclaimed (JSON)", thin_run, &memcg },
	{ "mem-agent-compact", "SETTINGS", "when memory is compacted (JSON)", thin_run, &compact },
	{ "batch", "[OPTIONS] [LINE...]", "commands over one connection", batch_main, NULL },
	{ "repeat", "COUNT COMMAND [ARGUMENT...]", "a command several times over one connection",
	  repeat_main, NULL },
	{ "sleep", "SECONDS", "wait, between the commands of a batch", sleep_main, NULL },
};

const size_t n_commands = ARRAY_LEN(commands);
