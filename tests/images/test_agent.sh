#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The agent itself in each kind of root, asked over vsock whether it serves.
# With TEST_NETWORK=1 also in a Debian image, where systemd starts it.
set -euo pipefail
source "$(dirname "$0")/lib.sh"

build=${BUILD:-$top/build}
kernel=${VM_KERNEL:-$build/kata-vmlinuz}
boot=$top/tests/vm/boot.sh
for f in "$kernel" "$build/kata-agent" "$build/agent-ctl" "$build/vm-guard" "$build/vhost-user-vsock" "$(command -v qemu-system-x86_64 || echo qemu-system-x86_64)"; do
	if [[ ! -e $f ]]; then
		skip_all "$f is not there: make all kernel"
	fi
done
export AGENT_SOURCE_BIN=$build/kata-agent
root=$work/rootfs
dir=
trap '[[ -z $dir ]] || "$boot" stop --dir "$dir" > /dev/null 2>&1; rm -rf "$work"' EXIT

# guest NAME BOOT_ARGUMENTS...: boots, waits for an answer, and keeps the guest for questions.
guest() {
	local name=$1
	shift
	[[ -z $dir ]] || "$boot" stop --dir "$dir"
	dir=$(mktemp -d "$work/vm.XXXX")
	if why=$("$boot" start --dir "$dir" --kernel "$kernel" --share "$work/share" --watch $$ "$@" 2>&1 && "$boot" wait --dir "$dir" --timeout 150 2>&1); then
		why=
		ok "$name"
	else
		not_ok "$name"
	fi
}
# container NAME: runs one in the guest, from the directory shared by 9p.
container() {
	local status=0
	why=$(timeout 120 "$build/agent-ctl" --addr "$(cat "$dir/address")" run --shared "$work/share" "$work/share/hello" 2>&1) || status=$?
	if [[ $status -eq 7 && $why == *'hello from the guest'* ]]; then
		why=
		ok "$1"
	else
		why="exit status $status: $why"
		not_ok "$1"
	fi
}
console() { tr -d '\r' < "$dir/console.log"; }

check 'busybox with the agent' env KATA_EXTRAS=none "$rootfs_sh" -r "$root" busybox
check 'and what hosts of 3.x ask for' "$rootfs_sh" -r "$root-full" busybox
check 'its initrd' "$initrd_sh" -o "$work/initrd.img" "$root"
check "is below 2,500,000 bytes ($(stat -c %s "$work/initrd.img"))" test "$(stat -c %s "$work/initrd.img")" -lt 2500000
check 'its image' "$image_sh" -o "$work/kata.img" "$root-full"
check "takes less than 12 MiB of disk ($(du -B1 "$work/kata.img" | cut -f 1))" test "$(du -B1 "$work/kata.img" | cut -f 1)" -lt $((12 << 20))

mkdir -p "$work/share/hello/rootfs"
cp -a "$root/bin" "$root/etc" "$work/share/hello/rootfs/"
mkdir "$work/share/hello/rootfs"/{proc,dev,sys,tmp}
"$build/agent-ctl" spec --cmd 'echo hello from the guest; exit 7' > "$work/share/hello/config.json"

guest 'initrd' --initrd "$work/initrd.img"
container 'initrd: a container runs, exit status 7'
guest 'image as nvdimm, with the command line of 1.x' --image "$work/kata.img" --root pmem --debug
check 'DAX was asked for and granted' test "$(console | grep -c -E 'DAX unsupported')" -eq 0 -a \
	"$(console | grep -c 'EXT4-fs (pmem0p1): mounted filesystem')" -eq 1
container 'nvdimm: a container runs, exit status 7'
guest 'image as nvdimm, with the command line of 2018' --image "$work/kata.img" --root pmem \
	--append 'init=/usr/lib/systemd/systemd ip=::::::0123456789abcdef::off:: agent.sandbox=0123456789abcdef'
guest 'image as virtio-blk' --image "$work/kata.img" --root blk
container 'virtio-blk: a container runs, exit status 7'
"$image_sh" -a 2 -o "$work/small.img" "$root" > /dev/null
guest 'image as small as can be' --image "$work/small.img" --root pmem

if [[ -n ${TEST_NETWORK:-} ]] && command -v mmdebstrap > /dev/null && [[ $(id -u) -eq 0 ]]; then
	check 'debian' "$rootfs_sh" -r "$work/debian" debian
	check 'debian image' "$image_sh" -o "$work/debian.img" "$work/debian"
	guest 'kata-agent.service answers' --image "$work/debian.img" --root pmem --mem 512M --append 'init=/usr/lib/systemd/systemd'
	container 'debian: a container runs, exit status 7'
	[[ -z $why ]] || console | tail -n 40 | sed 's/^/# /'
	guest 'debian: nothing failed on the way' --image "$work/debian.img" --root pmem --mem 512M --debug
	is 'debian: no unit failed' "$(console | grep -a -E '(Failed to start|: Failed with result)' | head -n 5)" ''
	check 'debian initrd' "$initrd_sh" -o "$work/debian.gz" "$work/debian"
	guest 'debian initrd: without a word about systemd on the kernel line' --initrd "$work/debian.gz" --mem 1G
	container 'debian initrd: a container runs, exit status 7'
	guest 'debian initrd: where systemd itself is what the kernel starts' --initrd "$work/debian.gz" --mem 1G --append rdinit=/sbin/init
	container 'debian initrd: there, too, a container runs, exit status 7'
else
	skip 'kata-agent.service answers' 'set TEST_NETWORK=1 (as root, with mmdebstrap)'
fi
done_testing
