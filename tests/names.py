#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What grep and gdb want of the agent's sources: no circle of files, and one name for one thing.

    tests/names.py circles     prints the files that include one another in a circle
    tests/names.py names       prints the functions, structs and enums that stand in two files
"""
import collections
import glob
import os
import re
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
INCLUDE = re.compile(r'^#include "([^"]+)"', re.M)
FUNCTION = re.compile(r'^(?:[A-Za-z_][\w \t]*[ \t*]+)(\w+)\((?:[^;{}]|\n)*?\)\n\{', re.M)
TAG = re.compile(r'^(?:static )?(?:const )?(?:struct|enum|union) (\w+) \{', re.M)


def sources():
    for pattern in ('agent/**/*.[ch]', 'init/*.[ch]'):
        yield from sorted(glob.glob(os.path.join(TOP, pattern), recursive=True))


def circles():
    """A module is X.c and X.h; what either includes is an edge. Tarjan's components above one."""
    edges = collections.defaultdict(set)
    for path in sources():
        module = os.path.splitext(os.path.relpath(path, TOP))[0]
        with open(path) as f:
            for name in INCLUDE.findall(f.read()):
                for base in ('agent/', 'init/'):
                    if os.path.exists(os.path.join(TOP, base + name)):
                        edges[module].add(os.path.splitext(base + name)[0])
        edges[module].discard(module)
    index, low, stack, found = {}, {}, [], []

    def visit(v):
        index[v] = low[v] = len(index)
        stack.append(v)
        for w in sorted(edges[v]):
            if w not in index:
                visit(w)
                low[v] = min(low[v], low[w])
            elif w in stack:
                low[v] = min(low[v], index[w])
        if low[v] == index[v]:
            component = []
            while not component or component[-1] != v:
                component.append(stack.pop())
            if len(component) > 1:
                found.append(sorted(component))

    for v in sorted(edges):
        if v not in index:
            visit(v)
    return ['circle: ' + ' '.join(c) for c in found]


def names():
    where = collections.defaultdict(set)
    for path in sources():
        with open(path) as f:
            text = f.read()
        for kind, pattern in (('', FUNCTION), ('struct/enum ', TAG)):
            for name in pattern.findall(text):
                if name.startswith('__'):  # an attribute
                    continue
                where[kind + name].add(os.path.relpath(path, TOP))
    return ['%s: %s' % (n, ' '.join(sorted(f))) for n, f in sorted(where.items()) if len(f) > 1]


print('\n'.join({'circles': circles, 'names': names}[sys.argv[1]]()))
