# SPDX-License-Identifier: Apache-2.0
"""Guests for tests: start one through boot.sh, talk to it, report in TAP.

    import vmlib
    tap = vmlib.Tap()
    with vmlib.Guest(initrd=...) as guest:
        with tap.case('the agent answers'):
            vmlib.expect(guest.agent_ctl('check').returncode, 0)
    sys.exit(tap.done())

Only Python's standard library is used.
"""
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get('BUILD', os.path.join(TOP, 'build'))
BOOT = os.path.join(HERE, 'boot.sh')
KERNEL = os.environ.get('VM_KERNEL', os.path.join(BUILD, 'kata-vmlinuz'))
INITRD = os.environ.get('VM_INITRD', os.path.join(BUILD, 'kata-containers-initrd.img'))
AGENT_PORT = 1024


class Skip(Exception):
    """Raised within a case: the thing cannot be tested here, and why."""


class Refused(ConnectionError):
    """Nobody listens on that port of the guest (yet)."""


def expect(got, want, what='value'):
    if got != want:
        raise AssertionError('%s is %r, expected %r' % (what, got, want))


def retry(fn, timeout=10.0, pause=0.02, on=(OSError, AssertionError)):
    """Calls fn until it does not raise one of `on`, and returns its result."""
    end = time.monotonic() + timeout
    while True:
        try:
            return fn()
        except on:
            if time.monotonic() > end:
                raise
        time.sleep(pause)


class Tap:
    """Test Anything Protocol on standard output; the plan comes last."""

    def __init__(self, out=sys.stdout):
        self.out = out
        self.passed = self.failed = self.skipped = 0

    def _line(self, text):
        print(text, file=self.out, flush=True)

    def note(self, text):
        for line in str(text).splitlines():
            self._line('# ' + line)

    def _number(self):
        return self.passed + self.failed + self.skipped

    def ok(self, good, name):
        if good:
            self.passed += 1
        else:
            self.failed += 1
        self._line('%s %d - %s' % ('ok' if good else 'not ok', self._number(), name))
        return good

    def skip(self, name, why):
        self.skipped += 1
        self._line('ok %d - %s # SKIP %s' % (self._number(), name, why))

    @contextlib.contextmanager
    def case(self, name):
        """One test: it passes unless the body raises. What it raises goes no further."""
        start = time.monotonic()
        try:
            yield
        except Skip as why:
            self.skip(name, why)
        except KeyboardInterrupt:
            raise
        except Exception:  # pylint: disable=broad-except
            self.ok(False, name)
            self.note(traceback.format_exc())
        else:
            self.ok(True, '%s (%.2f s)' % (name, time.monotonic() - start))

    def done(self):
        """Prints the plan. Returns the exit status: 0, 1, or 77 if all was skipped."""
        self._line('1..%d' % self._number())
        self._line('# %d passed, %d failed, %d skipped' %
                   (self.passed, self.failed, self.skipped))
        if self.failed:
            return 1
        return 77 if self.skipped and not self.passed else 0


class Qmp:
    """One connection to QEMU's monitor."""

    def __init__(self, path, timeout=10):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(timeout)
        self.sock.connect(path)
        self.file = self.sock.makefile('rw', encoding='utf-8')
        self.events = []
        self._read()  # the greeting
        self.command('qmp_capabilities')

    def _read(self):
        line = self.file.readline()
        if not line:
            raise ConnectionError('QEMU closed its monitor')
        return json.loads(line)

    def command(self, name, **arguments):
        arguments = {k.replace('_', '-'): v for k, v in arguments.items()}
        self.file.write(json.dumps({'execute': name, 'arguments': arguments}) + '\n')
        self.file.flush()
        while True:
            msg = self._read()
            if 'return' in msg:
                return msg['return']
            if 'error' in msg:
                raise RuntimeError('QEMU: %s: %s' % (name, msg['error'].get('desc')))
            self.events.append(msg)

    def wait_event(self, name, timeout=10):
        """Returns the next event of that name, also one that came before."""
        self.sock.settimeout(timeout)
        while True:
            for i, event in enumerate(self.events):
                if event.get('event') == name:
                    return self.events.pop(i)
            self.events.append(self._read())

    def close(self):
        self.file.close()
        self.sock.close()


class Guest:
    """A guest machine. Options are boot.sh's: mem='512M', hotplug=True, append=['a', 'b']..."""

    def __init__(self, kernel=KERNEL, initrd=None, image=None, directory=None, **options):
        if initrd is None and image is None:
            initrd = INITRD
        self.keep_dir = directory is not None or bool(os.environ.get('VM_KEEP'))
        # Short, as the names of sockets are; /tmp rather than a TMPDIR deep in some tree.
        self.dir = directory or tempfile.mkdtemp(prefix='vm-', dir='/tmp')
        self.options = dict(options, kernel=kernel, initrd=initrd, image=image)
        self.killed_by_test = False

    def path(self, name):
        return os.path.join(self.dir, name)

    def _boot(self, command, *args, timeout=120):
        run = subprocess.run([BOOT, command, '--dir', self.dir, *args], timeout=timeout,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
        if run.returncode != 0 and command != 'status':
            raise RuntimeError('boot.sh %s: exit %d\n%s' %
                               (command, run.returncode, run.stderr))
        return run

    def start(self):
        args = []
        for name, value in self.options.items():
            option = '--' + name.replace('_', '-')
            if value is True:
                args.append(option)
            elif isinstance(value, (list, tuple)):
                for item in value:
                    args += [option, str(item)]
            elif value is not None and value is not False:
                args += [option, str(value)]
        self._boot('start', *args)
        return self

    def wait_agent(self, timeout=60):
        self._boot('wait', '--timeout', str(timeout), timeout=timeout + 20)
        return self

    def stop(self):
        self._boot('stop')
        if not self.keep_dir:
            shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, kind, value, trace):
        if kind is not None and os.path.exists(self.path('console.log')):
            print('# the last lines of the console:\n# ' +
                  '\n# '.join(self.console().splitlines()[-25:]), flush=True)
        self.stop()

    def is_running(self):
        return self._boot('status').returncode == 0

    @property
    def address(self):
        with open(self.path('address'), encoding='utf-8') as f:
            return f.read().strip()

    def console(self):
        with open(self.path('console.log'), encoding='utf-8', errors='replace') as f:
            return f.read().replace('\r', '')

    def wait_console(self, text, timeout=30):
        def look():
            if text not in self.console():
                if not self.is_running():
                    raise RuntimeError('the guest ended without saying %r' % text)
                raise AssertionError('%r is not on the console' % text)
        retry(look, timeout)

    def qmp_open(self):
        return Qmp(self.path('qmp.sock'))

    def qmp(self, name, **arguments):
        """One command: qmp('device_add', driver='virtio-blk-pci', drive='d', bus='...')"""
        q = self.qmp_open()
        try:
            return q.command(name, **arguments)
        finally:
            q.close()

    def connect(self, port=AGENT_PORT, timeout=10):
        """A socket to a vsock port of the guest. Its attribute host_port names our end."""
        s = VsockSocket(socket.AF_UNIX)
        try:
            s.settimeout(timeout)
            s.connect(self.path('vsock.sock'))
            s.sendall(b'CONNECT %d\n' % port)
            line = b''
            while not line.endswith(b'\n'):
                got = s.recv(1)
                if not got:
                    raise Refused('port %d of the guest' % port)
                line += got
            s.host_port = int(line.split()[1])
            return s
        except BaseException:
            s.close()
            raise

    def listen(self, port):
        """A socket that accepts what the guest connects to CID 2, that port."""
        s = socket.socket(socket.AF_UNIX)
        s.bind(self.path('vsock.sock_%d' % port))
        s.listen(16)
        s.settimeout(10)
        return s

    def fault(self, command):
        """One command for the vsock device (vhost-user-vsock --help). Returns the answer."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(self.path('control.sock'))
            s.sendall(command.encode() + b'\n')
            answer = b''
            while b'\n' not in answer:
                got = s.recv(65536)
                if not got:
                    break
                answer += got
        if not answer.startswith(b'ok'):
            raise RuntimeError('fault %r: %s' % (command, answer.decode().strip()))
        return answer.decode()

    def counters(self):
        return {k: int(v) for k, v in
                (word.split('=') for word in self.fault('status').split()[1:])}

    def agent_ctl(self, *args, timeout=60, **kwargs):
        """Runs agent-ctl against this guest; output is captured as bytes unless told."""
        kwargs.setdefault('stdout', subprocess.PIPE)
        kwargs.setdefault('stderr', subprocess.PIPE)
        if 'input' not in kwargs:
            kwargs.setdefault('stdin', subprocess.DEVNULL)
        tool = os.environ.get('AGENT_CTL', os.path.join(BUILD, 'agent-ctl'))
        return subprocess.run([tool, '--addr', self.address, *args], timeout=timeout, **kwargs)


class VsockSocket(socket.socket):
    host_port = None


def write_initrd(path, files):
    """An initramfs of `files`, {name: content or None for a directory}, plus /dev/console."""
    out = bytearray()
    count = 0

    def entry(name, mode, content=b'', rdev=(0, 0)):
        nonlocal count
        count += 1
        name = name.encode() + b'\0'
        fields = (count, mode, 0, 0, 1, 0, len(content), 0, 0, rdev[0], rdev[1], len(name), 0)
        out.extend(b'070701' + b''.join(b'%08x' % f for f in fields) + name)
        out.extend(b'\0' * (-len(out) % 4))
        out.extend(content)
        out.extend(b'\0' * (-len(out) % 4))

    for name in ('dev', 'proc', 'sys'):
        entry(name, 0o40755)
    entry('dev/console', 0o20600, rdev=(5, 1))
    for name, content in files.items():
        if content is None:
            entry(name, 0o40755)
        else:
            entry(name, 0o100755, content)
    entry('TRAILER!!!', 0)
    with open(path, 'wb') as f:
        f.write(out)
