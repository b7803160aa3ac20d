#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What is plugged into a running guest through QEMU's monitor: disks by PCI and SCSI, as storages and as devices,
before and after they are asked for; memory; processors. TAP.
"""
import os
import re
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from guestlib import *  # noqa: E402,F403
from tap import Tap  # noqa: E402

MIB = 1 << 20


class Disks:
    """Raw images on the host, plugged and unplugged."""

    def __init__(self, m, work):
        self.m, self.work, self.qmp = m, work, m.guest.qmp_open()

    def image(self, name, word=None):
        """16 MiB; with a word an ext4 file system that has it in a file."""
        path = os.path.join(self.work, name)
        if word is not None:
            tree = path + '.d'
            os.makedirs(tree)
            with open(os.path.join(tree, 'word'), 'w') as f:
                f.write(word)
            subprocess.run(['mkfs.ext4', '-q', '-F', '-d', tree, path, '16M'], check=True, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
        else:
            with open(path, 'wb') as f:
                f.write(b'raw disk\n')
                f.truncate(16 * MIB)
        self.qmp.command('blockdev-add', driver='raw', node_name=name, file={'driver': 'file', 'filename': path})

    def pci(self, name, slot):
        self.qmp.command('device_add', driver='virtio-blk-pci', id='dev-' + name, drive=name, bus='pci-bridge-0',
                         addr='%02x' % slot, serial=name)

    def scsi(self, name, target, lun):
        self.qmp.command('device_add', driver='scsi-hd', id='dev-' + name, drive=name, bus='scsi0.0',
                         **{'scsi_id': target, 'lun': lun})

    def unplug(self, name):
        self.qmp.command('device_del', id='dev-' + name)
        while True:
            if self.qmp.wait_event('DEVICE_DELETED', 20)['data'].get('device') == 'dev-' + name:
                break
        retry(lambda: self.qmp.command('blockdev-del', node_name=name), 5, 0.1, on=(RuntimeError,))


def storage(driver, source, name, *options):
    return dict(driver=driver, source=source, fstype='ext4', mount_point='/run/kata-containers/sandbox/storage/' + name,
                options=list(options))


def sees(name):
    return mount('/data', 'bind', '/run/kata-containers/sandbox/storage/' + name, 'rbind')


def device(kind, address, path):
    return dict(type=kind, id=address, container_path=path)


def wants(path, major, minor, access='rwm'):
    """What the runtime writes: the numbers of the host, which the agent replaces."""
    def edit(config):
        config['linux'].setdefault('devices', []).append({
            'path': path, 'type': 'b', 'major': major, 'minor': minor, 'fileMode': 0o640, 'uid': 0, 'gid': 6})
        config['linux']['resources']['devices'].append(
            {'allow': True, 'type': 'b', 'major': major, 'minor': minor, 'access': access})
    return edit


def check_answers(m, future, seconds):
    """While the future waits, Check answers quickly. Returns the slowest, in ms."""
    end, times = time.monotonic() + seconds, []
    while time.monotonic() < end and not future.done():
        began = time.monotonic()
        m.call('Check', timeout=5)
        times.append((time.monotonic() - began) * 1000)
        time.sleep(0.05)
    return sorted(times)[len(times) // 2]


# ---- disks ----

def pci_storage(m, disks):
    """Plugged first, mounted, seen, written to; gone from the mount table with its container."""
    disks.image('ext', 'by pci\n')
    disks.pci('ext', 3)
    with m.pod() as pod:
        watch = pod.run('watch', edit=see_guest)
        c = pod.run('c', edit=sees('ext'), storages=[storage('blk', '02/03', 'ext')])
        expect(c.sh('cat /data/word; echo more > /data/more; sync; cat /data/more'), 'by pci\nmore\n')
        has(c.sh('grep " /data " /proc/mounts'), 'ext4')
        has(watch.sh('cat /guest/proc/1/mountinfo'), '/run/kata-containers/sandbox/storage/ext')
        expect(c.exec('ls', '/dev').stdout.count(b'vd'), 0, 'disks among the devices')
        c.remove()
        expect('storage/ext' in watch.sh('cat /guest/proc/1/mountinfo'), False, 'mounted')
        # Twice more, and for two at once.
        a = pod.run('a', edit=sees('ext'), storages=[storage('blk', '02/03', 'ext', 'ro')])
        b = pod.run('b', edit=sees('ext'), storages=[storage('blk', '02/03', 'ext', 'ro')])
        expect(a.sh('cat /data/more') + b.sh('cat /data/word'), 'more\nby pci\n')
        has(a.exec('touch', '/data/x').stderr.decode(), 'Read-only')
        a.remove()
        expect(b.sh('cat /data/word'), 'by pci\n')


def pci_storage_comes_late(m, disks):
    """The request is there first, and waits."""
    disks.image('late', 'late\n')
    with m.pod():
        creating = m.future('CreateContainer', container_id='c', exec_id='c', OCI=m.spec('cat /data/word', sees('late')),
                            storages=[storage('blk', '02/04', 'late')])
        time.sleep(0.5)
        expect(creating.done(), False, 'answered')
        m.call('Check', timeout=5)
        disks.pci('late', 4)
        creating.result(20)
        expect(Container(m, 'c').start().output(), 'late\n')


def scsi_storage(m, disks):
    disks.image('sc', 'by scsi\n')
    disks.scsi('sc', 0, 1)
    with m.pod() as pod:
        c = pod.run('c', edit=sees('sc'), storages=[storage('scsi', '0:1', 'sc')])
        expect(c.sh('cat /data/word'), 'by scsi\n')
    disks.image('sclate', 'later\n')
    with m.pod() as pod:
        creating = m.future('CreateContainer', container_id='c', exec_id='c',
                            OCI=m.spec('cat /data/word', sees('sclate')), storages=[storage('scsi', '1:2', 'sclate')])
        time.sleep(0.5)
        expect(creating.done(), False, 'answered')
        disks.scsi('sclate', 1, 2)
        creating.result(20)
        expect(Container(m, 'c').start().output(), 'later\n')


def devices(m, disks):
    """Nodes and rules have the guest's numbers; no other disk can be opened by making its node."""
    disks.image('raw', None)
    disks.image('rawsc', None)
    with m.pod() as pod:
        watch = pod.run('watch', edit=see_guest)
        creating = m.future('CreateContainer', container_id='c', exec_id='c', OCI=m.spec('exec sleep 1000', edits(
            wants('/dev/xda', 8, 77), wants('/dev/deep/sc', 8, 99, 'r'), mount('/tmp', 'tmpfs', 'tmpfs'))),
                            devices=[device('blk', '02/05', '/dev/xda'), device('scsi', '0:2', '/dev/deep/sc')])
        time.sleep(0.3)
        disks.pci('raw', 5)
        disks.scsi('rawsc', 0, 2)
        creating.result(20)
        c = Container(m, 'c').start()
        expect(c.sh('head -n 1 /dev/xda'), 'raw disk\n')
        expect(c.sh("stat -c '%a %F' /dev/xda; stat -c %g /dev/xda").split('\n')[:2], ['640 block special file', '6'])
        numbers = [int(x, 16) for x in c.sh("stat -c '%t %T' /dev/xda").split()]
        expect(watch.sh('cat /guest/sys/dev/block/%d:%d/serial' % tuple(numbers)), 'raw')
        rules = watch.sh('cat /guest/sys/fs/cgroup/devices/c/devices.list')
        has(rules, 'b %d:%d rwm' % tuple(numbers))
        expect('8:77' in rules or '8:99' in rules, False, 'rules for the numbers of the host')
        c.sh('echo written > /dev/xda; sync')
        with open(os.path.join(disks.work, 'raw')) as f:
            expect(f.read(8), 'written\n')
        # The rule of the other allows reading only.
        expect(c.sh('head -n 1 /dev/deep/sc'), 'raw disk\n')
        has(c.exec('sh', '-c', 'echo x > /dev/deep/sc').stderr.decode(), 'Operation not permitted')
        # ext, of another case, is plugged; here it is not allowed.
        other = watch.sh('cat $(grep -l "^ext$" /guest/sys/block/vd*/serial | sed s/serial/dev/)').strip()
        has(c.exec('sh', '-c', 'mknod /tmp/n b %s && cat /tmp/n' % other.replace(':', ' ')).stderr.decode(),
            'Operation not permitted')
        m.fails('INTERNAL', 'CreateContainer', 'matching device', container_id='d', exec_id='d',
                OCI=m.spec('true', wants('/dev/other', 1, 2)), devices=[device('blk', '02/05', '/dev/xda')])


def block_figures(m, disks):
    """
    StatsContainer counts what a container reads and writes. With cgroup v1, Linux 6.1 itself counts only for a
    container that has a limit for the disk.
    """
    disks.image('stat', None)
    disks.pci('stat', 6)
    with m.pod() as pod:
        watch = pod.run('watch', edit=see_guest)
        number = lambda: watch.sh('cat $(grep -l "^stat$" /guest/sys/block/vd*/serial | sed s/serial/dev/)').strip()
        major, minor = [int(x) for x in retry(number).split(':')]
        limit = [{'major': major, 'minor': minor, 'rate': 10**12}]
        c = pod.run('c', edit=edits(wants('/dev/s', 8, 1), resources(blockIO={
            'throttleReadBpsDevice': limit, 'throttleWriteBpsDevice': limit})),
                    devices=[device('blk', '02/06', '/dev/s')])
        c.sh('dd if=/dev/zero of=/dev/s bs=1M count=3 oflag=direct && dd if=/dev/s of=/dev/null bs=1M skip=8')
        s = m.call('StatsContainer', container_id='c').cgroup_stats.blkio_stats
        count = {e.op: e.value for e in s.io_service_bytes_recursive if (e.major, e.minor) == (major, minor)}
        expect(count.get('Write', 0) >= 3 * MIB and count.get('Read', 0) >= 8 * MIB, True, 'bytes %s' % count)
        expect(any(e.value for e in s.io_serviced_recursive), True, 'operations')


def no_such_disk(m, disks):
    """The wait ends after agent.hotplug_timeout, three seconds unless told; nobody else waits."""
    def slow(**fields):
        return m.future('CreateContainer', exec_id='x', OCI=m.spec('true', wants('/dev/xda', 8, 1)), **fields)
    with m.pod() as pod:
        for kind, address in (('blk', '02/1f'), ('scsi', '7:7')):
            for fields in (dict(container_id='s', storages=[storage(kind, address, 'none')]),
                           dict(container_id='d', devices=[device(kind, address, '/dev/xda')])):
                began = time.monotonic()
                f = slow(**fields)
                median = check_answers(m, f, 10)
                e = f.exception(20)
                took = time.monotonic() - began
                expect(e.code().name, 'DEADLINE_EXCEEDED', e.details())
                has(e.details(), 'Timeout reached after 3s')
                expect(2.5 < took < 5, True, '%.1f s for %s %s' % (took, kind, address))
                expect(median < 20, True, 'Check meanwhile, ms: %.1f' % median)
        m.fails('UNKNOWN', 'CreateContainer', 'PCI path', container_id='b', exec_id='b', OCI=m.spec('true'),
                storages=[storage('blk', 'xx/yy', 'bad')])
        m.fails('INTERNAL', 'CreateContainer', 'SCSI Address', container_id='b', exec_id='b', OCI=m.spec('true'),
                storages=[storage('scsi', '0', 'bad')])
        # One that leaves while it waits leaves nothing behind.
        f = slow(container_id='gone', storages=[storage('blk', '02/1e', 'none')])
        time.sleep(0.2)
        expect(pod.run('c', 'exit 3').wait(), 3)
        f.exception(20)


def unplug_and_replug(m, disks):
    for i in range(3):
        name = 'again%d' % i
        disks.image(name, name)
        disks.pci(name, 9)
        with m.pod() as pod:
            c = pod.run('c', 'cat /data/word', edit=sees('again'), storages=[storage('blk', '02/09', 'again')])
            expect(c.output(), name)
        disks.unplug(name)
    for i in range(2):
        name = 'sagain%d' % i
        disks.image(name, name)
        disks.scsi(name, 3, 0)
        with m.pod() as pod:
            c = pod.run('c', 'cat /data/word', edit=sees('again'), storages=[storage('scsi', '3:0', 'again')])
            expect(c.output(), name)
        disks.unplug(name)


# ---- memory and processors ----

def memory(m, disks):
    with m.pod() as pod:
        watch = pod.run('watch', edit=see_guest)
        total = lambda: int(re.search(r'MemTotal:\s+(\d+)', watch.sh('cat /guest/proc/meminfo')).group(1))
        online = lambda: watch.sh('cat /guest/sys/devices/system/memory/memory*/online').split().count('1')
        before, blocks = total(), online()
        disks.qmp.command('object-add', **{'qom-type': 'memory-backend-memfd', 'id': 'more', 'size': 256 * MIB,
                                           'share': True})
        disks.qmp.command('device_add', driver='pc-dimm', id='dimm', memdev='more')
        m.call('OnlineCPUMem', wait=True)

        def grown():
            expect(online(), blocks + 2, 'blocks online')
            expect(total() > before + 200 * 1024, True, 'MemTotal %d, was %d kB' % (total(), before))
        retry(grown, 10)
        expect(m.call('GetGuestDetails', mem_hotplug_probe=True).support_mem_hotplug_probe, False)
        m.fails('UNKNOWN', 'MemHotplugByProbe', '/sys/devices/system/memory/probe', memHotplugProbeAddr=[0x100000000])
        m.call('MemHotplugByProbe')
        # It can be used.
        expect(pod.run('eat', 'dd if=/dev/zero of=/dev/null bs=300M count=1 2>/dev/null; exit $?').wait(), 0)


def processors(m, disks):
    with m.pod() as pod:
        watch = pod.run('watch', edit=see_guest)
        pinned = pod.run('pinned', edit=resources(cpu={'cpus': '0'}))
        free = pod.run('free')
        expect(watch.sh('cat /guest/sys/devices/system/cpu/online').strip(), '0')
        slots = [s for s in disks.qmp.command('query-hotpluggable-cpus') if 'qom-path' not in s]
        for i, slot in enumerate(sorted(slots, key=lambda s: sorted(s['props'].items()))[:2]):
            disks.qmp.command('device_add', driver=slot['type'], id='cpu%d' % i, **slot['props'])
        m.call('OnlineCPUMem', wait=True, nb_cpus=2, cpu_only=True)
        expect(watch.sh('cat /guest/sys/devices/system/cpu/online').strip(), '0-2')
        cpuset = lambda cid: watch.sh('cat /guest/sys/fs/cgroup/cpuset/%s/cpuset.cpus' % cid).strip()
        expect((cpuset('free'), cpuset('watch'), cpuset('pinned')), ('0-2', '0-2', '0'))
        expect(free.sh('nproc').strip(), '3')
        expect(pinned.sh('nproc').strip(), '1')
        expect(len(m.call('StatsContainer', container_id='free').cgroup_stats.cpu_stats.cpu_usage.percpu_usage) >= 3, True)
        # And those made later, and an update.
        expect(pod.run('later').sh('nproc').strip(), '3')
        m.call('UpdateContainer', container_id='pinned', resources=dict(CPU=dict(Cpus='1-2')))
        expect(pinned.sh('nproc').strip(), '2')


def no_more_processors(m, disks):
    """Fewer than wanted is an error, after some seconds in which the agent serves."""
    with m.pod():
        began = time.monotonic()
        f = m.future('OnlineCPUMem', wait=True, nb_cpus=1, cpu_only=True)
        median = check_answers(m, f, 20)
        e = f.exception(20)
        has(e.details(), 'only 0 of 1 were connected')
        expect(5 < time.monotonic() - began < 20, True, 'seconds')
        expect(median < 20, True, 'Check meanwhile, ms: %.1f' % median)
        m.fails('UNKNOWN', 'OnlineCPUMem', 'must be greater than 0', wait=True, cpu_only=True)
        m.call('OnlineCPUMem', nb_cpus=0)


CASES = [pci_storage, pci_storage_comes_late, scsi_storage, devices, block_figures, no_such_disk, unplug_and_replug,
         memory, processors, no_more_processors]


def main():
    tap = Tap()
    only = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix='disks-', dir='/tmp') as work:
        with Machine(hotplug=True) as m:
            disks = Disks(m, work)
            for case in CASES:
                if not only or case.__name__ in only:
                    with tap.case(case.__name__.replace('_', ' ')):
                        case(m, disks)
            disks.qmp.close()
            tap.ok(m.guest.is_running(), 'the guest lives')
    return tap.done()


if __name__ == '__main__':
    sys.exit(main())
