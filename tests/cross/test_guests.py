#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The agent for the other architectures, cross-built and booted with Debian's kernel of each: end-to-end cases.

arm64 and ppc64le over vsock (ttrpc) and on the serial port (gRPC in yamux), s390x, where numbers begin with their high
byte, on the serial port. Needs package mirrors (TEST_NETWORK=1), the cross compilers and QEMU's machines. TEST_ARCH names
some of the architectures; TEST_ARCH_ALL=1 runs all the cases on all the roads.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.join(TOP, 'tests', 'lib'), os.path.join(TOP, 'tests', 'vm')]
import cases  # noqa: E402
from roads import Road  # noqa: E402
from tap import BUILD, Tap, expect, has, skip_all  # noqa: E402
from vmlib import Guest  # noqa: E402

# architecture: uname -m, compiler, QEMU, seccomp's name, Debian's package of the last two, the roads
ARCHS = {
    'arm64': ('aarch64', 'aarch64-linux-gnu-gcc', 'qemu-system-aarch64', 'SCMP_ARCH_AARCH64',
              (('vsock', 'ttrpc'), ('serial', 'grpc'))),
    'ppc64le': ('ppc64le', 'powerpc64le-linux-gnu-gcc', 'qemu-system-ppc64', 'SCMP_ARCH_PPC64LE',
                (('vsock', 'grpc'), ('serial', 'grpc'))),
    's390x': ('s390x', 's390x-linux-gnu-gcc', 'qemu-system-s390x', 'SCMP_ARCH_S390X',
              (('serial', 'grpc'), ('serial', 'ttrpc'))),
}
FEW = [cases.output_and_exit_code, cases.tail_of_output, cases.stdin_to_stdout, cases.exec_in_container,
       cases.exec_terminal, cases.processes_and_stats, cases.create_and_remove]


def machine(road, uname):
    expect(road.run('uname -m', check=0).stdout.decode().strip(), uname)


def seccomp(road, name):
    """The filter is of the guest's machine: a call that it forbids fails, the others go on."""
    def edit(c):
        c['linux']['seccomp'] = {'defaultAction': 'SCMP_ACT_ALLOW', 'architectures': [name], 'syscalls': [
            {'names': ['mkdir', 'mkdirat'], 'action': 'SCMP_ACT_ERRNO'}]}
    r = road.run('mkdir /tmp/x; echo on; exec grep Seccomp: /proc/self/status', edit)
    expect(r.returncode, 0, r.stderr.decode(errors='replace'))
    has(r.stdout.decode(), 'on\n', 'Seccomp:\t2')
    has(r.stderr.decode(), 'not permitted')


def network(road):
    """An address, a route and what is read back of them: netlink's numbers are the machine's."""
    with road.kept():
        got = json.loads(road.ctl('call', 'ListInterfaces', '{}', check=0).stdout)
        lo = [i for i in got.get('Interfaces', got.get('interfaces', [])) if i['name'] == 'lo']
        expect((len(lo), int(lo[0]['mtu'])), (1, 65536))


def build(arch):
    return subprocess.run(['make', '--no-print-directory', '-C', TOP, '-j2', 'ARCH=' + arch, 'run-debian-files'], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=clean_environment())


def clean_environment():
    return {k: v for k, v in os.environ.items() if k not in ('MAKEFLAGS', 'MAKELEVEL', 'MFLAGS', 'ARCH', 'KERNEL', 'ROOT')}


def run_guest(tap, arch, share, transport, protocols):
    uname, _, _, seccomp_name, _ = ARCHS[arch]
    kernel = os.path.join(BUILD, 'debian-kernel-%s' % arch)
    with Guest(arch=arch, kernel=kernel + '/vmlinuz', initrd=kernel + '-initrd.img', mem='512M', transport=transport,
               share=share) as guest:
        guest.wait_agent(180)
        for protocol in protocols:
            road = Road(guest.address, protocol, share, busybox=os.path.join(BUILD, 'sysroot-' + arch, 'bin', 'busybox'))
            name = '%s, %s, %s' % (arch, transport, protocol)
            with tap.case(name + ': ' + uname):
                machine(road, uname)
            with tap.case(name + ': seccomp'):
                seccomp(road, seccomp_name)
            with tap.case(name + ': network'):
                network(road)
            cases.run_all(tap, road, name, None if os.environ.get('TEST_ARCH_ALL') else FEW)
        tap.ok(guest.is_running(), '%s, %s: the guest lives' % (arch, transport))


def main():
    if not os.environ.get('TEST_NETWORK'):
        skip_all('set TEST_NETWORK=1: libraries and kernels come from the package mirrors')
    tap = Tap()
    for arch in os.environ.get('TEST_ARCH', ' '.join(ARCHS)).split():
        uname, compiler, qemu, _, roads = ARCHS[arch]
        missing = [t for t in (compiler, qemu) if not shutil.which(t)]
        if missing:
            tap.skip(arch, '%s is not installed: make deps' % missing[0])
            continue
        made = build(arch)
        tap.ok(made.returncode == 0, '%s: agent, kernel and initrd are made' % arch)
        if made.returncode != 0:
            print('# ' + '\n# '.join(made.stdout.splitlines()[-15:]), flush=True)
            continue
        if not os.environ.get('TEST_ARCH_ALL'):
            roads = roads[:1]
        for transport in sorted({t for t, _ in roads}, reverse=True):
            share = tempfile.mkdtemp(prefix='share-', dir='/tmp')
            try:
                run_guest(tap, arch, share, transport, [p for t, p in roads if t == transport])
            except RuntimeError as e:
                tap.ok(False, '%s, %s: boots' % (arch, transport))
                print('# ' + '\n# '.join(str(e).splitlines()[-30:]), flush=True)
            finally:
                shutil.rmtree(share, ignore_errors=True)
    return tap.done()


sys.exit(main())
