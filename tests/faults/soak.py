#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Lives of containers in one agent on this host, many: create, start, exec, remove. make soak.

    tests/faults/soak.py [LIVES]

At the end what there is of the agent is as before: descriptors, children, mounts, cgroups, files, processes, and its
memory. Each thousand lives the sandbox is destroyed and made again, and a line says how things stand.
"""
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from faultlib import Client, Image, Snapshot, process, server, spec  # noqa: E402
from tap import expect, need_root  # noqa: E402

LIVES = int(sys.argv[1]) if len(sys.argv) > 1 else 100000
EACH = 1000         # lives of a sandbox
WARM_UP = 200       # the allocator's pools fill
SLACK_KB = 100      # of anonymous memory: fragments


def anon_kb(agent):
    with open('/proc/%d/status' % agent.pid) as f:
        return next(int(line.split()[1]) for line in f if line.startswith('RssAnon'))


def life(c, n, made, execed):
    cid = 'soak%d' % n
    c.call('CreateContainer', container_id=cid, exec_id=cid, OCI=made)
    c.call('StartContainer', container_id=cid)
    c.call('ExecProcess', container_id=cid, exec_id='e', process=execed)
    expect(c.call('WaitProcess', container_id=cid, exec_id='e').status, 0, 'status')
    c.call('RemoveContainer', container_id=cid)


def sandbox(c, first, count, made, execed):
    c.call('CreateSandbox', sandbox_id='sb')
    for n in range(first, first + count):
        life(c, n, made, execed)
    c.call('DestroySandbox')


def figures(agent, snapshot):
    now = snapshot.look()
    return 'RSS %d kB, anonymous %d kB, %s' % (agent.rss_kb(), anon_kb(agent), ', '.join(
        '%d %s' % (len(now[k]), k) for k in ('descriptors', 'children', 'mounts', 'cgroups', 'files', 'processes')))


def main():
    need_root()
    with Image() as image, server.Agent() as agent:
        c = Client(agent.sock)
        made = spec(image, 'sleep', '1000', hooks=False)
        del made.Mounts[5:]         # those of storages
        execed = process('true')
        sandbox(c, 0, WARM_UP, made, execed)
        before, began, anon = Snapshot(agent), time.monotonic(), anon_kb(agent)
        print('before: ' + figures(agent, before), flush=True)
        for done in range(0, LIVES, EACH):
            count = min(EACH, LIVES - done)
            sandbox(c, done, count, made, execed)
            print('%d lives in %.0f s: %s' % (done + count, time.monotonic() - began, figures(agent, before)), flush=True)
        before.same()
        print('after:  ' + figures(agent, before))
        expect(anon_kb(agent) <= anon + SLACK_KB, True, 'memory: %d kB before, %d after' % (anon, anon_kb(agent)))
        c.close()
    return 0


if __name__ == '__main__':
    sys.exit(main())
