#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""PCI devices that the host hands in: vfio-pci-gk (the guest's driver serves them) and vfio-pci (the container does), with and
without an IOMMU, plugged late, behind a NUMA expander; 1.x hosts, which name none; CDI. TAP."""
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from guestlib import *  # noqa: E402,F403
import rpc  # noqa: E402
from rpc import Ttrpc, agent_pb2  # noqa: E402
from tap import Tap  # noqa: E402

PORTS = ['-device', 'pcie-root-port,id=rp1,chassis=1,addr=0x10', '-device', 'pcie-root-port,id=rp2,chassis=2,addr=0x11']
IOMMU = ['-machine', 'kernel-irqchip=off', '-device', 'intel-iommu', *PORTS,
         '-device', 'virtio-net-pci,bus=rp1,disable-legacy=on,iommu_platform=on', '-device', 'e1000e,bus=rp2',
         '-device', 'pcie-pci-bridge,id=br,addr=0x12', '-device', 'e1000,bus=br,addr=1', '-device', 'e1000,bus=br,addr=2']
PLAIN = [*PORTS, '-device', 'virtio-net-pci,bus=rp1,disable-legacy=on',
         '-device', 'pxb-pcie,id=pxb,bus_nr=32,addr=0x13', '-device', 'pcie-root-port,id=rp3,chassis=3,bus=pxb,addr=0',
         '-device', 'e1000e,bus=rp3']
HOST = '0000:65:00.%d'


class V3:
    """Containers of a 3.x host."""

    def __init__(self, m):
        self.m, self.c = m, Ttrpc(m.bridge.path)

    def create(self, cid, devices, edit=None, cmd='exec sleep 1000'):
        def both(config):
            config['linux']['namespaces'] = [n for n in config['linux']['namespaces'] if n['type'] != 'pid']
            see_guest(config)
            if edit:
                edit(config)
        self.c.CreateContainer(container_id=cid, OCI=self.m.spec(cmd, both), devices=devices)
        self.c.StartContainer(container_id=cid)
        return V3Container(self, cid)

    def refused(self, words, devices, edit=None):
        try:
            self.create('bad', devices, edit)
        except rpc.Refused as e:
            has(e.text, *words)
        else:
            raise AssertionError('it was made')
        with self.create('good', []):
            pass


class V3Container:
    def __init__(self, v3, cid):
        self.v3, self.id = v3, cid

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.v3.c.RemoveContainer(container_id=self.id)

    def sh(self, cmd, check=0, env=()):
        args = [w for e in env for w in ('-e', e)]
        return self.v3.m.ctl('--protocol', 'ttrpc', 'exec', '-n', *args, self.id, 'sh', '-c', cmd, check=check).stdout.decode()


def device(kind, *options, path='/dev/vfio/host1'):
    return agent_pb2.Device(id='d', type=kind, container_path=path, options=options)


def env(*words):
    return lambda config: config['process']['env'].extend(words)


def wants(path='/dev/vfio/host1'):
    return lambda config: config['linux'].setdefault('devices', []).append(
        {'path': path, 'type': 'c', 'major': 240, 'minor': 7, 'fileMode': 0o600, 'uid': 0, 'gid': 0})


def kernels_driver(m, v):
    words = ('PCIDEVICE_NET=' + HOST % 0, 'PCIDEVICE_NET_INFO={"%s": 1}' % (HOST % 0), 'PCIDEVICE_OTHER=0000:77:00.0')
    with v.create('gk', [device('vfio-pci-gk', HOST % 0 + '=10/00')], env(*words), 'env >/tmp/env; exec sleep 1000') as c:
        text = retry(lambda: c.sh('grep PCIDEVICE /tmp/env'), on=(AssertionError,))
        guest = [w for w in c.sh('ls -l /guest/sys/bus/pci/devices').split() if '/0000:00:10.0/' in w][0].split('/')[-1]
        has(text, 'PCIDEVICE_NET=%s\n' % guest, 'PCIDEVICE_NET_INFO={"%s": 1}\n' % guest, 'PCIDEVICE_OTHER=0000:77:00.0\n')
        has(c.sh('env', env=words), 'PCIDEVICE_NET=%s\n' % guest)
        has(c.sh('readlink /guest/sys/bus/pci/devices/%s/driver' % guest), 'virtio-pci')
        expect(c.sh('ls /dev | grep -c vfio || true'), '0\n')
    with v.create('gk', []) as c:       # forgotten with its container
        has(c.sh('env', env=words), 'PCIDEVICE_NET=' + HOST % 0)


def whole_group(m, v):
    with v.create('group', [device('vfio-pci', HOST % 1 + '=11/00')], edits(wants(), env('PCIDEVICE_X=' + HOST % 1))) as c:
        node = c.sh('ls /dev/vfio').split()
        expect(len(node), 1)
        c.sh('exec 3<>/dev/vfio/%s' % node[0])
        guest = c.sh('echo $PCIDEVICE_X', env=['PCIDEVICE_X=' + HOST % 1]).strip()
        has(c.sh('readlink /guest/sys/bus/pci/devices/%s/driver' % guest), 'vfio-pci')
        has(c.sh('readlink /guest/sys/bus/pci/devices/%s/iommu_group' % guest), '/' + node[0])
    with v.create('again', [device('vfio-pci', HOST % 1 + '=11/00')], wants()) as c:
        c.sh('exec 3<>/dev/vfio/*')
    # two behind a PCI bridge are one group
    both = [HOST % 2 + '=12/01', HOST % 3 + '=12/02']
    with v.create('two', [device('vfio-pci', *both)], wants()) as c:
        expect(len(c.sh('ls /dev/vfio').split()), 1)


def bad_requests(m, v):
    v.refused(['is not in guest IOMMU group'], [device('vfio-pci', HOST % 1 + '=11/00', HOST % 2 + '=12/01')], wants())
    v.refused(['Malformed VFIO PCI option', '65:00.0'], [device('vfio-pci-gk', '65:00.0=10/00')])
    v.refused(['Malformed VFIO PCI option'], [device('vfio-pci-gk', HOST % 0)])
    v.refused(['is not a PCI path'], [device('vfio-pci-gk', HOST % 0 + '=somewhere')])
    v.refused(['Timeout', '0000:00:1e.0'], [device('vfio-pci-gk', HOST % 0 + '=1e')])
    v.refused(['failed to get VFIO group'], [device('vfio-pci', HOST % 0 + '=')], wants())
    v.refused(['both'], [device('vfio-pci-gk', HOST % 0 + '=10/00', HOST % 0 + '=11/00')])
    v.refused(['No devices found from the spec'], [device('vfio-pci', HOST % 1 + '=11/00')])
    for kind in ('vfio-ap', 'vfio-ap-cold'):
        v.refused(['VFIO-AP is only supported on s390x'], [device(kind, '01.0001')])
    with v.create('nowhere', [device('vfio-pci-gk', HOST % 0 + '=')]) as c:     # the host doesn't know: it is there already
        expect(c.sh('echo ok'), 'ok\n')


def without_iommu(m, v):
    v.refused(['has no IOMMU group'], [device('vfio-pci', HOST % 0 + '=10/00')], wants())
    with v.create('gk', [device('vfio-pci-gk', HOST % 0 + '=10/00')]) as c:
        has(c.sh('echo $PCIDEVICE_X', env=['PCIDEVICE_X=' + HOST % 0]), ':00.0')


def numa_expander(m, v):
    with v.create('pxb', [device('vfio-pci-gk', HOST % 4 + '=20/00/00')]) as c:
        guest = c.sh('echo $PCIDEVICE_X', env=['PCIDEVICE_X=' + HOST % 4]).strip()
        has(c.sh('cat /guest/sys/bus/pci/devices/%s/vendor' % guest), '0x8086')


def cards(c):
    return int(c.sh('grep -l 0x10d3 /guest/sys/bus/pci/devices/*/device | wc -l'))


def plugged_for_1x(m, _):
    """No request of 1.x names a VFIO device: each container is preceded by a look at the bus."""
    with m.pod() as pod:
        with pod.run('before', edit=see_guest) as c:
            n = cards(c)
        q = m.guest.qmp_open()
        q.command('device_add', driver='e1000e', bus='rp2', id='late')
        with pod.run('after', edit=see_guest) as c:
            retry(lambda: expect(cards(c), n + 1), timeout=3)
        q.close()


def run(tap, cases, **options):
    with Machine(**options) as m:
        m.call('CreateSandbox', storages=[SHARE_STORAGE])
        v = V3(m)
        for case in cases:
            if len(sys.argv) > 1 and not any(word in case.__name__ for word in sys.argv[1:]):
                continue
            if case is plugged_for_1x:
                m.call('DestroySandbox')
            with tap.case(case.__name__.replace('_', ' ')):
                case(m, v)
        tap.ok(m.guest.is_running(), 'the guest lives')


def main():
    tap = Tap()
    run(tap, [kernels_driver, whole_group, bad_requests], append=['intel_iommu=on', 'iommu=pt', 'agent.hotplug_timeout=2'],
        qemu_arg=IOMMU)
    run(tap, [without_iommu, numa_expander, plugged_for_1x], qemu_arg=PLAIN)
    return tap.done()


if __name__ == '__main__':
    sys.exit(main())
