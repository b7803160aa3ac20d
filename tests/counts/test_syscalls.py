#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""System calls that an operation takes, counted by strace and held against tests/counts/table. TAP.

    tests/counts/test_syscalls.py [--write] [--show] [WORD...]

A count above the table's is a failure that says by how much; one below it is told of, and --write puts what was
counted into the table. --show prints the calls themselves. WORDs choose operations by their names. Each operation
is done some times and the least counts: a timer may fire in between, an event come apart from another. What the
agent itself does is one row, what its children do up to their execve another. How many cgroup hierarchies there are
decides some of them: such rows name the layout, and other layouts than those in the table are not judged. In these
rows processes race one another: they may be a tenth above.
"""
import argparse
import collections
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, '..', 'lib'), os.path.join(HERE, '..', 'ns'), HERE]
import nsagent  # noqa: E402
import table  # noqa: E402
from plain import Plain  # noqa: E402
from tap import Tap, need_root, retry, skip_all  # noqa: E402
from test_rpc import make_process, make_spec  # noqa: E402

ROUNDS = 3
ROUNDS_MAX = 12     # of what is above the table
KIND = 'system calls'
STARTED = re.compile(r'^(\d+) +(\w+)\(')
EXECVE = re.compile(r'^(\d+) +(execve\(.* = 0$|<\.\.\. execve resumed>.* = 0$)')


class Strace:
    """The calls of a process and of all that it forks."""

    def __init__(self, pid, path):
        self.pid, self.path, self.at = pid, path, 0
        self.executed = set()   # children that are programs of their own by now
        self.p = subprocess.Popen(['strace', '-f', '-qq', '-e', 'signal=none', '-o', path, '-p', str(pid)],
                                  stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        retry(self._attached)

    def _attached(self):
        with open('/proc/%d/status' % self.pid) as f:
            if 'TracerPid:\t0\n' in f.read():
                raise OSError('strace has not attached')
        if self.p.poll() is not None:
            skip_all('strace cannot trace here: ' + self.p.stderr.read())

    def stop(self):
        self.p.terminate()
        self.p.wait()
        self.p.stderr.close()

    def take(self):
        """(names of the agent's calls, of its children's until their execve) since the last time."""
        size = -1
        while size != os.path.getsize(self.path):       # until nothing more comes
            size = os.path.getsize(self.path)
            time.sleep(0.05)
        with open(self.path, errors='replace') as f:
            f.seek(self.at)
            text = f.read()
            self.at += len(text.encode(errors='replace'))
        agent, child = [], []
        for line in text.splitlines():
            m = STARTED.match(line)
            pid = int((m or re.match(r'(\d*)', line)).group(1) or 0)
            if m and pid == self.pid:
                agent.append(m.group(2))
            elif m and pid not in self.executed:
                child.append(m.group(2))
            if EXECVE.match(line):
                self.executed.add(pid)
        return agent, child, text


def layout():
    """Of cgroups, as the agent will find it: how many hierarchies of v1, and whether one of v2."""
    kinds = [m[1] for m in nsagent.server.Cgroups().mounts]
    return 'v1x%d%s' % (kinds.count('cgroup'), '+v2' if 'cgroup2' in kinds else '')


class Counts:
    def __init__(self, road, containers, client, options):
        self.road, self.containers, self.c, self.options, self.rows = road, containers, client, options, {}
        self.known = {} if options.write else table.read()[0].get(KIND, {})

    def measure(self, trace, name, fn):
        """fn's calls, and in the row ", children" those of what was forked, if there is such a row."""
        if self.options.words and not any(w in name for w in self.options.words):
            return
        best, done = None, 0
        while done < ROUNDS or (done < ROUNDS_MAX and len(best[0]) > self.known.get(name, 0)):
            done += 1
            trace.take()
            fn()
            got = trace.take()
            if not best or len(got[0]) + len(got[1]) < len(best[0]) + len(best[1]):
                best = got
        self.rows[name] = len(best[0])
        if best[1]:
            self.rows[name + ', children'] = len(best[1])
        if self.options.show:
            print('# %s: %s' % (name, best[2].replace('\n', '\n# ')))
            for calls in best[:2]:
                print('# ' + ', '.join('%s %d' % i for i in collections.Counter(calls).most_common()))


def stream_counts(counts, trace):
    """One chunk of 64 KiB in each direction, and what carries nothing."""
    c, road = counts.c, counts.road
    c.call('CreateContainer', container_id='s', exec_id='s', OCI=make_spec(counts.containers, 'exec sleep 1000'))
    c.call('StartContainer', container_id='s')
    c.call('ExecProcess', container_id='s', exec_id='out',
           process=make_process(['dd', 'if=/dev/zero', 'bs=65536']))
    c.call('ExecProcess', container_id='s', exec_id='in', process=make_process(['dd', 'of=/dev/null', 'bs=65536']))

    def read():
        assert c.call('ReadStdout', container_id='s', exec_id='out', len=65536).data    # less, where dd was held up

    def write():
        assert c.call('WriteStdin', container_id='s', exec_id='in', data=bytes(65536)).len == 65536
    counts.measure(trace, 'Check, %s' % road, lambda: c.call('Check'))
    counts.measure(trace, 'ReadStdout of 64 KiB, %s' % road, read)
    counts.measure(trace, 'WriteStdin of 64 KiB, %s' % road, write)
    for eid in ('out', 'in'):
        c.call('SignalProcess', container_id='s', exec_id=eid, signal=9)
        c.call('WaitProcess', container_id='s', exec_id=eid)
    c.call('RemoveContainer', container_id='s')


def exec_counts(counts, trace, where):
    c = counts.c
    c.call('CreateContainer', container_id='e', exec_id='e', OCI=make_spec(counts.containers, 'exec sleep 1000'))
    c.call('StartContainer', container_id='e')
    numbers = iter(range(1000))

    def execute():
        """All that a 1.x host calls for one, whose standard input ends at once."""
        ids = {'container_id': 'e', 'exec_id': 'x%d' % next(numbers)}
        c.call('ExecProcess', process=make_process(['cat']), **ids)
        reads = c.send(('ReadStdout', dict(ids, len=32768)), ('ReadStderr', dict(ids, len=32768)), ('WaitProcess', ids))
        c.call('CloseStdin', **ids)
        c.answers(reads)
    counts.measure(trace, 'exec, five RPCs; %s' % where, execute)
    c.call('RemoveContainer', container_id='e')


def life_counts(counts, trace, where):
    """As agent-ctl does it, with the spec of a usual container: a sandbox, its container, both removed."""
    road = counts.containers
    bundle = road.bundle('exec sleep 1000')

    def life():
        cid = road.ctl('run', *road.where, '-d', '-n', bundle, check=0).stdout.decode().strip()
        road.ctl('remove', cid, check=0)
        road.ctl('destroy-sandbox', check=0)
    counts.measure(trace, 'sandbox with a container, made and removed; %s' % where, life)


def count(counts, trace):
    where = layout()
    if counts.road == 'grpc':
        life_counts(counts, trace, where)
    counts.c.call('CreateSandbox', sandbox_id='sb')
    stream_counts(counts, trace)
    if counts.road == 'grpc':
        exec_counts(counts, trace, where)
    counts.c.call('DestroySandbox')
    return counts.rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--write', action='store_true')
    parser.add_argument('--show', action='store_true')
    parser.add_argument('words', nargs='*')
    options = parser.parse_args()
    need_root()
    try:
        subprocess.run(['strace', '--version'], stdout=subprocess.DEVNULL, check=True)
    except FileNotFoundError:
        skip_all('strace is missing: make deps')
    rows = {}
    for road, scheme in (('grpc', 'unix://'), ('ttrpc', 'unix://'), ('yamux', 'yamux+unix://')):
        # The product, not the one with sanitizers.
        with nsagent.Agent(schemes=(scheme,)) as agent, nsagent.Road(agent.address, road) as made, \
                Plain(road, agent.connect()) as c:
            trace = Strace(agent.pid, os.path.join(agent.dir, 'trace'))
            try:
                rows.update(count(Counts(road, made, c, options), trace))
            finally:
                trace.stop()
    return table.judge(Tap(), KIND, rows, options.write, lambda name: 0.1 if ';' in name else 0)


if __name__ == '__main__':
    sys.exit(main())
