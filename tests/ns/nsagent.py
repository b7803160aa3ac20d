# SPDX-License-Identifier: Apache-2.0
"""What the engine's tests on this host share: containers in an agent (lib/server.py), and what their process finds.

    with nsagent.Agent() as agent, agent.road() as road:
        out = nsagent.probe(road, edit)
"""
import json
import os
import shutil
import subprocess

import roads
import server
from roads import error_of
from tap import BUILD, expect, has

HERE = os.path.dirname(os.path.abspath(__file__))


def prog(name, *flags):
    """The path of a helper program, built static when it is older than its source."""
    out = os.path.join(BUILD, 'tests', 'progs', name)
    source = os.path.join(HERE, 'progs', name + '.c')
    if not os.path.exists(out) or os.stat(out).st_mtime < os.stat(source).st_mtime:
        os.makedirs(os.path.dirname(out), exist_ok=True)
        new = '%s.%d' % (out, os.getpid())
        subprocess.run(['gcc', '-O1', '-Wall', '-D_GNU_SOURCE', '-static', '-o', new, source, *flags], check=True)
        os.rename(new, out)
    return out


class Road(roads.Road):
    def __init__(self, address, protocol):
        super().__init__(address, protocol)
        shutil.copy(prog('probe'), os.path.join(self.rootfs, 'bin', 'probe'))

    def image(self):
        """A root file system of one's own: a copy of the usual one, to be spoiled."""
        self.count += 1
        path = os.path.join(self.work, 'image%d' % self.count)
        subprocess.run(['cp', '-al', self.rootfs, path], check=True)
        for name in ('passwd', 'group'):    # what a test may write to is no link to the common one
            file = os.path.join(path, 'etc', name)
            shutil.copy(file, file + '.own')
            os.rename(file + '.own', file)
        return path


class Agent(server.Agent):
    def road(self, protocol='grpc'):
        return Road(self.address, protocol)


def run_cases(tap, agent, road, table, only=None):
    """Runs functions of (agent, road); each must leave nothing behind."""
    for case in table:
        if only and not any(word in case.__name__ for word in only):
            continue
        with tap.case(case.__name__.replace('_', ' ')):
            case(agent, road)
        if not agent.alive():
            tap.ok(False, 'the agent died in: ' + case.__name__)
            break


def finish(tap, agent):
    status = tap.done()
    if status != 0:
        print('# the agent said:\n# ' + '# '.join(agent.log().splitlines(True)[-40:]))
    return status


def probe(road, edit=None, args=()):
    """What a container's process finds itself with."""
    def both(c):
        c['process']['args'] = ['/bin/probe', *args]
        if edit:
            edit(c)
    return json.loads(road.run(None, both, check=0).stdout)


def refused(road, edit, *words, cmd='true'):
    """Creating such a container fails with all of the words, and the agent is as before."""
    r = road.run(cmd, edit)
    expect(r.returncode in (125, 126, 127), True, 'status %d' % r.returncode)
    has(error_of(r), *words)


def mounts_of(text):
    """mountinfo by mount point: the last mount on each."""
    out = {}
    for line in text.splitlines():
        a, b = line.split(' - ', 1)
        a, b = a.split(), b.split()
        out[a[4]] = {'options': a[5].split(','), 'propagation': a[6:], 'type': b[0], 'source': b[1],
                     'super': b[2].split(','), 'root': a[3]}
    return out


def mountinfo(road, edit=None, cmd='cat /proc/self/mountinfo'):
    return mounts_of(road.run(cmd, edit, check=0).stdout.decode())


CAPS = ('CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE '
        'NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT '
        'SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL '
        'SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF '
        'CHECKPOINT_RESTORE').split()


def cap_mask(*names):
    return sum(1 << CAPS.index(n.replace('CAP_', '')) for n in names)


def all_caps(c, sets=('bounding', 'effective', 'permitted')):
    c['process']['capabilities'] = {s: ['CAP_' + n for n in CAPS] for s in sets}


def namespaces(c, *add, drop=()):
    ns = [n for n in c['linux']['namespaces'] if n['type'] not in drop]
    c['linux']['namespaces'] = ns + [n if isinstance(n, dict) else {'type': n} for n in add]


def mount(c, destination, type_, source, *options):
    c['mounts'].append({'destination': destination, 'type': type_, 'source': source, 'options': list(options)})


def drop_mount(c, *destinations):
    c['mounts'] = [m for m in c['mounts'] if m['destination'] not in destinations]
