#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One test for each class of escape that container runtimes had to fix, against the whole agent. TAP.

The host's side is a directory of ours and the agent's own namespaces: what must not be reached is
put there. tests/ns/rootfs/50-hostile.sh tries the same classes on the engine's file system part alone,
tests/unit/test_netlink.c the bounds of netlink attributes, tests/unit/test_copyfile.c and
test_storage.c the paths of requests.
"""
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import nsagent  # noqa: E402
import server  # noqa: E402
from nsagent import all_caps, drop_mount, error_of, mount, mounts_of, namespaces, probe, refused  # noqa: E402
from tap import Tap, expect, has, need_root, retry, took_less  # noqa: E402
import test_spec  # noqa: E402


def put(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.lexists(path):
        os.unlink(path)
    with open(path, 'w') as f:
        f.write(text)
    os.chmod(path, mode)
    return path


def link(path, target):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
    os.symlink(target, path)


def outcome(road, cmd, edit, **kw):
    """(status, output, errors) of a container that may or may not come to life."""
    r = road.run(cmd, edit, timeout=30, **kw)
    return r.returncode, r.stdout.decode(errors='replace'), error_of(r)


def digest(path):
    with open(path, 'rb') as f:
        return hashlib.sha256(f.read()).hexdigest()


class Outside:
    """A directory of the host whose content must stay as it is."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix='outside-')
        os.makedirs(self.dir + '/d')
        put(self.dir + '/victim', 'untouched')
        self.before = self.state()

    def state(self):
        out = {}
        for base, dirs, files in os.walk(self.dir):
            for n in dirs + files:
                st = os.lstat(os.path.join(base, n))
                out[os.path.join(base, n)] = (st.st_mode, st.st_uid, st.st_size, st.st_mtime)
        return out

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        state = self.state()
        shutil.rmtree(self.dir)
        if kind is None:
            expect(state, self.before, 'what lies outside')


# ---- the process that joins: CVE-2016-9962, CVE-2019-5736 --------------------------------------

def snoop_while_execing(road, mode, edit, seconds=2):
    image = road.image()
    shutil.copy(nsagent.prog('snoop'), image + '/bin/snoop')
    if 'uidMappings' in json.dumps(dry(edit)):
        copy = image + '.owned'
        subprocess.run(['cp', '-a', image, copy], check=True)
        subprocess.run(['chown', '-hR', '200000:200000', copy], check=True)
        subprocess.run(['chmod', '755', road.work], check=True)
        image = copy

    def both(c):
        c['root']['path'] = image
        edit(c)
    with road.kept(edit=both) as c:
        spy = road.popen('exec', '-n', c.id, 'snoop', mode, str(seconds))
        expect(spy.stdout.readline(), b'up\n')
        end = time.monotonic() + seconds
        n = 0
        while time.monotonic() < end:
            c.exec('true', check=0)
            n += 1
        text = spy.communicate(timeout=30)[0].decode()
    has(text, 'seen')
    return [line for line in text.splitlines() if line.startswith('GOT')], int(text.split('seen ')[1]), n


def dry(edit):
    c = {'process': {}, 'linux': {'namespaces': [], 'resources': {}}, 'mounts': [], 'root': {}}
    edit(c)
    return c


def joining_process_cannot_be_read(agent, road):
    """CVE-2016-9962: with the usual capabilities, and as the almighty root of a user namespace."""
    got, seen, n = snoop_while_execing(road, 'read', lambda c: None)
    expect(got, [])
    got, seen2, n2 = snoop_while_execing(road, 'read', lambda c: (test_spec.userns(c), all_caps(c)))
    expect(got, [])
    expect(seen + seen2 > 0, True, 'the agent was seen at all in %d execs: %d' % (n + n2, seen + seen2))


def marked_image(road):
    image = road.image()
    shutil.copy(nsagent.prog('snoop'), image + '/bin/snoop')
    put(image + '/marker', '')
    return image


def with_ptrace(c, image):
    c['root']['path'] = image
    for names in c['process']['capabilities'].values():
        names.append('CAP_SYS_PTRACE')


def spied(text):
    got = [line for line in text.splitlines() if line.startswith('GOT')]
    expect(got[:20], [], '%d times' % len(got))
    return int(text.split('seen ')[1])


# Ten thousand starts under the spy: SPY_SECONDS=90 tests/run.py tests/ns/test_escape.py:undressed
SPY_SECONDS = int(os.environ.get('SPY_SECONDS', '2'))


FILTERED = {'defaultAction': 'SCMP_ACT_ALLOW', 'syscalls': [{'names': ['kexec_load', 'clone3'], 'action': 'SCMP_ACT_ERRNO'}]}


def nobody_is_seen_undressed(agent, road):
    """A container with CAP_SYS_PTRACE looks at its execs, with and without terminal and filter."""
    image = marked_image(road)
    seen = n = 0
    for edit in (lambda c: None, lambda c: c['linux'].update(seccomp=FILTERED),
                 lambda c: (c['linux'].update(seccomp=FILTERED), c['process'].update(noNewPrivileges=False)),
                 lambda c: (test_spec.userns(c), all_caps(c))):
        with road.kept(edit=lambda c, e=edit: (with_ptrace(c, image), e(c))) as c:
            spy = road.popen('exec', '-n', c.id, 'snoop', 'undressed', test_spec.agent_ns(agent, 'mnt'), str(SPY_SECONDS))
            expect(spy.stdout.readline(), b'up\n')
            end = time.monotonic() + SPY_SECONDS
            while time.monotonic() < end:
                c.exec(*(['-t'] if n % 4 == 3 else []), '-u', '7', 'true')
                n += 1
            seen += spied(spy.communicate(timeout=30)[0].decode())
    print('# seen %d times in %d execs' % (seen, n))
    expect(seen > 0, True, 'anybody was seen')


def nobody_is_seen_undressed_in_a_shared_pid_namespace(agent, road):
    """The same of new containers, and their execs, in the pid namespace of a sandbox, and the one that holds it."""
    image = marked_image(road)
    road.ctl('create-sandbox', '--id', 'sb', '--pidns', check=0)
    try:
        first = road.popen('run', *road.where, '-n', '--id', 'spy', road.bundle(
            'exec snoop undressed %s %d' % (test_spec.agent_ns(agent, 'mnt'), SPY_SECONDS),
            lambda c: with_ptrace(c, image)))
        expect(first.stdout.readline(), b'up\n')
        end = time.monotonic() + SPY_SECONDS - 0.1
        n = 0
        while time.monotonic() < end:
            edit = (lambda c: None, lambda c: namespaces(c, 'network', 'cgroup'),
                    lambda c: (test_spec.userns(c), all_caps(c)),
                    lambda c: (c['linux'].update(seccomp=FILTERED), c['process'].update(noNewPrivileges=False)))[n % 4]
            r = road.run('exit 3', lambda c: (with_ptrace(c, image), edit(c), n % 3 == 1 and c.update(hooks={
                'createContainer': [{'path': '/bin/sleep', 'args': ['sleep', '0.02']}]})))
            expect(r.returncode, 3, r.stderr)
            for args in ((), ('-t',), ('-u', '7')):
                road.ctl('exec', *args, *(() if args == ('-t',) else ('-n',)), 'spy', 'true')
            n += 1
        seen = spied(first.communicate(timeout=30)[0].decode())
        print('# seen %d times in %d containers and %d execs' % (seen, n, 3 * n))
        expect(seen > 0, True, 'anybody was seen in %d runs' % n)
    finally:
        road.ctl('destroy-sandbox', check=0)


def stolen_descriptors_stall_nobody(agent, road):
    """A container with CAP_SYS_PTRACE keeps the socket on which the agent follows an exec: its end is the process's, too."""
    image = marked_image(road)
    with road.kept(edit=lambda c: with_ptrace(c, image)) as c:
        spy = road.popen('exec', '-n', c.id, 'snoop', 'steal', str(SPY_SECONDS))
        expect(spy.stdout.readline(), b'up\n')
        end = time.monotonic() + SPY_SECONDS - 0.2
        while time.monotonic() < end:
            with took_less(1):
                c.exec('true', check=0)
        text = spy.communicate(timeout=30)[0].decode()
        expect(int(text.split('stolen ')[1].split()[0]) > 0, True, text)


def pause_process_has_nothing(agent, road):
    """Number 1 of a shared pid namespace, as a container with CAP_SYS_PTRACE finds it: no memory, root or power of the agent."""
    image = marked_image(road)
    road.ctl('create-sandbox', '--id', 'sb', '--pidns', check=0)
    try:
        road.run('exec sleep 1000', lambda c: with_ptrace(c, image), check=0, args=['-d', '-n', '--id', 'spy'])

        def sh(cmd):
            return road.ctl('exec', '-n', 'spy', 'sh', '-c', cmd, check=0).stdout.decode()
        expect(sh('cat /proc/1/comm /proc/1/cmdline; echo; cat /proc/1/environ; readlink /proc/1/exe').split(),
               ['pause', 'pause\0', '/memfd:pause', '(deleted)'])
        expect(sh('ls -A /proc/1/fd /proc/1/root/ /proc/1/cwd/').split(), ['/proc/1/cwd/:', '/proc/1/fd:', '/proc/1/root/:'])
        status = dict(line.split(':\t', 1) for line in sh('cat /proc/1/status').splitlines())
        for name in ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'SigCgt'):
            expect(int(status[name], 16), 0, name)
        expect((status['NoNewPrivs'], status['Seccomp']), ('1', '2'))
        expect(int(status['VmRSS'].split()[0]) <= 64, True, 'memory ' + status['VmRSS'])
        maps = [line.split(None, 5)[5:] for line in sh('cat /proc/1/maps').splitlines()]
        expect({m[0].strip() for m in maps if m} - {'[stack]', '[vdso]', '[vvar]', '[vvar_vclock]', '[vsyscall]'},
               {'/memfd:pause (deleted)'})
        expect(sh('for s in TERM INT SEGV ABRT STOP KILL; do kill -$s 1; done; (: >/proc/1/exe) 2>&1 || true; '
                  'cat /proc/1/comm').split()[-1], 'pause')
        sh('for i in 1 2 3 4 5; do (sh -c "sleep 0.05 &" &); done')
        retry(lambda: expect('Z' in sh("sed -n 's/^State:\t//p' /proc/[0-9]*/status 2>/dev/null; true"), False, 'zombies'))
    finally:
        road.ctl('destroy-sandbox', check=0)


def nothing_of_other_containers_is_in_the_memory_of_an_exec(agent, road):
    """It is a copy of the agent's until execve, which CAP_SYS_PTRACE reads: what has been served is wiped."""
    image, word = marked_image(road), 'the word of another one'
    road.ctl('create-sandbox', '--id', 'sb', check=0)
    try:
        for name, edit in (('other', lambda c: c['process']['env'].append('WORD=' + word)),
                           ('spy', lambda c: with_ptrace(c, image))):
            road.run('exec sleep 1000', edit, check=0, args=['-d', '-n', '--id', name])
        for _ in range(10):
            said = road.ctl('exec', 'other', 'cat', check=0, input=b'x' * 100 + word.encode())
            expect(said.stdout.endswith(word.encode()), True, 'cat')
        expect(road.ctl('exec', '-n', 'other', 'echo', word, check=0).stdout.decode(), word + '\n')
        spy = road.popen('exec', '-n', 'spy', 'snoop', 'memory', word[::-1], str(SPY_SECONDS))
        expect(spy.stdout.readline(), b'up\n')
        end = time.monotonic() + SPY_SECONDS
        while time.monotonic() < end:
            road.ctl('exec', '-n', 'spy', 'true', check=0)
        expect(spied(spy.communicate(timeout=30)[0].decode()) > 0, True, 'anybody was seen')
    finally:
        road.ctl('destroy-sandbox', check=0)


def joining_process_cannot_be_read_in_a_shared_pid_namespace(agent, road):
    """A new container's process is seen by its neighbours from its first moment."""
    image = road.image()
    shutil.copy(nsagent.prog('snoop'), image + '/bin/snoop')
    road.ctl('create-sandbox', '--id', 'sb', '--pidns', check=0)
    try:
        first = road.popen('run', *road.where, '-n', road.bundle('exec snoop read 2', lambda c: c['root'].update(path=image)))
        expect(first.stdout.readline(), b'up\n')
        end = time.monotonic() + 1.8
        while time.monotonic() < end:
            expect(road.run('exit 3').returncode, 3)
        text = first.communicate(timeout=30)[0].decode()
        expect([line for line in text.splitlines() if line.startswith('GOT')], [])
    finally:
        road.ctl('destroy-sandbox', check=0)


def executable_cannot_be_written(agent, road):
    """CVE-2019-5736: not even by a container with every capability that keeps the descriptor."""
    before = digest(agent.binary)
    got, _, _ = snoop_while_execing(road, 'write', lambda c: (all_caps(c), c['process'].update(noNewPrivileges=False)))
    expect(got, [])
    expect(digest(agent.binary), before)


def proc_self_exe_as_the_program(agent, road):
    """CVE-2019-5736's bait: a program, or a script's interpreter, that is /proc/self/exe."""
    image = road.image()
    shutil.copy(nsagent.prog('snoop'), image + '/bin/snoop')
    link(image + '/bin/bait', '/proc/self/exe')
    put(image + '/bin/script', '#!/proc/self/exe\n', 0o755)
    before = digest(agent.binary)

    def edit(c):
        c['root']['path'] = image
        all_caps(c)
    with road.kept(edit=edit) as c:
        spy = road.popen('exec', '-n', c.id, 'snoop', 'write', '2')
        expect(spy.stdout.readline(), b'up\n')
        for _ in range(10):
            for bait in ('/proc/self/exe', 'bait', 'script'):
                road.ctl('exec', '-n', c.id, bait, '--version', timeout=20)
        text = spy.communicate(timeout=30)[0].decode()
    expect([line for line in text.splitlines() if line.startswith('GOT')], [])
    expect(digest(agent.binary), before)


# ---- descriptors and the working directory: CVE-2024-21626 -------------------------------------

def started_process_has_three_descriptors(agent, road):
    p = probe(road)
    expect(sorted(p['fds']), ['0', '1', '2'])
    expect([f['type'] for f in p['fds'].values()], ['p'] * 3)
    expect((p['blocked'], p['not_default']), ([], []), 'signals')
    expect(sorted(e.split('=')[0] for e in p['env']), ['HOME', 'PATH'])
    with road.kept() as c:
        q = json.loads(c.exec('/bin/probe', check=0).stdout)
        expect(sorted(q['fds']), ['0', '1', '2'], 'exec')
        expect((q['blocked'], q['not_default']), ([], []), 'signals of exec')
        expect(sorted(e.split('=')[0] for e in q['env']), ['HOME', 'PATH'])
        r = road.ctl('exec', '-t', '-n', c.id, '/bin/probe', check=0)
        q = json.loads(r.stdout)
        expect((sorted(q['fds']), q['tty']), (['0', '1', '2'], 1), 'exec with a terminal')
        expect({f['link'] for f in q['fds'].values()}, {'/dev/pts/0'})
    r = road.ctl('run', '-t', '-n', *road.where, road.bundle('exec /bin/probe'), check=0)
    p = json.loads(r.stdout)
    expect((sorted(p['fds']), p['not_default']), (['0', '1', '2'], []), 'init with a terminal')


def nothing_is_inherited_from_the_agents_starter(agent, road):
    """Open descriptors, environment, ignored and blocked signals of whoever started the agent."""
    def spoil():
        for s in (signal.SIGHUP, signal.SIGINT, signal.SIGCHLD, signal.SIGUSR2):
            signal.signal(s, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGWINCH, signal.SIGRTMIN + 5})
        os.umask(0o777 & ~0o700)
        os.dup2(os.open('/', os.O_RDONLY), 9)
        os.dup2(os.open('/etc/hostname', os.O_RDONLY), 33)
    real = subprocess.Popen

    class Spoiled(real):
        def __init__(self, *args, **kw):
            super().__init__(*args, preexec_fn=spoil, close_fds=False, **kw)
    nsagent.subprocess.Popen = Spoiled
    try:
        other = nsagent.Agent(env=dict(os.environ, SECRET='of the host'))
        other.__enter__()
    finally:
        nsagent.subprocess.Popen = real
    try:
        with other.road() as r:
            p = probe(r)
            expect((sorted(p['fds']), p['blocked'], p['not_default'], p['umask']), (['0', '1', '2'], [], [], 0o022))
            expect([e for e in p['env'] if 'SECRET' in e], [])
            with r.kept() as c:
                q = json.loads(c.exec('/bin/probe', check=0).stdout)
                expect((sorted(q['fds']), q['blocked'], q['not_default'], q['umask']), (['0', '1', '2'], [], [], 0o022))
    finally:
        other.__exit__()


def working_directory_outside(agent, road):
    """CVE-2024-21626: through a descriptor of the agent's, by number or by a link of the image's."""
    image = road.image()
    link(image + '/w', '/proc/self/fd/8')

    def check(code, text, errors, cwd):
        if code != 0:
            has(errors, 'cwd')
            return
        where, names = text.split('\n', 1)
        expect(where.startswith('/') and 'unreachable' not in where, True, '%s: %s' % (cwd, where))
        expect('work' in names or 'boot' in names, False, cwd)
    paths = ['/proc/self/fd/%d' % n for n in range(3, 24)] + ['/proc/self/fd/7/../../..', '/w', '/w/..',
                                                              '/proc/self/root/../..', '/proc/thread-self/fd/8',
                                                              '/proc/1/root', '/proc/self/cwd']
    cmd = 'readlink /proc/self/cwd; ls'
    for cwd in paths:
        def edit(c, d=cwd):
            c['root']['path'] = image
            c['process']['cwd'] = d
        check(*outcome(road, cmd, edit), cwd)
    with road.kept(edit=lambda c: c['root'].update(path=image)) as c:
        for cwd in paths:
            r = road.ctl('exec', '-n', '-w', cwd, c.id, 'sh', '-c', cmd)
            check(r.returncode, r.stdout.decode(), error_of(r), cwd)


# ---- forged /dev: CVE-2025-31133, CVE-2025-52565, CVE-2026-41579 -------------------------------

def forged_dev_null(agent, road):
    """Masking takes the guest's null device, never what the image calls so."""
    with Outside() as out:
        for kind in ('link to a file', 'link to proc', 'link out', 'file', 'other device', 'directory'):
            image = road.image()
            node = image + '/dev/null'
            if kind == 'link to a file':
                link(node, '/etc/passwd')
            elif kind == 'link to proc':
                link(node, '/proc/sys/kernel/core_pattern')
            elif kind == 'link out':
                link(node, out.dir + '/victim')
            elif kind == 'file':
                put(node, 'forged')
            elif kind == 'other device':
                os.mknod(node, 0o20666, os.makedev(1, 5))
            else:
                os.makedirs(node)

            def edit(c, i=image):
                c['root']['path'] = i
                drop_mount(c, '/dev', '/dev/pts', '/dev/shm', '/dev/mqueue')
                c['linux']['maskedPaths'] = ['/proc/meminfo', '/etc/group']
            code, text, errors = outcome(road, 'cat /proc/meminfo /etc/group | wc -c; stat -c %t:%T /etc/group; '
                                               'cat /proc/sys/kernel/core_pattern', edit)
            if code == 0:
                expect(text.split()[:2], ['0', '1:3'], kind)
                expect(text.split('\n')[2] != '', True, 'core_pattern')
            else:
                has(errors, '/dev/null')


def forged_dev_console(agent, road):
    with Outside() as out:
        for target in ('/proc/sysrq-trigger', '/proc/sys/kernel/core_pattern', '/etc/passwd', out.dir + '/victim',
                       '/dev/../../../..' + out.dir + '/victim'):
            image = road.image()
            link(image + '/dev/console', target)

            def edit(c, i=image):
                c['root']['path'] = i
                c['mounts'] = [m for m in c['mounts'] if m['destination'] != '/dev']
                c['process']['terminal'] = True
            r = road.ctl('run', '-t', '-n', *road.where, road.bundle('cat /proc/self/mountinfo', edit), timeout=30)
            text = r.stdout.decode()
            if r.returncode == 0:
                for path in ('/proc/sysrq-trigger', '/proc/sys/kernel/core_pattern', '/etc/passwd'):
                    expect(' %s ' % path in text and 'devpts' in text.split(' %s ' % path)[1].split('\n')[0], False, path)
            else:
                has(error_of(r), '/dev/console')


def forged_dev_itself(agent, road):
    """/dev, /dev/pts, /dev/shm, /dev/fd as links that lead elsewhere in the image, or out of it."""
    with Outside() as out:
        for name in ('dev', 'dev/pts', 'dev/shm', 'dev/fd', 'dev/ptmx', 'dev/mqueue'):
            for target in ('/', '/etc', '/proc/self', '..', '../../../..', out.dir, out.dir + '/d', '/proc/1/root'):
                image = road.image()
                link(os.path.join(image, name), target)

                def edit(c, i=image):
                    c['root']['path'] = i
                    drop_mount(c, '/dev')
                code, text, _ = outcome(road, 'cat /proc/self/mountinfo', edit)
                if code == 0:
                    m = mounts_of(text)
                    expect(m['/']['root'].endswith('/' + os.path.basename(image)), True, '%s -> %s: / is %s' % (
                        name, target, m['/']))
                # Nothing of it appears in the agent's own mounts.
                expect([x for x in agent.mounts() if x.startswith(out.dir)], [])


def forged_devpts(agent, road):
    """A terminal from an image that brings its own idea of /dev/pts."""
    image = road.image()
    os.makedirs(image + '/dev/pts')
    put(image + '/dev/pts/ptmx', 'forged')

    def edit(c):
        c['root']['path'] = image
        drop_mount(c, '/dev', '/dev/pts', '/dev/shm', '/dev/mqueue')
    r = road.ctl('run', '-t', '-n', *road.where, road.bundle('true', edit), timeout=30)
    expect(r.returncode != 0, True)
    has(error_of(r), '/dev/pts')
    os.unlink(image + '/dev/pts/ptmx')
    os.mknod(image + '/dev/pts/ptmx', 0o20666, os.makedev(1, 3))
    r = road.ctl('run', '-t', '-n', *road.where, road.bundle('true', edit), timeout=30)
    expect(r.returncode != 0, True)


# ---- proc and sysfs redirected: CVE-2019-16884, CVE-2023-28642, CVE-2025-52881 -----------------

def symlinked_proc_and_sys(agent, road):
    for name in ('proc', 'sys'):
        for target in ('/tmp/fake', 'etc', '../../..', '/'):
            image = road.image()
            os.makedirs(image + '/tmp/fake', exist_ok=True)
            shutil.rmtree(os.path.join(image, name))
            link(os.path.join(image, name), target)
            refused(road, lambda c, i=image: c['root'].update(path=i), 'must be mounted on ordinary directory')


def something_else_on_proc(agent, road):
    with tempfile.TemporaryDirectory() as d:
        for edit, word in ((lambda c: mount(c, '/proc', 'tmpfs', 'tmpfs'), 'only a proc file system'),
                           (lambda c: mount(c, '/proc', 'bind', d, 'bind'), 'only a proc file system'),
                           (lambda c: mount(c, '/proc/self/attr', 'bind', d, 'bind'), 'inside /proc'),
                           (lambda c: mount(c, '/p', 'bind', d, 'bind') or link_mount(road, c), 'inside /proc')):
            refused(road, edit, word)


def link_mount(road, c):
    """A destination that a link of the image turns into a place below /proc."""
    image = road.image()
    link(image + '/innocent', '/proc/sys/kernel')
    c['root']['path'] = image
    mount(c, '/innocent', 'tmpfs', 'tmpfs')


def fake_proc(road):
    """An image whose /proc is an ordinary directory full of files to write to."""
    image = road.image()
    for f in ('self/attr/exec', 'self/attr/apparmor/exec', 'self/oom_score_adj', 'self/setgroups', 'self/uid_map',
              'sys/kernel/msgmax', 'sys/kernel/shm_rmid_forced', 'self/status', 'thread-self/attr/exec',
              'sys/kernel/cap_last_cap', 'self/loginuid'):
        put(os.path.join(image, 'proc', f), '7777' if f.endswith('msgmax') else 'deny')
    return image


def writes_to_a_forged_proc(agent, road):
    """Without a proc mount: what goes to the kernel goes to the kernel, and not to the image's files."""
    image = fake_proc(road)
    before = {os.path.join(b, n): digest(os.path.join(b, n)) for b, _, fs in os.walk(image + '/proc') for n in fs}

    def edit(c):
        c['root']['path'] = image
        drop_mount(c, '/proc')
        c['linux'].update(maskedPaths=[], readonlyPaths=[], sysctl={'kernel.msgmax': '5000'})
        c['process']['oomScoreAdj'] = 444
    with road.kept(edit=edit) as c:
        pids = json.loads(road.ctl('ps', '--format', 'json', c.id, check=0).stdout)
        with open('/proc/%d/oom_score_adj' % pids[0]) as f:
            expect(f.read(), '444\n')
        p = road.popen('exec', '-n', c.id, 'sleep', '1')
        retry(lambda: expect(scores(road, c.id), ['444\n', '444\n']))
        p.communicate()
        expect(test_spec.out(road, 'cat /proc/sys/kernel/msgmax'), '5000\n')
    after = {os.path.join(b, n): digest(os.path.join(b, n)) for b, _, fs in os.walk(image + '/proc') for n in fs}
    expect(after, before)


def scores(road, cid):
    """Of a container's processes; what makes an exec is one of them, for a moment."""
    found = []
    for pid in json.loads(road.ctl('ps', '--format', 'json', cid, check=0).stdout):
        with contextlib.suppress(OSError), open('/proc/%d/oom_score_adj' % pid) as f:
            found.append(f.read())
    return found


def labels_and_a_forged_proc(agent, road):
    """A label that the kernel cannot take is an error, even if the image offers a file to write it to."""
    image = fake_proc(road)
    if os.path.exists('/sys/fs/selinux/enforce'):
        raise nsagent.Skip('this kernel has labels')

    def edit(c):
        c['root']['path'] = image
        drop_mount(c, '/proc')
        c['linux'].update(maskedPaths=[], readonlyPaths=[])
        c['process'].update(apparmorProfile='confined', selinuxLabel='confined')
    refused(road, edit, 'SELinux label', 'confined')
    with open(image + '/proc/self/attr/exec') as f:
        expect(f.read(), 'deny')


def sysctl_through_a_volume(agent, road):
    """CVE-2025-52881: a shared volume that swaps what the write goes through has no part in it."""
    image = fake_proc(road)

    def edit(c):
        c['root']['path'] = image
        c['linux']['sysctl'] = {'kernel.msgmax': '6000'}
    expect(test_spec.out(road, 'cat /proc/sys/kernel/msgmax', edit), '6000\n')


# ---- mount targets: CVE-2021-30465 -------------------------------------------------------------

def mount_targets_that_leave(agent, road):
    with Outside() as out:
        for target in (out.dir + '/d', '../../../../../..' + out.dir + '/d', '/../..' + out.dir + '/d'):
            image = road.image()
            link(image + '/gate', target)
            for dest in ('/gate', '/gate/deeper', '/gate/x/y'):
                def edit(c, d=dest, i=image):
                    c['root']['path'] = i
                    mount(c, d, 'tmpfs', 'tmpfs')
                    mount(c, d + '-file', 'bind', '/etc/hostname', 'bind')
                outcome(road, 'true', edit)
        expect([m for m in agent.mounts() if m.startswith(out.dir)], [])


def mount_target_race(agent, road, seconds=3):
    """Another container exchanges a directory of a common volume with a link while mounts are made in it."""
    with Outside() as out, tempfile.TemporaryDirectory() as vol:
        os.makedirs(vol + '/a')
        os.symlink(out.dir + '/d', vol + '/b')
        spy = subprocess.Popen([nsagent.prog('snoop'), 'swap', vol + '/a', vol + '/b', str(seconds)],
                               stdout=subprocess.PIPE)
        try:
            def edit(c):
                mount(c, '/vol', 'bind', vol, 'rbind')
                mount(c, '/vol/a', 'tmpfs', 'tmpfs', 'mode=700')
                mount(c, '/vol/a/made/deep', 'tmpfs', 'tmpfs')
                mount(c, '/vol/a/file', 'bind', '/etc/hostname', 'bind')
            n = 0
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                code, text, _ = outcome(road, 'cat /proc/self/mountinfo', edit)
                n += 1
                if code == 0:
                    # What a process sees of its mounts is below its root: there they are, or nowhere.
                    expect(len([m for m in mounts_of(text) if 'vol' in m or m.endswith(('/made/deep', '/file'))]) >= 2, True)
                expect([m for m in agent.mounts() if m.startswith((out.dir, vol))], [])
        finally:
            spy.communicate()
        expect(n > 5, True, 'tries')


# ---- netlink and sizes: CVE-2021-43784 ---------------------------------------------------------

def oversized_fields(agent, road):
    """runc's bootstrap overflowed a 16-bit attribute length. Ours has none; the sizes are tried all the same."""
    huge = 'x' * 70000

    def tries(c, n):
        if n == 0:
            namespaces(c, {'type': 'network', 'path': '/' + huge})
        elif n == 1:
            test_spec.userns(c)
            c['linux']['uidMappings'] = [{'containerID': i, 'hostID': 200000 + i, 'size': 1} for i in range(5000)]
        elif n == 2:
            c['hostname'] = huge
        elif n == 3:
            c['process']['cwd'] = '/' + huge
        elif n == 4:
            c['linux']['cgroupsPath'] = '/' + huge
        elif n == 5:
            c['root']['path'] = '/' + huge
        elif n == 6:
            mount(c, '/' + huge, 'tmpfs', 'tmpfs')
        elif n == 7:
            mount(c, '/t', 'tmpfs', 'tmpfs', huge)
        elif n == 8:
            c['process']['selinuxLabel'] = huge
        elif n == 9:
            c['process']['user'] = {'uid': 0, 'gid': 0, 'username': huge}
        elif n == 10:
            c['linux']['maskedPaths'] = ['/' + huge]
        elif n == 11:
            c['linux']['devices'] = [{'path': '/dev/' + huge, 'type': 'c', 'major': 1, 'minor': 3}]
        elif n == 12:
            c['linux']['sysctl'] = {'kernel.' + huge: '1'}
        elif n == 13:
            c['process']['args'] = [huge]
        elif n == 14:
            c['process']['rlimits'] = [{'type': huge, 'soft': 1, 'hard': 1}]
        elif n == 15:
            c['process']['user'] = {'uid': 0, 'gid': 0, 'additionalGids': list(range(70000))}
    for n in range(16):
        code, _, errors = outcome(road, 'true', lambda c, k=n: tries(c, k))
        # A profile and a capability that this kernel does not know are ignored, however long their names.
        expect(code in (125, 126, 127), True, 'try %d: status %d' % (n, code))
        expect(len(errors) < 3000, True, 'an error text of %d bytes' % len(errors))
        expect(agent.alive(), True, 'after try %d the agent' % n)
    # A large environment is no error: one string may have 128 KiB, all together 2 MiB.
    env = ['V%d=%s' % (i, 'y' * 100000) for i in range(15)]
    expect(road.run('exit 3', lambda c: c['process'].update(env=['PATH=/bin'] + env)).returncode, 3)
    code, _, errors = outcome(road, 'exit 3', lambda c: c['process'].update(env=['PATH=/bin', 'V=' + 'y' * 200000]))
    expect(code in (125, 126, 127), True)
    has(errors, 'rgument list too long')


# ---- capabilities: CVE-2022-29162 --------------------------------------------------------------

def inheritable_capabilities_are_empty(agent, road):
    p = probe(road)
    expect((p['caps']['inheritable'], p['caps']['ambient']), (0, 0))
    with road.kept() as c:
        q = json.loads(c.exec('/bin/probe', check=0).stdout)
        expect((q['caps']['inheritable'], q['caps']['ambient']), (0, 0))
        r = road.ctl('exec', '-n', '-u', '1000:1000', c.id, '/bin/probe', check=0)
        expect(set(json.loads(r.stdout)['caps'][s] for s in ('inheritable', 'permitted', 'effective', 'ambient')), {0})


# ---- the guest's root disk: CVE-2020-2023, CVE-2026-24834 --------------------------------------

def root_disk_is_out_of_reach(agent, road):
    """By mknod, by linux.devices, by rules that allow everything or just it; also for what is exec'd."""
    part = os.stat('/').st_dev
    disks = {(os.major(part), os.minor(part)), tuple(test_spec.root_disk())}
    every = {'allow': True, 'type': 'a', 'major': -1, 'minor': -1, 'access': 'rwm'}
    for rules in ([], [every], [{'allow': False, 'access': 'rwm'}, every],
                  [{'allow': True, 'type': 'b', 'major': M, 'minor': m, 'access': 'rwm'} for M, m in disks]):
        def edit(c, r=rules):
            all_caps(c)
            mount(c, '/tmp', 'tmpfs', 'tmpfs', 'dev')
            c['linux']['resources']['devices'] = r
            c['linux']['devices'] = [{'path': '/dev/disk%d' % i, 'type': 'b', 'major': M, 'minor': m, 'fileMode': 0o666}
                                     for i, (M, m) in enumerate(sorted(disks))]
        with road.kept(edit=edit) as c:
            for i, (M, m) in enumerate(sorted(disks)):
                lines = c.sh('/bin/probe node b %d %d /tmp/n%d' % (M, m, i)).split('\n')
                expect(('ok' in lines[1], 'ok' in lines[2]), (False, False), 'disk %d:%d, rules %r' % (M, m, rules))
                expect(c.exec('test', '-e', '/dev/disk%d' % i).returncode, 1, '/dev/disk%d' % i)
                # Mounting it cannot be refused by device rules where the kernel has it mounted already
                # and shares that (6.6 and later): there it is as read-only as the guest's root is.


# ---- requests with paths: CVE-2026-41326, GHSA-fmg6-v47x-52wr ----------------------------------

def copyfile_stays_in_run(agent, road):
    with Outside() as out, tempfile.NamedTemporaryFile() as source:
        source.write(b'new')
        source.flush()
        run = agent.root + '/run'
        os.symlink(out.dir, run + '/gate')
        os.symlink(out.dir + '/victim', run + '/file')
        os.symlink(out.dir + '/victim', run + '/planted.tmp')
        for path in ('/run/gate/new', '/run/gate/d/new', '/run/../tmp/new', '/tmp/new', '/runaway/new', '/run/planted',
                     '/run', '/run/', '', '/run/gate/../../etc/new', 'run/x'):
            r = road.ctl('copy-file', source.name, path)
            expect(r.returncode, 1, path)
        road.ctl('copy-file', source.name, '/run/file', check=0)    # the link goes, its target stays
        expect(os.path.islink(run + '/file'), False)
        for n in ('gate', 'file', 'planted.tmp'):
            os.unlink(os.path.join(run, n))


def storages_stay_in_their_directory(agent, road):
    with Outside() as out:
        run = agent.root + '/run'
        os.makedirs(run + '/kata-containers', exist_ok=True)
        os.symlink(out.dir, run + '/kata-containers/gate')
        for n, (driver, point) in enumerate((d, p) for d in ('ephemeral', 'local') for p in (
                '/run/kata-containers/gate/x', '/run/kata-containers/gate', '/run/kata-containers/../../tmp/x',
                out.dir + '/d', '/etc', '/', '', '/run/kata-containers/gate/d')):
            storage = {'driver': driver, 'source': 'tmpfs', 'fstype': 'tmpfs', 'mount_point': point,
                       'options': ['mode=0777'] if driver == 'local' else []}
            r = road.ctl('call', 'CreateSandbox', json.dumps({'sandbox_id': 's%d' % n, 'storages': [storage]}))
            expect(r.returncode, 1, '%s at %r' % (driver, point))
            road.ctl('destroy-sandbox', check=0)
            expect([m for m in agent.mounts() if m.startswith(out.dir) or m == '/etc'], [])
        os.unlink(run + '/kata-containers/gate')


# ---- the user database of a hostile image ------------------------------------------------------

def hostile_passwd_and_group(agent, road):
    def fifo(path):
        os.mkfifo(path)

    def sparse(path):
        put(path, '')
        os.truncate(path, 1 << 30)

    def device(path):
        os.mknod(path, 0o20666, os.makedev(1, 5))

    def noise(path):
        with open(path, 'wb') as f:
            f.write(os.urandom(1 << 20))
    kinds = [fifo, sparse, device, noise, os.makedirs, lambda p: link(p, '/proc/self/mem'),
             lambda p: link(p, '/proc/kmsg'), lambda p: link(p, p), lambda p: link(p, '../../../../../../etc/passwd'),
             lambda p: link(p, '/proc/self/fd/3'), lambda p: link(p, '/dev/tty'),
             lambda p: put(p, 'root:x:0:0:' + 'x' * 3000000 + '\n'), lambda p: put(p, ':' * 2000000),
             lambda p: put(p, 'u:x:99999999999999999999:1::/:\nann:x:-1:-1::/:\nann:x:4294967295:1::/:\n')]
    for name in ('passwd', 'group'):
        for i, make in enumerate(kinds):
            image = road.image()
            os.unlink(image + '/etc/' + name)
            make(image + '/etc/' + name)

            def edit(c, user, img=image):
                c['root']['path'] = img
                c['process']['user'] = user
            for user in ({'uid': 1000, 'gid': 1000}, {'uid': 0, 'gid': 0, 'username': 'ann'},
                         {'uid': 0, 'gid': 0, 'username': 'ann:audio'}, {'uid': 0, 'gid': 0, 'username': '55:66'}):
                with took_less(10):
                    code, text, errors = outcome(road, '/bin/probe call getuid', lambda c, u=user: edit(c, u))
                if code != 0:
                    expect(len(errors) < 2000 and ('unable to find' in errors or 'larger than' in errors or
                                                   '/etc/' in errors or 'supplementary' in errors), True,
                           '%s %d %r: %s' % (name, i, user, errors))
                else:
                    expect(text.strip() in ('ok 1000', 'ok 55'), True, '%s %d %r: %s' % (name, i, user, text))


def many_groups(agent, road):
    """A member of more groups than the kernel takes, and one line of 3 MB."""
    image = road.image()
    put(image + '/etc/group', ''.join('g%d:x:%d:ann\n' % (i, i) for i in range(70000)))

    def edit(c):
        c['root']['path'] = image
        c['process']['user'] = {'uid': 0, 'gid': 0, 'username': 'ann'}
    refused(road, edit, 'supplementary groups')
    put(image + '/etc/group', 'audio:x:29:' + ','.join('user%d' % i for i in range(300000)) + ',ann\n')
    p = probe(road, edit)
    expect(p['groups'], [29])


def image_that_turns_hostile_later(agent, road):
    """An exec reads the files as the container has left them."""
    with road.kept(edit=lambda c: c['root'].update(path=road.image())) as c:
        c.sh('rm /etc/passwd /etc/group; mkdir /x; ln -s /proc/self/mem /etc/group')
        with took_less(5):
            expect(c.exec('/bin/probe', 'call', 'getuid', check=0).stdout, b'ok 0\n')
            r = road.ctl('exec', '-n', '-u', '5:6', c.id, '/bin/probe', 'call', 'getuid', check=0)
            expect(r.stdout, b'ok 5\n')
        c.sh('rm -rf /dev/pts/* 2>/dev/null; umount /dev/pts 2>/dev/null; true')
        c.sh('mv /bin /bim; true', check=0)
        r = c.exec('true')
        has(error_of(r), 'executable file not found')


def container_cannot_stop_the_agent(agent, road):
    """Endless output that nobody reads, a fork bomb within its limit, a full stdin: Check answers at once."""
    noisy = road.popen('run', *road.where, '-n', '--id', 'noisy', road.bundle('yes & yes >&2 & wait'))
    noisy.stdout.read(1000)
    bomb = road.popen('run', *road.where, '-n', '--id', 'bomb', road.bundle(
        'f() { f | f & }; f; sleep 2', lambda c: c['linux']['resources'].update(pids={'limit': 200})))
    try:
        for _ in range(20):
            with took_less(1):
                road.ctl('check', check=0)
            time.sleep(0.05)
    finally:
        for p in (noisy, bomb):
            p.kill()
            p.communicate()
        for cid in ('noisy', 'bomb'):
            road.ctl('signal', cid, 'KILL')
            road.ctl('remove', cid)
        road.ctl('destroy-sandbox', check=0)


# ---- session keyring: keys of one container are none of another's ------------------------------

def session_keyring(agent, road):
    image = road.image()
    shutil.copy(nsagent.prog('keys'), image + '/bin/keys')

    def run(cid, edit=None):
        def both(c):
            c['root'].update(path=image)
            c['linux'].update(maskedPaths=[])   # /proc/keys is one
            if edit:
                edit(c)
        road.run('exec sleep 1000', both, check=0, args=['-d', '-n', '--id', cid])

    def keys(cid, *args):
        return road.ctl('exec', '-n', cid, '/bin/keys', *args).stdout.decode().strip()
    try:
        run('keyring-a')
        run('keyring-b')
        run('keyring-c', lambda c: c['process']['user'].update(uid=1000, gid=1000))
        number = keys('keyring-a', 'add', 'secret', 'of a')
        expect(keys('keyring-a', 'read', 'secret'), 'of a', 'an exec after that which made the key')
        for cid in ('keyring-b', 'keyring-c'):
            has(keys(cid, 'read', 'secret'), 'error: ')
            has(keys(cid, 'number', number), 'error: ')
        names = [w for w in keys('keyring-a', 'names').split() if w.startswith('_ses.')]
        expect(len(names), 1, 'its own, and no other')
        expect(names[0].rstrip(':') in keys('keyring-b', 'names'), False, 'the name is nobody else\'s')
        keys('keyring-c', 'add', 'secret', 'of c')
        expect(keys('keyring-c', 'read', 'secret'), 'of c')
        expect(keys('keyring-a', 'read', 'secret'), 'of a')
    finally:
        for cid in ('keyring-a', 'keyring-b', 'keyring-c'):
            road.ctl('remove', cid)
        road.ctl('destroy-sandbox', check=0)


CASES = [f for n, f in list(globals().items()) if callable(f) and getattr(f, '__module__', '') == '__main__'
         and getattr(f, '__code__', None) and f.__code__.co_varnames[:2] == ('agent', 'road')]


def main():
    need_root()
    tap = Tap()
    with tempfile.TemporaryDirectory() as d:
        # A copy, in case that one of these succeeds.
        binary = shutil.copy(server.AGENT, d + '/kata-agent')
        with nsagent.Agent(binary) as agent, agent.road() as road:
            nsagent.run_cases(tap, agent, road, CASES, sys.argv[1:])
            with tap.case('no process and no descriptor is left'):
                retry(lambda: expect(agent.children(), []))
                expect(agent.fds() < 30, True)
            return nsagent.finish(tap, agent)


if __name__ == '__main__':
    sys.exit(main())
