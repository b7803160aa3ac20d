#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Hooks: state, order, environment, timeouts, failures; the spec's own and the guest's.

The phases that 3.x has more, and what guest hooks read: test_guest_hooks.py. TAP."""
import json
import os
import re
import resource
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import nsagent  # noqa: E402
from nsagent import error_of, refused  # noqa: E402
from tap import Tap, expect, has, need_root, retry, took_less  # noqa: E402


class Scripts:
    """A directory of hooks and of what they leave."""

    def __enter__(self):
        self.temp = tempfile.TemporaryDirectory(prefix='hooks-')
        self.dir = self.temp.name
        return self

    def __exit__(self, *what):
        self.temp.cleanup()

    def hook(self, name, body, *args, **more):
        path = os.path.join(self.dir, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w') as f:
            f.write('#!/bin/sh\ncd %s\n%s\n' % (self.dir, body))
        os.chmod(path, 0o755)
        return dict(path=path, args=list(args) or [path], **more)

    def read(self, name):
        with open(os.path.join(self.dir, name)) as f:
            return f.read()

    def has(self, name):
        return os.path.exists(os.path.join(self.dir, name))


def hooks(**kinds):
    return lambda c: c.update(hooks=kinds)


def state_on_stdin(agent, road):
    with Scripts() as s:
        def edit(c):
            c['ociVersion'] = '1.0.2-test'
            c['annotations'] = {'org.example/key': 'va"l\\ue\n\u00fc', 'empty': ''}
            c['hooks'] = {k: [s.hook(k, 'cat > %s.json; tr "\\0" "\\n" < /proc/self/environ > %s.env; '
                                     'ls /proc/self/fd > %s.fds; echo "$0 $*" > %s.args; pwd > /dev/null' % (k, k, k, k),
                                     'name-of-mine', 'second', env=['ONLY=this'])]
                          for k in ('prestart', 'poststart', 'poststop')}
        r = road.run('exec sleep 0.3', edit, args=['--id', 'hooked'])
        expect(r.returncode, 0, error_of(r))
        for kind, status in (('prestart', 'creating'), ('poststart', 'running'), ('poststop', 'stopped')):
            st = json.loads(s.read(kind + '.json'))
            expect((st['ociVersion'], st['id'], st['status']), ('1.0.2-test', 'hooked', status), kind)
            expect(st['annotations'], {'org.example/key': 'va"l\\ue\n\u00fc', 'empty': ''})
            expect(st['bundle'], road.work, 'bundle')
            expect('pid' in st, kind != 'poststop', kind + ' has a pid')
            has(s.read(kind + '.env'), 'ONLY=this')
            expect([e for e in s.read(kind + '.env').split() if not e.startswith(('ONLY=', 'PWD=', 'OLDPWD=', '_='))], [])
            expect([n for n in s.read(kind + '.fds').split() if int(n) > 3], [], 'descriptors')


def prestart_sees_both_worlds(agent, road):
    """It runs in the agent's namespaces; the process that it is told of stands in its own."""
    with Scripts() as s:
        body = ('pid=$(sed "s/.*\\"pid\\":\\([0-9]*\\).*/\\1/"); readlink /proc/$pid/ns/mnt /proc/self/ns/mnt > ns; '
                'cat /proc/$pid/mounts > mounts; grep Seccomp: /proc/$pid/status > /dev/null')
        expect(road.run('exit 3', hooks(prestart=[s.hook('pre', body)])).returncode, 3)
        theirs, ours = s.read('ns').split()
        expect(theirs != ours, True)
        expect(ours, os.readlink('/proc/%d/ns/mnt' % agent.pid))
        has(s.read('mounts'), '/dev/pts', ' / ')


def nothing_of_the_agents(agent, road):
    """Neither the score that keeps the OOM killer from it, nor the room that it has made for descriptors."""
    path = '/proc/%d/oom_score_adj' % agent.pid
    with open(path) as f:
        before = f.read()
    try:
        with open(path, 'w') as f:
            f.write('-997')
    except PermissionError:     # nobody here may lower it: the limits can be looked at all the same
        before = None
    try:
        with Scripts() as s:
            body = 'cat /proc/self/oom_score_adj > %s; sed -n "s/^Max open files *//p" /proc/self/limits >> %s'
            kinds = ('prestart', 'poststart', 'poststop')
            road.run('exec sleep 0.3', hooks(**{k: [s.hook(k, body % (k, k))] for k in kinds}), check=0)
            for kind in kinds:
                score, soft, hard = s.read(kind).split()[:3]
                expect((int(score), int(soft), int(hard)), (0, *resource.getrlimit(resource.RLIMIT_NOFILE)), kind)
    finally:
        if before:
            with open(path, 'w') as f:
                f.write(before)


def order(agent, road):
    with Scripts() as s:
        edit = hooks(prestart=[s.hook('a%d' % i, 'echo %d >> order' % i) for i in range(5)],
                     poststart=[s.hook('b', 'echo start >> order')], poststop=[s.hook('c', 'echo stop >> order')])
        road.run('exec sleep 0.2', edit, check=0)
        expect(s.read('order').split(), ['0', '1', '2', '3', '4', 'start', 'stop'])


def failing_prestart(agent, road):
    with Scripts() as s:
        edit = hooks(prestart=[s.hook('bad', 'echo why >&2; exit 9'), s.hook('next', 'touch next-ran')],
                     poststart=[s.hook('start', 'touch started')])
        for _ in range(2):      # nothing is left of the first
            r = road.run('true', edit, args=['--id', 'failing'])
            expect(r.returncode, 125)
            has(error_of(r), 'error running hook', 'exit status 9', 'why')
        expect((s.has('next-ran'), s.has('started')), (False, False))
        expect(road.run('exit 3', args=['--id', 'failing']).returncode, 3)
        expect([d for d in agent.cgroup_dirs('failing')], [])


def missing_and_relative(agent, road):
    refused(road, hooks(prestart=[{'path': '/no/such/hook'}]), 'error running hook', '/no/such/hook')
    refused(road, hooks(prestart=[{'path': 'relative/hook'}]), 'not absolute')
    refused(road, hooks(prestart=[{'path': '/etc/passwd'}]), 'error running hook', 'ermission denied')


def timeouts(agent, road):
    with Scripts() as s:
        edit = hooks(prestart=[s.hook('slow', 'echo $$ > pid; sleep 77 & wait', timeout=1)])
        began = time.monotonic()
        refused(road, edit, 'timeout of 1 s')
        took = time.monotonic() - began
        expect(1 <= took < 5, True, 'seconds %.1f' % took)
        pid = s.read('pid').strip()
        retry(lambda: expect(os.path.exists('/proc/' + pid), False, 'the hook lives'))
        # In time is fine.
        expect(road.run('exit 3', hooks(prestart=[s.hook('quick', 'sleep 0.2', timeout=30)])).returncode, 3)


def killed_by_a_signal(agent, road):
    with Scripts() as s:
        refused(road, hooks(prestart=[s.hook('dies', 'kill -9 $$')]), 'signal 9')


def slow_hook_delays_nobody(agent, road):
    with Scripts() as s:
        p = road.popen('run', *road.where, '-n', road.bundle('exit 3', hooks(
            prestart=[s.hook('slow', 'touch up; until test -e answered; do sleep 0.05; done')])))
        retry(lambda: expect(s.has('up'), True))
        road.ctl('check', check=0, timeout=20)
        with open(s.dir + '/answered', 'w'):
            pass
        expect(p.wait(20), 3)
        p.stdout.close()
        p.stderr.close()


def failing_poststart_is_only_a_warning(agent, road):
    """As in the specification; the 1.x reference killed the container."""
    with Scripts() as s:
        r = road.run('echo lives; exit 3', hooks(poststart=[s.hook('bad', 'exit 1')]))
        expect((r.returncode, r.stdout), (3, b'lives\n'))
        has(agent.log(), 'poststart')


def failing_poststop_removes_all_the_same(agent, road):
    with Scripts() as s:
        edit = hooks(poststop=[s.hook('bad', 'exit 1'), s.hook('after', 'touch after-ran')])
        for _ in range(2):
            r = road.run('exit 3', edit, args=['--id', 'stopper'])
            expect(r.returncode in (3, 125), True)


def output_floods_and_unread_state(agent, road):
    """Neither a hook that writes much, nor one that reads nothing, nor one that leaves a daemon hangs."""
    with Scripts() as s:
        def edit(c):
            c['annotations'] = {'big': 'x' * 300000}
            c['hooks'] = {'prestart': [s.hook('loud', 'head -c 3000000 /dev/zero'), s.hook('deaf', 'exec <&-; exit 0'),
                                       s.hook('daemon', '(sleep 3 &) ; exit 0')]}
        with took_less(10):
            expect(road.run('exit 3', edit).returncode, 3)


def container_killed_during_a_hook(agent, road):
    """Removing it while a hook runs ends the hook, too."""
    with Scripts() as s:
        road.ctl('create-sandbox', '--id', 'sb', check=0)
        p = road.popen('create-container', '--no-share', '--id', 'gone', road.bundle('true', hooks(
            prestart=[s.hook('slow', 'echo $$ > pid; sleep 60')])))
        retry(lambda: expect(s.read('pid') != '', True))
        road.ctl('destroy-sandbox', check=0)
        expect(p.wait(20) != 0, True)
        has(p.stderr.read().decode(), 'gone')
        p.stdout.close()
        p.stderr.close()
        retry(lambda: expect(os.path.exists('/proc/' + s.read('pid').strip()), False, 'the hook lives'))


def guest_hooks(agent, road):
    """Executables of guest_hook_path, by name, after the spec's own; nothing else there counts."""
    with Scripts() as s:
        for kind in ('prestart', 'poststart', 'poststop'):
            for n in ('20-b', '10-a'):
                s.hook('guest/%s/%s' % (kind, n), 'echo %s $(basename $0) $# $1 >> log; env | grep -v PWD= > env-%s; '
                                                  'cat > state-%s' % (kind, kind, kind))
            os.makedirs(s.dir + '/guest/%s/directory' % kind)
            os.symlink('/bin/false', s.dir + '/guest/%s/link' % kind)
            with open(s.dir + '/guest/%s/text' % kind, 'w') as f:
                f.write('not executable')
        road.ctl('create-sandbox', '--id', 'sb', '--hooks', s.dir + '/guest', check=0)
        try:
            edit = hooks(prestart=[s.hook('own', 'echo own >> log')])
            expect(road.run('exec sleep 0.2', edit, args=['--id', 'guesthooked']).returncode, 0)
        finally:
            road.ctl('destroy-sandbox', check=0)
        want = ['own'] + ['%s %s 1 %s' % (k, n, k) for k in ('prestart', 'poststart', 'poststop')
                          for n in ('10-a', '20-b')]
        expect(s.read('log').splitlines(), want)
        expect(json.loads(s.read('state-prestart'))['id'], 'guesthooked')
        expect(re.sub(r'(?m)^_=.*\n?', '', s.read('env-prestart')), '', 'environment')


def guest_hooks_absent(agent, road):
    road.ctl('create-sandbox', '--id', 'sb', '--hooks', '/no/such/folder', check=0)
    expect(road.run('exit 3').returncode, 3)
    road.ctl('destroy-sandbox', check=0)
    expect(road.run('exit 3').returncode, 3)


CASES = [state_on_stdin, prestart_sees_both_worlds, nothing_of_the_agents, order, failing_prestart,
         missing_and_relative, timeouts,
         killed_by_a_signal, slow_hook_delays_nobody, failing_poststart_is_only_a_warning,
         failing_poststop_removes_all_the_same, output_floods_and_unread_state, container_killed_during_a_hook,
         guest_hooks, guest_hooks_absent]


def main():
    need_root()
    tap = Tap()
    with nsagent.Agent() as agent, agent.road() as road:
        nsagent.run_cases(tap, agent, road, CASES, sys.argv[1:])
        with tap.case('no process and no descriptor is left'):
            retry(lambda: expect(agent.children(), []))
            expect(agent.fds() < 30, True)
        return nsagent.finish(tap, agent)


if __name__ == '__main__':
    sys.exit(main())
