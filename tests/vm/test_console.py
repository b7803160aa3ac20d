#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""For people: the debug console on a vsock port and on the console, the log on its port, bad kernel options."""
import os
import re
import socket
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from tap import BUILD, Tap, expect, retry  # noqa: E402
from vmlib import Guest, Refused  # noqa: E402


def read_until(s, text, timeout=15):
    s.settimeout(timeout)
    got = b''
    end = time.monotonic() + timeout
    while text not in got and time.monotonic() < end:
        data = s.recv(4096)
        if not data:
            break
        got += data
    if text not in got:
        raise AssertionError('%r did not come, but %r' % (text, got[-500:]))
    return got


def connect(guest, port):
    return retry(lambda: guest.connect(port), on=(Refused, OSError))


def main():
    tap = Tap()
    words = ['agent.debug_console_vport=1026', 'agent.log_vport=1025', 'agent.log=debug', 'agent.hotplug_timeout=5',
             'agent.no_such=1', 'agent.container_pipe_size=-1']
    with Guest(append=words) as guest:
        guest.wait_agent()
        with tap.case('bad and unknown options are warned about, and the guest is up'):
            console = guest.console()
            for word in ('agent.hotplug_timeout', 'agent.no_such', 'agent.container_pipe_size'):
                expect(bool(re.search(r'level=warning.*Failed to parse kernel option.*' + re.escape(word), console)),
                       True, word)
        with tap.case('a shell on the vsock port, twice'):
            for _ in range(2):
                s = connect(guest, 1026)
                s.sendall(b'echo a$((40+2))b; exit\n')
                read_until(s, b'a42b')
                s.close()
        with tap.case('the log on its port; back on the console when its reader has gone'):
            s = connect(guest, 1025)
            time.sleep(0.3)
            guest.agent_ctl('version', check=True)
            line = read_until(s, b'Version: done')
            expect(bool(re.search(rb'time="[^"]+" level=debug msg="Version: done.*" name=kata-agent pid=1 ', line)), True)
            s.close()
            time.sleep(0.5)
            guest.agent_ctl('guest-details', check=True)
            guest.wait_console('GetGuestDetails: done')

    with Guest(append=['agent.debug_console']) as guest:
        guest.wait_agent()
        with tap.case('a shell on the console, started again when it ends'):
            s = socket.socket(socket.AF_UNIX)
            s.connect(guest.path('console.sock'))
            for _ in range(2):
                def ask():
                    s.sendall(b'\necho c$((40+2))d\n')
                    guest.wait_console('c42d', timeout=1)
                retry(ask, 15)
                s.sendall(b'exit\n')
                time.sleep(1.2)
            s.close()
    image = os.path.join(BUILD, 'kata-containers.img')
    with Guest(image=image, initrd=None, append=['agent.debug_console_vport=1026']) as guest:
        guest.wait_agent()
        with tap.case('the disk below a read-only root cannot be made writable by anyone'):
            s = connect(guest, 1026)
            s.sendall(b'echo ro$(blockdev --getro /dev/pmem0p1)$(blockdev --getro /dev/pmem0); mount -o remount,rw / || echo refu"sed"; '
                      b'dd if=/dev/zero of=/dev/pmem0 bs=512 count=1 || echo al"so"; exit\n')
            got = read_until(s, b'also')
            expect((b'ro11' in got, b'refused' in got), (True, True))
            s.close()
    return tap.done()


if __name__ == '__main__':
    sys.exit(main())
