# SPDX-License-Identifier: Apache-2.0
"""Starts agents on this host: the one way for all tests.

    with Agent() as agent:          in namespaces and cgroups of its own
        s = agent.connect()
    with Agent(isolated=False)      as an ordinary process, which shares the test's namespaces
    Service('unix://')              the test service of tests/wire instead of an agent, under ASan

Its /run is a tmpfs that nobody else sees, and each of its cgroup hierarchies begins at a directory of
its own, as in a guest. So two runs of one test, side by side, don't meet: ids may be fixed.
"""
import os
import shutil
import signal
import socket
import subprocess
import tempfile

from tap import BUILD, TOP, retry

AGENT = os.environ.get('AGENT', os.path.join(BUILD, 'kata-agent'))
AGENT_SAN = os.path.join(BUILD, 'kata-agent-san')
QUIET_SAN = dict(ASAN_OPTIONS='detect_leaks=0:abort_on_error=1', UBSAN_OPTIONS='print_stacktrace=1')


def sanitized():
    """The agent under the sanitizers where that is built, unless AGENT names one."""
    return AGENT if 'AGENT' in os.environ or not os.access(AGENT_SAN, os.X_OK) else AGENT_SAN


class Server:
    """A program that listens on unix sockets below a directory of its own. schemes: 'unix://', 'yamux+unix://'."""

    def __init__(self, schemes=('unix://',), env=None):
        self.dir = tempfile.mkdtemp(prefix='agent-', dir='/tmp')
        self.schemes, self.env = schemes, dict(os.environ, **(env or {}))
        self.paths = [os.path.join(self.dir, 's%d' % i) for i in range(len(schemes))]
        self.log_path = os.path.join(self.dir, 'log')
        self.process = None

    def argv(self, *addresses):
        raise NotImplementedError

    def start(self):
        # It ends with its test, however that ends.
        argv = ['setpriv', '--pdeathsig', 'TERM', *self.argv(*[s + p for s, p in zip(self.schemes, self.paths)])]
        with open(self.log_path, 'wb') as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env)
        self.pid = self.process.pid
        try:
            retry(self._listens)
        except BaseException:
            self.stop()
            raise
        return self

    def _listens(self):
        if not self.alive():
            raise RuntimeError('it did not start: ' + self.log())
        for p in self.paths:
            os.stat(p)

    def terminate(self):
        """Ends it. Its log is still there to be read."""
        if self.process and self.alive():
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def stop(self):
        """Ends it and all that is left of it."""
        self.terminate()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *what):
        self.stop()

    @property
    def sock(self):
        return self.paths[0]

    @property
    def address(self):
        return self.schemes[0] + self.paths[0]

    def connect(self, i=0, timeout=10):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(timeout)
        s.connect(self.paths[i])
        return s

    def alive(self):
        return self.process.poll() is None

    def log(self):
        with open(self.log_path, errors='replace') as f:
            return f.read()

    def sanitizer(self):
        """What a sanitizer has said."""
        return [line for line in self.log().splitlines() if 'Sanitizer' in line or 'runtime error' in line]

    def fds(self):
        return len(os.listdir('/proc/%d/fd' % self.pid))

    def rss_kb(self):
        with open('/proc/%d/status' % self.pid) as f:
            return next(int(line.split()[1]) for line in f if line.startswith('VmRSS'))

    def children(self):
        with open('/proc/%d/task/%d/children' % (self.pid, self.pid)) as f:
            return f.read().split()


class Service(Server):
    """tests/wire/server.c. It ends by DestroySandbox; end() says whether it ended well."""

    def __init__(self, *schemes):
        super().__init__(schemes, dict(ASAN_OPTIONS='exitcode=99:detect_leaks=1:quarantine_size_mb=4'))
        self.program = os.path.join(TOP, subprocess.check_output(
            [os.path.join(TOP, 'tests/wire/build.sh')], text=True).strip())
        self.start()

    def argv(self, *addresses):
        return [self.program, *addresses]

    def end(self):
        """After DestroySandbox: it must end by itself, and no sanitizer may have spoken."""
        try:
            status = self.process.wait(20)
        except subprocess.TimeoutExpired:
            raise RuntimeError('the server did not end') from None
        finally:
            said = self.log()[-3000:]
            self.stop()
        if status != 0:
            raise RuntimeError('the server ended with %s: %s' % (status, said))


class Agent(Server):
    """has_cgroups False: isolated, in a guest that has none at all."""

    def __init__(self, binary=None, env=None, args=(), isolated=True, schemes=('unix://',), has_cgroups=True):
        super().__init__(schemes, env)
        self.binary, self.args, self.isolated, self.has_cgroups = binary or AGENT, args, isolated, has_cgroups
        self.cgroups = Cgroups() if isolated else None

    def argv(self, *addresses):
        argv = [self.binary, '--server-addr', *addresses, *self.args]
        if not self.isolated:
            return argv
        # A shell joins the cgroups, which the new namespace then takes for its top.
        inside = 'mount -t tmpfs -o mode=755 run /run\n%s\nexec "$@"' % self.cgroups.mount_script(self.has_cgroups)
        return ['sh', '-ec', self.cgroups.join_script() + '\nexec "$@"', 'sh',
                'unshare', '--mount', '--net', '--uts', '--ipc', '--cgroup', '--propagation', 'private',
                'sh', '-ec', inside, 'sh', *argv]

    def start(self):
        if self.cgroups:
            self.cgroups.make()
        return super().start()

    def stop(self):
        super().stop()
        if self.cgroups:
            self.cgroups.remove()

    @property
    def root(self):
        """Its view of the file system."""
        return '/proc/%d/root' % self.pid

    def mounts(self):
        with open('/proc/%d/mountinfo' % self.pid) as f:
            return sorted(line.split()[4] for line in f)

    def cgroup_dirs(self, word):
        """The cgroups below its own with that word in their names, in any hierarchy."""
        return self.cgroups.find(word)


class Cgroups:
    """A directory in each hierarchy of this host, with a name that nobody else has, in whatever pid namespace."""

    def __init__(self):
        self.name = 'agent-test.' + os.urandom(6).hex()
        self.mounts = []        # (mount point, type, options)
        with open('/proc/self/mountinfo') as f:
            for line in f:
                left, right = line.split(' - ')
                kind, _, options = right.split()
                point = left.split()[4]
                if kind in ('cgroup', 'cgroup2') and os.access(point, os.W_OK):
                    options = [o for o in options.split(',') if o not in ('rw', 'ro')]
                    self.mounts.append((point, kind, ','.join(options) if kind == 'cgroup' else ''))

    def dirs(self):
        return [os.path.join(point, self.name) for point, _, _ in self.mounts]

    def make(self):
        for d in self.dirs():
            os.mkdir(d)
            # What a new one has too little of: processors, memory nodes, real-time (a part, for others want some).
            for name, value in (('cpuset.cpus', None), ('cpuset.mems', None), ('cpu.rt_runtime_us', '50000')):
                try:
                    with open(os.path.join(d, '..', name)) as above, open(os.path.join(d, name), 'w') as own:
                        own.write(value or above.read())
                except OSError:
                    pass

    def join_script(self):
        return '\n'.join('echo $$ >%s/cgroup.procs' % d for d in self.dirs())

    def mount_script(self, has_cgroups=True):
        """Each hierarchy once more, seen from the namespace. In v2 who has processes can't have controllers below."""
        if not has_cgroups:
            return '\n'.join('umount -l %s' % point for point, _, _ in reversed(self.mounts))
        out = []
        for point, kind, options in self.mounts:
            out.append('umount %s && mount -t %s %s cgroup %s' % (point, kind, '-o ' + options if options else '', point))
            if kind == 'cgroup2':
                out.append('mkdir %s/agent && echo $$ >%s/agent/cgroup.procs' % (point, point))
        return '\n'.join(out)

    def find(self, word):
        return [os.path.join(base, d) for top in self.dirs() for base, dirs, _ in os.walk(top) for d in dirs
                if word in d]

    def remove(self):
        """With whoever is still in them."""
        def gone():
            for top in self.dirs():
                for base, _, _ in os.walk(top, topdown=False):
                    with open(os.path.join(base, 'cgroup.procs')) as f:
                        for pid in f.read().split():
                            os.kill(int(pid), signal.SIGKILL)
                    os.rmdir(base)
        retry(gone)
