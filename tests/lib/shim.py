# SPDX-License-Identifier: Apache-2.0
"""A client that behaves as the Go shims of 3.x and 4.x do, over one ttrpc connection.

    shim = Shim(agent.sock)
    shim.c.CreateSandbox(sandbox_id='sb')   any call, by lib/rpc.py
    shim.kubelet('c1-config', 'one', b'x')  a ConfigMap of a host that shares nothing
    shim.shell('c1', 'cat /config/key')     an exec: its output, its exit code is looked at
"""
import stat
import time

from rpc import Ttrpc, oci_pb2
from tap import expect

SHARE = '/run/kata-containers/shared/containers'


class Shim:
    def __init__(self, sock):
        self.c = Ttrpc(sock)

    def copy(self, path, data=b'', kind=stat.S_IFREG, mode=0o644):
        """As the shim copies: chunks of a MiB at most; folders and links by their mode."""
        size = len(data) if kind == stat.S_IFREG else 0
        for at in range(0, max(1, len(data)), 1 << 20):
            self.c.CopyFile(path=SHARE + '/' + path, file_size=size, file_mode=kind | mode, dir_mode=0o750, uid=0, gid=0,
                            offset=at, data=data[at:at + (1 << 20)])

    def kubelet(self, volume, version, text):
        """A ConfigMap as kubelet writes it, the way the shim copies it: folder, file, then the link that counts."""
        self.copy(volume, kind=stat.S_IFDIR, mode=0o755)
        self.copy('%s/..%s' % (volume, version), kind=stat.S_IFDIR, mode=0o755)
        self.copy('%s/..%s/key' % (volume, version), text)
        self.copy(volume + '/key', b'..data/key', stat.S_IFLNK, 0o777)
        self.copy(volume + '/..data', b'..' + version.encode(), stat.S_IFLNK, 0o777)

    def read(self, cid, words, timeout=10):
        """A container's output until the words have come."""
        text, end = '', time.monotonic() + timeout
        while words not in text:
            expect(time.monotonic() < end, True, '%r in %r in time' % (words, text))
            text += self.c.ReadStdout(container_id=cid, exec_id=cid, len=4096).data.decode()
        return text

    def copied(self, cid, exec_id, read):
        """What one of the shim's copy loops gets: until the empty answer."""
        text = b''
        while True:
            data = read(container_id=cid, exec_id=exec_id, len=32768, _timeout=60).data
            if not data:
                return text.decode()
            text += data

    def shell(self, cid, cmd, status=0):
        """An exec, as a probe is one. Its standard output."""
        eid = 'e%d' % time.monotonic_ns()
        self.c.ExecProcess(container_id=cid, exec_id=eid, process=oci_pb2.Process(
            Args=['sh', '-c', cmd], Env=['PATH=/bin'], Cwd='/', User=oci_pb2.User()))
        text = self.copied(cid, eid, self.c.ReadStdout)
        expect(self.c.WaitProcess(container_id=cid, exec_id=eid).status, status, cmd)
        return text
