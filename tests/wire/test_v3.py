#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The RPCs that only 3.x has, against an agent without a sandbox, over ttrpc. TAP.

Runs itself in a mount namespace of its own; needs root. The agent is KATA_AGENT or build/kata-agent.
"""
import os
import shutil
import subprocess
import sys
import tempfile
import time

from wirelib import ROOT, Tap, eq, pb, ttrpc_answer, ttrpc_request, unpb
import socket

SBIN = "/usr/sbin"


def script(name, text):
    path = os.path.join(SBIN, name)
    with open(path, "w") as f:
        f.write("#!/bin/sh\n" + text)
    os.chmod(path, 0o755)


def main():
    if os.geteuid() != 0:
        print("1..0 # SKIP needs root for a mount namespace")
        return 77
    if "V3_INSIDE" not in os.environ:
        r = subprocess.run(["unshare", "-m", "--propagation", "private", sys.executable, os.path.abspath(__file__)],
                           env=dict(os.environ, V3_INSIDE="1"), cwd=ROOT)
        return r.returncode
    agent = os.environ.get("KATA_AGENT", os.path.join(ROOT, "build/kata-agent"))
    if not os.access(agent, os.X_OK):
        print(f"1..0 # SKIP {agent} is not built")
        return 77

    tap = Tap()
    work = tempfile.mkdtemp(prefix="v3-")
    subprocess.check_call(["mount", "-t", "tmpfs", "none", "/run"])
    os.makedirs("/run/kata-containers/shared/containers")
    path = os.path.join(work, "sock")
    log = open(os.path.join(work, "log"), "w+")
    # What it holds to its end is no leak worth a word; what a call leaves behind the test service would show.
    proc = subprocess.Popen([agent, "--server-addr", "unix://" + path], stderr=log, stdout=log,
                            env=dict(os.environ, ASAN_OPTIONS="detect_leaks=0"))
    end = time.time() + 10
    while not os.path.exists(path) and time.time() < end:
        time.sleep(0.02)
    conn = socket.socket(socket.AF_UNIX)
    conn.settimeout(20)
    conn.connect(path)
    number = [1]

    def call(method, payload=b""):
        number[0] += 2
        conn.sendall(ttrpc_request(number[0], method, payload))
        stream, code, text, answer = ttrpc_answer(conn)
        eq(stream, number[0])
        return code, text, answer

    def metrics():
        code, _, answer = call("GetMetrics")
        eq(code, 0)
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
        eq(code, 0, text)
        usage, at = [], 0
        while at < len(answer) and answer[at] == 0x0A:      # field 1, repeated
            n = answer[at + 1]
            usage.append(unpb(answer[at + 2:at + 2 + n]))
            at += 2 + n
        eq(usage[0], {1: (1 << 20) - 8192, 2: 1 << 20, 3: 8192, 4: 1})
        eq((usage[1][2], usage[1][3], usage[1][4]), (100, 2, 2))
        eq(unpb(unpb(answer)[2]), {2: b"OK"})

    def volume_paths():
        os.symlink("/etc", "/run/link")
        eq(call("GetVolumeStats", pb((1, "/etc")))[0], 3)
        eq(call("GetVolumeStats", pb((1, "/run/../etc")))[0], 3)
        eq(call("GetVolumeStats", pb((1, "")))[0], 3)
        eq(call("GetVolumeStats", pb((1, "/run/none")))[0], 5)
        assert call("GetVolumeStats", pb((1, "/run/link")))[0] != 0
        assert call("GetVolumeStats", pb((1, "/run/link/ssl")))[0] != 0

    def resize_other():
        code, text, _ = call("ResizeVolume", pb((1, "/run/vol"), (2, 1 << 21)))
        eq(code, 12, text)

    def resize_ext4():
        image = os.path.join(work, "disk")
        with open(image, "wb") as f:
            f.truncate(64 << 20)
        if subprocess.call(["mkfs.ext4", "-q", "-F", image, "16M"]) != 0:
            raise AssertionError("mkfs.ext4 failed")
        os.makedirs("/run/disk")
        if subprocess.call(["mount", "-o", "loop", image, "/run/disk"], stderr=subprocess.DEVNULL) != 0:
            return "no loop device on this machine"
        with open("/proc/self/status") as f:
            caps = next(int(line.split()[1], 16) for line in f if line.startswith("CapEff"))
        before = os.statvfs("/run/disk").f_blocks
        eq(call("ResizeVolume", pb((1, "/run/disk"), (2, 1 << 20)))[0], 3, "it cannot shrink")
        eq(call("ResizeVolume", pb((1, "/run/disk"), (2, 1 << 40)))[0], 3, "beyond its disk")
        if not caps >> 24 & 1:
            subprocess.check_call(["umount", "/run/disk"])
            return "root has no CAP_SYS_RESOURCE here"
        code, text, _ = call("ResizeVolume", pb((1, "/run/disk"), (2, 48 << 20)))
        eq(code, 0, text)
        assert os.statvfs("/run/disk").f_blocks > 2 * before
        subprocess.check_call(["umount", "/run/disk"])
        return None

    def storage(point, *options, driver="ephemeral"):
        return pb((1, pb((1, driver), (3, "tmpfs"), (4, "tmpfs"), *[(5, o) for o in options], (6, point))))

    def ephemeral():
        os.makedirs("/run/eph")
        subprocess.check_call(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/run/eph"])
        with open("/run/eph/kept", "w") as f:
            f.write("x")
        code, text, _ = call("UpdateEphemeralMounts", storage("/run/eph", "remount", "size=2097152", "fsgid=7"))
        eq(code, 0, text)
        s = os.statvfs("/run/eph")
        eq(s.f_blocks * s.f_frsize, 2 << 20)
        assert os.path.exists("/run/eph/kept")

    def ephemeral_errors():
        eq(call("UpdateEphemeralMounts", storage("/run/eph", "remount", driver="blk"))[0], 3)
        eq(call("UpdateEphemeralMounts", storage("/etc", "remount", "size=1m"))[0], 3)
        assert call("UpdateEphemeralMounts", storage("/run/link/x", "size=1m"))[0] != 0
        eq(call("UpdateEphemeralMounts")[0], 0)

    def stale_mounts():
        d = "/run/kata-containers/shared/containers/a b"
        os.makedirs(d)
        subprocess.check_call(["mount", "-t", "tmpfs", "none", d])
        eq(call("RemoveStaleVirtiofsShareMounts")[:2], (0, ""))

    def iptables_missing():
        subprocess.check_call(["mount", "-t", "tmpfs", "none", SBIN])
        if any(os.path.exists(os.path.join(d, "iptables-save")) for d in ("/sbin", "/usr/bin", "/bin")):
            return
        code, text, _ = call("GetIPTables")
        eq(code, 13)
        assert "iptables-save is not installed" in text, text
        assert "ip6tables-restore" in call("SetIPTables", pb((1, 1), (2, "x")))[1]

    def iptables():
        script("iptables-save", "echo '# rules'; head -c 2000000 /dev/zero | tr '\\0' x")
        script("ip6tables-save", "echo bad >&2; exit 3")
        script("iptables-restore", f"echo \"$@\"; cat > {work}/rules; cat {work}/rules")
        script("ip6tables-restore", "cat >/dev/null; kill -9 $$")
        code, text, answer = call("GetIPTables")
        eq(code, 0, text)
        eq(len(unpb(answer)[1]), 2000008)
        code, text, _ = call("GetIPTables", pb((1, 1)))
        eq(code, 13)
        assert "exit status 3, output: bad" in text, text
        rules = b"*filter\n" + b"-A x\n" * 200000 + b"COMMIT\n"
        code, text, answer = call("SetIPTables", pb((2, rules)))
        eq(code, 0, text)
        eq(unpb(answer)[1] == b"--wait 5\n" + rules, True)
        code, text, _ = call("SetIPTables", pb((1, 1), (2, rules)))
        eq(code, 13)
        assert "signal 9" in text, text
        script("iptables-save", "head -c 5000000 /dev/zero")
        eq(call("GetIPTables")[0], 8)

    def not_blocked():
        script("iptables-save", "sleep 1; echo x")
        number[0] += 2
        slow = number[0]
        conn.sendall(ttrpc_request(slow, "GetIPTables"))
        t = time.time()
        eq(call("GetGuestDetails")[0], 0)
        assert time.time() - t < 0.5
        eq(ttrpc_answer(conn)[0], slow)

    def swap():
        eq(call("AddSwap")[0], 3)
        eq(call("AddSwap", pb((1, b"\x80\x80\x04")))[0], 3)
        assert call("AddSwap", pb((1, b"\x1f\x1e")))[0] != 0
        eq(call("AddSwapPath", pb((1, "/etc/passwd")))[0], 3)
        assert call("AddSwapPath", pb((1, "/dev/none")))[0] != 0

    def diagnostics():
        eq(call("GetDiagnosticData", pb((1, "other"), (2, "x")))[0], 3)
        eq(call("GetDiagnosticData", pb((1, "termination_log"), (2, "x")))[0], 3)

    def not_there():
        for method in ("SetPolicy", "MemAgentMemcgSet", "MemAgentCompactSet"):
            eq(call(method)[0], 12, method)

    tests = [metrics, volume_stats, volume_paths, resize_other, resize_ext4, ephemeral, ephemeral_errors,
             stale_mounts, swap, diagnostics, not_there, iptables_missing, iptables, not_blocked]
    for t in tests:
        if t is resize_ext4:
            why = []
            try:
                why.append(t())
            except Exception as e:
                tap.run("3.x: resize_ext4", lambda: (_ for _ in ()).throw(e))
                continue
            if why[0]:
                tap.skip("3.x: resize_ext4", why[0])
            else:
                tap.run("3.x: resize_ext4", lambda: None)
            continue
        tap.run("3.x: " + t.__name__, t)
    tap.run("3.x: the agent still runs", lambda: eq(proc.poll(), None))
    proc.terminate()
    try:
        proc.wait(timeout=5)
    except subprocess.TimeoutExpired:
        proc.kill()
        proc.wait()
    log.seek(0)
    text = log.read()
    tap.run("3.x: no sanitizer spoke", lambda: eq("Sanitizer" in text or "runtime error" in text, False, text[-2000:]))
    shutil.rmtree(work, ignore_errors=True)
    return tap.done()


sys.exit(main())
