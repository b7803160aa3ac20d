#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the runtime-spec's own validation programs against the agent, and against other runtimes.

    tests/validation/run.py DIRECTORY [--runtime agent|runc|crun|PROGRAM] [--details] [PROGRAM...]

DIRECTORY is a tree of opencontainers/runtime-tools in which `make runtimetest validation-executables` has been run
(it needs Go 1.21 or newer); nothing of it is committed here. Root. The agent's way is oci-runtime beside this file.
A line for each program: assertions that pass, that fail, and its exit status; with --details the texts that fail.
Several runtimes may be named, separated by commas: then a table, and the texts that not all of them share.
"""
import glob
import json
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'lib'))
import server  # noqa: E402
from tap import BUILD, need_root  # noqa: E402

CTL = os.path.join(BUILD, 'agent-ctl')


COMMANDS = {'runc': '/usr/sbin/runc', 'crun': '/usr/bin/crun --cgroup-manager=cgroupfs'}


class HostAgent(server.Agent):
    """In the host's cgroups and pids, for the programs look at them there; with mounts and a /run of its own."""

    def argv(self, *addresses):
        return ['unshare', '--mount', '--uts', '--ipc', '--propagation', 'slave', 'sh', '-ec',
                'mount -t tmpfs -o mode=755 run /run\nexec "$@"', 'sh', self.binary, '--server-addr', *addresses]


# Older ones refuse versions of the spec that they don't know, whatever is in it.
WRAPPER = """#!/bin/sh
bundle=.
for word; do
	[ "$last" != --bundle ] || bundle=$word
	last=$word
done
[ "$1" != create ] || sed -i -E 's/"ociVersion": *"1[.0-9]+"/"ociVersion": "1.0.2"/' "$bundle/config.json"
exec %s "$@"
"""


class Here:
    """No agent: a runtime that is a program of this host."""

    def __init__(self, runtime):
        self.name, self.env = runtime, {}

    def __enter__(self):
        self.work = tempfile.TemporaryDirectory()
        self.runtime = os.path.join(self.work.name, os.path.basename(self.name.split()[0]))
        with open(self.runtime, 'w') as f:
            f.write(WRAPPER % self.name)
        os.chmod(self.runtime, 0o755)
        return self

    def __exit__(self, *what):
        self.work.cleanup()


class OverAgent:
    def __init__(self):
        self.agent, self.runtime = HostAgent(isolated=False), os.path.join(HERE, 'oci-runtime')

    def __enter__(self):
        self.agent.start()
        self.state = tempfile.TemporaryDirectory()
        self.env = dict(AGENT_CTL_ADDR=self.agent.address, AGENT_CTL_PROTOCOL=os.environ.get('AGENT_CTL_PROTOCOL', 'ttrpc'),
                        OCI_STATE=self.state.name, AGENT_CTL=CTL)
        subprocess.run([CTL, 'create-sandbox', '--id', 'sb'], env=dict(os.environ, **self.env), check=True)
        return self

    def __exit__(self, *what):
        subprocess.run([CTL, 'destroy-sandbox'], env=dict(os.environ, **self.env))
        self.agent.stop()
        self.state.cleanup()


def run_program(tree, program, runtime):
    """What it says, one (ok, text) for each assertion; its exit status. Its own time is bounded."""
    env = dict(os.environ, RUNTIME=runtime.runtime, **runtime.env)
    try:
        r = subprocess.run([program], cwd=tree, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, timeout=90)
        out, err, status = r.stdout, r.stderr, r.returncode
    except subprocess.TimeoutExpired as e:
        out, err, status = e.stdout or b'', e.stderr or b'', 'timeout'
    asserts = []
    for line in out.decode(errors='replace').splitlines():
        m = re.match(r'\s*(not )?ok \d+(?: - (.*))?$', line)
        if m:
            asserts.append((not m.group(1), m.group(2) or ''))
    return asserts, status, err.decode(errors='replace'), out.decode(errors='replace')


def main(argv):
    need_root()
    names, details, programs = ['agent'], False, []
    rest = iter(argv[1:])
    tree = os.path.abspath(argv[0])
    for word in rest:
        if word == '--runtime':
            names = next(rest).split(',')
        elif word == '--details':
            details = True
        else:
            programs.append(word)
    found = sorted(glob.glob(os.path.join(tree, 'validation', '*', '*.t')))
    found = [p for p in found if not programs or os.path.basename(p)[:-2] in programs]
    table = {}
    for name in names:
        with OverAgent() if name == 'agent' else Here(COMMANDS.get(name, name)) as runtime:
            for program in found:
                what = os.path.basename(program)[:-2]
                asserts, status, err, out = run_program(tree, program, runtime)
                bad = [text for ok, text in asserts if not ok]
                table.setdefault(what, {})[name] = (len(asserts) - len(bad), bad, status)
                print('%-8s %-32s %4d pass %3d fail, status %s' % (name, what, len(asserts) - len(bad), len(bad), status), flush=True)
                if details and (bad or status != 0):
                    print(''.join('    # not ok: %s\n' % text for text in bad) + ''.join('    # %s\n' % x for x in err.splitlines()[:12]), end='')
                if details and os.environ.get('RAW'):
                    print(out)
    for name in names:
        rows = [row[name] for row in table.values()]
        print('%s: %d pass, %d fail' % (name, sum(r[0] for r in rows), sum(len(r[1]) for r in rows)))
    if len(names) > 1:
        print(json.dumps({what: {n: (r[0], sorted(r[1]), r[2]) for n, r in row.items()} for what, row in table.items()
                          if len({(r[0], tuple(sorted(r[1])), r[2]) for r in row.values()}) > 1}, indent=1))
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
