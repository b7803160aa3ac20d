#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A guest driven by a gRPC client that others wrote: python3-grpcio, over vsock (through the hybrid socket).

The whole life of a container: its output, exit code 7, stdin, an exec, statuses; then a client that is
killed in mid-stream, after which the agent goes on serving.
"""
import os
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from roads import CTL, make_rootfs  # noqa: E402
from rpc import Client, agent_pb2, fails, grpc, health_pb2, oci_pb2  # noqa: E402
from tap import Tap, expect  # noqa: E402
from vmlib import Bridge, Guest  # noqa: E402

S = grpc.StatusCode
SHARE_IN_GUEST = '/run/kata-containers/shared/containers/'


def read(c, cid):
    out = b''
    while True:
        try:
            out += c.ReadStdout(container_id=cid, exec_id=cid, len=32768).data
        except grpc.RpcError as e:
            expect((e.code(), e.details()), (S.UNKNOWN, 'EOF'))
            return out


def spec(*args):
    s = oci_pb2.Spec(Version='1.0.2', Hostname='box')
    s.Process.Args.extend(args)
    s.Process.Env.extend(['PATH=/bin', 'A=b'])
    s.Process.Cwd = '/'
    s.Root.Path = SHARE_IN_GUEST + 'base'
    for kind in ('mount', 'ipc', 'uts'):
        s.Linux.Namespaces.add(Type=kind)
    s.Mounts.add(destination='/proc', source='proc', type='proc')
    s.Mounts.add(destination='/dev', source='tmpfs', type='tmpfs', options=['nosuid', 'mode=755'])
    s.Linux.Resources.SetInParent()
    return s


def create(c, cid, *args):
    c.CreateContainer(container_id=cid, exec_id=cid, OCI=spec(*args))
    c.StartContainer(container_id=cid)


def main():
    tap = Tap()
    share = tempfile.mkdtemp(prefix='share-', dir='/tmp')
    make_rootfs(os.path.join(share, 'base'))
    try:
        with Guest(share=share) as guest:
            guest.wait_agent()
            run_cases(tap, guest, Client(Bridge(guest).path))
    finally:
        shutil.rmtree(share, ignore_errors=True)
    return tap.done()


def run_cases(tap, guest, c):
    with tap.case('Check says SERVING, Version has both versions'):
        expect(c.Check().status, health_pb2.SERVING)
        v = c.Version()
        expect((v.grpc_version, bool(v.agent_version)), ('0.0.1', True))

    with tap.case('a sandbox with the share'):
        c.CreateSandbox(hostname='pod', sandbox_id='pod1', storages=[agent_pb2.Storage(
            driver='9p', source='kataShared', fstype='9p', mount_point=SHARE_IN_GUEST,
            options=['trans=virtio,version=9p2000.L,cache=mmap', 'nodev', 'msize=8192'])])

    with tap.case('a container\'s output, errors and exit code 7'):
        create(c, 'seven', 'sh', '-c', 'echo out $A; echo err >&2; exit 7')
        expect(read(c, 'seven'), b'out b\n')
        expect(c.ReadStderr(container_id='seven', exec_id='seven', len=32768).data, b'err\n')
        expect(c.WaitProcess(container_id='seven', exec_id='seven').status, 7)
        c.RemoveContainer(container_id='seven')
        fails(S.NOT_FOUND, c.RemoveContainer, container_id='seven')

    with tap.case('stdin, and an exec in the same container'):
        create(c, 'cat', 'cat')
        writes = [c.WriteStdin(container_id='cat', exec_id='cat', data=chunk, _later=True, _timeout=60)
                  for chunk in (b'a' * 70000, b'', b'b' * 70000)]
        got = b''
        while len(got) < 140000:
            got += c.ReadStdout(container_id='cat', exec_id='cat', len=32768).data
        expect((got.count(b'a'), got.count(b'b')), (70000, 70000))
        expect([w.result().len for w in writes], [70000, 0, 70000])
        p = oci_pb2.Process(Args=['sh', '-c', 'exit 3'], Env=['PATH=/bin'], Cwd='/')
        c.ExecProcess(container_id='cat', exec_id='e1', process=p)
        expect(c.WaitProcess(container_id='cat', exec_id='e1').status, 3)
        c.CloseStdin(container_id='cat', exec_id='cat')
        expect(read(c, 'cat'), b'')
        expect(c.WaitProcess(container_id='cat', exec_id='cat').status, 0)
        c.RemoveContainer(container_id='cat')

    with tap.case('statuses that clients look at'):
        fails(S.ALREADY_EXISTS, c.CreateSandbox)
        fails(S.NOT_FOUND, c.StatsContainer, container_id='no')
        fails(S.INVALID_ARGUMENT, c.CreateContainer, container_id='x')
        fails(S.UNIMPLEMENTED, c.raw, 'NoSuchMethod', b'', service='grpc.AgentService')
        fails(S.RESOURCE_EXHAUSTED, c.WriteStdin, container_id='x', data=b'x' * (5 << 20))

    with tap.case('a client killed in mid-stream; the agent goes on serving'):
        create(c, 'yes', 'yes')
        victim = subprocess.Popen([CTL, '--addr', guest.address, 'attach', '-n', 'yes'],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        victim.stdout.read(1 << 20)
        victim.kill()
        victim.wait()
        victim.stdout.close()
        expect(c.Check().status, health_pb2.SERVING)
        got = c.ReadStdout(container_id='yes', exec_id='yes', len=4096).data
        expect(set(got) <= set(b'y\n') and len(got) > 0, True)
        c.SignalProcess(container_id='yes', signal=9)
        expect(c.WaitProcess(container_id='yes', exec_id='yes').status, 137)
        c.RemoveContainer(container_id='yes')

    with tap.case('DestroySandbox, and another sandbox after it'):
        c.DestroySandbox()
        c.CreateSandbox(sandbox_id='pod2')
        c.DestroySandbox()
        expect(guest.is_running(), True)


if __name__ == '__main__':
    sys.exit(main())
