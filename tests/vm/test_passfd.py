#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""passfd: a host that dials as runtime-rs' does (Dragonball's socket joins its FIFOs to a vsock port of the agent's), before
CreateContainer and ExecProcess, and names the connections by the ports that they come from. TAP."""
import hashlib
import os
import re
import shutil
import socket
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from roads import make_rootfs  # noqa: E402
from rpc import Ttrpc, agent_pb2, oci_pb2  # noqa: E402
from tap import Tap, expect, has, retry  # noqa: E402
from vmlib import Bridge, Guest  # noqa: E402

PORT = 1027
SHARE = '/run/kata-containers/shared/containers/'
SIZE = int(os.environ.get('PASSFD_BYTES', 128 << 20))    # 1 << 30 takes a minute under TCG


class Host:
    def __init__(self, guest, share):
        self.guest, self.share, self.count = guest, share, 0
        self.c = Ttrpc(Bridge(guest).path)
        make_rootfs(os.path.join(share, 'base'))
        self.c.CreateSandbox(hostname='kata', sandbox_id='s', storages=[agent_pb2.Storage(
            driver='9p', source='kataShared', fstype='9p', mount_point=SHARE,
            options=['trans=virtio,version=9p2000.L,cache=mmap', 'nodev', 'msize=8192'])])
        self.c.CreateContainer(container_id='base', OCI=self.spec('exec sleep 1000'))
        self.c.StartContainer(container_id='base')

    def spec(self, cmd):
        return oci_pb2.Spec(Version='1.0.2', Root=oci_pb2.Root(Path=SHARE + 'base'), Process=self.process(cmd),
                            Mounts=[oci_pb2.Mount(destination='/proc', type='proc', source='proc'),
                                    oci_pb2.Mount(destination='/dev', type='tmpfs', source='tmpfs', options=['mode=755']),
                                    oci_pb2.Mount(destination='/dev/pts', type='devpts', source='devpts',
                                                  options=['newinstance', 'ptmxmode=0666', 'mode=0620'])],
                            Linux=oci_pb2.Linux(Resources=oci_pb2.LinuxResources(),
                                                Namespaces=[oci_pb2.LinuxNamespace(Type='mount')]))

    @staticmethod
    def process(cmd, terminal=False):
        return oci_pb2.Process(Args=['sh', '-c', cmd], Env=['PATH=/bin'], Cwd='/', User=oci_pb2.User(), Terminal=terminal)

    def exec(self, cmd, streams=('stdin', 'stdout', 'stderr'), terminal=False):
        return Exec(self, cmd, streams, terminal)


class Exec:
    """A process with connections for those of its streams."""

    def __init__(self, host, cmd, streams, terminal=False):
        host.count += 1
        self.c, self.id = host.c, 'e%d' % host.count
        ports = {}
        for name in ('stdin', 'stdout', 'stderr'):
            s = host.guest.connect(PORT, timeout=30) if name in streams else None
            setattr(self, name, s)
            if s:
                ports[name + '_port'] = s.host_port
        self.c.ExecProcess(container_id='base', exec_id=self.id, process=host.process(cmd, terminal), **ports)
        self.status = self.c.WaitProcess(_later=True, container_id='base', exec_id=self.id)

    def wait(self, timeout=30):
        return self.status.result(timeout).status

    def __enter__(self):
        return self

    def __exit__(self, *what):
        for s in (self.stdin, self.stdout, self.stderr):
            if s:
                s.close()


def read_all(s):
    out = []
    while True:
        data = s.recv(1 << 20)
        if not data:
            return b''.join(out)
        out.append(data)


def outputs_and_status(host):
    for _ in range(3):
        with host.exec('echo out; echo err >&2; exit 3') as e:
            expect((read_all(e.stdout), read_all(e.stderr), e.wait()), (b'out\n', b'err\n', 3))
            expect(e.stdin.recv(1), b'')


def inits_have_streams(host):
    out = host.guest.connect(PORT)
    host.c.CreateContainer(container_id='own', OCI=host.spec('echo from init; exit 4'), stdout_port=out.host_port)
    host.c.StartContainer(container_id='own')
    expect(read_all(out), b'from init\n')
    expect(host.c.WaitProcess(container_id='own').status, 4)
    host.c.RemoveContainer(container_id='own')
    out.close()


def input_ends_with_the_hosts(host):
    data = os.urandom(4 << 20)
    with host.exec('sha256sum; echo end') as e:
        e.stdin.sendall(data)
        e.stdin.shutdown(socket.SHUT_WR)
        expect(read_all(e.stdout), (hashlib.sha256(data).hexdigest() + '  -\nend\n').encode())
        expect(e.wait(), 0)
    # all of it has come and gone before the request
    s = host.guest.connect(PORT)
    s.sendall(b'early\n')
    s.close()
    with host.exec('cat; echo end', streams=('stdout',)) as e:
        expect(read_all(e.stdout), b'end\n')     # no stdin: at its end at once
    out = host.guest.connect(PORT)
    host.c.ExecProcess(container_id='base', exec_id='early', process=host.process('cat; echo end'), stdin_port=s.host_port,
                       stdout_port=out.host_port)
    expect(read_all(out), b'early\nend\n')
    expect(host.c.WaitProcess(container_id='base', exec_id='early').status, 0)


def process_that_reads_no_input(host):
    with host.exec('exec <&-; sleep 0.5; echo done') as e:
        e.stdin.settimeout(10)
        try:
            for _ in range(64):
                e.stdin.sendall(bytes(65536))
        except OSError:
            pass
        expect((read_all(e.stdout), e.wait()), (b'done\n', 0))


def terminal(host):
    with host.exec('stty -echo; echo ready; read x; echo got=$x; test -t 2 && echo tty >&2; exit 6', terminal=True,
                   streams=('stdin', 'stdout')) as e:
        got = b''
        while b'ready' not in got:
            got += e.stdout.recv(1000)
        host.c.TtyWinResize(container_id='base', exec_id=e.id, row=33, column=44)
        e.stdin.sendall(b'typed\n')
        has((got + read_all(e.stdout)).decode(), 'ready\r\n', 'got=typed\r\n', 'tty\r\n')
        expect(e.wait(), 6)
    with host.exec('seq 10000', terminal=True, streams=('stdout',)) as e:
        expect(hashlib.md5(read_all(e.stdout)).hexdigest(),
               hashlib.md5(b''.join(b'%d\r\n' % i for i in range(1, 10001))).hexdigest())
        expect(e.wait(), 0)


def host_that_leaves(host):
    """The process is not killed by it, and its status is told."""
    file = os.path.join(host.share, 'base/tmp/left')
    with host.exec('yes | head -c 4000000; echo $? >/tmp/left; exit 5') as e:
        e.stdout.recv(100000)
        e.stdout.close()
        expect(e.wait(), 5)
        with open(file, encoding='ascii') as f:
            expect(f.read(), '0\n')
    with host.exec('sleep 0.3; echo nobody; echo still; exit 5', terminal=True, streams=('stdin', 'stdout')) as e:
        e.stdin.close()
        e.stdout.close()
        expect(e.wait(), 5)


def slow_host(host):
    """A status waits for its output, and nothing is lost to a host that takes its time."""
    with host.exec('yes | head -c 3000000; echo the end') as e:
        time.sleep(3)
        expect(e.status.done(), False)
        data = read_all(e.stdout)
        expect((len(data), data[-8:]), (3000008, b'the end\n'))
        expect(e.wait(), 0)
    with host.exec('echo small') as e:      # it lies in the socket when the agent is done with it
        expect(e.wait(), 0)
        time.sleep(3)
        expect(read_all(e.stdout), b'small\n')


def who_else_holds_the_pipe(host):
    with host.exec('(sleep 2; echo late; sleep 1; echo later >/tmp/later) & echo now') as e:
        began = time.monotonic()
        expect((e.wait(), read_all(e.stdout)), (0, b'now\n'))
        expect(time.monotonic() - began < 1.9, True, 'time')
        retry(lambda: expect(os.path.exists(os.path.join(host.share, 'base/tmp/later')), True))


def streams_without_ports(host):
    with host.exec('head -c 1000000 /dev/zero >&2; cat; echo ok', streams=('stdout',)) as e:
        expect((read_all(e.stdout), e.wait()), (b'ok\n', 0))
    with host.exec('echo by call; exit 2', streams=()) as e:        # none at all: read by calls
        expect(host.c.ReadStdout(container_id='base', exec_id=e.id, len=100).data, b'by call\n')
        expect(e.wait(), 2)
    # a port that nobody has dialled
    host.c.ExecProcess(container_id='base', exec_id='stray', process=host.process('head -c 1000000 /dev/zero'), stdout_port=7)
    expect(host.c.WaitProcess(container_id='base', exec_id='stray').status, 0)
    has(host.guest.console(), 'no stream has come from port 7')
    # calls find the end in a stream of the host's
    with host.exec('sleep 0.5; echo mine') as e:
        expect(host.c.ReadStdout(container_id='base', exec_id=e.id, len=100).data, b'')
        expect((read_all(e.stdout), e.wait()), (b'mine\n', 0))


def streams_side_by_side(host):
    execs = [host.exec('seq %d 20000; exit %d' % (i, i)) for i in range(20)]
    for i, e in enumerate(execs):
        with e:
            expect((read_all(e.stdout)[-6:], e.wait()), (b'20000\n', i))


def many_bytes(host):
    line = b'0123456789abcdef' * 4096
    with host.exec('exec 2>/dev/null; dd if=/dev/zero bs=65536 count=%d' % (SIZE >> 16), streams=('stdout',)) as e:
        size, began = 0, time.monotonic()
        buf = bytearray(1 << 20)
        zero = bytes(1 << 20)
        while True:
            n = e.stdout.recv_into(buf)
            if not n:
                break
            if buf[:n] != zero[:n]:
                raise AssertionError('other bytes near %d' % size)
            size += n
        expect((size, e.wait()), (SIZE, 0))
        print('# stdout: %.0f MB/s' % (size / 1e6 / (time.monotonic() - began)))
    with host.exec('dd of=/dev/null bs=65536 iflag=fullblock 2>&1', streams=('stdin', 'stdout')) as e:
        began = time.monotonic()

        def feed():
            for _ in range(SIZE // len(line)):
                e.stdin.sendall(line)
            e.stdin.shutdown(socket.SHUT_WR)
        threading.Thread(target=feed, daemon=True).start()
        e.stdout.settimeout(120)
        has(read_all(e.stdout).decode(), '%d+0 records in' % (SIZE // 65536))
        expect(e.wait(), 0)
        print('# stdin: %.0f MB/s' % (SIZE / 1e6 / (time.monotonic() - began)))


def descriptors(host):
    s = retry(lambda: host.guest.connect(1026))
    s.sendall(b'echo fds=$(ls /proc/1/fd | wc -l)=\r')
    got = b''
    while not re.search(rb'fds=\d+=', got):
        got += s.recv(1000)
    s.close()
    return int(re.search(rb'fds=(\d+)=', got).group(1))


def agent_keeps_nothing(host):
    before = descriptors(host)
    for _ in range(8):
        with host.exec('echo; cat') as e:
            e.stdin.shutdown(socket.SHUT_WR)
            expect((read_all(e.stdout), e.wait()), (b'\n', 0))
    retry(lambda: expect(descriptors(host) <= before + 1, True, 'descriptors: %d before' % before))


CASES = [outputs_and_status, inits_have_streams, input_ends_with_the_hosts, process_that_reads_no_input, terminal, host_that_leaves,
         slow_host, who_else_holds_the_pipe, streams_without_ports, streams_side_by_side, many_bytes, agent_keeps_nothing]


def main():
    tap = Tap()
    share = tempfile.mkdtemp(prefix='share-', dir='/tmp')
    try:
        with Guest(share=share, append=['agent.passfd_listener_port=%d' % PORT, 'agent.debug_console_vport=1026']) as guest:
            guest.wait_agent()
            host = Host(guest, share)
            for case in CASES:
                if len(sys.argv) > 1 and not any(word in case.__name__ for word in sys.argv[1:]):
                    continue
                with tap.case(case.__name__.replace('_', ' ')):
                    case(host)
            tap.ok(guest.is_running(), 'the guest lives')
    finally:
        shutil.rmtree(share, ignore_errors=True)
    return tap.done()


if __name__ == '__main__':
    sys.exit(main())
