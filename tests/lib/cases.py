# SPDX-License-Identifier: Apache-2.0
"""End-to-end cases that run the same over every road: an agent as a process on this host, a guest's
vsock, a guest's serial port, gRPC and ttrpc. Each case makes its own container and leaves nothing.
"""
import hashlib
import json
import os
import signal
import time

from roads import error_of
from tap import expect, has, retry


# ---- the cases: functions of a Road, in the order of their names in CASES -----------------------

def output_and_exit_code(road):
    r = road.run('echo out; echo err >&2; exit 7')
    expect((r.returncode, r.stdout, r.stderr), (7, b'out\n', b'err\n'))


def death_by_signal(road):
    expect(road.run('kill -9 $$; sleep 5').returncode in (0, 137), True)
    with road.kept() as c:
        expect(c.exec('sh', '-c', 'kill -9 $$').returncode, 137)
        expect(c.exec('sh', '-c', 'kill -15 $$').returncode, 143)


def tail_of_output(road):
    """All that was written before the end arrives: 3 MiB, then the process is gone."""
    for _ in range(3):
        r = road.run('dd if=/dev/zero bs=65536 count=48 2>/dev/null; echo end', check=0)
        expect((len(r.stdout), r.stdout[-4:]), (48 * 65536 + 4, b'end\n'))


def stdin_to_stdout(road):
    data = os.urandom(4 << 20)
    r = road.ctl('run', *road.where, road.bundle('cat'), input=data, check=0)
    expect(hashlib.sha256(r.stdout).hexdigest(), hashlib.sha256(data).hexdigest())
    r = road.ctl('run', *road.where, road.bundle('cat; echo done'), input=b'', check=0)
    expect(r.stdout, b'done\n')


def missing_program(road):
    def edit(c):
        c['process']['args'] = ['no-such-program']
    r = road.run(None, edit)
    expect(r.returncode in (125, 127), True, 'status %d' % r.returncode)
    has(error_of(r), 'executable file not found in $PATH')
    with road.kept() as c:
        began = time.monotonic()
        r = c.exec('/no/such')
        has(error_of(r), 'stat /no/such: no such file or directory')
        expect(time.monotonic() - began < 5, True, 'time')
        has(error_of(c.exec('/etc/passwd')), 'permission denied')


def bad_bundles(road):
    r = road.ctl('run', *road.where, '/no/bundle')
    expect(r.returncode, 125)
    has(error_of(r), '/no/bundle/config.json', 'No such file')
    b = road.bundle('true')
    with open(os.path.join(b, 'config.json'), 'w') as f:
        f.write('{"ociVersion": "1.0.2", "process": {')
    r = road.ctl('run', *road.where, b)
    expect(r.returncode, 125)
    has(error_of(r), 'config.json')


def failed_create_leaves_nothing(road):
    def edit(c):
        c['mounts'].append({'destination': '/x', 'type': 'bind', 'source': '/no/such/source',
                            'options': ['rbind']})
    r = road.run('true', edit)
    expect(r.returncode, 125)
    has(error_of(r), '/no/such/source')
    for _ in range(2):      # the same sandbox and id can be used at once
        expect(road.run('exit 3', args=['--id', 'again']).returncode, 3)


def exec_in_container(road):
    with road.kept() as c:
        expect(c.sh('echo hi; exit 0'), 'hi\n')
        expect(c.exec('sh', '-c', 'exit 42').returncode, 42)
        expect(c.exec('cat', input=b'x' * 100000, check=0).stdout, b'x' * 100000)
        r = road.ctl('exec', '-n', '-u', '1000:1000', '-w', '/tmp', '-e', 'A=b', c.id, 'sh', '-c',
                     'id -u; id -g; pwd; echo $A $HOME', check=0)
        expect(r.stdout.decode().split(), ['1000', '1000', '/tmp', 'b', '/home/ann'])
        # It stands in the container's namespaces and sees its init.
        expect(c.sh('readlink /proc/self/ns/mnt') == c.sh('readlink /proc/1/ns/mnt'), True)
        expect(c.sh('cat /proc/1/comm').strip(), 'sleep')


def exec_terminal(road):
    with road.kept() as c:
        r = road.ctl('exec', '-t', '-n', c.id, 'sh', '-c', 'test -t 0 && test -t 1 && echo terminal; exit 5')
        expect((r.returncode, b'terminal' in r.stdout), (5, True))
        r = road.ctl('exec', '-t', '-n', c.id, 'sh', '-c', '(sleep 100 &) ; echo front', timeout=30, check=0)
        has(r.stdout.decode(), 'front')


def background_child_holds_the_pipe(road):
    """It is heard to its end, as with runc exec: agent-ctl reads first and waits then."""
    with road.kept() as c:
        expect(c.sh('(sleep 1; echo late) & echo back'), 'back\nlate\n')


def client_killed_in_mid_stream(road):
    p = road.popen('run', *road.where, '--id', 'victim', road.bundle('yes'))
    p.stdout.read(1 << 20)
    p.kill()
    p.wait()
    p.stdout.close()
    p.stderr.close()
    expect(road.ctl('check').returncode, 0)
    # What it left behind is still there to be talked to, and to be removed.
    expect(road.ctl('exec', '-n', 'victim', 'echo', 'alive', check=0).stdout, b'alive\n')
    road.ctl('remove', 'victim', check=0)
    road.ctl('destroy-sandbox', check=0)


def interrupt_is_forwarded(road):
    p = road.popen('run', *road.where, '-n', road.bundle('trap "exit 42" INT; echo up; while :; do sleep 0.1; done'))
    expect(p.stdout.readline(), b'up\n')
    p.send_signal(signal.SIGINT)
    expect(p.wait(30), 42)
    p.stdout.close()
    p.stderr.close()


def errors_have_statuses(road):
    v3 = road.protocol == 'ttrpc'
    has(error_of(road.ctl('stats', 'nobody')), 'INVALID_ARGUMENT' if v3 else 'NOT_FOUND')
    if not v3:
        has(error_of(road.ctl('start', 'nobody')), 'FAILED_PRECONDITION')
    with road.kept() as c:
        has(error_of(road.ctl('call', 'CreateSandbox', '{}')), 'ALREADY_EXISTS') if not v3 else None
        if not v3:
            has(error_of(road.ctl('start', c.id)), 'FAILED_PRECONDITION', 'should be created')
            has(error_of(road.ctl('wait', 'nobody')), 'NOT_FOUND')
        has(error_of(road.ctl('call', 'CreateContainer', '{"container_id": "../evil"}')), 'INVALID_ARGUMENT')
        has(error_of(road.ctl('call', 'CreateContainer', '{"container_id": "nospec"}')), 'INVALID_ARGUMENT')
        has(error_of(road.ctl('call', 'ExecProcess', '{"container_id": "%s", "exec_id": "e"}' % c.id)),
            'INVALID_ARGUMENT')
        expect(c.sh('echo still here'), 'still here\n')


def signals(road):
    with road.kept('trap "" TERM; trap "echo usr1" USR1; while :; do sleep 0.1; done') as c:
        road.ctl('signal', c.id, 'USR1', check=0)
        road.ctl('signal', c.id, 'KILL', check=0)
        expect(json.loads(road.ctl('wait', c.id, check=0).stdout)['status'], 137)
        # To a container that has stopped any signal is fine.
        road.ctl('signal', c.id, 'TERM', check=0)


def pause_and_resume(road):
    with road.kept('i=0; while :; do i=$((i+1)); echo $i > /tmp/n; done') as c:
        road.ctl('pause', c.id, check=0)
        has(error_of(road.ctl('pause', c.id)), 'paused')
        has(error_of(c.exec('true')), 'paused')
        road.ctl('resume', c.id, check=0)
        has(error_of(road.ctl('resume', c.id)), 'not paused')
        expect(c.sh('echo runs'), 'runs\n')
        road.ctl('pause', c.id, check=0)
        # Wakes and kills it; in 3.x a signal for one process does not wake the others.
        road.ctl('signal', *(['--all'] if road.protocol == 'ttrpc' else []), c.id, 'KILL', check=0)
        def gone():
            expect(c.exec('true').returncode, 125)
        retry(gone, 5)


def many_waiters(road):
    with road.kept('sleep 1; exit 9') as c:
        waiters = [road.popen('wait', c.id) for _ in range(8)]
        for w in waiters:
            out, _ = w.communicate(timeout=30)
            expect(json.loads(out)['status'], 9)


def processes_and_stats(road):
    with road.kept('sleep 1000 & sleep 1000 & wait') as c:
        if road.protocol == 'grpc':
            def three():
                pids = json.loads(road.ctl('ps', '--format', 'json', c.id, check=0).stdout)
                expect(len(pids) >= 3, True, 'pids %r' % (pids,))
            retry(three)
        stats = json.loads(road.ctl('stats', c.id, check=0).stdout)
        expect(int(stats['cgroup_stats']['memory_stats']['usage']['usage']) > 0, True)
        road.ctl('update', c.id, '{"memory": {"limit": 67108864}}', check=0)
        stats = json.loads(road.ctl('stats', c.id, check=0).stdout)
        expect(int(stats['cgroup_stats']['memory_stats']['usage']['limit']), 67108864)


def orphans_are_reaped(road):
    with road.kept() as c:
        for _ in range(5):
            c.sh('for i in 1 2 3 4; do (sleep 0.05 &) ; done')
        time.sleep(0.4)
        # sleep as pid 1 does not reap; the agent does for those that its execs left to it.
        expect(c.sh('ps | grep -c "[s]leep 1000"').strip(), '1')


def shared_mounts(road):
    """3.x: a mount of one container is seen by another; one that comes late is waited for, one that never comes is
    gone without."""
    if road.protocol != 'ttrpc':
        return

    def edit(c):
        c['mounts'].append({'destination': '/shared', 'type': 'tmpfs', 'source': 'tmpfs', 'options': []})

    def request(path, cid='two', source=None, mounts=()):
        root = '/run/kata-containers/shared/containers/base' if road.share else road.rootfs
        return json.dumps({
            'container_id': cid, 'exec_id': cid,
            'OCI': {'Process': {'Args': ['sleep', '1000'], 'Env': ['PATH=/bin'], 'Cwd': '/'}, 'Root': {'Path': root},
                    'Mounts': [{'destination': d, 'source': 'tmpfs', 'type': 'tmpfs', 'options': []}
                               for d in ('/dev', *mounts)],
                    'Linux': {'Namespaces': [{'Type': 'mount'}]}},
            'shared_mounts': [{'name': 's', 'src_ctr': source or one.id, 'src_path': path, 'dst_ctr': 'two', 'dst_path': '/seen'},
                              {'name': 'other', 'src_ctr': 'x', 'src_path': '/', 'dst_ctr': 'nobody', 'dst_path': '/'}]})
    with road.kept('echo from-one > /shared/f; exec sleep 1000', edit) as one:
        for path in ('/no/such', '/tmp'):      # nothing, and no mount
            began = time.monotonic()
            road.ctl('call', 'CreateContainer', request(path), check=0)
            expect(9 < time.monotonic() - began < 20, True, 'it is waited ten seconds')
            road.ctl('start', 'two', check=0)
            expect(road.ctl('exec', '-n', 'two', 'ls', '/seen').returncode != 0, True, path)
            road.ctl('remove', 'two', check=0)
        later = road.popen('call', 'CreateContainer', request('/late', source='three'))
        time.sleep(0.5)
        expect(later.poll(), None, 'it waits for the other container')
        road.ctl('call', 'CreateContainer', request('/', cid='three', mounts=['/late']), check=0)
        expect((later.wait(9), later.communicate()[1])[0], 0)
        for cid in ('two', 'three'):
            road.ctl('remove', cid, check=0)
        road.ctl('call', 'CreateContainer', request('/shared'), check=0)
        road.ctl('start', 'two', check=0)
        expect(road.ctl('exec', '-n', 'two', 'cat', '/seen/f', check=0).stdout, b'from-one\n')
        road.ctl('remove', 'two', check=0)
        expect(one.sh('cat /shared/f'), 'from-one\n')


def create_and_remove(road):
    """Created, never started, removed; ids can be used again at once."""
    for _ in range(3):
        expect(road.run('exit 0', args=['--id', 'same']).returncode, 0)


CASES = [output_and_exit_code, death_by_signal, tail_of_output, stdin_to_stdout, missing_program, bad_bundles,
         failed_create_leaves_nothing, exec_in_container, exec_terminal, background_child_holds_the_pipe,
         client_killed_in_mid_stream, interrupt_is_forwarded, errors_have_statuses, signals, pause_and_resume,
         many_waiters, processes_and_stats, orphans_are_reaped, shared_mounts, create_and_remove]


def run_all(tap, road, prefix, cases=None):
    for case in cases or CASES:
        with tap.case('%s: %s' % (prefix, case.__name__.replace('_', ' '))):
            case(road)
