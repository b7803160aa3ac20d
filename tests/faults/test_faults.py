#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Some of the lives of sweep.py, the same ones each time, of which make faults has all. TAP.

Each has one fault. After it the answers were errors or the life was whole, Check was answered at each step, nothing is
left (descriptors, children, mounts, cgroups, files, processes), a second life in the same agent is whole and leaves
nothing either.
"""
import os
import random
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import sweep  # noqa: E402
from faultlib import SHARED, Image, Life  # noqa: E402
from tap import Skip, Tap, expect, need_root  # noqa: E402

# Of each kind, how many.
SAMPLE = (('error', 80), ('kill', 50), ('short', 300), ('client', 12), ('init', 12), ('memory', 60))
LIMIT_LIVES = int(os.environ.get('LIMIT_LIVES', 2))     # with each limit; 63 are a thousand
NAMES = dict(error='a system call fails', kill='a child dies', short='reads and writes are short', client='the client dies',
             init='the init dies', memory='an allocation fails')


# What has been wrong once, by name: process, system call, how often at most.
KNOWN = ((0, 'setns', 8), (0, 'sendto', 24), (4, 'sendto', 4), (0, 'epoll_ctl', 30), (1, 'mkdirat', 3), (3, 'move_mount', 3), (16, 'unlinkat', 4),
         (17, 'umount2', 3), (18, 'newfstatat', 2), (18, 'umount2', 2), (0, 'unlinkat', 12))


def known():
    wrong = []
    with Image() as image, sweep.Place(image) as place:
        todo = [('error', p, n, 0, name) for p, name, times in KNOWN for n in range(1, times + 1)]
        # Workers that mount, before they have told what they made; one that unmounts; the one that syncs.
        todo += [('kill', p, n, 0, name) for p, name in ((1, 'statx'), (1, 'write'), (3, 'statx'), (17, 'umount2'), (18, 'umount2')) for n in (1, 2)]
        done, _ = sweep.run(place, todo, wrong.append)
    expect(wrong, [], 'what was wrong')
    expect(done > 40, True, '%d lives were enough' % done)


def lives(kind, count):
    if kind == 'memory' and not os.access(SHARED, os.X_OK):
        raise Skip('make LINK=shared agent')
    wrong = []
    with Image() as image, sweep.Place(image, kind == 'memory') as place:
        todo = sweep.points(kind, place.counts)
        todo = sorted(random.Random(1).sample(todo, min(count, len(todo))))
        done, _ = sweep.run(place, todo, wrong.append)
        rss = place.agent.rss_kb() - place.rss if place.agent else 0
    expect(wrong, [], 'what was wrong')
    expect(done > (count // 3 if kind != 'short' else 5), True, '%d lives were enough' % done)
    expect(rss < 600, True, 'growth of %d kB is none' % rss)


def in_guest(place, script):
    subprocess.run(['nsenter', '-t', str(place.agent.pid), '-m', 'sh', '-ec', script], check=True, stderr=subprocess.DEVNULL)


def run_is(spoil, mend):
    """A life while /run is so. It may be whole, or fail; then all is as ever."""
    with Image() as image, sweep.Place(image) as place:
        place.life.may_die = True
        for _ in range(3):
            in_guest(place, spoil)
            try:
                place.life.run()
            finally:
                in_guest(place, mend)
            place.life.may_die = False
            place.after()


def run_is_full():
    # As much as is there, in whole pages: the next one is refused.
    run_is('mount -o remount,size=1m /run; dd if=/dev/zero of=/run/fill bs=4k || true; for i in $(seq 40); do : >/run/fill$i || true; done',
           'rm -f /run/fill*; mount -o remount,size=50% /run')


def run_is_read_only():
    run_is('mount -o remount,ro /run', 'mount -o remount,rw /run')


def limits():
    """A container at its limits: what doesn't fit fails, and nothing stays."""
    def pids(n):
        return lambda s: setattr(s.Linux.Resources.Pids, 'Limit', n)

    def memory(kib):
        return lambda s: setattr(s.Linux.Resources.Memory, 'Limit', kib << 10)

    def files(n):
        def edit(s):
            s.Process.Rlimits[0].Hard = s.Process.Rlimits[0].Soft = n
        return edit
    with Image() as image, sweep.Place(image) as place:
        for edit in [pids(n) for n in (1, 2, 3, 4)] + [memory(n) for n in (64, 128, 256, 400, 512, 700, 1000)] + [files(n) for n in (1, 2, 3, 4, 6)]:
            for _ in range(LIMIT_LIVES):
                place.life.edit, place.life.may_die = edit, True
                place.life.run()
                place.life.edit, place.life.may_die = None, False
                place.life.clean_up()
                place.snapshot.same(half_copied=True)
            place.after()


def main():
    need_root()
    tap = Tap()
    only = sys.argv[1:]
    for kind, count in SAMPLE:
        if not only or kind in only:
            tap.run('%s: %s' % (kind, NAMES[kind]), lives, kind, count)
    if not only or 'known' in only:
        tap.run('known: what has been wrong once', known)
    for case in (run_is_full, run_is_read_only, limits):
        if not only or case.__name__ in only:
            tap.run(case.__name__.replace('_', ' '), case)
    Life.shared_pid = True
    if not only:
        tap.run('error: a system call fails where containers share a pid namespace', lives, 'error', 40)
    return tap.done()


if __name__ == '__main__':
    sys.exit(main())
