# SPDX-License-Identifier: Apache-2.0
"""Guests for tests: start one through boot.sh, and talk to it.

    with vmlib.Guest(initrd=...) as guest:
        guest.wait_agent()
        expect(guest.agent_ctl('check').returncode, 0)

Only Python's standard library is used.
"""
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'lib'))
from tap import BUILD, retry  # noqa: E402

BOOT = os.path.join(HERE, 'boot.sh')
KERNEL = os.environ.get('VM_KERNEL', os.path.join(BUILD, 'kata-vmlinuz'))
INITRD = os.environ.get('VM_INITRD', os.path.join(BUILD, 'kata-containers-initrd.img'))
AGENT_PORT = 1024


class Refused(ConnectionError):
    """Nobody listens on that port of the guest (yet)."""


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


class Bridge:
    """A Unix socket each connection of which is carried on to the guest's port: grpcio can't say CONNECT."""

    def __init__(self, guest):
        self.guest, self.path = guest, guest.path('bridge.sock')
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(16)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self.listener.close()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
                far = self.guest.connect(timeout=None)
            except OSError:
                return
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(a, b), daemon=True).start()

    @staticmethod
    def _carry(source, sink):
        try:
            while True:
                data = source.recv(1 << 18)
                if not data:
                    break
                sink.sendall(data)
        except OSError:
            pass
        for s in (source, sink):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


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
