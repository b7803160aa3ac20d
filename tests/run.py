#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs test programs, gathers their TAP, and ends with "N passed, N failed[, N skipped]".

    tests/run.py [--jobs N] PROGRAM[:WORD...]...

A program below build/unit/ is Criterion's and is asked for TAP; any other prints TAP itself. WORDs choose
cases in the programs that know how to. Each program must print a plan, first or last, that agrees with its
results: an early exit 0 is no success. It ends with 0, with 77 if it was skipped, or it has failed. In CI
(CI=true) a skip that tests/expected-skips does not name is a failure, and so is a name there that no case
has. Output of programs that failed is shown; all of it is kept in build/test-logs/.
"""
import argparse
import concurrent.futures
import glob
import os
import re
import signal
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get('BUILD', os.path.join(TOP, 'build'))
LOGS = os.path.join(BUILD, 'test-logs')
# Debian's own: that is the one with Debian's python3-grpcio.
PYTHON = '/usr/bin/python3' if os.path.exists('/usr/bin/python3') else 'python3'
LINE = re.compile(r'^(ok|not ok)\b\s*(\d+)?\s*-?\s*(.*?)\s*(?:#\s*(SKIP|TODO|time=)\s*(.*))?$', re.I)
PLAN = re.compile(r'^1\.\.(\d+)(?:\s*#\s*SKIP\s*(.*))?', re.I)
running = set()     # process groups, to be ended when we are


class Result:
    def __init__(self, name):
        self.name, self.passed, self.failed, self.skipped = name, 0, [], []
        self.names, self.seconds, self.log = set(), 0.0, ''


def expected_skips():
    """Pairs of program and case."""
    with open(os.environ.get('EXPECTED_SKIPS', os.path.join(TOP, 'tests', 'expected-skips'))) as f:
        lines = [line.strip() for line in f]
    return [tuple(line.split(': ', 1)) for line in lines if line and not line.startswith('#')]


def read_tap(result, text):
    """How many cases the program planned, and what became of them. None: it printed no plan."""
    plan, seen = None, 0
    for line in text.splitlines():
        m = PLAN.match(line)
        if m:
            if plan is not None:
                result.failed.append('a second plan')
            plan = int(m.group(1))
            if plan == 0:
                result.skipped.append(('(all)', m.group(2) or 'no reason given'))
            continue
        if line.startswith('Bail out!'):
            result.failed.append(line)
        m = LINE.match(line)
        if not m:
            continue
        seen += 1
        ok, what, directive, why = m.group(1).lower() == 'ok', m.group(3), m.group(4), m.group(5)
        result.names.add(what)
        if m.group(2) and int(m.group(2)) != seen:
            result.failed.append('test %s comes as number %d' % (m.group(2), seen))
        if not ok:
            result.failed.append(what or 'test %s' % m.group(2))
        elif directive and directive.upper() == 'SKIP':
            result.skipped.append((what, why))
        else:
            result.passed += 1
    if plan is not None and plan != seen:
        result.failed.append('planned %d tests, %d reported' % (plan, seen))
    return plan


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


def execute(argv, env, out, limit):
    """The program's exit status, or words for what became of it; out of time its process group goes, too."""
    try:
        p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=env, cwd=TOP,
                             start_new_session=True)
    except OSError as e:
        return 'cannot be started: %s' % e.strerror
    running.add(p.pid)
    try:
        return p.wait(limit)
    except subprocess.TimeoutExpired:
        end_group(p.pid, signal.SIGTERM)
        try:
            p.wait(10)
        except subprocess.TimeoutExpired:
            pass
        end_group(p.pid, signal.SIGKILL)
        p.wait()
        return 'no end after %d s' % limit
    finally:
        running.discard(p.pid)


def end_group(pid, sig):
    try:
        os.killpg(pid, sig)
    except ProcessLookupError:
        pass


def run(program, limit):
    program, *words = program.split(':')
    program = os.path.abspath(program)
    result = Result(os.path.relpath(program, TOP))
    env = dict(os.environ, PYTHONDONTWRITEBYTECODE='1')
    argv, san = command(program, env)
    start = time.monotonic()
    log = os.path.join(LOGS, result.name.replace('/', '_') + '.log')
    with open(log, 'wb') as out:
        status = execute(argv + words, env, out, limit)
    result.seconds = time.monotonic() - start
    with open(log, errors='replace') as f:
        result.log = f.read()
    plan = read_tap(result, result.log)
    if status == 77 and not result.failed and not result.names:
        if not result.skipped:
            result.skipped.append(('(all)', result.log.strip().splitlines()[-1] if result.log.strip() else ''))
    elif isinstance(status, str):
        result.failed.append(status)
    elif status not in (0, 77) and not result.failed:
        result.failed.append('exit status %s' % status)
    elif plan is None:
        result.failed.append('no plan')
    for report in glob.glob(san + '.*') if san else []:
        with open(report, errors='replace') as f:
            text = f.read()
        if text.strip():
            result.failed.append('sanitizer report')
            result.log += text
    return result


def judge_skips(result, expected):
    """In CI what is skipped, and what may be, agree by name."""
    names = {case for program, case in expected if program == result.name}
    for what, why in result.skipped:
        if what not in names:
            result.failed.append('skipped in CI: %s (%s)' % (what, why))
    for name in names - result.names - {'(all)'} if result.names else ():
        result.failed.append('tests/expected-skips names a case that is not there: %s' % name)


def show(result):
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


def look_at_root():
    """In a plain chroot, whose / is no mount point, mount namespaces can't be had, and many programs will fail."""
    with open('/proc/self/mountinfo') as f:
        if not any(line.split()[4] == '/' for line in f):
            print('NOTE: / is no mount point here, so this is a plain chroot, and what needs mount namespaces will '
                  'fail or be skipped.\nNOTE: Enter by tests/own-root.sh instead, or use a container.', flush=True)


def main():
    look_at_root()
    ap = argparse.ArgumentParser()
    ap.add_argument('--jobs', type=int, default=1)
    ap.add_argument('--limit', type=int, default=int(os.environ.get('RUN_LIMIT', 900)), help='seconds for one program')
    ap.add_argument('programs', nargs='*')
    args = ap.parse_args()
    os.makedirs(LOGS, exist_ok=True)
    expected = expected_skips()
    results = []
    try:
        with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
            for result in pool.map(lambda p: run(p, args.limit), args.programs):
                if os.environ.get('CI'):
                    judge_skips(result, expected)
                show(result)
                results.append(result)
    except KeyboardInterrupt:
        for pid in list(running):
            end_group(pid, signal.SIGKILL)
        raise
    passed = sum(r.passed for r in results)
    failed = sum(len(r.failed) for r in results)
    skipped = sum(len(r.skipped) for r in results)
    summary = os.environ.get('TEST_SUMMARY')
    if summary:
        with open(summary, 'a') as f:
            f.write('%d %d %d\n' % (passed, failed, skipped))
    else:
        print('%d passed, %d failed' % (passed, failed) + (', %d skipped' % skipped if skipped else ''))
    return 1 if failed or not passed + skipped else 0


if __name__ == '__main__':
    sys.exit(main())
