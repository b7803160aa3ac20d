#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A guest with cgroup v2, asked for as hosts since 3.14 do: the end-to-end cases, then what the kernel does with
limits, device rules, the freezer and out-of-memory events there. TAP.
"""
import os
import re
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from guestlib import *  # noqa: E402,F403
from tap import Tap  # noqa: E402
import cases  # noqa: E402
import test_guest  # noqa: E402
from test_guest import EAT, MIB, NODE_OPENS, own_devices, small  # noqa: E402
from test_hotplug import Disks, device, wants  # noqa: E402



def file_of(watch, cid, name):
    return watch.sh('cat $(find /guest/sys/fs/cgroup -type d -name %s)/%s' % (cid, name)).strip()


def mounted(m):
    with m.pod() as pod:
        watch = pod.run('watch', edit=see_guest)
        lines = [l for l in watch.sh('cat /guest/proc/1/mountinfo').splitlines() if ' - cgroup' in l]
        expect(len(lines), 1)
        has(lines[0], '/sys/fs/cgroup', 'cgroup2')
        for name in ('cpu', 'cpuset', 'memory', 'pids', 'io', 'hugetlb'):
            has(watch.sh('cat /guest/sys/fs/cgroup/cgroup.subtree_control'), name)
        # The container sees its own part, and cannot change it.
        c = pod.run('c')
        has(c.sh('grep " /sys/fs/cgroup " /proc/mounts'), 'cgroup2 ro,')
        has(c.exec('sh', '-c', 'echo max > /sys/fs/cgroup/memory.max').stderr.decode(), 'Read-only')


def namespace(m):
    """Each container, and what is executed in it, has its own cgroup for the top, asked for or not."""
    with m.pod() as pod:
        c = pod.run('c')
        for text in (c.sh('cat /proc/self/cgroup'), c.exec('cat', '/proc/1/cgroup').stdout.decode(),
                     c.exec('cat', '/proc/self/cgroup').stdout.decode()):
            expect(text, '0::/\n')
        ns = lambda text: re.search(r'cgroup:\[\d+\]', text).group()
        inner = ns(c.sh('ls -l /proc/self/ns/cgroup'))
        expect(ns(c.exec('ls', '-l', '/proc/self/ns/cgroup').stdout.decode()), inner)
        d = pod.run('d', edit=see_guest)
        expect(ns(d.sh('ls -l /guest/proc/1/ns/cgroup')) != inner, True, "the agent's own")
        expect(ns(d.sh('ls -l /proc/self/ns/cgroup')) != inner, True, "the neighbour's")


def groups_below(m):
    """As docker and systemd do in a container: its processes go into a group below, then its own has controllers."""
    def writable(config):
        for entry in config['mounts']:
            if entry['type'] == 'cgroup':
                entry['options'] = [o for o in entry['options'] if o != 'ro']
    with m.pod() as pod:
        c = pod.run('c', 'cd /sys/fs/cgroup && mkdir init && echo 1 > init/cgroup.procs && '
                    'until echo +pids +memory > cgroup.subtree_control; do sleep 0.1; done; exec sleep 1000',
                    edit=edits(all_caps, writable))
        retry(lambda: has(c.exec('cat', '/sys/fs/cgroup/cgroup.subtree_control', check=0).stdout.decode(), 'pids'))
        expect(c.exec('cat', '/proc/self/cgroup', check=0).stdout.decode(), '0::/init\n')
        has(c.exec('sh', '-c', 'echo 1 > /sys/fs/cgroup/memory.max').stderr.decode(), 'not permitted')
        m.call('PauseContainer', container_id='c')
        m.call('ResumeContainer', container_id='c')
        c.exec('true', check=0)
        c.remove()


def limits(m):
    with m.pod() as pod:
        watch = pod.run('watch', edit=see_guest)
        pod.run('c', edit=resources(memory={'limit': 64 * MIB, 'reservation': 32 * MIB}, pids={'limit': 50}, cpu={
            'shares': 1024, 'quota': 50000, 'period': 100000, 'cpus': '0', 'mems': '0'},
            hugepageLimits=[{'pageSize': '2MB', 'limit': 4 * MIB}]))
        files = lambda: [file_of(watch, 'c', name) for name in (
            'memory.max', 'memory.low', 'pids.max', 'cpu.weight', 'cpu.max', 'cpuset.cpus', 'hugetlb.2MB.max')]
        expect(files(), [str(64 * MIB), str(32 * MIB), '50', '100', '50000 100000', '0', str(4 * MIB)])
        m.call('UpdateContainer', container_id='c', resources=dict(
            Memory=dict(Limit=32 * MIB), Pids=dict(Limit=4), CPU=dict(Shares=262144, Quota=20000, Period=50000,
                                                                      Cpus='0-1')))
        expect(files()[0:1] + files()[2:6], [str(32 * MIB), '4', '10000', '20000 50000', '0'])
        c = Container(m, 'c')
        has(c.exec('sh', '-c', 'for i in 1 2 3 4 5 6; do sleep 1 & done').stderr.decode(), "can't fork")
        m.call('UpdateContainer', container_id='c', resources=dict(Pids=dict(Limit=-1), CPU=dict(Quota=-1)))
        expect(files()[2], 'max')
        expect(files()[4].split()[0], 'max')


def device_rules(m):
    """A BPF program decides: mknod and open of what no rule allows fail, for the container and its execs."""
    def rules(config):
        config['linux']['resources']['devices'] += [
            {'allow': True, 'type': 'c', 'major': 10, 'minor': 229, 'access': 'rw'},
            {'allow': True, 'type': 'c', 'major': 1, 'minor': 11, 'access': 'rw'},
            {'allow': False, 'type': 'c', 'major': 1, 'minor': 11, 'access': 'w'}]
    tmp = mount('/tmp', 'tmpfs', 'tmpfs')
    probe = ('rm -f /tmp/n; if mknod /tmp/n %s; then (: < /tmp/n) 2>/dev/null && echo read; '
             '(: > /tmp/n) 2>/dev/null && echo write; fi; true')
    with m.pod() as pod:
        c = pod.run('c', edit=edits(all_caps, rules, tmp))
        for node, want in (('c 1 3', 'read write'), ('c 1 5', 'read write'), ('c 1 1', ''), ('c 1 11', 'read'),
                           ('c 10 235', ''), ('b 7 0', ''), ('b 259 0', '')):
            expect(c.sh(probe % node).split(), want.split(), node)
        everything = pod.run('all', edit=edits(all_caps, tmp, resources(devices=[{'allow': True, 'access': 'rwm'}])))
        expect(everything.sh(probe % 'c 1 11').split(), ['read', 'write'])
        expect(everything.sh(probe % 'b 7 0').split(), ['read', 'write'])


def without_rules(m):
    """Hosts leave the device rules out: nothing but what is harmless may be opened, and what the spec names."""
    def none(config):
        config['linux']['resources'].pop('devices', None)

    def privileged(config):
        all_caps(config)
        config['linux'].update(maskedPaths=[], readonlyPaths=[])
        config['linux'].pop('seccomp', None)
    tmp = mount('/tmp', 'tmpfs', 'tmpfs')
    with m.pod() as pod:
        watch = pod.run('watch', edit=see_guest)
        own = own_devices(watch)
        other = ['c 1 11', 'c 10 229', 'b 7 0', 'b 254 0']
        plain = pod.run('plain', edit=edits(all_caps, none, tmp))
        for node in own + other:
            expect(plain.sh(NODE_OPENS % node), '', 'plain: ' + node)
        for node in ('c 1 3', 'c 5 2', 'c 1 9'):
            expect(plain.sh(NODE_OPENS % node), 'open\n', 'plain: ' + node)
        free = pod.run('free', edit=edits(privileged, none, tmp))
        for node in own:
            expect(free.sh(NODE_OPENS % node), '', 'privileged: ' + node)
        for node in other:
            expect(free.sh(NODE_OPENS % node), 'open\n', 'privileged: ' + node)
        named = pod.run('named', edit=edits(all_caps, none, tmp, lambda config: config['linux'].update(devices=[
            {'path': '/dev/log', 'type': 'c', 'major': 1, 'minor': 11, 'fileMode': 0o666}])))
        expect(named.sh(NODE_OPENS % 'c 1 11'), 'open\n')
        expect(named.sh(NODE_OPENS % 'c 5 1'), '')


def devices(m, disks):
    disks.image('raw', None)
    disks.image('other', None)
    disks.pci('raw', 5)
    disks.pci('other', 6)
    with m.pod() as pod:
        c = pod.run('c', edit=edits(wants('/dev/xda', 8, 77), mount('/tmp', 'tmpfs', 'tmpfs')),
                    devices=[device('blk', '02/05', '/dev/xda')])
        expect(c.sh('head -n 1 /dev/xda'), 'raw disk\n')
        watch = pod.run('watch', edit=see_guest)
        other = lambda: watch.sh('cat $(grep -l "^other$" /guest/sys/block/vd*/serial | sed s/serial/dev/)').strip()
        has(c.exec('sh', '-c', 'mknod /tmp/n b %s && cat /tmp/n' % retry(other).replace(':', ' ')).stderr.decode(),
            'Operation not permitted')
        c.sh('dd if=/dev/zero of=/dev/xda bs=1M count=3 oflag=direct && dd if=/dev/xda of=/dev/null bs=1M skip=8')
        numbers = tuple(int(x, 16) for x in c.sh("stat -c '%t %T' /dev/xda").split())
        s = m.call('StatsContainer', container_id='c').cgroup_stats.blkio_stats
        count = {e.op.lower(): e.value for e in s.io_service_bytes_recursive if (e.major, e.minor) == numbers}
        expect(count.get('write', 0) >= 3 * MIB and count.get('read', 0) >= 8 * MIB, True, 'bytes %s' % count)


def pause(m):
    with m.pod() as pod:
        watch = pod.run('watch', edit=see_guest)
        c = pod.run('busy', 'dd if=/dev/zero of=/dev/null')
        m.call('PauseContainer', container_id='busy')
        expect(file_of(watch, 'busy', 'cgroup.freeze'), '1')
        has(file_of(watch, 'busy', 'cgroup.events'), 'frozen 1')
        usage = file_of(watch, 'busy', 'cpu.stat').split()[1]
        time.sleep(0.3)
        expect(file_of(watch, 'busy', 'cpu.stat').split()[1], usage)
        m.fails('FAILED_PRECONDITION', 'ExecProcess', 'paused', container_id='busy', exec_id='e',
                process=m.spec('true').Process)
        m.call('ResumeContainer', container_id='busy')
        c.exec('true', check=0)
        time.sleep(0.1)
        expect(file_of(watch, 'busy', 'cpu.stat').split()[1] != usage, True, 'CPU time after the pause')
        m.call('PauseContainer', container_id='busy')
        m.call('RemoveContainer', container_id='busy', timeout=20)


def figures(m):
    with m.pod() as pod:
        pod.run('c', 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; dd if=/dev/zero of=/tmp/f bs=1M count=4 '
                '2>/dev/null; sleep 100 & sleep 100 & wait',
                edit=edits(resources(memory={'limit': 64 * MIB}, pids={'limit': 100}), mount('/tmp', 'tmpfs', 'tmpfs')))

        def three():
            s = m.call('StatsContainer', container_id='c').cgroup_stats
            expect(s.pids_stats.current, 3)
            return s
        s = retry(three, 20)
        expect(10**6 < s.cpu_stats.cpu_usage.total_usage < 60 * 10**9, True, 'CPU')
        expect(s.cpu_stats.cpu_usage.usage_in_usermode > 0, True, 'user time')
        use = s.memory_stats.usage
        expect(4 * MIB < use.usage <= use.limit == 64 * MIB, True, 'memory %s' % use)
        expect(s.memory_stats.stats['file'] >= 4 * MIB, True, 'file %s' % s.memory_stats.stats['file'])
        expect((s.pids_stats.limit, list(s.hugetlb_stats)), (100, []))


def oom_in_part(m):
    """An event without the init's death; its siblings live on."""
    with m.pod() as pod:
        waiting = m.future('GetOOMEvent')
        c = pod.run('eater', edit=small)
        d = pod.run('sibling', edit=small)
        expect(c.exec('sh', '-c', EAT).returncode, 137)
        expect(waiting.result(20).container_id, 'eater')
        c.exec('true', check=0)
        d.exec('true', check=0)
        again = m.future('GetOOMEvent')
        expect(d.exec('sh', '-c', EAT).returncode, 137)
        expect(again.result(20).container_id, 'sibling')


def nothing_left(m):
    with m.pod() as pod:
        watch = pod.run('watch', edit=see_guest)
        before = watch.sh('find /guest/sys/fs/cgroup -type d | sort')
        for i in range(5):
            c = pod.run('c%d' % i, 'sleep 100 & sleep 100', edit=resources(memory={'limit': 64 * MIB}))
            c.exec('true', check=0)
            c.remove()
        expect(watch.sh('find /guest/sys/fs/cgroup -type d | sort'), before)


CASES = [mounted, namespace, groups_below, limits, device_rules, without_rules,
         test_guest.device_wildcards, pause, figures, test_guest.oom_event,
         test_guest.oom_event_cancelled, test_guest.no_false_oom_event, oom_in_part, nothing_left]


def in_part(m):
    """v1 without one controller: what is there is used, what isn't is refused by its name."""
    m.call('GetGuestDetails')
    with m.pod() as pod:
        watch = pod.run('watch', edit=see_guest)
        pod.run('c', edit=resources(pids={'limit': 50}, memory={'limit': -1}))
        expect(watch.sh('cat /guest/sys/fs/cgroup/pids/$(sed -n "s/.*:pids://p" /guest/proc/1/cgroup)/c/pids.max '
                        '2>/dev/null || cat $(find /guest/sys/fs/cgroup/pids -type d -name c)/pids.max').strip(), '50')
        m.fails('INTERNAL', 'CreateContainer', "no cgroup controller 'memory'", container_id='d', exec_id='d',
                OCI=m.spec('true', resources(memory={'limit': 64 * MIB})))
        m.fails('UNKNOWN', 'UpdateContainer', "no cgroup controller 'memory'", container_id='c',
                resources=dict(Memory=dict(Limit=64 * MIB)))
    has(m.guest.console(), 'the guest has no cgroup controllers memory')


def main():
    tap = Tap()
    only = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix='disks-', dir='/tmp') as work:
        with Machine(hotplug=True, append=['cgroup_no_v1=all', 'systemd.unified_cgroup_hierarchy=1']) as m:
            disks = Disks(m, work)
            for case in CASES + [devices]:
                if not only or case.__name__ in only:
                    with tap.case('cgroup v2: ' + case.__name__.replace('_', ' ')):
                        case(m, disks) if case is devices else case(m)
            disks.qmp.close()
            if not only or 'all' in only:
                cases.run_all(tap, m.road, 'cgroup v2')
            tap.ok(m.guest.is_running(), 'the guest lives')
    if not only or 'in_part' in only:
        with Machine(append=['cgroup_no_v1=memory']) as m, tap.case('cgroup v1 in part'):
            in_part(m)
    return tap.done()


if __name__ == '__main__':
    sys.exit(main())
