#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Go's own gRPC, yamux and ttrpc against the test service (under ASan) and against the agent. TAP.

The agent is build/kata-agent, or what KATA_AGENT says; it runs as an ordinary process without sandbox, and as
root another one in namespaces of its own, whose containers' output is copied as Kata's Go shims do it.
"""
import os
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from roads import make_rootfs  # noqa: E402
from server import Agent, Service  # noqa: E402
from tap import TOP, Tap, expect, skip_all  # noqa: E402
from wire import ttrpc_answer, ttrpc_request  # noqa: E402


def run(tap, client, road, path, *more):
    r = subprocess.run([client, road, path] + list(more), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                       timeout=180)
    lines = 0
    for line in r.stdout.splitlines():
        m = re.match(r"(ok|not ok) \d+ - (.*)", line)
        if m:
            tap.ok(m.group(1) == "ok", " ".join((*more[:1], m.group(2))))
            lines += 1
        elif not line.startswith("1.."):
            tap.note(line)
    if lines == 0:
        tap.ok(False, f"{road}: the client ended with {r.returncode}")


def main():
    build = subprocess.run([os.path.join(TOP, "tests/interop/build.sh")], stdout=subprocess.PIPE, text=True)
    if build.returncode == 77:
        skip_all("Go packages are missing, see above")
    if build.returncode != 0:
        print("Bail out! the Go client does not build")
        return 1
    client = os.path.join(TOP, build.stdout.strip())

    tap = Tap()
    srv = Service("unix://", "yamux+unix://")
    run(tap, client, "grpc", srv.paths[0])
    run(tap, client, "yamux", srv.paths[1])
    run(tap, client, "ttrpc", srv.paths[0])
    with tap.case("the server ends without leaks"):
        s = srv.connect(0)
        s.sendall(ttrpc_request(1, "DestroySandbox"))
        expect(ttrpc_answer(s)[:2], (1, 0))
        s.close()
        srv.end()
    srv.stop()
    for road, scheme in (("grpc", "unix://"), ("yamux", "yamux+unix://"), ("ttrpc", "unix://")):
        with Agent(os.environ.get("KATA_AGENT"), isolated=False, schemes=(scheme,)) as agent:
            run(tap, client, road, agent.sock, "agent")
            tap.ok(agent.alive(), f"agent {road}: it still runs")
    if os.geteuid() == 0 and os.path.exists("/bin/busybox"):
        with tempfile.TemporaryDirectory(prefix="streams-", dir="/tmp") as rootfs, \
                Agent(os.environ.get("KATA_AGENT")) as agent:
            make_rootfs(rootfs)
            run(tap, client, "ttrpc", agent.sock, "streams", rootfs)
            tap.ok(agent.alive(), "streams: it still runs")
    else:
        tap.skip("streams of containers", "needs root and busybox")
    return tap.done()


sys.exit(main())
