#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Plays QEMU and a hostile guest to vhost-user-vsock: whatever they write, it must not fall.

Runs build/vhost-user-vsock-san, built with -fsanitize=address,undefined, where that exists.
"""
import array
import mmap
import os
import random
import select
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True      # build output belongs into build/ only
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from tap import BUILD, Tap, expect, retry  # noqa: E402

(GET_FEATURES, SET_FEATURES, SET_OWNER, SET_MEM_TABLE, SET_VRING_NUM, SET_VRING_ADDR,
 SET_VRING_BASE, GET_VRING_BASE, SET_VRING_KICK, SET_VRING_CALL, GET_PROTOCOL_FEATURES,
 SET_PROTOCOL_FEATURES, SET_VRING_ENABLE, GET_CONFIG) = (
     1, 2, 3, 5, 8, 9, 10, 11, 12, 13, 15, 16, 18, 24)
REQUEST, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST = range(1, 8)
NEXT, WRITE, INDIRECT = 1, 2, 4

MEM = 1 << 20           # two regions of this size, apart from each other in guest addresses
GPA = (0, 0x10000000)
UVA = (0x7f0000000000, 0x7f8000000000)
NUM = 64
HDR = struct.Struct('<QQIIIHHIII')
CID = 3
RX, TX = 0, 1


class Dead(Exception):
    pass


class Ring:
    """Where a queue's parts lie in the first region, and what was put into it."""

    def __init__(self, index):
        self.desc = 0x10000 + index * 0x4000
        self.avail = self.desc + 0x2000
        self.used = self.desc + 0x3000
        self.avail_idx = self.used_seen = self.next_desc = 0
        self.kick = os.eventfd(0, os.EFD_NONBLOCK)
        self.call = os.eventfd(0, os.EFD_NONBLOCK)


class Front:
    """QEMU, and the guest's driver in it."""

    def __init__(self, path, features=(1 << 32) | (1 << 30) | (1 << 28)):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(5)
        self.sock.connect(path)
        self.memfd = os.memfd_create('guest')
        os.ftruncate(self.memfd, 2 * MEM)
        self.mem = mmap.mmap(self.memfd, 2 * MEM)
        # For indices that the back end watches: struct.pack_into() clears before it writes.
        self.words = memoryview(self.mem).cast('H')
        self.features = features
        self.rings = [Ring(0), Ring(1)]

    def close(self):
        self.sock.close()
        os.close(self.memfd)
        for r in self.rings:
            os.close(r.kick)
            os.close(r.call)

    # ---- messages ----

    def send(self, request, payload=b'', fds=(), flags=1, size=None):
        head = struct.pack('<III', request, flags, len(payload) if size is None else size)
        anc = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))] if fds else []
        self.sock.sendmsg([head + payload], anc)

    def receive(self):
        head = self._exactly(12)
        return self._exactly(struct.unpack('<III', head)[2])

    def _exactly(self, n):
        data = b''
        while len(data) < n:
            got = self.sock.recv(n - len(data))
            if not got:
                raise Dead('the back end closed the connection')
            data += got
        return data

    def ask(self, request, payload=b'', fds=()):
        self.send(request, payload, fds)
        return self.receive()

    def set(self, request, payload=b'', fds=()):
        """With a wanted acknowledgement: returns 0 if it was taken."""
        self.send(request, payload, fds, flags=9)
        return struct.unpack('<Q', self.receive())[0]

    def mem_table(self):
        return self.set(SET_MEM_TABLE, struct.pack('<II', 2, 0) + b''.join(
            struct.pack('<QQQQ', GPA[i], MEM, UVA[i], i * MEM) for i in (0, 1)),
                        (self.memfd, self.memfd))

    def start(self, base=0):
        expect(struct.unpack('<Q', self.ask(GET_FEATURES))[0] & self.features, self.features,
               'features')
        self.ask(GET_PROTOCOL_FEATURES)
        expect(self.set(SET_PROTOCOL_FEATURES, struct.pack('<Q', 0x208)), 0, 'answer')
        expect(self.set(SET_FEATURES, struct.pack('<Q', self.features)), 0, 'answer')
        expect(self.mem_table(), 0, 'answer')
        self.mem[0x10000:0x20000] = bytes(0x10000)
        for i, r in enumerate(self.rings):
            r.avail_idx = r.used_seen = r.next_desc = 0
            expect(self.set(SET_VRING_NUM, struct.pack('<II', i, NUM)), 0, 'answer')
            expect(self.set(SET_VRING_BASE, struct.pack('<II', i, base)), 0, 'answer')
            expect(self.set(SET_VRING_ADDR, struct.pack(
                '<IIQQQQ', i, 0, UVA[0] + r.desc, UVA[0] + r.used, UVA[0] + r.avail, 0)),
                   0, 'answer')
            expect(self.set(SET_VRING_CALL, struct.pack('<Q', i), (r.call,)), 0, 'answer')
            expect(self.set(SET_VRING_KICK, struct.pack('<Q', i), (r.kick,)), 0, 'answer')
            expect(self.set(SET_VRING_ENABLE, struct.pack('<II', i, 1)), 0, 'answer')

    def restart(self):
        """As a guest that boots again; mends broken queues too."""
        for i in (0, 1):
            self.ask(GET_VRING_BASE, struct.pack('<II', i, 0))
        self.start()

    def alive(self):
        return len(self.ask(GET_FEATURES)) == 8

    # ---- the guest's driver ----

    def put_desc(self, ring, i, addr, length, flags=0, nxt=0):
        struct.pack_into('<QIHH', self.mem, ring.desc + 16 * i, addr, length, flags, nxt)

    def offer(self, ring, head, kick=True):
        self.words[(ring.avail + 4) // 2 + ring.avail_idx % NUM] = head
        ring.avail_idx = (ring.avail_idx + 1) & 0xffff
        self.words[(ring.avail + 2) // 2] = ring.avail_idx
        if kick:
            os.eventfd_write(ring.kick, 1)

    def offer_rx(self, n=1, length=4096):
        """n receive buffers, in the second region."""
        r = self.rings[RX]
        for _ in range(n):
            i = r.next_desc % NUM
            r.next_desc += 1
            self.put_desc(r, i, GPA[1] + i * 4096, length, WRITE)
            self.offer(r, i)

    def used(self, ring):
        """(descriptor, length) of each buffer given back since the last time."""
        idx = struct.unpack_from('<H', self.mem, ring.used + 2)[0]
        out = []
        while ring.used_seen != idx:
            out.append(struct.unpack_from('<II', self.mem,
                                          ring.used + 4 + 8 * (ring.used_seen % NUM)))
            ring.used_seen = (ring.used_seen + 1) & 0xffff
        return out

    def received(self, n=1, timeout=3):
        """n packets: (header fields, payload)"""
        out = []
        end = time.monotonic() + timeout
        while len(out) < n:
            for i, length in self.used(self.rings[RX]):
                data = bytes(self.mem[MEM + i * 4096:MEM + i * 4096 + length])
                out.append((HDR.unpack(data[:44]), data[44:]))
            if time.monotonic() > end:
                raise AssertionError('%d of %d packets came: %r' % (len(out), n, out))
            time.sleep(0.001)
        return out

    def packet(self, op, host_port, guest_port=99, data=b'', kick=True, **fields):
        """Sends one packet, header and payload in one descriptor."""
        r = self.rings[TX]
        f = dict(src=CID, dst=2, length=len(data), type=1, flags=0, buf=65536, fwd=0)
        f.update(fields)
        i = r.next_desc % NUM
        r.next_desc += 1
        addr = 0x40000 + i * 4096
        raw = HDR.pack(f['src'], f['dst'], guest_port, host_port, f['length'], f['type'], op,
                       f['flags'], f['buf'], f['fwd']) + data
        self.mem[addr:addr + len(raw)] = raw
        self.put_desc(r, i, addr, len(raw))
        self.offer(r, i, kick)

    def sync(self):
        """All that was sent has been looked at, and the back end is alive."""
        end = time.monotonic() + 0.02
        while time.monotonic() < end:
            self.alive()


class Backend:
    def __init__(self, directory, *args):
        program = os.path.join(BUILD, 'vhost-user-vsock-san')
        if not os.path.exists(program):
            program = os.path.join(BUILD, 'vhost-user-vsock')
        self.vhost = os.path.join(directory, 'vhost.sock')
        self.uds = os.path.join(directory, 'v.sock')
        self.log = open(os.path.join(directory, 'log'), 'w+', encoding='utf-8')
        self.proc = subprocess.Popen([program, '--socket', self.vhost, '--uds', self.uds,
                                      '--keep', *args], stderr=self.log)
        retry(lambda: os.stat(self.vhost))

    def stop(self):
        self.proc.terminate()
        self.proc.wait(10)
        self.log.seek(0)
        return self.proc.returncode, self.log.read()


def bad_rings():
    """Name and a function that spoils the transmit queue."""
    def desc(addr, length, flags=0, nxt=0):
        def fn(f):
            f.put_desc(f.rings[TX], 0, addr, length, flags, nxt)
            f.offer(f.rings[TX], 0)
        return fn

    def circle(f):
        f.put_desc(f.rings[TX], 0, 0x40000, 1, NEXT, 1)
        f.put_desc(f.rings[TX], 1, 0x40000, 1, NEXT, 0)
        f.offer(f.rings[TX], 0)

    def head(f):
        f.offer(f.rings[TX], NUM)

    def jump(f):
        f.rings[TX].avail_idx = NUM
        f.offer(f.rings[TX], 0)

    def nested(f):
        struct.pack_into('<QIHH', f.mem, 0x40000, 0x40000, 16, INDIRECT, 0)
        desc(0x40000, 16, INDIRECT)(f)

    def indirect_circle(f):
        struct.pack_into('<QIHH', f.mem, 0x40000, 0x50000, 1, NEXT, 0)
        desc(0x40000, 16, INDIRECT)(f)

    def many_pieces(f):
        for i in range(4096):
            struct.pack_into('<QIHH', f.mem, 0x40000 + 16 * i, 0x50000, 1, NEXT, i + 1)
        desc(0x40000, 16 * 4096, INDIRECT)(f)

    def small_rx(f):
        f.offer_rx(1, 43)
        f.packet(RW, 5)

    return [
        ('descriptor outside memory', desc(0x8000000, 100)),
        ('descriptor that ends outside memory', desc(MEM - 10, 100)),
        ('descriptor at the top of the address space', desc((1 << 64) - 10, 100)),
        ('descriptor of 4 GiB', desc(0x40000, 0xffffffff)),
        ('descriptor for writing in the transmit queue', desc(0x40000, 100, WRITE)),
        ('next descriptor out of range', desc(0x40000, 10, NEXT, 9999)),
        ('circular chain', circle),
        ('head out of range', head),
        ('available index ahead by more than the size', jump),
        ('indirect table outside memory', desc(0x8000000, 16, INDIRECT)),
        ('indirect table of a crooked length', desc(0x40000, 17, INDIRECT)),
        ('indirect table of length 0', desc(0x40000, 0, INDIRECT)),
        ('indirect table of 4 GiB', desc(0x40000, 0xfffffff0, INDIRECT)),
        ('indirect descriptor that goes on', desc(0x40000, 16, INDIRECT | NEXT, 1)),
        ('nested indirect tables', nested),
        ('indirect table with next out of range', indirect_circle),
        ('chain of 4096 pieces', many_pieces),
        ('receive buffer smaller than a header', small_rx),
    ]


def ring_tests(tap, back):
    f = Front(back.vhost)
    f.start()
    for name, spoil in bad_rings():
        with tap.case(name + ': the queue rests, the device lives'):
            spoil(f)
            f.sync()
            f.restart()
            f.offer_rx(2)
            f.packet(RW, 5)             # answered with a reset: the queues work again
            expect(f.received()[0][0][6], RST, 'operation')
    f.close()


def packet_tests(tap, back):
    f = Front(back.vhost)
    f.start()
    f.offer_rx(60)

    for name, op, fields in (
            ('data for no connection', RW, {}),
            ('an unknown operation', 77, {}),
            ('a request that nobody awaits', REQUEST, {}),
            ('a response that nobody awaits', RESPONSE, {}),
            ('a request of an unknown socket type', REQUEST, {'type': 2}),
            ('a request for another CID', REQUEST, {'dst': 12345})):
        with tap.case(name + ' is answered by a reset'):
            f.packet(op, 5, **fields)
            h, _ = f.received()[0]
            expect((h[0], h[1], h[2], h[3], h[5], h[6]),
                   (fields.get('dst', 2), CID, 5, 99, fields.get('type', 1), RST), 'header')

    with tap.case('what cannot be answered is dropped'):
        f.packet(RW, 5, src=4)
        f.packet(RW, 5, length=5000)
        f.packet(RW, 5, length=0xffffffff)
        f.packet(RST, 5)
        r = f.rings[TX]
        f.put_desc(r, r.next_desc % NUM, 0x40000, 43)
        f.offer(r, r.next_desc % NUM)
        r.next_desc += 1
        f.sync()
        expect(f.used(f.rings[RX]), [], 'packets')

    with tap.case('header and payload in many pieces, some across an indirect table'):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(back.uds + '_77')
            listener.listen(4)
            f.packet(REQUEST, 77, 500)
            expect(f.received()[0][0][6], RESPONSE, 'operation')
            peer = listener.accept()[0]
            peer.settimeout(5)
            raw = HDR.pack(CID, 2, 500, 77, 10, 1, RW, 0, 65536, 0) + b'0123456789'
            f.mem[0x60000:0x60000 + len(raw)] = raw
            for i in range(len(raw)):
                struct.pack_into('<QIHH', f.mem, 0x70001 + 16 * i, 0x60000 + i, 1,
                                 NEXT if i + 1 < len(raw) else 0, i + 1)
            r = f.rings[TX]
            i = r.next_desc % NUM
            r.next_desc += 1
            f.put_desc(r, i, 0x70001, 16 * len(raw), INDIRECT)
            f.offer(r, i)
            expect(peer.recv(100), b'0123456789', 'data')

            with tap.case('more than its credit ends a connection'):
                sent = 0
                # nobody reads peer: its socket fills, then our credit is used up
                for _ in range(400):
                    f.packet(RW, 77, 500, b'x' * 4000)
                    sent += 4000
                    if sent % 40000 == 0:
                        f.sync()
                        if any(struct.unpack_from('<H', f.mem, MEM + i * 4096 + 30)[0] == RST
                               for i, _ in f.used(f.rings[RX])):
                            break
                else:
                    raise AssertionError('%d bytes were taken' % sent)
                tap.note('after %d bytes' % sent)
                got = 0
                while True:
                    data = peer.recv(1 << 20)
                    if not data:
                        break
                    got += len(data)
                expect(sent - 45000 < got <= sent, True, '%d of %d bytes delivered' % (got, sent))
            peer.close()
    f.restart()

    with tap.case('a flood while the guest takes nothing is held back, not hoarded'):
        for i in range(60):
            f.packet(RW, 5, 1000 + i)
        f.sync()
        expect(len(f.used(f.rings[TX])), 60, 'packets taken')
        for i in range(60):
            f.packet(RW, 5, 2000 + i)
        f.sync()
        taken = len(f.used(f.rings[TX]))
        expect(taken < 10, True, '%d more packets taken is few' % taken)
        f.offer_rx(60)
        f.received(60)
        f.offer_rx(60)
        f.received(60)
        expect(len(f.used(f.rings[TX])), 60 - taken, 'the others taken')

    with tap.case('a guest that starts afresh loses its old connections'):
        f.offer_rx(4)
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(5)
            s.connect(back.uds)
            s.sendall(b'CONNECT 1024\n')
            h, _ = f.received()[0]
            expect(h[6], REQUEST, 'operation')
            f.packet(RESPONSE, h[2], 1024)
            expect(s.recv(3), b'OK ', 'greeting')
            f.restart()
            data = s.recv(100)
            while data:
                data = s.recv(100)
    f.close()


def protocol_tests(tap, back):
    u32 = struct.Struct('<II')
    cases = [
        ('a message of the wrong version', lambda f: f.send(GET_FEATURES, flags=2)),
        ('a huge message', lambda f: f.send(SET_FEATURES, size=1 << 30)),
        ('a message too short', lambda f: f.send(SET_FEATURES, b'1234')),
        ('a memory table without descriptors',
         lambda f: f.send(SET_MEM_TABLE, u32.pack(1, 0) + bytes(32))),
        ('a memory table larger than its file', lambda f: f.send(
            SET_MEM_TABLE, u32.pack(1, 0) + struct.pack('<QQQQ', 0, 1 << 40, 0, 0), (f.memfd,))),
        ('a memory table whose sizes overflow', lambda f: f.send(
            SET_MEM_TABLE, u32.pack(1, 0) + struct.pack('<QQQQ', 0, 1 << 63, 0, 1 << 63),
            (f.memfd,))),
        ('a memory table of 1000 regions',
         lambda f: f.send(SET_MEM_TABLE, u32.pack(1000, 0) + bytes(3000), (f.memfd,))),
        ('a queue that is not there', lambda f: f.send(SET_VRING_NUM, u32.pack(7, 64))),
        ('a queue of size 3', lambda f: f.send(SET_VRING_NUM, u32.pack(0, 3))),
        ('a queue of size 0', lambda f: f.send(SET_VRING_NUM, u32.pack(0, 0))),
        ('a queue outside memory', lambda f: (
            f.mem_table(), f.set(SET_VRING_NUM, u32.pack(0, 64)),
            f.send(SET_VRING_ADDR, struct.pack('<IIQQQQ', 0, 0, 1 << 50, 0, 0, 0)))),
        ('a queue that ends outside memory', lambda f: (
            f.mem_table(), f.set(SET_VRING_NUM, u32.pack(0, 64)),
            f.send(SET_VRING_ADDR, struct.pack('<IIQQQQ', 0, 0, UVA[0] + MEM - 16, UVA[0],
                                               UVA[0], 0)))),
        ('features nobody offered', lambda f: f.send(SET_FEATURES, b'\xff' * 8)),
        ('a kick without a descriptor', lambda f: f.send(SET_VRING_KICK, bytes(8))),
        ('a configuration too long',
         lambda f: f.send(GET_CONFIG, struct.pack('<III', 0, 4000, 0))),
    ]
    for name, fn in cases:
        with tap.case(name + ' ends the front end only'):
            f = Front(back.vhost)
            f.features = 1 << 30
            f.set(SET_PROTOCOL_FEATURES, struct.pack('<Q', 0x208))
            fn(f)
            try:
                f.receive()
                raise AssertionError('it was answered')
            except (Dead, ConnectionError):
                pass
            f.close()

    with tap.case('the configuration is the CID'):
        f = Front(back.vhost)
        answer = f.ask(GET_CONFIG, struct.pack('<III', 0, 8, 0) + bytes(8))
        expect(struct.unpack('<Q', answer[12:])[0], CID, 'cid')
        f.close()

    with tap.case('a second front end is turned away'):
        f, g = Front(back.vhost), None
        f.alive()
        g = Front(back.vhost)
        try:
            g.alive()
            raise AssertionError('it was answered')
        except (Dead, ConnectionError):
            pass
        expect(f.alive(), True, 'first')
        f.close()
        g.close()


def drain_clients(clients):
    for s in list(clients):
        if select.select([s], [], [], 0)[0]:
            try:
                if s.recv(65536):
                    continue
            except OSError:
                pass
            s.close()
            clients.remove(s)


def random_tests(tap, back, seconds=6, seed=20261123):
    """Half-right packets and descriptors, with clients that come, write and go."""
    with tap.case('random packets and descriptors for %d s' % seconds):
        rnd = random.Random(seed)
        f = Front(back.vhost)
        f.start()
        clients, ports = [], [5, 77]
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(back.uds + '_78')
        listener.listen(64)
        listener.setblocking(False)
        end = time.monotonic() + seconds
        n = 0
        while time.monotonic() < end:
            n += 1
            for i, length in f.used(f.rings[RX]):
                if length >= 44:
                    h = HDR.unpack(f.mem[MEM + i * 4096:MEM + i * 4096 + 44])
                    if h[6] == REQUEST:
                        ports.append((h[2], h[3]))
                        f.packet(RESPONSE, h[2], h[3])
            f.used(f.rings[TX])
            what = rnd.random()
            if what < 0.3:
                f.offer_rx(rnd.randrange(1, 8), rnd.choice((44, 45, 100, 4096)))
            elif what < 0.8:
                port = rnd.choice(ports[-20:] + [78])
                host, guest = port if isinstance(port, tuple) else (port, rnd.randrange(1, 5))
                data = bytes(rnd.randrange(0, 2000))
                f.packet(rnd.choice((1, 2, 3, 4, 5, 5, 5, 6, 7, 9)), host, guest, data,
                         flags=rnd.choice((0, 1, 2, 3, 0xffffffff)),
                         buf=rnd.choice((0, 1, 4096, 65536, 0xffffffff)),
                         fwd=rnd.choice((0, 1, 1000, 0xffffffff)),
                         length=rnd.choice((len(data), len(data), 0, 0xffffffff)))
            elif what < 0.9:
                s = socket.socket(socket.AF_UNIX)
                s.settimeout(1)
                s.connect(back.uds)
                try:
                    s.sendall(b'CONNECT %d\n' % rnd.randrange(1, 5) +
                              bytes(rnd.randrange(5000)))
                    if rnd.random() < 0.5:
                        s.shutdown(socket.SHUT_WR)
                except OSError:
                    pass                # turned away while a queue is broken
                clients.append(s)
                if len(clients) > 20:
                    clients.pop(rnd.randrange(20)).close()
            elif what < 0.985:
                try:
                    clients.append(listener.accept()[0])
                except BlockingIOError:
                    pass
                drain_clients(clients)
            elif what < 0.99:
                r = f.rings[rnd.randrange(2)]
                f.put_desc(r, rnd.randrange(NUM), rnd.choice((0, 0x40000, GPA[1], 1 << 40)),
                           rnd.choice((0, 10, 5000, 1 << 31)), rnd.randrange(8), rnd.randrange(80))
                f.offer(r, rnd.randrange(NUM + 2))
            else:
                f.restart()
        expect(f.alive(), True, 'back end')
        f.restart()
        f.offer_rx(2)
        f.packet(RW, 5)
        expect(f.received()[0][0][6], RST, 'operation')
        tap.note('%d steps' % n)
        f.close()
        listener.close()
        for s in clients:
            s.close()


def main():
    tap = Tap()
    with tempfile.TemporaryDirectory(prefix='vm-', dir='/tmp') as d:
        back = Backend(d)
        try:
            protocol_tests(tap, back)
            ring_tests(tap, back)
            packet_tests(tap, back)
            random_tests(tap, back)
        finally:
            status, log = back.stop()
        with tap.case('the back end ends in peace'):
            if status != 0:
                tap.note(log[-3000:])
            expect(status, 0, 'exit status')
            rested = log.count('ignored until the guest resets it')
            expect(rested >= len(bad_rings()), True, '%d queues put to rest' % rested)
    return tap.done()


if __name__ == '__main__':
    sys.exit(main())
