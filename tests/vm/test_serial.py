#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The virtio-serial road: the proxy comes and goes, clients use the port itself, nobody is there."""
import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from roads import CTL, Road  # noqa: E402
from tap import Tap, expect, has, retry  # noqa: E402
from vmlib import Guest  # noqa: E402

PORT_GONE = 3   # the proxy's exit status
SHORT_STREAMS = 3000
tap = Tap()


def pid_of(guest):
    with open(guest.path('proxy.pid')) as f:
        return int(f.read())


def kill_proxy(guest, sig=signal.SIGKILL):
    """Ends boot.sh's proxy and returns once it has gone, with what its guard has noted."""
    status = guest.path('proxy.status')
    os.kill(pid_of(guest), sig)

    def ended():
        with open(status) as f:
            text = f.read().strip()
        expect(bool(text), True, 'a status')
        return text
    return retry(ended)


@contextlib.contextmanager
def proxy(guest):
    """A proxy of our own in the place of boot.sh's."""
    log = open(guest.path('proxy2.log'), 'ab')
    p = subprocess.Popen([CTL, '-v', 'proxy', '--addr', 'serial://' + guest.path('kata.sock'),
                          '--listen', 'unix://' + guest.path('agent.sock')],
                         stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    def listens():
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(guest.path('agent.sock'))
    try:
        retry(listens)
        yield p
    finally:
        if p.poll() is None:
            p.terminate()
            p.wait(10)
        log.close()


def memory_kb(pid):
    with open('/proc/%d/status' % pid) as f:
        return next(int(line.split()[1]) for line in f if line.startswith('VmRSS'))


def fds(pid):
    return len(os.listdir('/proc/%d/fd' % pid))


def silent(*processes):
    """Ends what is left of clients."""
    for p in processes:
        if p.poll() is None:
            p.kill()
        p.communicate()


# ---- with the proxy ----

def short_streams(guest, road, kept):
    """Thousands of them, most without a byte: neither the proxy nor the agent keeps any."""
    pid = pid_of(guest)

    def storm(n):
        for i in range(n):
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(guest.path('agent.sock'))
                if i % 3 == 0:
                    s.sendall(b'PRI * HTTP/2.0\r\n')
        road.ctl('check', check=0)
    # As many as there may be at a time: more than that will not be needed later.
    with contextlib.ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(socket.socket(socket.AF_UNIX)).connect(guest.path('agent.sock'))
    storm(SHORT_STREAMS)
    before = memory_kb(pid), fds(pid)
    for _ in range(3):
        storm(SHORT_STREAMS)
    retry(lambda: expect(fds(pid), before[1], 'descriptors'))
    tap.note('%d streams: %d kB, %d kB after %d' % (
        SHORT_STREAMS, before[0], memory_kb(pid), 4 * SHORT_STREAMS))
    expect(memory_kb(pid) - before[0] < 1024, True, 'kB %d after %d' % (memory_kb(pid), before[0]))
    with open(guest.path('proxy.log')) as f:
        has(f.read().splitlines()[-1], ' 0 left')
    expect(kept.sh('echo alive'), 'alive\n')


def many_at_once(guest, road, kept):
    """300 connections stay open, each having said a little; a call beside them is quick."""
    socks = []
    try:
        for _ in range(300):
            s = socket.socket(socket.AF_UNIX)
            s.connect(guest.path('agent.sock'))
            s.sendall(b'PRI * HTTP/2.0\r\n')
            socks.append(s)
        road.ctl('check', check=0)
        expect(kept.sh('echo alive'), 'alive\n')
    finally:
        for s in socks:
            s.close()
    road.ctl('check', check=0)


def slow_client(guest, road, kept):
    """One that does not read stalls itself, and loses nothing."""
    size = 6 << 20
    p = road.popen('exec', '-n', kept.id, 'sh', '-c', 'yes 0123456789abcde | head -c %d' % size)
    try:
        got = p.stdout.read(4096)
        p.send_signal(signal.SIGSTOP)
        time.sleep(1)
        for _ in range(5):
            began = time.monotonic()
            expect(kept.sh('echo quick'), 'quick\n')
            expect(time.monotonic() - began < 10, True, 'seconds %.1f' % (time.monotonic() - began))
        expect(memory_kb(pid_of(guest)) < 20000, True, 'kB %d' % memory_kb(pid_of(guest)))
        p.send_signal(signal.SIGCONT)
        out, err = p.communicate(timeout=60)
        expect(p.returncode, 0, err)
        want = (b'0123456789abcde\n' * (size // 16))
        expect(hashlib.sha256(got + out).digest() == hashlib.sha256(want).digest(), True, 'all bytes')
    finally:
        silent(p)


def proxy_killed(guest, road, kept):
    """In mid-stream, both ways: the agent goes on serving, containers live."""
    reader = road.popen('exec', '-n', kept.id, 'yes')
    writer = road.popen('exec', kept.id, 'cat', stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        expect(len(reader.stdout.read(1 << 20)), 1 << 20)
        writer.stdin.write(os.urandom(1 << 20))
        expect(kill_proxy(guest), 'signal 9')
        for p in (reader, writer):
            try:
                _, err = p.communicate(timeout=30)
            except BrokenPipeError:
                err = p.stderr.read()
            expect(p.returncode, 125, 'status of a client')
            has(err.decode(), 'connection')
    finally:
        silent(reader, writer)
    for round_ in range(3):
        with proxy(guest) as p:
            expect(kept.sh('echo alive'), 'alive\n')
            expect(kept.sh('cat /proc/1/comm').strip(), 'sleep')
            data = os.urandom(1 << 20)
            expect(kept.exec('cat', input=data, check=0).stdout == data, True, 'round trip')
            expect(road.run('exit 4', args=['--id', 'another']).returncode, 4)
            if round_ < 2:
                again = road.popen('exec', '-n', kept.id, 'yes')
                again.stdout.read(1 << 20)
                p.kill()    # in mid-stream once more, and at once the next
                p.wait()
                silent(again)


def proxy_terminated(guest, road, kept):
    with proxy(guest) as p:
        road.ctl('check', check=0)
        p.terminate()
        expect(p.wait(10), 0, 'exit status')
        expect(os.path.exists(guest.path('agent.sock')), False, 'a socket is left')


# ---- the port itself ----

def direct_thirty_times(guest, road, kept):
    for i in range(30):
        expect(kept.sh('echo turn %d' % i), 'turn %d\n' % i)


def direct_after_killed_ones(guest, road, kept):
    """Each second client is killed in mid-stream; the next one comes at once."""
    for i in range(10):
        if i % 2:
            p = road.popen('exec', kept.id, 'cat', stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
            with contextlib.suppress(BrokenPipeError):
                p.stdin.write(bytes(3 << 20))
        else:
            p = road.popen('exec', '-n', kept.id, 'yes')
            p.stdout.read(300000 * i)
        p.kill()
        p.wait()
        expect(kept.sh('echo turn %d' % i, timeout=30), 'turn %d\n' % i)
        with contextlib.suppress(BrokenPipeError):
            silent(p)


def direct_several_at_once(guest, road, kept):
    """They wait for each other: the port takes one after the other."""
    clients = [road.popen('exec', '-n', kept.id, 'echo', str(i)) for i in range(5)]
    try:
        for i, p in enumerate(clients):
            out, err = p.communicate(timeout=60)
            expect((p.returncode, out, err), (0, b'%d\n' % i, b''))
    finally:
        silent(*clients)


def idle_without_host(guest, road, kept):
    """The agent's CPU time, as a container reads it, over 3 s in which no host is connected."""
    def edit(config):
        config['mounts'].append({'destination': '/guest', 'type': 'bind', 'source': '/proc',
                                 'options': ['rbind', 'ro']})
    sample = 'cat /guest/1/stat /guest/uptime >/tmp/%d'
    script = 'sleep 2; %s; sleep 3; %s; exec sleep 1000' % (sample % 1, sample % 2)
    road.run(script, edit, check=0, args=['-d', '-n', '--id', 'gauge'])
    try:
        time.sleep(7)
        text = road.ctl('exec', '-n', 'gauge', 'cat', '/tmp/1', '/tmp/2', check=0).stdout.decode()
    finally:
        road.ctl('remove', 'gauge')
    stat1, up1, stat2, up2 = text.splitlines()
    ticks = [sum(int(n) for n in s.rsplit(')', 1)[1].split()[11:13]) for s in (stat1, stat2)]
    seconds = float(up2.split()[0]) - float(up1.split()[0])
    share = (ticks[1] - ticks[0]) / 100 / seconds
    expect(stat1.split()[:2], ['1', '(init)'], 'whose figures')
    tap.note('the agent used %d ticks in %.2f s' % (ticks[1] - ticks[0], seconds))
    expect(share < 0.05, True, 'share of CPU time %.3f' % share)


WITH_PROXY = [short_streams, many_at_once, slow_client, proxy_killed, proxy_terminated]
DIRECT = [direct_thirty_times, direct_after_killed_ones, direct_several_at_once, idle_without_host]


def run_cases(guest, share):
    road = Road(guest.address, 'grpc', share)
    with open(guest.path('address.serial')) as f:
        direct = Road(f.read().strip(), 'grpc', share)
    with road.kept() as kept:
        for case in WITH_PROXY:
            with tap.case(case.__name__.replace('_', ' ')):
                case(guest, road, kept)
        kept.road = direct      # no proxy holds the port any more
        for case in DIRECT:
            with tap.case(case.__name__.replace('_', ' ')):
                case(guest, direct, kept)


def main():
    share = tempfile.mkdtemp(prefix='share-', dir='/tmp')
    try:
        with Guest(transport='serial', share=share) as guest:
            guest.wait_agent()
            run_cases(guest, share)
            with tap.case('the proxy ends with the guest'):
                with proxy(guest) as p:
                    guest.qmp('quit')
                    expect(p.wait(10), PORT_GONE, 'exit status')
    finally:
        shutil.rmtree(share, ignore_errors=True)
    return tap.done()


sys.exit(main())
