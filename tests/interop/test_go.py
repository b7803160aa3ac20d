#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Go's own gRPC, yamux and ttrpc against the test service (under ASan) and against the agent. TAP.

The agent is build/kata-agent, or what KATA_AGENT says; it runs as an ordinary process without sandbox.
"""
import os
import re
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "wire"))
from wirelib import ROOT, Server, eq, ttrpc_answer, ttrpc_request  # noqa: E402

number = failed = 0


def report(ok, text):
    global number, failed
    number += 1
    failed += not ok
    print(f"{'ok' if ok else 'not ok'} {number} - {text}", flush=True)


def run(client, road, path, *more):
    r = subprocess.run([client, road, path] + list(more), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                       timeout=180)
    lines = 0
    for line in r.stdout.splitlines():
        m = re.match(r"(ok|not ok) \d+ - (.*)", line)
        if m:
            report(m.group(1) == "ok", " ".join((*more, m.group(2))))
            lines += 1
        elif not line.startswith("1.."):
            print("# " + line)
    if lines == 0:
        report(False, f"{road}: the client ended with {r.returncode}")


def main():
    build = subprocess.run([os.path.join(ROOT, "tests/interop/build.sh")], stdout=subprocess.PIPE, text=True)
    if build.returncode == 77:
        print("1..0 # SKIP Go packages are missing, see above")
        return 77
    if build.returncode != 0:
        print("Bail out! the Go client does not build")
        return 1
    client = os.path.join(ROOT, build.stdout.strip())

    srv = Server("unix://", "yamux+unix://")
    try:
        run(client, "grpc", srv.paths[0])
        run(client, "yamux", srv.paths[1])
        run(client, "ttrpc", srv.paths[0])
        s = srv.connect(0)
        s.sendall(ttrpc_request(1, "DestroySandbox"))
        eq(ttrpc_answer(s)[:2], (1, 0))
        s.close()
        srv.wait()
        report(True, "the server ends without leaks")
    except Exception as e:
        report(False, f"the test service: {e}")
        srv.kill()

    agent = os.environ.get("KATA_AGENT", os.path.join(ROOT, "build/kata-agent"))
    if not os.access(agent, os.X_OK):
        print(f"# {agent} is not built: the agent's part is left out")
    else:
        for road, scheme in (("grpc", "unix://"), ("yamux", "yamux+unix://"), ("ttrpc", "unix://")):
            path = os.path.join(tempfile.mkdtemp(prefix="go-"), "sock")
            p = subprocess.Popen([agent, "--server-addr", scheme + path], stderr=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL)
            end = time.time() + 10
            while not os.path.exists(path) and time.time() < end:
                time.sleep(0.02)
            try:
                run(client, road, path, "agent")
                report(p.poll() is None, f"agent {road}: it still runs")
            finally:
                p.terminate()
                try:
                    p.wait(timeout=5)
                except subprocess.TimeoutExpired:
                    p.kill()
                    p.wait()
    print(f"1..{number}")
    return 1 if failed else 0


sys.exit(main())
