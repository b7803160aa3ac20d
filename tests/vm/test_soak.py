#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A thousand lives of a container in one guest: create, start, exec, kill, remove. What the agent and the guest
hold is the same before and after. SOAK_CYCLES says how many (1000 in CI, else 300: emulation is slow). TAP.
"""
import os
import re
import statistics
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from guestlib import *  # noqa: E402,F403
from tap import Tap  # noqa: E402

CYCLES = int(os.environ.get('SOAK_CYCLES') or (1000 if os.environ.get('CI') else 300))
WARM_UP = 30            # the allocator's and the kernel's caches fill
SLACK_KB = 100          # of the agent's anonymous memory: fragments
GUEST_SLACK_KB = 6000   # of the guest's free memory: slabs that are freed when needed

LOOK = r'''
cd /guest/proc
echo fds $(ls 1/fd | wc -l)
echo mounts $(wc -l <1/mountinfo)
echo processes $(ls -d [0-9]* | wc -l)
echo zombies $(grep -l '^State:.Z' [0-9]*/status 2>/dev/null | wc -l)
echo cgroups $(find /guest/sys/fs/cgroup -type d | wc -l)
echo run $(find /guest/run -xdev | wc -l)
echo tmp $(find /guest/tmp -xdev | wc -l)
echo anon $(sed -n 's/RssAnon://p' 1/status)
echo rss $(sed -n 's/VmRSS://p' 1/status)
echo 3 >/proc/sys/vm/drop_caches
echo available $(sed -n 's/MemAvailable://p' meminfo)
echo pts $(ls /guest/dev/pts | wc -l)
echo shm $(ls -A /guest/dev/shm | wc -l)
'''


def look(watch):
    """The exec that looks is among what it sees, each time."""
    text = watch.sh(LOOK)
    return {k: int(v) for k, v in re.findall(r'^(\w+) +(\d+)', text, re.M)}


def cycle(m, i, spec, process):
    """One life. Every tenth has a terminal and a limit, and dies by itself."""
    cid = 'soak%d' % i
    m.call('CreateContainer', container_id=cid, exec_id=cid, OCI=spec)
    m.call('StartContainer', container_id=cid)
    m.call('ExecProcess', container_id=cid, exec_id='e', process=process)
    if process.Terminal:
        expect(Container(m, cid).output('e'), 'hello\r\n')
    expect(m.call('WaitProcess', container_id=cid, exec_id='e').status, 7)
    if i % 2:
        m.call('SignalProcess', container_id=cid, exec_id=cid, signal=9)
        expect(m.call('WaitProcess', container_id=cid, exec_id=cid).status, 137)
    m.call('RemoveContainer', container_id=cid)


def failures(m, i, spec):
    """Lives that end early."""
    cid = 'bad%d' % i
    bad = type(spec)()
    bad.CopyFrom(spec)
    bad.Process.Args[:] = ['/no/such/program']
    m.fails('INTERNAL', 'CreateContainer', container_id=cid, exec_id=cid, OCI=bad)
    bad.CopyFrom(spec)
    bad.Mounts.add(destination='/x', type='bind', source='/no/such', options=['bind'])
    m.fails('INTERNAL', 'CreateContainer', container_id=cid, exec_id=cid, OCI=bad)


def main():
    tap = Tap()

    def free_caches(config):
        config['linux']['readonlyPaths'] = []

    with Machine() as m:
        plain = m.spec('exec sleep 1000', resources(memory={'limit': 64 << 20}, pids={'limit': 20}))
        shell = m.spec('exit 7').Process
        terminal = m.spec('echo hello; exit 7', lambda c: c['process'].update(terminal=True)).Process
        with m.pod() as pod:
            watch = pod.run('watch', edit=edits(see_guest, mount('/guest/tmp', 'bind', '/tmp', 'rbind', 'ro'),
                                                free_caches))

            def rounds(first, count):
                times = []
                for i in range(first, first + count):
                    began = time.monotonic()
                    cycle(m, i, plain, terminal if i % 10 == 0 else shell)
                    times.append((time.monotonic() - began) * 1000)
                    if i % 50 == 0:
                        failures(m, i, plain)
                return statistics.median(times)
            with tap.case('%d lives' % WARM_UP):
                rounds(0, WARM_UP)
            before = look(watch)
            with tap.case('%d lives more' % CYCLES):
                median = rounds(WARM_UP, CYCLES)
                tap.note('median of one life: %.1f ms' % median)
            after = retry(lambda: settled(watch, before), 5)
            for name in sorted(before):
                tap.note('%-10s %8d %8d' % (name, before[name], after[name]))
            for name in ('fds', 'mounts', 'processes', 'zombies', 'cgroups', 'run', 'tmp', 'pts', 'shm'):
                tap.ok(after[name] == before[name], '%s: %d before, %d after' % (name, before[name], after[name]))
            for name in ('anon', 'rss'):
                tap.ok(after[name] <= before[name] + SLACK_KB, 'memory of the agent, %s: %d kB before, %d after' %
                       (name, before[name], after[name]))
            tap.ok(after['available'] >= before['available'] - GUEST_SLACK_KB,
                   'memory of the guest: %d kB available before, %d after' % (before['available'], after['available']))
        tap.ok(m.guest.is_running(), 'the guest lives')
    return tap.done()


def settled(watch, before):
    """Another look, when what the kernel does behind our back is done."""
    after = look(watch)
    expect(after['processes'], before['processes'])
    return after


if __name__ == '__main__':
    sys.exit(main())
