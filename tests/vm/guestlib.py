# SPDX-License-Identifier: Apache-2.0
"""What the tests of whole guests share: a guest with a share and a pod in it, driven by messages.

    with Machine(hotplug=True) as m:
        with m.pod(dns=['nameserver 10.0.0.1']) as pod:
            c = pod.run('c1', 'exec sleep 1000', edit=all_caps, storages=[...])
            expect(c.sh('echo hi'), 'hi\n')

Messages go over gRPC's own library (lib/rpc.py); a thread carries its bytes to the guest's vsock. What runs
inside is busybox.
"""
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'lib'))
import rpc  # noqa: E402
from roads import CTL, Road  # noqa: E402
from rpc import grpc, oci_pb2  # noqa: E402
from tap import expect, has, retry  # noqa: E402
from vmlib import Bridge, Guest  # noqa: E402

APPLETS = ('adduser awk basename chmod chown chroot cut date dirname expr find free hexdump ifconfig ip ionice '
           'mkfifo nice nproc od ping printf rmdir sed sort sync tail taskset tee timeout top uname unshare uniq '
           'usleep xargs cmp cp mv nc which tty md5sum').split()
SHARED = '/run/kata-containers/shared/containers'
SHARE_STORAGE = dict(driver='9p', source='kataShared', fstype='9p', mount_point=SHARED + '/',
                     options=['trans=virtio,version=9p2000.L,cache=mmap', 'nodev', 'msize=8192'])
CAPS = ['CAP_' + c for c in (
    'CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE '
    'NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT '
    'SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL '
    'SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF '
    'CHECKPOINT_RESTORE').split()]


def fill(msg, value):
    """Fills a message from runtime-spec JSON: members are told by their letters, whatever their case."""
    fields = {f.name.lower(): f for f in msg.DESCRIPTOR.fields}
    for key, v in value.items():
        f = fields[{'ociversion': 'version'}.get(key.lower(), key.lower())]
        if v is None:
            continue
        if f.message_type and f.message_type.GetOptions().map_entry:
            getattr(msg, f.name).update(v)
        elif f.label == f.LABEL_REPEATED and f.message_type:
            for item in v:
                fill(getattr(msg, f.name).add(), item)
        elif f.label == f.LABEL_REPEATED:
            getattr(msg, f.name).extend(v)
        elif f.message_type:
            getattr(msg, f.name).SetInParent()
            fill(getattr(msg, f.name), v)
        else:
            setattr(msg, f.name, v)
    return msg


# ---- what a test does to a config.json ----

def edits(*functions):
    """One edit that does them all; each gets config.json as a dictionary."""
    def edit(config):
        for f in functions:
            f(config)
    return edit


def all_caps(config):
    config['process']['capabilities'] = {s: CAPS for s in ('bounding', 'effective', 'permitted')}
    config['process']['noNewPrivileges'] = False


def see_guest(config):
    """The guest's own /proc and cgroups, for a container that watches the agent."""
    all_caps(config)
    config['mounts'] += [
        {'destination': '/guest/' + d.strip('/'), 'type': 'bind', 'source': d, 'options': ['rbind', 'ro']}
        for d in ('/proc', '/sys', '/dev', '/run', '/etc')]
    config['linux']['maskedPaths'] = []


def resources(**values):
    """linux.resources: memory={'limit': ...}, pids=..., devices=[...]"""
    def edit(config):
        config['linux'].setdefault('resources', {}).update(values)
    return edit


def mount(destination, kind, source, *options):
    return lambda config: config['mounts'].append(
        {'destination': destination, 'type': kind, 'source': source, 'options': list(options)})


# ---- a share by virtio-fs ----

VIRTIOFSD = ('/usr/lib/qemu/virtiofsd', '/usr/libexec/virtiofsd')


@contextlib.contextmanager
def virtiofsd(tag, read_only=False):
    """The back end of a share; yields its directory and QEMU's arguments, or None where there is no virtiofsd.
    read_only: for the guest, as hosts of 3.x export it."""
    program = next((p for p in VIRTIOFSD if os.access(p, os.X_OK)), None)
    if not program or os.geteuid() != 0:
        yield None, []
        return
    with tempfile.TemporaryDirectory(prefix='vfs-', dir='/tmp') as work:
        directory, sock = os.path.join(work, 'share'), os.path.join(work, 'sock')
        os.mkdir(directory)
        argv = [program, '--socket-path=' + sock, '-o', 'source=' + directory, '-o', 'cache=auto']
        if read_only:
            argv = ['unshare', '-m', 'sh', '-ec', 'mount --bind "$0" "$0"; mount -o remount,bind,ro "$0"; exec "$@"',
                    directory, *argv]
        daemon = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        try:
            retry(lambda: os.stat(sock))
            yield directory, ['-chardev', 'socket,id=%s,path=%s' % (tag, sock),
                              '-device', 'vhost-user-fs-pci,queue-size=1024,chardev=%s,tag=%s' % (tag, tag)]
        finally:
            daemon.terminate()
            daemon.wait()


# ---- the guest ----

class Machine:
    """A running guest with a 9p share, whose agent answers. Options are boot.sh's."""

    def __init__(self, **options):
        self.share = tempfile.mkdtemp(prefix='share-', dir='/tmp')
        self.guest = Guest(share=self.share, **options)
        self.bridge = self.client = None

    def __enter__(self):
        try:
            self.guest.__enter__()
            self.guest.wait_agent()
            self.road = Road(self.guest.address, 'grpc', self.share)
            for name in APPLETS:
                link = os.path.join(self.road.rootfs, 'bin', name)
                if not os.path.lexists(link):
                    os.symlink('busybox', link)
            self.bridge = Bridge(self.guest)
            self.client = rpc.Client(self.bridge.path)
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, kind, value, trace):
        if self.client:
            self.client.close()
        if self.bridge:
            self.bridge.close()
        self.guest.__exit__(kind, value, trace)
        shutil.rmtree(self.share, ignore_errors=True)

    def call(self, method, timeout=60, **fields):
        """One RPC: fields are the request's. Returns the response, or raises grpc.RpcError."""
        return getattr(self.client, method)(_timeout=timeout, **fields)

    def future(self, method, **fields):
        return getattr(self.client, method)(_later=True, _timeout=None, **fields)

    def fails(self, status, method, *words, timeout=60, **fields):
        """The call must fail with this status ('NOT_FOUND') and these words in its message, which is returned."""
        return rpc.fails(grpc.StatusCode[status], self.call, method, timeout=timeout, words=words, **fields)

    def ctl(self, *args, **kw):
        return self.road.ctl(*args, **kw)

    def spec(self, cmd, edit=None):
        """A Spec message; cmd is a shell command line."""
        out = subprocess.run([CTL, 'spec', '--rootfs', SHARED + '/base', '--cmd', cmd],
                             stdout=subprocess.PIPE, check=True).stdout
        config = json.loads(out)
        if edit:
            edit(config)
        return fill(oci_pb2.Spec(), config)

    def pod(self, **fields):
        return Pod(self, fields)


class Pod:
    """A sandbox, for the time of a with statement. Destroying it takes its containers along."""

    def __init__(self, machine, fields):
        self.m, self.fields = machine, dict(fields)
        self.fields['storages'] = [SHARE_STORAGE, *fields.get('storages', [])]

    def __enter__(self):
        self.m.call('CreateSandbox', **self.fields)
        return self

    def __exit__(self, kind, value, trace):
        self.m.call('DestroySandbox')

    def create(self, cid, cmd='exec sleep 100000', edit=None, **fields):
        self.m.call('CreateContainer', container_id=cid, exec_id=cid, OCI=self.m.spec(cmd, edit), **fields)
        return Container(self.m, cid)

    def run(self, cid, cmd='exec sleep 100000', edit=None, **fields):
        return self.create(cid, cmd, edit, **fields).start()


class Container:
    def __init__(self, machine, cid):
        self.m, self.id = machine, cid

    def start(self):
        self.m.call('StartContainer', container_id=self.id)
        return self

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.remove()

    def remove(self):
        self.m.call('RemoveContainer', container_id=self.id)

    def wait(self):
        return self.m.call('WaitProcess', container_id=self.id, exec_id=self.id).status

    def output(self, exec_id=None):
        """All of its (or of an exec's) standard output, to the end."""
        data = b''
        while True:
            try:
                data += self.m.call('ReadStdout', container_id=self.id, exec_id=exec_id or self.id, len=65536).data
            except grpc.RpcError as e:
                if 'EOF' not in e.details():
                    raise
                return data.decode()

    def exec(self, *args, check=None, **kw):
        return self.m.ctl('exec', *(['-n'] if 'input' not in kw else []), self.id, *args, check=check, **kw)

    def sh(self, cmd, check=0, **kw):
        return self.exec('sh', '-c', cmd, check=check, **kw).stdout.decode()


__all__ = ['Machine', 'Pod', 'Container', 'virtiofsd', 'SHARED', 'SHARE_STORAGE', 'CAPS', 'all_caps', 'see_guest', 'edits',
           'resources', 'mount', 'grpc', 'expect', 'has', 'retry']
