#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Volumes as 3.x hosts serve them, in the order of their calls, over ttrpc. TAP.

Nothing shared (Firecracker, remote): the files of a pod come by CopyFile, before anything else, and so do
their later updates. A read-only share: ConfigMaps are watchable binds, and inotify in the container fires.
"""
import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import nsagent  # noqa: E402
from rpc import agent_pb2, oci_pb2  # noqa: E402
from shim import SHARE, Shim  # noqa: E402
from tap import Tap, expect, has, need_root, retry  # noqa: E402


class Pod(Shim):
    """The shim, with one container."""

    def __init__(self, agent, road):
        super().__init__(agent.sock)
        self.agent, self.road = agent, road
        shutil.copy(nsagent.prog('moved'), os.path.join(road.rootfs, 'bin', 'moved'))

    def start(self, cid, cmd, mounts, annotations=None, **more):
        M = oci_pb2.Mount
        caps = ['CAP_DAC_OVERRIDE']
        spec = oci_pb2.Spec(
            Version='1.0.2', Root=oci_pb2.Root(Path=self.road.rootfs), Annotations=annotations,
            Process=oci_pb2.Process(Args=['sh', '-c', cmd], Env=['PATH=/bin', 'NO_VALUE'], Cwd='/', User=oci_pb2.User(),
                                    Capabilities=oci_pb2.LinuxCapabilities(Bounding=caps, Effective=caps, Permitted=caps)),
            Mounts=[M(destination='/proc', type='proc', source='proc')] + [
                M(destination=d, type='bind', source=SHARE + '/' + s, options=['rbind', 'rprivate', 'ro'])
                for d, s in mounts],
            Linux=oci_pb2.Linux(Resources=oci_pb2.LinuxResources(), Namespaces=[oci_pb2.LinuxNamespace(Type='mount')]))
        self.c.CreateContainer(container_id=cid, exec_id=cid, OCI=spec, **more)
        self.c.StartContainer(container_id=cid)


def nothing_shared(pod):
    pod.c.CreateSandbox(sandbox_id='sb', sandbox_pidns=False)
    large = os.urandom(5 << 19)
    pod.copy('c1-resolv.conf', b'nameserver 10.0.0.1\n')
    pod.copy('c1-hosts', b'127.0.0.1 localhost\n')
    pod.copy('c1-large', large)
    pod.kubelet('c1-config', 'one', b'first')
    pod.copy('c1-last')
    pod.start('c1', 'exec sleep 1000', [('/etc/resolv.conf', 'c1-resolv.conf'), ('/etc/hosts', 'c1-hosts'),
                                        ('/config', 'c1-config'), ('/large', 'c1-large'), ('/dev/last', 'c1-last')],
              {'io.kubernetes.container.terminationMessagePath': '/dev/last'})
    expect(pod.shell('c1', 'cat /etc/resolv.conf /etc/hosts /config/key'),
           'nameserver 10.0.0.1\n127.0.0.1 localhost\nfirst')
    expect(pod.shell('c1', 'wc -c </large').strip(), str(len(large)))
    # How the host gets the last words of a container, when it has no file in common with it.
    for words, told in ((b'', ''), (b'went\xff\n', 'went\ufffd\n'), (b'x' * 5000, 'x' * 4096)):
        pod.copy('c1-last', words)
        expect(pod.c.GetDiagnosticData(container_id='c1', log_type='termination_log').data, told)
    # The update: a new folder, then the link.
    pod.kubelet('c1-config', 'two', b'second')
    expect(pod.shell('c1', 'cat /config/key; readlink /config/..data'), 'second..two\n')
    pod.copy('c1-resolv.conf', b'nameserver 10.0.0.2\n')    # a new file; who has the old one bound keeps it
    pod.start('c2', 'cat /etc/resolv.conf; exec sleep 1000', [('/etc/resolv.conf', 'c1-resolv.conf')])
    has(pod.read('c2', '\n'), '10.0.0.2')
    pod.c.RemoveContainer(container_id='c2')
    pod.c.RemoveContainer(container_id='c1')


def read_only_share(pod):
    """The share is a tmpfs that is read-only for the agent; the host's side of it is another mount."""
    host = pod.agent.root + '/run/host'
    script = ('mkdir -p /run/host %s && mount -t tmpfs host /run/host && mkdir -p /run/host/watchable /run/host/cm/..one && '
              'echo first >/run/host/cm/..one/key && ln -s ..one /run/host/cm/..data && '
              'ln -s ..data/key /run/host/cm/key && mount --bind /run/host %s && mount -o remount,bind,ro %s'
              % (SHARE, SHARE, SHARE))
    expect(os.system("nsenter -t %d -m sh -c '%s'" % (pod.agent.pid, script)), 0)
    pod.c.CreateSandbox(sandbox_id='sb')
    pod.start('c1', 'cat /config/key; exec moved /config', [('/config', 'watchable/c1-cm')],
              storages=[agent_pb2.Storage(driver='watchable-bind', source=SHARE + '/cm', fstype='bind', options=['bind', 'ro'],
                                          mount_point=SHARE + '/watchable/c1-cm')])
    pod.read('c1', 'first\nwatching\n')
    os.mkdir(host + '/cm/..two')
    with open(host + '/cm/..two/key', 'w') as f:
        f.write('second\n')
    os.symlink('..two', host + '/cm/..data_tmp')
    os.rename(host + '/cm/..data_tmp', host + '/cm/..data')
    shutil.rmtree(host + '/cm/..one')
    pod.read('c1', '..data\n')         # inotify says that it was moved there
    expect(pod.shell('c1', 'cat /config/key'), 'second\n')
    pod.c.RemoveContainer(container_id='c1')
    pod.c.DestroySandbox()
    expect([m for m in pod.agent.mounts() if 'watchable' in m], [], 'it goes with the sandbox')


def main():
    tap = Tap()
    with nsagent.Agent() as agent, agent.road() as road:
        for case in (nothing_shared, read_only_share):
            pod = Pod(agent, road)
            with tap.case(case.__name__.replace('_', ' ')):
                try:
                    case(pod)
                finally:
                    retry(pod.c.DestroySandbox, 5, on=(Exception,))
        with tap.case('no process is left'):
            retry(lambda: expect(agent.children(), []))
        return nsagent.finish(tap, agent)


if __name__ == '__main__':
    need_root()
    sys.exit(main())
