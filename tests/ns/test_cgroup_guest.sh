#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# cgroup v1 and v2 in a guest with our kernel: mounted by init/cgroups.c, then the unit tests that
# need real hierarchies. TAP; needs QEMU and a built kernel and unit tests, else it is skipped.
set -euo pipefail
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
KERNEL=${KERNEL:-$BUILD/kata-vmlinuz}
# shellcheck source=../lib/tap.sh
source tests/lib/tap.sh
[[ $(uname -m) == x86_64 ]] || skip_all "the guest is x86_64"
command -v qemu-system-x86_64 >/dev/null || skip_all "no qemu-system-x86_64 (apt-get install qemu-system-x86)"
command -v cpio >/dev/null || skip_all "no cpio (apt-get install cpio)"
[[ -e $KERNEL ]] || skip_all "no kernel at $KERNEL (make kernel)"
for t in test_cgroup_v1 test_cgroup_v2; do
	[[ -x $BUILD/unit/$t ]] || skip_all "no $BUILD/unit/$t (make unit)"
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root"
"${CC:-cc}" -std=gnu11 -D_GNU_SOURCE -O1 -static -iquote agent -iquote init -o "$root/init" tests/ns/cgroup_guest_init.c \
	init/cgroups.c agent/base/err.c agent/base/log.c agent/base/fdio.c agent/base/str.c
cp "$BUILD/unit/test_cgroup_v1" "$BUILD/unit/test_cgroup_v2" "$root/"
# The libraries that the tests are linked with, and the loader, at the same paths.
while read -r lib; do
	install -D "$(readlink -f "$lib")" "$root$lib"
done < <(ldd "$root"/test_cgroup_* | grep -o '/[^ ]*\.so[^ ]*' | sort -u)
(cd "$root" && find . | cpio --quiet -o -H newc) >"$work/initrd"

# Where the kernel was told to have no v1, v2 is what is mounted, whatever was asked for.
plan 12
for mode in v1 unified cgroup_no_v1=all; do
	version=v2
	[[ $mode == v1 ]] && version=v1
	timeout 240 qemu-system-x86_64 -accel tcg,thread=single -cpu max -m 1024 -smp 2 -nodefaults -no-reboot \
		-display none -serial stdio -kernel "$KERNEL" -initrd "$work/initrd" \
		-append "console=ttyS0 quiet panic=1 $mode" </dev/null >"$work/$mode" 2>&1 || true
	for what in mounting "mounted again" is_$version tests; do
		result "$(grep -aq "^RESULT 0 $what" "$work/$mode"; echo $?)" "$mode: $what" \
			"$(tr -d '\r' <"$work/$mode" | tail -n 60)"
	done
done
done_testing
