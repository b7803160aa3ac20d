# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 frames by hand, on a raw socket; header blocks are decoded by python3-hpack."""
import socket
import struct

from tap import need_debian_python
from wire import recv_exact

need_debian_python("hpack")
import hpack  # noqa: E402

(DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE,
 CONTINUATION) = range(10)
END_STREAM, END_HEADERS, PADDED, PRIO, ACK = 0x1, 0x4, 0x8, 0x20, 0x1
(NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR,
 REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM) = range(12)
(HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE,
 MAX_HEADER_LIST_SIZE) = range(1, 7)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    n = len(payload) if length is None else length
    return struct.pack(">I", n)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(*pairs, flags=0):
    return frame(SETTINGS, flags, 0, b"".join(struct.pack(">HI", k, v) for k, v in pairs))


def hpack_int(v, prefix, first):
    limit = (1 << prefix) - 1
    if v < limit:
        return bytes([first | v])
    out = bytes([first | limit])
    v -= limit
    while v >= 128:
        out += bytes([v & 127 | 128])
        v >>= 7
    return out + bytes([v])


def literal(name, value, first=0x00):
    """A literal with a new name, no Huffman; first: 0x00 not indexed, 0x40 indexed, 0x10 never."""
    out = bytes([first])
    for s in (name, value):
        s = s if isinstance(s, bytes) else s.encode()
        out += hpack_int(len(s), 7, 0) + s
    return out


def block(headers):
    return b"".join(literal(n, v) for n, v in headers)


def grpc_headers(path="/grpc.Health/Check", **changed):
    """The headers of a gRPC call; changed: method="GET" replaces, method=None leaves out."""
    h = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "vsock://3:1024",
         "content-type": "application/grpc", "te": "trailers"}
    for k, v in changed.items():
        k = k.replace("_", "-")
        k = ":" + k if ":" + k in h else k
        h[k] = v
    return [(k, v) for k, v in h.items() if v is not None]


def message(payload=b""):
    return struct.pack(">BI", 0, len(payload)) + payload


class Closed(Exception):
    """The server has closed the connection."""


class H2:
    """A client's connection. Frames that come are noted; PING and SETTINGS aren't answered by itself."""

    def __init__(self, sock, first=(), preface=True, ack=True):
        self.s = sock
        self.decoder = hpack.Decoder()
        self.server_settings = {}
        if preface:
            self.s.sendall(PREFACE + settings(*first))
            if ack:
                kind, flags, _, payload = self.frame()
                assert (kind, flags) == (SETTINGS, 0), f"the server's preface is {kind}"
                for at in range(0, len(payload), 6):
                    k, v = struct.unpack(">HI", payload[at:at + 6])
                    self.server_settings[k] = v
                self.s.sendall(settings(flags=ACK))

    def send(self, *frames):
        try:
            self.s.sendall(b"".join(frames))
        except (BrokenPipeError, ConnectionResetError):
            pass        # what the server said before is still to be read

    def frame(self):
        try:
            head = recv_exact(self.s, 9)
            n = int.from_bytes(head[:3], "big")
            payload = recv_exact(self.s, n)
        except (EOFError, ConnectionResetError, BrokenPipeError):
            raise Closed() from None
        return head[3], head[4], int.from_bytes(head[5:9], "big") & 0x7FFFFFFF, payload

    def request(self, stream, headers=None, body=message(), end=True):
        out = frame(HEADERS, END_HEADERS | (END_STREAM if body is None and end else 0), stream,
                    block(headers or grpc_headers()))
        if body is not None:
            out += frame(DATA, END_STREAM if end else 0, stream, body)
        self.send(out)

    def until(self, fn, what):
        """The first frame for which fn(kind, flags, stream, payload) is true."""
        seen = []
        while True:
            try:
                f = self.frame()
            except (Closed, socket.timeout) as e:
                raise AssertionError(f"{what}: {type(e).__name__} after {seen}") from None
            if f[0] == HEADERS:
                self.decoder_feed(f)
            if fn(*f):
                return f
            seen.append(f[:3])

    def decoder_feed(self, f):
        self.headers = dict((k if isinstance(k, str) else k.decode(), v if isinstance(v, str) else v.decode())
                            for k, v in self.decoder.decode(f[3]))

    def answer(self, stream):
        """(headers, data, trailers) of a whole answer; headers may be the trailers, too."""
        head, data, trailers = None, b"", None
        while True:
            kind, flags, i, payload = self.until(lambda k, f, s, p: s == stream, f"answer on {stream}")
            if kind == HEADERS:
                if head is None:
                    head = self.headers
                trailers = self.headers
            elif kind == DATA:
                data += payload
            elif kind == RST_STREAM:
                raise AssertionError(f"stream {stream} was reset: {int.from_bytes(payload, 'big')}")
            if flags & END_STREAM and kind in (HEADERS, DATA):
                return head, data, trailers

    def alive(self):
        """A ping comes back: the connection lives. What came before is dropped."""
        self.send(frame(PING, 0, 0, b"alive?!?"))
        self.until(lambda k, f, s, p: k == PING and f & ACK and p == b"alive?!?", "ping")

    def check(self, stream):
        """A whole call; it has to succeed."""
        self.request(stream)
        head, data, trailers = self.answer(stream)
        assert head[":status"] == "200" and trailers["grpc-status"] == "0", (head, trailers)
        assert data == message(b"\x08\x01"), data

    def connection_error(self, *codes):
        """GOAWAY with one of the codes and the end of the connection."""
        got = None
        try:
            while True:
                kind, _, _, payload = self.frame()
                if kind == GOAWAY:
                    got = int.from_bytes(payload[4:8], "big")
                    assert got in codes, f"GOAWAY with code {got}, not {codes}"
        except Closed:
            pass
        except socket.timeout:
            raise AssertionError(f"the connection was not closed (GOAWAY: {got})") from None
        assert got is not None, "closed without GOAWAY"

    def stream_error(self, stream, *codes, connection=True):
        """RST_STREAM with one of the codes; by RFC 9113, 5.4.2 a connection error is allowed instead."""
        try:
            while True:
                kind, _, i, payload = self.frame()
                if kind == RST_STREAM and i == stream:
                    code = int.from_bytes(payload, "big")
                    assert code in codes, f"RST_STREAM with code {code}, not {codes}"
                    return
                if kind == GOAWAY and connection:
                    code = int.from_bytes(payload[4:8], "big")
                    assert code in codes, f"GOAWAY with code {code}, not {codes}"
                    return
        except (Closed, socket.timeout) as e:
            raise AssertionError(f"no error on stream {stream}: {type(e).__name__}") from None
