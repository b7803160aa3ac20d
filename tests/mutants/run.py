#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Puts each fault of mutants.py into a copy of the tree, and looks whether a test of those named fails. make mutants.

    tests/mutants/run.py [WORD...]      only those with a word in the file's name, or in what they say

Prints which survive: those want a test. A fault whose place is not found, or that does not compile, is an error, too.
"""
import os
import shutil
import subprocess
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)
from mutants import MUTANTS  # noqa: E402

LIMIT = 120         # seconds for one program
TREE = os.path.join(TOP, 'build', 'mutants')
# Of what is built, what a change of one file does not touch is taken along.
BUILT = ('gen', 'obj', 'obj-san', 'obj-host', 'san', 'unit', 'version', 'agent-ctl', 'kata-agent', 'kata-agent.debug', 'kata-agent-san',
         'kata-agent-shared', 'kata-agent-shared.debug', 'tests', 'fault-tracer', 'nomem.so')


def copy_tree():
    shutil.rmtree(TREE, ignore_errors=True)
    os.makedirs(os.path.join(TREE, 'build'))
    files = subprocess.check_output(['git', 'ls-files'], cwd=TOP, text=True).splitlines()
    subprocess.run(['cp', '-a', '--parents', *files, TREE], cwd=TOP, check=True)
    for name in BUILT:
        path = os.path.join(TOP, 'build', name)
        if os.path.exists(path):
            subprocess.run(['cp', '-a', path, os.path.join(TREE, 'build')], check=True)


def make(*args):
    # A program that a fault has spinning ends with its group, as run.py ends it.
    env = dict(os.environ, CI='', RUN_LIMIT=str(LIMIT))
    return subprocess.run(['make', '-j2', 'COMMIT=' + commit(), *args], cwd=TREE, env=env, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors='replace')


def commit():
    return subprocess.check_output(['git', 'rev-parse', '--short=12', 'HEAD'], cwd=TOP, text=True).strip()


def programs(tests):
    return ['build/unit/%s' % os.path.basename(t)[:-2] if t.endswith('.c') else None for t in tests]


def one(file, old, new, tests):
    """'' if a test fails; else what is wrong."""
    path = os.path.join(TREE, file)
    with open(path) as f:
        text = f.read()
    if text.count(old) != 1:
        return 'NOT FOUND (%d times)' % text.count(old)
    stat = os.stat(path)
    try:
        with open(path, 'w') as f:
            f.write(text.replace(old, new))
        needs = [p for p in programs(tests) if p] or ['all', 'build/kata-agent-san']
        built = make(*needs)
        if built.returncode:
            return 'DOES NOT COMPILE\n' + built.stdout[-1500:]
        ran = make('check', 'T=' + ' '.join(tests))
        if ' 0 passed' in ran.stdout.splitlines()[-1] + ran.stdout:
            return 'NO TEST RAN' if ran.returncode == 0 else ''
        return 'SURVIVES' if ran.returncode == 0 else ''
    finally:
        with open(path, 'w') as f:
            f.write(text)
        os.utime(path, (stat.st_atime, time.time()))


def main():
    words = sys.argv[1:]
    chosen = [m for m in MUTANTS if not words or any(w in m[0] or w in m[1] for w in words)]
    copy_tree()
    bad = 0
    for m in chosen:
        began = time.monotonic()
        said = one(*m)
        bad += bool(said)
        print('%-9s %5.0f s  %s: %s -> %s%s' % ('WRONG' if said else 'killed', time.monotonic() - began, m[0], m[1].strip()[:60], m[2].strip()[:40],
                                             ': ' + said if said else ''), flush=True)
    print('%d mutants, %d survive or do not fit' % (len(chosen), bad))
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
