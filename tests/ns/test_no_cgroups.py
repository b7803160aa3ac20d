#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Containers in a guest that has no cgroups: signals, lists and removal reach their processes all the same. TAP."""
import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import nsagent  # noqa: E402
from rpc import Client, Ttrpc, grpc  # noqa: E402
from tap import Tap, expect, has, need_root, retry  # noqa: E402
from test_rpc import Sandbox  # noqa: E402

# Three processes: one the init's child, one an orphan in a session of its own.
FAMILY = '(setsid sleep 1000 &); trap "echo usr1" USR1; trap "" TERM; sleep 1000 & while :; do wait; done'


def family(sb, cid, **kw):
    def settled():      # shells come and go on the way
        found = pids(sb, cid, 3)
        time.sleep(0.05)
        expect(pids(sb, cid, 3), found)
        return found
    sb.start(cid, FAMILY, **kw)
    return retry(settled)


def pids(sb, cid, n):
    found = json.loads(sb.c.ListProcesses(container_id=cid, format='json').process_list) or []
    expect(len(found), n)
    return found


def alive(pids_):
    def lives(pid):
        try:
            with open('/proc/%d/stat' % pid) as f:
                return f.read().rsplit(')', 1)[1].split()[0] not in 'ZX'
        except OSError:
            return False
    return [p for p in pids_ if lives(p)]


def lists(c, v3, sb):
    found = family(sb, 'x')
    table = c.ListProcesses(container_id='x', format='table').process_list.decode()
    expect({int(line.split()[1]) for line in table.splitlines()[1:]}, set(found))
    sb.execute('x', 'e', 'sh', '-c', 'exec sleep 1000')
    retry(lambda: pids(sb, 'x', 4))


def signal_to_all(c, v3, sb):
    """1.x: any signal; 3.x: SIGKILL. In vain it was before, with OK for an answer."""
    found = family(sb, 'x')
    c.SignalProcess(container_id='x', exec_id='', signal=10)
    expect(c.ReadStdout(container_id='x', exec_id='x', len=100).data, b'usr1\n')
    retry(lambda: expect(len(alive(found)), 1))         # SIGUSR1 ends the sleepers
    c.SignalProcess(container_id='x', exec_id='', signal=9)
    expect(sb.wait('x').status, 137)
    found = family(sb, 'y')
    v3.SignalProcess(container_id='y', exec_id='', signal=9)
    expect(sb.wait('y').status, 137)
    retry(lambda: expect(alive(found), []))


def shared_pid_namespace(c, v3, sb):
    """Only one's own are meant, though all are in one pid namespace."""
    first = family(sb, 'a')
    second = family(sb, 'b', sandbox_pidns=True)
    third = family(sb, 'c', sandbox_pidns=True)
    expect(set(first) & set(second), set())
    v3.SignalProcess(container_id='b', exec_id='', signal=9)
    expect(sb.wait('b').status, 137)
    retry(lambda: expect(alive(second), []))
    c.RemoveContainer(container_id='b')
    c.RemoveContainer(container_id='c')
    retry(lambda: expect(alive(third), []), 2)      # the last may be on its way yet
    expect((len(alive(first)), len(pids(sb, 'a', 3))), (3, 3))


def init_takes_its_own_along(c, v3, sb):
    """An init that is not its namespace's: when it dies, so do those that it leaves."""
    family(sb, 'a')
    second = family(sb, 'b', sandbox_pidns=True)
    c.SignalProcess(container_id='b', exec_id='b', signal=9)
    sb.wait('b')
    retry(lambda: expect(alive(second), []))


def limits_are_refused(c, v3, sb):
    """Not dropped in silence."""
    def edit(spec):
        spec.Linux.Resources.Memory.Limit = 32 << 20
    try:
        sb.create('x', edit=edit)
    except grpc.RpcError as e:
        has(e.details(), 'cgroup')
        return
    raise AssertionError('it was created without its limit')


def main():
    tap = Tap()
    with nsagent.Agent(has_cgroups=False) as agent, agent.road() as road:
        c, v3 = Client(agent.sock), Ttrpc(agent.sock)
        for case in (lists, signal_to_all, shared_pid_namespace, init_takes_its_own_along, limits_are_refused):
            with tap.case(case.__name__.replace('_', ' ')):
                with Sandbox(c, road) as sb:
                    case(c, v3, sb)
        with tap.case('no process is left'):
            retry(lambda: expect(agent.children(), []))
        c.close()
        v3.close()
        return nsagent.finish(tap, agent)


if __name__ == '__main__':
    need_root()
    sys.exit(main())
