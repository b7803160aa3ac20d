#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A container against its guest: the agent's vsock ports, PID 1 and its signals, forged messages of the kernel. TAP."""
import os
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from guestlib import *  # noqa: E402,F403
from guestlib import HERE  # noqa: E402
from tap import Tap  # noqa: E402
from test_console import read_until  # noqa: E402

PORTS = '1024 1025 1026'
SECONDS = int(os.environ.get('ATTACK_SECONDS', '4'))


def shell_of_the_guest(m, n):
    """The host's debug console is the agent's, and nobody else's."""
    s = m.guest.connect(1026)
    s.sendall(b'echo d$((40+%d))e; [ -d /run/kata-containers ] && echo is"guest"\r' % n)
    got = read_until(s, b'isguest')
    expect(b'd%de' % (40 + n) in got, True, got)
    s.close()


def console_and_log_ports(m):
    """A container binds them while clients come and go: their listeners are never closed."""
    with m.pod() as pod:
        c = pod.run('c', 'exec attack bind %d %s' % (SECONDS, PORTS))
        expect(m.call('ReadStdout', container_id='c', exec_id='c', len=100).data, b'up\n')
        end, n = time.monotonic() + SECONDS - 0.5, 0
        while time.monotonic() < end:
            shell_of_the_guest(m, n)
            log = m.guest.connect(1025)
            time.sleep(0.05)
            log.close()
            n += 1
        expect(c.wait(), 0)
        expect(c.output(), 'bound 0\n')
        shell_of_the_guest(m, n)


def vsock_flood(m):
    """Dialled from inside, through the loopback and its own number: nobody is served, and the host does not wait."""
    with m.pod() as pod:
        before = len(m.guest.console())
        flooders = [pod.run('f%d' % i, 'exec attack flood %d %s' % (SECONDS, PORTS)) for i in range(3)]
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            m.call('Check', timeout=8)
            time.sleep(0.1)
        for f in flooders:
            expect(f.wait(), 0)
            expect(f.output(), 'up\nserved 0\n')
        expect(len(m.guest.console()) - before < 50000, True, 'bytes of log')


def signals_of_containers(m):
    """In the agent's own pid namespace, with all capabilities: PID 1 means nothing by a container's signals."""
    with m.pod() as pod:
        c = pod.run('c', edit=all_caps, agent_pidns=True)
        expect(c.sh('readlink /proc/self/ns/pid') != '' and 'sleep' not in c.sh('cat /proc/1/comm'), True)
        c.sh('for s in TERM INT QUIT HUP USR1 USR2 SEGV ABRT ILL TRAP SYS BUS FPE PIPE ALRM CHLD STOP TSTP KILL 40; do '
             'kill -$s 1; done; for i in 1 2 3 4 5 6 7 8; do sh -c "kill -TERM 1; kill -INT 1" & done; wait')
        time.sleep(0.3)
        m.call('Check', timeout=5)
        expect(m.guest.is_running(), True)


def agents_memory(m):
    """A container in the agent's pid namespace, with the usual capabilities, reads nothing of it."""
    with m.pod() as pod:
        c = pod.run('c', agent_pidns=True)
        for name in ('mem', 'environ', 'maps', 'auxv'):
            has(c.exec('sh', '-c', 'head -c 1 /proc/1/%s' % name).stderr.decode(), 'ermission denied')
        for name in ('root/', 'cwd/'):
            has(c.exec('sh', '-c', 'ls /proc/1/%s' % name).stderr.decode(), 'ermission denied')
        for name in ('exe', 'root', 'ns/mnt', 'fd/*'):      # numbers of descriptors are seen, and no more
            expect(c.sh('for f in /proc/1/%s; do readlink $f; done; true' % name), '', name)


def forged_uevents(m):
    """With CAP_NET_ADMIN they can be sent; only the kernel's are believed."""
    with m.pod() as pod:
        c = pod.run('c', edit=all_caps)
        expect(int(c.sh('attack uevents 5000').split()[1]) > 0, True, 'sent')
        m.call('Check', timeout=8)
        # The host's wait for a device of that name is not over, either.
        r = m.future('CreateContainer', container_id='d', exec_id='d', OCI=m.spec('true'), devices=[
            dict(type='blk', vm_path='/dev/forged', container_path='/dev/x', id='x')])
        for _ in range(5):
            c.sh('attack uevents 100')
            time.sleep(0.1)
        expect(r.done() and r.exception() is None, False, 'the forged device was taken')
        r.cancel()


def kernel_runs_no_programs(m):
    """What the kernel would start for a privileged container is not started: core_pattern, release_agent, modprobe, sysrq keys."""
    with m.pod() as pod:
        c = pod.run('c', edit=edits(all_caps, mount('/tmp', 'tmpfs', 'tmpfs'), lambda config: config['linux'].update(
            maskedPaths=[], readonlyPaths=[])))
        watch = pod.run('watch', edit=see_guest)
        c.sh('echo "|/bin/touch /run/owned" >/proc/sys/kernel/core_pattern; ulimit -c unlimited; sh -c "kill -SEGV \\$\\$"; '
             'mkdir /tmp/g && mount -t cgroup -o devices x /tmp/g && { echo /bin/touch >/tmp/g/release_agent; mkdir /tmp/g/r; '
             'echo 1 >/tmp/g/r/notify_on_release; sh -c "echo 0 >/tmp/g/r/cgroup.procs"; rmdir /tmp/g/r; umount /tmp/g; }; true')
        time.sleep(0.5)
        expect(watch.sh('ls /guest/run').split().count('owned'), 0)
        c.sh('echo core >/proc/sys/kernel/core_pattern')


CASES = [console_and_log_ports, vsock_flood, signals_of_containers, agents_memory, forged_uevents, kernel_runs_no_programs]


def main():
    tap = Tap()
    only = sys.argv[1:]
    with Machine(append=['agent.debug_console_vport=1026', 'agent.log_vport=1025']) as m:
        subprocess.run(['cc', '-std=gnu11', '-D_GNU_SOURCE', '-O1', '-Wall', '-static', '-o', os.path.join(
            m.road.rootfs, 'bin', 'attack'), os.path.join(HERE, 'guest', 'attack.c')], check=True)
        for case in CASES:
            if not only or case.__name__ in only:
                with tap.case(case.__name__.replace('_', ' ')):
                    case(m)
        tap.ok(m.guest.is_running(), 'the guest lives')
    return tap.done()


if __name__ == '__main__':
    sys.exit(main())
