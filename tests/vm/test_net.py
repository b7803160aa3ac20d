#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Network in the guest: virtio-net cards, there from the start and plugged, are found by address and PCI path,
renamed, numbered and routed; a container pings through them. One card's wire ends in a process of ours that
answers pings and never answers ARP. TAP.
"""
import ipaddress
import os
import socket
import struct
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from guestlib import *  # noqa: E402,F403
from tap import Tap  # noqa: E402

USER_MAC, WIRE_MAC, LATE_MAC = '52:54:00:aa:00:01', '52:54:00:aa:00:02', '52:54:00:aa:00:03'
PEER_MAC = '02:00:00:00:00:99'


def mac(text):
    return bytes(int(x, 16) for x in text.split(':'))


def checksum(data):
    data += b'\0' * (len(data) % 2)
    s = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while s >> 16:
        s = (s & 0xffff) + (s >> 16)
    return ~s & 0xffff


class Peer:
    """The other end of a wire: frames are datagrams on a Unix socket. It answers ICMP echo for its address."""

    def __init__(self, directory, address):
        self.address = ipaddress.ip_address(address).packed
        self.near, self.far = os.path.join(directory, 'peer'), os.path.join(directory, 'card')
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(self.near)
        self.pings, self.arps, self.largest = [], 0, 0
        threading.Thread(target=self._serve, daemon=True).start()

    def netdev(self):
        return 'dgram,id=wire,local.type=unix,local.path=%s,remote.type=unix,remote.path=%s' % (self.far, self.near)

    def _serve(self):
        while True:
            frame = self.sock.recv(65536)
            self.largest = max(self.largest, len(frame))
            kind, ip = frame[12:14], frame[14:]
            if kind == b'\x08\x06':
                self.arps += 1
            if kind != b'\x08\x00' or ip[9] != 1 or ip[16:20] != self.address:
                continue
            head = (ip[0] & 15) * 4
            icmp = ip[head:struct.unpack('!H', ip[2:4])[0]]
            if icmp[0] != 8:
                continue
            self.pings.append((frame[0:6], ip[12:16]))
            body = b'\0\0\0\0' + icmp[4:]
            body = b'\0\0' + struct.pack('!H', checksum(body)) + icmp[4:]
            packet = ip[:12] + ip[16:20] + ip[12:16] + ip[20:head] + body
            packet = packet[:10] + b'\0\0' + packet[12:]
            packet = packet[:10] + struct.pack('!H', checksum(packet[:head])) + packet[12:]
            self.sock.sendto(frame[6:12] + frame[0:6] + kind + packet, self.far)


def interface(name, address, hwaddr, *ips, mtu=1500, **fields):
    return dict(device=name, name=name, hwAddr=hwaddr, mtu=mtu, IPAddresses=[
        dict(family=1 if ':' in ip else 0, address=ip.split('/')[0], mask=ip.split('/')[1]) for ip in
        ([address] if address else []) + list(ips)], **fields)


def ours(m):
    return {i.hwAddr: i for i in m.call('ListInterfaces').Interfaces}


def routes(m):
    return sorted((r.dest, r.gateway, r.device, r.source) for r in m.call('ListRoutes').Routes
                  if not r.dest.startswith('fe80:'))


def set_routes(m, *list_of):
    return m.call('UpdateRoutes', routes=dict(Routes=[dict(r) for r in list_of]))


def before_the_sandbox(m, peer):
    """The runtime sends all this before CreateSandbox."""
    got = ours(m)
    expect({USER_MAC, WIRE_MAC} <= set(got), True, 'interfaces %s' % list(got))
    answer = m.call('UpdateInterface', interface=interface('outside', '10.0.2.15/24', USER_MAC))
    expect((answer.name, answer.hwAddr, answer.IPAddresses[0].address), ('outside', USER_MAC, '10.0.2.15'))
    got = ours(m)[USER_MAC]
    expect((got.name, got.mtu, [(i.address, i.mask) for i in got.IPAddresses if i.family == 0]),
           ('outside', 1500, [('10.0.2.15', '24')]))
    set_routes(m, dict(dest='10.0.2.0/24', device='outside', source='10.0.2.15', scope=253),
               dict(dest='', gateway='10.0.2.2', device='outside'))
    expect(routes(m), [('', '10.0.2.2', 'outside', ''), ('10.0.2.0/24', '', 'outside', '10.0.2.15')])


def ping(c, address, *options):
    return c.exec('ping', '-c', '2', '-W', '10', *options, address)


def ping_the_gateway(m, peer):
    with m.pod() as pod:
        c = pod.run('c', edit=all_caps)
        r = ping(c, '10.0.2.2')
        expect(r.returncode, 0, r.stdout.decode())
        has(c.sh('ip addr show outside'), '10.0.2.15/24', 'UP', USER_MAC)
        has(c.sh('ip route'), 'default via 10.0.2.2 dev outside')
        stats = {s.name: s for s in m.call('StatsContainer', container_id='c').network_stats}
        expect('lo' in stats, False)
        s = stats['outside']
        expect(s.tx_packets >= 2 and s.rx_packets >= 2 and s.tx_bytes > 150 and s.rx_bytes > 150, True, str(s))
        expect((s.rx_errors, s.tx_errors), (0, 0))


def rename_and_mtu(m, peer):
    with m.pod() as pod:
        c = pod.run('c', edit=all_caps)
        m.call('UpdateInterface', interface=interface('wire', '192.0.2.1/24', WIRE_MAC, '2001:db8::1/64'))
        has(c.sh('ip addr show wire'), '192.0.2.1/24', '2001:db8::1/64', 'mtu 1500')
        m.call('UpdateInterface', interface=interface('cable', '192.0.2.5/25', WIRE_MAC, mtu=1300))
        text = c.sh('ip addr show cable')
        has(text, '192.0.2.5/25', 'mtu 1300', 'UP')
        expect('192.0.2.1/' in text or '2001:db8' in text, False, 'the addresses before')
        expect('wire' in c.sh('ip link'), False, 'the name before')
        # The names of two are exchanged.
        m.call('UpdateInterface', interface=interface('outside', '192.0.2.1/24', WIRE_MAC))
        got = ours(m)
        expect(got[WIRE_MAC].name, 'outside')
        expect(got[USER_MAC].name != 'outside', True)
        m.call('UpdateInterface', interface=interface('wire', '192.0.2.1/24', WIRE_MAC))
        m.call('UpdateInterface', interface=interface('outside', '10.0.2.15/24', USER_MAC))
        m.fails('INTERNAL', 'UpdateInterface', 'Could not find the link', interface=interface(
            'x', '10.0.0.1/24', '52:54:00:00:00:00'))
        m.fails('INVALID_ARGUMENT', 'UpdateInterface', 'HwAddr empty', interface=interface('x', '10.0.0.1/24', ''))
        m.fails('INTERNAL', 'UpdateInterface', 'Could not parse', interface=interface('wire', '10.0.0.300/24', WIRE_MAC))
        m.call('UpdateInterface', interface=interface('wire', '192.0.2.1/24', WIRE_MAC))
        has(c.sh('ip addr show wire'), '192.0.2.1/24', 'UP')


def neighbours(m, peer):
    """The other end answers no ARP: without the neighbour there is no way to it."""
    with m.pod() as pod:
        c = pod.run('c', edit=all_caps)
        m.call('AddARPNeighbors', neighbors=dict(ARPNeighbors=[dict(
            toIPAddress=dict(address='192.0.2.9'), device='wire', lladdr=PEER_MAC, state=0x80)]))
        has(c.sh('ip neigh'), '192.0.2.9 dev wire lladdr %s' % PEER_MAC, 'PERMANENT')
        r = ping(c, '192.0.2.9')
        expect(r.returncode, 0, r.stdout.decode())
        expect(set(peer.pings), {(mac(PEER_MAC), bytes([192, 0, 2, 1]))})
        expect(peer.arps, 0)
        r = c.exec('ping', '-c', '1', '-W', '1', '192.0.2.10')
        expect((r.returncode, peer.arps > 0), (1, True), 'ping without a neighbour')
        for bad in (dict(toIPAddress=dict(address='192.0.2.9'), device='wire', lladdr=PEER_MAC, state=0x80),
                    dict(toIPAddress=dict(address='192.0.2.9'), device='nowire', lladdr=PEER_MAC),
                    dict(toIPAddress=dict(address='nine'), device='wire', lladdr=PEER_MAC),
                    dict(toIPAddress=dict(address='192.0.2.9'), device='wire', lladdr='xx')):
            m.fails('INTERNAL', 'AddARPNeighbors', neighbors=dict(ARPNeighbors=[bad]))


def routes_are_replaced(m, peer):
    with m.pod() as pod:
        c = pod.run('c', edit=all_caps)
        outside = (dict(dest='10.0.2.0/24', device='outside', source='10.0.2.15', scope=253),
                   dict(dest='', gateway='10.0.2.2', device='outside'))
        peer.pings.clear()
        # A net behind the wire: the peer has one more address.
        peer.address = bytes([198, 51, 100, 7])
        set_routes(m, *outside, dict(dest='198.51.100.0/24', gateway='192.0.2.9', device='wire'))
        expect(ping(c, '198.51.100.7').returncode, 0)
        expect(len(peer.pings), 2)
        has(c.sh('ip route'), '198.51.100.0/24 via 192.0.2.9 dev wire')
        set_routes(m, *outside)
        expect('198.51.100' in c.sh('ip route'), False, 'the route before')
        expect(routes(m)[0], ('', '10.0.2.2', 'outside', ''))
        set_routes(m, *outside)     # the same again
        m.fails('INTERNAL', 'UpdateRoutes', 'Could not find link', routes=dict(Routes=[dict(
            dest='1.2.3.0/24', device='nothing')]))
        set_routes(m, *outside)
        expect(ping(c, '10.0.2.2').returncode, 0)


def plugged(m, peer):
    """A card by its PCI path, asked for before it is there."""
    q = m.guest.qmp_open()
    try:
        with m.pod() as pod:
            c = pod.run('c', edit=all_caps)
            waiting = m.future('UpdateInterface', interface=interface(
                'late0', '10.0.3.15/24', LATE_MAC, pciPath='02/07', mtu=1400))
            time.sleep(0.4)
            expect(waiting.done(), False, 'answered')
            q.command('netdev_add', type='user', id='late', net='10.0.3.0/24')
            plug = lambda: q.command('device_add', driver='virtio-net-pci', id='card', netdev='late', mac=LATE_MAC,
                                     bus='pci-bridge-0', addr='07', romfile='')
            plug()
            expect(waiting.result(20).name, 'late0')
            has(c.sh('ip addr show late0'), '10.0.3.15/24', 'mtu 1400', LATE_MAC)
            expect(ping(c, '10.0.3.2').returncode, 0)
            # Away, and there again.
            q.command('device_del', id='card')
            while q.wait_event('DEVICE_DELETED', 20)['data'].get('device') != 'card':
                pass
            retry(lambda: expect(LATE_MAC in ours(m), False, 'card'), 5)
            plug()
            m.call('UpdateInterface', interface=interface('late1', '10.0.3.16/24', LATE_MAC, pciPath='02/07'))
            expect(ping(c, '10.0.3.2').returncode, 0)
            began = time.monotonic()
            m.fails('DEADLINE_EXCEEDED', 'UpdateInterface', 'Timeout reached', interface=interface(
                'none', '10.0.4.1/24', '52:54:00:aa:00:09', pciPath='02/08'))
            expect(time.monotonic() - began < 5, True, 'seconds')
    finally:
        q.close()


CASES = [before_the_sandbox, ping_the_gateway, rename_and_mtu, neighbours, routes_are_replaced, plugged]


def main():
    tap = Tap()
    only = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix='net-', dir='/tmp') as work:
        peer = Peer(work, '192.0.2.9')
        cards = ['-netdev', 'user,id=outside', '-device', 'virtio-net-pci,netdev=outside,romfile=,mac=' + USER_MAC,
                 '-netdev', peer.netdev(), '-device', 'virtio-net-pci,netdev=wire,romfile=,mac=' + WIRE_MAC]
        with Machine(hotplug=True, qemu_arg=cards) as m:
            for case in CASES:
                if not only or case.__name__ in only:
                    with tap.case(case.__name__.replace('_', ' ')):
                        case(m, peer)
            tap.ok(m.guest.is_running(), 'the guest lives')
    return tap.done()


if __name__ == '__main__':
    sys.exit(main())
