#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes agent/startup.ld: what of the agent and its libraries runs until it is idle stands together in the program.

    tests/counts/order.py [OFFSETS...]

The kernel maps file pages around each that is touched, 64 kB at a time; where what runs is strewn over the whole
text, all of it counts as resident. valgrind tells what a start and a Check touch. OFFSETS: files of offsets into the
program (hexadecimal, one a line) that a run of another kind touched. Sections that the file has already stay in it
as long as there are such. Needs valgrind and a build (make); then make again.
"""
import bisect
import os
import re
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCRIPT = os.path.join(TOP, 'agent', 'startup.ld')
ELF, MAP, CTL = (os.path.join(TOP, 'build', n) for n in ('kata-agent.debug', 'kata-agent.map', 'agent-ctl'))
HEAD = '''/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What runs until the agent is idle stands together, so that fewer pages of the program are resident. Written by
 * tests/counts/order.py; a section that is not there any more does no harm. Tables for unwinding are left out: nothing
 * here throws, and a crash tells its program counter.
 */
SECTIONS { /DISCARD/ : { *(.eh_frame) *(.eh_frame_hdr) } } INSERT BEFORE .text;
'''
# Which of libc's takes depends on the processor; strings are read by the kernel, too, unseen.
ALWAYS = {'text': ['*libc.a:*(.text.avx .text.evex .text.evex512 .text.avx512)'],
          'rodata': ['*/agent/*(.rodata .rodata.*)', '*/init/*(.rodata .rodata.*)', '*libc.a:*(.rodata.str1.*)']}


def sections():
    """(start, size, name, file) of the input sections with code or constants, in order."""
    out, name = [], None
    with open(MAP) as f:
        for line in f:
            m = re.match(r'^ (\.(?:text|rodata)\S*)(?:\s+(0x\w+)\s+(0x\w+) (\S.*))?$', line)
            if m:
                name = m.group(1)
                where = m.groups()[1:] if m.group(2) else None
            else:
                m = re.match(r'^\s+(0x\w+)\s+(0x\w+) (\S.*)$', line) if name else None
                where = m.groups() if m else None
            if where:
                out.append((int(where[0], 16), int(where[1], 16), name, where[2]))
            if where or not m:
                name = None
    return sorted(s for s in out if s[0] and s[1])


def pattern(section):
    _, _, name, file = section
    archive = re.match(r'.*/(lib[^/]*\.a)\((.*)\)$', file)
    own = re.match(r'.*/obj[^/]*/(.*)$', file)
    return '%s(%s)' % ('*%s:%s' % archive.groups() if archive else
                       '*/' + own.group(1) if own else '*' + os.path.basename(file), name)


def offsets_of_a_start():
    with tempfile.TemporaryDirectory() as work:
        trace, sock = work + '/trace', work + '/s'
        p = subprocess.Popen(['valgrind', '--tool=lackey', '--trace-mem=yes', '--log-file=' + trace, ELF, '--server-addr',
                              'unix://' + sock], stderr=subprocess.DEVNULL)
        while not os.path.exists(sock):
            time.sleep(0.1)
        for protocol in ('grpc', 'ttrpc'):
            subprocess.run([CTL, '--addr', 'unix://' + sock, '--protocol', protocol, 'check'], check=True, timeout=60,
                           stdout=subprocess.DEVNULL)
        time.sleep(2)
        p.terminate()
        p.wait()
        symbols = subprocess.run(['nm', ELF], stdout=subprocess.PIPE, text=True, check=True).stdout
        base = None
        with open(trace) as f:
            for line in f:
                if line[0] == '=':
                    continue
                at = int(line[3:].split(',')[0], 16)
                if base is None:
                    base = at - int(re.search(r'(\w+) T _start$', symbols, re.M).group(1), 16)
                yield at - base


def main():
    known = sections()
    starts = [s[0] for s in known]
    touched = set()

    def touch(at):
        i = bisect.bisect_right(starts, at) - 1
        if i >= 0 and at < known[i][0] + known[i][1]:
            touched.add(pattern(known[i]))
    for at in offsets_of_a_start():
        touch(at)
    for name in sys.argv[1:]:
        with open(name) as f:
            for line in f:
                touch(int(line, 16))
    before = set()
    if os.path.exists(SCRIPT):
        with open(SCRIPT) as f:
            before = set(re.findall(r'^\t(\*\S+\(\.\S+\))$', f.read(), re.M))
    first = [p for p in (pattern(s) for s in known) if p in touched | before]
    with open(SCRIPT + '.new', 'w') as f:
        f.write(HEAD)
        for kind in ('text', 'rodata'):
            rows = sorted(set(p for p in first if '(.' + kind in p and not re.match(
                r'\*/(agent|init)/.*rodata|.*\(\.rodata\.str1', p)))
            f.write('SECTIONS { .%s.first : {\n%s} } INSERT BEFORE .text;\n' % (
                kind, ''.join('\t%s\n' % p for p in rows + ALWAYS[kind])))
            print('%d sections of %s' % (len(rows), kind))
    os.rename(SCRIPT + '.new', SCRIPT)


if __name__ == '__main__':
    main()
