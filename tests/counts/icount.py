#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Instructions of PID 1, its kernel part included, in a guest whose clock counts them; held against tests/counts/table.

    tests/counts/icount.py [--write]

One instruction is one nanosecond there, however busy the host is, and a container that has the agent's /proc reads the
time that PID 1 has run. What reading costs (an exec) is a row itself, and is taken off the others. Rows are in
thousands. The client is plain.py's: headers are spelled out in each request, DATA frames have 16 KiB. make counts runs
it; CI does not.
"""
import argparse
import os
import re
import shutil
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, '..', d) for d in ('lib', 'vm', 'ns')] + [HERE]
import table  # noqa: E402
from plain import Plain  # noqa: E402
from rpc import grpc  # noqa: E402
from roads import Road  # noqa: E402
from tap import Tap  # noqa: E402
from test_rpc import make_process  # noqa: E402
from vmlib import Guest  # noqa: E402

KIND = 'thousands of instructions'
MIB = 8             # through each stream; rows are for 32 MiB


class Clock:
    """PID 1's, by an exec in a container."""

    def __init__(self, client, cid):
        self.c, self.cid, self.n, self.cost = client, cid, 0, 0

    def exec(self, *argv):
        self.n += 1
        ids = {'container_id': self.cid, 'exec_id': 'x%d' % self.n}
        self.c.call('ExecProcess', process=make_process(argv), **ids)
        return ids

    def read(self):
        ids = self.exec('cat', '/guestproc/1/schedstat')
        data = b''
        try:
            while True:
                data += self.c.call('ReadStdout', len=4096, **ids).data
        except grpc.RpcError:
            pass
        self.c.call('WaitProcess', **ids)
        return int(data.split()[0])

    def took(self, fn):
        """Instructions of fn."""
        before = self.read()
        fn()
        return self.read() - before - self.cost


def output(clock, chunk):
    ids = clock.exec('dd', 'if=/dev/zero', 'bs=65536', 'count=%d' % (MIB * 16))
    got = 0
    try:
        while True:
            got += len(clock.c.call('ReadStdout', len=chunk, **ids).data)
    except grpc.RpcError:
        pass
    assert got == MIB << 20, got
    clock.c.call('WaitProcess', **ids)


def input_(clock, chunk):
    ids = clock.exec('dd', 'of=/dev/null', 'bs=65536')
    for _ in range((MIB << 20) // chunk):
        assert clock.c.call('WriteStdin', data=bytes(chunk), **ids).len == chunk
    clock.c.call('CloseStdin', **ids)
    clock.c.call('WaitProcess', **ids)


def see_guest_proc(config):
    config['mounts'].append({'destination': '/guestproc', 'type': 'bind', 'source': '/proc', 'options': ['rbind', 'ro']})


def measure(rows, guest, share):
    m = re.search(r'ready init_us=(\d+) boot_us=(\d+)', guest.console())
    rows['boot: kernel, until it starts PID 1'] = int(m.group(2)) - int(m.group(1))
    rows['boot: PID 1, until it is ready, waits included'] = int(m.group(1))
    road = Road(guest.address, 'grpc', share)
    with road.kept(edit=see_guest_proc) as kept:
        for name in ('grpc', 'ttrpc'):
            with Plain(name, guest.connect(timeout=120)) as client:
                clock = Clock(client, kept.id)
                clock.read()
                clock.cost = clock.took(lambda: None)
                rows['exec and its output, %s' % name] = clock.cost // 1000
                for chunk in (32, 64):
                    rows['32 MiB of output by %d KiB, %s' % (chunk, name)] = \
                        (clock.took(lambda: output(clock, chunk << 10)) - clock.cost) * 32 // MIB // 1000
                rows['32 MiB of input by 32 KiB, %s' % name] = \
                    (clock.took(lambda: input_(clock, 32 << 10)) - clock.cost) * 32 // MIB // 1000
                if name == 'grpc':
                    bundle = road.bundle('exec sleep 1000')

                    def create():
                        road.ctl('create-container', *road.where, '--id', 'more', bundle, check=0)
                        road.ctl('start', 'more', check=0)
                    rows['a container made and started'] = clock.took(create) // 1000
                    road.ctl('remove', 'more', check=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--write', action='store_true')
    options = parser.parse_args()
    rows, share = {}, tempfile.mkdtemp(prefix='share-', dir='/tmp')
    try:
        with Guest(share=share, icount=True, accel='tcg', append=['delayacct']) as guest:
            guest.wait_agent(timeout=180)
            measure(rows, guest, share)
    finally:
        shutil.rmtree(share, ignore_errors=True)
    return table.judge(Tap(), KIND, rows, options.write, lambda name: 0.03)


if __name__ == '__main__':
    sys.exit(main())
