#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A share that does not answer, and a FIFO, under every path that an RPC or an OCI spec can name. TAP.

The share is a FUSE file system of which nobody reads the requests: whoever looks at it waits. While a call
that names it waits, Check must be answered as ever: nothing of the agent's own thread may look at it. When
the share has gone every such call must end, and the agent must be as before. Whoever gives an RPC or the spec
a new path adds it here: `paths_of_the_schema` counts the fields that look like one.
"""
import ctypes
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import nsagent  # noqa: E402
from rpc import Client, Ttrpc, agent_pb2, grpc, oci_pb2, types_pb2  # noqa: E402
from tap import Tap, expect, need_root, retry, skip_all  # noqa: E402

SHARE = '/run/kata-containers/shared/containers'
SLOW = 0.1          # a Check that takes longer was held up
LOOK = 0.4          # for so long Checks are made while the call waits
MS_REC, MNT_DETACH = 16384, 2


def be_dead(path):
    """The helper, in the agent's mount namespace: a dead share at path until standard input ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open('/dev/fuse', os.O_RDWR)
    os.makedirs(path, exist_ok=True)
    options = 'fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other' % fd
    if libc.mount(b'dead', path.encode(), b'fuse', 0, options.encode()) < 0:
        print(os.strerror(ctypes.get_errno()), flush=True)
        return 1
    print('ready', flush=True)
    sys.stdin.read()
    os.close(fd)        # the kernel ends whatever waits
    libc.umount2(path.encode(), MNT_DETACH)
    return 0


class Dead:
    """A dead share in the agent's view, in a folder that is made."""

    def __init__(self, agent, folder):
        path = folder + '/dead'
        self.p = subprocess.Popen(['nsenter', '-t', str(agent.pid), '-m', sys.executable, os.path.abspath(__file__),
                                   '--dead', path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        said = self.p.stdout.readline().strip()
        if said != 'ready':
            raise RuntimeError('FUSE: ' + said)
        self.path = path + '/x/y'

    def end(self):
        self.p.stdin.close()
        self.p.stdout.close()
        self.p.wait(10)


class Fifo:
    def __init__(self, agent, folder):
        self.path, self.seen = folder + '/fifo', agent.root + folder + '/fifo'
        os.makedirs(os.path.dirname(self.seen), exist_ok=True)
        os.mkfifo(self.seen)

    def end(self):
        """Whoever opened it for one side meets the other. A call may have put something else there."""
        if os.path.isdir(self.seen):
            os.rmdir(self.seen)
        elif os.path.exists(self.seen):
            os.close(os.open(self.seen, os.O_RDWR | os.O_NONBLOCK))
            os.unlink(self.seen)


# ---- the calls that name a path ------------------------------------------------------------------
# Each is given (t, path): t has the clients, and what a container is made of.

CALLS = []


def call(*fields, sandbox=True, inside=False, running=False):
    """fields: what of the schema it covers. inside: the path is in the container's root. running: c1 runs."""
    def add(fn):
        CALLS.append((fn, fields, sandbox, inside, running))
        return fn
    return add


def storage(**kw):
    return agent_pb2.Storage(**kw)


@call('CreateSandboxRequest.guest_hook_path', sandbox=False)
def guest_hook_path(t, path):
    return t.c.CreateSandbox(sandbox_id='sb', guest_hook_path=path, _later=True)


@call('Storage.source', sandbox=False)
def sandbox_storage(t, path):
    return t.c.CreateSandbox(sandbox_id='sb', _later=True, storages=[
        storage(driver='bind', source=path, fstype='bind', mount_point='/run/kata-containers/s', options=['bind'])])


@call('Storage.source')
def storage_that_seems_a_device(t, path):
    return t.create(storages=[storage(driver='blk', source='/dev/..' + path, fstype='ext4', mount_point='/run/kata-containers/s')])


@call('Storage.source')
def storage_of_mmio(t, path):
    return t.create(storages=[storage(driver='mmioblk', source=path, fstype='ext4', mount_point='/run/kata-containers/s')])


@call('Storage.source')
def watchable_bind(t, path):
    return t.create3(storages=[storage(driver='watchable-bind', source=path, fstype='bind',
                                       mount_point=SHARE + '/watchable/w', options=['bind'])])


@call('Storage.mount_point')
def storage_mount_point(t, path):
    return t.create(storages=[storage(driver='ephemeral', source='t', fstype='tmpfs', mount_point=path)])


@call('Storage.mount_point')
def local_storage(t, path):
    return t.create(storages=[storage(driver='local', source='local', fstype='local', mount_point=path)])


@call('Device.vm_path')
def device(t, path):
    return t.device(path)


@call('Device.vm_path')
def device_that_seems_below_dev(t, path):
    return t.device('/dev/..' + path)


@call('Root.Path')
def root(t, path):
    return t.create(lambda s: s.Root.__setattr__('Path', path))


@call('Process.Cwd', inside=True)
def cwd(t, path):
    return t.create(lambda s: s.Process.__setattr__('Cwd', path))


@call('Process.Args', inside=True)
def args(t, path):
    def edit(s):
        s.Process.Args[:] = [path]
    return t.create(edit)


@call('Process.Env', inside=True)
def search_path(t, path):
    def edit(s):
        s.Process.Args[:] = ['nosuch']
        s.Process.Env[:] = ['PATH=' + path]
    return t.create(edit)


@call('Mount.source')
def mount_source(t, path):
    return t.create(lambda s: s.Mounts.add(destination='/mnt', type='bind', source=path, options=['rbind']))


@call('Mount.destination', inside=True)
def mount_destination(t, path):
    return t.create(lambda s: s.Mounts.add(destination=path, type='tmpfs', source='t'))


@call('LinuxNamespace.Path')
def namespaces(t, path):
    def edit(s):
        del s.Linux.Namespaces[:]
        for name in ('mount', 'network', 'user', 'cgroup', 'pid', 'ipc', 'uts'):
            s.Linux.Namespaces.add(Type=name, Path=path)
    return t.create(edit)


@call('LinuxDevice.Path', inside=True)
def device_node(t, path):
    return t.create(lambda s: s.Linux.Devices.add(Path=path, Type='c', Major=1, Minor=3, FileMode=0o666))


@call('Linux.MaskedPaths', inside=True)
def masked_path(t, path):
    return t.create(lambda s: s.Linux.MaskedPaths.append(path))


@call('Linux.ReadonlyPaths', inside=True)
def readonly_path(t, path):
    return t.create(lambda s: s.Linux.ReadonlyPaths.append(path))


@call('Linux.CgroupsPath')
def cgroups_path(t, path):
    return t.create(lambda s: s.Linux.__setattr__('CgroupsPath', path))


@call('Hook.Path')
def prestart_hook(t, path):
    return t.create(lambda s: s.Hooks.Prestart.add(Path=path, Args=['x'], Timeout=1))


@call('SharedMount.src_path', 'SharedMount.dst_path', inside=True, running=True)
def shared_mount(t, path):
    return t.create3(shared_mounts=[agent_pb2.SharedMount(name='s', src_ctr='c1', src_path=path, dst_ctr='c2', dst_path=path)])


@call('Process.Cwd', inside=True, running=True)
def exec_cwd(t, path):
    return t.execute(Args=['/bin/true'], Cwd=path)


@call('Process.Args', inside=True, running=True)
def exec_args(t, path):
    return t.execute(Args=[path], Cwd='/')


@call('Spec.Annotations', inside=True, running=True)
def diagnostic_data(t, path):
    return t.c.GetDiagnosticData(container_id='c1', log_type='termination_log', _later=True)


@call('CopyFileRequest.path')
def copy_file(t, path):
    return t.c.CopyFile(path=path, file_size=1, file_mode=0o100644, dir_mode=0o750, data=b'x', _later=True)


@call('CopyFileRequest.path')
def copy_file_3x(t, path):
    return t.c3.CopyFile(path=path, file_size=1, file_mode=0o100644, dir_mode=0o750, data=b'x', _later=True)


@call('CopyFileRequest.path')
def copy_directory_onto_it(t, path):
    return t.c3.CopyFile(path=path.replace('/x/y', ''), file_mode=0o40755, dir_mode=0o750, _later=True)


@call('VolumeStatsRequest.volume_guest_path')
def volume_stats(t, path):
    return t.c.GetVolumeStats(volume_guest_path=path, _later=True)


@call('VolumeStatsRequest.volume_guest_path')
def volume_stats_of_a_mount(t, path):
    """Not below it: the path is there at once, statvfs() waits."""
    return t.c.GetVolumeStats(volume_guest_path=path.replace('/x/y', ''), _later=True)


@call('ResizeVolumeRequest.volume_guest_path')
def resize_volume(t, path):
    return t.c.ResizeVolume(volume_guest_path=path, _later=True)


@call('Storage.mount_point')
def ephemeral_mounts(t, path):
    return t.c.UpdateEphemeralMounts(_later=True, storages=[
        storage(driver='ephemeral', source='t', fstype='tmpfs', mount_point=path, options=['remount', 'size=65536'])])


@call('AddSwapPathRequest.path')
def swap_path(t, path):
    return t.c.AddSwapPath(path=path, _later=True)


@call()
def stale_mounts(t, path):
    return t.c.RemoveStaleVirtiofsShareMounts(_later=True)


@call()
def metrics(t, path):
    return t.c.GetMetrics(_later=True)


class Things:
    """The clients, the container's root, and containers made of it."""

    def __init__(self, agent, road):
        self.agent, self.road = agent, road
        self.c, self.c3, self.check = Client(agent.sock), Ttrpc(agent.sock), Client(agent.sock)

    def spec(self, edit=None):
        M = oci_pb2.Mount
        caps = ['CAP_SYS_ADMIN', 'CAP_DAC_OVERRIDE']
        spec = oci_pb2.Spec(
            Version='1.0.2', Root=oci_pb2.Root(Path=self.road.rootfs),
            Process=oci_pb2.Process(Args=['sleep', '1000'], Env=['PATH=/bin'], Cwd='/', User=oci_pb2.User(),
                                    Capabilities=oci_pb2.LinuxCapabilities(Bounding=caps, Effective=caps, Permitted=caps)),
            Mounts=[M(destination='/proc', type='proc', source='proc')],
            Linux=oci_pb2.Linux(Resources=oci_pb2.LinuxResources(), Namespaces=[oci_pb2.LinuxNamespace(Type='mount')]),
            Annotations={'io.kubernetes.container.terminationMessagePath': self.path,
                         'io.kubernetes.cri.container-name': 'c2'})
        if edit:
            edit(spec)
        return spec

    def create(self, edit=None, cid='c2', client=None, **more):
        return (client or self.c).CreateContainer(container_id=cid, exec_id=cid, OCI=self.spec(edit), _later=True, **more)

    def create3(self, edit=None, **more):
        return self.create(edit, client=self.c3, **more)

    def device(self, path):
        return self.create(lambda s: s.Linux.Devices.add(Path='/dev/x', Type='c', Major=1, Minor=3),
                           devices=[agent_pb2.Device(type='mmioblk', vm_path=path, container_path='/dev/x')])

    def execute(self, **process):
        caps = oci_pb2.LinuxCapabilities()
        return self.c.ExecProcess(container_id='c1', exec_id='e1', _later=True, process=oci_pb2.Process(
            Env=['PATH=/bin'], User=oci_pb2.User(), Capabilities=caps, **process))

    def checks(self, seconds):
        """Checks one after the other; how long each took."""
        took, end = [], time.monotonic() + seconds
        while time.monotonic() < end:
            began = time.monotonic()
            self.check.Check(_timeout=5)
            took.append(time.monotonic() - began)
        return took

    def one(self, kind, fn, sandbox, inside, running):
        """Check is answered while the call waits; the call ends when what it waits for has gone."""
        self.path = {Dead: '/dead/x/y', Fifo: '/fifo'}[kind] if inside else ''
        held, later = None, None
        try:
            if sandbox:
                self.c.CreateSandbox(sandbox_id='sb')
            held = kind(self.agent, self.road.rootfs if inside else SHARE)
            self.path = self.path or held.path
            if running:
                self.create(cid='c1').result()
                self.c.StartContainer(container_id='c1')
            later = fn(self, self.path)
            took = self.checks(LOOK)
            # Another load on the machine may delay a few; a loop that is held up answers none.
            slow = [x for x in took if x > SLOW]
            expect(len(slow) * 10 <= len(took) and bool(took), True, 'Checks slower than 100 ms: %d of %d' % (
                len(slow), len(took)))
        finally:
            if held:
                held.end()
            self.clean_up(later)
        retry(lambda: expect(self.agent.children(), []))

    def clean_up(self, later):
        ends = [lambda: later.result(20)] if later else []
        ends += [lambda cid=cid: self.c.RemoveContainer(container_id=cid) for cid in ('c2', 'c1')]
        for end in ends:
            try:
                end()
            except grpc.RpcError as e:
                expect(e.code() != grpc.StatusCode.DEADLINE_EXCEEDED, True, str(e))
        retry(self.c.DestroySandbox, 15, on=(grpc.RpcError,))


def metrics_beside_a_dead_disk(t):
    """They ask each disk how full it is: without the one that is silent the rest is told all the same, in time."""
    point = SHARE + '/dead/o'
    script = 'cd %s && mkdir -p l u w dead/o && mount -t overlay -o lowerdir=l,upperdir=u,workdir=w o dead/o' % SHARE
    inside = ['nsenter', '-t', str(t.agent.pid), '-m']
    os.makedirs(t.agent.root + SHARE, exist_ok=True)
    subprocess.run([*inside, 'sh', '-ec', script], check=True)
    expect('mount="%s"' % point in t.c.GetMetrics().metrics, True, 'it is one that is asked')
    dead = Dead(t.agent, SHARE)     # over its mount point: whoever looks for that waits
    try:
        began = time.monotonic()
        later = [t.c.GetMetrics(_later=True) for _ in range(3)]
        took = t.checks(LOOK)
        expect(len([x for x in took if x > SLOW]) * 10 <= len(took), True, 'Check was held up')
        for call in later:
            text = call.result(20).metrics
            expect(('kata_guest_meminfo' in text, point in text), (True, False))
        expect(4 < time.monotonic() - began < 10, True, 'as long as it may take')
    finally:
        dead.end()
        subprocess.run([*inside, 'umount', point], check=True)
    expect('kata_guest_meminfo' in t.c.GetMetrics().metrics, True, 'and again')
    retry(lambda: expect(t.agent.children(), []))


def paths_of_the_schema():
    """The fields of requests and of the spec that are paths by their names are all covered."""
    covered = {f for _, fields, *_ in CALLS for f in fields}
    missing = []
    # Not the guest's: addresses of devices on a bus, names, what another call has been given.
    other = {'AddSwapRequest.PCIPath', 'Interface.pciPath', 'LinuxIntelRdt.L3CacheSchema', 'WindowsNetwork.path',
             'Device.container_path'}
    for module in (agent_pb2, oci_pb2, types_pb2):
        for name, message in module.DESCRIPTOR.message_types_by_name.items():
            if name.endswith('Response'):
                continue
            for field in message.fields:
                if 'path' in field.name.lower():
                    full = name + '.' + field.name
                    missing += [] if full in covered or full in other else [full]
    expect(missing, [], 'paths without a case or a reason')


def main():
    tap = Tap()
    only = sys.argv[1:]
    if not os.path.exists('/dev/fuse'):
        skip_all('/dev/fuse is missing')
    with tap.case('every path of the schema has a case'):
        paths_of_the_schema()
    with nsagent.Agent() as agent, agent.road() as road:
        t = Things(agent, road)
        try:
            Dead(agent, SHARE).end()
        except RuntimeError as e:
            skip_all(str(e))
        for fn, _, sandbox, inside, running in CALLS:
            for kind in (Dead, Fifo):
                name = '%s: %s' % (fn.__name__.replace('_', ' '), kind.__name__.lower())
                if only and not any(word in name for word in only):
                    continue
                with tap.case(name):
                    t.one(kind, fn, sandbox, inside, running)
        if not only or any(word in 'metrics beside a dead disk' for word in only):
            with tap.case('metrics beside a dead disk'):
                metrics_beside_a_dead_disk(t)
        tap.ok(agent.alive(), 'the agent lives')
        return nsagent.finish(tap, agent)


if __name__ == '__main__':
    if sys.argv[1:2] == ['--dead']:
        sys.exit(be_dead(sys.argv[2]))
    need_root()
    sys.exit(main())
