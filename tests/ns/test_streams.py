#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Standard streams as hosts use them, to their ends, by gRPC and ttrpc, on this host. TAP.

Three hosts: one of 1.x; one of 3.x to 3.26, whose copy loop ends only at an error; one of 3.27 and later
(and runtime-rs), whose loop ends at the first empty answer. runtime-rs names a container's init "".
"""
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import nsagent  # noqa: E402
from rpc import Client, Ttrpc, fails, grpc  # noqa: E402
from tap import Tap, expect, need_root, retry  # noqa: E402
from test_rpc import S, Sandbox  # noqa: E402

MANY = 1000     # empty answers after which a loop that wants an error would spin for ever


class Host:
    """Copies a process's output to its end in threads, as a shim does. read_len: bytes that a read asks for."""

    def __init__(self, client, name, ends_at_empty, init_name=None, read_len=32768):
        self.c, self.name, self.ends_at_empty, self.read_len = client, name, ends_at_empty, read_len
        self.init_name = init_name

    def ids(self, cid, eid=None):
        own = cid if self.init_name is None else self.init_name
        return {'container_id': cid, 'exec_id': own if eid is None else eid}

    def copy(self, method, ids, into):
        empty = 0
        while True:
            try:
                data = getattr(self.c, method)(len=self.read_len, **ids).data
            except grpc.RpcError as e:
                into['end'] = e
                return
            if len(data) > self.read_len:
                into['end'] = AssertionError('%d bytes instead of %d' % (len(data), self.read_len))
                return
            into['data'] += data
            empty += not data
            if not data and self.ends_at_empty or empty > MANY:
                into['end'] = empty
                return

    def streams(self, cid, eid=None, terminal=False):
        """Copies that go on; join() gives the bytes of stdout and stderr."""
        return Copies(self, self.ids(cid, eid), ['ReadStdout'] + ([] if terminal else ['ReadStderr']))


class Copies:
    def __init__(self, host, ids, methods):
        self.host, self.out = host, [{'data': b'', 'end': None} for _ in methods]
        self.threads = [threading.Thread(target=host.copy, args=(m, ids, o), daemon=True)
                        for m, o in zip(methods, self.out)]
        self.began = time.monotonic()
        for t in self.threads:
            t.start()

    def join(self, timeout=20):
        for t, o in zip(self.threads, self.out):
            t.join(timeout - (time.monotonic() - self.began))
            expect(t.is_alive(), False, '%s: the stream does not end, after %r' % (self.host.name, o['data'][-80:]))
            if isinstance(o['end'], AssertionError):
                raise o['end']
            expect(o['end'] is None or isinstance(o['end'], int) and o['end'] > 1, False,
                   '%s: empty answers: %s' % (self.host.name, o['end']))
        return tuple(o['data'] for o in self.out)


# ---- the cases -----------------------------------------------------------------------------------

def whole_lives(host, sb):
    """Created, read, started, waited for; then an exec; each with output and without."""
    c = host.c
    for i, (cmd, want) in enumerate((('echo out; echo err >&2; exit 3', (b'out\n', b'err\n')), ('exit 3', (b'', b'')))):
        cid = 'c%d' % i
        sb.create(cid, cmd)
        copies = host.streams(cid)
        c.StartContainer(container_id=cid)
        expect(c.WaitProcess(**host.ids(cid)).status, 3)
        expect(copies.join(), want)
        c.RemoveContainer(container_id=cid)
    sb.start('x')
    for i, (cmd, want) in enumerate((('echo out; echo err >&2; exit 3', (b'out\n', b'err\n')), ('exit 3', (b'', b'')))):
        sb.execute('x', 'e%d' % i, 'sh', '-c', cmd)
        copies = host.streams('x', 'e%d' % i)
        expect(c.WaitProcess(container_id='x', exec_id='e%d' % i).status, 3)
        expect(copies.join(), want)


def terminals(host, sb):
    sb.create('t', 'echo out; exit 4', terminal=True)
    copies = host.streams('t', terminal=True)
    host.c.StartContainer(container_id='t')
    expect(host.c.WaitProcess(**host.ids('t')).status, 4)
    expect(copies.join(), (b'out\r\n',))
    sb.start('x')
    sb.execute('x', 'e', 'sh', '-c', 'echo exec; exit 5', terminal=True)
    copies = host.streams('x', 'e', terminal=True)
    expect(host.c.WaitProcess(container_id='x', exec_id='e').status, 5)
    expect(copies.join(), (b'exec\r\n',))


def late_reader(host, sb):
    """The process is gone, its status told: its output is still there, then its end."""
    sb.start('c', 'echo late; exit 6')
    expect(host.c.WaitProcess(**host.ids('c')).status, 6)
    time.sleep(1)
    expect(host.streams('c').join(), (b'late\n', b''))
    sb.start('x')
    sb.execute('x', 'e', 'sh', '-c', 'echo late; exit 6')
    expect(host.c.WaitProcess(container_id='x', exec_id='e').status, 6)
    time.sleep(1)
    expect(host.streams('x', 'e').join(), (b'late\n', b''))


def long_output(host, sb):
    sb.create('c', 'dd if=/dev/zero bs=65536 count=40 2>/dev/null; echo end')
    copies = host.streams('c')
    host.c.StartContainer(container_id='c')
    out, _ = copies.join()
    expect((len(out), out[-4:]), (40 * 65536 + 4, b'end\n'))


def stdin_to_its_end(host, sb):
    sb.create('c', 'cat; echo end')
    ids, copies = host.ids('c'), host.streams('c')
    host.c.StartContainer(container_id='c')
    data = os.urandom(300000)
    for at in range(0, len(data), 32768):
        host.c.WriteStdin(data=data[at:at + 32768], **ids)
    host.c.CloseStdin(**ids)
    host.c.CloseStdin(**ids)
    if host.name == '1.x':
        expect(host.c.WriteStdin(data=b'late', **ids).len, 0)
    else:
        fails(S.INTERNAL, host.c.WriteStdin, data=b'late', words='closed', **ids)
    expect(copies.join(), (data + b'end\n', b''))
    expect(host.c.WaitProcess(**ids).status, 0)


def no_exec_id_is_the_init(host, sb):
    """In every call but SignalProcess, where it has meanings of its own."""
    c, ids = host.c, {'container_id': 'c', 'exec_id': ''}
    sb.create('c', 'read x; echo got $x; exec sleep 1000', terminal=True)
    sb.c.TtyWinResize(row=10, column=20, **ids)
    sb.c.StartContainer(container_id='c')
    expect(c.WriteStdin(data=b'word\n', **ids).len, 5)
    out = b''
    while b'got word' not in out:
        out += c.ReadStdout(len=100, **ids).data
    c.CloseStdin(**ids)
    fails(S.ALREADY_EXISTS, sb.execute, 'c', '', 'true')
    waiter = c.WaitProcess(_later=True, **ids)
    c.SignalProcess(signal=9, **ids)
    expect(waiter.result().status, 137)


def cpu_seconds(agent):
    with open('/proc/%d/stat' % agent.pid) as f:
        fields = f.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def terminal_let_go(host, sb):
    """A process that closes its terminal while somebody reads is not hung up, nor is its later output lost."""
    detach = 'echo one; exec </dev/null >/dev/null 2>&1; sleep 0.5; %s exit 7'
    for more, want in (('', b'one\r\n'), ('echo two >/dev/pts/0; sleep 0.2;', b'one\r\ntwo\r\n')):
        sb.create('t', detach % more, terminal=True)
        copies = host.streams('t', terminal=True)
        host.c.StartContainer(container_id='t')
        spent = cpu_seconds(sb.agent)
        expect(host.c.WaitProcess(**host.ids('t')).status, 7)
        expect(copies.join(), (want,))
        expect(cpu_seconds(sb.agent) - spent < 0.1, True, 'it spins')
        host.c.RemoveContainer(container_id='t')


def background_child_of_a_host_that_reads_first(host, sb):
    """What holds the pipe is heard to its end: the host has not asked for the status yet."""
    sb.start('x')
    sb.execute('x', 'e', 'sh', '-c', '(sleep 1; echo late) & echo done; exit 8')
    expect(host.streams('x', 'e').join(), (b'done\nlate\n', b''))
    expect(host.c.WaitProcess(container_id='x', exec_id='e').status, 8)


def background_child_of_a_host_that_waits(host, sb):
    """Silence ends the stream, each byte begins a new one; and the child is not killed by its later output."""
    sb.start('x')
    for eid, wait_first in (('e', True), ('f', False)):
        sb.execute('x', eid, 'sh', '-c', 'rm -f /tmp/lives; (for i in 1 2 3; do sleep 0.3; echo $i; done; sleep 1; '
                   'for i in $(seq 100); do echo nobody hears $i; done; echo >/tmp/lives; sleep 1000) & exit 8')
        waiter = host.c.WaitProcess(container_id='x', exec_id=eid, _later=True) if wait_first else None
        copies = host.streams('x', eid)
        if not waiter:
            time.sleep(0.1)
            waiter = host.c.WaitProcess(container_id='x', exec_id=eid, _later=True)
        expect(waiter.result(5).status, 8)
        began = time.monotonic()
        expect(copies.join(), (b'1\n2\n3\n', b''))
        expect(time.monotonic() - began < 2, True, 'seconds %.1f' % (time.monotonic() - began))
        sb.execute('x', 'look', 'sh', '-c', 'for i in $(seq 40); do test -e /tmp/lives && exit 0; sleep 0.1; done; exit 1')
        expect(sb.wait('x', 'look').status, 0, 'the child died')


def flood_into_nothing(host, sb):
    """A background process that never stops writing costs no memory, and delays nobody."""
    sb.start('x')
    fds = sb.agent.fds()
    sb.execute('x', 'e', 'sh', '-c', '(sleep 1; exec yes) & exit 0')
    expect(host.c.WaitProcess(container_id='x', exec_id='e').status, 0)
    host.streams('x', 'e').join()
    time.sleep(0.7)
    rss = sb.agent.rss_kb()
    for _ in range(20):
        began = time.monotonic()
        host.c.Check()
        expect(time.monotonic() - began < 0.5, True, 'Check waits')
        time.sleep(0.03)
    expect(sb.agent.rss_kb() - rss < 300, True, 'kB: %d, then %d' % (rss, sb.agent.rss_kb()))
    host.c.RemoveContainer(container_id='x')
    retry(lambda: expect(sb.agent.fds() <= fds, True))


CASES = [whole_lives, terminals, late_reader, long_output, stdin_to_its_end, no_exec_id_is_the_init, terminal_let_go,
         background_child_of_a_host_that_reads_first, background_child_of_a_host_that_waits, flood_into_nothing]


def main():
    tap = Tap()
    only = sys.argv[1:]
    with nsagent.Agent() as agent, agent.road() as road:
        v1, v3 = Client(agent.sock), Ttrpc(agent.sock)
        hosts = [Host(v1, '1.x', True), Host(v3, '3.26', False), Host(v3, '3.27', True, read_len=1000),
                 Host(v3, 'runtime-rs', True, init_name='')]
        for case in CASES:
            for host in hosts:
                name = '%s, %s' % (case.__name__.replace('_', ' '), host.name)
                if only and not any(word in case.__name__ or word == host.name for word in only):
                    continue
                with tap.case(name):
                    try:
                        with Sandbox(host.c, road) as sb:
                            sb.agent = agent
                            case(host, sb)
                    finally:
                        if agent.alive():
                            retry(v1.DestroySandbox, 5, on=(grpc.RpcError,))
        with tap.case('no process is left'):
            retry(lambda: expect(agent.children(), []))
        v1.close()
        v3.close()
        return nsagent.finish(tap, agent)


if __name__ == '__main__':
    need_root()
    sys.exit(main())
