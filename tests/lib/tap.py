# SPDX-License-Identifier: Apache-2.0
"""Test Anything Protocol for all Python tests, and what they assert with.

    tap = Tap()
    with tap.case('the agent answers'):
        expect(call(), 3, 'status')
    sys.exit(tap.done())

Only Python's standard library is used. tap.sh is the same for the shell.
"""
import contextlib
import os
import sys
import time
import traceback

LIB = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(LIB))
BUILD = os.environ.get('BUILD', os.path.join(TOP, 'build'))


class Skip(Exception):
    """Raised within a case: the thing cannot be tested here, and why."""


def expect(got, want, what='value'):
    if got != want:
        raise AssertionError('%s is %.2000r, expected %.2000r' % (what, got, want))


def has(text, *words):
    for w in words:
        if w not in text:
            raise AssertionError('%r is not in %r' % (w, text[-2000:]))


def retry(fn, timeout=10.0, pause=0.02, on=(OSError, AssertionError)):
    """Calls fn until it does not raise one of `on`, and returns its result."""
    end = time.monotonic() + timeout
    while True:
        try:
            return fn()
        except on:
            if time.monotonic() > end:
                raise
        time.sleep(pause)


@contextlib.contextmanager
def took_less(seconds):
    began = time.monotonic()
    yield
    expect(time.monotonic() - began < seconds, True, 'within %g s: %.1f' % (seconds, time.monotonic() - began))


def skip_all(why):
    print('1..0 # SKIP %s' % why, flush=True)
    sys.exit(77)


def need_root():
    if os.geteuid() != 0:
        skip_all('needs root')


def need_debian_python(*modules):
    """Goes on under Debian's own Python where this one lacks Debian's packages; else all is skipped."""
    try:
        for m in modules:
            __import__(m)
    except ImportError as e:
        if sys.executable != '/usr/bin/python3' and os.access('/usr/bin/python3', os.X_OK):
            os.execv('/usr/bin/python3', ['/usr/bin/python3'] + sys.argv)
        skip_all('%s: make deps' % e)


class Tap:
    """Numbered results on standard output. The plan comes last: a test that ends early has none, and has failed."""

    def __init__(self, out=None):
        self.out = out or sys.stdout
        self.passed = self.failed = self.skipped = 0

    def _line(self, text):
        print(text, file=self.out, flush=True)

    def note(self, text):
        for line in str(text).splitlines():
            self._line('# ' + line)

    def _number(self):
        return self.passed + self.failed + self.skipped

    def ok(self, good, name, seconds=None):
        if good:
            self.passed += 1
        else:
            self.failed += 1
        self._line('%s %d - %s%s' % ('ok' if good else 'not ok', self._number(), name,
                                     '' if seconds is None else ' # time=%.2fs' % seconds))
        return good

    def skip(self, name, why):
        self.skipped += 1
        self._line('ok %d - %s # SKIP %s' % (self._number(), name, why))

    @contextlib.contextmanager
    def case(self, name):
        """One test: it passes unless the body raises. What it raises goes no further."""
        start = time.monotonic()
        try:
            yield
        except Skip as why:
            self.skip(name, why)
        except KeyboardInterrupt:
            raise
        except Exception:  # pylint: disable=broad-except
            self.ok(False, name, time.monotonic() - start)
            self.note(traceback.format_exc())
        else:
            self.ok(True, name, time.monotonic() - start)

    def run(self, name, fn, *args):
        with self.case(name):
            fn(*args)

    def done(self):
        """Prints the plan. Returns the exit status: 0, 1, or 77 if all was skipped."""
        self._line('1..%d' % self._number())
        self._line('# %d passed, %d failed, %d skipped' % (self.passed, self.failed, self.skipped))
        if self.failed:
            return 1
        return 77 if self.skipped and not self.passed else 0
