#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 by the book: RFC 9113 sections 3 to 8 and RFC 7541, each case by its section, on raw sockets.

    test_h2_conformance.py [PROGRAM]     PROGRAM: an agent; without one the test service under ASan

The cases are those that a server can be asked about (h2spec has much the same list). A call is POST
/grpc.Health/Check. Not here, as this server has no use for it:

    3.2, 8.5, 8.6   the upgrade from HTTP/1.1, which RFC 9113 has removed: gRPC starts with prior knowledge
    3.3, 9          TLS, ALPN, the reuse of connections: cleartext on a socket that only the host reaches
    5.3             a stream that depends on itself: RFC 9113 has deprecated priorities, PRIORITY is ignored
    8.3             CONNECT: answered as any method but POST (see 8.1)
    8.4             server push: the server never pushes (refusing a client's PUSH_PROMISE is tested)
"""
import os
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from h2 import (ACK, CANCEL, COMPRESSION_ERROR, CONTINUATION, DATA, ENABLE_PUSH, END_HEADERS, END_STREAM,  # noqa: E402
                FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, GOAWAY, H2, HEADER_TABLE_SIZE, HEADERS,
                INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE, PADDED, PING,
                PREFACE, PRIO, PRIORITY, PROTOCOL_ERROR, PUSH_PROMISE, REFUSED_STREAM, RST_STREAM, SETTINGS,
                STREAM_CLOSED, WINDOW_UPDATE, Closed, block, frame, grpc_headers, hpack_int, literal, message,
                settings)
from server import Agent, Service  # noqa: E402
from tap import Tap, expect  # noqa: E402

SERVER = None
CASES = []


def case(name):
    def add(fn):
        CASES.append((name, fn))
        return fn
    return add


def connect(*first, **kw):
    return H2(SERVER.connect(timeout=5), first, **kw)


def ends_with(*codes):
    """Decorates a case that returns frames to send on a new connection: a connection error follows."""
    def wrap(fn):
        def run():
            c = connect()
            c.send(*fn(c))
            c.connection_error(*codes)
        return run
    return wrap


def resets(stream, *codes):
    """The same for a stream error; afterwards the connection must still serve."""
    def wrap(fn):
        def run():
            c = connect()
            c.send(*fn(c))
            c.stream_error(stream, *codes)
        return run
    return wrap


def open_stream(i=1):
    return frame(HEADERS, END_HEADERS, i, block(grpc_headers()))


def whole(i=1, **changed):
    return frame(HEADERS, END_HEADERS | END_STREAM, i, block(grpc_headers(**changed)))


# --- 3 starting -------------------------------------------------------------------------------

@case("3.4 the server's preface is a SETTINGS frame")
def _():
    c = H2(SERVER.connect(), preface=False)
    c.send(PREFACE + settings())
    kind, flags, stream, _p = c.frame()
    expect((kind, flags, stream), (SETTINGS, 0, 0))


@case("3.4 preface and request in one packet")
def _():
    c = H2(SERVER.connect(), preface=False)
    c.send(PREFACE + settings(), open_stream(), frame(DATA, END_STREAM, 1, message()))
    expect(c.answer(1)[2]["grpc-status"], "0")


@case("3.4 an invalid preface ends the connection")
def _():
    c = H2(SERVER.connect(), preface=False)
    c.send(b"PRI * HTTP/1.1\r\n\r\nSM\r\n\r\n" + settings())
    try:
        while True:
            c.frame()
    except Closed:
        pass


@case("3.4 a preface without SETTINGS is an error")
def _():
    c = H2(SERVER.connect(), preface=False)
    c.send(PREFACE + frame(PING, 0, 0, b"12345678"))
    c.connection_error(PROTOCOL_ERROR)


@case("3.4 preface byte by byte")
def _():
    c = H2(SERVER.connect(), preface=False)
    for b in PREFACE + settings():
        c.send(bytes([b]))
    c.check(1)


# --- 4 frames ---------------------------------------------------------------------------------

@case("4.1 frames of unknown type are ignored")
def _():
    c = connect()
    c.send(frame(0x16, 0, 0, b"\0" * 8), frame(0xFE, 0xFF, 1, b"abc"))
    c.alive()
    c.check(1)


@case("4.1 undefined flags are ignored")
def _():
    c = connect()
    c.send(frame(PING, 0x16, 0, b"12345678"))
    c.until(lambda k, f, s, p: k == PING and f & ACK and p == b"12345678", "ping")


@case("4.1 the reserved bit is ignored")
def _():
    c = connect()
    c.send(frame(PING, 0, 1 << 31, b"12345678"))
    c.until(lambda k, f, s, p: k == PING and f & ACK, "ping")


@case("4.2 DATA of 2^14 bytes is taken")
def _():
    c = connect()
    c.request(1, body=message(b"\x0a\xf6\x7f" + b"x" * 16374))
    expect(len(message(b"\x0a\xf6\x7f" + b"x" * 16374)), 16382)
    expect(c.answer(1)[2]["grpc-status"], "0")


@case("4.2 DATA larger than SETTINGS_MAX_FRAME_SIZE")
@ends_with(FRAME_SIZE_ERROR)
def _(c):
    return open_stream(), frame(DATA, END_STREAM, 1, b"\0" * 16385)


@case("4.2 HEADERS larger than SETTINGS_MAX_FRAME_SIZE")
@ends_with(FRAME_SIZE_ERROR)
def _(c):
    return (frame(HEADERS, END_HEADERS | END_STREAM, 1, block(grpc_headers() + [("x-a", "b" * 16384)])),)


@case("4.3 an invalid header block")
@ends_with(COMPRESSION_ERROR)
def _(c):
    return (frame(HEADERS, END_HEADERS | END_STREAM, 1, block(grpc_headers()) + b"\x40\x01\x61\x7f"),)


@case("4.3 PRIORITY within a header block")
@ends_with(PROTOCOL_ERROR)
def _(c):
    return frame(HEADERS, END_STREAM, 1, block(grpc_headers())), frame(PRIORITY, 0, 1, b"\0\0\0\0\0")


@case("4.3 HEADERS of another stream within a header block")
@ends_with(PROTOCOL_ERROR)
def _(c):
    return frame(HEADERS, END_STREAM, 1, block(grpc_headers())), whole(3)


# --- 5 streams --------------------------------------------------------------------------------

@case("5.1 idle: DATA")
@ends_with(PROTOCOL_ERROR, STREAM_CLOSED)
def _(c):
    return (frame(DATA, END_STREAM, 1, b"test"),)


@case("5.1 idle: RST_STREAM")
@ends_with(PROTOCOL_ERROR)
def _(c):
    return (frame(RST_STREAM, 0, 1, struct.pack(">I", CANCEL)),)


@case("5.1 idle: WINDOW_UPDATE")
@ends_with(PROTOCOL_ERROR)
def _(c):
    return (frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 100)),)


@case("5.1 idle: CONTINUATION")
@ends_with(PROTOCOL_ERROR)
def _(c):
    return (frame(CONTINUATION, END_HEADERS, 1, block(grpc_headers())),)


@case("5.1 half closed (remote): DATA")
@resets(1, STREAM_CLOSED)
def _(c):
    return whole(), frame(DATA, END_STREAM, 1, b"test")


@case("5.1 half closed (remote): HEADERS")
@resets(1, STREAM_CLOSED)
def _(c):
    return whole(), whole()


@case("5.1 half closed (remote): CONTINUATION")
@resets(1, STREAM_CLOSED, PROTOCOL_ERROR)
def _(c):
    return whole(), frame(CONTINUATION, END_HEADERS, 1, block(grpc_headers()))


@case("5.1 half closed (remote): WINDOW_UPDATE, PRIORITY and RST_STREAM are taken")
def _():
    c = connect()
    c.send(whole(), frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 1)), frame(PRIORITY, 0, 1, b"\0\0\0\0\x10"),
           frame(RST_STREAM, 0, 1, struct.pack(">I", CANCEL)))
    c.alive()
    c.check(3)


@case("5.1 closed: DATA after RST_STREAM is an error")
@resets(1, STREAM_CLOSED)
def _(c):
    return open_stream(), frame(RST_STREAM, 0, 1, struct.pack(">I", CANCEL)), frame(DATA, END_STREAM, 1, b"test")


@case("5.1 closed: DATA after the server's RST_STREAM is ignored: it was on its way")
def _():
    c = connect()
    c.send(frame(HEADERS, END_HEADERS, 1, block(grpc_headers(te="deflate"))))
    c.stream_error(1, PROTOCOL_ERROR, connection=False)
    c.send(frame(DATA, 0, 1, b"test"), frame(DATA, END_STREAM, 1, b"test"))
    c.check(3)


@case("5.1 DATA of a call that has been answered is taken and dropped")
def _():
    c = connect()
    c.send(open_stream(), frame(DATA, 0, 1, struct.pack(">BI", 0, 5 << 20)))
    expect(c.answer(1)[2]["grpc-status"], "8")
    for _i in range(200):
        c.send(frame(DATA, 0, 1, b"x" * 16384))
    c.send(frame(DATA, END_STREAM, 1, b""))
    c.check(3)


@case("5.1 closed: HEADERS after RST_STREAM is an error")
@resets(1, STREAM_CLOSED, PROTOCOL_ERROR)
def _(c):
    return open_stream(), frame(RST_STREAM, 0, 1, struct.pack(">I", CANCEL)), whole()


@case("5.1 closed: CONTINUATION after RST_STREAM is an error")
@ends_with(STREAM_CLOSED, PROTOCOL_ERROR)
def _(c):
    return (open_stream(), frame(RST_STREAM, 0, 1, struct.pack(">I", CANCEL)),
            frame(CONTINUATION, END_HEADERS, 1, block(grpc_headers())))


@case("5.1 closed: DATA after the whole call is an error")
def _():
    c = connect()
    c.check(1)
    c.send(frame(DATA, END_STREAM, 1, b"test"))
    c.connection_error(STREAM_CLOSED)


@case("5.1 closed: HEADERS after the whole call is an error")
def _():
    c = connect()
    c.check(1)
    c.send(whole(1))
    c.connection_error(STREAM_CLOSED, PROTOCOL_ERROR)


@case("5.1 closed: CONTINUATION after the whole call is an error")
def _():
    c = connect()
    c.check(1)
    c.send(frame(CONTINUATION, END_HEADERS, 1, block(grpc_headers())))
    c.connection_error(STREAM_CLOSED, PROTOCOL_ERROR)


@case("5.1 closed: WINDOW_UPDATE, PRIORITY and RST_STREAM are ignored")
def _():
    c = connect()
    c.check(1)
    c.send(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 1)), frame(PRIORITY, 0, 1, b"\0\0\0\0\x10"),
           frame(RST_STREAM, 0, 1, struct.pack(">I", CANCEL)))
    c.check(3)


@case("5.1.1 an even stream id")
@ends_with(PROTOCOL_ERROR)
def _(c):
    return (whole(2),)


@case("5.1.1 a smaller id than before")
@ends_with(PROTOCOL_ERROR, STREAM_CLOSED)
def _(c):
    return whole(5), whole(3)


@case("5.1.1 the highest id")
def _():
    c = connect()
    c.check(0x7FFFFFFF)


@case("5.1.2 more streams than SETTINGS_MAX_CONCURRENT_STREAMS")
def _():
    c = connect()
    n = c.server_settings[MAX_CONCURRENT_STREAMS]
    assert 100 <= n <= 10000, n
    c.send(b"".join(open_stream(2 * i + 1) for i in range(n + 1)))
    c.stream_error(2 * n + 1, REFUSED_STREAM, PROTOCOL_ERROR)


@case("5.1.2 ... and none is lost when others end")
def _():
    c = connect()
    n = c.server_settings[MAX_CONCURRENT_STREAMS]
    for i in range(3 * n):
        c.send(open_stream(2 * i + 1), frame(RST_STREAM, 0, 2 * i + 1, struct.pack(">I", CANCEL)))
        if i % 500 == 499:
            c.alive()
    c.check(6 * n + 1)


@case("5.3 priorities are taken and ignored")
def _():
    c = connect()
    c.send(frame(PRIORITY, 0, 1, struct.pack(">IB", 0, 0)), frame(PRIORITY, 0, 3, struct.pack(">IB", 1 << 31, 255)),
           frame(PRIORITY, 0, 9, struct.pack(">IB", 3, 7)))
    c.send(frame(HEADERS, END_HEADERS | PRIO, 5, struct.pack(">IB", 3, 9) + block(grpc_headers())),
           frame(DATA, END_STREAM, 5, message()))
    expect(c.answer(5)[2]["grpc-status"], "0")


@case("5.4.1 GOAWAY comes before the end and names the last stream")
def _():
    c = connect()
    c.check(1)
    c.send(frame(PING, 0, 0, b"123"))
    f = c.until(lambda k, *a: k == GOAWAY, "goaway")
    last, code = struct.unpack(">II", f[3][:8])
    expect((last, code), (1, FRAME_SIZE_ERROR))
    try:
        c.frame()
        raise AssertionError("something came after GOAWAY")
    except Closed:
        pass


@case("5.4.2 a stream error leaves the connection alone")
def _():
    c = connect()
    c.send(whole(1, content_length="5"))
    c.stream_error(1, PROTOCOL_ERROR, connection=False)
    c.check(3)


@case("5.5 an extension frame within a header block")
@ends_with(PROTOCOL_ERROR)
def _(c):
    return frame(HEADERS, END_STREAM, 1, block(grpc_headers())), frame(0x16, 0, 1, b"abc")


@case("5.5 unknown settings and flags do no harm")
def _():
    c = connect((0xFF00, 1), (0x7777, 0xFFFFFFFF))
    c.check(1)


# --- 6 frame definitions ----------------------------------------------------------------------

@case("6.1 DATA on stream 0")
@ends_with(PROTOCOL_ERROR)
def _(c):
    return open_stream(), frame(DATA, END_STREAM, 0, b"test")


@case("6.1 DATA with padding")
def _():
    c = connect()
    c.send(open_stream(), frame(DATA, END_STREAM | PADDED, 1, b"\x06" + message() + b"\0" * 6))
    expect(c.answer(1)[2]["grpc-status"], "0")


@case("6.1 padding as long as the frame")
@ends_with(PROTOCOL_ERROR)
def _(c):
    return open_stream(), frame(DATA, END_STREAM | PADDED, 1, b"\x05test\0"[:5])


@case("6.1 several DATA frames, empty ones among them")
def _():
    c = connect()
    m = message(b"\x0a\x04abcd")
    c.send(open_stream(), frame(DATA, 0, 1, b""), *[frame(DATA, 0, 1, m[i:i + 1]) for i in range(len(m))],
           frame(DATA, END_STREAM, 1, b""))
    expect(c.answer(1)[2]["grpc-status"], "0")


@case("6.2 HEADERS on stream 0")
@ends_with(PROTOCOL_ERROR)
def _(c):
    return (whole(0),)


@case("6.2 HEADERS with padding and priority")
def _():
    c = connect()
    b = block(grpc_headers())
    c.send(frame(HEADERS, END_HEADERS | PADDED | PRIO, 1, b"\x07" + b"\0\0\0\0\x0f" + b + b"\0" * 7),
           frame(DATA, END_STREAM, 1, message()))
    expect(c.answer(1)[2]["grpc-status"], "0")


@case("6.2 padding longer than the frame")
@ends_with(PROTOCOL_ERROR)
def _(c):
    b = block(grpc_headers())
    return (frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, bytes([255]) + b[:100]),)


@case("6.3 PRIORITY on stream 0")
@ends_with(PROTOCOL_ERROR)
def _(c):
    return (frame(PRIORITY, 0, 0, b"\0\0\0\0\x10"),)


@case("6.3 PRIORITY of a wrong length")
@resets(1, FRAME_SIZE_ERROR)
def _(c):
    return open_stream(), frame(PRIORITY, 0, 1, b"\0\0\0\0")


@case("6.4 RST_STREAM on stream 0")
@ends_with(PROTOCOL_ERROR)
def _(c):
    return (frame(RST_STREAM, 0, 0, struct.pack(">I", CANCEL)),)


@case("6.4 RST_STREAM on an idle stream")
@ends_with(PROTOCOL_ERROR)
def _(c):
    return (frame(RST_STREAM, 0, 7, struct.pack(">I", CANCEL)),)


@case("6.4 RST_STREAM of a wrong length")
@ends_with(FRAME_SIZE_ERROR)
def _(c):
    return open_stream(), frame(RST_STREAM, 0, 1, b"\0\0\0")


@case("6.5 SETTINGS acknowledgement with a payload")
@ends_with(FRAME_SIZE_ERROR)
def _(c):
    return (frame(SETTINGS, ACK, 0, b"\0"),)


@case("6.5 SETTINGS on a stream")
@ends_with(PROTOCOL_ERROR)
def _(c):
    return (frame(SETTINGS, 0, 1, b"\0\3\0\0\0\x64"),)


@case("6.5 SETTINGS of a wrong length")
@ends_with(FRAME_SIZE_ERROR)
def _(c):
    return (frame(SETTINGS, 0, 0, b"\0\3\0"),)


@case("6.5.2 ENABLE_PUSH neither 0 nor 1")
@ends_with(PROTOCOL_ERROR)
def _(c):
    return (settings((ENABLE_PUSH, 2)),)


@case("6.5.2 INITIAL_WINDOW_SIZE above 2^31-1")
@ends_with(FLOW_CONTROL_ERROR)
def _(c):
    return (settings((INITIAL_WINDOW_SIZE, 1 << 31)),)


@case("6.5.2 MAX_FRAME_SIZE below 2^14")
@ends_with(PROTOCOL_ERROR)
def _(c):
    return (settings((MAX_FRAME_SIZE, (1 << 14) - 1)),)


@case("6.5.2 MAX_FRAME_SIZE above 2^24-1")
@ends_with(PROTOCOL_ERROR)
def _(c):
    return (settings((MAX_FRAME_SIZE, 1 << 24)),)


@case("6.5.3 the last of several values counts")
def _():
    c = connect()
    c.send(settings((INITIAL_WINDOW_SIZE, 100), (INITIAL_WINDOW_SIZE, 1)))
    c.until(lambda k, f, s, p: k == SETTINGS and f & ACK, "acknowledgement")
    c.request(1)
    f = c.until(lambda k, *a: k == DATA, "data")
    expect(len(f[3]), 1)


@case("6.5.3 SETTINGS are acknowledged, each")
def _():
    c = connect()
    c.send(settings(), settings((HEADER_TABLE_SIZE, 100)), settings((MAX_CONCURRENT_STREAMS, 7)))
    for _i in range(4):         # and the one of the preface
        c.until(lambda k, f, s, p: k == SETTINGS and f & ACK and p == b"", "acknowledgement")


@case("6.6 PUSH_PROMISE from a client")
@ends_with(PROTOCOL_ERROR)
def _(c):
    return open_stream(), frame(PUSH_PROMISE, END_HEADERS, 1, struct.pack(">I", 2) + block(grpc_headers()))


@case("6.7 PING is answered with its payload")
def _():
    c = connect()
    c.send(frame(PING, 0, 0, b"h2specs!"))
    c.until(lambda k, f, s, p: (k, f, s, p) == (PING, ACK, 0, b"h2specs!"), "ping")


@case("6.7 an acknowledged PING is not answered")
def _():
    c = connect()
    c.send(frame(PING, ACK, 0, b"nothing!"), frame(PING, 0, 0, b"answer!!"))
    f = c.until(lambda k, f, s, p: k == PING, "ping")
    expect(f[3], b"answer!!")


@case("6.7 PING on a stream")
@ends_with(PROTOCOL_ERROR)
def _(c):
    return (frame(PING, 0, 1, b"12345678"),)


@case("6.7 PING of a wrong length")
@ends_with(FRAME_SIZE_ERROR)
def _(c):
    return (frame(PING, 0, 0, b"123456"),)


@case("6.8 GOAWAY on a stream")
@ends_with(PROTOCOL_ERROR)
def _(c):
    return (frame(GOAWAY, 0, 1, struct.pack(">II", 0, 0)),)


@case("6.8 open calls end in order after a client's GOAWAY")
def _():
    c = connect()
    c.send(open_stream(1), frame(GOAWAY, 0, 0, struct.pack(">II", 0, 0)), frame(DATA, END_STREAM, 1, message()))
    expect(c.answer(1)[2]["grpc-status"], "0")


@case("6.9 WINDOW_UPDATE of 0 on the connection")
@ends_with(PROTOCOL_ERROR)
def _(c):
    return (frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\0"),)


@case("6.9 WINDOW_UPDATE of 0 on a stream")
@resets(1, PROTOCOL_ERROR)
def _(c):
    return open_stream(), frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\0")


@case("6.9 WINDOW_UPDATE of a wrong length")
@ends_with(FRAME_SIZE_ERROR)
def _(c):
    return (frame(WINDOW_UPDATE, 0, 0, b"\0\0\1"),)


@case("6.9.1 no more DATA than the window of the stream")
def _():
    c = connect((INITIAL_WINDOW_SIZE, 3))
    c.request(1)
    f = c.until(lambda k, *a: k == DATA, "data")
    expect(len(f[3]), 3)
    c.send(frame(PING, 0, 0, b"are you?"))
    kind = c.frame()[0]
    while kind in (SETTINGS, WINDOW_UPDATE):
        kind = c.frame()[0]
    expect(kind, PING)
    c.send(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 100)))
    f = c.until(lambda k, *a: k == DATA, "the rest")
    expect(len(f[3]), 4)


@case("6.9.1 no more DATA than the window of the connection")
def _():
    """65535 bytes are there at first; each answer takes seven."""
    c = connect()
    n = 65535 // 7
    got = 0
    for at in range(0, n, 500):
        for i in range(at, min(n, at + 500)):
            c.send(open_stream(2 * i + 1), frame(DATA, END_STREAM, 2 * i + 1, message()))
        for i in range(at, min(n, at + 500)):
            got += len(c.until(lambda k, *a: k == DATA, "data")[3])
    expect(got, n * 7)
    c.send(open_stream(2 * n + 1), frame(DATA, END_STREAM, 2 * n + 1, message()))
    f = c.until(lambda k, f, s, p: k == DATA, "data")
    expect(len(f[3]), 65535 - n * 7)
    c.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1000)))
    f = c.until(lambda k, f, s, p: k == DATA, "data")
    expect(len(f[3]), 7 - (65535 - n * 7))


@case("6.9.1 the window of the connection above 2^31-1")
@ends_with(FLOW_CONTROL_ERROR)
def _(c):
    return (frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", (1 << 31) - 1)),
            frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", (1 << 31) - 1)))


@case("6.9.1 the window of a stream above 2^31-1")
@resets(1, FLOW_CONTROL_ERROR)
def _(c):
    return (open_stream(), frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", (1 << 31) - 1)),
            frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", (1 << 31) - 1)))


@case("6.9.1 more DATA than our window")
def _():
    c = connect()
    window = c.server_settings.get(INITIAL_WINDOW_SIZE, 65535)
    c.send(open_stream(), frame(DATA, 0, 1, struct.pack(">BI", 0, 4 << 20)))
    c.s.settimeout(5)
    try:
        for _i in range(1000):  # without ever looking at what the server gives back
            c.s.sendall(frame(DATA, 0, 1, b"\0" * 16384))
            if _i * 16384 > (4 << 20) + 2 * window:
                break
    except OSError:
        pass
    # The server gives windows back as it reads, so that this ends by the size of the message at the latest.
    try:
        while True:
            kind, _f, _s, payload = c.frame()
            if kind in (GOAWAY, RST_STREAM) or (kind == HEADERS and _f & END_STREAM):
                return
    except Closed:
        return


@case("6.9.2 a larger initial window frees waiting streams")
def _():
    c = connect((INITIAL_WINDOW_SIZE, 0))
    c.request(1)
    c.until(lambda k, *a: k == HEADERS, "headers")
    c.alive()
    c.send(settings((INITIAL_WINDOW_SIZE, 1)))
    f = c.until(lambda k, *a: k == DATA, "data")
    expect(len(f[3]), 1)


@case("6.9.2 a window may become negative")
def _():
    c = connect((INITIAL_WINDOW_SIZE, 3))
    c.request(1)
    expect(len(c.until(lambda k, *a: k == DATA, "data")[3]), 3)
    c.send(settings((INITIAL_WINDOW_SIZE, 2)))          # the stream's is -1 now
    c.send(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 2)))
    expect(len(c.until(lambda k, *a: k == DATA, "data")[3]), 1)


@case("6.10 several CONTINUATION frames")
def _():
    c = connect()
    b = block(grpc_headers())
    c.send(frame(HEADERS, 0, 1, b[:10]), frame(CONTINUATION, 0, 1, b[10:20]), frame(CONTINUATION, 0, 1, b""),
           frame(CONTINUATION, END_HEADERS, 1, b[20:]), frame(DATA, END_STREAM, 1, message()))
    expect(c.answer(1)[2]["grpc-status"], "0")


@case("6.10 CONTINUATION, then another frame")
@ends_with(PROTOCOL_ERROR)
def _(c):
    b = block(grpc_headers())
    return frame(HEADERS, 0, 1, b[:10]), frame(CONTINUATION, 0, 1, b[10:20]), frame(DATA, END_STREAM, 1, b"test")


@case("6.10 CONTINUATION on stream 0")
@ends_with(PROTOCOL_ERROR)
def _(c):
    b = block(grpc_headers())
    return frame(HEADERS, 0, 1, b[:10]), frame(CONTINUATION, END_HEADERS, 0, b[10:])


@case("6.10 CONTINUATION after HEADERS with END_HEADERS")
@ends_with(PROTOCOL_ERROR)
def _(c):
    return open_stream(), frame(CONTINUATION, END_HEADERS, 1, literal("a", "b"))


@case("6.10 CONTINUATION after CONTINUATION with END_HEADERS")
@ends_with(PROTOCOL_ERROR)
def _(c):
    b = block(grpc_headers())
    return (frame(HEADERS, 0, 1, b[:10]), frame(CONTINUATION, END_HEADERS, 1, b[10:]),
            frame(CONTINUATION, END_HEADERS, 1, literal("a", "b")))


@case("6.10 CONTINUATION after DATA")
@ends_with(PROTOCOL_ERROR)
def _(c):
    return open_stream(), frame(DATA, 0, 1, b"test"), frame(CONTINUATION, END_HEADERS, 1, literal("a", "b"))


@case("6.10 CONTINUATION without an end is bounded")
def _():
    """The flood of CVE-2024-27316: headers that never end must not fill the memory."""
    c = connect()
    c.send(frame(HEADERS, 0, 1, block(grpc_headers())))
    c.s.settimeout(10)
    junk = literal("x-flood", "y" * 4000) * 4
    for _i in range(100):
        c.send(frame(CONTINUATION, 0, 1, junk))
    try:
        while True:
            c.frame()
    except Closed:
        pass


@case("6.5.2 headers beyond SETTINGS_MAX_HEADER_LIST_SIZE")
def _():
    c = connect()
    limit = c.server_settings[MAX_HEADER_LIST_SIZE]
    c.request(1, grpc_headers() + [("x-a%d" % i, "b" * 900) for i in range(limit // 900)])
    expect(c.answer(1)[2]["grpc-status"], "8")
    c.check(3)
    # Small on the wire, huge when it is unpacked: a field of 4000 bytes, and references to it.
    c.send(frame(HEADERS, END_HEADERS | END_STREAM, 5, block(grpc_headers()) + literal("x-bomb", "y" * 4000, 0x40) +
                 b"\xbe" * 8000))
    c.connection_error(11)


# --- 7 error codes ----------------------------------------------------------------------------

@case("7 unknown error code in GOAWAY")
def _():
    c = connect()
    c.send(open_stream(1), frame(GOAWAY, 0, 0, struct.pack(">II", 0, 0xFF)), frame(PING, 0, 0, b"12345678"))
    c.until(lambda k, f, s, p: k == PING and f & ACK, "ping")


@case("7 unknown error code in RST_STREAM")
def _():
    c = connect()
    c.send(open_stream(1), frame(RST_STREAM, 0, 1, struct.pack(">I", 0xFF)))
    c.check(3)


# --- 8 HTTP semantics -------------------------------------------------------------------------

@case("8.1 second HEADERS without END_STREAM")
@resets(1, PROTOCOL_ERROR)
def _(c):
    return open_stream(), frame(HEADERS, END_HEADERS, 1, literal("x-t", "1"))


@case("8.1 a request with trailers")
def _():
    c = connect()
    c.send(open_stream(), frame(DATA, 0, 1, message()),
           frame(HEADERS, END_HEADERS | END_STREAM, 1, literal("x-trailer", "1")))
    expect(c.answer(1)[2]["grpc-status"], "0")


@case("8.1 other methods than POST")
def _():
    c = connect()
    for n, m in enumerate(("GET", "HEAD", "PUT", "CONNECT")):
        c.send(whole(2 * n + 1, method=m))
        expect(c.answer(2 * n + 1)[0][":status"], "405")
    c.check(99)


@case("8.1 other content types than gRPC's")
def _():
    c = connect()
    for n, t in enumerate(("text/plain", "application/grpcx", None)):
        c.send(whole(2 * n + 1, content_type=t))
        expect(c.answer(2 * n + 1)[0][":status"], "415")
    for n, t in enumerate(("application/grpc+proto", "application/grpc;charset=utf-8")):
        c.request(101 + 2 * n, grpc_headers(content_type=t))
        expect(c.answer(101 + 2 * n)[2]["grpc-status"], "0")


def malformed(name, headers):
    @case(name)
    @resets(1, PROTOCOL_ERROR)
    def _(c):
        return (frame(HEADERS, END_HEADERS | END_STREAM, 1, block(headers)),)


G = grpc_headers()
PSEUDO, REGULAR = G[:4], G[4:]
malformed("8.2.1 upper case in a name", G + [("X-TEST", "ok")])
malformed("8.2.1 a name with a blank", G + [("x test", "ok")])
malformed("8.2.1 a name with a colon", G + [("x:test", "ok")])
malformed("8.2.1 an empty name", G + [("", "ok")])
malformed("8.2.1 a name with a NUL", G + [("x\0y", "ok")])
malformed("8.2.1 a name beyond ASCII", G + [(b"x\xff", "ok")])
malformed("8.2.1 a value with a newline", G + [("x-test", "a\nb")])
malformed("8.2.1 a value with a carriage return", G + [("x-test", "a\rb")])
malformed("8.2.1 a value with a NUL", G + [("x-test", "a\0b")])
malformed("8.2.1 a value that starts with a blank", G + [("x-test", " a")])
malformed("8.2.1 a value that ends with a tab", G + [("x-test", "a\t")])
malformed("8.2.2 connection", G + [("connection", "keep-alive")])
malformed("8.2.2 keep-alive", G + [("keep-alive", "1")])
malformed("8.2.2 proxy-connection", G + [("proxy-connection", "keep-alive")])
malformed("8.2.2 transfer-encoding", G + [("transfer-encoding", "chunked")])
malformed("8.2.2 upgrade", G + [("upgrade", "h2c")])
malformed("8.2.2 TE other than trailers", grpc_headers(te="trailers, deflate"))
malformed("8.3 an unknown pseudo header", [(":test", "ok")] + G)
malformed("8.3 a pseudo header of answers", [(":status", "200")] + G)
malformed("8.3 a pseudo header after others", REGULAR + PSEUDO)
malformed("8.3.1 an empty :path", grpc_headers(path=""))
malformed("8.3.1 no :method", grpc_headers(method=None))
malformed("8.3.1 no :scheme", grpc_headers(scheme=None))
malformed("8.3.1 no :path", [h for h in G if h[0] != ":path"])
malformed("8.3.1 :method twice", [(":method", "POST")] + G)
malformed("8.3.1 :scheme twice", [(":scheme", "http")] + G)
malformed("8.3.1 :path twice", [(":path", "/")] + G)
malformed("8.3.1 :authority twice", [(":authority", "a")] + G)


@case("8.3 a pseudo header in the trailers")
@resets(1, PROTOCOL_ERROR)
def _(c):
    return open_stream(), frame(DATA, 0, 1, message()), frame(HEADERS, END_HEADERS | END_STREAM, 1,
                                                              literal(":method", "POST"))


@case("8.3.1 no :authority, or one that is no host (Kata's clients)")
def _():
    c = connect()
    for n, a in enumerate((None, "", "/run/kata.sock", "vsock://3:1024", "localhost")):
        c.request(2 * n + 1, grpc_headers(authority=a))
        expect(c.answer(2 * n + 1)[2]["grpc-status"], "0")


@case("8.1.1 content-length that doesn't fit one DATA frame")
@resets(1, PROTOCOL_ERROR)
def _(c):
    return (frame(HEADERS, END_HEADERS, 1, block(grpc_headers(content_length="1"))),
            frame(DATA, END_STREAM, 1, message()))


@case("8.1.1 content-length that doesn't fit several DATA frames")
@resets(1, PROTOCOL_ERROR)
def _(c):
    return (frame(HEADERS, END_HEADERS, 1, block(grpc_headers(content_length="6"))), frame(DATA, 0, 1, b"\0\0"),
            frame(DATA, END_STREAM, 1, b"\0\0\0"))


@case("8.1.1 content-length that fits")
def _():
    c = connect()
    c.request(1, grpc_headers(content_length="5"))
    expect(c.answer(1)[2]["grpc-status"], "0")


@case("8.1.1 content-length twice or no number")
def _():
    for extra in ([("content-length", "5"), ("content-length", "5")], [("content-length", "5x")],
                  [("content-length", "-5")], [("content-length", "")]):
        c = connect()
        c.send(frame(HEADERS, END_HEADERS, 1, block(G + extra)), frame(DATA, END_STREAM, 1, message()))
        c.stream_error(1, PROTOCOL_ERROR)


# --- HPACK, RFC 7541 --------------------------------------------------------------------------

STATIC = {"method": b"\x83", "scheme": b"\x86"}      # :method POST, :scheme http


def call_with(*parts):
    """A whole call whose header block has these parts behind the usual ones; it must succeed."""
    c = connect()
    c.send(frame(HEADERS, END_HEADERS, 1, b"".join((block(G),) + parts)), frame(DATA, END_STREAM, 1, message()))
    expect(c.answer(1)[2]["grpc-status"], "0")
    return c


@case("HPACK 6.1 indexed fields")
def _():
    c = connect()
    b = STATIC["method"] + STATIC["scheme"] + literal(":path", "/grpc.Health/Check") + block(REGULAR)
    c.send(frame(HEADERS, END_HEADERS, 1, b), frame(DATA, END_STREAM, 1, message()))
    expect(c.answer(1)[2]["grpc-status"], "0")


@case("HPACK 6.2.1 literals with indexing, and their use")
def _():
    c = connect()
    b = b"".join(literal(n, v, 0x40) for n, v in G)
    c.send(frame(HEADERS, END_HEADERS, 1, b), frame(DATA, END_STREAM, 1, message()))
    expect(c.answer(1)[2]["grpc-status"], "0")
    b = b"".join(hpack_int(62 + len(G) - 1 - i, 7, 0x80) for i in range(len(G)))
    c.send(frame(HEADERS, END_HEADERS, 3, b), frame(DATA, END_STREAM, 3, message()))
    expect(c.answer(3)[2]["grpc-status"], "0")


@case("HPACK 6.2.1 literals with indexing and an indexed name")
def _():
    c = connect()
    b = (STATIC["method"] + STATIC["scheme"] + hpack_int(4, 6, 0x40) + b"\x12/grpc.Health/Check" +
         hpack_int(31, 6, 0x40) + b"\x10application/grpc")
    c.send(frame(HEADERS, END_HEADERS, 1, b), frame(DATA, END_STREAM, 1, message()))
    expect(c.answer(1)[2]["grpc-status"], "0")


@case("HPACK 6.2.2 literals without indexing")
def _():
    call_with(literal("x-a", "1"), hpack_int(19, 4, 0) + b"\x01z")      # 19: accept


@case("HPACK 6.2.3 literals never indexed")
def _():
    call_with(literal("x-a", "1", 0x10), hpack_int(19, 4, 0x10) + b"\x01z")


@case("HPACK 6.3 size updates at the start of a block")
def _():
    c = connect()
    c.send(frame(HEADERS, END_HEADERS, 1, hpack_int(0, 5, 0x20) + hpack_int(4096, 5, 0x20) + block(G)),
           frame(DATA, END_STREAM, 1, message()))
    expect(c.answer(1)[2]["grpc-status"], "0")


@case("HPACK 5.2 Huffman")
def _():
    import hpack
    c = connect()
    e = hpack.Encoder()
    for i in range(1, 9, 2):
        c.send(frame(HEADERS, END_HEADERS, i, e.encode(G + [("x-some", "a value, %d" % i)], huffman=True)),
               frame(DATA, END_STREAM, i, message()))
        expect(c.answer(i)[2]["grpc-status"], "0")


def bad_block(name, tail, head=b""):
    @case(name)
    @ends_with(COMPRESSION_ERROR)
    def _(c):
        return (frame(HEADERS, END_HEADERS | END_STREAM, 1, head + block(G) + tail),)


bad_block("HPACK 2.3.3 an index beyond both tables", hpack_int(70, 7, 0x80))
bad_block("HPACK 2.3.3 the index of a name beyond both tables", hpack_int(70, 6, 0x40) + b"\x01a")
bad_block("HPACK 4.2 a size update at the end of a block", hpack_int(1, 5, 0x20))
bad_block("HPACK 5.1 an integer without end", b"\xff" + b"\x80" * 20)
bad_block("HPACK 5.1 an integer that overflows", b"\xff" + b"\xff" * 9 + b"\x7f")
bad_block("HPACK 5.2 a string longer than its block", b"\x00\x05abc")
bad_block("HPACK 5.2 Huffman padding longer than 7 bits", b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff")
bad_block("HPACK 5.2 Huffman padding with zeros", b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90")
bad_block("HPACK 5.2 Huffman with EOS", b"\x00\x85\xf2\xb2\x4a\x84\xff\x87\x49\x51\xff\xff\xff\xfa\x7f")
bad_block("HPACK 6.1 index 0", b"\x80")
bad_block("HPACK 6.3 a size above SETTINGS_HEADER_TABLE_SIZE", b"", head=hpack_int(4097, 5, 0x20))


@case("HPACK the client's table may be small, even empty")
def _():
    for size in (0, 64):
        c = connect((HEADER_TABLE_SIZE, size))
        c.decoder.max_allowed_table_size = size
        for i in range(1, 9, 2):
            c.check(i)


# --- the rest of the transport ----------------------------------------------------------------

@case("gRPC: unknown path, service, method")
def _():
    c = connect()
    for n, (path, status) in enumerate((("/grpc.Health/Nothing", "12"), ("/no.Service/Check", "12"), ("/", "8"),
                                        ("nonsense", "8"), ("*", "8"))):
        c.request(2 * n + 1, grpc_headers(path=path))
        head, data, trailers = c.answer(2 * n + 1)
        expect((head[":status"], data, trailers["grpc-status"]), ("200", b"", status), path)


@case("gRPC: a compressed message, a foreign encoding")
def _():
    c = connect()
    c.request(1, body=b"\x01\0\0\0\0")
    expect(c.answer(1)[2]["grpc-status"], "12")
    c.request(3, G + [("grpc-encoding", "gzip")])
    expect(c.answer(3)[2]["grpc-status"], "12")
    c.request(5, G + [("grpc-encoding", "identity")])
    expect(c.answer(5)[2]["grpc-status"], "0")


@case("gRPC: a message above 4 MiB")
def _():
    c = connect()
    c.request(1, body=struct.pack(">BI", 0, (4 << 20) + 1), end=False)
    t = c.answer(1)[2]
    expect(t["grpc-status"], "8")
    assert "larger than max" in t["grpc-message"], t


@case("gRPC: none, half, and two messages")
def _():
    c = connect()
    c.request(1, body=b"")
    expect(c.answer(1)[2]["grpc-status"], "13")
    c.request(3, body=b"\0\0\0\0\x05abc")
    expect(c.answer(3)[2]["grpc-status"], "13")
    c.request(5, body=message() * 2)
    expect(c.answer(5)[2]["grpc-status"], "13")
    c.check(7)


@case("gRPC: a body that is no protobuf")
def _():
    c = connect()
    c.request(1, body=message(b"\x0a\x7fshort"))
    expect(c.answer(1)[2]["grpc-status"], "13")


@case("gRPC: a grpc-timeout that is none")
def _():
    c = connect()
    for i, text in enumerate(("1", "1x", "-1S", "123456789S", "")):
        c.request(2 * i + 1, grpc_headers() + [("grpc-timeout", text)])
        expect(c.answer(2 * i + 1)[2]["grpc-status"], "13")
    c.check(99)


@case("gRPC: the deadline counts from the request's headers")
def _():
    c = connect()
    c.send(frame(HEADERS, END_HEADERS, 1, block(grpc_headers() + [("grpc-timeout", "100m")])))
    time.sleep(0.2)
    c.send(frame(DATA, END_STREAM, 1, message()))
    expect(c.answer(1)[2]["grpc-status"], "4")
    c.send(frame(HEADERS, END_HEADERS, 3, block(grpc_headers() + [("grpc-timeout", "9S")])),
           frame(DATA, END_STREAM, 3, message()))
    expect(c.answer(3)[2]["grpc-status"], "0")


@case("gRPC: an error before the end of its request is followed by RST_STREAM (NO_ERROR)")
def _():
    c = connect()
    c.send(frame(HEADERS, END_HEADERS, 1, block(grpc_headers(path="/no/Such"))))
    expect(c.answer(1)[2]["grpc-status"], "12")
    expect(c.until(lambda k, f, s, p: s == 1, "reset")[::3], (RST_STREAM, b"\0\0\0\0"))
    c.send(frame(DATA, END_STREAM, 1, message()))       # was on its way
    c.request(3, grpc_headers(path="/no/Such"))
    expect(c.answer(3)[2]["grpc-status"], "12")
    c.send(frame(PING, 0, 0, b"12345678"))
    expect(c.frame()[0], PING)      # no reset where the request was whole


@case("floods of PING and SETTINGS end the connection or are served, and memory stays")
def _():
    for one in (frame(PING, 0, 0, b"12345678"), settings((MAX_CONCURRENT_STREAMS, 1))):
        c = connect()
        c.s.settimeout(1)
        try:
            for _i in range(2000):
                c.s.sendall(one * 100)
        except OSError:
            pass
    connect().check(1)


@case("rapid reset (CVE-2023-44487) is served")
def _():
    c = connect()
    for i in range(20000):
        c.send(open_stream(2 * i + 1) + frame(RST_STREAM, 0, 2 * i + 1, struct.pack(">I", CANCEL)))
    try:
        c.alive()
    except AssertionError:
        pass                    # ended with GOAWAY: allowed as well
    connect().check(1)


@case("a connection that goes in the middle of a frame")
def _():
    for n in range(1, 60, 3):
        c = connect()
        c.send((open_stream() + frame(DATA, END_STREAM, 1, message()))[:n])
        c.s.close()
    connect().check(1)


def main():
    global SERVER
    tap = Tap()
    program = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("KATA_AGENT")
    SERVER = Agent(program, isolated=False).start() if program else Service("unix://")
    for name, fn in CASES:
        tap.run(name, fn)

    def end():
        if program:
            expect(SERVER.alive(), True, "the agent lives")
            return
        c = connect()
        c.request(1, grpc_headers(path="/grpc.AgentService/DestroySandbox"))
        c.until(lambda k, flags, *a: k == HEADERS and flags & END_STREAM, "the answer")
        c.s.close()
        SERVER.end()

    tap.run("the server ends well", end)
    SERVER.stop()
    return tap.done()


sys.exit(main())
