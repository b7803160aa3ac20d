#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A pod's whole life in one guest: CreateSandbox with all its members, shares, out of memory, pause, limits,
figures, files, clock, terminals, confinement, and clients that are killed. TAP.
"""
import hashlib
import json
import os
import random
import re
import statistics
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from guestlib import *  # noqa: E402,F403
from guestlib import HERE  # noqa: E402
from tap import Skip, Tap  # noqa: E402

EAT = 'dd if=/dev/zero of=/dev/null bs=64M count=1'
MIB = 1 << 20


def fd_count(watch):
    return int(watch.sh('ls /guest/proc/1/fd | wc -l'))


def cgroup_file(watch, controller, cid, name):
    """A file of the container's cgroup, wherever that is."""
    return watch.sh('cat $(find /guest/sys/fs/cgroup/%s -type d -name %s)/%s' % (controller, cid, name)).strip()


def cpu_ticks(watch, name):
    """What all processes of that name have used."""
    text = watch.sh('for p in /guest/proc/[0-9]*; do read -r l 2>/dev/null <$p/stat && echo "$l"; done; true')
    total = 0
    for line in text.splitlines():
        if '(%s)' % name in line:
            fields = line.rsplit(') ', 1)[1].split()
            total += int(fields[11]) + int(fields[12])
    return total


# ---- the sandbox ----

def sandbox_members(m):
    shm = dict(driver='ephemeral', source='shm', fstype='tmpfs', mount_point='/run/kata-containers/sandbox/shm',
               options=['noexec', 'nosuid', 'nodev', 'mode=1777', 'size=33554432'])

    def in_pod(config):
        config['hostname'] = ''
        config['mounts'] = [x for x in config['mounts'] if x['destination'] != '/dev/shm']
        mount('/dev/shm', 'bind', shm['mount_point'], 'rbind')(config)
    with m.pod(sandbox_id='pod1', hostname='the-pod', dns=['nameserver 10.9.8.7', '  search example.org\t'],
               storages=[shm]) as pod:
        watch = pod.run('watch', edit=edits(see_guest, in_pod))
        expect(watch.sh('cat /guest/etc/resolv.conf'), 'nameserver 10.9.8.7\nsearch example.org')
        expect(watch.sh('hostname'), 'the-pod\n')
        m.fails('ALREADY_EXISTS', 'CreateSandbox', 'Sandbox already started')
        other = pod.run('other', edit=in_pod)
        watch.sh('echo shared > /dev/shm/word')
        expect(other.sh('cat /dev/shm/word'), 'shared\n')
        expect(other.sh('stat -c %a /dev/shm'), '1777\n')
        has(other.sh('grep " /dev/shm " /proc/mounts'), 'tmpfs', 'nosuid', 'nodev', 'noexec', 'size=32768k')
        expect(other.sh('readlink /proc/self/ns/ipc'), watch.sh('readlink /proc/self/ns/ipc'))


def sandbox_again(m):
    """Nothing of the last one is left."""
    for _ in range(3):
        with m.pod(hostname='next', dns=['nameserver 1.1.1.1']) as pod:
            watch = pod.run('watch', edit=see_guest)
            expect(watch.sh('cat /guest/etc/resolv.conf'), 'nameserver 1.1.1.1')
            mounts = watch.sh('cat /guest/proc/1/mountinfo')
            expect(mounts.count(' /etc/resolv.conf '), 1)
            expect(mounts.count(' /run/kata-containers/shared/containers '), 1)
            expect('/run/kata-containers/sandbox/shm' in mounts, False, 'shm of the sandbox before')
    with m.pod() as pod:
        expect('10.9.8.7' in pod.run('watch', edit=see_guest).sh('cat /guest/etc/resolv.conf'), False)


def huge_pages(m):
    """Each volume adds its pages to the pool, nobody's are taken away, and in the end it is as it was."""
    def volume(name, pages):
        return dict(driver='ephemeral', source='nodev', fstype='hugetlbfs', options=['pagesize=2097152', 'size=%d' % (pages << 21)],
                    mount_point='/run/kata-containers/sandbox/ephemeral/' + name)

    def pool(watch):
        return int(watch.sh('cat /guest/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages'))
    with m.pod() as pod:
        watch = pod.run('watch', edit=see_guest)
        before = pool(watch)
        a = pod.run('a', edit=mount('/huge', 'bind', '/run/kata-containers/sandbox/ephemeral/a', 'rbind'), storages=[volume('a', 4)])
        expect(pool(watch), before + 4)
        has(a.sh('grep " /huge " /proc/mounts'), 'hugetlbfs', 'pagesize=2M')
        pod.run('b', storages=[volume('b', 2)])
        expect(pool(watch), before + 6, 'two volumes')
        m.fails('INTERNAL', 'CreateContainer', 'Only allocated', container_id='c', OCI=m.spec('true'), storages=[volume('c', 100000)])
        expect(pool(watch), before + 6, 'what was short is given back')
    with m.pod() as pod:
        expect(pool(pod.run('watch', edit=see_guest)), before, 'restored')


def pause_process(m):
    with m.pod(sandbox_pidns=True) as pod:
        a = pod.run('a', 'sleep 1000 & exec sleep 1001')
        b = pod.run('b', edit=see_guest)
        ps = a.sh('ps')
        has(ps, 'pause', 'sleep 1000', 'sleep 1001', 'sleep 100000')
        expect(re.search(r'^\s*1 .*pause', ps, re.M) is not None, True, 'pause as process 1')
        for _ in range(5):
            a.sh('for i in 1 2 3 4 5; do (sleep 0.05 &); done')

        def reaped():
            expect(re.findall(r'^State:\s+(Z)', b.sh('cat /proc/[0-9]*/status'), re.M), [], 'zombies')
        retry(reaped, 5)
        a.remove()
        has(b.sh('ps'), 'pause')
        expect('sleep 1001' in b.sh('ps'), False, 'processes of a container that was removed')


def nothing_below_the_root(m):
    """Who may do everything unmounts its root, and finds no guest there; the kernel's own root is empty."""
    with m.pod() as pod:
        with pod.run('c', edit=all_caps) as c:
            c.sh('umount -l /')
            # An exec enters the namespace anew and stands on the lowest mount that is left.
            for name in ('/init', '/sbin/init', '/bin/busybox', '/usr/bin/kata-agent'):
                r = c.exec(name)
                expect(r.returncode, 127, name)
                has(r.stderr.decode(), 'no such file or directory')


def locked_down(m):
    """What init sets in the kernel, where the kernel has it."""
    want = {'sysrq': '0', 'kptr_restrict': '2', 'unprivileged_bpf_disabled': '1', 'usermodehelper/bset': '65536\t0',
            'usermodehelper/inheritable': '65536\t0'}
    with m.pod() as pod, pod.run('c', edit=see_guest) as c:
        got = {name: c.sh('cat /guest/proc/sys/kernel/%s 2>/dev/null || true' % name).strip() for name in want}
        expect({n: v for n, v in got.items() if v}, {n: v for n, v in want.items() if got[n]})
        expect(got['kptr_restrict'], '2')


def mounts_travel(m):
    """What one container mounts in an rshared volume, another one with rslave sees; the guest does, too."""
    volume = '/run/kata-containers/travel'

    def shared(how):
        return edits(all_caps, mount('/vol', 'bind', volume, 'rbind', how),
                     lambda c: c['linux'].update(rootfsPropagation=how))
    with m.pod(storages=[dict(driver='local', source='local', fstype='local', mount_point=volume, options=['mode=0777'])]) as pod:
        with pod.run('a', edit=shared('rshared')) as a, pod.run('b', edit=shared('rslave')) as b:
            a.sh('mkdir /vol/sub; mount -t tmpfs x /vol/sub && touch /vol/sub/seen')
            expect(b.sh('ls /vol/sub'), 'seen\n')
            a.sh('umount /vol/sub')


def bad_sandboxes(m):
    m.fails('UNKNOWN', 'CreateSandbox', 'could not load module', kernel_modules=[dict(name='no_such_module')])
    m.fails('UNKNOWN', 'CreateSandbox', 'Kernel module name is empty', kernel_modules=[dict(name='')])
    m.fails('INVALID_ARGUMENT', 'CreateSandbox', 'Unknown storage driver', storages=[dict(
        driver='floppy', source='a', fstype='b', mount_point='/run/x')])
    m.fails('INTERNAL', 'CreateSandbox', 'Could not mount', storages=[SHARE_STORAGE, dict(
        driver='9p', source='noSuchTag', fstype='9p', mount_point='/run/kata-containers/none',
        options=['trans=virtio,version=9p2000.L'])])
    m.fails('INVALID_ARGUMENT', 'CreateSandbox', 'sandbox id', sandbox_id='../..')
    m.call('DestroySandbox')
    with m.pod() as pod:
        watch = pod.run('watch', edit=see_guest)
        expect(watch.sh('cat /guest/proc/1/mountinfo').count('kataShared'), 1)


def shares(m):
    with open(os.path.join(m.share, 'word'), 'w') as f:
        f.write('from the host\n')
    with m.pod() as pod:
        c = pod.run('c', edit=mount('/share', 'bind', SHARED, 'rbind'))
        expect(c.sh('cat /share/word'), 'from the host\n')
        c.sh('echo from the guest > /share/answer; mkdir /share/dir; ln -s word /share/link')
        with open(os.path.join(m.share, 'answer')) as f:
            expect(f.read(), 'from the guest\n')
        expect(os.readlink(os.path.join(m.share, 'link')), 'word')


def virtio_fs(m, directory):
    if not directory:
        raise Skip('no virtiofsd: apt-get install qemu-system-common')
    data = os.urandom(3 * MIB)
    with open(os.path.join(directory, 'data'), 'wb') as f:
        f.write(data)
    fs = dict(driver='virtio-fs', source='fastShare', fstype='virtiofs', mount_point='/run/kata-containers/fast/',
              options=['nodev'])
    with m.pod(storages=[fs]) as pod:
        c = pod.run('c', edit=mount('/fast', 'bind', '/run/kata-containers/fast', 'rbind'))
        expect(c.sh('sha256sum /fast/data').split()[0], hashlib.sha256(data).hexdigest())
        c.sh('echo guest > /fast/file; chmod 600 /fast/file; mkdir /fast/dir; mv /fast/file /fast/dir')
        with open(os.path.join(directory, 'dir', 'file')) as f:
            expect(f.read(), 'guest\n')
        has(c.sh('grep /fast /proc/mounts'), 'virtiofs', 'nodev')


# ---- memory ----

def small(config):
    resources(memory={'limit': 16 * MIB})(config)


def oom_event(m):
    with m.pod() as pod:
        waiting = m.future('GetOOMEvent')
        c = pod.run('eater', EAT, edit=small)
        expect(c.wait(), 137)
        expect(waiting.result(20).container_id, 'eater')
        # One that nobody waits for is kept.
        d = pod.run('second', edit=small)
        expect(d.exec('sh', '-c', EAT).returncode, 137)
        expect(m.call('GetOOMEvent', timeout=10).container_id, 'second')
        expect(m.call('StatsContainer', container_id='second').cgroup_stats.memory_stats.usage.failcnt > 0, True)


def oom_event_cancelled(m):
    """Whoever asked and left takes no event along."""
    with m.pod() as pod:
        c = pod.run('eater', edit=small)
        for i in range(3):
            gone = [m.road.popen('oom-event') for _ in range(3)]
            time.sleep(0.3)
            for p in gone:
                p.kill()
                p.communicate()
            parked = m.future('GetOOMEvent')
            parked.cancel()
            if i == 1:      # one waits already when it happens
                waiting = m.road.popen('oom-event')
                time.sleep(0.2)
            expect(c.exec('sh', '-c', EAT).returncode, 137)
            if i != 1:
                waiting = m.road.popen('oom-event')
            out, err = waiting.communicate(timeout=10)
            expect(json.loads(out or '{}').get('container_id'), 'eater', err)


def no_false_oom_event(m):
    with m.pod() as pod:
        waiting = m.future('GetOOMEvent')
        for i in range(3):
            with pod.run('quiet%d' % i, 'true', edit=small) as c:
                c.wait()
            with pod.run('busy%d' % i, 'sleep 1000 & sleep 1000', edit=small) as c:
                c.exec('true', check=0)
        with pod.create('created', edit=small):
            pass
        time.sleep(0.3)
        expect(waiting.done(), False, 'an event came')
        waiting.cancel()


def guest_out_of_memory(m):
    """A container without limit eats all there is. It dies; the agent does not."""
    with m.pod() as pod:
        pod.run('bystander')
        c = pod.run('glutton', 'tail /dev/zero & tail /dev/zero & wait; exit 5')
        c.wait()
        for _ in range(3):
            m.call('Check', timeout=20)
        expect(pod.run('after', 'exit 3').wait(), 3)
    has(m.guest.console(), 'Out of memory')
    expect(re.search(r'Killed process 1 |Kernel panic', m.guest.console()), None)


# ---- pause, limits, figures ----

def pause_stops_time(m):
    with m.pod() as pod:
        watch = pod.run('watch', edit=see_guest)
        pod.run('busy', 'while :; do :; done & dd if=/dev/zero of=/dev/null')
        began = cpu_ticks(watch, 'dd')
        time.sleep(0.3)
        m.call('PauseContainer', container_id='busy')
        paused = cpu_ticks(watch, 'dd')
        expect(paused > began, True, 'CPU time before the pause')
        time.sleep(0.4)
        expect(cpu_ticks(watch, 'dd'), paused)
        expect(cgroup_file(watch, 'freezer', 'busy', 'freezer.state'), 'FROZEN')
        m.call('ResumeContainer', container_id='busy')
        time.sleep(0.2)
        expect(cpu_ticks(watch, 'dd') > paused, True, 'CPU time after the pause')
        m.call('PauseContainer', container_id='busy')
        # One that is paused can be removed.
        m.call('RemoveContainer', container_id='busy', timeout=20)


def update_limits(m):
    with m.pod() as pod:
        watch = pod.run('watch', edit=see_guest)
        c = pod.run('c', edit=resources(memory={'limit': 64 * MIB}, pids={'limit': 50}, cpu={
            'shares': 512, 'quota': 50000, 'period': 100000, 'cpus': '0', 'mems': '0'}))
        files = lambda: [cgroup_file(watch, controller, 'c', name) for controller, name in (
            ('memory', 'memory.limit_in_bytes'), ('pids', 'pids.max'), ('cpu', 'cpu.shares'),
            ('cpu', 'cpu.cfs_quota_us'), ('cpu', 'cpu.cfs_period_us'), ('cpuset', 'cpuset.cpus'))]
        expect(files(), [str(64 * MIB), '50', '512', '50000', '100000', '0'])
        m.call('UpdateContainer', container_id='c', resources=dict(
            Memory=dict(Limit=32 * MIB), Pids=dict(Limit=4),
            CPU=dict(Shares=2000, Quota=20000, Period=50000, Cpus='0-1')))
        # Processors of the host that this guest has not are left out.
        expect(files(), [str(32 * MIB), '4', '2000', '20000', '50000', '0'])
        has(c.exec('sh', '-c', 'for i in 1 2 3 4 5 6; do sleep 1 & done').stderr.decode(), "can't fork")
        # What is not named stays as it is.
        m.call('UpdateContainer', container_id='c', resources=dict(CPU=dict(Shares=300)))
        expect(files(), [str(32 * MIB), '4', '300', '20000', '50000', '0'])
        m.call('UpdateContainer', container_id='c', resources=dict(Pids=dict(Limit=-1), CPU=dict(Quota=-1)))
        expect(files()[1:4], ['max', '300', '-1'])
        m.call('UpdateContainer', container_id='c', resources=dict(CPU=dict(Cpus='77')))
        expect(files()[5], '0')
        expect(m.call('StatsContainer', container_id='c').cgroup_stats.memory_stats.usage.limit, 32 * MIB)


def figures(m):
    with m.pod() as pod:
        pod.run('c', 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; dd if=/dev/zero of=/tmp/f bs=1M count=1 '
                '2>/dev/null; sleep 100 & sleep 100 & wait',
                edit=edits(resources(memory={'limit': 64 * MIB}, pids={'limit': 100}),
                           mount('/tmp', 'tmpfs', 'tmpfs', 'size=20m')))

        def three():
            s = m.call('StatsContainer', container_id='c').cgroup_stats
            expect(s.pids_stats.current, 3)
            return s
        s = retry(three, 20)
        cpu = s.cpu_stats.cpu_usage
        expect(10**6 < cpu.total_usage < 60 * 10**9, True, 'CPU %d ns' % cpu.total_usage)
        expect(len(cpu.percpu_usage), 1)
        expect(abs(sum(cpu.percpu_usage) - cpu.total_usage) <= cpu.total_usage // 10, True, 'sum over the CPUs')
        expect(cpu.usage_in_usermode > 0, True, 'user time')
        expect(s.pids_stats.limit, 100)
        use = s.memory_stats.usage
        expect(MIB < use.usage <= use.max_usage <= use.limit == 64 * MIB, True, 'memory %s' % use)
        expect(s.memory_stats.cache >= MIB, True, 'cache %d' % s.memory_stats.cache)
        expect('rss' in s.memory_stats.stats and 'cache' in s.memory_stats.stats, True)
        expect(list(s.hugetlb_stats), [], 'huge pages that nobody uses')
        later = m.call('StatsContainer', container_id='c').cgroup_stats.cpu_stats.cpu_usage.total_usage
        expect(later >= cpu.total_usage, True, 'CPU time never shrinks')


def processes(m):
    with m.pod() as pod:
        c = pod.run('c', 'sleep 1001 & exec sleep 1002')
        pod.run('d', 'exec sleep 1003')

        def two():
            expect(c.sh('ps').count('sleep 100'), 2)
        retry(two)
        pids = json.loads(m.call('ListProcesses', container_id='c', format='json').process_list)
        expect(len(pids), 2)
        table = m.call('ListProcesses', container_id='c', format='table').process_list.decode()
        has(table, 'PID', 'sleep 1001', 'sleep 1002')
        expect('1003' in table, False, 'processes of another container')
        table = m.call('ListProcesses', container_id='c', format='table', args=['-o', 'pid,comm']).process_list.decode()
        expect([l.split() for l in table.splitlines()][1:], [[str(p), 'sleep'] for p in sorted(pids)])
        m.fails('UNKNOWN', 'ListProcesses', 'invalid format option', container_id='c', format='xml')
        m.fails('NOT_FOUND', 'ListProcesses', container_id='nobody', format='json')


# ---- the guest as a machine ----

def copy_file(m):
    data = os.urandom(10 * MIB + 12345)
    digest = hashlib.sha256(data).hexdigest()
    source = os.path.join(m.share, 'big')
    with open(source, 'wb') as f:
        f.write(data)
    m.ctl('copy-file', '-m', '640', '--uid', '12', '--gid', '34', source, '/run/kata-containers/in/the/file', check=0)
    with m.pod() as pod:
        watch = pod.run('watch', edit=see_guest)
        path = '/guest/run/kata-containers/in/the/file'
        expect(watch.sh('sha256sum ' + path).split()[0], digest)
        expect(watch.sh("stat -c '%a %u %g %s' " + path).split(), ['640', '12', '34', str(len(data))])
        expect(watch.sh('ls -A /guest/run/kata-containers/in/the').split(), ['file'])
        # Half of one leaves what was there alone.
        m.call('CopyFile', path='/run/kata-containers/in/the/file', file_size=1000, file_mode=0o100600,
               dir_mode=0o40755, data=b'x' * 500)
        expect(watch.sh('sha256sum ' + path).split()[0], digest)
        m.call('CopyFile', path='/run/kata-containers/in/the/file', file_size=1000, file_mode=0o100600,
               dir_mode=0o40755, offset=500, data=b'y' * 500)
        expect(watch.sh('cat ' + path), 'x' * 500 + 'y' * 500)
        m.fails('UNKNOWN', 'CopyFile', path='/etc/passwd', file_size=1, data=b'x')
        m.fails('UNKNOWN', 'CopyFile', path='/run/../etc/passwd', file_size=1, data=b'x')
        # Out of the guest's memory again.
        m.call('CopyFile', path='/run/kata-containers/in/the/file', file_size=0, file_mode=0o100600, dir_mode=0o40755)


def clock(m):
    with m.pod() as pod:
        c = pod.run('c')
        try:
            m.call('SetGuestDateTime', Sec=1234567890, Usec=500000)
            expect(1234567890 <= int(c.sh('date +%s')) < 1234567900, True)
        finally:
            m.ctl('set-time', check=0)
        expect(abs(int(c.sh('date +%s')) - time.time()) < 10, True)
        m.fails('INTERNAL', 'SetGuestDateTime', 'Could not set guest time', Sec=-5)


def entropy_and_details(m):
    m.call('ReseedRandomDev', data=os.urandom(512))
    m.fails('UNKNOWN', 'ReseedRandomDev', 'missing entropy data')
    d = m.call('GetGuestDetails', mem_block_size=True, mem_hotplug_probe=True)
    expect(d.mem_block_size_bytes, 128 * MIB)
    expect(d.support_mem_hotplug_probe, False)     # ACPI tells of memory here
    a = d.agent_details
    with open(os.path.join(HERE, '..', '..', 'VERSION')) as f:
        expect(a.version.startswith(f.read().strip()), True, a.version)
    expect((a.init_daemon, a.supports_seccomp), (True, True))
    for name in ('9p', 'virtio-fs', 'blk', 'scsi', 'ephemeral', 'local', 'nvdimm', 'bind', 'mmioblk'):
        expect(name in a.storage_handlers, True, name)
    expect({'blk', 'scsi', 'nvdimm', 'mmioblk'} <= set(a.device_handlers), True)
    m.fails('UNKNOWN', 'MemHotplugByProbe', 'probe', memHotplugProbeAddr=[1 << 40])
    v = m.call('Version')
    expect((v.grpc_version, bool(v.agent_version)), ('0.0.1', True))


# ---- terminals ----

def read_until(m, cid, exec_id, text):
    got = ''
    while text not in got:
        got += m.call('ReadStdout', timeout=10, container_id=cid, exec_id=exec_id, len=4096).data.decode()
    return got


def terminal_size(m):
    def terminal(config):
        config['process']['terminal'] = True
        config['process']['consoleSize'] = {'height': 11, 'width': 222}
    with m.pod() as pod:
        pod.run('c', 'stty size; while read x; do stty size; done; exit 4', edit=terminal)
        read_until(m, 'c', 'c', '11 222')
        for rows, columns in ((24, 80), (50, 132), (2, 3), (1000, 2000)):
            m.call('TtyWinResize', container_id='c', exec_id='c', row=rows, column=columns)
            m.call('WriteStdin', container_id='c', exec_id='c', data=b'\n')
            read_until(m, 'c', 'c', '%d %d' % (rows, columns))
        p = m.spec('trap "stty size" WINCH; echo up; while :; do sleep 0.05; done', terminal).Process
        m.call('ExecProcess', container_id='c', exec_id='e', process=p)
        read_until(m, 'c', 'e', 'up')
        m.call('TtyWinResize', container_id='c', exec_id='e', row=33, column=99)
        read_until(m, 'c', 'e', '33 99')       # a signal told of it
        m.fails('NOT_FOUND', 'TtyWinResize', container_id='c', exec_id='nobody', row=1, column=1)
        m.call('WriteStdin', container_id='c', exec_id='c', data=b'\x04')
        expect(m.call('WaitProcess', container_id='c', exec_id='c').status, 4)


def many_terminals(m, count=300):
    with m.pod() as pod:
        watch = pod.run('watch', edit=see_guest)
        p = m.spec('tty; exit 6', lambda c: c['process'].update(terminal=True)).Process

        def session(i):
            name = 't%d' % i
            m.call('ExecProcess', container_id='watch', exec_id=name, process=p)
            has(Container(m, 'watch').output(name), '/dev/pts/')
            expect(m.call('WaitProcess', container_id='watch', exec_id=name).status, 6)
        for i in range(10):
            session(i)
        fds, pts = fd_count(watch), watch.sh('ls /dev/pts | wc -l')
        for i in range(10, count):
            session(i)
        retry(lambda: expect(fd_count(watch), fds, 'descriptors of the agent'), 5)
        expect(watch.sh('ls /dev/pts | wc -l'), pts)


# ---- confinement ----

def seccomp(m):
    def rules(config):
        config['linux']['seccomp'] = {
            'defaultAction': 'SCMP_ACT_ALLOW', 'architectures': ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'],
            'syscalls': [{'names': ['mkdir', 'mkdirat'], 'action': 'SCMP_ACT_ERRNO'},
                         {'names': ['sethostname'], 'action': 'SCMP_ACT_KILL'},
                         {'names': ['kill'], 'action': 'SCMP_ACT_ERRNO',
                          'args': [{'index': 1, 'value': 10, 'op': 'SCMP_CMP_EQ'}]}]}
    with m.pod() as pod:
        c = pod.run('c', edit=rules)
        has(c.exec('mkdir', '/tmp/x').stderr.decode(), 'Operation not permitted')
        c.exec('touch', '/tmp/x', check=0)
        expect(c.exec('sh', '-c', 'trap "echo got" USR2; kill -USR2 $$; kill -USR1 $$ || echo refused').stdout,
               b'got\nrefused\n')
        expect(c.exec('hostname', 'x').returncode, 159)     # 128 + SIGSYS
        expect(c.sh('grep Seccomp: /proc/self/status').split(), ['Seccomp:', '2'])
        none = pod.run('none')
        none.exec('mkdir', '-p', '/tmp/y', check=0)


def capabilities(m):
    def few(config):
        config['process']['capabilities'] = {
            'bounding': ['CAP_KILL', 'CAP_CHOWN', 'CAP_NET_RAW'], 'permitted': ['CAP_KILL', 'CAP_CHOWN'],
            'effective': ['CAP_KILL'], 'inheritable': ['CAP_KILL'], 'ambient': ['CAP_KILL']}
        config['process']['user'] = {'uid': 1000, 'gid': 1000}
    with m.pod() as pod:
        # The init of its own pid namespace tells; its own status is what it was given, after execve.
        text = pod.run('c', 'cat /proc/self/status', edit=few).output()
        got = {k: int(v, 16) for k, v in re.findall(r'^Cap(\w+):\s+(\w+)', text, re.M)}
        expect(got, {'Inh': 1 << 5, 'Prm': 1 << 5, 'Eff': 1 << 5, 'Bnd': 1 << 5 | 1 | 1 << 13, 'Amb': 1 << 5})
        has(text, 'NoNewPrivs:\t1')
        d = pod.run('d')
        got = {k: int(v, 16) for k, v in re.findall(r'^Cap(\w+):\s+(\w+)', d.sh('cat /proc/1/status'), re.M)}
        expect((got['Eff'], got['Bnd'], got['Inh'], got['Amb']), (0xa80425fb & ~0x80000000 | 0x80000000 & got['Bnd'],
                                                                  got['Eff'], 0, 0))
        # An exec has what it is given, not more.
        expect(d.exec('hostname', 'evil').returncode != 0, True)
        has(d.exec('date', '-s', '2001-01-01').stderr.decode(), "can't set date")
        expect(d.exec('mount', '-t', 'tmpfs', 'tmpfs', '/tmp').returncode != 0, True)
        all_of_them = pod.run('all', 'cat /proc/self/status', edit=all_caps).output()
        expect(int(re.search(r'CapEff:\s+(\w+)', all_of_them).group(1), 16), (1 << 41) - 1)


def readonly_and_masked(m):
    def ro(config):
        config['root']['readonly'] = True
        config['linux']['maskedPaths'] += ['/proc/version', '/sys/class', '/no/such/path']
    with m.pod() as pod:
        c = pod.run('c', edit=ro)
        has(c.exec('touch', '/file').stderr.decode(), 'Read-only file system')
        expect(c.sh('wc -c </proc/version; ls -A /sys/firmware /sys/class | grep -v :; true').split(), ['0'])
        for path in ('/proc/sys/kernel/panic', '/proc/sysrq-trigger', '/proc/irq/default_smp_affinity'):
            has(c.exec('sh', '-c', 'echo 1 > ' + path).stderr.decode(), 'Read-only file system')
        has(c.exec('sh', '-c', 'echo 1 > /sys/kernel/uevent_seqnum').stderr.decode(), 'Read-only')
        expect(c.exec('umount', '/proc/version').returncode != 0, True)
        rw = pod.run('rw')
        rw.exec('touch', '/file', check=0)


def own_devices(watch):
    """Character devices that are the guest's own: "c MAJOR MINOR" each."""
    majors = dict(reversed(l.split()) for l in watch.sh('sed /^Block/q /guest/proc/devices').splitlines() if len(l.split()) == 2)
    console = watch.sh('cat /guest/sys/class/tty/$(cut -d " " -f 1 /guest/sys/class/tty/console/active)/dev').strip()
    own = ['c 5 1', 'c 10 130', 'c ' + console.replace(':', ' ')]
    return own + ['c %s 1' % majors[name] for name in ('virtio-portsdev',) if name in majors]


NODE_OPENS = ('rm -f /tmp/n; mknod /tmp/n %s && if (: < /tmp/n) 2>/tmp/e || ! grep -q "not permitted" /tmp/e; '
              'then echo open; fi; true')


def device_wildcards(m):
    """Rules that allow more than they name do not reach what is the guest's own, its root disk neither."""
    deny = {'allow': False, 'access': 'rwm'}

    def allow(kind, major, minor):
        return {'allow': True, 'type': kind, 'major': major, 'minor': minor, 'access': 'rwm'}
    with m.pod() as pod:
        watch = pod.run('watch', edit=see_guest)
        own = own_devices(watch)
        disk = [line.split()[2].split(':') for line in watch.sh('cat /guest/proc/1/mountinfo').splitlines()
                if line.split()[4] == '/']
        own += ['b %s %s' % tuple(n) for n in disk if n[0] != '0']
        for i, rules in enumerate(([allow('a', -1, -1)], [deny, allow('c', -1, -1), allow('b', -1, -1)],
                                   [deny] + [allow('c', M, -1) for M in (4, 5, 10, 229)] + [allow('b', 254, -1)],
                                   [deny, allow('c', -1, 1), allow('c', -1, 130), allow('c', -1, 64), allow('c', -1, 0)])):
            c = pod.run('c%d' % i, edit=edits(all_caps, mount('/tmp', 'tmpfs', 'tmpfs'), resources(devices=rules)))
            for node in own:
                expect(c.sh(NODE_OPENS % node), '', 'rules %d: %s' % (i, node))
            expect(c.sh(NODE_OPENS % ('c 5 2', 'c 1 11', 'c 5 3', 'c 1 1')[i]), 'open\n', 'rules %d' % i)
            c.remove()


def escapes(m):
    program = os.path.join(m.road.rootfs, 'bin', 'escape')
    subprocess.run(['cc', '-std=gnu11', '-O1', '-static', '-o', program, os.path.join(HERE, 'guest', 'escape.c')],
                   check=True)
    markers = ['/usr/bin/kata-agent', '/usr/lib/systemd/systemd', '/run/sandbox-ns', '/run/kata-containers']

    def caps(*drop):
        def edit(config):
            for s in config['process']['capabilities'].values():
                s[:] = [c for c in s if c not in drop]
        return edit

    def clean(c, *words):
        text = c.sh('escape %s; true' % ' '.join(markers))
        has(text, 'done', *words)
        expect([l for l in text.splitlines() if l.startswith(('reached', 'open fd'))], [])
    with m.pod() as pod:
        tmp = mount('/tmp', 'tmpfs', 'tmpfs', 'mode=1777')
        clean(pod.run('plain', edit=tmp), 'umount /: Operation not permitted', 'mount: Operation not permitted')
        clean(pod.run('no-chroot', edit=caps('CAP_SYS_CHROOT')), 'chroot: Operation not permitted')
        own = pod.run('init', 'escape %s' % ' '.join(markers)).output()
        has(own, 'done')
        expect([l for l in own.splitlines() if l.startswith(('reached', 'open fd'))], [])
        # Devices of the guest cannot be had by making their nodes.
        for major, minor in ((1, 1), (10, 235), (7, 0), (259, 0), (8, 0)):
            kind = 'b' if major in (7, 8, 259) else 'c'
            r = Container(m, 'plain').exec('sh', '-c', 'rm -f /tmp/n; mknod /tmp/n %s %d %d && cat /tmp/n' %
                                           (kind, major, minor))
            has(r.stderr.decode(), "cat: can't open '/tmp/n': Operation not permitted")


# ---- clients ----

def killed_clients(m, count=50):
    rng = random.Random(1)
    with m.pod() as pod:
        watch = pod.run('watch', edit=see_guest)
        c = pod.run('c')
        fds = fd_count(watch)
        for batch in range(count // 10):
            clients = [m.road.popen('exec', *(['-t'] if i % 3 == 0 else []), '-n', '--exec-id', 'k%d-%d' % (batch, i),
                                    'c', 'yes') for i in range(10)]
            for i, p in enumerate(clients):
                p.stdout.read(rng.randrange(1, 100000 if i % 3 else 3000))
            rng.shuffle(clients)
            for p in clients:
                time.sleep(rng.random() / 50)
                p.kill()
                p.communicate()
            m.call('Check', timeout=5)
        expect(c.sh('ps | grep -c "[y]es$"'), '%d\n' % count, 'what they had started')
        for batch in range(count // 10):
            for i in range(10):
                name = 'k%d-%d' % (batch, i)
                # It was stopped by a full pipe, and its output is there for whoever comes.
                m.call('SignalProcess', container_id='c', exec_id=name, signal=9)
                expect(len(c.output(name)) > 0, True)
                expect(m.call('WaitProcess', container_id='c', exec_id=name).status, 137)
        retry(lambda: expect(fd_count(watch) <= fds + 1, True, 'descriptors of the agent'), 15, 0.3)


def parked_calls(m, count=1000):
    with m.pod() as pod:
        pod.run('c')
        watch = pod.run('watch', edit=see_guest)
        fds = fd_count(watch)
        parked = [m.future('WaitProcess' if i % 2 else 'ReadStdout', container_id='c', exec_id='c',
                           **({} if i % 2 else {'len': 1000})) for i in range(count)]
        m.call('Check')
        times = []
        for _ in range(300):
            began = time.monotonic()
            m.call('Check')
            times.append((time.monotonic() - began) * 1000)
        expect([p.done() for p in parked].count(True), 0, 'calls that were answered')
        median = statistics.median(times)
        print('# Check with %d parked calls: median %.2f ms, 99%% below %.2f ms' %
              (count, median, sorted(times)[len(times) * 99 // 100]))
        expect(median < 5, True, 'median %.2f ms' % median)
        expect(watch.sh('echo works'), 'works\n')
        for p in parked[:count // 2]:
            p.cancel()
        m.call('SignalProcess', container_id='c', signal=9)
        statuses = [p.result(20).status for i, p in enumerate(parked) if i >= count // 2 and i % 2]
        expect(statuses, [137] * (count // 4))
        retry(lambda: expect(fd_count(watch) <= fds, True, 'descriptors of the agent'), 5)


def cancelled_reads_lose_nothing(m):
    with m.pod() as pod:
        pod.run('c', 'exec cat')
        for i in range(100):
            readers = [m.future('ReadStdout', container_id='c', exec_id='c', len=4096) for _ in range(1 + i % 3)]
            if i % 10 == 0:
                time.sleep(0.02)
            for r in readers:
                r.cancel()
            if i % 25 == 0:
                p = m.road.popen('read-stdout', 'c')
                time.sleep(0.1)
                p.kill()
                p.communicate()
                time.sleep(0.05)
            else:
                m.call('Check')     # the resets have arrived
            line = b'line %d\n' % i
            m.call('WriteStdin', container_id='c', exec_id='c', data=line)
            got = b''
            while len(got) < len(line):
                got += m.call('ReadStdout', timeout=5, container_id='c', exec_id='c', len=4096).data
            expect(got, line)


CASES = [sandbox_members, sandbox_again, huge_pages, pause_process, nothing_below_the_root, locked_down, mounts_travel,
         bad_sandboxes, shares, virtio_fs, oom_event,
         oom_event_cancelled, no_false_oom_event, pause_stops_time, update_limits, figures, processes, copy_file, clock,
         entropy_and_details, terminal_size, many_terminals, seccomp, capabilities, readonly_and_masked, device_wildcards,
         escapes,
         killed_clients, parked_calls, cancelled_reads_lose_nothing, guest_out_of_memory]


def main():
    tap = Tap()
    only = sys.argv[1:]
    with virtiofsd('fastShare') as (directory, qemu_args):
        # One processor: QEMU's TCG with more of them now and then loses a race with the kernel's code patching.
        with Machine(qemu_arg=qemu_args) as m:
            for case in CASES:
                name = case.__name__
                if only and name not in only:
                    continue
                with tap.case(name.replace('_', ' ')):
                    case(m, directory) if case is virtio_fs else case(m)
            tap.ok(m.guest.is_running(), 'the guest lives')
    return tap.done()


if __name__ == '__main__':
    sys.exit(main())
