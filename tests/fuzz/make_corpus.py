#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the seeds of the fuzz targets into tests/fuzz/corpus; run by hand when a format grows.

The first five bytes of h2, ttrpc and yamux seeds are the script of fake.c: four of what the peer takes
of each write, one of how the input is split and how the session ends.
"""
import os
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))

import h2  # noqa: E402
from wire import (ACK, DATA, FIN, GO_AWAY, PING, RST, SYN, WINDOW, pb, ttrpc_frame, ttrpc_request,  # noqa: E402
                  yamux_frame)

ALL = b"\xff\xff\xff\xff"       # takes everything
SLOW = b"\x01\x23\x01\x23"


def seed(target, name, data):
    d = os.path.join(HERE, "corpus", target)
    os.makedirs(d, exist_ok=True)
    with open(os.path.join(d, name), "wb") as f:
        f.write(data)


def call(i, path, payload=b"", extra=(), end=True):
    return (h2.frame(h2.HEADERS, h2.END_HEADERS, i, h2.block(h2.grpc_headers(path) + list(extra))) +
            h2.frame(h2.DATA, h2.END_STREAM if end else 0, i, h2.message(payload)))


def http2():
    a = "/grpc.AgentService/"
    s = h2.settings()
    seeds = {
        "check": s + call(1, "/grpc.Health/Check"),
        "version": s + call(1, "/grpc.Health/Version"),
        "write": s + call(1, a + "WriteStdin", pb((1, "c"), (2, "e"), (3, b"data" * 20))),
        "read": s + h2.frame(h2.WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 20)) +
                call(1, a + "ReadStdout", pb((3, 200000))) + h2.frame(h2.WINDOW_UPDATE, 0, 1, struct.pack(">I", 99999)),
        "wait": s + call(1, a + "WaitProcess") + call(3, a + "SignalProcess", pb((3, 9))),
        "wait-reset": s + call(1, a + "WaitProcess") + h2.frame(h2.RST_STREAM, 0, 1, struct.pack(">I", 8)),
        "go-on": s + call(1, a + "WaitProcess", pb((1, "go-on"))) + h2.frame(h2.RST_STREAM, 0, 1, b"\0\0\0\x08"),
        "stats": s + call(1, a + "StatsContainer", pb((1, "abc")), [("grpc-timeout", "100m")]),
        "compressed": s + call(1, "/grpc.Health/Check", b"", [("grpc-encoding", "gzip")]),
        "malformed": s + call(1, "/grpc.Health/Check", b"", [("te", "x"), ("Connection", "close")]),
        "length": s + call(1, "/grpc.Health/Check", b"", [("content-length", "5")]),
        "unknown": s + call(1, "/no/Such") + call(3, "nothing"),
        "continuation": s + h2.frame(h2.HEADERS, 0, 1, h2.block(h2.grpc_headers())[:30]) +
                        h2.frame(h2.CONTINUATION, h2.END_HEADERS, 1, h2.block(h2.grpc_headers())[30:]) +
                        h2.frame(h2.DATA, h2.END_STREAM, 1, h2.message()),
        "trailers": s + call(1, "/grpc.Health/Check", end=False) +
                    h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 1, h2.literal("x", "y")),
        "indexed": s + h2.frame(h2.HEADERS, h2.END_HEADERS, 1, b"\x83\x86" + h2.literal(":path", "/grpc.Health/Check", 0x40) +
                                h2.literal("content-type", "application/grpc", 0x40)) +
                   h2.frame(h2.DATA, h2.END_STREAM | h2.PADDED, 1, b"\x03" + h2.message() + b"\0\0\0"),
        "window": h2.settings((h2.INITIAL_WINDOW_SIZE, 1), (h2.MAX_FRAME_SIZE, 20000), (h2.HEADER_TABLE_SIZE, 0)) +
                  call(1, "/grpc.Health/Check") + h2.settings((h2.INITIAL_WINDOW_SIZE, 100)),
        "ping-goaway": s + h2.frame(h2.PING, 0, 0, b"12345678") + h2.frame(h2.PRIORITY, 0, 3, b"\0\0\0\1\2") +
                       h2.frame(h2.GOAWAY, 0, 0, b"\0" * 8),
        "destroy": s + call(1, a + "DestroySandbox"),
    }
    for name, data in seeds.items():
        seed("h2", name, ALL + b"\x10" + data)
    for name in ("read", "wait", "write"):
        seed("h2", name + "-slow", SLOW + b"\x1e" + seeds[name])


def ttrpc():
    seeds = {
        "check": ttrpc_request(1, "Check", service="grpc.Health"),
        "version": ttrpc_request(1, "Version", service="grpc.Health"),
        "write": ttrpc_request(1, "WriteStdin", pb((1, "c"), (3, b"data" * 30))),
        "read": ttrpc_request(1, "ReadStdout", pb((3, 100000))) * 3,
        "wait": ttrpc_request(1, "WaitProcess") + ttrpc_request(3, "SignalProcess", pb((3, 9))),
        "go-on": ttrpc_request(1, "WaitProcess", pb((1, "go-on")), timeout_ns=1000000),
        "stats": ttrpc_request(1, "StatsContainer", pb((1, b"a\xff"))),
        "meta": ttrpc_request(1, "Check", service="grpc.Health", extra=pb((5, pb((1, "a"), (2, "b"))), (77, "x"))),
        "unknown": ttrpc_request(1, "No") + ttrpc_request(3, "No", service="x") + ttrpc_request(2, "Check"),
        "frames": ttrpc_frame(1, b"abc", kind=3) + ttrpc_frame(1, b"", kind=9) + ttrpc_frame(3, b"", length=0),
        "too-big": ttrpc_frame(1, b"x" * 50, length=(4 << 20) + 1),
        "half": ttrpc_frame(1, b"x" * 50, length=5000),
    }
    for name, data in seeds.items():
        seed("ttrpc", name, ALL + b"\x10" + data)
        seed("ttrpc", name + "-split", SLOW + b"\x1d" + data)


def yamux():
    check = ttrpc_request(1, "Check", service="grpc.Health")
    syn = yamux_frame(WINDOW, SYN, 1, 0)
    read = ttrpc_request(1, "ReadStdout", pb((3, 600000)))
    wait = ttrpc_request(1, "WaitProcess")
    grpc = h2.PREFACE + h2.settings() + call(1, "/grpc.Health/Check")

    def data(i, b, flags=0):
        return yamux_frame(DATA, flags, i, len(b), b)

    seeds = {
        "check": syn + data(1, check) + yamux_frame(WINDOW, FIN, 1, 0),
        "syn-data": data(1, check, SYN),
        "grpc": syn + data(1, grpc),
        "read": syn + data(1, read) + yamux_frame(WINDOW, 0, 1, 262144) * 3,
        "two": syn + yamux_frame(WINDOW, SYN, 3, 0) + data(1, read) + data(3, check) + data(3, check),
        "order": yamux_frame(WINDOW, SYN, 3, 0) + syn + data(3, check) + data(1, check),
        "rst": syn + data(1, wait) + yamux_frame(WINDOW, RST, 1, 0),
        "fin-data": syn + data(1, wait) + data(1, check, FIN),
        "ping": yamux_frame(PING, SYN, 0, 7) * 5 + yamux_frame(PING, ACK, 0, 1),
        "go-away": syn + yamux_frame(GO_AWAY, 0, 0, 0) + data(1, check),
        "again": syn + data(1, wait) + syn + data(1, check),
        "unknown": data(9, b"abc") + yamux_frame(WINDOW, 0, 5, 1),
        "no-protocol": syn + data(1, b"hello") + data(1, b"more") + yamux_frame(WINDOW, FIN, 1, 0),
        "bad": yamux_frame(DATA, 0, 1, 0, version=1),
    }
    for name, d in seeds.items():
        seed("yamux", name, ALL + b"\x10" + d)
        seed("yamux", name + "-split", SLOW + b"\x1d" + d)


def session():
    """Programs of fuzz_session.c: road, script, steps."""
    send, written, release, leave, nothing, all_of_it = (0x80,), (0x84,), (0x85,), (0x86,), (0x83, 0), (0x83, 0x77)

    def call(method, slot=0, size=0, end=0x40):
        return (0, slot, method, 2, slot, size | end)

    def many(*parts):
        return bytes(b for part in parts for b in part)
    for name, m in (("check", 0), ("write", 2), ("read", 3), ("wait", 4), ("signal", 5), ("none", 7)):
        seed("session", "h2-" + name, many((0, 0x77), call(m, size=4), send, written, call(0, 1), send))
        seed("session", "ttrpc-" + name, many((1, 0x77), (0, m, 4), send, written, (0, 0, 0), send))
        seed("session", "yamux-" + name, many((3, 0x77), (0, m, 4), (0x40, 0, 1), (0x41, 0, 1), send, written, (0x42, 0, 7), send))
        seed("session", "yamux-h2-" + name, many((2, 0x77), call(m, size=4), (0x40, 0, 1), (0x41, 0, 1), send, written))
    seed("session", "h2-window", many((0, 0x77), (6, 0), (8, 80), send, *[(5, s, 7, 5, s, 7) for s in range(16)], (5, 16, 5), send))
    seed("session", "h2-reset", many((0, 0x77), *[call(4, s) for s in range(8)], send, *[(4, s, 8) for s in range(8)], send, release))
    seed("session", "h2-unread", many((0, 0), *[call(3, s, 6) for s in range(16)], send, nothing, (5, 16, 7), send, all_of_it, written))
    seed("session", "h2-leave", many((0, 0x77), call(4, 0, 8), send, call(2, 1, 5), leave))
    seed("session", "ttrpc-unread", many((1, 0), *[(0, 3, 6) for _ in range(16)], send, all_of_it, written))
    seed("session", "yamux-close", many((3, 0x77), (0, 4, 0), (0x40, 0, 1), (0x41, 0, 0x41), send, release, (0x42, 0, 0x80), (0x44, 0, 0), send))


def rest():
    for t in ("1H", "100m", "99999999n", "S", "1x"):
        seed("grpc", "timeout-" + t, b"\0" + t.encode())
    seed("grpc", "message", b"\1" + "100% grün\n".encode())
    seed("grpc", "path", b"\2/grpc.Health/Check")
    seed("grpc", "path-2", b"\2/grpc.AgentService/No")
    seed("grpc", "frame", b"\3" + h2.message(b"hello"))
    seed("grpc", "frame-2", b"\3" + h2.message(b"hello") * 2)
    seed("grpc", "envelope", b"\4" + pb((1, "grpc.Health"), (2, "Check"), (3, b"\x0a\0"), (4, 10**9)))
    process = pb((1, 1), (3, pb((1, 1000), (3, b"\x01\x02"))), (4, "sh"), (4, "-c"), (5, "A=B"), (6, "/"),
                 (7, pb((1, "CAP_KILL"))), (8, pb((1, "RLIMIT_NOFILE"), (2, 10), (3, 5))))
    seccomp = pb((1, "SCMP_ACT_ERRNO"), (2, "SCMP_ARCH_X86_64"),
                 (3, pb((1, "read"), (2, "SCMP_ACT_ALLOW"), (3, pb((1, 0), (2, 1), (4, "SCMP_CMP_EQ"))))))
    linux = pb((3, pb((1, "net.x"), (2, "1"))), (4, pb((2, pb((1, 1 << 20))), (3, pb((1, 1024), (6, "0-1"))))),
               (5, "/cg"), (6, pb((1, "pid"))), (7, pb((1, "/dev/x"), (2, "c"), (3, 1), (4, 3))), (8, seccomp),
               (10, "/proc/kcore"))
    spec = pb((1, "1.0"), (2, process), (3, pb((1, "/run/r"))), (4, "h"),
              (5, pb((1, "/proc"), (2, "proc"), (3, "proc"), (4, "ro"))), (7, pb((1, "k"), (2, "v"))), (8, linux))
    storage = pb((1, "ephemeral"), (3, "tmpfs"), (4, "tmpfs"), (5, "size=1"), (6, "/run/x"), (7, pb((2, 5), (3, 1))))
    seed("request", "create", b"\0" + pb((1, "c"), (2, "c"), (4, pb((1, "02/03"), (2, "blk"))), (5, storage), (6, spec),
                                         (7, 1)))
    seed("request", "exec", b"\x03" + pb((1, "c"), (2, "e"), (4, process)))
    seed("request", "interface", b"\x10" + pb((1, pb((1, "eth0"), (3, pb((2, "10.0.0.1"), (3, "24"))), (4, 1500)))))
    seed("request", "routes", b"\x11" + pb((1, pb((1, pb((1, "0.0.0.0/0"), (2, "10.0.0.2"), (3, "eth0"), (6, 1)))))))
    seed("request", "sandbox", b"\x17" + pb((1, "h"), (2, "nameserver 1.1.1.1"), (3, storage), (5, "id"),
                                            (7, pb((1, "mod"), (2, "a=1")))))
    seed("request", "check", b"\xff" + pb((1, "s")))
    seed("cmdline", "all", b"console=ttyS0 agent.log=debug agent.log_vport=1025 agent.use_vsock=true agent.devmode "
         b"agent.debug_console agent.debug_console_vport=1026 agent.hotplug_timeout=1m30s agent.trace=isolated "
         b"agent.unified_cgroup_hierarchy=1 agent.container_pipe_size=65536 agent.server_addr=vsock://-1:1024")
    seed("cmdline", "bad", b"agent.log=x agent.hotplug_timeout=5 agent.=1 agent.x=y=z agent.use_vsock= \t\n agent.trace=")
    seed("uevent", "block", b"add@/devices/pci0000:00/0000:00:02.0/virtio0/block/vda\0ACTION=add\0DEVPATH=/devices/pci0000:"
         b"00/0000:00:02.0/virtio0/block/vda\0SUBSYSTEM=block\0MAJOR=254\0DEVNAME=vda\0DEVTYPE=disk\0SEQNUM=1\0")
    seed("uevent", "net", b"add@/devices/virtual/net/eth0\0ACTION=add\0SUBSYSTEM=net\0INTERFACE=eth0\0")
    seed("uevent", "libudev", b"libudev\0\xfe\xed\xca\xfe\0\0\0\x28")
    seed("uevent", "pci", b"02.1/00.0/1f")
    seed("uevent", "path", b"/run/kata-containers/../x//./y")


http2()
ttrpc()
yamux()
session()
rest()
