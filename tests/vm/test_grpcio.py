#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A guest driven by a gRPC client that others wrote: python3-grpcio, over vsock (through the hybrid socket).

The whole life of a container: its output, exit code 7, stdin, an exec, statuses; then a client that is
killed in mid-stream, after which the agent goes on serving.
"""
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'e2e'))
import cases  # noqa: E402
from vmlib import BUILD, Guest, Tap, expect  # noqa: E402

try:
    import grpc
    import google.protobuf  # noqa: F401
except ImportError as e:
    print('1..0 # SKIP %s: python3-grpcio and python3-protobuf are needed' % e)
    sys.exit(77)

SHARE_IN_GUEST = '/run/kata-containers/shared/containers/'


def stubs():
    """The wire contract in Python, made of the .proto files now; nothing generated is kept."""
    out = os.path.join(BUILD, 'py-proto')
    os.makedirs(out, exist_ok=True)
    proto = os.path.join(cases.TOP, 'agent', 'proto')
    subprocess.run(['protoc', '--proto_path=' + proto, '--proto_path=/usr/include', '--python_out=' + out,
                    *[os.path.join(proto, f) for f in ('agent.proto', 'oci.proto', 'types.proto', 'health.proto')]],
                   check=True)
    sys.path.insert(0, out)
    import agent_pb2
    import health_pb2
    import oci_pb2
    return agent_pb2, health_pb2, oci_pb2


class Bridge(threading.Thread):
    """A Unix socket each connection of which is carried on to the guest's port: grpcio can't say CONNECT."""

    def __init__(self, guest, path):
        super().__init__(daemon=True)
        self.guest = guest
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(16)

    def run(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = self.guest.connect()
            far.settimeout(None)
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self.copy, args=(a, b), daemon=True).start()

    @staticmethod
    def copy(a, b):
        try:
            while True:
                data = a.recv(65536)
                if not data:
                    break
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)
        except OSError:
            for s in (a, b):
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass


class Client:
    def __init__(self, path, agent, health):
        self.channel = grpc.insecure_channel('unix:' + path)
        self.agent, self.health = agent, health

    def call(self, name, request=None, answer=None, timeout=30):
        service = 'Health' if name in ('Check', 'Version') else 'AgentService'
        request = request if request is not None else getattr(self.agent, name + 'Request')()
        call = self.channel.unary_unary('/grpc.%s/%s' % (service, name),
                                        request_serializer=type(request).SerializeToString,
                                        response_deserializer=(answer or self.agent.ListInterfacesRequest).FromString)
        return call(request, timeout=timeout)

    def read(self, name, cid, exec_id):
        out = b''
        while True:
            try:
                out += self.call(name, self.agent.ReadStreamRequest(container_id=cid, exec_id=exec_id, len=32768),
                                 self.agent.ReadStreamResponse, timeout=None).data
            except grpc.RpcError as e:
                expect((e.code(), e.details()), (grpc.StatusCode.UNKNOWN, 'EOF'))
                return out

    def wait(self, cid, exec_id):
        return self.call('WaitProcess', self.agent.WaitProcessRequest(container_id=cid, exec_id=exec_id),
                         self.agent.WaitProcessResponse, timeout=None).status


def spec(oci, rootfs, args):
    s = oci.Spec(Version='1.0.2', Hostname='box')
    s.Process.Args.extend(args)
    s.Process.Env.extend(['PATH=/bin', 'A=b'])
    s.Process.Cwd = '/'
    s.Root.Path = rootfs
    for kind in ('mount', 'ipc', 'uts'):
        s.Linux.Namespaces.add(Type=kind)
    s.Mounts.add(destination='/proc', source='proc', type='proc')
    s.Mounts.add(destination='/dev', source='tmpfs', type='tmpfs', options=['nosuid', 'mode=755'])
    s.Linux.Resources.SetInParent()
    return s


def status_of(fn, *args):
    try:
        fn(*args)
    except grpc.RpcError as e:
        return e.code()
    return grpc.StatusCode.OK


def main():
    agent, health, oci = stubs()
    tap = Tap()
    share = tempfile.mkdtemp(prefix='share-', dir='/tmp')
    cases.make_rootfs(os.path.join(share, 'base'))
    try:
        with Guest(share=share) as guest:
            guest.wait_agent()
            Bridge(guest, guest.path('bridge.sock')).start()
            run_cases(tap, guest, Client(guest.path('bridge.sock'), agent, health), agent, health, oci, share)
    finally:
        shutil.rmtree(share, ignore_errors=True)
    return tap.done()


def create(c, agent, oci, cid, args):
    c.call('CreateContainer', agent.CreateContainerRequest(
        container_id=cid, exec_id=cid, OCI=spec(oci, SHARE_IN_GUEST + 'base', args)))
    c.call('StartContainer', agent.StartContainerRequest(container_id=cid))


def run_cases(tap, guest, c, agent, health, oci, share):
    with tap.case('Check says SERVING, Version has both versions'):
        expect(c.call('Check', health.CheckRequest(), health.HealthCheckResponse).status, health.SERVING)
        v = c.call('Version', health.CheckRequest(), health.VersionCheckResponse)
        expect((v.grpc_version, bool(v.agent_version)), ('0.0.1', True))

    with tap.case('a sandbox with the share'):
        c.call('CreateSandbox', agent.CreateSandboxRequest(
            hostname='pod', sandbox_id='pod1', storages=[agent.Storage(
                driver='9p', source='kataShared', fstype='9p', mount_point=SHARE_IN_GUEST,
                options=['trans=virtio,version=9p2000.L,cache=mmap', 'nodev', 'msize=8192'])]))

    with tap.case('a container\'s output, errors and exit code 7'):
        create(c, agent, oci, 'seven', ['sh', '-c', 'echo out $A; echo err >&2; exit 7'])
        expect(c.read('ReadStdout', 'seven', 'seven'), b'out b\n')
        expect(c.read('ReadStderr', 'seven', 'seven'), b'err\n')
        expect(c.wait('seven', 'seven'), 7)
        c.call('RemoveContainer', agent.RemoveContainerRequest(container_id='seven'))
        expect(status_of(c.call, 'RemoveContainer', agent.RemoveContainerRequest(container_id='seven')),
               grpc.StatusCode.NOT_FOUND)

    with tap.case('stdin, and an exec in the same container'):
        create(c, agent, oci, 'cat', ['cat'])
        for chunk in (b'a' * 70000, b'', b'b' * 70000):
            n = c.call('WriteStdin', agent.WriteStreamRequest(container_id='cat', exec_id='cat', data=chunk),
                       agent.WriteStreamResponse, timeout=60) if len(chunk) < 60000 else None
            if n is None:
                threading.Thread(target=c.call, args=('WriteStdin', agent.WriteStreamRequest(
                    container_id='cat', exec_id='cat', data=chunk), agent.WriteStreamResponse, 60)).start()
        got = b''
        while len(got) < 140000:
            got += c.call('ReadStdout', agent.ReadStreamRequest(container_id='cat', exec_id='cat', len=32768),
                          agent.ReadStreamResponse).data
        expect((got.count(b'a'), got.count(b'b')), (70000, 70000))
        p = oci.Process(Args=['sh', '-c', 'exit 3'], Env=['PATH=/bin'], Cwd='/')
        c.call('ExecProcess', agent.ExecProcessRequest(container_id='cat', exec_id='e1', process=p))
        expect(c.wait('cat', 'e1'), 3)
        c.call('CloseStdin', agent.CloseStdinRequest(container_id='cat', exec_id='cat'))
        expect(c.read('ReadStdout', 'cat', 'cat'), b'')
        expect(c.wait('cat', 'cat'), 0)
        c.call('RemoveContainer', agent.RemoveContainerRequest(container_id='cat'))

    with tap.case('statuses that clients look at'):
        S = grpc.StatusCode
        expect(status_of(c.call, 'CreateSandbox', agent.CreateSandboxRequest()), S.ALREADY_EXISTS)
        expect(status_of(c.call, 'StatsContainer', agent.StatsContainerRequest(container_id='no')), S.NOT_FOUND)
        expect(status_of(c.call, 'CreateContainer', agent.CreateContainerRequest(container_id='x')), S.INVALID_ARGUMENT)
        expect(status_of(c.call, 'NoSuchMethod', agent.ListInterfacesRequest()), S.UNIMPLEMENTED)
        big = agent.WriteStreamRequest(container_id='x', data=b'x' * (5 << 20))
        expect(status_of(c.call, 'WriteStdin', big), S.RESOURCE_EXHAUSTED)

    with tap.case('a client killed in mid-stream; the agent goes on serving'):
        create(c, agent, oci, 'yes', ['yes'])
        victim = subprocess.Popen([cases.CTL, '--addr', guest.address, 'attach', '-n', 'yes'],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        victim.stdout.read(1 << 20)
        victim.kill()
        victim.wait()
        victim.stdout.close()
        expect(c.call('Check', health.CheckRequest(), health.HealthCheckResponse).status, health.SERVING)
        got = c.call('ReadStdout', agent.ReadStreamRequest(container_id='yes', exec_id='yes', len=4096),
                     agent.ReadStreamResponse).data
        expect(set(got) <= set(b'y\n') and len(got) > 0, True)
        c.call('SignalProcess', agent.SignalProcessRequest(container_id='yes', signal=9))
        expect(c.wait('yes', 'yes'), 137)
        c.call('RemoveContainer', agent.RemoveContainerRequest(container_id='yes'))

    with tap.case('DestroySandbox, and another sandbox after it'):
        c.call('DestroySandbox', agent.DestroySandboxRequest())
        c.call('CreateSandbox', agent.CreateSandboxRequest(sandbox_id='pod2'))
        c.call('DestroySandbox', agent.DestroySandboxRequest())
        expect(json.dumps(guest.is_running()), 'true')


if __name__ == '__main__':
    sys.exit(main())
