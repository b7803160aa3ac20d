#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# rootfs.sh without a network: options, messages, the busybox tree, provisioning, a dynamic agent.
set -euo pipefail
source "$(dirname "$0")/lib.sh"

make_agent "$work/kata-agent" -static -s
export AGENT_SOURCE_BIN=$work/kata-agent
export KATA_EXTRAS=none
root=$work/rootfs

# --- options and messages
check '-h exits 0' "$rootfs_sh" -h
is '-h lists the distributions' "$("$rootfs_sh" -h | grep -c -x -E ' +(alpine|busybox|centos|clearlinux|debian|euleros|fedora|ubuntu)')" 8
is '-l lists them sorted' "$("$rootfs_sh" -l | tr '\n' ' ')" 'alpine busybox centos clearlinux debian euleros fedora ubuntu '
is '-t shows the init process' "$("$rootfs_sh" -t alpine | head -n 1)" $'INIT_PROCESS:\t\tkata-agent'
is '-t shows the excluded architectures' "$("$rootfs_sh" -t clearlinux | tail -n 1)" $'ARCH_EXCLUDE_LIST:\taarch64 ppc64le s390x'
refuses 'unknown option' 'Found an invalid option' "$rootfs_sh" -q
refuses 'unknown distribution' 'Not found configuration directory' "$rootfs_sh" -r "$root" nosuch
refuses 'bad AGENT_INIT' 'AGENT_INIT(maybe) is invalid (must be yes or no)' env AGENT_INIT=maybe "$rootfs_sh" -r "$root" busybox
refuses 'bad KERNEL_MODULES_DIR' 'KERNEL_MODULES_DIR(/nonexistent) is defined but is not an existing directory' \
	env KERNEL_MODULES_DIR=/nonexistent "$rootfs_sh" -r "$root" busybox
refuses 'no agent' 'There is no agent at /nonexistent' env AGENT_SOURCE_BIN=/nonexistent "$rootfs_sh" -r "$root" busybox
refuses 'another version of the agent' 'AGENT_VERSION asks for 9.9' "$rootfs_sh" -a 9.9 -r "$root" busybox
refuses 'a directory that is not there' 'Invalid rootfs directory' "$rootfs_sh" -r "$work/absent"
refuses 'the root of this machine' 'is this machine'"'"'s own root' "$rootfs_sh" -r / busybox
refuses 'the root of this machine, spelled otherwise' 'is this machine'"'"'s own root' "$rootfs_sh" -r /usr/.. busybox
mkdir "$work/mine"
touch "$work/mine/precious"
refuses 'a directory of somebody else' 'was not made by this script' "$rootfs_sh" -r "$work/mine" busybox
check 'and nothing there is lost' test -e "$work/mine/precious"
printf 'my thesis\n' > "$work/file"
refuses 'a regular file in the way' 'is no directory: it is left alone' "$rootfs_sh" -r "$work/file" busybox
is 'and it is as it was' "$(cat "$work/file")" 'my thesis'
ln -s "$work/file" "$work/link"
refuses 'a link to one' 'is no directory: it is left alone' "$rootfs_sh" -r "$work/link" busybox
is 'and it is as it was' "$(cat "$work/link")" 'my thesis'
mkfifo "$work/fifo"
refuses 'a FIFO in the way' 'is no directory: it is left alone' "$rootfs_sh" -r "$work/fifo" busybox
check 'and it is as it was' test -p "$work/fifo"
refuses 'a file on the way' 'its directory cannot be made' "$rootfs_sh" -r "$work/file/rootfs" busybox
if unshare -rm true 2> /dev/null; then
	mkdir -p "$work/mounted/below"
	mounted() { unshare -rm sh -c 'mount -t tmpfs tmpfs "$1" && shift && exec "$@"' - "$work/mounted$1" "$rootfs_sh" -r "$work/mounted" busybox; }
	refuses 'a mount point' "$work/mounted is a mount point" mounted ''
	check 'at once' not grep -q 'Making the' <<< "$(mounted '' 2> /dev/null)"
	refuses 'what has a mount point in it' "$work/mounted/below is a mount point" mounted /below
	filled() { unshare -rm sh -c 'mount -t tmpfs -o size=1M tmpfs "$1" && exec "$2" -r "$1/rootfs" busybox' - "$work/mounted" "$rootfs_sh"; }
	refuses 'a full disk is called that' 'The disk is full' filled
else
	skip 'a mount point' 'unshare -rm is not allowed here'
fi
refuses 'AGENT_INIT=no where no other init is' 'AGENT_INIT=no' env AGENT_INIT=no "$rootfs_sh" -r "$root" busybox
check 'a failed build leaves nothing' test ! -e "$root" -a ! -e "$work/.rootfs.new"
refuses 'busybox has no packages' 'EXTRA_PKGS' env EXTRA_PKGS=vim "$rootfs_sh" -r "$root" busybox

# --- the tree
check 'busybox is built, with the agent as init' env OSBUILDER_VERSION=1.2.3 "$rootfs_sh" -r "$root" busybox
is 'agent in its place' "$(sha256sum < "$root/usr/bin/kata-agent")" "$(sha256sum < "$AGENT_SOURCE_BIN")"
is '/sbin/init leads to it' "$(readlink "$root/sbin/init")" ../usr/bin/kata-agent
is '/usr/lib/systemd/systemd leads to it' "$(realpath "$root/usr/lib/systemd/systemd")" "$root/usr/bin/kata-agent"
is 'etc/resolv.conf is an empty file' "$(stat -c '%F' "$root/etc/resolv.conf")" 'regular empty file'
is 'etc/machine-id is an empty file' "$(stat -c '%F' "$root/etc/machine-id")" 'regular empty file'
is 'var/tmp' "$(readlink "$root/var/tmp")" ../tmp
is 'var/run' "$(readlink "$root/var/run")" /run
missing=
for d in dev etc mnt proc root run sys tmp var; do [[ -d $root/$d ]] || missing+=" $d"; done
is 'mount points are there' "$missing" ''
is 'tmp has the sticky bit' "$(stat -c %a "$root/tmp")" 1777
check 'a shell is there' test -L "$root/bin/sh"
# Absolute links begin at the tree's root, not at ours.
dangling() {
	find . -type l ! -path ./var/run ! -path ./var/lock | while IFS= read -r l; do
		t=$(readlink "$l")
		if [[ $t == /* ]]; then t=.$t; else t=${l%/*}/$t; fi
		[[ $t == ./dev/null || -e $t || -L $t ]] || printf '%s ' "$l"
	done
}
is 'nothing dangles' "$(cd "$root" && dangling)" ''
yaml=$root/var/lib/osbuilder/osbuilder.yaml
is 'yaml: version' "$(sed -n '/^osbuilder:/,/version/s/ *version: //p' "$yaml")" '"1.2.3"'
is 'yaml: agent' "$(sed -n '/^agent:/,$s/ *version: //p' "$yaml")" '"0.0.1-test"'
is 'yaml: agent is init' "$(sed -n 's/ *agent-is-init-daemon: //p' "$yaml")" '"yes"'
if command -v yamllint > /dev/null; then
	check 'yaml: lint' yamllint -s -d '{extends: default, rules: {line-length: disable}}' "$yaml"
else
	skip 'yaml: lint' 'yamllint is not installed'
fi
before=$(tree_sum "$root")
check 'built again over itself' env OSBUILDER_VERSION=1.2.3 "$rootfs_sh" -r "$root" busybox
is 'it is the same tree' "$(tree_sum "$root")" "$before"

# --- what a user put there
printf '#!/bin/sh\n' > "$root/bin/own tool"
mkdir -p "$root/opt/own"
ln -s /bin/busybox "$root/opt/own/link"
printf 'own\n' > "$root/etc/hostname"
check 'built again over a tree with files of the user' env OSBUILDER_VERSION=1.2.3 "$rootfs_sh" -r "$root" busybox
check 'who finds them there' test -f "$root/bin/own tool" -a -L "$root/opt/own/link"
said=$(OSBUILDER_VERSION=1.2.3 "$rootfs_sh" -r "$root" busybox 2>&1)
check 'also after the next build' test -f "$root/bin/own tool" -a -L "$root/opt/own/link"
check 'which says so' grep -q 'Kept of what was added .*/bin/own tool' <<< "$said"
printf 'own\n' > "$root/etc/hostname"
said=$("$rootfs_sh" -r "$root" busybox 2>&1)
check 'what he changed of ours is made anew, and he is told' grep -q 'WARNING: Made anew .*: /etc/hostname' <<< "$said"
is 'it is ours again' "$(cat "$root/etc/hostname")" kata
rm -r "$root/bin/own tool" "$root/opt"
check 'without them' env OSBUILDER_VERSION=1.2.3 "$rootfs_sh" -r "$root" busybox
is 'it is the same tree as before' "$(tree_sum "$root")" "$before"

# --- each tool that is not there is named with its package
check_tools 'tools of rootfs.sh' 'find:findutils xargs:findutils sed:sed grep:grep awk:mawk readelf:binutils du:coreutils realpath:coreutils' /bin/bash "$rootfs_sh" -r "$work/tools" busybox

# --- programs that hosts ask for
extras=$work/extras
refuses 'KATA_EXTRAS that are not known' 'KATA_EXTRAS(vim) is invalid' env KATA_EXTRAS=vim "$rootfs_sh" -r "$extras" busybox
if [[ -e /sbin/mke2fs && -e /usr/sbin/xtables-nft-multi ]]; then
	check 'by default they are in' env -u KATA_EXTRAS "$rootfs_sh" -r "$extras" busybox
	check 'whole' "$initrd_sh" -c none -o "$work/initrd" "$extras"
	if [[ $(id -u) -eq 0 ]]; then
		truncate -s 252G "$extras/tmp/disk"
		check 'mkfs.ext4 makes a file system of 252 GiB' chroot "$extras" mkfs.ext4 -q -E lazy_itable_init=1,lazy_journal_init=1,nodiscard /tmp/disk
		is 'it is one' "$(blkid -o value -s TYPE "$extras/tmp/disk")" ext4
		rm -f "$extras/tmp/disk"
		is 'iptables knows its matches' "$(chroot "$extras" iptables -m conntrack -h | grep -c 'conntrack match options')" 1
		is 'ip6tables-restore is there' "$(chroot "$extras" ip6tables-restore --version | cut -d ' ' -f 1)" ip6tables-restore
	else
		skip 'mkfs.ext4 makes a file system of 252 GiB' 'chroot needs root'
	fi
	check 'only mkfs' env KATA_EXTRAS=mkfs "$rootfs_sh" -r "$extras" busybox
	check 'is only that' test -e "$extras/sbin/mkfs.ext4" -a ! -e "$extras/usr/sbin/iptables"
	refuses 'asked for and not there' 'KATA_EXTRAS asks for mkfs' env AGENT_SYSROOT="$work/mine" KATA_EXTRAS=mkfs "$rootfs_sh" -r "$extras" busybox
	said=$(env -u KATA_EXTRAS AGENT_SYSROOT="$work/mine" "$rootfs_sh" -r "$extras" busybox 2>&1) || :
	check 'by default it is left out, and that is said' grep -q 'WARNING: mkfs is left out: .*apt-get install e2fsprogs' <<< "$said"
else
	skip 'KATA_EXTRAS' 'e2fsprogs or iptables is not installed'
fi

# --- other ways
# Modules: two of Kata's, one of which needs the other, one of nobody's, one built in; no modules.dep.
modules=$work/6.1.0
ko() { # NAME C
	mkdir -p "$modules/kernel/x"
	printf '%s\n' "$2" | "${CC:-gcc}" -O1 -x c -c -o "$modules/kernel/x/$1.ko" -
}
ko virtio-pci 'int legacy(void); int use(void) { return legacy(); }'
ko virtio_pci_legacy_dev 'int legacy(void) { return 1; } char names[] __attribute__((section("__ksymtab_strings"))) = "legacy";'
ko loop 'int x;'
ko sound 'int x;'
printf 'kernel/x/ext4.ko\nkernel/x/virtio_console.ko\n' > "$modules/modules.builtin"
: > "$modules/modules.order"
ln -s /usr/src "$modules/build"
check 'kernel modules are brought along' env KERNEL_MODULES_DIR="$modules" KERNEL_MODULES='loop dummy' "$rootfs_sh" -r "$root" busybox
check 'as a directory below lib/modules' test -f "$root/lib/modules/6.1.0/kernel/x/loop.ko" -a -f "$root/lib/modules/6.1.0/kernel/x/sound.ko"
check 'without links to where they were built' test ! -L "$root/lib/modules/6.1.0/build"
is 'with a list of those to load' "$(tr '\n' ' ' < "$root/etc/modules-load.d/kata-containers.conf")" 'loop dummy '
check 'and with modules.dep, which was not there' grep -q '^kernel/x/virtio-pci.ko: kernel/x/virtio_pci_legacy_dev.ko' "$root/lib/modules/6.1.0/modules.dep"
check 'and is not now' test ! -e "$modules/modules.dep"
said=$(KERNEL_MODULES_DIR="$modules" KERNEL_MODULES='loop dummy ext4' "$rootfs_sh" -r "$root" busybox)
check 'what the kernel does not have is said, what it has built in is not' grep -q -x 'INFO: Not in the kernel 6.1.0: dummy' <<< "$said"
check 'KERNEL_MODULES=kata' env KERNEL_MODULES_DIR="$modules" KERNEL_MODULES=kata "$rootfs_sh" -r "$root" busybox
is 'copies what Kata needs and what that depends on' "$(cd "$root/lib/modules/6.1.0/kernel/x" && echo *)" 'loop.ko virtio-pci.ko virtio_pci_legacy_dev.ko'
is 'with tables that know no others' "$(grep -c . "$root/lib/modules/6.1.0/modules.dep")" 3
is 'loads those that devices need and that are not built in' "$(cat "$root/etc/modules-load.d/kata-containers.conf")" virtio_pci
refuses 'KERNEL_MODULES=kata without modules' 'needs KERNEL_MODULES_DIR' env KERNEL_MODULES=kata "$rootfs_sh" -r "$root" busybox
check_tools 'depmod, where modules.dep is not there' 'depmod:kmod' env KERNEL_MODULES_DIR="$modules" /bin/bash "$rootfs_sh" -r "$root" busybox
mkdir -p "$work/no-modules/6.2"
refuses 'a directory without modules' 'holds no kernel modules' env KERNEL_MODULES_DIR="$work/no-modules/6.2" "$rootfs_sh" -r "$root" busybox
check 'another name for the agent' env AGENT_BIN=my-agent "$rootfs_sh" -r "$root" busybox
check 'is where it is' test -x "$root/usr/bin/my-agent" -a ! -e "$root/usr/bin/kata-agent"
check 'an init of one'"'"'s own' env AGENT_INIT=no INIT_SOURCE_BIN=/bin/busybox "$rootfs_sh" -r "$root" busybox
is 'is init' "$(sha256sum < "$root/sbin/init")" "$(sha256sum < /bin/busybox)"
check 'USE_DOCKER is accepted for busybox' env USE_DOCKER=true "$rootfs_sh" -r "$root" busybox
check 'BUSYBOX names another' env BUSYBOX=/bin/busybox "$rootfs_sh" -r "$root" busybox
refuses 'a dynamic busybox' 'is not static' env BUSYBOX=/bin/ls "$rootfs_sh" -r "$root" busybox

# --- provisioning an existing tree
tree=$work/tree
mkdir -p "$tree"/{etc,sbin,usr/bin,usr/lib/systemd/system,var/cache,var/lib/app}
cp /bin/busybox "$tree/usr/lib/systemd/systemd"
ln -s ../usr/lib/systemd/systemd "$tree/sbin/init"
ln -s /run/resolv.conf "$tree/etc/resolv.conf"
touch "$tree/var/cache/keep" "$tree/var/lib/app/keep"
check 'an existing tree is provisioned' "$rootfs_sh" -r "$tree"
check 'nothing of it is deleted' test -e "$tree/var/cache/keep" -a -e "$tree/var/lib/app/keep"
is 'resolv.conf is no link any more' "$(stat -c '%F' "$tree/etc/resolv.conf")" 'regular empty file'
check 'the unit and the target are there' test -f "$tree/usr/lib/systemd/system/kata-agent.service" -a -f "$tree/usr/lib/systemd/system/kata-containers.target"
check 'and a mount for /tmp' test -f "$tree/etc/systemd/system/tmp.mount"
check 'the agent, too' test -x "$tree/usr/bin/kata-agent"
is 'init is still systemd' "$(readlink "$tree/sbin/init")" ../usr/lib/systemd/systemd

# --- an agent with libraries
make_agent "$work/dynamic" -s
check 'a dynamic agent' env AGENT_SOURCE_BIN="$work/dynamic" "$rootfs_sh" -r "$root" busybox
interp=$(readelf -Wl "$work/dynamic" | sed -n 's/.*interpreter: \(.*\)\]/\1/p')
check 'brings its loader along' test -e "$root$interp"
if [[ $(id -u) -eq 0 ]]; then
	is 'and runs in the tree' "$(chroot "$root" /usr/bin/kata-agent --version)" 'kata-agent version 0.0.1-test'
else
	skip 'and runs in the tree' 'chroot needs root'
fi
if command -v patchelf > /dev/null; then
	mkdir -p "$tree${interp%/*}"
	printf 'a foreign loader\n' > "$tree$interp"
	check 'a dynamic agent in a tree with a C library of its own' env AGENT_SOURCE_BIN="$work/dynamic" "$rootfs_sh" -r "$tree"
	is 'leaves that one alone' "$(cat "$tree$interp")" 'a foreign loader'
	is 'and has its own loader' "$(readelf -Wl "$tree/usr/bin/kata-agent" | sed -n 's/.*interpreter: \(.*\)\]/\1/p')" "/usr/lib/kata-agent/${interp##*/}"
	if [[ $(id -u) -eq 0 ]]; then
		is 'with which it runs' "$(chroot "$tree" /usr/bin/kata-agent --version)" 'kata-agent version 0.0.1-test'
	else
		skip 'with which it runs' 'chroot needs root'
	fi
else
	skip 'a dynamic agent in a tree with a C library of its own' 'patchelf is not installed'
fi

# --- no network, no root
if unshare -rn true 2> /dev/null; then
	check 'built without network in a user namespace' unshare -rn "$rootfs_sh" -r "$work/nonet" busybox
else
	skip 'built without network in a user namespace' 'unshare -rn is not allowed here'
fi
done_testing
