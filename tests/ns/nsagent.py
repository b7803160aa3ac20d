# SPDX-License-Identifier: Apache-2.0
"""The agent as an ordinary process in namespaces of its own, for the engine's tests on this host.

    with nsagent.Agent() as agent, agent.road() as road:
        out = nsagent.probe(road, edit)

Its /run is a tmpfs that nobody else sees, so nothing of it reaches the machine but cgroups, which its
containers take along.
"""
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'e2e'))
import cases  # noqa: E402
from vmlib import Skip, Tap, expect, retry  # noqa: E402,F401

BUILD = cases.BUILD
AGENT = os.environ.get('AGENT', os.path.join(BUILD, 'kata-agent'))
error_of, has = cases.error_of, cases.has


def need_root():
    if os.geteuid() != 0:
        print('1..0 # SKIP needs root')
        sys.exit(77)


def prog(name, *flags):
    """The path of a helper program, built static when it is older than its source."""
    out = os.path.join(BUILD, 'tests', 'progs', name)
    source = os.path.join(HERE, 'progs', name + '.c')
    if not os.path.exists(out) or os.stat(out).st_mtime < os.stat(source).st_mtime:
        os.makedirs(os.path.dirname(out), exist_ok=True)
        subprocess.run(['gcc', '-O1', '-Wall', '-D_GNU_SOURCE', '-static', '-o', out + '.new', source, *flags],
                       check=True)
        os.rename(out + '.new', out)
    return out


class Road(cases.Road):
    def __init__(self, address, protocol):
        super().__init__(address, protocol)
        shutil.copy(prog('probe'), os.path.join(self.rootfs, 'bin', 'probe'))

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.close()

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


class Agent:
    def __init__(self, binary=AGENT, env=None, args=()):
        self.binary, self.env, self.args = binary, env, args
        self.dir = tempfile.mkdtemp(prefix='nsagent-', dir='/tmp')
        self.sock = os.path.join(self.dir, 'agent.sock')
        self.log_path = os.path.join(self.dir, 'log')

    def __enter__(self):
        with open(self.log_path, 'wb') as log:
            self.process = subprocess.Popen(
                ['unshare', '--mount', '--net', '--uts', '--ipc', '--propagation', 'private', 'sh', '-c',
                 'mount -t tmpfs -o mode=755 run /run && exec "$@"', 'sh', self.binary, '--server-addr',
                 'unix://' + self.sock, *self.args],
                stderr=log, stdin=subprocess.DEVNULL, env=self.env)
        self.pid = self.process.pid
        retry(lambda: os.stat(self.sock))
        return self

    def __exit__(self, *what):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    @property
    def address(self):
        return 'unix://' + self.sock

    @property
    def root(self):
        """Its view of the file system."""
        return '/proc/%d/root' % self.pid

    def road(self, protocol='grpc'):
        return Road(self.address, protocol)

    def alive(self):
        return self.process.poll() is None

    def log(self):
        with open(self.log_path, errors='replace') as f:
            return f.read()

    def fds(self):
        return len(os.listdir('/proc/%d/fd' % self.pid))

    def mounts(self):
        with open('/proc/%d/mountinfo' % self.pid) as f:
            return sorted(line.split()[4] for line in f)

    def children(self):
        with open('/proc/%d/task/%d/children' % (self.pid, self.pid)) as f:
            return f.read().split()


def cgroup_dirs(word):
    """The directories of that name in any hierarchy."""
    found = []
    for base, dirs, _ in os.walk('/sys/fs/cgroup'):
        found += [os.path.join(base, d) for d in dirs if word in d]
    return found


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


@contextlib.contextmanager
def took_less(seconds):
    began = time.monotonic()
    yield
    expect(time.monotonic() - began < seconds, True, 'within %g s: %.1f' % (seconds, time.monotonic() - began))


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
