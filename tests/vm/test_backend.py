#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests the vsock device (vhost-user-vsock) with a real guest that runs build/vsock-guest."""
import hashlib
import os
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True      # build output belongs into build/ only
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import vmlib  # noqa: E402
from tap import BUILD, Tap, expect, retry  # noqa: E402
from vmlib import Refused  # noqa: E402

ECHO, SINK, SOURCE, COMMANDS, CLOSER, BREAKER, DEAF = range(5000, 5007)
MIB = 1 << 20


def read_all(s):
    parts = []
    while True:
        try:
            got = s.recv(1 << 18)
        except ConnectionResetError:
            break
        if not got:
            break
        parts.append(got)
    return b''.join(parts)


def read_exactly(s, n):
    parts = []
    while n > 0:
        got = s.recv(min(n, 1 << 18))
        if not got:
            raise AssertionError('the stream ended %d bytes early' % n)
        parts.append(got)
        n -= len(got)
    return b''.join(parts)


def pattern(n):
    """What port SOURCE sends; it repeats after 64 KiB."""
    block = bytes((i * 31 + (i >> 8)) & 0xff for i in range(65536))
    return (block * (n // 65536 + 1))[:n]


def fnv1a(data):
    h = 14695981039346656037
    for b in data:
        h = ((h ^ b) * 1099511628211) & 0xffffffffffffffff
    return h


def echo_once(guest, data):
    """Sends data and receives it back at the same time; returns the seconds it took."""
    with guest.connect(ECHO, timeout=60) as s:
        def send():
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
        start = time.monotonic()
        sender = threading.Thread(target=send)
        sender.start()
        hash_, total = hashlib.sha256(), 0
        while True:
            got = s.recv(1 << 18)
            if not got:
                break
            hash_.update(got)
            total += len(got)
        sender.join()
        took = time.monotonic() - start
    expect(total, len(data), 'length')
    expect(hash_.digest(), hashlib.sha256(data).digest(), 'checksum')
    return took


def wait_idle(guest):
    """All connections are gone, on both sides."""
    retry(lambda: expect(guest.counters()['connections'], 0, 'connections left'), 15)


def backend_pid(guest):
    with open(guest.path('backend.pid'), encoding='ascii') as f:
        return int(f.read())


def backend_fds(guest):
    return len(os.listdir('/proc/%d/fd' % backend_pid(guest)))


def backend_rss_kb(guest):
    with open('/proc/%d/status' % backend_pid(guest), encoding='ascii') as f:
        return next(int(line.split()[1]) for line in f if line.startswith('RssAnon:'))


def data_tests(tap, guest):
    with tap.case('echo of 64 MiB, both directions at once'):
        took = echo_once(guest, os.urandom(MIB) * 64)
        tap.note('%.0f MiB/s each way' % (64 / took))

    with tap.case('64 MiB from the guest'):
        with guest.connect(SOURCE, timeout=60) as s:
            start = time.monotonic()
            s.sendall(b'%d\n' % (64 * MIB))
            data = read_all(s)
            tap.note('%.0f MiB/s' % (64 / (time.monotonic() - start)))
        expect(data == pattern(64 * MIB), True, 'content is right')

    with tap.case('64 MiB to the guest'):
        data = os.urandom(64 * 1024)
        with guest.connect(SINK, timeout=60) as s:
            start = time.monotonic()
            for _ in range(1024):
                s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            answer = read_all(s).split()
            tap.note('%.0f MiB/s, hashed on the way' % (64 / (time.monotonic() - start)))
        expect(int(answer[0]), 64 * MIB, 'bytes')

    with tap.case('round trips of 32 bytes'):
        times = []
        with guest.connect(ECHO) as s:
            for _ in range(1000):
                start = time.monotonic()
                s.sendall(b'x' * 32)
                read_exactly(s, 32)
                times.append(time.monotonic() - start)
        tap.note('median %.3f ms' % (statistics.median(times) * 1e3))

    for word in (b'CONNECT', b'connect'):   # runtime-rs has it in small letters
        with tap.case('bytes right behind %s reach the guest' % word.decode()):
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(10)
                s.connect(guest.path('vsock.sock'))
                s.sendall(b'%s %d\nearly bytes' % (word, ECHO))
                line = b''
                while not line.endswith(b'\n'):
                    line += s.recv(1)
                expect(line[:3], b'OK ', 'answer')
                expect(read_exactly(s, 11), b'early bytes', 'echo')


def end_tests(tap, guest):
    with tap.case('half-close by the host: the guest still answers'):
        with guest.connect(SINK) as s:
            s.sendall(b'abc')
            s.shutdown(socket.SHUT_WR)
            expect(read_all(s), b'3 %016x\n' % fnv1a(b'abc'), 'answer')

    with tap.case('write and close at once: nothing is lost'):
        with guest.listen(7003) as listener:
            with guest.connect(COMMANDS) as s:
                s.sendall(b'dial 7003\n' * 20)
            for _ in range(20):
                peer, _ = listener.accept()
                peer.close()
        wait_idle(guest)

    with tap.case('close by the guest'):
        with guest.connect(CLOSER) as s:
            expect(read_all(s), b'', 'data')
        wait_idle(guest)

    with tap.case('all bytes arrive before the guest\'s close'):
        with guest.connect(BREAKER) as s:
            time.sleep(0.3)
            expect(read_all(s) == pattern(65536), True, 'content is right')

    with tap.case('a port nobody listens on is refused'):
        try:
            guest.connect(4999)
        except Refused:
            return
        raise AssertionError('it was not refused')


def greeting_tests(tap, guest):
    for hello in (b'HELLO 5000\n', b'CONNECT\n', b'CONNECT \n', b'CONNECT 5000x\n',
                  b'CONNECT -1\n', b'CONNECT 4294967296\n', b'X' * 64, b'CONNECT ' + b'1' * 64):
        with tap.case('greeting %r is turned away' % hello[:24]):
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(5)
                s.connect(guest.path('vsock.sock'))
                s.sendall(hello)
                expect(read_all(s), b'', 'answer')
    with tap.case('a greeting in single bytes is understood'):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(5)
            s.connect(guest.path('vsock.sock'))
            for b in b'CONNECT %d\n' % ECHO:
                s.sendall(bytes([b]))
                time.sleep(0.005)
            expect(s.recv(3), b'OK ', 'answer')


def is_stalled(guest, s):
    """That the device keeps a full credit's worth of that connection's bytes."""
    for line in guest.fault('list').splitlines():
        if 'host_port=%d ' % s.host_port in line:
            return 'kept=262144' in line
    return False


def fault_tests(tap, guest):
    with tap.case('stalled credit of one stream does not stall another'):
        with guest.connect(SOURCE) as stalled, guest.connect(ECHO) as other:
            guest.fault('stall on %d' % stalled.host_port)
            stalled.sendall(b'%d\n' % MIB)
            retry(lambda: expect(is_stalled(guest, stalled), True, 'stalled'), 5)
            expect(select.select([stalled], [], [], 0.2)[0], [], 'readable')
            other.sendall(b'hello')
            expect(read_exactly(other, 5), b'hello', 'echo')
            guest.fault('stall off %d' % stalled.host_port)
            expect(read_all(stalled) == pattern(MIB), True, 'content is right')

    with tap.case('without new credit the guest stops after buf_alloc bytes'):
        with guest.connect(SOURCE) as s:
            guest.fault('credit off %d' % s.host_port)
            s.sendall(b'%d\n' % MIB)
            data = read_exactly(s, 256 * 1024)
            expect(select.select([s], [], [], 0.3)[0], [], 'readable')
            guest.fault('credit on %d' % s.host_port)
            expect(data + read_all(s) == pattern(MIB), True, 'content is right')

    with tap.case('a tiny buf_alloc is slow but right'):
        guest.fault('bufalloc 100')
        try:
            with guest.connect(SOURCE) as s:
                s.sendall(b'20000\n')
                expect(read_all(s) == pattern(20000), True, 'content is right')
        finally:
            guest.fault('bufalloc 262144')

    with tap.case('reset in mid-stream, from the guest: exactly so many bytes pass'):
        with guest.connect(SOURCE) as s:
            line = b'%d\n' % (4 * MIB)
            guest.fault('reset-after %d %d' % (100000 + len(line), s.host_port))
            s.sendall(line)
            expect(read_all(s) == pattern(100000), True, 'content is right')
        wait_idle(guest)

    with tap.case('reset in mid-stream, to the guest: others go on'):
        with guest.connect(SINK) as s, guest.connect(ECHO) as other:
            guest.fault('reset-after 50000 %d' % s.host_port)
            try:
                for _ in range(64):
                    s.sendall(b'y' * 16384)
                raise AssertionError('the connection was not reset')
            except (BrokenPipeError, ConnectionResetError):
                pass
            other.sendall(b'still here')
            expect(read_exactly(other, 10), b'still here', 'echo')

    with tap.case('reset now'):
        with guest.connect(ECHO) as s:
            guest.fault('reset %d' % s.host_port)
            expect(read_all(s), b'', 'data')

    with tap.case('delayed packets'):
        with guest.connect(ECHO) as s:
            guest.fault('delay 100 %d' % s.host_port)
            start = time.monotonic()
            s.sendall(b'slow')
            expect(read_exactly(s, 4), b'slow', 'echo')
            took = time.monotonic() - start
            expect(0.19 < took < 0.6, True, '%.3f s is about 0.2 s' % took)
            guest.fault('delay 0 %d' % s.host_port)

    with tap.case('new connections are refused when told'):
        guest.fault('refuse on')
        try:
            guest.connect(ECHO).close()
            raise AssertionError('it was not refused')
        except (Refused, ConnectionError):
            pass
        finally:
            guest.fault('refuse off')
        guest.connect(ECHO).close()

    with tap.case('a wrong command is an error, not a fault'):
        for command in ('stall', 'stall maybe', 'delay -1', 'nonsense', 'bufalloc 0',
                        'stall on 99', 'reset-after 5 x', 'stall on 1 2'):
            try:
                guest.fault(command)
                raise AssertionError('%r was taken' % command)
            except RuntimeError:
                pass


def many_tests(tap, guest):
    with tap.case('2000 connections in sequence, without a leak'):
        wait_idle(guest)
        for _ in range(50):
            with guest.connect(ECHO) as s:
                s.sendall(b'x')
                read_exactly(s, 1)
        wait_idle(guest)
        fds, rss = backend_fds(guest), backend_rss_kb(guest)
        start = time.monotonic()
        for i in range(2000):
            with guest.connect(ECHO) as s:
                s.sendall(b'%d' % i)
                expect(read_exactly(s, len(str(i))), b'%d' % i, 'echo')
        tap.note('%.2f ms each' % ((time.monotonic() - start) / 2))
        wait_idle(guest)
        # that of the control socket may just be closing, then or now
        expect(backend_fds(guest) <= fds + 1, True, 'open files of the device are no more')
        grown = backend_rss_kb(guest) - rss
        with open('/proc/%d/exe' % backend_pid(guest), 'rb') as f:
            sanitized = b'__asan_init' in f.read()      # that keeps freed memory for a while
        expect(grown < 128 or sanitized, True, '%d kB more memory is little' % grown)

    with tap.case('100 connections at once'):
        socks = [guest.connect(ECHO, timeout=30) for _ in range(100)]
        try:
            for i, s in enumerate(socks):
                s.sendall(b'%03d' % i)
            for i, s in enumerate(socks):
                expect(read_exactly(s, 3), b'%03d' % i, 'echo')
        finally:
            for s in socks:
                s.close()
        wait_idle(guest)

    with tap.case('a stream the guest never reads stops at its credit, and ends'):
        with guest.connect(DEAF) as s:
            s.setblocking(False)
            sent = 0
            end = time.monotonic() + 2
            while time.monotonic() < end:
                try:
                    sent += s.send(b'z' * 65536)
                except BlockingIOError:
                    time.sleep(0.02)
            expect(sent < 2 * MIB, True, '%d bytes taken is bounded' % sent)
            with guest.connect(ECHO) as other:
                other.sendall(b'fine')
                expect(read_exactly(other, 4), b'fine', 'echo')


def guest_initiated_tests(tap, guest):
    with tap.case('the guest connects to us'):
        with guest.listen(7001) as listener, guest.connect(COMMANDS) as s:
            s.sendall(b'dial 7001\n')
            peer, _ = listener.accept()
            with peer:
                peer.settimeout(10)
                expect(read_all(peer), b'hello from the guest\n', 'greeting')
                peer.sendall(b'answer from the host\n')
            expect(read_exactly(s, 23), b'answer from the host\n.\n', 'answer')

    with tap.case('the guest is refused where nobody listens'):
        with guest.connect(COMMANDS) as s:
            s.sendall(b'dial 7002\n')
            expect(read_exactly(s, 26), b'error Connection reset by ', 'answer')


def life_tests(tap, guest):
    with tap.case('paused and continued, connections go on'):
        with guest.connect(ECHO) as s:
            guest.qmp('stop')
            s.sendall(b'later')
            expect(select.select([s], [], [], 0.3)[0], [], 'readable')
            guest.qmp('cont')
            expect(read_exactly(s, 5), b'later', 'echo')

    with tap.case('memory, a processor and a disk plugged in while a stream runs'):
        q = guest.qmp_open()
        with guest.connect(SOURCE, timeout=60) as s:
            s.sendall(b'%d\n' % (32 * MIB))
            head = read_exactly(s, MIB)
            q.command('object-add', qom_type='memory-backend-memfd', id='dimm0', size=128 * MIB,
                      share=True)
            q.command('device_add', driver='pc-dimm', memdev='dimm0', id='dimm0')
            cpu = q.command('query-hotpluggable-cpus')[0]
            q.command('device_add', driver=cpu['type'], id='cpu1', **cpu['props'])
            # the disk that the guest knows as PCI path 02/03
            q.command('blockdev-add', driver='null-co', node_name='disk0', size=8 * MIB)
            q.command('device_add', driver='virtio-blk-pci', drive='disk0', id='disk0',
                      bus='pci-bridge-0', addr='3')
            expect(head + read_all(s) == pattern(32 * MIB), True, 'content is right')
        q.close()
        guest.wait_console('CPU1 has been hot-added')
        guest.wait_console('0000:01:03.0')
        echo_once(guest, os.urandom(MIB))

    with tap.case('when the guest powers off, connections end and so does the device'):
        pid = backend_pid(guest)
        with guest.connect(ECHO) as idle, guest.connect(COMMANDS) as s:
            s.sendall(b'poweroff\n')
            expect(read_all(idle), b'', 'data')
        retry(lambda: expect(os.path.exists('/proc/%d/exe' % pid), False, 'device there'))
        retry(lambda: expect(guest.is_running(), False, 'guest running'))
        with open(guest.path('backend.status'), encoding='ascii') as f:
            expect(f.read(), 'exit 0\n', 'how the device ended')


def caller_tests(tap, initrd):
    for name, sig in (('killed', signal.SIGKILL), ('interrupted', signal.SIGINT)):
        with tap.case('a guest ends when its caller is ' + name):
            with tempfile.TemporaryDirectory(prefix='vm-', dir='/tmp') as d:
                script = ('"$0" start --dir "$1" --kernel "$2" --initrd "$3" && echo up && '
                          'sleep 60; true')
                with subprocess.Popen(['bash', '-c', script, vmlib.BOOT, d, vmlib.KERNEL, initrd],
                                      stdout=subprocess.PIPE, start_new_session=True) as p:
                    expect(p.stdout.readline(), b'up\n', 'boot.sh says')
                    with open(d + '/qemu.pid', encoding='ascii') as f:
                        pid = int(f.read())
                    os.killpg(p.pid, sig)
                    p.wait()
                retry(lambda: expect(os.path.exists('/proc/%d/exe' % pid), False, 'QEMU there'))
                for f in ('qemu.pid', 'backend.pid'):
                    retry(lambda f=f: expect(os.path.exists(os.path.join(d, f)), False, f))

    with tap.case('boot.sh says what is wrong'):
        for args, words in ((['--kernel', '/nonexistent'], 'cannot be read'),
                            (['--kernel', vmlib.KERNEL, '--initrd', '/nonexistent'],
                             'cannot be read'),
                            (['--kernel', vmlib.KERNEL, '--initrd', initrd, '--qemu-arg', '-bad'],
                             'QEMU did not start'),
                            (['--nonsense', '1'], 'unknown option')):
            run = subprocess.run([vmlib.BOOT, 'start', '--dir', '/tmp/vm-none', *args],
                                 stderr=subprocess.PIPE, text=True, check=False)
            expect(run.returncode != 0 and words in run.stderr, True, run.stderr)


def main():
    tap = Tap()
    program = os.path.join(BUILD, 'vsock-guest')
    for path in (program, vmlib.KERNEL):
        if not os.path.exists(path):
            sys.exit('%s is missing: make it first' % path)
    with tempfile.TemporaryDirectory(prefix='vm-') as d:
        initrd = os.path.join(d, 'initrd')
        with open(program, 'rb') as f:
            vmlib.write_initrd(initrd, {'init': f.read()})
        with vmlib.Guest(initrd=initrd, hotplug=True, debug=True) as guest:
            guest.wait_console('vsock-guest: ready')
            data_tests(tap, guest)
            end_tests(tap, guest)
            greeting_tests(tap, guest)
            fault_tests(tap, guest)
            many_tests(tap, guest)
            guest_initiated_tests(tap, guest)
            life_tests(tap, guest)
        caller_tests(tap, initrd)
    return tap.done()


if __name__ == '__main__':
    sys.exit(main())
