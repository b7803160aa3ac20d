/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which handler serves which method. A unit test compares these rows with the services'
 * descriptors.
 */
#include "svc/svc.h"

#include <errno.h>

#include "health.pb-c.h"
#include "base/auto.h"
#include "pod/agent.h"
#include "pod/pod.h"

/* --- not here --- */

static int svc_set_policy(struct call *c, const void *req, struct err *err)
{
	(void)c;
	(void)req;
	return err_rpc(err, RPC_UNIMPLEMENTED, "SetPolicy: this agent is built without policies");
}

static int svc_mem_agent_set(struct call *c, const void *req, struct err *err)
{
	(void)req;
	return err_rpc(err, RPC_UNIMPLEMENTED, "%s: this agent has no mem-agent", c->method->name);
}

/* --- the table --- */

#define AGENT(name, fn, type, flags)                                                    \
	{                                                                               \
		"grpc.AgentService", name, &grpc__##type##__descriptor, fn, flags, NULL \
	}
#define HEALTH(name, fn)                                                                   \
	{                                                                                  \
		"grpc.Health", name, &grpc__check_request__descriptor, fn, M_ANYTIME, NULL \
	}

const struct rpc_method svc_methods[] = {
	HEALTH("Check", svc_check),
	HEALTH("Version", svc_version),
	AGENT("WriteStdin", svc_write_stdin, write_stream_request, M_SANDBOX | M_IN_PLACE),
	AGENT("ReadStdout", svc_read_stdout, read_stream_request, M_SANDBOX),
	AGENT("ReadStderr", svc_read_stderr, read_stream_request, M_SANDBOX),
	AGENT("CloseStdin", svc_close_stdin, close_stdin_request, M_SANDBOX),
	AGENT("TtyWinResize", svc_tty_win_resize, tty_win_resize_request, M_SANDBOX),
	AGENT("ExecProcess", svc_exec_process, exec_process_request, M_SANDBOX | M_LIFE),
	AGENT("SignalProcess", svc_signal_process, signal_process_request, M_SANDBOX),
	AGENT("WaitProcess", svc_wait_process, wait_process_request, M_SANDBOX),
	{ "grpc.AgentService", "CreateContainer", &grpc__create_container_request__descriptor,
	  svc_create_container, M_SANDBOX | M_LIFE, adopt3x_create_container },
	AGENT("StartContainer", svc_start_container, start_container_request, M_SANDBOX | M_LIFE),
	AGENT("RemoveContainer", svc_remove_container, remove_container_request, M_LIFE),
	AGENT("ListProcesses", svc_list_processes, list_processes_request, 0),
	AGENT("UpdateContainer", svc_update_container, update_container_request, 0),
	AGENT("StatsContainer", svc_stats_container, stats_container_request, 0),
	AGENT("PauseContainer", svc_pause_container, pause_container_request, 0),
	AGENT("ResumeContainer", svc_resume_container, resume_container_request, 0),
	AGENT("GetOOMEvent", svc_get_oom_event, get_oomevent_request, 0),
	AGENT("CreateSandbox", svc_create_sandbox, create_sandbox_request, 0),
	AGENT("DestroySandbox", svc_destroy_sandbox, destroy_sandbox_request, 0),
	AGENT("UpdateInterface", svc_update_interface, update_interface_request, 0),
	AGENT("UpdateRoutes", svc_update_routes, update_routes_request, 0),
	AGENT("ListInterfaces", svc_list_interfaces, list_interfaces_request, 0),
	AGENT("ListRoutes", svc_list_routes, list_routes_request, 0),
	AGENT("AddARPNeighbors", svc_add_arp_neighbors, add_arpneighbors_request, 0),
	AGENT("OnlineCPUMem", svc_online_cpu_mem, online_cpumem_request, 0),
	AGENT("ReseedRandomDev", svc_reseed_random_dev, reseed_random_dev_request, 0),
	AGENT("GetGuestDetails", svc_get_guest_details, guest_details_request, 0),
	AGENT("MemHotplugByProbe", svc_mem_hotplug_by_probe, mem_hotplug_by_probe_request, 0),
	AGENT("SetGuestDateTime", svc_set_guest_date_time, set_guest_date_time_request, 0),
	AGENT("CopyFile", svc_copy_file, copy_file_request, 0),
	AGENT("StartTracing", svc_start_tracing, start_tracing_request, 0),
	AGENT("StopTracing", svc_stop_tracing, stop_tracing_request, 0),
	AGENT("GetMetrics", svc_get_metrics, get_metrics_request, 0),
	AGENT("AddSwap", svc_add_swap, add_swap_request, 0),
	AGENT("AddSwapPath", svc_add_swap_path, add_swap_path_request, 0),
	AGENT("GetVolumeStats", svc_get_volume_stats, volume_stats_request, 0),
	AGENT("ResizeVolume", svc_resize_volume, resize_volume_request, 0),
	AGENT("GetIPTables", svc_get_iptables, get_iptables_request, 0),
	AGENT("SetIPTables", svc_set_iptables, set_iptables_request, 0),
	AGENT("UpdateEphemeralMounts", svc_update_ephemeral_mounts, update_ephemeral_mounts_request,
	      0),
	AGENT("RemoveStaleVirtiofsShareMounts", svc_remove_stale_virtiofs_share_mounts,
	      remove_stale_virtiofs_share_mounts_request, 0),
	AGENT("GetDiagnosticData", svc_get_diagnostic_data, get_diagnostic_data_request, 0),
	AGENT("SetPolicy", svc_set_policy, set_policy_request, 0),
	AGENT("MemAgentMemcgSet", svc_mem_agent_set, mem_agent_memcg_config, 0),
	AGENT("MemAgentCompactSet", svc_mem_agent_set, mem_agent_compact_config, 0),
};

const size_t svc_method_count = ARRAY_LEN(svc_methods);

int svc_gate(struct call *c, struct err *err)
{
	struct agent *a = call_agent(c);
	const struct sandbox *sb = a->sandbox;

	if (a->finish_start && !(c->method->flags & M_ANYTIME))
		a->finish_start(a);
	if (!(c->method->flags & M_SANDBOX) || c->schema == SCHEMA_3X ||
	    sb->state == SANDBOX_RUNNING)
		return 0;
	return err_rpc(err, RPC_FAILED_PRECONDITION, "Sandbox not started");
}
