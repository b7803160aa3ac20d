#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""For people: the debug console on a vsock port and on the console, the log on its port, bad kernel options."""
import json
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
    words = ['agent.debug_console_vport=1026', 'agent.log_vport=1025', 'agent.log=debug', 'agent.hotplug_timeout=soon',
             'agent.no_such=1', 'agent.container_pipe_size=-1']
    with Guest(append=words) as guest:
        guest.wait_agent()
        with tap.case('bad options are warned about, and the guest is up'):
            console = guest.console()
            for word in ('agent.hotplug_timeout', 'agent.container_pipe_size'):
                expect(bool(re.search(r'level=warning.*Failed to parse kernel option.*' + re.escape(word), console)),
                       True, word)
        with tap.case('the guest has the name of its image before there is a sandbox'):
            s = connect(guest, 1026)
            s.sendall(b'echo name=$(hostname)=\r')
            read_until(s, b'name=kata=')
            s.close()
        with tap.case('a shell on the vsock port, twice'):
            for _ in range(2):
                s = connect(guest, 1026)
                s.sendall(b'echo a$((40+2))b; exit\n')
                read_until(s, b'a42b')
                s.close()
        with tap.case('a terminal for each client, side by side: CR submits, ^C interrupts, there is a size'):
            a, b = connect(guest, 1026), connect(guest, 1026)
            a.sendall(b'tty; echo A$((1+1))\r')
            b.sendall(b'tty; echo B$((1+1))\r')
            first = re.search(rb'/dev/pts/\d+', read_until(a, b'A2')).group()
            second = re.search(rb'/dev/pts/\d+', read_until(b, b'B2')).group()
            expect(first != second, True)
            a.sendall(b'stty size; echo S$((1+1))\r')
            expect(b'24 80' in read_until(a, b'S2'), True)
            a.sendall(b'sleep 1000\r')
            time.sleep(1)
            a.sendall(b'\x03echo after$((1+1))\r')
            read_until(a, b'after2')
            a.close()
            b.sendall(b'echo still$((1+1))\r')
            read_until(b, b'still2')
            b.close()
        with tap.case('one after the other without a gap, and the shell goes with its client'):
            for i in range(8):
                s = guest.connect(1026)  # no retry: the port is open all the time
                s.sendall(b'echo n$((%d+0))n\r' % i)
                read_until(s, b'n%dn' % i)
                s.close()
            s = guest.connect(1026)

            def shells():
                s.sendall(b'echo processes=$(ls -l /proc/[0-9]*/exe 2>/dev/null | grep -c busybox)=\r')
                got = b''
                while not re.search(rb'processes=\d+=', got):
                    got += read_until(s, b'=\r\n')
                return int(re.search(rb'processes=(\d+)=', got).group(1))

            def gone():
                n = shells()
                if n > 4:  # this shell, and what counts
                    raise AssertionError('%d processes of busybox' % n)
            retry(gone, 15)
            s.sendall(b'sleep 300 & exit\r')
            end = time.monotonic() + 10
            while time.monotonic() < end and s.recv(4096):
                pass
            expect(time.monotonic() < end, True, 'the end of the shell ends its connection')
            s.close()
        with tap.case('signals that PID 1 means nothing by do nothing'):
            s = guest.connect(1026)
            s.sendall(b'for n in HUP INT USR1 USR2 SEGV ABRT ILL TRAP SYS BUS FPE QUIT ALRM; do [ $n = INT ] || kill -$n 1; done; echo d$((1+1))\r')
            read_until(s, b'd2')
            s.close()
            guest.agent_ctl('check', check=True)
        with tap.case('the log on its port; back on the console when its reader has gone'):
            s = connect(guest, 1025)
            time.sleep(0.3)
            guest.agent_ctl('version', check=True)
            line = read_until(s, b'Version: done')
            objects = [json.loads(l) for l in line.split(b'\n')[:-1]]
            told = [o for o in objects if o['msg'].startswith('Version: done')][-1:] or [json.loads(
                line[line.rindex(b'\n') + 1:] + read_until(s, b'\n').split(b'\n')[0])]
            expect((told[0]['level'], told[0]['source'], told[0]['pid'], told[0]['ts'][:2]), ('DEBG', 'agent', '1', '20'))
            other = connect(guest, 1025)  # a person beside the runtime
            time.sleep(0.3)
            guest.agent_ctl('check', check=True)
            read_until(other, b'Check: done')
            read_until(s, b'Check: done')
            other.close()
            s.close()
            time.sleep(0.5)
            guest.agent_ctl('guest-details', check=True)
            guest.wait_console('GetGuestDetails: done')

    for sig in ('TERM', 'INT'):
        with Guest(append=['agent.debug_console_vport=1026']) as guest:
            guest.wait_agent()
            with tap.case('SIG%s of the guest itself to PID 1 is an orderly end' % sig):
                s = connect(guest, 1026)
                s.sendall(b'kill -%s 1\r' % sig.encode())
                retry(lambda: expect(guest.is_running(), False), 20)
                expect('Kernel panic' in guest.console(), False)
                s.close()

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
