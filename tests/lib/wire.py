# SPDX-License-Identifier: Apache-2.0
"""Protobuf, ttrpc and yamux by hand, on raw sockets; HTTP/2 is in h2.py.

Everything is spelled out here on purpose: a test that used a library would send only what that
library thinks is right.
"""
import struct

from tap import expect


def recv_exact(s, n):
    data = b""
    while len(data) < n:
        more = s.recv(n - len(data))
        if not more:
            raise EOFError(f"connection ended after {len(data)} of {n} bytes")
        data += more
    return data


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
    expect((kind, flags), (2, 0), "frame type and flags")
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
        expect(version, 0, "version")
        if kind == DATA:
            self.data[i] = self.data.get(i, b"") + recv_exact(self.s, n)
            self.flags[i] = self.flags.get(i, 0) | flags
            if give and n:
                try:
                    self.s.sendall(yamux_frame(WINDOW, 0, i, n))
                except (BrokenPipeError, ConnectionResetError):
                    pass        # what the server said before is still to be read
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
