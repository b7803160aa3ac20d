#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# build-kernel.sh up to the point where compiling would begin: fragments, checks, profiles, arm64, caching.
# With TEST_KERNEL_BUILD=1 the lean profile is built, too, twice, and compared (some ten minutes on two cores).
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
refuses 'unknown profile' 'must be lean, default or large' "$kernel_sh" -p huge config
refuses 'a fragment that is not there' 'no such file' "$kernel_sh" -c /nonexistent config
refuses 'no source: says what to install' 'apt-get install linux-source-6.1' "$kernel_sh" -o "$work/out" -k /nonexistent setup
for p in lean default large; do
	for a in x86_64 arm64; do
		check "wish list of $p for $a" "$kernel_sh" -p "$p" -a "$a" config
	done
done
check 'lean asks for less than default' test "$("$kernel_sh" -p lean config | wc -l)" -lt "$("$kernel_sh" config | wc -l)"
check 'default asks for less than large' test "$("$kernel_sh" config | wc -l)" -lt "$("$kernel_sh" -p large config | wc -l)"
# What each group of docs/kernel.md promises. A profile has what the ones before it have.
promises_lean() {
	cat <<-'EOF'
		runtimes: VIRTIO_PCI VIRTIO_MMIO VIRTIO_BLK VIRTIO_NET VIRTIO_CONSOLE VIRTIO_FS VIRTIO_PMEM VIRTIO_BALLOON VIRTIO_VSOCKETS
		runtimes: SCSI_VIRTIO 9P_FS HOTPLUG_PCI_SHPC HOTPLUG_CPU MEMORY_HOTPLUG PTP_1588_CLOCK DEVTMPFS_MOUNT MSDOS_PARTITION IP_PNP
		images: NVDIMM_PFN FS_DAX EXT4_FS EROFS_FS EROFS_FS_ZIP OVERLAY_FS DM_VERITY DM_INIT BLK_DEV_LOOP
		containers: SECCOMP_FILTER USER_NS TIME_NS MEMCG CFS_BANDWIDTH CGROUP_PIDS CGROUP_HUGETLB CGROUP_BPF PSI
		filters: NF_TABLES NF_TABLES_INET NFT_COMPAT IP_NF_NAT IP6_NF_NAT BRIDGE_NETFILTER NETFILTER_XT_TARGET_REDIRECT
		filters: NETFILTER_XT_TARGET_MASQUERADE NETFILTER_XT_MATCH_OWNER NETFILTER_XT_MATCH_MULTIPORT
	EOF
}
promises_default() {
	promises_lean
	cat <<-'EOF'
		xfs: XFS_FS XFS_POSIX_ACL
		pods: IO_URING BASE_FULL
		reclaim: VIRTIO_MEM LRU_GEN
		lsm: SECURITY SECURITYFS SECURITY_NETWORK AUDIT NETWORK_SECMARK SECURITY_SELINUX SECURITY_APPARMOR SECURITY_LANDLOCK
		lsm: EROFS_FS_SECURITY
		numa: NUMA
		netfilter-more: NETFILTER_XT_MATCH_MARK NETFILTER_XT_MATCH_MAC NETFILTER_XT_MATCH_LENGTH NETFILTER_XT_MATCH_RECENT
		netfilter-more: NETFILTER_XT_MATCH_HASHLIMIT NETFILTER_XT_MATCH_IPRANGE NETFILTER_XT_MATCH_SOCKET NETFILTER_XT_TARGET_MARK
		netfilter-more: NETFILTER_XT_TARGET_CONNMARK NETFILTER_XT_TARGET_TPROXY NETFILTER_XT_TARGET_CT NETFILTER_XT_TARGET_CHECKSUM
		netfilter-more: NFT_FIB NFT_FIB_INET NFT_HASH NFT_NUMGEN NFT_QUOTA NFT_TPROXY NFT_SOCKET NF_CT_PROTO_SCTP
		ipset: IP_SET IP_SET_HASH_IP IP_SET_HASH_NET IP_SET_LIST_SET NETFILTER_XT_SET
		ipvs: IP_VS IP_VS_IPV6 IP_VS_RR IP_VS_WRR IP_VS_SH IP_VS_NFCT NETFILTER_XT_MATCH_IPVS
		links: VXLAN MACVTAP
		ipsec: XFRM XFRM_USER INET_ESP INET6_ESP CRYPTO_GCM CRYPTO_SEQIV CRYPTO_GHASH
		qdisc: TCP_CONG_BBR NET_SCH_FQ NET_CLS NET_CLS_CGROUP
		bfq: IOSCHED_BFQ BFQ_GROUP_IOSCHED
		vfio: IOMMU_SUPPORT VFIO VFIO_PCI VIRTIO_IOMMU
	EOF
}
promises_default_x86_64() {
	promises_default
	echo 'numa: X86_64_ACPI_NUMA'
	echo 'vfio: INTEL_IOMMU IRQ_REMAP'
	echo 'ldt: MODIFY_LDT_SYSCALL'
	echo 'runtimes: PTP_1588_CLOCK_KVM ACPI_NFIT PVH'
}
# What no guest's kernel has, by profile.
absent='VSOCKETS_LOOPBACK DUMMY RT_GROUP_SCHED DEBUG_FS'
absent_unless_large='MODULES KALLSYMS IA32_EMULATION'

groups() {
	promises_default_x86_64 | sed 's/:.*//' | sort -u | grep -v -x -e runtimes -e images -e containers -e filters
}
groups_in_docs() {
	local g
	for g in $(groups); do
		grep -q "^| \`$g\`" "$top/docs/kernel.md" || { echo "$g is not in the table"; return 1; }
	done
}
groups_are_fragments() {
	local g
	for g in $(groups); do
		compgen -G "$top/kernel-config/fragments/*/$g.conf" > /dev/null || { echo "$g is no fragment"; return 1; }
	done
}

# keeps CONFIG PROMISES: prints what of them is not so
keeps() {
	local o
	for o in $("$2" | sed 's/^[^:]*://'); do
		grep -q -x "CONFIG_$o=y" "$1" || printf '%s ' "$o"
	done
	for o in $absent; do
		! grep -q "^CONFIG_$o=" "$1" || printf 'not:%s ' "$o"
	done
}

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
for p in default lean large; do
	check "$p: every wish survives on x86_64" "$sh" -a x86_64 -o "$out" -p "$p" setup
done
is 'default has what docs/kernel.md promises' "$(keeps "$out/obj-x86_64-default/.config" promises_default_x86_64)" ''
is 'large has it, too' "$(keeps "$out/obj-x86_64-large/.config" promises_default_x86_64)" ''
is 'lean has what it promises' "$(keeps "$out/obj-x86_64-lean/.config" promises_lean)" ''
for p in default lean; do
	for o in $absent_unless_large; do
		check "$p is without $o" test -z "$(grep "^CONFIG_$o=" "$out/obj-x86_64-$p/.config")"
	done
	is "$p starts no program by itself" "$(grep STATIC_USERMODEHELPER_PATH "$out/obj-x86_64-$p/.config")" 'CONFIG_STATIC_USERMODEHELPER_PATH=""'
done
is 'words before the host'"'"'s' "$(grep '^CONFIG_CMDLINE=' "$out/obj-x86_64-default/.config")" 'CONFIG_CMDLINE="selinux=0 swiotlb=1024"'
check 'the layout of memory is edited in the source' grep -q 'atom_size = PAGE_SIZE;' "$out/src/linux/arch/x86/kernel/setup_percpu.c"
check 'also in the linker script' grep -q 'ALIGN_ENTRY_TEXT_BEGIN.*PAGE_SIZE' "$out/src/linux/arch/x86/kernel/vmlinux.lds.S"
check 'every group that is promised stands in docs/kernel.md' groups_in_docs
check 'and is a fragment of default' groups_are_fragments
if [[ -r $top/build/kata-vmlinuz && -r $(dirname "$(realpath "$top/build/kata-vmlinuz")")/config ]]; then
	is 'the kernel in build/ was made of it' "$(keeps "$(dirname "$(realpath "$top/build/kata-vmlinuz")")/config" promises_default_x86_64)" ''
	check 'and is smaller than 5.5 MB' test "$(stat -Lc %s "$top/build/kata-vmlinuz")" -lt 5500000
fi
if command -v aarch64-linux-gnu-gcc > /dev/null || command -v clang > /dev/null; then
	check 'default: every wish survives on arm64' "$sh" -a arm64 -o "$out" setup
	is 'default on arm64 has what it promises' "$(keeps "$out/obj-arm64-default/.config" promises_default)" ''
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
	check 'lean builds' "$sh" -a x86_64 -o "$out" -p lean build
	first=$(sha256sum < "$work/build/kata-vmlinuz-lean")
	began=$SECONDS
	check 'a second call' "$sh" -a x86_64 -o "$out" -p lean build
	check 'builds nothing' test $((SECONDS - began)) -lt 10
	check 'lean builds elsewhere' env TZ=Asia/Tokyo "$sh" -a x86_64 -o "$work/else/where/kernel" -p lean build
	is 'to the same bytes' "$(sha256sum < "$work/else/where/kata-vmlinuz-lean")" "$first"
	check 'install' env DESTDIR="$work/dest" "$sh" -a x86_64 -o "$out" -p lean install
	check 'where kata-runtime looks' test -s "$work/dest/usr/share/kata-containers/vmlinuz-lean.container"
else
	skip 'lean builds, twice to the same bytes' 'takes minutes: set TEST_KERNEL_BUILD=1'
fi
done_testing
