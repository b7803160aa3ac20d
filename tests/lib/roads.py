# SPDX-License-Identifier: Apache-2.0
"""Containers by agent-ctl, over any road: an agent on this host, a guest's vsock, its serial port; gRPC or ttrpc."""
import json
import os
import shutil
import subprocess
import tempfile

from tap import BUILD

CTL = os.environ.get('AGENT_CTL', os.path.join(BUILD, 'agent-ctl'))
APPLETS = ('sh cat echo sleep true false dd ls id env head stty kill yes sha256sum wc tr ps hostname mount '
           'touch rm mkdir grep readlink stat seq test mknod umount df ln pwd setsid nohup').split()


class Road:
    def __init__(self, address, protocol='grpc', share=None, busybox='/bin/busybox'):
        self.address, self.protocol, self.share = address, protocol, share
        self.work = share or tempfile.mkdtemp(prefix='e2e-', dir='/tmp')
        self.count = 0
        self.rootfs = os.path.join(self.work, 'base')
        make_rootfs(self.rootfs, busybox)

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.close()

    def close(self):
        if not self.share:
            shutil.rmtree(self.work, ignore_errors=True)

    def argv(self, *args):
        return [CTL, '--addr', self.address, '--protocol', self.protocol, *args]

    def ctl(self, *args, check=None, timeout=60, **kw):
        kw.setdefault('stdout', subprocess.PIPE)
        kw.setdefault('stderr', subprocess.PIPE)
        if 'input' not in kw:
            kw.setdefault('stdin', subprocess.DEVNULL)
        r = subprocess.run(self.argv(*args), timeout=timeout, **kw)
        if check is not None and r.returncode != check:
            raise AssertionError('agent-ctl %s: exit %d, expected %d\n%s' % (
                ' '.join(args), r.returncode, check, (r.stderr or b'').decode(errors='replace')))
        return r

    def popen(self, *args, **kw):
        kw.setdefault('stdout', subprocess.PIPE)
        kw.setdefault('stderr', subprocess.PIPE)
        kw.setdefault('stdin', subprocess.DEVNULL)
        return subprocess.Popen(self.argv(*args), **kw)

    @property
    def where(self):
        return ['--shared', self.share] if self.share else ['--no-share']

    def bundle(self, cmd=None, edit=None, *spec_args):
        """A bundle whose config.json runs a shell command; edit(config) may change it."""
        self.count += 1
        path = os.path.join(self.work, 'b%d' % self.count)
        os.makedirs(path, exist_ok=True)
        args = [CTL, 'spec', '--rootfs', '../base', *spec_args]
        if cmd is not None:
            args += ['--cmd', cmd]
        config = json.loads(subprocess.run(args, stdout=subprocess.PIPE, check=True).stdout)
        if edit:
            edit(config)
        with open(os.path.join(path, 'config.json'), 'w') as f:
            json.dump(config, f)
        return path

    def run(self, cmd, edit=None, check=None, args=(), **kw):
        return self.ctl('run', *self.where, *args, self.bundle(cmd, edit), check=check, **kw)

    def kept(self, cmd='exec sleep 1000', edit=None):
        return Kept(self, cmd, edit)


class Kept:
    """A container that stays, with its sandbox, for the time of a with statement."""

    def __init__(self, road, cmd, edit):
        self.road, self.cmd, self.edit = road, cmd, edit

    def __enter__(self):
        self.id = self.road.run(self.cmd, self.edit, check=0, args=['-d', '-n']).stdout.decode().strip()
        return self

    def __exit__(self, kind, value, trace):
        self.road.ctl('remove', self.id)
        self.road.ctl('destroy-sandbox', check=0)

    def exec(self, *args, check=None, **kw):
        return self.road.ctl('exec', *(['-n'] if 'input' not in kw else []), self.id, *args, check=check, **kw)

    def sh(self, cmd, check=0, **kw):
        return self.exec('sh', '-c', cmd, check=check, **kw).stdout.decode()


def make_rootfs(path, busybox='/bin/busybox'):
    os.makedirs(os.path.join(path, 'bin'), exist_ok=True)
    shutil.copy(busybox, os.path.join(path, 'bin', 'busybox'))
    for d in ('proc', 'dev', 'sys', 'tmp', 'etc', 'root'):
        os.makedirs(os.path.join(path, d), exist_ok=True)
    for a in APPLETS:
        link = os.path.join(path, 'bin', a)
        if not os.path.lexists(link):
            os.symlink('busybox', link)
    with open(os.path.join(path, 'etc', 'passwd'), 'w') as f:
        f.write('root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n')
    with open(os.path.join(path, 'etc', 'group'), 'w') as f:
        f.write('root:x:0:\nann:x:1000:\naudio:x:29:ann\n')


def error_of(r):
    return r.stderr.decode(errors='replace')
