#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Some of the lives of sweep.py, the same ones each time, of which make faults has all. TAP.

Each has one fault. After it the answers were errors or the life was whole, Check was answered at each step, nothing is
left (descriptors, children, mounts, cgroups, files, processes), a second life in the same agent is whole and leaves
nothing either.
"""
import os
import random
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import sweep  # noqa: E402
from faultlib import SHARED, Image, Life  # noqa: E402
from tap import Skip, Tap, expect, need_root  # noqa: E402

# Of each kind, how many.
SAMPLE = (('error', 80), ('kill', 50), ('short', 300), ('client', 12), ('init', 12), ('memory', 60))
NAMES = dict(error='a system call fails', kill='a child dies', short='reads and writes are short', client='the client dies',
             init='the init dies', memory='an allocation fails')


# What has been wrong once, by name: process, system call, how often at most.
KNOWN = ((0, 'setns', 8), (0, 'sendto', 6), (4, 'sendto', 4), (0, 'epoll_ctl', 30), (1, 'mkdirat', 3), (3, 'move_mount', 3), (16, 'unlinkat', 4),
         (17, 'umount2', 3), (18, 'newfstatat', 2), (18, 'umount2', 2), (0, 'unlinkat', 12))


def known():
    wrong = []
    with Image() as image, sweep.Place(image) as place:
        todo = [('error', p, n, 0, name) for p, name, times in KNOWN for n in range(1, times + 1)]
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


def main():
    need_root()
    tap = Tap()
    only = sys.argv[1:]
    for kind, count in SAMPLE:
        if not only or kind in only:
            tap.run('%s: %s' % (kind, NAMES[kind]), lives, kind, count)
    if not only or 'known' in only:
        tap.run('known: what has been wrong once', known)
    Life.shared_pid = True
    if not only:
        tap.run('error: a system call fails where containers share a pid namespace', lives, 'error', 40)
    return tap.done()


if __name__ == '__main__':
    sys.exit(main())
