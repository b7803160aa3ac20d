#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""AppArmor in a guest whose kernel has a profile loaded: it confines the container that names it, and its execs; one
that is not loaded is passed over. TAP.
"""
import os
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'lib'))
from guestlib import Machine, all_caps, edits, mount  # noqa: E402
from tap import Tap, expect  # noqa: E402

PARSER = shutil.which('apparmor_parser') or '/sbin/apparmor_parser'
PROFILE = b"""
profile kata-test flags=(attach_disconnected,mediate_deleted) {
  file,
  capability,
  signal,
  deny /etc/secret rw,
}
"""


def policy():
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run([PARSER, '-QKT', '-o', out.name], input=PROFILE, check=True, stderr=subprocess.DEVNULL)
        return out.read()


def named(profile):
    return lambda config: config['process'].update(apparmorProfile=profile)


def confined(m):
    with m.pod() as pod:
        loader = pod.run('loader', 'exec sleep 1000', edit=edits(all_caps, mount('/mnt', 'securityfs', 'securityfs')))
        loader.sh('cat >/mnt/apparmor/.load', input=policy())
        c = pod.run('c', 'cat /proc/self/attr/current; echo x >/etc/secret || echo denied; exec sleep 1000',
                    edit=named('kata-test'))
        expect(c.sh('cat /proc/1/attr/current /proc/self/attr/current'), 'kata-test (enforce)\n' * 2)
        expect(c.sh('cat /etc/secret 2>/dev/null || echo denied'), 'denied\n')
        other = pod.run('other', 'exec sleep 1000', edit=named('cri-containerd.apparmor.d'))
        expect(other.sh('cat /proc/self/attr/current; echo x >/etc/secret && cat /etc/secret'), 'unconfined\nx\n')


def main():
    tap = Tap()
    if not os.access(PARSER, os.X_OK):
        print('1..0 # SKIP no apparmor_parser: apt-get install apparmor')
        return 77
    with Machine(append=['apparmor=1', 'security=apparmor']) as m:
        with tap.case('a profile that is loaded, and one that is not'):
            confined(m)
        tap.ok(m.guest.is_running(), 'the guest lives')
    return tap.done()


if __name__ == '__main__':
    sys.exit(main())
