#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The end-to-end cases against the agent as an ordinary process on this host, over a Unix socket."""
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'e2e'))
import cases  # noqa: E402
from vmlib import Tap, retry  # noqa: E402

if os.geteuid() != 0:
    print('1..0 # SKIP needs root')
    sys.exit(77)

# Under the sanitizers, where that agent is built.
AGENT = os.environ.get('AGENT') or next(
    p for p in (os.path.join(cases.BUILD, n) for n in ('kata-agent-san', 'kata-agent')) if os.path.exists(p))
tap = Tap()
with tempfile.TemporaryDirectory() as d:
    sock = os.path.join(d, 'agent.sock')
    log = open(os.path.join(d, 'log'), 'wb')
    # In namespaces of its own: its mounts, links and ids are not the machine's.
    agent = subprocess.Popen(['unshare', '--mount', '--net', '--uts', '--ipc', '--propagation', 'private', AGENT,
                              '--server-addr', 'unix://' + sock], stderr=log, stdin=subprocess.DEVNULL)
    road = None
    try:
        retry(lambda: os.stat(sock))
        for protocol in ('grpc', 'ttrpc'):
            road = cases.Road('unix://' + sock, protocol)
            cases.run_all(tap, road, protocol)
            road.close()
        fds = os.listdir('/proc/%d/fd' % agent.pid)
        tap.ok(agent.poll() is None, 'the agent lives')
        tap.ok(len(fds) < 40, 'its descriptors are few: %d' % len(fds))
    finally:
        agent.terminate()
        agent.wait(10)
        log.close()
        with open(os.path.join(d, 'log'), errors='replace') as f:
            said = [l for l in f if 'Sanitizer' in l or 'runtime error' in l]
        tap.ok(not said, 'no sanitizer spoke' + ''.join('\n# ' + l.rstrip() for l in said[:5]))
        status = tap.done()
        if status != 0:
            with open(os.path.join(d, 'log'), errors='replace') as f:
                print('# the agent said:\n# ' + '# '.join(f.readlines()[-40:]))
sys.exit(status)
