#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The RPCs that only 3.x has, against an agent without a sandbox, over ttrpc. TAP.

Runs itself in a mount namespace of its own; needs root. The agent is KATA_AGENT or build/kata-agent.
"""
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from server import QUIET_SAN, Agent  # noqa: E402
from tap import Skip, Tap, expect, need_root  # noqa: E402
from wire import pb, ttrpc_answer, ttrpc_request, unpb  # noqa: E402

SBIN = "/usr/sbin"


def script(name, text):
    path = os.path.join(SBIN, name)
    with open(path, "w") as f:
        f.write("#!/bin/sh\n" + text)
    os.chmod(path, 0o755)


def main():
    need_root()
    if "V3_INSIDE" not in os.environ:
        return subprocess.run(["unshare", "-m", "--propagation", "private", sys.executable, os.path.abspath(__file__)],
                              env=dict(os.environ, V3_INSIDE="1")).returncode
    subprocess.check_call(["mount", "-t", "tmpfs", "none", "/run"])
    os.makedirs("/run/kata-containers/shared/containers")
    # What the agent holds to its end is no leak worth a word; what a call leaves behind the test service would show.
    with tempfile.TemporaryDirectory(prefix="v3-", dir="/tmp") as work, \
            Agent(os.environ.get("KATA_AGENT"), env=QUIET_SAN, isolated=False) as agent:
        return run(agent, work)


def run(agent, work):
    tap = Tap()
    conn = agent.connect(timeout=20)
    number = [1]

    def call(method, payload=b""):
        number[0] += 2
        conn.sendall(ttrpc_request(number[0], method, payload))
        stream, code, text, answer = ttrpc_answer(conn)
        expect(stream, number[0])
        return code, text, answer

    def metrics():
        code, _, answer = call("GetMetrics")
        expect(code, 0)
        text = unpb(answer)[1].decode()
        for line in ("kata_agent_threads 1\n", "# TYPE kata_guest_load gauge\n", "kata_agent_containers 0\n"):
            assert line in text, line
        code, _, answer = call("GetMetrics")
        assert b"kata_agent_scrape_count 2\n" in unpb(answer)[1]

    def volume_stats():
        os.makedirs("/run/vol")
        subprocess.check_call(["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=100", "none", "/run/vol"])
        with open("/run/vol/f", "wb") as f:
            f.write(b"x" * 8192)
        code, text, answer = call("GetVolumeStats", pb((1, "/run/vol")))
        expect(code, 0, text)
        usage, at = [], 0
        while at < len(answer) and answer[at] == 0x0A:      # field 1, repeated
            n = answer[at + 1]
            usage.append(unpb(answer[at + 2:at + 2 + n]))
            at += 2 + n
        expect(usage[0], {1: (1 << 20) - 8192, 2: 1 << 20, 3: 8192, 4: 1})
        expect((usage[1][2], usage[1][3], usage[1][4]), (100, 2, 2))
        expect(unpb(unpb(answer)[2]), {2: b"OK"})

    def volume_paths():
        os.symlink("/etc", "/run/link")
        expect(call("GetVolumeStats", pb((1, "/etc")))[0], 3)
        expect(call("GetVolumeStats", pb((1, "/run/../etc")))[0], 3)
        expect(call("GetVolumeStats", pb((1, "")))[0], 3)
        expect(call("GetVolumeStats", pb((1, "/run/none")))[0], 5)
        assert call("GetVolumeStats", pb((1, "/run/link")))[0] != 0
        assert call("GetVolumeStats", pb((1, "/run/link/ssl")))[0] != 0

    def resize_other():
        code, text, _ = call("ResizeVolume", pb((1, "/run/vol"), (2, 1 << 21)))
        expect(code, 12, text)

    def resize_ext4():
        image = os.path.join(work, "disk")
        with open(image, "wb") as f:
            f.truncate(64 << 20)
        if subprocess.call(["mkfs.ext4", "-q", "-F", image, "16M"]) != 0:
            raise AssertionError("mkfs.ext4 failed")
        os.makedirs("/run/disk")
        if subprocess.call(["mount", "-o", "loop", image, "/run/disk"], stderr=subprocess.DEVNULL) != 0:
            raise Skip("no loop device on this machine")
        with open("/proc/self/status") as f:
            caps = next(int(line.split()[1], 16) for line in f if line.startswith("CapEff"))
        before = os.statvfs("/run/disk").f_blocks
        expect(call("ResizeVolume", pb((1, "/run/disk"), (2, 1 << 20)))[0], 3, "it cannot shrink")
        expect(call("ResizeVolume", pb((1, "/run/disk"), (2, 1 << 40)))[0], 3, "beyond its disk")
        if not caps >> 24 & 1:
            subprocess.check_call(["umount", "/run/disk"])
            raise Skip("root has no CAP_SYS_RESOURCE here")
        code, text, _ = call("ResizeVolume", pb((1, "/run/disk"), (2, 48 << 20)))
        expect(code, 0, text)
        assert os.statvfs("/run/disk").f_blocks > 2 * before
        subprocess.check_call(["umount", "/run/disk"])

    def storage(point, *options, driver="ephemeral"):
        return pb((1, pb((1, driver), (3, "tmpfs"), (4, "tmpfs"), *[(5, o) for o in options], (6, point))))

    def ephemeral():
        os.makedirs("/run/eph")
        subprocess.check_call(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/run/eph"])
        with open("/run/eph/kept", "w") as f:
            f.write("x")
        code, text, _ = call("UpdateEphemeralMounts", storage("/run/eph", "remount", "size=2097152", "fsgid=7"))
        expect(code, 0, text)
        s = os.statvfs("/run/eph")
        expect(s.f_blocks * s.f_frsize, 2 << 20)
        assert os.path.exists("/run/eph/kept")

    def ephemeral_errors():
        expect(call("UpdateEphemeralMounts", storage("/run/eph", "remount", driver="blk"))[0], 3)
        expect(call("UpdateEphemeralMounts", storage("/etc", "remount", "size=1m"))[0], 3)
        assert call("UpdateEphemeralMounts", storage("/run/link/x", "size=1m"))[0] != 0
        expect(call("UpdateEphemeralMounts")[0], 0)

    def stale_mounts():
        d = "/run/kata-containers/shared/containers/a b"
        os.makedirs(d)
        subprocess.check_call(["mount", "-t", "tmpfs", "none", d])
        expect(call("RemoveStaleVirtiofsShareMounts")[:2], (0, ""))

    def iptables_missing():
        subprocess.check_call(["mount", "-t", "tmpfs", "none", SBIN])
        if any(os.path.exists(os.path.join(d, "iptables-save")) for d in ("/sbin", "/usr/bin", "/bin")):
            return
        code, text, _ = call("GetIPTables")
        expect(code, 13)
        assert "iptables-save is not installed" in text, text
        assert "ip6tables-restore" in call("SetIPTables", pb((1, 1), (2, "x")))[1]

    def iptables():
        script("iptables-save", "echo '# rules'; head -c 2000000 /dev/zero | tr '\\0' x")
        script("ip6tables-save", "echo bad >&2; exit 3")
        script("iptables-restore", f"echo \"$@\"; cat > {work}/rules; cat {work}/rules")
        script("ip6tables-restore", "cat >/dev/null; kill -9 $$")
        code, text, answer = call("GetIPTables")
        expect(code, 0, text)
        expect(len(unpb(answer)[1]), 2000008)
        code, text, _ = call("GetIPTables", pb((1, 1)))
        expect(code, 13)
        assert "exit status 3, output: bad" in text, text
        rules = b"*filter\n" + b"-A x\n" * 200000 + b"COMMIT\n"
        code, text, answer = call("SetIPTables", pb((2, rules)))
        expect(code, 0, text)
        expect(unpb(answer)[1] == b"--wait 5\n" + rules, True)
        code, text, _ = call("SetIPTables", pb((1, 1), (2, rules)))
        expect(code, 13)
        assert "signal 9" in text, text
        script("iptables-save", "head -c 5000000 /dev/zero")
        expect(call("GetIPTables")[0], 8)

    def not_blocked():
        script("iptables-save", "sleep 1; echo x")
        number[0] += 2
        slow = number[0]
        conn.sendall(ttrpc_request(slow, "GetIPTables"))
        expect(call("GetGuestDetails")[0], 0)      # whose answer comes first, as call() sees
        expect(ttrpc_answer(conn)[0], slow)

    def swap():
        expect(call("AddSwap")[0], 3)
        expect(call("AddSwap", pb((1, b"\x80\x80\x04")))[0], 3)
        assert call("AddSwap", pb((1, b"\x1f\x1e")))[0] != 0
        expect(call("AddSwapPath", pb((1, "/etc/passwd")))[0], 3)
        assert call("AddSwapPath", pb((1, "/dev/none")))[0] != 0

    def diagnostics():
        expect(call("GetDiagnosticData", pb((1, "other"), (2, "x")))[0], 3)
        expect(call("GetDiagnosticData", pb((1, "termination_log"), (2, "x")))[0], 3)

    def not_there():
        for method in ("SetPolicy", "MemAgentMemcgSet", "MemAgentCompactSet"):
            expect(call(method)[0], 12, method)

    tests = [metrics, volume_stats, volume_paths, resize_other, resize_ext4, ephemeral, ephemeral_errors,
             stale_mounts, swap, diagnostics, not_there, iptables_missing, iptables, not_blocked]
    for t in tests:
        tap.run("3.x: " + t.__name__, t)
    tap.run("3.x: the agent still runs", lambda: expect(agent.alive(), True))
    agent.terminate()
    tap.run("3.x: no sanitizer spoke", lambda: expect(agent.sanitizer(), []))
    return tap.done()


sys.exit(main())
