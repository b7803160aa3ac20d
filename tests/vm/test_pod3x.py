#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A whole pod in the order of the Go shim's calls, over vsock with ttrpc, on cgroup v2: network before the sandbox,
pause container, two containers that share volumes, probes, updates, logs, stop as CRI stops. Twice in one guest: with
a virtio-fs share, where a ConfigMap is a watchable bind, and with nothing shared, where files come by CopyFile. Then
what hosts ask of the guest's own programs and of its swap. TAP.
"""
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from guestlib import APPLETS, fill, virtiofsd  # noqa: E402
from roads import CTL, make_rootfs  # noqa: E402
from rpc import fails, grpc, oci_pb2  # noqa: E402
from shim import SHARE, Shim  # noqa: E402
from tap import Skip, Tap, expect, has, need_root, retry  # noqa: E402
from vmlib import Bridge, Guest  # noqa: E402

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'ns'))
import nsagent  # noqa: E402

MIB = 1 << 20
MAC, SLOT = '52:54:00:aa:00:01', '1c'
SANDBOX = '/run/kata-containers/sandbox'
PAUSE, WEB, AIDE = 'f00dpause', 'f00dweb', 'f00daide'
CONTAINERS = (PAUSE, WEB, AIDE)


class Disks:
    """A disk for each root file system, as a block-based snapshotter has them. Not by virtio-fs: its back end writes to
    memory behind QEMU's back, which then runs what it has translated of the code that was there before."""

    def __init__(self, shim, slots):
        self.shim, self.slots = shim, slots

    def root(self, cid):
        return [dict(driver='blk', source=self.slots[cid], fstype='ext4', mount_point='%s/%s' % (SHARE, cid))], \
            '%s/%s/rootfs' % (SHARE, cid)


class Shared(Disks):
    """A host with a virtio-fs share, which it exports read-only."""

    def __init__(self, shim, slots, directory):
        super().__init__(shim, slots)
        self.directory = directory
        self.storages = [dict(driver='virtio-fs', source='kataShared', fstype='virtiofs', mount_point=SHARE + '/',
                              options=['nodev'])]
        for name in ('watchable', *CONTAINERS):
            os.mkdir(os.path.join(directory, name))

    def file(self, name, text):
        with open(os.path.join(self.directory, name), 'w') as f:
            f.write(text)
        return SHARE + '/' + name

    def volume(self, name, version, text):
        """A ConfigMap or Secret: (storages, source of the bind). Called again, it is the update."""
        top = os.path.join(self.directory, name)
        os.makedirs(os.path.join(top, '..' + version))
        with open(os.path.join(top, '..' + version, 'key'), 'w') as f:
            f.write(text)
        os.symlink('..' + version, os.path.join(top, '..data_tmp'))
        os.rename(os.path.join(top, '..data_tmp'), os.path.join(top, '..data'))
        if not os.path.lexists(os.path.join(top, 'key')):
            os.symlink('..data/key', os.path.join(top, 'key'))
        where = '%s/watchable/%s' % (SHARE, name)
        return [dict(driver='watchable-bind', source=SHARE + '/' + name, fstype='bind', options=['bind', 'ro'],
                     mount_point=where)], where

    def updated(self, log):
        retry(lambda: has(log(), '..data\n'), 20)       # inotify in the container has said so


class Nothing(Disks):
    """A host that shares nothing: all but the disks comes by CopyFile."""

    storages = ()

    def file(self, name, text):
        self.shim.copy(name, text.encode())
        return SHARE + '/' + name

    def volume(self, name, version, text):
        self.shim.kubelet(name, version, text.encode())
        return [], SHARE + '/' + name

    def updated(self, log):
        pass


class Containers:
    """The shim's part for containers: what it sends, and the copy loops and waits that it keeps open."""

    def __init__(self, shim, host):
        self.shim, self.c, self.host = shim, shim.c, host
        self.written, self.ends, self.ended = {}, {}, []

    def sandbox(self):
        shm = dict(driver='ephemeral', source='shm', fstype='tmpfs', mount_point=SANDBOX + '/shm',
                   options=['noexec', 'nosuid', 'nodev', 'mode=1777', 'size=67108864'])
        self.c.CreateSandbox(hostname='pod-1', dns=['nameserver 10.0.2.3', 'search pods.test'], sandbox_id=PAUSE,
                             storages=[*self.host.storages, shm])

    def spec(self, cid, root, args, binds, kind='container', **resources):
        text = subprocess.run([CTL, 'spec', '--rootfs', root, '--cmd', 'true'], stdout=subprocess.PIPE, check=True).stdout
        config = json.loads(text)
        config['process'].update(args=args, oomScoreAdj=-998 if kind == 'sandbox' else 1000, apparmorProfile='cri-containerd')
        for entry in config['mounts']:
            if entry['destination'] == '/dev/shm':
                entry.update(type='bind', source=SANDBOX + '/shm', options=['rbind'])
        config['mounts'] += [dict(destination=d, type='bind', source=s, options=['rbind', 'rprivate', *options])
                             for d, s, *options in binds]
        # What the shim takes out: device rules, process limits, the pid, network and cgroup namespaces, seccomp.
        config['linux'].update(resources=resources, namespaces=[dict(type=t) for t in ('ipc', 'uts', 'mount')],
                               cgroupsPath='/kubepods/burstable/pod1/' + cid)
        config['linux'].pop('seccomp', None)
        config['hostname'] = 'pod-1' if kind == 'sandbox' else ''
        config['annotations'] = {'io.kubernetes.cri.container-type': kind, 'io.kubernetes.cri.sandbox-id': PAUSE}
        return fill(oci_pb2.Spec(), config)

    def start(self, cid, args, binds=(), storages=(), **more):
        roots, root = self.host.root(cid)
        self.c.CreateContainer(container_id=cid, exec_id=cid, OCI=self.spec(cid, root, args, binds, **more),
                               storages=[*roots, *storages], sandbox_pidns=False, _timeout=60)
        self.c.StartContainer(container_id=cid)
        self.ends[cid] = self.c.WaitProcess(container_id=cid, exec_id=cid, _later=True)
        self.written[cid] = []
        for read in (self.c.ReadStdout, self.c.ReadStderr):
            threading.Thread(target=self.copy_loop, args=(cid, read), daemon=True).start()

    def copy_loop(self, cid, read):
        with contextlib.suppress(grpc.RpcError):    # of a pod that has failed
            while True:
                data = read(container_id=cid, exec_id=cid, len=32768, _timeout=300).data
                if not data:
                    self.ended.append(cid)
                    return
                self.written[cid].append(data.decode())

    def output(self, cid):
        """Of both streams, in the order in which it came."""
        return ''.join(self.written[cid])

    def signal(self, cid, number):
        """As CRI's stop: exec_id ""."""
        self.c.SignalProcess(container_id=cid, exec_id='', signal=number)

    def stop(self, cid, *signals):
        """The exit code; the host cleans up behind it."""
        for number in signals[:-1]:
            self.signal(cid, number)
            time.sleep(0.7)
            expect(self.ends[cid].done(), False, '%s after signal %d' % (cid, number))
        self.signal(cid, signals[-1])
        status = self.ends[cid].result(20).status
        self.c.RemoveStaleVirtiofsShareMounts()
        self.c.RemoveContainer(container_id=cid)
        fails(grpc.StatusCode.INVALID_ARGUMENT, self.c.WaitProcess, container_id=cid, exec_id=cid)
        return status


def network(c):
    expect(c.Check().status, 1)
    got = c.UpdateInterface(interface=dict(device='eth0', name='eth0', hwAddr=MAC, mtu=1450, pciPath=SLOT, type='veth',
                                           IPAddresses=[dict(address='10.0.2.15', mask='24')]))
    expect((got.name, got.mtu), ('eth0', 1450))
    c.UpdateRoutes(routes=dict(Routes=[dict(dest='', gateway='10.0.2.2', device='eth0'),
                                       dict(dest='10.0.2.0/24', device='eth0', scope=253)]))
    c.AddARPNeighbors(neighbors=dict(ARPNeighbors=[dict(toIPAddress=dict(address='10.0.2.77'), device='eth0',
                                                        lladdr='02:00:00:00:00:77', state=0x80)]))


def whole_pod(shim, host):
    c, run = shim.c, Containers(shim, host)
    network(c)
    run.sandbox()
    details = c.GetGuestDetails(mem_block_size=True, mem_hotplug_probe=True)
    expect(details.mem_block_size_bytes, 128 * MIB)

    resolv = host.file('resolv.conf', 'nameserver 10.0.2.3\nsearch pods.test\n')
    hosts = host.file('hosts', '127.0.0.1 localhost\n10.0.2.15 pod-1\n')
    run.start(PAUSE, ['sleep', '100000'], [('/etc/resolv.conf', resolv, 'ro')], kind='sandbox', cpu=dict(shares=2))
    killed = c.GetOOMEvent(_later=True)

    config, config_source = host.volume('web-config', 'one', 'first\n')
    secret, secret_source = host.volume('web-secret', 'one', 'hush\n')
    local = '%s/%s/rootfs/local/cache' % (SHARE, PAUSE)
    memory = SANDBOX + '/ephemeral/fast'
    volumes = [dict(driver='ephemeral', source='tmpfs', fstype='tmpfs', mount_point=memory),
               dict(driver='local', source='local', fstype='local', mount_point=local, options=['mode=0777'])]
    common = [('/etc/resolv.conf', resolv), ('/etc/hosts', hosts), ('/cache', local), ('/fast', memory)]
    run.start(WEB, ['sh', '-c', 'trap "" TERM; cat /config/key; cat /secret/key >&2; echo web >/cache/who; moved /config 2>&1 & '
                    'sleep 1000 & wait'],
              [*common, ('/config', config_source, 'ro'), ('/secret', secret_source, 'ro')],
              [*config, *secret, *volumes], cpu=dict(shares=512, quota=50000, period=100000), memory=dict(limit=64 * MIB))
    run.start(AIDE, ['sh', '-c', 'trap "echo bye; exit 9" TERM; echo aide; sleep 1000 & wait'], common, volumes,
              memory=dict(limit=32 * MIB))
    expect([e.done() for e in run.ends.values()], [False] * 3)

    # Both see the pod's names, network and volumes, each its own processes and cgroup.
    expect(shim.shell(AIDE, 'hostname; cat /etc/hosts /cache/who; echo fast >/fast/word'),
           'pod-1\n127.0.0.1 localhost\n10.0.2.15 pod-1\nweb\n')
    expect(shim.shell(WEB, 'cat /fast/word; echo shm >/dev/shm/word'), 'fast\n')
    expect(shim.shell(AIDE, 'cat /dev/shm/word /proc/self/cgroup; readlink /proc/1/exe'), 'shm\n0::/\n/bin/busybox\n')
    has(shim.shell(WEB, 'ping -c 1 -W 10 10.0.2.2; ip addr show eth0; ip neigh'), '1 packets received', '10.0.2.15/24',
        'mtu 1450', '10.0.2.77 dev eth0 lladdr 02:00:00:00:00:77')
    expect(shim.shell(WEB, 'grep " /fast " /proc/mounts | cut -d " " -f 3'), 'tmpfs\n')
    # Probes: one that passes, one that fails, and those of two containers at once.
    shim.shell(WEB, 'test -f /cache/who')
    shim.shell(WEB, 'test -f /cache/none', 1)
    probes = [threading.Thread(target=shim.shell, args=(cid, 'sleep 0.3')) for cid in (WEB, AIDE) for _ in range(3)]
    for p in probes:
        p.start()
    for p in probes:
        p.join(30)

    limits = 'cd /sys/fs/cgroup && cat memory.max cpu.max cpu.weight'
    before = shim.shell(WEB, limits).split()
    expect(before[:3], [str(64 * MIB), '50000', '100000'])
    c.UpdateContainer(container_id=WEB, resources=dict(Memory=dict(Limit=48 * MIB), CPU=dict(Quota=20000, Period=100000,
                                                                                             Shares=1024)))
    c.OnlineCPUMem(wait=False, nb_cpus=1, cpu_only=True)
    expect(shim.shell(WEB, limits).split(), [str(48 * MIB), '20000', '100000', '100'])
    expect(shim.shell(AIDE, 'cat /sys/fs/cgroup/memory.max').strip(), str(32 * MIB))
    for cid, limit in ((WEB, 48), (AIDE, 32)):
        s = c.StatsContainer(container_id=cid).cgroup_stats
        expect((s.memory_stats.usage.limit, s.memory_stats.usage.usage > 0, s.cpu_stats.cpu_usage.total_usage > 0),
               (limit * MIB, True, True), cid)
    has(c.GetMetrics().metrics, 'kata_guest_meminfo', 'kata_agent_threads')
    retry(lambda: has(run.output(WEB), 'watching\n'), 20)
    host.volume('web-config', 'two', 'second\n')
    host.updated(lambda: run.output(WEB))
    retry(lambda: expect(shim.shell(WEB, 'cat /config/key; readlink /config/..data'), 'second\n..two\n'), 10)
    expect(shim.shell(WEB, 'cat /secret/key'), 'hush\n')
    expect(shim.shell(WEB, 'echo x >/config/new 2>/dev/null', 1), '')

    # An end by lack of memory is told, and ends nobody else.
    shim.shell(AIDE, 'dd if=/dev/zero of=/dev/null bs=100M count=1', 137)
    expect(killed.result(20).container_id, AIDE)
    killed = c.GetOOMEvent(_later=True)

    expect(run.stop(AIDE, 15), 9)
    expect(run.stop(WEB, 15, 9), 137)
    expect(run.stop(PAUSE, 9), 137)
    retry(lambda: expect(sorted(run.ended), sorted(CONTAINERS * 2), 'copy loops at their ends'))
    expect(run.output(AIDE), 'aide\nbye\n')
    has(run.output(WEB), 'first\n', 'hush\n', 'watching\n')
    expect(run.output(PAUSE), '')
    c.DestroySandbox()
    fails(grpc.StatusCode.INTERNAL, killed.result, 20)


def programs(shim, host):
    """mkfs.ext4 for an emptyDir on a disk of 252 GiB, iptables for those who look at the pod's rules."""
    c, run, where = shim.c, Containers(shim, host), SANDBOX + '/storage/blank'
    run.sandbox()
    blank = dict(driver='blk', source=host.slots['blank'], fstype='ext4', mount_point=where, shared=True,
                 driver_options=['create_filesystem'])
    run.start(WEB, ['sleep', '1000'], [('/cache', where)], [blank], blockIO=dict(weight=300))
    has(shim.shell(WEB, 'cat /sys/block/vda/queue/scheduler'), '[bfq]')
    has(shim.shell(WEB, 'cat /sys/fs/cgroup/io.bfq.weight'), '300')
    expect(shim.shell(WEB, 'echo x >/cache/x && grep " /cache " /proc/mounts | cut -d " " -f 3'), 'ext4\n')
    size = int(shim.shell(WEB, 'df -k /cache | tail -n 1').split()[1])
    expect(240 << 20 < size < 253 << 20, True, 'KiB of the new file system: %d' % size)
    run.stop(WEB, 9)
    for is_ipv6, rule in ((False, '-A INPUT -s 192.0.2.7/32 -j DROP'), (True, '-A INPUT -s 2001:db8::7/128 -j DROP')):
        c.SetIPTables(is_ipv6=is_ipv6, data=('*filter\n:INPUT ACCEPT [0:0]\n%s\nCOMMIT\n' % rule).encode())
        has(c.GetIPTables(is_ipv6=is_ipv6).data.decode(), '*filter', rule)
    c.DestroySandbox()


def layers(shim, host):
    """A root of an erofs layer below dm-verity and a writable disk, as runtime-rs sends containerd's; then a wrong hash."""
    c, run, root = shim.c, Containers(shim, host), '%s/%s/rootfs' % (SHARE, WEB)
    dm = lambda: shim.shell(AIDE, 'ls /sys/block | grep ^dm- || true')
    member = lambda slot, fstype, *options: dict(driver='blk', source=host.slots[slot], fstype=fstype, mount_point=root,
                                                 options=['X-kata.multi-layer=true', *options])
    verity = lambda roothash: member('lower', 'erofs', 'ro', 'X-kata.overlay-lower', 'X-kata.dmverity-enabled=true',
                                     'X-kata.dmverity.hashoffset=%d' % host.slots['hashes'], 'X-kata.dmverity.salt=-',
                                     'X-kata.dmverity.no-superblock=false', 'X-kata.dmverity.roothash=' + roothash)
    make = lambda *members: c.CreateContainer(container_id=WEB, exec_id=WEB, OCI=run.spec(WEB, root, ['sleep', '1000'], []),
                                              storages=members, _timeout=60)
    run.sandbox()
    run.start(AIDE, ['sleep', '1000'])
    upper = member('upper', 'ext4', 'rw', 'X-kata.overlay-upper', 'X-kata.mkdir.path={{ mount 0 }}/upper')
    fails(grpc.StatusCode.INTERNAL, make, upper, verity('00' * 32), words='erofs')
    fails(grpc.StatusCode.INVALID_ARGUMENT, make, upper, verity('no hash'), words='root hash')
    expect(dm(), '')
    make(upper, verity(host.slots['roothash']))
    c.StartContainer(container_id=WEB)
    expect(shim.shell(WEB, 'echo x >/new && cat /new && ls /bin/busybox'), 'x\n/bin/busybox\n')
    expect(dm(), 'dm-0\n')
    c.RemoveContainer(container_id=WEB)
    expect(dm(), '')
    run.stop(AIDE, 9)
    c.DestroySandbox()


def swap(shim, host):
    """By PCI path and by name; a container that is larger than its memory uses it, and its figures say how much."""
    c, run = shim.c, Containers(shim, host)
    run.sandbox()
    c.AddSwap(PCIPath=[int(host.slots['swap1'], 16)])
    fails(grpc.StatusCode.INTERNAL, c.AddSwap, PCIPath=[int(host.slots['swap1'], 16)], words='busy')
    run.start(WEB, ['sleep', '1000'], memory=dict(limit=16 * MIB, swap=64 * MIB))
    used = lambda: [line.split()[2] for line in shim.shell(WEB, 'cat /proc/swaps').splitlines()[1:]]
    expect(used(), [str(32 * 1024 - 4)])
    names = shim.shell(WEB, 'ls /sys/block | grep ^vd').split()
    c.AddSwapPath(path='/dev/' + names[-1])
    expect(used(), [str(32 * 1024 - 4)] * 2)
    shim.shell(WEB, 'dd if=/dev/zero of=/dev/shm/f bs=1M count=30 2>/dev/null')
    memory = c.StatsContainer(container_id=WEB).cgroup_stats.memory_stats
    expect((memory.usage.usage <= 16 * MIB, memory.swap_usage.limit), (True, 48 * MIB))
    expect(10 * MIB < memory.swap_usage.usage < 48 * MIB, True, 'swap in use: %d' % memory.swap_usage.usage)
    run.stop(WEB, 9)
    c.DestroySandbox()


def tree(path):
    make_rootfs(path)
    for name in APPLETS + ['hostname']:
        if not os.path.lexists(os.path.join(path, 'bin', name)):
            os.symlink('busybox', os.path.join(path, 'bin', name))
    shutil.copy(nsagent.prog('moved'), os.path.join(path, 'bin', 'moved'))
    for d in ('config', 'secret', 'cache', 'fast'):
        os.mkdir(os.path.join(path, d))
    for name in ('resolv.conf', 'hosts'):
        open(os.path.join(path, 'etc', name), 'w').close()


def disks(work):
    """A disk for each container, its root file system in a folder, an empty one, two for swap, two for a root of layers:
    QEMU's arguments, and the slots by name; where the lower layer's hashes are, and their root."""
    args, slots = [], {}
    for i, name in enumerate((*CONTAINERS, 'blank', 'lower', 'upper', 'swap1', 'swap2')):
        top, path = os.path.join(work, 'd-' + name), os.path.join(work, name + '.disk')
        quiet = dict(check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if name in CONTAINERS:
            tree(os.path.join(top, 'rootfs'))
            subprocess.run(['mkfs.ext4', '-q', '-F', '-d', top, path, '16M'], **quiet)
        elif name == 'lower':
            subprocess.run(['mkfs.erofs', path, os.path.join(work, 'd-' + WEB, 'rootfs')], **quiet)
            slots['hashes'] = -(-os.path.getsize(path) // 4096) * 4096
            os.truncate(path, slots['hashes'])
            text = subprocess.run(['veritysetup', 'format', '--salt', '-', '--hash-offset', str(slots['hashes']),
                                   '--data-blocks', str(slots['hashes'] // 4096), path, path],
                                  check=True, stdout=subprocess.PIPE).stdout.decode()
            slots['roothash'] = text.split('Root hash:')[1].split()[0]
        else:
            with open(path, 'wb') as f:
                f.truncate(252 << 30 if name == 'blank' else 32 * MIB)
        if name.startswith('swap'):
            subprocess.run(['mkswap', path], **quiet)
        elif name == 'upper':
            subprocess.run(['mkfs.ext4', '-q', '-F', path], **quiet)
        args += ['-drive', 'if=none,format=raw,id=%s,file=%s' % (name, path),
                 '-device', 'virtio-blk-pci,drive=%s,addr=%x' % (name, 0x14 + i)]
        slots[name] = '%02x' % (0x14 + i)
    return args, slots


def main():
    tap, only = Tap(), sys.argv[1:]
    need_root()
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(tempfile.TemporaryDirectory(prefix='pod-', dir='/tmp'))
        args, slots = disks(work)
        directory, share = stack.enter_context(virtiofsd('kataShared', read_only=True))
        card = ['-netdev', 'user,id=pod', '-device', 'virtio-net-pci,netdev=pod,romfile=,addr=%s,mac=%s' % (SLOT, MAC)]
        guest = stack.enter_context(Guest(append=['cgroup_no_v1=all', 'systemd.unified_cgroup_hierarchy=1'],
                                          qemu_arg=card + args + share))
        guest.wait_agent()
        bridge = Bridge(guest)
        shim = Shim(bridge.path)
        nothing = Nothing(shim, slots)
        for name, case, host in (('a pod, nothing shared', whole_pod, nothing), ('a pod with a virtio-fs share', whole_pod, None),
                                 ("the guest's programs", programs, nothing), ('layers', layers, nothing),
                                 ('swap', swap, nothing)):
            if only and not any(word in name for word in only):
                continue
            with tap.case(name):
                if not directory and not host:
                    raise Skip('no virtiofsd: apt-get install qemu-system-common')
                try:
                    case(shim, host or Shared(shim, slots, directory))
                except BaseException:
                    shim.c.DestroySandbox()
                    raise
        tap.ok(guest.is_running(), 'the guest lives')
        shim.c.close()
        bridge.close()
    return tap.done()


if __name__ == '__main__':
    sys.exit(main())
