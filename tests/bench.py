#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make bench: boots guests, measures, prints a table and writes build/bench.json.

Sizes are bytes, memory kB, times ms. Guests run under TCG unless ACCEL says otherwise, so that the
figures of two machines compare only as ratios. Each line has our aim, and what the Go agent 1.13
measured under the same QEMU settings, where there is such a figure. The ..._by_floor are ratios to
tests/floor, the kernel's part of the same in the same guest.
"""
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, 'lib'), os.path.join(HERE, 'vm'), os.path.join(HERE, 'ns')]
import nsagent  # noqa: E402
from roads import Road, error_of, make_rootfs  # noqa: E402
from server import Agent  # noqa: E402
from tap import BUILD  # noqa: E402
from vmlib import Guest  # noqa: E402

FLOOR_PORT, FLOOR_MIB = 7000, 16

# name, unit, aim ("<" or ">", number), the Go agent's figure
ROWS = [
    ('agent_bytes', 'bytes', ('<', 3000000), 14989144),
    ('initrd_bytes', 'bytes', ('<', 2500000), 6679300),
    ('kernel_bytes', 'bytes', ('<', 5500000), None),
    ('agent_rss_kb', 'kB', ('<', 1077), 11696),
    ('agent_anon_kb', 'kB', ('<', 136), 1352),
    ('agent_threads', '', ('<', 2), 9),
    ('rss_per_container_kb', 'kB', ('<', 4), 185),
    ('guest_used_initrd_kb', 'kB', None, None),
    ('guest_used_pmem_kb', 'kB', None, None),
    ('guest_used_blk_kb', 'kB', None, None),
    ('init_to_ready_ms', 'ms', ('<', 30), None),
    ('boot_to_ready_ms', 'ms', None, None),
    ('check_ms', 'ms', None, 2.2),
    ('create_start_ms', 'ms', ('<', 60), 742),
    ('exec_ms', 'ms', ('<', 30), 684),
    ('cycle_ms', 'ms', None, None),
    ('stdout_mb_s', 'MiB/s', ('>', 15), 0.3),
    ('stdin_mb_s', 'MiB/s', ('>', 15), 0.29),
    ('create_start_by_floor', 'times', ('<', 1.5), None),
    ('exec_by_floor', 'times', ('<', 1.5), None),
    ('stdout_by_floor', 'times', ('>', 0.6), None),
    ('stdin_by_floor', 'times', ('>', 0.6), None),
    ('serial_check_ms', 'ms', None, 2.2),
    ('serial_exec_ms', 'ms', None, 684),
    ('serial_stdout_mb_s', 'MiB/s', None, 0.3),
    ('serial_stdin_mb_s', 'MiB/s', None, 0.29),
    ('ttrpc_exec_ms', 'ms', None, None),
    ('ttrpc_stdout_mb_s', 'MiB/s', None, None),
    ('ttrpc_stdin_mb_s', 'MiB/s', None, None),
    ('host_cycle_ms', 'ms', ('<', 2), None),
    ('host_create_start_by_floor', 'times', ('<', 1.5), None),
    ('host_exec_by_floor', 'times', ('<', 1.5), None),
    ('host_stdout_by_floor', 'times', ('>', 0.6), None),
    ('host_stdin_by_floor', 'times', ('>', 0.6), None),
    ('host_crun_ms', 'ms', None, None),
    ('host_runc_ms', 'ms', None, None),
]


def memory(road, container):
    """The agent's own figures, read by a container that stands in the agent's pid namespace."""
    text = container.exec('cat', '/guestproc/1/status', check=0).stdout.decode()
    get = lambda k: int(re.search(r'^%s:\s+(\d+)' % k, text, re.M).group(1))
    return {'rss': get('VmRSS'), 'anon': get('RssAnon'), 'threads': get('Threads')}


def see_guest_proc(config):
    config['mounts'].append({'destination': '/guestproc', 'type': 'bind', 'source': '/proc', 'options': ['rbind', 'ro']})


def measure_streams(figures, road, prefix):
    bundle = road.bundle('exec sleep 1000')
    r = road.ctl('bench', '--json', *road.where, bundle, check=0, timeout=300)
    got = json.loads(r.stdout)
    for name, value in got.items():
        figures[prefix + name] = value


def measure_guest(figures, transport, protocols, first):
    share = tempfile.mkdtemp(prefix='share-', dir='/tmp')
    try:
        with Guest(transport=transport, share=share) as guest:
            guest.wait_agent()
            if first:
                m = re.search(r'ready init_us=(\d+) boot_us=(\d+)', guest.console())
                figures['init_to_ready_ms'] = int(m.group(1)) / 1000
                figures['boot_to_ready_ms'] = int(m.group(2)) / 1000
            for protocol in protocols:
                road = Road(guest.address, protocol, share)
                floor = GuestFloor(guest, road) if first and protocol == 'grpc' else None
                if floor:
                    measure_memory(figures, road)
                    floor.measure()
                measure_streams(figures, road, {'vsock': '', 'serial': 'serial_'}[transport]
                                if protocol == 'grpc' else 'ttrpc_')
                if floor:
                    floor.measure()
                    floor.compare(figures)
    finally:
        shutil.rmtree(share, ignore_errors=True)


def measure_memory(figures, road):
    with road.kept(edit=see_guest_proc) as c:
        c.exec('true', check=0)
        time.sleep(1.5)     # idle: what a burst of calls took has been given back
        one = memory(road, c)
        ids = []
        bundle = road.bundle('exec sleep 1000')
        for i in range(10):
            request = {'id': 'more%d' % i}
            make_more(road, bundle, request['id'])
            ids.append(request['id'])
        time.sleep(1.5)
        many = memory(road, c)
        for i in ids:
            road.ctl('signal', i, 'KILL')
            road.ctl('remove', i, check=0)
    figures['agent_rss_kb'], figures['agent_anon_kb'] = one['rss'], one['anon']
    figures['agent_threads'] = one['threads']
    figures['rss_per_container_kb'] = (many['rss'] - one['rss']) / 10


def bare(config):
    """A container with the agent's namespaces, its cgroups and all capabilities: where tests/floor runs."""
    see_guest_proc(config)
    config['mounts'].append({'destination': '/sys/fs/cgroup', 'type': 'bind', 'source': '/sys/fs/cgroup',
                             'options': ['rbind', 'rw']})
    config['linux']['namespaces'] = [n for n in config['linux']['namespaces'] if n['type'] == 'mount']
    nsagent.all_caps(config)


class Floor:
    """tests/floor, before and after what it is compared with: the mean counts. Here: on this host, by Unix sockets."""

    def __init__(self, rootfs):
        self.sums, self.rounds, self.rootfs = {}, 0, rootfs
        self.program = os.path.join(rootfs, 'bin', 'floor')
        subprocess.run(['gcc', '-O2', '-Wall', '-D_GNU_SOURCE', '-static', '-s', '-o', self.program,
                        os.path.join(HERE, 'floor', 'floor.c')], check=True)

    def execute(self, *args):
        return subprocess.run(['unshare', '--mount', self.program, *args], stdout=subprocess.PIPE, check=True,
                              timeout=200).stdout

    def listen(self):
        """(a listening socket, the file that it is, what the program calls it)"""
        path = os.path.join(self.rootfs, 'floor.sock')
        s = socket.socket(socket.AF_UNIX)
        s.bind(path)
        s.listen(1)
        return s, path, path

    def _stream(self, way):
        """MiB/s of FLOOR_MIB."""
        listener, path, where = self.listen()

        def serve():
            with listener.accept()[0] as s:
                s.settimeout(60)
                if way == 'in':
                    for _ in range(FLOOR_MIB * 16):
                        s.sendall(bytes(65536))
                while s.recv(1 << 18):
                    pass
        with listener:
            listener.settimeout(60)
            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            us = int(self.execute(way, where, str(FLOOR_MIB)))
            thread.join(60)
        os.unlink(path)
        return FLOOR_MIB * 1000000 / us

    def measure(self, inner):
        got = {'create_ms': int(self.execute('create', inner, '20')) / 1000,
               'exec_ms': int(self.execute('exec', inner, '20')) / 1000,
               'stdout_mb_s': self._stream('out'), 'stdin_mb_s': self._stream('in')}
        self.rounds += 1
        for name, value in got.items():
            self.sums[name] = self.sums.get(name, 0) + value

    def compare(self, figures, prefix=''):
        for ours, floor in (('create_start_ms', 'create_ms'), ('exec_ms', 'exec_ms'), ('stdout_mb_s', 'stdout_mb_s'),
                            ('stdin_mb_s', 'stdin_mb_s')):
            mean = self.sums[floor] / self.rounds
            figures['%sfloor_%s' % (prefix, floor)] = mean
            figures[prefix + re.sub('_(ms|mb_s)$', '_by_floor', ours)] = figures[prefix + ours] / mean


class GuestFloor(Floor):
    """The same in a guest, in a container that has the agent's namespaces, by vsock."""

    def __init__(self, guest, road):
        super().__init__(road.rootfs)
        self.guest, self.road, self.container = guest, road, None
        make_rootfs(os.path.join(road.rootfs, 'inner'))

    def execute(self, *args):
        return self.container.exec('/bin/floor', *args, check=0, timeout=200).stdout

    def listen(self):
        return self.guest.listen(FLOOR_PORT), self.guest.path('vsock.sock_%d' % FLOOR_PORT), str(FLOOR_PORT)

    def measure(self, inner='/inner'):
        with self.road.kept(edit=bare) as self.container:
            super().measure(inner)


def measure_used(figures):
    """What of the guest's memory is gone when the agent is idle, kernel included, for each kind of root."""
    for root in ('initrd', 'pmem', 'blk'):
        image = os.path.join(BUILD, 'kata-containers.img')
        with Guest(**({} if root == 'initrd' else {'image': image, 'root': root})) as guest:
            guest.wait_agent()
            used = json.loads(guest.agent_ctl('call', 'GetMetrics', '{}').stdout)['metrics']
            figures['guest_used_%s_kb' % root] = (meminfo(used, 'mem_total') - meminfo(used, 'mem_available')) // 1024


def meminfo(metrics, item):
    return int(float(re.search(r'^kata_guest_meminfo\{item="%s"\} (\S+)$' % item, metrics, re.M).group(1)))


def make_more(road, bundle, cid):
    road.ctl('create-container', *road.where, '--id', cid, bundle, check=0)
    road.ctl('start', cid, check=0)


def measure_host(figures):
    """Whole cycles of /bin/true: our engine over its socket, crun run, runc run, same bundle, same run."""
    def timed(argv, n=20):
        times = []
        for _ in range(n):
            began = time.monotonic()
            subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            times.append((time.monotonic() - began) * 1000)
        return statistics.median(times)

    work = tempfile.mkdtemp(prefix='bench-', dir='/tmp')
    agent = Agent(os.path.join(BUILD, 'kata-agent'), isolated=False).start()
    try:
        road = Road(agent.address)

        def edit(c):
            c['process']['args'] = ['/bin/true']
            c['root']['path'] = road.rootfs
        bundle = road.bundle(None, edit)
        floor = Floor(road.rootfs)
        floor.measure(road.rootfs)
        r = road.ctl('bench', '--json', '--no-share', '--containers', '50', bundle, timeout=300)
        if r.returncode != 0:
            print('# agent-ctl bench: ' + error_of(r))
        else:
            got = json.loads(r.stdout)
            for name in ('cycle_ms', 'create_ms', 'start_ms', 'create_start_ms', 'wait_ms', 'remove_ms', 'exec_ms', 'stdout_mb_s', 'stdin_mb_s'):
                if name in got:
                    figures['host_' + name] = got[name]
            floor.measure(road.rootfs)
            floor.compare(figures, 'host_')
        # crun 1.8 refuses a host that has v1 and v2 cgroups at once: both run where only v1 is mounted,
        # and what getting there takes is taken off.
        inside = ['unshare', '--mount', 'sh', '-c',
                  'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"', 'sh']
        nothing = timed([*inside, 'true'])
        for runtime in ('crun', 'runc'):
            try:
                figures['host_%s_ms' % runtime] = timed(
                    [*inside, runtime, '--root', os.path.join(work, runtime), 'run', '--bundle', bundle,
                     'bench']) - nothing
            except subprocess.CalledProcessError as e:
                print('# %s: %s' % (runtime, e))
        road.close()
    finally:
        agent.stop()
        shutil.rmtree(work, ignore_errors=True)


def measure_images(figures):
    def timed(name, argv, env=None):
        began = time.monotonic()
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
        figures[name] = time.monotonic() - began

    work = tempfile.mkdtemp(prefix='bench-', dir='/tmp')
    top = os.path.dirname(HERE)
    env = dict(os.environ, AGENT_INIT='yes', AGENT_SOURCE_BIN=os.path.join(BUILD, 'kata-agent'))
    try:
        timed('rootfs_s', [os.path.join(top, 'rootfs-builder/rootfs.sh'), '-r', work + '/rootfs', 'busybox'], env)
        timed('initrd_s', [os.path.join(top, 'initrd/initrd_builder.sh'), '-o', work + '/initrd', work + '/rootfs'])
        builder = os.path.join(top, 'image-builder/image_builder.sh')
        if os.path.exists(builder):
            timed('image_s', [builder, '-o', work + '/image', work + '/rootfs'])
            figures['image_bytes'] = os.path.getsize(work + '/image')
    finally:
        shutil.rmtree(work, ignore_errors=True)


def main():
    figures = {
        'agent_bytes': os.path.getsize(os.path.join(BUILD, 'kata-agent')),
        'kernel_bytes': os.path.getsize(os.path.join(BUILD, 'kata-vmlinuz')),
        'initrd_bytes': os.path.getsize(os.path.join(BUILD, 'kata-containers-initrd.img')),
    }
    measure_guest(figures, 'vsock', ('grpc', 'ttrpc'), True)
    measure_guest(figures, 'serial', ('grpc',), False)
    measure_used(figures)
    measure_host(figures)
    measure_images(figures)
    with open(os.path.join(BUILD, 'bench.json'), 'w') as f:
        json.dump(figures, f, indent=1, sort_keys=True)
        f.write('\n')
    missed = 0
    print('%-24s %14s %-6s %14s %10s' % ('figure', 'value', '', 'aim', 'Go agent'))
    known = [r[0] for r in ROWS]
    for name, unit, aim, go in ROWS + [(n, '', None, None) for n in sorted(figures) if n not in known]:
        if name not in figures:
            continue
        v = figures[name]
        met = not aim or (v < aim[1] if aim[0] == '<' else v > aim[1])
        missed += not met
        print('%-24s %14s %-6s %14s %10s%s' % (
            name, '%.2f' % v if isinstance(v, float) else v, unit, '%s %s' % aim if aim else '',
            go if go is not None else '', '' if met else '   MISSED'))
    print('%d aims missed; all figures: %s' % (missed, os.path.join(BUILD, 'bench.json')))


if __name__ == '__main__':
    main()
