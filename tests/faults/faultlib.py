# SPDX-License-Identifier: Apache-2.0
"""Lives of an agent in which one thing goes wrong, and what must be true after each of them.

    with Agent() as agent, Faults(agent) as faults:
        life = Life(agent)
        ...
"""
import contextlib
import errno
import functools
import mmap
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import server  # noqa: E402
from rpc import _methods, agent_pb2, grpc, oci_pb2, types_pb2  # noqa: E402
from tap import BUILD, TOP, retry  # noqa: E402
from wire import pb, ttrpc_answer, ttrpc_request  # noqa: E402

METHODS = _methods()
NOT_FOUND = grpc.StatusCode.NOT_FOUND.value[0]
PATIENCE = 12       # seconds: a call that has no answer by then hangs
MAC = '02:00:00:00:00:01'
COPIED = '/run/kata-containers/shared/containers/dir/file'
APPLETS = 'sh cat echo sleep true'.split()
CAPS = ['CAP_' + n for n in 'CHOWN DAC_OVERRIDE FOWNER KILL SETGID SETUID SETPCAP SYS_CHROOT MKNOD'.split()]


class Wrong(Exception):
    """What may not be."""


class Refused(Exception):
    """The agent answered with an error, or the connection ended: allowed where something has gone wrong."""


class Client:
    """ttrpc, one thread; answers that come early are kept."""

    def __init__(self, sock, dies_at=None):
        self.path, self.sock, self.stream, self.kept = sock, None, -1, {}
        self.dies_at, self.sent = dies_at, 0
        self.connect()

    def connect(self):
        self.close()
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self.path)
        self.stream, self.kept = -1, {}

    def close(self):
        if self.sock:
            self.sock.close()
        self.sock = None

    def send(self, method, **fields):
        service, req, _ = METHODS[method]
        self.stream += 2
        try:
            self.sock.sendall(ttrpc_request(self.stream, method, req(**fields).SerializeToString(), service))
        except socket.timeout:
            raise Wrong('%s is not taken' % method) from None
        except OSError as e:
            raise Refused('%s: %s' % (method, e)) from None
        self.sent += 1
        if self.sent == self.dies_at:
            self.sock.close()
            raise Refused('%s: the client has died' % method)
        return self.stream, method

    def answer(self, sent):
        stream, method = sent
        try:
            while stream not in self.kept:
                got, *rest = ttrpc_answer(self.sock)
                self.kept[got] = rest
        except socket.timeout:
            raise Wrong('%s has no answer' % method) from None
        except (OSError, EOFError) as e:
            raise Refused('%s: %s' % (method, e)) from None
        status, text, payload = self.kept.pop(stream)
        if status:
            refused = Refused('%s: %d %s' % (method, status, text))
            refused.status = status
            raise refused
        return METHODS[method][2].FromString(payload)

    def call(self, method, **fields):
        return self.answer(self.send(method, **fields))


class Faults:
    """The tracer beside an agent. Its orders are a file that both have mapped; tracer.c says what they mean."""
    HEAD = struct.Struct('=10i')
    ERROR, SHORT, KILL = 1, 2, 3

    def __init__(self, agent):
        self.file = os.path.join(agent.dir, 'orders')
        with open(self.file, 'wb') as f:
            f.write(bytes(4096))
        with open(self.file, 'r+b') as f:
            self.map = mmap.mmap(f.fileno(), 4096)
        # All on one processor: waking another one for each stop takes longer than the stop.
        one = {min(os.sched_getaffinity(0))}
        os.sched_setaffinity(agent.pid, one)
        self.process = subprocess.Popen([tracer(), str(agent.pid), self.file], preexec_fn=lambda: os.sched_setaffinity(0, one))
        retry(lambda: self._field(10) or 1 / 0, pause=0.001, on=(ZeroDivisionError,))

    def _field(self, i):
        return struct.unpack_from('=i', self.map, 4 * i)[0]

    def _send(self, wanted):
        self.map[36:40] = struct.pack('=i', wanted)
        self.process.send_signal(signal.SIGUSR1)
        try:
            retry(lambda: self._field(8) == wanted or wanted and self.hit() or 1 / 0, pause=0.0005, on=(ZeroDivisionError,))
        except ZeroDivisionError:
            raise RuntimeError('the tracer (%s) does not heed: %s' % (self.process.poll(), self.HEAD.unpack_from(self.map))) from None

    def order(self, mode=0, process=0, number=0, error=0, only=''):
        """Trace from here on; mode 0 only counts. only: system calls of that name."""
        self.end()
        nr = next(n for n, name in _syscalls().items() if name == only) if only else 0
        self.map[44:48] = struct.pack('=i', nr)
        self.map[48:4096] = bytes(4048)
        self.HEAD.pack_into(self.map, 0, mode, process, number, error, 0, 0, 0, 0, 0, 0)
        self._send(1)

    def end(self):
        """Nothing more goes wrong, or is traced."""
        if self._field(8) or self._field(9):
            self._send(0)

    def hit(self):
        return self._field(4)

    def what(self):
        mode, process, number, error, _, nr, arg0 = self.HEAD.unpack_from(self.map)[:7]
        return 'call %d of process %d: %s(%s) %s' % (number, process, syscall_name(nr), self.path() or arg0, {
            self.ERROR: 'fails with ' + errno.errorcode.get(error, str(error)), self.SHORT: 'is short', self.KILL: 'dies'}[mode])

    def path(self):
        return self.map[48 + 64 * 4:48 + 64 * 4 + 64].split(b'\0')[0].decode(errors='replace')

    def counts(self):
        """Of each process, the system calls since the last order."""
        births = self.HEAD.unpack_from(self.map)[7]
        return struct.unpack_from('=64i', self.map, 48)[:births + 1]

    def stop(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.stop()


class Allocations(Faults):
    """The same for the agent that nomem.so has been loaded into, without a tracer: an allocation fails."""
    NONE = 4

    def __init__(self, agent):
        self.file = agent.orders
        with open(self.file, 'r+b') as f:
            self.map = mmap.mmap(f.fileno(), 4096)

    def _send(self, wanted):
        self.map[36:40] = struct.pack('=i', wanted)

    def what(self):
        _, process, number = self.HEAD.unpack_from(self.map)[:3]
        return 'allocation %d of process %d fails: %s' % (number, process, ' '.join(self.callers()))

    def callers(self):
        at = [a for a in struct.unpack_from('=4Q', self.map, 48 + 64 * 4 + 64) if a]
        out = subprocess.run(['addr2line', '-fe', SHARED + '.debug', *map(hex, at)], stdout=subprocess.PIPE, text=True).stdout
        return out.splitlines()[::2]

    def stop(self):
        pass


SHARED = os.path.join(BUILD, 'kata-agent-shared')


class PoorAgent(server.Agent):
    """An agent whose allocations can be made to fail."""

    def __init__(self):
        self.temp = tempfile.mkdtemp(prefix='poor-', dir='/tmp')
        self.orders = os.path.join(self.temp, 'orders')
        with open(self.orders, 'wb') as f:
            f.write(bytes(4096))
        binary = os.path.join(self.temp, 'agent')
        with open(binary, 'w') as f:
            f.write('#!/bin/sh\nexec env LD_PRELOAD=%s FAULT_ORDERS=%s %s "$@"\n' % (nomem(), self.orders, SHARED))
        os.chmod(binary, 0o755)
        super().__init__(binary)

    def stop(self):
        super().stop()
        shutil.rmtree(self.temp, ignore_errors=True)


def build(name, source, *flags):
    """build/NAME, from one C file of this folder."""
    out, source = os.path.join(BUILD, name), os.path.join(TOP, 'tests/faults', source)
    if not os.path.exists(out) or os.stat(out).st_mtime < os.stat(source).st_mtime:
        new = '%s.%d' % (out, os.getpid())
        subprocess.run(['gcc', '-std=gnu11', '-D_GNU_SOURCE', '-O2', '-Wall', '-Wextra', '-o', new, source, *flags], check=True)
        os.rename(new, out)
    return out


@functools.lru_cache(1)
def _syscalls():
    text = subprocess.check_output(['gcc', '-E', '-dM', '-include', 'sys/syscall.h', '-xc', '/dev/null'], text=True)
    return {int(n): name for name, n in re.findall(r'#define __NR_(\w+) (\d+)$', text, re.M)}


def syscall_name(nr):
    return _syscalls().get(nr, str(nr))


def tracer():
    return build('fault-tracer', 'tracer.c')


def nomem():
    return build('nomem.so', 'nomem.c', '-shared', '-fPIC')


class Image:
    """A root file system, and what a life's storages need."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix='faults-', dir='/tmp')
        self.root = os.path.join(self.dir, 'root')
        for d in ('bin', 'proc', 'dev', 'sys', 'tmp', 'etc', 'data', 'shm'):
            os.makedirs(os.path.join(self.root, d))
        shutil.copy('/bin/busybox', self.root + '/bin/busybox')
        for a in APPLETS:
            os.symlink('busybox', os.path.join(self.root, 'bin', a))
        with open(self.root + '/etc/passwd', 'w') as f:
            f.write('root:x:0:0:root:/root:/bin/sh\n')
        with open(self.root + '/etc/group', 'w') as f:
            f.write('root:x:0:\n')

    def __enter__(self):
        return self

    def __exit__(self, *what):
        shutil.rmtree(self.dir, ignore_errors=True)


def process(*args, **more):
    caps = oci_pb2.LinuxCapabilities(Bounding=CAPS, Effective=CAPS, Permitted=CAPS)
    more.setdefault('User', oci_pb2.User())
    return oci_pb2.Process(Args=list(args), Env=['PATH=/bin'], Cwd='/', Capabilities=caps, **more)


def spec(image, *args, namespaces=('mount', 'pid', 'ipc', 'uts'), hooks=True, **more):
    M, R = oci_pb2.Mount, oci_pb2
    resources = R.LinuxResources(
        Memory=R.LinuxMemory(Limit=64 << 20), CPU=R.LinuxCPU(Shares=512), Pids=R.LinuxPids(Limit=20),
        Devices=[R.LinuxDeviceCgroup(Allow=False, Access='rwm')])
    # As 3.x has it: its number 3 are flags.
    seccomp = R.LinuxSeccomp()
    seccomp.MergeFromString(pb((1, 'SCMP_ACT_ALLOW'), (4, pb((1, 'swapon'), (2, 'SCMP_ACT_ERRNO')))))
    linux = R.Linux(
        Resources=resources, Namespaces=[R.LinuxNamespace(Type=n) for n in namespaces],
        MaskedPaths=['/proc/keys', '/proc/acpi'], ReadonlyPaths=['/proc/sys'],
        Devices=[R.LinuxDevice(Path='/dev/zero2', Type='c', Major=1, Minor=5, FileMode=0o666)],
        Seccomp=seccomp)
    if 'uts' in namespaces:
        more['Hostname'] = 'life'
    made = R.Spec(
        Version='1.0.2', Root=R.Root(Path=image.root, Readonly=False), Process=process(*args, NoNewPrivileges=True, **{
            'Rlimits': [R.POSIXRlimit(Type='RLIMIT_NOFILE', Hard=256, Soft=256)]}), Linux=linux, Mounts=[
            M(destination='/proc', type='proc', source='proc'),
            M(destination='/dev', type='tmpfs', source='tmpfs', options=['mode=755', 'nosuid']),
            M(destination='/dev/pts', type='devpts', source='devpts', options=['newinstance', 'ptmxmode=0666']),
            M(destination='/sys', type='sysfs', source='sysfs', options=['ro', 'nosuid']),
            M(destination='/sys/fs/cgroup', type='cgroup', source='cgroup', options=['ro']),
            M(destination='/shm', type='bind', source='/run/kata-containers/sandbox/shm', options=['rbind']),
            M(destination='/data', type='bind', source='/run/kata-containers/data', options=['rbind', 'ro'])], **more)
    if hooks:
        made.Hooks.Prestart.add(Path='/bin/true', Args=['true'])
        made.Hooks.Poststop.add(Path='/bin/true', Args=['true'])
    return made


class Life:
    """Of a sandbox with a container, from its first call to its last. Its steps are what a host of 3.x does."""

    def __init__(self, agent, image):
        self.agent, self.image = agent, image
        self.check = Client(agent.sock)
        subprocess.run(['nsenter', '-t', str(agent.pid), '-n', 'ip', 'link', 'add', 'eth0', 'address', MAC, 'type', 'veth',
                        'peer', 'name', 'eth1'], check=True)
        os.makedirs(agent.root + '/run/source/dir', exist_ok=True)
        self.step = None

    def steps(self, c):
        """Yields before each call the call's name; the caller may make something happen then."""
        St, R, T = agent_pb2.Storage, oci_pb2, types_pb2
        ids = dict(container_id='c', exec_id='c')
        yield 'ListInterfaces'
        c.call('ListInterfaces')
        yield 'UpdateInterface'
        c.call('UpdateInterface', interface=T.Interface(device='eth0', name='eth0', mtu=1400, hwAddr=MAC, IPAddresses=[
            T.IPAddress(address='10.1.2.3', mask='24')]))
        yield 'UpdateRoutes'
        c.call('UpdateRoutes', routes=agent_pb2.Routes(Routes=[T.Route(dest='10.9.0.0/16', gateway='10.1.2.1', device='eth0')]))
        yield 'ListRoutes'
        c.call('ListRoutes')
        yield 'CreateSandbox'
        c.call('CreateSandbox', sandbox_id='sb', hostname='pod', dns=['nameserver 1.2.3.4'], sandbox_pidns=self.shared_pid, storages=[
            St(driver='ephemeral', source='shm', fstype='tmpfs', mount_point='/run/kata-containers/sandbox/shm')])
        yield 'GetOOMEvent'
        oom = c.send('GetOOMEvent')
        yield 'GetGuestDetails'
        c.call('GetGuestDetails', mem_block_size=True)
        for offset in (0, 3):
            yield 'CopyFile'
            c.call('CopyFile', path=COPIED, file_size=6, offset=offset, data=b'abcdef'[offset:offset + 3],
                   file_mode=0o100644, dir_mode=0o755)
        yield 'CreateContainer'
        c.call('CreateContainer', sandbox_pidns=self.shared_pid, OCI=self.spec(), storages=[
            St(driver='bind', source='/run/source', fstype='bind', options=['bind'], mount_point='/run/kata-containers/data'),
            St(driver='local', mount_point='/run/kata-containers/local', options=['mode=0700'])], **ids)
        yield 'StartContainer'
        c.call('StartContainer', container_id='c')
        yield 'WaitProcess'
        ended = c.send('WaitProcess', **ids)
        yield 'ExecProcess'
        execed = dict(container_id='c', exec_id='e')
        c.call('ExecProcess', process=process('sh', '-c', 'cat; exit 7'), **execed)
        yield 'WriteStdin'
        c.call('WriteStdin', data=b'x' * 10000, **execed)
        yield 'CloseStdin'
        c.call('CloseStdin', **execed)
        self.expect(self.read(c, **execed), b'x' * 10000)
        yield 'ReadStderr'
        try:
            c.call('ReadStderr', len=100, **execed)
        except Refused as e:
            self.eof(e)
        yield 'WaitProcess'
        self.expect(c.call('WaitProcess', **execed).status, 7)
        yield 'ExecProcess terminal'
        execed = dict(container_id='c', exec_id='t')
        c.call('ExecProcess', process=process('sh', '-c', 'exit 3', Terminal=True), **execed)
        yield 'TtyWinResize'
        try:
            c.call('TtyWinResize', row=24, column=80, **execed)
        except Refused:
            pass        # it may have ended
        yield 'WaitProcess'
        self.expect(c.call('WaitProcess', **execed).status, 3)
        yield 'UpdateContainer'
        c.call('UpdateContainer', container_id='c', resources=R.LinuxResources(
            CPU=R.LinuxCPU(Shares=256), Memory=R.LinuxMemory(Limit=80 << 20), Pids=R.LinuxPids(Limit=30)))
        yield 'StatsContainer'
        self.expect(c.call('StatsContainer', container_id='c').cgroup_stats.pids_stats.limit, 30)
        yield 'ListProcesses'
        c.call('ListProcesses', container_id='c', format='json')
        yield 'GetMetrics'
        c.call('GetMetrics')
        yield 'GetVolumeStats'
        c.call('GetVolumeStats', volume_guest_path='/run/kata-containers/sandbox/shm')
        yield 'PauseContainer'
        c.call('PauseContainer', container_id='c')
        yield 'ResumeContainer'
        c.call('ResumeContainer', container_id='c')
        yield 'SignalProcess'
        c.call('SignalProcess', signal=10, **ids)
        yield 'CloseStdin'
        c.call('CloseStdin', **ids)
        self.expect(c.answer(ended).status, 0)
        self.expect(self.read(c, **ids), b'hello\n')
        yield 'RemoveContainer'
        c.call('RemoveContainer', container_id='c')
        yield 'DestroySandbox'
        c.call('DestroySandbox')
        yield 'GetOOMEvent'
        try:
            c.answer(oom)
        except Refused:
            pass

    shared_pid = False
    may_die = False     # somebody is killed: what he would have said is missing

    edit = None         # of the spec

    def spec(self):
        made = spec(self.image, 'sh', '-c', 'trap "" USR1; echo hello; cat')
        if self.edit:
            self.edit(made)
        return made

    def expect(self, got, want):
        if got != want:
            raise (Refused if self.may_die else Wrong)('%s gave %.100r, not %.100r' % (self.step, got, want))

    def eof(self, e):
        if 'EOF' not in str(e):
            raise e

    def read(self, c, **ids):
        data = b''
        while True:
            self.step = 'ReadStdout'
            try:
                more = c.call('ReadStdout', len=32768, **ids).data
            except Refused as e:
                self.eof(e)
                return data
            if not more:
                return data
            data += more

    def run(self, client_dies=None, init_dies=None):
        """True: it was whole. Else the error is kept. The client dies behind its n-th request, the init before the n-th step."""
        self.refused = None
        c = Client(self.agent.sock, client_dies)
        try:
            for n, self.step in enumerate(self.steps(c), 1):
                if n == init_dies:
                    self.kill_init()
                self.checks()
        except Refused as e:
            self.refused = e
        finally:
            c.close()
        self.checks()
        return self.refused is None

    def kill_init(self):
        inits = set()
        for top in self.agent.cgroups.dirs():
            with contextlib.suppress(OSError), open(os.path.join(top, 'c', 'cgroup.procs')) as f:
                inits.update(int(pid) for pid in f.read().split())
        if inits:
            os.kill(min(inits), signal.SIGKILL)

    def checks(self):
        """Check answers, now; a connection may have been hit by the fault, but then the next one works."""
        for last in (False, True):
            try:
                self.check.call('Check')
                return
            except Refused as e:
                if last:
                    raise Wrong('Check: %s' % e) from None
                self.check.connect()

    def clean_up(self):
        """As a host does after an error: until it is done, with the patience of one."""
        for last in (False, False, True):
            c = Client(self.agent.sock)
            try:
                try:
                    c.call('RemoveContainer', container_id='c')
                except Refused as e:
                    if getattr(e, 'status', None) != NOT_FOUND and last:
                        raise
                c.call('DestroySandbox')
                return
            except Refused as e:
                if last:
                    raise Wrong('cleaning up: %s' % e) from None
            finally:
                c.close()


class Snapshot:
    """What there is of an agent: descriptors, children, mounts, cgroups, files, processes."""

    def __init__(self, agent):
        self.agent = agent
        self.parts = self.look()

    def look(self):
        pid = self.agent.pid
        fds = []
        for fd in os.listdir('/proc/%d/fd' % pid):
            with contextlib.suppress(OSError):
                fds.append(os.readlink('/proc/%d/fd/%s' % (pid, fd)).split(':')[0])
        with open('/proc/%d/mountinfo' % pid) as f:
            # Others' come and go below /tmp: their unshared copies go with the folders that they are on.
            mounts = sorted(p for p in (line.split()[4] for line in f) if not p.startswith('/tmp/'))
        files = []
        for base, dirs, names in os.walk(self.agent.root + '/run'):
            files += [os.path.join(base, n)[len(self.agent.root):] for n in dirs + names]
        cgroups, inside = [], set()
        for top in self.agent.cgroups.dirs():
            for base, dirs, _ in os.walk(top):
                cgroups += [os.path.join(base, d) for d in dirs]
                with contextlib.suppress(OSError), open(os.path.join(base, 'cgroup.procs')) as f:
                    inside.update(f.read().split())
        return dict(descriptors=sorted(fds), children=self.agent.children(), mounts=mounts, files=sorted(files),
                    cgroups=sorted(cgroups), processes=sorted(inside))

    def same(self, patience=2.5, half_copied=False):
        """Raises what is there that was not, or is not any more. half_copied: a copy waits for its other part."""
        end = time.monotonic() + patience
        while True:
            with contextlib.suppress(FileNotFoundError):
                now = self.look()
                if half_copied:
                    now['files'] = [f for f in now['files'] if f != COPIED + '.tmp']
                if now == self.parts:
                    return
                if time.monotonic() > end:
                    break
            time.sleep(0.01)
        said = []
        for what, before in self.parts.items():
            more, less = list(now[what]), []
            for x in before:
                if x in more:
                    more.remove(x)
                else:
                    less.append(x)
            if more:
                said.append('left %s: %s' % (what, ', '.join(more)))
            if less:
                said.append('gone %s: %s' % (what, ', '.join(less)))
        raise Wrong('; '.join(said))
