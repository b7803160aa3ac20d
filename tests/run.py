#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs test programs, gathers their TAP, and ends with "N passed, N failed[, N skipped]".

    tests/run.py [--jobs N] PROGRAM...

A program below build/unit/ is Criterion's and is asked for TAP; any other prints TAP itself, or just
exits: 0 passed, 77 skipped, anything else failed. In CI (CI=true) a skip that tests/expected-skips
does not list is a failure, and so is a program whose plan and results disagree. Output of programs
that failed is shown; all of it is kept in build/test-logs/.
"""
import argparse
import concurrent.futures
import fnmatch
import glob
import os
import re
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get('BUILD', os.path.join(TOP, 'build'))
LOGS = os.path.join(BUILD, 'test-logs')
# Debian's own: that is the one with Debian's python3-grpcio.
PYTHON = '/usr/bin/python3' if os.path.exists('/usr/bin/python3') else 'python3'
LINE = re.compile(r'^(ok|not ok)\b\s*(\d+)?\s*-?\s*(.*?)\s*(?:#\s*(SKIP|TODO)\b\s*(.*))?$', re.I)
PLAN = re.compile(r'^1\.\.(\d+)(?:\s*#\s*SKIP\s*(.*))?', re.I)


class Result:
    def __init__(self, name):
        self.name, self.passed, self.failed, self.skipped = name, 0, [], []
        self.seconds, self.log = 0.0, ''


def expected_skips():
    try:
        with open(os.path.join(TOP, 'tests', 'expected-skips')) as f:
            return [l.split('#')[0].strip() for l in f if l.split('#')[0].strip()]
    except FileNotFoundError:
        return []


def read_tap(result, text):
    """True if there was any TAP."""
    plan, seen = None, 0
    for line in text.splitlines():
        m = PLAN.match(line)
        if m:
            plan = int(m.group(1))
            if plan == 0:
                result.skipped.append(('(all)', m.group(2) or 'no reason given'))
            continue
        m = LINE.match(line)
        if not m:
            continue
        seen += 1
        ok, what, directive, why = m.group(1).lower() == 'ok', m.group(3), m.group(4), m.group(5)
        if directive and directive.upper() == 'SKIP':
            result.skipped.append((what, why))
        elif ok:
            result.passed += 1
        else:
            result.failed.append(what or 'test %s' % m.group(2))
    if plan is not None and plan != seen:
        result.failed.append('planned %d tests, %d reported' % (plan, seen))
    return plan is not None or seen > 0


def command(program, env):
    if '/unit/' in program:
        san = os.path.join(LOGS, os.path.basename(program) + '.san')
        for old in glob.glob(san + '.*'):
            os.unlink(old)
        env['ASAN_OPTIONS'] = 'log_path=%s:detect_leaks=1:abort_on_error=0' % san
        env['UBSAN_OPTIONS'] = 'log_path=%s:print_stacktrace=1' % san
        return [program, '--tap', '-j2'], san
    if program.endswith('.py'):
        return [PYTHON, program], None
    if program.endswith('.sh'):
        return ['bash', program], None
    return [program], None


def run(program, limit):
    result = Result(os.path.relpath(program, TOP))
    env = dict(os.environ, PYTHONDONTWRITEBYTECODE='1')
    argv, san = command(program, env)
    start = time.monotonic()
    log = os.path.join(LOGS, result.name.replace('/', '_') + '.log')
    with open(log, 'wb') as out:
        try:
            status = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                    env=env, timeout=limit, cwd=TOP).returncode
        except subprocess.TimeoutExpired:
            status = 'no end after %d s' % limit
    result.seconds = time.monotonic() - start
    with open(log, errors='replace') as f:
        result.log = f.read()
    tap = read_tap(result, result.log)
    if status == 77 and not result.failed:
        if not result.skipped:
            result.skipped.append(('(all)', result.log.strip().splitlines()[-1] if result.log.strip() else ''))
    elif status != 0 and not result.failed:
        result.failed.append('exit status %s' % status)
    elif not tap and status == 0:
        result.passed += 1
    for report in glob.glob(san + '.*') if san else []:
        with open(report, errors='replace') as f:
            text = f.read()
        if text.strip():
            result.failed.append('sanitizer report')
            result.log += text
    return result


def show(result, skips_allowed):
    unexpected = []
    if os.environ.get('CI') and skips_allowed is not None:
        unexpected = [s for s in result.skipped
                      if not any(fnmatch.fnmatch('%s: %s' % (result.name, s[0]), p) for p in skips_allowed)]
        for what, why in unexpected:
            result.failed.append('skipped in CI: %s (%s)' % (what, why))
    print('%-44s %4d passed %s%s %7.1f s' % (
        result.name, result.passed,
        '%3d FAILED' % len(result.failed) if result.failed else '          ',
        ' %2d skipped' % len(result.skipped) if result.skipped else '           ', result.seconds), flush=True)
    for what, why in result.skipped:
        print('    skipped: %s: %s' % (what, why))
    if result.failed:
        for what in result.failed:
            print('    FAILED: %s' % what)
        for line in result.log.splitlines()[-60:]:
            print('    | ' + line)
    sys.stdout.flush()


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('--jobs', type=int, default=1)
    ap.add_argument('--limit', type=int, default=900, help='seconds for one program')
    ap.add_argument('programs', nargs='*')
    args = ap.parse_args()
    os.makedirs(LOGS, exist_ok=True)
    skips = expected_skips()
    results = []
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for result in pool.map(lambda p: run(os.path.abspath(p), args.limit), args.programs):
            show(result, skips)
            results.append(result)
    passed = sum(r.passed for r in results)
    failed = sum(len(r.failed) for r in results)
    skipped = sum(len(r.skipped) for r in results)
    summary = os.environ.get('TEST_SUMMARY')
    if summary:
        with open(summary, 'a') as f:
            f.write('%d %d %d\n' % (passed, failed, skipped))
    else:
        print('%d passed, %d failed' % (passed, failed) + (', %d skipped' % skipped if skipped else ''))
    return 1 if failed or not results else 0


if __name__ == '__main__':
    sys.exit(main())
