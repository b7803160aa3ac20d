#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Guest hooks and the spec they read; the hook phases of 3.x, and what it makes of failures. TAP."""
import json
import os
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import nsagent  # noqa: E402
from nsagent import error_of  # noqa: E402
from tap import Tap, expect, has, need_root, retry  # noqa: E402

ID = 'hooked'
NOTHING = '0' * 16


class Hooks:
    """A directory of hook scripts and of what they write."""

    def __enter__(self):
        self.temp = tempfile.TemporaryDirectory(prefix='hooks-', dir='/tmp')
        self.dir = self.temp.name
        return self

    def __exit__(self, *what):
        self.temp.cleanup()

    def script(self, name, body, **more):
        path = os.path.join(self.dir, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w') as f:
            f.write('#!/bin/sh\nOUT=%s\n%s\n' % (self.dir, body))
        os.chmod(path, 0o755)
        return dict(path=path, args=[path], timeout=30, **more)

    def read(self, name):
        with open(os.path.join(self.dir, name)) as f:
            return f.read()

    def json(self, name):
        return json.loads(self.read(name))

    def there(self, name):
        return os.path.exists(os.path.join(self.dir, name))


def hooks(**kinds):
    return lambda c: c.update(hooks=kinds)


def inside(script, **more):
    """A hook that runs in the container's root."""
    return dict(path='/bin/sh', args=['sh', '-c', script], timeout=30, **more)


def run(road, cmd, edit=None, args=()):
    return road.run(cmd, edit, args=['--id', ID, *args])


def config_dir(agent):
    return agent.root + '/run/libcontainer/' + ID


class Sandbox:
    def __init__(self, road, *args):
        self.road, self.args = road, args

    def __enter__(self):
        self.road.ctl('create-sandbox', '--id', 'sb', *self.args, check=0)

    def __exit__(self, *what):
        self.road.ctl('destroy-sandbox', check=0)


def lists(value):
    return value or []


def the_spec_is_read_by_guest_hooks(agent, road):
    """config.json says what the bundle's said; it is there from prestart to poststop."""
    with Hooks() as h:
        for kind in ('prestart', 'poststart', 'poststop'):
            h.script('guest/%s/10-copy' % kind, 'cat > $OUT/%s.state; D=/run/libcontainer/%s; '
                     'cp $D/config.json $OUT/%s.config; stat -c %%a $D $D/config.json > $OUT/%s.modes; pwd > $OUT/%s.cwd'
                     % (kind, ID, kind, kind, kind))

        def edit(c):
            c['annotations'] = {'a/b': 'q"\\\u00fc\n', 'empty': ''}
            c['process']['env'] += ['NVIDIA_VISIBLE_DEVICES=all', 'EMPTY=']
            c['process']['rlimits'] = [{'type': 'RLIMIT_NOFILE', 'hard': 2048, 'soft': 1024}]
            c['process']['oomScoreAdj'] = 100
            c['linux']['devices'] = [{'path': '/dev/zz', 'type': 'c', 'major': 1, 'minor': 5, 'fileMode': 0o640,
                                      'uid': 0, 'gid': 5}]
            c['linux']['resources'].update(
                devices=[{'allow': False, 'type': 'a', 'major': -1, 'minor': -1, 'access': 'rwm'},
                         {'allow': True, 'type': 'c', 'major': 1, 'minor': 0, 'access': 'r'}],
                memory={'limit': 1 << 28}, cpu={'shares': 512})
            c['linux']['sysctl'] = {'kernel.msgmax': '4096'}
            c['hooks'] = {'poststop': [h.script('own', 'exit 0', env=['X=y'])]}
            edit.config = c
        with Sandbox(road, '--hooks', h.dir + '/guest/'):
            expect(run(road, 'exec sleep 0.2', edit).returncode, 0)
        want = edit.config
        for kind in ('prestart', 'poststart', 'poststop'):
            got = h.json(kind + '.config')
            expect(got['ociVersion'], want['ociVersion'])
            expect(got['root']['path'], road.rootfs)
            expect(got['annotations'], want['annotations'])
            expect(got['mounts'], [{k: v for k, v in m.items() if v != []} for m in want['mounts']])
            for key in ('args', 'env', 'cwd', 'rlimits', 'oomScoreAdj'):
                expect(got['process'][key], want['process'][key], key)
            expect(got['process']['user'], {'uid': 0, 'gid': 0})
            expect({k: sorted(v) for k, v in got['process']['capabilities'].items()},
                   {k: sorted(v) for k, v in want['process']['capabilities'].items() if v})
            expect(got['linux']['devices'], [{k: v for k, v in d.items() if v} for d in want['linux']['devices']])
            expect(got['linux']['sysctl'], want['linux']['sysctl'])
            expect(got['linux']['resources']['memory'], {'limit': 1 << 28})
            expect(got['linux']['resources']['cpu']['shares'], 512)
            expect(got['linux']['resources']['devices'][:2], want['linux']['resources']['devices'])
            expect(got['linux'].get('maskedPaths', []), lists(want['linux'].get('maskedPaths')))
            expect(got['hooks']['prestart'], [{'path': h.dir + '/guest/prestart/10-copy',
                                               'args': ['10-copy', 'prestart']}])
            expect([k['path'] for k in got['hooks']['poststop']], [h.dir + '/own', h.dir + '/guest/poststop/10-copy'])
            expect(got['hooks']['poststop'][0]['env'], ['X=y'])
            expect(h.read(kind + '.modes').split(), ['700', '444'])
            state = h.json(kind + '.state')
            third = road.protocol == 'ttrpc'
            expect(state['bundle'], '/run/libcontainer/' + ID if third else road.work)
            expect(h.read(kind + '.cwd').strip(), state['bundle'])
        expect(os.path.exists(config_dir(agent)), False, 'the directory is there')


def no_spec_without_guest_hooks(agent, road):
    with Hooks() as h:
        os.makedirs(h.dir + '/guest/prestart')
        os.symlink('/bin/false', h.dir + '/guest/prestart/link')
        os.makedirs(h.dir + '/guest/prestart/directory')
        with open(h.dir + '/guest/prestart/text', 'w') as f:
            f.write('false')
        for path in (h.dir + '/guest', h.dir + '/nowhere', 'relative'):
            with Sandbox(road, '--hooks', path):
                r = run(road, 'exec sleep 1000', args=['-d', '-n'])
                expect(r.returncode, 0, error_of(r))
                expect(os.path.exists(config_dir(agent)), False, path)
                road.ctl('remove', ID, check=0)
        has(agent.log(), 'guest/prestart/link', 'guest/prestart/directory', 'guest/prestart/text',
            'not a regular file', 'not executable', 'not an absolute path')


def spec_goes_with_a_failed_container(agent, road):
    with Hooks() as h:
        h.script('guest/prestart/10-look', 'test -e /run/libcontainer/%s/config.json && touch $OUT/seen' % ID)

        def edit(c):
            c['process']['args'] = ['no-such-program']
        with Sandbox(road, '--hooks', h.dir + '/guest'):
            expect(run(road, None, edit).returncode in (125, 127), True)
            expect((h.there('seen'), os.path.exists(config_dir(agent))), (True, False))
            expect(run(road, 'exit 3').returncode, 3)   # the hooks are the sandbox's
        expect(run(road, 'exit 3').returncode, 3)
        os.unlink(h.dir + '/seen')
        expect(run(road, 'exit 3').returncode, 3)
        expect(h.there('seen'), False, 'hooks of a sandbox that is gone')


def failing_guest_hook(agent, road):
    with Hooks() as h:
        h.script('guest/prestart/10-bad', 'echo so it is >&2; exit 5')
        h.script('guest/prestart/20-next', 'touch $OUT/next')
        with Sandbox(road, '--hooks', h.dir + '/guest'):
            r = run(road, 'exit 3')
        if road.protocol == 'grpc':
            expect((r.returncode, h.there('next')), (125, False))
            has(error_of(r), '10-bad', 'exit status 5', 'so it is')
        else:
            expect((r.returncode, h.there('next')), (3, True))
            has(agent.log(), '10-bad', 'exit status 5', 'so it is')


def all_phases_in_order(agent, road):
    with Hooks() as h:
        note = 'cat > $OUT/%s; echo %s >> $OUT/order'
        kinds = ('prestart', 'createRuntime', 'createContainer', 'poststart', 'poststop')

        def edit(c):
            c['hooks'] = {k: [h.script(k + '.sh', note % (k, k))] for k in kinds}
            c['hooks']['startContainer'] = [inside('cat > /out/startContainer; echo startContainer >> /out/order')]
            nsagent.mount(c, '/out', 'bind', h.dir, 'rbind', 'rw')
        expect(run(road, 'echo process >> /out/order; sleep 0.3', edit).returncode, 0)
        order = h.read('order').split()
        expect([o for o in order if o != 'poststart'],
               ['prestart', 'createRuntime', 'createContainer', 'startContainer', 'process', 'poststop'])
        expect(order.index('poststart') > order.index('startContainer'), True)
        for kind, status in zip(kinds + ('startContainer',),
                                ('creating', 'creating', 'creating', 'running', 'stopped', 'created')):
            expect((h.json(kind)['status'], h.json(kind)['id']), (status, ID), kind)
        agents = h.json('createRuntime')['pid']
        expect(h.json('prestart')['pid'], agents)
        # Who runs in the container's namespaces is told its number there.
        expect((agents > 1, h.json('createContainer')['pid'], h.json('startContainer')['pid']), (True, 1, 1))


def namespaces_of_the_phases(agent, road):
    with Hooks() as h:
        look = '{ readlink /proc/self/ns/mnt; readlink /proc/self/ns/uts; } > $OUT/%s; ls -1 /proc/self/fd > $OUT/%s.fds'
        expect(run(road, 'readlink /proc/self/ns/mnt > /out/process', lambda c: (
            nsagent.mount(c, '/out', 'bind', h.dir, 'rbind', 'rw'),
            hooks(createRuntime=[h.script('a', look % ('runtime', 'runtime'))],
                  createContainer=[h.script('b', look % ('create', 'create'))],
                  startContainer=[inside('OUT=/out; ' + look % ('start', 'start'))])(c))).returncode, 0)
        runtime, create, start = (h.read(n).split() for n in ('runtime', 'create', 'start'))
        process = h.read('process').strip()
        expect(runtime[0], os.readlink('/proc/%d/ns/mnt' % agent.pid))
        expect((create[0], start[0]), (process, process))
        expect(create[1] != runtime[1], True)
        for kind in ('runtime', 'create', 'start'):     # 3: the directory that ls reads
            expect([n for n in h.read(kind + '.fds').split() if int(n) > 3], [], kind)


def create_container_hooks_may_mount(agent, road):
    """What GPU hooks do: the old root is there, and so are the container's mounts."""
    with Hooks() as h:
        os.makedirs(h.dir + '/gift')
        with open(h.dir + '/gift/file', 'w') as f:
            f.write('given')
        edit = hooks(createContainer=[h.script('give', 'grep -q " %s/proc " /proc/self/mountinfo && '
                                               'mount --bind $OUT/gift %s/tmp' % (road.rootfs, road.rootfs))])
        r = run(road, 'cat /tmp/file', edit)
        expect((r.returncode, r.stdout), (0, b'given'), error_of(r))
        expect(os.listdir(road.rootfs + '/tmp'), [])


def create_container_hooks_of_a_shared_pid_namespace(agent, road):
    """In all of the container's namespaces but that one: its processes would see a hook with the guest's root."""
    with Hooks() as h, Sandbox(road, '--pidns'):
        os.makedirs(h.dir + '/gift')
        with open(h.dir + '/gift/file', 'w') as f:
            f.write('given')
        body = ('cat > $OUT/state; for n in mnt uts user pid; do readlink /proc/self/ns/$n; done > $OUT/hook; id -u >> $OUT/hook; '
                'mount --bind $OUT/gift %s/tmp; exit ' % road.rootfs)

        def owned(c):
            c['linux']['namespaces'].append({'type': 'user'})
            c['linux'].update({k: [{'containerID': 0, 'hostID': 0, 'size': 1000}] for k in ('uidMappings', 'gidMappings')})
        for edit in (lambda c: None, owned):
            r = run(road, 'for n in mnt uts user pid; do readlink /proc/self/ns/$n; done; id -u; cat /tmp/file',
                    lambda c: (edit(c), hooks(createContainer=[h.script('give', body + '0')])(c)))
            expect(r.returncode, 0, error_of(r))
            process, hook = r.stdout.decode().split(), h.read('hook').split()
            expect(process[5], 'given')
            expect(hook[:3] + hook[4:], process[:3] + process[4:5])
            # In 3.x it is CreateContainer that asks for it, which agent-ctl does not.
            agents = os.readlink('/proc/%d/ns/pid' % agent.pid)
            expect(hook[3], agents if road.protocol == 'grpc' else process[3])
            expect(process[3] == agents, False)
            expect((h.json('state')['status'], h.json('state')['id']), ('creating', ID))
        r = run(road, 'true', hooks(createContainer=[h.script('bad', body + '3')]))
        expect(r.returncode, 125 if road.protocol == 'grpc' else 0, 'a hook that fails')


def start_container_hooks_have_no_more_power(agent, road):
    """They run in the container's root as its process does: user, capabilities, no_new_privs."""
    with Hooks() as h:
        os.chmod(h.dir, 0o777)
        look = 'grep -E "^(Uid|Cap|NoNew|Sig(Blk|Ign))" /proc/self/status > /out/%s; pwd >> /out/%s'

        def edit(c):
            nsagent.mount(c, '/out', 'bind', h.dir, 'rbind', 'rw')
            c['process'].update(user={'uid': 1000, 'gid': 1000}, cwd='/tmp', noNewPrivileges=True)
            c['hooks'] = {'startContainer': [inside(look % ('hook', 'hook'), env=['PATH=/bin'])]}
        expect(run(road, look % ('process', 'process'), edit).returncode, 0)
        expect(h.read('hook'), h.read('process'))
        has(h.read('process'), 'SigBlk:\t' + NOTHING, 'SigIgn:\t' + NOTHING, 'Uid:\t1000', '/tmp')


def a_filter_may_forbid_what_waiting_takes(agent, road):
    """startContainer hooks run before the process's filter is loaded: only execve comes after it."""
    with Hooks() as h:
        def edit(c):
            nsagent.mount(c, '/out', 'bind', h.dir, 'rbind', 'rw')
            c['process']['noNewPrivileges'] = False
            c['linux']['seccomp'] = {'defaultAction': 'SCMP_ACT_ALLOW', 'syscalls': [
                {'names': ['pidfd_open', 'signalfd4'], 'action': 'SCMP_ACT_ERRNO'}]}
            c['hooks'] = {'startContainer': [inside('sleep 0.1; cat > /out/state; grep Seccomp: /proc/self/status > /out/mode')]}
        r = run(road, 'exit 3', edit)
        expect(r.returncode, 3, error_of(r))
        expect((h.json('state')['id'], h.read('mode').split()), (ID, ['Seccomp:', '0']))


def terminal_and_hooks(agent, road):
    with Hooks() as h:
        def edit(c):
            c['process']['terminal'] = True
            c['hooks'] = {'createContainer': [h.script('a', 'test ! -t 0 && echo loud')],
                          'startContainer': [inside('test ! -t 0 && echo loud')]}
        r = run(road, 'test -t 0 && echo tty', edit)
        expect((r.returncode, r.stdout.strip()), (0, b'tty'), error_of(r))


def failures(agent, road):
    """Each phase in turn: 1.x fails the call, 3.x says so in its log and goes on."""
    with Hooks() as h:
        for kind in ('prestart', 'createRuntime', 'createContainer', 'startContainer', 'poststart', 'poststop'):
            word = 'word-of-%s-%s-%d' % (kind, road.protocol, os.getpid())    # the kernel's log is the machine's
            body = 'echo %s >&2; exit 6' % word
            bad = inside(body) if kind == 'startContainer' else h.script(kind, body)
            good = inside('true') if kind == 'startContainer' else h.script('next', 'touch $OUT/next-' + kind)
            r = run(road, 'echo ran; exit 3', hooks(**{kind: [bad, good]}))
            text = agent.log()
            if road.protocol == 'ttrpc' or kind in ('poststart', 'poststop'):
                expect((r.returncode, r.stdout), (3, b'ran\n'), kind + ': ' + error_of(r))
                expect(h.there('next-' + kind), kind != 'startContainer', kind)
                has(text, word)
                has(kernel_log(), 'kata-agent: hook failed: %s hook 0' % kind, word)
            else:
                expect((r.returncode, r.stdout), (125, b''), kind)
                has(error_of(r), '%s hook 0' % kind, 'exit status 6', word)
                expect(h.there('next-' + kind), False, kind)
            expect(run(road, 'exit 4').returncode, 4)


def kernel_log():
    return subprocess.run(['dmesg'], stdout=subprocess.PIPE, check=True).stdout.decode(errors='replace')


def a_hook_without_a_time(agent, road):
    """1.x lets it run, 3.x gives it ten seconds."""
    with Hooks() as h:
        slow = dict(h.script('slow', 'sleep 11; touch $OUT/through'), timeout=0)
        began = time.monotonic()
        r = run(road, 'exit 3', hooks(createContainer=[slow]))
        took = time.monotonic() - began
        expect((r.returncode, h.there('through')), (3, road.protocol == 'grpc'), error_of(r))
        expect(10 <= took < 20, True, 'seconds: %.1f' % took)


def closed_output_is_no_end(agent, road):
    """A hook that closes its streams is waited for, and not by spinning."""
    with Hooks() as h:
        quiet = h.script('quiet', 'exec <&- >&- 2>&-; sleep 1; cut -d" " -f14,15 /proc/$PPID/stat > $OUT/ticks')
        expect(run(road, 'exit 3', hooks(prestart=[quiet])).returncode, 3)
        expect(sum(map(int, h.read('ticks').split())) < 20, True, h.read('ticks'))


def removed_during_a_hook(agent, road):
    """A container that goes takes its hooks along, wherever they run."""
    for kind in ('createContainer', 'startContainer'):
        with Hooks() as h:
            def edit(c):
                nsagent.mount(c, '/out', 'bind', h.dir, 'rbind', 'rw')
                slow = 'touch %s/up; exec sleep 4321'
                c['hooks'] = {kind: [h.script('x', slow % '$OUT') if kind == 'createContainer' else
                                     inside(slow % '/out')]}
            with Sandbox(road):
                p = road.popen('run', *road.where, '-n', '--id', ID, road.bundle('true', edit))
                retry(lambda: expect(h.there('up'), True))
                retry(lambda: expect(sleeping(agent), 1))
            expect(p.wait(20) != 0, True)
            p.communicate()
            retry(lambda: expect(sleeping(agent), 0))


def sleeping(agent):
    """The processes in the agent's mount namespace's like that sleep 4321 s: hooks."""
    n = 0
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open('/proc/%s/cmdline' % pid, 'rb') as f:
                n += f.read() == b'sleep\x004321\x00' and os.readlink('/proc/%s/ns/net' % pid) == os.readlink(
                    '/proc/%d/ns/net' % agent.pid)
        except OSError:
            pass
    return n


CASES = [the_spec_is_read_by_guest_hooks, no_spec_without_guest_hooks, spec_goes_with_a_failed_container,
         failing_guest_hook, all_phases_in_order, namespaces_of_the_phases, create_container_hooks_may_mount,
         create_container_hooks_of_a_shared_pid_namespace,
         start_container_hooks_have_no_more_power, a_filter_may_forbid_what_waiting_takes,
         terminal_and_hooks, failures, a_hook_without_a_time, closed_output_is_no_end, removed_during_a_hook]


def main():
    need_root()
    tap = Tap()
    with nsagent.Agent() as agent:
        for protocol in ('grpc', 'ttrpc'):
            tap.note(protocol)
            with agent.road(protocol) as road:
                nsagent.run_cases(tap, agent, road, CASES, sys.argv[1:])
        with tap.case('no process and no descriptor is left'):
            retry(lambda: expect(agent.children(), []))
            expect(agent.fds() < 30, True)
            expect(os.path.exists(agent.root + '/run/libcontainer/' + ID), False)
        return nsagent.finish(tap, agent)


if __name__ == '__main__':
    sys.exit(main())
