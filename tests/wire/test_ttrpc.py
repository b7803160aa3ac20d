#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""ttrpc against the test service: what section 1.3 of agent-3x.md says a client can observe."""
import os
import random
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import h2  # noqa: E402
from server import Service  # noqa: E402
from tap import Tap, expect  # noqa: E402
from wire import pb, recv_exact, ttrpc_answer, ttrpc_frame, ttrpc_request, unpb  # noqa: E402

LIMIT = 4 << 20


def main():
    tap = Tap()
    srv = Service("unix://")

    def simple():
        s = srv.connect()
        s.sendall(ttrpc_request(1, "Check", service="grpc.Health"))
        expect(ttrpc_answer(s), (1, 0, "", pb((1, 1))))

    def empty_answer_bytes():
        s = srv.connect()
        s.sendall(ttrpc_request(7, "SignalProcess", pb((1, "c"), (3, 9))))
        expect(recv_exact(s, 12), bytes.fromhex("00000002" "00000007" "02" "00" "0a00"))

    def byte_by_byte():
        s = srv.connect()
        for b in ttrpc_request(3, "WriteStdin", pb((1, "c"), (3, b"x" * 50))):
            s.sendall(bytes([b]))
        expect(ttrpc_answer(s), (3, 0, "", pb((1, 50))))

    def many_in_one_write():
        s = srv.connect()
        s.sendall(b"".join(ttrpc_request(2 * i + 1, "Check", service="grpc.Health") for i in range(500)))
        expect(sorted(ttrpc_answer(s)[0] for _ in range(500)), [2 * i + 1 for i in range(500)])

    def random_splits():
        rnd = random.Random(1)
        data = b"".join(ttrpc_request(2 * i + 1, "WriteStdin", pb((3, b"y" * rnd.randrange(5000))))
                        for i in range(50))
        s = srv.connect()
        while data:
            n = rnd.choice((1, 7, 10, 11, 300, 20000))
            s.sendall(data[:n])
            data = data[n:]
        expect(len({ttrpc_answer(s)[0] for _ in range(50)}), 50)

    def big_message():
        s = srv.connect()
        payload = pb((3, b"z" * (LIMIT - 100)))
        s.sendall(ttrpc_request(1, "WriteStdin", payload))
        expect(ttrpc_answer(s), (1, 0, "", pb((1, LIMIT - 100))))

    def too_big():
        s = srv.connect()
        s.sendall(ttrpc_frame(5, b"", length=LIMIT + 1) + b"\xff" * (LIMIT + 1))
        stream, code, msg, _ = ttrpc_answer(s)
        expect((stream, code, msg),
               (5, 3, f"message length {LIMIT + 1} exceed maximum message size of {LIMIT}"))
        s.sendall(ttrpc_request(7, "Check", service="grpc.Health"))
        expect(ttrpc_answer(s)[:2], (7, 0))

    def even_id():
        s = srv.connect()
        s.sendall(ttrpc_request(2, "Check", service="grpc.Health"))
        expect(ttrpc_answer(s), (2, 3, "stream id must be odd", b""))

    def malformed():
        s = srv.connect()
        for body in (b"\xff", b"\x0a\x05abc", b"\x08\x01", b"\x0b", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"):
            s.sendall(ttrpc_frame(1, body))
            expect(ttrpc_answer(s)[:2], (1, 3), body)

    def bad_payload():
        s = srv.connect()
        s.sendall(ttrpc_request(1, "WriteStdin", b"\x0a\x7fshort"))
        expect(ttrpc_answer(s)[1], 13)

    def unknown():
        s = srv.connect()
        s.sendall(ttrpc_request(1, "Check", service="no.Such"))
        expect(ttrpc_answer(s)[:3], (1, 3, "no.Such service does not exist"))
        s.sendall(ttrpc_request(3, "Nothing"))
        expect(ttrpc_answer(s)[:3], (3, 12, "Nothing method"))
        s.sendall(ttrpc_frame(5, b""))
        expect(ttrpc_answer(s)[:2], (5, 3))

    def failures():
        s = srv.connect()
        s.sendall(ttrpc_request(1, "StatsContainer", pb((1, "abc"))))
        expect(ttrpc_answer(s), (1, 5, "no container 'abc'", b""))
        s.sendall(ttrpc_request(3, "StatsContainer", pb((1, b"a\xff\xfec"))))
        expect(ttrpc_answer(s)[2], "no container 'a??c'", "what isn't UTF-8 never goes out")

    def frame_types():
        s = srv.connect()
        s.sendall(ttrpc_frame(1, b"abc", kind=3) + ttrpc_frame(1, b"abc", kind=2) + ttrpc_frame(1, b"", kind=77))
        expect(ttrpc_answer(s)[:3], (1, 3, "Stream is no longer active"))
        s.sendall(ttrpc_request(3, "Check", service="grpc.Health"))
        expect(ttrpc_answer(s)[0], 3)

    def extras():
        s = srv.connect()
        meta = pb((5, pb((1, "traceparent"), (2, "00-1"))), (5, pb((1, "traceparent"), (2, "00-2"))), (99, "new"))
        s.sendall(ttrpc_request(1, "Check", service="grpc.Health", extra=meta))
        expect(ttrpc_answer(s)[:2], (1, 0))

    def deadline():
        s = srv.connect()
        t = time.time()
        s.sendall(ttrpc_request(1, "WaitProcess", timeout_ns=100_000_000))
        expect(ttrpc_answer(s)[:2], (1, 4))
        assert 0.05 < time.time() - t < 3
        s.sendall(ttrpc_request(3, "WaitProcess", timeout_ns=-5))
        s.sendall(ttrpc_request(5, "SignalProcess", pb((3, 4))))
        expect({ttrpc_answer(s)[0] for _ in range(2)}, {3, 5})

    def parked_and_others():
        s, other = srv.connect(), srv.connect()
        for i in range(300):
            s.sendall(ttrpc_request(2 * i + 1, "WaitProcess"))
        s.sendall(ttrpc_request(9999, "Check", service="grpc.Health"))
        expect(ttrpc_answer(s)[0], 9999)
        other.sendall(ttrpc_request(1, "SignalProcess", pb((3, 15))))
        expect(ttrpc_answer(other)[:2], (1, 0))
        expect({ttrpc_answer(s)[3] for _ in range(300)}, {pb((1, 15))})

    def lost_connections():
        for _ in range(50):
            s = srv.connect()
            s.sendall(ttrpc_request(1, "WaitProcess") + ttrpc_request(3, "WaitProcess", pb((1, "go-on"))) +
                      ttrpc_frame(5, b"half", length=1000))
            s.close()
        simple()

    def too_many_calls():
        s = srv.connect()
        s.sendall(b"".join(ttrpc_request(2 * i + 1, "WaitProcess") for i in range(4097)))
        expect(ttrpc_answer(s)[:2], (8193, 8))

    def slow_reader():
        """Answers nobody takes: the server stops reading, and its memory stays where it was."""
        s = srv.connect()
        time.sleep(0.1)
        before = srv.rss_kb()
        s.settimeout(1)
        sent = 0
        try:
            for _ in range(2000):
                s.sendall(b"".join(ttrpc_request(2 * (sent + i) + 1, "ReadStdout", pb((3, 1 << 20))) for i in range(100)))
                sent += 100
        except socket.timeout:
            pass
        grown = srv.rss_kb() - before
        assert grown < 24 << 10, f"grew by {grown} kB after {sent} requests"
        simple()
        expect(ttrpc_answer(s)[:2], (1, 0))

    def used_twice():
        """A stream's id counts once, whether its call is open or over; late ones below the newest are served."""
        s = srv.connect()
        for i, code in ((5, 0), (1, 0), (5, 3), (1, 3), (3, 0), (2001, 0), (3, 3), (7, 3)):
            s.sendall(ttrpc_request(i, "Check", service="grpc.Health"))
            expect(ttrpc_answer(s)[:2], (i, code))
        s.sendall(ttrpc_request(2003, "WaitProcess") * 2)
        expect(ttrpc_answer(s)[:2], (2003, 3))

    def resumes():
        """... and goes on where it stopped, nothing lost."""
        s = srv.connect()
        n = 64
        s.sendall(b"".join(ttrpc_request(2 * i + 1, "ReadStdout", pb((3, 1 << 20))) for i in range(n)))
        time.sleep(0.2)
        s.sendall(ttrpc_request(2 * n + 1, "Check", service="grpc.Health"))
        got = [ttrpc_answer(s) for _ in range(n + 1)]
        expect(sorted(g[0] for g in got), [2 * i + 1 for i in range(n + 1)])
        want = bytes((i * 7 + i // 256) & 255 for i in range(1 << 20))
        for g in got[:n]:
            if g[0] <= 2 * n - 1:
                expect(unpb(g[3])[1] == want, True, "bytes of the answer")

    def unread_by_many():
        """Each gRPC connection may have 16 MiB of answers waiting; all together 64 MiB, and one answer each."""
        read = h2.message(pb((1, "c"), (3, 1 << 20)))
        before, peers = srv.rss_kb(), []
        for _ in range(40):
            peers.append(h2.H2(srv.connect()))
            for i in range(10):
                peers[-1].request(1 + 2 * i, h2.grpc_headers("/grpc.AgentService/ReadStdout"), read)
        s = srv.connect()
        s.sendall(ttrpc_request(1, "Check", service="grpc.Health"))
        expect(ttrpc_answer(s)[1], 0)
        more = (srv.rss_kb() - before) >> 10
        expect(40 < more < 200, True, "%d MiB" % more)
        # Who reads has them all, whatever the others do.
        p = peers[0]
        p.send(h2.frame(h2.WINDOW_UPDATE, 0, 0, (1 << 26).to_bytes(4, "big")),
               *(h2.frame(h2.WINDOW_UPDATE, 0, 1 + 2 * i, (1 << 22).to_bytes(4, "big")) for i in range(10)))
        for _ in range(10):
            p.until(lambda kind, flags, stream, payload: kind == h2.HEADERS and flags & h2.END_STREAM, "an answer's end")
        for p in peers:
            p.s.close()
        s.close()

    def wrong_first_byte():
        s = srv.connect()
        s.sendall(b"GET / HTTP/1.1\r\n\r\n")
        expect(s.recv(10), b"")

    def bye():
        s = srv.connect()
        s.sendall(ttrpc_request(1, "WaitProcess") + ttrpc_request(3, "DestroySandbox"))
        srv.end()

    tests = [simple, empty_answer_bytes, byte_by_byte, many_in_one_write, random_splits, big_message, too_big,
             even_id, malformed, bad_payload, unknown, failures, frame_types, extras, deadline, parked_and_others,
             lost_connections, too_many_calls, slow_reader, used_twice, resumes, unread_by_many,
             wrong_first_byte, bye]
    for t in tests:
        tap.run("ttrpc: " + t.__name__, t)
    srv.stop()
    return tap.done()


sys.exit(main())
