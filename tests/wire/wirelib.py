# SPDX-License-Identifier: Apache-2.0
"""Bytes for tests of the roads: TAP, protobuf, ttrpc and yamux by hand, on raw sockets.

Everything is spelled out here on purpose: a test that used a library would send only what that
library thinks is right.
"""
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Tap:
    """Runs functions as numbered tests; exit status 1 when one failed."""

    def __init__(self):
        self.n = 0
        self.failed = 0

    def run(self, name, fn, *args):
        self.n += 1
        try:
            fn(*args)
            print(f"ok {self.n} - {name}", flush=True)
        except Exception as e:  # whatever it is, the test has failed
            self.failed += 1
            print(f"not ok {self.n} - {name}", flush=True)
            print(f"# {type(e).__name__}: {e}", flush=True)
            if os.environ.get("VERBOSE"):
                import traceback
                traceback.print_exc(file=sys.stdout)

    def skip(self, name, why):
        self.n += 1
        print(f"ok {self.n} - {name} # SKIP {why}", flush=True)

    def done(self):
        print(f"1..{self.n}", flush=True)
        return 1 if self.failed else 0


class Server:
    """The test service (or, with KATA_AGENT set, an agent) on unix sockets; stop() checks its end."""

    def __init__(self, *addresses):
        self.dir = tempfile.mkdtemp(prefix="wire-")
        self.paths = [os.path.join(self.dir, f"s{i}") for i in range(len(addresses))]
        args = [a + p for a, p in zip(addresses, self.paths)]
        program = subprocess.check_output([os.path.join(ROOT, "tests/wire/build.sh")], text=True).strip()
        self.err = tempfile.TemporaryFile(mode="w+")
        env = dict(os.environ, ASAN_OPTIONS="exitcode=99:detect_leaks=1:quarantine_size_mb=4")
        self.proc = subprocess.Popen([os.path.join(ROOT, program)] + args, stderr=self.err, env=env)
        end = time.time() + 10
        while not all(os.path.exists(p) for p in self.paths):
            if self.proc.poll() is not None or time.time() > end:
                raise RuntimeError("the server did not start: " + self.errors())
            time.sleep(0.01)

    def errors(self):
        self.err.seek(0)
        return self.err.read()

    def connect(self, i=0, timeout=10):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.settimeout(timeout)
        s.connect(self.paths[i])
        return s

    def rss_kb(self):
        with open(f"/proc/{self.proc.pid}/status") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))

    def cpu_ticks(self):
        with open(f"/proc/{self.proc.pid}/stat") as f:
            fields = f.read().rsplit(") ", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    def kill(self):
        self.proc.kill()
        self.proc.wait()

    def wait(self):
        """After DestroySandbox: 0 unless a sanitizer found something."""
        try:
            r = self.proc.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError("the server did not end")
        if r != 0:
            raise RuntimeError(f"the server ended with {r}: {self.errors()[-3000:]}")


def recv_exact(s, n):
    data = b""
    while len(data) < n:
        more = s.recv(n - len(data))
        if not more:
            raise EOFError(f"connection ended after {len(data)} of {n} bytes")
        data += more
    return data


def eq(got, want, what=""):
    if got != want:
        raise AssertionError(f"{what}: got {got!r:.300}, want {want!r:.300}")


# --- protobuf ---------------------------------------------------------------------------------

def varint(v):
    v &= (1 << 64) - 1
    out = b""
    while v >= 0x80:
        out += bytes([v & 0x7F | 0x80])
        v >>= 7
    return out + bytes([v])


def pb(*fields):
    """pb((1, "text"), (3, 5)): strings and bytes are length-delimited, numbers varints."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            if isinstance(value, str):
                value = value.encode()
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def unpb(data):
    """A dict of the last value of each field."""
    out, at = {}, 0

    def take():
        nonlocal at
        v = shift = 0
        while True:
            b = data[at]
            at += 1
            v |= (b & 0x7F) << shift
            shift += 7
            if not b & 0x80:
                return v

    while at < len(data):
        key = take()
        if key & 7 == 0:
            out[key >> 3] = take()
        elif key & 7 == 2:
            n = take()
            out[key >> 3] = data[at:at + n]
            at += n
        else:
            raise ValueError(f"wire type {key & 7}")
    return out


# --- ttrpc ------------------------------------------------------------------------------------

def ttrpc_frame(stream, body, kind=1, flags=0, length=None):
    return struct.pack(">IIBB", len(body) if length is None else length, stream, kind, flags) + body


def ttrpc_request(stream, method, payload=b"", service="grpc.AgentService", timeout_ns=0, extra=b""):
    body = pb((1, service), (2, method))
    if payload:
        body += pb((3, payload))
    if timeout_ns:
        body += pb((4, timeout_ns))
    return ttrpc_frame(stream, body + extra)


def ttrpc_answer(s):
    """(stream, code, message, payload) of the next answer."""
    length, stream, kind, flags = struct.unpack(">IIBB", recv_exact(s, 10))
    eq((kind, flags), (2, 0), "frame type and flags")
    f = unpb(recv_exact(s, length))
    status = unpb(f.get(1, b""))
    return stream, status.get(1, 0), status.get(2, b"").decode(), f.get(2, b"")


# --- yamux ------------------------------------------------------------------------------------

DATA, WINDOW, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8


def yamux_frame(kind, flags, stream, length, body=b"", version=0):
    return struct.pack(">BBHII", version, kind, flags, stream, length) + body


class Yamux:
    """A client's side, one frame at a time; data and windows are kept per stream."""

    def __init__(self, sock):
        self.s = sock
        self.next = 1
        self.data = {}
        self.flags = {}
        self.window = {}
        self.pings = []
        self.gone = None

    def open(self, syn_kind=WINDOW):
        i = self.next
        self.next += 2
        self.data[i], self.flags[i], self.window[i] = b"", 0, 256 << 10
        self.s.sendall(yamux_frame(syn_kind, SYN, i, 0))
        return i

    def send(self, i, data):
        for at in range(0, len(data), 64 << 10):
            part = data[at:at + (64 << 10)]
            while self.window[i] < len(part):
                self.pump()
            self.window[i] -= len(part)
            self.s.sendall(yamux_frame(DATA, 0, i, len(part), part))

    def pump(self, give=True):
        version, kind, flags, i, n = struct.unpack(">BBHII", recv_exact(self.s, 12))
        eq(version, 0, "version")
        if kind == DATA:
            self.data[i] = self.data.get(i, b"") + recv_exact(self.s, n)
            self.flags[i] = self.flags.get(i, 0) | flags
            if give and n:
                self.s.sendall(yamux_frame(WINDOW, 0, i, n))
        elif kind == WINDOW:
            self.window[i] = self.window.get(i, 0) + n
            self.flags[i] = self.flags.get(i, 0) | flags
        elif kind == PING:
            self.pings.append((flags, n))
        elif kind == GO_AWAY:
            self.gone = n
        return kind, flags, i, n

    def read(self, i, n, give=True):
        while len(self.data[i]) < n:
            self.pump(give)
        out, self.data[i] = self.data[i][:n], self.data[i][n:]
        return out

    def until_flag(self, i, flag):
        while not self.flags[i] & flag:
            self.pump()

    def ttrpc(self, i):
        """The next ttrpc answer on a stream."""
        length, stream, kind, flags = struct.unpack(">IIBB", self.read(i, 10))
        f = unpb(self.read(i, length))
        status = unpb(f.get(1, b""))
        return stream, status.get(1, 0), status.get(2, b"").decode(), f.get(2, b"")
