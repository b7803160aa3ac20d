#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""yamux against the test service: windows, pings, closing, bad frames, many streams; and the port."""
import ctypes
import os
import pty
import select
import subprocess
import sys
import time
import tty

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from server import Service  # noqa: E402
from tap import Tap, expect  # noqa: E402
from wire import (ACK, DATA, FIN, GO_AWAY, PING, RST, SYN, WINDOW, Yamux, pb, ttrpc_request, unpb,  # noqa: E402
                  yamux_frame)

PATTERN = bytes((i * 7 + i // 256) & 255 for i in range(1 << 20))


def check(i=1):
    return ttrpc_request(i, "Check", service="grpc.Health")


def main():
    tap = Tap()
    srv = Service("yamux+unix://", "unix://")

    def session():
        return Yamux(srv.connect(0))

    def simple():
        y = session()
        i = y.open()
        y.send(i, check())
        expect(y.ttrpc(i), (1, 0, "", pb((1, 1))))
        assert y.flags[i] & ACK

    def syn_on_data():
        y = session()
        y.data[1], y.flags[1], y.window[1] = b"", 0, 256 << 10
        y.s.sendall(yamux_frame(DATA, SYN, 1, len(check()), check()))
        expect(y.ttrpc(1)[:2], (1, 0))

    def even_ids_and_extra_window():
        y = session()
        y.data[2], y.flags[2], y.window[2] = b"", 0, 256 << 10
        y.s.sendall(yamux_frame(WINDOW, SYN, 2, 1000))
        y.send(2, check())
        expect(y.ttrpc(2)[:2], (1, 0))

    def byte_by_byte():
        y = session()
        data = yamux_frame(WINDOW, SYN, 1, 0) + yamux_frame(DATA, 0, 1, len(check()), check())
        y.data[1], y.flags[1] = b"", 0
        for b in data:
            y.s.sendall(bytes([b]))
        expect(y.ttrpc(1)[:2], (1, 0))

    def answers_fit_windows():
        """1 MiB through a window of 256 KiB that is given back only when it is used up."""
        y = session()
        i = y.open()
        y.send(i, ttrpc_request(1, "ReadStdout", pb((3, 1 << 20))))
        y.read(i, 256 << 10, give=False)
        expect(y.data[i], b"", "nothing beyond the window")
        y.s.sendall(yamux_frame(PING, SYN, 0, 5))
        while not y.pings:
            expect(y.pump(give=False)[0] in (PING, WINDOW), True)
        for _ in range(4):
            y.s.sendall(yamux_frame(WINDOW, 0, i, 256 << 10))
        y.read(i, (1 << 20) - (256 << 10), give=False)

    def bytes_are_right():
        y = session()
        i = y.open()
        y.send(i, ttrpc_request(1, "ReadStdout", pb((3, 1 << 20))))
        expect(unpb(y.ttrpc(i)[3])[1] == PATTERN, True)

    def big_request():
        """4 MiB in: the server has to give its window back on the way."""
        y = session()
        i = y.open()
        y.send(i, ttrpc_request(1, "WriteStdin", pb((3, b"x" * 4000000))))
        expect(y.ttrpc(i), (1, 0, "", pb((1, 4000000))))

    def slow_reader():
        """One stream's window is used up: another one and pings go on."""
        y = session()
        slow, fast = y.open(), y.open()
        for k in range(20):
            y.send(slow, ttrpc_request(2 * k + 1, "ReadStdout", pb((3, 1 << 20))))
        y.read(slow, 256 << 10, give=False)
        for k in range(50):
            y.send(fast, check(2 * k + 1))
            length = y.read(fast, 10, give=False)
            y.read(fast, int.from_bytes(length[:4], "big"), give=False)
        expect(y.data[slow], b"")

    def nobody_reads():
        """The whole connection is stuck, with pings: the backlog has an end, and all is answered later."""
        y = session()
        i = y.open()
        y.send(i, ttrpc_request(1, "ReadStdout", pb((3, 1 << 20))))
        y.s.sendall(yamux_frame(WINDOW, 0, i, 4 << 20))
        time.sleep(0.1)
        before = srv.rss_kb()
        y.s.settimeout(0.5)
        pings = b"".join(yamux_frame(PING, SYN, 0, k) for k in range(1000))
        sent = 0
        try:
            for _ in range(200):
                y.s.sendall(pings)
                sent += 1000
        except OSError:
            pass
        assert sent < 200000, "the server has read everything"
        assert srv.rss_kb() - before < 8 << 10, f"grew by {srv.rss_kb() - before} kB"
        y.s.settimeout(10)
        y.read(i, 1 << 20, give=False)
        while len(y.pings) < sent:
            y.pump(give=False)
        expect(y.pings[:1000], [(ACK, k) for k in range(1000)])

    def ping():
        y = session()
        y.s.sendall(yamux_frame(PING, SYN, 0, 0xDEADBEEF) + yamux_frame(PING, ACK, 0, 1))
        y.pump()
        expect(y.pings, [(ACK, 0xDEADBEEF)])

    def fin():
        y = session()
        i = y.open()
        y.send(i, ttrpc_request(1, "WaitProcess"))
        y.s.sendall(yamux_frame(WINDOW, FIN, i, 0))
        y.until_flag(i, FIN)
        y.send(y.open(), check())

    def fin_with_data():
        y = session()
        i = y.open()
        y.s.sendall(yamux_frame(DATA, FIN, i, 5, b"\0\0\0\0\0"))
        y.until_flag(i, FIN)

    def rst():
        y = session()
        i = y.open()
        y.send(i, ttrpc_request(1, "WaitProcess"))
        y.s.sendall(yamux_frame(WINDOW, RST, i, 0))
        y.s.sendall(yamux_frame(DATA, 0, i, 3, b"abc"))  # for a stream that has gone: ignored
        k = y.open()
        y.send(k, check())
        expect(y.ttrpc(k)[:2], (1, 0))

    def protocol_end():
        """A stream that speaks no protocol is closed; the session stays."""
        y = session()
        i = y.open()
        y.send(i, b"hello")
        y.until_flag(i, FIN)
        y.s.sendall(yamux_frame(WINDOW, FIN, i, 0))
        k = y.open()
        y.send(k, check())
        expect(y.ttrpc(k)[:2], (1, 0))

    def no_fin_back():
        """Our FIN stays unanswered: after 10 s the stream is reset."""
        y = session()
        i = y.open()
        y.send(i, b"hello")
        y.until_flag(i, FIN)
        y.s.settimeout(15)
        y.until_flag(i, RST)

    def go_away():
        y = session()
        i = y.open()
        y.s.sendall(yamux_frame(GO_AWAY, 0, 0, 0))
        y.send(i, check())
        expect(y.ttrpc(i)[:2], (1, 0), "calls go on after a normal one")
        for code in (1, 2):
            y = session()
            y.s.sendall(yamux_frame(GO_AWAY, 0, 0, code))
            expect(y.s.recv(100), b"")

    def ends(data, code):
        y = session()
        y.s.sendall(data)
        try:
            while True:
                y.pump()
        except (EOFError, ConnectionResetError):
            pass
        expect(y.gone, code)
        simple()

    def bad_version():
        ends(yamux_frame(DATA, 0, 1, 0, version=1), None)

    def bad_type():
        ends(yamux_frame(9, 0, 1, 0), None)

    def another_peer():
        """A stream opened twice: somebody new is at the other end. Streams out of order are not that."""
        y = session()
        for i in (5, 1, 3):
            y.data[i], y.flags[i], y.window[i] = b"", 0, 256 << 10
            y.s.sendall(yamux_frame(WINDOW, SYN, i, 0))
            y.send(i, ttrpc_request(1, "WaitProcess") + check(3))
        for i in (1, 3, 5):
            expect(y.ttrpc(i)[:2], (3, 0))
        y.s.sendall(yamux_frame(WINDOW, SYN, 1, 0) + yamux_frame(DATA, 0, 5, len(check()), check()))
        y.send(1, check(7))
        expect(y.ttrpc(1)[:2], (7, 0))
        expect(y.data[5], b"")
        y.s.sendall(yamux_frame(WINDOW, SYN, 1001, 0) + yamux_frame(WINDOW, SYN, 3, 0))
        y.send(3, check(9))
        expect(y.ttrpc(3)[:2], (9, 0))

    def stream_zero():
        ends(yamux_frame(DATA, 0, 0, 0), 1)

    def over_the_window():
        ends(yamux_frame(WINDOW, SYN, 1, 0) + yamux_frame(DATA, 0, 1, (256 << 10) + 1), 1)

    def garbage():
        ends(os.urandom(64) + b"\xff" * 64, None)

    def unknown_streams():
        y = session()
        y.s.sendall(yamux_frame(DATA, 0, 77, 70000, b"z" * 70000) + yamux_frame(WINDOW, 0, 79, 5) +
                    yamux_frame(WINDOW, FIN, 81, 0) + yamux_frame(WINDOW, RST, 83, 0))
        i = y.open()
        y.send(i, check())
        expect(y.ttrpc(i)[:2], (1, 0))

    def window_overflow():
        y = session()
        i = y.open()
        y.s.sendall(yamux_frame(WINDOW, 0, i, 0xFFFFFFFF) * 2)
        y.send(i, check())
        expect(y.ttrpc(i)[:2], (1, 0))

    def too_many_streams():
        y = session()
        ids = [y.open() for _ in range(1025)]
        y.until_flag(ids[-1], RST)
        y.s.sendall(yamux_frame(WINDOW, FIN, ids[0], 0))
        k = y.open()
        y.send(k, check())
        expect(y.ttrpc(k)[:2], (1, 0))

    def ten_thousand_streams():
        y = session()
        before = 0
        for k in range(10000):
            i = y.open()
            y.s.sendall(yamux_frame(DATA, 0, i, len(check()), check()))
            expect(y.ttrpc(i)[:2], (1, 0))
            y.s.sendall(yamux_frame(WINDOW, (FIN, RST)[k % 2], i, 0))
            for d in (y.data, y.flags, y.window):
                d.pop(i)
            if k == 2000:
                before = srv.rss_kb()
        grown = srv.rss_kb() - before
        assert grown < 1 << 10, f"grew by {grown} kB over 8000 streams"

    def concurrent_streams():
        y = session()
        ids = [y.open() for _ in range(200)]
        for i in ids:
            y.s.sendall(yamux_frame(DATA, 0, i, len(check(i)), check(i)))
        for i in reversed(ids):
            expect(y.ttrpc(i)[:2], (i, 0))

    def lost_session():
        for _ in range(20):
            y = session()
            for _ in range(5):
                y.send(y.open(), ttrpc_request(1, "WaitProcess") + ttrpc_request(3, "ReadStdout", pb((3, 1 << 20))))
            y.s.close()
        simple()

    def serial_port():
        """A pty as the port: served, lost, never closed, without spinning in between."""
        master, slave = pty.openpty()
        tty.setraw(slave)
        path = os.ttyname(slave)
        env = dict(os.environ, ASAN_OPTIONS="exitcode=99")
        p = subprocess.Popen([srv.program, "serial://" + path], stderr=subprocess.DEVNULL, env=env)

        def talk():
            os.write(master, yamux_frame(WINDOW, SYN, 1, 0) + yamux_frame(DATA, 0, 1, len(check()), check()))
            got = b""
            while b"\x12\x02\x08\x01" not in got:
                if not select.select([master], [], [], 5)[0]:
                    raise TimeoutError(f"no answer on the port, only {got!r}")
                got += os.read(master, 4096)

        try:
            time.sleep(0.3)
            talk()
            # A bad header ends the session, not our hold of the port: a container could open it first.
            libc = ctypes.CDLL(None, use_errno=True)
            watch = libc.inotify_init1(os.O_NONBLOCK)
            expect(libc.inotify_add_watch(watch, path.encode(), 0x38) > 0, True, "IN_OPEN, IN_CLOSE")
            os.write(master, b"\xff" * 12 + b"x" * 1000)
            time.sleep(0.5)
            talk()
            expect(select.select([watch], [], [], 0)[0], [], "opens and closes of the port")
            os.close(watch)
            t = os.times()
            time.sleep(1)
            with open(f"/proc/{p.pid}/stat") as f:
                before = f.read().rsplit(") ", 1)[1].split()
            time.sleep(1)
            with open(f"/proc/{p.pid}/stat") as f:
                after = f.read().rsplit(") ", 1)[1].split()
            ticks = int(after[11]) + int(after[12]) - int(before[11]) - int(before[12])
            assert ticks <= 5, f"{ticks} ticks in a second of doing nothing ({t})"
            os.write(master, yamux_frame(DATA, 0, 1, 0) +
                     yamux_frame(DATA, 0, 1, *(lambda b: (len(b), b))(ttrpc_request(3, "DestroySandbox"))))
            expect(p.wait(timeout=10), 0, "exit status")
        finally:
            if p.poll() is None:
                p.kill()
                p.wait()

    def bye():
        y = session()
        i = y.open()
        y.send(i, ttrpc_request(1, "WaitProcess") + ttrpc_request(3, "DestroySandbox"))
        expect({y.ttrpc(i)[0] for _ in range(2)}, {1, 3})
        y.s.close()
        srv.end()

    tests = [simple, syn_on_data, even_ids_and_extra_window, byte_by_byte, answers_fit_windows, bytes_are_right,
             big_request, slow_reader, nobody_reads, ping, fin, fin_with_data, rst, protocol_end, go_away, bad_version,
             bad_type, another_peer, stream_zero, over_the_window, garbage, unknown_streams, window_overflow,
             too_many_streams, concurrent_streams, ten_thousand_streams, lost_session, no_fin_back, serial_port, bye]
    for t in tests:
        tap.run("yamux: " + t.__name__, t)
    srv.stop()
    return tap.done()


sys.exit(main())
