#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every field of the OCI runtime-spec for Linux, through the whole agent, on this host. TAP.

A few cases run the same bundle with crun, too, where it is installed, and compare what the process
finds. docs/runtime-spec.md says which case covers which field. Arguments choose cases by a part of
their name.
"""
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
import nsagent  # noqa: E402
from nsagent import (CAPS, all_caps, cap_mask, drop_mount, error_of, mount, mountinfo, mounts_of,  # noqa: E402
                     namespaces, probe, refused)
from tap import Skip, Tap, expect, has, need_root, retry  # noqa: E402

INFINITE = 2 ** 64 - 1
RLIMITS = ('CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO '
           'RTTIME').split()


def out(road, cmd, edit=None, check=0):
    return road.run(cmd, edit, check=check).stdout.decode()


def cgroup_file(road, edit, *files):
    """Files of the container's own cgroup as it sees them; None where the kernel has no such file."""
    text = out(road, 'for f in %s; do cat /sys/fs/cgroup/$f 2>/dev/null || echo none; echo ---; done' % ' '.join(files),
               edit)
    return [None if v.strip() == 'none' else v.strip() for v in text.split('---\n')[:-1]]


# ---- ociVersion, root --------------------------------------------------------------------------

def ociVersion(agent, road):
    """Any version of the protocol's time is taken; hooks are told it (test_hooks.py)."""
    for version in ('1.0.0', '1.0.2-dev', '1.1.0', ''):
        expect(road.run('exit 4', lambda c: c.update(ociVersion=version)).returncode, 4, version)


def root_path(agent, road):
    image = road.image()
    with open(os.path.join(image, 'mark'), 'w') as f:
        f.write('this one')
    expect(out(road, 'cat /mark', lambda c: c['root'].update(path=image)), 'this one')
    expect(out(road, 'cat /mark', lambda c: c['root'].update(path=image + '/')), 'this one')
    refused(road, lambda c: c['root'].update(path='/no/such/rootfs'), 'rootfs (/no/such/rootfs) does not exist')
    r = road.ctl('call', 'CreateContainer', json.dumps({'container_id': 'x', 'OCI': {
        'Process': {'Args': ['true']}, 'Root': {'Path': '', 'Readonly': False}}}))
    has(error_of(r), 'Sandbox not started')
    with road.kept():
        r = road.ctl('call', 'CreateContainer', json.dumps({'container_id': 'x', 'OCI': {
            'Process': {'Args': ['true']}, 'Root': {'Path': '', 'Readonly': False}}}))
        has(error_of(r), 'Root must be specified')


def root_readonly(agent, road):
    cmd = 'touch /x 2>/dev/null && echo wrote; touch /dev/shm/y && echo shm; rm -f /x'
    expect(out(road, cmd, lambda c: c['root'].update(readonly=True)), 'shm\n')
    expect(out(road, cmd, lambda c: c['root'].update(readonly=False)), 'wrote\nshm\n')
    has(mountinfo(road, lambda c: c['root'].update(readonly=True))['/']['options'], 'ro')


# ---- mounts ------------------------------------------------------------------------------------

def mounts_flags(agent, road):
    """Each option that is a flag of the mount shows in mountinfo, and its opposite takes it away."""
    on = {'ro': 'ro', 'nosuid': 'nosuid', 'nodev': 'nodev', 'noexec': 'noexec', 'noatime': 'noatime',
          'nodiratime': 'nodiratime', 'nosymfollow': 'nosymfollow'}
    off = {'ro': 'rw', 'nosuid': 'suid', 'nodev': 'dev', 'noexec': 'exec', 'noatime': 'atime',
           'nodiratime': 'diratime', 'nosymfollow': 'symfollow'}

    def edit(c):
        for word in on:
            mount(c, '/t/' + word, 'tmpfs', 'tmpfs', word)
            mount(c, '/u/' + word, 'tmpfs', 'tmpfs', word, off[word])
            mount(c, '/b/' + word, 'bind', '/tmp', 'bind', word)
    m = mountinfo(road, edit)
    for word, shown in on.items():
        has(m['/t/' + word]['options'], shown)
        has(m['/b/' + word]['options'], shown)
        expect(shown in m['/u/' + word]['options'], False, off[word])

    def times(c):
        mount(c, '/s', 'tmpfs', 'tmpfs', 'strictatime')
        mount(c, '/r', 'tmpfs', 'tmpfs', 'relatime')
        mount(c, '/n', 'tmpfs', 'tmpfs', 'noatime', 'norelatime', 'strictatime')
    m = mountinfo(road, times)
    expect('relatime' in m['/s']['options'] or 'noatime' in m['/s']['options'], False, 'strictatime')
    has(m['/r']['options'], 'relatime')
    expect('noatime' in m['/n']['options'], False, 'the last one wins')


def mounts_superblock_flags(agent, road):
    def edit(c):
        mount(c, '/s', 'tmpfs', 'tmpfs', 'sync', 'dirsync', 'size=1m', 'mode=0700')
        mount(c, '/a', 'tmpfs', 'tmpfs', 'sync', 'async', 'lazytime', 'silent', 'iversion', 'defaults')
    m = mountinfo(road, edit)
    has(m['/s']['super'], 'sync', 'dirsync', 'size=1024k', 'mode=700')
    expect('sync' in m['/a']['super'], False, 'async')
    has(m['/a']['super'], 'lazytime')


def mounts_data(agent, road):
    expect(out(road, 'stat -c %a /s; df -k /s | tail -1 | tr -s " " | head -1', lambda c: mount(
        c, '/s', 'tmpfs', 'tmpfs', 'size=2048k', 'mode=1750')).split()[:3], ['1750', 'tmpfs', '2048'])
    refused(road, lambda c: mount(c, '/s', 'tmpfs', 'tmpfs', 'no_such_option'), "mount 'tmpfs' on '/s'")
    refused(road, lambda c: mount(c, '/s', 'nosuchfs', 'nosuchfs'), "mount 'nosuchfs' on '/s'")


def mounts_propagation(agent, road):
    words = {'private': '', 'shared': 'shared:', 'slave': 'master:', 'unbindable': 'unbindable',
             'rprivate': '', 'rshared': 'shared:', 'rslave': '', 'runbindable': 'unbindable'}
    with tempfile.TemporaryDirectory() as d:
        def edit(c):
            for w in words:
                mount(c, '/p/' + w, 'bind', d, 'rbind', w)
        m = mountinfo(road, edit)
    for w, sign in words.items():
        text = ' '.join(m['/p/' + w]['propagation'])
        if w == 'slave':      # of a private source there is no master
            continue
        expect(sign in text if sign else text == '', True, '%s: %r' % (w, text))


def mounts_bind(agent, road):
    with tempfile.TemporaryDirectory() as d:
        os.makedirs(d + '/dir')
        with open(d + '/dir/f', 'w') as f:
            f.write('content')
        expect(out(road, 'cat /b/f /c', lambda c: (mount(c, '/b', 'bind', d + '/dir', 'bind'),
                                                   mount(c, '/c', 'none', d + '/dir/f', 'bind'))), 'contentcontent')
        # Only the type says so.
        expect(out(road, 'cat /b/f', lambda c: mount(c, '/b', 'bind', d + '/dir')), 'content')
        refused(road, lambda c: mount(c, '/b', 'bind', d + '/none', 'bind'), d + '/none')
        # A relative source is the bundle's.
        image = road.image()
        os.makedirs(os.path.join(os.path.dirname(image), 'beside'), exist_ok=True)
        with open(os.path.join(os.path.dirname(image), 'beside', 'f'), 'w') as f:
            f.write('beside')

        def relative(c):
            c['root']['path'] = image
            mount(c, '/b', 'bind', 'beside', 'bind')
        expect(out(road, 'cat /b/f', relative), 'beside')


def in_agents_mounts(agent, *cmd):
    subprocess.run(['nsenter', '-t', str(agent.pid), '-m', *cmd], check=True)


def mounts_rbind(agent, road):
    """bind takes one mount, rbind what lies below it, too; ro is for one, rro for all."""
    with tempfile.TemporaryDirectory() as d:
        os.makedirs(d + '/sub')
        in_agents_mounts(agent, 'mount', '-t', 'tmpfs', 'below', d + '/sub')
        in_agents_mounts(agent, 'touch', d + '/sub/f')
        try:
            def edit(c):
                mount(c, '/one', 'bind', d, 'bind')
                mount(c, '/all', 'bind', d, 'rbind')
                mount(c, '/ro', 'bind', d, 'rbind', 'ro')
                mount(c, '/rro', 'bind', d, 'rbind', 'rro')
                mount(c, '/mix', 'bind', d, 'rbind', 'ro', 'rrw', 'rnoexec')
            expect(out(road, 'ls /one/sub /all/sub', edit), '/all/sub:\nf\n\n/one/sub:\n')
            m = mountinfo(road, edit)
            has(m['/ro']['options'], 'ro')
            has(m['/ro/sub']['options'], 'rw')
            has(m['/rro']['options'], 'ro')
            has(m['/rro/sub']['options'], 'ro')
            has(m['/mix/sub']['options'], 'rw', 'noexec')
        finally:
            in_agents_mounts(agent, 'umount', d + '/sub')


def mounts_bind_keeps_source_flags(agent, road):
    """What the source had stays: a bind without options does not take nosuid away."""
    with tempfile.TemporaryDirectory() as d:
        in_agents_mounts(agent, 'mount', '-t', 'tmpfs', '-o', 'nosuid,nodev,noexec', 'x', d)
        try:
            m = mountinfo(road, lambda c: (mount(c, '/plain', 'bind', d, 'bind'),
                                           mount(c, '/ro', 'bind', d, 'bind', 'ro')))
            has(m['/plain']['options'], 'nosuid', 'nodev', 'noexec')
            has(m['/ro']['options'], 'ro', 'nosuid', 'nodev', 'noexec')
        finally:
            in_agents_mounts(agent, 'umount', d)


def mounts_remount(agent, road):
    def edit(c):
        mount(c, '/t', 'tmpfs', 'tmpfs', 'size=1m')
        mount(c, '/t', 'tmpfs', 'tmpfs', 'remount', 'ro', 'nosuid')
    has(mountinfo(road, edit)['/t']['options'], 'ro', 'nosuid')
    refused(road, lambda c: mount(c, '/tmp', 'tmpfs', 'tmpfs', 'remount', 'ro'), 'remount')


def mounts_tmpcopyup(agent, road):
    image = road.image()
    os.makedirs(image + '/data/deep', exist_ok=True)
    with open(image + '/data/deep/f', 'w') as f:
        f.write('kept')
    os.chmod(image + '/data/deep/f', 0o640)
    os.chown(image + '/data/deep/f', 7, 8)
    os.symlink('deep/f', image + '/data/link')

    def edit(c):
        c['root']['path'] = image
        mount(c, '/data', 'tmpfs', 'tmpfs', 'tmpcopyup')
    expect(out(road, 'cat /data/link; echo; stat -c %a:%u:%g /data/deep/f; echo new > /data/deep/f', edit),
           'kept\n640:7:8\n')
    with open(image + '/data/deep/f') as f:
        expect(f.read(), 'kept', 'the image')
    refused(road, lambda c: mount(c, '/data', 'bind', '/tmp', 'bind', 'tmpcopyup'), 'tmpcopyup is for tmpfs only')


def mounts_idmap_is_refused(agent, road):
    for word in ('idmap', 'ridmap'):
        refused(road, lambda c: mount(c, '/b', 'bind', '/tmp', 'bind', word), 'id-mapped mounts are not supported')


def mounts_uidMappings(agent, road):
    """The protocol has no field for a mount's own mappings: agent-ctl says so, the bind is plain."""
    def edit(c):
        mount(c, '/b', 'bind', '/tmp', 'bind')
        c['mounts'][-1]['uidMappings'] = [{'containerID': 0, 'hostID': 1000, 'size': 1}]
    r = road.run('true', edit, check=0)
    has(error_of(r), 'uidMappings', 'no field for it')


def mounts_order_and_missing_directories(agent, road):
    def edit(c):
        mount(c, '/new/deep', 'tmpfs', 'tmpfs')
        mount(c, '/new/deep/er', 'tmpfs', 'tmpfs', 'mode=711')
        mount(c, '/new/file', 'bind', '/etc/hostname', 'bind')
    image = road.image()
    text = out(road, 'stat -c "%a %F" /new /new/deep/er /new/file', lambda c: (c['root'].update(path=image), edit(c)))
    expect(text.splitlines()[:2], ['755 directory', '711 directory'])


def mounts_destination(agent, road):
    for dest, word in (('', 'hide the root'), ('/', 'hide the root'), ('/a/../..', 'hide the root'),
                       ('/x/../proc/1', 'inside /proc'), ('/proc/sys', 'inside /proc'), ('/proc/1', 'inside /proc')):
        refused(road, lambda c, d=dest: mount(c, d, 'tmpfs', 'tmpfs'), word)
    # One that is not absolute begins at the root.
    has(out(road, 'cat /proc/self/mountinfo', lambda c: mount(c, 'tmp/../mnt', 'tmpfs', 'tmpfs')), ' /mnt rw')
    # What lxcfs covers may be covered.
    with tempfile.NamedTemporaryFile('w') as f:
        f.write('fake uptime\n')
        f.flush()
        for path in ('/proc/uptime', '/proc/slabinfo', '/proc/sys/kernel/ns_last_pid'):
            if os.path.exists(path):
                expect(out(road, 'cat ' + path, lambda c, p=path: (mount(c, p, 'bind', f.name, 'bind'),
                                                                   c['linux'].update(maskedPaths=[], readonlyPaths=[]))),
                       'fake uptime\n')
    # '..' is resolved as text, as runc does.
    image = road.image()
    text = out(road, 'cat /proc/self/mountinfo', lambda c: (c['root'].update(path=image),
                                                            mount(c, '/../../mnt/../q/x', 'tmpfs', 'tmpfs')))
    expect('/q/x' in mounts_of(text), True, text)


def mounts_many(agent, road):
    """Fifteen hundred binds start."""
    image = road.image()
    os.makedirs(image + '/many')

    def edit(c):
        c['root']['path'] = image
        for i in range(1500):
            mount(c, '/many/%d' % i, 'bind', '/etc/hostname', 'bind', 'ro')
    expect(out(road, 'grep -c " /many/" /proc/self/mountinfo', edit), '1500\n')


def mounts_options_with_commas(agent, road):
    """An escaped comma is the file system's: overlay's path, not the next option."""
    image = road.image()
    top = agent.root + '/run/comma'
    for d in ('a,b', 'c'):
        os.makedirs(os.path.join(top, d))
    open(os.path.join(top, 'a,b', 'seen'), 'w').close()
    r = road.run('ls /ovl', lambda c: (c['root'].update(path=image), mount(
        c, '/ovl', 'overlay', 'overlay', 'lowerdir=/run/comma/a\\,b:/run/comma/c', 'ro')))
    if 'No such device' in error_of(r):
        raise Skip('no overlayfs here')
    expect((r.returncode, r.stdout), (0, b'seen\n'), error_of(r))


def mounts_cgroup(agent, road):
    m = mountinfo(road)
    has(m['/sys/fs/cgroup']['options'], 'ro')
    has(m['/sys/fs/cgroup/memory']['type'], 'cgroup')
    has(m['/sys/fs/cgroup/memory']['options'], 'ro', 'nosuid', 'noexec', 'nodev')
    # Its own processes and no others.
    expect(out(road, 'cat /sys/fs/cgroup/pids/cgroup.procs | wc -l').strip() in ('2', '3'), True)


def mounts_mqueue_devpts_sysfs(agent, road):
    m = mountinfo(road)
    for path, kind in (('/dev/mqueue', 'mqueue'), ('/dev/pts', 'devpts'), ('/sys', 'sysfs'), ('/proc', 'proc'),
                       ('/dev/shm', 'tmpfs'), ('/dev', 'tmpfs')):
        expect(m[path]['type'], kind, path)


def mounts_overlay(agent, road):
    with tempfile.TemporaryDirectory() as d:
        for s in ('l', 'u', 'w'):
            os.makedirs(os.path.join(d, s))
        with open(d + '/l/f', 'w') as f:
            f.write('lower')
        in_agents_mounts(agent, 'mount', '-t', 'tmpfs', 'x', d)
        in_agents_mounts(agent, 'sh', '-c', 'mkdir %s/l %s/u %s/w; echo lower > %s/l/f' % (d, d, d, d))
        try:
            expect(out(road, 'cat /o/f; echo up > /o/g', lambda c: mount(
                c, '/o', 'overlay', 'overlay', 'lowerdir=%s/l,upperdir=%s/u,workdir=%s/w' % (d, d, d))), 'lower\n')
        finally:
            in_agents_mounts(agent, 'umount', d)


# ---- process -----------------------------------------------------------------------------------

def with_terminal(c):
    c['process']['terminal'] = True


def process_terminal(agent, road):
    r = road.ctl('run', '-t', '-n', *road.where, road.bundle('test -t 0 && test -t 1 && test -t 2 && echo yes; tty; '
                                                             'stty -a | grep -c onlcr; ls -l /dev/console'))
    expect(r.returncode in (0, 1), True)
    has(r.stdout.decode(), 'yes', '/dev/pts/0', '/dev/console')
    p = probe(road)
    expect(p['tty'], 0, 'without one')


def process_terminal_is_controlling(agent, road):
    r = road.ctl('run', '-t', '-n', *road.where, road.bundle('echo into > /dev/tty; ps -o pid,tty; stat -c %t:%T /dev/console'))
    has(r.stdout.decode(), 'into', '136,0', '88:0')


def process_consoleSize(agent, road):
    def edit(c):
        with_terminal(c)
        c['process']['consoleSize'] = {'height': 33, 'width': 77}
    r = road.ctl('run', '-n', *road.where, road.bundle('stty size', edit), check=0)
    has(r.stdout.decode(), '33 77')


def process_cwd(agent, road):
    image = road.image()

    def edit(c):
        c['root']['path'] = image
        c['process']['cwd'] = '/made/for/me'
    p = probe(road, edit)
    expect(p['cwd'], '/made/for/me')
    expect(os.stat(image + '/made/for/me').st_mode & 0o7777, 0o755)
    expect(probe(road, lambda c: c['process'].update(cwd='/tmp'))['cwd'], '/tmp')
    refused(road, lambda c: c['process'].update(cwd='/etc/passwd'), 'chdir to cwd')
    with road.kept() as c:      # an exec gets no new directory
        r = road.ctl('exec', '-n', '-w', '/never', c.id, 'pwd')
        has(error_of(r), 'chdir to cwd ("/never")')
        expect(road.ctl('exec', '-n', '-w', '/tmp', c.id, 'pwd', check=0).stdout, b'/tmp\n')


def process_cwd_missing_in_a_readonly_root(agent, road):
    image = road.image()

    def edit(c):
        c['root'].update(path=image, readonly=True)
        c['process']['cwd'] = '/made/before'
    expect(probe(road, edit)['cwd'], '/made/before')
    expect(error_of(road.run('touch /made/before/x', edit)).strip(), 'touch: /made/before/x: Read-only file system')


def process_cwd_that_only_its_user_may_enter(agent, road):
    """As on a share that squashes root: here by a group outside of the user namespace, where its root has no say."""
    image = mapped_image(road)
    own = image + '/own'
    os.mkdir(own)
    os.chown(own, 200000 + 1000, 12)
    os.chmod(own, 0o700)

    def edit(c, uid=1000):
        c['root']['path'] = image
        c['process'].update(cwd='/own', user=dict(uid=uid, gid=1000))
        userns(c)
    expect(probe(road, edit)['cwd'], '/own')
    refused(road, lambda c: edit(c, 1001), 'chdir to cwd ("/own")', 'Permission denied')


def process_env(agent, road):
    p = probe(road, lambda c: c['process'].update(env=['PATH=/bin', 'A=1', 'A=2', 'EMPTY=', 'E=a=b', 'U=\u00fc']))
    expect(sorted(p['env']), sorted(['PATH=/bin', 'A=2', 'EMPTY=', 'E=a=b', 'U=\u00c3\u00bc', 'HOME=/root']))
    p = probe(road, lambda c: c['process'].update(env=['HOME=/else']))
    expect(p['env'], ['HOME=/else'])
    refused(road, lambda c: c['process'].update(env=['PATH=/bin', 'NOEQUALS']), "invalid environment 'NOEQUALS'")


def process_args(agent, road):
    def edit(c):
        c['process']['args'] = ['/bin/probe', '', 'a b', '"', "'", '$X', '*', '\n']
    expect(json.loads(road.run(None, edit, check=0).stdout)['args'],
           ['/bin/probe', '', 'a b', '"', "'", '$X', '*', '\n'])
    # Found through the container's PATH, not the agent's.
    image = road.image()
    os.makedirs(image + '/only/here')
    shutil.copy(nsagent.prog('probe'), image + '/only/here/mine')

    def path(c):
        c['root']['path'] = image
        c['process'].update(args=['mine'], env=['PATH=/nowhere:/only/here'])
    expect(json.loads(road.run(None, path, check=0).stdout)['args'], ['mine'])

    def words(args, env, *want):
        refused(road, lambda c: c['process'].update(args=args, env=env), *want)
    words(['sh'], [], 'exec: "sh": executable file not found in $PATH')
    words(['nosuch'], ['PATH=/bin'], 'exec: "nosuch": executable file not found in $PATH')
    words(['/no/such'], [], 'stat /no/such: no such file or directory')
    words(['/etc/passwd'], [], 'permission denied')
    words(['/tmp'], [], 'permission denied')


def process_args_scripts_and_bad_binaries(agent, road):
    """What only execve can tell: StartContainer reports it, and the container can be removed."""
    image = road.image()
    for name, text in (('script', '#!/bin/sh\necho from script $1\n'), ('lost', '#!/no/interpreter\n'),
                       ('junk', 'not a program'), ('empty', '')):
        with open(image + '/bin/' + name, 'w') as f:
            f.write(text)
        os.chmod(image + '/bin/' + name, 0o755)

    def run(*args):
        return road.run(None, lambda c: (c['root'].update(path=image), c['process'].update(args=list(args))))
    expect(run('script', 'arg').stdout, b'from script arg\n')
    for name in ('lost', 'junk', 'empty'):
        r = run(name)
        expect(r.returncode in (125, 126, 127), True, '%s: %d' % (name, r.returncode))
        has(error_of(r), 'exec: "%s"' % name)


def process_user(agent, road):
    p = probe(road, lambda c: c['process'].update(user={'uid': 1000, 'gid': 1001, 'additionalGids': [5, 50]}))
    expect((p['uid'], p['gid'], p['groups']), ([1000] * 3, [1001] * 3, [5, 50]))
    has(p['env'], 'HOME=/home/ann')
    expect(p['fds']['1']['uid'], 1000, 'owner of stdout')
    p = probe(road, lambda c: c['process'].update(user={'uid': 77777, 'gid': 77777}))
    expect((p['uid'], p['groups']), ([77777] * 3, []))
    has(p['env'], 'HOME=/')
    expect((p['caps']['effective'], p['caps']['permitted']), (0, 0), 'capabilities of another user')


def process_user_username(agent, road):
    """username: name, uid, name:group, uid:gid from the container's own files."""
    def who(name, **more):
        p = probe(road, lambda c: c['process'].update(user=dict(uid=0, gid=0, username=name, **more)))
        return p['uid'][0], p['gid'][0], sorted(p['groups'])
    expect(who('ann'), (1000, 1000, [29]))
    expect(who('1000'), (1000, 1000, [29]))
    expect(who('ann:audio'), (1000, 29, []))
    expect(who('55:66'), (55, 66, []))
    expect(who('ann', additionalGids=[7]), (1000, 1000, [7, 29]))
    refused(road, lambda c: c['process'].update(user={'uid': 0, 'gid': 0, 'username': 'nobody-here'}),
            'unable to find user nobody-here: no matching entries in passwd file')
    refused(road, lambda c: c['process'].update(user={'uid': 0, 'gid': 0, 'username': 'ann:nogroup'}),
            'unable to find group nogroup')


def process_user_umask(agent, road):
    """The 1.x protocol has no field for it: agent-ctl says so, and the umask is 022."""
    expect(probe(road)['umask'], 0o022)
    r = road.run('umask', lambda c: c['process']['user'].update(umask=0o077), check=0)
    has(error_of(r), 'umask', 'no field for it')
    expect(r.stdout, b'0022\n')


def process_capabilities(agent, road):
    sets = {'bounding': ['CAP_CHOWN', 'CAP_KILL', 'CAP_NET_RAW', 'CAP_SYS_ADMIN', 'CAP_SETPCAP'],
            'permitted': ['CAP_CHOWN', 'CAP_KILL', 'CAP_NET_RAW'], 'effective': ['CAP_CHOWN'],
            'inheritable': ['CAP_NET_RAW', 'CAP_CHOWN'], 'ambient': ['CAP_NET_RAW']}

    def edit(c):
        c['process']['capabilities'] = sets
        c['process']['user'] = {'uid': 1000, 'gid': 1000}
    caps = probe(road, edit)['caps']
    # execve by another user: permitted and effective are what is ambient.
    expect(caps['bounding'], cap_mask(*sets['bounding']), 'bounding')
    expect(caps['inheritable'], cap_mask(*sets['inheritable']), 'inheritable')
    for s in ('ambient', 'permitted', 'effective'):
        expect(caps[s], cap_mask('CAP_NET_RAW'), s)
    # As root execve gives the whole bounding set, unless no_new_privs keeps it to what was permitted.
    for nnp, most in ((True, 'permitted'), (False, 'bounding')):
        caps = probe(road, lambda c, n=nnp: c['process'].update(
            capabilities=dict(sets, ambient=[]), noNewPrivileges=n))['caps']
        expect(caps['permitted'], cap_mask(*sets[most]), 'permitted of root, %s' % most)


def status_mask(line):
    with open('/proc/self/status') as f:
        return int(re.search(r'^%s:\s*(\w+)' % line, f.read(), re.M).group(1), 16)


def may_raise():
    """Whether this machine lets root do everything: raise limits, lower an OOM score."""
    return bool(status_mask('CapEff') & cap_mask('SYS_RESOURCE'))


def process_capabilities_none(agent, road):
    for caps in ({}, None):
        p = probe(road, lambda c, v=caps: c['process'].update(capabilities=v) if v is not None
                  else c['process'].pop('capabilities'))
        expect(set(p['caps'].values()), {0}, 'sets')


def process_capabilities_all_and_unknown(agent, road):
    caps = probe(road, all_caps)['caps']
    ours = status_mask('CapBnd')
    for s in ('bounding', 'permitted', 'effective'):
        expect(caps[s], cap_mask(*CAPS) & ours, s)
    expect((caps['inheritable'], caps['ambient']), (0, 0))
    # The runtime-spec: log what nobody knows, and do not fail for it.
    got = probe(road, lambda c: c['process'].update(capabilities={'bounding': ['CAP_TO_FLY', 'CAP_KILL']}))['caps']
    expect(got['bounding'], cap_mask('KILL'))
    has(agent.log(), 'unknown capability \\"CAP_TO_FLY\\" is ignored')
    refused(road, lambda c: c['process'].update(capabilities={'effective': ['CAP_KILL'], 'bounding': ['CAP_KILL']}),
            'effective without being permitted')


def as_runtime_rs_writes_it(agent, road):
    """Namespaces by the kernel's words, capabilities without CAP_ or in quotes, a time namespace."""
    names = ['CHOWN', '"CAP_KILL"', 'NET_BIND_SERVICE', 'CAP_NET_RAW']

    def edit(c):
        c['linux']['namespaces'] = [{'type': t} for t in ('ipc', 'uts', 'mnt', 'net', 'cgroup', 'time')]
        c['process']['capabilities'] = {s: names for s in ('bounding', 'permitted', 'effective')}
    p = probe(road, edit)
    for s in ('bounding', 'permitted', 'effective'):
        expect(p['caps'][s], cap_mask('CHOWN', 'KILL', 'NET_BIND_SERVICE', 'NET_RAW'), s)
    for kind in ('mnt', 'net', 'ipc', 'uts', 'cgroup', 'pid'):
        expect(p['ns'][kind] in (agent_ns(agent, kind), host_ns(kind)), False, kind)
    refused(road, lambda c: namespaces(c, 'network', 'net'), 'duplicated ns "net"')


def seccomp_knows_execve_alone(agent, road):
    """A profile older than our system calls, with and without no_new_privs: what it doesn't name kills."""
    names = ('execve brk arch_prctl set_tid_address set_robust_list rseq prlimit64 readlink readlinkat getrandom mprotect '
             'exit_group uname mmap munmap fstat newfstatat getuid getgid geteuid getegid setuid setgid prctl').split()
    for nnp in (False, True):
        for user in (0, 1000):
            def edit(c):
                c['process'].update(noNewPrivileges=nnp, args=['/bin/busybox', 'true'], user={'uid': user, 'gid': user})
                c['linux']['seccomp'] = {'defaultAction': 'SCMP_ACT_KILL_PROCESS',
                                         'syscalls': [{'names': names, 'action': 'SCMP_ACT_ALLOW'}]}
            r = road.run(None, edit)
            expect(r.returncode, 0, 'nnp=%s user=%d: %s' % (nnp, user, r.stderr))
            with road.kept(edit=lambda c: (edit(c), c['process'].update(args=['/bin/busybox', 'sleep', '1000']), c['linux'][
                    'seccomp']['syscalls'][0]['names'].append('clock_nanosleep'))) as c:
                expect(c.exec('/bin/busybox', 'true').returncode, 0, 'exec')


def process_scheduling_is_not_the_agents(agent, road):
    """Whatever the agent is pinned to and however nice it is."""
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(agent.pid, cpus[:1])
    os.setpriority(os.PRIO_PROCESS, agent.pid, 5)
    try:
        look = "cut -d' ' -f19,41 /proc/self/stat; grep Cpus_allowed_list /proc/self/status"
        with road.kept() as c:
            for text in (out(road, look), c.sh(look)):
                expect(text.splitlines()[0].split()[0], '0')
                expect(len(cpus) < 2 or not text.strip().endswith('\t%d' % cpus[0]), True, text)
    finally:
        os.sched_setaffinity(agent.pid, cpus)
        os.setpriority(os.PRIO_PROCESS, agent.pid, 0)


def process_noNewPrivileges(agent, road):
    for want in (True, False):
        expect(probe(road, lambda c, w=want: c['process'].update(noNewPrivileges=w))['nnp'], int(want))


def process_rlimits(agent, road):
    values = {n: (4096 + i, 8192 + i) for i, n in enumerate(RLIMITS)}
    values.update(NICE=(10, 20), RTPRIO=(1, 2), AS=(1 << 32, INFINITE), DATA=(1 << 31, 1 << 32),
                  STACK=(8 << 20, 16 << 20), CPU=(100, 200), FSIZE=(1 << 20, 1 << 21))
    if not may_raise():     # what is unlimited for nobody here
        values.update({n: (0, 0) for n in ('NICE', 'RTPRIO')})

    def edit(c):
        c['process']['rlimits'] = [{'type': 'RLIMIT_' + n, 'soft': s, 'hard': h} for n, (s, h) in values.items()]
    got = probe(road, edit)['rlimits']
    for i, n in enumerate(RLIMITS):
        expect(tuple(got[i]), values[n], n)
    # What the kernel refuses (hard below soft), and what nobody knows.
    refused(road, lambda c: c['process'].update(rlimits=[{'type': 'RLIMIT_NOFILE', 'soft': 20, 'hard': 10}]),
            'RLIMIT_NOFILE')
    refused(road, lambda c: c['process'].update(rlimits=[{'type': 'RLIMIT_NOSUCH', 'soft': 1, 'hard': 1}]),
            "unknown rlimit type 'RLIMIT_NOSUCH'")
    refused(road, lambda c: c['process'].update(rlimits=[{'type': 'RLIMIT_CORE', 'soft': 1, 'hard': 1}] * 2),
            'RLIMIT_CORE is given twice')
    # Its user has one process then, and one may be made while another one sets it up.
    expect(road.run(None, lambda c: (c['process'].update(
        args=['/bin/probe'], rlimits=[{'type': 'RLIMIT_NPROC', 'soft': 1, 'hard': 1}]), c['process']['user'].update(
        uid=54321, gid=54321))).returncode, 0)
    with road.kept(edit=edit) as c:     # an exec has the container's
        expect(json.loads(c.exec('/bin/probe', check=0).stdout)['rlimits'], got)


def process_rlimits_default(agent, road):
    """The agent's own raised limit of descriptors is not the containers'."""
    with open('/proc/%d/limits' % os.getpid()) as f:
        soft, hard = re.search(r'Max open files +(\d+) +(\d+)', f.read()).groups()
    expect(probe(road)['rlimits'][RLIMITS.index('NOFILE')], [int(soft), int(hard)])


def process_oomScoreAdj(agent, road):
    for v in (0, 500, 1000) + ((-500,) if may_raise() else ()):
        expect(probe(road, lambda c, x=v: c['process'].update(oomScoreAdj=x))['oom_score_adj'], str(v))
    refused(road, lambda c: c['process'].update(oomScoreAdj=1001), 'oomScoreAdj 1001')
    if not may_raise():
        refused(road, lambda c: c['process'].update(oomScoreAdj=-500), 'OOM score adjustment to -500: Permission denied')
    with road.kept(edit=lambda c: c['process'].update(oomScoreAdj=321)) as c:
        expect(json.loads(c.exec('/bin/probe', check=0).stdout)['oom_score_adj'], '321')


def process_apparmorProfile(agent, road):
    """The profiles that hosts name are the host's: what this kernel has not loaded is ignored, and logged."""
    for name in ('cri-containerd.apparmor.d', 'x' * 3000):
        edit = lambda c, n=name: c['process'].update(apparmorProfile=n)     # noqa: E731
        expect(road.run('exit 3', edit).returncode, 3)
        retry(lambda n=name: has(agent.log(), "AppArmor profile '" + n[:100]))
        with road.kept(edit=edit) as c:
            expect(c.exec('sh', '-c', 'exit 4').returncode, 4)
    expect(road.run('exit 3', lambda c: c['process'].update(apparmorProfile='')).returncode, 3)


def process_selinuxLabel(agent, road):
    if os.path.exists('/sys/fs/selinux/enforce'):
        raise Skip('this kernel has SELinux')
    refused(road, lambda c: c['process'].update(selinuxLabel='system_u:system_r:container_t:s0'), 'SELinux',
            'container_t')


def process_scheduler_and_ioPriority(agent, road):
    """Later than the protocol: named by agent-ctl, not honoured."""
    r = road.run('true', lambda c: c['process'].update(scheduler={'policy': 'SCHED_BATCH'},
                                                       ioPriority={'class': 'IOPRIO_CLASS_IDLE', 'priority': 0}),
                 check=0)
    has(error_of(r), 'scheduler', 'ioPriority', 'no field for it')


# ---- hostname, domainname ----------------------------------------------------------------------

def hostname(agent, road):
    before = socket.gethostname()
    expect(probe(road, lambda c: c.update(hostname='my-pod.example'))['hostname'], 'my-pod.example')
    expect(socket.gethostname(), before, 'the host')
    expect(out(road, 'cat /proc/sys/kernel/hostname', lambda c: c.update(hostname='x')), 'x\n')
    refused(road, lambda c: c.update(hostname='h' * 65), 'set hostname')


def domainname(agent, road):
    """No field in the protocol; the sysctl does it."""
    has(error_of(road.run('true', lambda c: c.update(domainname='d'), check=0)), 'domainname', 'no field for it')
    expect(out(road, 'cat /proc/sys/kernel/domainname', lambda c: c['linux'].update(
        sysctl={'kernel.domainname': 'dom.example'})), 'dom.example\n')


# ---- linux.namespaces --------------------------------------------------------------------------

def host_ns(kind):
    return os.readlink('/proc/self/ns/' + kind)


def agent_ns(agent, kind):
    return os.readlink('/proc/%d/ns/%s' % (agent.pid, kind))


def linux_namespaces_new(agent, road):
    p = probe(road, lambda c: namespaces(c, 'network', 'cgroup'))
    for kind in ('mnt', 'pid', 'ipc', 'uts', 'net', 'cgroup'):
        expect(p['ns'][kind] in (agent_ns(agent, kind), host_ns(kind)), False, kind)
    expect(p['ns']['user'], host_ns('user'))
    expect(p['pid'], 1)
    expect(out(road, 'cat /proc/self/cgroup | head -1', lambda c: namespaces(c, 'cgroup')).strip()[-2:], ':/')


def linux_namespaces_network(agent, road):
    """A new one has its lo, up, and nothing else; without one it is the guest's."""
    text = out(road, 'ls /sys/class/net; cat /proc/net/if_inet6', lambda c: namespaces(c, 'network'))
    has(text, 'lo')
    expect(text.split()[1] in ('', '00000000000000000000000000000001'), True, text)
    expect(probe(road)['ns']['net'], agent_ns(agent, 'net'))


def linux_namespaces_by_path(agent, road):
    with road.kept(edit=lambda c: namespaces(c, 'network', 'cgroup')) as c:
        pid = container_pid(road, c.id)
        theirs = {k: os.readlink('/proc/%d/ns/%s' % (pid, k)) for k in ('net', 'ipc', 'uts', 'cgroup', 'mnt')}

        def edit(x):
            namespaces(x, {'type': 'network', 'path': '/proc/%d/ns/net' % pid},
                       {'type': 'cgroup', 'path': '/proc/%d/ns/cgroup' % pid})
        p = probe(road, edit)
        expect((p['ns']['net'], p['ns']['cgroup']), (theirs['net'], theirs['cgroup']))
        # All of a sandbox's containers share ipc and uts, listed or not.
        expect((p['ns']['ipc'], p['ns']['uts']), (theirs['ipc'], theirs['uts']))
        expect(probe(road, lambda x: namespaces(x, drop=('ipc', 'uts')))['ns']['ipc'], theirs['ipc'])
        expect(p['ns']['mnt'] == theirs['mnt'], False)
        for path in ('/no/such/ns', '/etc/passwd', '/proc/%d/ns/uts' % pid):
            refused(road, lambda x, q=path: namespaces(x, {'type': 'network', 'path': q}), 'network namespace')


def linux_namespaces_errors(agent, road):
    refused(road, lambda c: namespaces(c, 'nosuch'), 'namespace "nosuch" does not exist')
    refused(road, lambda c: namespaces(c, 'network', 'network'), 'duplicated ns "network"')
    refused(road, lambda c: namespaces(c, drop=('mount',)), 'mount namespace')


def linux_namespaces_without_mount(agent, road):
    """Then the root is a chroot in the guest's mounts, and nothing may be mounted."""
    def edit(c):
        namespaces(c, drop=('mount',))
        c['mounts'] = []
        c['linux'].update(maskedPaths=[], readonlyPaths=[])
        c['process']['args'] = ['/bin/busybox', 'ls', '/']
    text = road.run(None, edit, check=0).stdout.decode()
    has(text, 'bin', 'etc')
    expect('work' in text, False)


def container_pid(road, cid):
    pids = json.loads(road.ctl('ps', '--format', 'json', cid, check=0).stdout)
    for pid in pids:
        with open('/proc/%d/status' % pid) as f:
            if re.search(r'^NSpid:\s.*\b1$', f.read(), re.M):
                return pid
    raise AssertionError('no init among %r' % (pids,))


def userns(c, base=200000, size=65536):
    namespaces(c, 'user', 'network')
    c['linux']['uidMappings'] = c['linux']['gidMappings'] = [{'containerID': 0, 'hostID': base, 'size': size}]


def mapped_image(road, base=200000):
    """An image whose files are the mapped root's, in a directory that it can reach."""
    image = road.image()
    subprocess.run(['chmod', '755', road.work], check=True)
    copy = image + '.owned'
    subprocess.run(['cp', '-a', image, copy], check=True)
    subprocess.run(['chown', '-hR', '%d:%d' % (base, base), copy], check=True)
    return copy


def linux_uidMappings_gidMappings(agent, road):
    image = mapped_image(road)

    def edit(c):
        c['root']['path'] = image
        userns(c)
    p = probe(road, edit)
    expect((p['uid'], p['gid']), ([0] * 3, [0] * 3))
    expect((p['uid_map'].split(), p['gid_map'].split()), (['0', '200000', '65536'],) * 2)
    expect(p['ns']['user'] == host_ns('user'), False)
    text = out(road, 'touch /made; stat -c %u /made; stat -c %u:%a /dev/null; echo x > /dev/null && echo ok; '
                     'mount -t tmpfs x /tmp && echo mounted', lambda c: (edit(c), all_caps(c)))
    expect(text.split(), ['0', '65534:666', 'ok', 'mounted'])
    expect(os.stat(image + '/made').st_uid, 200000)
    with road.kept(edit=edit) as c:     # an exec joins it
        q = json.loads(c.exec('/bin/probe', check=0).stdout)
        expect(q['uid_map'].split(), ['0', '200000', '65536'])
        expect(q['uid'], [0] * 3)


def linux_uidMappings_errors(agent, road):
    maps = [{'containerID': 0, 'hostID': 1000, 'size': 1}]
    refused(road, lambda c: c['linux'].update(uidMappings=maps, gidMappings=maps), 'user namespace')
    # None at all: the kernel maps nothing, and nobody can be root there.
    refused(road, lambda c: namespaces(c, 'user'), 'mapping')


# ---- linux.devices -----------------------------------------------------------------------------

def linux_devices_default(agent, road):
    text = out(road, 'for f in null zero full random urandom tty; do stat -c "%n %F %t:%T %a %u:%g" /dev/$f; done; '
                     'for f in fd stdin stdout stderr ptmx; do echo $f $(readlink /dev/$f); done')
    want = {'null': '1:3', 'zero': '1:5', 'full': '1:7', 'random': '1:8', 'urandom': '1:9', 'tty': '5:0'}
    for name, number in want.items():
        has(text, '/dev/%s character special file %s 666 0:0' % (name, number))
    has(text, 'fd /proc/self/fd', 'stdin /proc/self/fd/0', 'stdout /proc/self/fd/1', 'stderr /proc/self/fd/2',
        'ptmx pts/ptmx')


def linux_devices(agent, road):
    def edit(c):
        c['linux']['devices'] = [
            {'path': '/dev/loop7', 'type': 'b', 'major': 7, 'minor': 7, 'fileMode': 0o640, 'uid': 3, 'gid': 6},
            {'path': '/dev/net/tun', 'type': 'c', 'major': 10, 'minor': 200},
            {'path': '/dev/unbuffered', 'type': 'u', 'major': 1, 'minor': 5, 'fileMode': 0o600},
            {'path': '/dev/fifo', 'type': 'p', 'fileMode': 0o622},
            {'path': '/elsewhere', 'type': 'c', 'major': 1, 'minor': 3, 'fileMode': 0o666}]
    image = road.image()
    text = out(road, 'for f in /dev/loop7 /dev/net/tun /dev/unbuffered /dev/fifo /elsewhere; do '
                     'stat -c "%n %F %t:%T %a %u:%g" $f; done', lambda c: (c['root'].update(path=image), edit(c)))
    has(text, '/dev/loop7 block special file 7:7 640 3:6', '/dev/net/tun character special file a:c8 666 0:0',
        '/dev/unbuffered character special file 1:5 600 0:0', '/dev/fifo fifo 0:0 622 0:0',
        '/elsewhere character special file 1:3 666 0:0')


def linux_devices_of_default_paths(agent, road):
    """What the spec says of a node that is there by default counts; no mode is 0666."""
    def edit(c):
        c['linux']['devices'] = [
            {'path': '/dev/tty', 'type': 'c', 'major': 5, 'minor': 0, 'fileMode': 0o620, 'uid': 3, 'gid': 5},
            {'path': '/dev/full', 'type': 'c', 'major': 1, 'minor': 7, 'fileMode': 0},
            {'path': '/dev/full', 'type': 'c', 'major': 1, 'minor': 7},
            {'path': '/dev/zero', 'type': 'c', 'major': 1, 'minor': 3}]
    has(out(road, 'for f in tty full zero; do stat -c "%n %t:%T %a %u:%g" /dev/$f; done', edit),
        '/dev/tty 5:0 620 3:5', '/dev/full 1:7 666 0:0', '/dev/zero 1:3')
    refused(road, lambda c: c['linux'].update(devices=[{'path': '/dev/x', 'type': 'c', 'major': 1, 'minor': 3},
                                                       {'path': '/dev//x', 'type': 'c', 'major': 1, 'minor': 5}]),
            "device '/dev/x' is listed as c 1:3 and as c 1:5")
    with tempfile.NamedTemporaryFile('w') as f:     # a mount of the spec's stays
        expect(out(road, 'stat -c %F /dev/random', lambda c: mount(c, '/dev/random', 'bind', f.name, 'bind')),
               'regular empty file\n')


def linux_devices_errors(agent, road):
    for dev, word in (({'path': '/dev/x', 'type': 'q'}, "invalid type 'q'"),
                      ({'path': 'dev/x', 'type': 'c', 'major': 1, 'minor': 3}, 'not a plain absolute path'),
                      ({'path': '/dev/../x', 'type': 'c', 'major': 1, 'minor': 3}, 'not a plain absolute path'),
                      ({'path': '/dev/x', 'type': 'c', 'major': -1, 'minor': 3}, 'invalid number')):
        refused(road, lambda c, d=dev: c['linux'].update(devices=[d]), word)


# ---- linux.cgroupsPath, resources --------------------------------------------------------------

def cgroup_of(road, edit):
    text = probe(road, edit)['cgroup']
    return dict(line.split(':', 2)[1:] for line in text.split('\n'))


def linux_cgroupsPath(agent, road):
    """Plain, nested, systemd's way of writing; it cannot leave the hierarchy."""
    expect(cgroup_of(road, lambda c: c['linux'].update(cgroupsPath='/spectest-a'))['pids'], '/spectest-a')
    expect(cgroup_of(road, lambda c: c['linux'].update(cgroupsPath='/spectest-a/b/c'))['pids'], '/spectest-a/b/c')
    expect(cgroup_of(road, lambda c: c['linux'].update(cgroupsPath='/spectest-a/../../b'))['cpu'].startswith('/'), True)
    sysd = cgroup_of(road, lambda c: c['linux'].update(cgroupsPath='spectest.slice:cri:one'))['pids']
    has(sysd, 'one')
    # Without a path it is named as the container.
    text = road.run('cat /proc/self/cgroup', args=['--id', 'spectest-unnamed'], check=0).stdout.decode()
    has(text, 'pids:/spectest-unnamed\n')
    retry(lambda: expect(agent.cgroup_dirs('cri-one') + agent.cgroup_dirs('spectest-unnamed'), [],
                                 'what is left'))


def linux_cgroupsPath_leaves_nothing(agent, road):
    road.run('true', lambda c: c['linux'].update(cgroupsPath='/spectest-z/leaf'), check=0)
    retry(lambda: expect(agent.cgroup_dirs('leaf'), [], 'what is left'))
    for d in sorted(agent.cgroup_dirs('spectest'), reverse=True):
        os.rmdir(d)


def resources(**r):
    return lambda c: c['linux']['resources'].update(r)


def linux_resources_memory(agent, road):
    edit = resources(memory={'limit': 64 << 20, 'reservation': 32 << 20, 'swap': 128 << 20, 'swappiness': 10})
    limit, soft, swap, swappiness = cgroup_file(
        road, edit, 'memory/memory.limit_in_bytes', 'memory/memory.soft_limit_in_bytes',
        'memory/memory.memsw.limit_in_bytes', 'memory/memory.swappiness')
    expect((limit, soft), (str(64 << 20), str(32 << 20)))
    expect(swap in (None, str(128 << 20)), True, 'swap')
    expect(swappiness in (None, '10'), True, 'swappiness')
    limit, = cgroup_file(road, resources(memory={'limit': -1}), 'memory/memory.limit_in_bytes')
    expect(int(limit) > 1 << 60, True, 'unlimited')
    # Too small to start with: memory is what the error speaks of.
    for limit in (4096, 32 << 10):
        refused(road, resources(memory={'limit': limit, 'swap': limit}), 'memory')
    # What is just enough for execve may be killed behind it.
    r = road.run('true', resources(memory={'limit': 128 << 10, 'swap': 128 << 10}), check=None)
    expect(r.returncode == 137 or b'memory' in r.stderr, True, 'status %d, %r' % (r.returncode, r.stderr))
    # It is a limit: who goes beyond it is killed.
    r = road.run('/bin/probe eat 20 && /bin/probe eat 200', resources(memory={'limit': 48 << 20, 'swap': 48 << 20}))
    has(r.stdout.decode(), 'ate')
    expect(r.stdout.count(b'ate'), 1)
    expect(r.returncode in (137, 1), True, 'status %d' % r.returncode)


def linux_resources_memory_oom(agent, road):
    def edit(c):
        resources(memory={'limit': 48 << 20, 'disableOOMKiller': True})(c)
    control, = cgroup_file(road, edit, 'memory/memory.oom_control')
    if control is None:
        raise Skip('no memory.oom_control here')
    has(control, 'oom_kill_disable 1')
    refused(road, resources(memory={'swappiness': 101}), 'swappiness')


def linux_resources_cpu(agent, road):
    edit = resources(cpu={'shares': 512, 'quota': 50000, 'period': 100000})
    shares, quota, period = cgroup_file(road, edit, 'cpu/cpu.shares', 'cpu/cpu.cfs_quota_us', 'cpu/cpu.cfs_period_us')
    expect(shares, '512')
    expect(quota in (None, '50000') and period in (None, '100000'), True, '%s/%s' % (quota, period))
    if quota is not None:
        refused(road, resources(cpu={'quota': 1, 'period': 100000}), 'cpu.cfs_quota_us')


def linux_resources_cpu_realtime(agent, road):
    runtime, = cgroup_file(road, None, 'cpu/cpu.rt_runtime_us')
    edit = resources(cpu={'realtimeRuntime': 1000, 'realtimePeriod': 1000000})
    if runtime is None:
        refused(road, edit, 'rt_')
    else:
        expect(cgroup_file(road, edit, 'cpu/cpu.rt_runtime_us'), ['1000'])


def linux_resources_cpuset(agent, road):
    def both(**cpu):
        return cgroup_file(road, resources(cpu=cpu), 'cpuset/cpuset.cpus', 'cpuset/cpuset.mems')
    expect(both(cpus='0', mems='0'), ['0', '0'])
    with open('/sys/devices/system/node/has_memory') as f:
        expect(both(mems='0-63')[1], f.read().strip(), 'nodes, clamped to what there are')
    with open('/sys/devices/system/cpu/online') as f:
        online = f.read().strip()
    expect(both(cpus='0-255')[0], online, 'clamped to what there is')
    refused(road, resources(cpu={'cpus': 'all of them'}), 'all of them')
    expect(out(road, 'grep Cpus_allowed_list /proc/self/status', resources(cpu={'cpus': '0'})).split()[1], '0')


def linux_resources_pids(agent, road):
    expect(cgroup_file(road, resources(pids={'limit': 17}), 'pids/pids.max'), ['17'])
    expect(cgroup_file(road, resources(pids={'limit': -1}), 'pids/pids.max'), ['max'])
    r = road.run('for i in 1 2 3 4 5 6 7 8 9; do sleep 1 & done; wait', resources(pids={'limit': 6}))
    has(error_of(r), 'fork')


def root_disk():
    dev = os.stat('/').st_dev
    path = os.path.realpath('/sys/dev/block/%d:%d' % (os.major(dev), os.minor(dev)))
    if os.path.exists(path + '/partition'):
        path = os.path.dirname(path)
    with open(path + '/dev') as f:
        return [int(n) for n in f.read().split(':')]


def linux_resources_blockIO(agent, road):
    major, minor = root_disk()
    rate = [{'major': major, 'minor': minor, 'rate': 1 << 20}]
    edit = resources(blockIO={'throttleReadBpsDevice': rate, 'throttleWriteBpsDevice': rate,
                              'throttleReadIOPSDevice': rate, 'throttleWriteIOPSDevice': rate})
    line = '%d:%d %d' % (major, minor, 1 << 20)
    expect(cgroup_file(road, edit, *['blkio/blkio.throttle.%s_device' % n for n in (
        'read_bps', 'write_bps', 'read_iops', 'write_iops')]), [line] * 4)
    weights = [f for f in ('blkio.weight', 'blkio.bfq.weight') if os.path.exists('/sys/fs/cgroup/blkio/' + f)]
    if weights:
        expect(cgroup_file(road, resources(blockIO={'weight': 321}), 'blkio/' + weights[0]), ['321'])
    refused(road, resources(blockIO={'throttleReadBpsDevice': [{'major': 999, 'minor': 999, 'rate': 1}]}),
            'blkio.throttle.read_bps_device')


def linux_resources_hugepageLimits(agent, road):
    # kubelet says 0 for each size that its node has, whatever the guest's are.
    none = resources(hugepageLimits=[{'pageSize': size, 'limit': 0} for size in ('2MB', '1GB', '512MB', '16GB')])
    expect(road.run('exit 5', none).returncode, 5)
    refused(road, resources(hugepageLimits=[{'pageSize': '512MB', 'limit': 512 << 20}]), 'huge')
    edit = resources(hugepageLimits=[{'pageSize': '2MB', 'limit': 4 << 20}])
    if os.path.isdir('/sys/fs/cgroup/hugetlb'):
        expect(cgroup_file(road, edit, 'hugetlb/hugetlb.2MB.limit_in_bytes'), [str(4 << 20)])
    else:       # nothing to set it with: a limit that is not there is not claimed
        r = road.run('exit 5', edit)
        if r.returncode != 5:
            has(error_of(r), 'huge')


def linux_resources_network(agent, road):
    """classID and priorities: without net_cls and net_prio they are left out, as in the reference."""
    if os.path.isdir('/sys/fs/cgroup/net_cls'):
        raise Skip('this machine has net_cls')
    r = road.run('exit 6', resources(network={'classID': 0x100001}))
    expect(r.returncode in (6, 125), True, 'status %d' % r.returncode)


def linux_resources_devices(agent, road):
    """Nothing but what is listed, and what every container has."""
    tries = 'for d in "c 1 3" "c 1 5" "c 10 200" "b 7 7" "c 4 64"; do /bin/probe node $d /tmp/n; rm /tmp/n; done'

    def edit(*rules):
        def change(c):
            mount(c, '/tmp', 'tmpfs', 'tmpfs', 'dev')
            c['linux']['resources']['devices'] = list(rules)
        return change
    deny = {'allow': False, 'access': 'rwm'}

    def opened(*rules):
        lines = out(road, tries, edit(*rules)).split('\n')
        return [(lines[i][:2], lines[i + 1][:5], lines[i + 2][:5]) for i in range(0, 15, 3)]
    blocked = ('ok', 'EPERM', 'EPERM')
    got = opened(deny)
    expect(got[:2], [('ok', 'ok 0', 'ok 0')] * 2, 'the usual ones')
    expect(got[3:], [blocked] * 2, 'all others')
    got = opened(deny, {'allow': True, 'type': 'b', 'major': 7, 'minor': 7, 'access': 'r'})
    expect((got[3][1] != 'EPERM', got[3][2]), (True, 'EPERM'), 'read only')
    got = opened(deny, {'allow': True, 'type': 'b', 'major': 7, 'minor': -1, 'access': 'rw'})
    expect((got[3][1] != 'EPERM', got[3][2] != 'EPERM'), (True, True), 'a wildcard')
    # Hosts leave the rules out: what is harmless, what the spec names, and all for a privileged container.
    got = opened()
    expect((got[:2], got[3:]), ([('ok', 'ok 0', 'ok 0')] * 2, [blocked] * 2), 'no rules')
    lines = out(road, tries, lambda c: (edit()(c), c['linux'].update(devices=[
        {'path': '/dev/x', 'type': 'c', 'major': 4, 'minor': 64}, {'path': '/dev/y', 'type': 'b', 'major': 7,
                                                                  'minor': 7}]))).split('\n')
    expect((lines[10] != 'EPERM', lines[13] != 'EPERM'), (False, True), 'named')

    def privileged(c):
        all_caps(c)
        c['linux'].update(maskedPaths=[], readonlyPaths=[], seccomp=None)
        edit()(c)
    free = out(road, tries, privileged).split('\n')
    expect('EPERM' in free[10:12], False, 'privileged')
    refused(road, edit({'allow': True, 'type': 'x', 'access': 'r'}), 'device')
    refused(road, edit({'allow': True, 'type': 'c', 'access': 'zz'}), 'device')


def linux_resources_unified_and_rdma(agent, road):
    r = road.run('true', resources(unified={'memory.high': '1'}, rdma={'x': {'hcaHandles': 1}}), check=0)
    has(error_of(r), 'unified', 'rdma', 'no field for it')


# ---- linux.sysctl ------------------------------------------------------------------------------

def linux_sysctl(agent, road):
    def edit(c):
        c['linux']['sysctl'] = {'kernel.msgmax': '4000', 'kernel.shm_rmid_forced': '1', 'fs.mqueue.msg_max': '20',
                                'kernel.sem': '250 32000 100 129'}
    text = out(road, 'cat /proc/sys/kernel/msgmax /proc/sys/kernel/shm_rmid_forced /proc/sys/fs/mqueue/msg_max '
                     '/proc/sys/kernel/sem', edit)
    expect(text.split(), ['4000', '1', '20', '250', '32000', '100', '129'])
    for name in ('kernel.panic', 'vm.overcommit_memory', 'kernel.hostname', 'fs.file-max', 'kernel.core_pattern',
                 'kernel.msgmax.x', '', 'net/../kernel/panic'):
        refused(road, lambda c, n=name: c['linux'].update(sysctl={n: '1'}), 'sysctl')


def linux_sysctl_net(agent, road):
    """net.* of its own namespace, and, as in the reference, of the guest's when it has none."""
    def edit(c):
        c['linux']['sysctl'] = {'net.ipv4.ip_forward': '1', 'net/ipv4/conf/lo/forwarding': '1'}
    expect(out(road, 'cat /proc/sys/net/ipv4/ip_forward', lambda c: (namespaces(c, 'network'), edit(c))), '1\n')
    r = road.run('cat /proc/sys/net/ipv4/ip_forward', edit)
    expect((r.returncode, r.stdout), (0, b'1\n'), error_of(r))
    in_agent = ['nsenter', '-t', str(agent.pid), '-n', 'sh', '-c', 'echo 0 > /proc/sys/net/ipv4/ip_forward']
    subprocess.run(in_agent, check=True)


# ---- linux.seccomp -----------------------------------------------------------------------------

def seccomp(default, *rules, **more):
    return lambda c: c['linux'].update(seccomp=dict(defaultAction=default, syscalls=[
        {'names': n, 'action': a, **m} for n, a, m in rules], **more))


def linux_seccomp_actions(agent, road):
    def run(action, nnp=True, **more):
        def edit(c):
            seccomp('SCMP_ACT_ALLOW', (['personality'], action, more))(c)
            c['process']['noNewPrivileges'] = nnp
            c['process']['args'] = ['/bin/probe', 'call', 'personality', '0xffffffff']
        r = road.run(None, edit)
        return r.returncode, r.stdout.decode().strip()
    for nnp in (True, False):
        expect(run('SCMP_ACT_ERRNO', nnp), (0, 'EPERM'))
        expect(run('SCMP_ACT_ALLOW', nnp), (0, 'ok 0'))
        expect(run('SCMP_ACT_LOG', nnp), (0, 'ok 0'))
        expect(run('SCMP_ACT_TRAP', nnp)[0] in (159, 0), True, 'SIGSYS')
        expect(run('SCMP_ACT_KILL', nnp)[0], 159)
        expect(run('SCMP_ACT_TRACE', nnp), (0, 'ENOSYS'), 'nobody traces')
    expect(run('SCMP_ACT_KILL_PROCESS')[0], 159)
    expect(run('SCMP_ACT_KILL_THREAD')[0], 159)
    refused(road, seccomp('SCMP_ACT_ALLOW', (['personality'], 'SCMP_ACT_NOSUCH', {})), 'SCMP_ACT_NOSUCH',
            'not a valid action for seccomp')


def linux_seccomp_defaultAction(agent, road):
    names = ('read write close fstat lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask ioctl access dup dup2 '
             'getpid execve exit exit_group arch_prctl set_tid_address set_robust_list prlimit64 getrandom rseq fcntl '
             'readlink readlinkat newfstatat openat futex prctl uname getuid geteuid getppid chdir').split()
    edit = seccomp('SCMP_ACT_ERRNO', (names, 'SCMP_ACT_ALLOW', {}))

    def run(c):
        edit(c)
        c['process']['args'] = ['/bin/probe', 'call', 'getpriority', '0', '0']
    expect(road.run(None, run, check=0).stdout, b'EPERM\n')
    expect(probe(road, lambda c: seccomp('SCMP_ACT_ALLOW', (['keyctl'], 'SCMP_ACT_ERRNO', {}))(c))['seccomp'], 2)
    expect(probe(road)['seccomp'], 0)


def linux_seccomp_args(agent, road):
    """Every operator, on both sides of its border; several conditions of one rule must all hold."""
    table = [('SCMP_CMP_NE', 5, 0, (6, 5)), ('SCMP_CMP_LT', 5, 0, (4, 5)), ('SCMP_CMP_LE', 5, 0, (5, 6)),
             ('SCMP_CMP_EQ', 5, 0, (5, 6)), ('SCMP_CMP_GE', 5, 0, (5, 4)), ('SCMP_CMP_GT', 5, 0, (6, 5)),
             ('SCMP_CMP_MASKED_EQ', 0xf0, 0x50, (0x5f, 0x4f))]
    for op, value, two, (hit, miss) in table:
        arg = {'index': 1, 'value': value, 'op': op}
        if two:
            arg['valueTwo'] = two

        def edit(c, a=arg, h=hit, m=miss):
            seccomp('SCMP_ACT_ALLOW', (['keyctl'], 'SCMP_ACT_ERRNO', {'args': [a]}))(c)
            c['process']['args'] = ['sh', '-c', '/bin/probe call keyctl 999 %d; /bin/probe call keyctl 999 %d' % (h, m)]
        expect(road.run(None, edit, check=0).stdout, b'EPERM\nEOPNOTSUPP\n', op)

    def both(c):
        seccomp('SCMP_ACT_ALLOW', (['keyctl'], 'SCMP_ACT_ERRNO', {'args': [
            {'index': 0, 'value': 999, 'op': 'SCMP_CMP_EQ'}, {'index': 1, 'value': 5, 'op': 'SCMP_CMP_EQ'}]}))(c)
        c['process']['args'] = ['sh', '-c', '/bin/probe call keyctl 999 5; /bin/probe call keyctl 999 6']
    expect(road.run(None, both, check=0).stdout, b'EPERM\nEOPNOTSUPP\n')
    refused(road, seccomp('SCMP_ACT_ALLOW', (['keyctl'], 'SCMP_ACT_ERRNO', {'args': [
        {'index': 0, 'value': 1, 'op': 'SCMP_CMP_XX'}]})), 'SCMP_CMP_XX')


def linux_seccomp_architectures(agent, road):
    edit = seccomp('SCMP_ACT_ALLOW', (['keyctl', 'no_such_syscall_ever'], 'SCMP_ACT_ERRNO', {}),
                   architectures=['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86', 'SCMP_ARCH_X32'])

    def run(c):
        edit(c)
        c['process']['args'] = ['/bin/probe', 'call', 'keyctl', '999', '0']
    expect(road.run(None, run, check=0).stdout, b'EPERM\n')
    refused(road, seccomp('SCMP_ACT_ALLOW', (['keyctl'], 'SCMP_ACT_ERRNO', {}), architectures=['SCMP_ARCH_VAX']),
            'SCMP_ARCH_VAX')


def linux_seccomp_of_exec(agent, road):
    def edit(c):
        seccomp('SCMP_ACT_ALLOW', (['personality'], 'SCMP_ACT_ERRNO', {}))(c)
    with road.kept(edit=edit) as c:
        expect(c.exec('/bin/probe', 'call', 'personality', '0', check=0).stdout, b'EPERM\n')


# ---- rootfsPropagation, masked and readonly paths, labels, RDT ---------------------------------

def linux_rootfsPropagation(agent, road):
    def of(word):
        m = mountinfo(road, lambda c: c['linux'].update(rootfsPropagation=word) if word else None)
        return ' '.join(m['/']['propagation'])
    for word, sign in (('private', ''), ('rprivate', ''), ('shared', 'shared:'), ('rshared', 'shared:'),
                       ('unbindable', 'unbindable'), ('runbindable', 'unbindable')):
        text = of(word)
        expect(sign in text if sign else 'shared' not in text, True, '%s: %r' % (word, text))
    for word in ('slave', 'rslave', None):
        expect('shared' in of(word), False, word)
    refused(road, lambda c: c['linux'].update(rootfsPropagation='public'), "rootfsPropagation 'public'")
    expect([m for m in agent.mounts() if 'e2e-' in m], [], 'what reached the agent')


def linux_maskedPaths(agent, road):
    image = road.image()
    os.makedirs(image + '/secret/dir')
    with open(image + '/secret/file', 'w') as f:
        f.write('secret')
    with open(image + '/secret/dir/f', 'w') as f:
        f.write('secret')

    def edit(c):
        c['root']['path'] = image
        c['linux']['maskedPaths'] += ['/secret/file', '/secret/dir', '/secret/none', '/proc/meminfo']
    text = out(road, 'cat /secret/file /proc/meminfo | wc -c; ls /secret/dir | wc -l; touch /secret/dir/x 2>&1; '
                     'ls /proc/acpi | wc -l; echo more > /secret/file 2>/dev/null; stat -c %F /secret/file', edit)
    lines = text.splitlines()
    expect((lines[0], lines[1], lines[3]), ('0', '0', '0'))
    has(lines[2], 'Read-only')
    with open(image + '/secret/file') as f:
        expect(f.read(), 'secret', 'what is below the mask')
    for bad in ('relative', '/a/../b'):
        refused(road, lambda c, p=bad: c['linux'].update(maskedPaths=[p]), 'masked path')
    # Nobody gets out of its own root's way: no effect, as in other runtimes.
    expect(out(road, 'cat /secret/file', lambda c: (c['root'].update(path=image), c['linux'].update(maskedPaths=['/', '//.']))),
           'secret')
    # What a link leads to is covered, in the image or in procfs; a dangling one is nothing.
    for name, target in (('link', 'secret/file'), ('linkdir', '/secret/dir'), ('dangling', '/nowhere'), ('out', '../../etc/passwd')):
        os.symlink(target, os.path.join(image, name))

    def links(c):
        c['root']['path'] = image
        c['linux']['maskedPaths'] = ['/link', '/linkdir', '/dangling', '/out', '/proc/net']
    expect(out(road, 'cat /secret/file /etc/passwd | wc -c; echo /secret/dir/* /proc/net/*; readlink /link', links,
               None).split(), ['0', '/secret/dir/*', '/proc/net/*', 'secret/file'])


def linux_readonlyPaths(agent, road):
    image = road.image()
    os.makedirs(image + '/ro/dir')
    open(image + '/ro/file', 'w').close()

    def edit(c):
        c['root']['path'] = image
        c['linux']['readonlyPaths'] += ['/ro/dir', '/ro/file', '/ro/none']
    text = out(road, 'touch /ro/dir/x 2>&1; (echo > /ro/file) 2>&1; (echo 1 > /proc/sys/kernel/panic) 2>&1; '
                     '(echo b > /proc/sysrq-trigger) 2>&1; touch /ro/other && echo other', edit, None)
    expect(text.count('Read-only'), 3 + os.path.exists('/proc/sysrq-trigger'), text)
    has(text, 'other')
    refused(road, lambda c: c['linux'].update(readonlyPaths=['relative']), 'readonly path')
    text = out(road, 'touch /etc/x 2>&1; touch /dev/shm/x && echo other', lambda c: c['linux'].update(readonlyPaths=['//.']), None)
    has(text, '/etc/x: Read-only', 'other')
    os.symlink('/ro/dir', image + '/link')

    def links(c):
        c['root']['path'] = image
        c['linux']['readonlyPaths'] = ['/link', '/link/none']
    has(out(road, 'touch /ro/dir/x 2>&1', links, None), 'Read-only')


def linux_mountLabel(agent, road):
    """Without SELinux it has no effect, as in the specification's reference runtime."""
    if os.path.exists('/sys/fs/selinux/enforce'):
        raise Skip('this kernel has SELinux')
    expect(road.run('exit 7', lambda c: c['linux'].update(mountLabel='system_u:object_r:x:s0')).returncode, 7)


def linux_intelRdt(agent, road):
    if os.path.isdir('/sys/fs/resctrl/schemata'):
        raise Skip('this machine has resctrl')
    refused(road, lambda c: c['linux'].update(intelRdt={'l3CacheSchema': 'L3:0=f'}), 'RDT')


def linux_personality(agent, road):
    r = road.run('true', lambda c: c['linux'].update(personality={'domain': 'LINUX32'}), check=0)
    has(error_of(r), 'personality', 'no field for it')


def annotations(agent, road):
    """Kept for the hooks' state (test_hooks.py); otherwise without effect, whatever they say."""
    expect(road.run('exit 8', lambda c: c.update(annotations={'a.b/c': 'd', 'x': '"\n', '': ''})).returncode, 8)


def other_platforms(agent, road):
    r = road.run('true', lambda c: c.update(windows={'layerFolders': []}, solaris={'milestone': 'x'}, vm={}), check=0)
    has(error_of(r), 'vm')


# ---- the same bundle with crun -----------------------------------------------------------------

def crun(road, edit):
    """What the same process finds when crun starts it."""
    bundle = road.bundle(None, edit)
    with tempfile.TemporaryDirectory() as state:
        # crun wants no mixture of cgroup versions.
        r = subprocess.run(['unshare', '--mount', '--net', '--propagation', 'private', 'sh', '-c',
                            'umount /sys/fs/cgroup/unified 2>/dev/null; exec crun --cgroup-manager=cgroupfs --root "$1" '
                            'run --bundle "$2" "spec-crun-$$"', 'sh', state, bundle],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    if r.returncode != 0:
        raise Skip('crun: ' + r.stderr.decode().strip())
    return r.stdout.decode()


COMPARED = ('args cwd uid gid groups caps blocked rlimits umask pid ppid sid pgid nnp seccomp securebits dumpable '
            'keepcaps pdeathsig subreaper timerslack personality nice policy tty hostname oom_score_adj uid_map '
            'gid_map').split()


def compare(road, edit):
    if not shutil.which('crun'):
        raise Skip('crun is not installed')

    def run_probe(c):
        c['process']['args'] = ['/bin/probe']
        edit(c)
    theirs = json.loads(crun(road, run_probe))
    ours = json.loads(road.run(None, run_probe, check=0).stdout)
    for key in COMPARED:
        expect(ours[key], theirs[key], key)
    expect(set(ours['fds']), set(theirs['fds']), 'descriptors')

    def home(env):
        return [e for e in env if e.startswith('HOME=')]
    if home(theirs['env']):     # ours always has one, as the 1.x reference
        expect(home(ours['env']), home(theirs['env']), 'HOME')


def as_crun_plain(agent, road):
    compare(road, lambda c: None)


def as_crun_other_user(agent, road):
    compare(road, lambda c: c['process'].update(user={'uid': 1000, 'gid': 1000, 'additionalGids': [29, 44]}))


def as_crun_unknown_user(agent, road):
    compare(road, lambda c: c['process'].update(user={'uid': 4242, 'gid': 4343}))


def as_crun_capabilities(agent, road):
    def edit(c):
        names = ['CAP_CHOWN', 'CAP_NET_BIND_SERVICE', 'CAP_SETUID']
        c['process']['capabilities'] = {'bounding': names, 'permitted': names, 'effective': names,
                                        'inheritable': names, 'ambient': names[1:2]}
        c['process']['user'] = {'uid': 1000, 'gid': 1000}
        c['process']['noNewPrivileges'] = False
    compare(road, edit)


def as_crun_limits_and_names(agent, road):
    def edit(c):
        c['process']['rlimits'] = [{'type': 'RLIMIT_NOFILE', 'soft': 100, 'hard': 200},
                                   {'type': 'RLIMIT_CORE', 'soft': 0, 'hard': 0}]
        c['process']['oomScoreAdj'] = 77
        c['process']['cwd'] = '/tmp'
        c['hostname'] = 'compare'
    compare(road, edit)


def as_crun_seccomp(agent, road):
    compare(road, lambda c: seccomp('SCMP_ACT_ALLOW', (['keyctl', 'ptrace'], 'SCMP_ACT_ERRNO', {}),
                                    architectures=['SCMP_ARCH_X86_64'])(c))


def as_crun_mounts(agent, road):
    """The same mount points, types and flags."""
    if not shutil.which('crun'):
        raise Skip('crun is not installed')

    def edit(c):
        drop_mount(c, '/sys/fs/cgroup')
        c['process']['args'] = ['cat', '/proc/self/mountinfo']
        c['root']['readonly'] = True
        mount(c, '/a', 'tmpfs', 'tmpfs', 'size=1m', 'nosuid', 'ro', 'mode=700')
        mount(c, '/b', 'bind', '/etc', 'rbind', 'ro', 'nosuid')
        mount(c, '/c', 'bind', '/etc/hostname', 'bind', 'noexec')
    theirs = mounts_of(crun(road, edit))
    ours = mounts_of(road.run(None, edit, check=0).stdout.decode())

    # A bind of its own over a read-only path is no difference that a process could see.
    expect(sorted(ours), sorted(theirs), 'mount points')
    for path, m in theirs.items():
        if m['root'] == '/null' or m['type'] == 'tmpfs' and path.startswith(('/proc/', '/sys/')):
            expect('ro' in ours[path]['options'] or ours[path]['root'] == '/null', True, path)
            continue
        expect(ours[path]['type'], m['type'], path)
        if path.startswith('/proc/'):   # a read-only path: crun forgets the flags of what is below
            expect(set(m['options']) <= set(ours[path]['options']), True, path)
        else:
            expect(sorted(ours[path]['options']), sorted(m['options']), path)


CASES = [f for n, f in list(globals().items()) if callable(f) and getattr(f, '__module__', '') == '__main__'
         and getattr(f, '__code__', None) and f.__code__.co_varnames[:2] == ('agent', 'road')
         and f.__code__.co_argcount == 2]


def main():
    need_root()
    tap = Tap()
    with nsagent.Agent() as agent, agent.road() as road:
        before = agent.fds(), agent.mounts()
        nsagent.run_cases(tap, agent, road, CASES, sys.argv[1:])
        if agent.alive():
            with tap.case('nothing of all that is left in the agent'):
                retry(lambda: expect((agent.children(), agent.fds()), ([], before[0])))
                kept = [m for m in agent.mounts() if m not in before[1] and 'sandbox' not in m]
                expect(kept, [], 'mounts')
        return nsagent.finish(tap, agent)


if __name__ == '__main__':
    sys.exit(main())
