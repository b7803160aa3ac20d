# SPDX-License-Identifier: Apache-2.0
"""tests/counts/table: what operations cost, one row each: kind, count, name. A kind is what was counted."""
import os

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'table')


def read():
    """{kind: {name: count}}, and the comment that the file opens with."""
    kinds, head = {}, []
    with open(PATH) as f:
        for line in f:
            if line.startswith('#'):
                head.append(line)
            elif line.strip():
                kind, count, name = (w.strip() for w in line.split('|'))
                kinds.setdefault(kind, {})[name] = int(count)
    return kinds, head


def write(kinds, head):
    with open(PATH + '.new', 'w') as f:
        f.writelines(head)
        for kind in sorted(kinds):
            f.writelines('%s | %10d | %s\n' % (kind, count, name) for name, count in kinds[kind].items())
    os.rename(PATH + '.new', PATH)


def judge(tap, kind, rows, put=False, slack=lambda name: 0):
    """Each row against the table's; put: into the table, first. slack(name): the part by which a row may be above.
    The exit status."""
    kinds, head = read()
    known = kinds.setdefault(kind, {})
    if put:
        known.update(rows)
        write(kinds, head)
    for name, count in rows.items():
        want = known.get(name)
        if want is None:
            tap.skip(name, 'the table has no such row: %d %s' % (count, kind))
            continue
        change = '' if count == want else ', %+d (%+.1f %%)' % (count - want, 100.0 * (count - want) / want)
        good = count <= want * (1 + slack(name))
        tap.ok(good, name)
        tap.note('%s: %d %s, table %d%s' % (name, count, kind, want, change))
        if not good:
            tap.note('it costs more than it did: make it cheaper, or say in the commit why not, and: '
                     'tests/counts/*.py --write')
    return tap.done()
