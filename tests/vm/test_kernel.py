#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The default kernel has what docs/kernel.md promises: guest/kernel-probe.c asks for it, as the init of guests with
NUMA nodes, an IOMMU and virtio-mem, and in containers. TAP.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from tap import BUILD, Tap, expect, has, need_debian_python  # noqa: E402

need_debian_python('grpc', 'google.protobuf')
from guestlib import Machine, all_caps  # noqa: E402
from vmlib import KERNEL  # noqa: E402

PROBE = os.path.join(BUILD, 'kernel-probe')
VERDICT = re.compile(r'^(ok|not ok) - (.*)$', re.M)
WARNINGS = re.compile(r'WARNING:|BUG:|Oops|Call Trace')


def verdicts(tap, prefix, text, least):
    """Each line of the probe's becomes one of ours; an end that comes early is seen by their number."""
    found = VERDICT.findall(text.replace('\r', ''))
    for status, name in found:
        tap.ok(status == 'ok', '%s: %s' % (prefix, name))
    with tap.case('%s: all was asked, and the kernel complained of nothing' % prefix):
        expect(len(found) >= least, True, '%d verdicts, %d at least' % (len(found), least))
        expect(WARNINGS.findall(text), [])


def layer(directory, number):
    tree = os.path.join(directory, 'tree%d' % number)
    os.mkdir(tree)
    with open(os.path.join(tree, 'word'), 'w') as f:
        f.write('%d\n' % number)
    with open(os.path.join(tree, 'only%d' % number), 'w'):
        pass
    subprocess.run(['mkfs.erofs', '-zlz4', os.path.join(directory, 'root', 'layer%d.erofs' % number), tree],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def make_initrd(directory):
    root = os.path.join(directory, 'root')
    os.makedirs(os.path.join(root, 'dev'))
    shutil.copy(PROBE, os.path.join(root, 'init'))
    os.mknod(os.path.join(root, 'dev', 'console'), 0o20600, os.makedev(5, 1))
    if shutil.which('mkfs.erofs'):
        layer(directory, 0)
        layer(directory, 1)
    initrd = os.path.join(directory, 'initrd')
    with open(initrd, 'wb') as out:
        names = subprocess.run(['find', '.'], cwd=root, stdout=subprocess.PIPE, check=True).stdout
        subprocess.run(['cpio', '-o', '-H', 'newc', '--quiet'], cwd=root, input=names, stdout=out, check=True)
    return initrd


def boot(initrd, words, *args, disk):
    """Runs the probe as a guest's init and returns all that the guest printed."""
    run = subprocess.run([
        'qemu-system-x86_64', '-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none', '-accel', 'tcg',
        '-cpu', 'max,-erms,-fsrm', '-serial', 'stdio', '-kernel', KERNEL, '-initrd', initrd,
        '-append', 'console=ttyS0 panic=1 tsc=reliable no_timer_check loglevel=5 ' + words,
        '-drive', 'if=none,id=d,format=raw,file=' + disk, '-device', 'virtio-blk-pci,drive=d', *args],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=180)
    text = run.stdout.decode(errors='replace')
    has(text, 'kernel-probe: end')
    return text


def as_init(tap):
    with tempfile.TemporaryDirectory(prefix='kernel-', dir='/tmp') as d:
        initrd = make_initrd(d)
        disk = os.path.join(d, 'disk')
        with open(disk, 'wb') as f:
            f.truncate(1 << 20)
        text = ''
        with tap.case('a guest with two nodes and virtio-mem'):
            text = boot(initrd, 'probe=numa,virtio-mem', '-machine', 'q35', '-m', '256M,slots=2,maxmem=1G',
                        '-object', 'memory-backend-ram,id=n0,size=128M', '-object', 'memory-backend-ram,id=n1,size=128M',
                        '-numa', 'node,nodeid=0,memdev=n0,cpus=0', '-numa', 'node,nodeid=1,memdev=n1', '-object',
                        'memory-backend-ram,id=vm0,size=256M', '-device',
                        'virtio-mem-pci,memdev=vm0,node=0,requested-size=128M', disk=disk)
        verdicts(tap, 'nodes', text, 120)
        text = ''
        with tap.case('a guest with an IOMMU, SELinux and page table isolation'):
            text = boot(initrd, 'probe=iommu,selinux selinux=1 intel_iommu=on pti=on', '-machine',
                        'q35,kernel-irqchip=off', '-m', '256M', '-device', 'intel-iommu', '-device',
                        'pcie-root-port,id=rp1,chassis=1,addr=5', '-device',
                        'virtio-net-pci,bus=rp1,disable-legacy=on,iommu_platform=on,romfile=', disk=disk)
        verdicts(tap, 'IOMMU', text, 120)


def in_containers(tap):
    with Machine() as m, m.pod() as pod:
        shutil.copy(PROBE, os.path.join(m.road.rootfs, 'bin', 'kernel-probe'))
        full = pod.run('full', edit=all_caps)
        usual = pod.run('usual')
        verdicts(tap, 'a container with all capabilities', full.sh('kernel-probe network'), 90)
        verdicts(tap, 'a usual container', usual.sh('kernel-probe process vsock'), 11)


def main():
    if not os.path.exists(PROBE):
        raise SystemExit('%s is missing: make build/kernel-probe' % PROBE)
    tap = Tap()
    as_init(tap)
    in_containers(tap)
    return tap.done()


if __name__ == '__main__':
    sys.exit(main())
