/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handlers: a thin one for each method, in files by subject. A handler reads its request,
 * has pod, oci or linux do the work, and answers; it keeps nothing but what it says at its top.
 * What may wait runs in a worker, and its call is parked until the worker is done.
 *
 *	methods	    which handler serves which method
 *	health	    Check, Version
 *	sandbox	    CreateSandbox, DestroySandbox, StartTracing, StopTracing, GetOOMEvent
 *	container   CreateContainer, StartContainer, RemoveContainer, UpdateContainer,
 *		    StatsContainer, PauseContainer, ResumeContainer
 *	process	    ExecProcess, WaitProcess, SignalProcess, ListProcesses
 *	stdio	    ReadStdout, ReadStderr, WriteStdin, CloseStdin, TtyWinResize
 *	guest	    GetGuestDetails, ReseedRandomDev, SetGuestDateTime
 *	cpumem	    OnlineCPUMem, MemHotplugByProbe
 *	net	    interfaces, routes, neighbours
 *	iptables    GetIPTables, SetIPTables
 *	copyfile    CopyFile
 *	volume	    GetVolumeStats, ResizeVolume, UpdateEphemeralMounts,
 *		    RemoveStaleVirtiofsShareMounts
 *	swap	    AddSwap, AddSwapPath
 *	metrics	    GetMetrics
 *	diagnostic  GetDiagnosticData
 *	stats	    a cgroup's numbers as a message, for StatsContainer
 *	adopt3x	    a 3.x request's bytes in the schema that we unpack
 *	work	    what handlers with a worker have in common
 */
#ifndef SVC_SVC_H
#define SVC_SVC_H

#include "agent.pb-c.h"
#include "base/worker.h"
#include "rpc/call.h"

/* --- methods.c --- */

extern const struct rpc_method svc_methods[];
extern const size_t svc_method_count;

/* The gate of dispatch: M_SANDBOX methods of 1.x want a running sandbox. */
int svc_gate(struct call *c, struct err *err);

/* --- adopt3x.c --- */

/*
 * To be called on the bytes of a CreateContainerRequest that came by a 3.x road, before it is
 * decoded: changes, in place and nothing else, the number of 3.x's Flags in LinuxSeccomp from 3,
 * where 1.x has its system calls, to 5, and that of shared_mounts from 8, agent_pidns in 1.x, to
 * 15. Runtime 2.0 sent 1.x's layout by that road: the content tells. Bytes that aren't a
 * well-formed message are left to the decoder to refuse.
 */
void adopt3x_create_container(uint8_t *request, size_t len);
/* Drops entries without "=", which 1.x refuses and 3.x passes over. p may be NULL. */
void adopt3x_environment(Grpc__Process *p);

/* --- stats.c --- */

struct cgroup_stats;
/* Every submessage of *ret is set, from mem. 0, or -ENOMEM with *err. */
int stats_message(const struct cgroup_stats *s, struct arena *mem, Grpc__CgroupStats *ret,
		  struct err *err);

/* --- health.c --- */

/* The program's version. Static text. */
const char *agent_version(void);
/* The line that --version prints; rootfs.sh also finds it in the binary of another architecture. */
const char *agent_version_line(void);

int svc_check(struct call *c, const void *req, struct err *err);
int svc_version(struct call *c, const void *req, struct err *err);

/* --- sandbox.c --- */

int svc_create_sandbox(struct call *c, const void *req, struct err *err);
int svc_destroy_sandbox(struct call *c, const void *req, struct err *err);
int svc_start_tracing(struct call *c, const void *req, struct err *err);
int svc_stop_tracing(struct call *c, const void *req, struct err *err);
int svc_get_oom_event(struct call *c, const void *req, struct err *err);

/* --- container.c --- */

int svc_create_container(struct call *c, const void *req, struct err *err);
int svc_start_container(struct call *c, const void *req, struct err *err);
int svc_remove_container(struct call *c, const void *req, struct err *err);
int svc_update_container(struct call *c, const void *req, struct err *err);
int svc_stats_container(struct call *c, const void *req, struct err *err);
int svc_pause_container(struct call *c, const void *req, struct err *err);
int svc_resume_container(struct call *c, const void *req, struct err *err);

/* --- process.c --- */

int svc_exec_process(struct call *c, const void *req, struct err *err);
int svc_wait_process(struct call *c, const void *req, struct err *err);
int svc_signal_process(struct call *c, const void *req, struct err *err);
int svc_list_processes(struct call *c, const void *req, struct err *err);

/* --- stdio.c --- */

int svc_read_stdout(struct call *c, const void *req, struct err *err);
int svc_read_stderr(struct call *c, const void *req, struct err *err);
int svc_write_stdin(struct call *c, const void *req, struct err *err);
int svc_close_stdin(struct call *c, const void *req, struct err *err);
int svc_tty_win_resize(struct call *c, const void *req, struct err *err);

/* --- guest.c --- */

int svc_get_guest_details(struct call *c, const void *req, struct err *err);
int svc_reseed_random_dev(struct call *c, const void *req, struct err *err);
int svc_set_guest_date_time(struct call *c, const void *req, struct err *err);

/* --- cpumem.c --- */

int svc_online_cpu_mem(struct call *c, const void *req, struct err *err);
int svc_mem_hotplug_by_probe(struct call *c, const void *req, struct err *err);

/* --- net.c: callable before CreateSandbox --- */

int svc_update_interface(struct call *c, const void *req, struct err *err);
int svc_update_routes(struct call *c, const void *req, struct err *err);
int svc_list_interfaces(struct call *c, const void *req, struct err *err);
int svc_list_routes(struct call *c, const void *req, struct err *err);
int svc_add_arp_neighbors(struct call *c, const void *req, struct err *err);

/* What went through the guest's interfaces, without the loopback's; in memory of mem. */
int net_stats(struct arena *mem, Grpc__NetworkStats ***ret, size_t *ret_n, struct err *err);

/* --- iptables.c --- */

int svc_get_iptables(struct call *c, const void *req, struct err *err);
int svc_set_iptables(struct call *c, const void *req, struct err *err);

/* --- copyfile.c --- */

int svc_copy_file(struct call *c, const void *req, struct err *err);

/* --- volume.c --- */

int svc_get_volume_stats(struct call *c, const void *req, struct err *err);
int svc_resize_volume(struct call *c, const void *req, struct err *err);
int svc_update_ephemeral_mounts(struct call *c, const void *req, struct err *err);
int svc_remove_stale_virtiofs_share_mounts(struct call *c, const void *req, struct err *err);

/* --- swap.c --- */

int svc_add_swap(struct call *c, const void *req, struct err *err);
int svc_add_swap_path(struct call *c, const void *req, struct err *err);

/* --- metrics.c --- */

int svc_get_metrics(struct call *c, const void *req, struct err *err);

/* --- diagnostic.c --- */

int svc_get_diagnostic_data(struct call *c, const void *req, struct err *err);

/* --- work.c --- */

/*
 * Parks the call with what it works on in c->wait, and starts job(c) in a worker; done(c) follows
 * and answers. The worker goes on without its peer. opts NULL: what most need. CALL_PENDING, or
 * -errno with *err.
 */
extern const struct worker_opts work_reads;  /* what most need, with no power but to read files */
extern const struct worker_opts work_writes; /* or to write them */
int work_start(struct call *c, const struct worker_opts *opts, void *wait, worker_job *job,
	       worker_done *done, struct err *err);
/* A done whose answer is empty. */
void work_done_empty(void *arg, const struct err *err, const struct buf *out);
/* For jobs: O_PATH fd of what a request names below /run, no link followed; or -errno with *err. */
int work_open(const char *path, struct err *err);
/* The fd of /sys, or -errno with *err where there is none. */
int work_sys(const struct call *c, struct err *err);

#endif
