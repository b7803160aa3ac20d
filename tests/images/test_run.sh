#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `make run`, `make shell` and the targets of osbuilder's users: what is refused before anything happens, what goes to
# which stream, what arrives in the container. With TEST_NETWORK=1 also with Debian's kernel, which is downloaded.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
unset MAKEFLAGS MAKELEVEL MFLAGS KERNEL ROOT TRANSPORT PROTOCOL CMD
cd "$top"

misuse() { # NAME TEXT WORDS...: make run must say so, and do nothing
	local name=$1 text=$2 said status=0
	shift 2
	said=$(timeout 20 make run "$@" 2>&1) || status=$?
	why="exit status $status: $said"
	if [[ $status -eq 2 && $said == *"$text"* && $said != *guest:* ]]; then ok "$name"; else not_ok "$name"; fi
}
misuse 'ROOT that is none' 'ROOT=inird: choose one of initrd pmem blk verity erofs' ROOT=inird
misuse 'ROOT of two words' 'ROOT=pmem blk: choose one of' 'ROOT=pmem blk'
misuse 'TRANSPORT that is none' 'TRANSPORT=tcp: choose one of vsock serial' TRANSPORT=tcp
misuse 'PROTOCOL that is none' 'PROTOCOL=http: choose one of grpc ttrpc' PROTOCOL=http
misuse 'KERNEL that is none' 'KERNEL=bsd: choose one of own debian' KERNEL=bsd
misuse "an image with Debian's kernel" 'boots from an initrd only' KERNEL=debian ROOT=pmem
why=$(make shell KERNEL=own < /dev/null 2>&1) || :
check 'make shell without a terminal' grep -q 'needs a terminal' <<< "$why"
is 'make list-distros' "$(make -s list-distros | tr '\n' ' ')" "$("$rootfs_sh" -l | tr '\n' ' ')"
for t in rootfs image initrd rootfs-busybox image-debian initrd-alpine; do
	check "make $t is known" make -n "$t"
done
if [[ -x build/kata-agent ]]; then
	dest=(ROOTFS_BUILD_DEST="$work" IMAGES_BUILD_DEST="$work")
	check 'make initrd-busybox' make "${dest[@]}" initrd-busybox
	check 'its result is called as with osbuilder' test -s "$work/kata-containers-initrd-busybox.img" -a -d "$work/busybox_rootfs"
	check 'make image DISTRO=busybox' make "${dest[@]}" image DISTRO=busybox
	check 'likewise' test -s "$work/kata-containers-image-busybox.img"
else
	skip 'make initrd-busybox' 'no agent is built'
fi

guests() { # KERNEL
	local status=0 out
	out=$(make -s run KERNEL="$1" CMD='echo "$HOME" $((6 * 7)) '\''as it is'\''; echo err >&2; exit 3' 2> "$work/err") || status=$?
	is "$1: \$ and quotes arrive, and stdout is the container's alone" "$out" '/root 42 as it is'
	why=$(cat "$work/err")
	check "$1: what the guest and make say is on stderr" grep -q -z -E 'guest: the agent answered.*container: exit status 3' "$work/err"
	is "$1: make fails with the command" "$status" 2
	# A terminal whose other end types when the shell asks.
	/usr/bin/python3 - "$1" > "$work/shell" 2>&1 << 'EOF' || :
import os, pty, select, signal, sys, time
pid, fd = pty.fork()
if pid == 0:
    os.execvp('make', ['make', '-s', 'shell', 'KERNEL=' + sys.argv[1]])
said, typed, end = b'', False, time.time() + 120
while time.time() < end:
    if not select.select([fd], [], [], 1)[0]:
        continue
    try:
        data = os.read(fd, 4096)
    except OSError:
        break
    if not data:
        break
    said += data
    if not typed and b'# ' in said:
        os.write(fd, b'echo $((6 * 7))-there; tty; exit\n')
        typed = True
os.close(fd)
if not os.waitpid(pid, os.WNOHANG)[0]:
    time.sleep(5)
    os.kill(pid, signal.SIGTERM)
    os.waitpid(pid, 0)
sys.stdout.write(said.decode(errors='replace'))
EOF
	why=$(cat "$work/shell")
	check "$1: make shell is a shell on a terminal" grep -q -z '42-there.*/dev/pts/' "$work/shell"
}
# The other roots, with our kernel.
roots() {
	local out at status=0
	out=$(make -s run KERNEL=own ROOT=erofs CMD='echo here' 2> "$work/err") || :
	is 'ROOT=erofs' "$out" here
	out=$(make -s run KERNEL=own ROOT=verity CMD='grep -o "verity 1 /dev/pmem0p1 /dev/pmem0p2" /proc/cmdline' 2> "$work/err") || :
	is 'ROOT=verity: the root hash is on the kernel line' "$out" 'verity 1 /dev/pmem0p1 /dev/pmem0p2'
	# A byte of the agent changes on the host.
	cp --sparse=always build/kata-containers-verity.img "$work/changed.img"
	at=$(/usr/bin/python3 - build/kata-agent "$work/changed.img" << 'EOF'
import sys
agent, image = open(sys.argv[1], 'rb').read(4096), sys.argv[2]
at = open(image, 'rb').read().find(agent)
with open(image, 'r+b') as f:
    f.seek(at + 4000)
    f.write(bytes([agent[4000] ^ 1]))
print(at)
EOF
	)
	check 'the agent is in the image' test "$at" -gt 0
	tests/vm/boot.sh start --dir "$work/vm" --kernel build/kata-vmlinuz --image "$work/changed.img" --verity build/root_hash_verity.txt
	tests/vm/boot.sh wait --dir "$work/vm" --timeout 60 2> "$work/err" || status=$?
	tests/vm/boot.sh stop --dir "$work/vm"
	is 'a changed byte is a boot that fails' "$status" 1
	why=$(tail -n 20 "$work/vm/console.log")
	check 'and the kernel says why' grep -q 'dm-verity device corrupted' "$work/vm/console.log"
}
if ! command -v qemu-system-x86_64 > /dev/null; then
	skip 'guests' 'qemu-system-x86_64 is not installed (package qemu-system-x86)'
else
	if [[ -e build/kata-vmlinuz ]]; then guests own; roots; else skip 'own: make run' 'no guest kernel is built: make kernel'; fi
	if [[ -n ${TEST_NETWORK:-} ]]; then guests debian; else skip 'debian: make run' 'set TEST_NETWORK=1'; fi
fi
done_testing
