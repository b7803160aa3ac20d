#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every RPC of grpc.AgentService and grpc.Health, with its errors, through grpcio, on this host. TAP.

The statuses are those of the 1.x specification (T1 to T42 in its list of tested behaviours, named where a
case covers one). Malformed and hostile requests come from here, too, and twenty seconds of everything at
once against the agent built with sanitizers, where that exists (make SAN=1). Not here: what changes the
whole machine (the clock, memory and CPU hot-plug), which the guest tests do. docs/rpc.md has the table.

Needs python3-grpcio, python3-protobuf and protobuf-compiler; skips without them.
"""
import fcntl
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import nsagent  # noqa: E402
import server  # noqa: E402
from rpc import Client, Ttrpc, fails, agent_pb2, grpc, oci_pb2, types_pb2  # noqa: E402
from tap import Tap, expect, has, need_root, retry  # noqa: E402
from wire import pb, ttrpc_request  # noqa: E402

S = grpc.StatusCode
IDS = ('', '/', '..', '.', 'a/b', '../../etc', 'a\0b', 'a\nb', ' ', 'x' * 100000, '\u00fcber', '%s%n', '-', '*')
BAD_ID = b'\xff\xfe'


class Sandbox:
    """A sandbox, and what makes containers in it."""

    def __init__(self, client, road, **fields):
        self.c, self.road, self.fields = client, road, fields

    def __enter__(self):
        self.c.CreateSandbox(sandbox_id='sb', **self.fields)
        return self

    def __exit__(self, *what):
        self.c.DestroySandbox()

    def spec(self, cmd, **process):
        return make_spec(self.road, cmd, **process)

    def create(self, cid, cmd='exec sleep 1000', terminal=False, _later=False, edit=None, **more):
        spec = self.spec(cmd, Terminal=terminal)
        if edit:
            edit(spec)
        return self.c.CreateContainer(container_id=cid, exec_id=cid, OCI=spec, _later=_later, **more)

    def start(self, cid, cmd='exec sleep 1000', **kw):
        self.create(cid, cmd, **kw)
        self.c.StartContainer(container_id=cid)

    def execute(self, cid, eid, *args, terminal=False):
        return self.c.ExecProcess(container_id=cid, exec_id=eid, process=make_process(args, Terminal=terminal))

    def wait(self, cid, eid=None, **kw):
        return self.c.WaitProcess(container_id=cid, exec_id=eid or cid, **kw)

    def read(self, cid, eid=None):
        data = b''
        while True:
            try:
                data += self.c.ReadStdout(container_id=cid, exec_id=eid or cid, len=32768).data
            except grpc.RpcError as e:
                expect((e.code(), e.details()), (S.UNKNOWN, 'EOF'))
                return data


CAPS = ['CAP_' + n for n in 'CHOWN DAC_OVERRIDE FOWNER KILL SETGID SETUID SETPCAP SYS_CHROOT MKNOD'.split()]


def make_process(args, **more):
    caps = oci_pb2.LinuxCapabilities(Bounding=CAPS, Effective=CAPS, Permitted=CAPS)
    return oci_pb2.Process(Args=list(args), Env=['PATH=/bin'], Cwd='/', Capabilities=caps, User=oci_pb2.User(), **more)


def make_spec(road, cmd, **process):
    M = oci_pb2.Mount
    return oci_pb2.Spec(
        Version='1.0.2', Root=oci_pb2.Root(Path=road.rootfs), Process=make_process(['sh', '-c', cmd], **process),
        Mounts=[M(destination='/proc', type='proc', source='proc'),
                M(destination='/dev', type='tmpfs', source='tmpfs', options=['mode=755']),
                M(destination='/dev/pts', type='devpts', source='devpts', options=['newinstance', 'ptmxmode=0666'])],
        Linux=oci_pb2.Linux(Resources=oci_pb2.LinuxResources(), Namespaces=[oci_pb2.LinuxNamespace(Type='mount')]))


# ---- health, sandbox ---------------------------------------------------------------------------

def health(agent, c, road):
    """T38"""
    expect(c.Check().status, 1)
    expect(c.Check(service='anything').status, 1)
    v = c.Version()
    expect(v.grpc_version, '0.0.1')
    expect(v.agent_version != '', True)


def without_a_sandbox(agent, c, road):
    """T1: what needs one says FailedPrecondition; the rest does not mind."""
    ids = {'container_id': 'x', 'exec_id': 'x'}
    for name in ('ExecProcess', 'SignalProcess', 'WaitProcess', 'WriteStdin', 'ReadStdout', 'ReadStderr', 'CloseStdin',
                 'TtyWinResize', 'CreateContainer'):
        fails(S.FAILED_PRECONDITION, getattr(c, name), **ids, words='Sandbox not started')
    fails(S.FAILED_PRECONDITION, c.StartContainer, container_id='x', words='Sandbox not started')
    for name in ('RemoveContainer', 'ListProcesses', 'UpdateContainer', 'StatsContainer', 'PauseContainer',
                 'ResumeContainer'):
        fails(S.NOT_FOUND, getattr(c, name), container_id='x', words='Container x not found')
    c.DestroySandbox()


def sandbox_life(agent, c, road):
    with Sandbox(c, road, hostname='pod', dns=[' nameserver 1.2.3.4 ', 'search a b']) as sb:
        fails(S.ALREADY_EXISTS, c.CreateSandbox, sandbox_id='other', words='already started')
        sb.start('c1')
        sb.start('c2')
    expect(agent.children(), [])
    with Sandbox(c, road) as sb:        # everything is as at first
        sb.start('c1')
        fails(S.NOT_FOUND, c.StatsContainer, container_id='c2')
    c.DestroySandbox()
    c.DestroySandbox()


def sandbox_destroyed_twice(agent, c, road):
    """Who asks again waits for the same end; in 3.x containers go whether or not there was a sandbox."""
    def slow(spec):
        spec.Hooks.Poststop.add(Path='/bin/sleep', Args=['sleep', '0.5'])
    c.CreateSandbox(sandbox_id='sb')
    sb = Sandbox(c, road)
    for cid in ('x', 'y', 'z'):     # at once: three times half a second is half a second
        sb.start(cid, edit=slow)
    began = time.monotonic()
    both = [c.DestroySandbox(_later=True) for _ in range(2)]
    time.sleep(0.1)
    fails(S.ALREADY_EXISTS, c.CreateSandbox, sandbox_id='sb')
    v3 = Ttrpc(agent.sock)
    fails(S.FAILED_PRECONDITION, v3.CreateContainer, container_id='new', OCI=sb.spec('true'), words='being destroyed')
    v3.close()
    expect([f.done() for f in both], [False, False])
    expect([f.exception() for f in both], [None, None])
    expect(time.monotonic() - began < 1.3, True, 'seconds %.1f' % (time.monotonic() - began))
    fails(S.FAILED_PRECONDITION, sb.create, 'x')
    road.ctl('create-container', '--protocol', 'ttrpc', '--no-share', '--id', 'alone', road.bundle('exec sleep 1000'),
             check=0)
    expect(agent.cgroup_dirs('alone') != [], True)
    road.ctl('destroy-sandbox', '--protocol', 'ttrpc', check=0)
    expect(agent.cgroup_dirs('alone'), [])
    c.CreateSandbox(sandbox_id='sb')
    c.DestroySandbox()


def sandbox_dns(agent, c, road):
    """T31"""
    with open(agent.root + '/etc/resolv.conf') as f:
        before = f.read()
    with Sandbox(c, road, dns=[' nameserver 1.2.3.4 ', 'search a b']):
        with open(agent.root + '/run/kata-containers/sandbox/resolv.conf') as f:
            expect(f.read(), 'nameserver 1.2.3.4\nsearch a b')
    with open('/etc/resolv.conf') as f:
        expect(f.read(), before, "the machine's own")


def sandbox_bad(agent, c, road):
    """T41: kernel modules, storages; and it can be made after all."""
    fails(S.UNKNOWN, c.CreateSandbox, kernel_modules=[agent_pb2.KernelModule(name='')], words='name is empty')
    c.DestroySandbox()
    fails((S.UNKNOWN, S.INTERNAL), c.CreateSandbox, kernel_modules=[agent_pb2.KernelModule(name='no_such_module_x')],
          words='could not load module')
    c.DestroySandbox()
    fails(S.INVALID_ARGUMENT, c.CreateSandbox, storages=[agent_pb2.Storage(driver='nosuch')],
          words='Unknown storage driver')
    c.DestroySandbox()
    with Sandbox(c, road):
        pass


def sandbox_pidns(agent, c, road):
    """T11, T12: one pid namespace for all."""
    # StartContainer is answered before the program of a is what ps calls it.
    look = 'until ps -o comm | grep -c "^sleep" | grep "^1$"; do sleep 0.05; done; exec sleep 1000'
    with Sandbox(c, road, sandbox_pidns=True) as sb:
        sb.start('a')
        sb.start('b', look)
        expect(c.ReadStdout(container_id='b', exec_id='b', len=10).data, b'1\n')
    with Sandbox(c, road) as sb:    # that of the first container, for those who ask
        sb.start('a')
        sb.start('b', look, sandbox_pidns=True)
        expect(c.ReadStdout(container_id='b', exec_id='b', len=10).data, b'1\n')
        sb.start('d', 'ps -o comm | grep -c "^sleep"; exec sleep 1000')
        expect(c.ReadStdout(container_id='d', exec_id='d', len=10).data, b'0\n')
        c.RemoveContainer(container_id='b')     # its processes go, although their namespace stays
        sb.start('e', 'exec sleep 1000', agent_pidns=True)
        c.SignalProcess(container_id='a', exec_id='a', signal=9)
        sb.wait('a')                            # the namespace has ended with its init: the next makes it anew
        c.RemoveContainer(container_id='d')
        sb.start('f', sandbox_pidns=True)
        sb.start('g', look, sandbox_pidns=True)
        expect(c.ReadStdout(container_id='g', exec_id='g', len=10).data, b'1\n')
    with Sandbox(c, road) as sb:    # two at once as the first, while a third is being removed
        sb.start('old')
        later = [c.RemoveContainer(container_id='old', _later=True)]
        later += [sb.create(cid, sandbox_pidns=True, _later=True) for cid in ('a', 'b')]
        for call in later:
            call.result()
        spaces = []
        for cid in ('a', 'b'):
            c.StartContainer(container_id=cid)
        sb.start('c', 'readlink /proc/self/ns/pid; exec sleep 1000', sandbox_pidns=True)
        for cid in ('a', 'b'):
            sb.execute(cid, 'e', 'readlink', '/proc/self/ns/pid')
            spaces.append(sb.read(cid, 'e'))
        expect(c.ReadStdout(container_id='c', exec_id='c', len=100).data in spaces, True)


# ---- containers --------------------------------------------------------------------------------

def create_container(agent, c, road):
    """T2"""
    with Sandbox(c, road) as sb:
        sb.create('x')
        fails(S.ALREADY_EXISTS, sb.create, 'x', words='already exists')

        def newpid(spec):
            spec.Linux.Namespaces.add(Type='NEWPID')
        fails(S.FAILED_PRECONDITION, sb.create, 'y', edit=newpid, words='Unexpected PID namespace')

        def pid(spec):
            spec.Linux.Namespaces.add(Type='pid')
        sb.create('pid', edit=pid)
        for _ in range(2):      # a failed one leaves no entry
            fails(S.INTERNAL, sb.create, 'z', edit=lambda s: s.Process.ClearField('Args') or s.Process.Args.append('nosuch'),
                  words='executable file not found in $PATH')
        sb.create('z')


def create_container_without_parts(agent, c, road):
    """A missing submessage crashed the reference; here it is an InvalidArgument, or has a meaning."""
    with Sandbox(c, road) as sb:
        fails(S.INVALID_ARGUMENT, c.CreateContainer, container_id='x')
        for field in ('Process', 'Root'):
            fails(S.INVALID_ARGUMENT, sb.create, 'x', edit=lambda s, f=field: s.ClearField(f))
        fails(S.INVALID_ARGUMENT, sb.create, 'x', edit=lambda s: s.Process.ClearField('Args'))
        fails(S.INVALID_ARGUMENT, sb.create, 'x', edit=lambda s: s.Root.ClearField('Path'))
        for n, edit in enumerate((lambda s: s.Process.ClearField('User'), lambda s: s.Process.ClearField('Capabilities'),
                                  lambda s: s.Linux.ClearField('Resources'), lambda s: s.Process.ClearField('Cwd'),
                                  lambda s: s.ClearField('Version'))):
            sb.start('ok%d' % n, 'exit 3', edit=edit)
            expect(sb.wait('ok%d' % n).status, 3)
        # Without linux there is no mount namespace to mount in.
        fails(S.UNKNOWN, sb.create, 'x', edit=lambda s: s.ClearField('Linux'), words='mount namespace')


def container_devices_and_storages(agent, c, road):
    """T18, T19, T20"""
    D, St = agent_pb2.Device, agent_pb2.Storage
    with Sandbox(c, road) as sb:
        for dev in (D(), D(type='blk'), D(type='blk', id='02'), D(type='blk', vm_path='/dev/null'),
                    D(type='nosuch', id='1', vm_path='/x', container_path='/y')):
            fails(S.INVALID_ARGUMENT, sb.create, 'x', devices=[dev])
        fails((S.INTERNAL, S.UNKNOWN), sb.create, 'x', devices=[D(type='nvdimm', vm_path='/dev/null', container_path='/dev/x')])
        for st, status in ((St(driver='nosuch'), S.INVALID_ARGUMENT),
                           (St(driver='9p', source='', fstype='9p', mount_point='/run/m'), S.UNKNOWN),
                           (St(driver='9p', source='x', fstype='9p', mount_point=''), (S.UNKNOWN, S.INVALID_ARGUMENT)),
                           (St(driver='9p', source='x', fstype='', mount_point='/run/m'), S.UNKNOWN),
                           (St(driver='blk', source='/etc/passwd', fstype='ext4', mount_point='/run/m'), S.UNKNOWN),
                           (St(driver='nvdimm', source='/dev/sda', fstype='ext4', mount_point='/run/m'), S.UNKNOWN),
                           (St(driver='local', mount_point='/run/m', options=['mode=abcde']), S.UNKNOWN)):
            fails(status, sb.create, 'x', storages=[st])
        shm = St(driver='ephemeral', source='shm', fstype='tmpfs', mount_point='/run/kata-containers/shm')
        sb.create('one', storages=[shm])
        sb.create('two', storages=[shm])
        expect(agent.mounts().count('/run/kata-containers/shm'), 1)
        for cid in ('one', 'two'):
            c.RemoveContainer(container_id=cid)
        os.makedirs(agent.root + '/run/source', exist_ok=True)
        own = St(driver='bind', source='/run/source', fstype='bind', mount_point='/run/kata-containers/own', options=['bind'])
        sb.create('three', storages=[own])
        expect(agent.mounts().count('/run/kata-containers/own'), 1)
        c.RemoveContainer(container_id='three')
        retry(lambda: expect(agent.mounts().count('/run/kata-containers/own'), 0))


def start_container(agent, c, road):
    with Sandbox(c, road) as sb:
        fails(S.NOT_FOUND, c.StartContainer, container_id='nobody')
        sb.start('x')
        fails(S.FAILED_PRECONDITION, c.StartContainer, container_id='x', words=('status running', 'should be created'))
        c.PauseContainer(container_id='x')
        fails(S.FAILED_PRECONDITION, c.StartContainer, container_id='x', words='should be created')
        c.ResumeContainer(container_id='x')
        c.SignalProcess(container_id='x', exec_id='x', signal=9)
        sb.wait('x')
        fails(S.FAILED_PRECONDITION, c.StartContainer, container_id='x', words=('status stopped', 'should be created'))
        sb.create('killed')
        c.SignalProcess(container_id='killed', exec_id='killed', signal=9)
        expect(sb.wait('killed').status, 137)
        fails((S.FAILED_PRECONDITION, S.UNKNOWN), c.StartContainer, container_id='killed')


def remove_container(agent, c, road):
    """T7: created, running, paused, stopped; with and without a time limit; twice."""
    with Sandbox(c, road) as sb:
        for timeout in (0, 30):
            sb.create('created')
            sb.start('running', 'trap "" TERM; while :; do sleep 0.1; done')
            sb.start('paused')
            c.PauseContainer(container_id='paused')
            sb.start('stopped', 'exit 3')
            expect(sb.wait('stopped').status, 3)
            for cid in ('created', 'running', 'paused', 'stopped'):
                c.RemoveContainer(container_id=cid, timeout=timeout)
                fails(S.NOT_FOUND, c.RemoveContainer, container_id=cid, timeout=timeout)
                expect(agent.cgroup_dirs(cid), [])
        # Its parked calls end.
        sb.start('waited')
        waiter = sb.wait('waited', _later=True)
        reader = c.ReadStdout(container_id='waited', exec_id='waited', len=10, _later=True)
        time.sleep(0.1)
        c.RemoveContainer(container_id='waited')
        expect(waiter.result().status, 137)
        expect(reader.exception().code(), S.UNKNOWN)
        # Again while the first is under way: it waits for the same end.
        def slow(spec):
            spec.Hooks.Poststop.add(Path='/bin/sleep', Args=['sleep', '0.5'])
        sb.start('twice', edit=slow)
        both = [c.RemoveContainer(container_id='twice', _later=True) for _ in range(2)]
        time.sleep(0.2)
        expect([f.done() for f in both], [False, False])
        expect([f.exception() for f in both], [None, None])


def remove_container_timeout(agent, c, road):
    """The time runs out while a poststop hook takes longer; the removal goes on all the same."""
    with Sandbox(c, road) as sb:
        def slow(spec):
            spec.Hooks.Poststop.add(Path='/bin/sleep', Args=['sleep', '4'], Timeout=30)
        sb.start('slow', edit=slow)
        began = time.monotonic()
        fails(S.DEADLINE_EXCEEDED, c.RemoveContainer, container_id='slow', timeout=1, words='Timeout reached after 1s')
        expect(0.9 < time.monotonic() - began < 3.5, True)
        retry(lambda: fails(S.NOT_FOUND, c.RemoveContainer, container_id='slow'))


def remove_container_being_created(agent, c, road):
    """A prestart hook that hangs: the container can be removed, and whoever made it is told."""
    with Sandbox(c, road) as sb:
        def hangs(spec):
            spec.Hooks.Prestart.add(Path='/bin/sleep', Args=['sleep', '1000'])
        for _ in range(2):
            made = sb.create('hangs', edit=hangs, _later=True)
            retry(lambda: expect(agent.cgroup_dirs('hangs') != [], True))
            fails(S.NOT_FOUND, c.StartContainer, container_id='hangs')
            removed = [c.RemoveContainer(container_id='hangs', _later=True) for _ in range(2)]
            expect(removed[0].exception(), None)
            late = removed[1].exception()       # it may come when all is over
            expect(late is None or late.code() == S.NOT_FOUND, True, late)
            expect((made.exception().code(), made.exception().details()),
                   (S.ABORTED, 'Container hangs is being removed'))
            expect(agent.cgroup_dirs('hangs'), [])
        sb.start('hangs')       # the id is free


def remove_container_answers_all(agent, c, road):
    """Every call that can be parked with a container is answered when it goes."""
    with Sandbox(c, road) as sb:
        def slow(spec):
            spec.Hooks.Poststart.add(Path='/bin/sleep', Args=['sleep', '1000'])
        sb.create('x', 'exec sleep 1000', edit=slow)
        start = c.StartContainer(container_id='x', _later=True)
        retry(lambda: sb.execute('x', 'e', 'sleep', '1000'), on=(grpc.RpcError,))
        calls = [call(container_id='x', exec_id=e, _later=True, **more) for e in 'xe' for call, more in (
            (c.WaitProcess, {}), (c.ReadStdout, {'len': 10}), (c.ReadStderr, {'len': 10}),
            (c.WriteStdin, {'data': bytes(1 << 20)}), (c.WriteStdin, {'data': bytes(1 << 20)}))]
        time.sleep(0.2)
        expect([f.done() for f in [start] + calls], [False] * 11)
        c.RemoveContainer(container_id='x')
        codes = [f.exception(timeout=5).code() if f.exception(timeout=5) else None for f in calls]
        expect(codes, [None, S.UNKNOWN, S.UNKNOWN, S.UNKNOWN, S.UNKNOWN] * 2)
        expect([calls[0].result().status, calls[5].result().status], [137, 137])
        expect(start.exception(timeout=5).code(), S.ABORTED)


def exec_races_with_remove(agent, c, road):
    """Every ExecProcess is answered, however it meets the removal: 82 of 5,261 were not."""
    with Sandbox(c, road) as sb:
        before = agent.fds()
        for i in range(40):
            sb.start('x')
            calls = [c.ExecProcess(container_id='x', exec_id='e%d' % n, process=make_process(['true']), _later=True)
                     for n in range(8)]
            time.sleep(i % 8 / 1000)
            c.RemoveContainer(container_id='x')
            for f in calls:     # a call that nobody answers ends here with DEADLINE_EXCEEDED
                code = f.exception().code() if f.exception() else None
                expect(code in (None, S.NOT_FOUND, S.ABORTED, S.INTERNAL, S.FAILED_PRECONDITION), True, str(code))
        retry(lambda: expect(agent.fds() <= before + 2, True, '%d, then %d descriptors' % (before, agent.fds())))


def concurrent_duplicates(agent, c, road):
    """T2, #417: of ten creations of one id exactly one comes true, and nobody harms it."""
    with Sandbox(c, road) as sb:
        for _ in range(3):
            futures = [sb.create('dup', _later=True) for _ in range(10)]
            codes = [f.exception().code() if f.exception() else None for f in futures]
            expect((codes.count(None), codes.count(S.ALREADY_EXISTS)), (1, 9))
            c.StartContainer(container_id='dup')
            c.RemoveContainer(container_id='dup')


def client_leaves_during_creation(agent, c, road):
    """What has begun is finished, whoever waits for it."""
    with Sandbox(c, road) as sb:
        def slow(spec):
            spec.Hooks.Prestart.add(Path='/bin/sleep', Args=['sleep', '1'], Timeout=30)
        other = Client(agent.sock)
        future = other.CreateContainer(container_id='left', exec_id='left', OCI=hooked(sb, slow), _later=True)
        time.sleep(0.3)
        fails((S.NOT_FOUND, S.FAILED_PRECONDITION), c.StartContainer, container_id='left')
        future.cancel()
        other.close()
        retry(lambda: started(c, 'left'), on=(AssertionError, grpc.RpcError))
        # The same with a deadline that runs out.
        fails(S.DEADLINE_EXCEEDED, c.CreateContainer, container_id='late', exec_id='late', OCI=hooked(sb, slow), _timeout=0.3)
        retry(lambda: started(c, 'late'), on=(AssertionError, grpc.RpcError))


def hooked(sb, edit):
    spec = sb.spec('exec sleep 1000')
    edit(spec)
    return spec


def started(c, cid):
    c.StartContainer(container_id=cid)


# ---- processes ---------------------------------------------------------------------------------

def exec_process(agent, c, road):
    """T6"""
    with Sandbox(c, road) as sb:
        sb.start('x')
        fails(S.NOT_FOUND, sb.execute, 'nobody', 'e', 'true')
        fails(S.INVALID_ARGUMENT, c.ExecProcess, container_id='x', exec_id='e')
        fails(S.INVALID_ARGUMENT, sb.execute, 'x', 'e')
        fails(S.INTERNAL, sb.execute, 'x', 'e', '/no/such', words='stat /no/such: no such file or directory')
        fails(S.ALREADY_EXISTS, sb.execute, 'x', 'x', 'true')
        sb.execute('x', 'e', 'sh', '-c', 'echo out; exit 7')
        fails(S.ALREADY_EXISTS, sb.execute, 'x', 'e', 'true')
        expect(sb.read('x', 'e'), b'out\n')
        expect(sb.wait('x', 'e').status, 7)
        for i in range(5):      # an id is free again once its process has been waited for
            sb.execute('x', 'e', 'sh', '-c', 'exit %d' % i)
            expect(sb.wait('x', 'e').status, i)
        c.SignalProcess(container_id='x', exec_id='x', signal=9)
        sb.wait('x')
        fails(S.FAILED_PRECONDITION, sb.execute, 'x', 'f', 'true', words='stopped')
        sb.create('created')    # its init waits, and has namespaces to join
        sb.execute('created', 'e', 'sh', '-c', 'exit 4')
        expect(sb.wait('created', 'e').status, 4)


def exec_many(agent, c, road):
    """#762: descriptors do not pile up; 200 with a terminal and without, several at a time."""
    with Sandbox(c, road) as sb:
        sb.start('x')
        before = agent.fds()
        for batch in range(20):
            for i in range(10):
                sb.execute('x', 'e%d' % i, 'sh', '-c', 'exit %d' % i, terminal=batch % 2 == 1)
            expect([sb.wait('x', 'e%d' % i).status for i in range(10)], list(range(10)))
            for i in range(10):
                try:
                    sb.read('x', 'e%d' % i)
                except (grpc.RpcError, AssertionError):
                    pass
        retry(lambda: expect(agent.fds() <= before + 2, True, '%d, then %d descriptors' % (before, agent.fds())), 15)


def exec_with_rules_of_its_own(agent, c, road):
    """3.x: the request's count, and the container's where it is silent. 1.x: the container's, always."""
    v3 = Ttrpc(agent.sock)

    def edit(spec):
        spec.Process.NoNewPrivileges = True
        spec.Process.OOMScoreAdj = 500
        spec.Process.Rlimits.add(Type='RLIMIT_NOFILE', Hard=777, Soft=777)

    def told(client, **process):
        p = oci_pb2.Process(Args=['cat', '/proc/self/status', '/proc/self/limits', '/proc/self/oom_score_adj'], Cwd='/',
                            Env=['PATH=/bin'], User=oci_pb2.User(), **process)
        client.ExecProcess(container_id='x', exec_id='e', process=p)
        text = sb.read('x', 'e').decode()
        sb.wait('x', 'e')
        lines = dict(line.split(':\t') for line in text.splitlines() if ':\t' in line)
        files = next(line.split()[3] for line in text.splitlines() if line.startswith('Max open files'))
        return int(lines['CapEff'], 16), int(lines['NoNewPrivs']), int(files), int(text.split()[-1])
    with Sandbox(c, road) as sb:
        sb.start('x', edit=edit)
        own = nsagent.cap_mask(*CAPS)
        mine = dict(Capabilities=oci_pb2.LinuxCapabilities(Bounding=['CAP_KILL'], Effective=['CAP_KILL'], Permitted=['CAP_KILL']),
                    OOMScoreAdj=600, Rlimits=[oci_pb2.POSIXRlimit(Type='RLIMIT_NOFILE', Hard=333, Soft=333)])
        expect(told(v3, NoNewPrivileges=True), (own, 1, 777, 500))
        expect(told(v3, **mine), (nsagent.cap_mask('CAP_KILL'), 0, 333, 600))
        expect(told(v3, Capabilities=oci_pb2.LinuxCapabilities())[0], 0, 'no capabilities at all is a wish, too')
        expect(told(c, **mine), (own, 1, 777, 500))
        for bad in (dict(OOMScoreAdj=1001), dict(Rlimits=[oci_pb2.POSIXRlimit(Type='RLIMIT_NOFILE', Hard=1, Soft=2)])):
            fails(S.INTERNAL, told, v3, words='Could not run process', **bad)
        # 3.x passes over what is no variable.
        bare = oci_pb2.Process(Args=['sh', '-c', 'echo $A'], Env=['NOEQUALS', 'PATH=/bin', 'A=1'], Cwd='/', User=oci_pb2.User())
        fails(S.INTERNAL, c.ExecProcess, container_id='x', exec_id='bare', process=bare, words='NOEQUALS')
        v3.ExecProcess(container_id='x', exec_id='bare', process=bare)
        expect(sb.read('x', 'bare'), b'1\n')
    v3.close()


def execs_nobody_waits_for(agent, c, road):
    """The oldest is forgotten then; whoever runs is not, nor who is yet to be asked for lately."""
    with Sandbox(c, road) as sb:
        sb.start('x')
        sb.execute('x', 'alive', 'sleep', '1000')
        for i in range(1030):
            sb.execute('x', 'e%d' % i, 'true')
        expect(sb.wait('x', 'e1029').status, 0)
        fails(S.NOT_FOUND, sb.wait, 'x', 'e0')
        c.SignalProcess(container_id='x', exec_id='alive', signal=9)
        expect(sb.wait('x', 'alive').status, 137)


def wait_process(agent, c, road):
    """T5, #129, #145: ten waiters, before and after; the status stays."""
    with Sandbox(c, road) as sb:
        sb.create('x', 'exit 42')
        waiters = [sb.wait('x', _later=True) for _ in range(10)]
        time.sleep(0.1)
        c.StartContainer(container_id='x')
        expect([w.result().status for w in waiters], [42] * 10)
        for _ in range(3):
            expect(sb.wait('x').status, 42)
        fails(S.NOT_FOUND, sb.wait, 'nobody')
        fails(S.NOT_FOUND, sb.wait, 'x', 'nobody', words='Process nobody not found')
        sb.start('y')
        sb.execute('y', 'gone', 'sh', '-c', 'kill -TERM $$')
        expect(sb.wait('y', 'gone').status, 143)
        abandoned = sb.wait('y', _later=True)       # a waiter that leaves does no harm
        abandoned.cancel()
        for _ in range(9):      # nor do more of them than there may be calls at once: none stays
            many = Ttrpc(agent.sock)
            for _ in range(1000):
                many.WaitProcess(container_id='y', exec_id='y', _later=True)
            many.Check()
            many.close()
        c.SignalProcess(container_id='y', exec_id='y', signal=9)
        expect(sb.wait('y').status, 137)


def signal_process(agent, c, road):
    """T4"""
    with Sandbox(c, road) as sb:
        fails(S.FAILED_PRECONDITION, c.SignalProcess, container_id='nobody', exec_id='x', signal=9,
              words='Container nobody not found')
        sb.start('x', 'trap "echo usr1" USR1; while :; do sleep 0.05; done')
        time.sleep(0.2)
        c.SignalProcess(container_id='x', exec_id='x', signal=10)
        expect(c.ReadStdout(container_id='x', exec_id='x', len=100).data, b'usr1\n')
        c.SignalProcess(container_id='x', exec_id='x', signal=0)
        fails(S.NOT_FOUND, c.SignalProcess, container_id='x', exec_id='nobody', signal=9, words='Could not signal process')
        for bad in (65, 1000, 4294967295):
            fails(S.UNKNOWN, c.SignalProcess, container_id='x', exec_id='x', signal=bad)
        # SIGTERM to an init that does not handle it is SIGKILL: #525.
        c.SignalProcess(container_id='x', exec_id='x', signal=15)
        expect(sb.wait('x').status, 137)
        for sig in (0, 9, 15):  # stopped: fine (#96)
            c.SignalProcess(container_id='x', exec_id='x', signal=sig)
            c.SignalProcess(container_id='x', exec_id='', signal=sig)
        # No exec id: everybody. Paused: everybody, and it is thawed (#252).
        sb.start('y', 'sleep 1000 & sleep 1000 & wait')
        sb.execute('y', 'e', 'sleep', '1000')
        c.SignalProcess(container_id='y', exec_id='', signal=9)
        expect((sb.wait('y').status, sb.wait('y', 'e').status), (137, 137))
        sb.start('z')
        c.PauseContainer(container_id='z')
        c.SignalProcess(container_id='z', exec_id='z', signal=9)
        expect(sb.wait('z').status, 137)
        c.ResumeContainer(container_id='z')     # docker does so after its kill
        fails(S.UNKNOWN, c.ResumeContainer, container_id='z', words='not paused')


def signal_to_a_paused_container(agent, c, road):
    """It is not paused any more: signals for one process go to it alone, exec and pause are as ever."""
    with Sandbox(c, road) as sb:
        sb.start('x', 'trap "echo usr1" USR1; echo up; while :; do sleep 0.05; done')
        expect(c.ReadStdout(container_id='x', exec_id='x', len=100).data, b'up\n')
        sb.execute('x', 'e', 'sleep', '1000')
        c.PauseContainer(container_id='x')
        c.SignalProcess(container_id='x', exec_id='x', signal=0)        # only asks
        fails(S.FAILED_PRECONDITION, sb.execute, 'x', 'f', 'true', words='paused')
        c.SignalProcess(container_id='x', exec_id='x', signal=18)
        sb.execute('x', 'f', 'sh', '-c', 'exit 5')
        expect(sb.wait('x', 'f').status, 5)
        c.SignalProcess(container_id='x', exec_id='x', signal=10)
        expect(c.ReadStdout(container_id='x', exec_id='x', len=100).data, b'usr1\n')
        waiter = sb.wait('x', 'e', _later=True)
        time.sleep(0.1)
        expect(waiter.done(), False, 'USR1 was for the init alone')
        for _ in range(2):
            c.PauseContainer(container_id='x')
            fails(S.UNKNOWN, c.PauseContainer, container_id='x', words='paused')
            c.ResumeContainer(container_id='x')
        c.PauseContainer(container_id='x')
        c.SignalProcess(container_id='x', exec_id='', signal=18)
        c.ResumeContainer(container_id='x')
        fails(S.UNKNOWN, c.ResumeContainer, container_id='x', words='not paused')
        # 3.x: to the one process, and the container stays paused.
        c.PauseContainer(container_id='x')
        road.ctl('signal', '--protocol', 'ttrpc', '--exec', 'e', 'x', 'TERM', check=0)
        fails(S.UNKNOWN, c.PauseContainer, container_id='x', words='paused')
        expect(waiter.done(), False)
        c.ResumeContainer(container_id='x')
        expect(waiter.result().status, 143)


def list_processes(agent, c, road):
    """T8"""
    with Sandbox(c, road) as sb:
        sb.start('x', 'sleep 1000 & sleep 1000 & wait')
        pids = retry(lambda: three(json.loads(c.ListProcesses(container_id='x', format='json').process_list)))
        table = c.ListProcesses(container_id='x', format='table').process_list.decode().splitlines()
        has(table[0], 'PID')
        expect({int(line.split()[1]) for line in table[1:]}, set(pids))
        table = c.ListProcesses(container_id='x', format='table', args=['-o', 'pid,comm', '-e']).process_list.decode()
        expect([len(line.split()) for line in table.splitlines()], [2] * 4)
        fails(S.UNKNOWN, c.ListProcesses, container_id='x', format='table', args=['-o', 'comm'], words='PID')
        fails(S.UNKNOWN, c.ListProcesses, container_id='x', format='table', args=['--no-such-option'])
        for bad in ('', 'xml', 'JSON'):
            fails(S.UNKNOWN, c.ListProcesses, container_id='x', format=bad, words='invalid format option')
        fails(S.NOT_FOUND, c.ListProcesses, container_id='nobody', format='json')
        c.SignalProcess(container_id='x', exec_id='', signal=9)
        sb.wait('x')
        retry(lambda: expect(json.loads(c.ListProcesses(container_id='x', format='json').process_list), None))


def three(pids):
    expect(len(pids), 3)
    return pids


def update_container(agent, c, road):
    """T9"""
    R = oci_pb2
    with Sandbox(c, road) as sb:
        sb.start('x')
        fails(S.NOT_FOUND, c.UpdateContainer, container_id='nobody', resources=R.LinuxResources())
        fails(S.UNKNOWN, c.UpdateContainer, container_id='x', words='Resources in the request are nil')
        c.UpdateContainer(container_id='x', resources=R.LinuxResources())
        c.UpdateContainer(container_id='x', resources=R.LinuxResources(
            Memory=R.LinuxMemory(Limit=64 << 20), Pids=R.LinuxPids(Limit=77), CPU=R.LinuxCPU(Shares=333, Cpus='0'),
            BlockIO=R.LinuxBlockIO(), Network=R.LinuxNetwork(ClassID=1), Devices=[R.LinuxDeviceCgroup(Allow=True)]))
        s = c.StatsContainer(container_id='x').cgroup_stats
        expect((s.memory_stats.usage.limit, s.pids_stats.limit), (64 << 20, 77))
        # The limits go up and down, in whatever order memory and swap demand.
        for limit in (128 << 20, 32 << 20, 256 << 20):
            c.UpdateContainer(container_id='x', resources=R.LinuxResources(Memory=R.LinuxMemory(Limit=limit, Swap=limit * 2)))
            expect(c.StatsContainer(container_id='x').cgroup_stats.memory_stats.usage.limit, limit)
        # A value that the kernel refuses changes nothing.
        fails(S.UNKNOWN, c.UpdateContainer, container_id='x', resources=R.LinuxResources(CPU=R.LinuxCPU(Cpus='junk')))
        expect(c.StatsContainer(container_id='x').cgroup_stats.pids_stats.limit, 77)
        c.SignalProcess(container_id='x', exec_id='x', signal=9)
        sb.wait('x')
        fails(S.UNKNOWN, c.UpdateContainer, container_id='x', resources=R.LinuxResources(), words='container not running')


def updates_of_one_container_take_turns(agent, c, road):
    """Memory is a worker's, the rest is done at once; yet what came first is done first, whatever becomes of it."""
    R = oci_pb2
    changes = [R.LinuxResources(Memory=R.LinuxMemory(Limit=64 << 20), Pids=R.LinuxPids(Limit=70)),
               R.LinuxResources(Pids=R.LinuxPids(Limit=71)),
               R.LinuxResources(Memory=R.LinuxMemory(Limit=96 << 20), Pids=R.LinuxPids(Limit=72), CPU=R.LinuxCPU(Cpus='junk')),
               R.LinuxResources(Memory=R.LinuxMemory(Limit=128 << 20))] + [
        R.LinuxResources(Pids=R.LinuxPids(Limit=80 + i)) for i in range(20)]
    with Sandbox(c, road) as sb:
        sb.start('x')
        ends = []
        later = [c.UpdateContainer(container_id='x', resources=r, _later=True) for r in changes]
        for i, call in enumerate(later):
            call.add_done_callback(lambda call, i=i: ends.append((i, call.code())))
        retry(lambda: expect(len(ends), len(changes)))
        expect([i for i, code in ends if code != S.OK], [2])
        expect([i for i, _ in ends], sorted(i for i, _ in ends), 'the order of the ends')
        s = c.StatsContainer(container_id='x').cgroup_stats
        expect((s.memory_stats.usage.limit, s.pids_stats.limit), (128 << 20, 99))
        # A removal ends those that wait.
        later = [c.UpdateContainer(container_id='x', resources=r, _later=True) for r in changes]
        c.RemoveContainer(container_id='x')
        retry(lambda: expect(all(call.done() for call in later), True))


def update_of_an_exited_container(agent, c, road):
    """3.x writes while the cgroup is there; 1.x refuses."""
    v3, limits = Ttrpc(agent.sock), oci_pb2.LinuxResources(Memory=oci_pb2.LinuxMemory(Limit=64 << 20))
    with Sandbox(c, road) as sb:
        sb.start('x', 'exit 0')
        sb.wait('x')
        v3.UpdateContainer(container_id='x', resources=limits)
        expect(c.StatsContainer(container_id='x').cgroup_stats.memory_stats.usage.limit, 64 << 20)
        fails(S.UNKNOWN, c.UpdateContainer, container_id='x', resources=limits, words='not running')
    v3.close()


def stats_container(agent, c, road):
    """T10: all parts are there, and grow with what the container does."""
    with Sandbox(c, road) as sb:
        sb.start('x', 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exec sleep 1000')
        fails(S.NOT_FOUND, c.StatsContainer, container_id='nobody')
        s = c.StatsContainer(container_id='x').cgroup_stats
        for part in ('cpu_stats', 'memory_stats', 'pids_stats', 'blkio_stats'):
            expect(s.HasField(part), True, part)
        retry(lambda: expect(c.StatsContainer(container_id='x').cgroup_stats.cpu_stats.cpu_usage.total_usage > 1000000, True))
        expect(s.pids_stats.current >= 1, True)
        expect(len(s.memory_stats.stats) > 5, True)
        c.SignalProcess(container_id='x', exec_id='x', signal=9)
        sb.wait('x')
        c.StatsContainer(container_id='x')


def pause_resume(agent, c, road):
    """T10"""
    with Sandbox(c, road) as sb:
        sb.start('x', 'while :; do echo tick; sleep 0.01; done')
        fails(S.UNKNOWN, c.ResumeContainer, container_id='x', words='container not paused')
        c.PauseContainer(container_id='x')
        fails(S.UNKNOWN, c.PauseContainer, container_id='x', words='paused')
        fails(S.FAILED_PRECONDITION, sb.execute, 'x', 'e', 'true', words='paused')
        fails(S.DEADLINE_EXCEEDED, lambda: [c.ReadStdout(container_id='x', exec_id='x', len=1 << 20, _timeout=0.3)
                                            for _ in range(100)])
        reader = c.ReadStdout(container_id='x', exec_id='x', len=10, _later=True)
        time.sleep(0.2)
        expect(reader.done(), False)
        c.ResumeContainer(container_id='x')
        expect(b'tick' in reader.result().data, True)
        for name in ('PauseContainer', 'ResumeContainer'):
            fails(S.NOT_FOUND, getattr(c, name), container_id='nobody')
        sb.create('created')
        c.PauseContainer(container_id='created')
        c.ResumeContainer(container_id='created')


def standard_streams(agent, c, road):
    """T14, #123, #145: exact lengths, EOF, order, broken pipes."""
    with Sandbox(c, road) as sb:
        sb.start('x', 'cat; echo end >&2')
        ids = {'container_id': 'x', 'exec_id': 'x'}
        expect(c.WriteStdin(**ids, data=b'hello').len, 5)
        expect(c.WriteStdin(**ids, data=b'').len, 0)
        expect(c.ReadStdout(**ids, len=2).data, b'he')
        expect(c.ReadStdout(**ids, len=100).data, b'llo')
        expect(c.ReadStdout(**ids, len=0).data, b'')
        fails(S.FAILED_PRECONDITION, c.TtyWinResize, **ids, row=1, column=1, words='Terminal is not set')
        big = os.urandom(300000)
        writer = c.WriteStdin(**ids, data=big, _later=True)
        got = b''
        while len(got) < len(big):
            got += c.ReadStdout(**ids, len=32768).data
        expect((got == big, writer.result().len), (True, len(big)))
        c.CloseStdin(**ids)
        expect(c.WriteStdin(**ids, data=b'late').len, 0)
        c.CloseStdin(**ids)
        expect(c.ReadStderr(**ids, len=100).data, b'end\n')
        for fn in (c.ReadStdout, c.ReadStderr):
            for _ in range(2):
                expect(fails(S.UNKNOWN, fn, **ids, len=10), 'EOF')
        sb.start('deaf', 'exec <&-; echo closed; exec sleep 1000')
        expect(c.ReadStdout(container_id='deaf', exec_id='deaf', len=10).data, b'closed\n')
        fails(S.UNKNOWN, c.WriteStdin, container_id='deaf', exec_id='deaf', data=b'x' * 100, words='broken pipe')
        for name, more in (('WriteStdin', {'data': b'x'}), ('ReadStdout', {'len': 1}), ('ReadStderr', {'len': 1}),
                           ('CloseStdin', {}), ('TtyWinResize', {'row': 1, 'column': 1})):
            fails(S.NOT_FOUND, getattr(c, name), container_id='nobody', exec_id='x', **more)
            fails(S.NOT_FOUND, getattr(c, name), container_id='x', exec_id='nobody', **more)


def cancelled_reader_takes_nothing_along(agent, c, road):
    """1.6: better than the reference, which dropped a chunk."""
    with Sandbox(c, road) as sb:
        sb.start('x', 'sleep 0.5; echo kept; exec sleep 1000')
        reader = c.ReadStdout(container_id='x', exec_id='x', len=100, _later=True)
        time.sleep(0.1)
        reader.cancel()
        time.sleep(0.6)
        expect(c.ReadStdout(container_id='x', exec_id='x', len=100).data, b'kept\n')


def close_stdin_behind_a_blocked_write(agent, c, road):
    """It hung in the reference. Nothing is lost: the end comes after what was written before."""
    with Sandbox(c, road) as sb:
        sb.start('x', 'sleep 0.5; wc -c')
        writer = c.WriteStdin(container_id='x', exec_id='x', data=b'x' * 1000000, _later=True)
        time.sleep(0.1)
        c.CloseStdin(container_id='x', exec_id='x', _timeout=5)
        expect(c.ReadStdout(container_id='x', exec_id='x', len=100).data.strip(), b'1000000')
        expect(writer.result().len, 1000000)


def workers_hold_nobodys_streams(agent, c, road):
    """While a hook of another container runs, the end of stdin arrives at this one."""
    with Sandbox(c, road) as sb:
        sb.start('x', 'cat; exit 3')

        def slow(spec):
            spec.Hooks.Prestart.add(Path='/bin/sleep', Args=['sleep', '1000'])
        before = set(agent.children())
        made = sb.create('slow', edit=slow, _later=True)

        def workers():
            found = [p for p in agent.children() if p not in before and 'kata-agent' in os.readlink('/proc/%s/exe' % p)]
            fds = [len(os.listdir('/proc/%s/fd' % p)) for p in found]
            expect(bool(found) and all(n <= 12 for n in fds), True, 'descriptors: %s' % fds)
        retry(lambda: expect(agent.cgroup_dirs('slow') != [], True))
        retry(workers, on=(AssertionError, OSError))
        c.CloseStdin(container_id='x', exec_id='x')
        expect(sb.wait('x', _timeout=5).status, 3)
        c.RemoveContainer(container_id='slow')
        made.exception()


def terminal(agent, c, road):
    """T14, T15, #283, #370"""
    with Sandbox(c, road) as sb:
        sb.create('x', 'stty size; read line; echo got $line; sleep 100 & exit 5', terminal=True)
        ids = {'container_id': 'x', 'exec_id': 'x'}
        c.TtyWinResize(**ids, row=24, column=80)    # before the start
        c.StartContainer(container_id='x')
        expect(retry(lambda: c.ReadStdout(**ids, len=100).data), b'24 80\r\n')
        c.CloseStdin(**ids)
        expect(c.WriteStdin(**ids, data=b'line\r').len, 5)
        began = time.monotonic()
        text = b''
        while True:
            try:
                text += c.ReadStdout(**ids, len=100).data
            except grpc.RpcError as e:
                expect(e.code(), S.UNKNOWN)
                break
        expect(text, b'line\r\ngot line\r\n')
        expect(time.monotonic() - began < 5, True)
        expect(sb.wait('x').status, 5)


def oom_event(agent, c, road):
    """5.8: callable at any time; a container that ran out of memory is named. Removal is no such event."""
    waiting = c.GetOOMEvent(_later=True)
    with Sandbox(c, road) as sb:
        sb.start('quiet')
        c.RemoveContainer(container_id='quiet')

        def small(spec):
            spec.Linux.Resources.Memory.Limit = 32 << 20
            spec.Linux.Resources.Memory.Swap = 32 << 20
        sb.start('greedy', '/bin/probe eat 200; exec sleep 1000', edit=small)
        expect(waiting.result(15).container_id, 'greedy')
    late = c.GetOOMEvent(_later=True)
    time.sleep(0.2)
    expect(late.done(), False, 'an event of a removal')
    late.cancel()
    with Sandbox(c, road) as sb:    # nobody asked yet, and the container has gone
        sb.start('gone', '/bin/probe eat 200; exit 3', edit=small)
        sb.wait('gone')
        c.RemoveContainer(container_id='gone')
        expect(c.GetOOMEvent(_timeout=5).container_id, 'gone')
        late = c.GetOOMEvent(_later=True)
        time.sleep(0.2)
    fails(S.INTERNAL, late.result, words='destroyed')


# ---- network -----------------------------------------------------------------------------------

def in_net(agent, *cmd, **kw):
    return subprocess.run(['nsenter', '-t', str(agent.pid), '-n', *cmd], check=True, stdout=subprocess.PIPE, **kw).stdout


def network(agent, c, road):
    """T27 to T30 on one end of a pair."""
    in_net(agent, 'ip', 'link', 'add', 'dum0', 'address', '02:00:ca:fe:00:48', 'type', 'veth', 'peer', 'name', 'far')
    in_net(agent, 'ip', 'link', 'set', 'far', 'up')
    try:
        want = types_pb2.Interface(device='x', name='eth7', mtu=1400, hwAddr='02:00:ca:fe:00:48', IPAddresses=[
            types_pb2.IPAddress(family=0, address='192.168.0.2', mask='16'),
            types_pb2.IPAddress(family=1, address='2001:db8::2', mask='64')])
        expect(c.UpdateInterface(interface=want), want)
        got = [i for i in c.ListInterfaces().Interfaces if i.hwAddr == want.hwAddr]
        expect([(i.name, i.mtu, sorted((a.address, a.mask, a.family) for a in i.IPAddresses)) for i in got],
               [('eth7', 1400, [('192.168.0.2', '16', 0), ('2001:db8::2', '64', 1)])] if not any(
                   a.address.startswith('fe80') for i in got for a in i.IPAddresses) else
               [(i.name, i.mtu, sorted((a.address, a.mask, a.family) for a in i.IPAddresses)) for i in got])
        fails(S.INVALID_ARGUMENT, c.UpdateInterface)
        fails(S.INVALID_ARGUMENT, c.UpdateInterface, interface=types_pb2.Interface(name='x'))
        fails(S.INTERNAL, c.UpdateInterface, interface=types_pb2.Interface(name='x', hwAddr='ff:ff:ff:ff:ff:f0', mtu=1))
        fails(S.INTERNAL, c.UpdateInterface, interface=types_pb2.Interface(name='eth7', hwAddr=want.hwAddr, mtu=10 ** 13))
        c.UpdateInterface(interface=want)
        R = types_pb2.Route
        routes = agent_pb2.Routes(Routes=[R(dest='', gateway='192.168.0.1', device='eth7'),
                                          R(dest='192.168.0.0/16', source='192.168.0.2', device='eth7', scope=253)])
        expect(c.UpdateRoutes(routes=routes), routes)
        listed = [(r.dest, r.gateway, r.device) for r in c.ListRoutes().Routes]
        expect(('', '192.168.0.1', 'eth7') in listed, True, listed)
        expect(c.UpdateRoutes(routes=routes), routes, 'again')
        fails(S.INVALID_ARGUMENT, c.UpdateRoutes)
        fails(S.INTERNAL, c.UpdateRoutes, routes=agent_pb2.Routes(Routes=[R(dest='1.2.3.0/24', device='nosuch')]))
        fails(S.INTERNAL, c.UpdateRoutes, routes=agent_pb2.Routes(Routes=[R(dest='junk', device='eth7')]))
        c.UpdateRoutes(routes=agent_pb2.Routes())
        N = types_pb2.ARPNeighbor
        one = N(toIPAddress=types_pb2.IPAddress(address='192.168.0.9'), device='eth7', lladdr='02:00:00:00:00:09', state=0x80)
        c.AddARPNeighbors(neighbors=agent_pb2.ARPNeighbors(ARPNeighbors=[one]))
        has(in_net(agent, 'ip', 'neigh').decode(), '192.168.0.9', '02:00:00:00:00:09', 'PERMANENT')
        fails(S.INTERNAL, c.AddARPNeighbors, neighbors=agent_pb2.ARPNeighbors(ARPNeighbors=[one]), words='exists')
        fails(S.INVALID_ARGUMENT, c.AddARPNeighbors)
        for bad in (N(device='eth7', lladdr='02:00:00:00:00:09'), N(device='nosuch', toIPAddress=one.toIPAddress),
                    N(device='eth7', toIPAddress=types_pb2.IPAddress(address='junk')),
                    N(device='eth7', toIPAddress=one.toIPAddress, lladdr='junk')):
            fails((S.INTERNAL, S.INVALID_ARGUMENT), c.AddARPNeighbors, neighbors=agent_pb2.ARPNeighbors(ARPNeighbors=[bad]))
    finally:
        in_net(agent, 'sh', '-c', 'ip link del eth7 2>/dev/null || ip link del dum0')


# ---- guest -------------------------------------------------------------------------------------

def guest_details(agent, c, road):
    """T33"""
    d = c.GetGuestDetails(mem_block_size=True, mem_hotplug_probe=True).agent_details
    expect(d.version, c.Version().agent_version)
    expect(d.init_daemon, False)
    expect(set(d.device_handlers) >= {'mmioblk', 'blk', 'scsi', 'nvdimm'}, True, d.device_handlers)
    expect(set(d.storage_handlers) >= {'9p', 'virtio-fs', 'blk', 'mmioblk', 'scsi', 'ephemeral', 'local', 'nvdimm'}, True)
    expect(d.supports_seccomp, True)
    expect(c.GetGuestDetails().HasField('agent_details'), True)


def guest_errors(agent, c, road):
    """T34, T35: what cannot be done without changing the machine. The clock is the guest tests' to set."""
    for usec in (1000000, 10 ** 15, -1):
        before = time.time()
        fails(S.INTERNAL, c.SetGuestDateTime, Sec=int(before), Usec=usec, words='Could not set guest time')
        expect(abs(time.time() - before) < 5, True, 'the clock')
    fails(S.UNKNOWN, c.ReseedRandomDev, words='missing entropy data')
    c.ReseedRandomDev(data=os.urandom(512))
    if not os.path.exists('/sys/devices/system/memory/probe'):
        fails(S.UNKNOWN, c.MemHotplugByProbe, memHotplugProbeAddr=[0x10000000])
    c.MemHotplugByProbe()
    fails(S.UNKNOWN, c.OnlineCPUMem, wait=True, nb_cpus=0, cpu_only=True, words='must be greater than 0')
    c.OnlineCPUMem(wait=False, nb_cpus=1, cpu_only=True)


def copy_file(agent, c, road):
    """T32: in chunks, in any order that ends with the last; below /run only."""
    more = {'file_mode': 0o640, 'dir_mode': 0o750, 'uid': 5, 'gid': 6}
    c.CopyFile(path='/run/sub/dir/f', file_size=10, offset=0, data=b'01234', **more)
    path = agent.root + '/run/sub/dir/f'
    expect(os.path.exists(path), False)
    c.CopyFile(path='/run/sub/dir/f', file_size=10, offset=5, data=b'56789', **more)
    with open(path) as f:
        expect(f.read(), '0123456789')
    st = os.stat(path)
    expect((st.st_mode & 0o7777, st.st_uid, st.st_gid), (0o640, 5, 6))
    expect(os.stat(agent.root + '/run/sub').st_mode & 0o7777, 0o750)
    c.CopyFile(path='/run/empty', file_size=0, file_mode=0o600)
    expect(os.stat(agent.root + '/run/empty').st_size, 0)
    for bad in ('', '/etc/x', '/run/../etc/x', '/runaway/x', 'x'):
        fails(S.UNKNOWN, c.CopyFile, path=bad, file_size=1, data=b'x', words='/run')
    fails(S.UNKNOWN, c.CopyFile, path='/run/x', file_size=1, offset=-1, data=b'x')
    fails(S.UNKNOWN, c.CopyFile, path='/run/x', file_size=-1)
    fails(S.UNKNOWN, c.CopyFile, path='/run/x', file_size=1, offset=2 ** 63 - 1, data=b'xx')
    data = os.urandom(10 << 20)
    for at in range(0, len(data), 1 << 20):
        c.CopyFile(path='/run/big', file_size=len(data), offset=at, data=data[at:at + (1 << 20)], file_mode=0o600)
    with open(agent.root + '/run/big', 'rb') as f:
        expect(f.read() == data, True)
    os.unlink(agent.root + '/run/big')


def tracing(agent, c, road):
    """3.6"""
    fails(S.FAILED_PRECONDITION, c.StopTracing, words='tracing not enabled')
    c.StartTracing()
    fails(S.FAILED_PRECONDITION, c.StartTracing, words='tracing already enabled')
    c.Check()
    c.StopTracing()
    fails(S.FAILED_PRECONDITION, c.StopTracing, words='tracing already disabled')
    has(agent.log(), 'Check')


def tracing_ends_the_agent(tap):
    """agent.trace: the host waits for the guest's own end behind DestroySandbox. Without, the agent stays."""
    for env, end in (('true', True), ('false', False)):
        with tap.case('DestroySandbox with tracing %s' % env), nsagent.Agent(env={'KATA_AGENT_TRACING': env}) as agent:
            c = Ttrpc(agent.sock)
            c.CreateSandbox(sandbox_id='traced')
            if end:     # 1.x: traced from the start, and stopped before the end
                old = Client(agent.sock)
                fails(S.FAILED_PRECONDITION, old.StartTracing, words='tracing already enabled')
                old.StopTracing()
                old.close()
            c.DestroySandbox()
            if end:
                expect(agent.process.wait(10), 0)
            else:
                time.sleep(1)
                c.Check()
            c.close()


def pipes_of_a_size(tap):
    with tempfile.NamedTemporaryFile('w', prefix='config-') as f:
        f.write('container_pipe_size = 1048576\n')
        f.flush()
        with tap.case('container_pipe_size'), nsagent.Agent(args=['--config', f.name]) as agent, agent.road() as road:
            c = Client(agent.sock)
            with Sandbox(c, road) as sb:
                sb.start('x', 'exec sleep 1000')
                sb.execute('x', 'e', 'sleep', '1000')
                for pid in agent.children():
                    for n, size in ((1, 1 << 20), (2, 1 << 20)):
                        fd = os.open('/proc/%s/fd/%d' % (pid, n), os.O_WRONLY)
                        expect(fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ), size)
                        os.close(fd)
                expect(len(agent.children()), 2)
            c.close()


def methods_of_3x(agent, c, road):
    """The 3.x methods by gRPC: an answer or a clear status, never the end of the agent."""
    with Sandbox(c, road) as sb:
        sb.start('x')
        ok = 0
        for name, fields in (('GetMetrics', {}), ('GetIPTables', {}), ('GetVolumeStats', {'volume_guest_path': '/run'}),
                             ('GetVolumeStats', {'volume_guest_path': '/no/such'}), ('SetPolicy', {'policy': 'x'}),
                             ('AddSwap', {'PCIPath': []}), ('AddSwapPath', {'path': '/no/such'}),
                             ('ResizeVolume', {'volume_guest_path': '/no/such'}), ('UpdateEphemeralMounts', {}),
                             ('RemoveStaleVirtiofsShareMounts', {}), ('GetDiagnosticData', {'log_type': 'x'}),
                             ('MemAgentMemcgSet', {}), ('MemAgentCompactSet', {}), ('SetIPTables', {'data': b'junk'})):
            try:
                getattr(c, name)(**fields)
                ok += 1
            except grpc.RpcError as e:
                expect(e.code() not in (S.UNAVAILABLE, S.DEADLINE_EXCEEDED, S.CANCELLED), True, '%s: %s' % (name, e))
                expect(e.details() != '', True, name)
        expect(agent.alive(), True)


# ---- malformed and hostile ---------------------------------------------------------------------

def bad_ids(agent, c, road):
    with Sandbox(c, road) as sb:
        for i in IDS:
            if i in ('-', 'a\0b'):     # ids: an odd one, and one that ends at its NUL for every call
                continue
            try:
                fails(S.INVALID_ARGUMENT, sb.create, i)
            except AssertionError as e:
                raise AssertionError('%r: %s' % (i[:20], e)) from e
        sb.start('x')
        for i in IDS:
            for name in sorted(c.methods):
                fields = c.methods[name][1].DESCRIPTOR.fields_by_name
                if 'container_id' not in fields or name in ('CreateContainer', 'GetDiagnosticData'):
                    continue
                ids = {f: i for f in ('container_id', 'exec_id') if f in fields}
                try:
                    getattr(c, name)(**ids)
                    raise AssertionError('%s took the id %r' % (name, i[:20]))
                except grpc.RpcError as e:
                    expect(e.code() in (S.NOT_FOUND, S.INVALID_ARGUMENT, S.FAILED_PRECONDITION), True, '%s %r: %s' % (
                        name, i[:20], e.code()))
                    expect(len(e.details()) < 1000, True, 'the error text of a long id')
        for e in IDS[1:]:    # whatever an exec id is, it is one or it is refused
            try:
                sb.execute('x', e, 'true')
                expect(sb.wait('x', e).status, 0, repr(e[:20]))
            except grpc.RpcError as err:
                expect(err.code(), S.INVALID_ARGUMENT, repr(e[:20]))


def bad_bytes(agent, c, road):
    """Not protobuf, half protobuf, bad UTF-8, wrong wire types, nesting without end, for each method."""
    deep = b''
    for _ in range(5000):
        deep = pb((6, deep))[:60000]
    with Sandbox(c, road) as sb:
        sb.start('x')
        bodies = [b'\xff', b'\x0a', b'\x0a\xff\xff\xff\xff\x0f', pb((1, BAD_ID)), pb((1, b'nobody')) * 3, b'\x08\x01', b'\x0f',
                  pb((1, b'a\0b')), b'\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01', deep, b'\x03\x04', os.urandom(1000),
                  pb((99, b'unknown')), b'\x00', pb((6, pb((2, pb((4, BAD_ID))))))]
        for name in sorted(c.methods):
            if name in ('DestroySandbox', 'GetOOMEvent', 'StopTracing', 'StartTracing', 'SetGuestDateTime'):
                continue
            for body in bodies:
                try:
                    c.raw(name, body)
                except grpc.RpcError as e:
                    expect(e.code() not in (S.UNAVAILABLE, S.DEADLINE_EXCEEDED), True, '%s %r: %s' % (name, body[:20], e.code()))
        for body in (b'\xff', b'\x0a'):
            fails(S.INTERNAL, c.raw, 'CreateContainer', body, words='unmarshalling')
        sb.execute('x', 'fine', 'true')


def too_large(agent, c, road):
    with Sandbox(c, road) as sb:
        sb.start('x', 'exec cat >/dev/null')
        ids = {'container_id': 'x', 'exec_id': 'x'}
        fails(S.RESOURCE_EXHAUSTED, c.WriteStdin, **ids, data=b'x' * (5 << 20), words='larger than max')
        expect(c.WriteStdin(**ids, data=b'x' * (4 << 20 >> 1)).len, 2 << 20)
        fails(S.RESOURCE_EXHAUSTED, c.raw, 'CreateContainer', b'\0' * (40 << 20))
        # Two bytes of wire can mean a hundred of memory: the ceiling of a call's arena, then.
        many = pb((6, pb((5, b'')) * 1500000))
        fails((S.RESOURCE_EXHAUSTED, S.INVALID_ARGUMENT, S.INTERNAL), c.raw, 'CreateContainer', pb((1, b'y')) + many[:4 << 20])

        def crowd(spec, n):
            spec.Process.Args.extend(['x'] * n)
        fails((S.INTERNAL, S.INVALID_ARGUMENT, S.RESOURCE_EXHAUSTED), sb.create, 'y', edit=lambda s: crowd(s, 500000))
        fails((S.UNKNOWN, S.INVALID_ARGUMENT), sb.create, 'y', edit=lambda s: [
            s.Mounts.add(destination='/m', type='tmpfs') for _ in range(4096 + 1)])
        with open('/proc/%d/status' % agent.pid) as f:
            rss = int(f.read().split('VmRSS:')[1].split()[0])
        expect(rss < 200000, True, 'memory of the agent: %d KiB' % rss)


def unknown_methods(agent, c, road):
    for path, words in (('/grpc.AgentService/NoSuch', 'unknown method'), ('/grpc.NoService/Check', 'unknown service')):
        call = c.channel.unary_unary(path, request_serializer=lambda b: b, response_deserializer=lambda b: b)
        fails(S.UNIMPLEMENTED, call, b'', words=words)


def a_thousand_parked_calls(agent, c, road):
    """They cost nothing that a Check would notice."""
    with Sandbox(c, road) as sb:
        sb.start('x')
        parked = [sb.wait('x', _later=True, _timeout=60) for _ in range(900)]
        time.sleep(0.3)
        began = time.monotonic()
        for _ in range(20):
            c.Check()
        expect((time.monotonic() - began) / 20 < 0.05, True, 'a Check')
        c.SignalProcess(container_id='x', exec_id='x', signal=9)
        expect({p.result(30).status for p in parked}, {137})


def check_is_always_answered(agent, c, road):
    """With more calls parked than the agent takes, and more connections that say nothing than it keeps."""
    with Sandbox(c, road) as sb:
        sb.start('x')
        wait = pb((1, 'x'), (2, 'x'))
        talking = [agent.connect() for _ in range(9)]
        for s in talking:
            s.sendall(b''.join(ttrpc_request(1 + 2 * i, 'WaitProcess', wait) for i in range(1000)))
        silent = [agent.connect() for _ in range(1100)]
        try:
            for protocol in (Client, Ttrpc):
                client = protocol(agent.sock)
                began = time.monotonic()
                client.Check(_timeout=10)
                expect(time.monotonic() - began < 5, True, 'seconds until a Check was answered')
                client.close()
            fails(S.RESOURCE_EXHAUSTED, c.ListInterfaces)
        finally:
            for s in talking + silent:
                s.close()
        retry(c.ListInterfaces, on=(grpc.RpcError,))


# ---- everything at once ------------------------------------------------------------------------

class Storm(threading.Thread):
    """One client that does at random what clients do, on ids that the others use, too."""

    def __init__(self, agent, road, seed, end):
        super().__init__()
        self.agent, self.road, self.rnd, self.end = agent, road, random.Random(seed), end
        self.count, self.wrong = 0, []

    def run(self):
        c = Client(self.agent.sock)
        while time.monotonic() < self.end:
            try:
                self.step(c)
            except grpc.RpcError as e:
                if e.code() in (S.UNAVAILABLE, S.DEADLINE_EXCEEDED) and not self.agent.alive():
                    self.wrong.append(str(e))
                    break
            except Exception as e:  # pylint: disable=broad-except
                self.wrong.append(repr(e))
            self.count += 1
            if self.rnd.random() < 0.02:
                c.close()       # whatever is under way is abandoned
                c = Client(self.agent.sock)
        c.close()

    def step(self, c):
        r = self.rnd
        cid, eid = 'storm%d' % r.randrange(4), 'e%d' % r.randrange(4)
        ids = {'container_id': cid, 'exec_id': r.choice((cid, eid, ''))}
        what = r.randrange(22)
        quick = {'_timeout': r.choice((0.05, 2, 2))}
        if what < 4:
            cmd = r.choice(('exit 3', 'exec sleep 1000', 'yes', 'exec cat', 'sleep 0.05', 'sleep 9 & exec sleep 1000'))
            spec = make_spec(self.road, cmd, Terminal=r.random() < 0.3)
            if r.random() < 0.1:
                spec.Process.Args[0] = 'nosuch'
            c.CreateContainer(container_id=cid, exec_id=cid, OCI=spec, **quick)
        elif what < 8:
            c.StartContainer(container_id=cid, **quick)
        elif what < 11:
            c.ExecProcess(container_id=cid, exec_id=eid, process=make_process(
                r.choice((['true'], ['sleep', '0.1'], ['nosuch'], ['yes'])), Terminal=r.random() < 0.3), **quick)
        elif what == 11:
            c.WaitProcess(**ids, **quick)
        elif what == 12:
            c.SignalProcess(**ids, signal=r.choice((0, 9, 15, 10)), **quick)
        elif what < 15:
            c.ReadStdout(**ids, len=r.choice((0, 1, 32768, 1 << 20)), **quick)
        elif what == 15:
            c.WriteStdin(**ids, data=b'x' * r.choice((0, 1, 100000)), **quick)
        elif what == 16:
            r.choice((c.CloseStdin, c.TtyWinResize))(**ids, **quick)
        elif what == 17:
            r.choice((c.PauseContainer, c.ResumeContainer, c.StatsContainer))(container_id=cid, **quick)
        elif what == 18:
            c.UpdateContainer(container_id=cid, resources=oci_pb2.LinuxResources(), **quick)
        elif what == 19:
            c.ListProcesses(container_id=cid, format=r.choice(('json', 'table')), **quick)
        elif what == 20:
            c.RemoveContainer(container_id=cid, timeout=r.choice((0, 1)), **quick)
        elif r.random() < 0.15:
            c.DestroySandbox(**quick)
        else:
            c.CreateSandbox(sandbox_id='storm', sandbox_pidns=r.random() < 0.3, **quick)


def storm(tap, seconds):
    has_san = server.sanitized() == server.AGENT_SAN
    with nsagent.Agent(server.sanitized(), env=server.QUIET_SAN) as agent, agent.road() as road:
        seed = int(os.environ.get('SEED', random.randrange(10 ** 6)))
        name = 'everything at once for %d s%s' % (seconds, ' with sanitizers' if has_san else '')
        tap.note('SEED=%d' % seed)
        with tap.case(name):
            threads = [Storm(agent, road, seed + i, time.monotonic() + seconds) for i in range(8)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            tap.note('%d calls' % sum(t.count for t in threads))
            expect([w for t in threads for w in t.wrong], [])
            expect(agent.alive(), True, 'the agent lives')
            c = Client(agent.sock)
            retry(c.DestroySandbox, 20, on=(grpc.RpcError,))
            with Sandbox(c, road) as sb:
                sb.start('calm', 'exit 3')
                expect(sb.wait('calm').status, 3)
            c.close()
            retry(lambda: expect(agent.children(), []))
            retry(lambda: expect(agent.fds() < 40, True, 'descriptors: %d' % agent.fds()), 15)
            expect(agent.cgroup_dirs('storm'), [])
            text = agent.log()
            for word in ('AddressSanitizer', 'runtime error', 'assert'):
                expect(word in text, False, word)
        return nsagent.finish(tap, agent) if not agent.alive() else None


CASES = [health, without_a_sandbox, sandbox_life, sandbox_destroyed_twice, sandbox_dns, sandbox_bad, sandbox_pidns, create_container,
         create_container_without_parts, container_devices_and_storages, start_container, remove_container,
         remove_container_timeout, remove_container_being_created, remove_container_answers_all,
         exec_races_with_remove, concurrent_duplicates, client_leaves_during_creation, exec_process, exec_many, exec_with_rules_of_its_own, execs_nobody_waits_for,
         wait_process, signal_process, signal_to_a_paused_container, list_processes, update_container,
         updates_of_one_container_take_turns, update_of_an_exited_container, stats_container, pause_resume,
         standard_streams, cancelled_reader_takes_nothing_along, close_stdin_behind_a_blocked_write,
         workers_hold_nobodys_streams, terminal, oom_event,
         network, guest_details, guest_errors, copy_file, tracing, methods_of_3x, bad_ids, bad_bytes, too_large,
         unknown_methods, a_thousand_parked_calls, check_is_always_answered]


def main():
    tap = Tap()
    only = sys.argv[1:]
    with nsagent.Agent() as agent, agent.road() as road:
        c = Client(agent.sock)
        for case in CASES:
            if only and not any(word in case.__name__ for word in only):
                continue
            with tap.case(case.__name__.replace('_', ' ')):
                try:
                    case(agent, c, road)
                finally:
                    if agent.alive():
                        retry(c.DestroySandbox, 5, on=(grpc.RpcError,))
            if not agent.alive():
                tap.ok(False, 'the agent died in: ' + case.__name__)
                c.close()
                break
        with tap.case('no process is left'):
            retry(lambda: expect(agent.children(), []))
        c.close()
        if not only or 'tracing' in only:
            tracing_ends_the_agent(tap)
        if not only or 'pipes' in only:
            pipes_of_a_size(tap)
        if not only or 'storm' in only:
            storm(tap, int(os.environ.get('STORM_SECONDS', '20')))
        return nsagent.finish(tap, agent)


if __name__ == '__main__':
    need_root()
    sys.exit(main())
