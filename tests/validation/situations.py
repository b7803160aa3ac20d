#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The same bundle by the agent, runc and crun: what its process says, and how it ends. Situations of the two's own tests.

    tests/validation/situations.py [--all] [WORD...]

Prints where they differ (--all: everything). No test: what is right is decided by reading the runtime-spec, and then
stands in tests/ns/test_spec.py. Where both others agree against us, ours is wrong until the spec says otherwise.
"""
import copy
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, '..', 'lib'), os.path.join(HERE, '..', 'ns')]
import nsagent  # noqa: E402
from tap import need_root  # noqa: E402

OTHERS = {'runc': 'runc --root "$1" run --bundle "$2" "$3"', 'crun': 'crun --cgroup-manager=cgroupfs --root "$1" run --bundle "$2" "$3"'}
# crun wants no mixture of cgroup versions; nobody's /run but ours.
AROUND = 'mount --make-rprivate /; umount /sys/fs/cgroup/unified 2>/dev/null; mount -t tmpfs run /run; ulimit -n 1024; exec '
SITUATIONS = []


def situation(cmd, **more):
    """cmd: what a shell in the container runs. The function edits the configuration, given the image's path."""
    def add(fn):
        SITUATIONS.append((fn, cmd, more))
        return fn
    return add


def mount(c, **m):
    c['mounts'].append(m)


@situation('touch /x; echo $?; touch /tmp/y; echo $?; grep " / / " /proc/self/mountinfo | wc -l')
def readonly_path_root(c, image):
    c['linux']['readonlyPaths'] = ['/']


@situation('echo started')
def readonly_path_missing(c, image):
    c['linux']['readonlyPaths'] = ['/none/such', '/proc/none']


@situation('ls /proc | wc -l; echo started')
def masked_path_root(c, image):
    c['linux']['maskedPaths'] = ['/']


@situation('cat /etc/target; echo $?; touch /etc/ro/x; echo $?')
def paths_that_are_links(c, image):
    with open(image + '/etc/target', 'w') as f:
        f.write('seen\n')
    os.symlink('target', image + '/etc/link')
    os.mkdir(image + '/etc/ro')
    os.symlink('/etc/ro', image + '/etc/rolink')
    os.symlink('/nowhere', image + '/etc/dangling')
    c['linux'].update(maskedPaths=['/etc/link', '/etc/dangling'], readonlyPaths=['/etc/rolink', '/etc/dangling'])


@situation('cat /proc/net/dev | wc -l')
def masked_proc_net(c, image):
    c['linux']['maskedPaths'] = ['/proc/net']


@situation('echo started')
def sysctl_missing(c, image):
    c['linux']['sysctl'] = {'net.ipv4.no_such_thing': '1'}


@situation('echo started')
def sysctl_without_namespace(c, image):
    c['linux']['sysctl'] = {'kernel.panic': '1'}


@situation('cat /proc/sys/net/ipv4/ip_forward')
def sysctl_with_slashes(c, image):
    c['linux']['sysctl'] = {'net/ipv4/ip_forward': '1'}


@situation('tty; ls -l /dev/pts /dev/console | wc -l; echo in >/dev/tty', terminal=True)
def terminal_without_devpts(c, image):
    c['mounts'] = [m for m in c['mounts'] if m['type'] != 'devpts']


@situation('tty; stty size; ls /dev/pts; stat -c %t:%T /dev/console', terminal=True)
def terminal(c, image):
    c['process']['consoleSize'] = dict(height=11, width=22)


@situation('ls /dev; tty; echo x >/dev/null', terminal=True)
def terminal_without_dev(c, image):
    c['mounts'] = [m for m in c['mounts'] if not m['destination'].startswith('/dev')]


@situation('pwd')
def cwd_missing_readonly(c, image):
    c['root']['readonly'] = True
    c['process']['cwd'] = '/a/b'


@situation('pwd; ls -ld /a | cut -c1-10')
def cwd_through_links(c, image):
    os.symlink('../../tmp', image + '/a')
    c['process']['cwd'] = '/a/../a/made'


@situation('echo started')
def cwd_relative(c, image):
    c['process']['cwd'] = 'tmp'


@situation('echo started')
def cwd_is_a_file(c, image):
    c['process']['cwd'] = '/etc/passwd'


@situation('echo started')
def unknown_capability(c, image):
    for s in c['process']['capabilities'].values():
        s.append('CAP_NONSENSE')


@situation('grep Cap /proc/self/status')
def effective_not_permitted(c, image):
    c['process']['capabilities'] = dict(bounding=['CAP_KILL', 'CAP_CHOWN'], effective=['CAP_KILL', 'CAP_CHOWN'], permitted=['CAP_KILL'])


@situation('grep Cap /proc/self/status')
def ambient_without_inheritable(c, image):
    c['process']['user'] = dict(uid=1000, gid=1000)
    c['process']['capabilities'] = dict(bounding=['CAP_KILL'], effective=['CAP_KILL'], permitted=['CAP_KILL'], ambient=['CAP_KILL'])


@situation('echo started')
def rlimit_unknown(c, image):
    c['process']['rlimits'] = [dict(type='RLIMIT_NONSENSE', hard=1, soft=1)]


@situation('echo started')
def rlimit_twice(c, image):
    c['process']['rlimits'] = [dict(type='RLIMIT_NOFILE', hard=h, soft=h) for h in (100, 101)]


@situation('echo started')
def rlimit_soft_above_hard(c, image):
    c['process']['rlimits'] = [dict(type='RLIMIT_NOFILE', hard=100, soft=101)]


@situation('ulimit -n')
def rlimits_none(c, image):
    c['process'].pop('rlimits', None)


@situation('cat /proc/self/oom_score_adj')
def oom_score(c, image):
    c['process']['oomScoreAdj'] = 123


@situation('echo started')
def oom_score_refused(c, image):
    c['process']['oomScoreAdj'] = -900


@situation('id; cat /proc/self/status | grep ^Groups; echo $HOME')
def user_not_in_passwd(c, image):
    c['process']['user'] = dict(uid=4444, gid=4445, additionalGids=[5, 6])


@situation('umask')
def umask(c, image):
    c['process']['user'] = dict(uid=0, gid=0, umask=0o77)


@situation('hostname; cat /proc/sys/kernel/domainname')
def domainname(c, image):
    c['hostname'] = 'some.host'
    c['domainname'] = 'some.domain'


@situation('echo started')
def args_missing_program(c, image):
    c['process']['args'] = ['nosuch']


@situation('echo started')
def args_a_directory(c, image):
    c['process']['args'] = ['/etc']


@situation('echo started')
def args_not_executable(c, image):
    c['process']['args'] = ['/etc/passwd']


@situation('echo started')
def args_empty_word(c, image):
    c['process']['args'] = ['']


@situation('env | sort | grep -v ^_')
def env_strange(c, image):
    c['process']['env'] = ['PATH=/bin', 'A=1', 'A=2', 'B=', 'C=x=y', 'TERM=xterm']


@situation('grep " /mnt" /proc/self/mountinfo | cut -d" " -f5,6; cat /mnt/f; echo x >/mnt/f; echo $?')
def bind_of_a_file_readonly(c, image):
    with open(image + '/../source', 'w') as f:
        f.write('content\n')
    mount(c, destination='/mnt/f', type='bind', source=image + '/../source', options=['bind', 'ro'])


@situation('grep " /mnt" /proc/self/mountinfo | cut -d" " -f5,6 | sort')
def bind_recursive_attributes(c, image):
    os.makedirs(image + '/../tree', exist_ok=True)
    mount(c, destination='/mnt', type='bind', source=image + '/../tree', options=['rbind', 'rro', 'rnosuid', 'rnodev', 'rnoexec', 'rnoatime'])


@situation('ls -d /q/x; ls -d /mnt')
def destination_with_dots(c, image):
    mount(c, destination='/../../mnt/../q/x', type='tmpfs', source='t')


@situation('ls -d /tmp/made; grep -c made /proc/self/mountinfo')
def destination_through_a_link(c, image):
    os.symlink('/tmp', image + '/way')
    mount(c, destination='/way/made', type='tmpfs', source='t')


@situation('echo started')
def destination_in_proc(c, image):
    mount(c, destination='/proc/sys', type='tmpfs', source='t')


@situation('echo started')
def destination_slabinfo(c, image):
    mount(c, destination='/proc/slabinfo', type='bind', source='/etc/hostname', options=['bind'])


@situation('echo started')
def destination_relative(c, image):
    mount(c, destination='mnt/rel', type='tmpfs', source='t')


@situation('echo started')
def source_missing(c, image):
    mount(c, destination='/mnt', type='bind', source='/no/such/thing', options=['bind'])


@situation('cat /mnt/kept; ls -ld /mnt | cut -c1-10')
def tmpcopyup(c, image):
    os.makedirs(image + '/mnt', exist_ok=True)
    os.chmod(image + '/mnt', 0o1700)
    with open(image + '/mnt/kept', 'w') as f:
        f.write('kept\n')
    mount(c, destination='/mnt', type='tmpfs', source='t', options=['tmpcopyup'])


@situation('stat -c "%n %F %t:%T %a %u:%g" /dev/tty /dev/mine /dev/null')
def devices(c, image):
    c['linux']['devices'] = [dict(path='/dev/tty', type='c', major=5, minor=0, fileMode=0o620, uid=3, gid=4),
                             dict(path='/dev/mine', type='c', major=1, minor=5)]


@situation('stat -c "%n %F %t:%T" /dev/here')
def device_over_a_file(c, image):
    os.makedirs(image + '/dev', exist_ok=True)
    c['mounts'] = [m for m in c['mounts'] if m['destination'] != '/dev']
    with open(image + '/dev/here', 'w') as f:
        f.write('')
    c['linux']['devices'] = [dict(path='/dev/here', type='c', major=1, minor=3)]


@situation('ls -l /proc/self/fd | wc -l; cat /proc/self/loginuid; grep -E "^(Sig|Shd)" /proc/self/status')
def what_is_inherited(c, image):
    pass


@situation('grep Seccomp: /proc/self/status; mkdir /d; echo $?; chmod 700 /tmp; echo $?')
def seccomp(c, image):
    c['linux']['seccomp'] = dict(defaultAction='SCMP_ACT_ALLOW', architectures=['SCMP_ARCH_X86_64'], syscalls=[
        dict(names=['mkdir', 'mkdirat'], action='SCMP_ACT_ERRNO'), dict(names=['chmod', 'fchmodat'], action='SCMP_ACT_ERRNO', errnoRet=17),
        dict(names=['no_such_call'], action='SCMP_ACT_ERRNO')])


@situation('grep NoNewPrivs /proc/self/status; cat /proc/self/timerslack_ns 2>/dev/null; nice')
def no_new_privileges(c, image):
    c['process']['noNewPrivileges'] = True


@situation('cat /proc/self/cgroup | grep -c .; ls /sys/fs/cgroup | wc -l; touch /sys/fs/cgroup/x; echo $?')
def cgroup_mount(c, image):
    c['linux']['namespaces'].append(dict(type='cgroup'))


@situation('echo started')
def namespace_unknown(c, image):
    c['linux']['namespaces'].append(dict(type='nonsense'))


@situation('echo started')
def namespace_twice(c, image):
    c['linux']['namespaces'] += [dict(type='ipc'), dict(type='ipc')]


@situation('echo started')
def annotations_strange(c, image):
    c['annotations'] = {'a': '', 'org.x/y': 'z' * 5000}


@situation('exit 7')
def hook_order(c, image):
    sh = lambda word: dict(path='/bin/sh', args=['sh', '-c', 'echo %s >>%s/../order' % (word, image)])      # noqa: E731
    c['hooks'] = {k: [sh(k + '1'), sh(k + '2')] for k in ('prestart', 'createRuntime', 'createContainer', 'poststart', 'poststop')}


@situation('echo started')
def hook_missing(c, image):
    c['hooks'] = {'prestart': [dict(path='/no/such/hook')]}


@situation('echo started')
def hook_relative(c, image):
    c['hooks'] = {'prestart': [dict(path='bin/hook')]}


@situation('kill -9 $$')
def killed(c, image):
    pass


@situation('findmnt -no propagation / 2>/dev/null || grep " / / " /proc/self/mountinfo | grep -o "shared\\|master" ; echo end')
def rootfs_propagation_shared(c, image):
    c['linux']['rootfsPropagation'] = 'shared'


@situation('mount -t tmpfs t /mnt && echo mounted')
def all_capabilities(c, image):
    caps = ['CAP_SYS_ADMIN', 'CAP_NET_ADMIN', 'CAP_MKNOD']
    c['process']['capabilities'] = {k: caps for k in ('bounding', 'effective', 'permitted')}


@situation('cat /proc/self/uid_map; id -u; touch /made; stat -c %u /made')
def user_namespace(c, image):
    c['linux']['namespaces'].append(dict(type='user'))
    for key in ('uidMappings', 'gidMappings'):
        c['linux'][key] = [dict(containerID=0, hostID=200000, size=65536)]
    for base, dirs, files in os.walk(image):
        for name in ['.'] + files:
            os.lchown(os.path.join(base, name), 200000, 200000)
    for path in (image, image + '/..'):
        os.chmod(path, 0o755)


def plain(text):
    """Without what is different each time, and the names that each gives itself."""
    text = re.sub(r'time="[^"]*" level=\w+ msg=', '', text)
    text = re.sub(r'^(agent-ctl|runc|crun): ?', '', text, flags=re.M)
    text = re.sub(r'^\d{4}-\d\d-\d\dT\S+: ', '', text, flags=re.M)
    return re.sub(r'/tmp/[\w./-]*', '/tmp/...', text).strip().replace('\r', '')


def by_agent(road, bundle, more):
    r = road.ctl('run', '-n', '-q', *road.where, *(['-t'] if more.get('terminal') else []), bundle, timeout=30)
    return r.returncode, plain(r.stdout.decode(errors='replace')), plain(r.stderr.decode(errors='replace'))


def by_other(name, bundle, more):
    with tempfile.TemporaryDirectory() as state:
        argv = ['unshare', '--mount', 'sh', '-c', AROUND + OTHERS[name], 'sh', state, bundle, 'sit-%d' % os.getpid()]
        if more.get('terminal'):
            argv = ['script', '-qefc', ' '.join("'%s'" % a.replace("'", "'\\''") for a in argv), '/dev/null']
        try:
            # Never /dev/null: with a user namespace the container's root becomes the owner of what its streams are.
            r = subprocess.run(argv, input=b'', stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)
        except subprocess.TimeoutExpired as e:
            return 'timeout', plain((e.stdout or b'').decode(errors='replace')), ''
    return r.returncode, plain(r.stdout.decode(errors='replace')), plain(r.stderr.decode(errors='replace'))


def bundle_for(road, name, fn, cmd, more):
    image = road.image()
    path = road.bundle(cmd)
    with open(os.path.join(path, 'config.json')) as f:
        config = json.load(f)
    config['root']['path'] = image
    config['process']['terminal'] = bool(more.get('terminal'))
    fn(config, image)
    if name != 'agent':
        config = copy.deepcopy(config)
        if not any(n['type'] == 'pid' for n in config['linux']['namespaces']):
            config['linux']['namespaces'].append(dict(type='pid'))
    with open(os.path.join(path, 'config.json'), 'w') as f:
        json.dump(config, f)
    return path


def main(argv):
    need_root()
    everything = '--all' in argv
    words = [w for w in argv if not w.startswith('-')]
    with nsagent.Agent() as agent, agent.road(os.environ.get('AGENT_CTL_PROTOCOL', 'ttrpc')) as road:
        for fn, cmd, more in SITUATIONS:
            if words and not any(w in fn.__name__ for w in words):
                continue
            said = {'agent': by_agent(road, bundle_for(road, 'agent', fn, cmd, more), more)}
            for name in OTHERS:
                if shutil.which(name):
                    said[name] = by_other(name, bundle_for(road, name, fn, cmd, more), more)
            same = len({(s[0] == 0, s[1]) for s in said.values()}) == 1
            if everything or not same:
                print('--- %s%s' % (fn.__name__, '' if not same else ': all the same'))
                for name, (status, out, err) in said.items():
                    print('%s: %s %r%s' % (name, status, out, ' ERR %r' % err[:300] if err else ''))
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
