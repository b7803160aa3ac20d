#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""tests/run.py itself: programs that are no good must not pass. TAP."""
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), 'lib'))
from tap import TOP, Tap, expect, has  # noqa: E402

GOOD = 'echo 1..2; echo "ok 1 - a"; echo "ok 2 - b # time=0.01s"'
#       name, text of the program, in CI: summary and words of what run.py says
CASES = [
    ('good, plan first', GOOD, '2 passed, 0 failed', ()),
    ('good, plan last', 'echo "ok 1 - a"; echo 1..1', '1 passed, 0 failed', ()),
    ('a failure', 'echo "not ok 1 - a"; echo 1..1; exit 1', '0 passed, 1 failed', ('FAILED: a',)),
    ('a failure that exits with 0', 'echo "not ok 1 - a"; echo 1..1', '0 passed, 1 failed', ('FAILED: a',)),
    ('no plan', 'echo "ok 1 - a"', '1 passed, 1 failed', ('FAILED: no plan',)),
    ('nothing at all', 'exit 0', '0 passed, 1 failed', ('FAILED: no plan',)),
    ('an early end after a plan', 'echo 1..3; echo "ok 1 - a"', '1 passed, 1 failed', ('planned 3 tests, 1 reported',)),
    ('more than planned', 'echo 1..1; echo "ok 1 - a"; echo "ok 2 - b"', '2 passed, 1 failed', ('planned 1',)),
    ('two plans', GOOD + '; echo 1..2', '2 passed, 1 failed', ('a second plan',)),
    ('a number twice', 'echo 1..2; echo "ok 1 - a"; echo "ok 1 - b"', '2 passed, 1 failed', ('test 1 comes as number 2',)),
    ('all well but the exit status', GOOD + '; exit 3', '2 passed, 1 failed', ('exit status 3',)),
    ('killed', GOOD + '; kill -9 $$', '2 passed, 1 failed', ('exit status -9',)),
    ('bail out', 'echo 1..1; echo "ok 1 - a"; echo "Bail out! no disk"', '1 passed, 1 failed', ('Bail out! no disk',)),
    ('skipped as expected', 'echo "ok 1 - a # SKIP why"; echo 1..1', '0 passed, 0 failed, 1 skipped', ()),
    ('all skipped as expected', 'echo "1..0 # SKIP why"; exit 77', '0 passed, 0 failed, 1 skipped', ()),
    ('skipped unexpectedly', 'echo "ok 1 - b # SKIP why"; echo "ok 2 - a"; echo 1..2', '1 passed, 1 failed, 1 skipped',
     ('skipped in CI: b (why)',)),
    ('77 behind a passed test', GOOD.replace('..2', '..3') + '; exit 77', '2 passed, 1 failed', ('planned 3',)),
    ('a name that no case has', GOOD, '2 passed, 1 failed', ('names a case that is not there: gone',)),
    ('too slow', 'echo 1..1; sleep 60 & wait', '0 passed, 2 failed', ('no end after 1 s',)),
]
EXPECTED = {'skipped as expected': 'a', 'all skipped as expected': '(all)', 'a name that no case has': 'gone',
            'skipped unexpectedly': 'a'}


def run(work, *programs, **env):
    expected = os.path.join(work, 'expected')
    r = subprocess.run([sys.executable, os.path.join(TOP, 'tests', 'run.py'), '--limit', '1', *programs], text=True,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=work,
                       env=dict(os.environ, CI='true', BUILD=work, EXPECTED_SKIPS=expected, **env))
    expect(r.stderr, '', 'stderr')
    return r


def main():
    tap = Tap()
    os.environ.pop('TEST_SUMMARY', None)
    with tempfile.TemporaryDirectory(prefix='run-') as work:
        for name, text, summary, words in CASES:
            program = os.path.join(work, 'program.sh')
            with open(program, 'w') as f:
                f.write(text + '\n')
            with open(os.path.join(work, 'expected'), 'w') as f:
                if name in EXPECTED:
                    f.write('%s: %s\n' % (os.path.relpath(program, TOP), EXPECTED[name]))
            with tap.case(name):
                r = run(work, program)
                expect((r.stdout.splitlines()[-1], r.returncode), (summary, int(', 0 failed' not in summary)))
                has(r.stdout, *words)
        with tap.case('programs that cannot be started'):
            plain = os.path.join(work, 'plain')
            with open(plain, 'w') as f:
                f.write('no program')
            r = run(work, os.path.join(work, 'none'), plain, os.path.join(work, 'none.sh'))
            expect((r.stdout.splitlines()[-1], r.returncode), ('0 passed, 3 failed', 1))
            has(r.stdout, 'cannot be started: No such file', 'cannot be started: Permission denied', 'exit status 127')
        with tap.case('no program at all'):
            expect(run(work).returncode, 1)
        with tap.case('words choose cases'):
            with open(program, 'w') as f:
                f.write('echo "ok 1 - $*"; echo 1..1\n')
            r = run(work, program + ':a:b')
            expect(r.returncode, 0)
            with open(os.path.join(work, 'test-logs', os.path.relpath(program, TOP).replace('/', '_') + '.log')) as f:
                expect(f.readline(), 'ok 1 - a b\n')
    return tap.done()


if __name__ == '__main__':
    sys.exit(main())
