#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""CDI: what the files of the guest say of a device comes into the container that names it, over ttrpc. TAP."""
import json
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import nsagent  # noqa: E402
import server  # noqa: E402
from rpc import Refused, Ttrpc, oci_pb2  # noqa: E402
from tap import Tap, expect, has, need_root, retry, took_less  # noqa: E402

TIMEOUT = 3
GPU = {
    'cdiVersion': '0.6.0', 'kind': 'example.com/gpu',
    'containerEdits': {'env': ['ALL=yes', 'PATH=/bin:/gpu'],
                       'mounts': [{'hostPath': '/etc', 'containerPath': '/host-etc', 'options': ['ro', 'rbind']}]},
    'devices': [
        {'name': '0', 'containerEdits': {
            'env': ['GPU=zero'], 'additionalGids': [4711],
            'deviceNodes': [{'path': '/dev/gpu0', 'hostPath': '/dev/zero', 'fileMode': 0o640, 'uid': 5, 'gid': 6},
                            {'path': '/dev/ctl', 'type': 'c', 'major': 1, 'minor': 3, 'permissions': 'rw'}],
            'hooks': [{'hookName': 'createRuntime', 'path': '/bin/sh',
                       'args': ['sh', '-c', 'echo "$WORD" >/run/hook-ran'], 'env': ['WORD=hooked', 'PATH=/bin']}]}},
        {'name': '1', 'containerEdits': {'env': ['GPU1="one"'], 'deviceNodes': [{'path': '/dev/full'}]}},
        {'name': 'all', 'containerEdits': {'env': ['GPU=all']}}]}
# as nvidia-ctk writes it
YAML = '''---
cdiVersion: 0.5.0
containerEdits:
  env:
  - NIC_ALL=yes
  hooks:
  - args:
    - nvidia-cdi-hook
    - create-symlinks
    hookName: prestart
    path: /bin/true
devices:
- containerEdits:
    deviceNodes:
    - path: /dev/nic0   # its numbers are those of the node
      hostPath: /dev/null
  name: "0"
- name: many
  containerEdits: {env: [NIC=flow, "NIC2=a b"]}
kind: example.com/nic
'''


class Host:
    def __init__(self, agent, road):
        self.agent, self.road, self.c = agent, road, Ttrpc(agent.sock)
        self.dir = agent.root + '/run/cdi'
        os.makedirs(self.dir, exist_ok=True)

    def write(self, name, what):
        with open(os.path.join(self.dir, name + '.new'), 'w', encoding='utf-8') as f:
            f.write(what if isinstance(what, str) else json.dumps(what, indent='\t'))
        os.rename(os.path.join(self.dir, name + '.new'), os.path.join(self.dir, name))

    def create(self, names='', env=(), annotations=None, cid='cdi', _later=False):
        caps = ['CAP_DAC_OVERRIDE', 'CAP_MKNOD']
        M = oci_pb2.Mount
        annotations = dict(annotations or {}, **({'cdi.k8s.io/x': names} if names else {}))
        spec = oci_pb2.Spec(
            Version='1.0.2', Root=oci_pb2.Root(Path=self.road.rootfs), Annotations=annotations,
            Process=oci_pb2.Process(Args=['sh', '-c', 'env; id; ls -ln /dev; ls -d /host-etc/passwd; echo the end; exec sleep 100'],
                                    Env=['PATH=/bin', *env], Cwd='/', User=oci_pb2.User(),
                                    Capabilities=oci_pb2.LinuxCapabilities(Bounding=caps, Effective=caps, Permitted=caps)),
            Mounts=[M(destination='/proc', type='proc', source='proc'),
                    M(destination='/dev', type='tmpfs', source='tmpfs', options=['mode=755'])],
            Linux=oci_pb2.Linux(Resources=oci_pb2.LinuxResources(), Namespaces=[oci_pb2.LinuxNamespace(Type='mount')]))
        return self.c.CreateContainer(container_id=cid, OCI=spec, _later=_later)

    def output(self, *args, **kw):
        """Of a container with these devices, which then goes."""
        self.create(*args, **kw)
        try:
            self.c.StartContainer(container_id='cdi')
            text, end = '', time.monotonic() + 10
            while 'the end' not in text and time.monotonic() < end:
                text += self.c.ReadStdout(container_id='cdi', len=65536).data.decode()
            return text
        finally:
            self.c.RemoveContainer(container_id='cdi')

    def refused(self, *words, **kw):
        names = kw.pop('names', '')
        try:
            self.create(names, **kw)
        except Refused as e:
            has(e.text, *words)
        else:
            self.c.RemoveContainer(container_id='cdi')
            raise AssertionError('it was made')


def without_devices(h):
    h.write('gpu.json', GPU)
    expect('ALL=yes' in h.output(), False)
    expect('ALL=yes' in h.output('example.com/gpu=0', annotations={'io.katacontainers.pkg.oci.container_type': 'pod_sandbox'}),
           False)


def json_edits(h):
    text = h.output('example.com/gpu=0')
    has(text, 'ALL=yes\n', 'GPU=zero\n', 'PATH=/bin:/gpu\n', '4711', '/host-etc/passwd')
    has(' '.join(text.split()), 'crw-r----- 1 5 6 1, 5', 'gpu0', '1, 3', 'ctl')
    with open(h.agent.root + '/run/hook-ran', encoding='ascii') as f:
        expect(f.read(), 'hooked\n')
    text = h.output('example.com/gpu=0, example.com/gpu=1')
    has(text, 'GPU=zero\n', 'GPU1="one"\n', 'gpu0', 'full')


def yaml_edits(h):
    h.write('nic.yaml', YAML)
    has(' '.join(h.output('example.com/nic=0', env=['NIC_ALL=no']).split()), 'NIC_ALL=yes', 'nic0')
    text = h.output('example.com/nic=many,example.com/gpu=1')
    has(text, 'NIC=flow\n', 'NIC2=a b\n', 'GPU1=', 'full')


def visible_devices(h):
    has(h.output(env=['VISIBLE_CDI_DEVICES=example.com/gpu=0,1:example.com/nic=0']), 'GPU=zero\n', 'GPU1=', 'nic0')
    has(h.output(env=['VISIBLE_CDI_DEVICES=example.com/gpu=all']), 'GPU=all\n')
    for none in ('', 'none', 'void', ' '):
        expect('ALL=yes' in h.output(env=['VISIBLE_CDI_DEVICES=' + none]), False)
    for bad in ('gpu', 'example.com/gpu=', 'example.com/gpu=x', '=0', 'example.com/gpu=0,,1', 'example.com/gpu=-1'):
        h.refused('VISIBLE_CDI_DEVICES', env=['VISIBLE_CDI_DEVICES=' + bad])


def what_is_not_there(h):
    with took_less(2):
        h.refused('example.com/gpu=7', 'does not exist', names='example.com/gpu=7')
        h.refused("'nonsense'", names='nonsense')
        h.refused("'a=b'", names='a=b')
    began = time.monotonic()
    h.refused('after CDI timeout of %d seconds' % TIMEOUT, 'example.com/late=0', names='example.com/late=0')
    expect(TIMEOUT <= time.monotonic() - began < TIMEOUT + 3, True, 'time')


def kind_that_comes_late(h):
    threading.Timer(1.2, lambda: h.write('late.json', dict(GPU, kind='example.com/late'))).start()
    has(h.output('example.com/late=1'), 'GPU1=')


def removed_while_it_waits(h):
    for pause in (0.02, 0.5, 1.01):
        future = h.create('example.com/never=0', _later=True)
        time.sleep(pause)
        with took_less(2.5):
            h.c.RemoveContainer(container_id='cdi')
        try:
            future.result(5)
        except Refused:
            continue
        raise AssertionError('it was made')


def bad_files(h):
    """What can't be read is told of, and does not stand in the way of others."""
    h.write('bad.json', '{"kind": ')
    h.write('anchor.yaml', 'kind: &k example.com/anchor\n')
    os.mkfifo(h.dir + '/fifo.json')
    os.symlink('/nowhere', h.dir + '/link.json')
    has(h.output('example.com/gpu=1'), 'GPU1=')
    has(h.agent.log(), 'bad.json: line 1', 'anchor.yaml: line 1')
    bad = {'no path': {'deviceNodes': [{'hostPath': '/dev/null'}]}, "'/dev/shm'": {'deviceNodes': [{'path': '/dev/shm'}]},
           'sets no variable': {'env': ['X']}, 'no hook is called': {'hooks': [{'hookName': 'x', 'path': '/x'}]},
           'without its paths': {'mounts': [{'hostPath': '/x'}]}, 'is no number': {'deviceNodes': [
               {'path': '/dev/x', 'type': 'c', 'major': 'x', 'minor': 1}]}}
    for i, (words, edits) in enumerate(bad.items()):
        h.write('edit.json', {'kind': 'example.com/bad%d' % i, 'devices': [{'name': 'x', 'containerEdits': edits}]})
        h.refused(words.replace('no path', 'without a path'), names='example.com/bad%d=x' % i)


CASES = [without_devices, json_edits, yaml_edits, visible_devices, what_is_not_there, kind_that_comes_late, removed_while_it_waits,
         bad_files]


def main():
    tap = Tap()
    config = '/tmp/cdi-%d.toml' % os.getpid()
    with open(config, 'w', encoding='ascii') as f:
        f.write('cdi_timeout = %d\nvisible_cdi_devices = true\n' % TIMEOUT)
    try:
        with nsagent.Agent(server.sanitized(), env=server.QUIET_SAN, args=('--config', config)) as agent, agent.road() as road:
            h = Host(agent, road)
            for case in CASES:
                if len(sys.argv) > 1 and not any(word in case.__name__ for word in sys.argv[1:]):
                    continue
                with tap.case(case.__name__.replace('_', ' ')):
                    case(h)
            with tap.case('the agent lives'):
                retry(lambda: expect(agent.alive(), True))
            agent.terminate()
            with tap.case('no sanitizer spoke'):
                expect(agent.sanitizer(), [])
            return nsagent.finish(tap, agent)
    finally:
        os.unlink(config)


if __name__ == '__main__':
    need_root()
    sys.exit(main())
