#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Says which rows of docs/security.md have no test, or one that does not exist.

A row's last cell names tests as `FILE:CASE`, or `FILE` for all of it: tests/*/test_FILE.*, and in it a function
CASE, a Test(..., CASE), or a case with that text for its name.
"""
import glob
import os
import re
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def has_case(text, case):
    quoted = re.escape(case)
    return re.search(r'^def %s\(|^Test\(\w+, %s[,)]|case\(.*%s' % (quoted, quoted, quoted), text, re.M) is not None


def complaints(lines):
    test_column = None
    for number, line in enumerate(lines, 1):
        cells = [c.strip() for c in line.strip().strip('|').split(' | ')] if line.startswith('|') else []
        if not cells or set(line) <= set('|- \n'):
            test_column = test_column if cells else None
            continue
        if cells[-1] == 'test':
            test_column = len(cells) - 1
            continue
        if test_column is None:
            continue
        names = re.findall(r'`([^`]+)`', cells[-1]) if len(cells) == test_column + 1 else []
        if not names:
            yield number, 'no test'
        for name in names:
            file, _, case = name.partition(':')
            paths = glob.glob(os.path.join(TOP, 'tests', '*', 'test_%s.*[yhc]' % file))
            if not paths:
                yield number, 'no tests/*/test_%s.*' % file
            elif case and not any(has_case(open(p).read(), case) for p in paths):
                yield number, 'test_%s has no case %s' % (file, case)


def main():
    path = os.path.join(TOP, sys.argv[1] if len(sys.argv) > 1 else 'docs/security.md')
    with open(path) as f:
        for number, text in complaints(f):
            print('%s:%d: %s' % (os.path.relpath(path, TOP), number, text))


if __name__ == '__main__':
    main()
