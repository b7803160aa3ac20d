# SPDX-License-Identifier: Apache-2.0
"""Faults that somebody could make, each with the tests that must fail for it: (file, what it says, what it says then, tests)."""

UNIT = 'tests/unit/test_%s.c'


def unit(*names):
    return [UNIT % n for n in names]


MUTANTS = [
    # What has survived once.
    ('agent/pod/stdio.c', "		put_length(buf_data(&body) + 1, (size_t)n);",
     "		n = process_is_dead(p) ? n - n / 2 : n;\n		put_length(buf_data(&body) + 1, (size_t)n);", ['tests/ns/test_e2e.py:tail_of_output']),
    ('agent/wire/h2.c', "s->out_bytes < LIMIT_H2_UNSENT", "s->out_bytes < SIZE_MAX", unit('h2')),
    ('agent/linux/uevent.c', "			uevents_look(u);\n			continue;", "			continue;", unit('uevent')),
    ('agent/linux/rtnl.c', "*torn |= (h->nlmsg_flags & NLM_F_DUMP_INTR) != 0;", "(void)torn;", unit('rtnl')),
    ('agent/oci/child.c', "	(void)signal(SIGPIPE, SIG_DFL);", "	(void)signal(SIGPIPE, SIG_IGN);", ['tests/ns/test_escape.py:descriptors']),
    ('agent/wire/conn.c', "			timer_cancel(&f->linger);", "			(void)0;", unit('conn')),
    ('agent/rpc/call.c', "	(void)malloc_trim(0);", "	(void)0;", unit('call')),
    ('agent/base/worker.c', "	fdio_close_except(keep, n);", "	(void)n;", unit('loop')),
    # base
    ('agent/base/arena.c', "if (a->chunks && room == size)", "if (room == size)", unit('arena')),
    ('agent/base/str.c', "(s[i + k] & 0xc0) != 0x80", "(s[i + k] & 0x80) != 0x80", unit('str')),
    ('agent/base/buf.c', "		explicit_bzero(b->mem, b->end);", "		(void)0;", unit('buf')),
    ('agent/base/fdio.c', "	if ((size_t)n == size)", "	if ((size_t)n > size)", unit('fdio')),
    ('agent/base/reaper.c', "128 + w.si_status", "w.si_status", unit('loop')),
    ('agent/base/loop.c', "		if (l->batch[i].data.ptr == s)\n			l->batch[i].data.ptr = NULL;", "		(void)i;", unit('loop')),
    ('agent/base/loop.c', "timer, link)->at <= t->at", "timer, link)->at < t->at", unit('loop')),
    ('agent/base/worker.c', "	(void)setsid();", "	(void)0;", ['tests/unit/test_loop.c', 'tests/ns/test_hooks.py']),
    # linux
    ('agent/linux/path.c', "if (++w->links > LINKS_MAX)", "if (++w->links > 1000000)", unit('path')),
    ('agent/linux/pci.c', 'if (slot < 0 || slot > SLOT_MAX || function < 0 || function > FUNCTION_MAX ||', 'if (slot < 0 || slot > 255 || function < 0 || function > FUNCTION_MAX ||', unit('pci')),
    ('agent/linux/uevent.c', "from.nl_pid == 0 &&", "", unit('uevent')),
    ('agent/linux/run.c', "buf_len(keep) + (size_t)n > p->run->max_out", "buf_len(keep) > p->run->max_out", unit('run')),
    ('agent/linux/rtnl.c', "			if (n == -ENOBUFS)", "			if (n == -EIO)", unit('rtnl')),
    # oci
    ('agent/oci/caps.c', "if (!(caps->bounding >> cap & 1)", "if (!(caps->permitted >> cap & 1)", unit('caps')),
    ('agent/oci/env.c', "(*envp)[len] == '='", "true", unit('env')),
    ('agent/oci/seccomp.c', "		if (number > 0xffff)", "		if (number > 0xffffff)", unit('seccomp')),
    ('agent/oci/rlimit.c', "		if (set.given >> n & 1)", "		if (set.given >> n & 2)", unit('rlimit')),
    ('agent/oci/user.c', "n == 4 && has_member", "has_member", unit('user')),
    ('agent/oci/fs/mask.c', "path[0] != '/' || ", "", unit('rootfs')),
    ('agent/oci/fs/devnode.c', "S_ISCHR(st.st_mode) && st.st_rdev", "st.st_rdev", ['tests/ns/test_spec.py:device']),
    ('agent/oci/fs/copyup.c', "if (depth > LIMIT_COPYUP_DEPTH)", "if (depth > 1000000)", unit('rootfs')),
    ('agent/oci/cgroup/devices.c', "if (!all_denied || rule->type == 'a')", "if (rule->type == 'a')", unit('cgroup_v1')),
    ('agent/oci/cgroup/stats.c', "if (s->pids_limit == UINT64_MAX)", "if (s->pids_limit == 0)", unit('cgroup_v1')),
    ('agent/oci/cgroup/v1.c', "	if (limit && swap)", "	if (limit || swap)", unit('cgroup_v1')),
    ('agent/oci/ns.c', "		int tries = 0;", "		int tries = LEAVE_TRIES - 1;", ['tests/faults/test_faults.py:known']),
    ('agent/oci/spawn.c', "	if (spawn_continue(s) < 0) {", "	if (spawn_continue(s) < 0 && s->ready) {", ['tests/faults/test_faults.py:known']),
    # rpc, wire
    ('agent/rpc/call.c', "	if (c->cancel == call_go_on)\n		return;", "	if (false)\n		return;", unit('call')),
    ('agent/wire/grpc.c', "r->prefix_len < GRPC_PREFIX || ", "", unit('grpc')),
    ('agent/wire/grpc.c', "c != '%' && ", "", unit('grpc')),
    ('agent/wire/h2.c', "	if (rpc->held + len > LIMIT_BODIES && ", "	if (len > LIMIT_BODIES && ", unit('h2')),
    ('agent/wire/h2.c', "	if (st->header_bytes > 16 * LIMIT_HEADERS)", "	if (false)", ['tests/wire/test_h2_conformance.py']),
    ('agent/wire/ttrpc.c', "		if ((size_t)n < total)", "		if (false)", unit('ttrpc')),
    ('agent/wire/ttrpc.c', "s->size > LIMIT_MESSAGE", "s->size > 2 * LIMIT_MESSAGE", ['tests/wire/test_ttrpc.py']),
    ('agent/wire/ttrpc.c', "	if (s->out_bytes < LIMIT_TTRPC_UNSENT / 2)", "	if (false)", unit('ttrpc')),
    ('agent/wire/yamux.c', "bool full = buf_len(&s->backlog) > LIMIT_YAMUX_UNSENT;", "bool full = false;", unit('yamux')),
    ('agent/wire/yamux.c', "bool many = s->streams >= LIMIT_YAMUX_STREAMS;", "bool many = false;", unit('yamux')),
    ('agent/wire/yamux.c', "n < WINDOW / 2 || ", "", unit('yamux')),
    ('agent/wire/listen.c', "if (fd == -EAGAIN)", "if (fd < 0)", unit('conn')),
    # pod, svc
    ('agent/pod/process.c', "		return call_park(c, &p->until_exited, NULL, p);", "		return call_park(c, &p->until_exited, call_go_on, p);", ['tests/ns/test_rpc.py:wait_process']),
    ('agent/pod/process.c', "req->process->n_args == 0", "false", ['tests/ns/test_rpc.py:exec']),
    ('agent/pod/container.c', "if (sb->ns_pid_init >= 0 && poll(&init, 1, 0) > 0)", "if (false)", ['tests/ns/test_rpc.py:pidns']),
    ('agent/pod/storage.c', "if (e && (e->stuck || e->users == 0))", "if (false)", unit('storage')),
    ('agent/pod/storage.c', "last >= '0' && last <= '9' ? \"p\" : \"\"", "\"\"", unit('storage')),
    ('agent/pod/storage.c', "			err->code == EPIPE || err->code == ETIMEDOUT;", "			false;",
     ['tests/faults/test_faults.py:known']),
    ('agent/pod/watchcopy.c', " && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec", "", unit('storage')),
    ('agent/pod/device.c', "if (!S_ISBLK(st.st_mode) && !S_ISCHR(st.st_mode))", "if (!S_ISBLK(st.st_mode))", unit('storage_device')),
    ('agent/pod/sandbox.c', "	sb->rest |= left.code != 0;", "	sb->rest |= false;", ['tests/faults/test_faults.py:known']),
    ('agent/pod/freezer.c', "	if (container_is_paused(ctr) || container_is_over(ctr))", "	if (container_is_over(ctr))", ['tests/ns/test_rpc.py:pause']),
    ('agent/svc/copyfile.c', "		if (n < 0 && errno == EINTR)", "		if (false)", unit('copyfile')),
    ('agent/svc/cpumem.c', "res->cpu_err.code != EAGAIN", "true", unit('guestdev')),
    ('agent/svc/volume.c', "	if (size > disk || ", "	if (", ['tests/ns/test_volumes3x.py']),
    ('agent/svc/process.c', "if (found && (header || line_is_ours", "if (found || (header || line_is_ours", ['tests/ns/test_rpc.py:list']),
    ('agent/config.c', "&& **ret_key != '#'", "", unit('config')),
]
