#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""agent-ctl's own: which protocol it speaks to whom, several commands over one connection, trees, what it takes away. TAP."""
import json
import os
import socket
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import nsagent  # noqa: E402
from roads import error_of  # noqa: E402
from tap import Tap, expect, has, need_root, retry  # noqa: E402

SHARE = '/run/kata-containers/shared/containers'


class Door:
    """In front of an agent, as one that knows a single protocol: a gRPC server closes on anything else, the Rust
    agent takes HTTP/2 for the length of a very large frame and waits. Counts connections."""

    def __init__(self, agent, protocol):
        self.agent, self.protocol, self.count, self.sent = agent, protocol, 0, []
        self.path = os.path.join(agent.dir, 'door-' + os.urandom(4).hex())
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(16)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            near, _ = self.listener.accept()
            self.count += 1
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near):
        first = near.recv(65536)
        is_h2 = first.startswith(b'PRI ')
        if is_h2 != (self.protocol == 'grpc'):
            if is_h2:
                near.recv(1)        # until the client gives up
            near.close()
            return
        far = self.agent.connect(timeout=None)
        far.sendall(first)
        self.sent.append(first)
        back = threading.Thread(target=self._carry, args=(far, near), daemon=True)
        back.start()
        self._carry(near, far, self.sent)
        back.join()

    @staticmethod
    def _carry(source, to, seen=None):
        while True:
            data = source.recv(65536)
            if not data:
                break
            if seen is not None:
                seen.append(data)
            to.sendall(data)
        to.shutdown(socket.SHUT_WR)


def auto(road, door=None):
    """The road as one that names no protocol."""
    argv = lambda *args: [nsagent.roads.CTL, '--addr', 'unix://' + door.path if door else road.address, *args]  # noqa: E731
    other = nsagent.roads.Road.__new__(nsagent.roads.Road)
    other.__dict__.update(road.__dict__)
    other.argv = argv
    return other


def protocol_is_chosen(agent, road):
    has(error_of(auto(road).ctl('-v', 'check', check=0)), 'speaks ttrpc')
    for protocol in ('grpc', 'ttrpc'):
        door = Door(agent, protocol)
        has(error_of(auto(road, door).ctl('-v', 'check', check=0)), 'speaks ' + protocol)
    with road.kept() as c:      # a method that only one of them has
        has(auto(road).ctl('ps', c.id, check=0).stdout.decode(), 'PID')
        has(auto(road).ctl('metrics', check=0).stdout.decode(), '# TYPE kata_guest_load gauge\n')
    r = auto(road).ctl('--protocol', 'http', 'check')
    expect(r.returncode, 125)
    has(error_of(r), 'unknown protocol')


def a_given_timeout_counts_for_all(agent, road):
    """Those that wait have none unless one is given."""
    with road.kept() as c:
        request = json.dumps(dict(container_id=c.id, exec_id=c.id))
        for args in (('--timeout', '0.3', 'call', 'WaitProcess', request), ('wait', '--timeout', '0.3', c.id)):
            r = road.ctl(*args, timeout=10)
            expect(r.returncode, 1)
            has(error_of(r), 'WaitProcess')
        p = road.popen('wait', c.id)
        time.sleep(0.5)
        expect(p.poll(), None)
        road.ctl('signal', c.id, '9', check=0)
        has(p.communicate(timeout=10)[0].decode(), '137')


def arguments_of_ps(agent, road):
    """They are its own, also those that agent-ctl has, too."""
    with road.kept('sleep 1000 & exec sleep 1000') as c:
        has(road.ctl('ps', c.id, '-ef', check=0).stdout.decode(), 'UID', 'sleep 1000')
        text = road.ctl('ps', c.id, '-e', '-o', 'pid,comm', check=0).stdout.decode()
        has(text, 'COMMAND', 'sleep')
        expect('UID' in text, False)
        expect(len(json.loads(road.ctl('ps', '--format', 'json', c.id, check=0).stdout)), 2)


def no_pid_namespace_is_sent(agent, road):
    door = Door(agent, 'ttrpc')
    r = auto(road, door).ctl('run', '--no-share', road.bundle('echo $$'), check=0)
    expect(r.stdout, b'1\n')
    sent = b''.join(door.sent)
    expect((b'\x0a\x03ipc' in sent, b'\x0a\x03pid' in sent), (True, False))


def batch(agent, road):
    door = Door(agent, 'ttrpc')
    with road.kept() as c:
        lines = ["exec -n %s sh -c 'echo one; exit 0'" % c.id, 'repeat 3 exec -n %s echo "a  b"' % c.id,
                 '# nothing', '', 'sleep 0.2', 'pause ' + c.id, 'resume ' + c.id]
        r = auto(road, door).ctl('batch', *lines, check=0)
        expect((r.stdout, door.count), (b'one\n' + b'a  b\n' * 3, 1))
        r = auto(road, door).ctl('batch', check=0, input='\n'.join(lines).encode())
        expect((r.stdout, door.count), (b'one\n' + b'a  b\n' * 3, 2))
        fails = ['exec -n %s sh -c "exit 3"' % c.id, 'exec -n %s sh -c "exit 4"' % c.id, 'exec -n %s echo on' % c.id]
        r = auto(road).ctl('batch', *fails)
        expect((r.returncode, r.stdout), (3, b''))
        r = auto(road).ctl('batch', '-k', *fails)
        expect((r.returncode, r.stdout), (3, b'on\n'))
        # options hold for their line only
        r = auto(road).ctl('batch', '-k', 'check --addr unix:///nowhere', 'check', 'nonsense')
        expect(r.returncode, 125)
        expect(error_of(r).count('\n'), 2)
        r = auto(road, door).ctl('batch', '-k', 'check', 'check --addr unix:///nowhere', 'ps --addr %s %s' % (road.address, c.id))
        expect(r.returncode, 125)
        has(error_of(r), '/nowhere')
        has(r.stdout.decode(), 'SERVING', 'PID')


def trees_are_copied(agent, road):
    with tempfile.TemporaryDirectory() as top:
        os.makedirs(top + '/d/empty')
        os.chmod(top + '/d/empty', 0o2750)
        with open(top + '/d/file', 'w') as f:
            f.write('text' * 1000000)
        os.chmod(top + '/d/file', 0o640)
        os.symlink('file', top + '/d/link')
        os.symlink('/no/where', top + '/d/dangling')
        auto(road).ctl('copy-file', top + '/d/', SHARE + '/tree', check=0)
        to = agent.root + SHARE + '/tree/'
        expect((os.readlink(to + 'link'), os.readlink(to + 'dangling')), ('file', '/no/where'))
        expect(oct(os.stat(to + 'empty').st_mode), oct(0o42750))
        st = os.stat(to + 'file')
        expect((oct(st.st_mode), st.st_size), (oct(0o100640), 4000000))
        auto(road).ctl('copy-file', top + '/d/link', SHARE + '/one', check=0)
        expect(os.readlink(agent.root + SHARE + '/one'), 'file')
        # 1.x knows files only: links are followed
        os.unlink(top + '/d/dangling')
        road.ctl('copy-file', top + '/d', SHARE + '/old', check=0)
        expect(os.path.islink(agent.root + SHARE + '/old/link'), False)
        expect(os.stat(agent.root + SHARE + '/old/link').st_size, 4000000)
        os.mkfifo(top + '/d/fifo')
        r = auto(road).ctl('copy-file', top + '/d', SHARE + '/tree')
        expect(r.returncode, 125)
        has(error_of(r), '/d/fifo', 'no file, link or folder')


def iptables_and_volumes(agent, road):
    r = auto(road).ctl('volume-stats', SHARE, check=0)
    has(r.stdout.decode(), '"unit": ', 'BYTES')
    r = auto(road).ctl('iptables')
    if r.returncode == 0:       # the host's kernel has it
        auto(road).ctl('set-iptables', '-', input=b'*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp --dport 77 -j ACCEPT\nCOMMIT\n',
                       check=0)
        has(auto(road).ctl('iptables', check=0).stdout.decode(), '--dport 77')
    else:
        has(error_of(r), 'GetIPTables')
    with tempfile.NamedTemporaryFile() as f:
        f.write(b'package agent_policy\n')
        f.flush()
        has(error_of(auto(road).ctl('set-policy', f.name)), 'SetPolicy')


def what_was_there_stays(agent, road):
    with road.kept() as c:
        expect(auto(road).ctl('run', '--no-share', road.bundle('exit 5')).returncode, 5)
        expect(c.sh('echo still'), 'still\n')
    # of a run's own nothing is left
    expect(auto(road).ctl('run', '--no-share', road.bundle('exit 6')).returncode, 6)
    expect(auto(road).ctl('create-sandbox', check=0).returncode, 0)
    auto(road).ctl('destroy-sandbox', check=0)


def terminals_and_missing_programs(agent, road):
    with road.kept() as c:
        door = Door(agent, 'ttrpc')
        far = auto(road, door)
        r = far.ctl('exec', '-t', '-n', c.id, 'sh', '-c', 'sleep 0.2; test -t 0 && echo terminal', check=0)
        expect(r.stdout, b'terminal\r\n')
        expect(b'CloseStdin' in b''.join(door.sent), False)
        far.ctl('exec', '-n', c.id, 'true', check=0)
        retry(lambda: expect(b'CloseStdin' in b''.join(door.sent), True))
        for program in ('nothing', '/no/thing', './nothing'):
            expect(far.ctl('exec', '-n', c.id, program).returncode, 127, program)
        expect(far.ctl('exec', '-n', c.id, '/etc/passwd').returncode, 126)


CASES = [protocol_is_chosen, a_given_timeout_counts_for_all, arguments_of_ps, no_pid_namespace_is_sent, batch, trees_are_copied, iptables_and_volumes, what_was_there_stays,
         terminals_and_missing_programs]


def main():
    tap = Tap()
    with nsagent.Agent() as agent, agent.road() as road:
        nsagent.run_cases(tap, agent, road, CASES, sys.argv[1:])
        return nsagent.finish(tap, agent)


if __name__ == '__main__':
    need_root()
    sys.exit(main())
