#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# build-kernel.sh up to the point where compiling would begin: fragments, checks, profiles, arm64, caching.
# With TEST_KERNEL_BUILD=1 the small profile is built, too, twice, and compared (some ten minutes on two cores).
set -euo pipefail
source "$(dirname "$0")/lib.sh"

copy=$work/tree/kernel-config
mkdir -p "$work/tree"
cp -a "$top/kernel-config" "$copy"
sh=$copy/build-kernel.sh

check '-h exits 0' "$kernel_sh" -h
refuses 'no command' 'Usage:' "$kernel_sh"
refuses 'unknown command' "must be setup, build, install, all or config" "$kernel_sh" compile
refuses 'unknown architecture' 'only x86_64 and arm64' "$kernel_sh" -a vax config
refuses 'unknown profile' 'must be small, default or large' "$kernel_sh" -p huge config
refuses 'a fragment that is not there' 'no such file' "$kernel_sh" -c /nonexistent config
refuses 'no source: says what to install' 'apt-get install linux-source-6.1' "$kernel_sh" -o "$work/out" -k /nonexistent setup
for p in small default large; do
	for a in x86_64 arm64; do
		check "wish list of $p for $a" "$kernel_sh" -p "$p" -a "$a" config
	done
done
check 'small asks for less than default' test "$("$kernel_sh" -p small config | wc -l)" -lt "$("$kernel_sh" config | wc -l)"
check 'default asks for less than large' test "$("$kernel_sh" config | wc -l)" -lt "$("$kernel_sh" -p large config | wc -l)"
missing=
for o in VIRTIO_PCI VIRTIO_MMIO VIRTIO_BLK VIRTIO_NET VIRTIO_CONSOLE VIRTIO_FS VIRTIO_PMEM VIRTIO_VSOCKETS 9P_FS NVDIMM_PFN FS_DAX EXT4_FS \
	OVERLAY_FS DM_VERITY DM_INIT SECCOMP_FILTER USER_NS TIME_NS MEMCG CFS_BANDWIDTH CGROUP_PIDS CGROUP_HUGETLB CGROUP_BPF NF_TABLES \
	IP_NF_NAT HOTPLUG_PCI_SHPC MEMORY_HOTPLUG PTP_1588_CLOCK_KVM DEVTMPFS_MOUNT MSDOS_PARTITION IKCONFIG_PROC; do
	"$kernel_sh" config | grep -q -x "CONFIG_$o=y" || missing+=" $o"
done
is 'default asks for what containers and runtimes need' "$missing" ''

printf 'CONFIG_EXT4_FS=y\n' > "$copy/fragments/common/zz.conf"
refuses 'an option asked for twice is an error, with both files' 'CONFIG_EXT4_FS is asked for twice' "$sh" config
printf 'EXT4_FS=y\n' > "$copy/fragments/common/zz.conf"
refuses 'a line that is no option is an error, with its place' 'zz.conf:1: neither an option nor a comment' "$sh" config
rm "$copy/fragments/common/zz.conf"
printf '# CONFIG_EXT4_FS is not set\nCONFIG_KALLSYMS=y\n' > "$work/own.conf"
is '-c wins over the fragments' "$("$sh" -c "$work/own.conf" config | grep -E 'CONFIG_(EXT4_FS|KALLSYMS)( |=)' | sort | tr '\n' ' ')" '# CONFIG_EXT4_FS is not set CONFIG_KALLSYMS=y '

source=${KERNEL_SOURCE:-/usr/src/linux-source-6.1.tar.xz}
if [[ ! -r $source ]]; then
	skip 'configuring' "no kernel source at $source (package linux-source-6.1)"
	done_testing
	exit
fi
out=$work/build/kernel
# The unpacked source of an earlier build will do.
if [[ -e $top/build/kernel/src/stamp ]]; then
	mkdir -p "$out/src"
	ln -s "$top/build/kernel/src/linux" "$out/src/linux"
	cp "$top/build/kernel/src/stamp" "$out/src/stamp"
fi
for p in default small large; do
	check "$p: every wish survives on x86_64" "$sh" -a x86_64 -o "$out" -p "$p" setup
done
if command -v aarch64-linux-gnu-gcc > /dev/null || command -v clang > /dev/null; then
	check 'default: every wish survives on arm64' "$sh" -a arm64 -o "$out" setup
	check 'arm64 is 64 bit, with virtio' grep -q -x CONFIG_VIRTIO_PCI=y "$out/obj-arm64-default/.config"
else
	skip 'default: every wish survives on arm64' 'no cross compiler (gcc-aarch64-linux-gnu) and no clang'
fi
printf 'CONFIG_NO_SUCH_OPTION=y\nCONFIG_BPF_JIT=y\n' > "$work/own.conf"
said=$("$sh" -a x86_64 -c "$work/own.conf" -o "$out" setup 2>&1) && status=0 || status=$?
is 'a wish that does not survive: exit status' "$status" 1
check 'it is named, with the file that asked' grep -q "CONFIG_NO_SUCH_OPTION=y is asked for by $work/own.conf" <<< "$said"
check 'also one that exists but cannot be' grep -q 'CONFIG_BPF_JIT=y is asked for' <<< "$said"

if [[ -n ${TEST_KERNEL_BUILD:-} ]]; then
	check 'small builds' "$sh" -a x86_64 -o "$out" -p small build
	first=$(sha256sum < "$work/build/kata-vmlinuz-small")
	began=$SECONDS
	check 'a second call' "$sh" -a x86_64 -o "$out" -p small build
	check 'builds nothing' test $((SECONDS - began)) -lt 10
	check 'small builds elsewhere' env TZ=Asia/Tokyo "$sh" -a x86_64 -o "$work/else/where/kernel" -p small build
	is 'to the same bytes' "$(sha256sum < "$work/else/where/kata-vmlinuz-small")" "$first"
	check 'install' env DESTDIR="$work/dest" "$sh" -a x86_64 -o "$out" -p small install
	check 'where kata-runtime looks' test -s "$work/dest/usr/share/kata-containers/vmlinuz-small.container"
else
	skip 'small builds, twice to the same bytes' 'takes minutes: set TEST_KERNEL_BUILD=1'
fi
done_testing
