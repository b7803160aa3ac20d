#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Lives with a fault each, as many as there are places for one. make faults runs all of them.

    tests/faults/sweep.py [--sample N] [--seed S] [KIND[:PROCESS[:NUMBER[:ERROR]]]...]

KIND: error (a system call fails), short (a read or write is short), kill (a child dies at it), memory (an
allocation fails, in the shared agent), client (it dies behind a request), init (it dies before a step).
"""
import argparse
import os
import random
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from faultlib import Allocations, Faults, Image, Life, PoorAgent, Snapshot, Wrong, server  # noqa: E402
from tap import need_root  # noqa: E402

STEPS = 50       # more than a life has
DEATHS = ('client', 'init')
KINDS = dict(error=Faults.ERROR, short=Faults.SHORT, kill=Faults.KILL, memory=Allocations.NONE)


class Place:
    """An agent that has lived well twice. It is made anew after a wrong life."""

    def __init__(self, image, memory=False):
        self.image, self.memory, self.agent = image, memory, None

    def start(self):
        self.agent = PoorAgent() if self.memory else server.Agent()
        self.agent.start()
        self.faults = Allocations(self.agent) if self.memory else Faults(self.agent)
        self.life = Life(self.agent, self.image)
        for _ in range(2):
            self.faults.order()
            if not self.life.run():
                raise Wrong('without a fault: %s' % self.life.refused)
            self.faults.end()
            self.counts = self.faults.counts()
        self.snapshot = Snapshot(self.agent)
        self.rss = self.agent.rss_kb()

    def stop(self):
        if not self.agent:
            return
        self.life.check.close()
        self.faults.stop()
        self.agent.stop()
        self.agent = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *what):
        self.stop()

    def after(self):
        """What must be true after whatever life."""
        if not self.agent.alive():
            raise Wrong('the agent died')
        self.life.clean_up()
        self.snapshot.same(half_copied=True)
        if not self.life.run():
            raise Wrong('the second life: %s' % self.life.refused)
        self.snapshot.same()


def one(place, kind, process, number, error, only=''):
    """What was wrong; None: nothing; False: there is no such call."""
    if not place.agent:
        place.start()
    life, hit, what = place.life, True, '%s dies at %d' % (kind, number)
    life.may_die = kind in DEATHS or kind == 'kill'
    try:
        if kind in DEATHS:
            life.run(**{kind + '_dies': number})
        else:
            place.faults.order(KINDS[kind], process, number, error, only)
            try:
                life.run()
            finally:
                hit, what = place.faults.hit(), place.faults.what()
                place.faults.end()
        if hit:
            life.may_die = False
            place.after()
        return None if hit else False
    except (Wrong, OSError) as e:
        said = '%s: %s; %s:%d:%d:%d (%s)' % (what, e, kind, process, number, error, life.refused or 'whole')
        if not place.agent.alive():
            said += '\n' + '\n'.join(place.agent.log().splitlines()[-3:])
        place.stop()
        return said


def points(kind, counts):
    if kind in DEATHS:
        return [(kind, 0, n, 0) for n in range(1, STEPS)]
    errors = (0, 1, 2) if kind == 'error' else (0,)
    if kind == 'short':     # which can be, only the tracer knows
        counts = [min(count, 60) for count in counts]
    return [(kind, p, n, e) for p, count in enumerate(counts) for n in range(1, count + 6) for e in errors
            if not (kind == 'kill' and p == 0)]


def run(place, todo, say):
    """Lives and those that were wrong."""
    lives = bad = 0
    ends = {}       # of a process, the first number that it did not come to
    for point in todo:
        if point[2] >= ends.get(point[:2] + point[4:], 1 << 30):
            continue
        said = one(place, *point)
        if said is False:
            ends[point[:2] + point[4:]] = point[2] + (0 if point[0] == 'short' or point[4:] else 4)
            continue
        lives += 1
        if said:
            bad += 1
            say('WRONG ' + said)
    return lives, bad


def choose(words, counts, errors):
    todo = []
    for word in words:
        kind, *rest = word.split(':')
        rest = [int(r) for r in rest]
        todo += [p for p in points(kind, counts) if list(p[1:1 + len(rest)]) == rest and (p[3] < errors or len(rest) == 3)]
    return todo


def main():
    need_root()
    ap = argparse.ArgumentParser()
    ap.add_argument('--sample', type=int, default=0)
    ap.add_argument('--seed', type=int, default=1)
    ap.add_argument('--errors', type=int, default=3)
    ap.add_argument('--pidns', action='store_true')
    ap.add_argument('kinds', nargs='*')
    args = ap.parse_args()
    Life.shared_pid = args.pidns
    words = args.kinds or [*KINDS, *DEATHS]
    wrong = 0
    for memory in (False, True):
        mine = [w for w in words if w.startswith('memory') == memory]
        if not mine:
            continue
        with Image() as image, Place(image, memory) as place:
            began = time.monotonic()
            todo = choose(mine, place.counts, args.errors)
            if args.sample:
                todo = random.Random(args.seed).sample(todo, min(args.sample, len(todo)))
            print('%s: up to %d lives, of %s %s' % (' '.join(mine), len(todo), '+'.join(map(str, place.counts)),
                                                    'allocations' if memory else 'system calls'), flush=True)
            lives, bad = run(place, todo, lambda text: print(text, flush=True))
            if place.agent:
                print('RSS %d kB, at first %d' % (place.agent.rss_kb(), place.rss))
            print('%s: %d lives in %.0f s, %d wrong' % (' '.join(mine), lives, time.monotonic() - began, bad), flush=True)
            wrong += bad
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
